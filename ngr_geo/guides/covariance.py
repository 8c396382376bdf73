"""From the covariance of a cube's pixels: its leading spectra, and the noise of its bands."""

from __future__ import annotations

import torch
from torch import Tensor


def principal(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal directions of pixels (B, n) about 0: their variances (B,), largest first, and columns (B, B)."""
    values, vectors = torch.linalg.eigh(pixels @ pixels.T / max(pixels.shape[1], 1))
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
