"""A haze test of the truth, for protocol M: which pixels that the mask calls clear are hazy all the same.

It was fixed before any method was scored on what it leaves, uses nothing of ngr_geo, and no method sees it. It is a haze optimized
transform (Zhang, Guindon and Cihlar, Remote Sensing of Environment 82, 2002) compared with that of other dates:

    HOT = (blue - slope * red) / sqrt(1 + slope^2), the slope of the clear line from the pixels of the nearly clear dates.

HOT of a date minus the median HOT of the other nearly clear dates is smoothed (Gaussian, sigma 2.5 pixels, over clear pixels),
and its own median is taken off, as a shift of a whole date harms no method. The same differences among nearly clear dates say
what is usual: beyond their 99th percentile a pixel is hazy.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

BLUE, RED = 0, 2
NEARLY_CLEAR = 0.8
"""Share of clear pixels from which a date says what is usual."""
SIGMA = 2.5
USUAL = 0.99


def hazy(stack: np.ndarray, clear: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where clear pixels carry haze, or where no other nearly clear date can say so (T, y, x).

    Args:
        stack: reflectance (T, B, y, x).
        clear: pixels that the mask calls clear (T, y, x).
    """
    usual = [date for date in range(len(stack)) if clear[date].mean() >= NEARLY_CLEAR]
    if len(usual) < 2:
        message = f"the haze test found {len(usual)} dates with {NEARLY_CLEAR:.0%} of clear pixels, it needs 2"
        raise ValueError(message)
    slope = _clear_line(stack[usual], clear[usual])
    transform = (stack[:, BLUE] - slope * stack[:, RED]) / np.sqrt(1 + slope**2)
    excess = [
        _excess(transform, clear, date, [other for other in usual if other != date]) for date in range(len(stack))
    ]
    limit = float(np.nanquantile(np.concatenate([excess[date].ravel() for date in usual]), USUAL))
    return ~(np.stack(excess) <= limit) & clear


def _clear_line(stack: np.ndarray, clear: NDArray[np.bool_]) -> float:
    """Return the slope of blue against red by least squares."""
    blue, red = stack[:, BLUE][clear].astype(float), stack[:, RED][clear].astype(float)
    return float(np.cov(blue, red)[0, 1] / red.var(ddof=1))


def _excess(transform: np.ndarray, clear: NDArray[np.bool_], date: int, others: list[int]) -> np.ndarray:
    """Return the smoothed difference to the median of other dates; NaN where either is unknown."""
    from scipy.ndimage import gaussian_filter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that no other date has
        rest = np.nanmedian(np.where(clear[others], transform[others], np.nan), axis=0)
    difference = transform[date] - rest
    known = clear[date] & np.isfinite(rest)
    weight = gaussian_filter(known.astype(float), SIGMA)
    smooth = gaussian_filter(np.where(known, difference, 0), SIGMA) / np.maximum(weight, 1e-6)
    out: np.ndarray = np.where(known, smooth - np.median(smooth[known]), np.nan)
    return out
