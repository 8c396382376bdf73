"""PRISMA: two cubes become one, its bands sorted; errors are bad pixels; the grid of Level 2D is where the corners say."""

from __future__ import annotations

import sys
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from make_prisma import CLOUD, LEFT, TOP, bad_pixels, order, product
from running import invoke
from small_cube import WAVELENGTHS, clean_cube

import ngr_geo
from ngr_geo import InputError


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("level", ["1", "2C", "2D"])
def test_a_file_is_one_cube_with_all_that_is_known_of_it(tmp_path: Path, level: str, lazy: bool) -> None:
    cube = ngr_geo.open(product(tmp_path, level), lazy=lazy)
    assert isinstance(cube, xr.DataArray)
    assert bool(dask.is_dask_collection(cube.data)) is lazy
    assert cube.dims == ("band", "y", "x")
    np.testing.assert_allclose(cube.wavelength, WAVELENGTHS[order()])
    assert cube.band.values[0] == "VNIR14"  # the shortest wave is last in the file
    np.testing.assert_array_equal(cube.bad_pixels.values, bad_pixels()[order()])
    scaled = cube.values * cube.attrs["scale_factor"] + cube.attrs.get("add_offset", 0) * 1.0
    truth = (clean_cube() * 0.6 + 0.05)[order()] * (100 if level == "1" else 1)
    good = ~bad_pixels()[order()]
    good[:, 0, :2] = False
    assert abs(scaled - truth)[good].max() < truth.max() * 1e-3
    assert cube.rio.nodata == (None if level == "1" else 0)
    if level == "1":
        assert cube.cloud_mask.values[CLOUD].all()
        assert not cube.sunglint_mask.values.any()
    assert str(cube.time.values)[:19] == "2023-08-19T10:10:10"
    if level == "2D":
        assert cube.rio.crs.to_epsg() == 32633
        assert tuple(cube.rio.transform())[:6] == (30, 0, LEFT, 0, -30, TOP)
        assert (float(cube.x[0]), float(cube.y[0])) == (LEFT + 15, TOP - 15)
    else:
        assert cube.rio.crs is None
        assert cube.latitude.shape == cube.shape[1:]


def test_corners_may_be_edges_and_must_fit(tmp_path: Path) -> None:
    edges = ngr_geo.open(product(tmp_path, centres=False))
    assert tuple(edges.rio.transform())[:6] == (30, 0, LEFT, 0, -30, TOP)
    import h5py

    with h5py.File(product(tmp_path), "r+") as file:
        file.attrs["Product_LRcorner_easting"] = LEFT + 700.0
    with pytest.raises(InputError, match="do not fit"):
        ngr_geo.open(next(tmp_path.glob("*.he5")))


def test_bad_pixels_go_and_the_file_is_a_geotiff_like_it(tmp_path: Path) -> None:
    path = product(tmp_path)
    options = ("--method", "guide", "--tile", 64, "--overlap", 8)
    done = invoke("inpaint", path, "--missing", "product", "-o", tmp_path / "out.tif", *options)
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.crs.to_epsg(), tuple(file.transform)[:6]) == (32633, (30, 0, LEFT, 0, -30, TOP))
        assert (file.nodata, file.dtypes[0]) == (0, "uint16")
        found = file.read() * file.scales[0] + file.offsets[0]
        assert float(file.tags(1)["wavelength"]) == pytest.approx(WAVELENGTHS[0], abs=1e-2)
    bad = bad_pixels()[order()]
    bad[:, 0, :2] = False
    assert abs(found - (clean_cube() * 0.6 + 0.05)[order()])[bad].mean() < 0.02
    with rasterio.open(tmp_path / "out_filled.tif") as file:
        np.testing.assert_array_equal(file.read().astype(bool), bad)


def test_without_its_package_an_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = product(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"ngr_geo\[products\]"):
        ngr_geo.open(path)
