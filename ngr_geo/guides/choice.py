"""Which dates a date is predicted from: those that together predict it best, not those that are best alone.

Dates are picked one after another, each the one that explains most of what those before it leave. All of it follows from one
matrix of products in closed form: the features of a date that was picked are swept out of it (Goodnight 1979).

What a date shows says nothing of a meadow in its gap where it shows forest only. The dates nearest in time do: predicted in the
gap from what the date's clear pixels teach of them, they tell how well some references carry over (see `carried_over`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

REFERENCES = 4
"""Dates whose neighbourhoods a date is predicted from: each costs 36 features of four bands."""
EXTRAS = 16
"""Dates, at most, whose pixels alone help: each costs 4 features. They show what stays, over years."""
CANDIDATES = 8
"""Dates among which the references are picked by their neighbourhoods."""
RIDGE = 3e-3
"""Penalty, relative to the squares of each feature."""
PROXIES, INSIDE, OUTSIDE = 2, 200, 50
"""Dates, the nearest in time, that are predicted in the gap; each shows so many pixels outside and in it, at least."""
MARGIN = 0.8
"""Ratio of squared errors there below which the dates nearest in time take the place of those picked: 1 dB."""


class Choice(NamedTuple):
    """What a date is predicted from: `references`, the best first, by their neighbourhoods, and `extras` by their pixels alone."""

    references: tuple[int, ...]
    extras: tuple[int, ...]


class Pixels(NamedTuple):
    """Some n pixels: neighbourhoods (T, B, k, n) in all dates, completed; what the dates show there (T, B, n), where `observed`."""

    patches: Tensor
    values: Tensor
    observed: Tensor


def choose(patches: Tensor, target: Tensor, dates: Sequence[int], weights: Sequence[float]) -> Choice:
    """Return the dates that together predict a date best.

    By their pixels alone a few candidates are found; the dates nearest in time join them, as what changes from week to week is
    seen in their neighbourhoods. References are picked among the candidates, extras for what the references leave.

    Args:
        patches: (T, B, k, n) neighbourhoods of pixels in all dates, completed; the pixels themselves in the middle.
        target: (B, n) what the date shows there.
        dates: those that may be picked, nearest in time first.
        weights: what each of the `dates` explains counts by this factor: see `weights_of`.
    """
    bands, size = len(target), patches.shape[2]
    middle = size // 2
    factor = dict(zip(dates, weights, strict=True))
    alone = torch.arange(len(dates) * bands).reshape(-1, bands)
    groups = dict(zip(dates, alone, strict=True))
    found, _ = _forward(
        _products(patches[list(dates), :, middle].flatten(0, 1), target), groups, factor, CANDIDATES, bands
    )
    some = list(dict.fromkeys([*dates[:REFERENCES], *found]))[:CANDIDATES]
    rest = [d for d in dates if d not in some]
    around = torch.arange(len(some) * bands * size).reshape(len(some), bands, size)
    features = torch.cat([patches[some].flatten(0, 2), patches[rest, :, middle].flatten(0, 1)])
    near = dict(zip(some, around.flatten(1), strict=True))
    references, left = _forward(_products(features, target), near, factor, REFERENCES, bands)
    groups = {d: around[some.index(d), :, middle] for d in some if d not in references}
    groups |= {d: around.numel() + alone[i] for i, d in enumerate(rest)}
    extras, _ = _forward(left, groups, factor, EXTRAS, bands)
    return Choice(tuple(references), tuple(extras))


def weights_of(clear: Tensor, date: int, dates: Sequence[int]) -> list[float]:
    """Return the share of a date's gaps that each of some dates shows, and a little more: what it explains counts there.

    `clear` (n, T) is which of some pixels the dates show.
    """
    gaps = clear[~clear[:, date]]
    shown = gaps.double().mean(0) if len(gaps) else torch.ones(clear.shape[1], dtype=torch.float64)
    return (shown + 1e-3)[list(dates)].tolist()


def carried_over(found: Choice, dates: Sequence[int], shown: Pixels, gap: Pixels) -> Choice:
    """Return the choice, or the dates nearest in time where these predict much better what stands in the gap of a date.

    That is what the dates nearest in time show there, each predicted from the others.

    Args:
        found: what was picked.
        dates: those that may be picked, nearest in time first.
        shown: pixels that the date shows, which all is learnt from.
        gap: pixels of its gap.
    """
    near = Choice(tuple(dates[:REFERENCES]), ())
    seen = [(shown.observed[d].sum() >= INSIDE) & (gap.observed[d].sum() >= OUTSIDE) for d in dates]
    proxies = [d for d, usable in zip(dates, seen, strict=True) if usable][:PROXIES]
    if len(proxies) < PROXIES:
        return found
    errors = [[_error_outside(some, proxy, shown, gap) for proxy in proxies] for some in (found, near)]
    picked, nearest = torch.tensor(errors).clamp(min=1e-12).log().mean(1).exp().tolist()
    return near if nearest < MARGIN * picked else found


def _error_outside(some: Choice, proxy: int, shown: Pixels, gap: Pixels) -> float:
    """Return the squared error, geometric mean over the bands, of a date in a gap, regressed outside it on a choice of dates."""
    references, extras = ([d for d in part if d != proxy] for part in some)

    def features(pixels: Pixels) -> Tensor:
        middle = pixels.patches.shape[2] // 2
        parts = pixels.patches[references].flatten(0, 2), pixels.patches[extras][:, :, middle].flatten(0, 1)
        return torch.cat(parts)[:, pixels.observed[proxy]]

    inside, outside = features(shown), features(gap)
    target, truth = (p.values[proxy][:, p.observed[proxy]] for p in (shown, gap))
    products = _products(inside, target)
    count = len(inside)
    gram, cross = products[:count, :count], products[:count, count:]
    slope = torch.linalg.solve(gram + torch.diag(_penalty(gram)), cross).to(target)
    left = slope.T @ (outside - inside.mean(1, keepdim=True)) + target.mean(1, keepdim=True) - truth
    return float(left.square().mean(1).clamp(min=1e-12).log().mean().exp())


def _products(features: Tensor, target: Tensor) -> Tensor:
    """Return the products (F+B, F+B) of features (F, n) and a target (B, n) with each other, about their means; on the CPU."""
    both = torch.cat([features, target])
    both = both - both.mean(1, keepdim=True)
    return (both @ both.T).cpu().double()


def _penalty(products: Tensor) -> Tensor:
    """Return the penalty (F,) of features by the squares of each in their products (F, F)."""
    return RIDGE * products.diagonal() + 1e-9 * products.diagonal().mean() + 1e-12


def _forward(
    products: Tensor, groups: Mapping[int, Tensor], factor: Mapping[int, float], most: int, bands: int
) -> tuple[list[int], Tensor]:
    """Return at most so many of some groups of features, each what adds most to those before it, and what they leave.

    The penalised squares that are left are those of a ridge regression on all groups that were picked.
    """
    left, picked = dict(groups), list[int]()
    penalty = _penalty(products)
    while left and len(picked) < most:
        columns = torch.stack(list(left.values()))  # (groups, features)
        gram = products[columns[:, :, None], columns[:, None, :]] + torch.diag_embed(penalty[columns])
        cross = products[columns, -bands:]
        gain = (cross * torch.linalg.solve(gram, cross)).sum((1, 2)).tolist()
        best = max(zip(left, gain, strict=True), key=lambda pair: pair[1] * factor[pair[0]])[0]
        picked.append(best)
        mine = left.pop(best)
        gram = products[mine][:, mine] + torch.diag(penalty[mine])
        products = products - products[:, mine] @ torch.linalg.solve(gram, products[mine])
    return picked, products
