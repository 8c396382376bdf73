"""Tiles: where they lie, how much each counts, how they are solved side by side and blended. NumPy only.

The scene is cut into cores, which partition it; a tile is a core grown by a halo on every side, and is what gets solved.
Across the halo its weight falls from one to zero while its neighbour's rises: the weights sum to one at every pixel. Dask's
`map_overlap` only trims halos, which leaves a step where two tiles disagree, so the blending is done here.
"""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .store import Stored

Region = tuple[slice, slice]
Answer = TypeVar("Answer")


class Span(NamedTuple):
    """A tile along one axis: the window [start, stop) and the core [core_start, core_stop) inside it."""

    start: int
    stop: int
    core_start: int
    core_stop: int


class Tile(NamedTuple):
    """A tile: its row-major `number`, its spans, and its tapers `down` (h,) and `across` (w,), float32."""

    number: int
    row: Span
    column: Span
    down: NDArray[np.float32]
    across: NDArray[np.float32]

    @property
    def weight(self) -> NDArray[np.float32]:
        """How much each pixel of the tile counts, (h, w)."""
        return np.outer(self.down, self.across)

    @property
    def core(self) -> Region:
        """The part of the window that no other tile owns."""
        rows, columns = (slice(s.core_start - s.start, s.core_stop - s.start) for s in (self.row, self.column))
        return rows, columns

    @property
    def window(self) -> Region:
        """The tile's part of the scene."""
        return slice(self.row.start, self.row.stop), slice(self.column.start, self.column.stop)

    @property
    def place(self) -> tuple[int, ...]:
        """What distinguishes this tile from all others: its number, rows and columns, each with its core."""
        return self.number, *self.row, *self.column

    def seed(self, seed: int) -> int:
        """Return a seed that depends on the tile's position alone, not on how many tiles there are or their order."""
        return int(np.random.SeedSequence([seed, self.row.start, self.column.start]).generate_state(1)[0])


def spans(size: int, tile: int, overlap: int) -> tuple[Span, ...]:
    """Return the tiles along an axis of `size` pixels: cores as equal as can be, windows of at most `tile` pixels.

    Raises:
        InputError: where a tile would have no core.
    """
    if size < 1:
        msg = f"Found an axis of {size} pixels, expected at least 1."
        raise InputError(msg)
    if overlap < 0 or tile <= 2 * overlap:
        msg = f"Found tiles of {tile} pixels that overlap by {overlap}, expected an overlap of 0 or more and a tile wider than two:"
        wide, rim = max(256, 4 * overlap), max(overlap, 0)
        raise InputError(msg, call=f"tile={wide}, overlap={rim}, for example.", option=f"--tile {wide} --overlap {rim}")
    count = 1 if size <= tile else -(-size // (tile - 2 * overlap))
    edges = [size * i // count for i in range(count + 1)]
    return tuple(Span(max(a - overlap, 0), min(b + overlap, size), a, b) for a, b in itertools.pairwise(edges))


def taper(along: Sequence[Span]) -> tuple[NDArray[np.float32], ...]:
    """Return the weight of each span along its window; they sum to one at every pixel, to float32 precision.

    A raised cosine over the width shared with the neighbour. Where more than two windows meet (cores narrower than the
    overlap) all are divided by their sum.
    """
    size = along[-1].stop
    weights = []
    for span in along:
        position = np.arange(span.start, span.stop) + 0.5
        weight = np.ones(len(position))
        if span.start > 0:
            rise = span.core_start - span.start
            weight *= _ramp((position - span.start) / (2 * rise)) if rise else 1.0
        if span.stop < size:
            fall = span.stop - span.core_stop
            weight *= _ramp((span.stop - position) / (2 * fall)) if fall else 1.0
        weights.append(weight)
    total = np.zeros(size)
    for span, weight in zip(along, weights, strict=True):
        total[span.start : span.stop] += weight
    return tuple((w / total[s.start : s.stop]).astype(np.float32) for s, w in zip(along, weights, strict=True))


def grid(shape: tuple[int, int], tile: int, overlap: int) -> tuple[Tile, ...]:
    """Return the tiles of a scene of `shape` (rows, columns), row by row."""
    rows, columns = (spans(size, tile, overlap) for size in shape)
    down, across = taper(rows), taper(columns)
    pairs = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
    return tuple(Tile(i, rows[r], columns[c], down[r], across[c]) for i, (r, c) in enumerate(pairs))


class Near:
    """Tiles of a scene by where they lie: finds those of a region without a look at all others."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        """Take the tiles: a grid, or some of it."""
        self.tiles = tiles
        self._at = {(t.row, t.column): i for i, t in enumerate(tiles)}
        self._rows, self._columns = ({pair[axis]: None for pair in self._at} for axis in (0, 1))

    def touching(self, region: Region) -> list[int]:
        """Return the positions of the tiles that share a pixel with the region, in their order."""
        rows, columns = (
            [s for s in spans if s.start < side.stop and side.start < s.stop]
            for spans, side in zip((self._rows, self._columns), region, strict=True)
        )
        return sorted(self._at[pair] for pair in itertools.product(rows, columns) if pair in self._at)


def blend(
    tiles: Sequence[Tile],
    solved: Sequence[NDArray[np.float32] | Stored | None],
    region: Region,
    leading: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return the weighted sum of the solved tiles over a region, (*leading, rows, columns).

    Pixel by pixel in the order of `tiles`, so that any way to cut the scene into regions gives the same bits.

    Args:
        tiles: of the scene, or those touching the region.
        solved: one (*leading, h, w) array per tile, or where it lies; None where the tile had nothing to do and counts for nothing.
        region: (rows, columns) of the scene.
        leading: the shape before rows and columns.
    """
    rows, columns = region
    out = np.zeros((*leading, rows.stop - rows.start, columns.stop - columns.start), np.float32)
    for tile, answer in zip(tiles, solved, strict=True):
        values = answer.load() if isinstance(answer, Stored) else answer
        if values is None:
            continue
        (down, top), (across, left) = _shared(tile.row, rows), _shared(tile.column, columns)
        out[..., top, left] += values[..., down, across] * tile.weight[down, across]
    return out


def _shared(span: Span, side: slice) -> tuple[slice, slice]:
    """Return what a tile and a region have in common along an axis, counted from the tile's start and from the region's."""
    start = max(span.start, side.start)
    stop = max(start, min(span.stop, side.stop))
    return slice(start - span.start, stop - span.start), slice(start - side.start, stop - side.start)


def _ramp(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a raised cosine from 0 at 0 to 1 at 1 and beyond."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(position, 0.0, 1.0))


def each(
    pieces: Sequence[Tile], solve: Callable[[Tile], Answer], together: int, progress: Callable[[str, int, int], None]
) -> list[Answer]:
    """Return what `solve` makes of each tile, in their order, `together` at a time in threads; the first error stops all."""
    done, lock = 0, threading.Lock()
    progress("tiles", 0, len(pieces))

    def solve_one(tile: Tile) -> Answer:
        nonlocal done
        answer = solve(tile)
        with lock:
            done += 1
            progress("tiles", done, len(pieces))
        return answer

    with ThreadPoolExecutor(together) as pool:
        futures = [pool.submit(solve_one, t) for t in pieces]
        try:
            return [f.result() for f in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
