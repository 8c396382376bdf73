"""Gaps of an image of few bands: the smoothest image that has its observed entries, then what its patches say of each other.

A pixel may be observed in some bands and not in others: nothing of it is thrown away. First, of all images with the observed
entries, the one that minimises  Σ M_bc x_bᵀ Lᵖ x_c  over bands b, c: L is the Laplacian, and M the inverse of how the gradients of
the bands go together, which is taken from an image that was filled before. Then textures and edges grow into the gaps: by a sliding
DCT with a falling threshold, by shrinking groups of similar patches, by the DCT again; what is observed is put back each time. The
power p, how closely the bands are coupled and how far to go are chosen on entries that are hidden in the shape of the gaps.

Ref.: Duchon 1977 (the smoothest image), Guleryuz 2006 (iterated shrinkage of patches), Dong, Shi & Li 2013 (groups of similar
patches as matrices of low rank).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..solver import Neumann, conjugate_gradients, gaps_of
from . import patches
from .hidden import best_window, draw_blocks, thickness, walk
from .shrinkage import cosines

POWERS, RIDGES = (0.6, 0.8, 1.0, 1.5, 2.0), (0.03, 0.3)
"""Of L; and what is added to the diagonal of the correlation of the gradients: the more, the less the bands are coupled."""
UPDATES = 3
"""Times that the first image is smoothed, the bands coupled as those of the one before."""
SHIFT = 2.0**-14
"""Added to the eigenvalues of L: an image without any observed entry is its mean."""
TOLERANCE, MOST_STEPS = 5e-3, 120
"""Of the smoothest image, in standard deviations."""
TRIAL, BETWEEN = 128, 16
"""Side of the window that is chosen on, and how far apart the windows are that are looked at for it."""
SHARE = 0.05
"""Share of the observed entries that is hidden where they are scattered; moved gaps hide up to `MOST_HIDDEN` of them."""
MOST_HIDDEN = 0.25
THIN = 1.5
"""Width in pixels of what is observed below which its entries are scattered."""
PATCH, STEP = 8, 3
"""Of the sliding DCT."""
GROUP, SIDE, APART, REACH, AGAIN = 40, 4, 4, 10, 4
"""Patches of a group, their side, from one group to the next, how far they are looked for, and after how many rounds again."""
AHEAD, BEYOND = 0.3, 1.6
"""How far a round goes on along the last change, and how far beyond what the patches say: fewer rounds."""
BLOCK = 2**24
"""Numbers that are in memory at a time."""


class Bands(NamedTuple):
    """How bands go together: the deviation of the gradients of each, (B, 1, 1), and their correlation (B, B)."""

    unit: Tensor
    correlation: Tensor


class Stage(NamedTuple):
    """Rounds of shrinking `groups` of patches, or else their DCT; thresholds in units of the error of the smoothest image."""

    groups: bool
    rounds: int
    first: float
    last: float

    def thresholds(self, level: float) -> list[float]:
        """Return the threshold of each round where that error is `level`."""
        return [level * self.first * (self.last / self.first) ** (n / (self.rounds - 1)) for n in range(self.rounds)]


STAGES = Stage(False, 30, 4.0, 0.2), Stage(True, 10, 1.25, 0.15), Stage(False, 15, 1.0, 0.15)
"""What follows the smoothest image."""


class Chosen(NamedTuple):
    """How an image is filled: `power` and `ridge` of the smoothest image, its error on hidden entries, the weight of each stage.

    The error, `level`, is in units of the gradients of each band. Stages without a weight at the end are left out. `bands` are
    those of the trial.
    """

    power: float
    ridge: float
    level: float
    weights: tuple[float, ...]
    bands: Bands


@torch.no_grad()
def complete(cube: Tensor, observed: Tensor, chosen: Chosen | None = None) -> Tensor:
    """Return an image (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was, bit for bit.

    How that is done is `chosen` on hidden entries, unless it is given.
    """
    if observed.all() or not observed.any():
        return cube
    mean, unit = _scale(cube, observed)
    values = torch.where(observed, (cube - mean) / unit, 0)
    chosen = chosen or choose(cube, observed)
    image, bands = torch.zeros_like(values), chosen.bands
    for _ in range(2 if _apart(observed) else 1):
        image, bands = _smoothed(values, observed, chosen.power, chosen.ridge, bands, image)
    filled = torch.zeros_like(values)
    for weight, stage in zip(chosen.weights, _stages(image, observed, bands, chosen.level), strict=False):
        filled += weight * stage
    return torch.where(observed, cube, mean + unit * filled)


@torch.no_grad()
def choose(cube: Tensor, observed: Tensor) -> Chosen:
    """Return how to fill an image: what meets hidden entries best, in the window where most can be hidden."""
    mean, unit = _scale(cube, observed)
    values = torch.where(observed, (cube - mean) / unit, 0)
    bands = Bands(values.new_ones(len(values), 1, 1), torch.eye(len(values)).to(values))
    window = _busiest(observed)
    values, observed = values[:, *window], observed[:, *window]
    hidden = _hidden(observed)
    if not hidden.any():
        return Chosen(POWERS[2], RIDGES[0], 1.0, (1.0,), bands)
    kept = observed & ~hidden
    known, image = torch.where(kept, values, 0), torch.zeros_like(values)
    middle, apart = POWERS[3], _apart(kept)
    for _ in range(UPDATES if apart else 1):
        image, bands = _smoothed(known, kept, middle, RIDGES[0], bands, image)

    def error(found: Tensor) -> Tensor:
        """Return the errors at the hidden entries (n,), in units of the gradients."""
        return ((found - values) / bands.unit)[hidden]

    def rmse(found: Tensor) -> float:
        return float(error(found).square().mean().sqrt())

    def met(power: float, start: Tensor, ridge: float = RIDGES[0]) -> tuple[float, Tensor]:
        found = _smoothed(known, kept, power, ridge, bands, start)[0]
        return rmse(found), found

    power, best = walk(POWERS, middle, (rmse(image), image), met)
    ridge, (level, image) = RIDGES[0], best
    if apart and (looser := met(power, image, RIDGES[1]))[0] < level:
        ridge, (level, image) = RIDGES[1], looser
    errors = torch.stack([error(stage) for stage in _stages(image, kept, bands, level)])
    return Chosen(power, ridge, level, _weights((errors @ errors.T).tolist()), bands)


def _apart(observed: Tensor) -> bool:
    """Return whether the bands have gaps of their own: where all have the same, none says anything of another."""
    return bool((observed != observed[:1]).any())


def _weights(products: list[list[float]]) -> tuple[float, ...]:
    """Return the weights with the least error of the mean of two stages, in quarters, from the products of all stages' errors."""
    count = len(products)

    def error(pair: tuple[int, int, float]) -> float:
        i, j, share = pair
        both = share * (1 - share) * products[i][j]
        return share**2 * products[i][i] + 2 * both + (1 - share) ** 2 * products[j][j]

    i, j, share = min(((i, j, k / 4) for j in range(count) for i in range(j + 1) for k in range(4)), key=error)
    weights = [0.0] * (j + 1)
    weights[i] += share
    weights[j] += 1 - share
    return tuple(weights)


def _smoothed(
    values: Tensor, observed: Tensor, power: float, ridge: float, bands: Bands, start: Tensor
) -> tuple[Tensor, Bands]:
    """Return the smoothest image (B, h, w) for bands that go together like that, and how its own do. It begins at `start`."""
    matrix = torch.linalg.inv(bands.correlation + ridge * torch.eye(len(values)).to(values))
    image = bands.unit * _smoothest(values / bands.unit, observed, power, matrix, start / bands.unit)
    return image, _bands(image)


def _stages(image: Tensor, observed: Tensor, bands: Bands, level: float) -> Iterator[Tensor]:
    """Yield the smoothest image (B, h, w) and what each further stage makes of it."""
    yield image
    image = image / bands.unit
    mix = torch.linalg.eigh(bands.correlation)[1].flip(1).T.contiguous()
    for stage in STAGES:
        thresholds = stage.thresholds(level)
        image = _by_groups(image, observed, thresholds) if stage.groups else _by_dct(image, observed, mix, thresholds)
        yield bands.unit * image


def _scale(cube: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of what is observed of each band, (B, 1, 1)."""
    count = observed.sum((1, 2), keepdim=True).clamp(min=1)
    mean = torch.where(observed, cube, 0).sum((1, 2), keepdim=True) / count
    unit = (torch.where(observed, cube - mean, 0).square().sum((1, 2), keepdim=True) / count).sqrt()
    return mean, torch.where(unit > 0, unit, 1)


def _bands(image: Tensor) -> Bands:
    """Return how the bands of an image (B, h, w) go together."""
    gradient = torch.cat([torch.diff(image, dim=d).flatten(1) for d in (1, 2)], 1)
    covariance = gradient @ gradient.T / max(gradient.shape[1], 1)
    unit = covariance.diagonal().sqrt()
    unit = torch.where(unit > 0, unit, 1)
    return Bands(unit[:, None, None], covariance / torch.outer(unit, unit))


def _smoothest(values: Tensor, observed: Tensor, power: float, matrix: Tensor, start: Tensor) -> Tensor:
    """Return the smoothest image (B, h, w) with the observed entries, by conjugate gradients over the missing ones Ω.

    All bands are one system. The inverse of (M ⊗ Lᵖ on Ω), M the `matrix` (B, B), is about  V (M⁻¹ ⊗ L²⁻ᵖ) V,  where V, a multigrid
    cycle in each band, is about the inverse of (L on Ω): exact where nothing is observed. It begins at an image, `start`.
    """
    bands, height, width = values.shape
    boundary, gaps = Neumann(), gaps_of(observed, values)
    basis = boundary.basis(values[:, None])
    spectrum = boundary.spectrum(values[:, None], (1.0, 1.0, 0.0)) + SHIFT
    inverse = torch.linalg.inv(matrix)

    def through(image: Tensor, mix: Tensor, eigenvalues: Tensor) -> Tensor:
        mixed = torch.einsum("ij,jhw->ihw", mix, image.reshape(bands, height, width))
        return gaps.missing * basis.inverse(basis.transform(mixed[:, None]) * eigenvalues)[:, 0]

    def operator(image: Tensor) -> Tensor:
        return through(image, matrix, spectrum**power).reshape(bands * height, width)

    def about_inverse(residual: Tensor) -> Tensor:
        once = gaps.about_inverse(residual.reshape(bands, height, width))
        return gaps.about_inverse(through(once, inverse, spectrum ** (2 - power))).reshape(bands * height, width)

    begun = torch.where(observed, values, start)
    unit = values.std().clamp(min=1e-9)
    change = conjugate_gradients(operator, about_inverse, -operator(begun), TOLERANCE * unit, MOST_STEPS)
    return torch.where(observed, values, begun + change.reshape(bands, height, width))


def _by_dct(image: Tensor, observed: Tensor, mix: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return the image (B, h, w) after rounds of shrinking the DCT of patches of mixed bands, a threshold each."""
    values = image
    for number, threshold in enumerate(thresholds):
        shift = number % STEP, number // STEP % STEP
        image = torch.where(observed, values, _thresholded(image, mix, threshold, shift))
    return image


def _thresholded(image: Tensor, mix: Tensor, threshold: float, shift: tuple[int, int]) -> Tensor:
    """Return the mean of all patches on a grid that is shifted, each without the coefficients below a threshold."""
    bands, (height, width), edge = len(image), image.shape[1:], PATCH - 1
    basis = cosines(PATCH, image)
    flat = torch.kron(basis, basis)  # of patches as vectors
    mode = "reflect" if min(height, width) > edge else "replicate"
    padded = functional.pad(image[None], (edge, edge, edge, edge), mode=mode)[0, :, shift[0] :, shift[1] :]
    total, weight = torch.zeros_like(padded), torch.zeros_like(padded[0])
    across = (padded.shape[2] - PATCH) // STEP + 1
    rows = max(1, BLOCK // (bands * PATCH**2 * across)) * STEP
    for top in range(0, padded.shape[1] - edge, rows):
        strip = padded[:, top : top + rows + PATCH - STEP]
        if strip.shape[1] < PATCH:
            break
        columns = functional.unfold(strip[None], PATCH, stride=STEP)[0].view(bands, PATCH**2, -1)
        columns = torch.einsum("ij,jpl->ipl", mix, flat @ columns)
        keep = columns.abs() > threshold
        keep[:, 0] = True
        gain = 1 / keep.sum((0, 1)).to(image)
        columns = flat.T @ torch.einsum("ij,ipl->jpl", mix, columns * keep)
        size = strip.shape[1:]
        total[:, top : top + len(strip[0])] += functional.fold(
            (columns * gain).flatten(0, 1)[None], size, PATCH, stride=STEP
        )[0]
        weight[top : top + len(strip[0])] += functional.fold(gain.expand(PATCH**2, -1)[None], size, PATCH, stride=STEP)[
            0, 0
        ]
    mean = total / weight.clamp(min=1e-12)
    return mean[:, edge - shift[0] :, edge - shift[1] :][:, :height, :width]


def _by_groups(image: Tensor, observed: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Return the image (B, h, w) after rounds of shrinking groups of similar patches that hold gaps, as matrices of low rank."""
    if min(image.shape[1:]) < SIDE:
        return image
    values, last = image, image
    wanted = patches.windows((~observed).to(image), SIDE).any(1)
    for number, threshold in enumerate(thresholds):
        if number % AGAIN == 0:
            places = patches.similar(image, SIDE, APART, REACH, GROUP)
            places = places[wanted[places[:, 0]]]
        ahead = image + AHEAD * (image - last)
        said, known = _shrunk(ahead, places, threshold)
        said = torch.where(known > 0, said, ahead)
        last, image = image, torch.where(observed, values, ahead + BEYOND * (said - ahead))
    return image


def _shrunk(image: Tensor, places: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the mean of the patches of all groups (n, k), and their weights: each group less what noise so strong would add."""
    every, mean = patches.windows(image, SIDE), patches.Mean(image, SIDE)
    noise = every.shape[1] * threshold**2
    for some in places.split(max(1, BLOCK // (8 * places.shape[1] * every.shape[1]))):
        group = every[some]  # (n, k, d)
        middle = group.mean(1, keepdim=True)
        group = group - middle
        power, vectors = torch.linalg.eigh(group @ group.transpose(1, 2))
        gain = (1 - noise / power.clamp(min=1e-12)).clamp(min=0)
        group = middle + (vectors * gain[:, None]) @ (vectors.transpose(1, 2) @ group)
        mean.add(some, group, (1 / (1 + gain.sum(1, keepdim=True))).expand(some.shape))
    return mean.images()


def _busiest(observed: Tensor) -> tuple[slice, slice]:
    """Return the window, at most `TRIAL` wide, where most entries are observed beside most that are missing."""
    share = observed.float().mean(0).cpu()

    def score(rows: slice, columns: slice) -> float:
        seen = float(share[rows, columns].mean())
        return seen * (1 - seen)

    return best_window(share.shape, TRIAL, BETWEEN, score)


def _hidden(observed: Tensor) -> Tensor:
    """Return observed entries (B, h, w) to hide: some of them where they are scattered, else the gaps moved elsewhere."""
    generator = torch.Generator().manual_seed(0)
    if thickness(observed) < THIN:
        draw = torch.rand(observed.shape if _apart(observed) else observed.shape[1:], generator=generator)
        return observed & (draw.to(observed.device) < SHARE)
    best = torch.zeros_like(observed)
    for _ in range(8):
        shift = [int(torch.randint(1, max(2, n), (1,), generator=generator)) for n in observed.shape[1:]]
        moved = observed & ~observed.roll(shift, (1, 2))
        if moved.sum() > best.sum():
            best = moved
    share = float(best.sum() / observed.sum())
    if share > MOST_HIDDEN:
        side = max(4, round(2 * thickness(~observed)))
        draw = draw_blocks(observed.shape[1:], side, generator)
        best = best & (draw.to(observed.device) < MOST_HIDDEN / share)
    return best
