"""The gradient D of an image, its adjoint, and the linear system of the X step, for two kinds of boundary.

D = (D₁, D₂, D₃) takes forward differences between rows, between columns and between channels. At its edges the image
either wraps around (`Periodic`, the published algorithm) or is mirrored (`Neumann`, no artificial step between opposite
edges). In both cases DₖᵀDₖ is diagonal in a fast transform, the FFT and the DCT-II, so that μI + Σ wₖ DₖᵀDₖ is inverted
by one transform, one division and the transform back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

Weights = tuple[float, float, float]
"""w₁, w₂, w₃: the weight of the row, column and channel differences."""

AXES = (-2, -1, -3)
"""The axes that D₁, D₂, D₃ difference: rows, columns, channels of (..., channel, row, column)."""

DENSE_UP_TO = 1024
"""Up to this size the cosine transform is a product with its matrix: four times as fast as the FFT at 256, on a CPU."""


class Basis(Protocol):
    """The basis in which every DₖᵀDₖ is diagonal, for images of one shape. It is made once for many transforms."""

    def transform(self, image: Tensor) -> Tensor:
        """Return the coefficients of an image (..., C, H, W) in this basis."""
        ...

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return the image that has these coefficients."""
        ...


@dataclass(frozen=True)
class Boundary(ABC):
    """How an image continues beyond its edges. Images are float32 or float64 (..., C, H, W), any size from 1."""

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
            angles = self.angles(size, like)
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
    def angles(self, size: int, like: Tensor) -> Tensor:
        """Return θ with eigenvalues 2 - 2 cos θ = 4 sin²(θ/2) of the second difference along an axis of this size."""

    @abstractmethod
    def basis(self, like: Tensor) -> Basis:
        """Return the basis that makes every DₖᵀDₖ diagonal, for images such as `like`."""


@final
@dataclass(frozen=True)
class Periodic(Boundary):
    """The image wraps around; diagonal under the FFT."""

    def difference(self, image: Tensor, axis: int) -> Tensor:
        """Return x[i+1] - x[i], with x[n] = x[0]."""
        return image.roll(-1, axis) - image

    def transposed(self, field: Tensor, axis: int) -> Tensor:
        """Return p[i-1] - p[i], with p[-1] = p[n-1]."""
        return field.roll(1, axis) - field

    def angles(self, size: int, like: Tensor) -> Tensor:
        """Return 2πk/n, k = 0 … n-1."""
        return torch.arange(size, dtype=like.dtype, device=like.device) * (2 * math.pi / size)

    def basis(self, like: Tensor) -> Basis:
        """Return the discrete Fourier transform."""
        return Fourier()


@final
@dataclass(frozen=True)
class Neumann(Boundary):
    """The image is mirrored: the last difference along each axis is 0; diagonal under the DCT-II."""

    def difference(self, image: Tensor, axis: int) -> Tensor:
        """Return x[i+1] - x[i], with x[n] = x[n-1]."""
        inner = image.diff(dim=axis)
        return torch.cat([inner, torch.zeros_like(image.narrow(axis, 0, 1))], dim=axis)

    def transposed(self, field: Tensor, axis: int) -> Tensor:
        """Return p[i-1] - p[i], with p[-1] = p[n-1] = 0."""
        inner = field.narrow(axis, 0, field.shape[axis] - 1)
        zero = torch.zeros_like(field.narrow(axis, 0, 1))
        return -torch.cat([zero, inner, zero], dim=axis).diff(dim=axis)

    def angles(self, size: int, like: Tensor) -> Tensor:
        """Return πk/n, k = 0 … n-1."""
        return torch.arange(size, dtype=like.dtype, device=like.device) * (math.pi / size)

    def basis(self, like: Tensor) -> Basis:
        """Return the cosine transform."""
        rows, columns, channels = (cosines(like.shape[axis], like) for axis in AXES)
        return Cosine((rows, columns, channels))


@final
@dataclass(frozen=True)
class Fourier:
    """The discrete Fourier transform over channels, rows, columns."""

    def transform(self, image: Tensor) -> Tensor:
        """Return the Fourier coefficients."""
        coefficients: Tensor = torch.fft.fftn(image, dim=(-3, -2, -1))
        return coefficients

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return the real image with these coefficients."""
        image: Tensor = torch.fft.ifftn(coefficients, dim=(-3, -2, -1)).real
        return image


@final
@dataclass(frozen=True)
class Cosine:
    """The cosine transform over channels, rows, columns; `matrices` are those of `cosines` for the axes in `AXES`."""

    matrices: tuple[Tensor | None, Tensor | None, Tensor | None]

    def transform(self, image: Tensor) -> Tensor:
        """Return the cosine coefficients."""
        rows, columns, channels = self.matrices
        return dct(dct(dct(image, -1, columns), -2, rows), -3, channels)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return the image with these coefficients."""
        rows, columns, channels = self.matrices
        return idct(idct(idct(coefficients, -3, channels), -2, rows), -1, columns)


def cosines(size: int, like: Tensor) -> Tensor | None:
    """Return the orthonormal DCT-II as a matrix (frequency, sample) of the dtype and device of `like`.

    None for a size beyond `DENSE_UP_TO`: the FFT takes its place.
    """
    if size > DENSE_UP_TO:
        return None
    sample = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(torch.outer(sample, 2 * sample + 1) * (math.pi / (2 * size))) * math.sqrt(2 / size)
    matrix[0] *= math.sqrt(1 / 2)
    return matrix.to(like.device, like.dtype)


def dct(signal: Tensor, axis: int, matrix: Tensor | None) -> Tensor:
    """Return the orthonormal DCT-II along one axis, `scipy.fft.dct(signal, axis=axis, norm="ortho")`, by `cosines` or FFT."""
    if signal.shape[axis] == 1:
        return signal
    signal = signal.movedim(axis, -1)
    if matrix is not None:
        return (signal @ matrix.T).movedim(-1, axis)
    # Even samples forwards, then odd samples backwards, make one FFT of the same length do (Makhoul, 1980).
    folded = torch.cat([signal[..., ::2], signal[..., 1::2].flip(-1)], dim=-1)
    coefficients = (torch.fft.fft(folded) * _quarter_turn(signal, -1)).real * math.sqrt(2 / signal.shape[-1])
    coefficients[..., 0] *= math.sqrt(1 / 2)
    return coefficients.movedim(-1, axis)


def idct(coefficients: Tensor, axis: int, matrix: Tensor | None) -> Tensor:
    """Return the signal whose `dct` along `axis` is given."""
    if coefficients.shape[axis] == 1:
        return coefficients
    coefficients = coefficients.movedim(axis, -1)
    size = coefficients.shape[-1]
    if matrix is not None:
        return (coefficients @ matrix).movedim(-1, axis)
    # With y[n] = 0, y[k] - i y[n-k] is the spectrum of the real, folded signal after its quarter turn.
    mirrored = torch.cat([torch.zeros_like(coefficients[..., :1]), coefficients[..., 1:].flip(-1)], dim=-1)
    spectrum = torch.complex(coefficients, -mirrored) * _quarter_turn(coefficients, +1)
    spectrum[..., 0] *= math.sqrt(2)
    folded = torch.fft.irfft(spectrum[..., : size // 2 + 1], n=size) * math.sqrt(size / 2)
    signal = torch.empty_like(folded)
    signal[..., ::2] = folded[..., : (size + 1) // 2]
    signal[..., 1::2] = folded[..., (size + 1) // 2 :].flip(-1)
    return signal.movedim(-1, axis)


def _quarter_turn(like: Tensor, sign: int) -> Tensor:
    """Return exp(± iπk/2n) for k = 0 … n-1, n the last length of `like`."""
    size = like.shape[-1]
    angles = torch.arange(size, dtype=like.dtype, device=like.device) * (sign * math.pi / (2 * size))
    return torch.polar(torch.ones_like(angles), angles)


def column(weights: Weights, like: Tensor) -> Tensor:
    """Return the three weights as a tensor (3, 1, 1, 1), to be multiplied with fields (..., 3, C, H, W)."""
    return like.new_tensor(weights).reshape(3, 1, 1, 1)
