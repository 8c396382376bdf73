"""Haze and shadow put on clear real pixels are found, what changed on the ground is not, and false flags that persist come off."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from ngr_geo.guides import haze
from ngr_geo.raster import masks
from ngr_geo.samples import sample

DAYS = (13.0, 15.0, 18.0, 20.0)
COLOURS = ("B02", "B03", "B04", "B08")


def clear_stack() -> NDArray[np.float32]:
    """The three clear dates of the sample, and between them the second once more with noise: (time, band, y, x), reflectance."""
    ds = sample()
    x = np.stack([ds[b].values[[1, 2, 2, 4]].astype(np.float32) * 1e-4 for b in COLOURS], axis=1)
    x[2] *= 1 + 0.03 * np.random.default_rng(0).standard_normal(x[2].shape, dtype=np.float32)
    return x


def window(x: NDArray[Any], flagged: NDArray[np.bool_] | None = None, snow: NDArray[np.bool_] | None = None) -> Any:
    none = np.zeros((len(x), *x.shape[-2:]), bool)
    masks = (~none, none if flagged is None else flagged, none if snow is None else snow)
    return haze.Window(torch.from_numpy(x), *map(torch.from_numpy, masks))


def marks(w: Any, dilate: int = 0) -> NDArray[np.uint8]:
    """What is found, learnt from the window itself."""
    return haze.mark(w, haze.learn([w], DAYS, dilate), dilate)[1].numpy()


def bell(row: int, column: int, radius: float, size: int = 240) -> NDArray[np.float32]:
    y, x = np.ogrid[:size, :size]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2)).astype(np.float32)


def hazy(x: NDArray[np.float32], date: int, veil: NDArray[np.float32]) -> NDArray[np.float32]:
    """The stack with a share `veil` (y, x) of one date replaced by the light of haze."""
    x = x.copy()
    white = np.array([0.5, 0.5, 0.5, 0.55], np.float32)[:, None, None]
    x[date] += veil * (white - x[date])
    return x


@pytest.mark.parametrize(("row", "column", "radius"), [(60, 70, 12), (150, 120, 20), (200, 40, 8)])
def test_haze_is_found_and_little_else(row: int, column: int, radius: float) -> None:
    veil = 0.08 * bell(row, column, radius)
    found = marks(window(hazy(clear_stack(), 2, veil)))
    here = (found[2] & haze.HAZE) > 0
    assert here[veil > 0.03].mean() > 0.9  # it adds 0.015 to blue
    assert (veil[here] > 0.002).mean() > 0.9
    assert all((found[t] != 0).mean() < 0.005 for t in (0, 1, 3))


def test_what_is_too_faint_to_matter_is_left() -> None:
    assert (marks(window(hazy(clear_stack(), 2, 0.004 * bell(120, 120, 20))))[2] != 0).mean() < 0.005


def test_a_shadow_is_found() -> None:
    x, dark = clear_stack(), bell(100, 90, 10)
    x[2] *= 1 - 0.55 * dark
    found = marks(window(x))
    here = (found[2] & haze.SHADOW) > 0
    assert here[dark > 0.7].mean() > 0.9
    assert (dark[here] > 0.1).mean() > 0.9


@pytest.mark.parametrize("stays", [True, False])
def test_a_harvest_is_no_haze(stays: bool) -> None:
    """Vegetation gives way to soil: brighter in all visible bands, in red most; whether later dates show it or not."""
    x = clear_stack()
    field = (slice(None), slice(100, 125), slice(80, 110))
    soil = np.array([0.07, 0.09, 0.13, 0.24], np.float32)[:, None, None]
    for date in (2, 3) if stays else (2,):
        x[date][field] = 0.25 * x[date][field] + 0.75 * soil
    found = marks(window(x))
    assert (found[2][field[1:]] != 0).mean() < 0.05
    assert (found[2] != 0).mean() < 0.005


def test_snow_that_the_product_knows_is_left() -> None:
    x = clear_stack()
    snow = np.zeros((4, 240, 240), bool)
    snow[2, 50:80, 60:90] = True
    x[2][:, snow[2]] += 0.3
    found = marks(window(x, snow=snow))
    assert not found[2][snow[2]].any()
    assert (found[2] != 0).mean() < 0.01


def test_a_date_of_which_too_much_would_be_found_is_left() -> None:
    x = clear_stack()
    veil = np.zeros((240, 240), np.float32)
    veil[:, :150] = 0.2
    w = window(hazy(x, 2, veil))
    recipe = haze.learn([w], DAYS, 0)
    mask, found = haze.mark(w, recipe, 0)
    assert recipe.found[2] <= haze.MOST or 2 in recipe.beyond
    if 2 in recipe.beyond:
        assert not mask[2].any() and not found[2].any()


def test_without_another_clear_date_nothing_is_found() -> None:
    x = hazy(clear_stack(), 2, 0.1 * bell(100, 100, 15))
    flagged = np.zeros((4, 240, 240), bool)
    flagged[[0, 1, 3], :, :200] = True
    w = window(x, flagged)
    recipe = haze.learn([w], DAYS, 0)
    assert recipe.clear == (2,) and recipe.pairs[2] == ()
    mask, found = haze.mark(w, recipe, 0)
    assert not found[2].any() and not mask[2].any()


def test_false_flags_that_persist_come_off_and_true_ones_stay() -> None:
    x = clear_stack()
    false, cloud = (slice(100, 106), slice(60, 90)), (slice(180, 200), slice(150, 175))
    flagged = np.zeros((4, 240, 240), bool)
    flagged[(slice(None), *false)] = True
    flagged[(slice(None), *cloud)] = True
    for date, light in enumerate((0.4, 0.7, 0.5, 0.6)):  # clouds in one place, but never the same
        x[date][(slice(None), *cloud)] = light
    flagged[2, 30:60, 30:60] = True  # of one date alone, though its values agree
    found = marks(window(x, flagged), dilate=2)
    off = (found & haze.FALSE) > 0
    assert all(off[t][false].mean() > 0.9 for t in range(4))
    assert not any(off[t][cloud].any() for t in range(4))
    assert not off[2, 30:60, 30:60].any()
    assert not (off & ~flagged).any()


def test_flags_on_a_cloudy_date_stay() -> None:
    flagged = np.zeros((4, 240, 240), bool)
    flagged[:, 100:106, 60:90] = True
    flagged[2, :, :120] = True
    off = (marks(window(clear_stack(), flagged)) & haze.FALSE) > 0
    assert off[[0, 1, 3]].any() and not off[2].any()


@pytest.mark.parametrize(("top", "left"), [(0, 0), (7, 61), (80, 80), (140, 13)])
def test_what_is_found_of_a_pixel_does_not_depend_on_the_window(top: int, left: int) -> None:
    """To the bit, as far from the window's border as `reach` says."""
    ds = sample()
    x = np.stack([ds[b].values.astype(np.float32) for b in COLOURS], axis=1)
    flagged = np.isin(ds.SCL.values, (0, 1, 3, 8, 9, 10))
    whole, days, depth = window(x, flagged), (10.0, 13.0, 15.0, 18.0, 20.0), haze.reach(2)
    recipe = haze.learn([whole], days, 2)
    mask, found = haze.mark(whole, recipe, 2)
    assert len(set(found.unique().tolist()) & {haze.HAZE, haze.SHADOW, haze.FALSE}) == 3
    here = (slice(None), slice(max(top - depth, 0), top + 100 + depth), slice(max(left - depth, 0), left + 60 + depth))
    part = haze.Window(*(a[(..., *here[1:])] for a in whole))
    inner = (
        slice(None),
        slice(top - here[1].start, top - here[1].start + 100),
        slice(left - here[2].start, left - here[2].start + 60),
    )
    some_mask, some_found = haze.mark(part, recipe, 2)
    same = (slice(None), slice(top, top + 100), slice(left, left + 60))
    assert torch.equal(some_mask[inner], mask[same]) and torch.equal(some_found[inner], found[same])


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 6, 11])
def test_masks_grow_as_they_do_elsewhere(radius: int) -> None:
    mask = np.random.default_rng(0).random((3, 40, 30)) > 0.98
    wanted = masks.grow(xr.DataArray(mask, dims=("time", "y", "x")), radius).values
    assert np.array_equal(haze.grown(torch.from_numpy(mask), radius).numpy(), wanted)


def test_dates_to_compare_with_are_on_both_sides() -> None:
    days = [0.0, 10.0, 20.0, 30.0, 100.0]
    assert haze.nearest(3, (0, 1, 2, 4), days) == [1, 2, 4]
    assert haze.nearest(4, (0, 1, 2, 3), days) == [1, 2, 3]
    assert haze.nearest(0, (0,), days) == []
