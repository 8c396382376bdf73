"""HLS and Landsat as folders of band files: found out, with scale, mask and saturation, in Python and on the command line."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from make_bands import CLOUD, CRS, SIDE, TRANSFORM, hls, landsat, reflectance, write
from running import invoke

import ngr_geo
from ngr_geo import InputError

GUIDE = ("--method", "guide", "--no-refine", "--tile", 64, "--overlap", 8)


@pytest.mark.parametrize("lazy", [False, True])
def test_hls_is_found_out_and_decloud_takes_it(tmp_path: Path, lazy: bool) -> None:
    stack = ngr_geo.open(hls(tmp_path / "hls"), lazy=lazy)
    assert list(stack.data_vars) == ["B02", "B03", "B04", "B8A", "HLS_Fmask"]
    assert bool(dask.is_dask_collection(stack.B02.data)) is lazy
    assert stack.sizes == {"time": 3, "y": SIDE, "x": SIDE}
    assert str(stack.time.values[0])[:16] == "2023-08-10T10:05"
    assert (stack.rio.crs.to_string(), stack.rio.transform()) == (CRS, TRANSFORM)
    assert (stack.B02.attrs["scale_factor"], stack.B02.rio.nodata, stack.B02.dtype) == (0.0001, -9999, np.int16)
    mask = stack.ngr.cloud_mask(dilate=0, refine=False).values
    assert mask[1][CLOUD].all()
    assert mask[1].sum() == np.zeros((SIDE, SIDE))[CLOUD].size
    assert mask[2][:, 0].all()
    clear = stack.ngr.decloud(method="guide", refine=False, tile=64, overlap=8)
    truth = reflectance(1)["B02"]
    found = clear.B02.isel(time=1).values * 0.0001
    assert abs(found - truth)[CLOUD].mean() < 0.02 < abs(0.9 - truth)[CLOUD].mean()
    assert (clear.B02.values != -9999).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_landsat_takes_saturated_values_and_scan_line_gaps_for_missing(tmp_path: Path, lazy: bool) -> None:
    stack = ngr_geo.open(landsat(tmp_path / "landsat"), lazy=lazy)
    all_data = ngr_geo.open(tmp_path / "landsat", nodata="none", lazy=lazy)
    assert (all_data.SR_B4.values[1, 30:33, 30:33] == 65_535).all()  # 0 would be a value then
    assert list(stack.data_vars) == ["SR_B2", "SR_B3", "SR_B4", "SR_B5", "ST_B10", "QA_PIXEL"]
    assert (stack.SR_B4.attrs["scale_factor"], stack.SR_B4.attrs["add_offset"]) == (0.0000275, -0.2)
    assert (stack.ST_B10.attrs["scale_factor"], stack.ST_B10.attrs["add_offset"]) == (0.00341802, 149.0)
    saturated = (slice(30, 33), slice(30, 33))
    assert (stack.SR_B4.values[1][saturated] == 0).all()
    assert (stack.SR_B3.values[1][saturated] != 0).all()
    assert (stack.SR_B3.values[1][40:42] == 0).all()
    clear = stack.ngr.decloud(method="guide", refine=False, tile=64, overlap=8)
    found, truth = clear.SR_B4.isel(time=1).values * 0.0000275 - 0.2, reflectance(1)["B04"]
    for place in (CLOUD, saturated, (slice(40, 42), slice(None))):
        assert abs(found - truth)[place].mean() < 0.02
    assert not clear.filled.values[0].any()


def test_the_command_line_takes_the_folder(tmp_path: Path) -> None:
    folder, out = landsat(tmp_path / "landsat"), tmp_path / "out"
    done = invoke("decloud", folder, "-o", f"{out}/", *GUIDE)
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in out.glob("*_T1.tif"))
    assert len(names) == 3
    with rasterio.open(out / names[1]) as file:
        assert file.descriptions == ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "ST_B10")
        assert file.scales[:2] == (0.0000275, 0.0000275)
        assert file.transform == TRANSFORM
        assert (file.read(3) != 0).all()
    again = invoke("decloud", folder, "-o", tmp_path / "out.nc", *GUIDE)
    assert again.exit_code == 0, again.output
    with rasterio.open(out / names[1]) as file:
        kelvin = ngr_geo.open(tmp_path / "out.nc")["ST_B10"]
        assert kelvin.attrs["scale_factor"] == 0.00341802
        np.testing.assert_array_equal(kelvin.values[1], file.read(5))


def test_sensors_with_other_band_numbers_are_not_mixed(tmp_path: Path) -> None:
    hls(tmp_path, "S30", (222, 227))
    hls(tmp_path, "L30", (232,))
    landsat(tmp_path / "two")
    landsat(tmp_path / "two", "LE07", ("20220810", "20220818"))
    for pattern, says in (("HLS*/*.tif", "L30 and S30"), ("two/*.TIF", "LC09 and LE07")):
        with pytest.raises(InputError, match=says):
            ngr_geo.open(sorted(tmp_path.glob(pattern)))


def test_folders_of_both_sensors_go_by_what_bands_measure(tmp_path: Path) -> None:
    hls(tmp_path / "hls", "S30", (222, 227))
    both = ngr_geo.open(hls(tmp_path / "hls", "L30", (232,)))
    assert list(both.data_vars) == ["blue", "green", "nir08", "red", "HLS_Fmask"]
    assert (both.nir08.values[0] == np.rint(reflectance(0)["B08"] * 10_000)).all()
    assert (both.nir08.values[2][:, 1:] == np.rint(reflectance(0)["B08"] * 10_000)[:, 1:]).all()
    landsat(tmp_path / "two")
    old = landsat(tmp_path / "two", "LE07", ("20220810", "20220818"))
    assert set(ngr_geo.open(old).data_vars) == {"blue", "green", "red", "nir08", "QA_PIXEL"}
    red = ngr_geo.open(old).red
    assert (red.values[3][30:33, 30:33] == 0).all()  # saturated in band 4 of Landsat 9, which is red
    assert (red.values[1][30:33, 30:33] != 0).all()  # and in band 4 of Landsat 7, which is near infrared


def test_what_is_not_known_is_an_error_that_lists_what_is(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "something.tif", np.ones((SIDE, SIDE), np.uint8))
    with pytest.raises(InputError, match=r"known \(hls, landsat, .*product='hls'"):
        ngr_geo.open(tmp_path / "folder")
    with pytest.raises(InputError, match=r"does not look like HLS .*looked for a folder"):
        ngr_geo.open(tmp_path / "folder", product="hls")
    with pytest.raises(InputError, match="expected one of hls, landsat"):
        ngr_geo.open(tmp_path / "folder", product="modis")
    done = invoke("inpaint", tmp_path / "folder", "-o", tmp_path / "out.tif")
    assert done.exit_code == 2
    assert "--product hls" in done.output


def test_plain_rasters_open_as_they_always_did(tmp_path: Path) -> None:
    write(tmp_path / "S2_20230810.tif", np.arange(SIDE**2, dtype=np.uint16).reshape(SIDE, SIDE), 0)
    raster = ngr_geo.open(tmp_path / "S2_*.tif")
    assert raster.dims == ("time", "band", "y", "x")
