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
from .geotiff import FILLED_TAG, Header, read_header


def with_record(
    raster: xr.DataArray, headers: Sequence[Header], names: Sequence[str], numbers: Sequence[int]
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Return a raster with what an earlier verb left in its files, and the sidecars NAME_filled.tif that say what was filled.

    The coordinate `filled` is there where one of the files has such a sidecar; the history where a file has one.

    Args:
        raster: what was read, (time, band, y, x) or without time.
        headers: of its files, one per date.
        names: of all bands of a file.
        numbers: from 1, of those that were read.

    Raises:
        GridError: a sidecar on another grid than its file.
    """
    steps: list[dict[str, Any]] = []
    for header in headers:
        steps += [step for step in record.history(header.tags[""]) if step not in steps]
    if steps:
        raster = raster.assign_attrs({record.BEFORE: json.dumps(steps)})
    sidecars = [_sidecar(header) for header in headers]
    if not any(sidecars):
        return raster, ()
    lazy = bool(raster.chunks)
    shape = headers[0].shape
    parts = [_filled(sidecar, shape, names, numbers, lazy) for sidecar in sidecars]
    count = max(part.shape[0] for part in parts)
    xp = dask.array if lazy else np
    filled: Any = xp.stack([xp.broadcast_to(part, (count, *shape)) for part in parts])
    dims = [dim for dim in ("time", "band", "y", "x") if dim in raster.dims and (dim != "band" or count > 1)]
    filled = filled if count > 1 else filled[:, 0]
    filled = filled if "time" in raster.dims else filled[0]
    found = tuple(sidecar.path for sidecar in sidecars if sidecar is not None)
    return raster.assign_coords({record.FILLED: (dims, filled, record.mark(record.FILLED))}), found


def content(header: Header) -> str | None:
    """Return what a file says that it is: one of `geotiff.SIDECARS`, None for an image. rioxarray writes the attribute as it is."""
    tags = {key.upper(): value for key, value in header.tags[""].items()}
    return tags.get(FILLED_TAG)


def _sidecar(header: Header) -> Header | None:
    """Return the sidecar NAME_filled.tif of a file, if there is one that a verb wrote."""
    path = f"{os.path.splitext(header.path)[0]}_{record.FILLED}.tif"
    if not os.path.isfile(path) or not os.path.isfile(header.path):
        return None
    found = read_header(path)
    if content(found) != record.FILLED:
        return None
    if found.shape != header.shape or found.crs != header.crs:
        msg = f"{path} says which pixels of {header.path} were filled, and is not on its grid. Move it away, or write it anew."
        raise GridError(msg)
    return found


def _filled(
    sidecar: Header | None, shape: tuple[int, int], names: Sequence[str], numbers: Sequence[int], lazy: bool
) -> Any:
    """Return which pixels (1 or band, y, x) of a file were filled; none where it has no sidecar."""
    if sidecar is None:
        return (dask.array if lazy else np).zeros((1, *shape), bool)
    wanted = [f"{record.FILLED} {names[number - 1]}" for number in numbers]
    known = list(sidecar.band_names)
    if sidecar.count > 1 and set(wanted) <= set(known):
        picked = tuple(known.index(name) + 1 for name in wanted)
    elif sidecar.count in (1, len(numbers)):
        picked = tuple(range(1, sidecar.count + 1))
    else:  # of other bands: a pixel counts where any of them was filled
        every = tuple(range(1, sidecar.count + 1))
        return _pixels(sidecar, every, lazy).any(axis=0, keepdims=True)
    return _pixels(sidecar, picked, lazy)


def _pixels(sidecar: Header, picked: tuple[int, ...], lazy: bool) -> Any:
    names = tuple(str(number) for number in range(1, sidecar.count + 1))
    return rasters.read_raster([sidecar], names, picked, None, lazy).data != 0
