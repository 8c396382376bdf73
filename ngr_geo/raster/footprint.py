"""Where a raster has data at all: nothing is filled beyond unless it is asked for.

With several dates that is where any date has a valid value in any band; where their missing entries are scattered, also what is
at most `WIDEST` pixels wide between such values. A single date shows itself alone, so its holes count as inside, too: all but
areas that reach the image's border through an opening wider than `WIDEST` pixels (the outside of a scene that lies askew, land in
a map of the sea), and what lies within as many pixels of such an area; and rows and columns at the border without any data. So
missing scan lines and dead columns are inside also where they reach the border, and holes of any size are that data surround.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError, warn
from .cube import Cube
from .reading import in_memory

EXTENTS = ("footprint", "all")
WIDEST = 16
"""Pixels across a gap that reaches the border, at most: those of Landsat 7 are up to 14 wide."""
DEPTH = 4
"""So far into the image, at least, goes what reaches its border: entries that are missing here and there form no such area."""
_SAYS = (
    " beyond the footprint of the data and left as they were: extent='all' (--extent all) fills them, too, and missing= "
    "(--missing) those of a mask."
)
SOME = f"Some pixels are{_SAYS}"


@dataclass(frozen=True)
class Footprint:
    """`inside` (1, 1, y, x), of the cube's kind; how many pixels are `left` out, None where that is not known yet."""

    inside: Any
    left: int | None = None

    def notes(self) -> list[str]:
        """Return what to warn of."""
        return [_text(self.left)] if self.left else []


def of(cube: Cube, extent: str, together: Any, now: bool = False) -> Footprint:
    """Return the footprint of a raster, or for extent "all" everything.

    Of a single date it is found in one step for the whole scene, from one bit per pixel: where the cube is lazy this becomes part
    of the graph, or is done at once if `now`. `together`: missing entries are scattered, see `missing.Gaps`.

    Raises:
        InputError: an unknown extent.
    """
    check(extent)
    height, width = cube.shape[-2:]
    if extent == "all":
        return Footprint(np.ones((1, 1, height, width), bool), 0)
    seen, is_single = cube.valid.any(axis=(0, 1)), len(cube.dates) == 1
    if not cube.lazy or (is_single and now):
        inside = enclosed(in_memory(seen)) if is_single else closed(seen) if together else seen
        known = da.from_array(inside, chunks=cube.values.chunks[-2:]) if cube.lazy else inside
        return Footprint(known[None, None], int((~inside).sum()))
    meta = np.zeros((0, 0), bool)
    if is_single:
        seen = seen.rechunk(-1).map_blocks(enclosed, dtype=bool, meta=meta)
    elif isinstance(together, da.Array) or together:
        near = da.map_overlap(closed, seen, depth=WIDEST, boundary="none", dtype=bool, meta=meta).rechunk(seen.chunks)
        seen = da.where(together, near, seen)
    if not now:
        seen = seen.map_blocks(_watched, count=is_single, dtype=bool, meta=meta)
    return Footprint(seen.rechunk(cube.values.chunks[-2:])[None, None])


def check(extent: str) -> None:
    """Raise an InputError where an extent is unknown, with those that there are."""
    if extent not in EXTENTS:
        msg = f"Found extent={extent!r}, expected one of {', '.join(EXTENTS)}."
        raise InputError(msg)


def closed(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where there is data (y, x), and what is at most `WIDEST` pixels wide between it."""
    near = ndimage.maximum_filter(seen, WIDEST + 1, mode="constant", cval=0)
    between: NDArray[np.bool_] = ndimage.minimum_filter(near, WIDEST + 1, mode="constant", cval=1)
    return between


def enclosed(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the footprint of a single date (y, x) from where it has data: see the module."""
    missing, wide = ~seen, np.zeros((), bool)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not rows.size:
        return seen
    for axis in (0, 1):  # windows that lie beyond the border in part, but not over a corner
        wide = wide | _opened(missing, axis)
    areas, _ = ndimage.label(wide, np.ones((3, 3)))
    border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    outside = np.isin(areas, border[border > 0])
    empty = np.ones_like(seen)
    empty[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = False
    near = ndimage.maximum_filter(outside | empty, 2 * WIDEST + 1, mode="constant", cval=0)
    inside: NDArray[np.bool_] = ~(missing & near)
    return inside


def _opened(missing: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Return what squares of missing pixels cover, `WIDEST` + 1 wide; along an axis all but `DEPTH` may lie beyond the image."""
    side = WIDEST + 1
    margin = [(0, 0), (0, 0)]
    margin[axis] = (side - DEPTH,) * 2
    padded = np.pad(missing, margin, constant_values=True).astype(np.uint8)
    fits = ndimage.minimum_filter(padded, side, mode="constant", cval=0)
    covered = ndimage.maximum_filter(fits, side, mode="constant", cval=0)
    inner = tuple(slice(before, n - after) for (before, after), n in zip(margin, padded.shape, strict=True))
    return covered[inner].astype(bool)


def _watched(inside: NDArray[np.bool_], count: bool) -> NDArray[np.bool_]:
    """Return a footprint, or a block of it, as it is, and warn where pixels lie beyond it: how many, of a whole one."""
    if not inside.all():
        warn(_text(int((~inside).sum()) if count else None))
    return inside


def _text(left: int | None) -> str:
    """Return the warning, of so many pixels."""
    return SOME if left is None else f"{left} {'pixel is' if left == 1 else 'pixels are'}{_SAYS}"
