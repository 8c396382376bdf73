"""What filling is: a guide for each date, a network that refines it, hidden pixels that stop and judge it.

`fit` learns once, from windows of the scene; `solve` is then the same for every tile. Tensors only: a stack is (T, B, h, w),
standardised per date and band. Rasters and units stay in `stacks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..guides import dates as guides
from ..guides.dates import Window
from ..progress import Progress, silent
from ..solver import Small, iterate, paper_network, published, uniform
from ..solver.paper import Case
from ..tiling.threads import threads
from .calibration import Calibration
from .checkpoint import StackModel
from .probes import calibrations_of, deviation_of, expecting, judgements_of, probes_of, unseen_probes_of
from .problem import Settings, Trial, answer_of, hidden_from, integrate, problem_of, residual_scale
from .training import second_look, train_pair, trials_of, tuned_on


def fit(
    model: StackModel,
    windows: Sequence[Window],
    dates: Sequence[int],
    days: Sequence[float],
    settings: Settings,
    progress: Progress | None = None,
    networks: Sequence[Small] = (),
) -> StackModel:
    """Return the model of a scene with what there is to learn before any tile of it is solved.

    With hidden pixels kept from everything, a guide is fitted and a network trained until the stop set gets no better. Another
    guide learns from all pixels, and another network from all but some others, as long. The result is made of the second guide and
    of both networks; which of guide and networks is kept is judged by what was hidden from both and stopped neither.

    Args:
        model: the scaling, of which nothing else is used.
        windows: the sample of the scene that everything is learnt from.
        dates: the indices of those to fill.
        days: when each of the T dates was taken, in days; NaN if unknown.
        settings: see `Settings`.
        progress: called with the steps done.
        networks: learnt from another scene or date. They are used as they are, or trained for `settings.steps` more steps.
    """
    progress = progress or silent
    settings = settings.placed()
    with threads(1):
        stop, score = hidden_from(windows, dates, settings.seed)
        seen = [Window(w.values, w.observed & ~a & ~b) for w, a, b in zip(windows, stop, score, strict=True)]
        progress("guide", 0, 2)
        trial_guide = guides.fit(windows, seen, dates, days)
        problems = [problem_of(trial_guide, w, s, d) for w, s in zip(windows, seen, strict=True) for d in dates]
        scale, trials = residual_scale(problems), trials_of(problems, stop, score)
        progress("guide", 1, 2)
        guide = guides.fit(windows, windows, dates, days)
        progress("guide", 2, 2)
        given, steps = tuple(networks), 0
        networks = ()
        alone = (
            len(days) == 1 and settings.method == "auto"
        )  # interpolated from what it is judged by: nothing to refine
        second: list[Trial] = []
        if settings.method != "guide" and not alone:
            everything, second = second_look(guide, windows, dates, settings.seed)
            if given and not settings.steps:
                networks = given
            else:
                networks, steps = train_pair(problems, everything, scale, trials, settings, progress, given)
            networks = tuple(network.to("cpu") for network in networks)
        judgement = judgements_of(trials, second, networks, scale, dates, settings)
        calibration: dict[int, Calibration] = {}
        unseen_calibration: dict[int, Calibration] = {}
        for place, date in enumerate(dates):
            gaps = [(p, ~w.observed[date]) for p, w in zip(problems[place :: len(dates)], windows, strict=True)]
            probes = probes_of(trial_guide, windows, seen, score, date, settings.seed)
            probes += unseen_probes_of(trial_guide, windows, seen, score, date, settings.seed)
            for method, used in (("guide", ()), ("ngr", networks[:1])):
                if method == "ngr" and not used:
                    continue
                found = calibrations_of(probes, used, scale, settings)
                judgement[date] = expecting(judgement[date], method, found, gaps, used, scale, settings)
                if judgement[date].method == method:
                    calibration |= {date: found[0]} if found[0] else {}
                    unseen_calibration |= {date: found[1]} if found[1] else {}
        return replace(
            model,
            guide=guide,
            networks=networks,
            scale=scale,
            judgement=judgement,
            steps=steps,
            calibration=calibration,
            unseen_calibration=unseen_calibration,
        )


def solve(model: StackModel, window: Window, dates: Sequence[int], settings: Settings) -> tuple[Tensor, Tensor]:
    """Return a window with the `dates` filled, (T, B, h, w), and the standard deviation of what was filled; NaN where unknown.

    What was observed comes back bit for bit, with a standard deviation of 0.
    """
    assert model.guide is not None
    settings = settings.placed()
    with threads(1):
        filled, deviation = window.values.clone(), torch.zeros_like(window.values)
        for date in dates:
            if not window.observed[date].all():
                problem = problem_of(model.guide, window, window, date)
                networks = model.networks if model.judgement[date].method == "ngr" else ()
                if settings.tune and problem.seen.any():
                    networks = tuned_on(networks, problem, model.scale, settings)
                answer = answer_of(problem, networks, model.scale, settings.device)
                filled[date] = integrate(problem, answer)
                if settings.uncertainty:
                    calibrations = model.calibration.get(date), model.unseen_calibration.get(date)
                    deviation[date] = deviation_of(problem, answer, calibrations)
        return filled, deviation


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
