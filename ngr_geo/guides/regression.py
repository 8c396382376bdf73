"""Regression of one date on the neighbourhoods of the others: scene-wide, by pattern of clouds, then local.

The 3x3 neighbourhoods absorb sub-pixel shifts between dates. Where some reference dates are cloudy too, a pixel is predicted
from those that are clear there, by a ridge regression fitted on all pixels where at least these are clear.

What a linear map of the references cannot say, since fields, forests and roofs change in their own ways, radial functions of the
references' bands add: a Gaussian process with the kernel  v·exp(-|z - z'|² / 2q)  of the q bands of all references at a pixel, seen
through some landmarks (the subset of regressors, Rasmussen & Williams 2006, ch. 8.3.1). Its penalty is the kernel of the landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import precise

RIDGE = 3e-3
"""Penalty on standardised coefficients. Flat between 1e-4 and 1e-2 on the Romanian and Slovenian stacks."""
SAMPLES_PER_FEATURE = 10
"""A pattern of clear references seen in fewer pixels than this per feature is predicted from fewer references."""
FEW = 0.05
"""Share of a Gaussian's weight on clear pixels below which the local regression fades: about 125 of 2500 pixels."""
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

    `references` (K,) indices of dates, best first; `coefficients` (2^K, F, B): rows of features that a pattern may not use
    are zero, the last row is the constant. Bit k of a pattern is set where reference k is clear. `landmarks` (M, K·B): the bands
    of all references at the pixels that the radial functions are centred on.
    """

    references: tuple[int, ...]
    coefficients: Tensor
    landmarks: Tensor


class Problem(NamedTuple):
    """A date to be predicted: the stack completed without it (T, B, h, w), the date, its references, which of them are clear.

    `code` (h, w) has bit k where reference k is clear. The features of a pixel are, in this order, the 3x3 neighbourhoods of the
    references (edges repeated), what the low-rank model expects of the date, the radial functions about M `landmarks`, and one:
    F = 9·K·B + B + M + 1.
    """

    filled: Tensor
    date: int
    references: tuple[int, ...]
    code: Tensor
    landmarks: Tensor


def problem(filled: Tensor, observed: Tensor, date: int, references: tuple[int, ...], landmarks: Tensor) -> Problem:
    """Return a date of a stack (T, B, h, w), of which `observed` (T, h, w) was measured, as a problem."""
    code = torch.zeros_like(observed[0], dtype=torch.long)
    for bit, reference in enumerate(references):
        code.add_(observed[reference], alpha=1 << bit)
    return Problem(filled, date, references, code, landmarks.to(filled))


def radial(bands: Tensor, landmarks: Tensor) -> Tensor:
    """Return the radial functions (M, n) of the references' bands at some pixels (K·B, n)."""
    apart = torch.addmm(bands.square().sum(0)[None], landmarks, bands, alpha=-2)
    apart += landmarks.square().sum(1)[:, None]
    return apart.clamp_(min=0).mul_(-0.5 / landmarks.shape[1]).exp_()


def _by_pattern(case: Problem, places: Tensor) -> Iterator[tuple[int, Tensor, list[Tensor]]]:
    """Yield the pattern of some of the pixels at the flat `places` of an image, these n pixels, and their features.

    The features come in parts: nine of (K·B, n), the neighbours of all references in one direction; then (B, n), (M, n) and (1, n).
    """
    filled, date, references, code, landmarks = case
    width = filled.shape[-1] + 2
    padded = functional.pad(filled[list(references)].flatten(0, 1)[None], (1, 1, 1, 1), mode="replicate")[0].flatten(1)
    expected = filled[date].flatten(1)
    codes, order = torch.sort(code.flatten()[places], stable=True)
    counts = torch.bincount(codes, minlength=2 ** len(references)).tolist()
    for pattern, group in enumerate(torch.split(places[order], counts)):
        for part in torch.split(group, PIXELS) if len(group) else ():
            corner = part + part.div(width - 2, rounding_mode="floor") * 2  # the upper left neighbour, in `padded`
            near = [padded.index_select(1, corner + (i * width + j)) for i in range(3) for j in range(3)]
            rest = [expected.index_select(1, part), radial(near[4], landmarks), expected.new_ones(1, len(part))]
            yield pattern, part, [*near, *rest]


def _channel_major(features: Tensor, channels: int, dim: int) -> Tensor:
    """Return features along an axis of a tensor, as `_by_pattern` orders them, in the order of `Regression`; `channels` is K·B."""
    order = torch.arange(features.shape[dim], device=features.device)
    order[: 9 * channels] = order[: 9 * channels].reshape(9, channels).T.flatten()
    return features.index_select(dim, order)


class Moments:
    """Running sums, per pattern, of the products a regression needs: windows of the scene are added one after another."""

    def __init__(self, references: tuple[int, ...], landmarks: Tensor, like: Tensor) -> None:
        """Start with nothing seen of a date that is `like` (B, h, w)."""
        self.references, self.landmarks, self.bands = references, landmarks, len(like)
        self.linear = 9 * len(references) * self.bands + self.bands
        self.features = self.linear + len(landmarks) + 1
        patterns, size = 2 ** len(references), self.features + self.bands
        self.products = precise(like.new_zeros(patterns, size, size))  # of features and target with themselves
        self.count = torch.zeros(patterns, dtype=torch.float64)

    def add(self, case: Problem, target: Tensor, use: Tensor) -> None:
        """Add the pixels of a window where `use` (h, w); `target` (B, h, w) is what the date shows.

        In float64: in float32 rounding exceeds the smallest eigenvalues of the kernel, and the solution is wrong by decibels.
        """
        for pattern, places, parts in _by_pattern(case, use.flatten().nonzero()[:, 0]):
            both = precise(torch.cat([*parts, target.flatten(1).index_select(1, places)]))
            self.products[pattern] += both @ both.T
            self.count[pattern] += len(places)

    def solve(self) -> Regression:
        """Return the coefficients of every pattern; one with too few pixels takes those of its best sub-pattern."""
        codes, every = range(2 ** len(self.references)), self.products.cpu().double()  # small systems, solved there
        for dim in (1, 2):
            every = _channel_major(every, len(self.references) * self.bands, dim)
        coefficients = torch.zeros(len(codes), self.features, self.bands, dtype=torch.float64)
        marks = self.landmarks.cpu().double()
        smooth = torch.zeros(self.features, self.features, dtype=torch.float64)
        smooth[self.linear : -1, self.linear : -1] = RADIAL * radial(marks.T, marks)
        error = torch.full((len(codes),), torch.inf, dtype=torch.float64)
        for code in codes:
            holders = [c for c in codes if c & code == code]  # pixels where at least these references are clear
            use = self._columns(code)
            count = self.count[holders].sum()
            if count < SAMPLES_PER_FEATURE * (len(use) - len(marks)) and code:
                continue
            products = every[holders].sum(0)
            gram, cross = products[use][:, use], products[use, self.features :]
            penalty = RIDGE * gram.diagonal() + 1e-9 * count + 1e-12
            penalty[-1 - len(marks) :] = (
                1e-12 + 1e-9 * count
            )  # the constant is free, the radial functions have their own
            solution = torch.linalg.solve(gram + torch.diag(penalty) + smooth[use][:, use], cross)
            coefficients[code, use] = solution
            square = products.diagonal()[self.features :]
            left = square - (2 * cross * solution - solution * (gram @ solution)).sum(0)
            error[code] = left.clamp(min=0).mean() / max(float(count) - len(use), 1.0)
        for code in codes:
            if not torch.isfinite(error[code]):
                best = min(
                    (c for c in codes if c & code == c and torch.isfinite(error[c])), key=lambda c: float(error[c])
                )
                coefficients[code] = coefficients[best]
        return Regression(self.references, coefficients.float(), self.landmarks)

    def _columns(self, code: int) -> Tensor:
        """Return the features that a pattern may use: neighbourhoods of its clear references, expectation, constant."""
        width = 9 * self.bands
        use = [torch.arange(k * width, (k + 1) * width) for k in range(len(self.references)) if code >> k & 1]
        tail = torch.arange(len(self.references) * width, self.features)
        return torch.cat([*use, tail])


def predict(model: Regression, case: Problem) -> Tensor:
    """Return the prediction (B, h, w) of a date by the coefficients of each pixel's pattern."""
    channels = len(model.references) * case.filled.shape[1]
    coefficients = model.coefficients.to(case.filled).mT  # (2^K, B, F)
    near, rest = coefficients.split([9 * channels, coefficients.shape[-1] - 9 * channels], dim=-1)
    some = [case.filled.shape[1], len(case.landmarks), 1]
    weights = [*near.unflatten(-1, (channels, 9)).unbind(-1), *rest.split(some, dim=-1)]
    out = case.filled.new_empty(coefficients.shape[1], case.code.numel())
    for pattern, places, parts in _by_pattern(case, torch.arange(case.code.numel(), device=out.device)):
        answer = out.new_zeros(len(out), len(places))
        for weight, part in zip(weights, parts, strict=True):
            answer.addmm_(weight[pattern], part)
        out.index_copy_(1, places, answer)
    return out.reshape(-1, *case.code.shape)


def local(
    regressors: Tensor, residual: Tensor, use: Tensor, sigma: float = 20.0, ridge: float = 0.04, level: float = 0.01
) -> Tensor:
    """Return a smooth correction (B, h, w): the residual regressed on `regressors` with weights that fall off with distance.

    At every pixel the residual (B, h, w) of the pixels in `use` (h, w) is regressed on (regressors, 1) with Gaussian weights
    of width `sigma` pixels. The penalties grow where less than `FEW` of the weight is on pixels in use, so that the correction
    fades out only deep inside wide clouds. Computed for cells of sigma/5 pixels: the coefficients are smooth.
    """
    height, width = use.shape
    step = max(1, int(sigma / 5))
    columns = torch.cat([regressors, torch.ones_like(residual[:1])])  # (n, h, w)
    size = len(columns)
    both = functional.pad(torch.cat([columns, residual]) * use, (0, -width % step, 0, -height % step))
    cells = both.unfold(1, step, step).unfold(2, step, step).permute(1, 2, 0, 3, 4).flatten(3)  # (hs, ws, n+B, step²)
    products = cells[:, :, :size] @ cells.mT / step**2  # (hs, ws, n, n+B), means over cells
    down, across = (_spread(side, step, sigma, residual) for side in (height, width))
    products = (across @ torch.tensordot(down, products, 1).flatten(2)).reshape(products.shape)
    share = products[..., -1, size - 1].clamp(min=1e-6)[..., None, None]  # of the weight, on pixels in use
    penalty = torch.full_like(residual[0, 0, :1], ridge).repeat(size)
    penalty[-1] = level
    gram = products[..., :size] / share + torch.diag(penalty) / (share / FEW).clamp(max=1)
    right = products[..., size:] / share
    coefficients = torch.cholesky_solve(right, torch.linalg.cholesky(gram)).permute(2, 3, 0, 1)  # (n, B, hs, ws)
    correction = torch.zeros_like(residual)
    for column, coefficient in zip(columns, coefficients, strict=True):
        fine = functional.interpolate(coefficient[None], (height, width), mode="bilinear", align_corners=False)[0]
        correction.addcmul_(column, fine)
    return correction


def _spread(side: int, step: int, sigma: float, like: Tensor) -> Tensor:
    """Return the weights (n, n) that smooth n cells along an axis of `side` pixels by a Gaussian of `sigma` pixels.

    For means over whole cells, 0 beyond the edge: what lies beyond has no weight.
    """
    place = torch.arange(0, side, step, dtype=like.dtype, device=like.device)
    apart = (place[:, None] - place).abs()
    kernel = torch.exp(-0.5 * (apart / sigma) ** 2) * (apart <= 3 * sigma)
    inside = ((side - place) / step).clamp(max=1)
    return kernel / (kernel @ inside)[:, None]
