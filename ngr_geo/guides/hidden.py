"""Hidden entries as evidence: where they are looked at, what they choose, and how far a band moves from its guide to an image."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from .covariance import precise

Value = TypeVar("Value", int, float)
Trial = tuple[float, Any]
"""The error of something that was tried, and what that gave."""


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
    count = where.sum(0).cpu()
    return best_window(where.shape[1:], size, size // 2, lambda rows, columns: int(count[rows, columns].sum()))


def thickness(mask: Tensor) -> float:
    """Return the typical width in pixels of what is True in masks (..., h, w): twice its area by its outline; 0 if nothing is."""
    outline = sum(int((torch.diff(mask.to(torch.int8), dim=d) != 0).sum()) for d in (-2, -1))
    return 2 * float(mask.sum()) / max(outline, 1)


def draw_blocks(shape: tuple[int, ...], side: int, generator: torch.Generator) -> Tensor:
    """Return numbers drawn from [0, 1) for the pixels of a shape (h, w), one for each block of so many pixels; on the CPU."""
    block = torch.rand(*(-(-n // side) for n in shape), generator=generator)
    return block.repeat_interleave(side, 0).repeat_interleave(side, 1)[: shape[0], : shape[1]]


def misfit(image: Tensor, cube: Tensor, where: Tensor) -> float:
    """Return the mean log RMSE of the bands (B, h, w) of an image on the hidden entries of a cube."""
    count = where.sum((1, 2))
    square = precise(torch.where(where, image - cube, 0).square().sum((1, 2)))[count > 0] / count[count > 0]
    return float((square + 1e-12).log().mean()) / 2


def walk(
    values: Sequence[Value], start: Value, found: Trial, tried: Callable[[Value, Any], Trial]
) -> tuple[Value, Trial]:
    """Return the value with the least error, and its trial: from the start, which `found` is of, up or else down, while it helps.

    `tried` takes a value, and what the best one so far gave.
    """
    at, best = values.index(start), start
    for others in (values[at + 1 :], values[:at][::-1]):
        for value in others:
            trial = tried(value, found[1])
            if trial[0] >= found[0]:
                break
            best, found = value, trial
        if best != start:
            break
    return best, found


def share(cube: Tensor, hidden: Tensor, guide: Tensor, image: Tensor, usual: float, count: float) -> Tensor:
    """Return how far (B,) each band is to go from a guide to another image, from 0 to 1: by least squares on its `hidden` entries.

    As if `count` entries of it had said what all bands say together, for which as many had said the `usual`.
    """
    left, step = (precise(torch.where(hidden, a - guide, 0)).flatten(1) for a in (cube, image))
    # In units of the step wherever there is one: in those of hidden entries, bands would count more that happen to be met well.
    moved = (image != guide).sum((1, 2)).clamp(min=1)
    unit = precise((image - guide).square().sum((1, 2))) / moved
    unit = unit.clamp(min=1e-3 * float(unit.mean()) + 1e-12)
    along, size = (left * step).sum(1) / unit, step.square().sum(1) / unit
    together = (along.sum() + count * usual) / (size.sum() + count)
    return ((along + count * together) / (size + count)).clamp(0, 1).to(cube)
