"""A result written whole or not at all: GeoTIFFs like the inputs, a NetCDF file or a Zarr store.

Everything is written under a hidden temporary name beside its place and renamed when all of it is finished, so that an
error, a full disk or Ctrl-C at any moment leaves neither half a file nor half a stack.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import dask
import dask.array
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr

from .. import atomic, record
from ..atomic import PathLike
from ..errors import OutputError
from ..progress import Progress, silent
from ..raster import cube as cubes
from . import containers, earlier, formats, rasters
from .headers import headers_of, sidecar_header, subset
from .planned import Written, check_output
from .rasterfile import Header, read_header
from .stack import Files, read_stack
from .target import Target, naming_errors

LOGGER = logging.getLogger(__name__)


def write_stack(
    result: xr.DataArray | xr.Dataset,
    stack: Files,
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
        progress: called with ("write", dates done, dates in all).

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
            _write_dataset(result, stack, planned.rasters[0])
            (progress or silent)("write", 1, 1)
    for path in planned.all:
        LOGGER.info("wrote %s", path)
    return planned


def read_back(written: Written, stack: Files) -> xr.DataArray | xr.Dataset:
    """Return what was written, as a lazy raster with its coordinates, "filled" among them: a result too large for memory."""
    if not written.filled:
        return read_stack(written.rasters[0]).raster
    headers = [read_header(str(path)) for path in written.rasters]
    names = rasters.band_names(headers)
    numbers = tuple(number for number in range(1, len(names) + 1) if number not in stack.carried)
    times = stack.raster["time"].values if "time" in stack.raster.dims else None
    raster = rasters.read_raster(headers, names, numbers, times, lazy=True)
    raster, _ = earlier.with_filled(raster, headers, names, numbers)
    for kind in filter(written.layer, cubes.LAYERS):
        sidecars = [read_header(str(path)) for path in written.layer(kind)]
        layer = rasters.read_raster(sidecars, names, tuple(range(1, len(numbers) + 1)), times, lazy=True)
        raster = raster.assign_coords({kind: layer.variable})
    return raster


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


class _Layer(NamedTuple):
    """What goes into one file per date: values (time, band, y, x), NumPy or Dask; `carried` bands come from the input."""

    values: Any
    headers: Sequence[Header]
    paths: Sequence[Path]
    carried: tuple[int, ...] = ()


class _Dates:
    """One target per date that looks to Dask like an array (time, band, y, x)."""

    def __init__(self, targets: list[Target]) -> None:
        self.targets = targets

    def __setitem__(self, key: tuple[slice, ...], values: np.ndarray) -> None:
        dates, _, rows, columns = key
        for target, block in zip(self.targets[dates], values, strict=True):
            target.write(block, rows, columns)


def _write_rasters(result: xr.DataArray | xr.Dataset, stack: Files, planned: Written, progress: Progress) -> None:
    """Write the rasters and their sidecars date by date, or, where they are lazy, all at once: a solved tile serves all of them."""
    layers = _as_layers(result, stack, planned)
    lazy, count = dask.is_dask_collection(layers[0].values), len(planned.rasters)
    targets: list[list[Target]] = []  # of each date, one for each layer
    try:
        for dates in [range(count)] if lazy else [range(date, date + 1) for date in range(count)]:
            for date in dates:
                targets.append([])
                for number, layer in enumerate(layers):
                    notes = {} if number else _notes(result, date)
                    targets[-1].append(Target(layer.paths[date], layer.headers[date], layer.carried, notes))
            if lazy:
                stores: Any = [_Dates(list(column)) for column in zip(*targets, strict=True)]
                # Open files are no worker's business.
                dask.array.store([layer.values for layer in layers], stores, lock=False, scheduler="threads")
            else:
                for target, layer in zip(targets[-1], layers, strict=True):
                    target.write(layer.values[dates[0]], *map(slice, layer.values.shape[-2:]))
            for date in dates:
                for target in targets[date]:
                    target.finish()
                progress("write", date + 1, count)
        for target in chain(*targets):
            target.publish()
    except BaseException:
        for target in chain(*targets):
            target.discard()
        raise


def _as_layers(result: xr.DataArray | xr.Dataset, stack: Files, planned: Written) -> list[_Layer]:
    """Return the values, which pixels were filled, and the layers that there are.

    All dates and bands of a place are together: date by date, every block would be kept in memory until its last one is written.
    """
    cube = cubes.read(result)
    dims = tuple(dim or name for dim, name in zip(cube.dims, ("time", "band", "", ""), strict=True))

    def together(data: Any) -> Any:
        return dask.array.asarray(data).rechunk({0: -1, 1: -1}) if cube.lazy else np.asarray(data)

    headers = headers_of(result, stack)
    plain = [subset(header, stack.bands) if stack.carried else header for header in headers]
    filled = together(cubes.laid_out(result.coords["filled"], dims)).astype(np.uint8)
    one = filled.shape[1] == 1
    names = [["filled"] if one else [f"filled {n or i}" for i, n in enumerate(h.band_names, start=1)] for h in plain]
    sidecars = [sidecar_header(header, "filled", of_bands) for header, of_bands in zip(plain, names, strict=True)]
    found = [
        _Layer(together(cube.values), headers, planned.rasters, stack.carried),
        _Layer(filled, sidecars, planned.filled),
    ]
    for kind, layer in _layers(result).items():
        sidecars = [sidecar_header(header, kind, header.band_names) for header in plain]
        found.append(_Layer(together(cubes.laid_out(layer, dims)), sidecars, planned.layer(kind)))
    return found


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


def _notes(result: xr.DataArray | xr.Dataset, date: int) -> dict[str, str]:
    """Return what the verb noted about itself, as tags; of the dates only this one."""
    notes = {key: str(value) for key, value in record.notes_in(result.attrs).items()}
    if "ngr_dates" in notes:
        notes["ngr_dates"] = json.dumps(json.loads(notes["ngr_dates"])[date])
    return notes


def _write_dataset(result: xr.DataArray | xr.Dataset, stack: Files, path: Path) -> None:
    """Write a NetCDF file or Zarr store, under a temporary name until it is whole."""
    known = formats.by_ending(path)
    assert known is not None and known.save is not None
    dataset = containers.assemble(result, stack.dataset)
    if stack.filled == "variable":
        dataset = record.with_variable(dataset)
    with naming_errors(path), atomic.replacing(path) as temporary:
        known.save(dataset, temporary, stack.inputs[0])
