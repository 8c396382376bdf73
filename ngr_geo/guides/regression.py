"""Regression of one date on the neighbourhoods of the others: scene-wide, by pattern of clouds, then local.

The 3x3 neighbourhoods absorb sub-pixel shifts between dates. Where some reference dates are cloudy too, a pixel is predicted
from those that are clear there, by a ridge regression fitted on all pixels where at least these are clear.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

RIDGE = 3e-3
"""Penalty on standardised coefficients. Flat between 1e-4 and 1e-2 on the Romanian and Slovenian stacks."""
SAMPLES_PER_FEATURE = 10
"""A pattern of clear references seen in fewer pixels than this per feature is predicted from fewer references."""
FEW = 0.05
"""Share of a Gaussian's weight on clear pixels below which the local regression fades: about 125 of 2500 pixels."""
ROWS = 128
"""Rows of a window whose features are held in memory at a time."""


@dataclass(frozen=True)
class Regression:
    """Coefficients for each pattern of clear references.

    `references` (K,) indices of dates, best first; `coefficients` (2^K, F+1, B): rows of features that a pattern may not use
    are zero, the last row is the constant. Bit k of a pattern is set where reference k is clear.
    """

    references: tuple[int, ...]
    coefficients: Tensor


def neighbourhoods(image: Tensor) -> Tensor:
    """Return the 3x3 neighbourhoods (9·C, h, w) of an image (C, h, w), edges repeated; channel-major."""
    channels, height, width = image.shape
    padded = functional.pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    views = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(views, dim=1).reshape(9 * channels, height, width)


def features(filled: Tensor, expected: Tensor, references: tuple[int, ...]) -> Tensor:
    """Return (K·9·B + B + 1, h, w): neighbourhoods of the references, the low-rank expectation of the date, one.

    Args:
        filled: (T, B, h, w), the stack completed by the low-rank model.
        expected: (B, h, w), the date as the low-rank model expects it from the others.
        references: the dates to use.
    """
    parts = [neighbourhoods(filled[r]) for r in references]
    return torch.cat([*parts, expected, torch.ones_like(expected[:1])])


def pattern(observed: Tensor, references: tuple[int, ...]) -> Tensor:
    """Return which references are clear, as an integer (h, w) with bit k for reference k, from `observed` (T, h, w)."""
    code = torch.zeros(observed.shape[-2:], dtype=torch.long, device=observed.device)
    for bit, reference in enumerate(references):
        code += observed[reference].long() << bit
    return code


class Moments:
    """Running sums, per pattern, of the products a regression needs: windows of the scene are added one after another."""

    def __init__(self, references: tuple[int, ...], bands: int) -> None:
        """Start with nothing seen."""
        self.references, self.bands = references, bands
        size = 9 * len(references) * bands + bands + 1
        self.gram = torch.zeros(2 ** len(references), size, size, dtype=torch.float64)
        self.cross = torch.zeros(2 ** len(references), size, bands, dtype=torch.float64)
        self.square = torch.zeros(2 ** len(references), bands, dtype=torch.float64)
        self.count = torch.zeros(2 ** len(references), dtype=torch.float64)

    def add(self, filled: Tensor, observed: Tensor, target: Tensor, use: Tensor, date: int) -> None:
        """Add the pixels of a window where `use` (h, w).

        Args:
            filled: (T, B, h, w), the stack completed without the date itself.
            observed: (T, h, w).
            target: (B, h, w), what the date shows.
            use: (h, w).
            date: the one to be predicted.
        """
        code = pattern(observed, self.references)
        for top in range(0, len(use), ROWS):
            low, high = max(top - 1, 0), min(top + ROWS + 1, len(use))  # neighbourhoods reach one row beyond
            part = filled[:, :, low:high]
            design = features(part, part[date], self.references)[:, top - low : top - low + ROWS]
            take = use[top : top + ROWS]
            here, x, y = (
                code[top : top + ROWS][take],
                design[:, take].double(),
                target[:, top : top + ROWS][:, take].double(),
            )
            for value in torch.unique(here).tolist():
                chosen = here == value
                a, b = x[:, chosen], y[:, chosen]
                self.gram[value] += a @ a.T
                self.cross[value] += a @ b.T
                self.square[value] += (b**2).sum(1)
                self.count[value] += chosen.sum()

    def solve(self) -> Regression:
        """Return the coefficients of every pattern; one with too few pixels takes those of its best sub-pattern."""
        codes = range(2 ** len(self.references))
        size = self.gram.shape[-1]
        coefficients = torch.zeros(len(codes), size, self.bands, dtype=torch.float64)
        error = torch.full((len(codes),), torch.inf, dtype=torch.float64)
        for code in codes:
            holders = [c for c in codes if c & code == code]  # pixels where at least these references are clear
            use = self._columns(code)
            count = self.count[holders].sum()
            if count < SAMPLES_PER_FEATURE * len(use) and code:
                continue
            gram, cross = self.gram[holders].sum(0)[use][:, use], self.cross[holders].sum(0)[use]
            penalty = RIDGE * gram.diagonal() + 1e-9 * count + 1e-12
            penalty[-1] = 1e-12 + 1e-9 * count  # the constant is free
            solution = torch.linalg.solve(gram + torch.diag(penalty), cross)
            coefficients[code, use] = solution
            left = self.square[holders].sum(0) - (2 * cross * solution - solution * (gram @ solution)).sum(0)
            error[code] = left.clamp(min=0).mean() / max(float(count) - len(use), 1.0)
        for code in codes:
            if not torch.isfinite(error[code]):
                best = min(
                    (c for c in codes if c & code == c and torch.isfinite(error[c])), key=lambda c: float(error[c])
                )
                coefficients[code] = coefficients[best]
        return Regression(self.references, coefficients.float())

    def _columns(self, code: int) -> Tensor:
        """Return the features that a pattern may use: neighbourhoods of its clear references, expectation, constant."""
        width = 9 * self.bands
        use = [torch.arange(k * width, (k + 1) * width) for k in range(len(self.references)) if code >> k & 1]
        tail = torch.arange(len(self.references) * width, self.gram.shape[-1])
        return torch.cat([*use, tail])


def apply(model: Regression, design: Tensor, code: Tensor) -> Tensor:
    """Return the prediction (B, h, w) from features (F, h, w) and the pattern of clear references (h, w)."""
    out = torch.zeros(model.coefficients.shape[-1], *code.shape, dtype=design.dtype, device=design.device)
    for value in torch.unique(code).tolist():
        here = code == value
        out[:, here] = model.coefficients[value].to(design).T @ design[:, here]
    return out


def local(
    regressors: Tensor, residual: Tensor, use: Tensor, sigma: float = 20.0, ridge: float = 0.04, level: float = 0.01
) -> Tensor:
    """Return a smooth correction (B, h, w): the residual regressed on `regressors` with weights that fall off with distance.

    At every pixel the residual (B, h, w) of the pixels in `use` (h, w) is regressed on (regressors, 1) with Gaussian weights
    of width `sigma` pixels. The penalties grow where less than `FEW` of the weight is on pixels in use, so that the correction
    fades out only deep inside wide clouds. Computed on a grid of sigma/5 pixels: the coefficients are smooth.
    """
    height, width = use.shape
    step = max(1, int(sigma / 5))
    weight = use.to(residual)
    columns = torch.cat([regressors, torch.ones_like(regressors[:1])])  # (n, h, w)
    size, bands = len(columns), len(residual)
    upper = torch.triu_indices(size, size)
    products = torch.stack([columns[i] * columns[j] for i, j in upper.T.tolist()])
    cross = (columns[:, None] * residual[None]).flatten(0, 1)
    smooth = _smooth(torch.cat([weight[None], products * weight, cross * weight]), step, sigma)
    share = smooth[0].clamp(min=1e-6)
    moments = smooth[1 : 1 + len(products)] / share
    gram = torch.empty(*share.shape, size, size, dtype=residual.dtype, device=residual.device)
    for value, (i, j) in zip(moments, upper.T.tolist(), strict=True):
        gram[..., i, j] = gram[..., j, i] = value
    right = (smooth[1 + len(products) :] / share).reshape(size, bands, *share.shape).permute(2, 3, 0, 1)
    penalty = torch.full((size,), ridge, dtype=residual.dtype, device=residual.device)
    penalty[-1] = level
    gram = gram + torch.diag(penalty) / (share / FEW).clamp(max=1)[..., None, None]
    coefficients = torch.linalg.solve(gram, right).permute(2, 3, 0, 1).flatten(0, 1)  # (n·B, hs, ws)
    fine = functional.interpolate(coefficients[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    return (columns[:, None] * fine.reshape(size, bands, height, width)).sum(0)


def _smooth(maps: Tensor, step: int, sigma: float) -> Tensor:
    """Return maps (n, h, w) averaged over step x step cells, then smoothed by a Gaussian of `sigma` fine pixels."""
    height, width = maps.shape[-2:]
    pad = (0, -width % step, 0, -height % step)
    ones = functional.pad(torch.ones_like(maps[:1]), pad)
    coarse = functional.avg_pool2d(functional.pad(maps, pad)[None], step)[0]
    inside = functional.avg_pool2d(ones[None], step)[0]
    radius = max(1, int(3 * sigma / step))
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offsets * step / sigma) ** 2)
    both = torch.cat([coarse, inside])[:, None]  # (n+1, 1, hs, ws)
    both = functional.conv2d(both, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    both = functional.conv2d(both, kernel.view(1, 1, 1, -1), padding=(0, radius))
    return both[:-1, 0] / both[-1:, 0]
