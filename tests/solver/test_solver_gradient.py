"""D, its adjoint, its spectrum and the X step's linear system, on both boundaries."""

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngr_geo.solver import Boundary, Neumann, Periodic, Weights, column

boundaries = st.sampled_from([Periodic(), Neumann()])
shapes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
weightings = st.tuples(*[st.sampled_from([0.0, 0.01, 1.0, 150.0])] * 3)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@given(boundaries, shapes)
@settings(max_examples=60, deadline=None)
def test_adjoint(boundary: Boundary, shape: tuple[int, int, int]) -> None:
    """<Dx, p> = <x, Dᵀp>."""
    x, p = noise(*shape), noise(3, *shape, seed=1)
    assert torch.isclose((boundary.gradient(x) * p).sum(), (x * boundary.adjoint(p)).sum(), rtol=0, atol=1e-10)


@given(boundaries, shapes, weightings, st.sampled_from([1e-3, 1.0, 50.0]))
@settings(max_examples=100, deadline=None)
def test_solve_satisfies_the_normal_equations(
    boundary: Boundary, shape: tuple[int, int, int], weights: Weights, penalty: float
) -> None:
    """(μI + Σ wₖ DₖᵀDₖ) X = rhs, with the operator built from D and its adjoint."""
    rhs = noise(*shape)
    x = boundary.solve(rhs, weights, penalty)
    applied = penalty * x + boundary.adjoint(column(weights, x) * boundary.gradient(x))
    assert torch.allclose(applied, rhs, rtol=0, atol=1e-9)


@given(boundaries, shapes, weightings)
@settings(max_examples=60, deadline=None)
def test_spectrum_is_that_of_the_gradient(boundary: Boundary, shape: tuple[int, int, int], weights: Weights) -> None:
    """Two ways to Σ wₖ DₖᵀDₖ X."""
    x = noise(*shape)
    direct = boundary.adjoint(column(weights, x) * boundary.gradient(x))
    basis = boundary.basis(x)
    diagonal = basis.inverse(basis.transform(x) * boundary.spectrum(x, weights))
    assert torch.allclose(diagonal, direct, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_cosine_transform_is_scipys(size: int) -> None:
    """There and back, along all axes."""
    image = noise(2, 3, size, 4)
    basis = Neumann().basis(image)
    expected = scipy.fft.dctn(image.numpy(), type=2, axes=(-3, -2, -1), norm="ortho")
    assert np.allclose(basis.transform(image).numpy(), expected, rtol=0, atol=1e-12)
    assert torch.allclose(basis.inverse(basis.transform(image)), image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", [Periodic(), Neumann()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_dtype_and_takes_batches(boundary: Boundary, dtype: torch.dtype) -> None:
    """A leading batch gives what its images give one by one."""
    batch = noise(2, 3, 5, 4).to(dtype)
    fields = boundary.gradient(batch)
    solved = boundary.solve(batch, (1.0, 2.0, 0.5), 0.3)
    assert fields.shape == (2, 3, 3, 5, 4)
    assert fields.dtype == solved.dtype == dtype
    for i in range(2):
        assert torch.equal(fields[i], boundary.gradient(batch[i]))
        assert torch.allclose(solved[i], boundary.solve(batch[i], (1.0, 2.0, 0.5), 0.3), rtol=0, atol=1e-5)
    assert torch.allclose(boundary.adjoint(fields)[1], boundary.adjoint(fields[1]))


def test_edges() -> None:
    """Periodic: the last difference leads back to the first sample. Neumann: it is zero."""
    ramp = torch.arange(4.0).reshape(1, 1, 4)
    assert Periodic().gradient(ramp)[1].flatten().tolist() == [1, 1, 1, -3]
    assert Neumann().gradient(ramp)[1].flatten().tolist() == [1, 1, 1, 0]
    assert not Neumann().gradient(ramp)[[0, 2]].any()


def test_axes_are_rows_columns_channels() -> None:
    """D₁ sees only what changes from row to row, D₂ from column to column, D₃ from channel to channel."""
    for k, axis in enumerate([1, 2, 0]):
        shape = [1, 1, 1]
        shape[axis] = 4
        image = noise(*shape).expand(4, 4, 4)
        seen = [bool(field.any()) for field in Periodic().gradient(image)]
        assert seen == [i == k for i in range(3)]
