"""The Whittaker smoother in time."""

from __future__ import annotations

import numpy as np

from .case import Case
from .dates import fallback

STRENGTHS = 10.0 ** np.arange(-3, 6)
FALLBACK = 1e-6
"""Share of a penalty on first differences that keeps pixels with too few clear dates determined."""
MOST_PIXELS = 100_000


def whittaker(case: Case, target: int) -> np.ndarray:
    """Return the smooth series of each pixel at the target's date.

    Eilers, Analytical Chemistry 75, 2003: minimise sum_t w_t (y_t - z_t)^2 + strength |D z|^2 with w = 0 where a value is
    missing, D the differences of order 1 or 2 divided by the days between them (his equations for weights and uneven sampling); for
    series of vegetation: Atzberger and Eilers, International Journal of Digital Earth 4, 2011. Strength and order are those
    with the least leave-one-out error at the target's own clear pixels.
    """
    order = np.argsort(case.days, kind="stable")
    position = int(np.flatnonzero(order == target)[0])
    observed = case.observed[order].reshape(len(order), -1)
    values = case.stack[order].reshape(len(order), len(case.stack[0]), -1)
    penalties = [strength * matrix for matrix in _roughness(case.days[order]) for strength in STRENGTHS]
    clear = np.flatnonzero(observed[position])
    clear = clear[:: max(1, len(clear) // MOST_PIXELS)]
    truth, seen = values[position][:, clear], observed[:, clear].copy()
    seen[position] = False

    def error(penalty: np.ndarray) -> float:
        return float(np.nanmean((_predicted(values[..., clear], seen, penalty, position) - truth) ** 2))

    hidden = np.flatnonzero(~observed[position])
    chosen = min(penalties, key=error) if seen.any() else penalties[0]
    out = fallback(case, target).reshape(len(truth), -1).copy()
    found = _predicted(values[..., hidden], observed[:, hidden], chosen, position)
    out[:, hidden] = np.where(np.isfinite(found), found, out[:, hidden])
    return out.reshape(case.stack[target].shape)


def _roughness(days: np.ndarray) -> list[np.ndarray]:
    """Return the quadratic forms of first and second divided differences, in units of the median step between dates."""
    time = np.cumsum(np.concatenate([[0.0], np.maximum(np.diff(days), 0.5)]))
    step = np.diff(time) / (np.median(np.diff(time)) if len(time) > 1 else 1.0)
    first = np.diff(np.eye(len(days)), axis=0) / step[:, None]
    forms = [first.T @ first]
    if len(days) > 2:
        second = np.diff(first, axis=0) / ((step[1:] + step[:-1]) / 2)[:, None]
        forms.append(second.T @ second + FALLBACK * forms[0])
    return forms


def _predicted(values: np.ndarray, observed: np.ndarray, penalty: np.ndarray, position: int) -> np.ndarray:
    """Return the smooth value (B, N) at one date of series (T, B, N); NaN where no date is observed (T, N)."""
    out = np.full(values.shape[1:], np.nan)
    patterns, which = np.unique(observed, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if pattern.any():
            weights = np.linalg.solve(np.diag(pattern.astype(float)) + penalty, np.eye(len(pattern)))[position]
            here = np.flatnonzero(which == number)
            out[:, here] = np.einsum("t,tbn->bn", weights[pattern], values[pattern][..., here])
    return out
