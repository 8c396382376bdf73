"""Dead lines: columns or rows, whole or in part, in which a detector gave one and the same value.

A line is dead where a value repeats exactly along it for longer than a scene does by itself, and only a few pixels across:
a lake or a saturated roof is constant too, but wide. Lines that are nodata where both sides have data count as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_WIDE = 5
"""Lines side by side, at most: wider than this, it is a flat area."""
LEAST_LONG = 12
PART = 20
"""A line is at least 1/PART of the image long."""
WHOLE = 0.9
"""Share of the image's length from which a line needs no contrast to its sides."""


@dataclass(frozen=True)
class DeadLines:
    """`mask` (B, h, w), True on dead lines; `table`, a dict of arrays with one entry for each of them.

    `band`, `direction` ("column" or "row"), `index` of the column or row, `start` and `stop` along it, its `value`, its `kind`.
    """

    mask: NDArray[np.bool_]
    table: dict[str, NDArray[np.generic]]


def find(cube: NDArray[np.generic], observed: NDArray[np.bool_]) -> DeadLines:
    """Return the dead lines of a cube (B, h, w), of which `observed` (B, h, w) is measured. Bands never observed have none."""
    mask = np.zeros(cube.shape, bool)
    rows: list[tuple[int, str, int, int, int, float, str]] = []
    for band in range(len(cube)):
        seen = observed[band]
        if not seen.any():
            continue
        values = np.where(seen, cube[band], 0).astype(np.float64)
        measured = values[seen]
        if measured.min() == measured.max():
            continue
        top = measured.max()
        for direction, image, have in (("column", values, seen), ("row", values.T, seen.T)):
            dead = _columns(image, have)
            if not dead.any():
                continue
            mask[band] |= dead if direction == "column" else dead.T
            for column in np.flatnonzero(dead.any(0)):
                for start, stop in _pieces(dead[:, column]):
                    value, known = image[start, column], have[start, column]
                    kind = (
                        "nodata" if not known else "zero" if value == 0 else "saturated" if value == top else "constant"
                    )
                    rows.append((band, direction, int(column), start, stop, float(value) if known else np.nan, kind))
    names = ("band", "direction", "index", "start", "stop", "value", "kind")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    types: tuple[type, ...] = (int, object, int, int, int, float, object)
    return DeadLines(mask, {n: np.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})


def _columns(image: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the dead columns (h, w) of one band."""
    height, width = image.shape
    least = min(height, max(LEAST_LONG, height // PART))
    if height < 3 or width < 2:
        return np.zeros(image.shape, bool)
    same = (image[1:] == image[:-1]) & (observed[1:] == observed[:-1])
    if not _reaches(same, least - 1):  # most bands: this look costs a tenth of the rest
        return np.zeros(image.shape, bool)
    flat = _runs(same) >= least
    narrow = flat & (_runs((flat[:, 1:] & flat[:, :-1]).T).T <= MOST_WIDE)
    dead: NDArray[np.bool_] = narrow & (_runs(narrow[1:] & narrow[:-1] & same) >= least)
    if not dead.any() or not (observed & ~dead).any() or dead.all(axis=1).any():  # nothing beside it to find it by
        return np.zeros(image.shape, bool)
    return _standing_out(image, observed, dead, _runs(dead[1:] & dead[:-1] & same))


def _standing_out(
    image: NDArray[np.float64], observed: NDArray[np.bool_], dead: NDArray[np.bool_], length: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return the lines of `dead` (h, w) that differ from both their sides, or run through most of the image.

    A short flat piece may be the scene itself, clipped at 0 or saturated; then what lies beside it is nearly as dark or bright.
    The edge of a nodata region has data on one side only.
    """
    height, width = image.shape
    index = np.arange(width)[None]
    free = ~dead & observed
    left = np.maximum.accumulate(np.where(~dead, index, -1), axis=1)
    right = np.minimum.accumulate(np.where(~dead, index, width)[:, ::-1], axis=1)[:, ::-1]
    step = np.abs(np.diff(image, axis=1))[free[:, 1:] & free[:, :-1]]
    usual = float(np.median(step)) if step.size else 0.0
    differs = np.ones(image.shape, bool)
    for side in (left, right):
        inside = (side >= 0) & (side < width)
        at = np.clip(side, 0, width - 1)
        value, known = np.take_along_axis(image, at, 1), np.take_along_axis(observed, at, 1) & inside
        differs &= np.where(observed, ~inside | (known & (np.abs(value - image) > usual)), known)
    out = np.zeros(image.shape, bool)
    for column in np.flatnonzero(dead.any(0)):
        for start, stop in _pieces(dead[:, column]):
            share = differs[start:stop, column].mean()
            whole = length[start, column] >= WHOLE * height and observed[start, column]
            out[start:stop, column] = share > 0.6 or whole
    return out


def _pieces(dead: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where the dead pieces of one line (h,) start and stop."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], dead.astype(int), [0]]))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _reaches(joined: NDArray[np.bool_], length: int) -> bool:
    """Return whether any column of `joined` (h, w) is True for so long."""
    known = 1
    while known < length:
        step = min(known, length - known)
        joined = joined[:-step] & joined[step:]
        known += step
    return bool(joined.any())


def _runs(joined: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the length (h, w) of the run each pixel is in; `joined` (h - 1, w): True where it goes on to the next row."""
    height, width = len(joined) + 1, joined.shape[1]
    index = np.arange(height)[:, None]
    gap = np.ones((1, width), bool)
    start = np.maximum.accumulate(np.where(np.concatenate([gap, ~joined]), index, 0), axis=0)
    last = np.concatenate([~joined, gap])
    stop = np.minimum.accumulate(np.where(last, index, height)[::-1], axis=0)[::-1]
    length: NDArray[np.int64] = stop - start + 1
    return length
