"""Pixels of a date that are observed in some bands and not in others: what is observed there corrects what is filled in.

Where the prediction of a date is off in one band it is off in others, too. With the covariance C of its errors over the bands,
taken at pixels that are observed in all of them, the missing bands m of a pixel are those predicted plus  C_mo C_oo⁻¹ (y_o - x_o):
o are its observed bands, y is what they show and x what was predicted. Ref.: Cressie 1993 (simple cokriging).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..guides.covariance import moments
from .problem import Problem

LEAST = 20
"""Pixels for each band that are observed in all bands, below which nothing is corrected."""
RIDGE = 1e-3
"""Added to the variances, as a share of them."""


class Entries(NamedTuple):
    """A window (T, B, h, w), standardised: `values` are 0 where not `observed`, whatever else is observed of a pixel."""

    values: Tensor
    observed: Tensor


def corrected(problem: Problem, filled: Tensor, deviation: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
    """Return a date that was filled (B, h, w), and the standard deviation of that, with what is known of its partial pixels.

    Observed entries come back bit for bit, with a deviation of 0.
    """
    values, observed = entries.values[problem.date], entries.observed[problem.date]
    partial = observed.any(0) & ~observed.all(0)
    errors = (problem.values - problem.guide)[:, problem.trusted]
    if not partial.any() or errors.shape[1] < LEAST * len(errors):
        return filled, deviation
    covariance = moments(errors - errors.mean(1, keepdim=True))
    covariance = covariance + RIDGE * torch.diag(covariance.diagonal()) + 1e-9 * torch.eye(len(errors)).to(covariance)
    filled, deviation = filled.clone(), deviation.clone()
    patterns, kind = torch.unique(observed[:, partial], dim=1, return_inverse=True)
    at = partial.nonzero()
    for number, seen in enumerate(patterns.T):
        rows, columns = at[kind == number].T
        gain = torch.linalg.solve(covariance[seen][:, seen], covariance[seen][:, ~seen]).T  # C_mo C_oo⁻¹
        off = values[seen][:, rows, columns] - filled[seen][:, rows, columns]
        left = covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]
        share = (left.diagonal() / covariance.diagonal()[~seen]).clamp(0, 1).sqrt().to(deviation)
        for band, row, part in zip((~seen).nonzero()[:, 0], gain.to(filled), share, strict=True):
            filled[band, rows, columns] += row @ off
            deviation[band, rows, columns] *= part
        for band in seen.nonzero()[:, 0]:
            filled[band, rows, columns] = values[band, rows, columns]
            deviation[band, rows, columns] = 0
    return filled, deviation
