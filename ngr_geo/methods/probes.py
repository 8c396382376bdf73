"""How well a date is filled: hidden pixels that judge guide and networks, and the errors expected in its gaps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..guides.base import Window
from ..solver import Small
from ..tiling.threads import side_by_side
from . import hiding, judge
from .calibration import Calibration, calibrate, features, unseen_features
from .problem import Judgement, Problem, Settings, Trial, answer_of, cells_of, error_of, integrate, problem_of

PROBES = 4
"""Cells of the scene, for each date, in which errors are measured; twice in each."""
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
    for where, calibration, columns in _situations(problem, answer, calibrations, ~problem.seen):
        deviation[:, where] = torch.nan
        if calibration is not None:
            unit = torch.from_numpy(calibration.deviation).to(answer)[:, None]
            deviation[:, where] = calibration.scale(columns[..., where]) * unit
    return deviation


def _situations(
    problem: Problem, answer: Tensor, calibrations: Calibrations, gap: Tensor
) -> Iterator[tuple[Tensor, Calibration | None, Tensor]]:
    """Yield the pixels of a gap (h, w) that another date saw, then those that none did, with calibration and features of each."""
    where = gap & ~problem.unseen, gap & problem.unseen
    if where[0].any():
        yield where[0], calibrations[0], features(problem.seen, problem.support, answer, problem.guide)
    if where[1].any():
        yield where[1], calibrations[1], unseen_features(problem.seen, problem.unseen, answer, problem.guide)


def judgements_of(
    trials: Sequence[Trial],
    second: Sequence[Trial],
    networks: Sequence[Small],
    scale: dict[int, Tensor],
    dates: Sequence[int],
    settings: Settings,
) -> dict[int, Judgement]:
    """Return what is kept for each date, by the blocks that each network has not seen, nor was stopped by: see `judge`."""
    looks = [(trial, trial.score, networks[:1]) for trial in trials]
    looks += [(trial, trial.stop | trial.score, networks[1:2] or networks[:1]) for trial in second if networks]

    def tabulated(look: tuple[Trial, Tensor, Sequence[Small]]) -> judge.Table:
        (problem, *_), hidden, used = look
        members = [error_of(problem, some, scale) for some in ((), used)[: 1 + bool(used)]]
        return judge.tabulated(members, hidden)

    tables: dict[int, list[judge.Table]] = {}
    for (trial, *_), table in zip(looks, side_by_side(tabulated, looks, settings.device), strict=True):
        tables.setdefault(trial.problem.date, []).append(table)
    judgement = {}
    for date in dates:
        joined = judge.joined(tables[date]) if date in tables else None
        better = joined is not None and bool(networks) and judge.keeps(joined)
        method = "ngr" if settings.method == "ngr" or (settings.method == "auto" and better) else "guide"
        judgement[date] = judged(method, joined)
    return judgement


def judged(method: str, table: judge.Table | None) -> Judgement:
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


Draft = tuple[Window, Window, Tensor, Tensor]
"""A probe that is not predicted yet: all of its cell, what of it may be learnt from, then the `where` and `never` of a probe."""


def probes_of(
    guide: Any,
    windows: Sequence[Window],
    seen: Sequence[Window],
    score: Sequence[Tensor],
    date: int,
    settings: Settings,
) -> list[Probe]:
    """Return the probes of a date: where another date saw the ground, and where none did."""
    drafts = _hidden(windows, seen, score, date, settings.seed) + _unseen(windows, seen, score, date, settings.seed)

    def predicted(draft: Draft) -> Probe:
        full, part, where, never = draft
        return Probe(problem_of(guide, full, part, date), where, never)

    return side_by_side(predicted, drafts, settings.device)


def _hidden(
    windows: Sequence[Window], seen: Sequence[Window], score: Sequence[Tensor], date: int, seed: int
) -> list[Draft]:
    """Return cells of a date with pixels hidden in blobs as wide as its gaps, as far as that goes.

    What is fitted to the whole scene has not seen the score set; the rest it has, but not for the local correction, and the
    fill does not hold it. The difference that this makes is measured: see `calibration`.
    """
    cells = [
        (number, cell)
        for number, window in enumerate(windows)
        for cell in cells_of(tuple(window.observed.shape[1:]))
        if float(seen[number].observed[date, *cell].float().mean()) > 0.05
    ]
    picked = [cells[i * len(cells) // PROBES] for i in range(PROBES)] if len(cells) > PROBES else cells
    drafts: list[Draft] = []
    for turn in range(max(1, PROBES // max(1, len(picked)))):
        for number, (rows, columns) in picked:
            full, part = (
                Window(w.values[..., rows, columns], w.observed[..., rows, columns])
                for w in (windows[number], seen[number])
            )
            width = hiding.thickness(~full.observed[date].cpu().numpy())
            key = np.random.SeedSequence([seed, number, date, rows.start, columns.start, turn])
            for mask in hiding.draw(part.observed[date].cpu().numpy(), width, key, PROBE_SHARE, PROBE_WIDEST):
                hidden, left = torch.from_numpy(mask).to(part.observed.device), part.observed.clone()
                left[date] &= ~hidden
                if left[date].any():
                    never = score[number][date, rows, columns]
                    drafts.append((full, Window(part.values, left), hidden | never, never))
    return drafts


def _unseen(
    windows: Sequence[Window], seen: Sequence[Window], score: Sequence[Tensor], date: int, seed: int
) -> list[Draft]:
    """Return cells in which the shapes of what no date saw, moved elsewhere, are hidden from all dates; none without such gaps."""
    if windows[0].observed.shape[0] == 1:
        return []
    cells = [(n, cell) for n, w in enumerate(windows) for cell in cells_of(tuple(w.observed.shape[1:]))]
    gaps = [~windows[n].observed[..., *cell].any(0).cpu().numpy() for n, cell in cells]
    gaps = sorted((gap for gap in gaps if gap.any()), key=lambda gap: -int(gap.sum()))[:UNSEEN_PROBES]
    shares = [float(seen[n].observed[date, *cell].float().mean()) for n, cell in cells]
    hosts = [cell for cell, share in zip(cells, shares, strict=True) if share >= max(np.median(shares), 0.05)]
    drafts: list[Draft] = []
    for turn in range(UNSEEN_PROBES if gaps and hosts else 0):
        number, (rows, columns) = hosts[turn * max(1, len(hosts) // UNSEEN_PROBES) % len(hosts)]
        window = windows[number]
        key = np.random.SeedSequence([seed, number, date, rows.start, columns.start, turn, 1])
        there = window.observed[date, rows, columns]
        hidden = torch.from_numpy(hiding.moved(gaps[turn % len(gaps)], there.cpu().numpy(), key)).to(there.device)
        full, part = (
            Window(w.values[..., rows, columns], w.observed[..., rows, columns] & ~hidden)
            for w in (window, seen[number])
        )
        if hidden.any() and part.observed[date].any():
            drafts.append((full, part, hidden & there, score[number][date, rows, columns]))
    return drafts


def calibrations_of(probes: Sequence[Probe], networks: Sequence[Small], scale: dict[int, Tensor]) -> Calibrations:
    """Return how far the guide, or with networks what they make of it, may be off at pixels that are filled."""

    def measured(number: int) -> list[tuple[int, Part]]:
        problem, hidden, never = probes[number]
        answer = answer_of(problem, networks, scale)
        error = integrate(problem, answer) - problem.values
        found = []
        for where, _, columns in _situations(problem, answer, (None, None), hidden):
            kind = int(bool(problem.unseen[where].any()))
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
    verdict: Judgement,
    method: str,
    calibrations: Calibrations,
    gaps: Sequence[tuple[Problem, Tensor]],
    networks: Sequence[Small],
    scale: dict[int, Tensor],
) -> Judgement:
    """Return the judgement with RMSE and bias per band of a method where a date has gaps (h, w), as some windows show them.

    NaN where a part of the gaps that counts is in a situation that could not be measured.
    """
    known = [calibration for calibration in calibrations if calibration is not None]
    if not known:
        return verdict
    squares, counts = np.zeros((2, len(known[0].rms))), np.zeros(2)
    some = [(problem, gap) for problem, gap in gaps if gap.any()]
    for problem, gap in some[:: max(1, len(some) // PROBES)]:
        answer = answer_of(problem, networks, scale)
        for where, calibration, columns in _situations(problem, answer, calibrations, gap):
            kind = int(bool(problem.unseen[where].any()))
            counts[kind] += int(where.sum())
            if calibration is not None:
                squares[kind] += (
                    calibration.scale(columns[..., where]).cpu().double().square().sum(1).numpy() * calibration.rms**2
                )
    share = counts / max(counts.sum(), 1)
    if not counts.any() or any(c is None and part > NEGLIGIBLE for c, part in zip(calibrations, share, strict=True)):
        return verdict
    counted = counts * [c is not None for c in calibrations]
    rmse = np.sqrt(squares.sum(0) / counted.sum())
    bias = sum(part * c.bias for c, part in zip(calibrations, counted / counted.sum(), strict=True) if c is not None)
    found: dict[str, Any] = {f"{method}_rmse": tuple(rmse.tolist()), f"{method}_bias": tuple(np.asarray(bias).tolist())}
    if verdict.method == method:
        doubt = sum(
            part * c.doubt
            for c, part in zip(calibrations, counted / counted.sum(), strict=True)
            if c is not None and part
        )
        found["doubt"] = tuple(np.asarray(doubt).tolist())
    return verdict._replace(**found)
