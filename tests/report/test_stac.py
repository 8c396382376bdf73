"""STAC items: valid by the schemas, in the right place on Earth, with the record of what was done, and files that are there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
import shapely
import small_cube
import xarray as xr
from affine import Affine
from pystac.validation import JsonSchemaSTACValidator, RegisteredValidator
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from running import invoke
from small_stack import rewrite, write_crops, write_masks

import ngr_geo
from ngr_geo import InputError, OutputError
from ngr_geo.raster.cube import read
from ngr_geo.report import stac

SCHEMAS = Path(__file__).parents[1] / "schemas"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Validate against the schemas that are here, and fetch none."""

    def refuse(self: object, source: object, *more: object, **others: object) -> str:
        raise AssertionError(str(source))

    before = RegisteredValidator.get_validator()
    validator = JsonSchemaSTACValidator()
    for name, address in zip(("processing", "projection"), stac.EXTENSIONS, strict=True):
        schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
        assert schema["$id"] == address
        validator.schema_cache[address] = schema
    pystac.validation.set_validator(validator)
    monkeypatch.setattr(pystac.StacIO.default(), "read_text_from_href", refuse)
    yield
    pystac.validation.set_validator(before)


def _run(*words: str | Path, code: int = 0) -> str:
    done = invoke(*words)
    assert done.exit_code == code, done.output
    return done.output


def _decloud(folder: Path, *more: str, out: str = "out", **profile: Any) -> list[str]:
    """The command on two dates of 48 x 48 pixels, written under `folder`."""
    files = write_crops(folder / "in", 48, 2, **profile)
    clouds = write_masks(folder / "in", 48, 2)
    words = ["decloud", *files, "--clouds", *clouds, "--method", "guide", "-o", folder / out, "--stac", *more]
    return [str(word) for word in words]


def _read(path: Path) -> pystac.Item:
    item = pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8")))
    item.set_self_href(str(path))
    return item


def test_an_item_for_each_geotiff(tmp_path: Path) -> None:
    command = _decloud(tmp_path, "--uncertainty", "--json", "--quicklook", str(tmp_path / "look at me.png"))
    done = invoke(*command)
    summary = json.loads(done.stdout)
    paths = [Path(name) for name in summary["stac_files"]]
    assert paths == sorted((tmp_path / "out").glob("*.stac.json"))
    assert len(paths) == 2
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]
    for path, file, row in zip(paths, summary["files"], summary["dates"], strict=True):
        item = _read(path)
        assert item.validate()
        assert set(item.assets) == {"data", "filled", "uncertainty", "quicklook"}
        for asset in item.assets.values():
            assert asset.href.startswith("./")
            assert Path(str(asset.get_absolute_href())).exists()
        with rasterio.open(file) as source:
            assert item.bbox == pytest.approx(transform_bounds(source.crs, "EPSG:4326", *source.bounds), abs=2e-7)
            assert item.properties["proj:shape"] == list(source.shape)
            assert Affine(*item.properties["proj:transform"]) == source.transform
            assert item.properties["proj:code"] == f"EPSG:{source.crs.to_epsg()}"
            data = item.assets["data"].extra_fields
            assert [band["name"] for band in data["bands"]] == list(source.descriptions)
            assert (data["data_type"], data["nodata"]) == (source.dtypes[0], source.nodata)
        assert str(item.datetime)[:10] == row["date"]
        assert item.properties["ngr:filled"] == row["filled"]
        assert item.properties["ngr:method"] == row["method"]
        assert item.properties["processing:software"] == {"ngr_geo": ngr_geo.__version__}
        assert "processing:datetime" not in item.properties  # the tests ask for reproducible files
        with rasterio.open(str(item.assets["data"].get_absolute_href())) as ours, rasterio.open(file) as theirs:
            np.testing.assert_array_equal(ours.read(), theirs.read())


def test_the_record_is_in_it(tmp_path: Path) -> None:
    """Share filled, expected error, method, seed, mask, settings; and once more in words."""
    _run(*_decloud(tmp_path, "--seed", "3"))
    item = next(i for i in map(_read, (tmp_path / "out").glob("*.stac.json")) if i.properties["ngr:filled"] > 0)
    told = item.properties
    with rasterio.open(str(item.assets["data"].get_absolute_href())) as source:
        tags = source.tags()
    assert told["ngr:mask"] == json.loads(tags["ngr_mask"])
    assert told["ngr:expected"] == json.loads(tags["ngr_dates"])["expected"]
    assert told["ngr:settings"]["seed"] == 3
    assert told["ngr:inputs"] == json.loads(tags["ngr_inputs"])
    assert told["processing:expression"]["expression"]["keywords"] == json.loads(tags["ngr_call"])
    text = told["processing:lineage"]
    for part in (
        "Clouds removed",
        "seed 3",
        "array SCL, classes 0, 1, 3, 8, 9, 10, grown by 2 pixels",
        "expected there: B02",
    ):
        assert part in text
    assert f"{told['ngr:filled']:.1%}" in text


BROKEN: list[tuple[str, Any]] = [
    ("processing:software", "ngr_geo 1"),
    ("processing:level", 3),
    ("processing:lineage", None),
    ("processing:expression", {"format": "ngr_geo"}),
    ("processing:datetime", "yesterday"),
    ("processing:sofware", {}),
    ("proj:shape", [1.5, 2]),
    ("proj:transform", [1, 2, 3, 4, 5, 6, 7]),
    ("proj:code", 32633),
    ("proj:epsg", 32633),
    ("datetime", "18.8.2023"),
]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("valid")
    _run(*_decloud(folder))
    text = next((folder / "out").glob("*.stac.json")).read_text(encoding="utf-8")
    item: dict[str, Any] = json.loads(text)
    return item


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_the_schemas_notice_what_is_wrong(valid: dict[str, Any], name: str, value: Any) -> None:
    pystac.validation.validate_dict(valid)
    broken = {**valid, "properties": {**valid["properties"], name: value}}
    with pytest.raises(pystac.STACValidationError):
        pystac.validation.validate_dict(broken)


def test_one_item_for_all_dates_of_a_netcdf(tmp_path: Path) -> None:
    for name in ("clear.nc", "clear.zarr"):
        _run(*_decloud(tmp_path, out=name))
        item = _read(tmp_path / "clear.stac.json")
        (tmp_path / "clear.stac.json").unlink()
        assert item.validate()
        assert item.datetime is None
        rows = item.properties["ngr:dates"]
        days = [str(item.properties[f"{end}_datetime"])[:10] for end in ("start", "end")]
        assert days == [rows[0]["date"], rows[-1]["date"]]
        assert list(item.assets) == ["data"]
        with xr.open_dataset(
            str(item.assets["data"].get_absolute_href()), mask_and_scale=False, decode_coords="all"
        ) as found:
            assert [band["name"] for band in item.assets["data"].extra_fields["bands"]] == list(read(found).bands)
            assert item.bbox == pytest.approx(
                transform_bounds(found.rio.crs, "EPSG:4326", *found.rio.bounds()), abs=2e-7
            )


def test_by_hand(tmp_path: Path) -> None:
    """Whoever writes the files himself gets the same items."""
    scene = ngr_geo.sample("slovenia").isel(time=slice(2, 4), y=slice(0, 40), x=slice(0, 40))
    result = scene.ngr.decloud(method="guide")
    result.drop_vars("SCL").to_netcdf(tmp_path / "a.nc")
    (item,) = ngr_geo.stac.items(result, tmp_path / "a.nc", quicklook=tmp_path / "a.png")
    assert stac.save([item]) == (tmp_path / "a.stac.json",)
    again = _read(tmp_path / "a.stac.json")
    assert again.validate()
    assert again.to_dict(include_self_link=False) == item.to_dict(include_self_link=False)
    names = [tmp_path / f"{day}.tif" for day in ("one", "two")]
    for number, name in enumerate(names):
        bands = result.drop_vars(["SCL", "filled"]).isel(time=number).to_dataarray("band").rio.write_crs(scene.rio.crs)
        bands.drop_attrs().rio.to_raster(name)
    assert [i.id for i in stac.items(result, names)] == ["one", "two"]
    with pytest.raises(OutputError, match="already there"):
        stac.save([item])
    stac.save([item], overwrite=True)
    with pytest.raises(InputError, match="1 files for 2 dates"):
        stac.items(result, names[:1])
    with pytest.raises(InputError, match="no record"):
        stac.items(scene, names)
    with pytest.raises(InputError, match=r"assign_coords\(time="):
        stac.items(result.drop_vars("time"), tmp_path / "a.nc")


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        _run(*_decloud(tmp_path / name))
        texts.append([p.read_bytes() for p in sorted((tmp_path / name / "out").glob("*.stac.json"))])
    assert texts[0] == texts[1]


def test_when_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    _run(*_decloud(tmp_path))
    item = _read(next((tmp_path / "out").glob("*.stac.json")))
    assert item.validate()
    assert item.properties["processing:datetime"].endswith("Z")


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    """Found before the work: nothing is written."""
    command = _decloud(tmp_path)
    there = tmp_path / "out" / (Path(command[1]).stem + ".stac.json")
    there.parent.mkdir()
    there.write_text("mine")
    assert "already there" in _run(*command, code=3)
    assert [p.name for p in there.parent.iterdir()] == [there.name]
    _run(*command, "--overwrite")
    assert _read(there).validate()


def test_without_a_date_or_pystac_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = write_crops(tmp_path, 48, 1)
    file = file.rename(tmp_path / "scene of June 5 2023.tif")
    rewrite(file)
    out = tmp_path / "out.tif"
    words: list[str | Path] = ["inpaint", file, "--method", "guide", "-o", out, "--stac"]
    with rasterio.open(file, "r+") as target:
        target.update_tags(**dict.fromkeys(target.tags(), ""))
    for verb in ("inpaint", "denoise"):
        text = _run(verb, *words[1:], code=2)
        assert "--date-pattern" in text
        assert "rio edit-info" in text
        assert not out.exists()
    _run(*words, "--date-pattern", "%B %d %Y")
    item = _read(tmp_path / "out.stac.json")
    assert item.validate()
    assert str(item.datetime).startswith("2023-06-05")
    monkeypatch.setitem(sys.modules, "pystac", None)
    assert "ngr_geo[stac]" in _run(*words[:5], tmp_path / "other.tif", "--stac", "--date-pattern", "%B %d %Y", code=2)
    assert not (tmp_path / "other.tif").exists()


def test_a_raster_that_is_solved_in_a_work_folder(tmp_path: Path) -> None:
    _run(*_decloud(tmp_path, "--work", str(tmp_path / "work"), "--cog", "--tile", "32", "--overlap", "8"))
    items = [_read(p) for p in sorted((tmp_path / "out").glob("*.stac.json"))]
    assert len(items) == 2
    assert all(item.validate() for item in items)
    assert {item.assets["data"].media_type for item in items} == {pystac.MediaType.COG}
    assert any(item.properties["ngr:filled"] > 0 for item in items)
    assert not (tmp_path / "work").exists()


def test_spectral_cubes_and_envi(tmp_path: Path) -> None:
    cube = small_cube.raster(small_cube.clean_cube()[:12, :40, :40])
    cube.drop_vars("wavelength").rio.to_raster(tmp_path / "cube_20230818.tif")
    words: list[str | Path] = [tmp_path / "cube_20230818.tif", "--method", "guide", "--stac", "-o"]
    _run("fill-deadlines", *words, tmp_path / "whole.img", "--lines", "5")
    item = _read(tmp_path / "whole.stac.json")
    assert item.validate()
    assert set(item.assets) == {"data", "header", "filled"}
    assert all(Path(str(asset.get_absolute_href())).exists() for asset in item.assets.values())
    assert len(item.assets["data"].extra_fields["bands"]) == 12
    assert item.properties["ngr:mask"] == {"source": "lines"}
    assert "processing:level" not in item.properties
    _run("denoise", *words, tmp_path / "clean.tif")
    assert _read(tmp_path / "clean.stac.json").validate()


def test_names_of_all_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "où est l'été"
    _run(*_decloud(folder, out="out [1] & more"))
    (first, _) = sorted((folder / "out [1] & more").glob("*.stac.json"))
    item = _read(first)
    assert item.validate()
    assert Path(str(item.assets["data"].get_absolute_href())).exists()


def _bounds(transform: Affine, shape: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top = transform.c, transform.f
    return left, top + transform.e * shape[0], left + transform.a * shape[1], top


@pytest.mark.parametrize(
    ("code", "transform"),
    [
        (32633, Affine(10, 0, 4e5, 0, -10, 5e6)),
        (32633, Affine(10, 0, 4e5, 0, 10, 5e6)),  # rows go north
        (3035, Affine(1000, 0, 4e6, 0, -1000, 3e6)),
        (4326, Affine(0.01, 0, 14, 0, -0.01, 46)),
        (32601, Affine(2000, 0, 1e5, 0, -2000, 5e6)),  # over the antimeridian
        (32701, Affine(2000, 0, 1e5, 0, -2000, 8e6)),
        (3413, Affine(5000, 0, -5e5, 0, -5000, 5e5)),  # over the North Pole
        (3031, Affine(5000, 0, -5e5, 0, -5000, 5e5)),
    ],
)
def test_the_footprint_is_where_rasterio_has_it(code: int, transform: Affine) -> None:
    shape = (200, 200)
    geometry, bbox = stac.footprint(CRS.from_epsg(code), transform, shape)
    wanted = transform_bounds(f"EPSG:{code}", "EPSG:4326", *_bounds(transform, shape))
    if transform.e > 0:
        wanted = transform_bounds(f"EPSG:{code}", "EPSG:4326", 4e5, 5e6, 402000, 5002000)
    assert bbox == pytest.approx(wanted, abs=2e-7)
    outline = shapely.geometry.shape(geometry)
    assert outline.is_valid
    assert -180 <= outline.bounds[0] <= outline.bounds[2] <= 180
    crosses = wanted[0] > wanted[2]
    assert (outline.geom_type == "MultiPolygon") == crosses
    rings = outline.geoms if crosses else [outline]
    assert all(ring.exterior.is_ccw for ring in rings)  # RFC 7946
    middle = transform * (100, 100)
    x, y = (v[0] for v in rasterio.warp.transform(f"EPSG:{code}", "EPSG:4326", [middle[0]], [middle[1]]))
    assert outline.covers(shapely.Point(x, y))


def test_a_rotated_grid_is_not_its_box() -> None:
    turned = Affine.translation(4e5, 5e6) * Affine.rotation(30) * Affine.scale(10, -10)
    geometry, bbox = stac.footprint(CRS.from_epsg(32633), turned, (100, 200))
    corners = [turned * corner for corner in ((0, 0), (200, 0), (200, 100), (0, 100))]
    x, y = rasterio.warp.transform("EPSG:32633", "EPSG:4326", *zip(*corners, strict=True))
    outline = shapely.geometry.shape(geometry)
    assert bbox == pytest.approx([min(x), min(y), max(x), max(y)], abs=1e-6)
    assert outline.area == pytest.approx(shapely.Polygon(list(zip(x, y, strict=True))).area, rel=1e-4)
    assert outline.area < 0.75 * shapely.box(*outline.bounds).area


def test_what_is_nowhere_on_earth_is_unlocated(tmp_path: Path) -> None:
    assert stac.footprint(None, Affine.identity(), (5, 5)) == (None, None)
    disk = CRS.from_proj4("+proj=geos +h=35785831 +lon_0=0 +sweep=y")
    assert stac.footprint(disk, Affine(1e5, 0, -5.5e6, 0, -1e5, 5.5e6), (110, 110)) == (None, None)
    cube = small_cube.raster(small_cube.clean_cube()[:12, :30, :30]).drop_vars("spatial_ref")
    result = cube.assign_coords(time=np.datetime64("2023-08-18", "ns")).ngr.fill_deadlines([5], method="guide")
    result.drop_vars(["filled", "wavelength"]).to_netcdf(tmp_path / "a.nc")
    (item,) = stac.items(result, tmp_path / "a.nc")
    assert item.validate()
    assert item.geometry is None
    assert item.properties["proj:code"] is None
