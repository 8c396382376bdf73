"""A result written whole or not at all: GeoTIFFs like the inputs, a NetCDF file or a Zarr store.

Everything is written under a hidden temporary name beside its place and renamed when all of it is finished, so that an
error, a full disk or Ctrl-C at any moment leaves neither half a file nor half a stack.
"""

import json
import math
import os
import tempfile
from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import dask.array
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from .. import atomic
from ..errors import OutputError
from ..progress import Progress, silent
from ..raster import cube as cubes
from . import containers, rasters
from .endings import TIFF, check
from .geotiff import SPECTRAL, Header, read_header, windows
from .remote import is_url
from .stack import PathLike, Stack, read_stack
from .target import (
    ENVI,
    Target,
    as_cog,
    existing_folder,
    filled_header,
    free_space,
    layer_header,
    naming_errors,
    subset,
)


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
        """The sidecars of a kind of `cube.LAYERS`."""
        paths: tuple[Path, ...] = getattr(self, kind)
        return paths


def outputs(out: PathLike, stack: Stack, layers: Collection[str] = ()) -> Written:
    """The files that `write_stack` would write.

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
    if suffix in containers.NETCDF or suffix == ".zarr":
        return Written((target,))
    check(out)
    headers = _headers(stack.raster, stack)
    if (suffix in TIFF or suffix in ENVI) and not target.is_dir():
        if len(headers) > 1:
            folder = f"{target.with_suffix('')}{os.sep}"
            msg = f"{out} is one file, and there are {len(headers)} dates. Give a folder, a .nc or a .zarr: -o {folder}"
            raise OutputError(msg)
        rasters = [target]
    else:
        rasters = [target / f"{_stem(header.name)}.tif" for header in headers]
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
    """The files that will be written, once it is clear that they can be; to be called before solving.

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
        wanted = path.suffix == ".zarr"
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
    """Bytes the output takes at least: a check that is wrong should err by letting a run begin."""
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


def write_stack(
    result: xr.DataArray | xr.Dataset,
    stack: Stack,
    out: PathLike,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """The files written: rasters like the inputs, and which pixels were filled.

    GeoTIFFs get the grid, tiling, compression (lossless ones), predictor, dtype, nodata, band names, colours, scales,
    units, tags and overviews of the input of the same date; statistics are left out; a COG becomes a COG. A Dataset
    goes back with all its variables and encodings.

    Args:
        result: what a verb made of `stack.raster`, with its coordinate "filled". Dask is computed block by block.
        stack: from `read_stack`.
        out: where to: see `outputs`.
        overwrite: replace what is there. Inputs are never replaced.
        progress: called with ("write", files done, files in all).

    Raises:
        OutputError: see `check_output`; or the disk is full. Nothing is left behind then.
    """
    planned = check_output(out, stack, overwrite, _layers(result))
    for path in planned.all:
        atomic.sweep(path)
    with _folder(planned.rasters[0].parent):
        if planned.filled:
            _write_rasters(result, stack, planned, progress or silent)
        else:
            _write_container(result, stack, planned.rasters[0])
            (progress or silent)("write", 1, 1)
    return planned


def read_back(written: Written, stack: Stack) -> xr.DataArray | xr.Dataset:
    """What was written, as a lazy raster with its coordinates, "filled" among them: a result too large for memory."""
    if not written.filled:
        return read_stack(written.rasters[0]).raster
    headers, masks = ([read_header(str(path)) for path in paths] for paths in (written.rasters, written.filled))
    names = rasters.band_names(headers)
    numbers = tuple(number for number in range(1, len(names) + 1) if number not in stack.carried)
    times = stack.raster["time"].values if "time" in stack.raster.dims else None
    raster = rasters.read_raster(headers, names, numbers, times, lazy=True)
    if masks[0].count == 1:
        filled = rasters.read_band(masks, 1, times, lazy=True).drop_vars("spatial_ref")
    else:  # different pixels in each band
        filled = _sidecar(masks, raster)
    raster = raster.assign_coords(filled=filled.astype(bool))
    for kind in cubes.LAYERS:
        if written.layer(kind):
            sidecars = [read_header(str(path)) for path in written.layer(kind)]
            raster = raster.assign_coords({kind: _sidecar(sidecars, raster)})
    return raster


def _sidecar(headers: Sequence[Header], raster: xr.DataArray) -> xr.DataArray:
    """A sidecar with a layer for each band of a raster, lazy, without coordinates of its own."""
    names = tuple(str(name) for name in raster["band"].values)
    times = raster["time"].values if "time" in raster.dims else None
    layers = rasters.read_raster(headers, names, tuple(range(1, len(names) + 1)), times, lazy=True)
    return layers.drop_vars([name for name in layers.coords if name not in layers.dims])


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make a folder and those above it; take away those that were made where writing fails."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{path} cannot be made: {error.strerror}. Choose another place with -o."
        raise OutputError(msg) from error
    try:
        yield
    except BaseException:
        for folder in made:
            try:
                folder.rmdir()
            except OSError:
                break  # someone else has put a file there
        raise


def _write_rasters(result: xr.DataArray | xr.Dataset, stack: Stack, planned: Written, progress: Progress) -> None:
    headers = _headers(result, stack)
    array, filled, told = _as_arrays(result)
    layers = [_Layer(array, headers, planned.rasters, stack.carried)]
    sidecars = [filled_header(header, _filled_names(header, filled.shape[1])) for header in headers]
    layers.append(_Layer(filled.astype(np.uint8), sidecars, planned.filled))
    for kind, values in told.items():
        sidecars = [layer_header(subset(h, stack.bands) if stack.carried else h, kind) for h in headers]
        layers.append(_Layer(values, sidecars, planned.layer(kind)))
    targets: list[Target] = []
    try:
        if isinstance(array, np.ndarray):
            for date in range(len(headers)):
                for number, layer in enumerate(layers):
                    targets.append(layer.target(date, {} if number else _notes(result, date)))
                    _fill(targets[-1], np.asarray(layer.values[date]))
                progress("write", date + 1, len(headers))
        else:
            for date in range(len(headers)):
                targets += [layer.target(date, {} if n else _notes(result, date)) for n, layer in enumerate(layers)]
            # One computation for all: a tile that was solved serves all dates and the masks.
            sheaves: Any = [_Sheaf(targets[number :: len(layers)]) for number in range(len(layers))]
            sources = [layer.values for layer in layers]
            dask.array.store(sources, sheaves, lock=False, scheduler="threads")  # open files are no worker's business
            for number, target in enumerate(targets, start=1):
                target.finish()
                progress("write", number, len(targets))
        for target in targets:
            target.publish()
    except BaseException:
        for target in targets:
            target.discard()
        raise


class _Layer(NamedTuple):
    """What goes into one file per date: values (time, band, y, x), NumPy or Dask; `carried` bands come from the input."""

    values: Any
    headers: Sequence[Header]
    paths: Sequence[Path]
    carried: tuple[int, ...] = ()

    def target(self, date: int, notes: dict[str, str]) -> Target:
        """Return the file of a date, begun."""
        return Target(self.paths[date], self.headers[date], self.carried, notes)


def _fill(target: Target, values: np.ndarray) -> None:
    for window in windows(values.shape[-2:], 2048):
        rows, columns = window.toslices()
        target.write(values[:, rows, columns], rows, columns)
    target.finish()


class _Sheaf:
    """One target per date that looks to Dask like an array (time, band, y, x)."""

    def __init__(self, targets: list[Target]) -> None:
        self.targets = targets

    def __setitem__(self, key: tuple[slice, ...], values: np.ndarray) -> None:
        dates, _, rows, columns = key
        for date, block in zip(range(dates.start, dates.stop), values, strict=True):
            self.targets[date].write(block, rows, columns)


def _as_arrays(result: xr.DataArray | xr.Dataset) -> tuple[Any, Any, dict[str, Any]]:
    """Values (time, band, y, x), filled (time, 1 or band, y, x) and the layers that there are, NumPy or Dask.

    All dates and bands of a place are together: date by date, every block would be kept in memory until its last one is written.
    """
    cube = cubes.read(result)
    filled = result.coords["filled"]
    time, band, row, column = (dim or name for dim, name in zip(cube.dims, ("time", "band", "", ""), strict=True))

    def whole(part: xr.DataArray) -> Any:
        missing = [dim for dim in (time, band) if dim not in part.dims]
        part = part.drop_vars(missing, errors="ignore").expand_dims(missing)
        data = part.transpose(time, band, row, column).data
        return dask.array.asarray(data).rechunk({0: -1, 1: -1}) if cube.lazy else np.asarray(data)

    values = cube.values.rechunk({0: -1, 1: -1}) if cube.lazy else cube.values
    return values, whole(filled), {kind: whole(layer) for kind, layer in _layers(result).items()}


def _layers(result: xr.DataArray | xr.Dataset) -> dict[str, xr.DataArray]:
    """The coordinates of `cube.LAYERS`, those of a Dataset's variables put together."""
    if isinstance(result, xr.DataArray):
        return {kind: result.coords[kind] for kind in cubes.LAYERS if kind in result.coords}
    bands, found = cubes.read(result).names, {}
    for kind in cubes.LAYERS:
        names = [f"{name}_{kind}" for name in bands]
        if set(names) <= set(result.coords):
            found[kind] = xr.concat([result.coords[n].reset_coords(drop=True) for n in names], "band")
    return found


def _filled_names(header: Header, count: int) -> tuple[str | None, ...]:
    return (
        ("filled",)
        if count == 1
        else tuple(f"filled {name or number}" for number, name in enumerate(header.band_names, 1))
    )


def _notes(result: xr.DataArray | xr.Dataset, date: int) -> dict[str, str]:
    """What the verb noted about itself, as tags; of the dates only this one."""
    notes = {key: str(value) for key, value in result.attrs.items() if key.startswith("ngr_")}
    if "ngr_dates" in notes:
        notes["ngr_dates"] = json.dumps(json.loads(notes["ngr_dates"])[date])
    return notes


def _headers(raster: xr.DataArray | xr.Dataset, stack: Stack) -> list[Header]:
    """What each date's GeoTIFF is to be like: its input, or for NetCDF and Zarr a tiled and deflated one."""
    if stack.headers:
        headers = [header if stack.carried else subset(header, stack.bands) for header in stack.headers]
    else:
        headers = _invented_headers(raster, stack.inputs[0])
    return [as_cog(header) for header in headers] if stack.cog else headers


def _invented_headers(raster: xr.DataArray | xr.Dataset, source: str) -> list[Header]:
    cube = cubes.read(raster)
    one = raster[cube.names[0]] if isinstance(raster, xr.Dataset) else raster
    dtypes = {str(raster[name].dtype) for name in cube.names} or {str(raster.dtype)}
    if len(dtypes) > 1:
        kinds = ", ".join(sorted(dtypes))
        msg = f"{source} holds bands of different dtypes ({kinds}), which a GeoTIFF cannot. Write to a .nc or .zarr."
        raise OutputError(msg)
    nodata = cubes.nodata(one)
    if nodata is None and one.dtype.kind == "f":
        nodata = math.nan
    count = len(cube.bands)
    kind = np.dtype(next(iter(dtypes))).kind
    header = Header(
        path="",
        driver="GTiff",
        shape=cube.shape[-2:],
        dtypes=tuple(dtypes) * count,
        crs=None if raster.rio.crs is None else CRS.from_user_input(raster.rio.crs),
        transform=raster.rio.transform(recalc=True),
        nodata=nodata,
        band_names=cube.bands,
        colorinterp=(ColorInterp.gray,) + (ColorInterp.undefined,) * (count - 1),
        scales=(float(one.attrs.get("scale_factor", 1.0)),) * count,
        offsets=(float(one.attrs.get("add_offset", 0.0)),) * count,
        units=(one.attrs.get("units"),) * count,
        tags={"": {}},
        band_tags=_band_tags(one, cube.dims[1], count),
        blocks=None,
        structure={"COMPRESSION": "DEFLATE", "PREDICTOR": "3" if kind == "f" else "2"},
        overviews=(),
    )
    stem = _stem(os.path.basename(source.rstrip("/")))
    names = [name.replace(":", "").replace("/", "-") for name in cube.dates]
    named = [stem] if len(names) == 1 and cube.dims[0] is None else [f"{stem}_{name}" for name in names]
    return [replace(header, path=f"{name}.tif") for name in named]


def _band_tags(raster: xr.DataArray, dim: Hashable | None, count: int) -> tuple[dict[str, str], ...]:
    """What a NetCDF file or Zarr store says of every band, as a GeoTIFF does."""
    tags: tuple[dict[str, str], ...] = tuple({} for _ in range(count))
    for name in SPECTRAL:
        if name not in raster.coords or raster[name].dims != (dim,):
            continue
        units = raster[name].attrs.get("units")
        for band, value in zip(tags, raster[name].values, strict=True):
            band[name] = f"{float(value):g}"
            if name == "wavelength" and units:
                band["wavelength_units"] = str(units)
    return tags


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _write_container(result: xr.DataArray | xr.Dataset, stack: Stack, path: Path) -> None:
    """A NetCDF file or Zarr store, under a temporary name until it is whole."""
    dataset = containers.assemble(result, stack.dataset)
    with naming_errors(path), atomic.replacing(path) as temporary:
        if path.suffix.lower() == ".zarr":
            containers.save_zarr(dataset, temporary, stack.inputs[0])
        else:
            containers.save_netcdf(dataset, temporary)
