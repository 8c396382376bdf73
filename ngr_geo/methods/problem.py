"""One date of one window as a problem to be solved: what predicts it, what refines it, and the image that follows from both.

Tensors only: a stack is (T, B, h, w), standardised per date and band.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..guides.base import Window
from ..guides.covariance import precise
from ..guides.hidden import thickness
from ..guides.members import GUIDE, MEMBERS
from ..keywords import Method
from ..solver import TETHER, Small, gaps_of, hold
from ..solver.train import Example
from ..tiling.threads import side_by_side
from . import hiding

TRIAL_SIZE = 192
RIM = 2.0**-6
"""Tether of the fill where other dates show the ground: what the edge of a gap shows, haze often, is followed some eight pixels."""


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    `method`, `steps` (None: stop on hidden pixels), `seed`, `device` (None: the fastest where it runs), and `tune`: steps that
    the networks are trained on each tile before they are used there. With `uncertainty` filled pixels get a standard deviation.
    """

    method: Method = "auto"
    steps: int | None = None
    seed: int = 0
    device: str | None = None
    tune: int = 0
    uncertainty: bool = False
    apart: bool = False
    """Train the two networks of a scene one after the other: the same bits, in less memory."""

    @property
    def where(self) -> str:
        """The device: the one chosen, else the fastest of the machine that this runs on."""
        return self.device or fastest_device()

    def placed(self) -> Settings:
        """Return them with the device of the machine that this runs on, where none was chosen."""
        return replace(self, device=self.where)


def fastest_device() -> str:
    """Return "cuda" where there is one, else "mps", else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


Errors = tuple[float, ...]
"""Of each band."""
PER_BAND = ("rmse", "bias", "log_sd", "blocks")
"""The fields of a judgement that have a number for each band."""


class Judgement(NamedTuple):
    """What is kept for a date, and the errors expected in its gaps, per band (B,): standardised, NaN where not known."""

    method: str
    """The member that it is made of, or "blend"."""
    weights: dict[str, float]
    """Of the members that it is made of: they sum to 1. {} where nothing is filled, or by the published algorithm."""
    rmse: Errors
    bias: Errors
    log_sd: Errors
    """Of the RMSE, as a share of it: see `calibration`."""
    hidden: dict[str, Errors]
    """RMSE of each member, and of a "blend", on the hidden blocks that the choice was made by: see `judge`."""
    blocks: Errors
    """How many of them each band has."""

    def scaled(self, unit: np.ndarray | float) -> Judgement:
        """Return the judgement with its errors in another unit, for each band (B,) or all."""

        def times(errors: Errors) -> Errors:
            return tuple((np.asarray(errors) * unit).tolist())

        return self._changed(times, ("rmse", "bias"))

    def of(self, bands: slice) -> Judgement:
        """Return the judgement of some of the bands."""
        return self._changed(lambda errors: errors[bands])

    def for_all(self, take_part: np.ndarray) -> Judgement:
        """Return the judgement with NaN for the bands that did not `take_part` (band,)."""

        def wide(errors: Errors) -> Errors:
            column = np.full(len(take_part), np.nan)
            column[take_part] = errors
            return tuple(column.tolist())

        return self._changed(wide)

    def _changed(self, change: Callable[[Errors], Errors], names: Sequence[str] = PER_BAND) -> Judgement:
        """Return the judgement with some of its fields changed, and the errors on hidden blocks."""
        fields: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return self._replace(hidden={name: change(errors) for name, errors in self.hidden.items()}, **fields)


def unjudged(method: str, bands: int, weights: dict[str, float] | None = None) -> Judgement:
    """Return a judgement without any error expected, of so many bands."""
    nothing = (float("nan"),) * bands
    return Judgement(method, weights or {}, nothing, nothing, nothing, {}, (0.0,) * bands)


class Problem(NamedTuple):
    """One date of one window: `guide`, `values` (B, h, w), what was `seen` (h, w), and the network's `inputs` (C, h, w).

    `trusted` (h, w) is what of the seen a fill has to meet, `support` (2, h, w) how far references are clear: see `calibration`;
    `unseen` (h, w), True where neither this nor another date saw the ground;
    `references` (k, h, w), what other members are made of.
    """

    date: int
    guide: Tensor
    values: Tensor
    seen: Tensor
    inputs: Tensor
    trusted: Tensor
    support: Tensor
    unseen: Tensor
    references: Tensor


class Trial(NamedTuple):
    """A problem small enough to be solved often, with its hidden pixels (h, w): those that stop and those that score."""

    problem: Problem
    stop: Tensor
    score: Tensor


@torch.no_grad()
def answers_of(problems: Sequence[Problem], networks: Sequence[Small], scale: dict[int, Tensor]) -> dict[int, Tensor]:
    """Return  guide + s·V  (B, h, w) for each date, where V is the mean of the networks' answers; without networks the guide.

    The problems are of one window, and go through each network in one batch.
    """
    if not networks or not problems:
        return {p.date: p.guide for p in problems}
    inputs = torch.stack([p.inputs for p in problems])
    potentials = torch.stack([network(inputs) for network in networks]).mean(0)
    return {p.date: p.guide + scale[p.date] * v for p, v in zip(problems, potentials, strict=True)}


@torch.no_grad()
def answers_by(problem: Problem, names: Iterable[str], ngr: Tensor | None) -> dict[str, Tensor]:
    """Return the answer (B, h, w) of each of the members named, right where nothing is trusted; the guide's where one has none.

    Args:
        problem: what is to be answered.
        names: "guide", "ngr" and names of `members.MEMBERS`.
        ngr: what the networks make of the guide.
    """
    answers: dict[str, Tensor | None] = {"guide": problem.guide, "ngr": ngr}
    for name in names:
        if name not in answers:
            answers[name] = MEMBERS[name](problem.references, problem.values, problem.trusted, ~problem.trusted)
    return {name: problem.guide if (answer := answers[name]) is None else answer for name in names}


def blended(answers: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the mean of some members' answers (B, h, w) with their weights."""
    first, *others = (weight * answers[name] for name, weight in weights.items())
    return sum(others, first)


def answer_of(
    problem: Problem, weights: Mapping[str, float], networks: Sequence[Small], scale: dict[int, Tensor]
) -> Tensor:
    """Return the blend (B, h, w) of the members of one problem, right where nothing is trusted."""
    ngr = answers_of([problem], networks, scale)[problem.date] if "ngr" in weights else None
    return blended(answers_by(problem, weights, ngr), weights)


@torch.no_grad()
def integrate(problem: Problem, answer: Tensor) -> Tensor:
    """Return the image (B, h, w) that follows the fields  D(answer)  in the gaps and holds what was seen: a Poisson fill."""
    tether = RIM if len(problem.references) else TETHER
    image = hold(problem.values, gaps_of(problem.trusted, answer, tether), answer)
    return torch.where(problem.seen, problem.values, image)


def problem_of(guide: Any, window: Window, seen: Window, date: int) -> Problem:
    """Return one date of a window as a problem, of which only what is observed in `seen` may be learnt from."""
    predicted = GUIDE.predict(guide, window, seen, date)
    inputs = torch.cat([predicted.image, predicted.context])
    used = list(predicted.references)
    clear = window.observed[used].to(predicted.image.dtype) if used else torch.ones_like(predicted.image[:1])
    support = torch.stack([clear[0], clear.mean(0)])
    here, others = seen.observed[date], [d for d in range(len(window.observed)) if d != date]
    unseen = ~(here | window.observed[others].any(0)) if others else torch.zeros_like(here)
    trusted, completed = predicted.trusted, predicted.completed
    return Problem(date, predicted.image, window.values[date], here, inputs, trusted, support, unseen, completed)


def problems_of(
    guide: Any, windows: Sequence[Window], seen: Sequence[Window], dates: Sequence[int], settings: Settings
) -> list[Problem]:
    """Return the dates of all windows as problems: for each window, all dates."""
    pairs = [(window, part, date) for window, part in zip(windows, seen, strict=True) for date in dates]
    return side_by_side(lambda pair: problem_of(guide, *pair), pairs, settings.device)


def hidden_from(
    windows: Sequence[Window], dates: Sequence[int], seed: int, draw: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the pixels hidden from each window, (T, h, w), in two disjoint sets; only dates to fill hide any."""
    stop, score = [], []
    for number, window in enumerate(windows):
        observed = window.observed.cpu().numpy()
        pair = np.zeros((2, *observed.shape), bool)
        for date in dates:
            width = thickness(~window.observed[date])
            key = np.random.SeedSequence([seed, number, date, draw] if draw else [seed, number, date])
            pair[:, date] = hiding.draw(observed[date], width, seed=key)
        stop.append(torch.from_numpy(pair[0]).to(window.observed.device))
        score.append(torch.from_numpy(pair[1]).to(window.observed.device))
    return stop, score


def residual_scale(problems: Sequence[Problem]) -> dict[int, Tensor]:
    """Return the standard deviation of the guide's residual for each date, (B, 1, 1): the network's unit."""
    scale: dict[int, Tensor] = {}
    for date in {p.date for p in problems}:
        residual = torch.cat([(p.values - p.guide)[:, p.seen] for p in problems if p.date == date], dim=1)
        deviation = (
            precise(residual).square().mean(1).sqrt().float() if residual.shape[1] else residual.new_ones(len(residual))
        )
        scale[date] = deviation.clamp(min=1e-3)[:, None, None]
    return scale


def cells_of(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield windows that cover a shape without overlap, each at most `TRIAL_SIZE` wide."""
    rows, columns = (np.linspace(0, n, -(-n // TRIAL_SIZE) + 1).astype(int).tolist() for n in shape)
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def cropped(problem: Problem, rows: slice, columns: slice) -> Problem:
    """Return a part of a problem."""
    return Problem(problem.date, *(part[..., rows, columns] for part in problem[1:]))


def example_of(problem: Problem, scale: dict[int, Tensor]) -> Example:
    """Return a problem as an example; those with much to fill are drawn more often, as long as they can teach it."""
    weight = min(float((~problem.seen).sum()), 4.0 * float(problem.seen.sum()))
    residual = (problem.values - problem.guide) / scale[problem.date]
    return Example(problem.inputs, residual, problem.seen, weight)
