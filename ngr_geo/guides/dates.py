"""The guide for cloud removal: each date predicted from the others that predict it best.

A low-rank model fills the gaps of the others. A ridge regression on the 3x3 neighbourhoods of some of them and the pixels of more
predicts the date, and a local regression corrects what varies over the scene. The edges of clouds are closed afterwards, by the X
step that holds the observed pixels (a Poisson fill of the guide's gradients).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import lowrank, regression
from .base import Prediction, Window
from .choice import REFERENCES, Choice, Pixels, carried_over, choose, weights_of
from .filters import near

RANK = 8
FACTOR_PIXELS, FACTOR_VALUES = 30_000, 150_000
"""Pixels that the low-rank model is fitted on, and pixels times dates, at most."""
OUTLIER = 6.0
"""Robust standard deviations beyond which a residual is an outlier."""
EDGE = 3
"""Width in pixels of the edge of a gap in which they are looked for."""
_FACTORS = ("loading", "mean", "noise", "known")
FIT_PIXELS = 100_000
"""Pixels that one regression is fitted on, at most."""
PATCHES = 4_000
"""Pixels that the choice of references is made by, at most."""
LEAST = 20
"""Pixels of the sample that two dates have to show both for one to be predicted from the other."""
DEVIATION_PIXELS = 10_000
"""Pixels that the standard deviation of a residual is taken from, about."""


@dataclass(frozen=True)
class DateGuide:
    """What predicts each date. `nearest` (references, weights) has those that share hardly a pixel with another date."""

    factors: lowrank.Factors
    regressions: dict[int, regression.Regression]
    nearest: dict[int, tuple[tuple[int, ...], tuple[float, ...]]]
    width: int
    """How many references `predict` returns: the same for every date, whatever could be learnt of it."""


def fit(windows: Sequence[Window], seen: Sequence[Window], dates: Sequence[int], days: Sequence[float]) -> DateGuide:
    """Return the guide for the `dates`, fitted on pixels that are observed in `seen`.

    Args:
        windows: with all that is observed: what the references are made of.
        seen: the same windows less the hidden pixels: what a date itself may be learnt from.
        dates: the indices of those to predict.
        days: when each of the T dates was taken: see `Cube.when`.
    """
    total = windows[0].observed.shape[0]
    pixels, clear = sampled(seen)
    factors = lowrank.fit(pixels, clear, RANK)
    regressions, nearest = {}, {}
    for date in dates:
        choice = _choose(factors, seen, clear, date, _by_time(days, date))
        if choice.references:
            landmarks = _landmarks(factors, pixels, clear, date, choice.references)
            regressions[date] = _regress(factors, windows, seen, date, choice, landmarks)
        else:
            nearest[date] = _in_time(days, factors.known.tolist(), date)
    return DateGuide(factors, regressions, nearest, min(REFERENCES, total - 1))


def predict(guide: DateGuide, window: Window, seen: Window, date: int) -> Prediction:
    """Return one date of a window; the context are its references, completed, and where they are clear (K·(B+1), h, w).

    (The local correction does know what the date shows at a pixel, as one of some thousand.)
    """
    values, bands = window.values, window.values.shape[1]
    nothing = values.new_zeros(guide.width * (bands + 1), *values.shape[2:])
    filled = _without(guide.factors, window, date)
    if date in guide.nearest:
        references, weights = guide.nearest[date]
        mean = sum((w * filled[r] for r, w in zip(references, weights, strict=True)), torch.zeros_like(filled[date]))
        return Prediction(mean, nothing, seen.observed[date], references, values[:0, 0])
    model = guide.regressions[date]
    case = regression.problem(filled, window.observed, date, model.references, model.extras, model.landmarks)
    estimate = regression.predict(model, case)
    chosen = list(model.references)
    completed = filled[chosen].flatten(0, 1)
    trusted = _trusted(values[date] - estimate, seen.observed[date])
    if trusted.any():
        estimate = estimate + regression.checked(completed, values[date] - estimate, trusted)
    context = torch.cat([completed, window.observed[chosen].to(values.dtype)])
    empty = values.new_zeros((guide.width - len(chosen)) * (bands + 1), *context.shape[1:])
    return Prediction(estimate, torch.cat([context, empty]), trusted, model.references, completed)


def packed(guide: DateGuide) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a guide as named tensors and what JSON can hold."""
    tensors = {f"regression.{date}": r.coefficients for date, r in guide.regressions.items()}
    tensors |= {f"landmarks.{date}": r.landmarks for date, r in guide.regressions.items()}
    tensors |= {f"factors.{name}": getattr(guide.factors, name) for name in _FACTORS}
    return tensors, {
        "width": guide.width,
        "references": {date: [list(r.references), list(r.extras)] for date, r in guide.regressions.items()},
        "nearest": {date: [list(part) for part in pair] for date, pair in guide.nearest.items()},
    }


def unpacked(tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> DateGuide:
    """Return the guide from what `packed` made of it."""
    return DateGuide(
        lowrank.Factors(*(tensors[f"factors.{name}"] for name in _FACTORS)),
        {
            int(d): regression.Regression(tuple(r), tuple(e), tensors[f"regression.{d}"], tensors[f"landmarks.{d}"])
            for d, (r, e) in notes["references"].items()
        },
        {int(d): (tuple(pair[0]), tuple(pair[1])) for d, pair in notes["nearest"].items()},
        notes["width"],
    )


def _trusted(residual: Tensor, seen: Tensor) -> Tensor:
    """Return the seen pixels (h, w) that a fill may learn from and has to meet: all but what the mask missed of a cloud.

    That lies at the edge of the gaps and would shine into them. So outliers there are left out, where the edge has at least
    twice as many of them as the rest of the window; elsewhere an outlier is a field that changed, and counts.
    """
    edge = seen & near(~seen, 2 * EDGE + 1)
    inner = seen & ~edge
    if not edge.any() or not inner.any():
        return seen
    size, places = residual.abs(), seen.flatten().nonzero()[:, 0]
    some = places[:: max(1, len(places) // DEVIATION_PIXELS) | 1]  # odd: never a whole number of rows of an even width
    deviation = 1.4826 * size.flatten(1).index_select(1, some).median(dim=1).values.clamp(min=1e-3)
    outlier = (size > OUTLIER * deviation[:, None, None]).any(dim=0)
    at_edge, elsewhere = (((outlier & part).sum() / part.sum()).item() for part in (edge, inner))
    return seen & ~(outlier & edge) if at_edge > 2 * elsewhere + 0.005 else seen


def _choose(factors: lowrank.Factors, seen: Sequence[Window], clear: Tensor, date: int, order: Sequence[int]) -> Choice:
    """Return what a date is predicted from: see `choice`. `clear` (N, T) is a sample, `order` the dates, nearest in time first."""
    both = (clear & clear[:, [date]]).sum(0).tolist()
    dates = [d for d in order if both[d] >= LEAST]
    if not dates:
        return Choice((), ())
    reach = int(len(dates) > REFERENCES)  # all of a few are picked
    shown = _patches(factors, seen, date, [w.observed[date] for w in seen], reach)
    found = choose(shown.patches, shown.values[date], dates, weights_of(clear, date, dates))
    gaps = [~w.observed[date] for w in seen]
    if set(found.references) == set(dates[:REFERENCES]) or not any(gap.any() for gap in gaps):
        return found
    return carried_over(found, dates, shown, _patches(factors, seen, date, gaps, reach))


def _patches(
    factors: lowrank.Factors, seen: Sequence[Window], date: int, where: Sequence[Tensor], reach: int
) -> Pixels:
    """Return some pixels of the windows `where` (h, w) in each: neighbourhoods, completed without a date, and what is shown.

    They reach by so many pixels to each side.
    """
    step = max(1, math.ceil(sum(int(some.sum()) for some in where) / PATCHES)) | 1
    parts, shows, known = [], [], []
    for window, some in zip(seen, where, strict=True):
        (height, width), places = window.observed.shape[1:], some.nonzero()[::step]  # (n, 2)
        shift = torch.arange(-reach, reach + 1, device=places.device)
        rows = (places[:, 0] + shift[:, None]).clamp(0, height - 1)  # (1 or 3, n)
        columns = (places[:, 1] + shift[:, None]).clamp(0, width - 1)
        flat = (rows[:, None] * width + columns).flatten(0, 1)  # (k, n)
        around = Window(window.values.flatten(2)[:, :, flat], window.observed.flatten(1)[:, flat])
        parts.append(_without(factors, around, date))
        shows.append(window.values[:, :, places[:, 0], places[:, 1]])
        known.append(window.observed[:, places[:, 0], places[:, 1]])
    return Pixels(torch.cat(parts, -1), torch.cat(shows, -1), torch.cat(known, -1))


def sampled(windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """Return pixels (N, T, B) for the low-rank model and whether they are observed (N, T), evenly over the windows."""
    total, dates = sum(w.observed[0].numel() for w in windows), len(windows[0].observed)
    step = max(1, math.ceil(total / min(FACTOR_PIXELS, FACTOR_VALUES / dates))) | 1  # odd: see `_trusted`
    pixels = torch.cat([w.values.flatten(2).permute(2, 0, 1)[::step] for w in windows])
    return pixels, torch.cat([w.observed.flatten(1).T[::step] for w in windows])


def _without(factors: lowrank.Factors, window: Window, date: int) -> Tensor:
    """Return the window (T, B, h, w) with its gaps, and all of one date, completed from the other dates."""
    bare = window.observed.clone()
    bare[date] = False
    return lowrank.complete(factors, window.values, bare)


def _regress(
    factors: lowrank.Factors,
    windows: Sequence[Window],
    seen: Sequence[Window],
    date: int,
    choice: Choice,
    landmarks: Tensor,
) -> regression.Regression:
    """Return the regression of a date on its references, over all windows."""
    moments = regression.Moments(*choice, landmarks, windows[0].values[date])
    count = sum(int(s.observed[date].sum()) for s in seen)
    others = _crossed(seen, date) if count < regression.SAMPLES_PER_FEATURE * moments.linear else []
    share = FIT_PIXELS / max(1, count)
    generator = torch.Generator().manual_seed(date)
    for window, part in zip(windows, seen, strict=True):
        filled = _without(factors, window, date)
        fold = regression.folds_of(filled)
        for number, other in enumerate(others):
            filled[date] = torch.where(fold == number, _without(other, window, date)[date], filled[date])
        use = part.observed[date]
        if share < 1:
            use = use & (torch.rand(use.shape, generator=generator) < share).to(use.device)
        moments.add(regression.problem(filled, window.observed, date, *choice, landmarks), window.values[date], use)
    return moments.solve()


def _landmarks(
    factors: lowrank.Factors, pixels: Tensor, clear: Tensor, date: int, references: tuple[int, ...]
) -> Tensor:
    """Return the bands of the references (M, K·B), completed, at some pixels (N, T, B) of the scene, drawn at random."""
    draw = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(date))[: regression.LANDMARKS]
    some = draw.to(pixels.device)
    sample = Window(pixels[some].permute(1, 2, 0)[..., None], clear[some].T[..., None])
    return _without(factors, sample, date)[list(references), ..., 0].flatten(0, 1).T.contiguous()


def _crossed(seen: Sequence[Window], date: int) -> list[lowrank.Factors]:
    """Return the low-rank model without what a date shows in each fold.

    From few pixels the model learns them by heart: what it expects of a date there is no evidence.
    """
    models = []
    for fold in range(regression.FOLDS):
        parts = [Window(s.values, s.observed.clone()) for s in seen]
        for part in parts:
            part.observed[date] &= regression.folds_of(part.observed) != fold
        models.append(lowrank.fit(*sampled(parts), RANK))
    return models


def _by_time(days: Sequence[float], date: int) -> list[int]:
    """Return the other dates, nearest in time first."""
    others = [d for d in range(len(days)) if d != date]
    return sorted(others, key=lambda d: abs(days[d] - days[date]))


def _in_time(days: Sequence[float], known: Sequence[bool], date: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the dates and weights of an interpolation in time, for a date of which nothing is known."""
    others = [d for d in range(len(days)) if d != date and known[d]]
    gap = {d: days[d] - days[date] for d in others}
    before = max((d for d in others if gap[d] <= 0), key=lambda d: gap[d], default=None)
    after = min((d for d in others if gap[d] > 0), key=lambda d: gap[d], default=None)
    if before is None or after is None:
        single = before if after is None else after
        return ((single,), (1.0,)) if single is not None else ((), ())
    share = -gap[before] / (gap[after] - gap[before])
    return (before, after), (1 - share, share)
