"""The fill: exact where observed, at the stated tolerance of the true solution in the gaps, whatever their shape."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from ngr_geo.solver import TETHER, Neumann, gaps_of, hold, poisson
from ngr_geo.solver.multigrid import Level, cycle, levels_of

ERROR = 1e-3
"""What a pixel may differ by from the true solution, in standard deviations of the values."""
PRECISE = 1e-7
"""A unit by which the solution counts as the true one."""
shapes = st.tuples(st.integers(1, 13), st.integers(1, 13))
shares = st.sampled_from([0.0, 0.1, 0.5, 0.85, 1.0])


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def drawn(share: float, *shape: int, seed: int = 0) -> Tensor:
    """Return pixels that are True with this probability."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def matrix_of(missing: Tensor) -> Tensor:
    """Return DᵀD + ε for the missing pixels (h, w), the identity elsewhere, as a matrix of all pixels."""
    boundary, units = Neumann(), torch.eye(missing.numel(), dtype=torch.float64).reshape(-1, 1, *missing.shape)
    both = sum(boundary.transposed(boundary.difference(units, axis), axis) for axis in (-2, -1))
    free = missing.flatten().double()
    inside = torch.outer(free, free) * (both.flatten(1) + TETHER * torch.eye(len(free)))  # type: ignore[union-attr]
    return inside + torch.diag(1 - free)


def blobs(share: float, size: int, seed: int) -> Tensor:
    """Return pixels (size, size) in blobs of all sizes, about this share of them."""
    waves = sum(
        functional.interpolate(normal(1, 1, side, side, seed=seed + side), (size, size), mode="bicubic")[0, 0] / side
        for side in (4, 8, 16, 32, 64)
    )
    assert isinstance(waves, Tensor)
    return waves > waves.quantile(1 - share)


@given(shapes, shares, st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_each_grid_has_the_sums_of_the_finer_ones_equations(shape: tuple[int, int], share: float, seed: int) -> None:
    """Galerkin: PᵀAP, where P copies a block's value to its 2 by 2 pixels."""
    missing = drawn(share, *shape, seed=seed)
    levels = levels_of(missing, TETHER, torch.float64)
    assert levels[-1].diagonal.numel() == 1
    matrix, (height, width) = matrix_of(missing) - torch.diag((~missing).flatten().double()), shape
    for level in levels:
        units = torch.eye(height * width, dtype=torch.float64).reshape(-1, height, width)
        assert torch.allclose(level.apply(units).flatten(1), matrix, rtol=0, atol=1e-12)
        rows, columns = torch.arange(height) // 2, torch.arange(width) // 2
        height, width = -(-height // 2), -(-width // 2)
        block = (rows[:, None] * width + columns).flatten()
        copies = functional.one_hot(block, height * width).double()
        matrix = copies.T @ matrix @ copies


@given(shapes, shares, st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_cycle_can_precondition(shape: tuple[int, int], share: float, seed: int) -> None:
    """On the missing pixels it is symmetric and positive; on the observed ones nothing comes back."""
    missing = drawn(share, *shape, seed=seed)
    units = torch.eye(missing.numel(), dtype=torch.float64).reshape(-1, *shape)
    gaps = gaps_of(~missing, units)
    inverse = gaps.about_inverse(units * missing).flatten(1)
    assert torch.allclose(inverse, inverse.T, rtol=1e-9, atol=1e-9 * float(inverse.abs().max()))
    where = missing.flatten()
    assert not inverse[~where].any()
    assert not inverse[:, ~where].any()
    assert (torch.linalg.eigvalsh(inverse[where][:, where]) > 0).all()


@given(shapes, shares, st.integers(0, 9), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=60, deadline=None)
def test_the_fill_is_the_dense_solution(shape: tuple[int, int], share: float, seed: int, dtype: torch.dtype) -> None:
    """Any shape and share; to the stated tolerance, and to rounding where more is asked for."""
    observed = drawn(share, *shape, seed=seed)
    values, guide = normal(2, *shape, seed=1), normal(2, *shape, seed=2)
    matrix, free = matrix_of(~observed), (~observed).flatten().double()
    whole = matrix_of(torch.ones_like(observed))
    known = ((values - guide) * observed).flatten(1)
    error = torch.linalg.solve(matrix, (known - free * (known @ whole)).T).T.reshape(2, *shape)
    expected = torch.where(observed, values, guide + error)
    spoilt = torch.where(observed, values, torch.nan).to(dtype)  # what is missing has no influence
    image = hold(spoilt, gaps_of(observed, spoilt), guide.to(dtype))
    assert torch.equal(image[:, observed], spoilt[:, observed])
    assert image.dtype == dtype
    assert float((image - expected).abs().max()) < ERROR
    if dtype == torch.float64:
        image = hold(spoilt, gaps_of(observed, spoilt), guide, PRECISE)
        assert float((image - expected).abs().max()) < 1e-9


def lattice(kind: str, size: int = 256) -> Tensor:
    """Return the missing pixels (size, size) of one of the hard cases, or of blobs with this share."""
    missing = torch.ones(size, size, dtype=torch.bool)
    match kind:
        case "all but a pixel":
            missing[3, 200] = False
        case "comb":
            missing[1::2, 1:] = False
        case "checkers":
            missing = (torch.arange(size)[:, None] + torch.arange(size)) % 2 == 0
        case "nine in ten":
            missing = drawn(0.9, size, size)
        case "spiral":  # one pixel wide, some ten thousand long
            missing[1::2, :] = False
            missing[1::4, -1] = missing[3::4, 0] = True
        case _:
            missing = blobs(float(kind), size, seed=7)
    return missing


KINDS = ["0.15", "0.5", "0.9", "all but a pixel", "comb", "checkers", "nine in ten", "spiral"]


def away(missing: Tensor) -> float:
    """Return how far the fill in float32 is from the converged one in float64, for a rough image and no guide."""
    values = normal(1, *missing.shape, seed=0).cumsum(-1) + normal(1, *missing.shape, seed=1).cumsum(-2)
    values = (values - values.mean()) / values.std()
    nothing = torch.zeros_like(values)
    exact = hold(values, gaps_of(~missing, values), nothing, PRECISE)
    single = values.float()
    image = hold(single, gaps_of(~missing, single), nothing.float())
    return float((image - exact).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_converges_in_hard_gaps(kind: str) -> None:
    """In float32, long before the last step."""
    assert away(lattice(kind)) < ERROR


@pytest.mark.parametrize("number", [3, 10, 17])
def test_converges_under_real_masks(shared_data: Path, number: int) -> None:
    """They hide 15, 50 and 90 %."""
    archive = np.load(shared_data / "masks" / "masks_256.npz")
    assert away(torch.from_numpy(archive[archive.files[0]][number].astype(bool))) < ERROR


def test_takes_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide hole and its neighbours in at most a dozen."""
    steps = []

    def counted(levels: tuple[Level, ...], rhs: Tensor) -> Tensor:
        steps.append(1)
        return cycle(levels, rhs)

    monkeypatch.setattr(poisson, "cycle", counted)
    missing = blobs(0.7, 256, seed=1)
    values = normal(1, 256, 256, seed=0).cumsum(-1) / 16
    hold(values, gaps_of(~missing, values), torch.zeros_like(values))
    assert len(steps) <= 13


def test_a_batch_gives_what_its_images_give_alone() -> None:
    """Dates with a mask each, bands that need different numbers of steps, and one that is solved before the first."""
    values, guide = normal(2, 3, 40, 37, seed=0, dtype=torch.float32), torch.zeros(2, 3, 40, 37)
    values[1, 1], values[0, 2] = 0, 1e-3 * values[0, 2]
    observed = torch.stack([~blobs(0.6, 40, seed=s)[:, :37] for s in (0, 1)])
    together = hold(values, gaps_of(observed[:, None], values), guide)
    for date in range(2):
        for band in range(3):
            alone = hold(values[date, band], gaps_of(observed[date], values), guide[date, band])
            assert torch.allclose(together[date, band], alone, rtol=0, atol=1e-6)


def test_poisson_fill_recovers_an_image_from_its_own_gradients() -> None:
    """With the true gradients the true image comes back, though the guide was off by an offset; masks differ by band."""
    truth = normal(3, 20, 30, seed=0).cumsum(-1)
    observed = torch.ones_like(truth, dtype=torch.bool)
    observed[:2, 5:15, 8:22] = False
    observed[2, :, 3] = False
    image = hold(truth, gaps_of(observed, truth), truth + 7.0)
    assert torch.allclose(image, truth, rtol=0, atol=ERROR)


def test_a_channel_without_observed_pixels_is_the_guide() -> None:
    """Its gradients leave the level open; the tether takes it from the guide."""
    guide = normal(2, 16, 16, seed=0) + 3.0
    observed = torch.zeros(2, 16, 16, dtype=torch.bool)
    observed[0, :8] = True
    image = hold(guide + 1, gaps_of(observed, guide), guide)
    assert torch.equal(image[1], guide[1])
    assert torch.allclose(image[0], guide[0] + 1, rtol=0, atol=ERROR)
