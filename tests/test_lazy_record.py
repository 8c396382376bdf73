"""What lazy results tell of their dates: the same record as eager ones, and coordinates that every format holds."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from shapely.geometry import box
from small_cube import raster
from test_spectral_guides import noisy

from ngr_geo import rows as records
from ngr_geo import sample
from ngr_geo.errors import InputError
from ngr_geo.report import stac

KEPT = records.WORDS["method"][0]
BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three small real dates."""
    part: xr.Dataset = sample("slovenia").isel(time=slice(1, 4), y=slice(0, 48), x=slice(0, 48))
    return part


@pytest.fixture(scope="module")
def eager(stack: xr.Dataset) -> xr.Dataset:
    """Its clouds filled in memory."""
    return stack.ngr.decloud(method="guide")


def test_the_record_of_a_lazy_result_is_that_of_an_eager_one(stack: xr.Dataset, eager: xr.Dataset) -> None:
    """As far as its coordinates can hold it; its attribute says which of them do."""
    lazy = stack.chunk(y=24).ngr.decloud(method="guide")
    before = json.loads(lazy.attrs["ngr_dates"])
    assert [row["date"] for row in before] == [row["date"] for row in json.loads(eager.attrs["ngr_dates"])]
    assert before[2]["expected"]["rmse"]["B04"] is None  # as docs/how-sure.md reads it, and without a KeyError
    assert set(before[0]["in_coordinates"]) <= set(lazy.coords)
    done = lazy.compute()
    for result in (lazy, done):
        for row, other in zip(records.of(result), records.of(eager), strict=True):
            assert "in_coordinates" not in row
            for name in ("date", "missing", "filled", "unseen", "method"):
                assert row.get(name) == pytest.approx(other.get(name)), name
            assert row.get("choice") == other.get("choice")
            assert ("expected" in row) == ("expected" in other)
            if "expected" in other:
                assert row["expected"]["rmse"] == pytest.approx(other["expected"]["rmse"], rel=1e-3)
    assert records.of(eager) == json.loads(eager.attrs["ngr_dates"])
    assert not lazy.ngr.record.complete
    assert lazy.ngr.record.dates[2].filled is None
    assert lazy.ngr.record.compute() == done.ngr.record


def test_the_record_is_a_table(eager: xr.Dataset) -> None:
    record, row = eager.ngr.record, json.loads(eager.attrs["ngr_dates"])[2]
    dates, bands = record.to_pandas(), record.to_pandas("band")
    assert dates.loc[row["date"], "filled"] == row["filled"]
    assert dates.loc[row["date"], "hidden_rmse_guide"] == row["choice"]["guide"]
    assert bands.loc[(row["date"], "B04"), "rmse"] == row["expected"]["rmse"]["B04"]
    assert bool((bands.rmse_low < bands.rmse)[bands.rmse_low.notna()].all())
    assert (record.verb, record.call["method"], record.tiles["unsolvable"]) == ("decloud", "guide", 0)
    with pytest.raises(InputError, match="for each date and band"):
        record.to_pandas("pixel")
    with pytest.raises(InputError, match="no record of a verb"):
        _ = sample("slovenia").ngr.record


def test_the_figures_of_a_choice_are_those_of_an_eager_one(stack: xr.Dataset) -> None:
    """With networks, and from several tiles of an area."""
    part = stack.isel(time=slice(1, 3))
    x0, y0 = float(part.x[8]), float(part.y[40])
    corners = x0, y0, float(part.x[40]), float(part.y[8])
    area = gpd.GeoSeries([box(*corners)], crs=part.rio.crs)
    keywords = {"method": "auto", "steps": 10, "tile": 32, "overlap": 8, "aoi": area}
    rows = records.of(part.ngr.decloud(**keywords))
    again = records.of(part.chunk(y=24, x=40).ngr.decloud(**keywords))
    assert [row.get("choice") for row in again] == [row.get("choice") for row in rows]
    assert any({"guide", "local", "kriging", "blocks", "by"} <= set(row.get("choice", ())) for row in rows)
    for name in ("missing", "filled", "unseen"):
        assert [row[name] for row in again] == [row[name] for row in rows]


def test_a_part_of_a_lazy_result_tells_of_its_own_dates(stack: xr.Dataset) -> None:
    done = stack.chunk(y=24).ngr.decloud(method="guide").compute()
    assert records.of(done.isel(time=[2])) == records.of(done)[2:]


def test_nothing_is_computed_for_what_only_describes(stack: xr.Dataset) -> None:
    """A STAC item of a lazy result leaves out what is not known, and needs no null in its place."""
    lazy = stack.chunk(y=24).ngr.decloud(method="guide")
    rows = records.of(lazy, compute=False)
    assert [set(row) for row in rows] == [{"date"}] * 3
    pytest.importorskip("pystac")
    assert stac.items(lazy, ["clear.nc"])[0].properties["processing:lineage"]


@pytest.mark.filterwarnings("ignore:There is only one date")
@pytest.mark.parametrize("dates", [True, False], ids=["stack", "one date"])
def test_a_single_date_tells_too(stack: xr.Dataset, dates: bool) -> None:
    part = stack if dates else stack.isel(time=1, drop=True)
    lazy = part.chunk(y=24).ngr.decloud(method="guide")
    assert lazy.ngr_method.dims == (("time",) if dates else ())
    assert lazy.compute().ngr.record.dates[-1].method in ("guide", "none")


@pytest.mark.parametrize("kind", ["zarr 2", "zarr 3", "NetCDF"])
@pytest.mark.parametrize("spectral", [False, True], ids=["decloud", "denoise"])
def test_a_lazy_result_is_written_without_a_warning_and_read_back_equal(
    stack: xr.Dataset, tmp_path: Path, kind: str, spectral: bool
) -> None:
    """Texts of fixed length, for one, have no place in Zarr 3."""
    if spectral:
        lazy = raster(noisy()).chunk(y=32).ngr.denoise(method="guide").to_dataset(name="reflectance")
        lazy.attrs = lazy.reflectance.attrs
    else:
        lazy = stack.chunk(y=24).ngr.decloud(method="guide")
    path = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*seen on no other date")  # true of these clouds
        if kind == "NetCDF":
            lazy.to_netcdf(path)
            back = xr.open_dataset(path, decode_coords="all", mask_and_scale=False).load()
            back.close()
        else:
            lazy.to_zarr(path, zarr_format=int(kind[-1]), consolidated=kind[-1] == "2")  # type: ignore[call-overload]
            back = xr.open_zarr(path, decode_coords="all", mask_and_scale=False, consolidated=kind[-1] == "2").load()
    done = lazy.compute()
    for name in ("ngr_method", "ngr_choice_guide", "filled", *(["ngr_kind"] if spectral else BANDS)):
        assert back[name].dtype == done[name].dtype
        np.testing.assert_array_equal(back[name].values, done[name].values)
    assert back.ngr_method.dtype == np.int8
    assert back.ngr_method.attrs["flag_meanings"] == "guide ngr paper local kriging blend"
    wanted = records.decoded(done.ngr_method.values, done.ngr_method.attrs)
    assert records.decoded(back.ngr_method.values, back.ngr_method.attrs) == wanted
    assert "guide" in wanted
    assert back.ngr.record == done.ngr.record
    assert done.ngr.record.complete


def test_words_are_numbers_and_back() -> None:
    words = ["none", "guide", "ngr", "guide+ngr", "paper"]
    numbers = records.encoded(words, KEPT)
    assert numbers.tolist() == [0, 1, 2, 3, 4]
    assert records.decoded(numbers, records.flags(KEPT, "method")) == words
    assert records.decoded(np.array(words), {}) == words  # of results that were written as text
    with pytest.raises(KeyError):
        records.encoded(["magic"], KEPT)


def test_cf_xarray_reads_the_method() -> None:
    pytest.importorskip("cf_xarray")
    attrs = records.flags(KEPT, "method")
    kept = xr.DataArray(records.encoded(["guide", "guide+ngr", "none"], KEPT), dims="time", attrs=attrs)
    assert (kept.cf == "guide").values.tolist() == [True, True, False]
    assert (kept.cf == "ngr").values.tolist() == [False, True, False]
