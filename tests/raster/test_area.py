"""An area of interest: only tiles that touch it are solved, inside the bits are those of a full run, beyond nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from click.testing import CliRunner
from small_cube import clean_cube, raster
from small_stack import pixels, write_crops, write_masks

from ngr_geo import GridError, InputError, sample
from ngr_geo.cli import main
from ngr_geo.raster import aoi
from ngr_geo.raster import cube as cubes

QUICK: dict[str, Any] = {"method": "guide", "tile": 48, "overlap": 4}


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return sample("slovenia").isel(time=slice(1, 4), y=slice(0, 90), x=slice(0, 100))


@pytest.fixture(scope="module")
def full(stack: xr.Dataset) -> xr.Dataset:
    return stack.ngr.decloud(**QUICK)


@pytest.fixture(scope="module")
def field(stack: xr.Dataset) -> geopandas.GeoDataFrame:
    """A triangle in the upper left part of the stack, in its CRS."""
    left, _, _, top = stack.rio.bounds()
    corners = [(left + 660, top - 540), (left + 4020, top - 780), (left + 1200, top - 3900)]
    return geopandas.GeoDataFrame(geometry=[shapely.Polygon(corners)], crs=stack.rio.crs)


def inside_of(stack: xr.Dataset, field: geopandas.GeoDataFrame) -> np.ndarray:
    from rasterio.features import geometry_mask

    shape = stack.sizes["y"], stack.sizes["x"]
    return geometry_mask(field.geometry, shape, stack.rio.transform(), all_touched=True, invert=True)


def assert_same_inside(result: xr.Dataset, full: xr.Dataset, stack: xr.Dataset, inside: np.ndarray) -> None:
    changed = False
    for name in stack.data_vars:
        if name in full and full[name].dtype.kind in "iuf" and "time" in full[name].dims:
            expected = np.where(inside, full[name].values, stack[name].values)
            np.testing.assert_array_equal(result[name].values, expected)
            changed |= bool((expected != stack[name].values).any())
    assert changed
    np.testing.assert_array_equal(result.filled.values, full.filled.values & inside)


@pytest.mark.parametrize("how", ["memory", "lazy", "folder"])
def test_inside_as_a_full_run_and_nothing_beyond(
    stack: xr.Dataset, full: xr.Dataset, field: geopandas.GeoDataFrame, how: str, tmp_path: Path
) -> None:
    given = stack.chunk({"y": 37, "x": 41}) if how == "lazy" else stack
    more = {"work": tmp_path / "work"} if how == "folder" else {}
    result = given.ngr.decloud(**QUICK, aoi=field, **more)
    assert (result.B04.chunks is not None) == (how == "lazy")
    inside = inside_of(stack, field)
    assert_same_inside(result.compute(), full, stack, inside)
    if how != "lazy":
        counts = json.loads(result.attrs["ngr_tiles"])
        assert counts["total"] < json.loads(full.attrs["ngr_tiles"])["total"]
        for row, filled in zip(json.loads(result.attrs["ngr_dates"]), full.filled.values, strict=True):
            assert row["filled"] == pytest.approx(filled[inside].mean(), abs=1e-6)
    if how == "folder":
        table = stack.ngr.tiles(tmp_path / "work")
        assert len(table) == counts["total"]
        assert table.intersects(field.union_all().buffer(600)).all()


def test_any_crs_and_any_form(
    stack: xr.Dataset, full: xr.Dataset, field: geopandas.GeoDataFrame, tmp_path: Path
) -> None:
    near = field.to_crs("EPSG:4326")
    near.to_file(tmp_path / "field.gpkg")
    near.to_file(tmp_path / "field.geojson")
    world = geopandas.GeoDataFrame(geometry=[shapely.box(-180, -80, 180, 80)], crs="EPSG:4326")
    first = stack.ngr.decloud(**QUICK, aoi=near)
    inside = inside_of(stack, field)
    assert (first.filled.values & ~inside).sum() <= 0.01 * inside.sum()  # at most some pixels at a corner
    forms = [near.geometry, json.loads(near.to_json()), str(tmp_path / "field.gpkg"), tmp_path / "field.geojson"]
    xr.testing.assert_identical(stack.ngr.decloud(**QUICK, aoi=forms[-1]).drop_attrs(), first.drop_attrs())
    cube = cubes.read(stack)
    found = [area.mask() for form in (near, *forms) if (area := aoi.read(cube, form)) is not None]
    assert len(found) == 5 and all((mask == found[0]).all() for mask in found)
    assert_same_inside(stack.ngr.decloud(**QUICK, aoi=world), full, stack, np.ones_like(inside))


def test_the_record_tells_the_area_and_repeats(stack: xr.Dataset, field: geopandas.GeoDataFrame) -> None:
    result = stack.ngr.decloud(method="guide", aoi=field)
    told = json.loads(result.attrs["ngr_aoi"])
    assert told["source"] == "GeoDataFrame"
    assert len(told["digest"]) == 16
    with pytest.raises(InputError, match="aoi="):
        stack.ngr.repeat(result)
    xr.testing.assert_equal(stack.ngr.repeat(result, aoi=field), result)
    with pytest.raises(InputError, match="another aoi"):
        stack.ngr.repeat(result, aoi=field.buffer(10))
    again = result.ngr.decloud(method="guide")
    assert "ngr_aoi" not in again.attrs


def test_plan_and_report_are_of_the_area(stack: xr.Dataset, field: geopandas.GeoDataFrame, tmp_path: Path) -> None:
    plan = stack.ngr.plan(tile=48, overlap=4, aoi=field)
    result = stack.ngr.decloud(method="guide", tile=48, overlap=4, aoi=field)
    assert plan.tiles == json.loads(result.attrs["ngr_tiles"])["total"]
    rows = json.loads(result.attrs["ngr_dates"])
    assert plan.missing == pytest.approx([row["missing"] for row in rows], abs=1e-6)
    lazy = stack.chunk({"y": 40, "x": 33}).ngr.plan(tile=48, overlap=4, aoi=field)
    assert (lazy.tiles, lazy.missing) == (plan.tiles, pytest.approx(plan.missing))
    page = tmp_path / "report.html"
    stack.ngr.report(result, page)
    assert "Area of interest" in page.read_text(encoding="utf-8")


def test_spectral_verbs_too(tmp_path: Path) -> None:
    clean = clean_cube()
    noisy = (clean + np.random.default_rng(0).normal(0, 0.05, clean.shape)).astype(np.float32)
    cube = raster(noisy).rio.write_crs("EPSG:32633")
    left, _, _, top = cube.rio.bounds()
    width = abs(float(cube.x[1] - cube.x[0]))
    field = geopandas.GeoSeries([shapely.box(left, top - 20 * width, left + 20 * width, top)], crs=cube.rio.crs)
    size: dict[str, Any] = {"method": "guide", "tile": 40, "overlap": 4}
    full = cube.ngr.denoise(**size)
    result = cube.ngr.denoise(**size, aoi=field, change=True, work=tmp_path / "work")
    lazy = cube.chunk({"y": 30, "x": 30}).ngr.denoise(**size, aoi=field)
    beyond = cube.values.copy()
    beyond[:, :20, :20] = full.values[:, :20, :20]
    np.testing.assert_array_equal(result.values, beyond)
    np.testing.assert_array_equal(lazy.values, beyond)
    assert (result.change.values[:, 20:] == 0).all()
    assert json.loads(result.attrs["ngr_tiles"])["total"] == 1
    column = cube.ngr.fill_deadlines([5], method="guide", aoi=field)
    assert column.filled.values[:20, 5].all()
    assert column.filled.sum() == 20


def test_the_command_line_takes_a_file(tmp_path: Path) -> None:
    images, masks = write_crops(tmp_path), write_masks(tmp_path)
    with rasterio.open(images[0]) as file:
        left, _, _, top = file.bounds
        field = geopandas.GeoSeries([shapely.box(left, top - 3600, left + 3600, top)], crs=file.crs).to_crs("EPSG:4326")
    field.to_file(tmp_path / "field.geojson")
    names = [str(path) for path in images]
    words = ["--clouds", *map(str, masks), "--method", "guide", "--aoi", str(tmp_path / "field.geojson")]
    done = CliRunner().invoke(main, ["decloud", *names, *words, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    written = sorted((tmp_path / "out").glob("*_filled.tif"))
    filled = pixels(written)
    assert filled.any()
    assert not filled[..., 32:, :].any()
    assert not filled[..., :, 32:].any()
    told = CliRunner().invoke(main, ["info", *names, *words[:-2], "--aoi", str(tmp_path / "none.geojson")])
    assert told.exit_code == 2
    assert "no file" in told.output


@pytest.mark.parametrize(
    ("aoi", "error", "text"),
    [
        (geopandas.GeoSeries([shapely.box(0, 0, 1, 1)]), GridError, r"without a CRS.*set_crs"),
        (geopandas.GeoSeries([shapely.box(0, 0, 1, 1)], crs=4326), GridError, "beside the raster"),
        (geopandas.GeoSeries([shapely.Point(14, 46)], crs=4326), InputError, "expected polygons"),
        (geopandas.GeoSeries([], crs=4326), InputError, "Found nothing"),
        ({"type": "Polygon", "coordinates": "here"}, InputError, "no GeoJSON"),
        ("nowhere.gpkg", InputError, "Found no file nowhere.gpkg"),
        (3, InputError, "of type int"),
    ],
)
def test_wrong_areas_are_clear_errors(stack: xr.Dataset, aoi: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        stack.ngr.decloud(aoi=aoi)


def test_a_file_that_holds_no_polygons_and_a_raster_without_crs(
    stack: xr.Dataset, field: geopandas.GeoDataFrame, tmp_path: Path
) -> None:
    (tmp_path / "notes.gpkg").write_text("no polygons here")
    with pytest.raises(InputError, match="no polygons that can be read"):
        stack.ngr.decloud(aoi=tmp_path / "notes.gpkg")
    bare = xr.DataArray(stack.B04.values, dims=("time", "y", "x"))
    with pytest.raises(GridError, match="write_crs"):
        bare.ngr.inpaint(aoi=field)
