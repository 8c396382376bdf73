"""EnMAP: bands from the metadata, defective pixels, masks; folders and archives; Level 1B by detector."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
import xarray as xr
from make_enmap import CLOUD, GAIN, TRANSFORM, VNIR, bad_pixels, scene, zipped
from running import invoke
from small_cube import WAVELENGTHS, clean_cube

import ngr_geo
from ngr_geo import InputError


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("form", ["folder", "zip", "xml"])
def test_a_scene_is_a_cube_with_all_that_is_known_of_it(tmp_path: Path, form: str, lazy: bool) -> None:
    folder = scene(tmp_path)
    path = {"folder": folder, "zip": zipped(folder), "xml": next(folder.glob("*METADATA.XML"))}[form]
    cube = ngr_geo.open(path, lazy=lazy)
    assert isinstance(cube, xr.DataArray)
    assert bool(dask.is_dask_collection(cube.data)) is lazy
    assert cube.dims == ("band", "y", "x")
    assert str(cube.time.values)[:16] == "2023-08-19T10:24"
    np.testing.assert_allclose(cube.wavelength, WAVELENGTHS, atol=1e-2)
    assert cube.fwhm.values.tolist() == [8.5] * 40
    assert (cube.attrs["scale_factor"], cube.rio.nodata, cube.dtype) == (GAIN, -32768, np.int16)
    assert (cube.rio.crs.to_epsg(), cube.rio.transform()) == (32633, TRANSFORM)
    np.testing.assert_array_equal(cube.bad_pixels.values, bad_pixels())
    clouds = cube.cloud_mask.values
    assert clouds[CLOUD].all()
    assert clouds.sum() == clouds[CLOUD].size


def test_the_command_line_fills_bad_pixels_in_a_work_folder_as_python_does(tmp_path: Path) -> None:
    folder, options = scene(tmp_path), ("--method", "guide", "--tile", 64, "--overlap", 8, "--work", tmp_path / "work")
    done = invoke("inpaint", folder, "--missing", "product", "-o", tmp_path / "out.tif", *options)
    assert done.exit_code == 0, done.output
    filled = ngr_geo.open(folder).ngr.inpaint("product", method="guide", tile=64, overlap=8)
    with rasterio.open(tmp_path / "out.tif") as file:
        np.testing.assert_array_equal(file.read(), filled.values)
        assert (file.scales[0], file.nodata, file.transform) == (GAIN, -32768, TRANSFORM)
        assert file.tags(1)["wavelength"] == f"{WAVELENGTHS[0]:g}"
        found = file.read() * GAIN
    bad = bad_pixels()
    bad[:, 0, 62:] = False
    assert abs(found - clean_cube() * 0.6)[bad].mean() < 0.02
    np.testing.assert_array_equal(filled.filled.values, bad)


def test_detectors_of_level_1b_are_opened_one_by_one(tmp_path: Path) -> None:
    folder = scene(tmp_path, "1B")
    with pytest.raises(InputError, match=r"not registered .*_SWIR\.TIF or .*_VNIR\.TIF"):
        ngr_geo.open(folder)
    vnir, swir = (ngr_geo.open(next(folder.glob(f"*SPECTRAL_IMAGE_{part}.TIF"))) for part in ("VNIR", "SWIR"))
    np.testing.assert_allclose(vnir.wavelength, WAVELENGTHS[:VNIR], atol=1e-2)
    np.testing.assert_allclose(swir.wavelength, WAVELENGTHS[VNIR:], atol=1e-2)
    np.testing.assert_array_equal(swir.bad_pixels.values, bad_pixels()[VNIR:])
    assert "cloud_mask" in vnir.coords
    assert "cloud_mask" not in swir.coords
    assert isinstance(ngr_geo.open(scene(tmp_path / "c", "1C")), xr.DataArray)


def test_what_is_not_documented_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="values 7, which are not documented"):
        ngr_geo.open(scene(tmp_path, codes=(1, 7)))
    folder = scene(tmp_path / "other")
    path = next(folder.glob("*METADATA.XML"))
    path.write_text(
        path.read_text().replace('<bandID number="3">', '<other number="3">').replace("</bandID>", "</other>", 0)
    )
    with pytest.raises(InputError, match=r"cannot be read|describes"):
        ngr_geo.open(folder)
