"""Mixed noise: Gaussian noise of each band, impulses, saturation, dead lines and stripes at once.

An entry at the limit of the sensor's range is either censored (noise took it there) or an impulse; one inside the range is Gaussian
about the scene plus its line's stripe, or, rarely, an impulse too. In turns, what an entry would be without censoring and
impulses is expected, given the scene (EM), and the completed cube is denoised as if its noise were Gaussian. When that has settled,
groups of similar patches are shrunk in one last round: in further ones they would learn from what they completed themselves.

Two things make such rounds drift, and are kept out. If sigma is measured on the completed cube alone, it shrinks from round to
round, as what was completed lies too close to the estimate: it has the conditional variance of what is not seen added. And line
offsets that take the scene's own broad columns feed on themselves: only what stands out of the neighbouring lines is a stripe.

Ref.: Tobin 1958 (censored regression), Dempster, Laird & Rubin 1977 (EM), Huber 1964.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..solver.multigrid import neighbours
from . import subspace
from .base import Estimate
from .covariance import in_few_spectra
from .filters import box_median, median_filter

ROUNDS = 12
SETTLED = 0.005
"""Change of a round, in standard deviations of the noise, from which the estimate has settled."""
FIRST_TURNS, TURNS = 8, 3
"""Turns of sigma and impulse rate about one estimate of the scene: they settle more slowly than it does, and cost less."""
DEAD = 0.3
"""Share of a line at one limit, beyond what is usual in its band, from which it is dead."""
SURE = 5.0
IMPULSE_INSIDE = 1e-3
"""Share of impulses inside the range that is always reckoned with."""
HALF_BOX = 3
BLOCK = 2**17
"""Entries of some bands that are worked at together."""


def restore(cube: Tensor, observed: Tensor, dead: Tensor | None = None) -> Estimate:
    """Return a cube (B, h, w) less mixed noise; `clean` is the cube completed and without stripes, `noise` the Gaussian part.

    Args:
        cube: (B, h, w), finite.
        observed: (B, h, w). Every band has observed entries.
        dead: (B, h, w), True on dead lines that are known; those of entries at a limit are found here.
    """
    inside = observed.any(0)
    limits = _limits(cube, observed)
    known = observed & ~_dead(observed, *limits[2:], dead)
    image = _start(cube, known)
    sigma = _start_sigma(cube, image, known)
    impulses = sigma.new_full((len(cube),), 0.05)
    beliefs = _beliefs(cube, known, *limits)
    everywhere, stripes = inside.expand_as(cube), cube.new_zeros(len(cube), 1, cube.shape[2])
    for number in range(ROUNDS + 1):
        turns = TURNS if number else FIRST_TURNS
        clean, sigma, impulses = _completed(beliefs, image, stripes, sigma, impulses, turns)
        stripes = _stripes(clean - image, known, sigma)
        clean -= stripes
        if number == ROUNDS:
            break
        new = subspace.denoise(clean, everywhere, sigma, rare=False, groups=False).image
        change = ((new - image) / sigma[:, None, None]).square().mean().sqrt()
        image = new
        if change < SETTLED:
            break
    # What was completed has no noise, but the errors of the estimate: the level is between that of the residual and sigma.
    level = ((sigma.square() + (clean - image).square().mean((1, 2))) / 2).sqrt()
    image = subspace.denoise(clean, everywhere, level, rare=False).image
    return Estimate(image, clean, sigma)


def _completed(
    beliefs: list[_Belief], image: Tensor, stripes: Tensor, sigma: Tensor, impulses: Tensor, turns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cube completed (B, h, w), sigma and impulse rate (B,) after some turns about one estimate of the scene.

    Some bands after others: what is at work stays small.
    """
    complete, updated, others = torch.empty_like(image), torch.empty_like(sigma), torch.empty_like(impulses)
    for belief in beliefs:
        b = belief.bands
        expected, level, rate = image[b] + stripes[b], sigma[b], impulses[b]
        for _ in range(turns):
            complete[b], level, rate = belief.completed(expected, level, rate)
        updated[b], others[b] = level, rate
    return complete, updated, others


@dataclass(frozen=True)
class _Belief:
    """What is known of some `bands`: the `cube` and where it is `known` (B, h, w), its range `extent` (B,).

    `censored` has, for the lower and the upper limit, the sign that turns it into the lower one, and which entries are at it.
    """

    bands: slice
    cube: Tensor
    known: Tensor
    extent: Tensor
    censored: tuple[tuple[float, Tensor], ...]

    def completed(self, expected: Tensor, sigma: Tensor, impulses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the entries are expected to be without censoring and impulses (B, h, w), sigma and impulse rate (B,)."""
        unit = sigma[:, None, None]
        rate = impulses.clamp(min=1e-6)[:, None, None]
        pull = self.cube - expected  # E[value] - expected, of what is Gaussian
        odds = (1 - rate) * self.extent[:, None, None] / (IMPULSE_INSIDE * math.sqrt(2 * math.pi) * unit)
        gauss = torch.sigmoid(odds.log() - 0.5 * (pull / unit).square())  # how probable it is that it is Gaussian
        variance = torch.zeros_like(pull)
        scales, rates = (a.expand_as(pull).flatten() for a in (unit, rate))
        for sign, at in self.censored:
            scale, p = scales[at], rates[at]
            a = (sign * pull.flatten()[at] / scale).clamp(min=-6)
            beyond = 0.5 * torch.erfc(-a / math.sqrt(2)) + 1e-12
            hazard = torch.exp(-0.5 * a**2) / math.sqrt(2 * math.pi) / beyond
            pull.flatten()[at] = -sign * scale * hazard
            variance.flatten()[at] = scale**2 * (1 - a * hazard - hazard**2).clamp(min=0)
            gauss.flatten()[at] = (1 - p) * beyond / ((1 - p) * beyond + 0.5 * p)
        gauss *= self.known
        weight, count = gauss.sum((1, 2)), self.known.sum((1, 2)).clamp(min=1)
        square = (gauss * (pull.square() + variance)).sum((1, 2)) / weight.clamp(min=1)
        share = (self.known.sum((1, 2)) - weight) / count
        return torch.addcmul(expected, gauss, pull), square.sqrt().clamp(min=1e-4), share.clamp(0, 0.6)


def _beliefs(cube: Tensor, known: Tensor, low: Tensor, high: Tensor, at_low: Tensor, at_high: Tensor) -> list[_Belief]:
    """Return what is known of a cube, some bands at a time."""
    step = max(1, BLOCK // cube[0].numel())
    extent = (high - low).clamp(min=1e-6)
    found = []
    for first in range(0, len(cube), step):
        b = slice(first, first + step)
        ends = ((sign, (at[b] & known[b]).flatten().nonzero()[:, 0]) for sign, at in ((1.0, at_low), (-1.0, at_high)))
        found.append(_Belief(b, cube[b], known[b], extent[b], tuple(ends)))
    return found


def _limits(cube: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return each band's least and greatest value (B,), and where entries are at them (B, h, w) if many are."""
    low = torch.where(observed, cube, torch.inf).flatten(1).min(1).values
    high = torch.where(observed, cube, -torch.inf).flatten(1).max(1).values
    at_low = observed & (cube <= low[:, None, None])
    at_high = observed & (cube >= high[:, None, None])
    many = 5 + 0.0005 * observed.flatten(1).sum(1)
    at_low &= (at_low.flatten(1).sum(1) > many)[:, None, None]
    at_high &= (at_high.flatten(1).sum(1) > many)[:, None, None]
    return low, high, at_low, at_high


def scattered_at_limits(cube: Tensor, observed: Tensor) -> float:
    """Return the share of observed entries at a limit of their band of which at most one neighbour in four is there too.

    Impulses and censored noise are scattered; a lake at 0, or a saturated roof, is not.
    """
    _, _, at_low, at_high = _limits(cube, observed)
    count = sum(float((limit & (neighbours(limit.to(cube)) <= 1)).sum()) for limit in (at_low, at_high))
    return count / max(float(observed.sum()), 1.0)


def _dead(observed: Tensor, at_low: Tensor, at_high: Tensor, dead: Tensor | None) -> Tensor:
    """Return where lines are dead (B, h, w): where that is known, or far more often at a limit than their band is."""
    dead = torch.zeros_like(observed) if dead is None else dead.clone()
    for limit in (at_low, at_high):
        for axis in (1, 2):
            size = observed.sum(axis, keepdim=True).clamp(min=1)
            share = limit.sum(axis, keepdim=True) / size
            usual = share.flatten(1).median(1).values[:, None, None]
            dead |= ((share > usual + DEAD) & (share > 0.6)).expand_as(dead)
    return dead & observed


def _start(cube: Tensor, known: Tensor) -> Tensor:
    """Return a first estimate (B, h, w): medians of boxes, which neither censoring nor impulses move, in few spectra."""
    image = box_median(cube, known, 2 * HALF_BOX + 1)
    usual = torch.where(known, cube, torch.nan).flatten(1).nanmedian(1).values[:, None, None]
    flat = torch.where(image.isnan(), usual, image).flatten(1)
    return in_few_spectra(flat, 4).reshape(cube.shape)


def _start_sigma(cube: Tensor, image: Tensor, known: Tensor) -> Tensor:
    """Return a first noise level (B,): from whichever side of the estimate is wider, as the other is cut."""
    left = torch.where(known, cube - image, torch.nan).flatten(1)
    up = torch.where(left > 0, left, torch.nan).nanmedian(1).values
    down = torch.where(left < 0, -left, torch.nan).nanmedian(1).values
    return torch.maximum(up, down).nan_to_num(nan=0.1).div(0.6745).clamp(min=1e-3)


def _stripes(left: Tensor, known: Tensor, sigma: Tensor) -> Tensor:
    """Return the offset of each column (B, 1, w), 0 where noise explains it; `left` (B, h, w) is the cube less the scene."""
    count = known.sum(1, keepdim=True)
    offset = (left * known).sum(1, keepdim=True) / count.clamp(min=1)
    offset = offset - median_filter(offset, 2 * HALF_BOX + 1, axis=2)  # what is wide is the scene
    error = sigma[:, None, None] / count.clamp(min=1).sqrt()
    return torch.where((offset.abs() > SURE * error) & (count > 8), offset, 0)
