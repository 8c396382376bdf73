"""Bad rows and columns: found where they are and nowhere else, repaired or left as they are, and never spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_cube import BANDS, SIZE, clean_cube, everywhere, raster, tensor

from ngr_geo.guides import mixed, subspace

SIGMA = 0.02
LINES = [(4, 1, 20), (11, 2, 33), (11, 2, 50), (25, 1, 9), (30, 2, 61), (31, 2, 44)]
"""Bands, axes across which they lie, and their rows (1) or columns (2)."""


def noisy() -> np.ndarray:
    return clean_cube() + SIGMA * np.random.default_rng(0).standard_normal(clean_cube().shape)


def where_bad() -> np.ndarray:
    bad = np.zeros(clean_cube().shape, bool)
    for band, axis, index in LINES:
        np.moveaxis(bad[band], axis - 1, 0)[index] = True
    return bad


def with_bad_lines(kind: str) -> np.ndarray:
    """The noisy cube with single rows and columns that have 30 times the noise, or are as far off as a whole."""
    draw = np.random.default_rng(1).standard_normal(clean_cube().shape)
    return noisy() + 30 * SIGMA * where_bad() * (draw if kind == "noise" else np.sign(draw[:, :1, :1]))


def rmse(image: torch.Tensor, where: np.ndarray) -> float:
    return float(np.sqrt(((image.numpy() - clean_cube()) ** 2)[where].mean()))


@pytest.mark.parametrize("kind", ["noise", "offset"])
@pytest.mark.parametrize("noise", ["gaussian", "mixed"])
def test_bad_lines_are_repaired_and_do_not_spread(kind: str, noise: str) -> None:
    """Beside them the result is what it would be without them, in every band; in them it is as good as elsewhere."""

    def restored(cube: np.ndarray) -> torch.Tensor:
        given, seen = tensor(cube), everywhere(cube)
        return subspace.denoise(given, seen).image if noise == "gaussian" else mixed.restore(given, seen).image

    found, usual, bad = restored(with_bad_lines(kind)), restored(noisy()), where_bad()
    beside = np.roll(bad, 1, 1) | np.roll(bad, -1, 1) | np.roll(bad, 1, 2) | np.roll(bad, -1, 2)
    in_bands = np.repeat(bad.any((1, 2)), SIZE**2).reshape(bad.shape)
    for part in (beside & ~bad, in_bands & ~bad, ~bad):
        assert rmse(found, part) < 1.05 * rmse(usual, part)
    assert rmse(found, bad) < 1.3 * rmse(usual, bad)


def test_they_are_no_noise_and_no_impulses() -> None:
    """The noise of their bands is that of the other lines, and the cube has Gaussian noise."""
    found = subspace.denoise(tensor(with_bad_lines("noise")), everywhere(noisy()))
    assert np.allclose(found.noise, SIGMA, rtol=0.15)
    assert np.array_equal(found.clean.numpy() != tensor(with_bad_lines("noise")).numpy(), where_bad())
    given = raster(with_bad_lines("noise"))
    assert '"kind": "gaussian"' in given.ngr.denoise(method="guide").attrs["ngr_dates"]


def test_nothing_else_is_bad() -> None:
    """Neither in a clean cube, with little or much noise, nor what is one band wide, or a road."""
    absorption = noisy()
    absorption[22, 10:26, 5:50] -= 0.2
    road = noisy()
    road[:, 30] += 0.3
    for cube in (clean_cube(), noisy(), absorption, road):
        for part in (cube, cube[20:23]):
            found = subspace.denoise(tensor(part), everywhere(part), groups=False)
            assert torch.equal(found.clean, tensor(part))


@pytest.mark.parametrize("bands", [1, 3])
def test_with_few_bands_rough_lines_do_not_spread(bands: int) -> None:
    """They are repaired, or left where no other band is seen."""
    cube = noisy()[:bands]
    rough = cube.copy()
    rough[0, 20] += 30 * SIGMA * np.random.default_rng(2).standard_normal(SIZE)
    found, usual = (subspace.denoise(tensor(c), everywhere(c)).image.numpy() for c in (rough, cube))
    error, without = (((i - clean_cube()[:bands]) ** 2)[0] for i in (found, usual))
    assert error[[19, 21]].mean() < 1.3 * without[[19, 21]].mean()
    given = ((rough - clean_cube()[:bands]) ** 2)[0, 20].mean()
    assert error[20].mean() < (1.001 if bands == 1 else 0.1) * given


def test_a_line_that_is_bad_in_all_bands_does_not_spread() -> None:
    cube = noisy()
    cube[:, 40] += 30 * SIGMA * np.random.default_rng(3).standard_normal((BANDS, SIZE))
    found, usual = (subspace.denoise(tensor(c), everywhere(c)).image for c in (cube, noisy()))
    rows = np.zeros(cube.shape, bool)
    rows[:, [38, 39, 41, 42]] = True
    assert rmse(found, rows) < 1.1 * rmse(usual, rows)
