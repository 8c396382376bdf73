"""What the spectral verbs have in common: answers, hidden data, and the subspace of the leading spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..guides.base import Estimate
from ..guides.covariance import precise, principal
from ..guides.hidden import best_window
from . import judge
from .problem import Judgement

TRIAL_SIZE, NOISE_TRIAL_SIZE = 96, 64
"""Sides of the windows that NGR is tried on: for gaps, and for noise, of which a smaller one has enough."""
SHARE = 0.03
"""Share of the observed entries that is hidden."""
MOST_STEPS, CHECK_EVERY, PATIENCE = 60, 10, 1
LEADING = 8
"""Spectra of the guide that the network works in, at most."""
FAR = 4.5
BETTER = 0.98
"""For noise and stripes NGR is kept where its error on hidden data is below this part of the guide's: the best of some looks."""


class Answer(NamedTuple):
    """A cube solved.

    `image` (B, h, w); the level of the `noise` (B,); the standard `deviation` of each value (B, h, w): NaN where unknown, all 0
    where it was not asked for; what was kept, and the errors expected; the kind of fault.
    """

    image: Tensor
    noise: Tensor
    deviation: Tensor
    judgement: Judgement
    note: str = ""


CubeGuide = Callable[[Tensor, Tensor], Estimate]
"""Maps a cube (B, h, w), 0 where not observed, and `observed` to an estimate."""
Filler = Callable[[Tensor, Tensor], Tensor]
"""Maps the same to the cube with its gaps filled."""


class Refined(NamedTuple):
    """What NGR made of a guide: the image (B, h, w), None where the guide is kept; the errors at what was hidden.

    `table` has the errors by which that was chosen, where they are of blocks: see `judge`.
    """

    image: Tensor | None
    guide: Errors
    ngr: Errors | None
    table: judge.Table | None = None


class Errors(NamedTuple):
    """Result less truth (B, h, w) of a window, and where that counts; the result, and the guide that it was made from."""

    error: Tensor
    where: Tensor
    image: Tensor
    guide: Tensor
    seen: Tensor

    def cpu(self) -> Errors:
        """Return them on the CPU, where distances to what was seen are measured: 1 ms a band of 150 x 150 pixels."""
        return Errors(*(part.cpu() for part in self))


class Subspace(NamedTuple):
    """The leading spectra of a guide: values = mean + unit · (vectors @ coefficients). (B, 1, 1), (B, 1, 1), (B, r)."""

    mean: Tensor
    unit: Tensor
    vectors: Tensor

    def down(self, image: Tensor) -> Tensor:
        """Return the coefficients (r, h, w) of a cube (B, h, w)."""
        return torch.einsum("br,bhw->rhw", self.vectors, (image - self.mean) / self.unit)

    def up(self, coefficients: Tensor) -> Tensor:
        """Return the deviation from the mean (B, h, w) of coefficients (r, h, w)."""
        return self.unit * torch.einsum("br,rhw->bhw", self.vectors, coefficients)


def error_of(image: Tensor, truth: Tensor, where: Tensor, noise: Tensor) -> float:
    """Return the RMSE on hidden data, bands weighted by their noise; beyond `FAR` deviations it is cut: an impulse is none."""
    if not where.any():
        return float("nan")
    noisy = bool(noise.max() > 0)
    unit = (noise.clamp(min=1e-2 * float(noise.max())) if noisy else torch.ones_like(noise[:1]))[:, None, None]
    z = ((image - truth) / unit)[where]
    z = z.clamp(-FAR, FAR) if noisy else z
    return float(precise(z).square().mean().sqrt() * precise(unit).mean())


def subspace_of(image: Tensor, noise: Tensor) -> Subspace:
    """Return the leading spectra of an image (B, h, w), in units of the noise (B,) where there is any, else of each band."""
    flat = image.flatten(1)
    mean = flat.mean(1, keepdim=True)
    unit = noise[:, None] if float(noise.max()) > 0 else flat.std(1, keepdim=True)
    unit = unit.clamp(min=1e-3 * float(unit.max()) + 1e-9)
    leading = principal((flat - mean) / unit)[1][:, :LEADING]
    return Subspace(mean[..., None], unit[..., None], leading.to(image))


def standard_of(maps: Tensor) -> Tensor:
    """Return maps (n, h, w) with mean 0 and deviation 1."""
    flat = maps.flatten(1)
    mean, deviation = flat.mean(1)[:, None, None], flat.std(1).clamp(min=1e-6)[:, None, None]
    return (maps - mean) / deviation


def busiest_of(observed: Tensor, size: int, wanted: Tensor | None = None) -> tuple[slice, slice]:
    """Return the window of at most `size` with most pixels that some band shows, and with some of those `wanted` (h, w)."""
    some = observed.any(0).float().cpu()
    wanted = torch.zeros_like(some) if wanted is None else wanted.float().cpu()

    def score(rows: slice, columns: slice) -> tuple[bool, float]:
        return bool(wanted[rows, columns].any()), float(some[rows, columns].sum())

    return best_window(some.shape, size, 16, score)
