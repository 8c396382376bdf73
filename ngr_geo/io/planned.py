"""Which files a result will be written to, and whether they can be: known before anything is solved."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ..atomic import PathLike
from ..errors import OutputError
from . import formats
from .headers import headers_of
from .remote import is_url
from .stack import Files
from .target import existing_folder, free_space

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,8}$")  # not that of "mosaic_v1.2"


@dataclass(frozen=True)
class Written:
    """The files that hold a result: the rasters, which pixels were filled (1) or measured (0), and the layers of `cube.LAYERS`.

    All but the rasters are empty for NetCDF and Zarr, where they are variables; layers also where they were not asked for.
    """

    rasters: tuple[Path, ...]
    filled: tuple[Path, ...] = ()
    uncertainty: tuple[Path, ...] = ()
    change: tuple[Path, ...] = ()

    @property
    def all(self) -> tuple[Path, ...]:
        """Rasters and sidecars."""
        return self.rasters + self.filled + self.uncertainty + self.change

    @property
    def beside(self) -> tuple[Path, ...]:
        """The header files of the rasters' format, if it has any."""
        endings = [(path, known.beside) for path in self.rasters if (known := formats.by_ending(path))]
        return tuple(path.with_suffix(ending) for path, ending in endings if ending)

    def layer(self, kind: str) -> tuple[Path, ...]:
        """Return the sidecars of a kind of `cube.LAYERS`."""
        paths: tuple[Path, ...] = getattr(self, kind)
        return paths


def outputs(out: PathLike, files: Files, layers: Collection[str] = ()) -> Written:
    """Return the files that `write_stack` would write.

    Args:
        out: a folder for GeoTIFFs, one per date under the input's name with NAME_filled.tif beside it; NAME.tif for a
            single date; NAME.nc; or NAME.zarr.
        files: what was read.
        layers: some of `cube.LAYERS`, each with a NAME_uncertainty.tif or NAME_change.tif beside each GeoTIFF.

    Raises:
        OutputError: one file for several dates, or two inputs of one name.
    """
    if is_url(out):
        found = f"{out} is a URL, and files are written on this machine first."
        raise OutputError(
            found, call="Write to a path, then bring it there with fsspec: fs.put(path, url, recursive=True)."
        )
    target, known = Path(out), formats.by_ending(out)
    if known is not None and known.save:
        return Written((target,))
    _check_ending(out)
    headers = headers_of(files.raster, files)
    if known is not None and not target.is_dir():
        if len(headers) > 1:
            folder = f"{target.with_suffix('')}{os.sep}"
            msg = f"{out} is one file, and there are {len(headers)} dates. Give a folder, a .nc or a .zarr: -o {folder}"
            raise OutputError(msg)
        rasters = [target]
    else:  # .TIF and .tiff stay
        names = (Path(header.name) for header in headers)
        rasters = [target / (n if formats.by_ending(n) is formats.GEOTIFF else f"{n.stem}.tif") for n in names]
    beside = {
        kind: tuple(path.with_name(f"{path.stem}_{kind}.tif") for path in rasters) for kind in ("filled", *layers)
    }
    planned = Written(tuple(rasters), **beside)
    often, count = Counter(planned.all).most_common(1)[0]
    if count > 1:
        msg = f"Two inputs would be written to {often}, as they have one name. Rename one, or write to .nc or .zarr."
        raise OutputError(msg)
    return planned


def check_output(out: PathLike, files: Files, overwrite: bool = False, layers: Collection[str] = ()) -> Written:
    """Return the files that will be written, once it is clear that they can be; to be called before solving.

    Raises:
        OutputError: the output exists (and `overwrite` is False), is an input, cannot be written, or has no room.
    """
    target, planned = Path(out), outputs(out, files, layers)
    for path in (*planned.all, *planned.beside):
        _check_not_input(path, files)
    folder = target if planned.filled and target not in planned.rasters else target.parent
    for place in (folder, *folder.absolute().parents):
        if place.exists() and not place.is_dir():
            msg = f"{place} is a file, and a folder is expected. Choose another place with -o."
            raise OutputError(msg)
    there = [path for path in (*planned.all, *planned.beside) if path.exists() or path.is_symlink()]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        msg = f"{there[0]}{more} is already there."
        raise OutputError(msg, call="Use overwrite=True, or another out=.", option="Use --overwrite, or another -o.")
    for path in there:
        known = formats.by_ending(path)
        wanted = known is not None and known.folder
        if path.is_dir() != wanted or (wanted and any(path.iterdir()) and not formats.is_zarr(path)):
            kind = "Zarr store" if wanted else "file"
            msg = f"{path} is there and is no {kind}; it is not replaced. Choose another place with -o."
            raise OutputError(msg)
    try:
        with tempfile.TemporaryFile(dir=existing_folder(folder / "x")):
            pass
    except OSError as error:
        msg = f"{folder} cannot be written to: {error.strerror or error}. Choose another place with -o."
        raise OutputError(msg) from error
    needed, free = least_size(planned, files), free_space(folder / "x")
    if needed > free:
        msg = (
            f"{folder} has {free / 1e6:.1f} MB free, and at least {needed / 1e6:.1f} MB are needed. Free some "
            "space, or choose another disk with -o."
        )
        raise OutputError(msg)
    return planned


def _check_not_input(path: Path, files: Files) -> None:
    """Compare with every input by inode, and by folder for Zarr stores: also through links."""
    real = Path(os.path.realpath(path))
    for name in filter(os.path.exists, files.inputs):
        source = Path(os.path.realpath(name))
        inside = source.is_dir() and source in real.parents
        around = real.is_dir() and real in source.parents
        if inside or around or source == real or (path.exists() and os.path.samefile(path, name)):
            msg = f"{path} is an input ({name}), and inputs are never overwritten. Choose another place with -o."
            raise OutputError(msg)


def least_size(planned: Written, files: Files) -> int:
    """Return bytes the output takes at least: a check that is wrong should err by letting a run begin."""
    raster = files.raster
    parts = [raster] if isinstance(raster, xr.DataArray) else raster.data_vars.values()
    raw = sum(part.nbytes for part in parts)
    sizes = [os.path.getsize(header.path) for header in files.headers if os.path.isfile(header.path)]
    if planned.filled and sizes and any("COMPRESSION" in header.structure for header in files.headers):
        share = 1.0 if files.carried else len(files.bands) / files.headers[0].count
        return int(min(raw, sum(sizes) * share))
    return raw if planned.filled else raw // 3


def _check_ending(out: PathLike) -> None:
    """Raise where an output is neither a file of a kind that is written here nor a folder.

    A folder has no ending, is there already, or ends in a slash.
    """
    path = Path(out)
    if os.fspath(out).endswith(("/", os.sep)) or path.is_dir() or formats.by_ending(out) is not None:
        return
    owner = next((known for known in formats.FORMATS if known.beside and known.beside == path.suffix.lower()), None)
    if owner is not None:
        image = path.with_suffix(owner.endings[0])
        found = f"{out} is an {owner.name} header, which is written beside its image. Name the image:"
        raise OutputError(found, call=f"out={str(image)!r}", option=f"-o {image}")
    if _ENDING.search(path.name):
        listed = ", ".join(f"{', '.join(known.endings)} ({known.name})" for known in formats.FORMATS)
        found = f"{out} ends in {path.suffix}, which is not written here. Known endings are {listed}; a folder ends in a slash:"
        plain = path.with_suffix("")
        raise OutputError(found, call=f"out='{plain}.tif' or out='{out}/'", option=f"-o {plain}.tif, or -o {out}/")
