"""Histogram matching, then Poisson editing."""

from __future__ import annotations

import numpy as np

from . import poisson
from .case import Case
from .dates import first_clear, others

LEVELS = np.linspace(0.001, 0.999, 256)
"""Quantiles that are moved; the few values beyond them, clouds that a mask missed among them, are moved by the same steps."""
FEWEST = 30
"""Pixels that both dates must have for their histograms to be compared."""


def histogram_poisson(case: Case, target: int) -> np.ndarray:
    """Return other dates with the histogram of the target, their gradients integrated from the clear pixels at the rim.

    Histogram matching of dates: Helmer and Ruefenacht, Photogrammetric Engineering and Remote Sensing 71, 2005. Poisson editing:
    Perez, Gangnet and Blake, SIGGRAPH 2003, equation 3; on clouds: Lin, Tsai, Lai and Chen, IEEE TGRS 51, 2013.

    Histograms are matched on pixels that both dates have. A missing pixel, or a difference of neighbours, comes from the date
    that matches best there among those that have it; where none has it, the difference is 0.
    """
    matched, misfit = dict(enumerate(case.stack)), {}
    for date in others(case, target):
        both = case.observed[date] & case.observed[target]
        if both.sum() >= FEWEST:
            matched[date] = match(case.stack[date], case.stack[target], both)
            misfit[date] = float(np.mean((matched[date] - case.stack[target])[:, both] ** 2))
    order = sorted(others(case, target), key=lambda date: misfit.get(date, np.inf))
    seen = case.observed[target]
    start = np.where(seen, case.stack[target], first_clear(case, target, order, matched))
    down, across = (np.zeros_like(part) for part in poisson.differences(start))
    for date in reversed(order):
        known = case.observed[date]
        for out, part, ends in zip(
            (down, across),
            poisson.differences(matched[date]),
            (known[1:] & known[:-1], known[:, 1:] & known[:, :-1]),
            strict=True,
        ):
            out[:, ends] = part[:, ends]
    return poisson.solve(start, seen, (down, across))


def match(source: np.ndarray, target: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Return a date (B, y, x) with its quantiles in each band moved to those of another, of the pixels that both have."""
    out = np.empty_like(source)
    for band, (image, wanted) in enumerate(zip(source, target, strict=True)):
        before, after = (np.quantile(values[both], LEVELS) for values in (image, wanted))
        out[band] = np.interp(image, before, after)
        low, high = image < before[0], image > before[-1]
        out[band][low], out[band][high] = image[low] + after[0] - before[0], image[high] + after[-1] - before[-1]
    return out
