"""The contracts of the accessor, on the real sample: what is kept, what is filled, and that the answer is always the same."""

from __future__ import annotations

import json
import warnings
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

import ngr_geo
from ngr_geo import GridError, InputError, MaskError
from ngr_geo import rows as rows_of
from ngr_geo.plan import plan
from ngr_geo.raster.missing import gaps
from ngr_geo.tiling import tiles

BANDS = ["B02", "B03", "B04", "B08"]
QUICK: dict[str, Any] = {"method": "guide"}


@pytest.fixture(scope="module")
def sample() -> xr.Dataset:
    cut = ngr_geo.sample().isel(y=slice(40, 136), x=slice(60, 140))
    for band in BANDS:
        cut[band] = cut[band].copy(data=np.maximum(cut[band].values, 1))  # one pixel is 0, its nodata
    return cut


def as_array(raster: xr.Dataset) -> xr.DataArray:
    array = raster[BANDS].to_dataarray("band").transpose("time", "band", "y", "x")
    array.attrs = {"_FillValue": 0}
    return array


@pytest.fixture(scope="module")
def clear(sample: xr.Dataset) -> xr.Dataset:
    return sample.ngr.decloud(method="ngr", steps=4, tile=64, overlap=8)  # type: ignore[no-any-return]


def test_observed_pixels_come_back_bit_for_bit_and_clouds_do_not(sample: xr.Dataset, clear: xr.Dataset) -> None:
    cloud = sample.ngr.cloud_mask().values
    np.testing.assert_array_equal(clear.filled.values, cloud)
    for band in BANDS:
        np.testing.assert_array_equal(clear[band].values[~cloud], sample[band].values[~cloud])
        assert (clear[band].values[cloud] != sample[band].values[cloud]).mean() > 0.95
        assert (clear[band].values > 0).all()
    xr.testing.assert_identical(clear.SCL.drop_vars("filled"), sample.SCL)


def test_georeferencing_and_metadata_survive(sample: xr.Dataset, clear: xr.Dataset) -> None:
    assert clear.rio.crs == sample.rio.crs
    assert clear.rio.transform() == sample.rio.transform()
    assert list(clear.data_vars) == list(sample.data_vars)
    for band in BANDS:
        assert clear[band].dtype == sample[band].dtype
        assert clear[band].attrs == sample[band].attrs
        assert clear[band].encoding == sample[band].encoding
        assert clear[band].dims == sample[band].dims


def test_the_record_says_what_was_done(clear: xr.Dataset) -> None:
    rows = json.loads(clear.attrs["ngr_dates"])
    assert [r["date"] for r in rows] == ["2023-08-10", "2023-08-13", "2023-08-15", "2023-08-18", "2023-08-20"]
    for row, filled in zip(rows, clear.filled.mean(("y", "x")).values, strict=True):
        assert row["filled"] == pytest.approx(float(filled), abs=1e-5)
        assert row["method"] == ("ngr" if filled else "none")
    cloudy = [r for r in rows if r["filled"] > 0.2]
    assert cloudy
    assert all(0 < r["choice"][name] < 1000 for r in cloudy for name in ("guide", "ngr"))
    scene = json.loads(clear.attrs["ngr_expected"])
    known = [r for r in rows if "expected" in r]
    told = np.array([[r["expected"]["rmse"][b] for b in BANDS] for r in known])
    mean = np.sqrt(np.average(told**2, axis=0, weights=[r["filled"] for r in known]))
    np.testing.assert_allclose([scene["rmse"][b] for b in BANDS], mean, rtol=1e-3)
    assert set(scene) == {"rmse", "bias", "psnr"}
    settings = {"method": "ngr", "steps": 4, "seed": 0, "device": "cpu", "tune": 0, "tile": 64}
    assert json.loads(clear.attrs["ngr_settings"]) == settings
    assert json.loads(clear.attrs["ngr_tiles"])["unsolvable"] == 0


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_lazy_in_lazy_out_with_the_same_bits(sample: xr.Dataset, clear: xr.Dataset, scheduler: str) -> None:
    chunked = sample.chunk(time=2, y=37, x=50)
    lazy = chunked.ngr.decloud(method="ngr", steps=4, tile=64, overlap=8)
    assert all(isinstance(lazy[b].data, da.Array) for b in [*BANDS, "filled"])
    assert lazy.B02.chunks == chunked.B02.chunks
    with dask.config.set(scheduler=scheduler):
        done = lazy.compute()
    for name in [*BANDS, "filled"]:
        np.testing.assert_array_equal(done[name].values, clear[name].values)
    rows = json.loads(clear.attrs["ngr_dates"])
    assert rows_of.decoded(done.ngr_method, done.ngr_method.attrs) == [r["method"] for r in rows]
    for name in ("guide", "ngr"):
        expected = [r.get("choice", {}).get(name, np.nan) for r in rows]
        np.testing.assert_allclose(done[f"ngr_choice_{name}"], expected)
    for band in BANDS:
        told = [row["expected"]["rmse"][band] if "expected" in row else np.nan for row in rows]
        np.testing.assert_allclose(done[f"{band}_expected_rmse"], told, rtol=1e-3)


def test_a_cluster_of_two_processes_gives_the_same_bits(sample: xr.Dataset) -> None:
    distributed = pytest.importorskip("distributed")
    sample = sample.isel(time=slice(2, 5), y=slice(0, 72))
    eager = sample.ngr.decloud(**QUICK, tile=64, overlap=8)
    lazy = sample.chunk(y=40).ngr.decloud(**QUICK, tile=64, overlap=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
            ) as cluster,
            distributed.Client(cluster),
        ):
            done = lazy.compute()
    for name in [*BANDS, "filled"]:
        np.testing.assert_array_equal(done[name].values, eager[name].values)


def test_building_the_graph_reads_no_pixels(sample: xr.Dataset) -> None:
    def boom(block: np.ndarray) -> np.ndarray:
        raise AssertionError

    lazy = sample.copy()
    for name in BANDS:  # the codes of the mask are counted: they decide how it is read
        data = da.from_array(sample[name].values, chunks=(1, 50, 50))
        empty = np.zeros((0, 0, 0), sample[name].dtype)
        lazy[name] = sample[name].copy(data=data.map_blocks(boom, dtype=data.dtype, meta=empty))
    lazy["SCL"] = sample.SCL.chunk(y=50)
    assert isinstance(lazy.ngr.decloud().B02.data, da.Array)


def test_dataset_and_dataarray_in_any_order_agree(sample: xr.Dataset) -> None:
    sample = sample.isel(time=slice(2, 5), y=slice(0, 64))
    one = sample.ngr.decloud(**QUICK)
    array = as_array(sample).transpose("x", "band", "y", "time")
    two = array.ngr.decloud(sample.SCL, **QUICK)
    assert isinstance(two, xr.DataArray)
    assert two.dims == array.dims
    for band in BANDS:
        np.testing.assert_array_equal(two.sel(band=band).transpose("time", "y", "x").values, one[band].values)
    turned = sample.transpose("y", "x", "time").ngr.decloud("SCL", **QUICK)
    np.testing.assert_array_equal(turned.B08.transpose("time", "y", "x").values, one.B08.values)


def test_only_the_chosen_dates_are_filled(sample: xr.Dataset) -> None:
    for dates in ("2023-08-18", ["2023-08-18"], np.datetime64("2023-08-18"), "2023-08-18T00"[:10]):
        result = sample.ngr.decloud(dates=dates, **QUICK)
        assert result.filled.any(("y", "x")).values.tolist() == [False, False, False, True, False]
    untouched = result.isel(time=[0, 1, 2, 4]).B02.values
    np.testing.assert_array_equal(untouched, sample.isel(time=[0, 1, 2, 4]).B02.values)
    with pytest.raises(InputError, match="2023-08-10, 2023-08-13"):
        sample.ngr.decloud(dates="2022-01-01")


def test_the_seam_is_no_step() -> None:
    """Real clouds over seams: steps across core boundaries are like steps one and two pixels beside them."""
    whole = ngr_geo.sample()
    options: dict[str, Any] = {"method": "ngr", "steps": 12, "dates": ["2023-08-10", "2023-08-18"]}
    tiled = as_array(whole).ngr.decloud(whole.SCL, tile=96, overlap=16, **options).astype(float)
    cut = [s.core_start for s in tiles.spans(240, 96, 16)[1:]]
    for dim in ("x", "y"):
        step = abs(tiled.diff(dim))
        both = tiled.filled & tiled.filled.shift({dim: 1}, fill_value=False)
        step = step.where(both.isel({dim: slice(1, None)}))
        at = step.isel({dim: [c - 1 for c in cut]})
        beside = step.isel({dim: [c - 1 + o for c in cut for o in (-24, -20, 20, 24)]})
        assert float(at.mean()) < 1.1 * float(beside.mean())


def test_tiles_with_nothing_to_do_are_skipped_and_hopeless_ones_left() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(500, 900, (2, 2, 64, 192)).astype("uint16")
    values[:, :, :, 128:] = 0  # beyond the footprint
    raster = xr.DataArray(values, dims=("time", "band", "y", "x")).rio.write_nodata(0)
    missing = xr.DataArray(np.zeros((64, 192), bool), dims=("y", "x"))
    missing[10:20, 70:80] = True
    missing[:, 128:] = True
    seen: list[tuple[str, int, int]] = []
    result = raster.ngr.inpaint(missing, tile=64, overlap=0, method="guide", progress=lambda *a: seen.append(a))
    assert json.loads(result.attrs["ngr_tiles"]) == {"total": 3, "solved": 1, "unsolvable": 1}
    assert (result.values[..., 128:] == 0).all()
    assert not result.filled.values[..., 128:].any()
    assert result.filled.values[..., 10:20, 70:80].all()
    assert ("tiles", 3, 3) in seen


def test_decloud_makes_nothing_up_beyond_the_footprint(sample: xr.Dataset) -> None:
    holed = sample.copy(deep=True)
    for band in BANDS:
        holed[band][:, :10] = 0  # nodata on all dates
        holed[band][2, 50:60] = 0  # a gap on one date
    result = holed.ngr.decloud(dates="2023-08-15", **QUICK)
    assert (result.B04.values[:, :10] == 0).all()
    assert not result.filled.values[:, :10].any()
    assert (result.B04.values[2, 50:60] > 0).all()
    assert result.filled.values[2, 50:60].all()


def test_inpaint_fills_nodata_and_bands_by_themselves(sample: xr.Dataset) -> None:
    array = as_array(sample).copy(deep=True)
    array[1, 2, 30:40, 30:40] = 0
    filled = array.ngr.inpaint(**QUICK)
    assert filled.filled.dims == ("time", "band", "y", "x")
    assert int(filled.filled.sum()) == 100
    truth = as_array(sample).values[1, 2, 30:40, 30:40].astype(float)
    error = np.sqrt(((filled.values[1, 2, 30:40, 30:40] - truth) ** 2).mean())
    assert error < 0.6 * truth.std()
    np.testing.assert_array_equal(np.delete(filled.values, 1, 0), np.delete(array.values, 1, 0))


def test_floats_with_nan_and_infinity(sample: xr.Dataset) -> None:
    array = as_array(sample).astype("float32") * 1e-4
    array.attrs = {}
    array = array.where(~sample.ngr.cloud_mask())
    array[0, 0, 0, 0] = np.inf
    with pytest.warns(UserWarning, match="infinite.*1 in band B02"):
        result = array.ngr.inpaint(extent="all", **QUICK)
    assert result.dtype == np.float32
    assert np.isfinite(result.values).all()


def test_one_date_alone_is_inpainted_with_a_warning(sample: xr.Dataset) -> None:
    one = sample.isel(time=[2])
    hole = xr.DataArray(np.zeros(one.B02.shape, bool), dims=one.B02.dims)
    hole[0, 30:50, 30:60] = True
    with pytest.warns(UserWarning, match="only one date"):
        result = one.ngr.decloud(hole, dilate=0, method="auto", steps=10)
    truth, found = one.B08.values[0, 30:50, 30:60].astype(float), result.B08.values[0, 30:50, 30:60]
    assert np.sqrt(((found - truth) ** 2).mean()) < 1.1 * truth.std()
    with pytest.warns(UserWarning, match="only one date"):
        flat = one.isel(time=0).ngr.inpaint(hole.isel(time=0), **QUICK)
    assert flat.B08.dims == ("y", "x")


def test_a_date_without_any_clear_pixel_is_interpolated_in_time(sample: xr.Dataset) -> None:
    mask = sample.ngr.cloud_mask().copy()
    mask[2] = True
    with pytest.warns(UserWarning, match="2023-08-15"):
        result = sample.ngr.decloud(mask, dilate=0, dates="2023-08-15", **QUICK)
    truth = sample.B08.values[2].astype(float)
    error = np.sqrt(((result.B08.values[2] - truth) ** 2).mean())
    assert result.filled.values[2].all()
    assert error < 0.5 * truth.std()


def test_no_cloud_returns_the_input_with_a_warning(sample: xr.Dataset) -> None:
    with pytest.warns(UserWarning, match="Nothing is missing"):
        result = sample.ngr.decloud(xr.zeros_like(sample.SCL, bool), dilate=0)
    np.testing.assert_array_equal(result.B03.values, sample.B03.values)
    assert not result.filled.any()


def test_duplicate_and_unsorted_times_keep_their_order(sample: xr.Dataset) -> None:
    odd = sample.isel(time=[3, 0, 0, 2])
    result = odd.ngr.decloud(**QUICK)
    np.testing.assert_array_equal(result.time.values, odd.time.values)
    cloud = odd.ngr.cloud_mask().values
    np.testing.assert_array_equal(result.B02.values[~cloud], odd.B02.values[~cloud])


def test_mixed_baselines_are_warned_of(sample: xr.Dataset) -> None:
    mixed = sample.assign_coords({"s2:processing_baseline": ("time", ["03.01", "03.01", "04.00", "05.09", "05.09"])})
    with pytest.warns(UserWarning, match=r"04\.00"):
        mixed.ngr.decloud(dates="2023-08-18", **QUICK)


def test_no_crs_works_with_a_warning(sample: xr.Dataset) -> None:
    bare = sample.drop_vars("spatial_ref")
    with pytest.warns(UserWarning, match="no CRS"):
        result = bare.ngr.decloud(dates="2023-08-18", **QUICK)
    assert result.rio.crs is None


@pytest.mark.parametrize("width", [1, 2, 5])
def test_narrow_rasters(sample: xr.Dataset, width: int) -> None:
    for narrow in (sample.isel(x=slice(0, width)), sample.isel(y=slice(0, width))):
        result = narrow.ngr.decloud(method="ngr", steps=2, dilate=1)
        assert result.B02.shape == narrow.B02.shape
        cloud = narrow.ngr.cloud_mask(dilate=1).values
        np.testing.assert_array_equal(result.B02.values[~cloud], narrow.B02.values[~cloud])


def test_geographic_crs_and_oblong_pixels(sample: xr.Dataset) -> None:
    geo = sample.drop_vars("spatial_ref").rename(y="latitude", x="longitude")
    geo = geo.assign_coords(latitude=46 - np.arange(96) * 2e-3, longitude=15 + np.arange(80) * 1e-3).rio.write_crs(4326)
    result = geo.ngr.decloud(dates="2023-08-18", **QUICK)
    assert result.rio.crs.to_epsg() == 4326
    np.testing.assert_array_equal(result.longitude.values, geo.longitude.values)


def test_paper_runs_without_ground_truth_on_any_mask(sample: xr.Dataset) -> None:
    small = as_array(sample).isel(y=slice(0, 40), x=slice(0, 37), band=[0, 3])
    hole = xr.DataArray(np.random.default_rng(0).random(small.shape) < 0.3, dims=small.dims)
    one = small.ngr.inpaint(hole, method="paper", steps=3, tile=32, overlap=4)
    two = small.ngr.inpaint(hole, method="paper", steps=3, tile=32, overlap=4)
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.values[~hole.values], small.values[~hole.values])
    assert json.loads(one.attrs["ngr_dates"])[0]["method"] == "paper"


def test_plan_tells_what_would_be_done(sample: xr.Dataset) -> None:
    told = sample.ngr.plan(tile=64, overlap=8)
    assert told.dates[3] == "2023-08-18"
    assert told.bands == tuple(BANDS)
    assert told.missing[3] == pytest.approx(float(sample.ngr.cloud_mask().mean(("y", "x"))[3]))
    assert 0 < told.tiles_to_solve <= told.tiles == 4
    assert told.memory > 1e8
    assert told.seconds > 0
    assert plan(gaps(sample, None, "footprint", now=True)).missing == (0.0,) * 5


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({"method": "magic"}, InputError, "auto, guide, ngr, local, kriging, paper"),
        ({"steps": 0}, InputError, "steps 0, expected a whole number from 1"),
        ({"tile": 32, "overlap": 16}, InputError, "tiles of 32 pixels"),
        ({"device": "cuda:99"}, InputError, "cuda:99"),
        ({"seed": -1}, InputError, "seed -1, expected"),
        ({"clouds": "CLD"}, MaskError, "CLD"),
        ({"clouds": np.ones((5, 96, 80), bool)}, MaskError, "nothing to learn"),
        ({"dilate": -1}, MaskError, "dilation by -1"),
    ],
)
def test_bad_arguments_are_clear_errors(sample: xr.Dataset, keywords: dict[str, Any], error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        sample.ngr.decloud(**keywords)


@pytest.mark.parametrize(
    ("missing", "error", "says"),
    [
        (np.zeros((3, 3), bool), (MaskError, GridError), "expected"),
        (np.zeros((96, 80)), MaskError, "bool"),
        ("holes", MaskError, "holes"),
        (xr.DataArray(np.zeros((96, 80), bool), dims=("a", "b")), MaskError, "dimensions"),
    ],
)
def test_bad_missing_masks_are_clear_errors(sample: xr.Dataset, missing: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        as_array(sample).ngr.inpaint(missing)
