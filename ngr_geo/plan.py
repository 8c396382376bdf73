"""What a verb would do, how much there is to do, and what it takes; nothing is solved."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from . import timing
from .raster import aoi as areas
from .raster import bands as bands_of
from .raster import missing as gaps_of
from .raster import plausible, selection
from .raster.cube import SAMPLE_VALUES, Cube
from .raster.missing import Clouded, Gaps
from .raster.selection import Dates
from .settings import Options, settings_of, sized
from .tiling import scheduling, tiles
from .tiling.tiles import Tile


@dataclass(frozen=True)
class Plan:
    """What would be done: `missing` shares per date, tiles, `memory` in bytes at the peak and `seconds`, both estimated.

    Tiles without a clear pixel on any date are unsolvable: they stay as they are. `mask` is what a result's `ngr_mask` says: by
    which rule a cloud mask is read, and how much of each date it marks, before and after growing; empty for other verbs.
    """

    dates: tuple[str, ...]
    bands: tuple[str, ...]
    shape: tuple[int, int, int, int]
    missing: tuple[float, ...]
    tiles: int
    tiles_to_solve: int
    tiles_unsolvable: int
    memory: int
    seconds: float
    warnings: tuple[str, ...]
    mask: dict[str, Any] = field(default_factory=dict)


def plan(
    found: Clouded | Gaps, dates: Dates = None, options: Options | None = None, begun: float | None = None
) -> Plan:
    """Return what `decloud` would do with clouds that were found, or `inpaint` with gaps, and the same options.

    With `begun`, the time (`time.perf_counter`) when clouds or gaps were first looked for, a small window is tried for the time
    that the work takes; without it `seconds` is NaN.
    """
    chosen = options or Options()
    cube, gap, record, notes = _of_all_dates(found)
    take_part = bands_of.taking_part(cube, cube.valid & ~gap, now=True)
    gap = gap & take_part[:, None, None]
    targets = selection.dates(cube.dates, dates)
    if chosen.tile is None:
        chosen = sized(chosen, cube.shape, "decloud", settings_of(chosen).placed())
    assert chosen.tile is not None
    pieces = tiles.grid(cube.shape[-2:], chosen.tile, chosen.overlap)
    area = areas.read(cube, chosen.aoi)
    inside = np.ones((1, 1), bool) if area is None else area.mask()
    pieces = pieces if area is None else area.touched(pieces)
    maps = gap.any(axis=1) & inside
    maps = (da if cube.lazy else np).concatenate([maps, (inside | np.zeros_like(maps[0]))[None]])
    missing, busy, clear = _survey(maps, (cube.valid & ~gap).any(axis=(0, 1)), targets, pieces)
    missing = missing[:-1] / missing[-1]  # of the area
    if not clear.any():
        raise gaps_of.nothing_clear(cube)
    notes += bands_of.left_out_notes([cube.bands[b] for b in np.flatnonzero(~take_part)])
    together = len(cube.dates) == 1 or (isinstance(found, Gaps) and found.together)
    blind = [cube.dates[d] for d in targets if missing[d] == 1 and not together]
    notes += [f"{day} has no clear pixel at all: it can only be interpolated in time." for day in blind]
    seconds = float("nan")
    if begun is not None:
        wanted = [t for t in targets if missing[t] > 0]
        job = timing.Job(cube, cube.valid & ~gap, gap, wanted, pieces, int(busy.sum()), together)
        seconds = timing.seconds(job, chosen, time.perf_counter() - begun)
    return Plan(
        cube.dates,
        cube.bands,
        cube.shape,
        tuple(float(m) for m in missing),
        len(pieces),
        int(busy.sum()),
        int((busy & ~clear).sum()),
        _memory(cube.shape, chosen, cube.lazy),
        seconds,
        tuple(notes),
        record,
    )


def _of_all_dates(found: Clouded | Gaps) -> tuple[Cube, Any, dict[str, Any], list[str]]:
    """Return the cube, what of all its dates would be filled, the record of the mask, and what to warn of."""
    cube = found.cube
    about = [*bands_of.stack_notes(cube), *plausible.notes(cube)]
    if isinstance(found, Clouded):
        gap = (found.mask[:, None] | ~cube.valid) & cube.valid.any(axis=0, keepdims=True)
        return cube, gap, found.record, [*found.notes, *about]
    gap = (found.missing | ~cube.valid) & found.footprint.inside
    return cube, gap, {}, [*about, *found.footprint.notes()]


def _survey(
    missing: Any, clear: Any, targets: Sequence[int], pieces: Sequence[Tile]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the share of each date that is missing (T,), and which tiles have gaps on the target dates, and a clear pixel.

    `missing` is (T, y, x), `clear` (y, x). Block by block: masks of a whole scene can be larger than the memory.
    """
    if not isinstance(missing, da.Array):
        return _looked_over(missing, clear, targets, pieces, (0, 0))
    clear = clear.rechunk(missing.chunks[1:])
    missing = missing.rechunk({0: -1})
    ends = [np.cumsum([0, *c]).tolist() for c in missing.chunks[1:]]
    jobs, members, sizes = [], [], []
    near_by = tiles.Near(pieces)
    for top, bottom in itertools.pairwise(ends[0]):
        for left, right in itertools.pairwise(ends[1]):
            here = slice(top, bottom), slice(left, right)
            near = near_by.touching(here)
            part = missing[(slice(None), *here)], clear[here], list(targets), [pieces[i] for i in near], (top, left)
            jobs.append(dask.delayed(_looked_over)(*part))
            members.append(near)
            sizes.append((bottom - top) * (right - left))
    share, busy, seen = np.zeros(missing.shape[0]), np.zeros(len(pieces), bool), np.zeros(len(pieces), bool)
    for near, size, (part, gaps, some) in zip(members, sizes, scheduling.compute(jobs), strict=True):
        share += part * size
        busy[near] |= gaps
        seen[near] |= some
    return share / sum(sizes), busy, seen


def _looked_over(
    missing: NDArray[np.bool_],
    clear: NDArray[np.bool_],
    targets: Sequence[int],
    pieces: Sequence[Tile],
    corner: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what `_survey` does for one block of the scene, whose first pixel is `corner`, and the tiles that touch it."""
    gaps = np.asarray(missing[list(targets)].any(axis=0))
    parts = [
        tuple(
            slice(max(side.start - first, 0), side.stop - first) for side, first in zip(t.window, corner, strict=True)
        )
        for t in pieces
    ]
    busy, seen = (np.array([a[p].any() for p in parts], bool) for a in (gaps, clear))
    return missing.mean((1, 2)), busy, seen


def _memory(shape: tuple[int, int, int, int], options: Options, lazy: bool) -> int:
    """Return a rough peak in bytes: torch and libraries, the sample, the tiles at work, the raster or a few blocks of it.

    From runs on two cores: scenes of 1000 to 8000 pixels a side, and stacks in memory.
    """
    values = int(np.prod(shape))
    side = options.tile or max(shape[-2:])
    window = shape[0] * shape[1] * min(side, shape[-2]) * min(side, shape[-1])
    block = min(values, shape[0] * shape[1] * 1024**2)
    raster = 12 * (block * 4 if lazy else values)
    learning = (20 if options.method == "guide" else 70) * min(values, SAMPLE_VALUES)
    return int(400e6 + raster + learning + 200 * window * (os.cpu_count() or 1))
