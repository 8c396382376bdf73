"""The loop: lazy, reproducible, and each update what its equation says."""

from dataclasses import FrozenInstanceError, replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from ngr_geo.solver import (
    Exact,
    Gaussian,
    LoopSettings,
    Masked,
    Neumann,
    Periodic,
    Sparse,
    advance,
    begin,
    column,
    iterate,
    misfit,
    seeded,
)

SHAPE = (3, 12, 10)
FREE = LoopSettings(
    weights=(0.5, 0.7, 0.2),
    weight_caps=(0.6, 5.0, 5.0),
    penalty=0.3,
    penalty_cap=0.35,
    growth=1.2,
    multiplier=0.1,
    update_field_multipliers=True,
    data_weight=1.0,
    input_noise=0.03,
    boundary=Periodic(),
)


def normal(*shape: int, seed: int) -> Tensor:
    """Return normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Toy(nn.Module):
    """Two convolutions, (N, C, H, W) -> (N, 3, C, H, W), float64; zero at the start."""

    def __init__(self, channels: int = SHAPE[0]) -> None:
        """Draw the weights."""
        super().__init__()
        with seeded(0):
            self.body = nn.Conv2d(channels, 8, 3, padding=1).double()
            self.head = nn.Conv2d(8, 3 * channels, 3, padding=1).double()
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return the fields."""
        fields: Tensor = self.head(nn.functional.leaky_relu(self.body(x)))
        return fields.unflatten(1, (3, -1))


@pytest.mark.parametrize("boundary", [Periodic(), Neumann()])
def test_each_update_satisfies_its_equation(boundary: Periodic | Neumann) -> None:
    """X: normal equations; E: prox; Γ, Γₖ: ascent; μ, w: growth to a cap."""
    settings = replace(FREE, boundary=boundary)
    observation, fields, fidelity = normal(*SHAPE, seed=0), normal(3, *SHAPE, seed=1), Sparse(0.05)
    old = replace(begin(observation, settings), residual=normal(*SHAPE, seed=2), field_multipliers=fields.flip(0))
    new = advance(old, fields, observation, fidelity, settings)
    w = column(old.weights, fields)

    gap = boundary.gradient(new.image) - fields
    constraint = observation - new.image
    # the derivative of the Lagrangian by X is zero
    slope = boundary.adjoint(w * gap + old.field_multipliers)
    slope = slope - old.multiplier - old.penalty * (constraint - old.residual)
    assert slope.abs().max() < 1e-10
    assert torch.equal(new.residual, fidelity.prox(constraint + old.multiplier / old.penalty, old.penalty))
    assert torch.allclose(new.multiplier, old.multiplier + old.penalty * (constraint - new.residual))
    assert torch.allclose(new.field_multipliers, old.field_multipliers + w * gap)
    assert new.penalty == 0.35
    assert new.weights == pytest.approx((0.6, 0.84, 0.24))
    assert new.step == old.step + 1


def test_misfit_is_the_papers_square_up_to_a_constant() -> None:
    """wₖ/2 ‖DX - F + Γₖ/wₖ‖² + a ‖F - DY‖²: its derivative by F is the same."""
    observation = normal(*SHAPE, seed=0)
    state = replace(begin(observation, FREE), field_multipliers=normal(3, *SHAPE, seed=1))
    fields = normal(3, *SHAPE, seed=2).requires_grad_()
    observed_gradient, w = Periodic().gradient(observation), column(state.weights, observation)
    square = (w / 2 * (Periodic().gradient(state.image) - fields + state.field_multipliers / w).square()).sum()
    square = square + (fields - observed_gradient).square().sum()
    (expected,) = torch.autograd.grad(square, fields)
    (slope,) = torch.autograd.grad(misfit(fields, state, observed_gradient, FREE), fields)
    assert torch.allclose(slope, expected)


def test_iterate_is_lazy_and_frozen() -> None:
    """No network call before it is asked for; state 0 costs none; a state cannot be changed."""
    calls = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            calls.append(x)
            return self.bias.expand(1, 3, *SHAPE)

    observation = normal(*SHAPE, seed=0)
    states = iterate(observation, Spy(), observation[None], Gaussian(1.0), FREE)
    assert not calls
    start = next(states)
    assert not calls
    assert torch.equal(start.image, observation)
    assert [next(states).step, len(calls)] == [1, 1]
    with pytest.raises(FrozenInstanceError):
        start.step = 3  # type: ignore[misc]


def test_same_seed_same_answer_whatever_the_global_state() -> None:
    """Input noise comes from its own generator; another seed gives another answer."""
    observation = normal(*SHAPE, seed=0)

    def last(seed: int) -> Tensor:
        settings = replace(FREE, seed=seed)
        *_, state = islice(iterate(observation, Toy(), observation[None], Sparse(0.05), settings), 6)
        return state.image

    before = torch.random.get_rng_state()
    one = last(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(one, last(1))
    assert not torch.equal(one, last(2))


def test_guided_starts_at_the_guide() -> None:
    """The network is zero at the start: the first fields are the guide's gradients."""
    observation, guide = normal(*SHAPE, seed=0), normal(*SHAPE, seed=9)
    start, first = islice(iterate(observation, Toy(), guide[None], Gaussian(1.0), LoopSettings(), guide=guide), 2)
    assert torch.equal(start.image, guide)
    assert torch.allclose(first.fields, Neumann().gradient(guide))


def test_channel_weight_zero_and_no_grad_around() -> None:
    """w₃ = 0 is fine; so is a caller's no_grad."""
    cube, settings = normal(*SHAPE, seed=0), LoopSettings(weights=(1.0, 1.0, 0.0))
    with torch.no_grad():
        *_, last = islice(iterate(cube, Toy(), cube[None], Gaussian(1.0), settings, guide=cube), 4)
    assert last.image.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (2, 6, 1), (4, 2, 2)])
def test_tiny_sizes(shape: tuple[int, int, int]) -> None:
    """With nothing observed, and with everything."""
    cube = normal(*shape, seed=0)
    nothing = Masked(Exact(), torch.zeros(shape, dtype=torch.bool))
    for fidelity, settings in ((nothing, LoopSettings()), (Gaussian(1.0), FREE)):
        *_, last = islice(iterate(cube, Toy(shape[0]), cube[None], fidelity, settings, guide=cube), 4)
        assert last.image.isfinite().all()
        assert last.image.shape == shape


def test_network_of_the_wrong_shape_is_an_error() -> None:
    """One map for all three fields would broadcast in silence."""
    cube = normal(*SHAPE, seed=0)
    with pytest.raises(ValueError, match=r"\(1, 3, 3, 12, 10\).*\(1, 3, 12, 10\)"):
        list(islice(iterate(cube, nn.Conv2d(3, 3, 1).double(), cube[None], Gaussian(1.0), FREE), 2))
