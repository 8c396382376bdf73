"""What of a raster is missing: its clouds, a mask of the user's, or nodata, as arrays of its cube."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr

from ..errors import MaskError, warn
from ..wording import listed
from . import cube as cubes
from . import footprint, maskcheck, masks, plausible
from .cube import Cube
from .windows import regions


class Clouded(NamedTuple):
    """A cube and its cloud mask (time, y, x), grown; what that was made of, the warnings about it, and what it was given as."""

    cube: Cube
    mask: Any
    record: dict[str, Any]
    notes: list[str]
    given: Any


class Gaps(NamedTuple):
    """A cube, what of it is missing (time, band, y, x), how far that is filled, and what the mask was given as."""

    cube: Cube
    missing: Any
    footprint: footprint.Footprint
    given: Any


def clouded(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any,
    classes: Sequence[int] | None,
    dilate: int | None,
    probability: float = 0.5,
    now: bool = False,
) -> Clouded:
    """Return the cube, the cloud mask on its grid, and what it was made of (`masks.with_record`).

    Of a lazy raster the mask is counted and checked at once only with `now`. A mask that was prepared before, for a plan, is
    returned as it is.
    """
    if isinstance(clouds, Clouded):
        return clouds
    name = clouds
    if clouds is None and isinstance(raster, xr.Dataset):
        name = masks.find(raster)
    found = masks.with_record(raster, clouds, classes, dilate, probability, now)
    cube = cubes.read(raster, exclude=[name] if isinstance(name, str) else ())
    cube = plausible.checked(cube, regions(cube.shape), now)
    notes, mask = list(found.notes), _on_cube(cube, found.mask)
    arrays = cube.values, cube.valid, _on_cube(cube, found.plain)[:, None]
    windows = [[a[(..., *r)] for r in regions(cube.shape)] for a in arrays]  # that a scene is learnt from
    if now or not cube.lazy:
        values, valid, masked = dask.compute(*windows)
        notes += maskcheck.inverted(values, valid, masked, cube.bands)
    else:  # checked when anything of the mask is computed: it waits for a False
        mask = mask | da.from_delayed(dask.delayed(_warned_if_inverted)(*windows, cube.bands), (), bool)
    return Clouded(cube, mask, found.record, notes, clouds)


def _warned_if_inverted(*windows: Any) -> np.bool_:
    """Return False, after a warning where a mask looks inverted: see `maskcheck.inverted`."""
    for note in maskcheck.inverted(*windows):
        warn(note)
    return np.False_


def _on_cube(cube: Cube, mask: xr.DataArray) -> Any:
    """Return a mask's data as (time, y, x), of the cube's kind: the verb is lazy exactly where the raster is."""
    time, _, row, column = cube.dims
    data = mask.transpose(*(d for d in (time, row, column) if d is not None and d in mask.dims)).data
    data = data if data.ndim == 3 else data[None]
    if isinstance(data, da.Array) and not cube.lazy:
        return data.compute()
    return (
        data.rechunk({-2: cube.values.chunks[-2], -1: cube.values.chunks[-1]}) if isinstance(data, da.Array) else data
    )


def gaps(raster: xr.DataArray | xr.Dataset, missing: Any, extent: str, now: bool) -> Gaps:
    """Return the gaps of a raster, all of a mask; those that were prepared before, for a plan, as they are."""
    if isinstance(missing, Gaps):
        return missing
    cube = cubes.read(raster, exclude=[missing] if isinstance(missing, str) else ())
    cube = plausible.checked(cube, regions(cube.shape), now)
    if missing is None:
        return Gaps(cube, ~cube.valid, footprint.of(cube, extent, now), missing)
    footprint.check(extent)
    everywhere = footprint.Footprint(np.ones((1, 1, 1, 1), bool), 0)
    return Gaps(cube, missing_mask(cube, missing), everywhere, missing)


def mask_record(missing: Any, otherwise: str = "nodata", extent: str | None = None) -> str:
    """Return as JSON where a mask of missing pixels is from; `otherwise`: what counts where none was given, and its extent."""
    if missing is not None:
        return json.dumps({"source": masks.source(missing)})
    return json.dumps({"source": otherwise, **({} if extent is None else {"extent": extent})})


def missing_mask(cube: Cube, missing: Any) -> Any:
    """Return a boolean mask of missing pixels as (time, band or 1, y, x)."""
    if isinstance(missing, str):
        if isinstance(cube.raster, xr.DataArray) or missing not in cube.raster:
            have = [str(v) for v in getattr(cube.raster, "data_vars", {})]
            msg = f"Found no variable {missing!r} for what is missing; there are {listed(have) or 'none'}."
            raise MaskError(
                msg,
                call="Pass one of them, or a boolean DataArray.",
                option="Name one of them, or mask files: --missing",
            )
        missing = cube.raster[missing]
    shape = cube.shape
    if not isinstance(missing, xr.DataArray):
        missing = np.asarray(missing)
        names = [d for d in cube.dims if d is not None]
        for wanted in (names, [d for d in cube.dims[:1] + cube.dims[2:] if d is not None], list(cube.dims[2:])):
            if len(wanted) == missing.ndim:
                missing = xr.DataArray(missing, dims=wanted)
                break
        else:
            msg = f"Found a mask of shape {missing.shape}, expected the shape of the raster, {dict(cube.raster.sizes)}."
            raise MaskError(msg)
    if missing.dtype.kind != "b":
        msg = f"Found a mask of dtype {missing.dtype}, expected booleans, True where a pixel is missing:"
        raise MaskError(msg, call="pass for example mask == 1.", option="write a mask of 0 and 1.")
    here = [d for d in cube.dims if d is not None and d in missing.dims]
    if set(missing.dims) - set(here) or not set(cube.dims[2:]) <= set(here):
        msg = f"Found a mask with dimensions {tuple(missing.dims)}, expected some of {[d for d in cube.dims if d is not None]}."
        raise MaskError(msg)
    for axis, dim in enumerate(cube.dims):
        if dim in here and missing.sizes[dim] not in (shape[axis], 1):
            msg = f"Found a mask with {missing.sizes[dim]} along {dim!r}, expected {shape[axis]}: cut it to the raster's grid."
            raise MaskError(msg)
    data = missing.transpose(*here).data
    data = data.compute() if isinstance(data, da.Array) and not cube.lazy else data
    return data[tuple(slice(None) if d in here else None for d in cube.dims)]


def line_mask(cube: Cube, lines: Any) -> Any:
    """Return lines given by hand as a mask: a boolean array or DataArray, column indices, or {'columns': [...], 'rows': [...]}."""
    _, bands, height, width = cube.shape
    if isinstance(lines, xr.DataArray) or (isinstance(lines, np.ndarray) and lines.dtype.kind == "b"):
        return missing_mask(cube, lines)
    table = lines if isinstance(lines, dict) else {"columns": lines}
    unknown = set(table) - {"columns", "rows"}
    if unknown:
        msg = f"Found lines={lines!r}, expected column indices, {{'columns': [...], 'rows': [...]}} or a boolean mask."
        raise MaskError(msg)
    mask = np.zeros((1, 1, height, width), bool)
    for name, size in (("columns", width), ("rows", height)):
        picked = np.atleast_1d(np.asarray(table.get(name, []), dtype=object)).tolist()
        wrong = [i for i in picked if not isinstance(i, int | np.integer) or not -size <= i < size]
        if wrong:
            msg = f"Found {name} {listed(wrong, 5)} in the lines, expected whole numbers from 0 to {size - 1}: pixel indices,"
            raise MaskError(msg, call="not coordinates.", option="not coordinates: --lines 17,18,r12")
        for index in picked:
            mask[..., index] |= name == "columns"
            if name == "rows":
                mask[..., index, :] = True
    return np.broadcast_to(mask, (1, bands, height, width))


def nothing_clear(cube: Cube) -> MaskError:
    """Return the error for a stack without a clear pixel."""
    many = f"any of {len(cube.dates)} dates" if len(cube.dates) > 1 else "the one date"
    return MaskError(
        f"No pixel of {many} is clear, so there is nothing to learn from; expected some: check that 1 means cloud in the mask, and",
        call="classes=[...] and dilate=.",
        option="--classes and --dilate.",
    )
