"""Noise and stripes: NGR refines the guide in the solver's loop, stopped and judged by hidden entries or planted stripes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ..solver import LoopSettings, Neumann, Small, iterate
from ..solver.fidelity import Fidelity, Gaussian, Stripes
from .problem import Settings
from .spectral import (
    BETTER,
    CHECK_EVERY,
    MOST_STEPS,
    NOISE_TRIAL_SIZE,
    PATIENCE,
    SHARE,
    TRIAL_SIZE,
    CubeGuide,
    Errors,
    Estimate,
    Hidden,
    Kind,
    Refined,
    busiest_of,
    error_of,
    standard_of,
    subspace_of,
)

IMPULSE = 3.5
"""Standard deviations beyond which a residual is taken for an impulse."""
LAGS = (1, 2, 3)
"""How many bands apart residuals are compared."""
MOST_LOST = 4.0


def refine_noise(
    kind: Kind,
    guide: CubeGuide,
    cube: Tensor,
    observed: Tensor,
    estimate: Estimate,
    settings: Settings,
) -> Refined:
    """Return the refined image where a trial on a part of the cube says that it is better, and the errors to be expected."""
    steps = _steps_on_noise(kind, guide, cube, observed, estimate, settings) if settings.method != "guide" else 0
    window = busiest_of(observed, TRIAL_SIZE)
    part = estimate._replace(image=estimate.image[:, *window], clean=estimate.clean[:, *window])
    truth, seen = cube[:, *window], observed[:, *window]
    if kind == "stripes":
        planted, where = _move_stripes(truth, seen, part, settings.seed + 1)
    else:
        planted, where = _plant_noise(kind, truth, seen, part, settings.seed + 1), seen
    again = guide(planted, seen)
    lost = (
        1.0 if kind == "stripes" else _lost(truth - part.image, planted - again.image, again.image - part.image, part)
    )

    def errors(image: Tensor) -> Errors:
        return Errors((image - part.image) * lost, where, image, again.image, seen)

    if not steps:
        return Refined(None, errors(again.image), None)
    *_, refined = islice(_loop(kind, again, seen, settings), steps + 1)
    *_, image = islice(_loop(kind, estimate, observed, settings), steps + 1)
    return Refined(image, errors(again.image), errors(refined))


def _steps_on_noise(
    kind: Kind, guide: CubeGuide, cube: Tensor, observed: Tensor, estimate: Estimate, settings: Settings
) -> int:
    """Return after how many steps of the loop hidden data is met best, 0 where the guide is to be kept."""
    window = busiest_of(observed, TRIAL_SIZE if kind == "stripes" else NOISE_TRIAL_SIZE)
    truth, seen = cube[:, *window], observed[:, *window]
    hide = _plant_stripes if kind == "stripes" else _hide_entries
    part = estimate._replace(image=estimate.image[:, *window])
    trial_cube, trial_seen, stop, _, truth = hide(truth, seen, part, settings.seed)
    trial = guide(trial_cube, trial_seen)
    most, looks = settings.steps or MOST_STEPS, {0: error_of(trial.image, truth, stop, trial.noise)}
    for step, image in enumerate(_loop(kind, trial, trial_seen, settings)):
        if step and (step == most if settings.steps else step % CHECK_EVERY == 0):
            looks[step] = error_of(image, truth, stop, trial.noise)
        if step >= most or len(looks) - 1 - int(np.argmin(list(looks.values()))) > PATIENCE:
            break
    best = min(looks, key=lambda s: looks[s])
    if settings.method == "ngr":
        return settings.steps or best or max(looks)
    return best if looks[best] < BETTER * looks[0] else 0


def _loop(kind: Kind, estimate: Estimate, observed: Tensor, settings: Settings) -> Iterator[Tensor]:
    """Yield the image (B, h, w) after each step of the loop on the guide's coefficients, the guide itself first."""
    space = subspace_of(estimate.image, estimate.noise)
    known = torch.where(observed, estimate.clean, estimate.image)
    target, start = space.down(known), space.down(estimate.image)
    rest = estimate.image - space.mean - space.up(start)  # what the guide keeps outside the subspace stays
    fidelity: Fidelity = Stripes(1e-3, 1e-2, estimate.axis) if kind == "stripes" else Gaussian(0.5)
    loop = LoopSettings(weights=(50.0, 50.0, 0.0), learning_rate=1e-3, seed=settings.seed)
    network = _Fields(Small(len(start), len(start), seed=settings.seed), (target - start).flatten(1).std(1))
    device = settings.placed().device or "cpu"
    states = iterate(
        target.to(device),
        network.to(device),
        standard_of(start)[None].to(device),
        fidelity,
        loop,
        guide=start.to(device),
    )
    for state in states:
        yield space.mean + space.up(state.image.cpu()) + rest


class _Fields(nn.Module):
    """A network's potential as fields, (1, 3, r, h, w), in units of what there is to explain."""

    scale: Tensor

    def __init__(self, network: nn.Module, scale: Tensor) -> None:
        """Take the network, and the scale (r,)."""
        super().__init__()
        self.network = network
        self.register_buffer("scale", scale.clamp(min=1e-6)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return the gradient of the potential."""
        return Neumann().gradient(self.scale * self.network(x)[0])[None]


def _hide_entries(truth: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> Hidden:
    """Return a cube without `SHARE` of its observed entries, half of them to stop and half to score."""
    draw = torch.rand(observed.shape, generator=torch.Generator().manual_seed(seed))
    stop, score = observed & (draw < SHARE / 2), observed & (draw > 1 - SHARE / 2)
    seen = observed & ~stop & ~score
    return Hidden(torch.where(seen, truth, 0), seen, stop, score, truth)


def _plant_noise(kind: Kind, cube: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> Tensor:
    """Return the estimate with new noise like that found. Where the cube is hit by more than noise, so is this."""
    unit = estimate.noise[:, None, None]
    noisy = estimate.image + unit * torch.randn(cube.shape, generator=torch.Generator().manual_seed(seed))
    if kind == "mixed":
        low, high = torch.aminmax(torch.where(observed, cube, estimate.image).flatten(1), dim=1)
        impulses = (cube - estimate.image).abs() > IMPULSE * unit
        noisy = torch.where(impulses, cube, noisy).clamp(low[:, None, None], high[:, None, None])
    return torch.where(observed, noisy, 0)


def _move_stripes(cube: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> tuple[Tensor, Tensor]:
    """Return the destriped cube with the stripes that were found put on other lines, and where these are (B, h, w)."""
    across = -1 if estimate.axis == -2 else -2
    size = cube.shape[across]
    shift = int(torch.randint(1, max(size, 2), (1,), generator=torch.Generator().manual_seed(seed)))
    offset = torch.where(observed, cube - estimate.image, 0).roll(shift, across)
    return torch.where(observed, estimate.image + offset, 0), (offset != 0) & observed


def _lost(residual: Tensor, planted: Tensor, error: Tensor, estimate: Estimate) -> float:
    """Return by how much the error (B, h, w) of a second estimate has to be taken for that of the first.

    The first estimate lacks a part of the scene already, which the second cannot miss. It is in the `residual` of the first, and
    common to neighbouring bands, as noise is not. What any estimate takes of the noise leaves such a trace as well: that which the
    residual of the second, of `planted` noise, shows too.
    """
    unit = estimate.noise.clamp(min=1e-9)[:, None, None]
    common = []
    for left in (residual / unit, planted / unit):
        usual = left.abs() < IMPULSE
        left = torch.where(usual, left, 0).double()
        pairs = [(left[lag:] * left[:-lag], usual[lag:] & usual[:-lag]) for lag in LAGS if lag < len(left)]
        common.append(np.mean([float(product.sum() / both.sum().clamp(min=1)) for product, both in pairs] or [0.0]))
    own = float((error / unit).double().square().mean())
    return float(np.sqrt(np.clip(1 + (common[0] - common[1]) / max(own, 1e-12), 1, MOST_LOST)))


def _plant_stripes(truth: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> Hidden:
    """Return the destriped cube with new stripes, as strong as those found, on some lines of each band."""
    offset, axis = truth - estimate.image, estimate.axis
    striped = (offset != 0) & observed
    strength = float(offset[striped].double().std()) if int(striped.sum()) > 1 else 0.0
    lines = observed.any(dim=axis, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(lines.shape, generator=generator)
    new = strength * torch.randn(lines.shape, generator=generator)
    stop, score = lines & (draw < 2 * SHARE), lines & (draw > 1 - 2 * SHARE)
    planted = torch.where(stop | score, estimate.image + new, estimate.image)
    return Hidden(planted, observed, stop & observed, score & observed, estimate.image)
