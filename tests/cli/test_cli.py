"""The command line: runs on real files, as a user would type them."""

import json
import logging
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from rasterio.rio.main import main_group
from running import invoke
from small_stack import BANDS, hidden_files, pixels, rewrite, write_crops, write_masks

import ngr_geo
from ngr_geo.cli import console, main
from ngr_geo.io import rasters, read_stack

QUICK = ("--method", "guide", "--seed", "1")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that expands patterns")
def test_decloud_as_written_in_the_readme(folder: Path, tmp_path: Path) -> None:
    """Expanded by the shell: GeoTIFFs under the same names, observed pixels bit for bit, filled ones marked."""
    command = f"{sys.executable} -m ngr_geo decloud in/S2_*.tif --clouds in/SCL_*.tif -o OUT/ --method guide --dilate 0 --no-refine"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    files = sorted(folder.glob("S2_*.tif"))
    copies = [tmp_path / "OUT" / file.name for file in files]
    before, after = pixels(files), pixels(copies)
    cloud = np.isin(pixels(sorted(folder.glob("SCL_*.tif"))), (0, 1, 3, 8, 9, 10)) | (before == 0).any(1, keepdims=True)
    filled = pixels(sorted((tmp_path / "OUT").glob("*_filled.tif")))
    np.testing.assert_array_equal(filled, cloud)
    keep = ~np.broadcast_to(cloud, before.shape)
    assert after[keep].tobytes() == before[keep].tobytes()
    assert (after[~keep] != before[~keep]).mean() > 0.9
    assert (after != 0).all()
    assert re.search(r"2023-08-18 .*guide", done.stdout)
    assert "3 GeoTIFFs in OUT" in done.stdout
    with rasterio.open(copies[0]) as source:
        assert json.loads(source.tags()["ngr_dates"])["date"] == "2023-08-15"
        assert source.tags()["PRODUCT"].startswith("S2A")
    record = ngr_geo.open(copies).ngr.record  # of several files, each with its date
    assert [date.date for date in record.dates] == ["2023-08-15", "2023-08-18", "2023-08-20"]
    assert record.dates[1].filled == pytest.approx(filled[1].mean(), abs=1e-4)


def test_rasterio_knows_the_command() -> None:
    """`rio ngr` is the same; the entry point is there once the package is installed."""
    (plugin,) = entry_points(group="rasterio.rio_plugins", name="ngr")
    assert plugin.load() is main
    result = CliRunner().invoke(main_group, ["ngr", "decloud", "--help"])
    assert result.exit_code == 0, result.output
    assert "--clouds" in result.stdout


def test_quoted_patterns_work_too(folder: Path, tmp_path: Path) -> None:
    """And masks before inputs."""
    masks, files = f"{folder}/SCL_*.tif", f"{folder}/S2_*.tif"
    result = invoke("decloud", "--clouds", masks, files, "-o", tmp_path / "out", "-v", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "progress: guide: done in" in result.stderr  # the log, at the level INFO
    assert "guide: 1 of 2" not in result.stderr
    assert logging.getLogger("ngr_geo").level == logging.NOTSET
    assert "contradict" in invoke("decloud", files, "-o", tmp_path / "out", "-v", "--quiet").stderr
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_the_shell_completes_commands() -> None:
    words = {"_NGR_GEO_COMPLETE": "bash_complete", "COMP_WORDS": "ngr-geo dec", "COMP_CWORD": "1"}
    assert CliRunner().invoke(main, env=words, prog_name="ngr-geo").stdout == "plain,decloud\n"


def test_json_is_all_there_is_on_stdout(folder: Path, tmp_path: Path) -> None:
    """And tells what was done to each date."""
    arguments = ("decloud", f"{folder}/S2_*.tif", "--clouds", f"{folder}/SCL_*.tif", "-o", tmp_path / "out", "--json")
    result = invoke(*arguments, "--quicklook", tmp_path / "look.png", *QUICK)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["command"] == "decloud"
    assert summary["exit_code"] == 0
    assert [Path(path).exists() for path in (*summary["files"], *summary["filled_files"], summary["quicklook"])] == [
        True
    ] * 7
    assert [date["date"] for date in summary["dates"]] == ["2023-08-15", "2023-08-18", "2023-08-20"]
    assert all(0 <= date["filled"] <= 1 and 0 <= date["missing"] <= 1 for date in summary["dates"])
    assert summary["dates"][1]["method"] == "guide"
    assert summary["tiles"]["unsolvable"] == 0
    assert "Wrote" in result.stderr
    moved = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert {"stage": "tiles", "done": 1, "total": 1} in moved
    quiet = invoke(*arguments, "--overwrite", "--quiet", *QUICK)
    assert quiet.exit_code == 0
    assert quiet.stderr == ""
    assert json.loads(quiet.stdout)["files"] == summary["files"]


def test_only_the_dates_asked_for_are_filled(folder: Path, tmp_path: Path) -> None:
    """The others come back as they were, in files of their own, where --all-dates asks for it."""
    arguments = ("decloud", f"{folder}/S2_*.tif", "--clouds", f"{folder}/SCL_*.tif", *QUICK)
    chosen = ("--dates", "2023-08-18", "--bands", "B04,B08")
    result = invoke(*arguments, "-o", tmp_path / "out", *chosen, "--all-dates")
    assert result.exit_code == 0, result.stderr
    before = pixels(sorted(folder.glob("S2_*.tif")))[:, [2, 3]]
    after = pixels(sorted((tmp_path / "out").glob("S2_*[0-9].tif")))
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert (after[1] != before[1]).any()
    wrong = invoke(*arguments, "-o", tmp_path / "new", "--dates", "2023-08-19")
    assert wrong.exit_code == console.BAD_INPUT
    assert "2023-08-19" in wrong.stderr
    assert not (tmp_path / "new").exists()


def test_classes_and_dilation_are_the_users(folder: Path, tmp_path: Path) -> None:
    """What is filled is what was called cloud."""
    masks = pixels(sorted(folder.glob("SCL_*.tif")))
    result = invoke(
        *("decloud", f"{folder}/S2_*.tif", "--clouds", f"{folder}/SCL_*.tif", "-o", tmp_path / "out"),
        *("--classes", "8,9", "--classes", "10", "--dilate", "0", *QUICK),
    )
    assert result.exit_code == 0, result.stderr
    filled = pixels(sorted((tmp_path / "out").glob("*_filled.tif")))
    nodata = (pixels(sorted(folder.glob("S2_*.tif"))) == 0).any(1, keepdims=True)
    np.testing.assert_array_equal(filled, np.isin(masks, (8, 9, 10)) | nodata)
    assert invoke("decloud", "x.tif", "-o", "y", "--classes", "high").exit_code == console.BAD_INPUT


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_netcdf_and_zarr_in_and_out(folder: Path, tmp_path: Path, kind: str) -> None:
    """`ngr-geo decloud cube.nc --clouds SCL -o clear.nc`, and to GeoTIFFs."""
    files = read_stack(f"{folder}/S2_*.tif", f"{folder}/SCL_*.tif")
    cube = files.raster.to_dataset("band").rio.write_crs(files.raster.rio.crs).assign(SCL=files.clouds)
    for band in BANDS:
        cube[band].attrs["_FillValue"] = np.uint16(0)
    path = tmp_path / f"cube.{kind}"
    cube.to_netcdf(path) if kind == "nc" else cube.to_zarr(path, zarr_format=2)
    result = invoke("decloud", path, "--clouds", "SCL", "-o", tmp_path / f"clear.{kind}", *QUICK)
    assert result.exit_code == 0, result.stderr
    clear = read_stack(tmp_path / f"clear.{kind}").raster
    np.testing.assert_array_equal(clear.SCL, cube.SCL)
    keep = ~clear.filled
    for band in BANDS:
        np.testing.assert_array_equal(clear[band].values[keep], cube[band].values[keep])
    assert bool(clear.filled[1].any())
    assert clear.attrs["ngr_verb"] == "decloud"
    again = invoke("decloud", path, "-o", tmp_path / "tifs", *QUICK)
    assert again.exit_code == 0, again.stderr
    np.testing.assert_array_equal(
        pixels(sorted((tmp_path / "tifs").glob("*[0-9].tif"))),
        clear[list(BANDS)].to_dataarray("band").values.swapaxes(0, 1),
    )


@pytest.mark.parametrize("out", ["out", "out.nc"])
def test_scenes_too_large_for_memory_give_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """Read, solved and written block by block."""
    arguments = (
        "decloud",
        f"{folder}/S2_*.tif",
        "--clouds",
        f"{folder}/SCL_*.tif",
        "--tile",
        "48",
        "--overlap",
        "8",
        *QUICK,
    )
    assert invoke(*arguments, "-o", tmp_path / "eager" / out).exit_code == 0
    monkeypatch.setattr(rasters, "LARGE", 0)
    result = invoke(*arguments, "-o", tmp_path / "lazy" / out, "--quicklook", tmp_path / "look.png", "--json")
    assert result.exit_code == 0, result.stderr
    assert [round(date["missing"], 2) for date in json.loads(result.stdout)["dates"]]
    assert (tmp_path / "look.png").stat().st_size > 10_000
    if out == "out.nc":
        one, two = (read_stack(tmp_path / kind / out).raster.load() for kind in ("eager", "lazy"))
        for name in (*BANDS, "filled"):
            np.testing.assert_array_equal(one[name], two[name])
    else:
        eager, lazy = (sorted((tmp_path / kind / out).iterdir()) for kind in ("eager", "lazy"))
        for this, that in zip(eager, lazy, strict=True):
            np.testing.assert_array_equal(pixels([this]), pixels([that]))


def test_inpaint_fills_nodata_and_nan(tmp_path: Path) -> None:
    """Without a mask; infinities count as missing."""
    files = write_crops(tmp_path / "in", dtype="float32", nodata=np.nan, predictor=3)
    holes = np.zeros((3, 1, 64, 64), bool)
    for date, file in enumerate(files):
        values = pixels([file])[0]
        values[values == 0] = 1
        values[:, 10:20, 5 + 15 * date : 15 + 15 * date] = (np.nan, np.inf, -np.inf)[date]
        holes[date, :, 10:20, 5 + 15 * date : 15 + 15 * date] = True
        rewrite(file, values)
    result = invoke("inpaint", *files, "-o", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.stderr
    before, after = pixels(files), pixels([tmp_path / "out" / file.name for file in files])
    assert np.isfinite(after).all()
    np.testing.assert_array_equal(pixels(sorted((tmp_path / "out").glob("*_filled.tif"))), holes)
    keep = ~np.broadcast_to(holes, before.shape)
    assert after[keep].tobytes() == before[keep].tobytes()


def test_inpaint_takes_a_mask(tmp_path: Path) -> None:
    """Not 0 means missing, whatever the number; for one scene without a date."""
    scene = write_crops(tmp_path, dates=1)[0]
    scene = rewrite(scene, np.maximum(pixels([scene])[0], 1)).rename(tmp_path / "scene.tif")
    holes = np.zeros((1, 64, 64), np.uint8)
    holes[0, 20:30, 20:30] = 7
    mask = rewrite(write_masks(tmp_path, dates=1)[0], holes, nodata=None).rename(tmp_path / "holes.tif")
    result = invoke("inpaint", scene, "--missing", mask, "-o", tmp_path / "new.tif", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "one date" in result.stderr
    np.testing.assert_array_equal(pixels([tmp_path / "new_filled.tif"])[0] > 0, holes > 0)
    changed = (pixels([tmp_path / "new.tif"]) != pixels([scene])).any((0, 1))
    assert not changed[holes[0] == 0].any()
    assert changed[holes[0] > 0].mean() > 0.5


def test_info_says_what_would_be_done(folder: Path, tmp_path: Path) -> None:
    """In words and as JSON; nothing is written."""
    arguments = ("info", f"{folder}/S2_*.tif", "--clouds", f"{folder}/SCL_*.tif", "--tile", "48", "--overlap", "8")
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    assert "64 x 64 pixels, 3 dates, bands B02, B03, B04, B08" in result.stdout
    assert re.search(r"2023-08-18 +\d+\.\d%", result.stdout)
    assert "memory: about" in result.stdout
    summary = json.loads(invoke(*arguments, "--json").stdout)
    assert summary["tiles"]["total"] == 4
    assert summary["memory"] > 0
    assert summary["seconds"] >= 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert invoke("info", f"{folder}/S2_*.tif").exit_code == 0  # without a mask: what inpaint would do


def test_demo_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample is filled where one stands; a second run says what to do."""
    monkeypatch.chdir(tmp_path)
    result = invoke("demo", "--method", "guide")
    assert result.exit_code == 0, result.stderr
    assert "GeoTIFFs in ngr_geo_demo" in result.stdout
    assert f"Picture: {Path('ngr_geo_demo') / 'before_after.png'}" in result.stdout
    assert (tmp_path / "ngr_geo_demo" / "before_after.png").stat().st_size > 10_000
    assert len(list((tmp_path / "ngr_geo_demo").glob("S2_*.tif"))) >= 6
    assert invoke("demo", "--method", "guide").exit_code == console.BAD_OUTPUT


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_what_cannot_be_filled_is_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazy: bool
) -> None:
    """A corner under cloud on all dates: left as nodata, and told by the exit code."""
    monkeypatch.setattr(rasters, "LARGE", 0 if lazy else rasters.LARGE)
    for mask in folder.glob("SCL_*.tif"):
        codes = np.full((1, 64, 64), 4, np.uint8)
        codes[:, :44, :44] = 9
        rewrite(mask, codes)
    arguments = ("decloud", f"{folder}/S2_*.tif", "--clouds", f"{folder}/SCL_*.tif", "--tile", "32", "--overlap", "4")
    result = invoke(*arguments, "-o", tmp_path / "out", "--json", *QUICK)
    assert result.exit_code == console.PARTLY, result.stderr
    summary = json.loads(result.stdout)
    assert summary["exit_code"] == console.PARTLY
    assert summary["tiles"]["unsolvable"] > 0
    assert "Add clearer dates" in result.stderr
    assert (pixels(sorted((tmp_path / "out").glob("S2_*[0-9].tif")))[:, :, :10, :10] == 0).all()


def test_overwriting_has_to_be_asked_for(folder: Path, tmp_path: Path) -> None:
    """And an input never is, picture or raster."""
    arguments = ("decloud", f"{folder}/S2_*.tif", "--clouds", f"{folder}/SCL_*.tif", *QUICK)
    assert invoke(*arguments, "-o", tmp_path / "out").exit_code == 0
    second = invoke(*arguments, "-o", tmp_path / "out")
    assert second.exit_code == console.BAD_OUTPUT
    assert "--overwrite" in second.stderr
    assert invoke(*arguments, "-o", tmp_path / "out", "--overwrite").exit_code == 0
    before = pixels(sorted(folder.glob("S2_*.tif")))
    picture = ("--quicklook", sorted(folder.glob("SCL_*.tif"))[0])
    for more in (("-o", folder), ("-o", tmp_path / "new", *picture)):
        result = invoke(*arguments, *more, "--overwrite")
        assert result.exit_code == console.BAD_OUTPUT
        assert "input" in result.stderr
    np.testing.assert_array_equal(pixels(sorted(folder.glob("S2_*.tif"))), before)
    assert not (tmp_path / "new").exists()
    assert hidden_files(tmp_path) == []


def test_a_dataset_can_be_inpainted_by_variable(folder: Path, tmp_path: Path) -> None:
    """`ngr-geo inpaint cube.nc --missing gaps -o filled.nc`."""
    files = read_stack(f"{folder}/S2_*.tif")
    cube = files.raster.to_dataset("band").rio.write_crs(files.raster.rio.crs)
    cube["gaps"] = xr.zeros_like(cube.B04, dtype="uint8")
    cube["gaps"][0, 10:20, 10:20] = 1
    cube.to_netcdf(tmp_path / "cube.nc")
    result = invoke("inpaint", tmp_path / "cube.nc", "--missing", "gaps", "-o", tmp_path / "new.nc", *QUICK)
    assert result.exit_code == 0, result.stderr
    new = read_stack(tmp_path / "new.nc").raster
    np.testing.assert_array_equal(new.gaps, cube.gaps)
    np.testing.assert_array_equal(new.filled, cube.gaps == 1)
