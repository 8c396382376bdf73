"""Hidden entries as evidence: where they are looked at, and how far they say that a band moves from its guide to another image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import precise


def busiest(where: Tensor, size: int) -> tuple[slice, slice]:
    """Return the window of at most `size` x `size` pixels with most entries (B, h, w) or pixels (1, h, w).

    Of the windows that begin at multiples of half of their size.
    """
    height, width = where.shape[1:]
    count = functional.pad(where.sum(0).cumsum(0).cumsum(1), (1, 0, 1, 0)).cpu()
    best, found = -1, (slice(0, size), slice(0, size))
    for top in range(0, max(height - size, 0) + 1, size // 2):
        for left in range(0, max(width - size, 0) + 1, size // 2):
            bottom, right = min(top + size, height), min(left + size, width)
            total = int(count[bottom, right] - count[top, right] - count[bottom, left] + count[top, left])
            if total > best:
                best, found = total, (slice(top, bottom), slice(left, right))
    return found


def share(cube: Tensor, hidden: Tensor, guide: Tensor, image: Tensor, usual: float, doubt: float) -> Tensor:
    """Return how far (B,) each band is to go from a guide to another image, from 0 to 1: by least squares on its `hidden` entries.

    As if `doubt` entries of it had said what all bands say together, for which as many had said the `usual`.
    """
    left, step = (precise(torch.where(hidden, a - guide, 0)).flatten(1) for a in (cube, image))
    # In units of the step wherever there is one: in those of hidden entries, bands would count more that happen to be met well.
    moved = (image != guide).sum((1, 2)).clamp(min=1)
    unit = precise((image - guide).square().sum((1, 2))) / moved
    unit = unit.clamp(min=1e-3 * float(unit.mean()) + 1e-12)
    along, size = (left * step).sum(1) / unit, step.square().sum(1) / unit
    together = (along.sum() + doubt * usual) / (size.sum() + doubt)
    return ((along + doubt * together) / (size + doubt)).clamp(0, 1).to(cube)
