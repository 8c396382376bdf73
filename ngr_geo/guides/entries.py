"""Missing entries, different ones in each band: low-rank factors whose coefficient images are smooth but for edges.

The cube is  X = U C  with few spectra U (B, r) and coefficient images C (r, h, w). In turn U is fitted band by band and C pixel
by pixel, coupled to its neighbours with weights that fall with the step between them (IRLS of total variation); the rank grows
by one each time. How many spectra, and how smooth their images: what predicts hidden entries best.

Ref.: Haldar & Hernando 2009 (rank continuation), Daubechies et al. 2010 (IRLS), Rudin, Osher & Fatemi 1992 (total variation).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import moments, precise, principal
from .filters import box_sum
from .hidden import misfit, walk
from .lines import interpolate

HIDDEN = 0.04
"""Share of the observed entries that is hidden to choose by."""
MOST_RANK = 14
COUPLINGS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""Candidates for the squared misfit that a step of one standard deviation between neighbours costs; the cube's range is 1."""
START = 3e-5
EDGE = 0.1
"""Steps between neighbours, in standard deviations, from which they count as edges."""
INNER = 6
"""Red-black sweeps over the pixels between two fits of the spectra."""
LAST = 5
BOX = 5
BLOCK = 2**18
"""Numbers of pixels' matrices that are inverted together."""


class Factors(NamedTuple):
    """How many spectra there are, and how strongly neighbours are coupled."""

    rank: int
    coupling: float


class Completed(NamedTuple):
    """A cube filled (B, h, w), and the same `without` its `hidden` entries (B, h, w); and by which factors.

    Where it was interpolated there are no factors, and nothing without hidden entries; nor is this where factors were given.
    """

    image: Tensor
    without: Tensor | None
    hidden: Tensor
    factors: Factors | None


def complete(cube: Tensor, observed: Tensor, chosen: Factors | None = None) -> Completed:
    """Return a cube (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was. The range is about 1.

    How many factors, and how smooth, is chosen on hidden entries, unless it is given.
    """
    bands = len(cube)
    if chosen is not None:
        seen = observed.to(cube)
        *_, found = _growing(cube * seen, seen, chosen.rank)
        image = torch.where(observed, cube, _image(*_settled(cube * seen, seen, *found, chosen.coupling)))
        return Completed(image, None, torch.zeros_like(observed), chosen)
    draw = torch.rand(observed.shape, generator=torch.Generator().manual_seed(0)).to(cube.device)
    used = observed & (draw > HIDDEN)
    hidden = observed & ~used
    if bands < 2 or min(cube.shape[1:]) < 2 or int(used.sum()) < 20 * bands or not used.flatten(1).any(1).all():
        return Completed(interpolate(cube, observed), None, hidden, None)
    seen = used.to(cube)
    known = cube * seen
    # Rank: grow it with some entries hidden, keep what predicts them best.
    path = [(misfit(_image(*f), cube, hidden), f) for f in _growing(known, seen, min(MOST_RANK, bands - 1))]
    grown = min(path, key=lambda trial: trial[0])

    def settled(coupling: float) -> tuple[Tensor, Tensor]:
        return _settled(known, seen, *grown[1], coupling)

    def tried(coupling: float, _: Any) -> tuple[float, tuple[Tensor, Tensor]]:
        found = settled(coupling)
        return misfit(_image(*found), cube, hidden), found

    # Smoothness: from there up and down, as long as it helps.
    coupling, (_, best) = walk(COUPLINGS, START, grown, tried)
    without = torch.where(used, cube, _image(*(settled(START) if coupling == START else best)))
    image = _image(*_settled(cube * observed, observed.to(cube), *grown[1], coupling))
    return Completed(torch.where(observed, cube, image), without, hidden, Factors(grown[1][0].shape[1], coupling))


def _settled(cube: Tensor, seen: Tensor, spectra: Tensor, maps: Tensor, coupling: float) -> tuple[Tensor, Tensor]:
    """Return the factors after the last sweeps, with the coupling that was chosen."""
    for _ in range(LAST):
        spectra, maps = _sweep(cube, seen, spectra, maps, coupling)
    return spectra, maps


def _growing(cube: Tensor, seen: Tensor, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the factors, spectra (B, r) and images (r, h, w), of rank 1, 2, ..., each grown from the one before."""
    share = box_sum(seen, BOX).clamp(min=1)
    spectra, maps = _sweep(cube, seen, *_first(cube, seen), START)
    yield spectra, maps
    for _ in range(1, most):
        spectra, maps = _sweep(cube, seen, *_grown(cube, seen, share, spectra, maps), START)
        yield spectra, maps


def _image(spectra: Tensor, maps: Tensor) -> Tensor:
    return torch.einsum("br,rhw->bhw", spectra, maps)


def _first(cube: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return one spectrum (B, 1), the mean, and its smooth image (1, h, w)."""
    spectrum = cube.sum((1, 2)) / seen.sum((1, 2)).clamp(min=1)
    top, bottom = (cube * spectrum[:, None, None]).sum(0), (seen * spectrum[:, None, None] ** 2).sum(0)
    both = functional.pad(torch.stack([top, bottom])[None], (BOX // 2,) * 4, mode="replicate")
    top, bottom = functional.avg_pool2d(both, BOX, 1)[0]
    usual = top.sum() / bottom.sum().clamp(min=1e-12)
    return spectrum[:, None], torch.where(bottom > 1e-9, top / bottom.clamp(min=1e-9), usual)[None]


def _grown(cube: Tensor, seen: Tensor, share: Tensor, spectra: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors with one more: the leading spectrum of the residual, smoothed: `share` entries are seen in a box."""
    flat = (box_sum((cube - _image(spectra, maps)) * seen, BOX) / share).flatten(1)
    new = principal(flat)[1][:, :1].to(cube)
    return torch.cat([spectra, new], 1), torch.cat([maps, (new.T @ flat).reshape(1, *maps.shape[1:])])


def _sweep(cube: Tensor, seen: Tensor, spectra: Tensor, maps: Tensor, coupling: float) -> tuple[Tensor, Tensor]:
    """Return the factors after one fit of the images and one of the spectra; spectra orthonormal, images uncorrelated."""
    maps = _fit_maps(cube, seen, spectra, maps, coupling)
    q, r = torch.linalg.qr(_fit_spectra(cube, seen, maps))
    turn = torch.linalg.eigh(r @ moments(maps.flatten(1)) @ r.T)[1].flip(1)
    return (q @ turn).to(cube), torch.einsum("sr,rhw->shw", (turn.T @ r).to(cube), maps)


def _fit_maps(cube: Tensor, seen: Tensor, spectra: Tensor, maps: Tensor, coupling: float) -> Tensor:
    """Return the images (r, h, w): red-black Gauss-Seidel sweeps on the pixels' normal equations and their couplings."""
    height, width = cube.shape[1:]
    left = ((cube - _image(spectra, maps)) * seen).square().sum((1, 2)) / seen.sum((1, 2)).clamp(min=1)
    left = torch.maximum(left, 1e-3 * left.mean() + 1e-12)
    weighted = (left.median() / left).sqrt().clamp(0.05, 20)[:, None] * spectra  # bands that fit badly count less
    unit = maps.std((1, 2)).clamp(min=1e-6)
    scaled = maps / unit[:, None, None]
    down, right = (1 / (torch.diff(scaled, dim=d).square().mean(0) + EDGE**2).sqrt() for d in (1, 2))
    degree = _beside(torch.ones_like(maps[:1]), down, right)[0]
    penalty = coupling / unit**2
    diagonal = penalty[:, None] * (degree.flatten() + 1e-2)
    fixed = weighted.T @ cube.flatten(1)
    image = maps.clone(memory_format=torch.contiguous_format)
    line = torch.arange(max(height, width), device=cube.device)
    odd = ((line[:height, None] + line[:width]) % 2).flatten()
    parts = []
    for parity in (1, 0):
        at = (odd == parity).nonzero()[:, 0]
        parts.append((at, _inverses(weighted, spectra, seen.flatten(1), diagonal, at)))
    for _ in range(INNER):
        for at, inverse in parts:
            near = _beside(image, down, right).flatten(1)[:, at]
            wanted = torch.addcmul(fixed[:, at], penalty[:, None], near)
            solved = torch.zeros_like(wanted)
            for column, one in zip(inverse, wanted, strict=True):
                solved.addcmul_(column, one)
            image.flatten(1)[:, at] = solved
    return image


def _beside(image: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return the sum of each pixel's four neighbours in images (r, h, w), weighted: `down` (h - 1, w) and `right` (h, w - 1)."""
    near = torch.zeros_like(image)
    near[:, :-1].addcmul_(down, image[:, 1:])
    near[:, 1:].addcmul_(down, image[:, :-1])
    near[:, :, :-1].addcmul_(right, image[:, :, 1:])
    near[:, :, 1:].addcmul_(right, image[:, :, :-1])
    return near


def _inverses(weighted: Tensor, spectra: Tensor, seen: Tensor, diagonal: Tensor, at: Tensor) -> Tensor:
    """Return the inverse matrices (r, r, n) of the normal equations of some pixels, `at` (n,): the sum over the bands `seen` there.

    By Gauss-Jordan elimination of many pixels together: the matrices are symmetric and positive, so no pivot is sought.
    """
    rank = spectra.shape[1]
    first, second, place = _pairs(rank, at.device)
    products = (weighted[:, first] * spectra[:, second]).T  # (r (r + 1) / 2, B)
    found = spectra.new_empty(rank, rank, len(at))
    step = max(1, BLOCK // rank**2)
    for start in range(0, len(at), step):
        some = at[start : start + step]
        matrix = (products @ seen[:, some])[place]
        matrix.diagonal().add_(diagonal[:, some].T)
        for k in range(rank):
            pivot = 1 / matrix[k, k]
            row, column = matrix[k] * pivot, matrix[:, k].clone()
            matrix.addcmul_(column[:, None], row, value=-1)
            matrix[k], matrix[:, k] = row, -column * pivot
            matrix[k, k] = pivot
        found[..., start : start + step] = matrix
    return found


def _pairs(rank: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return row and column of each entry of a symmetric matrix that is stored once, and where (r, r) each entry is stored."""
    first, second = torch.triu_indices(rank, rank, device=device)
    place = torch.zeros(rank, rank, dtype=torch.int64, device=device)
    place[first, second] = place[second, first] = torch.arange(len(first), device=device)
    return first, second, place


def _fit_spectra(cube: Tensor, seen: Tensor, maps: Tensor) -> Tensor:
    """Return the spectra (B, r), `precise`: each band regressed on the images where it is seen."""
    flat = maps.flatten(1)
    first, second, place = _pairs(len(maps), maps.device)
    gram = precise(seen.flatten(1) @ (flat[first] * flat[second]).T)[:, place]
    right = precise(cube.flatten(1) @ flat.T)
    gram += torch.diag_embed(1e-4 * gram.diagonal(dim1=1, dim2=2) + 1e-8)
    return torch.linalg.solve(gram, right)
