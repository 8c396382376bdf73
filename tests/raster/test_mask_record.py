"""A result tells which mask it was made with: where that is from, which codes counted, and by how much it grew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import small_cube
import xarray as xr
from click.testing import CliRunner
from small_stack import write_crops, write_masks

from ngr_geo import sample
from ngr_geo.cli import main
from ngr_geo.raster import masks

SCL = [0, 1, 3, 8, 9, 10]


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return sample("slovenia").isel(time=slice(2, 4), y=slice(0, 48), x=slice(0, 48))


def _told(result: xr.DataArray | xr.Dataset) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.attrs["ngr_mask"])
    return told


def _shares(raster: xr.Dataset, clouds: Any = None, dilate: int | None = None, **keywords: Any) -> list[dict[str, Any]]:
    """What the record says of each date, from the masks themselves."""
    plain = (raster.ngr.cloud_mask(clouds, dilate=d, refine=False, **keywords) for d in (0, dilate))
    before, after = (mask.mean(("y", "x")).values for mask in plain)
    dates = [str(time)[:10] for time in raster.time.values]
    rows = zip(dates, before, after, strict=True)
    return [{"date": d, "masked": round(float(m), 6), "grown": round(float(g), 6)} for d, m, g in rows]


@pytest.mark.parametrize("lazy", [False, True])
def test_what_was_found_is_told_as_what_was_named(stack: xr.Dataset, lazy: bool) -> None:
    raster = stack.chunk(y=24) if lazy else stack
    found = raster.ngr.decloud(method="guide")
    assert _told(found) == _told(raster.ngr.decloud("SCL", method="guide"))
    rule = {"source": "SCL", "rule": "SCL", "classes": SCL, "dilate": 2, "dates": _shares(raster)}
    assert _told(found) == {**rule, "refine": {"on": True}}
    own = raster.ngr.decloud(classes=[8, 9], dilate=4, method="guide")
    shares = _shares(raster, classes=[8, 9], dilate=4)
    rule = {"source": "SCL", "rule": "SCL", "classes": [8, 9], "dilate": 4, "dates": shares}
    assert _told(own) == {**rule, "refine": {"on": False, "why": "its classes were chosen"}}


def test_what_is_told_makes_the_same_mask(stack: xr.Dataset) -> None:
    told = _told(stack.ngr.decloud(method="guide"))
    how = {"classes": told["classes"], "dilate": told["dilate"], "refine": told["refine"]["on"]}
    again = stack.ngr.cloud_mask(told["source"], **how)
    np.testing.assert_array_equal(again, stack.ngr.cloud_mask())


def test_every_kind_of_mask(stack: xr.Dataset) -> None:
    bands = stack.drop_vars("SCL")
    cloud = stack.ngr.cloud_mask()
    codes = cloud.astype("uint16")

    def told(mask: Any) -> dict[str, Any]:
        """What `decloud` writes as `ngr_mask` of such a mask."""
        record: dict[str, Any] = json.loads(json.dumps(masks.with_record(bands, mask, dilate=0).record))
        assert record.pop("dates") == _shares(bands, cloud)
        assert record.pop("dilate") == 0
        return record

    packed = (64 + codes * 2).rename("Fmask")  # bit 6 is the aerosol's level: beyond Fmask's classes, so bits
    assert told((21824 + codes * 456).rename("QA_PIXEL")) == {
        "source": "array QA_PIXEL",
        "rule": "QA_PIXEL",
        "bits": [0, 1, 2, 3, 4],
    }
    assert told((codes * 2).rename("Fmask")) == {"source": "array Fmask", "rule": "Fmask", "classes": [2, 4, 255]}
    assert told(packed) == {"source": "array Fmask", "rule": "HLS", "classes": [255], "bits": [1, 2, 3]}
    assert told(packed.rename("HLS"))["rule"] == "HLS"
    assert told((20480 + codes * 32768).rename("BQA"))["fields"] == {"6-7": [2, 3], "12-13": [3], "14-15": [2, 3]}
    percent = (codes * 80).rename("MSK_CLDPRB")
    assert told(percent)["rule"] == "cloud_probability"
    assert told(percent)["probability"] == 0.5
    assert told(codes) == {"source": "array cloud", "rule": "0/1", "classes": [1]}
    assert told(cloud) == {"source": "array cloud", "rule": "boolean"}
    assert told(cloud.values) == {"source": "array", "rule": "boolean"}
    assert _told(bands.ngr.decloud(packed, method="guide"))["rule"] == "HLS"


def test_a_mask_of_ones_own_is_used_as_it_is(stack: xr.Dataset) -> None:
    bands, cloud = stack.drop_vars("SCL"), stack.ngr.cloud_mask()
    assert _told(bands.assign(holes=cloud).ngr.decloud("holes", method="guide"))["dilate"] == 0
    np.testing.assert_array_equal(bands.ngr.cloud_mask(cloud), cloud)
    np.testing.assert_array_equal(bands.ngr.cloud_mask(cloud.astype("uint8")), cloud)
    lazy = _told(bands.chunk(y=24).ngr.decloud(cloud.chunk(y=24), method="guide"))
    assert [row["masked"] for row in lazy["dates"]] == [None, None]  # it is not read before it is used


@pytest.mark.parametrize("lazy", [False, True])
def test_missing_pixels_and_lines(stack: xr.Dataset, lazy: bool) -> None:
    stack = stack.isel(y=slice(0, 32), x=slice(0, 32))
    bands, cloud = stack.drop_vars("SCL"), stack.ngr.cloud_mask()
    seen = (bands.x > bands.x[5]) | (bands.time > bands.time[0])
    bands = bands.where(seen, 0).astype("uint16").transpose("time", "y", "x").assign_attrs(bands.attrs)  # 0 is nodata
    raster = bands.chunk(y=16) if lazy else bands
    assert _told(raster.ngr.inpaint(method="guide")) == {"source": "nodata", "extent": "footprint"}
    assert _told(raster.ngr.inpaint(cloud, method="guide")) == {"source": "array cloud"}
    assert _told(raster.assign(gap=cloud).ngr.inpaint("gap", method="guide")) == {"source": "gap"}
    values = small_cube.clean_cube()[:, :32, :32].copy()
    values[:, :, 20] = 0
    cube = small_cube.raster(values).chunk(y=32) if lazy else small_cube.raster(values)
    dead = xr.zeros_like(cube, dtype=bool).rename("dead")
    dead[:, :, 20] = True
    assert _told(cube.ngr.fill_deadlines(method="guide")) == {"source": "dead lines found"}
    assert _told(cube.ngr.fill_deadlines([20], method="guide")) == {"source": "lines"}
    assert _told(cube.ngr.fill_deadlines(dead, method="guide")) == {"source": "array dead"}
    assert _told(cube.ngr.inpaint(dead, method="guide")) == {"source": "array dead"}


def test_a_verb_without_a_mask_does_not_tell_of_another_ones(stack: xr.Dataset) -> None:
    whole = small_cube.raster(small_cube.clean_cube()).ngr.fill_deadlines([20], method="guide")
    assert "ngr_mask" in whole.attrs
    assert "ngr_mask" not in whole.ngr.denoise(method="guide").attrs


def test_files_tell_it_too(tmp_path: Path) -> None:
    files = [str(p) for p in write_crops(tmp_path / "in")]
    clouds = [str(p) for p in write_masks(tmp_path / "in")]
    command = [
        "decloud",
        *files,
        "--clouds",
        *clouds,
        "--method",
        "guide",
        "-o",
        str(tmp_path / "out"),
        "--dilate",
        "1",
    ]
    assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    holes = ["inpaint", *files, "--method", "guide", "-o", str(tmp_path / "whole.nc")]
    assert CliRunner().invoke(main, holes, catch_exceptions=False).exit_code == 0
    with rasterio.open(next((tmp_path / "out").glob("*[0-9].tif"))) as source:
        tags = source.tags()
    told = json.loads(tags["ngr_mask"])
    rule = {"source": "array SCL", "rule": "SCL", "classes": SCL, "dilate": 1}
    assert [len(told.pop("dates")), told] == [3, {**rule, "refine": {"on": True}}]
    assert json.loads(tags["ngr_masks"]) == [Path(c).name for c in clouds]
    with xr.open_dataset(tmp_path / "whole.nc") as dataset:
        assert _told(dataset) == {"source": "nodata", "extent": "footprint"}
