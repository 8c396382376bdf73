"""Regression of one date on the neighbourhoods of the others: scene-wide, by pattern of clouds, then local.

The 3x3 neighbourhoods absorb sub-pixel shifts between dates. Where some reference dates are cloudy too, a pixel is predicted
from those that are clear there, by a ridge regression fitted on all pixels where at least these are clear. Where such pixels are
few, evidence decides what a pattern is predicted by: errors in cells that were left out, in closed form from sums of products.

What a linear map of the references cannot say, since fields, forests and roofs change in their own ways, radial functions of the
references' bands add: a Gaussian process with the kernel  v·exp(-|z - z'|² / 2q)  of the q bands of all references at a pixel, seen
through some landmarks (the subset of regressors, Rasmussen & Williams 2006, ch. 8.3.1). Its penalty is the kernel of the landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import precise

RIDGE = 3e-3
"""Penalty on standardised coefficients. Flat between 1e-4 and 1e-2 on the Romanian and Slovenian stacks."""
SAMPLES_PER_FEATURE = 12
"""Where a pattern of clear references was seen in fewer pixels than this per feature, evidence decides: see `Moments`."""
PENALTIES = (3e-4, 3e-3, 3e-2, 3e-1)
FOLDS, CELL = 5, 6
"""Parts of the evidence, and the side in pixels of the cells that a part is made of."""
SIGMA, STEP = 20.0, 4
"""Of the local regression: the width of its Gaussian, and the side of the cells that it is computed for, in pixels."""
LOCAL_RIDGE, LOCAL_LEVEL = 0.04, 0.01
"""Its penalties: of what it takes of the references, and of its constant."""
FEW = 0.05
"""Share of a Gaussian's weight on clear pixels below which slopes of the local regression fade: about 125 of 2500 pixels."""
LOCAL_PIXELS = 2_500
"""Pixels below which the local regression is checked: as many as its Gaussian covers."""
PIXELS = 32_768
"""Pixels whose features are held in memory at a time."""
LANDMARKS = 128
"""Pixels of the scene that the radial functions are centred on. On the Romanian and Slovenian stacks twice as many gain .02 dB,
half as many lose .1 dB."""
RADIAL = 0.1
"""Penalty of the radial functions: noise of the Gaussian process by its variance v, .05 / .5 in standardised units."""


@dataclass(frozen=True)
class Regression:
    """Coefficients for each pattern of clear references.

    `references` (K,) indices of dates, best first; `extras` (E,) more of them, of which the pixel alone is used;
    `coefficients` (2^K, F, B): rows of features that a pattern may not use are zero, the last row is the constant. Bit k of a
    pattern is set where reference k is clear. `landmarks` (M, K·B): the bands of all references at the pixels that the radial
    functions are centred on.
    """

    references: tuple[int, ...]
    extras: tuple[int, ...]
    coefficients: Tensor
    landmarks: Tensor


class Problem(NamedTuple):
    """A date to be predicted: the stack completed without it (T, B, h, w), the date, what it is predicted from, what is clear.

    `code` (h, w) has bit k where reference k is clear. The features of a pixel are, in this order, the 3x3 neighbourhoods of the
    references (edges repeated), the extras, what the low-rank model expects of the date, the radial functions about M `landmarks`,
    and one: F = 9·K·B + E·B + B + M + 1.
    """

    filled: Tensor
    date: int
    references: tuple[int, ...]
    extras: tuple[int, ...]
    code: Tensor
    landmarks: Tensor


def problem(
    filled: Tensor,
    observed: Tensor,
    date: int,
    references: tuple[int, ...],
    extras: tuple[int, ...],
    landmarks: Tensor,
) -> Problem:
    """Return a date of a stack (T, B, h, w), of which `observed` (T, h, w) was measured, as a problem."""
    code = torch.zeros_like(observed[0], dtype=torch.long)
    for bit, reference in enumerate(references):
        code.add_(observed[reference], alpha=1 << bit)
    return Problem(filled, date, references, extras, code, landmarks.to(filled))


def radial(bands: Tensor, landmarks: Tensor) -> Tensor:
    """Return the radial functions (M, n) of the references' bands at some pixels (K·B, n)."""
    apart = torch.addmm(bands.square().sum(0)[None], landmarks, bands, alpha=-2)
    apart += landmarks.square().sum(1)[:, None]
    return apart.clamp_(min=0).mul_(-0.5 / landmarks.shape[1]).exp_()


def padded(bands: Tensor, reach: int) -> Tensor:
    """Return bands (C, h, w) with a margin of so many pixels, in which the edges are repeated."""
    return functional.pad(bands[None], (reach,) * 4, mode="replicate")[0]


def neighbours(wide: Tensor, places: Tensor, reach: int) -> list[Tensor]:
    """Return the neighbours (C, n) in each direction, up to `reach` away, of some flat places of an image that is `padded`."""
    width, side = wide.shape[-1], 2 * reach + 1
    flat = wide.flatten(1)
    corner = places + places.div(width - 2 * reach, rounding_mode="floor") * 2 * reach  # the upper left neighbour
    return [flat.index_select(1, corner + i * width + j) for i in range(side) for j in range(side)]


def _by_pattern(case: Problem, places: Tensor) -> Iterator[tuple[int, Tensor, list[Tensor]]]:
    """Yield the pattern of some of the pixels at the flat `places` of an image, these n pixels, and their features.

    The features come in parts: nine of (K·B, n), the neighbours of all references in one direction; then (E·B + B, n),
    (M, n) and (1, n).
    """
    filled, date, references, extras, code, landmarks = case
    wide = padded(filled[list(references)].flatten(0, 1), 1)
    rest = filled[[*extras, date]].flatten(0, 1).flatten(1)
    codes, order = torch.sort(code.flatten()[places], stable=True)
    counts = torch.bincount(codes, minlength=2 ** len(references)).tolist()
    for pattern, group in enumerate(torch.split(places[order], counts)):
        for part in torch.split(group, PIXELS) if len(group) else ():
            near = neighbours(wide, part, 1)
            others = [rest.index_select(1, part), radial(near[4], landmarks), rest.new_ones(1, len(part))]
            yield pattern, part, [*near, *others]


def folds_of(image: Tensor) -> Tensor:
    """Return the fold (h, w) of each pixel of an image (..., h, w): every fifth cell, so that no two cells of a fold touch."""
    down, across = (torch.arange(side, device=image.device) // CELL for side in image.shape[-2:])
    return (2 * down[:, None] + across) % FOLDS


class Moments:
    """Running sums, per fold and pattern, of the products a regression needs: windows of the scene are added one after another.

    What fits the products of all folds but one is judged by those of that one: the squared error of any coefficients is a
    quadratic form of them (leave-one-fold-out in closed form).
    """

    def __init__(self, references: tuple[int, ...], extras: tuple[int, ...], landmarks: Tensor, like: Tensor) -> None:
        """Start with nothing seen of a date that is `like` (B, h, w)."""
        self.references, self.extras, self.landmarks, self.bands = references, extras, landmarks, len(like)
        self.linear = (9 * len(references) + len(extras) + 1) * self.bands
        self.features = self.linear + len(landmarks) + 1
        self.patterns, self.size = 2 ** len(references), self.features + self.bands
        self.products: dict[int, Tensor] = {}  # of features and target with themselves
        self.count = torch.zeros(FOLDS * self.patterns, dtype=torch.float64)

    def add(self, case: Problem, target: Tensor, use: Tensor) -> None:
        """Add the pixels of a window where `use` (h, w); `target` (B, h, w) is what the date shows.

        In float64: in float32 rounding exceeds the smallest eigenvalues of the kernel, and the solution is wrong by decibels.
        """
        case = case._replace(code=case.code + self.patterns * folds_of(use))
        for place, places, parts in _by_pattern(case, use.flatten().nonzero()[:, 0]):
            both = precise(torch.cat([*parts, target.flatten(1).index_select(1, places)]))
            self.products[place] = self.products.get(place, 0) + both @ both.T
            self.count[place] += len(places)

    def solve(self) -> Regression:
        """Return the coefficients of every pattern; see `_by_evidence` for one with few pixels."""
        every = {place: p.cpu().double() for place, p in self.products.items()}  # small systems, solved there
        marks = self.landmarks.cpu().double()
        self.smooth = RADIAL * radial(marks.T, marks)
        solved: list[_Solved] = []
        for code in range(self.patterns):
            folds, counts = torch.zeros(FOLDS, self.size, self.size, dtype=torch.float64), torch.zeros(FOLDS)
            for place, products in every.items():
                if place % self.patterns & code == code:  # pixels where at least these references are clear
                    folds[place // self.patterns] += products
                    counts[place // self.patterns] += self.count[place]
            use, count = self._choices(code)[0], float(counts.sum())
            if count >= SAMPLES_PER_FEATURE * len(use):
                solved.append(self._own(folds, use, count))
            else:
                solved.append(self._by_evidence(folds, code, counts, solved))
        coefficients = torch.stack([s.coefficients for s in solved]).float()
        near, rest = coefficients.tensor_split([9 * len(self.references) * self.bands], dim=1)
        near = near.unflatten(1, (9, -1)).transpose(1, 2).flatten(1, 2)
        return Regression(self.references, self.extras, torch.cat([near, rest], 1), self.landmarks)

    def _own(self, folds: Tensor, use: Tensor, count: float) -> _Solved:
        """Return the regression on many pixels: the usual penalty."""
        whole = folds.sum(0)[None]
        (found,) = self._ridge(whole, use, [RIDGE])
        left = self._errors(whole, [found]).sum()
        return _Solved(found[0], found.expand(FOLDS, -1, -1), float(left) / max(count - len(use), 1.0))

    def _by_evidence(self, folds: Tensor, code: int, counts: Tensor, solved: Sequence[_Solved]) -> _Solved:
        """Return what predicts the few pixels of a pattern best, of a set of regressions.

        These are its own, with any of the penalties and sets of features, and those with fewer references, which have more pixels.
        """
        total, count = folds.sum(0), float(counts.sum())
        fewer = [solved[c] for c in range(code) if c & code == c]
        if (counts > 0).sum() < 2:
            return min(fewer, key=lambda s: s.error) if fewer else self._own(folds, self._choices(0)[-1], count)
        products = torch.cat([total[None], total - folds])  # all, and for each fold what it does not have
        own = [
            _Solved(found[0], found[1:], 0.0)
            for use in self._choices(code)[1:]
            for found in self._ridge(products, use, PENALTIES)
        ]
        errors = (self._errors(folds, [s.held for s in (*own, *fewer)]).sum(1) / count).tolist()
        best = errors.index(min(errors))
        return (*own, *fewer)[best]._replace(error=errors[best])

    def _errors(self, folds: Tensor, candidates: list[Tensor]) -> Tensor:
        """Return the mean over the bands of the squared errors (n, F) that candidates make in folds: n coefficients (F, P, B)."""
        gram, cross = folds[:, : self.features, : self.features], folds[:, : self.features, self.features :]
        square, together = folds.diagonal(dim1=1, dim2=2)[:, None, self.features :], torch.stack(candidates, 2)
        explained = (gram @ together.flatten(2)).view_as(together)
        left = square - (2 * cross[:, :, None] * together - together * explained).sum(1)  # (F, n, B)
        return left.clamp(min=0).mean(2).T

    def _ridge(self, products: Tensor, use: Tensor, penalties: Sequence[float]) -> list[Tensor]:
        """Return coefficients (F, P, B) that follow from products, 0 where a feature is not in use, for each relative penalty."""
        gram, cross = products[:, use][:, :, use], products[:, use, self.features :]
        diagonal = gram.diagonal(dim1=1, dim2=2)
        free = use >= self.linear  # the constant; the radial functions have a penalty of their own
        marks = use[free][:-1] - self.linear
        found = []
        for penalty in penalties:
            added = torch.diag_embed(penalty * diagonal * ~free + 1e-9 * diagonal[:, -1:] + 1e-12)
            added[:, len(use) - len(marks) - 1 : -1, len(use) - len(marks) - 1 : -1] += self.smooth[marks][:, marks]
            out = products.new_zeros(len(products), self.features, self.bands)
            out[:, use] = torch.linalg.solve(gram + added, cross)
            found.append(out)
        return found

    def _choices(self, code: int) -> list[Tensor]:
        """Return sets of features that a pattern may use: all; no radial functions; no neighbours either; no extras either."""
        clear = [k for k in range(len(self.references)) if code >> k & 1]
        neighbours = torch.arange(9 * len(self.references) * self.bands).reshape(9, len(self.references), self.bands)
        both, alone = neighbours[:, clear].flatten(), neighbours[4, clear].flatten()
        extras, expected, marks, one = torch.arange(neighbours.numel(), self.features).split(
            [len(self.extras) * self.bands, self.bands, len(self.landmarks), 1]
        )
        plain = (torch.cat([both, extras]), torch.cat([alone, extras]), alone)
        return [torch.cat([both, extras, expected, marks, one]), *(torch.cat([p, expected, one]) for p in plain)]


class _Solved(NamedTuple):
    """Coefficients (P, B), those from all but each fold (F, P, B), and their squared error, mean over pixels and bands."""

    coefficients: Tensor
    held: Tensor
    error: float


def predict(model: Regression, case: Problem) -> Tensor:
    """Return the prediction (B, h, w) of a date by the coefficients of each pixel's pattern."""
    channels = len(model.references) * case.filled.shape[1]
    coefficients = model.coefficients.to(case.filled).mT  # (2^K, B, F)
    near, rest = coefficients.split([9 * channels, coefficients.shape[-1] - 9 * channels], dim=-1)
    some = [rest.shape[-1] - len(case.landmarks) - 1, len(case.landmarks), 1]
    weights = [*near.unflatten(-1, (channels, 9)).unbind(-1), *rest.split(some, dim=-1)]
    out = case.filled.new_empty(coefficients.shape[1], case.code.numel())
    for pattern, places, parts in _by_pattern(case, torch.arange(case.code.numel(), device=out.device)):
        answer = out.new_zeros(len(out), len(places))
        for weight, part in zip(weights, parts, strict=True):
            answer.addmm_(weight[pattern], part)
        out.index_copy_(1, places, answer)
    return out.reshape(-1, *case.code.shape)


def local(regressors: Tensor, residual: Tensor, use: Tensor) -> Tensor:
    """Return a smooth correction (B, h, w): the residual regressed on `regressors` with weights that fall off with distance.

    At every pixel the residual (B, h, w) of the pixels in `use` (h, w) is regressed on (regressors, 1) with Gaussian weights
    of width `SIGMA` pixels. The penalty of slopes grows where less than `FEW` of the weight is on pixels in use; that of the
    constant counts as much as `LOCAL_LEVEL` of the pixels that the Gaussian covers, 25, however few are in use: what
    some pixels at the edge of a wide cloud show, haze often, is not carried far into it. Computed for cells of `STEP`
    pixels: the coefficients are smooth.
    """
    height, width = use.shape
    columns = torch.cat([regressors, torch.ones_like(residual[:1])])  # (n, h, w)
    size = len(columns)
    both = functional.pad(torch.cat([columns, residual]) * use, (0, -width % STEP, 0, -height % STEP))
    cells = both.unfold(1, STEP, STEP).unfold(2, STEP, STEP).permute(1, 2, 0, 3, 4).flatten(3)  # (hs, ws, n+B, step²)
    products = cells[:, :, :size] @ cells.mT / STEP**2  # (hs, ws, n, n+B), means over cells
    down, across = (_spread(side, residual) for side in (height, width))
    products = (across @ torch.tensordot(down, products, 1).flatten(2)).reshape(products.shape)
    share = products[..., -1, size - 1, None].clamp(min=1e-6)  # of the weight, on pixels in use (hs, ws, 1)
    slopes = (LOCAL_RIDGE / (share / FEW).clamp(max=1)).expand(*share.shape[:2], size - 1)
    gram = products[..., :size] / share[..., None] + torch.diag_embed(torch.cat([slopes, LOCAL_LEVEL / share], dim=-1))
    right = products[..., size:] / share[..., None]
    coefficients = torch.cholesky_solve(right, torch.linalg.cholesky(gram)).permute(2, 3, 0, 1)  # (n, B, hs, ws)
    correction = torch.zeros_like(residual)
    for column, coefficient in zip(columns, coefficients, strict=True):
        fine = functional.interpolate(coefficient[None], (height, width), mode="bilinear", align_corners=False)[0]
        correction.addcmul_(column, fine)
    return correction


def checked(regressors: Tensor, residual: Tensor, use: Tensor) -> Tensor:
    """Return `local` (B, h, w), where few pixels are in use times what predicts the residual best where it was left out."""
    correction = local(regressors, residual, use)
    if use.sum() >= LOCAL_PIXELS:
        return correction
    folds, held = folds_of(use), torch.zeros_like(residual)
    for number in range(FOLDS):
        here = use & (folds == number)
        if here.any():
            held = torch.where(here, local(regressors, residual, use & ~here), held)
    return correction * ((held * residual * use).sum() / held.square().sum().clamp(min=1e-12)).clamp(0, 1)


def _spread(side: int, like: Tensor) -> Tensor:
    """Return the weights (n, n) that smooth n cells along an axis of `side` pixels by a Gaussian of `SIGMA` pixels.

    For means over whole cells, 0 beyond the edge: what lies beyond has no weight.
    """
    place = torch.arange(0, side, STEP, dtype=like.dtype, device=like.device)
    apart = (place[:, None] - place).abs()
    kernel = torch.exp(-0.5 * (apart / SIGMA) ** 2) * (apart <= 3 * SIGMA)
    inside = ((side - place) / STEP).clamp(max=1)
    return kernel / (kernel @ inside)[:, None]
