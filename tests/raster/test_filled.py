"""`filled` is cumulative, a user's own variables are never replaced, and the record of an earlier verb goes with its values."""

from __future__ import annotations

import json
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from click.testing import CliRunner

from ngr_geo import InputError, record, sample
from ngr_geo.cli import main

VERBS = ("decloud", "inpaint", "denoise", "destripe", "fill_deadlines")
LAYERED = {"uncertainty": True}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*there is little spectral redundancy:UserWarning"),
    pytest.mark.filterwarnings("ignore:There is only one date:UserWarning"),
]


def stack(bands: int = 8, size: int = 24) -> xr.DataArray:
    """Two dates of smooth bands with a little noise, and a gap that is missing on the first date."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size] / size
    scene = np.stack([2 + np.sin(3 * rows + b / 3) + np.cos(4 * columns) for b in range(bands)])
    values = np.stack([scene, scene * 1.1]) + rng.normal(0, 0.02, (2, bands, size, size))
    values[0, :, 4:9, 4:9] = np.nan
    coords = {
        "time": np.array(["2023-08-10", "2023-08-13"], "datetime64[ns]"),
        "band": [f"B{b}" for b in range(bands)],
        "y": 5_000_000 - 30.0 * np.arange(size),
        "x": 400_000 + 30.0 * np.arange(size),
    }
    made = xr.DataArray(values.astype("float32"), dims=("time", "band", "y", "x"), coords=coords, name="reflectance")
    return made.rio.write_crs("EPSG:32633")


def dataset(**keywords: Any) -> xr.Dataset:
    made = stack(**keywords).to_dataset("band")
    assert isinstance(made, xr.Dataset)
    return made


def call(raster: Any, verb: str, **keywords: Any) -> Any:
    """A verb on a small raster, with something for it to do."""
    chosen: dict[str, dict[str, Any]] = {
        "decloud": {"clouds": area_of(raster, slice(12, 16)), "dilate": 0},
        "inpaint": {"missing": area_of(raster, slice(18, 21))},
        "denoise": {"noise": "gaussian"},
        "destripe": {"direction": "columns"},
        "fill_deadlines": {"lines": [2]},
    }
    return getattr(raster.ngr, verb)(**chosen[verb], **keywords, method="guide")


def area_of(raster: Any, rows: slice) -> xr.DataArray:
    mask = np.zeros((2, raster.sizes["y"], raster.sizes["x"]), bool)
    mask[1, rows, 6:10] = True
    return xr.DataArray(mask, dims=("time", "y", "x"))


def expected_filled(verb: str) -> np.ndarray:
    """What a verb fills of `stack()`, (time, y, x)."""
    made = stack()
    found = np.zeros((2, 24, 24), bool)
    if verb == "decloud":
        found = area_of(made, slice(12, 16)).values.copy()
        found[0, 4:9, 4:9] = True
    elif verb == "inpaint":
        found = area_of(made, slice(18, 21)).values.copy()
    elif verb == "fill_deadlines":
        found[:, :, 2] = True
    return found


def in_space(result: Any) -> np.ndarray:
    filled = result.filled
    filled = filled.any("band") if "band" in filled.dims else filled
    return np.asarray(filled.transpose("time", "y", "x").values)


@pytest.mark.parametrize("lazy", [False, True])
def test_no_record_of_an_earlier_verb_survives_and_filled_is_cumulative(lazy: bool) -> None:
    raster = stack(bands=3, size=24)
    layers = {verb: LAYERED | ({"change": True} if verb in ("denoise", "destripe") else {}) for verb in VERBS}
    first = {verb: call(raster.chunk(y=12) if lazy else raster, verb, **layers[verb]).compute() for verb in VERBS}
    first = {verb: made.chunk(y=12) if lazy else made for verb, made in first.items()}
    alone = {verb: call(raster.chunk(y=12) if lazy else raster, verb) for verb in VERBS}
    for one, two in product(VERBS, VERBS):
        both = call(first[one], two)
        own = alone[two]
        history = json.loads(both.attrs["ngr_before"])
        assert [step["verb"] for step in history] == [one], (one, two)
        assert history[0]["call"]["method"] == "guide"
        noted = {key for key in both.attrs if key.startswith("ngr_")} - {"ngr_before"}
        assert noted == {key for key in own.attrs if key.startswith("ngr_")}, (one, two)
        assert set(both.coords) == set(own.coords), (one, two)
        assert both.attrs["ngr_verb"] == two
        if not lazy or "decloud" in (one, two):
            wanted = expected_filled(one) | expected_filled(two)
            np.testing.assert_array_equal(in_space(both), wanted, err_msg=f"{one}, {two}")


def test_three_verbs_tell_of_all_three() -> None:
    result = call(call(call(stack(bands=3), "decloud"), "destripe"), "fill_deadlines")
    assert [step["verb"] for step in json.loads(result.attrs["ngr_before"])] == ["decloud", "destripe"]
    np.testing.assert_array_equal(in_space(result), expected_filled("decloud") | expected_filled("fill_deadlines"))


def test_filled_per_band_and_filled_for_all_bands_are_joined() -> None:
    raster = stack()
    raster[1, 3, 20, 20] = np.nan
    one = raster.ngr.inpaint(method="guide")
    assert one.filled.dims == ("time", "band", "y", "x")
    two = call(one, "decloud")
    whole = call(stack(), "decloud").filled.expand_dims(band=8, axis=1).values
    np.testing.assert_array_equal(two.filled.values, one.filled.values | whole)
    lazy = call(one.chunk(x=10), "decloud")
    np.testing.assert_array_equal(lazy.filled.values, two.filled.values)


def test_filled_is_cumulative_in_a_work_folder(tmp_path: Path) -> None:
    first = call(stack(bands=3), "decloud", work=tmp_path / "one")
    for kind, raster in (("eager", first), ("lazy", first.chunk(y=12))):
        for verb in ("inpaint", "fill_deadlines"):
            result = call(raster, verb, work=tmp_path / f"{kind}-{verb}")
            np.testing.assert_array_equal(in_space(result), expected_filled("decloud") | expected_filled(verb))


def test_the_uncertainty_of_what_an_earlier_verb_filled_is_unknown_and_not_zero() -> None:
    second = call(call(stack(), "decloud"), "inpaint", uncertainty=True)
    earlier = expected_filled("decloud")[:, None] & np.ones((1, 8, 1, 1), bool)
    now = expected_filled("inpaint")[:, None] & np.ones((1, 8, 1, 1), bool)
    assert np.isnan(second.uncertainty.values[earlier & ~now]).all()
    assert (second.uncertainty.values[~earlier & ~now] == 0).all()


@pytest.mark.parametrize("kind", ["coordinate", "variable"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_users_own_filled_is_never_replaced(kind: str, verb: str) -> None:
    raster = dataset(bands=3)
    values = (("y", "x"), np.arange(24 * 24.0).reshape(24, 24))
    mine = raster.assign_coords(filled=values) if kind == "coordinate" else raster.assign(filled=values)
    with pytest.raises(InputError, match=r"'filled'.*raster\.rename\(\{'filled': 'my_filled'\}\)") as error:
        call(mine, verb)
    assert "ncrename -v filled,my_filled" in error.value.on_command_line
    if verb == "decloud" and kind == "coordinate":
        renamed = call(mine.rename(filled="my_filled"), verb)
        np.testing.assert_array_equal(renamed.my_filled.values, values[1])


def test_a_users_own_layer_is_never_replaced() -> None:
    values = (("y", "x"), np.zeros((24, 24)))
    raster = dataset().assign_coords(B3_uncertainty=values)
    assert "B3_uncertainty" in call(raster, "decloud").coords
    with pytest.raises(InputError, match="'B3_uncertainty'"):
        call(raster, "decloud", uncertainty=True)
    array = stack().assign_coords(change=values)
    assert "change" in call(array, "denoise").coords
    with pytest.raises(InputError, match="'change'"):
        call(array, "denoise", change=True)
    with pytest.raises(InputError, match=r"rename\('my_filled'\)"):
        call(stack().rename("filled"), "denoise")
    boolean = stack().assign_coords(filled=(("y", "x"), np.zeros((24, 24), bool)))
    with pytest.raises(InputError, match="no verb of ngr_geo wrote"):
        call(boolean, "inpaint")


def test_layers_without_their_mark_are_known_by_the_record_of_the_raster() -> None:
    old = call(stack(), "decloud", uncertainty=True)
    del old.filled.attrs[record.CONTENT], old.uncertainty.attrs[record.CONTENT]
    again = call(old, "inpaint")
    np.testing.assert_array_equal(in_space(again), expected_filled("decloud") | expected_filled("inpaint"))
    assert "uncertainty" not in again.coords


def test_a_result_that_lost_its_filled_is_warned_of() -> None:
    bare = call(stack(), "decloud").drop_vars("filled")
    with pytest.warns(UserWarning, match="'filled' is gone"):
        call(bare, "inpaint")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*spectral redundancy")
        call(call(stack(), "destripe").drop_vars("filled"), "inpaint")


@pytest.mark.parametrize("decode", [True, False, "all"])
@pytest.mark.parametrize("kind", ["zarr", "netcdf"])
def test_filled_comes_back_from_files(tmp_path: Path, kind: str, decode: Any) -> None:
    result = call(dataset(), "decloud", uncertainty=True)
    path = tmp_path / f"clear.{kind}"
    if kind == "zarr":
        result.to_zarr(path)
        back: xr.Dataset = xr.open_zarr(path, decode_coords=decode)
    else:
        result.to_netcdf(path)
        back = xr.open_dataset(path, decode_coords=decode, chunks={})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no CRS")
        for raster in (back, back.load()):
            again = call(raster, "inpaint")
            assert not [name for name in again.data_vars if str(name).endswith(("_uncertainty", "_rmse", "filled"))]
            np.testing.assert_array_equal(in_space(again), expected_filled("decloud") | expected_filled("inpaint"))
            assert [step["verb"] for step in json.loads(again.attrs["ngr_before"])] == ["decloud"]


@pytest.mark.parametrize("verb", ["decloud", "denoise"])
@pytest.mark.parametrize("make", [stack, dataset])
def test_results_are_written_without_warnings(tmp_path: Path, verb: str, make: Any) -> None:
    result = call(make(bands=3).chunk(y=12), verb, uncertainty=True)
    if "band" in result.dims:
        result = result.assign_coords(band=[1, 2, 3])  # texts are the user's, and Zarr warns of them
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.to_zarr(tmp_path / "out.zarr", consolidated=False)
        result.to_netcdf(tmp_path / "out.nc")


def geotiff(folder: Path) -> Path:
    """A file of three bands with a gap and a dead column."""
    values = stack(bands=3).values[1].copy()
    values[:, 4:9, 4:9] = -9
    profile = {"driver": "GTiff", "dtype": "float32", "count": 3, "width": 24, "height": 24, "nodata": -9}
    path = folder / "scene.tif"
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32633", transform=rasterio.Affine(30, 0, 0, 0, -30, 0)
    ) as target:
        target.write(values)
    return path


def run(*arguments: str | Path) -> None:
    done = CliRunner().invoke(main, [*map(str, arguments), "--method", "guide"], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def marks(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return np.asarray(source.read().any(0))


@pytest.mark.parametrize("work", [False, True])
def test_filled_is_cumulative_on_the_command_line(tmp_path: Path, work: bool) -> None:
    one, two = tmp_path / "one.tif", tmp_path / "two.tif"
    run("inpaint", geotiff(tmp_path), "-o", one)
    folder: list[str | Path] = ["--work", tmp_path / "work"] if work else []
    run("fill-deadlines", one, "--lines", "20", "-o", two, *folder)
    first, second = marks(tmp_path / "one_filled.tif"), marks(tmp_path / "two_filled.tif")
    assert first[4:9, 4:9].all() and first.sum() == 25
    np.testing.assert_array_equal(second, first | (np.arange(24) == 20))
    with rasterio.open(two) as source:
        tags = source.tags()
    assert [step["verb"] for step in json.loads(tags["ngr_before"])] == ["inpaint"]
    assert tags["ngr_verb"] == "fill_deadlines" and "ngr_extent" not in tags
    run("destripe", two, "-o", tmp_path / "three.nc")
    run("inpaint", tmp_path / "three.nc", "-o", tmp_path / "four.tif")
    np.testing.assert_array_equal(marks(tmp_path / "four_filled.tif"), second)
    with rasterio.open(tmp_path / "four.tif") as source:
        steps = json.loads(source.tags()["ngr_before"])
    assert [step["verb"] for step in steps] == ["inpaint", "fill_deadlines", "destripe"]


def test_filled_survives_to_raster_as_documented(tmp_path: Path) -> None:
    raster = rioxarray.open_rasterio(geotiff(tmp_path))
    assert isinstance(raster, xr.DataArray)
    result = raster.ngr.inpaint(method="guide")
    result.rio.to_raster(tmp_path / "mine.tif")
    result.filled.astype("uint8").rio.to_raster(tmp_path / "mine_filled.tif")
    run("fill-deadlines", tmp_path / "mine.tif", "--lines", "20", "-o", tmp_path / "out.tif")
    np.testing.assert_array_equal(marks(tmp_path / "out_filled.tif"), result.filled.values | (np.arange(24) == 20))
    with rasterio.open(tmp_path / "out.tif") as source:
        assert [step["verb"] for step in json.loads(source.tags()["ngr_before"])] == ["inpaint"]
    shown = CliRunner().invoke(main, ["inpaint", str(tmp_path / "mine_filled.tif"), "-o", str(tmp_path / "x.tif")])
    assert shown.exit_code == 2 and "no image" in shown.output


@pytest.mark.filterwarnings("ignore:Nothing is missing")
def test_filled_is_a_variable_where_that_is_asked_for() -> None:
    """The same values, eager and lazy, known to the next verb; a DataArray has no variables."""
    stack = sample("slovenia").isel(x=slice(0, 40), y=slice(0, 40))
    asked = {"clouds": "SCL", "method": "guide", "dates": "2023-08-18"}
    plain = stack.ngr.decloud(**asked)
    for given in (stack, stack.chunk(y=20)):
        result = given.ngr.decloud(**asked, filled="variable").compute()
        assert "filled" in result.data_vars
        np.testing.assert_array_equal(result.filled, plain.filled)
        again = result.ngr.inpaint(method="guide")
        assert "filled" in again.coords
        np.testing.assert_array_equal(again.filled, plain.filled)
        assert again.ngr.record.before[0]["call"]["filled"] == "variable"
    with pytest.raises(InputError, match="to_dataset"):
        stack.B04.ngr.inpaint(filled="variable")
    with pytest.raises(InputError, match="'coordinate', 'variable'"):
        stack.ngr.inpaint(filled="layer")
