"""What an earlier verb left in GeoTIFFs: its history in their tags, and beside them which pixels it filled."""

import json
import os
from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from .. import record
from ..errors import GridError
from . import rasters
from .rasterfile import Header, read_header


def with_record(raster: xr.DataArray, headers: Sequence[Header]) -> xr.DataArray:
    """Return a raster with the record of its files, one per date: of several verbs or calls only their history."""
    tags = [record.notes_in(header.tags[""]) for header in headers]
    steps: list[dict[str, Any]] = []
    for found in tags:
        steps += [step for step in record.history(found) if step not in steps]
    if not steps:
        return raster
    first = tags[0]
    if "ngr_verb" not in first or any(record.history(found) != steps for found in tags):
        return raster.assign_attrs({record.BEFORE: json.dumps(steps)})
    common = {key: text for key, text in first.items() if all(found.get(key) == text for found in tags)}
    rows = [row for found in tags for row in record.dates_of(found)]
    return raster.assign_attrs(common | ({"ngr_dates": json.dumps(rows)} if len(rows) == len(tags) else {}))


def with_filled(
    raster: xr.DataArray, headers: Sequence[Header], names: Sequence[str], numbers: Sequence[int]
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Return a raster with its coordinate `filled`, where a verb wrote a sidecar NAME_filled.tif, and these sidecars.

    Args:
        raster: what was read, (time, band, y, x) or without time.
        headers: of its files, one per date.
        names: of all bands of a file.
        numbers: from 1, of those that were read.

    Raises:
        GridError: a sidecar on another grid than its file.
    """
    sidecars = [_sidecar(header) for header in headers]
    if not any(sidecars):
        return raster, ()
    xp = dask.array if raster.chunks else np
    shape = headers[0].shape
    parts = [
        xp.zeros((1, *shape), bool) if sidecar is None else _filled(sidecar, [names[n - 1] for n in numbers], raster)
        for sidecar in sidecars
    ]
    count = max(part.shape[0] for part in parts)
    filled: Any = xp.stack([xp.broadcast_to(part, (count, *shape)) for part in parts])
    dims = [dim for dim in ("time", "band", "y", "x") if dim in raster.dims and (dim != "band" or count > 1)]
    filled = filled if count > 1 else filled[:, 0]
    filled = filled if "time" in raster.dims else filled[0]
    found = tuple(sidecar.path for sidecar in sidecars if sidecar is not None)
    return raster.assign_coords({record.FILLED: (dims, filled, record.mark(record.FILLED))}), found


def _sidecar(header: Header) -> Header | None:
    """Return the sidecar NAME_filled.tif of a file, if there is one that a verb wrote."""
    path = f"{os.path.splitext(header.path)[0]}_{record.FILLED}.tif"
    if not os.path.isfile(path) or not os.path.isfile(header.path):
        return None
    found = read_header(path)
    if found.content != record.FILLED:
        return None
    if found.shape != header.shape or found.crs != header.crs:
        msg = f"{path} says which pixels of {header.path} were filled, and is not on its grid. Move it away, or write it anew."
        raise GridError(msg)
    return found


def _filled(sidecar: Header, bands: Sequence[str], raster: xr.DataArray) -> Any:
    """Return which pixels (1 or band, y, x) of a file were filled, as its sidecar says."""
    known = list(sidecar.band_names)
    wanted = [f"{record.FILLED} {name}" for name in bands]
    numbers = tuple(range(1, sidecar.count + 1))
    if sidecar.count > 1 and set(wanted) <= set(known):
        numbers = tuple(known.index(name) + 1 for name in wanted)
    names = tuple(map(str, range(1, sidecar.count + 1)))
    filled = rasters.read_raster([sidecar], names, numbers, None, bool(raster.chunks)).data != 0
    # Of other bands: a pixel counts where any of them was filled.
    return filled if len(numbers) in (1, len(bands)) else filled.any(axis=0, keepdims=True)
