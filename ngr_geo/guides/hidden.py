"""Hidden entries as evidence: where they are looked at, and how far they say that a band moves from its guide to another image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import precise


def best_window(
    shape: tuple[int, ...], size: int, step: int, score: Callable[[slice, slice], Any]
) -> tuple[slice, slice]:
    """Return the window of at most `size` x `size` pixels of a shape (h, w) with the highest score, the first of several.

    Of the windows that begin at multiples of a step.
    """
    height, width = shape
    windows = [
        (slice(top, min(top + size, height)), slice(left, min(left + size, width)))
        for top in range(0, max(height - size, 0) + 1, step)
        for left in range(0, max(width - size, 0) + 1, step)
    ]
    return max(windows, key=lambda window: score(*window))


def busiest(where: Tensor, size: int) -> tuple[slice, slice]:
    """Return the window of at most `size` x `size` pixels with most entries (B, h, w) or pixels (1, h, w).

    Of the windows that begin at multiples of half of their size.
    """
    count = functional.pad(where.sum(0).cumsum(0).cumsum(1), (1, 0, 1, 0)).cpu()

    def total(rows: slice, columns: slice) -> int:
        corners = count[[rows.start, rows.stop]][:, [columns.start, columns.stop]]
        return int(corners[1, 1] - corners[0, 1] - corners[1, 0] + corners[0, 0])

    return best_window(where.shape[1:], size, size // 2, total)


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
