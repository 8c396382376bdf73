"""A result written whole or not at all: GeoTIFFs like the inputs, a NetCDF file or a Zarr store.

Everything is written under a hidden temporary name beside its place and renamed when all of it is finished, so that an
error, a full disk or Ctrl-C at any moment leaves neither half a file nor half a stack.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dask.array
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from .. import atomic
from ..errors import OutputError
from ..progress import Progress, silent
from ..raster import cube as cubes
from . import containers, maskfiles, rasters
from .geotiff import Header, read_header, windows
from .headers import filled_header, headers_of, layer_header, subset
from .names import ZARR
from .planned import Written, check_output
from .stack import PathLike, Stack, read_stack
from .target import Target, naming_errors


def write_stack(
    result: xr.DataArray | xr.Dataset,
    stack: Stack,
    out: PathLike,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write a result as rasters like the inputs, with which pixels were filled, and return the files.

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
    """Return what was written, as a lazy raster with its coordinates, "filled" among them: a result too large for memory."""
    if not written.filled:
        return read_stack(written.rasters[0]).raster
    headers, masks = ([read_header(str(path)) for path in paths] for paths in (written.rasters, written.filled))
    names = rasters.band_names(headers)
    numbers = tuple(number for number in range(1, len(names) + 1) if number not in stack.carried)
    times = stack.raster["time"].values if "time" in stack.raster.dims else None
    raster = rasters.read_raster(headers, names, numbers, times, lazy=True)
    if masks[0].count == 1:
        filled = maskfiles.read_band(masks, 1, times, lazy=True).drop_vars("spatial_ref")
    else:  # different pixels in each band
        filled = _sidecar(masks, raster)
    raster = raster.assign_coords(filled=filled.astype(bool))
    for kind in cubes.LAYERS:
        if written.layer(kind):
            sidecars = [read_header(str(path)) for path in written.layer(kind)]
            raster = raster.assign_coords({kind: _sidecar(sidecars, raster)})
    return raster


def _sidecar(headers: Sequence[Header], raster: xr.DataArray) -> xr.DataArray:
    """Return a sidecar with a layer for each band of a raster, lazy, without coordinates of its own."""
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
    headers = headers_of(result, stack)
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
    """Return values (time, band, y, x), filled (time, 1 or band, y, x) and the layers that there are, NumPy or Dask.

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
    """Return the coordinates of `cube.LAYERS`, those of a Dataset's variables put together."""
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
    """Return what the verb noted about itself, as tags; of the dates only this one."""
    notes = {key: str(value) for key, value in result.attrs.items() if key.startswith("ngr_")}
    if "ngr_dates" in notes:
        notes["ngr_dates"] = json.dumps(json.loads(notes["ngr_dates"])[date])
    return notes


def _write_container(result: xr.DataArray | xr.Dataset, stack: Stack, path: Path) -> None:
    """Write a NetCDF file or Zarr store, under a temporary name until it is whole."""
    dataset = containers.assemble(result, stack.dataset)
    with naming_errors(path), atomic.replacing(path) as temporary:
        if path.suffix.lower() == ZARR:
            containers.save_zarr(dataset, temporary, stack.inputs[0])
        else:
            containers.save_netcdf(dataset, temporary)
