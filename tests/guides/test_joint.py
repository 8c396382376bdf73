"""Shrinkage of groups of similar patches: what holds whatever the images, and what noise and structure come back as."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cube import clean_cube, tensor
from torch import Tensor

from ngr_geo.guides import joint, shrinkage


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def textures(images: int = 3, size: int = 48) -> Tensor:
    """Images of real textures, of deviation 10 and less."""
    maps = tensor(clean_cube()[:: 40 // images][:images, :size, :size])
    return 10 * (maps - maps.mean((1, 2), keepdim=True)) / maps.std()


def denoised(noisy: Tensor, inside: Tensor | None = None) -> Tensor:
    return joint.shrink(noisy, shrinkage.shrink(noisy, torch.ones(len(noisy))), inside)


def error(image: Tensor, truth: Tensor) -> float:
    return float((image - truth).square().mean().sqrt())


@given(
    rows=st.integers(6, 70),
    columns=st.integers(2, 70),
    lacking=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_singular_values_are_shrunk_by_the_closed_form(rows: int, columns: int, lacking: int, seed: int) -> None:
    """η(y) = √((y² - β - 1)² - 4β) / y beyond 1 + √β, else 0, of y = s / √(longer side), about the mean; rows may lack."""
    rng = np.random.default_rng(seed)
    matrix = 3 * rng.standard_normal((rows, 2)) @ rng.standard_normal((2, columns)) + rng.standard_normal(
        (rows, columns)
    )
    there = np.ones(rows)
    there[rows - min(lacking, rows - 1) :] = 0
    part = matrix[there > 0]
    mean, free = part.mean(0), max(len(part) - 1, 1)  # the mean takes one degree of freedom
    left, values, right = np.linalg.svd(part - mean, full_matrices=False)
    longer, beta = max(free, columns), min(free, columns) / max(free, columns)
    y = values / math.sqrt(longer)
    shrunk = np.where(y > 1 + math.sqrt(beta), np.sqrt(np.maximum((y**2 - beta - 1) ** 2 - 4 * beta, 0)) / y, 0)
    expected = mean + left * (shrunk * math.sqrt(longer)) @ right
    found, weight = joint.optimal(torch.from_numpy(matrix)[None], torch.from_numpy(there)[None])
    np.testing.assert_allclose(found[0].numpy()[there > 0], expected, atol=1e-8)
    gain = np.divide(shrunk, y, where=y > 0, out=np.zeros_like(y))
    assert float(weight[0]) == pytest.approx(len(part) / (1 + (gain**2).sum()))


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40)])
def test_rows_are_estimated_by_mean_and_covariance_of_the_prior(rows: int, columns: int) -> None:
    """(Y - mean) C (C + 1)⁻¹ + mean, with the prior's covariance C; rows that lack change nothing."""
    prior, noisy = noise(1, rows, columns).double() * 2, noise(1, rows, columns, seed=1).double()
    centred = prior[0] - prior[0].mean(0)
    covariance = centred.T @ centred / rows
    mean = noisy[0].mean(0)
    expected = mean + (noisy[0] - mean) @ torch.linalg.solve(covariance + torch.eye(columns), covariance)
    found, weight = joint.linear(noisy, prior, torch.ones(1, rows).double())
    torch.testing.assert_close(found[0], expected, atol=1e-6, rtol=0)
    more = torch.cat([torch.ones(1, rows), torch.zeros(1, 5)], 1).double()
    longer = (torch.cat([x, torch.full((1, 5, columns), 7.0).double()], 1) for x in (noisy, prior))
    again, same = joint.linear(next(longer), next(longer), more)
    torch.testing.assert_close(again[0, :rows], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(weight, same)


def test_images_may_be_turned_into_others_by_an_orthonormal_matrix() -> None:
    """Joint steps see all images only by products that such a matrix leaves as they are."""
    images, pilot = textures() + noise(3, 48, 48), textures()
    turn = torch.linalg.qr(noise(3, 3, seed=5))[0]
    groups = joint.similar(pilot, 3, 3, 6, 20)
    for by_prior in (False, True):
        plain = joint._estimated(images, pilot, groups, 3, by_prior)
        other, another = (torch.einsum("ij,jhw->ihw", turn, x) for x in (images, pilot))
        turned = joint._estimated(other, another, groups, 3, by_prior)
        torch.testing.assert_close(torch.einsum("ij,ihw->jhw", turn, turned), plain, atol=2e-3, rtol=0)


@pytest.mark.parametrize("images", [1, 2, 6])
def test_pure_noise_is_shrunk_to_its_mean(images: int) -> None:
    found = denoised(noise(images, 60, 60) + 5)
    assert error(found, torch.full_like(found, 5)) < (0.22 if images == 1 else 0.18)


@pytest.mark.parametrize("images", [1, 3, 8])
def test_without_noise_images_come_back(images: int) -> None:
    """Structure far above the noise is kept: what is lost is far below it."""
    clean = 1e4 * textures(images)
    assert error(denoised(clean), clean) < 0.2


@pytest.mark.parametrize("images", [1, 3, 8])
def test_it_is_better_than_its_pilot(images: int) -> None:
    clean = textures(images)
    noisy = clean + noise(images, 48, 48)
    pilot = shrinkage.shrink(noisy, torch.ones(images))
    assert error(joint.shrink(noisy, pilot), clean) < 0.99 * error(pilot, clean)


def test_memory_at_a_time_does_not_change_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = textures() + noise(3, 48, 48)
    whole = denoised(noisy)
    monkeypatch.setattr(joint, "BLOCK", 60 * 27 * 40)
    assert torch.equal(denoised(noisy), whole)


def test_what_is_outside_changes_nothing_inside() -> None:
    """Patches that hold a pixel outside take no part, and where none is left the pilot comes back."""
    noisy = textures() + noise(3, 48, 48)
    inside = torch.ones(48, 48, dtype=torch.bool)
    inside[10:30, 20:40] = False
    inside[15, 30] = True
    pilot = shrinkage.shrink(noisy, torch.ones(3))
    found = joint.shrink(noisy, pilot, inside)
    other = joint.shrink(torch.where(inside, noisy, 100), torch.where(inside, pilot, pilot.mean()), inside)
    held = inside.clone()
    held[15, 30] = False
    assert error(found[:, held], other[:, held]) < 0.2
    torch.testing.assert_close(found[:, 15, 30], pilot[:, 15, 30])


@given(images=st.integers(0, 4), height=st.integers(1, 12), width=st.integers(1, 12), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_any_shape_comes_back_finite(images: int, height: int, width: int, share: float) -> None:
    noisy = noise(images, height, width)
    inside = torch.rand(height, width, generator=torch.Generator().manual_seed(height)) < share
    for part in (None, inside):
        found = joint.shrink(noisy, noisy / 2, part)
        assert found.shape == noisy.shape
        assert found.isfinite().all()
