"""What docs/method.md says of the guided form: what follows from the loop, and what does not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ngr_geo.solver import (
    TETHER,
    Exact,
    LoopSettings,
    Masked,
    Neumann,
    State,
    Weights,
    advance,
    begin,
    column,
    gaps_of,
    hold,
    misfit,
)
from ngr_geo.solver import train as training

SHAPE = (2, 7, 6)
WEIGHTS = (1.0, 0.7, 0.3)
BOUNDARY = Neumann()


def normal(*shape: int, seed: int) -> Tensor:
    """Return normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OBSERVED = torch.ones(SHAPE, dtype=torch.bool)
OBSERVED[:, 2:5, 1:5] = False
OBSERVED[1, 0] = False
Y = normal(*SHAPE, seed=0) * OBSERVED
FIELDS = normal(3, *SHAPE, seed=1)
GUIDE = normal(*SHAPE, seed=2)


def held(weights: Weights = WEIGHTS, fields: Tensor = FIELDS) -> Tensor:
    """Return the image that follows the fields and holds the observed pixels: (H), with its tether, by a dense solution."""
    missing = ~OBSERVED.flatten()
    start = torch.where(OBSERVED, Y, GUIDE)
    pull = BOUNDARY.adjoint(column(weights, fields) * (fields - BOUNDARY.gradient(start))).flatten()
    matrix = operator(weights) + TETHER * torch.eye(len(missing))
    image = start.flatten().clone()
    image[missing] += torch.linalg.solve(matrix[missing][:, missing], pull[missing])
    return image.reshape(SHAPE)


def operator(weights: Weights = WEIGHTS) -> Tensor:
    """Return Σₖ wₖ DₖᵀDₖ as a matrix."""
    units = torch.eye(Y.numel(), dtype=torch.float64).reshape(-1, *SHAPE)
    return BOUNDARY.adjoint(column(weights, units) * BOUNDARY.gradient(units)).flatten(1)


def test_hold_solves_the_constrained_problem_of_the_guided_form() -> None:
    """With the fields of an image, w₁ = w₂ = 1 and w₃ = 0."""
    image = hold(Y, gaps_of(OBSERVED, Y), GUIDE, unit=1e-9)
    assert torch.allclose(image, held((1.0, 1.0, 0.0), BOUNDARY.gradient(GUIDE)), rtol=0, atol=1e-9)


def steps(penalty: float, count: int) -> State:
    """Return the state after some X, E and Γ steps of the loop with the fields as they are."""
    settings = LoopSettings(weights=WEIGHTS, penalty=penalty, multiplier=0.1)
    state = begin(Y, settings, torch.where(OBSERVED, Y, GUIDE))
    for _ in range(count):
        state = advance(state, FIELDS, Y, Masked(Exact(), OBSERVED), settings)
    return state


@pytest.mark.parametrize("penalty", [0.1, 1.0, 5.0])
def test_the_loops_x_steps_converge_to_the_held_image_for_any_penalty(penalty: float) -> None:
    """With the fields fixed. Γ becomes the force that holds the observed pixels, and is 0 elsewhere."""
    state = steps(penalty, 4000)
    assert torch.allclose(state.image, held(), rtol=0, atol=1e-4)  # the tether pulls by 1e-6
    slope = BOUNDARY.adjoint(column(WEIGHTS, FIELDS) * (BOUNDARY.gradient(state.image) - FIELDS))
    assert torch.allclose(state.multiplier, slope, rtol=0, atol=1e-8)
    assert state.multiplier[~OBSERVED].abs().max() < 1e-8


def test_a_penalty_that_grows_on_the_observed_pixels_alone_gives_the_held_image() -> None:
    """The error falls as 1/μ, where the missing pixels keep the small penalty ε."""
    target = held()
    errors = []
    for penalty in (1e2, 1e4, 1e6):
        local = torch.where(OBSERVED, penalty, 1e-6).double()
        rhs = local * torch.where(OBSERVED, Y, GUIDE) + BOUNDARY.adjoint(column(WEIGHTS, FIELDS) * FIELDS)
        image = torch.linalg.solve(torch.diag(local.flatten()) + operator(), rhs.flatten()).reshape(SHAPE)
        errors.append(float((image - target).abs().max()))
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.2)
    assert errors[2] == pytest.approx(errors[1] / 100, rel=0.2)


def test_one_penalty_that_grows_everywhere_stops_the_missing_pixels_instead() -> None:
    """So the guided form is not the loop with μ to infinity: a step moves a missing pixel by about 1/μ."""
    moved = [
        float((steps(penalty, 3).image - steps(penalty, 2).image)[~OBSERVED].abs().max()) for penalty in (1e3, 1e6)
    ]
    assert moved[1] < 2e-3 * moved[0]
    for penalty in (1e3, 1e6):
        assert float((held() - steps(penalty, 3).image)[~OBSERVED].abs().max()) > 0.1


def test_on_pairs_of_observed_pixels_the_network_does_not_depend_on_the_missing_ones() -> None:
    """So with held pixels the Θ steps on these pairs need no X step."""
    settings = LoopSettings(weights=WEIGHTS)
    pairs = torch.stack([OBSERVED & OBSERVED.roll(-1, axis) for axis in (-2, -1, -3)])
    slopes = []
    for seed in (3, 4):
        state = replace(begin(Y, settings), image=torch.where(OBSERVED, Y, normal(*SHAPE, seed=seed)))
        fields = FIELDS.clone().requires_grad_()
        slopes.append(torch.autograd.grad(misfit(fields, state, FIELDS, settings), fields)[0])
    assert torch.equal(slopes[0][pairs], slopes[1][pairs])
    assert not torch.equal(slopes[0], slopes[1])


def test_the_training_loss_is_the_loops_on_these_pairs() -> None:
    """With w₁ and w₂ so that each direction is a mean, in units of the residual, w₃ = 0, and without the value term."""
    scale, potential = 0.3, normal(*SHAPE, seed=5).requires_grad_()
    inside = [OBSERVED[:, 1:] & OBSERVED[:, :-1], OBSERVED[:, :, 1:] & OBSERVED[:, :, :-1]]
    rows, columns = (2 / (scale**2 * int(pair.sum())) for pair in inside)
    settings = LoopSettings(weights=(rows, columns, 0.0))
    state = replace(begin(Y, settings), image=torch.where(OBSERVED, Y, normal(*SHAPE, seed=3)))
    fields = BOUNDARY.gradient(GUIDE + scale * potential)
    use = torch.zeros(3, *SHAPE, dtype=torch.bool)
    use[0, :, :-1], use[1, :, :, :-1] = inside
    gap = torch.where(use, fields, BOUNDARY.gradient(state.image))  # nothing is asked of the other pairs
    (expected,) = torch.autograd.grad(misfit(gap, state, fields, settings), potential)
    loss = training.misfit(potential, (Y - GUIDE) / scale, OBSERVED, value=0.0)
    (slope,) = torch.autograd.grad(loss, potential)
    assert torch.allclose(slope, expected, rtol=0, atol=1e-10)
