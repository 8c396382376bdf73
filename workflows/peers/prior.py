"""Deep image prior, and S2DIP, which adds the total variation of a cube to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from .case import Case

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 300
LARGE = 256**2
"""Pixels above which the network is 32 channels wide in place of 128: the wide one would take hours."""
INPUTS = 32


def deep_image_prior(case: Case, steps: int = STEPS, width: int | None = None) -> np.ndarray:
    """Return the stack as an untrained network draws it after some steps towards the observed pixels.

    Ulyanov, Vedaldi and Lempitsky, CVPR 2018, equation 2 with the loss for missing pixels (section 3): one hour-glass network with
    skip links, 128 channels wide, gives all bands of all dates; input of 32 channels U(0, 0.1), with N(0, 0.03^2) on it at
    each step, Adam with rate 0.01. 300 steps for all stacks: nothing is stopped with the truth.
    """
    import torch

    dates, bands, height, ground = case.stack.shape
    width = width or (128 if height * ground <= LARGE else 32)
    flat = case.seen().stack.reshape(dates * bands, height, ground)
    known = np.isfinite(flat)
    mean = np.array([band[where].mean() if where.any() else 0 for band, where in zip(flat, known, strict=True)])
    spread = np.array([band[where].std() if where.any() else 1 for band, where in zip(flat, known, strict=True)])
    mean, spread = mean[:, None, None], spread[:, None, None] + 1e-6
    wanted = torch.from_numpy(np.where(known, (flat - mean) / spread, 0)).float()
    *_, last = drawn(towards(wanted, torch.from_numpy(known).float()), wanted, steps, width)
    return (last.double().numpy() * spread + mean).reshape(case.stack.shape)


def towards(wanted: Tensor, weight: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the loss of an image (channel, y, x): the mean square of what it lacks of the wanted one where the weight is 1."""
    return lambda image: ((image * weight - wanted) ** 2).mean()


def drawn(
    loss: Callable[[Tensor], Tensor], like: Tensor, steps: int, width: int = 128, rate: float = 0.01
) -> Iterator[Tensor]:
    """Yield the image (channel, y, x) that the network draws at each step of Adam on a loss of it, at last without input noise.

    The steps go on while images are taken. Images are as large, of as many channels and on the device as `like`.
    """
    import torch

    torch.manual_seed(0)
    channels, height, ground = like.shape
    scales = max(1, min(5, int(np.log2(min(height, ground))) - 2))
    pad = [-size % 2**scales for size in (ground, height)]
    network = _hour_glass(INPUTS, width, scales, channels).to(like.device)
    noise = 0.1 * torch.rand(1, INPUTS, height + pad[1], ground + pad[0])
    noise = noise.contiguous(memory_format=torch.channels_last).to(like.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)

    def image(jitter: float) -> Tensor:
        answer: Tensor = network(noise + jitter * torch.randn_like(noise))[0, :, :height, :ground]
        return answer

    for _ in range(steps):
        optimizer.zero_grad()
        now = image(0.03)
        loss(now).backward()
        optimizer.step()
        yield now.detach()
    with torch.no_grad():
        yield image(0.0)


def with_variation(
    observation: Tensor, known: Tensor, steps: int, width: int = 128, weight: float = 0.01, sparse: float | None = None
) -> Iterator[Tensor]:
    """Yield the images (channel, y, x) of S2DIP: a deep image prior f with the total variation of a cube and a sparse residual.

    Luo, Zhao, Jiang, Chang, Ng and Li, "Hyperspectral mixed noise removal via spatial-spectral constrained unsupervised deep image
    prior", IEEE JSTARS 14, 2021 (arXiv 2008.09753): minimise |Y - f - S|^2 + sparse |S|_1 + weight sum |D_k f|_1 over rows,
    columns and channels, by alternating steps: the network by Adam, S and the split differences by soft thresholds. Where the paper
    is not at hand the weights are ours: that of the variation, half of it along channels as in LRTDTV, the penalty, 10 of it, and
    the plain hour-glass of deep image prior in place of separable convolutions. `sparse` None: no residual S, for missing
    entries and Gaussian noise.
    """
    import torch

    from .models import ALL, fields_of
    from .prox import shrink

    forward, _ = fields_of(ALL)
    share = observation.new_tensor([1.0, 1.0, 0.5])[:, None, None, None]
    penalty, mask = 10 * weight, known.to(observation)
    residual = torch.zeros_like(observation)
    split = dual = torch.zeros(3, *observation.shape, dtype=observation.dtype, device=observation.device)

    def loss(image: Tensor) -> Tensor:
        data = ((observation - image - residual) * mask).square().sum()
        rough = (share * forward(image[None]) - split + dual / penalty).square().sum()
        total: Tensor = (data + penalty / 2 * rough) / observation.numel()
        return total

    for image in drawn(loss, observation, steps, width):
        fields = share * forward(image[None])
        split = shrink(fields + dual / penalty, weight / penalty)
        dual = dual + penalty * (fields - split)
        if sparse is not None:
            residual = shrink((observation - image) * mask, sparse / 2)
        yield image


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
