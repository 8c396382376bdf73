"""Which dates a date is predicted from: those that together predict it best, not those that are best alone.

Dates are picked one after another, each the one that explains most of what those before it leave. All of it follows from one
matrix of products in closed form: the features of a date that was picked are swept out of it (Goodnight 1979).
"""

from __future__ import annotations

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


class Choice(NamedTuple):
    """What a date is predicted from: `references`, the best first, by their neighbourhoods, and `extras` by their pixels alone."""

    references: tuple[int, ...]
    extras: tuple[int, ...]


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


def _products(features: Tensor, target: Tensor) -> Tensor:
    """Return the products (F+B, F+B) of features (F, n) and a target (B, n) with each other, about their means; on the CPU."""
    both = torch.cat([features, target])
    both = both - both.mean(1, keepdim=True)
    return (both @ both.T).cpu().double()


def _forward(
    products: Tensor, groups: Mapping[int, Tensor], factor: Mapping[int, float], most: int, bands: int
) -> tuple[list[int], Tensor]:
    """Return at most so many of some groups of features, each what adds most to those before it, and what they leave.

    The penalised squares that are left are those of a ridge regression on all groups that were picked.
    """
    left, picked = dict(groups), list[int]()
    penalty = RIDGE * products.diagonal() + 1e-9 * products.diagonal().mean() + 1e-12
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
