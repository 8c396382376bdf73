"""One loop for the convex methods: the alternating direction method of multipliers on sums of circulant terms.

    minimise  sum_k g_k(A_k U) + phi(Y - X)

The unknown U (unknown, channel, y, x) is the image X = U_0 and what a model has beside it (fields, of total generalised variation).
Each A_k wraps around at the edges, so that U is found by one division under the Fourier transform. The residual E = Y - X has one
of the fidelities phi of `ngr_geo.solver.fidelity`, or `prox.Ball`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ngr_geo.solver.fidelity import Fidelity


def same(value: Tensor) -> Tensor:
    """Return what is given."""
    return value


@dataclass(frozen=True)
class Term:
    """One term g(A U).

    Attributes:
        prox: (fields, penalty) -> the fields that minimise g(fields) + penalty / 2 |fields - given|^2.
        forward: A: U (unknown, channel, y, x) -> fields (field, channel, y, x).
        adjoint: of A.
        share: what its penalty is beside that of the residual.
    """

    prox: Callable[[Tensor, float], Tensor]
    forward: Callable[[Tensor], Tensor] = same
    adjoint: Callable[[Tensor], Tensor] = same
    share: float = 1.0


@dataclass(frozen=True)
class Course:
    """How the loop goes: the penalty mu, its growth each sweep and its cap, the most sweeps, and where changes end it."""

    penalty: float = 1.0
    growth: float = 1.0
    cap: float = 1e10
    most: int = 300
    tolerance: float = 1e-5
    """Change of a sweep and disagreement of Y = X + E, beside the size of X."""


def minimised(
    observation: Tensor,
    terms: Sequence[Term],
    fidelity: Fidelity,
    course: Course,
    unknowns: int = 1,
    axes: Sequence[int] = (-2, -1),
) -> Tensor:
    """Return the image X (channel, y, x) that minimises the terms and the fidelity for an observation Y, where the loop starts.

    `axes` are those that the operators act along; -3, the channels, may be one of them.
    """
    inverse = _inverse(observation, terms, unknowns, axes)
    sizes = [observation.shape[axis] for axis in axes]
    unknown = observation.new_zeros(unknowns, *observation.shape)
    unknown[0] = observation
    residual, multiplier = torch.zeros_like(observation), torch.zeros_like(observation)
    duals = [torch.zeros_like(term.forward(unknown)) for term in terms]
    penalty = course.penalty
    for _ in range(course.most):
        right = torch.zeros_like(unknown)
        right[0] = observation - residual + multiplier / penalty
        fields = []
        for term, dual in zip(terms, duals, strict=True):
            own = term.share * penalty
            fields.append(term.prox(term.forward(unknown) + dual / own, own))
            right += term.share * term.adjoint(fields[-1] - dual / own)
        before = unknown[0]
        waves = torch.fft.rfftn(right, dim=tuple(axes))
        unknown = torch.fft.irfftn(torch.einsum("ij...,j...->i...", inverse, waves), s=sizes, dim=tuple(axes))
        image = unknown[0]
        residual = fidelity.prox(observation - image + multiplier / penalty, penalty)
        multiplier = multiplier + penalty * (observation - image - residual)
        for k, (term, field) in enumerate(zip(terms, fields, strict=True)):
            duals[k] = duals[k] + term.share * penalty * (term.forward(unknown) - field)
        penalty = min(course.growth * penalty, course.cap)
        if settled(image, before, observation - image - residual, course.tolerance):
            break
    return unknown[0]


def settled(now: Tensor, before: Tensor, disagreement: Tensor, tolerance: float) -> bool:
    """Return whether a sweep changed little and the splitting agrees, both beside the image's size."""
    most = torch.maximum(torch.linalg.vector_norm(now - before), torch.linalg.vector_norm(disagreement))
    return bool(most < tolerance * torch.linalg.vector_norm(now))


def _inverse(observation: Tensor, terms: Sequence[Term], unknowns: int, axes: Sequence[int]) -> Tensor:
    """Return the inverse of the normal operator I + sum_k share A_k* A_k, per frequency (unknown, unknown, channel, y, x).

    The operator is known by its answers to impulses. The identity is that of the residual: of X alone.
    """
    shape = [size if axis in axes else 1 for axis, size in zip((-3, -2, -1), observation.shape, strict=True)]
    columns = []
    for number in range(unknowns):
        impulse = observation.new_zeros(unknowns, *shape)
        impulse[number, 0, 0, 0] = 1
        answer = impulse * (number == 0)
        for term in terms:
            answer = answer + term.share * term.adjoint(term.forward(impulse))
        columns.append(torch.fft.rfftn(answer, dim=tuple(axes)))
    normal = torch.stack(columns, 1)  # (to, from, channel, y, x)
    return torch.linalg.inv(normal.movedim((0, 1), (-2, -1))).movedim((-2, -1), (0, 1))
