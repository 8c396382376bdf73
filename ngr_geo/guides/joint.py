"""White noise in groups of similar patches of all images at once: optimal singular value shrinkage, then linear estimation.

Patches that look alike, as the rows of a matrix, have few directions that stand out of noise, and its singular values are shrunk
by how much of them is noise. This is done with all images jointly and with each by itself: the first sees better what images have
in common, the second what only one of them has. Groups are then matched again, on the mean of both, whose mean and covariance in
each group give the linear estimate of least error.

Ref.: Gavish & Donoho 2017 (optimal shrinkage of singular values), Dabov et al. 2007 (groups of similar patches, weights), Lebrun,
Buades & Morel 2013 (linear estimates by groups of a first estimate).
"""

import torch
from torch import Tensor

from .covariance import precise
from .patches import Mean, count_of, similar, windows

SIDE, STEP, REACH, COUNT = 3, 3, 15, 60
"""The side of a patch, from group to group, how far patches are looked for, how many make a group: in pixels but the last."""
WIDER, FEW = 4, 2
"""The side where there are at most so many images, whose patches have to tell more by themselves."""
LEAST = 9
"""Patches of a group that has a covariance."""
FIRST = 0.2
"""Weight of the first estimate in the mean that groups are matched on again."""
BLOCK = 2**20
"""Numbers of groups that are in memory at a time."""
ALIGNED = 16
"""Groups go together by multiples of so many: on a CPU the last bit of eigenvectors goes with where a matrix lies in memory."""


def shrink(images: Tensor, pilot: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return images (n, h, w) less white noise of standard deviation 1.

    Args:
        images: (n, h, w).
        pilot: (n, h, w), a first estimate. It is what comes back of pixels that no patch holds, as in an image of one row.
        inside: (h, w), the pixels that count where not all do: patches that hold others take no part.
    """
    side = WIDER if len(images) <= FEW else SIDE
    if not len(images) or min(count_of(images.shape, side)) < 1:
        return pilot
    groups = similar(pilot, side, STEP, REACH, COUNT, inside)
    each = (_estimated(*one, groups, side) for one in zip(images.split(1), pilot.split(1), strict=True))
    better = torch.cat(list(each))
    if len(images) > 1:
        better = (better + _estimated(images, pilot, groups, side)) / 2
    better = FIRST * pilot + (1 - FIRST) * better
    unit = better.flatten(1).std(1, correction=0).clamp(min=1)[:, None, None]  # a faint image counts as much as others
    groups = similar(better / unit, side, STEP, REACH, COUNT, inside)
    return _estimated(images, better, groups, side, by_prior=True)


def _estimated(images: Tensor, pilot: Tensor, groups: Tensor, side: int, by_prior: bool = False) -> Tensor:
    """Return images of estimates of groups (g, K), by the covariance of the pilot if so said; the pilot where there are none."""
    noisy, prior, mean = windows(images, side), windows(pilot, side), Mean(images, side)
    together = ALIGNED * max(1, BLOCK // (ALIGNED * groups.shape[1] * noisy.shape[1]))
    for group in groups.split(together):
        there = (group >= 0).to(noisy)
        group = group.clamp(min=0)
        if by_prior:
            estimates, weight = linear(noisy[group], prior[group], there)
            weight = weight * (there.sum(1) >= LEAST)
        else:
            estimates, weight = optimal(noisy[group], there)
        mean.add(group, estimates, weight[:, None] * there)
    found, weight = mean.images()
    return torch.where(weight > 0, found, pilot)


def optimal(noisy: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of matrices (g, K, d) less noise of deviation 1, about their mean shrunk with least squared error.

    Their weights (g,), too. `there` (g, K) is 1 for the rows that a matrix has, at least one, and 0 for those that it lacks.
    """
    rows, free = there[..., None], (there.sum(1) - 1).clamp(min=1)
    centre = (noisy * rows).sum(1, keepdim=True) / rows.sum(1, keepdim=True)
    left = (noisy - centre) * rows
    few, many = free.clamp(max=left.shape[2]), free.clamp(min=left.shape[2])
    tall = left.shape[1] > left.shape[2]
    values, vectors = _spectrum(left if tall else left.mT)
    gain = kept(values / many[:, None], (few / many)[:, None])
    keep = (vectors * gain[:, None]) @ vectors.mT
    return (left @ keep if tall else keep @ left) + centre, _weight(gain, rows.sum((1, 2)), rows.sum((1, 2)))


def kept(power: Tensor, aspect: Tensor) -> Tensor:
    """Return by what to multiply singular values whose squares, in units of what noise has in the longer side, are `power`.

    Noise alone has 0 to (1 + √aspect)². Gavish & Donoho 2017, eq. 7: η(y) / y with y² = power and β = aspect.
    """
    part = 1 / power.clamp(min=1)
    square = (1 - (1 + aspect) * part).square() - 4 * aspect * part.square()
    return torch.where(power > (1 + aspect.sqrt()).square(), square.clamp(min=0).sqrt(), 0)


def linear(noisy: Tensor, prior: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of matrices (g, K, d), less noise of deviation 1, expected given the covariance of those of `prior`.

    Their weights (g,), too; `there` (g, K) as for `optimal`.
    """
    rows, count = there[..., None], there.sum(1)
    centre, middle = ((x * rows).sum(1, keepdim=True) / count[:, None, None] for x in (noisy, prior))
    noisy, prior = (noisy - centre) * rows, (prior - middle) * rows
    if noisy.shape[1] > noisy.shape[2]:
        values, vectors = _spectrum(prior)
    else:  # the other product has the same values
        values, vectors = _spectrum(prior.mT)
        vectors = prior.mT @ vectors / values.clamp(min=1e-9).sqrt()[:, None]
    variance = values.clamp(min=0) / count[:, None]
    gain = variance / (variance + 1)
    found = (noisy @ vectors * gain[:, None]) @ vectors.mT
    return found + centre, _weight(gain, count, torch.full_like(count, noisy.shape[2]))


def _spectrum(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues (g, d) and eigenvectors (g, d, d) of the products XᵀX of matrices X (g, K, d)."""
    wide = precise(matrices)
    values, vectors = torch.linalg.eigh(wide.mT @ wide)
    return values.to(matrices), vectors.to(matrices)


def _weight(gain: Tensor, count: Tensor, size: Tensor) -> Tensor:
    """Return the weights (g,) of groups: the inverse of what noise is left by gains (g, r) and a mean of so many rows."""
    return 1 / (gain.square().sum(1) / size + 1 / count)
