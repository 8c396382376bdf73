"""What of a raster is missing: its clouds, a mask of the user's, or nodata, as arrays of its cube."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import MaskError, warn
from ..tiling import scheduling
from ..wording import listed
from . import bands as bands_of
from . import cube as cubes
from . import footprint, masks, plausible, products
from .cube import Cube, regions

PRODUCT = "product"
"""What a user says in place of a mask for the bad pixels that the product ships."""
MOST_PIXELS = 40_000
"""Of each date that are looked at for an inverted mask."""
LEAST = 200
"""Bright pixels, and ordinary ones, of all dates, below which nothing is said."""
BRIGHT, ORDINARY = 2.0, 1.3
"""How many times as bright as usual a pixel is that looks like cloud, at least, and one that looks like ground, at most;
thick cloud over land is three to ten times as bright."""
WORSE = 0.4
"""By how much the share of ordinary pixels that are masked exceeds that of bright ones in a mask that looks inverted."""
_VISIBLE = re.compile(r"^(b0?[234]|sr_b[1234]|blue|green|red|band_?0?[1234])(_\w+)?$")


class Clouded(NamedTuple):
    """A cube and its cloud mask (time, y, x), grown; what that was made of, the warnings about it, and what it was given as.

    `plain` is the mask before it was grown, `snow` where its product says snow that counts as clear, or None; `own`: the user made
    it. `shares` is how much refining it changed: see `methods.leaks`.
    """

    cube: Cube
    mask: Any
    record: dict[str, Any]
    notes: list[str]
    given: Any
    plain: Any
    snow: Any
    own: bool
    shares: Any = None


class Gaps(NamedTuple):
    """A cube, what of it is missing (time, band, y, x), how far that is filled, and what the mask was given as.

    `together`: the gaps are those of one cube of the bands of all dates, see `scattered`; of a lazy stack a Dask boolean.
    """

    cube: Cube
    missing: Any
    footprint: footprint.Footprint
    given: Any
    together: Any


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
    name = masks.find(raster) if clouds is None and isinstance(raster, xr.Dataset) else clouds
    found = masks.with_record(raster, clouds, classes, dilate, probability, now)
    cube = plausible.checked(cubes.read(raster, exclude=[name] if isinstance(name, str) else ()), now)
    notes, mask, plain = list(found.notes), _on_cube(cube, found.mask), _on_cube(cube, found.plain)
    snow = None if found.snow is None else _on_cube(cube, found.snow)
    arrays = cube.values, cube.valid, plain[:, None]
    windows = [[a[(..., *r)] for r in regions(cube.shape)] for a in arrays]  # that a scene is learnt from
    if now or not cube.lazy:
        values, valid, masked = dask.compute(*windows)
        notes += inverted(values, valid, masked, cube.bands)
    else:  # checked when anything of the mask is computed: it waits for a False
        watch = da.from_delayed(dask.delayed(_warned_if_inverted)(*windows, cube.bands), (), bool)
        mask, plain = mask | watch, plain | watch
    return Clouded(cube, mask, found.record, notes, clouds, plain, snow, found.own)


def _warned_if_inverted(*windows: Any) -> np.bool_:
    """Return False, after a warning where a mask looks inverted."""
    for note in inverted(*windows):
        warn(note)
    return np.False_


def _on_cube(cube: Cube, mask: xr.DataArray) -> Any:
    """Return a mask's data as (time, y, x), of the cube's kind: the verb is lazy exactly where the raster is."""
    time, _, row, column = cube.dims
    data = mask.transpose(*(d for d in (time, row, column) if d is not None and d in mask.dims)).data
    data = data if data.ndim == 3 else data[None]
    if not isinstance(data, da.Array):
        return data
    return data.rechunk({-2: cube.values.chunks[-2], -1: cube.values.chunks[-1]}) if cube.lazy else data.compute()


def scattered(cube: Cube, missing: Any, now: bool) -> Any:
    """Return whether gaps (time, band, y, x) are of entries rather than of pixels: see `Gaps.together`.

    It is counted where a scene is learnt from; of a lazy raster that is not known before it is computed, unless `now`.
    """
    dates, bands, *_ = cube.shape
    if min(dates, bands) == 1:
        return dates == 1
    observed = cube.valid & ~missing
    parts = [observed[(..., *region)] for region in regions(cube.shape)]
    if not cube.lazy:
        return mostly_partial(parts)
    found = dask.delayed(mostly_partial)(parts)
    return scheduling.compute([found])[0] if now else da.from_delayed(found, (), bool)


def mostly_partial(parts: Sequence[NDArray[np.bool_]]) -> bool:
    """Return whether most missing values, or most observed ones, lie in pixels that a date shows in some bands only.

    Args:
        parts: what is observed in parts of a scene, each (time, band, y, x); bands without any value do not count.
    """
    use, counts = bands_of.observed_bands(parts), []
    for part in parts:
        bands, ground = (part & use[:, None, None]).sum(axis=1), part.any(axis=(0, 1))
        partly = (bands > 0) & (bands < use.sum())
        lost = use.sum() - bands
        counts.append([(a * w).sum() for a in (lost * ground, bands) for w in (partly, ~partly)])
    lost, lost_whole, seen, seen_whole = np.sum(counts, axis=0)
    return bool(lost > lost_whole or seen > seen_whole)


def inverted(
    values: Sequence[NDArray[Any]],
    valid: Sequence[NDArray[np.bool_]],
    masked: Sequence[NDArray[np.bool_]],
    bands: Sequence[str],
) -> list[str]:
    """Return a warning where a mask looks inverted, from windows of the scene (time, band, h, w); nothing where it does not.

    Usual is the lower quartile over the dates at each pixel, whatever the mask says. An inverted mask marks most of the ordinary
    ground, and spares what is bright. Snow that is not masked is bright, too, but the ground beside it is not masked; nor is it by
    a mask of shadows alone. One date alone has no usual.
    """
    if not values or values[0].shape[0] < 2:
        return []
    chosen = [i for i, name in enumerate(bands) if _VISIBLE.match(name.lower())] or list(range(len(bands)))
    step = max(1, int(np.sqrt(sum(v.shape[-2] * v.shape[-1] for v in values) / MOST_PIXELS)))
    parts = [_pixels(v, ok, m, chosen, step) for v, ok, m in zip(values, valid, masked, strict=True)]
    light, cloud = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))  # (time, pixels) each
    seen = np.isfinite(light).sum(axis=0) >= 2
    light, cloud = light[:, seen], cloud[:, seen]
    if not light.size:
        return []
    quarter = (np.isfinite(light).sum(axis=0) - 1) // 4
    usual = np.take_along_axis(np.sort(light, axis=0), quarter[None], axis=0)[0]  # NaN is sorted last
    known = np.isfinite(light) & (usual > 0)
    ratio = light / np.where(usual > 0, usual, 1)
    bright, ordinary = known & (ratio > BRIGHT), known & (ratio < ORDINARY)
    if min(bright.sum(), ordinary.sum()) < LEAST:
        return []
    caught, lost = float(cloud[bright].mean()), float(cloud[ordinary].mean())
    if lost <= 0.5 or lost - caught <= WORSE:
        return []
    return [
        f"The mask may be inverted: it marks {lost:.0%} of the pixels that are as bright as usual, and {caught:.0%} of those that "
        "are much brighter, as cloud is. Check that what it marks is cloud, and not what is clear."
    ]


def _pixels(
    values: NDArray[Any], valid: NDArray[np.bool_], masked: NDArray[np.bool_], bands: Sequence[int], step: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return brightness, NaN where a band is missing, and the mask of every `step`-th pixel along rows and columns."""
    here = (..., slice(None, None, step), slice(None, None, step))
    light = values[:, bands][here].astype(np.float32).mean(axis=1)
    light = np.where(valid[:, bands][here].all(axis=1), light, np.float32(np.nan))
    return light.reshape(len(light), -1), masked[:, 0][here].reshape(len(light), -1)


def gaps(raster: xr.DataArray | xr.Dataset, missing: Any, extent: str, now: bool) -> Gaps:
    """Return the gaps of a raster, all of a mask; those that were prepared before, for a plan, as they are."""
    if isinstance(missing, Gaps):
        return missing
    cube = plausible.checked(cubes.read(raster, exclude=[missing] if isinstance(missing, str) else ()), now)
    footprint.check(extent)
    gap = ~cube.valid if missing is None else missing_mask(cube, missing)
    together = scattered(cube, gap, now)
    everywhere = footprint.Footprint(np.ones((1, 1, 1, 1), bool), 0)
    found = footprint.of(cube, extent, together, now) if missing is None else everywhere
    return Gaps(cube, gap, found, missing, together)


def mask_record(missing: Any, otherwise: str = "nodata", extent: str | None = None) -> str:
    """Return as JSON where a mask of missing pixels is from; `otherwise`: what counts where none was given, and its extent."""
    if missing is not None:
        return json.dumps({"source": masks.source(missing)})
    return json.dumps({"source": otherwise, **({} if extent is None else {"extent": extent})})


def missing_mask(cube: Cube, missing: Any) -> Any:
    """Return a boolean mask of missing pixels as (time, band or 1, y, x); "product" is what the product ships: see `shipped`."""
    if isinstance(missing, str) and missing == PRODUCT:
        missing = shipped(cube)
    if isinstance(missing, str):
        if isinstance(cube.raster, xr.DataArray) or missing not in cube.raster:
            have = [str(v) for v in getattr(cube.raster, "data_vars", {})]
            msg = f"Found no variable {missing!r} for what is missing; there are {listed(have) or 'none'}."
            option = "Name one of them, or mask files: --missing"
            raise MaskError(msg, call="Pass one of them, or a boolean DataArray.", option=option)
        missing = cube.raster[missing]
    shape, names = cube.shape, [d for d in cube.dims if d is not None]
    if not isinstance(missing, xr.DataArray):
        missing, space = np.asarray(missing), list(cube.dims[2:])
        forms = [names, [d for d in (cube.dims[0], *space) if d is not None], space]
        fitting = [form for form in forms if len(form) == missing.ndim]
        if not fitting:
            msg = f"Found a mask of shape {missing.shape}, expected the shape of the raster, {dict(cube.raster.sizes)}."
            raise MaskError(msg)
        missing = xr.DataArray(missing, dims=fitting[0])
    if missing.dtype.kind != "b":
        msg = f"Found a mask of dtype {missing.dtype}, expected booleans, True where a pixel is missing:"
        raise MaskError(msg, call="pass for example mask == 1.", option="write a mask of 0 and 1.")
    here = [d for d in names if d in missing.dims]
    if set(missing.dims) - set(here) or not set(cube.dims[2:]) <= set(here):
        msg = f"Found a mask with dimensions {tuple(missing.dims)}, expected some of {names}."
        raise MaskError(msg)
    for axis, dim in enumerate(cube.dims):
        if dim in here and missing.sizes[dim] not in (shape[axis], 1):
            msg = f"Found a mask with {missing.sizes[dim]} along {dim!r}, expected {shape[axis]}: cut it to the raster's grid."
            raise MaskError(msg)
    return cubes.along(cube, missing)


def shipped(cube: Cube) -> xr.DataArray:
    """Return the bad pixels that a product ships: the boolean coordinate `bad_pixels`, which the readers of products set.

    Raises:
        MaskError: there is none.
    """
    if products.BAD_PIXELS not in cube.raster.coords:
        msg = (
            f"Found no coordinate {products.BAD_PIXELS!r} on the raster, expected the bad pixels that a product ships: not all "
            "products do. Open it as a product"
        )
        raise MaskError(
            msg,
            call=f"with ngr_geo.open(path), or set it: raster.assign_coords({products.BAD_PIXELS}=mask).",
            option="by its own file or folder, or leave 'product' out.",
        )
    found = cube.raster.coords[products.BAD_PIXELS]
    return found if found.dtype.kind == "b" else found != 0


def line_mask(cube: Cube, lines: Any) -> Any:
    """Return lines as a mask: a boolean array or DataArray, column indices, {'columns': [...], 'rows': [...]}, or "product"."""
    _, bands, height, width = cube.shape
    if isinstance(lines, str) and lines == PRODUCT:
        return missing_mask(cube, lines)
    if isinstance(lines, xr.DataArray) or (isinstance(lines, np.ndarray) and lines.dtype.kind == "b"):
        return missing_mask(cube, lines)
    table = lines if isinstance(lines, dict) else {"columns": lines}
    if set(table) - {"columns", "rows"}:
        msg = f"Found lines={lines!r}, expected column indices, {{'columns': [...], 'rows': [...]}} or a boolean mask."
        raise MaskError(msg)
    mask = np.zeros((1, 1, height, width), bool)
    for name, size, along in (("columns", width, mask), ("rows", height, mask.swapaxes(2, 3))):
        picked = np.atleast_1d(np.asarray(table.get(name, []), dtype=object)).tolist()
        wrong = [i for i in picked if not isinstance(i, int | np.integer) or not -size <= i < size]
        if wrong:
            msg = f"Found {name} {listed(wrong, 5)} in the lines, expected whole numbers from 0 to {size - 1}: pixel indices,"
            raise MaskError(msg, call="not coordinates.", option="not coordinates: --lines 17,18,r12")
        along[..., picked] = True
    return np.broadcast_to(mask, (1, bands, height, width))


def nothing_clear(cube: Cube) -> MaskError:
    """Return the error for a stack without a clear pixel."""
    many = f"any of {len(cube.dates)} dates" if len(cube.dates) > 1 else "the one date"
    return MaskError(
        f"No pixel of {many} is clear, so there is nothing to learn from; expected some: check that 1 means cloud in the mask, and",
        call="classes=[...] and dilate=.",
        option="--classes and --dilate.",
    )
