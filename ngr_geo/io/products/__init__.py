"""The products that are known, each with its reader: one table, `READERS`.

To add a product, write a file like those here, with its `READER`, and add that to the table.
"""

import os
from collections.abc import Sequence

from ...errors import InputError
from . import emit, enmap, eopf, hls, landsat, prisma, sentinel2
from .base import Content as Content
from .base import Reader as Reader

READERS: tuple[Reader, ...] = (
    hls.READER,
    landsat.READER,
    sentinel2.READER,
    emit.READER,
    prisma.READER,
    enmap.READER,
    eopf.READER,
)


def find(paths: Sequence[str], product: str | None = None) -> Reader | None:
    """Return the reader for some paths; None where they are plain rasters, for GDAL or xarray to read.

    Args:
        paths: what the user named, as text.
        product: the name of a reader; None: found out from what lies in the paths.

    Raises:
        InputError: no such product, several products, or a folder that is none.
    """
    if product is not None:
        return _asked(paths, product)
    found = [next((reader for reader in READERS if reader.recognise(path)), None) for path in paths]
    kinds = {reader.name for reader in found if reader is not None}
    if not kinds:
        _check_folders(paths)
        return None
    if len(kinds) > 1 or None in found:
        some = next((path for path, reader in zip(paths, found, strict=True) if reader is None), paths[-1])
        msg = f"Found products of several kinds among the inputs ({', '.join(sorted(kinds))}; {some}). Give one kind at a time."
        raise InputError(msg)
    return found[0]


def _asked(paths: Sequence[str], product: str) -> Reader:
    reader = next((reader for reader in READERS if reader.name == product.lower()), None)
    if reader is None:
        msg = f"Found product={product!r}, expected one of {', '.join(reader.name for reader in READERS)}, or None to find it out."
        raise InputError(msg)
    for path in paths:
        if not reader.recognise(path):
            msg = f"{path} does not look like {reader.about} (product={product!r}): looked for {reader.looked_for}."
            raise InputError(msg)
    return reader


def _check_folders(paths: Sequence[str]) -> None:
    """Raise where a path is a folder that is neither a product nor a Zarr store."""
    from ..formats import is_zarr

    for path in paths:
        if os.path.isdir(path) and not is_zarr(path):
            names = ", ".join(reader.name for reader in READERS)
            found = f"{path} is a folder, and neither a Zarr store nor a product that is known ({names})."
            inside = f"Give the rasters in it, for example '{path.rstrip('/')}/*.tif', or"
            raise InputError(
                found,
                call=f"{inside} product='hls', for example, to read what such a product is looked for by.",
                option=f"{inside} --product hls, for example, to read what such a product is looked for by.",
            )
