"""The gradient D of an image, its adjoint, and the linear system of the X step, for two kinds of boundary.

D = (D₁, D₂, D₃) takes forward differences between rows, between columns and between channels. At its edges the image
either wraps around (`Periodic`, the published algorithm) or is mirrored (`Neumann`, no artificial step between opposite
edges). In both cases DₖᵀDₖ is diagonal in a fast transform, the FFT and the DCT-II, so that μI + Σ wₖ DₖᵀDₖ is inverted
by one transform, one division and the transform back.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

Weights = tuple[float, float, float]
"""w₁, w₂, w₃: the weight of the row, column and channel differences."""

AXES = (-2, -1, -3)
"""The axes that D₁, D₂, D₃ difference: rows, columns, channels of (..., channel, row, column)."""


class Basis(NamedTuple):
    """The basis in which every DₖᵀDₖ is diagonal, for images (..., C, H, W) of one shape: made once for many transforms."""

    transform: Callable[[Tensor], Tensor]
    """Returns the coefficients of an image."""
    inverse: Callable[[Tensor], Tensor]
    """Returns the image that has these coefficients."""


@dataclass(frozen=True)
class Boundary(ABC):
    """How an image continues beyond its edges. Images are float32 or float64 (..., C, H, W), any size from 1."""

    turn: ClassVar[float]
    """θ₁·n: the second difference along n pixels has the eigenvalues 4 sin²(θₖ/2), θₖ = k θ₁, k = 0 … n-1."""

    def gradient(self, image: Tensor) -> Tensor:
        """Return DX: (..., C, H, W) -> (..., 3, C, H, W)."""
        return torch.stack([self.difference(image, axis) for axis in AXES], dim=-4)

    def adjoint(self, fields: Tensor) -> Tensor:
        """Return Σₖ DₖᵀFₖ: (..., 3, C, H, W) -> (..., C, H, W)."""
        rows, columns, channels = (self.transposed(f, axis) for f, axis in zip(fields.unbind(-4), AXES, strict=True))
        return rows + columns + channels

    def spectrum(self, like: Tensor, weights: Weights) -> Tensor:
        """Return the eigenvalues of Σₖ wₖ DₖᵀDₖ, (C, H, W), in the order of `basis`, for images such as `like`."""
        total = like.new_zeros(())
        for weight, axis in zip(weights, AXES, strict=True):
            size = like.shape[axis]
            angles = torch.arange(size, dtype=like.dtype, device=like.device) * (self.turn / size)
            total = total + weight * 4 * torch.sin(angles / 2).square().reshape([-1] + [1] * (-1 - axis))
        return total

    def solve(self, rhs: Tensor, weights: Weights, penalty: float) -> Tensor:
        """Return (μI + Σₖ wₖ DₖᵀDₖ)⁻¹ rhs, for a penalty μ > 0 and weights >= 0; rhs is (..., C, H, W)."""
        basis = self.basis(rhs)
        return basis.inverse(basis.transform(rhs) / (penalty + self.spectrum(rhs, weights)))

    @abstractmethod
    def difference(self, image: Tensor, axis: int) -> Tensor:
        """Return the forward differences along one axis, same shape."""

    @abstractmethod
    def transposed(self, field: Tensor, axis: int) -> Tensor:
        """Return the adjoint of `difference`, same shape."""

    @abstractmethod
    def basis(self, like: Tensor) -> Basis:
        """Return the basis that makes every DₖᵀDₖ diagonal, for images such as `like`."""


@final
@dataclass(frozen=True)
class Periodic(Boundary):
    """The image wraps around; diagonal under the FFT."""

    turn = 2 * math.pi

    def difference(self, image: Tensor, axis: int) -> Tensor:
        """Return x[i+1] - x[i], with x[n] = x[0]."""
        return image.roll(-1, axis) - image

    def transposed(self, field: Tensor, axis: int) -> Tensor:
        """Return p[i-1] - p[i], with p[-1] = p[n-1]."""
        return field.roll(1, axis) - field

    def basis(self, like: Tensor) -> Basis:
        """Return the discrete Fourier transform."""
        axes = (-3, -2, -1)
        return Basis(
            partial(torch.fft.fftn, dim=axes), lambda coefficients: torch.fft.ifftn(coefficients, dim=axes).real
        )


@final
@dataclass(frozen=True)
class Neumann(Boundary):
    """The image is mirrored: the last difference along each axis is 0; diagonal under the DCT-II."""

    turn = math.pi

    def difference(self, image: Tensor, axis: int) -> Tensor:
        """Return x[i+1] - x[i], with x[n] = x[n-1]."""
        inner = image.diff(dim=axis)
        return torch.cat([inner, torch.zeros_like(image.narrow(axis, 0, 1))], dim=axis)

    def transposed(self, field: Tensor, axis: int) -> Tensor:
        """Return p[i-1] - p[i], with p[-1] = p[n-1] = 0."""
        inner = field.narrow(axis, 0, field.shape[axis] - 1)
        zero = torch.zeros_like(field.narrow(axis, 0, 1))
        return -torch.cat([zero, inner, zero], dim=axis).diff(dim=axis)

    def basis(self, like: Tensor) -> Basis:
        """Return the cosine transform: products with its matrices, on a CPU faster than the FFT at the size of tiles."""
        rows, columns, channels = (cosines(like.shape[axis], like) for axis in AXES)

        def transform(image: Tensor) -> Tensor:
            return along(along(along(image, -1, columns.T), -2, rows.T), -3, channels.T)

        def inverse(coefficients: Tensor) -> Tensor:
            return along(along(along(coefficients, -3, channels), -2, rows), -1, columns)

        return Basis(transform, inverse)


def cosines(size: int, like: Tensor) -> Tensor:
    """Return the orthonormal DCT-II as a matrix (frequency, sample) of the dtype and device of `like`."""
    sample = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(torch.outer(sample, 2 * sample + 1) * (math.pi / (2 * size))) * math.sqrt(2 / size)
    matrix[0] *= math.sqrt(1 / 2)
    return matrix.to(like.device, like.dtype)


def along(image: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Return an image whose lines along an axis are multiplied with a matrix; one of a single entry leaves it as it is."""
    return (image.movedim(axis, -1) @ matrix).movedim(-1, axis) if len(matrix) > 1 else image


def column(weights: Weights, like: Tensor) -> Tensor:
    """Return the three weights as a tensor (3, 1, 1, 1), to be multiplied with fields (..., 3, C, H, W)."""
    return like.new_tensor(weights).reshape(3, 1, 1, 1)
