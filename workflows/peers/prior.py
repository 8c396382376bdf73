"""Deep image prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .case import Case

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 300
LARGE = 256**2
"""Pixels above which the network is 32 channels wide in place of 128: the wide one would take hours."""


def deep_image_prior(case: Case, steps: int = STEPS, width: int | None = None) -> np.ndarray:
    """Return the stack as an untrained network draws it after some steps towards the observed pixels.

    Ulyanov, Vedaldi and Lempitsky, CVPR 2018, equation 2 with the loss for missing pixels (section 3): one hour-glass network with
    skip links, 128 channels wide, gives all bands of all dates; input of 32 channels U(0, 0.1), with N(0, 0.03^2) on it at
    each step, Adam with rate 0.01. 300 steps for all stacks: nothing is stopped with the truth.
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    dates, bands, height, ground = case.stack.shape
    width = width or (128 if height * ground <= LARGE else 32)
    flat = case.seen().stack.reshape(dates * bands, height, ground)
    known = np.isfinite(flat)
    mean = np.array([band[where].mean() if where.any() else 0 for band, where in zip(flat, known, strict=True)])
    spread = np.array([band[where].std() if where.any() else 1 for band, where in zip(flat, known, strict=True)])
    mean, spread = mean[:, None, None], spread[:, None, None] + 1e-6
    wanted = torch.from_numpy(np.where(known, (flat - mean) / spread, 0)).float()[None]
    weight = torch.from_numpy(known).float()[None]

    scales = max(1, min(5, int(np.log2(min(height, ground))) - 2))
    pad = [-size % 2**scales for size in (ground, height)]
    network = _hour_glass(32, width, scales, dates * bands)
    noise = 0.1 * torch.rand(1, 32, height + pad[1], ground + pad[0]).contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)

    def drawn(jitter: float) -> Tensor:
        image: Tensor = network(noise + jitter * torch.randn_like(noise))[..., :height, :ground]
        return image

    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(drawn(0.03) * weight, wanted).backward()
        optimizer.step()
    with torch.no_grad():
        image = drawn(0.0)[0].double().numpy()
    return (image * spread + mean).reshape(case.stack.shape)


def _hour_glass(channels: int, width: int, scales: int, out: int) -> nn.Module:
    from torch import nn

    network: nn.Module = nn.Conv2d(width, out, 1)
    inner: nn.Module | None = None
    for scale in reversed(range(scales)):
        inner = _scale(channels if scale == 0 else width, width, inner)
    assert inner is not None
    return nn.Sequential(inner, network)


def _scale(channels: int, width: int, inner: nn.Module | None, skip: int = 4) -> nn.Module:
    """Return one scale: down, what lies below it, up, beside a narrow skip link."""
    import torch
    from torch import nn

    def block(before: int, after: int, size: int, stride: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(before, after, size, stride, size // 2, padding_mode="reflect" if size > 1 else "zeros")
        return [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.skip = nn.Sequential(*block(channels, skip, 1))
            below = [] if inner is None else [inner]
            up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            self.deep = nn.Sequential(*block(channels, width, 3, 2), *block(width, width, 3), *below, up)
            self.merge = nn.Sequential(
                nn.BatchNorm2d(width + skip), *block(width + skip, width, 3), *block(width, width, 1)
            )

        def forward(self, image: Tensor) -> Tensor:
            merged: Tensor = self.merge(torch.cat([self.skip(image), self.deep(image)], 1))
            return merged

    return Scale()
