"""Gaps of spectral cubes: a network learns from entries that were hidden from its guide, and refines one that saw all."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..solver import Neumann, Small, hold
from ..solver.train import Example, Training, train
from . import judge
from .problem import Settings
from .spectral import (
    CHECK_EVERY,
    HOLD_STEPS,
    MOST_STEPS,
    PATIENCE,
    SHARE,
    TRIAL_SIZE,
    CubeGuide,
    Errors,
    Estimate,
    Kind,
    Refined,
    Subspace,
    busiest_of,
    error_of,
    standard_of,
    subspace_of,
)

USUAL = -0.1
"""Gain of NGR in dB for gaps in cubes before anything is measured: it lost 0.03 to 0.7, so the guide wins a tie (see `judge`)."""
DRAWS = 3
"""Times that gaps are hidden in a trial: where a dead line crosses a field's edge it is met less well than elsewhere."""


def refine_gaps(
    kind: Kind, guide: CubeGuide, cube: Tensor, observed: Tensor, estimate: Estimate, settings: Settings
) -> Refined:
    """Return the refined image where a trial on a part of the cube says that it is better, and the errors to be expected."""
    window = busiest_of(observed, TRIAL_SIZE)
    truth, seen = cube[:, *window], observed[:, *window]
    learn, stop, score = _hide_gaps(seen, settings.seed)
    if settings.method == "guide":  # nothing is learnt or chosen: all that is hidden measures the errors
        learn, stop, score = torch.zeros_like(learn), torch.zeros_like(stop), learn | stop | score
    kept = seen & ~learn & ~stop & ~score
    trial = guide(torch.where(kept, truth, 0), kept).image

    looks = [(trial, kept, score)]
    for draw in range(
        1, DRAWS
    ):  # the same gaps elsewhere: what nothing was learnt from, or chosen by, measures the errors
        hidden = torch.stack(_hide_gaps(seen, settings.seed + draw)).any(0)
        left = seen & ~hidden
        looks.append((guide(torch.where(left, truth, 0), left).image, left, hidden & ~learn & ~stop))

    def errors(refine: Callable[[Tensor, Tensor], Tensor]) -> Errors:
        found = [(refine(begun, left), where, begun, left) for begun, left, where in looks]
        parts = [(image - truth, where, image, begun, left) for image, where, begun, left in found]
        return Errors(*(torch.cat(part, dim=2) for part in zip(*parts, strict=True)))

    by_guide = errors(lambda begun, _: begun)
    table = judge.tabulated([by_guide.error], by_guide.where)
    if not (learn.any() and stop.any() and score.any()):
        return Refined(None, by_guide, None, table)
    none = torch.zeros(len(cube))
    space = subspace_of(estimate.image, none)
    scale = float((truth - trial)[learn].double().std()) + 1e-9
    network = _Spectra(Small(space.vectors.shape[1] + 1, space.vectors.shape[1], seed=settings.seed), space)
    example = Example(_inputs(space, trial, kept), (truth - trial) / scale, learn)
    best_steps, met = 0, [error_of(trial, truth, stop, none)]
    chosen: nn.Module = network
    most = settings.steps or MOST_STEPS
    for step, averaged in enumerate(train(network, [example], Training(), settings.seed), start=1):
        if step % CHECK_EVERY == 0 or step >= most:
            image = _integrate(averaged, space, trial, truth, kept, scale)
            met.append(error_of(image, truth, stop, none))
            if met[-1] < min(met[:-1]) or (step >= most and (settings.steps or not best_steps)):
                best_steps, chosen = step, deepcopy(averaged)
        if step >= most or len(met) - 1 - int(np.argmin(met)) > PATIENCE:
            break
    by_ngr = errors(lambda begun, left: _integrate(chosen, space, begun, truth, left, scale)) if best_steps else None
    if by_ngr is not None:
        table = judge.tabulated([by_guide.error, by_ngr.error], by_guide.where)
    if settings.method == "auto" and not (best_steps and judge.keeps(table, USUAL)):
        return Refined(None, by_guide, by_ngr, table)
    return Refined(_integrate(chosen, space, estimate.image, cube, observed, scale), by_guide, by_ngr, table)


class _Spectra(nn.Module):
    """A network's coefficients as a potential of all bands, (1, B, h, w)."""

    unit: Tensor
    vectors: Tensor

    def __init__(self, network: nn.Module, space: Subspace) -> None:
        """Take the network, and the spectra that its answers are coefficients of."""
        super().__init__()
        self.network = network
        self.register_buffer("vectors", space.vectors)

    def forward(self, x: Tensor) -> Tensor:
        """Return the potential."""
        return torch.einsum("br,nrhw->nbhw", self.vectors, self.network(x))


@torch.no_grad()
def _integrate(
    network: nn.Module, space: Subspace, guide: Tensor, cube: Tensor, observed: Tensor, scale: float
) -> Tensor:
    """Return the image that follows  D(guide + s·V)  in the gaps and holds what is observed."""
    estimate = guide + scale * network(_inputs(space, guide, observed)[None])[0]
    start = torch.where(observed, cube, estimate)
    return hold(start, Neumann().gradient(estimate), observed, (1.0, 1.0, 0.0), Neumann(), HOLD_STEPS, guide=estimate)


def _inputs(space: Subspace, guide: Tensor, observed: Tensor) -> Tensor:
    """Return what the network sees: the guide's coefficients and how much of a pixel is observed, (r + 1, h, w)."""
    return torch.cat([standard_of(space.down(guide)), observed.to(guide.dtype).mean(0, keepdim=True)])


def _hide_gaps(observed: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return three disjoint sets of hidden entries (B, h, w), shaped like the gaps: to learn from, to stop, to score.

    The gaps themselves, moved; at most 4 `SHARE` of what is observed, in blocks of pixels that go to one set each.
    """
    generator = torch.Generator().manual_seed(seed)
    down, across = (int(torch.randint(3, max(4, n - 3), (1,), generator=generator)) for n in observed.shape[1:])
    moved = ~torch.roll(observed, (down, across), (1, 2)) & observed
    through = moved.all(0) | ~observed.any(0)
    if (~observed.any(0)).any():  # beside a dead line a hidden one would make a wider gap than there are
        blind = (~observed.any(0))[None, None].float()
        moved = moved & (functional.max_pool2d(blind, 5, 1, 2)[0, 0] == 0)
    block = torch.rand(*(-(-n // 8) for n in observed.shape[1:]), generator=generator)
    block = block.repeat_interleave(8, 0).repeat_interleave(8, 1)[: observed.shape[1], : observed.shape[2]]
    share = float(moved.double().sum() / observed.double().sum().clamp(min=1))
    keep = torch.rand(moved.shape, generator=generator) < 4 * SHARE / max(share, 1e-9)
    if through.any() and share < 0.3:
        keep = torch.ones_like(moved)
    moved = moved & keep
    return moved & (block < 0.5), moved & (block >= 0.5) & (block < 0.75), moved & (block >= 0.75)
