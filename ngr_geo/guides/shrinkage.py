"""Sliding-window shrinkage of images with white noise: hard thresholding of the DCT of every patch, then a Wiener pass.

Ref.: Donoho & Johnstone 1994 (thresholds), Coifman & Donoho 1995 (all shifts averaged), Dabov et al. 2007 (the pilot and the
weights), of which this is the part without block matching.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from .filters import overlapped

PATCH = 6
THRESHOLD = 2.6
"""In standard deviations: between 2.5 and 2.8 the result is the same on Reno and on Jasper Ridge."""
BLOCK = 2**20
"""Coefficients that are in memory at a time: each pixel has `patch`² of them."""


def shrink(images: Tensor, sigma: Tensor, patch: int = PATCH, wiener: bool = True) -> Tensor:
    """Return images (n, h, w) less white noise of standard deviation `sigma` (n,).

    Each pixel is the weighted mean of all `patch`² patches that hold it. With `wiener`, a second pass shrinks by what the
    first one found. Images whose sigma is 0 come back as they are.
    """
    basis, sigma = cosines(patch, images), sigma.to(images)[:, None, None]
    edge, (height, width) = patch - 1, images.shape[1:]
    rows = max(1, BLOCK // (patch**2 * (width + edge)) - edge)
    together = max(1, BLOCK // (patch**2 * (width + edge) * (height + edge)))

    def each(source: Tensor, pilot: Tensor | None) -> Tensor:
        """Return images after one pass, some rows of some images at a time."""
        out = torch.empty_like(source)
        for first in range(0, len(source), together):
            some = slice(first, first + together)
            both = torch.stack([a[some] for a in (source, pilot) if a is not None])
            padded = functional.pad(both, (edge, edge, edge, edge), mode="replicate")
            for top in range(0, height, rows):
                strip = padded[:, :, top : top + min(rows, height - top) + 2 * edge]
                out[some, top : top + rows] = _shrunk(strip, basis, sigma[some])
        return out

    found = each(images, None)
    return each(images, found) if wiener else found


def _shrunk(padded: Tensor, basis: Tensor, sigma: Tensor) -> Tensor:
    """Return images (n, h, w), less `patch` - 1 pixels at each edge; `padded` (1 or 2, n, h, w) has them, then their pilots."""
    patch = len(basis)
    coefficients = _patches(padded[-1], basis)  # (patch, patch, n, h', w'): of the pilot, if there is one
    if len(padded) == 1:
        gain = (coefficients.abs() > THRESHOLD * sigma).to(padded)
    else:
        power = coefficients.square_()
        gain = power.div_(power + (sigma**2 + 1e-20))
        coefficients = _patches(padded[0], basis)
    gain[0, 0] = 1
    weight = 1 / gain.square().sum((0, 1))
    total = coefficients.mul_(gain).mul_(weight)
    for axis in (-1, -2):
        total = overlapped((basis.T @ total.flatten(1)).view_as(total), axis)
        weight = overlapped([weight] * patch, axis)
    edge = patch - 1
    return (total / weight)[:, edge : -edge or None, edge : -edge or None]


def _patches(images: Tensor, basis: Tensor) -> Tensor:
    """Return the DCT of all patches of images (n, h, w): (patch, patch, n, h - patch + 1, w - patch + 1)."""
    for axis in (-2, -1):
        size = images.shape[axis] - len(basis) + 1
        windows = torch.stack([images.narrow(axis, k, size) for k in range(len(basis))])
        images = (basis @ windows.flatten(1)).view_as(windows)
    return images


def cosines(size: int, like: Tensor) -> Tensor:
    """Return the orthonormal DCT-II of a signal as a matrix (size, size); its first row is constant."""
    k = torch.arange(size, dtype=like.dtype, device=like.device)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
