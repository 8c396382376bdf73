"""How well a date is filled: hidden pixels that judge guide and networks, and the errors expected in its gaps."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..guides.base import Window
from ..guides.hidden import thickness
from ..guides.members import MEMBERS
from ..solver import Small
from ..tiling.threads import side_by_side
from . import hiding, judge
from .calibration import Calibration, calibrate, features, unseen_features
from .problem import (
    Judgement,
    Problem,
    Settings,
    Trial,
    answer_of,
    answers_by,
    answers_of,
    cells_of,
    cropped,
    integrate,
    problem_of,
    unjudged,
)

PROBES = 4
"""Cells of the scene, for each date, in which errors are measured; twice in each."""
LEAST_SHARE = 0.05
"""Share of a cell's pixels that has to be observed for more of them to be hidden."""
GAP_CELLS = 8
"""Cells with gaps of a date in which the error expected there is worked out, about."""
PROBE_SHARE = 0.2
PROBE_WIDEST = 1 / 4
"""So much of what is seen is hidden in each, in blobs up to so much of the cell: as wide as the gaps, as far as that goes."""
NEGLIGIBLE = 0.01
"""Share of a date's gaps below which the error expected may leave out a situation in which it could not be measured."""
UNSEEN_PROBES = 8
"""Times that a date, and all others with it, is hidden where none sees the ground, if there are such places."""
Calibrations = tuple[Calibration | None, Calibration | None]
"""How far a fill may be off where another date saw the ground, and where none did; None where it could not be measured."""


def deviation_of(problem: Problem, answer: Tensor, calibrations: Calibrations) -> Tensor:
    """Return the standard deviation (B, h, w) of what is filled, 0 where it was seen, NaN where it is not known."""
    deviation = torch.zeros_like(answer)
    for where, kind, columns in _situations(problem, answer, ~problem.seen):
        deviation[:, where] = torch.nan
        if (found := calibrations[kind]) is not None:
            unit = torch.from_numpy(found.deviation).to(answer)[:, None]
            deviation[:, where] = found.scale(columns[..., where]) * unit
    return deviation


def _situations(problem: Problem, answer: Tensor, gap: Tensor) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Yield the pixels of a gap (h, w) that another date saw, their place in `Calibrations` and their features; then the others."""
    where = gap & ~problem.unseen, gap & problem.unseen
    if where[0].any():
        yield where[0], 0, features(problem.seen, problem.support, answer, problem.guide)
    if where[1].any():
        yield where[1], 1, unseen_features(problem.seen, problem.unseen, answer, problem.guide)


def judgements_of(
    trials: Sequence[Trial],
    second: Sequence[Trial],
    networks: Sequence[Small],
    scale: dict[int, Tensor],
    dates: Sequence[int],
    settings: Settings,
) -> dict[int, Judgement]:
    """Return what is kept for each date, by the blocks that each network has not seen, nor was stopped by: see `judge`.

    Of a "blend" that is all members, each with its weight; of another method its own member. No error is expected yet.
    """
    names = ["guide", *(["ngr"] if networks else [])]
    names += [name for name in MEMBERS if settings.method in ("auto", name)]
    looks = [(trial, trial.score, networks[:1]) for trial in trials]
    looks += [(trial, trial.stop | trial.score, networks[1:2] or networks[:1]) for trial in second if networks]

    def tabulated(look: tuple[Trial, Tensor, Sequence[Small]]) -> judge.Table:
        (problem, *_), hidden, used = look
        ngr = answers_of([problem], used, scale)[problem.date] if used else None
        answers = answers_by(problem, names, ngr).values()
        return judge.tabulated([integrate(problem, answer) - problem.values for answer in answers], hidden)

    tables: dict[int, list[judge.Table]] = {}
    for (trial, *_), table in zip(looks, side_by_side(tabulated, looks, settings.device), strict=True):
        tables.setdefault(trial.problem.date, []).append(table)
    asked = settings.method if settings.method in names else "guide"
    bands = len(next(iter(scale.values()))) if scale else 0
    judgement = {}
    for date in dates:
        joined = judge.joined(tables[date]) if date in tables else None
        weights = np.array([float(name == asked) for name in names])
        if settings.method == "auto":
            weights = judge.weights(joined, len(names))
        judgement[date] = judged(dict(zip(names, weights.tolist(), strict=True)), joined, bands)
    return judgement


def judged(weights: dict[str, float], table: judge.Table | None, bands: int) -> Judgement:
    """Return a judgement with what the choice was made by, and no errors expected yet.

    Args:
        weights: of all members, in the order of the table.
        table: what was measured, None for nothing.
        bands: their number.
    """
    used = {name: weight for name, weight in weights.items() if weight > 0}
    method = next(iter(used)) if len(used) == 1 else "blend"
    empty = unjudged(method, bands, used)
    if table is None:
        return empty
    hidden = dict(zip(weights, map(tuple, table.rmse().tolist()), strict=True))
    if method == "blend":
        hidden[method] = tuple(table.rmse_of(np.array(list(weights.values()))).tolist())
    return empty._replace(hidden=hidden, blocks=tuple(table.blocks.astype(float).tolist()))


class Probe(NamedTuple):
    """A cell of a date with pixels hidden once more: where they are (h, w), and which of them nothing was fitted to."""

    problem: Problem
    where: Tensor
    never: Tensor


Draft = tuple[Window, Window, Tensor, Tensor]
"""A probe that is not predicted yet: all of its cell, what of it may be learnt from, then the `where` and `never` of a probe."""


class _Cell(NamedTuple):
    """A cell of one date: all that is observed, what is left of it and by what share, the score set (h, w), and what to draw by."""

    full: Window
    part: Window
    share: float
    score: Tensor
    key: tuple[int, ...]


def probes_of(
    guide: Any,
    windows: Sequence[Window],
    seen: Sequence[Window],
    score: Sequence[Tensor],
    date: int,
    settings: Settings,
) -> list[Probe]:
    """Return the probes of a date: where another date saw the ground, and where none did.

    What is fitted to the whole scene has not seen the score set; the rest it has, but not for the local correction, and the
    fill does not hold it. The difference that this makes is measured: see `calibration`.
    """
    cells = []
    for number, (window, left) in enumerate(zip(windows, seen, strict=True)):
        for rows, columns in cells_of(tuple(window.observed.shape[1:])):
            full, part = (Window(*(a[..., rows, columns] for a in w)) for w in (window, left))
            share = float(part.observed[date].float().mean())
            key = (settings.seed, number, date, rows.start, columns.start)
            cells.append(_Cell(full, part, share, score[number][date, rows, columns], key))
    drafts = _hidden([cell for cell in cells if cell.share > LEAST_SHARE], date)
    if len(windows[0].observed) > 1:
        drafts += _unseen(cells, date)

    def predicted(draft: Draft) -> Probe:
        full, part, where, never = draft
        return Probe(problem_of(guide, full, part, date), where, never)

    return side_by_side(predicted, drafts, settings.device)


def _hidden(cells: Sequence[_Cell], date: int) -> list[Draft]:
    """Return cells of a date with pixels hidden in blobs as wide as its gaps, as far as that goes."""
    picked = [cells[i * len(cells) // PROBES] for i in range(PROBES)] if len(cells) > PROBES else cells
    drafts: list[Draft] = []
    for turn in range(max(1, PROBES // max(1, len(picked)))):
        for full, part, _, score, key in picked:
            width = thickness(~full.observed[date])
            draw = np.random.SeedSequence([*key, turn])
            for mask in hiding.draw(part.observed[date].cpu().numpy(), width, draw, PROBE_SHARE, PROBE_WIDEST):
                hidden, left = torch.from_numpy(mask).to(score.device), part.observed.clone()
                left[date] &= ~hidden
                if left[date].any():
                    drafts.append((full, part._replace(observed=left), hidden | score, score))
    return drafts


def _unseen(cells: Sequence[_Cell], date: int) -> list[Draft]:
    """Return cells in which the shapes of what no date saw, moved elsewhere, are hidden from all dates; none without such gaps."""
    gaps = [~cell.full.observed.any(0).cpu().numpy() for cell in cells]
    gaps = sorted((gap for gap in gaps if gap.any()), key=lambda gap: -int(gap.sum()))[:UNSEEN_PROBES]
    least = max(np.median([cell.share for cell in cells]), LEAST_SHARE)
    hosts = [cell for cell in cells if cell.share >= least]
    drafts: list[Draft] = []
    for turn in range(UNSEEN_PROBES if gaps and hosts else 0):
        full, part, _, score, key = hosts[turn * max(1, len(hosts) // UNSEEN_PROBES) % len(hosts)]
        there, draw = full.observed[date], np.random.SeedSequence([*key, turn, 1])
        hidden = torch.from_numpy(hiding.moved(gaps[turn % len(gaps)], there.cpu().numpy(), draw)).to(there.device)
        full, part = (w._replace(observed=w.observed & ~hidden) for w in (full, part))
        if hidden.any() and part.observed[date].any():
            drafts.append((full, part, hidden & there, score))
    return drafts


def calibrations_of(
    probes: Sequence[Probe], weights: Mapping[str, float], networks: Sequence[Small], scale: dict[int, Tensor]
) -> Calibrations:
    """Return how far the blend of some members may be off at pixels that are filled."""

    def measured(number: int) -> list[tuple[int, Part]]:
        problem, hidden, never = probes[number]
        answer = answer_of(problem, weights, networks, scale)
        error = integrate(problem, answer) - problem.values
        found = []
        for where, kind, columns in _situations(problem, answer, hidden):
            numbers = torch.full((int(where.sum()),), number, device=where.device)
            found.append((kind, (error[:, where], columns[..., where], never[where], numbers)))
        return found

    parts: tuple[list[Part], list[Part]] = ([], [])
    device = str(probes[0].problem.guide.device) if probes else None
    for kind, part in itertools.chain(*side_by_side(measured, range(len(probes)), device)):
        parts[kind].append(part)
    return _fitted(parts[0]), _fitted(parts[1], by_depth=True)


Part = tuple[Tensor, Tensor, Tensor, Tensor]
"""Errors (B, n) at hidden pixels, their features, which of them nothing was fitted to, and the number of their probe."""


def _fitted(parts: Sequence[Part], by_depth: bool = False) -> Calibration | None:
    """Return the calibration of errors from the parts that some probes gave, None where there are none; see `calibrate`."""
    if not parts:
        return None
    errors, columns, never, probe = (torch.cat(column, -1).cpu() for column in zip(*parts, strict=True))
    return calibrate(errors, columns, never, probe, by_depth)


def expecting(
    judgement: Judgement,
    calibrations: Calibrations,
    gaps: Sequence[tuple[Problem, Tensor]],
    networks: Sequence[Small],
    scale: dict[int, Tensor],
) -> Judgement:
    """Return the judgement with RMSE and bias per band where a date has gaps (h, w), as some windows show them.

    NaN where a part of the gaps that counts is in a situation that could not be measured.
    """
    known = [calibration for calibration in calibrations if calibration is not None]
    if not known:
        return judgement
    squares, counts = np.zeros((2, len(known[0].rms))), np.zeros(2)
    cells = [(whole, gap, cell) for whole, gap in gaps for cell in cells_of(tuple(gap.shape)) if gap[cell].any()]
    for whole, all_gaps, cell in cells[:: max(1, len(cells) // GAP_CELLS)]:
        problem, gap = cropped(whole, *cell), all_gaps[cell]
        answer = answer_of(problem, judgement.weights, networks, scale)
        for where, kind, columns in _situations(problem, answer, gap):
            counts[kind] += int(where.sum())
            if (found := calibrations[kind]) is not None:
                scale_there = found.scale(columns[..., where]).cpu().double()
                squares[kind] += scale_there.square().sum(1).numpy() * found.rms**2
    share = counts / max(counts.sum(), 1)
    if not counts.any() or any(c is None and part > NEGLIGIBLE for c, part in zip(calibrations, share, strict=True)):
        return judgement
    counts *= [c is not None for c in calibrations]
    parts = [(c, part) for c, part in zip(calibrations, counts / counts.sum(), strict=True) if c is not None]
    errors: dict[str, Any] = {
        "rmse": np.sqrt(squares.sum(0) / counts.sum()),
        "bias": sum(part * c.bias for c, part in parts),
        "log_sd": sum(part * c.log_sd for c, part in parts if part),
    }
    changed: dict[str, Any] = {name: tuple(np.asarray(values).tolist()) for name, values in errors.items()}
    return judgement._replace(**changed)
