"""The untrained networks that predict the gradient fields: the paper's three hour-glasses, and one small network.

Every network maps (N, C_in, H, W) to (N, 3, C, H, W), for any H and W from 1. Both are built from a seed and leave the
global random state as it was.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import ordered

_DRAWING = threading.Lock()
SCALES, SKIP = 5, 4
"""Of the hour-glass, and the channels of its skip links."""

Upsampling = Literal["nearest", "bilinear"]
Backbone = Literal["hour-glass", "u-net", "resnet", "plain"]
"""What the paper compares as the networks that predict the fields (III-C3)."""


@final
class ThreeNetworks(nn.Module):
    """Three networks (N, C_in, H, W) -> (N, C, H, W), one per field, as one: -> (N, 3, C, H, W)."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        """Take the networks for rows, columns and channels."""
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the three fields."""
        return torch.stack([network(x) for network in self.networks], dim=1)


def paper_network(
    channels: int, upsampling: Upsampling, seed: int, bounded: bool = False, backbone: Backbone = "hour-glass"
) -> ThreeNetworks:
    """Return the published network for a cube of that many channels: its input has as many, too.

    Args:
        channels: of the cube.
        upsampling: of the hour-glass.
        seed: of the initial weights.
        bounded: end in a hyperbolic tangent.
        backbone: "hour-glass" is the published one. "u-net", "resnet" (five residual blocks of two convolutions) and "plain" (ten
            blocks one after the other) are 32 to 256, 64 and 64 channels wide: the paper's own widths are not known here.
    """
    if backbone not in get_args(Backbone):
        msg = f"found the backbone {backbone!r}, expected one of {', '.join(get_args(Backbone))}: paper_network(backbone='u-net')"
        raise ValueError(msg)

    def one() -> nn.Module:
        match backbone:
            case "u-net":
                return UNet(channels, channels)
            case "hour-glass":
                return HourGlass(channels, channels, upsampling)
        blocks = [_Residual(64) for _ in range(5)] if backbone == "resnet" else [_block(64, 64, 3) for _ in range(9)]
        return nn.Sequential(_block(channels, 64, kernel=3), *blocks, nn.Conv2d(64, channels, 1))

    with seeded(seed):
        networks = [one() for _ in range(3)]
    return ThreeNetworks([nn.Sequential(each, nn.Tanh()) for each in networks] if bounded else networks)


@final
class HourGlass(nn.Module):
    """The encoder-decoder with skip links of the paper, which is that of Deep Image Prior (Ulyanov et al. 2018).

    Each scale halves the image and convolves it, asks the scale below, doubles what comes back, joins a thin skip link,
    and convolves again. Nothing bounds the answer, since gradients have both signs.
    """

    def __init__(self, channels_in: int, channels_out: int, upsampling: Upsampling, width: int = 128) -> None:
        """Build it with the initial weights that torch draws."""
        super().__init__()
        self.upsampling = upsampling
        inputs = [channels_in] + [width] * (SCALES - 1)
        self.skips = nn.ModuleList(_block(c, SKIP, kernel=1) for c in inputs)
        self.downs = nn.ModuleList(
            nn.Sequential(_block(c, width, kernel=3, stride=2), _block(width, width, kernel=3)) for c in inputs
        )
        self.ups = nn.ModuleList(
            nn.Sequential(_Norm(width + SKIP), _block(width + SKIP, width, kernel=3), _block(width, width, kernel=1))
            for _ in inputs
        )
        self.head = nn.Conv2d(width, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels_out, H, W) for (N, channels_in, H, W)."""
        links = []
        for skip, down in zip(self.skips, self.downs, strict=True):
            links.append(skip(x))
            x = down(x)
        for up, link in zip(reversed(self.ups), reversed(links), strict=True):
            x = up(torch.cat([link, _double(x, link, self.upsampling)], dim=1))
        answer: Tensor = self.head(x)
        return answer


@final
class UNet(nn.Module):
    """A U-net: two convolutions at each scale, halved by the largest of four, links as wide as their scale."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        """Build it with the initial weights that torch draws."""
        super().__init__()
        widths = [32, 64, 128, 256]
        self.downs = nn.ModuleList(_twice(above, below) for above, below in pairwise([channels_in, *widths]))
        self.ups = nn.ModuleList(_twice(above + below, above) for above, below in pairwise(widths))
        self.head = nn.Conv2d(widths[0], channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels_out, H, W) for (N, channels_in, H, W)."""
        links: list[Tensor] = []
        for down in self.downs:
            x = down(F.max_pool2d(x, 2, ceil_mode=True) if links else x)
            links.append(x)
        for up, link in zip(reversed(self.ups), reversed(links[:-1]), strict=True):
            x = up(torch.cat([link, _double(x, link, "bilinear")], dim=1))
        answer: Tensor = self.head(x)
        return answer


@final
class Small(nn.Module):
    """One network that refines a guide: it predicts the potential V of all fields, F = D(guide + V); at the start V = 0.

    A U-net that adds its skip links instead of stacking them. Without any normalisation by batch or image statistics it
    is a function of a pixel's surroundings alone: trained on windows of a scene it can be applied to the whole scene,
    and far enough from the edges both answers are the same, if windows start at multiples of 2**scales pixels.
    """

    def __init__(self, channels_in: int, channels: int, width: int = 32, scales: int = 3, seed: int = 0) -> None:
        """Build it for inputs of `channels_in` channels and a cube of `channels`."""
        super().__init__()
        with seeded(seed):
            self.stem = _Convolution(channels_in, width)
            self.downs = nn.ModuleList(_Convolution(width, width, stride=2) for _ in range(scales))
            self.middles = nn.ModuleList(_Convolution(width, width) for _ in range(scales))
            self.ups = nn.ModuleList(_Convolution(width, width) for _ in range(scales))
            self.head = nn.Conv2d(width, channels, 1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    def forward(self, x: Tensor) -> Tensor:
        """Return V, (N, C, H, W), for (N, C_in, H, W)."""
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        links = []
        for down, middle in zip(self.downs, self.middles, strict=True):
            links.append(x)
            x = middle(down(x))
        for up, link in zip(reversed(self.ups), reversed(links), strict=True):
            x = up(link + _double(x, link, "bilinear"))
        potential: Tensor = self.head(x)
        return potential


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from this seed inside the block, and leave the global random state as it was.

    One thread at a time: torch's layers draw from the one global generator.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch the GPUs' generators, too
        yield


@final
class _Convolution(nn.Module):
    """3x3 convolution with a reflected boundary, then a leaky ReLU.

    First weights are torch's own, which are small: with He's, as loud at every depth, the network overfits from 20 steps on
    (50.2 dB instead of 50.7 dB after 80 steps, mean of eight Sentinel-2 cases).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        """Draw the weights."""
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels_out, ceil(H / stride), ceil(W / stride))."""
        return F.leaky_relu(self.convolution(ordered.margin(x)), 0.2)


def _block(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, normalisation and activation as the paper has them."""
    reflect = [_Reflect()] if kernel > 1 else []
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride)
    return nn.Sequential(*reflect, convolution, _Norm(channels_out), nn.LeakyReLU(0.2))


def _twice(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(_block(channels_in, channels_out, kernel=3), _block(channels_out, channels_out, kernel=3))


@final
class _Residual(nn.Module):
    """Two blocks beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = _twice(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        answer: Tensor = x + self.blocks(x)
        return answer


@final
class _Norm(nn.BatchNorm2d):
    """Batch normalisation that leaves a single pixel, which has no variance, as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return super().forward(x) if x.numel() > x.shape[1] else x


@final
class _Reflect(nn.Module):
    """`ordered.margin` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H + 2, W + 2)."""
        return ordered.margin(x)


def _double(x: Tensor, like: Tensor, upsampling: Upsampling) -> Tensor:
    """Return the image of twice the size, less the last row or column where that of `like` was odd."""
    twice = F.interpolate(x, scale_factor=2.0) if upsampling == "nearest" else ordered.doubled(x)
    return twice[..., : like.shape[-2], : like.shape[-1]]
