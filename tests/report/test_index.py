"""The tile index: polygons that cover the raster, in its CRS, with what was done to each."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import xarray as xr
from running import invoke
from small_stack import write_crops, write_masks

import ngr_geo
from ngr_geo import InputError, sample


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return sample("slovenia").isel(time=slice(1, 4), y=slice(0, 90), x=slice(0, 100))


def test_tiles_cover_the_raster_once(stack: xr.Dataset, tmp_path: Path) -> None:
    result = stack.ngr.decloud(method="ngr", steps=3, tile=64, overlap=8, work=tmp_path / "work", uncertainty=True)
    table = stack.ngr.tiles(tmp_path / "work")
    assert table.crs == stack.rio.crs
    left, bottom, right, top = stack.rio.bounds()
    assert table.union_all().bounds == pytest.approx((left, bottom, right, top))
    assert table.area.sum() == pytest.approx((right - left) * (top - bottom))
    share = np.average(table.filled, weights=table.area)
    assert share == pytest.approx(float(result.filled.mean()), abs=1e-6)
    assert set(table.method) == {"ngr"}
    assert set(table.steps) == {3}
    assert (table.seconds > 0).all()
    assert set(table.device) == {"cpu"}
    assert table.worker.str.contains(":").all()
    assert (table.expected_rmse > 0).all()
    assert (table.uncertainty > 0).all()
    assert list(table.tile) == sorted(table.tile)


def test_spectral_tiles_too(tmp_path: Path) -> None:
    noisy = np.random.default_rng(0).normal(1, 0.1, (20, 60, 60)).astype(np.float32)
    cube = xr.DataArray(
        noisy, dims=("band", "y", "x"), coords={"y": np.arange(60)[::-1] * 30.0, "x": np.arange(60) * 30.0}
    )
    cube = cube.rio.write_crs("EPSG:32633")
    cube.ngr.denoise(method="guide", tile=40, overlap=4, work=tmp_path / "work")
    table = cube.ngr.tiles(tmp_path / "work")
    assert len(table) == 4
    assert set(table.method) == {"guide"}
    assert (table.seconds > 0).all()


def test_folders_without_such_a_job_are_clear_errors(stack: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no job"):
        stack.ngr.tiles(tmp_path)
    stack.ngr.decloud(method="guide", work=tmp_path / "work")
    with pytest.raises(InputError, match="raster of shape"):
        stack.isel(x=slice(0, 50)).ngr.tiles(tmp_path / "work")


@pytest.mark.parametrize("name", ["tiles.parquet", "tiles.gpkg"])
def test_the_command_writes_it(tmp_path: Path, name: str) -> None:
    files, clouds = ([str(p) for p in write(tmp_path / "in", size=96)] for write in (write_crops, write_masks))
    command = ["decloud", *files, "--clouds", *clouds, "--method", "guide", "--tile", "40", "--overlap", "6"]
    command += ["-o", str(tmp_path / "out"), "--index", str(tmp_path / name)]
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    read = geopandas.read_parquet if name.endswith("parquet") else geopandas.read_file
    table = read(tmp_path / name)
    assert table.crs.to_epsg() == 32633
    assert len(table) == 16
    assert table.geometry.is_valid.all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", name]
    again = invoke(*command, "--overwrite")
    assert again.exit_code == 0, again.output
    refused = invoke(*command)
    assert refused.exit_code != 0
    assert "already there" in refused.output


def test_a_name_that_is_no_index_is_refused_before_any_work(tmp_path: Path) -> None:
    file = str(next(ngr_geo.sample_path("slovenia").glob("S2_*.tif")))
    done = invoke("inpaint", file, "-o", tmp_path / "o.tif", "--index", tmp_path / "tiles.shp")
    assert done.exit_code == 3
    assert ".parquet, .geoparquet, .gpkg" in done.output
    assert not (tmp_path / "o.tif").exists()
