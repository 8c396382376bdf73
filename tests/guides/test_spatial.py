"""Interpolation of one date: the most likely image, at the stated tolerance, and the power that hidden pixels choose."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from ngr_geo.guides import spatial
from ngr_geo.solver import Neumann

ERROR = 1e-2
"""What a pixel may differ by from the most likely image, in standard deviations."""


def normal(*shape: int, seed: int) -> Tensor:
    """Return normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rough(size: int) -> Tensor:
    """Return two standardised bands (2, size, size) with the spectrum of images, float64."""
    boundary, noise = Neumann(), normal(2, 1, size, size, seed=0)
    basis, spectrum = boundary.basis(noise), boundary.spectrum(noise, (1.0, 1.0, 0.0))
    image = basis.inverse(noise / (spectrum + 1e-4) ** 0.6)[:, 0]
    return (image - image.mean((1, 2), keepdim=True)) / image.std((1, 2), keepdim=True)


@given(
    shape=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    power=st.sampled_from(spatial.POWERS),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_most_likely_image(shape: tuple[int, int], share: float, power: float, dtype: torch.dtype) -> None:
    """By a dense solution of  minimise xᵀ Lᵖ x  with the observed pixels held."""
    observed = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < share
    values, units = normal(2, *shape, seed=1), torch.eye(observed.numel(), dtype=torch.float64).reshape(-1, 1, *shape)
    boundary = Neumann()
    basis, spectrum = boundary.basis(units), boundary.spectrum(units, (1.0, 1.0, 0.0)) + spatial.SHIFT
    energy = basis.inverse(basis.transform(units) * spectrum**power).flatten(1)
    free = ~observed.flatten()
    expected = (values * observed).flatten(1)
    pull = expected @ energy[:, free]
    expected[:, free] = torch.linalg.solve(energy[free][:, free], -pull.T).T
    found = spatial.interpolate(torch.where(observed, values, torch.nan).to(dtype), observed, power)
    assert torch.equal(found[:, observed], values.to(dtype)[:, observed])
    assert float((found - expected.reshape(2, *shape)).abs().max()) < ERROR


def gaps(size: int) -> Iterator[tuple[str, Tensor]]:
    """Yield what is observed (size, size): scattered pixels, scattered holes, one wide hole."""
    chance = torch.rand(size, size, generator=torch.Generator().manual_seed(1))
    yield "half", chance < 0.5
    yield "a tenth", chance < 0.1
    yield "holes", functional.max_pool2d((chance < 0.004).float()[None], 9, 1, 4)[0] == 0
    wide = torch.ones(size, size, dtype=torch.bool)
    wide[10:-20, 15:-12] = False
    yield "wide", wide


@pytest.mark.parametrize("power", spatial.POWERS)
def test_converges_in_float32(monkeypatch: pytest.MonkeyPatch, power: float) -> None:
    """To the stated tolerance of the image that float64 converges to."""
    values = rough(97)
    for name, observed in gaps(97):
        found = spatial.interpolate(values.float(), observed, power)
        with monkeypatch.context() as patch:
            patch.setattr(spatial, "TOLERANCE", 1e-9)
            patch.setattr("ngr_geo.solver.poisson.TOLERANCE", 1e-9)
            exact = spatial.interpolate(values, observed, power)
        assert float((found - exact).abs().max()) < ERROR, name


def test_picks_the_power_that_the_image_was_made_with() -> None:
    """A smooth image asks for a high one; without hidden pixels it is the middle one."""
    values = rough(64).float()
    observed = torch.rand(64, 64, generator=torch.Generator().manual_seed(1)) < 0.6
    hidden = observed & (torch.rand(64, 64, generator=torch.Generator().manual_seed(2)) < 0.3)
    assert spatial.fit([(values, observed, hidden)]) in (1.0, 1.25)
    assert spatial.fit([(values, observed, torch.zeros_like(hidden))]) == 1.0
