"""What filling is: a guide for each date, a network that refines it, hidden pixels that stop and judge it.

`fit` learns once, from windows of the scene; `solve` is then the same for every tile. Tensors only: a stack is (T, B, h, w),
standardised per date and band. Rasters and units stay in `stacks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..guides import dates as guides
from ..guides.dates import Guide, Window
from ..progress import Progress, silent
from ..solver import Small, iterate, paper_network, published, uniform
from ..solver.paper import Case
from ..tiling.devices import threads
from .probes import deviation_of, expecting, judgements_of, probes_of, spreads_of, unseen_probes_of
from .problem import Judgement, Settings, Trial, answer_of, hidden_from, integrate, problem_of, residual_scale
from .training import second_look, train_pair, trials_of, tuned_on
from .uncertainty import Spread


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
        stop, score = hidden_from(windows, dates, settings.seed)
        seen = [Window(w.values, w.observed & ~a & ~b) for w, a, b in zip(windows, stop, score, strict=True)]
        tell("guide", 0, 2)
        trial_guide = guides.fit(windows, seen, dates, days)
        problems = [problem_of(trial_guide, w, s, d) for w, s in zip(windows, seen, strict=True) for d in dates]
        scale, trials = residual_scale(problems), trials_of(problems, stop, score)
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
            everything, second = second_look(guide, windows, dates, settings.seed)
            if given and not settings.steps:
                networks = given
            else:
                networks, steps = train_pair(problems, everything, scale, trials, settings, tell, given)
            networks = tuple(network.to("cpu") for network in networks)
        judgement = judgements_of(trials, second, networks, scale, dates, settings)
        spread: dict[int, Spread] = {}
        unseen_spread: dict[int, Spread] = {}
        for place, date in enumerate(dates):
            gaps = [(p, ~w.observed[date]) for p, w in zip(problems[place :: len(dates)], windows, strict=True)]
            probes = probes_of(trial_guide, windows, seen, score, date, settings.seed)
            probes += unseen_probes_of(trial_guide, windows, seen, score, date, settings.seed)
            for method, used in (("guide", ()), ("ngr", networks[:1])):
                if method == "ngr" and not used:
                    continue
                found = spreads_of(probes, used, scale, settings)
                judgement[date] = expecting(judgement[date], method, found, gaps, used, scale, settings)
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
                problem = problem_of(scene.guide, window, window, date)
                networks = scene.networks if scene.judgement[date].method == "ngr" else ()
                if settings.tune and problem.seen.any():
                    networks = tuned_on(networks, problem, scene.scale, settings)
                answer = answer_of(problem, networks, scene.scale, settings.device)
                filled[date] = integrate(problem, answer)
                if settings.uncertainty:
                    spreads = scene.spread.get(date), scene.unseen_spread.get(date)
                    deviation[date] = deviation_of(problem, answer, spreads)
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
