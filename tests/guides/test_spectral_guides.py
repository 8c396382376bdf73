"""Guides for noise, stripes, dead lines and missing entries: on real textures, against numbers and plain alternatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cube import BANDS, SIZE, clean_cube, everywhere, low_rank, psnr, tensor

from ngr_geo.guides import entries, lines, mixed, posterior, shrinkage, stripes, subspace, through
from ngr_geo.raster import deadlines


def noisy(sigma: float = 0.05, seed: int = 0) -> np.ndarray:
    return clean_cube() + sigma * np.random.default_rng(seed).standard_normal(clean_cube().shape)


# --- shrinkage ---


def test_patches_are_transformed_by_an_orthonormal_basis() -> None:
    basis = shrinkage.cosines(6, torch.zeros(1, dtype=torch.float64))
    assert torch.allclose(basis @ basis.T, torch.eye(6, dtype=basis.dtype), atol=1e-12)


def test_shrinkage_keeps_constants_and_takes_most_of_the_noise() -> None:
    flat = torch.full((1, 40, 50), 3.0)
    assert torch.allclose(shrinkage.shrink(flat, torch.ones(1)), flat, atol=1e-4)
    noise = torch.randn(1, 80, 90, generator=torch.Generator().manual_seed(0))
    assert float(shrinkage.shrink(noise, torch.ones(1)).std()) < 0.2
    assert torch.allclose(shrinkage.shrink(noise, torch.zeros(1)), noise, atol=1e-4)


@given(height=st.integers(1, 20), width=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_any_shape_is_shrunk_to_the_same_shape(height: int, width: int) -> None:
    image = torch.rand(2, height, width)
    out = shrinkage.shrink(image, torch.tensor([0.1, 0.5]))
    assert out.shape == image.shape
    assert out.isfinite().all()


# --- Gaussian noise ---


def test_noise_is_measured_and_taken_out() -> None:
    cube = noisy()
    found = subspace.denoise(tensor(cube), everywhere(cube))
    assert np.allclose(found.noise, 0.05, rtol=0.12)
    assert psnr(found.image, clean_cube()) > psnr(cube, clean_cube()) + 9
    assert psnr(found.image, clean_cube()) > psnr(low_rank(cube), clean_cube()) + 1


def test_a_clean_cube_comes_back_nearly_unchanged() -> None:
    cube = clean_cube()
    found = subspace.denoise(tensor(cube), everywhere(cube))
    assert psnr(found.image, cube) > 55
    assert np.abs(found.image.numpy() - cube).max() < 0.02


def test_missing_entries_and_nodata_regions_do_no_harm() -> None:
    cube = noisy()
    seen = np.random.default_rng(1).random(cube.shape) > 0.1
    seen[:, :20, :10] = False
    found = subspace.denoise(tensor(np.where(seen, cube, 0)), torch.from_numpy(seen))
    inside = np.ones((SIZE, SIZE), bool)
    inside[:20, :10] = False
    error = ((found.image.numpy() - clean_cube()) ** 2)[:, inside].mean()
    assert -10 * np.log10(error) > psnr(cube, clean_cube()) + 7


def test_constant_bands_come_back_as_they_are() -> None:
    cube = noisy()
    cube[3], cube[7] = 0.25, 0.0
    found = subspace.denoise(tensor(cube), everywhere(cube))
    assert np.allclose(found.image[3], 0.25, atol=1e-6)
    assert np.allclose(found.image[7], 0.0, atol=1e-6)
    assert found.image.isfinite().all()


def signals() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is added to the cube, and where it is looked at: narrow features, point targets, a plume."""
    rng = np.random.default_rng(3)
    absorption, points, plume = (np.zeros((BANDS, SIZE, SIZE)) for _ in range(3))
    absorption[22, 10:26, 12:30] = -0.15  # one band wide, on a field
    spectrum = rng.uniform(-0.4, 0.6, BANDS)
    for row, column in ((5, 50), (30, 40), (44, 9), (58, 58), (20, 3)):
        points[:, row, column] = spectrum
    y, x = np.mgrid[:SIZE, :SIZE]
    shape = np.exp(-(((y - 45) / 5) ** 2 + ((x - 42) / 9) ** 2))
    signature = np.zeros(BANDS)
    signature[28:33] = (-0.04, -0.1, -0.14, -0.1, -0.04)
    plume[:] = signature[:, None, None] * shape
    return {
        name: (s, np.abs(s) > 0.02) for name, s in (("absorption", absorption), ("points", points), ("plume", plume))
    }


@pytest.mark.parametrize(("name", "kept"), [("absorption", 0.93), ("points", 0.95), ("plume", 0.88)])
def test_real_signal_is_kept(name: str, kept: float) -> None:
    signal, where = signals()[name]
    rng = np.random.default_rng(0)
    cube = clean_cube() + signal + 0.03 * rng.standard_normal(signal.shape)

    def share(image: np.ndarray, without: np.ndarray) -> float:
        return float(((image - without) * signal)[where].sum() / (signal**2)[where].sum())

    found = subspace.denoise(tensor(cube), everywhere(cube)).image.numpy()
    ours, plain = share(found, clean_cube()), share(low_rank(cube, rank=3), clean_cube())
    assert ours > kept, (name, ours, plain)
    assert ours < 1.1
    assert ours > plain - 0.03, (name, ours, plain)


# --- mixed noise ---


def faulty(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cube = clean_cube() + rng.uniform(0.05, 0.2, (BANDS, 1, 1)) * rng.standard_normal(clean_cube().shape)
    for band in range(0, BANDS, 5):
        cube[band][:, rng.choice(SIZE, 12, replace=False)] += rng.uniform(-0.25, 0.25, 12)
    cube = np.where(rng.random(cube.shape) < 0.1, (rng.random(cube.shape) < 0.5).astype(float), cube)
    for band in range(2, BANDS, 5):
        cube[band][:, rng.choice(SIZE, 12, replace=False)] = 0
    return np.clip(cube, 0, 1)


def test_mixed_noise_is_taken_out_without_bias() -> None:
    cube = faulty()
    found = mixed.restore(tensor(cube), everywhere(cube))
    image = found.image.numpy()
    assert psnr(image, clean_cube()) > psnr(low_rank(cube), clean_cube()) + 6
    assert abs((image - clean_cube()).mean()) < 0.01


def test_more_rounds_do_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = faulty()
    monkeypatch.setattr(mixed, "SETTLED", 0.0)
    results = []
    for rounds in (6, 16):
        monkeypatch.setattr(mixed, "ROUNDS", rounds)
        results.append(mixed.restore(tensor(cube), everywhere(cube)).image.numpy())
    few, many = results
    assert psnr(many, clean_cube()) > psnr(few, clean_cube()) - 0.2
    assert abs((many - clean_cube()).mean()) < abs((few - clean_cube()).mean()) + 0.002


def test_impulses_are_told_from_lakes() -> None:
    lake = noisy(0.01)
    lake[:, 20:40, 20:40] = 0
    lake = np.clip(lake, 0, None)
    assert mixed.scattered_at_limits(tensor(lake), everywhere(lake)) < 0.005
    cube = faulty()
    assert mixed.scattered_at_limits(tensor(cube), everywhere(cube)) > 0.03


# --- dead lines ---


def test_dead_lines_of_every_kind_are_found_and_nothing_else() -> None:
    cube = clean_cube().astype(np.float32).copy()
    want = np.zeros(cube.shape, bool)
    observed = np.ones(cube.shape, bool)
    cube[:, :, 10], want[:, :, 10] = 0, True  # in all bands
    cube[4:9, 12:40, 21], want[4:9, 12:40, 21] = 0.3, True  # part of a column, some bands
    cube[2, :, 33:35], want[2, :, 33:35] = cube.max(), True  # two saturated columns in one band
    cube[6, 50], want[6, 50] = 0.2, True  # a row
    observed[8, :, 45], want[8, :, 45] = False, True  # nodata between data
    observed[:, :, -3:] = False  # a nodata rim is no line
    cube[12, 5:25, 40:60] = 0  # a lake
    found = deadlines.find(cube, observed)
    want[:, :, -3:] = False
    inner = slice(None), slice(None), slice(0, -3)
    assert (found.mask[inner] == want[inner]).mean() > 0.9995
    assert found.mask[want].mean() > 0.999
    assert not found.mask[:, :, -3:].any()
    kinds = set(found.table["kind"].tolist())
    assert {"zero", "constant", "saturated", "nodata"} <= kinds
    partial = [
        i for i, (b, c) in enumerate(zip(found.table["band"], found.table["index"], strict=True)) if (b, c) == (5, 21)
    ]
    assert [(found.table["start"][i], found.table["stop"][i]) for i in partial] == [(12, 40)]


def test_a_clean_cube_has_no_dead_lines() -> None:
    cube = (clean_cube() * 255).astype(np.uint8)
    assert not deadlines.find(cube, np.ones(cube.shape, bool)).mask.any()


def test_dead_lines_are_filled_better_than_by_interpolation() -> None:
    cube = clean_cube()
    observed = np.ones(cube.shape, bool)
    for first, size in ((6, 1), (15, 2), (29, 3), (44, 1), (55, 2)):
        observed[:, :, first : first + size] = False
    seen = torch.from_numpy(observed)
    holes = tensor(np.where(observed, cube, 0))
    linear, filled = (f(holes, seen).numpy() for f in (lines.interpolate, lines.fill))
    assert np.array_equal(filled[observed], cube.astype(np.float32)[observed])

    def error(image: np.ndarray) -> float:
        return float(-10 * np.log10(((image - cube)[~observed] ** 2).mean()))

    assert error(filled) > error(linear) + 0.5
    turned = lines.fill(holes.transpose(1, 2).contiguous(), seen.transpose(1, 2).contiguous()).transpose(1, 2).numpy()
    assert error(turned) > error(linear) + 0.5


@given(height=st.integers(1, 16), width=st.integers(1, 16), bands=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_gaps_of_any_cube_are_filled_with_numbers(height: int, width: int, bands: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cube, seen = rng.random((bands, height, width)), rng.random((bands, height, width)) < 0.6
    seen[:, 0, 0] = True
    for fill in (lines.fill, through.fill, posterior.complete):
        filled = fill(tensor(np.where(seen, cube, 0)), torch.from_numpy(seen))
        image = filled if isinstance(filled, torch.Tensor) else filled[0]
        assert image.isfinite().all()
        assert np.array_equal(image.numpy()[seen], cube.astype(np.float32)[seen])


# --- missing entries ---


def test_a_tenth_of_the_entries_tells_the_rest() -> None:
    cube = clean_cube()
    seen = np.random.default_rng(0).random(cube.shape) < 0.1
    holes = tensor(np.where(seen, cube, 0))
    image = entries.complete(holes, torch.from_numpy(seen)).image.numpy()
    assert np.array_equal(image[seen], cube.astype(np.float32)[seen])
    assert psnr(image, cube) > psnr(lines.interpolate(holes, torch.from_numpy(seen)).numpy(), cube) + 5


# --- stripes ---


def striped(seed: int = 0, slope: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cube = clean_cube().copy()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    line = np.rint(columns - slope * (rows - (SIZE - 1) / 2)).astype(int) + SIZE
    for band in rng.choice(BANDS, BANDS // 2, replace=False):
        profile = np.zeros(3 * SIZE)
        profile[rng.choice(3 * SIZE, SIZE, replace=False)] = rng.uniform(-0.25, 0.25, SIZE)
        cube[band] += profile[line]
    return cube


def total(image: object, truth: np.ndarray) -> float:
    return float(-10 * np.log10(((np.asarray(image) - truth) ** 2).mean()))


@pytest.mark.parametrize("turned", [False, True])
def test_stripes_are_taken_off_and_their_direction_is_found(turned: bool) -> None:
    cube, truth = striped(), clean_cube()
    if turned:
        cube, truth = cube.transpose(0, 2, 1), truth.transpose(0, 2, 1)
    found = stripes.remove(tensor(cube), everywhere(cube))
    assert found.axis == (-1 if turned else -2)
    assert total(found.image, truth) > total(cube, truth) + 15


def test_tilted_stripes_are_taken_off() -> None:
    cube = striped(slope=-0.25)
    found = stripes.remove(tensor(cube), everywhere(cube))
    assert found.axis == -2
    assert total(found.image, clean_cube()) > total(cube, clean_cube()) + 6


def test_a_cube_without_stripes_is_hardly_touched() -> None:
    cube = clean_cube()
    found = stripes.remove(tensor(cube), everywhere(cube))
    assert total(found.image, cube) > 60
    one = cube[:1]
    assert total(stripes.remove(tensor(one), everywhere(one)).image, one) > 60


def test_dark_water_gets_no_new_stripes() -> None:
    rng = np.random.default_rng(2)
    cube = clean_cube().copy()
    cube[:, 24:44, 14:50] = 0
    gains = 1 + 0.05 * rng.standard_normal((BANDS, 1, SIZE)) * (np.arange(BANDS) % 3 == 0)[:, None, None]
    striped_cube = cube * gains
    found = stripes.remove(tensor(striped_cube), everywhere(cube)).image.numpy()
    assert total(found, cube) > total(striped_cube, cube) + 3
    water = np.abs(found[:, 26:42, 16:48])
    assert water.max() < 0.012
    assert water.mean() < 2e-4


def test_nodata_regions_stay_out_of_stripes() -> None:
    cube = striped()
    seen = np.ones(cube.shape, bool)
    seen[:, :20, :30] = False
    found = stripes.remove(tensor(np.where(seen, cube, 0)), torch.from_numpy(seen))
    assert not found.image.numpy()[~seen].any()
    assert total(found.image.numpy()[seen], clean_cube()[seen]) > total(cube[seen], clean_cube()[seen]) + 10
