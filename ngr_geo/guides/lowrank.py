"""Low-rank completion of a stack in which every date has gaps: probabilistic factor analysis, fitted by EM.

A pixel's vector of all dates and bands is taken as  z = m + W u + noise,  u ~ N(0, I) of a small rank, noise variance ψ per
channel. What is missing in a pixel is then its conditional mean given what is observed there, whatever the pattern of
clouds. Ref.: Tipping & Bishop 1999 (PPCA with missing values); Rubin & Thayer 1982 (EM for factor analysis).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .covariance import principal

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


def fit(values: Tensor, observed: Tensor, rank: int, sweeps: int = 15) -> Factors:
    """Return the factors of pixels `values` (N, T, B), of which `observed` (N, T) are measured. Deterministic."""
    values = values.double() * observed.unsqueeze(-1)
    dates, bands = values.shape[1:]
    rank = max(1, min(rank, dates * bands - 1))
    count = observed.sum(0).clamp(min=1).double()
    known = observed.any(0)
    mean = values.sum(0) / count[:, None]
    centred = (values - mean) * observed.unsqueeze(-1)
    variance = (centred**2).sum(0) / count[:, None]
    flat = centred.flatten(1)
    loading = principal(flat.T)[1][:, :rank].flip(1).reshape(dates, bands, rank) * 0.5
    noise = variance.clamp(min=FLOOR)
    model = Factors(loading, mean, noise, known)
    one = torch.ones(len(values), 1, dtype=torch.float64)
    for _ in range(sweeps):
        score, covariance, group = _posterior(model, values, observed)
        extended = torch.cat([score, one], dim=1)  # (N, R+1): the last column carries the mean
        loading, mean, noise = torch.zeros_like(loading), torch.zeros_like(mean), torch.ones_like(noise)
        for date in range(dates):
            if not known[date]:
                continue
            seen = observed[:, date]
            basis, target = extended[seen], values[seen, date]  # (n, R+1), (n, B)
            moment = basis.T @ basis
            weight = torch.bincount(group[seen], minlength=len(covariance)).double()
            moment[:-1, :-1] += torch.einsum("g,gij->ij", weight, covariance)
            moment += 1e-9 * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
            solution = torch.linalg.solve(moment, basis.T @ target)  # (R+1, B)
            loading[date], mean[date] = solution[:-1].T, solution[-1]
            explained = (solution * (basis.T @ target)).sum(0)
            left = ((target**2).sum(0) - explained) / len(target)
            noise[date] = torch.maximum(left, FLOOR * variance[date].clamp(min=FLOOR))
        model = Factors(loading, mean, noise, known)
    return model


def complete(model: Factors, values: Tensor, observed: Tensor) -> Tensor:
    """Return `values` (N, T, B) with what is not `observed` (N, T) replaced by its conditional mean.

    To predict a date from the *others* at every pixel, give it as not observed.
    """
    score, _, _ = _posterior(model, values.double(), observed)
    expected = torch.einsum("nr,tbr->ntb", score, model.loading) + model.mean
    return torch.where(observed.unsqueeze(-1), values, expected.to(values.dtype))


def _posterior(model: Factors, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (N, R) of the scores; their covariance (G, R, R) for each pattern of dates; the pattern (N,) of each pixel."""
    patterns, group = _patterns(observed & model.known)
    scaled = model.loading / model.noise.unsqueeze(-1)  # Ψ⁻¹W, (T, B, R)
    information = torch.einsum("tbr,tbs->trs", scaled, model.loading)  # (T, R, R)
    rank = scaled.shape[-1]
    precision = torch.einsum("gt,trs->grs", patterns.double(), information) + torch.eye(rank, dtype=torch.float64)
    covariance = torch.linalg.inv(precision)
    residual = (values - model.mean) * (observed & model.known).unsqueeze(-1)
    pull = torch.einsum("ntb,tbr->nr", residual, scaled)
    mean = torch.empty_like(pull)
    order = torch.argsort(group)
    for index, chunk in enumerate(torch.split(order, torch.bincount(group, minlength=len(patterns)).tolist())):
        mean[chunk] = pull[chunk] @ covariance[index]
    return mean, covariance, group


def _patterns(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different rows (G, T) of a boolean (N, T), and which of them each row is, (N,).

    Rows are compared as one number each, which is twenty times as fast as `torch.unique(dim=0)`: their bits up to 62 dates,
    a sum of random 62-bit numbers beyond that (two of a million rows meet by chance once in a million scenes).
    """
    dates = observed.shape[1]
    if dates <= 62:
        keys = 2 ** torch.arange(dates)
    else:
        keys = torch.randint(2**62, (dates,), generator=torch.Generator().manual_seed(0))
    _, group = torch.unique((observed * keys).sum(1), return_inverse=True)
    first = torch.full((int(group.max()) + 1 if len(group) else 0,), len(group), dtype=torch.long)
    first.scatter_reduce_(0, group, torch.arange(len(group)), reduce="amin")
    return observed[first], group
