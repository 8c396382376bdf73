"""What people use today against noise, gaps and stripes in a spectral cube."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.faults import Fault
from scipy import ndimage


def low_rank(fault: Fault, rank: int = 8) -> np.ndarray:
    """Return the projection on the leading spectra; gaps interpolated first, then replaced by it ten times."""
    image = linear(fault) if not fault.observed.all() else fault.seen
    for _ in range(1 if fault.observed.all() else 10):
        flat = image.reshape(len(image), -1)
        mean = flat.mean(1, keepdims=True)
        vectors = np.linalg.eigh((flat - mean) @ (flat - mean).T)[1][:, -rank:]
        projected = (mean + vectors @ (vectors.T @ (flat - mean))).reshape(image.shape)
        image = projected if fault.observed.all() else np.where(fault.observed, fault.seen, projected)
    return image


def median(fault: Fault) -> np.ndarray:
    """Return a 3x3 median of each band."""
    return ndimage.median_filter(fault.seen, (1, 3, 3))


def total_variation(fault: Fault) -> np.ndarray:
    """Return Chambolle's total variation of each band, weighted by its own estimated noise."""
    from skimage.restoration import denoise_tv_chambolle

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    sigma = [1.4826 * np.median(np.abs(ndimage.convolve(b, kernel))) for b in fault.seen]
    return np.stack([denoise_tv_chambolle(b, weight=1.2 * s) for b, s in zip(fault.seen, sigma, strict=True)])


def mnf(fault: Fault) -> np.ndarray:
    """Return SPy's minimum noise fraction transform, with the components of signal-to-noise above one kept."""
    import spectral  # optional: not among the test requirements

    cube = fault.seen.transpose(1, 2, 0)
    transform = spectral.mnf(spectral.calc_stats(cube), spectral.noise_from_diffs(cube))
    return np.asarray(transform.denoise(cube, snr=1)).transpose(2, 0, 1)


def linear(fault: Fault) -> np.ndarray:
    """Return each row of each band interpolated, from the nearest values of its column where it has none."""
    out = np.empty_like(fault.clean)
    for band, (image, known) in enumerate(zip(fault.seen, fault.observed, strict=True)):
        nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
        filled = image[tuple(nearest)]
        for row in range(len(image)):
            at = np.flatnonzero(known[row])
            if len(at) > 1:
                filled[row] = np.interp(np.arange(image.shape[1]), at, image[row, at])
        out[band] = np.where(known, image, filled)
    return out


def column_means(fault: Fault) -> np.ndarray:
    """Return each column moved to the smoothed mean of its neighbours (moment matching)."""
    mean = fault.seen.mean(1, keepdims=True)
    return fault.seen - (mean - ndimage.median_filter(mean, (1, 1, 9), mode="mirror"))


BASELINES: dict[str, dict[str, Callable[[Fault], np.ndarray]]] = {
    "noise": {"median 3x3": median, "total variation": total_variation, "low rank": low_rank, "MNF (SPy)": mnf},
    "gaps": {"linear": linear, "low rank": low_rank},
    "stripes": {"column means": column_means, "low rank": low_rank},
}


def baselines(task: str) -> dict[str, Callable[[Fault], np.ndarray]]:
    """Return the simple methods for a task."""
    return BASELINES[
        "gaps" if task.startswith("entries") or task == "dead" else "stripes" if task == "stripes" else "noise"
    ]
