"""EMIT: the swath with wavelengths, bad bands, flags by name, interpolated values, and the way to the ground."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from make_emit import BAD_BANDS, CLOUD, GEOTRANSFORM, bad_pixels, granule
from running import invoke
from small_cube import WAVELENGTHS, clean_cube

import ngr_geo
from ngr_geo import InputError


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_a_granule_is_a_cube_with_all_that_is_known_of_it(tmp_path: Path, version: int, lazy: bool) -> None:
    granules = ngr_geo.open(granule(tmp_path, version), lazy=lazy)
    assert isinstance(granules, xr.Dataset)
    cube = granules.reflectance
    assert cube.dims == ("band", "y", "x")
    assert bool(dask.is_dask_collection(cube.data)) is lazy
    np.testing.assert_allclose(cube.wavelength, WAVELENGTHS, rtol=1e-6)
    assert np.flatnonzero(cube.good_wavelengths == 0).tolist() == list(BAD_BANDS)
    np.testing.assert_array_equal(cube.bad_pixels.values, bad_pixels())
    assert str(cube.time.values)[:19] == "2023-08-19T10:34:12"
    clouds = granules.cloud_mask.values
    assert clouds[CLOUD].all()
    assert clouds.sum() == clouds[CLOUD].size
    assert abs(float(cube.latitude[0, 0]) - (GEOTRANSFORM[3] + GEOTRANSFORM[5] * 64.5)) < 1e-9


def test_a_verb_takes_the_dataset_and_the_result_goes_to_the_ground(tmp_path: Path) -> None:
    granules = ngr_geo.open(granule(tmp_path))
    clean = granules.ngr.inpaint(granules.reflectance.bad_pixels, method="guide", tile=64, overlap=8)
    assert {"reflectance", "glt_x", "glt_y", "cloud_mask"} <= set(clean.data_vars)
    assert clean.ngr.record.dates
    bad = bad_pixels()
    bad[:, 0, 62:] = False
    np.testing.assert_array_equal(clean.filled.values, bad)
    truth = clean_cube() * 0.6
    assert abs(clean.reflectance.values - truth)[bad].mean() < 0.03
    ground = ngr_geo.orthorectify(clean)
    assert ground.rio.crs.to_epsg() == 4326
    assert ground.reflectance.rio.transform()[:6] == pytest.approx((0.0005, 0, 11.5, 0, -0.0005, 46.5))
    np.testing.assert_array_equal(ground.reflectance.values[:, 1:-1, 1:-1], clean.reflectance.values[:, ::-1, ::-1])
    assert (ground.reflectance.values[:, 0] == -9999).all()
    np.testing.assert_array_equal(ground.filled.values[:, 1:-1, 1:-1], clean.filled.values[:, ::-1, ::-1])
    assert not ground.filled.values[:, 0].any()
    np.testing.assert_allclose(ground.latitude[1:-1, 1], ground.y[1:-1])
    np.testing.assert_allclose(ground.wavelength, WAVELENGTHS, rtol=1e-6)
    with pytest.raises(InputError, match="lookup table"):
        ngr_geo.orthorectify(granules.drop_vars("glt_x"))
    with pytest.raises(InputError, match="of this swath"):
        ngr_geo.orthorectify(granules.isel(y=slice(0, 20)))


def test_the_command_line_writes_what_goes_to_the_ground(tmp_path: Path) -> None:
    path, options = granule(tmp_path), ("--method", "guide", "--tile", 64, "--overlap", 8)
    done = invoke("denoise", path, "-o", tmp_path / "clean.nc", *options)
    assert done.exit_code == 0, done.output
    again = ngr_geo.open(tmp_path / "clean.nc")
    assert isinstance(again, xr.Dataset)
    assert ngr_geo.orthorectify(again).rio.crs.to_epsg() == 4326
    tif = invoke("denoise", path, "-o", tmp_path / "clean.tif", *options)
    assert tif.exit_code == 0, tif.output
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(tmp_path / "clean.tif") as file:
        assert (file.count, file.nodata) == (40, -9999)
        assert float(file.tags(1)["wavelength"]) == pytest.approx(WAVELENGTHS[0])


def test_some_bands_and_another_nodata_are_what_comes_back(tmp_path: Path) -> None:
    some = ngr_geo.open(granule(tmp_path), bands=["3", "7"], nodata=-1)
    assert some.reflectance.band.values.tolist() == [3, 7]
    assert some.reflectance.rio.nodata == -1
    assert some.reflectance.bad_pixels.shape == (2, 64, 64)
    assert "glt_x" in some
    with pytest.raises(InputError, match="pixels of one size"):
        ngr_geo.open(granule(tmp_path / "more"), resolution=30)


def test_an_unknown_unit_or_flag_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reflectance in 'percent'"):
        ngr_geo.open(granule(tmp_path, units="percent"))
    alone = granule(tmp_path / "alone")
    next((tmp_path / "alone").glob("*MASK*")).unlink()
    with pytest.warns(UserWarning, match="no file of masks"):
        assert "cloud_mask" not in ngr_geo.open(alone)
