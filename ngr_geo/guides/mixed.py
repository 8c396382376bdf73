"""Mixed noise: Gaussian noise of each band, impulses, saturation, dead lines and stripes at once.

An entry at the limit of the sensor's range is either censored (noise took it there) or an impulse; one inside the range is Gaussian
about the scene plus its line's stripe, or, rarely, an impulse too. In turns, what an entry would be without censoring and
impulses is expected, given the scene (EM), and the completed cube is denoised as if its noise were Gaussian.

Two things make such rounds drift, and are kept out. If sigma is measured on the completed cube alone, it shrinks from round to
round, as what was completed lies too close to the estimate: it has the conditional variance of what is not seen added. And line
offsets that take the scene's own broad columns feed on themselves: only what stands out of the neighbouring lines is a stripe.

Ref.: Tobin 1958 (censored regression), Dempster, Laird & Rubin 1977 (EM), Huber 1964.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import median_filter
from torch import Tensor
from torch.nn import functional

from . import deadlines, subspace
from .covariance import principal

ROUNDS = 12
SETTLED = 0.005
"""Change of a round, in standard deviations of the noise, from which the estimate has settled."""
DEAD = 0.3
"""Share of a line at one limit, beyond what is usual in its band, from which it is dead."""
SURE = 5.0
IMPULSE_INSIDE = 1e-3
"""Share of impulses inside the range that is always reckoned with."""
HALF_BOX = 3


@dataclass(frozen=True)
class Mixed:
    """`image` and `clean`, the cube completed and without stripes but with its noise, (B, h, w).

    `sigma` (B,), the Gaussian part; `impulses` (B,), their share.
    """

    image: Tensor
    clean: Tensor
    sigma: Tensor
    impulses: Tensor


def restore(cube: Tensor, observed: Tensor) -> Mixed:
    """Return a cube (B, h, w) less mixed noise; `observed` (B, h, w), every band has observed entries."""
    bands = len(cube)
    inside = observed.any(0)
    low, high, at_low, at_high = _limits(cube, observed)
    dead = _dead(cube, observed, at_low, at_high)
    known = observed & ~dead
    image = _start(cube, known)
    sigma = _start_sigma(cube, image, known)
    impulses = torch.full((bands,), 0.05)
    clean = cube
    stripes = torch.zeros(bands, 1, cube.shape[2])
    count = known.flatten(1).sum(1).clamp(min=1)
    for _ in range(ROUNDS):
        complete, updated, others = torch.empty_like(cube), sigma.clone(), impulses.clone()
        for band in range(bands):  # one at a time: what is at work stays small
            b = slice(band, band + 1)
            expected, here = image[b] + stripes[b], known[b]
            limits = low[b], high[b], at_low[b] & here, at_high[b] & here
            # E[z] - expected and Var[z] for what is Gaussian, and how probably that is
            pull, variance, gauss = _believe(cube[b], expected, sigma[b], impulses[b], *limits)
            weight = (gauss * here).sum().clamp(min=1)
            others[band] = (((1 - gauss) * here).sum() / count[band]).clamp(0, 0.6)
            complete[b] = torch.where(here, expected + gauss * pull, expected)
            updated[band] = ((gauss * (pull**2 + variance) * here).sum() / weight).sqrt().clamp(min=1e-4)
        stripes = _stripes(complete - image, known, sigma)
        impulses, sigma = others, updated
        clean = complete.sub_(stripes)
        new = subspace.denoise(clean, inside.expand_as(cube), sigma, rare=False).image
        change = float(((new - image) / sigma[:, None, None]).square().mean().sqrt())
        image = new
        if change < SETTLED:
            break
    return Mixed(image, clean, sigma, impulses)


def _believe(
    cube: Tensor,
    expected: Tensor,
    sigma: Tensor,
    impulses: Tensor,
    low: Tensor,
    high: Tensor,
    at_low: Tensor,
    at_high: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each entry E[z] - expected, Var[z] if it is Gaussian, and the probability that it is: three (B, h, w)."""
    unit = sigma[:, None, None]
    rate = impulses[:, None, None].clamp(min=1e-6)
    z = (cube - expected) / unit
    pull, variance = cube - expected, torch.zeros_like(cube)
    density = torch.exp(-0.5 * z**2) / (unit * math.sqrt(2 * math.pi))
    extent = (high - low).clamp(min=1e-6)[:, None, None]
    gauss = (1 - rate) * density / ((1 - rate) * density + IMPULSE_INSIDE / extent)
    for where, sign in ((at_low, 1.0), (at_high, -1.0)):
        a = (sign * z[where]).clamp(min=-6)
        beyond = 0.5 * torch.erfc(-a / math.sqrt(2)) + 1e-12
        hazard = torch.exp(-0.5 * a**2) / math.sqrt(2 * math.pi) / beyond
        scale = unit.expand_as(cube)[where]
        pull[where] = -sign * scale * hazard
        variance[where] = scale**2 * (1 - a * hazard - hazard**2).clamp(min=0)
        p = rate.expand_as(cube)[where]
        gauss[where] = (1 - p) * beyond / ((1 - p) * beyond + 0.5 * p)
    return pull, variance, gauss


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
    count = 0.0
    for limit in (at_low, at_high):
        if not limit.any():
            continue
        padded = functional.pad(limit.to(cube.dtype), (1, 1, 1, 1))
        beside = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
        count += float((limit & (beside <= 1)).sum())
    return count / max(float(observed.sum()), 1.0)


def _dead(cube: Tensor, observed: Tensor, at_low: Tensor, at_high: Tensor) -> Tensor:
    """Return where lines are dead (B, h, w): constant, or far more often at a limit than their band is."""
    dead = torch.from_numpy(deadlines.find(cube.numpy(), observed.numpy()).mask)
    for limit in (at_low, at_high):
        for axis in (1, 2):
            size = observed.sum(axis, keepdim=True).clamp(min=1)
            share = limit.sum(axis, keepdim=True) / size
            usual = share.flatten(1).median(1).values[:, None, None]
            dead |= ((share > usual + DEAD) & (share > 0.6)).expand_as(dead)
    return dead & observed


def _start(cube: Tensor, known: Tensor) -> Tensor:
    """Return a first estimate (B, h, w): medians of boxes, which neither censoring nor impulses move, in few spectra."""
    bands, height, width = cube.shape
    size = 2 * HALF_BOX + 1
    image = torch.empty_like(cube)
    for band in range(bands):
        masked = torch.where(known[band], cube[band], torch.nan)
        padded = functional.pad(masked[None, None], (HALF_BOX,) * 4, mode="constant", value=torch.nan)
        boxes = np.sort(
            functional.unfold(padded, size)[0].numpy().T, axis=1
        )  # NaN last; five times as fast as torch's median
        middle = np.maximum(size**2 - np.isnan(boxes).sum(1) - 1, 0) // 2
        image[band] = torch.from_numpy(np.take_along_axis(boxes, middle[:, None], 1)).reshape(height, width)
        usual = masked.nanmedian()
        image[band] = torch.where(image[band].isnan(), usual, image[band])
    flat = image.flatten(1).double()
    mean = flat.mean(1, keepdim=True)
    leading = principal(flat - mean)[1][:, :4]
    return (mean + leading @ (leading.T @ (flat - mean))).reshape(cube.shape).to(cube.dtype)


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
    broad = median_filter(offset.numpy(), (1, 1, 2 * HALF_BOX + 1), mode="mirror")  # what is wide is the scene
    offset = offset - torch.from_numpy(broad)
    error = sigma[:, None, None] / count.clamp(min=1).sqrt()
    return torch.where((offset.abs() > SURE * error) & (count > 8), offset, 0)
