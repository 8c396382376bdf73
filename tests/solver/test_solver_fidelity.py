"""Every prox is the minimiser it says it is."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngr_geo.solver import Exact, Fidelity, Gaussian, Masked, Sparse, Stripes

OBSERVED = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(7)) < 0.6


def sparse_group(residual: Tensor, axis: int) -> Tensor:
    """φ of `Stripes(0.4, 0.9, axis)`."""
    lengths: Tensor = torch.linalg.vector_norm(residual, dim=axis)
    return 0.4 * residual.abs().sum() + 0.9 * lengths.sum()


PENALTIES: list[tuple[Fidelity, Callable[[Tensor], Tensor]]] = [
    (Gaussian(0.7), lambda e: 0.7 * e.square().sum()),
    (Gaussian(0.0), lambda e: 0 * e.sum()),
    (Sparse(0.7), lambda e: 0.7 * e.abs().sum()),
    (Stripes(0.4, 0.9), lambda e: sparse_group(e, -2)),
    (Stripes(0.4, 0.9, axis=-1), lambda e: sparse_group(e, -1)),
    (Masked(Sparse(0.7), OBSERVED), lambda e: 0.7 * e[OBSERVED].abs().sum()),
    (Masked(Stripes(0.4, 0.9), OBSERVED), lambda e: sparse_group(e * OBSERVED, -2)),
]


def draw(seed: int, scale: float = 1.0) -> Tensor:
    """Return normal numbers, (2, 5, 4), float64."""
    return scale * torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("fidelity", "cost"), PENALTIES, ids=lambda x: repr(x)[:20] if hasattr(x, "prox") else "")
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 1.0, 10.0]), penalty=st.sampled_from([0.1, 1.0, 8.0]))
@settings(max_examples=25, deadline=None)
def test_prox_is_the_minimiser(
    fidelity: Fidelity, cost: Callable[[Tensor], Tensor], seed: int, scale: float, penalty: float
) -> None:
    """Nothing near it, and nothing between it and zero or the value, costs less (φ is convex: so nothing at all)."""
    value = draw(seed, scale)

    def objective(residual: Tensor) -> float:
        return float(cost(residual) + penalty / 2 * (residual - value).square().sum())

    best = fidelity.prox(value, penalty)
    lowest = objective(best)
    for k in range(4):
        for size in (1e-3, 1e-1, 1.0):
            assert objective(best + size * draw(seed + k + 1)) >= lowest
    for share in (0.01, 0.1, 1.0):
        assert objective(best * (1 - share)) >= lowest - 1e-12
        assert objective(best + share * (value - best)) >= lowest - 1e-12
    for i in torch.randperm(value.numel(), generator=torch.Generator().manual_seed(seed))[:8]:
        for size in (-1e-3, 1e-3):
            moved = best.clone()
            moved.view(-1)[i] += size
            assert objective(moved) >= lowest


@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.1, 1.0, 8.0]))
@settings(max_examples=25, deadline=None)
def test_moreau(seed: int, penalty: float) -> None:
    """v = prox(v) + (1/μ) prox of the conjugate: for λ‖·‖₁ the conjugate's prox is the clipping of μv at λ."""
    value = draw(seed)
    assert torch.allclose(Sparse(0.7).prox(value, penalty) + (penalty * value).clamp(-0.7, 0.7) / penalty, value)


def test_stripes_with_one_weight_zero() -> None:
    """Without line weight it is `Sparse`; without pixel weight a line is shortened as a whole; weak lines vanish."""
    value = draw(0)
    assert torch.allclose(Stripes(0.3, 0.0).prox(value, 2.0), Sparse(0.3).prox(value, 2.0))
    lengths = torch.linalg.vector_norm(value, dim=-2)
    shortened = torch.linalg.vector_norm(Stripes(0.0, 2.0).prox(value, 1.0), dim=-2)
    assert torch.allclose(shortened, (lengths - 2.0).clamp(min=0))
    assert not Stripes(0.1, 100.0).prox(value, 1.0).any()
    assert not Stripes(0.0, 0.0).prox(torch.zeros_like(value), 1.0).any()


def test_exact_and_masked() -> None:
    """Exact leaves no residual; where nothing is observed the residual is free."""
    value = draw(0)
    assert not Exact().prox(value, 0.1).any()
    masked = Masked(Exact(), OBSERVED).prox(value, 0.1)
    assert torch.equal(masked[~OBSERVED], value[~OBSERVED])
    assert not masked[OBSERVED].any()
