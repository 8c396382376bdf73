"""Low-rank completion of a stack in which every date has gaps: probabilistic factor analysis, fitted by EM.

A pixel's vector of all dates and bands is taken as  z = m + W u + noise,  u ~ N(0, I) of a small rank, noise variance ψ per
channel. What is missing in a pixel is then its conditional mean given what is observed there: one matrix for all pixels with the
same pattern of clouds. Ref.: Tipping & Bishop 1999 (PPCA with missing values); Rubin & Thayer 1982 (EM for factor analysis).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .covariance import precise, principal

SWEEPS = 15
FLOOR = 1e-4
"""Smallest noise variance, relative to a channel's own: keeps the posterior finite when bands are copies of each other."""


@dataclass(frozen=True)
class Factors:
    """The fitted model.

    `loading` (T, B, R), `mean` (T, B), `noise` (T, B) float64; `known` (T,): False for a date that had no observed pixel.
    """

    loading: Tensor
    mean: Tensor
    noise: Tensor
    known: Tensor


def fit(values: Tensor, observed: Tensor, rank: int) -> Factors:
    """Return the factors of pixels `values` (N, T, B), of which `observed` (N, T) are measured. Deterministic."""
    dates, bands = values.shape[1:]
    rank = max(1, min(rank, dates * bands - 1))
    patterns, group = _patterns(observed.T)
    sizes = torch.bincount(group, minlength=len(patterns))
    flat, one, rows = _condensed(precise(values * observed[..., None]).flatten(1), group, sizes.tolist())
    repeats = torch.tensor(rows, device=values.device)
    kind = torch.arange(len(rows), device=values.device).repeat_interleave(repeats)  # (N',)
    seen = patterns[kind].T.to(flat)  # (T, N')
    each = seen.repeat_interleave(bands, 0).T
    share, known = sizes * patterns.T.to(flat), observed.any(0)  # (T, G)
    count = share.sum(1).clamp(min=1)[:, None]
    mean = (one.T @ flat).reshape(dates, bands) / count
    square = flat.square().sum(0).reshape(dates, bands)
    variance = square / count - mean.square()
    centred = (flat - one * mean.flatten()) * each
    loading = principal(centred.T)[1][:, :rank].flip(1).reshape(dates, bands, rank) * 0.5
    model, least = Factors(loading, mean, variance.clamp(min=FLOOR), known), FLOOR * variance.clamp(min=FLOOR)
    unit = torch.eye(rank + 1, dtype=flat.dtype, device=flat.device)
    target = flat.unflatten(1, (dates, bands)).transpose(0, 1)  # (T, N', B), 0 where not observed
    for _ in range(SWEEPS):
        scaled, covariance = _posterior(model, patterns)
        evidence = ((flat - one * model.mean.flatten()) * each) @ scaled.flatten(0, 1)  # (N', R)
        score = (covariance[kind] @ evidence[..., None])[..., 0]
        basis = torch.cat([score, one], dim=1)  # (N', R+1): the last column carries the mean
        squares = (basis[:, :, None] * basis[:, None]).flatten(1)
        moment = (seen @ squares).unflatten(1, (rank + 1, rank + 1))  # (T, R+1, R+1)
        cross = basis.T @ target  # (T, R+1, B)
        moment[:, :-1, :-1] += torch.einsum("tg,grs->trs", share, covariance)
        moment += (1e-9 * moment.diagonal(dim1=1, dim2=2).mean(1) + ~known)[:, None, None] * unit
        solution = torch.linalg.solve(moment, cross)
        left = (square - (solution * cross).sum(1)) / count
        noise = torch.where(known[:, None], torch.maximum(left, least), 1)
        model = Factors(solution[:, :-1].mT, solution[:, -1], noise, known)
    return model


def complete(model: Factors, values: Tensor, observed: Tensor) -> Tensor:
    """Return `values` (T, B, h, w), finite, with what is not `observed` (T, h, w) replaced by its conditional mean.

    To predict a date from the *others* at every pixel, give it as not observed.
    """
    patterns, group = _patterns(observed.flatten(1))
    order, sizes = torch.argsort(group, stable=True), torch.bincount(group, minlength=len(patterns)).tolist()
    scaled, covariance = _posterior(model, patterns)
    scores = covariance.flatten(0, 1) @ scaled.flatten(0, 1).T
    scores = scores.unflatten(0, covariance.shape[:2])  # (G, R, T·B), of all dates
    observable = (patterns & model.known.to(patterns.device)).repeat_interleave(values.shape[1], 1)  # (G, T·B)
    projection = (scores * observable[:, None]).to(values)
    loading, mean = (part.to(values).flatten(0, 1) for part in (model.loading, model.mean[..., None]))
    parts = (values.flatten(0, 1).flatten(1) - mean).index_select(1, order).split(sizes, dim=1)
    score = torch.cat([p @ part for p, part in zip(projection, parts, strict=True)], dim=1)  # (R, n)
    expected = loading @ torch.empty_like(score).index_copy_(1, order, score) + mean
    return torch.where(observed[:, None], values, expected.reshape(values.shape))


def _posterior(model: Factors, patterns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight  Ψ⁻¹W  of each channel (T, B, R), and the covariance of scores for each pattern of dates (G, T), (G, R, R).

    Scores are the covariance times the weighted sum of what is observed of a centred pixel.
    """
    loading = model.loading.to(patterns.device)
    seen = (patterns & model.known.to(patterns.device)).to(loading)
    scaled = loading / model.noise.to(loading)[..., None]
    information = torch.einsum("tbr,tbs->trs", scaled, loading)
    unit = torch.eye(loading.shape[-1], dtype=loading.dtype, device=loading.device)
    return scaled, torch.linalg.inv(torch.einsum("gt,trs->grs", seen, information) + unit)


def _condensed(flat: Tensor, group: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
    """Return rows (N', C) with the sums and products, in each group, of those given (N, C); their share of the mean (N', 1).

    EM sees nothing of the pixels but these sums. A group of more than C + 1 pixels becomes C + 1 rows, the triangular factor of
    its own; the third value is how many rows each group has.
    """
    rows = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)[torch.argsort(group, stable=True)]
    parts = [torch.linalg.qr(p, mode="r")[1] if len(p) > p.shape[1] else p for p in rows.split(list(sizes))]
    rows = torch.cat(parts)
    return rows[:, :-1], rows[:, -1:], [len(part) for part in parts]


def _patterns(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different columns (G, T) of a boolean (T, n), and which of them each column is, (n,).

    Columns are compared as one number each, which is twenty times as fast as `torch.unique(dim=1)`: their bits up to 62 dates,
    a sum of random 62-bit numbers beyond that (two of a million columns meet by chance once in a million scenes).
    """
    dates, count = observed.shape
    keys = [1 << date for date in range(dates)]
    if dates > 62:
        keys = torch.randint(2**62, (dates,), generator=torch.Generator().manual_seed(0)).tolist()
    code = torch.zeros(count, dtype=torch.long, device=observed.device)
    for date, key in zip(observed, keys, strict=True):
        code.add_(date, alpha=key)
    code, group = torch.unique(code, return_inverse=True)
    column = torch.arange(count, device=observed.device)
    one = torch.zeros_like(code).scatter_(0, group, column)  # a column of each kind
    return observed[:, one].T, group
