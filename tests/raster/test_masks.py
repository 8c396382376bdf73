"""Masks are decoded, matched to the raster's dates and grid, and grown."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from scipy import ndimage

import ngr_geo
from ngr_geo import GridError, MaskError
from ngr_geo.raster import masks


def codes(values: list[int], name: str) -> xr.DataArray:
    return xr.DataArray(np.array([values], "uint16"), dims=("y", "x"), name=name)


@pytest.mark.parametrize(
    ("name", "values", "bad", "classes"),
    [
        ("SCL", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0], None),
        ("scl_20m", [3, 8, 10], [0, 1, 0], [8]),
        ("QA_PIXEL", [21824, 22280, 23888, 54596, 1], [0, 1, 1, 1, 1], None),
        ("QA_PIXEL", [21824, 22280, 23888], [0, 1, 0], [3]),
        ("Fmask", [0, 1, 2, 3, 4, 255], [0, 0, 1, 0, 1, 1], None),
        ("Fmask", [64, 66, 68, 72, 255], [0, 1, 1, 1, 1], None),
        ("anything", [0, 1, 1], [0, 1, 1], None),
        ("anything", [5, 6, 7], [0, 1, 0], [6]),
    ],
)
def test_codes_are_decoded(name: str, values: list[int], bad: list[int], classes: list[int] | None) -> None:
    found = masks.decode(codes(values, name), classes=classes)
    assert found.dtype == bool
    assert found.values.astype(int).tolist() == [bad]


def test_nan_in_a_mask_is_not_to_be_trusted() -> None:
    floats = codes([4, 8, 4], "SCL").astype("float32")
    floats[0, 2] = np.nan
    assert masks.decode(floats).values.tolist() == [[False, True, True]]


@pytest.mark.parametrize("fill", [np.float32(-3.4e38), np.float32(np.inf), np.float32(-9999)])
def test_declared_nodata_of_a_mask_of_floats_is_not_clear(fill: np.float32) -> None:
    """Also a number that no code can be."""
    codes = np.array([[4, 8], [fill, 5]], np.float32)
    mask = xr.DataArray(codes, dims=("y", "x"), name="SCL", attrs={"_FillValue": fill})
    np.testing.assert_array_equal(masks.decode(mask), [[False, True], [True, False]])


def test_growing_is_a_disk_on_each_date() -> None:
    mask = np.zeros((2, 21, 21), bool)
    mask[0, 10, 10] = True
    data = xr.DataArray(mask, dims=("time", "y", "x"))
    grown = masks.grow(data, 3).values
    yy, xx = np.mgrid[-10:11, -10:11]
    np.testing.assert_array_equal(grown[0], np.hypot(yy, xx) <= 3)
    assert not grown[1].any()
    np.testing.assert_array_equal(masks.grow(data.chunk(y=5, x=4), 3).compute().values, grown)
    np.testing.assert_array_equal(masks.grow(data.transpose("x", "time", "y"), 3).transpose("time", "y", "x"), grown)


def test_default_growth_is_sixty_metres() -> None:
    sizes = ((120, 120), (60, 60), (30, 30), (20, 20), (10, 10), (5, 20), None)
    assert [masks.default_dilation(p) for p in sizes] == [2, 2, 2, 3, 6, 6, 2]


def test_the_sample_is_masked() -> None:
    sample = ngr_geo.sample()
    mask = sample.ngr.cloud_mask(dilate=0, refine=False)
    assert mask.dims == ("time", "y", "x")
    expected = np.isin(sample.SCL.values, [0, 1, 3, 8, 9, 10])
    np.testing.assert_array_equal(mask.values, expected)
    grown = sample.ngr.cloud_mask("SCL", dilate=2, refine=False).values
    disk = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    np.testing.assert_array_equal(grown[0], ndimage.binary_dilation(expected[0], disk))
    turned = sample.transpose("x", "y", "time").ngr.cloud_mask(dilate=2, refine=False)
    np.testing.assert_array_equal(turned.values, grown)


def test_a_coarse_mask_is_taken_from_the_nearest_pixel() -> None:
    sample = ngr_geo.sample()
    coarse = sample.SCL.isel(y=slice(0, None, 2), x=slice(0, None, 2))
    coarse = coarse.assign_coords(y=coarse.y - 60, x=coarse.x + 60)  # centres of 2 x 2 blocks
    fine = masks.align(masks.decode(coarse), sample)
    assert fine.sizes == sample.SCL.sizes
    block = masks.decode(coarse).values
    np.testing.assert_array_equal(fine.values, block.repeat(2, 1).repeat(2, 2))


def test_another_crs_is_reprojected_by_nearest() -> None:
    sample = ngr_geo.sample()
    wide = masks.decode(sample.SCL).astype("uint8").rio.write_crs(32633).rio.reproject("EPSG:3035", nodata=255)
    inner = sample.isel(x=slice(60, 180), y=slice(60, 180))
    found = masks.align(masks.decode(wide.rename("SCL"), classes=[1]), inner)
    truth = masks.decode(inner.SCL)
    assert (found.values == truth.values).mean() > 0.93  # rims move by up to a pixel
    with pytest.raises(GridError, match="does not cover"):
        masks.align(masks.decode(wide.isel(x=slice(0, 90)).rename("SCL"), classes=[1]), sample)


def test_masks_are_matched_by_time() -> None:
    sample = ngr_geo.sample()
    shuffled = sample.SCL.isel(time=[3, 0, 4, 2, 1])
    later = shuffled.assign_coords(time=shuffled.time + np.timedelta64(10, "h"))
    for mask in (shuffled, later):
        np.testing.assert_array_equal(masks.align(masks.decode(mask), sample).values, masks.decode(sample.SCL).values)


def _no_time(sample: xr.Dataset) -> Any:
    return sample.SCL.isel(time=0, drop=True)


@pytest.mark.parametrize(
    ("clouds", "error", "says"),
    [
        (lambda s: "CLM", MaskError, "'CLM'"),
        (lambda s: s.SCL.isel(time=slice(0, 3)), MaskError, "no mask for 2023-08-18, 2023-08-20"),
        (lambda s: s.SCL.isel(x=slice(0, 100)), GridError, "covers"),
        (lambda s: s.SCL.assign_coords(x=s.x + 1e6), GridError, "covers"),
        (lambda s: s.SCL.rename("class"), MaskError, "rename"),
        (lambda s: s.SCL.astype("complex64"), MaskError, "complex64"),
        (_no_time, MaskError, "expand_dims"),
        (lambda s: np.zeros((5, 3, 3), bool), MaskError, "shape"),
        (lambda s: s.SCL.isel(time=[0, 0, 1, 2, 3]), MaskError, "no mask for 2023-08-20"),
        (lambda s: xr.concat([s.SCL] * 2, "band").rename("SCL"), MaskError, "isel"),
        (lambda s: s.SCL.drop_vars("x").isel(x=slice(0, 9)), GridError, "without coordinates"),
    ],
)
def test_a_mask_that_does_not_fit_is_a_clear_error(clouds: Any, error: type[Exception], says: str) -> None:
    sample = ngr_geo.sample()
    with pytest.raises(error, match=says):
        sample.ngr.cloud_mask(clouds(sample))


def test_no_mask_at_all_names_what_was_searched() -> None:
    sample = ngr_geo.sample().drop_vars("SCL")
    with pytest.raises(MaskError, match=r"SCL, QA_PIXEL.*B02"):
        sample.ngr.cloud_mask()
    with pytest.raises(MaskError, match="DataArray"):
        sample.to_dataarray("band").ngr.cloud_mask()


def test_a_lazy_boolean_mask_and_pixels_are_not_computed() -> None:
    def boom(block: np.ndarray) -> np.ndarray:
        raise AssertionError

    def refused(values: np.ndarray) -> da.Array:
        meta = np.zeros((0, 0, 0), values.dtype)
        return da.from_array(values, chunks=(1, 100, 100)).map_blocks(boom, dtype=values.dtype, meta=meta)

    sample = ngr_geo.sample()
    own = sample.SCL.copy(data=refused(sample.SCL.values > 7))
    assert isinstance(sample.ngr.cloud_mask(own).data, da.Array)
    lazy = sample.assign({b: sample[b].copy(data=refused(sample[b].values)) for b in ("B02", "B03", "B04", "B08")})
    lazy["SCL"] = lazy.SCL.chunk(y=100)
    plain = lazy.ngr.cloud_mask(refine=False)
    np.testing.assert_array_equal(plain, sample.ngr.cloud_mask(refine=False))
    assert isinstance(lazy.ngr.cloud_mask().data, da.Array)
    assert lazy.ngr.decloud(method="guide").B02.chunks
