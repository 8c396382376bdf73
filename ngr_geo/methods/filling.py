"""What filling is: a guide for each date, a network that refines it, other members, and hidden pixels that stop and weigh them.

`fit` learns once, from windows of the scene; `solve` is then the same for every tile. Both take tensors: a stack is (T, B, h, w),
standardised per date and band. `filled` is the way there and back: from a window as it is stored to a device, and what was filled
to the raster's units. Rasters stay in `stacks.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..guides.base import Window
from ..guides.covariance import precise
from ..guides.members import GUIDE
from ..progress import Progress, silent
from ..solver import Small, images_as_published
from ..solver.paper import Case
from ..tiling import tiles
from ..tiling.threads import threads
from .calibration import Calibration
from .checkpoint import StackModel
from .partial import Entries, corrected
from .placement import first_that_fits, here_or_on_cpu, moved, uploaded
from .probes import calibrations_of, deviation_of, expecting, judgements_of, probes_of
from .problem import (
    Problem,
    Settings,
    Trial,
    answers_by,
    answers_of,
    blended,
    hidden_from,
    integrate,
    problem_of,
    problems_of,
    residual_scale,
)
from .training import second_look, train_pair, trials_of, tuned_on


class Inputs(NamedTuple):
    """A window of a stack as it is stored: `values`, what is `observed` of them, and what to `fill`, each (T, B, h, w)."""

    values: NDArray[Any]
    observed: NDArray[np.bool_]
    fill: NDArray[np.bool_]


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
    of both networks, blended with other members by weights that are fitted to what was hidden from all and stopped no network.

    Args:
        model: the scaling, of which nothing else is used.
        windows: the sample of the scene that everything is learnt from.
        dates: the indices of those to fill.
        days: when each of the T dates was taken: see `Cube.when`.
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
        trial_guide = GUIDE.fit(windows, seen, dates, days)
        problems = problems_of(trial_guide, windows, seen, dates, settings)
        scale, trials = residual_scale(problems), trials_of(problems, stop, score)
        progress("guide", 1, 2)
        guide = GUIDE.fit(windows, windows, dates, days)
        progress("guide", 2, 2)
        given, steps = moved(tuple(networks), windows[0].values.device), 0
        networks = ()
        second: list[Trial] = []
        if settings.method in ("auto", "ngr"):
            everything, second = second_look(guide, windows, dates, settings)
            if given and not settings.steps:
                networks = given
            else:
                networks, steps = train_pair(problems, everything, scale, trials, settings, progress, given)
        judgement = judgements_of(trials, second, networks, scale, dates, settings)
        calibration: dict[int, Calibration] = {}
        unseen_calibration: dict[int, Calibration] = {}
        for place, date in enumerate(dates):
            gaps = [(p, ~w.observed[date]) for p, w in zip(problems[place :: len(dates)], windows, strict=True)]
            probes = probes_of(trial_guide, windows, seen, score, date, settings)
            found = calibrations_of(probes, judgement[date].weights, networks[:1], scale)
            judgement[date] = expecting(judgement[date], found, gaps, networks[:1], scale)
            calibration |= {date: found[0]} if found[0] else {}
            unseen_calibration |= {date: found[1]} if found[1] else {}
        return replace(
            model,
            guide=moved(guide, "cpu"),
            networks=moved(networks, "cpu"),
            scale=moved(scale, "cpu"),
            judgement=judgement,
            steps=steps,
            calibration=calibration,
            unseen_calibration=unseen_calibration,
        )


def solve(
    model: StackModel,
    window: Window,
    dates: Sequence[int],
    settings: Settings,
    together: int = 1,
    entries: Entries | None = None,
) -> tuple[Tensor, Tensor]:
    """Return a window with the `dates` filled, (T, B, h, w), and the standard deviation of what was filled; NaN where unknown.

    What was observed comes back bit for bit, with a standard deviation of 0. All is computed on the device of the window, where
    the model has to be, too; so many dates go through the networks `together`. `entries` are those of the window, where pixels of
    it are observed in some bands only.
    """
    assert model.guide is not None
    with threads(1):
        filled, deviation = window.values.clone(), torch.zeros_like(window.values)
        gappy = [date for date in dates if not window.observed[date].all()]
        for first in range(0, len(gappy), together):
            problems = [problem_of(model.guide, window, window, date) for date in gappy[first : first + together]]
            for problem, answer in zip(problems, _answers(model, problems, settings), strict=True):
                date = problem.date
                filled[date] = integrate(problem, answer)
                if settings.uncertainty:
                    calibrations = model.calibration.get(date), model.unseen_calibration.get(date)
                    deviation[date] = deviation_of(problem, answer, calibrations)
                if entries is not None:
                    filled[date], deviation[date] = corrected(problem, filled[date], deviation[date], entries)
        return filled, deviation


def _answers(model: StackModel, problems: Sequence[Problem], settings: Settings) -> list[Tensor]:
    """Return the answer (B, h, w) to each problem: those that the networks refine go through them in one batch."""
    weights = {p.date: model.judgement[p.date].weights for p in problems}
    refined = [p for p in problems if "ngr" in weights[p.date]]
    ngr: dict[int, Tensor] = {}
    if settings.tune:
        for problem in refined:
            networks = (
                tuned_on(model.networks, problem, model.scale, settings) if problem.seen.any() else model.networks
            )
            ngr |= answers_of([problem], networks, model.scale)
    else:
        ngr = answers_of(refined, model.networks, model.scale)
    return [blended(answers_by(p, weights[p.date], ngr.get(p.date)), weights[p.date]) for p in problems]


def filled(
    model: StackModel, window: Inputs, dates: Sequence[int], settings: Settings
) -> tuple[NDArray[np.float32], str]:
    """Return the layers (layer, T, B, h, w) of a window, 0 where nothing is filled, and where they were computed.

    That is on the device of the settings: all dates at once, then date by date, then the window in four parts. Last on the CPU.
    """
    one_by_one = partial(_computed, model, dates, settings, window)

    def in_four(device: str) -> NDArray[np.float32]:
        sides = window.values.shape[-2:]
        overlap = max(sides) // 16
        pieces = tiles.grid(sides, -(-max(sides) // 2) + 2 * overlap, overlap)
        parts = [Inputs(*(a[(..., *p.window)] for a in window)) for p in pieces]
        solved = [_computed(model, dates, settings, part, device) for part in parts]
        whole = slice(0, sides[0]), slice(0, sides[1])
        return tiles.blend(pieces, solved, whole, solved[0].shape[:3])

    at_once = partial(one_by_one, together=len(dates))
    attempts: dict[str, Callable[[str], NDArray[np.float32]]]
    attempts = {"": at_once, "date by date": one_by_one, "in four parts": in_four}
    if len(dates) == 1:
        attempts.pop("date by date")
    return first_that_fits(settings.where, attempts, one_by_one)


def filled_as_published(
    model: StackModel, values: NDArray[Any], observed: NDArray[np.bool_], settings: Settings
) -> tuple[NDArray[np.float32], str]:
    """Return what the published algorithm makes of a window (T, B, h, w), and where: on the CPU where a device has no memory."""
    low, high = model.limits
    unit = max(high - low, 1e-12)
    scaled = np.where(observed, (values.astype(np.float64) - low) / unit, 0).astype(np.float32)

    def solved(device: str) -> NDArray[np.float32]:
        return solve_as_published(scaled, observed, replace(settings, device=device))

    image, place = here_or_on_cpu(settings.where, solved)
    return (image.astype(np.float64) * unit + low).astype(np.float32)[None], place


def _computed(
    model: StackModel, dates: Sequence[int], settings: Settings, window: Inputs, device: str, together: int = 1
) -> NDArray[np.float32]:
    """Return the layers (layer, T, B, h, w) of a window computed on a device, so many dates at once: see `filled`."""
    entries = entries_of(model, window.values, window.observed, device)
    seen = window.observed[list(dates)]
    partial = bool((seen.any(axis=1) & ~seen.all(axis=1)).any())
    there = whole_pixels(entries)
    values, deviation = solve(model.on(device), there, dates, settings, together, entries if partial else None)
    unit, center = uploaded(model.deviation, device), uploaded(model.center, device)
    found = torch.stack([values * unit + center, deviation * unit][: 1 + settings.uncertainty])
    layers = np.zeros(found.shape, np.float32)
    layers[:, window.fill] = found[:, uploaded(window.fill, device)].cpu().numpy()
    return layers


def standardised(model: StackModel, values: NDArray[Any], observed: NDArray[np.bool_], device: str) -> Window:
    """Return a window (T, B, h, w) standardised on a device: see `whole_pixels`."""
    return whole_pixels(entries_of(model, values, observed, device))


def whole_pixels(entries: Entries) -> Window:
    """Return a window in which a pixel with a band missing is a gap of its whole date, until `corrected` by its other bands."""
    known = entries.observed.all(1)
    return Window(entries.values.masked_fill(~known[:, None], 0), known)


def entries_of(model: StackModel, values: NDArray[Any], observed: NDArray[np.bool_], device: str) -> Entries:
    """Return a window (T, B, h, w) standardised on a device, entry by entry."""
    center, deviation = model.center, model.deviation
    if model.bands is not None:
        values, observed = values[:, model.bands], observed[:, model.bands]
        center, deviation = center[:, model.bands], deviation[:, model.bands]
    known = uploaded(observed, device)
    scaled = (precise(uploaded(values, device)) - uploaded(center, device)) / uploaded(deviation, device)
    return Entries(scaled.masked_fill(~known, 0).float(), known)


def solve_as_published(
    values: np.ndarray, observed: np.ndarray, settings: Settings, task: Case = "inpaint", clouds: bool = True
) -> np.ndarray:
    """Return a window (T, B, h, w), scaled to [0, 1] and 0 where not `observed`, restored by the published algorithm.

    All dates and bands are the channels of one cube. The result is the last of the `images_as_published`: the published numbers
    took the best one by the ground truth.
    """
    settings = settings.placed()
    shape = values.shape
    observation = torch.from_numpy(values.reshape(-1, *shape[2:])).to(settings.device)
    seen = torch.from_numpy(observed.reshape(-1, *shape[2:])).to(settings.device)
    with threads(1):
        *_, image = images_as_published(
            observation, seen, task, clouds=clouds, seed=settings.seed, steps=settings.steps
        )
    answer: np.ndarray = image.cpu().numpy().reshape(shape)
    return answer
