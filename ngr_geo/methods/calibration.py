"""How far a filled pixel may be off: a calibration learnt from the errors at hidden pixels.

The error of a fill grows with the distance to the nearest pixel that was seen, where the image is busy, where the references are
cloudy too, and where the network changes much of its guide. A log-linear model of these (a gamma regression: McCullagh & Nelder
1989, ch. 8) gives each pixel a scale; two factors, measured at the same hidden pixels, turn it into a standard deviation whose
intervals cover what they say (split conformal prediction: Lei et al. 2018) and into an expected root mean square error.

What no date saw is another situation: there is no reference, and the error grows with the depth in such a region. It has
a calibration of its own, learnt where all dates were hidden at once, and beyond the depths that were met there the scale grows on.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

COVER = 0.9
"""The share of errors that an interval of ± 1.645 standard deviations has to cover."""
NORMAL = 1.6449
"""The quantile of a normal distribution that leaves 5 % on either side."""
FEATURES = 6
WINDOW = 5
"""Side of the squares in which activity and disagreement are averaged."""
MOST_PIXELS = 20_000
LEAST_PIXELS = 50
"""Hidden pixels below which nothing is learnt, and nothing is calibrated."""
MET = (0.005, 0.995)
"""Quantiles of the scales at hidden pixels beyond which none is believed."""
RIDGE = 2e-3
ROUNDS = 12
SURROUNDINGS = 20
"""Reach in pixels of the surroundings whose contrast shows how much an unseen region may hide."""
DEPTH = 2
"""The column of `unseen_features` with the depth in an unseen region."""
GROWTH = 0.5
"""The error of an unseen region grows at least with this power of the depth, beyond the depths that were met."""


@dataclass(frozen=True)
class Calibration:
    """The error's scale for one date and method: exp(weights · features), standardised units.

    `weights` (B, FEATURES + 1), the last for pixels that the network was never shown; `deviation` (B,) turns a scale into the
    standard deviation of an interval, `rms` (B,) into a root mean square error; `bias` (B,) is the mean error; `limits` (2, B)
    the least and greatest scale that were met, and are given. `log_sd` (B,) is how far off the expected error of one probe is: the
    standard deviation of the logarithm of its ratio to the true one, NaN for a single probe. `reach` (B,) is the logarithm of the
    greatest depth in an unseen region that was met, beyond which the scale grows on; infinite for pixels that some date saw.
    """

    weights: NDArray[np.float64]
    deviation: NDArray[np.float64]
    rms: NDArray[np.float64]
    bias: NDArray[np.float64]
    limits: NDArray[np.float64]
    log_sd: NDArray[np.float64]
    reach: NDArray[np.float64]

    def scale(self, features: Tensor) -> Tensor:
        """Return the scale (B, n) at features (B, FEATURES, n) of pixels that were never seen."""
        weights = torch.from_numpy(self.weights).to(features)
        least, most = torch.from_numpy(self.limits).to(features)[..., None]
        scale = torch.exp((weights[:, :-1, None] * features).sum(1) + weights[:, -1:])
        scale = scale.clamp(least, most)
        if not np.isfinite(self.reach).all():
            return scale
        beyond = (features[:, DEPTH] - torch.from_numpy(self.reach).to(features)[:, None]).clamp(min=0)
        return scale * torch.exp(weights[:, DEPTH, None].clamp(min=GROWTH) * beyond)


def features(seen: Tensor, support: Tensor, answer: Tensor, guide: Tensor) -> Tensor:
    """Return what the error of a fill depends on, (B, FEATURES, h, w): constant, distance, activity, disagreement, references.

    Args:
        seen: (h, w), True where the date was seen.
        support: (2, h, w) between 0 and 1: whether the best reference is clear, and the share of references that are.
        answer: (B, h, w), what is to be filled in, standardised.
        guide: (B, h, w), what it was made from.
    """
    distance, (busy, moved) = _distance(seen).to(answer.dtype), _activity(answer, guide)
    common = torch.stack([torch.ones_like(distance), torch.log1p(distance), 1 - support[0], 1 - support[1]])
    columns = [*common.expand(len(answer), *common.shape).unbind(1), (busy + 1e-2).log(), (moved + 1e-2).log()]
    return torch.stack(columns, dim=1)


def unseen_features(seen: Tensor, unseen: Tensor, answer: Tensor, guide: Tensor) -> Tensor:
    """Return what the error depends on where no date saw the ground, (B, FEATURES, h, w).

    Constant, distance to the nearest pixel that the date saw, depth in the unseen region, contrast of its surroundings, activity,
    disagreement; arguments as of `features`, and `unseen` (h, w), True where no date saw the ground.
    """
    distance, depth = (_distance(mask).to(answer.dtype) for mask in (seen, ~unseen))
    busy, moved = _activity(answer, guide)
    common = torch.stack([torch.ones_like(distance), torch.log1p(distance), torch.log1p(depth)])
    contrast = _contrast(answer, ~unseen)
    parts = [(part + 1e-2).log() for part in (contrast, busy, moved)]
    return torch.stack([*common.expand(len(answer), *common.shape).unbind(1), *parts], dim=1)


def _distance(seen: Tensor) -> Tensor:
    """Return the distance (h, w) in pixels to the nearest one that is `seen`; the window's side where none is.

    It is exact, and computed on the CPU: SciPy takes 5 ms for 256 x 256 pixels.
    """
    if not seen.any():
        return torch.full(seen.shape, float(max(seen.shape)), device=seen.device)
    return torch.from_numpy(ndimage.distance_transform_edt(~seen.cpu().numpy())).float().to(seen.device)


def _contrast(image: Tensor, known: Tensor) -> Tensor:
    """Return the standard deviation (B, h, w) of the `known` (h, w) pixels around each; far from all, that of the whole window."""
    weight = known.to(image.dtype)
    maps = torch.cat([weight[None], weight * image, weight * image.square()])
    reach = min(SURROUNDINGS, *(side - 1 for side in weight.shape))
    down, across = (_means(side, reach, maps) for side in weight.shape)
    pooled = down @ maps @ across.T
    whole = maps.mean((1, 2))[:, None, None]
    share, mean, square = (pooled + 1e-3 * whole).split([1, len(image), len(image)])
    share = share.clamp(min=1e-9)
    return (square / share - (mean / share).square()).clamp(min=0).sqrt()


def _means(side: int, reach: int, like: Tensor) -> Tensor:
    """Return the matrix (n, n) that turns an axis of n pixels into the mean of those up to `reach` away, inside of the image.

    A product is seven times as fast as pooling windows of 41 pixels.
    """
    place = torch.arange(side, device=like.device)
    band = ((place[:, None] - place).abs() <= reach).to(like.dtype)
    return band / band.sum(1, keepdim=True)


def _activity(answer: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean gradient of an answer, and its mean difference from the guide, around each pixel (B, h, w)."""
    down, across = torch.zeros_like(answer), torch.zeros_like(answer)
    down[:, 1:], across[:, :, 1:] = answer.diff(dim=1), answer.diff(dim=2)
    maps = torch.cat([(down.square() + across.square()).sqrt(), (answer - guide).abs()])
    side = WINDOW // 2
    padded = torch.nn.functional.pad(maps[None], (side, side, side, side), mode="replicate")
    busy, moved = torch.nn.functional.avg_pool2d(padded, WINDOW, 1)[0].chunk(2)
    return busy, moved


def calibrate(
    errors: Tensor, columns: Tensor, never: Tensor, probe: Tensor, by_depth: bool = False
) -> Calibration | None:
    """Return the calibration by errors (B, n) at hidden pixels with features (B, FEATURES, n), or None where they are too few.

    Args:
        errors: result less truth, standardised.
        columns: see `features`.
        never: (n,), True where the network was not shown the pixel either.
        probe: (n,), the number of the probe that the pixel was hidden in.
        by_depth: the columns are `unseen_features`; the scale grows with their depth, beyond what was met as well.
    """
    count = errors.shape[1]
    if count < LEAST_PIXELS:
        return None
    if count > MOST_PIXELS:
        picked = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:MOST_PIXELS]
        errors, columns, never, probe = errors[:, picked], columns[..., picked], never[picked], probe[picked]
    size = errors.abs().double().clamp(min=1e-6)
    design = torch.cat([columns, never.to(columns).expand(len(errors), 1, -1)], dim=1).double()
    weights = torch.zeros(*design.shape[:2], dtype=torch.float64)
    for band in range(len(errors)):
        x, y = design[band], size[band]
        normal = x @ x.T / x.shape[1] + RIDGE * torch.eye(len(x), dtype=torch.float64)
        weights[band, 0] = y.mean().log()
        start = weights[band].clone()
        for _ in range(ROUNDS):  # Fisher scoring; the information of a gamma variable with log link is XᵀX
            over = (y * torch.exp(-(weights[band] @ x))).clamp(max=10) - 1
            weights[band] += torch.linalg.solve(normal, x @ over / x.shape[1] - RIDGE * (weights[band] - start))
        weights[band, -1].clamp_(0, 0.5)  # never seen is not easier than seen
    scale = torch.exp((weights[..., None] * design).sum(1))
    ratio = size / scale
    rms = ratio.square().mean(1).sqrt()
    parts = [probe == number for number in torch.unique(probe).tolist()]
    logs = [0.5 * (size[:, p].square().mean(1) / (scale[:, p] * rms[:, None]).square().mean(1)).log() for p in parts]
    return Calibration(
        weights.numpy(),
        (torch.quantile(ratio, COVER, dim=1) / NORMAL).numpy(),
        rms.numpy(),
        errors.double().mean(1).numpy(),
        torch.quantile(scale, torch.tensor(MET, dtype=torch.float64), dim=1).numpy(),
        torch.stack(logs).std(0).numpy() if len(logs) > 1 else np.full(len(errors), np.nan),
        columns[:, DEPTH].double().amax(1).numpy() if by_depth else np.full(len(errors), np.inf),
    )
