"""What values a mask holds: all of them are counted, block by block, whether it is in memory or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from ..errors import MaskError
from ..tiling import scheduling

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


def in_memory(data: Any) -> NDArray[Any]:
    """Return a small array, computed where it is Dask."""
    if not isinstance(data, da.Array):
        return np.asarray(data)
    (found,) = scheduling.compute([data.rechunk(-1).to_delayed().item()])
    return np.asarray(found)


def shares(data: Any) -> NDArray[np.float64]:
    """Return the share of each date (time,) of a boolean mask (time, y, x), NumPy or Dask, that is True."""
    return np.asarray(in_memory(data.sum((1, 2), dtype=np.int64)) / max(int(np.prod(data.shape[1:])), 1))


def look(data: Any, probability: float) -> Found:
    """Return what a mask (time, y, x), NumPy or Dask, holds; block by block, so that it need not fit into memory."""
    firsts, blocks = [0], [_counted(data, probability)] if isinstance(data, np.ndarray) else []
    if not blocks:
        starts = np.cumsum([0, *data.chunks[0]]).tolist()
        lazy = data.to_delayed()
        firsts = [starts[time] for time, *_ in np.ndindex(lazy.shape)]
        blocks = list(scheduling.compute([dask.delayed(_counted)(block, probability) for block in lazy.ravel()]))
    dates = [(first + i, date) for first, block in zip(firsts, blocks, strict=True) for i, date in enumerate(block)]
    return _merged(dates, data.shape, data.dtype)


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
    return [_counted_date(date.ravel(), thresholds(probability)) for date in block]


def _counted_date(values: NDArray[Any], limits: Sequence[float]) -> _Part:
    known = values[~np.isnan(values)].astype(np.float64) if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
    whole = values.dtype.kind != "f" or bool((np.abs(known) < _WHOLE).all() and (known == np.floor(known)).all())
    codes = counts = np.zeros(0, np.int64)
    if whole and values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        many = np.bincount(known)
        codes, counts = np.flatnonzero(many), many[many > 0]
    elif whole:
        codes, counts = np.unique(known.astype(np.int64), return_counts=True)
    _check_many(codes)
    above = [counts[codes >= at].sum() if whole else (known >= at).sum() for at in limits]
    return _Part(codes, counts, values.size - known.size, low, high, whole, np.array(above, np.int64))


def thresholds(probability: float) -> tuple[float, ...]:
    """Return a probability as it is written on each of `SCALES`."""
    return tuple(round(probability * scale, 9) for scale in SCALES)


def _check_many(codes: NDArray[np.int64]) -> None:
    if codes.size > MOST_CODES:
        msg = (
            f"Found a mask with more than {MOST_CODES} different values, from {codes[0]} to {codes[-1]}, expected booleans or "
            "the classes or bits of a product: this is no mask."
        )
        raise MaskError(msg, call="Pass the layer that says what is cloud.", option="Give the right one with --clouds.")


def _merged(dates: Sequence[tuple[int, _Part]], shape: Sequence[int], dtype: np.dtype[Any]) -> Found:
    """Return what a whole mask holds, from parts of its dates."""
    parts = [part for _, part in dates]
    whole = all(part.whole for part in parts)
    codes = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.codes for part in parts)]))
    _check_many(codes)
    codes = codes if whole else codes[:0]
    counts, lost = np.zeros((shape[0], codes.size), np.int64), np.zeros(shape[0], np.int64)
    above = np.zeros((shape[0], len(SCALES)), np.int64)
    for date, part in dates:
        if whole:
            counts[date, np.searchsorted(codes, part.codes)] += part.counts
        lost[date] += part.lost
        above[date] += part.above
    low = min((part.low for part in parts if not np.isnan(part.low)), default=np.nan)
    high = max((part.high for part in parts if not np.isnan(part.high)), default=np.nan)
    return Found(codes, counts, lost, int(np.prod(shape[1:])), low, high, whole, above, dtype)
