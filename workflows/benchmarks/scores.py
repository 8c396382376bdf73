"""How near a filled stack comes to the truth: PSNR, SAM, SSIM and the error of NDVI, on scored pixels only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from peers.case import Case

from .common import psnr, spectral_angle

RED, INFRARED = 2, 3


def score(case: Case, estimate: np.ndarray, where: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Return the scores of a filled stack, averaged over the dates that have scored pixels.

    Args:
        case: with the truth.
        estimate: the filled stack (T, B, y, x).
        where: the pixels that count (T, y, x); by default `case.score`.
    """
    rows = []
    for target in case.targets:
        here = (case.score if where is None else where)[target]
        if here.any():
            truth, found = (a[target].astype(np.float64) for a in (case.stack, estimate))
            pixels = truth[:, here], found[:, here]
            rows.append(
                {
                    "psnr": psnr(((pixels[1] - pixels[0]) ** 2).mean(axis=1)),
                    "sam": spectral_angle(pixels[1], pixels[0]),
                    "ssim": masked_ssim(truth, found, here),
                    "ndvi": float(np.sqrt(np.mean((ndvi(pixels[1]) - ndvi(pixels[0])) ** 2))),
                }
            )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def ndvi(pixels: np.ndarray) -> np.ndarray:
    """Return the vegetation index of spectra (B, N), held in [-1, 1]; 0 where red and near infrared sum to nothing."""
    total = pixels[INFRARED] + pixels[RED]
    index = (pixels[INFRARED] - pixels[RED]) / np.where(np.abs(total) < 1e-6, np.inf, total)
    return np.clip(index, -1, 1)


def masked_ssim(truth: np.ndarray, found: np.ndarray, here: NDArray[np.bool_]) -> float:
    """Return the mean of SSIM at some pixels, over the bands (B, y, x).

    SSIM of Wang, Bovik, Sheikh and Simoncelli (IEEE TIP 13, 2004) with their Gaussian window (sigma 1.5) and constants; its map is
    computed on whole bands and averaged at the pixels that count. All other pixels are taken from the truth, so that what is not
    scored says nothing. The range is that of the band's scored values, without the highest and lowest 0.5 %: with a range of
    1 every fill of dark bands would score near 1.
    """
    from skimage.metrics import structural_similarity

    out = []
    for band, image in zip(truth, found, strict=True):
        low, high = np.quantile(band[here], [0.005, 0.995])
        _, local = structural_similarity(
            band,
            np.where(here, image, band),
            data_range=max(high - low, 1e-6),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        out.append(local[here].mean())
    return float(np.mean(out))
