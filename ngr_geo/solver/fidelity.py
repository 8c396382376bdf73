"""What the residual E = Y - X may be: each fidelity is a penalty φ(E), given by its proximal operator.

`prox(value, penalty)` returns the E that minimises φ(E) + μ/2 ‖E - value‖². Values are (C, H, W), μ > 0.
"""

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor


class Fidelity(Protocol):
    """A penalty on the residual, known by its proximal operator, which must take 0 to 0."""

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return argmin φ(E) + μ/2 ‖E - value‖² over E, in the shape of `value`."""
        ...


@final
@dataclass(frozen=True)
class Exact:
    """φ(E) = 0 for E = 0, infinite otherwise: the observation is right."""

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return 0."""
        return torch.zeros_like(value)


@final
@dataclass(frozen=True)
class Gaussian:
    """φ(E) = λ ‖E‖²: Gaussian noise. `weight` is λ >= 0."""

    weight: float

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return μ v / (2λ + μ)."""
        return value * (penalty / (2 * self.weight + penalty))


@final
@dataclass(frozen=True)
class Sparse:
    """φ(E) = λ ‖E‖₁: impulses, stripes and dead lines, mixed with weak noise. `weight` is λ >= 0."""

    weight: float

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return the soft threshold of v at λ/μ."""
        return shrink(value, self.weight / penalty)


@final
@dataclass(frozen=True)
class Stripes:
    """φ(E) = λ ‖E‖₁ + λ_g Σ_lines ‖E_line‖₂: few lines have any residual, and few pixels of those (sparse group lasso).

    `weight` is λ >= 0, `line_weight` λ_g >= 0. A line runs along `axis` of (C, H, W): -2 for stripes that are columns,
    -1 for stripes that are rows.
    """

    weight: float
    line_weight: float
    axis: int = -2

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return the soft threshold at λ/μ, each line then shortened by λ_g/μ (exact: Friedman et al. 2010)."""
        sparse = shrink(value, self.weight / penalty)
        length: Tensor = torch.linalg.vector_norm(sparse, dim=self.axis, keepdim=True)
        shorter = (length - self.line_weight / penalty).clamp(min=0)
        return sparse * (shorter / length.clamp(min=torch.finfo(value.dtype).tiny))


@final
@dataclass(frozen=True)
class Masked:
    """Another fidelity where `observed`, nothing asked elsewhere. `observed` is boolean, broadcastable to (C, H, W)."""

    fidelity: Fidelity
    observed: Tensor

    def prox(self, value: Tensor, penalty: float) -> Tensor:
        """Return the other prox where observed, v elsewhere."""
        # Zeros add nothing to a line's length, so even a fidelity that couples pixels sees the observed ones only.
        inner = self.fidelity.prox(value * self.observed, penalty)
        return torch.where(self.observed, inner, value)


def shrink(value: Tensor, threshold: float) -> Tensor:
    """Return sign(v) max(|v| - threshold, 0), the prox of threshold · ‖v‖₁."""
    return value - value.clamp(-threshold, threshold)
