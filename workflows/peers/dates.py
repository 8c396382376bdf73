"""What methods on dates share: their order, what is left where a date has nothing, references without gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .case import Case


def others(case: Case, target: int) -> list[int]:
    """Return the other dates, nearest in time first."""
    return sorted(
        (t for t in range(len(case.days)) if t != target), key=lambda t: abs(case.days[t] - case.days[target])
    )


def fallback(case: Case, target: int) -> np.ndarray:
    """Return the mean of the date's clear pixels per band, of all dates where it has none."""
    clear = case.stack[target][:, case.observed[target]]
    mean = clear.mean(axis=1) if clear.size else np.nanmean(case.stack, axis=(0, 2, 3))
    return np.broadcast_to(mean[:, None, None], case.stack[target].shape).astype(np.float32)


def first_clear(case: Case, target: int, order: Sequence[int], images: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return the image of the first date of an order that is clear, pixel by pixel; `fallback` where none is."""
    out = fallback(case, target)
    for date in reversed(order):
        out[:, case.observed[date]] = images[date][:, case.observed[date]]
    return out


def copy_nearest(case: Case, target: int) -> np.ndarray:
    """Return the nearest date that is clear, pixel by pixel; the band's mean where none is."""
    return first_clear(case, target, others(case, target), dict(enumerate(case.stack)))


def references(case: Case, target: int, count: int = 4) -> list[np.ndarray]:
    """Return the nearest other dates (B, y, x), their gaps filled with the nearest clear date; the target takes no part."""
    rest = [t for t in range(len(case.days)) if t != target]
    part = replace(case, stack=case.stack[rest], observed=case.observed[rest], days=case.days[rest])
    return [
        np.where(case.observed[date], case.stack[date], copy_nearest(part, rest.index(date)))
        for date in others(case, target)[:count]
    ]


def shifted(bands: np.ndarray) -> np.ndarray:
    """Return the 3x3 neighbourhoods (9 C, y, x)."""
    height, width = bands.shape[1:]
    padded = np.pad(bands, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)])


def spread_per_band(case: Case) -> np.ndarray:
    """Return the standard deviation of the observed values of each band over all dates (B, 1, 1)."""
    spread: np.ndarray = np.nanstd(case.seen().stack, axis=(0, 2, 3), dtype=float)[:, None, None] + 1e-9
    return spread
