"""Low-rank tensor completion: HaLRTC, the tensor nuclear norm under a cosine transform, and tensor correlated total variation.

All three see the stack as a tensor (channel, y, x) with the dates of a band side by side, each band divided by its standard
deviation, and start from 0 at missing entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .case import Case
from .dates import spread_per_band

if TYPE_CHECKING:
    from torch import Tensor

MOST_SWEEPS = 300
TOLERANCE = 1e-5
"""Change of a sweep and disagreement of the splitting, beside the size of the tensor, below which the sweeps end."""
SINGLE_PRECISION = 256**2
"""Pixels above which single precision is used."""


def halrtc(case: Case) -> np.ndarray:
    """Return the stack completed by HaLRTC.

    Liu, Musialski, Wonka and Ye, IEEE TPAMI 35, 2013, algorithm 4: the sum of the nuclear norms of the three unfoldings, with
    equal weights, under X = T where observed, by the alternating direction method with a penalty that grows by 5 % a sweep.
    """
    return _completed(case, _halrtc)


def tnn_dct(case: Case) -> np.ndarray:
    """Return the stack completed with the tensor nuclear norm under the discrete cosine transform.

    Lu, Peng and Wei, CVPR 2019: tensor singular value thresholding in an alternating direction method, with the authors' penalty:
    1e-4, growing by 10 % a sweep.
    """
    return _completed(case, _tnn)


def tctv(case: Case) -> np.ndarray:
    """Return the stack completed with tensor correlated total variation.

    Wang, Peng, Qin, Wang and Meng, IEEE TPAMI 45, 2023: the mean of the tensor nuclear norms of the differences along the modes,
    here all three, under X = T where observed, by their alternating direction method with the authors' penalty: 1e-4, growing by
    10 % a sweep. Differences are periodic, the transform is the cosine transform.
    """
    return _completed(case, _tctv)


def of_entries(image: np.ndarray, observed: np.ndarray, method: str) -> np.ndarray:
    """Return an image (channel, y, x) with the entries that are not `observed` completed by one of `ENTRIES`, as it is scaled."""
    import torch

    known = torch.from_numpy(observed)
    found: np.ndarray = ENTRIES[method](torch.where(known, torch.from_numpy(image).double(), 0), known).numpy()
    return found


def _completed(case: Case, method: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
    import torch

    dates, bands, *shape = case.stack.shape
    order = np.argsort(case.days, kind="stable")
    spread = spread_per_band(case)
    scaled = np.where(case.observed[:, None], case.stack / spread, 0)[order].swapaxes(0, 1)  # (B, T, y, x)
    kind = torch.float64 if shape[0] * shape[1] <= SINGLE_PRECISION else torch.float32
    known = torch.from_numpy(np.tile(case.observed[order], (bands, 1, 1)))
    found = method(torch.from_numpy(scaled.reshape(-1, *shape)).to(kind), known).double().numpy()
    out = np.empty(case.stack.shape)
    out[order] = found.reshape(bands, dates, *shape).swapaxes(0, 1) * spread
    return out


def _halrtc(data: Tensor, known: Tensor) -> Tensor:
    import torch

    image, penalty = data.clone(), 1 / float(torch.linalg.norm(data))
    multipliers = [torch.zeros_like(data) for _ in range(3)]
    for _ in range(MOST_SWEEPS):
        parts = [
            _folded(_thresholded(_unfolded(image + y / penalty, mode), 1 / (3 * penalty)), mode, data.shape)
            for mode, y in enumerate(multipliers)
        ]
        mean = sum((part - y / penalty for part, y in zip(parts, multipliers, strict=True)), torch.zeros_like(data)) / 3
        before, image = image, torch.where(known, data, mean)
        multipliers = [y - penalty * (part - image) for part, y in zip(parts, multipliers, strict=True)]
        penalty *= 1.05
        if _settled(image, before, sum((part - image for part in parts), torch.zeros_like(data)) / 3):
            break
    return image


def _tnn(data: Tensor, known: Tensor) -> Tensor:
    import torch

    transform = _cosines(len(data)).to(data.dtype)
    image, multiplier, penalty = data.clone(), torch.zeros_like(data), 1e-4
    for _ in range(MOST_SWEEPS):
        smooth = _shrunk(image + multiplier / penalty, 1 / penalty, transform)
        before, image = image, torch.where(known, data, smooth - multiplier / penalty)
        multiplier = multiplier + penalty * (image - smooth)
        penalty *= 1.1
        if _settled(image, before, image - smooth):
            break
    return image


def _tctv(data: Tensor, known: Tensor) -> Tensor:
    import torch

    modes = range(3) if len(data) > 1 else range(1, 3)
    transform = _cosines(len(data)).to(data.dtype)
    waves = [2 - 2 * torch.cos(2 * torch.pi * torch.arange(n, dtype=data.dtype) / n) for n in data.shape]
    laplacian = sum(
        (waves[mode].reshape([-1 if axis == mode else 1 for axis in range(3)]) for mode in modes), torch.zeros(1)
    )
    image, penalty = data.clone(), 1e-4
    missing, multiplier = torch.zeros_like(data), torch.zeros_like(data)  # E, so that X + E = T, and its multiplier
    duals = [torch.zeros_like(data) for _ in modes]
    for _ in range(MOST_SWEEPS):
        fields = [
            _shrunk(_difference(image, mode) + dual / penalty, 1 / (len(modes) * penalty), transform)
            for mode, dual in zip(modes, duals, strict=True)
        ]
        right = data - missing + multiplier / penalty
        for mode, field, dual in zip(modes, fields, duals, strict=True):
            right = right + _adjoint(field - dual / penalty, mode)
        before = image
        image = torch.fft.ifftn(torch.fft.fftn(right) / (1 + laplacian)).real
        missing = torch.where(known, 0, data - image + multiplier / penalty)
        multiplier = multiplier + penalty * (data - image - missing)
        duals = [
            dual + penalty * (_difference(image, mode) - field)
            for mode, field, dual in zip(modes, fields, duals, strict=True)
        ]
        penalty *= 1.1
        if _settled(image, before, data - image - missing):
            break
    return torch.where(known, data, image)


def _difference(image: Tensor, mode: int) -> Tensor:
    return image.roll(-1, mode) - image


def _adjoint(field: Tensor, mode: int) -> Tensor:
    return field.roll(1, mode) - field


def _shrunk(tensor: Tensor, threshold: float, transform: Tensor) -> Tensor:
    """Return tensor singular value thresholding under a unitary transform of the channels."""
    import torch

    slices = torch.tensordot(transform, tensor, 1)
    return torch.tensordot(transform.T, _thresholded(slices, threshold), 1)


def _thresholded(matrices: Tensor, threshold: float) -> Tensor:
    """Return singular value thresholding of matrices (..., n, m), through the eigenvectors of the smaller Gram matrix."""
    import torch

    if bool((torch.linalg.matrix_norm(matrices) <= threshold).all()):  # so is the largest singular value
        return torch.zeros_like(matrices)
    if matrices.shape[-2] > matrices.shape[-1]:
        return _thresholded(matrices.mT, threshold).mT
    values, vectors = torch.linalg.eigh(matrices @ matrices.mT)
    singular = values.clamp(min=0).sqrt()
    share = (1 - threshold / singular.clamp(min=1e-12)).clamp(min=0)
    return (vectors * share[..., None, :]) @ (vectors.mT @ matrices)


def _unfolded(tensor: Tensor, mode: int) -> Tensor:
    return tensor.movedim(mode, 0).flatten(1)


def _folded(matrix: Tensor, mode: int, shape: tuple[int, ...]) -> Tensor:
    rest = [n for axis, n in enumerate(shape) if axis != mode]
    return matrix.reshape(shape[mode], *rest).movedim(0, mode)


def _cosines(size: int) -> Tensor:
    """Return the orthonormal discrete cosine transform (size, size)."""
    import torch
    from scipy.fft import dct

    return torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho"))


def _settled(now: Tensor, before: Tensor, residual: Tensor) -> bool:
    """Return whether a sweep changed little and the splitting agrees, both beside the tensor's size."""
    import torch

    return bool(max(torch.linalg.norm(now - before), torch.linalg.norm(residual)) < TOLERANCE * torch.linalg.norm(now))


ENTRIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"HaLRTC": _halrtc, "TNN-DCT": _tnn, "t-CTV": _tctv}
"""What completes a tensor (channel, y, x), 0 where not known, of which any entries are known."""
