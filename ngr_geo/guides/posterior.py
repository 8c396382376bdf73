"""Missing entries, different ones in each band: what groups of similar patches of coefficient images expect, and entries tell.

The guide's fill gives few spectra, and the images of their coefficients. A small patch of all images together is Gaussian, with
the mean and the covariance of the patches most like it; what is observed in its pixels, in whichever bands, is noisy evidence of
their coefficients. The mean of the posterior takes the patch's place, overlapping patches are averaged, the spectra fitted again;
a few times. How many times, with how many spectra, with how much noise, and by how much each band then moves from the guide, is
what predicts entries that were hidden from all of this.

A member k of a group of K patches z gives one direction of its covariance,  x = m + Σ c (z - m) + e,  c ~ N(0, 1 / K),  e ~ N(0,
D) in each pixel: the system that is solved has a row per member, not per coefficient of a patch, and is well conditioned.

Ref.: Yu, Sapiro & Mallat 2012 (piecewise linear estimators), Lebrun, Buades & Morel 2013 (Gaussian groups of patches).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from . import entries
from .covariance import leading, precise
from .hidden import busiest, misfit, share, walk
from .patches import Mean, pixels_of, similar, windows

RANKS = (4, 8, 12, 16, 20)
"""Candidates for the number of spectra; from `RANK` up, or down."""
RANK = 12
FACTORS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Candidates for the noise, in mean squares of what the guide's spectra leave of the entries that they were fitted to."""
FACTOR = 10.0
PASSES = 4
AHEAD = 1.0
"""How much further than where it came to a pass begins the next one, which needs half as many of them."""
SIDE, STEP, REACH, GROUP = 3, 2, 12, 60
"""Patches and their groups; in the last pass of all the patches of a grid of step 1 take part."""
MARGIN = 24
"""What is observed up to so many pixels from all gaps takes part."""
TRIAL = 160
"""Side of the window that hidden entries choose in."""
MATCHED = 8
"""Leading coefficients by which patches are similar, each divided by the root of its deviation."""
SPREAD = 0.03
"""Variance of a pixel's coefficients beside what its group explains, as a share of their variance in a group."""
LEAST = 0.05
"""Noise of a band, at least, as a share of the median band's."""
PSEUDO_COUNT = 50.0
"""Hidden entries whose evidence that a band should move from its guide counts as much as what other bands say."""
RIDGE = 1e-2
"""How strongly spectra are drawn to what they were, as a share of the power of their maps."""
SAMPLE = 1000
"""Groups that the spread is measured in, at least, where there are so many."""
BLOCK = 2**22
"""Numbers of groups' patches that are in memory at a time."""


class Fit(NamedTuple):
    """How entries are seen: spectra (B, r) about a mean (B,), and the variance of each band's noise (B,)."""

    mean: Tensor
    spectra: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Choice:
    """What hidden entries chose: how many spectra, the factor of the noise, how many passes, how far each band moves (B,)."""

    rank: int
    factor: float
    passes: int
    followed: Tensor


class Chosen(NamedTuple):
    """What was chosen for the guide, and for the posterior; None where there was too little to choose by."""

    factors: entries.Factors | None
    choice: Choice | None


def complete(cube: Tensor, observed: Tensor, chosen: Chosen | None = None) -> tuple[Tensor, Chosen | None]:
    """Return a cube (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was; and how. The range is about 1.

    How that is done is chosen on hidden entries, unless it is given, as for other gaps of the same cube.
    """
    gaps = ~observed.all(0)
    if not gaps.any():
        return cube, chosen
    factors, choice = chosen or Chosen(None, None)
    begun = entries.complete(cube, observed, factors)
    here = _around(gaps)
    used, hidden = (a[:, *here] for a in (observed & ~begun.hidden, begun.hidden))
    if min(gaps[here].shape) < SIDE or not used.flatten(1).any(1).all():
        return begun.image, Chosen(begun.factors, None)
    if choice is None and begun.without is not None:
        choice = _choice(cube[:, *here], used, hidden, begun.without[:, *here])
    image = begun.image
    if choice is not None and choice.followed.any():
        image = image.clone()
        image[:, *here] = _moved(cube[:, *here], used | hidden, image[:, *here], choice)
    return image, Chosen(begun.factors, choice)


def _around(gaps: Tensor) -> tuple[slice, slice]:
    """Return the window that holds all gaps (h, w), and `MARGIN` about them."""
    rows, columns = gaps.any(1).nonzero()[:, 0], gaps.any(0).nonzero()[:, 0]
    first, last = (slice(max(0, int(at[0]) - MARGIN), int(at[-1]) + 1 + MARGIN) for at in (rows, columns))
    return first, last


def _choice(cube: Tensor, used: Tensor, hidden: Tensor, without: Tensor) -> Choice:
    """Return what is chosen in the window (B, h, w) that has most hidden entries."""
    busy = busiest(hidden, TRIAL)
    trial = [a[:, *busy] for a in (cube, used, hidden, without)]
    if not trial[1].flatten(1).any(1).all():
        trial = [cube, used, hidden, without]
    return _chosen(*trial)


def _moved(cube: Tensor, observed: Tensor, image: Tensor, choice: Choice) -> Tensor:
    """Return the guide's `image` (B, h, w), moved to the posterior as far as was chosen."""
    noise = _noise(cube, observed, image, choice.rank)
    found = pilot = image
    for left in reversed(range(choice.passes)):
        groups = _groups(observed, pilot, noise, STEP if left else 1)
        found = _passed(cube, observed, pilot, choice.factor * noise, choice.rank, groups)
        pilot = torch.lerp(pilot, found, 1 + AHEAD)
    return torch.where(observed, cube, torch.lerp(image, found, choice.followed[:, None, None]))


def _chosen(cube: Tensor, used: Tensor, hidden: Tensor, begun: Tensor) -> Choice:
    """Return what predicts the `hidden` entries (B, h, w) best, from those `used` (B, h, w) and a guide `begun` with them."""
    most = len(cube) - 1
    ranks = [r for r in RANKS if r <= most] or [most]
    start = min(RANK, ranks[-1])
    groups = _groups(used, begun, _noise(cube, used, begun, start), STEP)

    def tried(rank: int, factor: float) -> tuple[float, Tensor]:
        noise = factor * _noise(cube, used, begun, rank)
        image = _passed(cube, used, begun, noise, rank, groups)
        return misfit(image, cube, hidden), image

    factor, found = walk(FACTORS, FACTOR, tried(start, FACTOR), lambda f, _: tried(start, f))
    rank, (least, image) = walk(ranks, start, found, lambda r, _: tried(r, factor))
    noise = _noise(cube, used, begun, rank)
    passes, pilot = 1, torch.lerp(begun, image, 1 + AHEAD)
    while passes < PASSES:
        more = _passed(cube, used, pilot, factor * noise, rank, _groups(used, pilot, noise, STEP))
        error = misfit(more, cube, hidden)
        if error >= least:
            break
        pilot = torch.lerp(pilot, more, 1 + AHEAD)
        least, image, passes = error, more, passes + 1
    return Choice(rank, factor, passes, share(cube, hidden, begun, image, 0.0, PSEUDO_COUNT))


def _noise(cube: Tensor, observed: Tensor, image: Tensor, rank: int) -> Tensor:
    """Return the mean square (B,) of what leading spectra of an image leave of what is observed: first with all bands alike."""
    noise = torch.ones_like(cube[:, 0, 0])
    for _ in range(2):
        mean, spectra, maps = leading(image, noise.sqrt(), rank, observed.any(0))
        fit = torch.addmm(mean[:, None], spectra, maps.flatten(1)).view_as(cube)
        noise = fit.sub_(cube).square_().mul_(observed).sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)
        noise = noise.clamp(min=LEAST * float(noise.median()) + 1e-10)
    return noise


def _groups(observed: Tensor, image: Tensor, noise: Tensor, step: int) -> Tensor:
    """Return the groups of similar patches (n, K) of an image, of those of which something is known."""
    known = observed.any(0)
    maps = leading(image, noise.sqrt(), MATCHED, known).maps
    maps = maps / maps[:, known].std(1).clamp(min=1e-9).sqrt()[:, None, None]
    # Where nothing is known an image of its own keeps patches apart from those that are known.
    apart = torch.where(known, 0, 10 * maps.abs().max())[None]
    groups = similar(torch.cat([maps, apart]), SIDE, step, REACH, GROUP)
    return groups[windows(known[None].to(maps), SIDE)[groups[:, 0]].any(1)]


def _passed(cube: Tensor, observed: Tensor, pilot: Tensor, noise: Tensor, rank: int, groups: Tensor) -> Tensor:
    """Return the image (B, h, w) of the posterior means of the first patches of groups (n, K), and of spectra fitted to them.

    What is observed is as it was, and what is in none of the patches.
    """
    mean, spectra, maps = leading(pilot, noise.sqrt(), rank, observed.any(0))
    fit = Fit(mean, spectra, noise)
    found, weight = _expected(cube, observed, maps, fit, groups)
    maps = torch.where(weight > 0, found, maps)
    image = _refitted(cube, observed, maps, fit)
    return torch.where(observed, cube, torch.where(weight > 0, image, pilot))


def _refitted(cube: Tensor, observed: Tensor, maps: Tensor, fit: Fit) -> Tensor:
    """Return the image (B, h, w) of maps (r, h, w): each band regressed on these where it is observed.

    It is drawn to the spectra of the fit: a map that tells nothing of a band where this is observed, as the guide's own errors in a
    gap of some bands, keeps its place.
    """
    design = torch.cat([maps, torch.ones_like(maps[:1])]).flatten(1)
    size, seen, start = len(design), observed.flatten(1).to(cube), torch.cat([fit.spectra, fit.mean[:, None]], 1)
    left = torch.addmm(-cube.flatten(1), start, design).neg_().mul_(seen)
    gram = precise(seen @ (design[:, None] * design[None]).flatten(0, 1).T).view(-1, size, size)
    usual = precise(seen.sum(1)[:, None] * design.square().mean(1))  # of all pixels, observed or not
    gram.diagonal(dim1=1, dim2=2).add_(RIDGE * usual + 1e-9)
    change = torch.linalg.solve(gram, precise(left @ design.T)).to(cube)
    return ((start + change) @ design).view_as(cube)


def _expected(cube: Tensor, observed: Tensor, maps: Tensor, fit: Fit, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (r, h, w) of the posterior means of patches, and how many of them hold a pixel (h, w)."""
    rank, width = len(maps), maps.shape[2]
    flat, cube, observed, mean = maps.flatten(1).T.contiguous(), cube.flatten(1), observed.flatten(1), Mean(maps, SIDE)
    if len(groups):
        patches = flat[pixels_of(groups[:: max(1, len(groups) // SAMPLE)], SIDE, width)]
        spread = (SPREAD * (patches - patches.mean(2, keepdim=True)).square().mean((0, 1, 2))).sqrt().clamp(min=1e-9)
        flat, fit = flat / spread, fit._replace(spectra=fit.spectra * spread)
        for some in groups.split(max(1, BLOCK // (SIDE**2 * groups.shape[1] * rank))):
            found = spread * patch_means(cube, observed, flat, pixels_of(some, SIDE, width), fit)
            mean.add(some[:, 0], found.transpose(1, 2).flatten(1), torch.ones_like(found[:, 0, 0]))
    return mean.images()


def patch_means(cube: Tensor, observed: Tensor, maps: Tensor, members: Tensor, fit: Fit) -> Tensor:
    """Return the posterior means (n, side², r) of the first of the patches of n groups.

    Args:
        cube: (B, pixels), and what is `observed` of it.
        maps: (pixels, r), in units of the deviation of a pixel's own part.
        members: (n, side², K), which pixels a group's patches have.
        fit: of the maps to the cube.
    """
    pixels, place = torch.unique(members[..., 0], return_inverse=True)
    precision, pull = _evidence(cube[:, pixels], observed[:, pixels], fit)
    # Of what is known of a pixel, less its own part e:  H - H (1 + H)^-1 H = 1 - (1 + H)^-1. H can be 10^8 along some directions
    # and 0 along others: in float32 these would get evidence that is rounding.
    unit = torch.eye(precision.shape[-1]).to(precision)
    inverse = torch.linalg.inv(precision + unit)
    known = (inverse @ pull[..., None])[..., 0].to(maps)[place]
    informed, inverse = (part.to(maps)[place] for part in (unit - inverse, inverse))
    alike = maps.new_full((len(members), members.shape[2]), 1 / members.shape[2])
    explained = posterior_means(maps[members], alike, informed, known)
    return (inverse @ explained[..., None])[..., 0] + known


def _evidence(cube: Tensor, observed: Tensor, fit: Fit) -> tuple[Tensor, Tensor]:
    """Return the precision (n, r, r) of what is observed of pixels (B, n) on their coefficients, and its product with these."""
    rank = fit.spectra.shape[1]
    spectra = precise(fit.spectra)
    weighted = spectra / fit.noise[:, None]
    products = (weighted[:, :, None] * spectra[:, None]).flatten(1)
    precision = (observed.to(products).T @ products).reshape(-1, rank, rank)
    return precision, torch.where(observed, cube - fit.mean[:, None], 0).to(weighted).T @ weighted


def posterior_means(patches: Tensor, weights: Tensor, precision: Tensor, pull: Tensor) -> Tensor:
    """Return the posterior means (n, p, r) of Gaussian patches.

    Args:
        patches: (n, p, K, r), K samples of the prior, of mean m and covariance  Σ w (z - m) (z - m)'.
        weights: (n, K), w, which sum to 1.
        precision: (n, p, r, r), of what is known of each pixel.
        pull: (n, p, r), precision times what is known.
    """
    weights = weights[:, None, :, None]
    mean = (patches * weights).sum(2)
    centred = (patches - mean[:, :, None]).mul_(weights.sqrt())
    informed = (centred @ precision).transpose(1, 2).flatten(2)  # (n, K, p r)
    centred = centred.transpose(1, 2).flatten(2)
    system = informed @ centred.transpose(1, 2)
    system.diagonal(dim1=1, dim2=2).add_(1)
    right = centred @ (pull - (precision @ mean[..., None])[..., 0]).flatten(1)[..., None]
    found = torch.cholesky_solve(right, torch.linalg.cholesky(system))
    return mean + (centred.transpose(1, 2) @ found).view_as(mean)
