"""What NGR makes of the guide of a spectral cube, tried and judged on a part of the cube where the truth is known.

Noise and stripes go through the solver's loop, stopped and judged by hidden entries or planted stripes. For gaps a network learns
from entries that were hidden from its guide, and then refines a guide that saw all.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ..guides.base import Estimate
from ..guides.covariance import precise
from ..guides.filters import near
from ..guides.hidden import draw_blocks
from ..guides.through import narrow
from ..solver import LoopSettings, Neumann, Small, gaps_of, hold, iterate
from ..solver.fidelity import Fidelity, Gaussian, Stripes
from ..solver.train import Example, Training, train
from . import judge
from .base import Kind
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
    Filler,
    Refined,
    Subspace,
    busiest_of,
    error_of,
    standard_of,
    subspace_of,
)

Trial = tuple[Tensor, Tensor, Tensor, Tensor]
"""A cube (B, h, w) and what is observed of it; the hidden entries that stop a trial on it; what they should be."""
IMPULSE = 3.5
"""Standard deviations beyond which a residual is taken for an impulse."""
LAGS = (1, 2, 3)
"""How many bands apart residuals are compared."""
MOST_LOST = 4.0
MOST_DEEP = 0.3
"""Share of pixels that are hidden in all bands, at most, beside entries."""
DRAWS, PLACES = 3, 1500
"""Times that gaps are hidden in a trial, at most, and pixels that are to measure the errors: scattered entries have these at once,
dead lines not, which are met less well where they cross a field's edge."""


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
    if kind == "stripes":
        part = estimate._replace(image=estimate.image[:, *window])
        trial_cube, trial_seen, stop, truth = _plant_stripes(truth, seen, part, settings.seed)
    else:
        trial_cube, trial_seen, stop, truth = _hide_entries(truth, seen, settings.seed)
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
    scale = (target - start).flatten(1).std(1).clamp(min=1e-6)[:, None, None]  # of what there is to explain
    potential = Small(len(start), len(start), seed=settings.seed)
    network = _Followed(potential, lambda answer: Neumann().gradient(scale * answer[0])[None])
    states = iterate(target, network.to(start.device), standard_of(start)[None], fidelity, loop, guide=start)
    for state in states:
        yield space.mean + space.up(state.image) + rest


class _Followed(nn.Module):
    """A network, and what is made of its answer: the fields of a potential, or all bands of coefficients."""

    def __init__(self, network: nn.Module, then: Callable[[Tensor], Tensor]) -> None:
        """Take both."""
        super().__init__()
        self.network, self.then = network, then

    def forward(self, x: Tensor) -> Tensor:
        """Return what is made of the network's answer."""
        return self.then(self.network(x))


def _hide_entries(truth: Tensor, observed: Tensor, seed: int) -> Trial:
    """Return a cube without `SHARE` of its observed entries; half of them stop the trial."""
    draw = torch.rand(observed.shape, generator=torch.Generator().manual_seed(seed)).to(observed.device)
    stop, others = observed & (draw < SHARE / 2), observed & (draw > 1 - SHARE / 2)
    seen = observed & ~stop & ~others
    return torch.where(seen, truth, 0), seen, stop, truth


def _plant_noise(kind: Kind, cube: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> Tensor:
    """Return the estimate with new noise like that found. Where the cube is hit by more than noise, so is this."""
    unit = estimate.noise[:, None, None]
    draw = torch.randn(cube.shape, generator=torch.Generator().manual_seed(seed)).to(cube)
    noisy = estimate.image + unit * draw
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
        left = precise(torch.where(usual, left, 0))
        pairs = [(left[lag:] * left[:-lag], usual[lag:] & usual[:-lag]) for lag in LAGS if lag < len(left)]
        common.append(np.mean([float(product.sum() / both.sum().clamp(min=1)) for product, both in pairs] or [0.0]))
    own = float(precise(error / unit).square().mean())
    return float(np.sqrt(np.clip(1 + (common[0] - common[1]) / max(own, 1e-12), 1, MOST_LOST)))


def _plant_stripes(truth: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> Trial:
    """Return the destriped cube with new stripes, as strong as those found, on some lines of each band."""
    offset, axis = truth - estimate.image, estimate.axis
    striped = (offset != 0) & observed
    strength = float(precise(offset[striped]).std()) if int(striped.sum()) > 1 else 0.0
    lines = observed.any(dim=axis, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(lines.shape, generator=generator).to(truth)
    new = strength * torch.randn(lines.shape, generator=generator).to(truth)
    stop, others = lines & (draw < 2 * SHARE), lines & (draw > 1 - 2 * SHARE)
    planted = torch.where(stop | others, estimate.image + new, estimate.image)
    return planted, observed, stop & observed, estimate.image


def refine_gaps(fill: Filler, cube: Tensor, observed: Tensor, estimate: Estimate, settings: Settings) -> Refined:
    """Return the refined image where a trial on a part of the cube says that it is better, and the errors to be expected."""
    shown = observed.any(0)
    window = busiest_of(observed, TRIAL_SIZE, None if shown.all() else narrow(shown))
    truth, seen = cube[:, *window], observed[:, *window]
    learn, stop, score = _hide_gaps(seen, settings.seed)
    if settings.method == "guide":  # nothing is learnt or chosen: all that is hidden measures the errors
        learn, stop, score = torch.zeros_like(learn), torch.zeros_like(stop), learn | stop | score
    kept = seen & ~learn & ~stop & ~score
    trial = fill(torch.where(kept, truth, 0), kept)

    looks = [(trial, kept, score)]
    for draw in range(1, DRAWS):
        if sum(int(where.any(0).sum()) for *_, where in looks) >= PLACES:
            break
        # The same gaps elsewhere: what nothing was learnt from, or chosen by, measures the errors.
        hidden = torch.stack(_hide_gaps(seen, settings.seed + draw)).any(0)
        left = seen & ~hidden
        looks.append((fill(torch.where(left, truth, 0), left), left, hidden & ~learn & ~stop))

    def errors(refine: Callable[[Tensor, Tensor], Tensor]) -> Errors:
        found = [(refine(begun, left), where, begun, left) for begun, left, where in looks]
        parts = [(image - truth, where, image, begun, left) for image, where, begun, left in found]
        return Errors(*(torch.cat(part, dim=2) for part in zip(*parts, strict=True)))

    by_guide = errors(lambda begun, _: begun)
    table = judge.tabulated([by_guide.error], by_guide.where)
    if not (learn.any() and stop.any() and score.any()):
        return Refined(None, by_guide, None, table)
    none = cube.new_zeros(len(cube))
    space = subspace_of(estimate.image, none)
    scale = float(precise((truth - trial)[learn]).std()) + 1e-9
    rank = space.vectors.shape[1]
    coefficients = Small(rank + 1, rank, seed=settings.seed).to(cube.device)
    network = _Followed(coefficients, partial(_mixed, space.vectors))
    example = Example(_inputs(space, trial, kept), (truth - trial) / scale, learn)
    most, chosen, met = settings.steps or MOST_STEPS, None, [error_of(trial, truth, stop, none)]
    for step, averaged in enumerate(train(network, [example], Training(), settings.seed), start=1):
        if step == most if settings.steps else step % CHECK_EVERY == 0:
            image = _integrate(averaged, space, trial, truth, kept, scale)
            met.append(error_of(image, truth, stop, none))
            if settings.steps or met[-1] < min(met[:-1]):
                chosen = deepcopy(averaged)
        if step == most or len(met) - 1 - int(np.argmin(met)) > PATIENCE:
            break
    if chosen is None and settings.method == "auto":
        return Refined(None, by_guide, None, table)
    chosen = chosen or averaged

    def refined(begun: Tensor, left: Tensor) -> Tensor:
        return _integrate(chosen, space, begun, truth, left, scale)

    by_ngr = errors(refined)
    table = judge.tabulated([by_guide.error, by_ngr.error], by_guide.where)
    if settings.method == "auto" and not judge.keeps(table):
        return Refined(None, by_guide, by_ngr, table)
    return Refined(_integrate(chosen, space, estimate.image, cube, observed, scale), by_guide, by_ngr, table)


@torch.no_grad()
def _integrate(
    network: _Followed, space: Subspace, guide: Tensor, cube: Tensor, observed: Tensor, scale: float
) -> Tensor:
    """Return the image that follows  D(guide + s·V)  in the gaps and holds what is observed, as the guide does.

    So only V has to be filled in, which is 0 where observed. Where all bands have the same gaps, these are few coefficients.
    """
    potential = scale * network.network(_inputs(space, guide, observed)[None])[0]  # (r, h, w)
    seen, unit = observed.any(0), space.unit.median()
    alike = torch.equal(seen, observed.all(0))
    if not alike:
        potential, seen, unit = _mixed(space.vectors, potential), observed, space.unit
    change = hold(torch.zeros_like(potential), gaps_of(seen, potential), potential, unit)
    change = _mixed(space.vectors, change) if alike else change
    return torch.where(observed, cube, guide + change)


def _mixed(vectors: Tensor, maps: Tensor) -> Tensor:
    """Return the bands (..., B, h, w) that coefficients (..., r, h, w) of spectra (B, r) make."""
    return torch.einsum("br,...rhw->...bhw", vectors, maps)


def _inputs(space: Subspace, guide: Tensor, observed: Tensor) -> Tensor:
    """Return what the network sees: the guide's coefficients and how much of a pixel is observed, (r + 1, h, w)."""
    return torch.cat([standard_of(space.down(guide)), observed.to(guide.dtype).mean(0, keepdim=True)])


def _hide_gaps(observed: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return three disjoint sets of hidden entries (B, h, w), shaped like the gaps: to learn from, to stop, to score.

    The gaps themselves, moved; of entries at most 4 `SHARE` of what is observed, of pixels that no band shows all that are no wide
    margin; in blocks of pixels that go to one set each.
    """
    generator = torch.Generator().manual_seed(seed)
    down, across = (int(torch.randint(3, max(4, n - 3), (1,), generator=generator)) for n in observed.shape[1:])
    moved = ~torch.roll(observed, (down, across), (1, 2)) & observed
    shown = observed.any(0)
    through = moved.all(0) | ~shown
    deep = torch.zeros_like(shown)
    if not shown.all():  # beside a dead line a hidden one would make a wider gap than there are
        moved = moved & ~near(~shown, 5)
        deep = torch.roll(narrow(shown), (down, across), (0, 1))
        deep = deep & (deep.float().mean() < MOST_DEEP)
    block = draw_blocks(observed.shape[1:], 8, generator).to(observed.device)
    share = float(moved.sum() / observed.sum().clamp(min=1))
    keep = torch.rand(moved.shape, generator=generator).to(moved.device) < 4 * SHARE / max(share, 1e-9)
    if through.any() and share < 0.3:
        keep = torch.ones_like(moved)
    moved = moved & (keep | deep)
    return moved & (block < 0.5), moved & (block >= 0.5) & (block < 0.75), moved & (block >= 0.75)
