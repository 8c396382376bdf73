"""Data interpolating empirical orthogonal functions."""

from __future__ import annotations

import warnings

import numpy as np

from .case import Case

MOST_SWEEPS = 300
TOLERANCE = 1e-3
PATIENCE = 3
"""How many more functions are tried after the best number so far."""


def dineof(case: Case) -> np.ndarray:
    """Return the stack completed with as many empirical orthogonal functions as predict hidden pixels best.

    Beckers and Rixen, Journal of Atmospheric and Oceanic Technology 20, 2003, several variables together:
    Alvera-Azcarate, Barth, Beckers and Weisberg, Journal of Geophysical Research 112, 2007. The matrix has a row for each band of
    each date, with its mean and standard deviation taken off, and a column for each pixel. Missing entries start at 0 and are
    replaced by the truncated decomposition until they stay, with one more function at a time. The number of functions
    comes from hidden pixels (1 % and 40, at most 3 %, of each date), all bands of a date together, as clouds hide them.
    """
    dates, bands = case.stack.shape[:2]
    observed = case.observed.reshape(dates, -1)
    flat = case.stack.reshape(dates * bands, -1).astype(np.float64)
    known = np.repeat(observed, bands, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a date without any clear pixel
        mean, spread = (f(flat, axis=1, where=known, keepdims=True) for f in (np.mean, np.std))
    mean, spread = np.where(np.isfinite(mean), mean, np.nanmean(mean)), np.where(spread > 0, spread, 1)
    matrix = np.where(known, (flat - mean) / spread, 0)
    hidden = np.repeat(_hidden(observed), bands, axis=0)
    count = _best_count(matrix, known, hidden)
    for functions in range(1, count + 1):
        matrix = _filled(matrix, known, functions)
    return (matrix * spread + mean).reshape(case.stack.shape)


def _hidden(observed: np.ndarray) -> np.ndarray:
    """Return the pixels of each date (T, N) that say how many functions there are."""
    random, out = np.random.default_rng(0), np.zeros_like(observed)
    for row, seen in zip(out, observed, strict=True):
        at = np.flatnonzero(seen)
        row[random.permutation(at)[: int(min(0.01 * len(at) + 40, max(1, 0.03 * len(at))))]] = True
    return out


def _best_count(matrix: np.ndarray, known: np.ndarray, hidden: np.ndarray) -> int:
    """Return how many functions predict the hidden entries best."""
    errors: list[float] = []
    work = np.where(hidden, 0, matrix)
    for functions in range(1, len(matrix)):
        work = _filled(work, known & ~hidden, functions)
        errors.append(float(((work - matrix)[hidden] ** 2).mean()))
        if len(errors) - 1 - int(np.argmin(errors)) >= PATIENCE:
            break
    return int(np.argmin(errors)) + 1 if errors else 1


def _filled(matrix: np.ndarray, known: np.ndarray, functions: int) -> np.ndarray:
    """Return the matrix, its unknown entries replaced by the truncated decomposition until they stay."""
    for _ in range(MOST_SWEEPS):
        vectors = np.linalg.eigh(matrix @ matrix.T)[1][:, -functions:]
        smooth = vectors @ (vectors.T @ matrix)
        change = float(np.sqrt(np.mean((smooth - matrix)[~known] ** 2))) if not known.all() else 0.0
        matrix = np.where(known, matrix, smooth)
        if change < TOLERANCE:
            break
    return matrix
