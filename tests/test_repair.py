"""`repair`: the faults of a cube one after the other, each recorded, each left out on request; eager, lazy, in a work folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from running import invoke
from small_cube import clean_cube, raster

from ngr_geo import InputError, MaskError

BANDS, SIDE, LINE = 16, 46, 41
HOW: dict[str, Any] = {"method": "guide", "tile": SIDE, "overlap": 8}


def truth() -> np.ndarray:
    return clean_cube()[:BANDS, :SIDE, :SIDE] * 0.7 + 0.1


def bad_pixels() -> np.ndarray:
    bad = np.zeros((BANDS, SIDE, SIDE), bool)
    bad[3:7, 8:40, 20] = True
    return bad


def faulty() -> xr.DataArray:
    """Bad pixels that are known, a dead column that is not, stripes in half of the bands, and noise."""
    rng = np.random.default_rng(0)
    cube = truth() + rng.normal(0, 0.01, truth().shape)
    cube[::2] += np.where(rng.random(SIDE) < 0.2, rng.normal(0, 0.06, SIDE), 0)[None, None]
    cube[:, :, LINE] = 0.0
    cube = np.where(bad_pixels(), 0.95, cube)
    return raster(cube).assign_coords(bad_pixels=(("band", "y", "x"), bad_pixels()))


def error(found: xr.DataArray) -> float:
    return float(np.sqrt(np.mean((found.values - truth()) ** 2)))


@pytest.fixture(scope="module")
def clean() -> xr.DataArray:
    """The cube without any of its faults."""
    found: xr.DataArray = faulty().ngr.repair(**HOW)
    return found


@pytest.fixture(scope="module")
def some() -> xr.DataArray:
    """The cube without two of its faults."""
    found: xr.DataArray = faulty().ngr.repair(faults=["noise", "bad pixels"], **HOW)
    return found


def test_all_faults_go_in_one_call_and_each_is_recorded(clean: xr.DataArray) -> None:
    cube = faulty()
    steps = json.loads(clean.attrs["ngr_steps"])
    assert [(step["fault"], step["verb"]) for step in steps] == [
        ("bad pixels", "inpaint"),
        ("lines", "fill_deadlines"),
        ("stripes", "destripe"),
        ("noise", "denoise"),
    ]
    assert all(step["dates"][0]["method"] == "guide" for step in steps)
    assert clean.attrs["ngr_verb"] == "repair"
    assert "ngr_before" not in clean.attrs
    filled = bad_pixels()
    filled[:, :, LINE] = True
    np.testing.assert_array_equal(clean.filled.values, filled)
    assert clean.ngr.record.dates[0].filled == pytest.approx(filled.mean(), abs=1e-6)
    assert error(clean) < 0.5 * error(cube)
    assert abs(clean.values - truth())[bad_pixels()].mean() < 0.01
    again = cube.ngr.repeat(clean)
    np.testing.assert_array_equal(again.values, clean.values)


def test_it_is_the_verbs_one_after_the_other(clean: xr.DataArray) -> None:
    cube = faulty()
    by_hand = (
        cube.ngr.inpaint("product", extent="all", **HOW)
        .ngr.fill_deadlines(**HOW)
        .ngr.destripe(**HOW)
        .ngr.denoise(**HOW)
    )
    np.testing.assert_array_equal(clean.values, by_hand.values)


@pytest.mark.parametrize("way", ["lazy", "work", "dataset"])
def test_lazy_in_a_work_folder_and_in_a_dataset_it_is_the_same(some: xr.DataArray, tmp_path: Path, way: str) -> None:
    cube = faulty()
    if way == "dataset":
        whole = xr.Dataset({"reflectance": cube, "elevation": (("y", "x"), np.zeros((SIDE, SIDE)))})
        found = whole.ngr.repair(faults=["noise", "bad pixels"], **HOW)
        assert "elevation" in found
        assert found.attrs["ngr_verb"] == "repair"
        found = found.reflectance
    else:
        work = {"work": tmp_path / "work"} if way == "work" else {}
        found = cube.chunk().ngr.repair(faults=["noise", "bad pixels"], **HOW, **work)
        assert found.chunks
        found = found.compute()
    np.testing.assert_array_equal(found.values, some.values)
    np.testing.assert_array_equal(found.filled.values, some.filled.values)
    steps = json.loads(some.attrs["ngr_steps"])
    assert [step["fault"] for step in steps] == ["bad pixels", "noise"]


def test_without_a_map_bad_pixels_are_left_out_unless_they_are_asked_for() -> None:
    cube = faulty().drop_vars("bad_pixels").isel(band=slice(0, 10))
    steps = json.loads(cube.ngr.repair(["lines"], **HOW).attrs["ngr_steps"])
    assert [step["fault"] for step in steps] == ["lines"]
    with pytest.raises(MaskError, match=r"no coordinate 'bad_pixels'.*ngr_geo\.open"):
        cube.ngr.repair(["bad pixels"], **HOW)
    with pytest.raises(MaskError, match="no coordinate 'bad_pixels'"):
        cube.ngr.inpaint("product", **HOW)
    for wrong in (["clouds"], [], "noise"):
        with pytest.raises(InputError, match="expected some of 'bad pixels', 'lines', 'stripes', 'noise'"):
            cube.ngr.repair(wrong, **HOW)


def test_bad_bands_stay_as_they_are_in_every_step() -> None:
    cube = faulty()
    clean = cube.ngr.repair(bad_bands=[4], **HOW)
    np.testing.assert_array_equal(clean.values[4], cube.values[4])
    assert not clean.filled.values[4].any()


def test_lines_may_be_those_that_the_product_ships() -> None:
    cube = faulty()
    whole = cube.ngr.fill_deadlines("product", **HOW)
    np.testing.assert_array_equal(whole.filled.values, bad_pixels())
    assert abs(whole.values - truth())[bad_pixels()].mean() < 0.05


def test_the_command_line_repairs_a_file(clean: xr.DataArray, tmp_path: Path) -> None:
    path = tmp_path / "cube.nc"
    faulty().to_netcdf(path)
    options = ("--method", "guide", "--tile", SIDE, "--overlap", 8)
    done = invoke("repair", path, "-o", tmp_path / "clean.tif", *options, "--report", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "clean.tif") as file:
        np.testing.assert_allclose(file.read(), clean, atol=1e-6)
        assert json.loads(file.tags()["ngr_steps"])[0]["fault"] == "bad pixels"
    assert "Faults of a cube mended" in (tmp_path / "report.html").read_text()
    some = invoke(
        "repair",
        path,
        "-o",
        tmp_path / "some.nc",
        "--faults",
        "bad-pixels,noise",
        "--work",
        tmp_path / "work",
        *options,
    )
    assert some.exit_code == 0, some.output
    assert not (tmp_path / "work").exists()
    wrong = invoke("repair", path, "-o", tmp_path / "no.nc", "--faults", "clouds")
    assert wrong.exit_code == 2
    assert "--faults lines,noise" in wrong.output
