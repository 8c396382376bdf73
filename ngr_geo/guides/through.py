"""Gaps through all bands, as dead lines: what is known of a patch tells, by the patches most like it, what stands in its gap.

The guide's fill gives few spectra and the images of their coefficients. A patch of all images together is Gaussian, with the mean
and the covariance of similar patches, which count by how much of them is known; the patch itself is left out, since its gap holds
the guide. What is known of it gives the rest, and overlapping patches are averaged, by how well each meets what is known. How far
the fill then moves from the guide, lines say that were hidden elsewhere.

Ref.: Yu, Sapiro & Mallat 2012 (piecewise linear estimators), Lebrun, Buades & Morel 2013 (Gaussian groups of patches).
"""

import torch
from torch import Tensor

from . import lines
from .covariance import leading
from .filters import near
from .hidden import busiest, share
from .patches import Mean, pixels_of, similar, windows
from .posterior import posterior_means

SPECTRA = 8
SIDE, REACH, GROUP = 4, 20, 64
STEPS = (2, 1)
"""Between the patches of the grid, in each pass."""
NOISE = 0.05
"""Variance of what is known of a patch beside what its group explains, as a share of the variance in the group."""
MISFIT = 0.1
"""Misfit of a patch below which it counts hardly more, as a share of that variance."""
TRIAL = 96
"""Side of the window that gaps are hidden in to choose by."""
APART = 2
"""Hidden gaps are at least so many pixels from what is a gap already."""
USUAL, PSEUDO_COUNT = 0.5, 200.0
"""How far the fill moves from the guide where nothing tells, and how many hidden pixels that counts as."""
BLOCK = 2**22
"""Numbers of groups' patches that are in memory at a time."""


def fill(cube: Tensor, observed: Tensor, followed: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Return a cube (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was; and how far (B,) it moved.

    How far the fill moves from its guide is found out, unless it is given, as for other gaps of the same cube.
    """
    guide, known = lines.fill(cube, observed), observed.all(0)
    if known.all() or min(known.shape) < SIDE or int(known.sum()) < 2 * len(cube):
        return guide, followed
    if followed is None:
        here = busiest(narrow(known)[None], TRIAL)
        followed = _followed(cube[:, *here], observed[:, *here], known[here])
    if not followed.any():
        return guide, followed
    image = torch.lerp(guide, _expected(guide, known, STEPS), followed[:, None, None])
    return torch.where(observed, cube, image), followed


def _followed(cube: Tensor, observed: Tensor, known: Tensor) -> Tensor:
    """Return how far (B,) each band is to move from its guide, by gaps like those of `known` (h, w) hidden elsewhere."""
    hidden = _moved(known)
    seen = observed & ~hidden
    guide = lines.fill(torch.where(seen, cube, 0), seen)
    return share(cube, hidden & observed, guide, _expected(guide, seen.all(0), STEPS[:1]), USUAL, PSEUDO_COUNT)


def narrow(known: Tensor) -> Tensor:
    """Return the gaps (h, w) of what is `known` that a patch reaches across, if there are any, else all gaps: no nodata frame."""
    wide = ~near(known, 2 * SIDE - 1)
    narrow = ~known & ~near(wide, 2 * SIDE - 1)
    return narrow if narrow.any() else ~known


def _moved(known: Tensor) -> Tensor:
    """Return the narrow gaps (h, w) of what is `known`, moved, less those near a gap that there is."""
    generator = torch.Generator().manual_seed(0)
    shift = [int(torch.randint(0, n, (1,), generator=generator)) for n in known.shape]
    return torch.roll(narrow(known), shift, (0, 1)) & ~near(~known, 2 * APART + 1)


def _expected(guide: Tensor, known: Tensor, steps: tuple[int, ...]) -> Tensor:
    """Return the image (B, h, w) with the posterior means of patches where not `known` (h, w), after passes of some steps."""
    _, spectra, start = leading(guide, torch.ones_like(guide[:, 0, 0]), SPECTRA, known)
    maps = start
    for step in steps:
        found, weight = _passed(maps, known, step)
        maps = torch.where(known | (weight == 0), maps, found)
    return guide + torch.einsum("br,rhw->bhw", spectra, maps - start)


def _passed(maps: Tensor, known: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return the mean (r, h, w) of the posterior means of the patches that hold a gap, and the sum of their weights (h, w)."""
    (rank, _, width), mean = maps.shape, Mean(maps, SIDE)
    damped = maps / maps[:, known].std(1).clamp(min=1e-9).sqrt()[:, None, None]
    groups = similar(damped, SIDE, step, REACH, GROUP)
    count = windows(known[None].to(maps), SIDE).sum(1)
    own = count[groups[:, 0]]
    groups = groups[(own > 0) & (own < SIDE**2)]
    flat, seen = maps.flatten(1).T.contiguous(), known.flatten().to(maps)
    for some in groups.split(max(1, BLOCK // (SIDE**2 * groups.shape[1] * rank))):
        weights = (count[some] / SIDE**2).square()
        weights[:, 0] = 0
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
        members = pixels_of(some, SIDE, width)
        found, fits = patch_means(flat, seen, members, weights)
        mean.add(some[:, 0], found.transpose(1, 2).flatten(1), fits)
    return mean.images()


def patch_means(maps: Tensor, known: Tensor, members: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior means (n, side², r) of the first of the patches of n groups, and how much they count (n,).

    Args:
        maps: (pixels, r), and whether each pixel is `known`: 1 or 0.
        members: (n, side², K), which pixels a group's patches have.
        weights: (n, K), how much they count, of sum 1.
    """
    patches, seen = maps[members], known[members[..., 0]][..., None]  # (n, side², K, r), (n, side², 1)
    counts = weights[:, None, :, None]
    variance = ((patches - (counts * patches).sum(2, keepdim=True)).square_() * counts).sum(2).mean(1)  # (n, r)
    unit = (NOISE * variance + 1e-12).sqrt()[:, None]
    target = patches[:, :, 0] / unit * seen
    precision = seen[..., None] * torch.eye(maps.shape[1]).to(maps)
    found = posterior_means(patches / unit[:, :, None], weights, precision, target)
    misfit = ((found * seen - target).square().sum((1, 2))) / (seen.sum((1, 2)) * maps.shape[1]).clamp(min=1)
    return found * unit, 1 / (MISFIT + misfit)
