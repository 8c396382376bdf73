"""Values that cannot be, and bands that hold nothing: what a raster's own numbers say should count as missing.

A value is implausible where it is infinite, where its magnitude is 1e30 or more, and where it lies `FAR` times farther from its
band's median than any value on the near side of an empty gap. No sensor gives such values: the span from its noise to its
saturation is smaller. A band whose values mostly equal its median (a mask, rain) and integers have no such limit. The limits come
from the windows that a scene is learnt from, so a raster in memory, a lazy one and a work folder have the same ones.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import warn
from .cube import Cube, regions
from .reading import in_memory
from .storage import nodata

IMPOSSIBLE = 1e30
"""From here on a magnitude is a fill value, whatever the band holds: CF's default is 9.97e36, the largest float32 3.4e38."""
FAR = 1000.0
RARE = 0.01
"""Values beyond the gap are implausible where they are at most this share of a band, or all one number: else units are mixed."""
COUNTS = "ngr_implausible"


def checked(cube: Cube, now: bool = False) -> Cube:
    """Return a cube whose implausible values are not `valid`, with their number per band in `odd`; integers as they are.

    A lazy cube is counted at once only with `now`. Otherwise the count becomes part of the graph, of the windows that the scene is
    learnt from only, and each block of the raster is looked at, and warned of, when it is computed.
    """
    if cube.values.dtype.kind != "f":
        return cube
    windows = regions(cube.shape)
    sample = [(cube.values[(..., *w)], cube.valid[(..., *w)]) for w in windows]
    exempt = [cube.raster[name].dtype.kind != "f" for name in cube.names] or [False] * cube.shape[1]
    limits: Any = dask.delayed(_limits)(sample, exempt) if cube.lazy else _limits(sample, exempt)
    if cube.lazy:
        limits = da.from_delayed(limits, (2, cube.shape[1]), float)
        limits = da.from_array(in_memory(limits)) if now else limits
    valid, odd = _judged(cube, limits)
    if now or not cube.lazy:
        return replace(cube, valid=valid, odd=in_memory(odd.sum((0, 2, 3))))
    some = [odd[(..., *w)].sum((0, 2, 3)) for w in windows]
    watched = da.map_blocks(_watched, odd, names=cube.bands, dtype=bool, meta=np.zeros((0,) * 4, bool))
    return replace(cube, valid=valid & ~watched, odd=sum(some[1:], some[0]))


def notes(cube: Cube) -> list[str]:
    """Return what to warn of: bands with implausible values, and how many; nothing where that is not known yet."""
    return [_text(cube.bands, cube.odd)] if isinstance(cube.odd, np.ndarray) and cube.odd.any() else []


def noted(result: xr.DataArray | xr.Dataset, cube: Cube) -> xr.DataArray | xr.Dataset:
    """Return a result with the counts in its record: an attribute, or a coordinate that is computed with a lazy result."""
    if cube.odd is None:
        return result
    if isinstance(cube.odd, np.ndarray):
        counts = {b: int(n) for b, n in zip(cube.bands, cube.odd, strict=True) if n}
        return result.assign_attrs({COUNTS: json.dumps(counts)}) if counts else result
    text = "values that cannot be, in the windows that the scene was learnt from"
    return result.assign_coords({COUNTS: per_band(cube, cube.odd, {"long_name": text})})


def per_band(cube: Cube, values: Any, attrs: dict[str, str]) -> tuple[Any, ...]:
    """Return a number for each band (B,) as a coordinate; along a dimension of its own, `ngr_band`, where variables are bands."""
    if cube.names:
        return ("ngr_band",), values, {**attrs, "bands": ", ".join(cube.bands)}
    return ((), values[0], attrs) if cube.dims[1] is None else ((cube.dims[1],), values, attrs)


def _limits(sample: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]], exempt: Sequence[bool]) -> NDArray[np.float64]:
    """Return the least and greatest plausible value of each band, (2, B), from windows (time, band, h, w) of the scene."""
    found = np.array([[-IMPOSSIBLE], [IMPOSSIBLE]]).repeat(len(exempt), 1)
    for band in (b for b, is_exempt in enumerate(exempt) if not is_exempt):
        seen = np.concatenate([v[:, band][o[:, band]] for v, o in sample]).astype(np.float64)
        seen = seen[np.abs(seen) < IMPOSSIBLE]
        if not seen.size:
            continue
        middle = np.median(seen)
        away = np.abs(seen - middle)
        if np.median(away) == 0:  # most values are one number: any other one may be far from it
            continue
        reach = FAR * _near(seen, away)
        found[:, band] = max(middle - reach, -IMPOSSIBLE), min(middle + reach, IMPOSSIBLE)
    return found


def _near(seen: NDArray[np.float64], away: NDArray[np.float64]) -> float:
    """Return the largest distance from the median on the near side of an empty gap, the largest of all where there is none."""
    largest = float(away.max())
    most = float(np.partition(away, int(0.75 * away.size))[int(0.75 * away.size)])
    if largest <= FAR * most:
        return largest
    tail = np.sort(away[away >= most])
    jumps = np.flatnonzero(tail[1:] > FAR * tail[:-1])
    if not jumps.size:
        return largest
    near = float(tail[jumps[0]])
    beyond = seen[away > near]
    return near if beyond.size <= RARE * seen.size or np.unique(beyond).size == 1 else largest


def _judged(cube: Cube, limits: Any) -> tuple[Any, Any]:
    """Return which values are valid, and which are implausible, (time, band, y, x), of the cube's kind."""
    low, high = limits[0][:, None, None], limits[1][:, None, None]
    inside = (cube.values > -IMPOSSIBLE) & (cube.values < IMPOSSIBLE) & (cube.values >= low) & (cube.values <= high)
    declared = any(np.isinf(missing) for part in cube.variables if (missing := nodata(part)) is not None)
    odd = cube.valid & ~inside
    return cube.valid & inside, odd if declared else odd | np.isinf(cube.values)


def _watched(odd: NDArray[np.bool_], names: Sequence[str], block_info: Any = None) -> NDArray[np.bool_]:
    """Return a block of the map of implausible values as it is, and warn where there are any."""
    if odd.any():
        first = block_info[0]["array-location"][1][0] if block_info else 0
        warn(_text(names[first : first + odd.shape[1]], odd.sum((0, 2, 3))))
    return odd


def _text(names: Sequence[str], counts: NDArray[Any]) -> str:
    """Return the warning."""
    parts = [f"{n} in band {name}" for name, n in zip(names, counts.tolist(), strict=True) if n]
    some = ", ".join(parts[:8]) + (f" and in {len(parts) - 8} bands more" if len(parts) > 8 else "")
    return (
        f"Found values that no sensor gives (infinite, or far beyond all others): {some}. They count as missing: filled where this "
        "verb fills what is missing, else left as they are. If they mean nodata, say so: raster.rio.write_nodata(...)."
    )
