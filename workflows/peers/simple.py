"""What people use today to fill gaps in a stack, made to cope with gaps in the other dates."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from .case import Case


def others(case: Case, target: int) -> list[int]:
    """Return the other dates, nearest in time first."""
    return sorted(
        (t for t in range(len(case.days)) if t != target), key=lambda t: abs(case.days[t] - case.days[target])
    )


def copy_nearest(case: Case, target: int) -> np.ndarray:
    """Return the nearest date that is clear, pixel by pixel; the band's mean where none is."""
    out = fallback(case, target)
    for date in reversed(others(case, target)):
        out[:, case.observed[date]] = case.stack[date][:, case.observed[date]]
    return out


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


def fallback(case: Case, target: int) -> np.ndarray:
    """Return the mean of the date's clear pixels, per band."""
    mean = case.stack[target][:, case.observed[target]].mean(axis=1)
    return np.broadcast_to(mean[:, None, None], case.stack[target].shape).copy()


def regress(case: Case, target: int, neighbourhood: int, local: bool = False) -> np.ndarray:
    """Return a ridge regression on the other dates, whose gaps are first filled with the nearest clear date.

    Args:
        case: the case.
        target: the date.
        neighbourhood: 1 (pixelwise) or 3.
        local: with Gaussian weights of 20 pixels on the residual of the scene-wide regression.
    """
    filled = []
    for date in others(case, target)[:4]:
        without = np.ones(len(case.days), bool)
        without[target] = False
        part = Case("", case.stack[without], case.observed[without], case.score[without], case.days[without], ())
        index = int(np.flatnonzero(np.flatnonzero(without) == date)[0])
        filled.append(np.where(case.observed[date], case.stack[date], copy_nearest(part, index)))
    bands = np.concatenate(filled)
    features = bands if neighbourhood == 1 else shifted(bands)
    seen = case.observed[target]
    picked = np.flatnonzero(seen)
    picked = picked[:: max(1, len(picked) // 200_000)]
    flat = features.reshape(len(features), -1).astype(np.float64)
    center, spread = flat[:, picked].mean(1, keepdims=True), flat[:, picked].std(1, keepdims=True) + 1e-9
    x = (flat[:, picked] - center) / spread
    y = case.stack[target].reshape(len(case.stack[target]), -1)[:, picked].astype(np.float64)
    mean = y.mean(1, keepdims=True)
    gram = x @ x.T / x.shape[1] + 1e-3 * np.eye(len(x))
    weights = np.linalg.solve(gram, x @ (y - mean).T / x.shape[1])
    estimate = ((weights / spread).T @ flat + mean - (weights / spread).T @ center).reshape(case.stack[target].shape)
    return estimate + local_residual(bands, case.stack[target] - estimate, seen) if local else estimate


def shifted(bands: np.ndarray) -> np.ndarray:
    """Return the 3x3 neighbourhoods (9 C, y, x)."""
    height, width = bands.shape[1:]
    padded = np.pad(bands, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)])


def local_residual(bands: np.ndarray, residual: np.ndarray, seen: np.ndarray, step: int = 4) -> np.ndarray:
    """Return the residual regressed on bands with Gaussian weights (sigma 20 pixels), coefficients on a grid of `step`."""
    from scipy.ndimage import gaussian_filter, zoom

    scaled = (bands - bands[:, seen].mean(1)[:, None, None]) / (bands[:, seen].std(1)[:, None, None] + 1e-9)
    columns = np.concatenate([scaled, np.ones_like(scaled[:1])])

    def smooth(image: np.ndarray) -> np.ndarray:
        out: np.ndarray = gaussian_filter(image * seen, 20, mode="constant", truncate=3)[::step, ::step]
        return out

    weight = np.maximum(smooth(np.ones(seen.shape)), 1e-6)
    size = len(columns)
    gram = np.empty((*weight.shape, size, size))
    for i in range(size):
        for j in range(i, size):
            gram[..., i, j] = gram[..., j, i] = smooth(columns[i] * columns[j]) / weight
    right = np.stack([np.stack([smooth(c * r) / weight for r in residual], -1) for c in columns], -2)
    coefficients = np.linalg.solve(gram + 0.1 * np.eye(size), right)
    shape = (seen.shape[0] / weight.shape[0], seen.shape[1] / weight.shape[1])
    out = np.zeros_like(residual)
    for band in range(len(residual)):
        for i in range(size):
            out[band] += columns[i] * zoom(coefficients[..., i, band], shape, order=1, grid_mode=True, mode="nearest")
    return out


def fill_nodata(case: Case, target: int) -> np.ndarray:
    """Return `rasterio.fill.fillnodata`: inverse distance weighting."""
    from rasterio.fill import fillnodata

    seen = case.observed[target].astype(np.uint8)
    return np.stack([fillnodata(b.copy(), mask=seen, max_search_distance=400) for b in case.stack[target]])


def biharmonic(case: Case, target: int) -> np.ndarray:
    """Return scikit-image's biharmonic inpainting."""
    from skimage.restoration import inpaint_biharmonic

    image: np.ndarray = inpaint_biharmonic(case.stack[target], ~case.observed[target], channel_axis=0)
    return image


SIMPLE: dict[str, Callable[[Case, int], np.ndarray]] = {
    "copy nearest": copy_nearest,
    "linear in time": linear,
    "median": median,
    "pixelwise regression": lambda c, t: regress(c, t, 1),
    "local regression": lambda c, t: regress(c, t, 1, local=True),
    "ridge 3x3": lambda c, t: regress(c, t, 3),
}
SPATIAL: dict[str, Callable[[Case, int], np.ndarray]] = {"fillnodata": fill_nodata, "biharmonic": biharmonic}
