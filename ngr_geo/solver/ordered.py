"""A margin and an enlargement whose gradients are the same bits each time, also where torch sums them in any order, as GPUs do.

Forward both are torch's own. Backward, several pixels of the result lead to one of the image, and torch adds what comes from them
as it arrives. Here each sum has one order: slices are added one after another. On the CPU torch's own gradients have one, too, and
are faster.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def margin(x: Tensor) -> Tensor:
    """Return an image (N, C, h, w) with a margin of one pixel: mirrored, or repeated where it is one pixel wide."""
    if x.requires_grad and not x.is_cpu:
        return _Margin.apply(x)  # type: ignore[no-any-return]  # untyped in torch
    return _margin(x)


def doubled(x: Tensor) -> Tensor:
    """Return an image (N, C, h, w) at twice the size, bilinear."""
    if x.requires_grad and not x.is_cpu:
        return _Doubled.apply(x)  # type: ignore[no-any-return]  # untyped in torch
    return _doubled(x)


def _margin(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if height > 1 and width > 1:
        return F.pad(x, (1, 1, 1, 1), mode="reflect")
    x = F.pad(x, (0, 0, 1, 1), mode="reflect" if height > 1 else "replicate")
    return F.pad(x, (1, 1, 0, 0), mode="reflect" if width > 1 else "replicate")


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class _Margin(torch.autograd.Function):
    """`margin`, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the image with its margin."""
        return _margin(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient: what the margin got goes to the pixels that it is copied from."""
        (found,) = gradients
        for axis in (-2, -1):
            size = found.shape[axis] - 2
            inner = found.narrow(axis, 1, size).clone()
            near = min(1, size - 1)  # the pixel beside the edge, or the only one
            inner.narrow(axis, near, 1).add_(found.narrow(axis, 0, 1))
            inner.narrow(axis, size - 1 - near, 1).add_(found.narrow(axis, size + 1, 1))
            found = inner
        return found


class _Doubled(torch.autograd.Function):
    """`doubled`, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the image at twice the size."""
        return _doubled(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the gradient: a pixel counts 3/4 in the two that lie in it along an axis, 1/4 in those beside them."""
        (found,) = gradients
        for axis in (-2, -1):
            size = found.shape[axis] // 2
            pairs = found.unflatten(axis, (size, 2))
            first, second = pairs.select(axis, 0), pairs.select(axis, 1)
            whole = 0.75 * (first + second)
            whole.narrow(axis, 1, size - 1).add_(second.narrow(axis, 0, size - 1), alpha=0.25)
            whole.narrow(axis, 0, size - 1).add_(first.narrow(axis, 1, size - 1), alpha=0.25)
            whole.narrow(axis, 0, 1).add_(first.narrow(axis, 0, 1), alpha=0.25)  # beyond the edge it is repeated
            whole.narrow(axis, size - 1, 1).add_(second.narrow(axis, size - 1, 1), alpha=0.25)
            found = whole
        return found
