"""Windows that slide over images: sums, medians, and the nearest pixel of a mask. On any device, in bounded memory."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 2**22
"""Numbers that are in memory together where each output needs many inputs."""
SMALL_BLOCK, SAMPLE, LEVELS = 2**19, 4096, 64
"""Pixels of which boxes are taken together; pixels that quantiles are taken of, and how many quantiles."""


def overlapped(windows: Sequence[Tensor] | Tensor, axis: int) -> Tensor:
    """Return the sum of windows of one shape, the k-th of them k pixels further along an axis; so much longer is the sum."""
    size = windows[0].shape[axis]
    shape = list(windows[0].shape)
    shape[axis] += len(windows) - 1
    total = windows[0].new_zeros(shape)
    for k, window in enumerate(windows):
        total.narrow(axis, k, size).add_(window)
    return total


def box_sum(images: Tensor, size: int) -> Tensor:
    """Return the sums over squares of an odd side around each pixel of images (..., h, w); outside them is 0.

    All images are one line of numbers, in which 0s part their rows: so a shift by rows or columns is one along this line.
    """
    edge, (height, width) = size // 2, images.shape[-2:]
    padded = functional.pad(images, (edge, edge, edge, edge))
    line = functional.pad(padded.flatten(), (0, (size - 1) * (padded.shape[-1] + 1)))
    for stride in (1, padded.shape[-1]):
        line = _run_sum(line, size, stride)
    return line.reshape(padded.shape)[..., :height, :width]


def _run_sum(line: Tensor, size: int, stride: int) -> Tensor:
    """Return the sums of so many numbers of a line (n,) from each one on, `stride` apart; the line gets shorter by the rest."""
    length = len(line) - (size - 1) * stride
    total, start, power = torch.zeros_like(line[:length]), 0, 1
    while size:  # by sums of 1, 2, 4, … numbers
        if size & 1:
            total += line[start * stride : start * stride + length]
            start += power
        size >>= 1
        if size:
            line = line[: -power * stride] + line[power * stride :]
            power *= 2
    return total


def near(mask: Tensor, side: int) -> Tensor:
    """Return which pixels (h, w) have one of a mask (h, w) in the square of an odd side around them."""
    found = mask.float()[None]
    for kernel, edge in (((side, 1), (side // 2, 0)), ((1, side), (0, side // 2))):
        found = functional.max_pool2d(found, kernel, 1, edge)
    return found[0] > 0


def median_filter(values: Tensor, width: int, axis: int = 0) -> Tensor:
    """Return the medians of an odd number of values around each, along an axis; beyond its ends values are mirrored."""
    moved = values.movedim(axis, -1)
    size = moved.shape[-1]
    period = max(2 * (size - 1), 1)
    at = torch.arange(-(width // 2), size + width // 2, device=values.device).remainder(period)
    padded = moved.reshape(-1, size)[:, torch.minimum(at, (period - at).remainder(period))]
    parts = padded.split(max(1, BLOCK // (size * width)))
    medians = torch.cat([part.unfold(1, width, 1).median(-1).values for part in parts])
    return medians.reshape(moved.shape).movedim(-1, axis)


def middle(values: Tensor, axis: int) -> Tensor:
    """Return the median along an axis, NaN left out: of an even number of values the mean of the two in the middle."""
    return (values.nanmedian(axis).values - (-values).nanmedian(axis).values) / 2


def box_median(images: Tensor, known: Tensor, size: int) -> Tensor:
    """Return the medians of the `known` pixels (B, h, w) in squares of an odd side around each pixel of images (B, h, w).

    Each is one of `LEVELS` quantiles of its image, or between two of them; NaN in a square of which nothing is known.
    """
    out = torch.empty_like(images)
    step = max(1, SMALL_BLOCK // images[0].numel())
    share = (torch.arange(LEVELS, dtype=images.dtype, device=images.device) + 0.5) / LEVELS
    for first in range(0, len(images), step):
        part = slice(first, first + step)
        values = torch.where(known[part], images[part], torch.nan).flatten(1)
        limits = values[:, :: max(1, values.shape[1] // SAMPLE)].nanquantile(share, dim=1).T.contiguous()
        code = torch.searchsorted(limits, values).to(torch.uint8).reshape(images[part].shape)
        code = torch.where(known[part], code, LEVELS + 1)  # of NaN, too, which is beyond all limits
        count = box_sum(known[part].view(torch.uint8), size)
        half, index, level = (count + 1) // 2, torch.zeros_like(code), torch.zeros_like(code)
        for _ in range(LEVELS):
            index += box_sum((code <= level).view(torch.uint8), size) < half
            level += 1  # a whole image of it: ten times as fast, on a CPU, as to compare with a number
        between = torch.cat([limits[:, :1], (limits[:, 1:] + limits[:, :-1]) / 2, limits[:, -1:]], dim=1)
        medians = between.gather(1, index.flatten(1).long()).reshape(index.shape)
        out[part] = torch.where(count > 0, medians, torch.nan)
    return out


def nearest(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column, each (h, w), of the pixel `inside` (h, w) that is nearest to each; there has to be one.

    Exact, by the nearest one of each row; the cost is the number of pixels times that of rows: 30 ms for 256 x 256 on one core.
    """
    height, width = inside.shape
    column, far = torch.arange(width, device=inside.device), height + width
    left, right = on_both_sides(inside, 1, -far, width + far)
    beside = torch.where(column - left <= right - column, left, right)  # the nearest in the same row
    across = (beside - column).square().to(torch.float32)
    row = torch.arange(height, dtype=torch.float32, device=inside.device)
    down = (row[:, None] - row).square()
    parts = down.split(max(1, BLOCK // inside.numel()))
    rows = torch.cat([(part[..., None] + across).min(1).indices for part in parts])
    return rows, beside.gather(0, rows)


def on_both_sides(known: Tensor, axis: int, before: int, after: int) -> tuple[Tensor, Tensor]:
    """Return along an axis the index of the last known entry up to each one, and of the next: without any, the numbers given."""
    index = torch.arange(known.shape[axis], device=known.device)
    index = index.reshape([-1 if d == axis % known.ndim else 1 for d in range(known.ndim)])
    low = torch.where(known, index, before).cummax(axis).values
    high = torch.where(known, index, after).flip(axis).cummin(axis).values.flip(axis)
    return low, high
