"""From the covariance of a cube's pixels: its leading spectra, and the noise of its bands."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2**22
"""Numbers that are held in double precision at a time."""


def precise(values: Tensor) -> Tensor:
    """Return values in float64, or in float32 on a device that has nothing wider (MPS)."""
    return values.float() if values.device.type == "mps" else values.double()


def moments(pixels: Tensor) -> Tensor:
    """Return the mean products (B, B) of pixels (B, n), `precise`."""
    parts = pixels.split(max(1, BLOCK // max(len(pixels), 1)), dim=1)
    total = precise(pixels.new_zeros(len(pixels), len(pixels)))
    for part in map(precise, parts):
        total += part @ part.T
    return total / max(pixels.shape[1], 1)


def principal(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal directions of pixels (B, n) about 0: variances (B,), largest first, and columns (B, B); `precise`."""
    values, vectors = torch.linalg.eigh(moments(pixels))
    return values.flip(0), vectors.flip(1)


def unpredicted(covariance: Tensor) -> Tensor:
    """Return the standard deviation (B,) of what no linear mix of the other bands predicts, from their covariance (B, B).

    The noise level of HySime (Bioucas-Dias & Nascimento 2008), without its correction for the number of pixels.
    """
    scale = covariance.diagonal().clamp(min=1e-30).sqrt()
    correlation = covariance / scale[:, None] / scale[None]
    ridge = 1e-9 * torch.eye(len(scale), dtype=scale.dtype, device=scale.device)
    left = 1 / torch.linalg.inv(correlation + ridge).diagonal()
    return left.clamp(min=0).sqrt() * scale
