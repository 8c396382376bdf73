"""Images of few bands: every observed entry counts and comes back, units do not matter, and patches do not make it worse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngr_geo.guides import images
from ngr_geo.solver import Neumann


def random(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def scene(size: int, bands: int = 3) -> Tensor:
    """Return a smooth image (bands, size, size) whose bands have their edges in common."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    base = torch.sin(7 * x) * torch.cos(5 * y) + (x + y > 1).float()
    return torch.stack([(1 + 0.3 * band) * base + 0.2 * band * x for band in range(bands)])


def error(found: Tensor, truth: Tensor, observed: Tensor) -> float:
    """Return the RMSE of what was missing."""
    return float((found - truth)[~observed].square().mean().sqrt())


@given(
    bands=st.integers(1, 5),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    share=st.sampled_from([0.05, 0.5, 0.95]),
    whole=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_what_is_observed_comes_back(bands: int, height: int, width: int, share: float, whole: bool) -> None:
    """Bit for bit, at any size; what is missing is finite and not far beyond what is observed."""
    cube = random(bands, height, width) * 100
    observed = random(1 if whole else bands, height, width, seed=1).expand(cube.shape) < share
    found = images.complete(torch.where(observed, cube, 0), observed)
    assert torch.equal(found[observed], cube[observed])
    assert found.isfinite().all()
    if observed.flatten(1).any(1).all():  # a band without any value takes no part in what the verbs fill
        low, high = cube[observed].min(), cube[observed].max()
        assert found.min() > low - 3 * (high - low) - 1
        assert found.max() < high + 3 * (high - low) + 1


def test_the_smoothest_image_is_that_of_a_dense_solution() -> None:
    """Of all images with the observed entries it has the least  Σ M_bc x_bᵀ Lᵖ x_c."""
    bands, height, width = 2, 5, 6
    values, observed = random(bands, height, width).double(), random(bands, height, width, seed=2) < 0.4
    matrix = torch.tensor([[1.0, -0.6], [-0.6, 2.0]], dtype=torch.float64)
    units = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    boundary = Neumann()
    spectrum = boundary.spectrum(units, (1.0, 1.0, 0.0)) + images.SHIFT
    basis = boundary.basis(units)
    power = basis.inverse(basis.transform(units) * spectrum**1.5).flatten(1)
    energy, known = torch.kron(matrix, power), observed.flatten()
    expected = values.flatten().clone()
    expected[~known] = -torch.linalg.solve(energy[~known][:, ~known], energy[~known][:, known] @ expected[known])
    some = torch.where(observed, values, 0)
    found = images._smoothest(some, observed, 1.5, matrix, torch.zeros_like(some))
    torch.testing.assert_close(found, expected.view_as(found), atol=2e-2, rtol=0)


def test_units_of_the_bands_do_not_matter() -> None:
    """A band in other units, or upside down, is filled the same, in these units."""
    truth, observed = scene(40), random(3, 40, 40, seed=3) < 0.4
    gain, offset = torch.tensor([1e4, -3.0, 0.02])[:, None, None], torch.tensor([-1000.0, 5.0, 1.0])[:, None, None]
    plain = images.complete(torch.where(observed, truth, 0), observed)
    other = images.complete(torch.where(observed, gain * truth + offset, 0), observed)
    assert float(((other - offset) / gain - plain).abs().max()) < 0.02 * float(truth.std())


def test_a_pixel_with_one_band_says_something_of_the_others() -> None:
    """Entries that are seen beside a missing one halve its error at least: to throw such pixels away costs that."""
    truth, observed = scene(48), random(3, 48, 48, seed=4) < 0.5
    whole = observed.all(0).expand_as(observed)
    kept, thrown = (images.complete(torch.where(seen, truth, 0), seen) for seen in (observed, whole))
    assert error(kept, truth, observed) < 0.5 * error(thrown, truth, observed)


def test_memory_at_a_time_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer patches at a time give the same image but for the order of sums."""
    truth, observed = scene(40), random(3, 40, 40, seed=5) < 0.3
    whole = images.complete(torch.where(observed, truth, 0), observed)
    monkeypatch.setattr(images, "BLOCK", 2**13)
    parts = images.complete(torch.where(observed, truth, 0), observed)
    torch.testing.assert_close(parts, whole, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("share", "least"), [(0.5, 34.0), (0.1, 22.5)])
def test_a_photograph_from_some_of_its_entries(shared_data: Path, share: float, least: float) -> None:
    """A part of Set5's butterfly: dB, mean of the bands, all entries."""
    from PIL import Image

    picture = np.asarray(Image.open(shared_data / "rgb" / "butterfly.png").convert("RGB"))[100:196, 30:126]
    truth = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 255)
    observed = random(*truth.shape, seed=6) < share
    found = images.complete(torch.where(observed, truth, 0), observed)
    decibel = -10 * (found - truth).square().mean((1, 2)).log10().mean()
    assert decibel > least
