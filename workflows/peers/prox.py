"""What published methods are made of: proximal operators, and differences that wrap around.

A proximal operator returns the z that minimises g(z) + |z - value|^2 / 2, for the g that its docstring states. Images are
(channel, y, x), fields (field, channel, y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor

from ngr_geo.solver.fidelity import shrink

__all__ = ["Ball", "adjoint", "cosines", "difference", "folded", "powered", "shortened", "shrink", "thresholded"]
__all__ += ["tubal", "tubal_fourier", "tucker", "unfolded"]

POWER_SWEEPS = 10


def shortened(fields: Tensor, threshold: float) -> Tensor:
    """Return vectors along the first axis shortened: g = threshold sum |z|_2 (isotropic total variation)."""
    length = torch.linalg.vector_norm(fields, dim=0, keepdim=True)
    return fields * (1 - threshold / length.clamp(min=threshold + 1e-30)).clamp(min=0)


def powered(value: Tensor, threshold: float, power: float) -> Tensor:
    """Return generalised soft thresholding: g = threshold sum |z|^power, 0 < power < 1.

    Zuo, Meng, Zhang, Feng and Zhang, ICCV 2013, algorithm 1: 0 below a threshold of its own, else a fixed point.
    """
    center = (2 * threshold * (1 - power)) ** (1 / (2 - power))
    edge = center + threshold * power * center ** (power - 1)
    size = value.abs()
    found = size
    for _ in range(POWER_SWEEPS):
        found = (size - threshold * power * found.clamp(min=center) ** (power - 1)).clamp(min=0)
    return torch.where(size > edge, value.sign() * found, 0)


def thresholded(matrices: Tensor, threshold: float, rank: int | None = None) -> Tensor:
    """Return matrices (..., n, m) of smaller singular values: g = threshold |z|_*, of that rank at most.

    Through the eigenvectors of the smaller Gram matrix.
    """
    if bool((torch.linalg.matrix_norm(matrices) <= threshold).all()):  # so is the largest singular value
        return torch.zeros_like(matrices)
    if matrices.shape[-2] > matrices.shape[-1]:
        return thresholded(matrices.mH, threshold, rank).mH
    values, vectors = torch.linalg.eigh(matrices @ matrices.mH)
    singular = values.clamp(min=0).sqrt()
    share = (1 - threshold / singular.clamp(min=1e-12)).clamp(min=0)
    if rank is not None:
        share[..., : max(share.shape[-1] - rank, 0)] = 0  # eigenvalues ascend
    return (vectors * share[..., None, :]) @ (vectors.mH @ matrices)


def tubal(tensor: Tensor, threshold: float, transform: Tensor) -> Tensor:
    """Return the tensor (channel, y, x) with g = threshold TNN(z), for an orthonormal transform of the channels."""
    slices = torch.tensordot(transform, tensor, 1)
    return torch.tensordot(transform.T, thresholded(slices, threshold), 1)


def tubal_fourier(tensor: Tensor, threshold: float) -> Tensor:
    """Return the tensor with g = threshold TNN(z), the tensor nuclear norm of the discrete Fourier transform of the channels.

    Lu, Feng, Chen, Liu, Lin and Yan, IEEE TPAMI 42, 2020, algorithm 3: the transform is not normalised, the norm is the mean of
    those of the slices. Half of the slices suffice for real tensors.
    """
    slices = thresholded(torch.fft.rfft(tensor, dim=0), threshold)
    return torch.fft.irfft(slices, n=len(tensor), dim=0)


def tucker(tensor: Tensor, ranks: tuple[int, ...], sweeps: int = 2) -> Tensor:
    """Return the projection on tensors of these multilinear ranks, by higher-order orthogonal iteration (nearly the nearest)."""
    bases = [_leading(unfolded(tensor, mode), rank) for mode, rank in enumerate(ranks)]
    for _ in range(sweeps):
        for mode, rank in enumerate(ranks):
            core = tensor
            for other, basis in enumerate(bases):
                if other != mode:
                    core = _times(core, basis.mT, other)
            bases[mode] = _leading(unfolded(core, mode), rank)
    for mode, basis in enumerate(bases):
        tensor = _times(tensor, basis @ basis.mT, mode)
    return tensor


def _leading(matrix: Tensor, rank: int) -> Tensor:
    return torch.linalg.eigh(matrix @ matrix.mT)[1][:, -rank:]


def _times(tensor: Tensor, matrix: Tensor, mode: int) -> Tensor:
    return torch.tensordot(matrix, tensor, ([1], [mode])).movedim(0, mode)


@dataclass(frozen=True)
class Ball:
    """The fidelity that a residual E (channel, y, x) is no longer than the noise: |E| <= radius in each channel.

    Rudin, Osher and Fatemi, Physica D 60, 1992, constrain the residual to the noise; the radius is sigma sqrt(pixels).
    """

    radius: Tensor

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return the projection on the balls."""
        length = torch.linalg.vector_norm(value, dim=(-2, -1))
        return value * (self.radius / length.clamp(min=1e-30)).clamp(max=1)[:, None, None]


def difference(image: Tensor, axis: int) -> Tensor:
    """Return forward differences along an axis; the last one is that to the first value."""
    return image.roll(-1, axis) - image


def adjoint(field: Tensor, axis: int) -> Tensor:
    """Return the adjoint of `difference`, which is a negative backward difference."""
    return field.roll(1, axis) - field


def unfolded(tensor: Tensor, mode: int) -> Tensor:
    """Return a tensor as a matrix whose rows are the slices of a mode."""
    return tensor.movedim(mode, 0).flatten(1)


def folded(matrix: Tensor, mode: int, shape: tuple[int, ...]) -> Tensor:
    """Return the tensor of this shape that `unfolded` gave as a matrix."""
    rest = [n for axis, n in enumerate(shape) if axis != mode]
    return matrix.reshape(shape[mode], *rest).movedim(0, mode)


def cosines(size: int, like: Tensor) -> Tensor:
    """Return the orthonormal discrete cosine transform (size, size), where `like` is and of its type."""
    return torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho")).to(like)
