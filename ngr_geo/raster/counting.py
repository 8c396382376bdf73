"""What values a mask holds: all of them are counted, block by block, whether it is in memory or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from ..errors import MaskError
from ..tiling import work

SCALES = (1.0, 100.0, 255.0)
"""What a probability of one is written as."""
MOST_CODES = 2**16
"""Different values that a mask may hold: those of 16 bits."""
_WHOLE = 2.0**53  # beyond it not every whole number is a float


class Found(NamedTuple):
    """What a mask (time, y, x) holds.

    Attributes:
        codes: all its values (n,), sorted; empty where they are no whole numbers.
        counts: how often each occurs (time, n).
        lost: how many are NaN (time,).
        pixels: of one date.
        low, high: the least and the greatest, NaN where there is none.
        whole: True where all are whole numbers.
        above: how many are at least the probability, written on each of `SCALES` (time, 3).
        dtype: of the mask.
    """

    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    lost: NDArray[np.int64]
    pixels: int
    low: float
    high: float
    whole: bool
    above: NDArray[np.int64]
    dtype: np.dtype[Any]


def look(data: Any, probability: float) -> Found:
    """Return what a mask (time, y, x), NumPy or Dask, holds; block by block, so that it need not fit into memory."""
    if isinstance(data, da.Array):
        starts = np.cumsum([0, *data.chunks[0]])[:-1]
        parts = data.to_delayed()
        where = [int(starts[index[0]]) for index in np.ndindex(parts.shape)]
        jobs = [dask.delayed(_counted)(part, probability) for part in parts.ravel()]
        blocks = list(zip(where, work.compute(jobs), strict=True))
    else:
        blocks = [(0, _counted(np.asarray(data), probability))]
    return _merged(blocks, data.shape, data.dtype)


class _Part(NamedTuple):
    """What one date of one block holds; as in `Found`."""

    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    lost: int
    low: float
    high: float
    whole: bool
    above: NDArray[np.int64]


def _counted(block: NDArray[Any], probability: float) -> list[_Part]:
    """Return what each date of a block (time, y, x) holds."""
    return [_counted_date(date.ravel(), probability) for date in block]


def _counted_date(values: NDArray[Any], probability: float) -> _Part:
    nothing = np.zeros(0, np.int64)
    if values.dtype.kind != "f":
        if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
            many = np.bincount(values)
            codes = np.flatnonzero(many).astype(np.int64)
            counts = many[codes].astype(np.int64)
        else:
            codes, counts = _distinct(values.astype(np.int64))
        low, high = (float(codes[0]), float(codes[-1])) if codes.size else (np.nan, np.nan)
        above = [counts[codes >= at].sum() for at in thresholds(probability)]
        return _Part(codes, counts, 0, low, high, True, np.array(above, np.int64))
    known = values[~np.isnan(values)].astype(np.float64)
    low, high = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
    whole = bool((np.abs(known) < _WHOLE).all() and (known == np.floor(known)).all())
    codes, counts = _distinct(known.astype(np.int64)) if whole else (nothing, nothing)
    above = [(known >= at).sum() for at in thresholds(probability)]
    return _Part(codes, counts, values.size - known.size, low, high, whole, np.array(above, np.int64))


def thresholds(probability: float) -> tuple[float, ...]:
    """Return a probability as it is written on each of `SCALES`."""
    return tuple(round(probability * scale, 9) for scale in SCALES)


def _distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    codes, counts = np.unique(values, return_counts=True)
    _check_many(codes)
    return codes, counts.astype(np.int64)


def _check_many(codes: NDArray[np.int64]) -> None:
    if codes.size > MOST_CODES:
        msg = (
            f"Found a mask with more than {MOST_CODES} different values, from {codes[0]} to {codes[-1]}, expected booleans or "
            "the classes or bits of a product: this is no mask."
        )
        raise MaskError(msg, call="Pass the layer that says what is cloud.", option="Give the right one with --clouds.")


def _merged(blocks: Iterable[tuple[int, Sequence[_Part]]], shape: Sequence[int], dtype: np.dtype[Any]) -> Found:
    parts = [(first + i, part) for first, several in blocks for i, part in enumerate(several)]
    whole = all(part.whole for _, part in parts)
    codes = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.codes for _, part in parts)]))
    _check_many(codes)
    codes = codes if whole else codes[:0]
    counts, lost = np.zeros((shape[0], codes.size), np.int64), np.zeros(shape[0], np.int64)
    above = np.zeros((shape[0], len(SCALES)), np.int64)
    for date, part in parts:
        if whole:
            counts[date, np.searchsorted(codes, part.codes)] += part.counts
        lost[date] += part.lost
        above[date] += part.above
    lows, highs = ([v for _, part in parts if not np.isnan(v := getattr(part, n))] for n in ("low", "high"))
    low, high = min(lows, default=np.nan), max(highs, default=np.nan)
    return Found(codes, counts, lost, int(np.prod(shape[1:])), low, high, whole, above, dtype)


def listed(codes: NDArray[np.int64], most: int = 8) -> str:
    """Return values as text, the first of many."""
    return ", ".join(str(c) for c in itertools.islice(codes.tolist(), most)) + ("…" if codes.size > most else "")
