"""Linear regressions on the other dates: of the scene, of 3x3 neighbourhoods, and with weights that fall with distance."""

from __future__ import annotations

import numpy as np

from .case import Case
from .dates import references, shifted


def pixelwise(case: Case, target: int) -> np.ndarray:
    """Return one ridge regression of the scene on the other dates, pixel by pixel."""
    return _of_the_scene(case, target, np.concatenate(references(case, target)))


def neighbourhoods(case: Case, target: int) -> np.ndarray:
    """Return one ridge regression of the scene on the 3x3 neighbourhoods of the other dates."""
    return _of_the_scene(case, target, shifted(np.concatenate(references(case, target))))


def local(case: Case, target: int) -> np.ndarray:
    """Return the pixelwise regression, its residual regressed with Gaussian weights of 20 pixels.

    Geographically weighted regression: Brunsdon, Fotheringham and Charlton, Geographical Analysis 28, 1996.
    """
    bands, seen = np.concatenate(references(case, target)), case.observed[target]
    estimate = _of_the_scene(case, target, bands)
    return estimate + _local_residual(bands, np.where(seen, case.stack[target] - estimate, 0), seen)


def _of_the_scene(case: Case, target: int, features: np.ndarray) -> np.ndarray:
    """Return the regression of the date's bands on features (F, y, x)."""
    picked = np.flatnonzero(case.observed[target])
    picked = picked[:: max(1, len(picked) // 200_000)]
    flat = features.reshape(len(features), -1).astype(np.float64)
    center, spread = flat[:, picked].mean(1, keepdims=True), flat[:, picked].std(1, keepdims=True) + 1e-9
    x = (flat[:, picked] - center) / spread
    y = case.stack[target].reshape(len(case.stack[target]), -1)[:, picked].astype(np.float64)
    mean = y.mean(1, keepdims=True)
    gram = x @ x.T / x.shape[1] + 1e-3 * np.eye(len(x))
    weights = np.linalg.solve(gram, x @ (y - mean).T / x.shape[1])
    estimate: np.ndarray = (weights / spread).T @ flat + mean - (weights / spread).T @ center
    return estimate.reshape(case.stack[target].shape)


def _local_residual(bands: np.ndarray, residual: np.ndarray, seen: np.ndarray, step: int = 4) -> np.ndarray:
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
