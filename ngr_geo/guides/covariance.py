"""From the covariance of a cube's pixels: its leading spectra, and the noise of its bands."""

from typing import NamedTuple

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


def in_few_spectra(pixels: Tensor, rank: int) -> Tensor:
    """Return pixels (B, n) as mixes of so many leading spectra about their mean."""
    mean = pixels.mean(1, keepdim=True)
    centred = pixels - mean
    spectra = principal(centred)[1][:, :rank].to(pixels)
    return mean + spectra @ (spectra.T @ centred)


class Leading(NamedTuple):
    """The leading spectra (B, r) about a mean (B,), and their coefficients (r, h, w)."""

    mean: Tensor
    spectra: Tensor
    maps: Tensor


def leading(image: Tensor, unit: Tensor, rank: int, where: Tensor) -> Leading:
    """Return the leading spectra of an image (B, h, w) in the `unit` of each band (B,), of the pixels `where` (h, w)."""
    pixels = image.flatten(1) if where.all() else image[:, where]
    mean = pixels.mean(1)
    covariance = moments(pixels - mean[:, None]) / precise(unit[:, None] * unit)
    vectors = torch.linalg.eigh(covariance)[1].flip(1)[:, :rank].to(image)
    weights = (vectors / unit[:, None]).T
    maps = torch.addmm(-(weights @ mean)[:, None], weights, image.flatten(1))
    return Leading(mean, unit[:, None] * vectors, maps.view(-1, *where.shape))


def unpredicted(covariance: Tensor) -> Tensor:
    """Return the standard deviation (B,) of what no linear mix of the other bands predicts, from their covariance (B, B).

    The noise level of HySime (Bioucas-Dias & Nascimento 2008), without its correction for the number of pixels.
    """
    scale, inverse = _inverse(covariance)
    return (1 / inverse.diagonal()).clamp(min=0).sqrt() * scale


def predictors(covariance: Tensor) -> Tensor:
    """Return the matrix (B, B) that takes from each band of centred pixels (B, n) what the other bands predict of it."""
    scale, inverse = _inverse(covariance)
    return inverse / inverse.diagonal()[:, None] * scale[:, None] / scale


def _inverse(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the deviations (B,) and the inverse (B, B) of the correlations."""
    scale = covariance.diagonal().clamp(min=1e-30).sqrt()
    correlation = covariance / scale[:, None] / scale[None]
    ridge = 1e-9 * torch.eye(len(scale), dtype=scale.dtype, device=scale.device)
    return scale, torch.linalg.inv(correlation + ridge)
