"""What people use today to fill gaps in a stack, made to cope with gaps in the other dates."""

from __future__ import annotations

import warnings

import numpy as np

from .case import Case
from .dates import copy_nearest, fallback, others


def median(case: Case, target: int) -> np.ndarray:
    """Return the median of the other dates where they are clear."""
    rest = others(case, target)
    values = np.where(case.observed[rest][:, None], case.stack[rest], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle = np.nanmedian(values, axis=0)
    return np.where(np.isfinite(middle), middle, fallback(case, target))


def linear(case: Case, target: int) -> np.ndarray:
    """Return the linear interpolation in time between the nearest clear dates before and after; beyond them a copy."""
    gap = case.days - case.days[target]
    rest = others(case, target)
    out = copy_nearest(case, target)
    before, after = np.full(out.shape[1:], -1), np.full(out.shape[1:], -1)
    for date in reversed(rest):  # the nearest comes last and stays
        side = before if gap[date] <= 0 else after
        side[case.observed[date]] = date
    for a in rest:
        for b in rest:
            here = (before == a) & (after == b)
            if here.any():
                share = -gap[a] / (gap[b] - gap[a])
                out[:, here] = (1 - share) * case.stack[a][:, here] + share * case.stack[b][:, here]
    return out


def fill_nodata(case: Case, target: int) -> np.ndarray:
    """Return `rasterio.fill.fillnodata`: inverse distance weighting."""
    from rasterio.fill import fillnodata

    seen = case.observed[target]
    image = np.where(seen, case.stack[target], 0)
    return np.stack([fillnodata(b, mask=seen.astype(np.uint8), max_search_distance=400) for b in image])


def biharmonic(case: Case, target: int) -> np.ndarray:
    """Return scikit-image's biharmonic inpainting."""
    from skimage.restoration import inpaint_biharmonic

    seen = case.observed[target]
    image: np.ndarray = inpaint_biharmonic(np.where(seen, case.stack[target], 0), ~seen, channel_axis=0)
    return image
