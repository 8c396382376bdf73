"""Groups of similar patches: where they are, and images put together of estimates of all patches that hold a pixel.

Ref.: Buades, Coll & Morel 2005 (non-local means), Dabov et al. 2007 (groups of similar patches, weighted means of estimates).
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

BLOCK, TOGETHER = 2**24, 2**18
"""Distances that are in memory at a time, and differences of pixels that are computed together: as many as a core's cache holds."""


def count_of(shape: torch.Size | tuple[int, ...], side: int) -> tuple[int, int]:
    """Return how many rows and columns of patches of a side an image (..., h, w) has; a patch is named by its first pixel."""
    return shape[-2] - side + 1, shape[-1] - side + 1


def similar(images: Tensor, side: int, step: int, reach: int, count: int, inside: Tensor | None = None) -> Tensor:
    """Return the patches most similar to each of a grid of patches, itself first: (patches of the grid, count), int64.

    Args:
        images: (n, h, w), finite, at least `side` rows and columns; distances are sums of squares over all of them.
        side: of a patch, in pixels.
        step: between the patches of the grid, which has the last row and column of patches, too.
        reach: how far similar patches are looked for, in pixels along each axis.
        count: of patches in a group, fewer where the image does not have so many within reach.
        inside: (h, w), the pixels that count: patches that hold others take no part, and where a group is the smaller for it, it
            ends with -1.

    Patches are numbered row by row, see `count_of`.
    """
    rows, columns = count_of(images.shape, side)
    down, right = (_grid(size, step, images.device) for size in (rows, columns))
    count = min(count, min(rows, reach + 1) * min(columns, reach + 1))
    together = max(1, BLOCK // ((2 * reach + 1) ** 2 * len(right)))
    usable = None if inside is None else functional.max_pool2d((~inside).float()[None], side, 1)[0] == 0
    parts = [_similar(images, side, reach, count, part, right, usable) for part in down.split(together)]
    return torch.cat(parts)


def _grid(size: int, step: int, device: torch.device) -> Tensor:
    """Return every step-th index below a size, and the last one."""
    last = torch.tensor([size - 1], device=device)
    return torch.unique(torch.cat([torch.arange(0, size, step, device=device), last]))


def _similar(
    images: Tensor, side: int, reach: int, count: int, down: Tensor, right: Tensor, usable: Tensor | None
) -> Tensor:
    """Return the groups of the patches in some rows and columns of the grid, (len(down) · len(right), count)."""
    (rows, columns), span = count_of(images.shape, side), range(-reach, reach + 1)
    first, last = int(down[0]), int(down[-1]) + side
    strip = images[:, first:last]
    padded = functional.pad(images, (reach, reach, reach, reach))[:, first : last + 2 * reach]
    distances = images.new_empty(len(down), len(right), len(span) ** 2)
    moves = padded.unfold(2, images.shape[2], 1).movedim(2, 0)  # (2 reach + 1, n, h, w)
    for dy, some in product(span, torch.arange(len(span)).split(max(1, TOGETHER // strip.numel()))):
        k, dx = int(some[0]) + len(span) * (dy + reach), (some - reach).to(right.device)[:, None, None]
        moved = moves[int(some[0]) : int(some[-1]) + 1, :, reach + dy : reach + dy + last - first]
        square = (strip - moved).square_().sum(1, keepdim=True)
        means = functional.avg_pool2d(functional.avg_pool2d(square, (side, 1), 1)[:, :, down - first], (1, side), 1)
        row, column = (down + dy)[:, None], right + dx
        there = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        if usable is not None:
            there &= usable[row.clamp(0, rows - 1), column.clamp(0, columns - 1)]
        far = torch.where(there, means[:, 0, :, right], torch.inf)
        distances[..., k : k + len(some)] = far.movedim(0, 2)
    # The patch itself is first, whatever else is as near.
    distances[..., len(span) ** 2 // 2] = -1
    found = distances.flatten(0, 1).topk(count, largest=False, sorted=True)
    moves = torch.tensor([dy * columns + dx for dy, dx in product(span, span)], device=images.device)
    places = (down[:, None] * columns + right).flatten()[:, None] + moves[found.indices]
    if usable is None:
        return places
    return torch.where(found.values.isfinite(), places, -1)[usable[down[:, None], right].flatten()]


def pixels_of(groups: Tensor, side: int, width: int) -> Tensor:
    """Return which pixels (n, side², K) of images with `width` columns the patches of groups (n, K) have."""
    line = torch.arange(side, device=groups.device)
    columns = width - side + 1
    first = torch.div(groups, columns, rounding_mode="floor") * width + groups % columns
    return first[:, None] + (line[:, None] * width + line).flatten()[:, None]


def windows(images: Tensor, side: int) -> Tensor:
    """Return all patches of images (n, h, w): (patches, n · side²), an image after another and rows within it."""
    return functional.unfold(images[None], side)[0].T.contiguous()


class Mean:
    """The weighted mean of estimates of patches of images (n, h, w), of all that hold a pixel."""

    def __init__(self, images: Tensor, side: int) -> None:
        """Take images that give shape, type and device, and the side of a patch."""
        self.shape, self.side = images.shape, side
        rows, columns = count_of(self.shape, side)
        self.total = images.new_zeros(rows * columns, len(images) * side**2)
        self.weight = images.new_zeros(rows * columns, 1)

    def add(self, places: Tensor, estimates: Tensor, weights: Tensor) -> None:
        """Add estimates (..., n · side²) of patches, `places` (...), with `weights` (...)."""
        at, weights = places.flatten(), weights.flatten()[:, None]
        values = estimates.reshape(len(at), self.total.shape[1]) * weights
        for total, added in ((self.total, values), (self.weight, weights)):
            if at.is_cuda:  # there index_add_ adds in any order, and the last bit with it
                total.index_put_((at,), added, accumulate=True)
            else:
                total.index_add_(0, at, added)

    def images(self) -> tuple[Tensor, Tensor]:
        """Return the mean (n, h, w), 0 where no estimate is, and the sum of the weights (h, w)."""
        size, side = self.shape[1:], self.side
        total = functional.fold(self.total.T[None], size, side)[0]
        weight = functional.fold(self.weight.T.expand(side**2, -1)[None], size, side)[0, 0]
        return torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), 0), weight
