"""How the networks of a scene are trained: on what is observed, until hidden pixels are met no better."""

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..guides.base import Window
from ..guides.covariance import precise
from ..progress import Progress
from ..solver import Small
from ..solver.train import Example, Training, train
from ..tiling.threads import threads
from .problem import (
    Problem,
    Settings,
    Trial,
    answers_of,
    cells_of,
    cropped,
    example_of,
    hidden_from,
    integrate,
    problems_of,
)

CHECK_EVERY = 10
PATIENCE = 4
"""Checks in a row without a better one after which training stops."""
MOST_STEPS = 400
MOST_TRIALS = 3
TUNING = Training(rate=1e-3)


def tuned_on(
    networks: Sequence[Small], problem: Problem, scale: dict[int, Tensor], settings: Settings
) -> tuple[Small, ...]:
    """Return the networks trained for a few more, smaller steps on what one tile shows of its date."""
    tuned = []
    example = example_of(problem, scale)
    for number, network in enumerate(networks):
        own = deepcopy(network).requires_grad_(requires_grad=True)
        training = train(own, [example], TUNING, settings.seed + number)
        tuned.append(next(itertools.islice(training, settings.tune - 1, None)))
    return tuple(tuned)


def trials_of(problems: Sequence[Problem], stop: Sequence[Tensor], score: Sequence[Tensor]) -> list[Trial]:
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
            for rows, columns in cells_of(tuple(a.shape)):
                x, y = a[rows, columns], b[rows, columns]
                found.append((min(int(x.sum()), int(y.sum())), Trial(cropped(problem, rows, columns), x, y)))
        found.sort(key=lambda pair: -pair[0])
        trials += [trial for count, trial in found[:each] if count]
    return trials


def train_pair(
    problems: Sequence[Problem],
    everything: Sequence[Problem],
    scale: dict[int, Tensor],
    trials: Sequence[Trial],
    settings: Settings,
    progress: Progress,
    given: Sequence[Small] = (),
) -> tuple[tuple[Small, ...], int]:
    """Return two networks and their number of steps, 0 and none where nothing could be learnt.

    The first has not seen the hidden pixels; its errors there decide when to stop. The second, from other first weights, is trained
    beside it on `everything`, in a thread of its own, and is taken as it was at that step. Each thread computes by itself, so the
    answer does not depend on their timing; where `settings` say so one follows the other, with the same answer.
    """
    pair = []
    for number, part in enumerate((problems, everything)):
        examples = [example_of(p, scale) for p in part if p.seen.any()]
        network = (
            deepcopy(given[number % len(given)])
            if given
            else Small(len(part[0].inputs), len(part[0].values), seed=settings.seed + number)
        ).to(part[0].inputs.device)
        pair.append((network, examples))
    if not pair[0][1]:
        return (), 0
    most = settings.steps or _most_steps(problems)
    enough = threading.Event()
    if settings.apart:
        first, steps = _lead(*pair[0], scale, trials, most, settings, progress)
        return ((first, _follow(*pair[1], steps, settings, enough)[steps]), steps) if steps else ((), 0)
    with ThreadPoolExecutor(1) as second:
        follower = second.submit(_follow, *pair[1], most, settings, enough)
        try:
            first, steps = _lead(*pair[0], scale, trials, most, settings, progress)
        finally:
            enough.set()
        snapshots = follower.result()
        if not steps:
            return (), 0
        if steps not in snapshots:  # it was stopped before it got there
            snapshots = second.submit(_follow, *pair[1], steps, settings, threading.Event()).result()
    return (first, snapshots[steps]), steps


def _lead(
    network: Small,
    examples: Sequence[Example],
    scale: dict[int, Tensor],
    trials: Sequence[Trial],
    most: int,
    settings: Settings,
    progress: Progress,
) -> tuple[Small, int]:
    """Return the network that did best on the stop set, and after how many steps: 0 if none was better than the guide.

    The last one where the number of steps is given, or the method is "ngr" and none was better.
    """
    best, best_steps, worse = deepcopy(network), 0, 0
    best_error = _stop_error(trials, (), scale)
    for step, averaged in enumerate(train(network, examples, Training(), settings.seed), start=1):
        progress("train", step, most)
        if step == most and (settings.steps or not trials):
            return deepcopy(averaged), step
        if step % CHECK_EVERY == 0 and not settings.steps:
            error = _stop_error(trials, (averaged,), scale)
            worse = 0 if error < best_error else worse + 1
            if error < best_error:
                best, best_steps, best_error = deepcopy(averaged), step, error
        if worse > PATIENCE or step >= most:
            break
    progress("train", most, most)
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


def _stop_error(trials: Sequence[Trial], networks: Sequence[Small], scale: dict[int, Tensor]) -> float:
    """Return log RMSE on the stop set, mean over bands and over dates, which count by how much they have to fill."""
    parts: dict[int, list[Tensor]] = {}
    for problem, stop, _ in trials:
        error = integrate(problem, answers_of([problem], networks, scale)[problem.date]) - problem.values
        parts.setdefault(problem.date, []).append(precise(error[:, stop]).square())
    errors = {date: torch.cat(some, dim=1).mean(1).sqrt().cpu().numpy() for date, some in parts.items()}  # (B,) each
    gaps = {d: sum(float((~t.problem.seen).sum()) for t in trials if t.problem.date == d) for d in errors}
    each = [gaps[d] * float(np.log(e + 1e-9).mean()) for d, e in errors.items()]
    return sum(each) / sum(gaps.values()) if errors else 0.0


def second_look(
    guide: Any, windows: Sequence[Window], dates: Sequence[int], settings: Settings
) -> tuple[list[Problem], list[Trial]]:
    """Return what the second network learns from, all but a draw of hidden pixels of its own, and trials with these."""
    stop, score = hidden_from(windows, dates, settings.seed, draw=1)
    seen = [Window(w.values, w.observed & ~a & ~b) for w, a, b in zip(windows, stop, score, strict=True)]
    problems = problems_of(guide, windows, seen, dates, settings)
    return problems, trials_of(problems, stop, score)
