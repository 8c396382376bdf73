"""The published regularisers: their proximal operators minimise, their operators have adjoints, and each recovers what it must."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peers import fasthyde, models, prior, prox
from peers.splitting import Term, minimised
from torch import Tensor

from ngr_geo.solver.fidelity import Exact, Masked

SIZE = 16


def drawn(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


PENALTIES = {
    "shrink": (prox.shrink, lambda z: z.abs().sum()),
    "shortened": (prox.shortened, lambda z: torch.linalg.vector_norm(z, dim=0).sum()),
    "powered": (lambda value, threshold: prox.powered(value, threshold, 0.5), lambda z: z.abs().sqrt().sum()),
    "thresholded": (prox.thresholded, lambda z: torch.linalg.matrix_norm(z, "nuc").sum()),
    "tubal_fourier": (
        prox.tubal_fourier,
        lambda z: torch.linalg.matrix_norm(torch.fft.fft(z, dim=0), "nuc").mean(),
    ),
    "tubal": (
        lambda value, threshold: prox.tubal(value, threshold, prox.cosines(3, value)),
        lambda z: torch.linalg.matrix_norm(torch.tensordot(prox.cosines(3, z), z, 1), "nuc").sum(),
    ),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_no_point_near_a_proximal_operators_answer_or_far_from_it_costs_less(name: str) -> None:
    operator, penalty = PENALTIES[name]
    value, threshold = drawn(3, 5, 4), 0.8

    def cost(z: Tensor) -> float:
        return float(threshold * penalty(z) + (z - value).square().sum() / 2)

    found = operator(value, threshold)
    random = np.random.default_rng(1)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(20):
            other = found + size * torch.from_numpy(random.standard_normal(value.shape))
            assert cost(found) <= cost(other) + 1e-9
    assert cost(found) < min(cost(value), cost(torch.zeros_like(value)))


def test_ranks_are_kept_and_a_tensor_of_low_rank_is_its_own_projection() -> None:
    low = torch.einsum("abc,ia,jb,kc->ijk", drawn(2, 3, 2), drawn(5, 2), drawn(7, 3), drawn(6, 2))
    torch.testing.assert_close(prox.tucker(low, (2, 3, 2)), low)
    assert torch.linalg.matrix_rank(prox.thresholded(drawn(5, 9), 0.01, rank=2)) == 2


@pytest.mark.parametrize("name", models.MODELS)
def test_operators_have_the_adjoints_that_they_state(name: str) -> None:
    model = models.MODELS[name]
    for term in model.terms(drawn(4, 6, 5)):
        unknown = drawn(model.unknowns, 4, 6, 5)
        fields = term.forward(unknown)
        other = torch.from_numpy(np.random.default_rng(2).standard_normal(fields.shape))
        torch.testing.assert_close((fields * other).sum(), (unknown * term.adjoint(other)).sum())


def steps() -> Tensor:
    """Return three channels that are constant in four quarters."""
    pattern = torch.tensor([[0.2, 0.8], [0.6, 0.4]], dtype=torch.float64).repeat_interleave(SIZE // 2, 0)
    return torch.stack([gain * pattern.repeat_interleave(SIZE // 2, 1) for gain in (1.0, 0.7, 0.9)])


ALLOWED = {"TV": 0.05, "TVlp": 0.02, "TGV": 0.05, "HOTV": 0.1, "HaLRTC": 0.02, "TNN-FFT": 0.05, "TNN-DCT": 0.05}
ALLOWED |= {"CTV": 0.05, "t-CTV": 0.02}


@pytest.mark.parametrize("name", models.GAPS)
def test_missing_entries_of_a_piecewise_constant_image_of_low_rank_are_found(name: str) -> None:
    image = steps()
    known = torch.from_numpy(np.random.default_rng(3).random(image.shape) < 0.7)
    found = models.completed(torch.where(known, image, 0), known, name)
    assert torch.equal(found[known], image[known])
    assert float((found - image).square().mean().sqrt()) < ALLOWED[name]


@pytest.mark.parametrize("name", models.ROBUST)
def test_impulses_leave_a_cube_of_low_rank(name: str) -> None:
    shapes = steps() * torch.tensor([[[1.0]], [[0.5]], [[1.0]]]) + torch.linspace(0, 0.2, SIZE)
    cube = torch.einsum("bi,iyx->byx", torch.from_numpy(np.random.default_rng(7).random((40, 3))) / 3, shapes)
    random = np.random.default_rng(4)
    noisy = torch.where(torch.from_numpy(random.random(cube.shape) < 0.1), 1.0, cube)
    error = (models.denoised(noisy, name, None) - cube).square().mean()
    assert float(error) < 0.3 * float((noisy - cube).square().mean())


@pytest.mark.parametrize("name", models.MODELS)
def test_gaussian_noise_gets_less_and_the_residual_is_as_long_as_the_noise(name: str) -> None:
    cube = torch.einsum("bi,iyx->byx", drawn(8, 2).abs(), steps()[:2])
    noisy = cube + 0.1 * drawn(*cube.shape)
    found = models.denoised(noisy, name, torch.full((8,), 0.1, dtype=torch.float64))
    assert float((found - cube).square().mean()) < 0.7 * 0.1**2
    assert (found - noisy).flatten(1).norm(dim=1).max() < 1.05 * 0.1 * SIZE


def test_models_without_a_form_for_mixed_noise_say_so() -> None:
    with pytest.raises(ValueError, match="TV has no form for mixed noise: choose one of TNN-FFT"):
        models.denoised(steps(), "TV", None)


def test_the_loop_finds_the_minimum_of_a_quadratic_in_closed_form() -> None:
    """Least |D X|^2 that has the observed values: harmonic where they are missing."""
    known = torch.ones(1, 9, 9, dtype=torch.bool)
    known[:, 3:6, 3:6] = False
    data = torch.where(known, drawn(1, 9, 9), 0)
    term = Term(lambda fields, penalty: fields * penalty / (2 + penalty), *models.fields_of(models.SPATIAL))
    course = models.Course(penalty=2.0, most=2000, tolerance=1e-12)
    found = minimised(data, [term], Masked(Exact(), known), course)
    around = sum((found.roll(shift, axis) for shift in (-1, 1) for axis in (-2, -1)), torch.zeros_like(found)) / 4
    torch.testing.assert_close(found[~known], around[~known], atol=1e-8, rtol=0)


def test_a_subspace_and_its_images_lose_noise() -> None:
    y, x = np.mgrid[:24, :24] / 24
    cube = np.einsum("bi,iyx->byx", np.random.default_rng(5).random((20, 2)), np.stack([x * y, np.sin(5 * x)]))
    noisy = cube + 0.05 * np.random.default_rng(6).standard_normal(cube.shape)
    assert np.square(fasthyde.fasthyde_like(noisy) - cube).mean() < 0.1 * 0.05**2


def test_s2dip_comes_nearer_with_every_step_and_keeps_impulses_apart() -> None:
    image = steps().float()
    noisy = image.clone()
    noisy[:, 4, 4] = 1.0
    images = list(prior.with_variation(noisy, torch.ones_like(noisy, dtype=torch.bool), 60, 8, sparse=0.1))
    errors = [float((now - image).square().mean()) for now in images]
    assert errors[-1] < 0.3 * errors[0]
