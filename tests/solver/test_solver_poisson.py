"""The held X step: observed pixels untouched, equations satisfied over the missing ones, and quickly."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngr_geo.solver import Boundary, Neumann, Periodic, Weights, column, hold
from ngr_geo.solver.poisson import TETHER


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def violation(
    image: Tensor, start: Tensor, fields: Tensor, observed: Tensor, weights: Weights, boundary: Boundary
) -> float:
    """Return the norm of the normal equations' residual over the missing pixels; G is the start."""
    pull = boundary.adjoint(column(weights, fields) * (boundary.gradient(image) - fields)) + TETHER * (image - start)
    return float((pull * ~observed).norm())


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    weights=st.sampled_from([(1.0, 1.0, 0.0), (1.0, 1.0, 0.03), (1.0, 0.5, 5.0)]),
    boundary=st.sampled_from([Neumann(), Periodic()]),
    share=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
@example(shape=(3, 3, 1), weights=(1.0, 1.0, 0.0), boundary=Periodic(), share=0.0)  # solved long before the last step
@settings(max_examples=60, deadline=None)
def test_equations_and_observed_pixels(
    shape: tuple[int, int, int], weights: Weights, boundary: Boundary, share: float
) -> None:
    """Any shape, any share of observed pixels."""
    start, fields = normal(*shape, seed=0), normal(3, *shape, seed=1)
    observed = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < share
    image = hold(start, fields, observed, weights, boundary, steps=200, guide=start)
    assert torch.equal(image[observed], start[observed])
    assert image.isfinite().all()
    before = violation(start, start, fields, observed, weights, boundary)
    assert violation(image, start, fields, observed, weights, boundary) <= 1e-6 * before


@pytest.mark.parametrize("channel_weight", [0.0, 0.03])
def test_crosses_a_wide_hole_in_few_steps(channel_weight: float) -> None:
    """A hole 96 pixels wide, to 1e-3 in 15 steps, float32."""
    weights = (1.0, 1.0, channel_weight)
    start = torch.zeros(2, 128, 128)
    start[:, :, :16] = 5.0
    fields = normal(3, 2, 128, 128, seed=0, dtype=torch.float32)
    observed = torch.ones(2, 128, 128, dtype=torch.bool)
    observed[0, 16:112, 16:112] = False
    image = hold(start, fields, observed, weights, Neumann(), steps=15, guide=start)
    before = violation(start, start, fields, observed, weights, Neumann())
    assert violation(image, start, fields, observed, weights, Neumann()) < 1e-3 * before


def test_poisson_fill_recovers_an_image_from_its_own_gradients() -> None:
    """With the true gradients the true image comes back, though the start was off by an offset."""
    truth = normal(3, 20, 30, seed=0).cumsum(-1)
    observed = torch.ones_like(truth, dtype=torch.bool)
    observed[:, 5:15, 8:22] = False
    start = torch.where(observed, truth, truth + 7.0)
    image = hold(start, Neumann().gradient(truth), observed, (1.0, 1.0, 0.0), Neumann(), steps=60, guide=start)
    assert torch.allclose(image, truth, rtol=0, atol=1e-3)  # the tether pulls a little towards the wrong level


def test_a_channel_without_observed_pixels_keeps_the_guides_level() -> None:
    """Its gradients leave the level open; the tether takes it from the guide."""
    guide = normal(2, 16, 16, seed=0) + 3.0
    observed = torch.zeros(2, 16, 16, dtype=torch.bool)
    observed[0, :8] = True
    image = hold(guide, 0 * Neumann().gradient(guide), observed, (1.0, 1.0, 0.0), Neumann(), 60, guide=guide)
    assert torch.allclose(image[1], guide[1].mean().expand(16, 16), rtol=0, atol=1e-3)


def test_channels_do_not_meet_without_channel_weight() -> None:
    """A channel's answer does not depend on its neighbours, not even through the step lengths."""
    start, fields = normal(3, 12, 12, seed=0), normal(3, 3, 12, 12, seed=1)
    observed = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    weights = (1.0, 1.0, 0.0)
    together = hold(start, fields, observed, weights, Neumann(), steps=3, guide=start)
    alone = hold(start[1:2], fields[:, 1:2], observed[1:2], weights, Neumann(), 3, guide=start[1:2])
    assert torch.allclose(together[1:2], alone, rtol=0, atol=1e-9)
