"""Members that learn from the window alone, in which the relation between dates may be another than over the scene.

Both are Gaussian processes of the references' bands: `kriging` an exact one of few pixels, with the place of a pixel in its kernel,
so that what varies over the window, and what a gap's surroundings show, is part of it (kriging with external drift); `local` one
seen through landmarks (see `regression`), of many pixels. Neither is better than the regression of the scene everywhere, but their
errors are others, so that a mean is better than each. Ref.: Rasmussen & Williams 2006, ch. 2 and 8.3.1; Wackernagel 2003, ch. 37.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import regression
from .covariance import precise

LEAST = 500
"""Known pixels of a window below which nothing is learnt from it."""
REACH = 2
"""Of the neighbourhoods, in pixels: 5x5."""
POINTS = 2000
"""Known pixels that `kriging` is made of."""
LANDMARKS, LOCAL_POINTS = 128, 4000
"""Of `local`."""
NEAR, AT_LEAST = 31, 0.2
"""A pixel is taken by the share of gaps in a square of this side around it, plus this much."""
AT_ONCE = 4096
"""Pixels that are predicted at a time."""

# The kernel, for standardised values: variances of its parts, and lengths in pixels.
LEVEL = 10.0
LINEAR = 20.0
"""Of the whole neighbourhood, divided by its number of values."""
RADIAL = 0.5
"""Of the radial functions of the references' bands."""
DRIFT, DRIFT_LEVEL, DRIFT_LENGTH = 0.05, 0.02, 20.0
"""Of a linear map that varies over the window, divided by the number of bands, and of its constant."""
NEAREST, NEAREST_LENGTH = 0.05, 5.0
"""Of what is alike only nearby."""
NOISE = 0.05


def kriging(references: Tensor, values: Tensor, known: Tensor, where: Tensor) -> Tensor | None:
    """Return the values (B, h, w), predicted `where` (h, w) is True from those `known` (h, w); None where too few are.

    The kernel of two pixels, with neighbourhoods X of all references (d values), bands Z at the pixels (k values), r apart, is
    10 + 20/d X·X' + .5 exp(-|Z - Z'|²/2k) + exp(-r²/2·20²) (.02 + .05/k Z·Z') + .05 exp(-r/5).

    Args:
        references: (k, h, w), standardised, without gaps.
        values: (B, h, w), standardised.
        known: what may be learnt from.
        where: what is asked for, disjoint from `known`.
    """
    if int(known.sum()) < LEAST or not len(references):
        return None
    points, wanted = _points(known, where), where.flatten().nonzero()[:, 0]
    target = values.flatten(1)[:, points].T  # (n, B)
    mean = target.mean(0)
    wide = regression.padded(references, REACH)
    near, bands, place = _described(references, wide, points)
    linear = LINEAR / len(near)
    kernel = torch.addmm(_varying(bands, place, bands, place), near.T, near, alpha=linear).add_(LEVEL)
    kernel.diagonal().add_(NOISE)
    weights = torch.cholesky_solve(target - mean, torch.linalg.cholesky(kernel))  # (n, B)
    slope, level = linear * (near @ weights), LEVEL * weights.sum(0) + mean  # the linear part, seen as a regression
    out = values.clone().flatten(1)
    for some in wanted.split(AT_ONCE):
        near_there, bands_there, place_there = _described(references, wide, some)
        varying = _varying(bands_there, place_there, bands, place)
        out[:, some] = torch.addmm(near_there.T @ slope + level, varying, weights).T
    return out.reshape(values.shape)


def local(references: Tensor, values: Tensor, known: Tensor, where: Tensor) -> Tensor | None:
    """Return what `kriging` returns, by a regression on 5x5 neighbourhoods and radial functions, and a local correction.

    Its penalty is that of `kriging` without the parts that depend on the place.
    """
    if int(known.sum()) < LEAST or not len(references):
        return None
    generator = torch.Generator().manual_seed(1)
    places = known.flatten().nonzero()[:, 0]
    points = places[torch.randperm(len(places), generator=generator)[:LOCAL_POINTS].to(places.device)]
    landmarks = references.flatten(1)[:, points[:LANDMARKS]].T.contiguous()
    wide = regression.padded(references, REACH)
    design = precise(_columns(references, wide, points, landmarks))  # (F, n)
    target = precise(values.flatten(1)[:, points])
    size = len(design) - len(landmarks) - 1
    penalty = torch.zeros(len(design), len(design), dtype=design.dtype, device=design.device)
    penalty.diagonal()[:size] = NOISE * size / LINEAR
    marks = precise(landmarks)
    penalty[size:-1, size:-1] = NOISE / RADIAL * regression.radial(marks.T, marks)
    penalty.diagonal()[size:] += 1e-6 * len(points)
    weights = torch.linalg.solve(design @ design.T + penalty, design @ target.T).to(values).T  # (B, F)
    everywhere = torch.arange(known.numel(), device=known.device)
    image = torch.cat(
        [weights @ _columns(references, wide, part, landmarks) for part in everywhere.split(8 * AT_ONCE)], 1
    )
    image = image.reshape(values.shape)
    image = image + regression.local(references, values - image, known)
    return torch.where(where, image, values)


def _points(known: Tensor, where: Tensor) -> Tensor:
    """Return the flat places of `POINTS` of the known pixels, drawn at random, those near what is asked for more often."""
    places = known.flatten().nonzero()[:, 0]
    if len(places) <= POINTS:
        return places
    share = functional.avg_pool2d(where.float()[None, None], NEAR, 1, NEAR // 2, count_include_pad=False)[0, 0]
    draw = torch.rand(len(places), generator=torch.Generator().manual_seed(0)).to(places.device)
    # The first to arrive, at rates of the weights.
    race = -draw.clamp(min=1e-9).log() / (share.flatten()[places] + AT_LEAST)
    return places[torch.topk(race, POINTS, largest=False, sorted=True).indices]


def _described(references: Tensor, wide: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the 5x5 neighbourhoods (d, n) of some flat places, the bands at them (n, k), and where they are (n, 2)."""
    width = references.shape[-1]
    row = places.div(width, rounding_mode="floor")
    position = torch.stack([row, places - row * width], dim=1).to(references.dtype)
    near = torch.cat(regression.neighbours(wide, places, REACH))
    return near, references.flatten(1)[:, places].T.contiguous(), position


def _columns(references: Tensor, wide: Tensor, places: Tensor, landmarks: Tensor) -> Tensor:
    """Return the features (F, n) of `local` at some flat places: 5x5 neighbourhoods, radial functions, one."""
    near = torch.cat(regression.neighbours(wide, places, REACH))
    bands = references.flatten(1).index_select(1, places)
    return torch.cat([near, regression.radial(bands, landmarks), torch.ones_like(near[:1])])


def _varying(bands: Tensor, place: Tensor, others: Tensor, there: Tensor) -> Tensor:
    """Return the parts (m, n) of the kernel that are no linear map of the neighbourhoods, between m and n pixels."""
    size = bands.shape[1]
    down, across = (place[:, axis, None] - there[:, axis] for axis in (0, 1))
    apart = down.square() + across.square()  # exact: whole numbers
    product = bands @ others.T
    kernel = (apart * (-0.5 / DRIFT_LENGTH**2)).exp_().mul_((product * (DRIFT / size)).add_(DRIFT_LEVEL))
    kernel.add_(apart.sqrt_().mul_(-1 / NEAREST_LENGTH).exp_(), alpha=NEAREST)
    squares = bands.square().sum(1)[:, None] + others.square().sum(1)[None]
    squares.sub_(product, alpha=2).clamp_(min=0)
    return kernel.add_(squares.mul_(-0.5 / size).exp_(), alpha=RADIAL)
