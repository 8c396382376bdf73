"""Denoising of a cube's coefficient images in its subspace."""

from __future__ import annotations

import numpy as np


def fasthyde_like(cube: np.ndarray, deviation: np.ndarray | None = None) -> np.ndarray:
    """Return a cube (channel, y, x) less its noise, after FastHyDe.

    Zhuang and Bioucas-Dias, IEEE JSTARS 11, 2018: channels divided by their noise (estimated by regression on the other channels
    where no deviations are given), the subspace of the signal, each of its coefficient images denoised, and back. The subspace is
    that of HySime (Bioucas-Dias and Nascimento, IEEE TGRS 46, 2008): directions that hold more signal than noise. The authors
    denoise by BM3D, whose package is for non-commercial use; here it is non-local means, hence "like".
    """
    import torch
    from skimage.restoration import denoise_nl_means

    from ngr_geo.guides.covariance import moments, unpredicted

    flat = cube.reshape(len(cube), -1)
    if deviation is None:
        covariance = moments(torch.from_numpy(flat - flat.mean(1, keepdims=True)))
        deviation = unpredicted(covariance).numpy()
    unit = np.maximum(deviation, 1e-6)[:, None]
    white = flat / unit
    power, vectors = np.linalg.eigh(white @ white.T / white.shape[1])
    basis = vectors[:, power > 2]  # the signal's power is the eigenvalue less 1, that of the noise
    images = (basis.T @ white).reshape(-1, *cube.shape[1:])
    clean = [
        denoise_nl_means(image, patch_size=5, patch_distance=6, h=0.8, sigma=1.0, fast_mode=True, preserve_range=True)
        for image in images
    ]
    found: np.ndarray = unit * (basis @ np.reshape(clean, (basis.shape[1], -1)))
    return found.reshape(cube.shape)
