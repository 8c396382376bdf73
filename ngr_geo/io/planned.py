"""Which files a result will be written to, and whether they can be: known before anything is solved."""

import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ..errors import OutputError
from . import containers
from .headers import headers_of
from .names import ENVI, NETCDF, TIFF, ZARR
from .remote import is_url
from .stack import PathLike, Stack
from .target import existing_folder, free_space

_KNOWN = ".tif, .tiff (GeoTIFF), .img, .dat, .bsq, .bil, .bip (ENVI), .nc, .nc4, .cdf, .netcdf (NetCDF) and .zarr"
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,8}$")  # not that of "mosaic_v1.2"


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

    def layer(self, kind: str) -> tuple[Path, ...]:
        """Return the sidecars of a kind of `cube.LAYERS`."""
        paths: tuple[Path, ...] = getattr(self, kind)
        return paths


def outputs(out: PathLike, stack: Stack, layers: Collection[str] = ()) -> Written:
    """Return the files that `write_stack` would write.

    Args:
        out: a folder for GeoTIFFs, one per date under the input's name with NAME_filled.tif beside it; NAME.tif for a
            single date; NAME.nc; or NAME.zarr.
        stack: what was read.
        layers: some of `cube.LAYERS`, each with a NAME_uncertainty.tif or NAME_change.tif beside each GeoTIFF.

    Raises:
        OutputError: one file for several dates, or two inputs of one name.
    """
    if is_url(out):
        found = f"{out} is a URL, and files are written on this machine first."
        raise OutputError(
            found, call="Write to a path, then bring it there with fsspec: fs.put(path, url, recursive=True)."
        )
    target = Path(out)
    suffix = target.suffix.lower()
    if suffix in NETCDF or suffix == ZARR:
        return Written((target,))
    _check_ending(out)
    headers = headers_of(stack.raster, stack)
    if (suffix in TIFF or suffix in ENVI) and not target.is_dir():
        if len(headers) > 1:
            folder = f"{target.with_suffix('')}{os.sep}"
            msg = f"{out} is one file, and there are {len(headers)} dates. Give a folder, a .nc or a .zarr: -o {folder}"
            raise OutputError(msg)
        rasters = [target]
    else:
        rasters = [target / f"{os.path.splitext(header.name)[0]}.tif" for header in headers]
        if stack.headers:  # keep .TIF and .tiff
            rasters = [
                target / header.name if Path(header.name).suffix.lower() in TIFF else path
                for header, path in zip(headers, rasters, strict=True)
            ]
    filled = [path.with_name(f"{path.stem}_filled.tif") for path in rasters]
    beside = {kind: tuple(path.with_name(f"{path.stem}_{kind}.tif") for path in rasters) for kind in layers}
    planned = Written(tuple(rasters), tuple(filled), **beside)
    names = [str(path) for path in planned.all]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        msg = f"Two inputs would be written to {twice[0]}, as they have one name. Rename one, or write to .nc or .zarr."
        raise OutputError(msg)
    return planned


def check_output(out: PathLike, stack: Stack, overwrite: bool = False, layers: Collection[str] = ()) -> Written:
    """Return the files that will be written, once it is clear that they can be; to be called before solving.

    Raises:
        OutputError: the output exists (and `overwrite` is False), is an input, cannot be written, or has no room.
    """
    target, planned = Path(out), outputs(out, stack, layers)
    for path in planned.all:
        _check_not_input(path, stack)
    folder = target if planned.filled and target not in planned.rasters else target.parent
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file, and a folder is expected. Choose another place with -o."
        raise OutputError(msg)
    headers = [path.with_suffix(".hdr") for path in planned.rasters if path.suffix.lower() in ENVI]
    for path in headers:
        _check_not_input(path, stack)
    there = [path for path in (*planned.all, *headers) if path.exists() or path.is_symlink()]
    if there and not overwrite:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        msg = f"{there[0]}{more} is already there."
        raise OutputError(msg, call="Use overwrite=True, or another out=.", option="Use --overwrite, or another -o.")
    for path in there:
        wanted = path.suffix == ZARR
        if path.is_dir() != wanted or (wanted and any(path.iterdir()) and not containers.is_zarr(path)):
            kind = "Zarr store" if wanted else "file"
            msg = f"{path} is there and is no {kind}; it is not replaced. Choose another place with -o."
            raise OutputError(msg)
    _check_writable(folder)
    needed, free = least_size(planned, stack), free_space(folder / "x")
    if needed > free:
        msg = (
            f"{folder} has {free / 1e6:.1f} MB free, and at least {needed / 1e6:.1f} MB are needed. Free some "
            "space, or choose another disk with -o."
        )
        raise OutputError(msg)
    return planned


def _check_not_input(path: Path, stack: Stack) -> None:
    """Compare with every input by inode, and by folder for Zarr stores: also through links."""
    real = Path(os.path.realpath(path))
    for name in stack.inputs:
        if not os.path.exists(name):
            continue
        source = Path(os.path.realpath(name))
        inside = source.is_dir() and source in real.parents
        around = real.is_dir() and real in source.parents
        if inside or around or source == real or (path.exists() and os.path.samefile(path, name)):
            msg = f"{path} is an input ({name}), and inputs are never overwritten. Choose another place with -o."
            raise OutputError(msg)


def _check_writable(folder: Path) -> None:
    existing = folder if folder.is_dir() else existing_folder(folder)
    above = next((parent for parent in folder.absolute().parents if parent.exists() and not parent.is_dir()), None)
    try:
        if above is not None:
            reason = f"{above} is a file"
            raise NotADirectoryError(reason)
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        msg = f"{folder} cannot be written to: {error.strerror or error}. Choose another place with -o."
        raise OutputError(msg) from error


def least_size(planned: Written, stack: Stack) -> int:
    """Return bytes the output takes at least: a check that is wrong should err by letting a run begin."""
    raster = stack.raster
    raw = (
        raster.nbytes
        if isinstance(raster, xr.DataArray)
        else sum(variable.nbytes for variable in raster.data_vars.values())
    )
    sizes = [os.path.getsize(header.path) for header in stack.headers if os.path.isfile(header.path)]
    if planned.filled and sizes and any("COMPRESSION" in header.structure for header in stack.headers):
        share = 1.0 if stack.carried else len(stack.bands) / stack.headers[0].count
        return int(min(raw, sum(sizes) * share))
    return raw if planned.filled else raw // 3


def _check_ending(out: str | os.PathLike[str]) -> None:
    """Raise where an output is neither a file of a kind that is written here nor a folder.

    A folder has no suffix, is there already, or ends in a slash.
    """
    text, path = os.fspath(out), Path(out)
    suffix = path.suffix.lower()
    if text.endswith(("/", os.sep)) or path.is_dir() or suffix in TIFF or suffix in ENVI:
        return
    if suffix == ".hdr":
        msg = f"{out} is an ENVI header, which is written beside its image. Name the image:"
        raise OutputError(msg, call=f"out={str(path.with_suffix('.img'))!r}", option=f"-o {path.with_suffix('.img')}")
    if _SUFFIX.search(path.name):
        found = f"{out} ends in {path.suffix}, which is not written here. Known endings are {_KNOWN}; a folder ends in a slash:"
        plain = path.with_suffix("")
        raise OutputError(found, call=f"out='{plain}.tif' or out='{out}/'", option=f"-o {plain}.tif, or -o {out}/")
