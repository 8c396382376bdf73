"""What filling is: a guide for each date, a network that refines it, hidden pixels that stop and judge it.

`fit` learns once, from windows of the scene; `solve` is then the same for every tile. Tensors only: a stack is (T, B, h, w),
standardised per date and band. Rasters and units stay in `restore.py`.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import warn
from ..guides import dates as guides
from ..guides.dates import Guide, Window
from ..progress import Progress, silent
from ..solver import Neumann, Small, hold, iterate, paper_network, published, uniform
from ..solver.prior import Example, Training, train
from ..solver.published import Case
from ..tiling.devices import threads
from . import holdout as validate
from . import judge as judging
from . import uncertainty
from .uncertainty import Spread

Method = Literal["auto", "ngr", "guide", "paper"]

HOLD_STEPS = 16
CHECK_EVERY = 10
PATIENCE = 4
"""Checks in a row without a better one after which training stops."""
MOST_STEPS = 400
TRIAL_SIZE = 192
MOST_TRIALS = 3
PROBES = 4
"""Cells of the scene, for each date, in which errors are measured; twice in each."""
PROBE_SHARE = 0.2
PROBE_WIDEST = 1 / 4
"""So much of what is seen is hidden in each, in blobs up to so much of the cell: as wide as the gaps, as far as that goes."""
NEGLIGIBLE = 0.01
"""Share of a date's gaps below which the error expected may leave out a situation in which it could not be measured."""
UNSEEN_PROBES = 8
"""Times that a date, and all others with it, is hidden where none sees the ground, if there are such places."""
TUNING = Training(rate=1e-3)


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    `method`, `steps` (None: stop on hidden pixels), `seed`, `device` (None: the fastest where it runs), and `tune`: steps that
    the networks are trained on each tile before they are used there. With `uncertainty` each tile tells how far it may be off.
    """

    method: Method = "auto"
    steps: int | None = None
    seed: int = 0
    device: str | None = None
    tune: int = 0
    uncertainty: bool = False

    def placed(self) -> Settings:
        """Return them with the device of the machine that this runs on, where none was chosen."""
        return self if self.device else replace(self, device=fastest_device())


def fastest_device() -> str:
    """Return "cuda" where there is one, else "mps", else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Judgement(NamedTuple):
    """The method kept for a date; RMSE and bias per band (B,) expected in its gaps, standardised; NaN where not judged."""

    method: str
    guide_rmse: tuple[float, ...]
    ngr_rmse: tuple[float, ...]
    guide_bias: tuple[float, ...]
    ngr_bias: tuple[float, ...]
    doubt: tuple[float, ...]
    """Of the RMSE of the method kept, as a share of it: see `uncertainty`."""
    guide_hidden: tuple[float, ...]
    ngr_hidden: tuple[float, ...]
    """RMSE per band on the hidden blocks that the choice was made by, standardised: see `judging`."""
    blocks: tuple[float, ...]
    """How many of them each band has."""

    def scaled(self, unit: np.ndarray | float) -> Judgement:
        """Return the judgement with its errors in another unit, for each band (B,) or all."""
        errors = (n for n in self._fields[1:] if n not in ("doubt", "blocks"))
        changed: dict[str, Any] = {n: tuple((np.asarray(getattr(self, n)) * unit).tolist()) for n in errors}
        return self._replace(**changed)


@dataclass(frozen=True)
class Scene:
    """What `fit` learnt of a scene.

    The guide; networks whose answers are averaged; their unit `scale` per date, (B, 1, 1); what was kept for each date;
    how many steps the networks were trained; how far what was kept may be off, where another date saw the ground, and where none
    did.
    """

    guide: Guide
    networks: tuple[Small, ...]
    scale: dict[int, Tensor]
    judgement: dict[int, Judgement]
    steps: int
    spread: dict[int, Spread]
    unseen_spread: dict[int, Spread]


class Problem(NamedTuple):
    """One date of one window: `guide`, `values` (B, h, w), what was `seen` (h, w), and the network's `inputs` (C, h, w).

    `trusted` (h, w) is what of the seen a fill has to meet, `support` (2, h, w) how far references are clear: see `uncertainty`;
    `unseen` (h, w), True where neither this nor another date saw the ground (nowhere where there is one date alone).
    """

    date: int
    guide: Tensor
    values: Tensor
    seen: Tensor
    inputs: Tensor
    trusted: Tensor
    support: Tensor
    unseen: Tensor


class Trial(NamedTuple):
    """A problem small enough to be solved often, with its hidden pixels (h, w): those that stop and those that score."""

    problem: Problem
    stop: Tensor
    score: Tensor


def fit(
    windows: Sequence[Window],
    dates: Sequence[int],
    days: Sequence[float],
    settings: Settings,
    progress: Progress | None = None,
    networks: Sequence[Small] = (),
) -> Scene:
    """Return what there is to know of a scene before any tile of it is solved.

    With hidden pixels kept from everything, a guide is fitted and a network trained until the stop set gets no better. Another
    guide learns from all pixels, and another network from all but some others, as long. The result is made of the second guide and
    of both networks; which of guide and networks is kept is judged by what was hidden from both and stopped neither.

    Args:
        windows: the sample of the scene that everything is learnt from.
        dates: the indices of those to fill.
        days: when each of the T dates was taken, in days; NaN if unknown.
        settings: see `Settings`.
        progress: told of the steps done.
        networks: learnt from another scene or date. They are used as they are, or trained for `settings.steps` more steps.
    """
    tell = progress or silent
    settings = settings.placed()
    with threads(1):
        stop, score = _hide(windows, dates, settings.seed)
        seen = [Window(w.values, w.observed & ~a & ~b) for w, a, b in zip(windows, stop, score, strict=True)]
        tell("guide", 0, 2)
        trial_guide = guides.fit(windows, seen, dates, days)
        problems = [_problem(trial_guide, w, s, d) for w, s in zip(windows, seen, strict=True) for d in dates]
        scale, trials = _scale(problems), _trials(problems, stop, score)
        tell("guide", 1, 2)
        guide = guides.fit(windows, windows, dates, days)
        tell("guide", 2, 2)
        given, steps = tuple(networks), 0
        networks = ()
        alone = (
            len(days) == 1 and settings.method == "auto"
        )  # interpolated from what it is judged by: nothing to refine
        second: list[Trial] = []
        if settings.method != "guide" and not alone:
            everything, second = _second(guide, windows, dates, settings.seed)
            if given and not settings.steps:
                networks = given
            else:
                networks, steps = _train(problems, everything, scale, trials, settings, tell, given)
            networks = tuple(network.to("cpu") for network in networks)
        judgement = _judge(trials, second, networks, scale, dates, settings)
        spread: dict[int, Spread] = {}
        unseen_spread: dict[int, Spread] = {}
        for place, date in enumerate(dates):
            gaps = [(p, ~w.observed[date]) for p, w in zip(problems[place :: len(dates)], windows, strict=True)]
            probes = _probes(trial_guide, windows, seen, score, date, settings.seed)
            probes += _unseen_probes(trial_guide, windows, seen, score, date, settings.seed)
            for method, used in (("guide", ()), ("ngr", networks[:1])):
                if method == "ngr" and not used:
                    continue
                found = _spreads(probes, used, scale, settings)
                judgement[date] = _expecting(judgement[date], method, found, gaps, used, scale, settings)
                if judgement[date].method == method:
                    spread |= {date: found[0]} if found[0] else {}
                    unseen_spread |= {date: found[1]} if found[1] else {}
        return Scene(guide, networks, scale, judgement, steps, spread, unseen_spread)


def solve(scene: Scene, window: Window, dates: Sequence[int], settings: Settings) -> tuple[Tensor, Tensor]:
    """Return a window with the `dates` filled, (T, B, h, w), and the standard deviation of what was filled; NaN where unknown.

    What was observed comes back bit for bit, with a standard deviation of 0.
    """
    settings = settings.placed()
    with threads(1):
        filled, deviation = window.values.clone(), torch.zeros_like(window.values)
        for date in dates:
            if not window.observed[date].all():
                problem = _problem(scene.guide, window, window, date)
                networks = scene.networks if scene.judgement[date].method == "ngr" else ()
                if settings.tune and problem.seen.any():
                    networks = _tuned(networks, problem, scene.scale, settings)
                answer = _answer(problem, networks, scene.scale, settings.device)
                filled[date] = integrate(problem, answer)
                if settings.uncertainty:
                    spreads = scene.spread.get(date), scene.unseen_spread.get(date)
                    deviation[date] = _deviation(problem, answer, spreads)
        return filled, deviation


Spreads = tuple[Spread | None, Spread | None]
"""How far a fill may be off where another date saw the ground, and where none did; None where it could not be measured."""


def _deviation(problem: Problem, answer: Tensor, spreads: Spreads) -> Tensor:
    """Return the standard deviation (B, h, w) of what is filled, 0 where it was seen, NaN where it is not known."""
    deviation = torch.zeros_like(answer)
    for where, spread, columns in _situations(problem, answer, spreads, ~problem.seen):
        deviation[:, where] = torch.nan
        if spread is not None:
            unit = torch.from_numpy(spread.deviation).to(answer.dtype)[:, None]
            deviation[:, where] = spread.scale(columns[..., where]) * unit
    return deviation


def _situations(
    problem: Problem, answer: Tensor, spreads: Spreads, gap: Tensor
) -> Iterator[tuple[Tensor, Spread | None, Tensor]]:
    """Yield the pixels of a gap (h, w) that another date saw, then those that none did, with spread and features of each."""
    where = gap & ~problem.unseen, gap & problem.unseen
    if where[0].any():
        yield where[0], spreads[0], uncertainty.features(problem.seen, problem.support, answer, problem.guide)
    if where[1].any():
        yield where[1], spreads[1], uncertainty.unseen_features(problem.seen, problem.unseen, answer, problem.guide)


def solve_as_published(
    values: np.ndarray, observed: np.ndarray, settings: Settings, task: Case = "inpaint"
) -> np.ndarray:
    """Return a window (T, B, h, w), scaled to [0, 1] and 0 where not `observed`, restored by the published algorithm.

    All dates and bands are the channels of one cube. `settings.steps` shortens the paper's 15 000, or 4 000 for noise. No input
    noise for gaps, as in the paper's cloud removal. The result is the last image, for noise the exponential average: the
    published numbers took the best one by the ground truth.
    """
    settings = settings.placed()
    shape = values.shape
    observation = torch.from_numpy(values.reshape(-1, *shape[2:])).to(settings.device)
    seen = torch.from_numpy(observed.reshape(-1, *shape[2:])).to(settings.device)
    with threads(1):
        case = published(task, observation, seen, settings.seed)
        network = paper_network(len(observation), case.upsampling, settings.seed).to(settings.device)
        start = 0.1 * uniform(observation, settings.seed)[None]
        loop = replace(case.settings, input_noise=0.0) if task == "inpaint" else case.settings
        last = settings.steps or case.steps
        image = case.start.image
        for state in iterate(observation, network, start, case.fidelity, loop, start=case.start):
            image = torch.lerp(state.image, image, case.average) if state.step else state.image
            if state.step == last:
                break
        if task == "inpaint":
            image = torch.where(seen, observation, image)
    answer: np.ndarray = image.cpu().numpy().reshape(shape)
    return answer


@torch.no_grad()
def _answer(problem: Problem, networks: Sequence[Small], scale: dict[int, Tensor], device: str | None) -> Tensor:
    """Return  guide + s·V  (B, h, w), where V is the mean of the networks' answers; without networks the guide."""
    if not networks:
        return problem.guide
    return problem.guide + scale[problem.date] * _potential(problem.inputs, networks, device)


@torch.no_grad()
def integrate(problem: Problem, answer: Tensor) -> Tensor:
    """Return the image (B, h, w) that follows the fields  D(answer)  in the gaps and holds what was seen: a Poisson fill."""
    fields = Neumann().gradient(answer)
    start = torch.where(problem.trusted, problem.values, answer)
    image = hold(start, fields, problem.trusted, (1.0, 1.0, 0.0), Neumann(), HOLD_STEPS, guide=answer)
    return torch.where(problem.seen, problem.values, image)


def _potential(inputs: Tensor, networks: Sequence[Small], device: str | None) -> Tensor:
    """Return the mean of the networks' answers (B, h, w); one at a time on a GPU, and on the CPU where it is out of memory."""
    if device not in (None, "cpu"):
        assert device is not None
        try:
            with _TURN:
                there = inputs[None].to(device)
                return torch.stack([_placed(network, device)(there)[0] for network in networks]).mean(0).cpu()
        except torch.cuda.OutOfMemoryError:
            if device not in _FULL:
                _FULL.add(device)
                text = f"{device} is out of memory: such tiles go to the CPU. Use a smaller tile."
                warn(text)
    return torch.stack([_placed(network, "cpu")(inputs[None])[0] for network in networks]).mean(0)


def _tuned(
    networks: Sequence[Small], problem: Problem, scale: dict[int, Tensor], settings: Settings
) -> tuple[Small, ...]:
    """Return the networks trained for a few more, smaller steps on what one tile shows of its date."""
    tuned = []
    with nullcontext() if settings.device == "cpu" else _TURN:
        example = _example(problem, scale, settings.device)
        for number, network in enumerate(networks):
            own = deepcopy(network).requires_grad_(requires_grad=True).to(settings.device)
            training = train(own, [example], TUNING, settings.seed + number)
            tuned.append(next(itertools.islice(training, settings.tune - 1, None)).to("cpu"))
    return tuple(tuned)


def _placed(network: Small, device: str) -> Small:
    """Return the network on a device: itself, or a copy that is made once."""
    if next(network.parameters()).device == torch.device(device):
        return network
    with _COPYING:
        copies = _COPIES.setdefault(network, {})
        if device not in copies:
            copies[device] = deepcopy(network).to(device)
        return copies[device]


_TURN, _COPYING = threading.Lock(), threading.Lock()
_FULL: set[str] = set()
_COPIES: weakref.WeakKeyDictionary[Small, dict[str, Small]] = weakref.WeakKeyDictionary()


def _problem(guide: Guide, window: Window, seen: Window, date: int) -> Problem:
    estimate, references, trusted = guides.predict(guide, window, seen, date)
    inputs = torch.cat([estimate, references])
    used = guide.regressions[date].references if date in guide.regressions else guide.nearest.get(date, ((), ()))[0]
    clear = window.observed[list(used)].to(estimate.dtype) if used else torch.ones_like(estimate[:1])
    support = torch.stack([clear[0], clear.mean(0)])
    here, others = seen.observed[date], [d for d in range(len(window.observed)) if d != date]
    unseen = ~(here | window.observed[others].any(0)) if others else torch.zeros_like(here)
    return Problem(date, estimate, window.values[date], here, inputs, trusted, support, unseen)


def _hide(
    windows: Sequence[Window], dates: Sequence[int], seed: int, draw: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the pixels hidden from each window, (T, h, w), in two disjoint sets; only dates to fill hide any."""
    stop, score = [], []
    for number, window in enumerate(windows):
        observed = window.observed.numpy()
        pair = np.zeros((2, *observed.shape), bool)
        for date in dates:
            width = validate.thickness(~observed[date])
            key = np.random.SeedSequence([seed, number, date, draw] if draw else [seed, number, date])
            pair[:, date] = validate.draw(observed[date], width, seed=key)
        stop.append(torch.from_numpy(pair[0]))
        score.append(torch.from_numpy(pair[1]))
    return stop, score


def _scale(problems: Sequence[Problem]) -> dict[int, Tensor]:
    """Return the standard deviation of the guide's residual for each date, (B, 1, 1): the network's unit."""
    scale: dict[int, Tensor] = {}
    for date in {p.date for p in problems}:
        residual = torch.cat([(p.values - p.guide)[:, p.seen] for p in problems if p.date == date], dim=1)
        spread = residual.double().square().mean(1).sqrt().float() if residual.shape[1] else torch.ones(len(residual))
        scale[date] = spread.clamp(min=1e-3)[:, None, None]
    return scale


def _trials(problems: Sequence[Problem], stop: Sequence[Tensor], score: Sequence[Tensor]) -> list[Trial]:
    """Return windows of the problems with hidden pixels, at most `TRIAL_SIZE` wide, evenly many for every date."""
    trials: list[Trial] = []
    dates = sorted({p.date for p in problems})
    each = max(1, MOST_TRIALS // max(1, len(dates)))
    per_window = len(dates)
    for date in dates:
        found: list[tuple[int, Trial]] = []
        for number, problem in enumerate(problems):
            if problem.date != date:
                continue
            a, b = stop[number // per_window][date], score[number // per_window][date]
            for rows, columns in _cells(tuple(a.shape)):
                x, y = a[rows, columns], b[rows, columns]
                part = Problem(date, *(t[..., rows, columns] for t in problem[1:]))
                found.append((min(int(x.sum()), int(y.sum())), Trial(part, x, y)))
        found.sort(key=lambda pair: -pair[0])
        trials += [trial for count, trial in found[:each] if count]
    return trials


def _cells(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield windows that cover a shape without overlap, each at most `TRIAL_SIZE` wide."""
    rows, columns = (np.linspace(0, n, -(-n // TRIAL_SIZE) + 1).astype(int).tolist() for n in shape)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _train(
    problems: Sequence[Problem],
    everything: Sequence[Problem],
    scale: dict[int, Tensor],
    trials: Sequence[Trial],
    settings: Settings,
    tell: Progress,
    given: Sequence[Small] = (),
) -> tuple[tuple[Small, ...], int]:
    """Return two networks and their number of steps, 0 and none where nothing could be learnt.

    The first has not seen the hidden pixels; it tells when to stop. The second, from other first weights, is trained beside it
    on `everything`, in a thread of its own, and is taken as it was at that step. Each thread computes by itself, so the
    answer does not depend on their timing.
    """
    pair = []
    for number, part in enumerate((problems, everything)):
        examples = [_example(p, scale, settings.device) for p in part if p.seen.any()]
        network = (
            deepcopy(given[number % len(given)])
            if given
            else Small(len(part[0].inputs), len(part[0].values), seed=settings.seed + number)
        ).to(settings.device)
        pair.append((network, examples))
    if not pair[0][1]:
        return (), 0
    most = settings.steps or _most_steps(problems)
    enough = threading.Event()
    with ThreadPoolExecutor(1) as second:
        follower = second.submit(_follow, *pair[1], most, settings, enough)
        try:
            first, steps = _lead(*pair[0], scale, trials, most, settings, tell)
        finally:
            enough.set()
        snapshots = follower.result()
        if not steps:
            return (), 0
        if steps not in snapshots:  # it was told to stop before it got there
            snapshots = second.submit(_follow, *pair[1], steps, settings, threading.Event()).result()
    return (first, snapshots[steps]), steps


def _example(problem: Problem, scale: dict[int, Tensor], device: str | None) -> Example:
    """Return a problem as an example; those with much to fill are drawn more often, as long as they can teach it."""
    weight = min(float((~problem.seen).sum()), 4.0 * float(problem.seen.sum()))
    residual = (problem.values - problem.guide) / scale[problem.date]
    return Example(problem.inputs.to(device), residual.to(device), problem.seen.to(device), weight)


def _lead(
    network: Small,
    examples: Sequence[Example],
    scale: dict[int, Tensor],
    trials: Sequence[Trial],
    most: int,
    settings: Settings,
    tell: Progress,
) -> tuple[Small, int]:
    """Return the network that did best on the stop set, and after how many steps; 0 if none was better than the guide."""
    best, best_steps, worse = deepcopy(network), 0, 0
    best_error = _stop_error(trials, (), scale, settings)
    for step, averaged in enumerate(train(network, examples, Training(), settings.seed), start=1):
        tell("train", step, most)
        if step == most and (settings.steps or not trials):
            return deepcopy(averaged), step
        if step % CHECK_EVERY == 0 and not settings.steps:
            error = _stop_error(trials, (averaged,), scale, settings)
            worse = 0 if error < best_error else worse + 1
            if error < best_error:
                best, best_steps, best_error = deepcopy(averaged), step, error
        if worse > PATIENCE or step >= most:
            break
    tell("train", most, most)
    if not best_steps and settings.method == "ngr":
        return deepcopy(averaged), step
    return best, best_steps


def _follow(
    network: Small, examples: Sequence[Example], most: int, settings: Settings, enough: threading.Event
) -> dict[int, Small]:
    """Return the network as it was every `CHECK_EVERY` steps and at the last."""
    snapshots = {}
    with threads(1):
        for step, averaged in enumerate(train(deepcopy(network), examples, Training(), settings.seed + 1), start=1):
            if step % CHECK_EVERY == 0 or step == most:
                snapshots[step] = deepcopy(averaged)
            if step >= most or enough.is_set():
                return snapshots
    return snapshots


def _most_steps(problems: Sequence[Problem]) -> int:
    """Return the limit of training: a small scene is learnt by heart soon after 60 steps, a large one has more to teach."""
    pixels = sum(int(p.seen.sum()) for p in problems)
    return int(min(max(60 * (pixels / 128**2) ** 0.5, 60), MOST_STEPS)) // CHECK_EVERY * CHECK_EVERY


def _stop_error(
    trials: Sequence[Trial], networks: Sequence[Small], scale: dict[int, Tensor], settings: Settings
) -> float:
    """Return log RMSE on the stop set, mean over bands and over dates, which count by how much they have to fill."""
    errors = _errors(trials, networks, scale, settings)
    gaps = {d: sum(float((~t.problem.seen).sum()) for t in trials if t.problem.date == d) for d in errors}
    each = [gaps[d] * float(np.log(e + 1e-9).mean()) for d, e in errors.items()]
    return sum(each) / sum(gaps.values()) if errors else 0.0


def _errors(
    trials: Sequence[Trial], networks: Sequence[Small], scale: dict[int, Tensor], settings: Settings
) -> dict[int, np.ndarray]:
    """Return, for each date, RMSE per band (B,) on the stop set."""
    parts: dict[int, list[Tensor]] = {}
    for problem, stop, _ in trials:
        error = _error(problem, networks, scale, settings)[:, stop]
        parts.setdefault(problem.date, []).append(error.double().square())
    return {date: torch.cat(some, dim=1).mean(1).sqrt().numpy() for date, some in parts.items()}


def _error(problem: Problem, networks: Sequence[Small], scale: dict[int, Tensor], settings: Settings) -> Tensor:
    """Return what is filled in less what was measured (B, h, w)."""
    return integrate(problem, _answer(problem, networks, scale, settings.device)) - problem.values


def _second(
    guide: Guide, windows: Sequence[Window], dates: Sequence[int], seed: int
) -> tuple[list[Problem], list[Trial]]:
    """Return what the second network learns from, all but a draw of hidden pixels of its own, and trials with these."""
    peaks, pits = _hide(windows, dates, seed, draw=1)
    seen = [Window(w.values, w.observed & ~a & ~b) for w, a, b in zip(windows, peaks, pits, strict=True)]
    problems = [_problem(guide, w, s, d) for w, s in zip(windows, seen, strict=True) for d in dates]
    return problems, _trials(problems, peaks, pits)


def _judge(
    trials: Sequence[Trial],
    second: Sequence[Trial],
    networks: Sequence[Small],
    scale: dict[int, Tensor],
    dates: Sequence[int],
    settings: Settings,
) -> dict[int, Judgement]:
    """Return what is kept for each date, by the blocks that each network has not seen, nor was stopped by: see `judging`."""
    looks = [(trial, trial.score, networks[:1]) for trial in trials]
    looks += [(trial, trial.stop | trial.score, networks[1:2] or networks[:1]) for trial in second if networks]
    tables: dict[int, list[judging.Table]] = {}
    for (problem, *_), hidden, used in looks:
        members = [_error(problem, some, scale, settings) for some in ((), used)[: 1 + bool(used)]]
        tables.setdefault(problem.date, []).append(judging.tabulated(members, hidden))
    judgement = {}
    for date in dates:
        table = judging.joined(tables[date]) if date in tables else None
        better = table is not None and bool(networks) and judging.keeps(table)
        method = "ngr" if settings.method == "ngr" or (settings.method == "auto" and better) else "guide"
        judgement[date] = judged(method, table)
    return judgement


def judged(method: str, table: judging.Table | None) -> Judgement:
    """Return a judgement with what the choice was made by, and no errors expected yet."""
    nothing = (float("nan"),)
    if table is None:
        return Judgement(method, *(nothing,) * 7, (0.0,))
    hidden = [tuple(row) for row in table.rmse().tolist()]
    blocks = tuple(table.blocks.astype(float).tolist())
    return Judgement(method, *(nothing,) * 5, hidden[0], hidden[1] if len(hidden) > 1 else nothing, blocks)


class Probe(NamedTuple):
    """A cell of a date with pixels hidden once more: where they are (h, w), and which of them nothing was fitted to."""

    problem: Problem
    where: Tensor
    never: Tensor


def _probes(
    guide: Guide,
    windows: Sequence[Window],
    seen: Sequence[Window],
    score: Sequence[Tensor],
    date: int,
    seed: int,
) -> list[Probe]:
    """Return cells of a date with pixels hidden in blobs as wide as its gaps, as far as that goes.

    What is fitted to the whole scene has not seen the score set; the rest it has, but not for the local correction, and the
    fill does not hold it. The difference that this makes is measured: see `uncertainty`.
    """
    cells = [
        (number, cell)
        for number, window in enumerate(windows)
        for cell in _cells(tuple(window.observed.shape[1:]))
        if float(seen[number].observed[date, *cell].float().mean()) > 0.05
    ]
    picked = [cells[i * len(cells) // PROBES] for i in range(PROBES)] if len(cells) > PROBES else cells
    probes = []
    for turn in range(max(1, PROBES // max(1, len(picked)))):
        for number, (rows, columns) in picked:
            full, part = (
                Window(w.values[..., rows, columns], w.observed[..., rows, columns])
                for w in (windows[number], seen[number])
            )
            width = validate.thickness(~full.observed[date].numpy())
            key = np.random.SeedSequence([seed, number, date, rows.start, columns.start, turn])
            for mask in validate.draw(part.observed[date].numpy(), width, key, PROBE_SHARE, PROBE_WIDEST):
                hidden, left = torch.from_numpy(mask), part.observed.clone()
                left[date] &= ~hidden
                if left[date].any():
                    never = score[number][date, rows, columns]
                    problem = _problem(guide, full, Window(part.values, left), date)
                    probes.append(Probe(problem, hidden | never, never))
    return probes


def _unseen_probes(
    guide: Guide,
    windows: Sequence[Window],
    seen: Sequence[Window],
    score: Sequence[Tensor],
    date: int,
    seed: int,
) -> list[Probe]:
    """Return cells in which the shapes of what no date saw, moved elsewhere, are hidden from all dates; none without such gaps."""
    if windows[0].observed.shape[0] == 1:
        return []
    cells = [(n, cell) for n, w in enumerate(windows) for cell in _cells(tuple(w.observed.shape[1:]))]
    gaps = [~windows[n].observed[..., *cell].any(0).numpy() for n, cell in cells]
    gaps = sorted((gap for gap in gaps if gap.any()), key=lambda gap: -int(gap.sum()))[:UNSEEN_PROBES]
    shares = [float(seen[n].observed[date, *cell].float().mean()) for n, cell in cells]
    hosts = [cell for cell, share in zip(cells, shares, strict=True) if share >= max(np.median(shares), 0.05)]
    probes: list[Probe] = []
    for turn in range(UNSEEN_PROBES if gaps and hosts else 0):
        number, (rows, columns) = hosts[turn * max(1, len(hosts) // UNSEEN_PROBES) % len(hosts)]
        window = windows[number]
        key = np.random.SeedSequence([seed, number, date, rows.start, columns.start, turn, 1])
        there = window.observed[date, rows, columns]
        hidden = torch.from_numpy(validate.moved(gaps[turn % len(gaps)], there.numpy(), key))
        full, part = (
            Window(w.values[..., rows, columns], w.observed[..., rows, columns] & ~hidden)
            for w in (window, seen[number])
        )
        if hidden.any() and part.observed[date].any():
            problem = _problem(guide, full, part, date)
            probes.append(Probe(problem, hidden & there, score[number][date, rows, columns]))
    return probes


def _spreads(
    probes: Sequence[Probe], networks: Sequence[Small], scale: dict[int, Tensor], settings: Settings
) -> Spreads:
    """Return how far the guide, or with networks what they make of it, may be off at pixels that are filled."""
    parts: list[list[tuple[Tensor, Tensor, Tensor, Tensor]]] = [[], []]
    for number, (problem, hidden, never) in enumerate(probes):
        answer = _answer(problem, networks, scale, settings.device)
        error = integrate(problem, answer) - problem.values
        for where, _, columns in _situations(problem, answer, (None, None), hidden):
            numbers = torch.full((int(where.sum()),), number)
            kind = int(bool(problem.unseen[where].any()))
            parts[kind].append((error[:, where], columns[..., where], never[where], numbers))
    return _fitted(parts[0]), _fitted(parts[1], by_depth=True)


def _fitted(parts: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], by_depth: bool = False) -> Spread | None:
    """Return the spread of errors from the parts that some probes gave, None where there are none; see `uncertainty.fit`."""
    if not parts:
        return None
    errors, columns, never, probe = (torch.cat(column, -1) for column in zip(*parts, strict=True))
    return uncertainty.fit(errors, columns, never, probe, by_depth)


def _expecting(
    verdict: Judgement,
    method: str,
    spreads: Spreads,
    gaps: Sequence[tuple[Problem, Tensor]],
    networks: Sequence[Small],
    scale: dict[int, Tensor],
    settings: Settings,
) -> Judgement:
    """Return the judgement with RMSE and bias per band of a method where a date has gaps (h, w), as some windows show them.

    NaN where a part of the gaps that counts is in a situation that could not be measured.
    """
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return verdict
    squares, counts = np.zeros((2, len(known[0].rms))), np.zeros(2)
    some = [(problem, gap) for problem, gap in gaps if gap.any()]
    for problem, gap in some[:: max(1, len(some) // PROBES)]:
        answer = _answer(problem, networks, scale, settings.device)
        for where, spread, columns in _situations(problem, answer, spreads, gap):
            kind = int(bool(problem.unseen[where].any()))
            counts[kind] += int(where.sum())
            if spread is not None:
                squares[kind] += spread.scale(columns[..., where]).double().square().sum(1).numpy() * spread.rms**2
    share = counts / max(counts.sum(), 1)
    if not counts.any() or any(s is None and part > NEGLIGIBLE for s, part in zip(spreads, share, strict=True)):
        return verdict
    counted = counts * [s is not None for s in spreads]
    rmse = np.sqrt(squares.sum(0) / counted.sum())
    bias = sum(part * s.bias for s, part in zip(spreads, counted / counted.sum(), strict=True) if s is not None)
    found: dict[str, Any] = {f"{method}_rmse": tuple(rmse.tolist()), f"{method}_bias": tuple(np.asarray(bias).tolist())}
    if verdict.method == method:
        doubt = sum(
            part * s.doubt for s, part in zip(spreads, counted / counted.sum(), strict=True) if s is not None and part
        )
        found["doubt"] = tuple(np.asarray(doubt).tolist())
    return verdict._replace(**found)
