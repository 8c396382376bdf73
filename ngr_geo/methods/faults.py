"""What the spectral verbs are: for each a guide, what NGR makes of it, and hidden data that stops and judges.

`solve` is called for every tile of a cube (B, h, w) of one date, scaled to about [0, 1]. Tensors only: rasters and units stay
in `spectra.py`. Two forms of NGR, both refining the guide in the subspace of its own leading spectra:

- *Noise and stripes* go through the solver's loop (`iterate`): the residual E is Gaussian or striped, the network sees the
  guide and predicts the correction to its gradients. A few entries are hidden (`Masked`), and it stops when they are met best.
- *Gaps* have a guide that meets the observed entries, so there its error has nothing to teach. The network learns from
  entries that were hidden from its guide, and is then applied to a guide made of all of them; what is observed is held.

How far a result may be off is told by a second look (`_trust`). For gaps these are entries hidden from all of this, shaped like the
gaps. Noise has no truth to hide: there the estimate is made noisy again, and what is then made of it compared with it. What the
estimate itself lost cannot show there; it shows in the residual, where neighbouring bands have in common what noise has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..guides import entries, lines, mixed, stripes, subspace
from ..guides.covariance import principal
from ..solver import Neumann, Small, hold, iterate
from ..solver import Settings as Loop
from ..solver.fidelity import Fidelity, Gaussian, Stripes
from ..solver.prior import Example, Training, train
from ..solver.published import Case
from ..tiling.devices import threads
from . import judge as judging
from . import uncertainty
from .filling import solve_as_published
from .probes import judged
from .problem import Judgement, Settings
from .uncertainty import Spread

Kind = Literal["gaussian", "mixed", "stripes", "gaps"]

TRIAL_SIZE, NOISE_TRIAL_SIZE = 96, 64
"""Sides of the windows that NGR is tried on: for gaps, and for noise, of which a smaller one has enough."""
SHARE = 0.03
"""Share of the observed entries that is hidden."""
MOST_STEPS, CHECK_EVERY, PATIENCE = 60, 10, 1
LEADING = 8
"""Spectra of the guide that the network works in, at most."""
HOLD_STEPS = 16
IMPULSIVE = 2e-3
"""Share of residuals beyond `FAR` standard deviations that tells mixed noise from Gaussian, which has 7e-6 there."""
FAR = 4.5
PILED = 0.01
"""Share of entries that stand alone at the end of their band's range, which tells impulses or censoring."""
BETTER = 0.98
"""For noise and stripes NGR is kept where its error on hidden data is below this part of the guide's: the best of some looks."""
USUAL = -0.1
"""Gain of NGR in dB for gaps in cubes before anything is measured: it lost 0.03 to 0.7, so the guide wins a tie (see `judging`)."""
STRUCK = 3.5
"""Standard deviations beyond which a residual is taken for an impulse."""
LAGS = (1, 2, 3)
"""How many bands apart residuals are compared."""
MOST_LOST = 4.0
DRAWS = 3
"""Times that gaps are hidden in a trial: where a dead line crosses a field's edge it is met less well than elsewhere."""
FEW = 5
"""Hidden entries of a band that count as much as what all bands tell of it."""


@dataclass(frozen=True)
class Task:
    """What a verb asks for. `kind` None: to be found out; `direction` as the user gave it, if so."""

    verb: str
    kind: Kind | None = None
    direction: Literal["columns", "rows"] | None = None


class Answer(NamedTuple):
    """A cube solved.

    `image` (B, h, w); `made` (B, h, w), True where a value is made up and not measured; `noise` (B,); `deviation` (B, h, w),
    how far a value may be off: NaN where unknown, all 0 where it was not asked for; what was kept, and the errors expected.
    """

    image: Tensor
    made: Tensor
    noise: Tensor
    deviation: Tensor
    judgement: Judgement
    note: str = ""


class Estimate(NamedTuple):
    """What a guide says.

    `image` (B, h, w); `clean`, the observation without what the guide saw as a fault; `made`, True where a value is made up;
    `noise` (B,); `axis` along which stripes run.
    """

    image: Tensor
    clean: Tensor
    made: Tensor
    noise: Tensor
    axis: int = -2


Guide = Callable[[Tensor, Tensor], Estimate]
"""Maps a cube (B, h, w), 0 where not observed, and `observed` to an estimate."""


class Hidden(NamedTuple):
    """The cube and what is observed of it in a trial; the entries that stop it; those that score it; what they should be."""

    cube: Tensor
    observed: Tensor
    stop: Tensor
    score: Tensor
    truth: Tensor


class Refined(NamedTuple):
    """What NGR made of a guide: the image (B, h, w), None where the guide is kept; the errors at what was hidden.

    `table` has the errors by which that was chosen, where they are of blocks: see `judging`.
    """

    image: Tensor | None
    guide: Errors
    ngr: Errors | None
    table: judging.Table | None = None


class Errors(NamedTuple):
    """Result less truth (B, h, w) of a window, and where that counts; the result, and the guide that it was made from."""

    error: Tensor
    where: Tensor
    image: Tensor
    guide: Tensor
    seen: Tensor


class Subspace(NamedTuple):
    """The leading spectra of a guide: values = mean + unit · (vectors @ coefficients). (B, 1, 1), (B, 1, 1), (B, r)."""

    mean: Tensor
    unit: Tensor
    vectors: Tensor

    def down(self, image: Tensor) -> Tensor:
        """Return the coefficients (r, h, w) of a cube (B, h, w)."""
        return torch.einsum("br,bhw->rhw", self.vectors, (image - self.mean) / self.unit)

    def up(self, coefficients: Tensor) -> Tensor:
        """Return the deviation from the mean (B, h, w) of coefficients (r, h, w)."""
        return self.unit * torch.einsum("br,rhw->bhw", self.vectors, coefficients)


def solve(task: Task, cube: Tensor, observed: Tensor, settings: Settings) -> Answer:
    """Return a cube restored.

    Args:
        task: what to do.
        cube: (B, h, w), finite everywhere, 0 where not observed.
        observed: (B, h, w). Bands without any observed entry take no part and come back as they are.
        settings: method, steps, seed, device.
    """
    with threads(1):
        active = observed.flatten(1).any(1)
        if not active.any():
            nothing = torch.zeros_like(cube)
            return Answer(
                cube, torch.zeros_like(observed), torch.zeros(len(cube)), nothing, unjudged("none", len(cube))
            )
        part, seen = cube[active], observed[active]
        kind, estimate = (task.kind, None) if task.kind else _told(part, seen)
        if settings.method == "paper":
            inner = _published(kind, part, seen, settings)
        else:
            inner = _guided(kind, task, part, seen, estimate, settings)
        image, made, noise = cube.clone(), torch.zeros_like(observed), torch.full((len(cube),), float("nan"))
        image[active], made[active], noise[active] = inner.image, inner.made, inner.noise
        deviation = torch.zeros_like(cube)
        deviation[active] = inner.deviation
        tables = np.full((len(Judgement._fields) - 1, len(cube)), np.nan)
        for row, values in zip(tables, inner.judgement[1:], strict=True):
            row[active.numpy()] = values
        judgement = Judgement(inner.judgement.method, *map(tuple, tables.tolist()))
        return Answer(image, made, noise, deviation, judgement, kind)


def _guided(
    kind: Kind, task: Task, cube: Tensor, observed: Tensor, estimate: Estimate | None, settings: Settings
) -> Answer:
    """Return the guide, which may be known already, or what NGR makes of it where that meets hidden data better."""
    guide = _guide(kind, task)
    estimate = estimate or guide(cube, observed)
    refine = _refine_gaps if kind == "gaps" else _refine_noise
    refined = refine(kind, guide, cube, observed, estimate, settings)
    image = estimate.image if refined.image is None else refined.image
    judgement, deviation = _trust(refined, image, estimate.image, observed, settings)
    return Answer(image, estimate.made, estimate.noise, deviation, judgement)


def unjudged(method: str, bands: int) -> Judgement:
    """Return the record of a method whose errors nobody can tell."""
    nothing = (float("nan"),) * bands
    return Judgement(method, *(nothing,) * (len(Judgement._fields) - 1))


def _guide(kind: Kind, task: Task) -> Guide:
    """Return the guide of a kind of fault."""

    def gaussian(cube: Tensor, observed: Tensor) -> Estimate:
        found = subspace.denoise(cube, observed)
        return Estimate(found.image, cube, torch.zeros_like(observed), found.sigma)

    def impulses(cube: Tensor, observed: Tensor) -> Estimate:
        found = mixed.restore(cube, observed)
        return Estimate(found.image, found.clean, torch.zeros_like(observed), found.sigma)

    def striped(cube: Tensor, observed: Tensor) -> Estimate:
        found = stripes.remove(cube, observed, task.direction)
        axis = -1 if found.direction == "rows" else -2
        return Estimate(found.image, cube, torch.zeros_like(observed), torch.zeros(len(cube)), axis)

    def gaps(cube: Tensor, observed: Tensor) -> Estimate:
        return Estimate(fill(cube, observed), cube, ~observed, torch.zeros(len(cube)))

    return {"gaussian": gaussian, "mixed": impulses, "stripes": striped, "gaps": gaps}[kind]


def fill(cube: Tensor, observed: Tensor) -> Tensor:
    """Return a cube (B, h, w) with its gaps filled: by `lines` where most of them reach through all bands, else by `entries`."""
    through = ~observed.any(dim=0)
    gaps = int((~observed).sum())
    whole = int(through.sum()) * len(cube)
    return (lines.fill if 2 * whole > gaps else entries.complete)(cube, observed)


def _told(cube: Tensor, observed: Tensor) -> tuple[Kind, Estimate | None]:
    """Return which noise a cube has, and the estimate that this was told from where it is the guide.

    Mixed noise piles up values, scattered, at the ends of the range, or leaves the tails of impulses in a Gaussian fit's residual.
    """
    if mixed.scattered_at_limits(cube, observed) > PILED:
        return "mixed", None
    estimate = _guide("gaussian", Task(""))(cube, observed)
    far = (cube - estimate.image).abs() > FAR * estimate.noise.clamp(min=1e-6)[:, None, None]
    share = float((far & observed).sum()) / max(float(observed.sum()), 1.0)
    return ("mixed", None) if share > IMPULSIVE else ("gaussian", estimate)


# --- noise and stripes: the solver's loop ----------------------------------------------------------------------------


def _refine_noise(
    kind: Kind,
    guide: Guide,
    cube: Tensor,
    observed: Tensor,
    estimate: Estimate,
    settings: Settings,
) -> Refined:
    """Return the refined image where a trial on a part of the cube says that it is better, and the errors to be expected."""
    steps = _steps_on_noise(kind, guide, cube, observed, estimate, settings) if settings.method != "guide" else 0
    window = _busiest(observed, TRIAL_SIZE)
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
    kind: Kind, guide: Guide, cube: Tensor, observed: Tensor, estimate: Estimate, settings: Settings
) -> int:
    """Return after how many steps of the loop hidden data is met best, 0 where the guide is to be kept."""
    window = _busiest(observed, TRIAL_SIZE if kind == "stripes" else NOISE_TRIAL_SIZE)
    truth, seen = cube[:, *window], observed[:, *window]
    hide = _plant_stripes if kind == "stripes" else _hide_entries
    part = estimate._replace(image=estimate.image[:, *window])
    trial_cube, trial_seen, stop, _, truth = hide(truth, seen, part, settings.seed)
    trial = guide(trial_cube, trial_seen)
    most, looks = settings.steps or MOST_STEPS, {0: _error(trial.image, truth, stop, trial.noise)}
    for step, image in enumerate(_loop(kind, trial, trial_seen, settings)):
        if step and (step == most if settings.steps else step % CHECK_EVERY == 0):
            looks[step] = _error(image, truth, stop, trial.noise)
        if step >= most or len(looks) - 1 - int(np.argmin(list(looks.values()))) > PATIENCE:
            break
    best = min(looks, key=lambda s: looks[s])
    if settings.method == "ngr":
        return settings.steps or best or max(looks)
    return best if looks[best] < BETTER * looks[0] else 0


def _loop(kind: Kind, estimate: Estimate, observed: Tensor, settings: Settings) -> Iterator[Tensor]:
    """Yield the image (B, h, w) after each step of the loop on the guide's coefficients, the guide itself first."""
    space = _subspace(estimate.image, estimate.noise)
    known = torch.where(observed & ~estimate.made, estimate.clean, estimate.image)
    target, start = space.down(known), space.down(estimate.image)
    rest = estimate.image - space.mean - space.up(start)  # what the guide keeps outside the subspace stays
    fidelity: Fidelity = Stripes(1e-3, 1e-2, estimate.axis) if kind == "stripes" else Gaussian(0.5)
    loop = Loop(weights=(50.0, 50.0, 0.0), learning_rate=1e-3, seed=settings.seed)
    network = _Fields(Small(len(start), len(start), seed=settings.seed), (target - start).flatten(1).std(1))
    device = settings.placed().device or "cpu"
    states = iterate(
        target.to(device),
        network.to(device),
        _standard(start)[None].to(device),
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
    """Return the estimate with new noise like that found. Where the cube is struck by more than noise, so is this."""
    unit = estimate.noise[:, None, None]
    noisy = estimate.image + unit * torch.randn(cube.shape, generator=torch.Generator().manual_seed(seed))
    if kind == "mixed":
        low, high = torch.aminmax(torch.where(observed, cube, estimate.image).flatten(1), dim=1)
        struck = (cube - estimate.image).abs() > STRUCK * unit
        noisy = torch.where(struck, cube, noisy).clamp(low[:, None, None], high[:, None, None])
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
        usual = left.abs() < STRUCK
        left = torch.where(usual, left, 0).double()
        pairs = [(left[lag:] * left[:-lag], usual[lag:] & usual[:-lag]) for lag in LAGS if lag < len(left)]
        common.append(np.mean([float(product.sum() / both.sum().clamp(min=1)) for product, both in pairs] or [0.0]))
    own = float((error / unit).double().square().mean())
    return float(np.sqrt(np.clip(1 + (common[0] - common[1]) / max(own, 1e-12), 1, MOST_LOST)))


def _plant_stripes(truth: Tensor, observed: Tensor, estimate: Estimate, seed: int) -> Hidden:
    """Return the destriped cube with new stripes, as strong as those found, on some lines of each band."""
    offset, axis = truth - estimate.image, estimate.axis
    struck = (offset != 0) & observed
    strength = float(offset[struck].double().std()) if int(struck.sum()) > 1 else 0.0
    lines = observed.any(dim=axis, keepdim=True)
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(lines.shape, generator=generator)
    new = strength * torch.randn(lines.shape, generator=generator)
    stop, score = lines & (draw < 2 * SHARE), lines & (draw > 1 - 2 * SHARE)
    planted = torch.where(stop | score, estimate.image + new, estimate.image)
    return Hidden(planted, observed, stop & observed, score & observed, estimate.image)


def _error(image: Tensor, truth: Tensor, where: Tensor, noise: Tensor) -> float:
    """Return the RMSE on hidden data, bands weighted by their noise; beyond `FAR` deviations it is cut: an impulse is none."""
    if not where.any():
        return float("nan")
    unit = noise.clamp(min=1e-2 * float(noise.max()))[:, None, None] if float(noise.max()) > 0 else torch.ones(1, 1, 1)
    z = ((image - truth) / unit)[where]
    z = z.clamp(-FAR, FAR) if float(noise.max()) > 0 else z
    return float(z.double().square().mean().sqrt() * unit.double().mean())


# --- gaps: a network that learns from what was hidden from its guide --------------------------------------------------


def _refine_gaps(
    kind: Kind, guide: Guide, cube: Tensor, observed: Tensor, estimate: Estimate, settings: Settings
) -> Refined:
    """Return the refined image where a trial on a part of the cube says that it is better, and the errors to be expected."""
    window = _busiest(observed, TRIAL_SIZE)
    truth, seen = cube[:, *window], observed[:, *window]
    learn, stop, score = _hide_gaps(seen, settings.seed)
    if settings.method == "guide":  # nothing is learnt or chosen: all that is hidden tells of the errors
        learn, stop, score = torch.zeros_like(learn), torch.zeros_like(stop), learn | stop | score
    kept = seen & ~learn & ~stop & ~score
    trial = guide(torch.where(kept, truth, 0), kept).image

    looks = [(trial, kept, score)]
    for draw in range(
        1, DRAWS
    ):  # the same gaps elsewhere: what nothing was learnt from, or chosen by, tells of the errors
        hidden = torch.stack(_hide_gaps(seen, settings.seed + draw)).any(0)
        left = seen & ~hidden
        looks.append((guide(torch.where(left, truth, 0), left).image, left, hidden & ~learn & ~stop))

    def errors(refine: Callable[[Tensor, Tensor], Tensor]) -> Errors:
        found = [(refine(begun, left), where, begun, left) for begun, left, where in looks]
        parts = [(image - truth, where, image, begun, left) for image, where, begun, left in found]
        return Errors(*(torch.cat(part, dim=2) for part in zip(*parts, strict=True)))

    by_guide = errors(lambda begun, _: begun)
    table = judging.tabulated([by_guide.error], by_guide.where)
    if not (learn.any() and stop.any() and score.any()):
        return Refined(None, by_guide, None, table)
    none = torch.zeros(len(cube))
    space = _subspace(estimate.image, none)
    scale = float((truth - trial)[learn].double().std()) + 1e-9
    network = _Spectra(Small(space.vectors.shape[1] + 1, space.vectors.shape[1], seed=settings.seed), space)
    example = Example(_inputs(space, trial, kept), (truth - trial) / scale, learn)
    best_steps, met = 0, [_error(trial, truth, stop, none)]
    chosen: nn.Module = network
    most = settings.steps or MOST_STEPS
    for step, averaged in enumerate(train(network, [example], Training(), settings.seed), start=1):
        if step % CHECK_EVERY == 0 or step >= most:
            image = _integrate(averaged, space, trial, truth, kept, scale)
            met.append(_error(image, truth, stop, none))
            if met[-1] < min(met[:-1]) or (step >= most and (settings.steps or not best_steps)):
                best_steps, chosen = step, deepcopy(averaged)
        if step >= most or len(met) - 1 - int(np.argmin(met)) > PATIENCE:
            break
    by_ngr = errors(lambda begun, left: _integrate(chosen, space, begun, truth, left, scale)) if best_steps else None
    if by_ngr is not None:
        table = judging.tabulated([by_guide.error, by_ngr.error], by_guide.where)
    if settings.method == "auto" and not (best_steps and judging.keeps(table, USUAL)):
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
    return torch.cat([_standard(space.down(guide)), observed.to(guide.dtype).mean(0, keepdim=True)])


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


# --- how far it may be off -------------------------------------------------------------------------------------------


def _trust(
    refined: Refined, image: Tensor, guide: Tensor, observed: Tensor, settings: Settings
) -> tuple[Judgement, Tensor]:
    """Return what is kept and the errors to be expected, and the deviation (B, h, w) of the image made from a guide."""
    method = "guide" if refined.image is None else "ngr"
    kept = refined.guide if refined.image is None or refined.ngr is None else refined.ngr
    tables = []
    for errors in (refined.guide, refined.ngr):
        level = _levels(errors) if errors else np.full(len(image), np.nan)
        bias = _biases(errors) if errors else np.full(len(image), np.nan)
        tables.append((level, bias))
    unit = torch.from_numpy(tables[kept is refined.ngr][0]).float().nan_to_num(nan=1).clamp(min=1e-9)
    spread = _spread(kept, unit)
    doubt = float("nan") if spread is None else float(spread.doubt[0])
    columns = (tables[0][0], tables[1][0], tables[0][1], tables[1][1], np.full(len(image), doubt))
    names = ("guide_rmse", "ngr_rmse", "guide_bias", "ngr_bias", "doubt")
    expected: dict[str, Any] = {n: tuple(c.tolist()) for n, c in zip(names, columns, strict=True)}
    judgement = judged(method, refined.table)._replace(**expected)
    if not settings.uncertainty:
        return judgement, torch.zeros_like(image)
    if spread is None:
        return judgement, torch.full_like(image, torch.nan)
    scales = _unit(kept.image)
    deviation = torch.empty_like(image)
    for band in range(len(image)):
        columns_here = _features(observed[band], image[band] / scales[band], guide[band] / scales[band])
        deviation[band] = (spread.scale(columns_here[None]) * float(spread.deviation[0])).reshape(image[band].shape)
    return judgement, deviation * unit[:, None, None]


def _levels(errors: Errors) -> NDArray[np.float64]:
    """Return the RMSE of each band (B,), of bands with few hidden entries partly what the others tell; NaN without any."""
    where = errors.where.flatten(1)
    count = where.sum(1).double().numpy()
    if not count.any():
        return np.full(len(where), np.nan)
    square = torch.where(where, errors.error.flatten(1).double().square(), 0).sum(1).numpy()
    unit = _unit(errors.image).double().numpy() ** 2
    some = count >= 3 if (count >= 3).any() else count > 0
    usual = float(np.median(square[some] / count[some] / unit[some]))
    level: NDArray[np.float64] = np.sqrt((square + FEW * usual * unit) / (count + FEW))
    return level


def _biases(errors: Errors) -> NDArray[np.float64]:
    """Return the mean error of each band (B,), drawn to 0 where few entries were hidden."""
    where = errors.where.flatten(1)
    total = torch.where(where, errors.error.flatten(1).double(), 0).sum(1)
    bias: NDArray[np.float64] = (total / (where.sum(1) + FEW)).numpy()
    return bias if where.any() else np.full(len(where), np.nan)


def _unit(image: Tensor) -> Tensor:
    """Return the deviation of each band (B,): what tells busy from quiet is measured in it."""
    spread = image.flatten(1).double().std(1)
    return spread.clamp(min=1e-3 * float(spread.max()) + 1e-9).float()


def _features(seen: Tensor, image: Tensor, guide: Tensor) -> Tensor:
    """Return what the error of one band depends on, (FEATURES, h·w): see `uncertainty.features`. There are no references."""
    clear = torch.ones(2, *seen.shape)
    return uncertainty.features(seen, clear, image[None], guide[None])[0].flatten(1)


def _spread(errors: Errors, unit: Tensor) -> Spread | None:
    """Return how errors, in each band's `unit` (B,), depend on their place; the quarters of the window are its probes."""
    scales = _unit(errors.image)
    columns, values, quarters = [], [], []
    height, width = errors.where.shape[1:]
    quarter = 2 * (torch.arange(height) * 2 // max(height, 1))[:, None] + torch.arange(width) * 2 // max(width, 1)
    share = min(1.0, 4 * uncertainty.MOST_PIXELS / max(float(errors.where.sum()), 1))
    generator = torch.Generator().manual_seed(0)
    for band, where in enumerate(errors.where):
        where = where & (torch.rand(where.shape, generator=generator) < share)
        if where.any():
            image, guide = (a[band] / scales[band] for a in (errors.image, errors.guide))
            columns.append(_features(errors.seen[band], image, guide)[:, where.flatten()])
            values.append(errors.error[band][where] / unit[band])
            quarters.append(quarter[where])
    if not columns:
        return None
    error = torch.cat(values)[None]
    return uncertainty.fit(error, torch.cat(columns, 1)[None], torch.zeros_like(error[0]), torch.cat(quarters))


# --- common ----------------------------------------------------------------------------------------------------------


def _subspace(image: Tensor, noise: Tensor) -> Subspace:
    """Return the leading spectra of an image (B, h, w), in units of the noise (B,) where there is any, else of each band."""
    flat = image.flatten(1).double()
    mean = flat.mean(1, keepdim=True)
    unit = noise.double()[:, None] if float(noise.max()) > 0 else flat.std(1, keepdim=True)
    unit = unit.clamp(min=1e-3 * float(unit.max()) + 1e-9)
    standard = (flat - mean) / unit
    leading = principal(standard)[1][:, :LEADING]
    return Subspace(mean[..., None].float(), unit[..., None].float(), leading.float())


def _standard(maps: Tensor) -> Tensor:
    """Return maps (n, h, w) with mean 0 and deviation 1."""
    flat = maps.flatten(1)
    mean, spread = flat.mean(1)[:, None, None], flat.std(1).clamp(min=1e-6)[:, None, None]
    return (maps - mean) / spread


def _busiest(observed: Tensor, size: int) -> tuple[slice, slice]:
    """Return the window of at most `size` with most pixels that are partly observed, else with most observed ones."""
    height, width = observed.shape[1:]
    some = observed.any(0).double()
    best, window = -1.0, (slice(0, height), slice(0, width))
    for top in range(0, max(height - size, 0) + 1, 16):
        for left in range(0, max(width - size, 0) + 1, 16):
            here = slice(top, min(top + size, height)), slice(left, min(left + size, width))
            count = float(some[here].sum())
            if count > best:
                best, window = count, here
    return window


def _published(kind: Kind, cube: Tensor, observed: Tensor, settings: Settings) -> Answer:
    """Return what the published algorithm makes of a cube; stripes are to it a kind of mixed noise."""
    case: Case = "inpaint" if kind == "gaps" else "gaussian" if kind == "gaussian" else "mixed"
    image = torch.from_numpy(solve_as_published(cube[None].numpy(), observed[None].numpy(), settings, case)[0])
    made = ~observed if kind == "gaps" else torch.zeros_like(observed)
    noise = torch.full((len(cube),), float("nan"))
    return Answer(image, made, noise, torch.zeros_like(cube), unjudged("paper", len(cube)))
