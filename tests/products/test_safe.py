"""Sentinel-2 SAFE: folders and archives, one grid on request, SCL as the mask, the offset of the processing baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rasterio
from make_bands import reflectance
from make_safe import CLOUD, CRS, SIDE, safe, zipped
from running import invoke

import ngr_geo
from ngr_geo import GridError, InputError

GUIDE = ("--method", "guide", "--no-refine", "--tile", 64, "--overlap", 8)
TEN: dict[str, Any] = {"bands": ["B02", "B03", "B04", "B08"], "resolution": 10}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_stack_of_products_goes_through_decloud(tmp_path: Path, form: str) -> None:
    products = [safe(tmp_path, date, cloudy=date == 1) for date in range(3)]
    paths = [zipped(product) for product in products] if form == "zip" else products
    stack = ngr_geo.open(paths, **TEN)
    assert list(stack.data_vars) == ["B02", "B03", "B04", "B08", "SCL"]
    assert stack.sizes == {"time": 3, "y": SIDE, "x": SIDE}
    assert (stack.rio.crs.to_string(), float(stack.x[0]), float(stack.y[0])) == (CRS, 600_005, 5_099_995)
    assert (stack.B02.attrs["scale_factor"], stack.B02.attrs["add_offset"], stack.B02.rio.nodata) == (1e-4, -0.1, 0)
    mask = stack.ngr.cloud_mask(dilate=0, refine=False).values
    assert mask[1][CLOUD].all()
    assert mask[:, :, :2].all()
    assert not mask[0, :, 2:].any()
    clear = stack.ngr.decloud(method="guide", refine=False, tile=64, overlap=8)
    found, truth = clear.B02.isel(time=1).values * 1e-4 - 0.1, reflectance(1)["B02"]
    assert abs(found - truth)[CLOUD].mean() < 0.02
    assert (clear.B02.values[:, :, :2] == 0).all()  # beside the swath of all dates


def test_bands_of_several_sizes_need_a_resolution(tmp_path: Path) -> None:
    product = safe(tmp_path)
    with pytest.raises(GridError, match="resolution"):
        ngr_geo.open(product)
    with pytest.warns(UserWarning, match=r"Brought to pixels of 10 .*B8A"):
        fine = ngr_geo.open(product, resolution="finest")
    assert list(fine.data_vars) == ["B02", "B03", "B04", "B08", "B8A", "SCL"]
    with pytest.warns(UserWarning, match=r"Brought to pixels of 20 .*B08"):
        coarse = ngr_geo.open(product, resolution=20)
    assert coarse.sizes == {"time": 1, "y": SIDE // 2, "x": SIDE // 2}
    assert abs(coarse.B08.values.astype(int) - coarse.B8A.values).max() <= 1  # rounding halves


def test_the_offset_is_that_of_the_baseline(tmp_path: Path) -> None:
    old, new = safe(tmp_path, 0, "03.01"), safe(tmp_path, 1)
    before = ngr_geo.open(old, **TEN)
    assert "add_offset" not in before.B02.attrs
    with pytest.warns(UserWarning, match="baselines are mixed"):
        both = ngr_geo.open([old, new], **TEN)
    assert both.add_offset.values.tolist() == [0, -0.1]
    with pytest.raises(InputError, match="0 of 13 offsets"):
        ngr_geo.open(safe(tmp_path / "broken", without_offsets=True), **TEN)


def test_the_command_line_takes_archives(tmp_path: Path) -> None:
    paths = [zipped(safe(tmp_path, date, cloudy=date == 1)) for date in range(3)]
    options = ("--resolution", 10, "--bands", "B02,B03,B04,B08", *GUIDE)
    done = invoke("decloud", *paths, "-o", f"{tmp_path}/out/", *options)
    assert done.exit_code == 0, done.output
    made = sorted(path for path in (tmp_path / "out").glob("*.tif") if "filled" not in path.name)
    assert len(made) == 3
    with rasterio.open(made[1]) as file:
        assert (file.scales[0], file.offsets[0], file.crs.to_string()) == (1e-4, -0.1, CRS)
        assert abs(file.read(1) * 1e-4 - 0.1 - reflectance(1)["B02"])[CLOUD].mean() < 0.02
