"""Raster to cube and back: only the filled pixels change, and everything about the raster survives."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import ngr_geo
from ngr_geo import InputError
from ngr_geo.raster import cube, grid

DIMS = ("time", "band", "y", "x")


def raster(dtype: str = "uint16", dims: tuple[str, ...] = DIMS, nodata: float | None = 0) -> xr.DataArray:
    values = np.random.default_rng(0).integers(0, 200, (2, 3, 5, 4)).astype(dtype)
    coords: dict[str, Any] = {
        "time": np.array(["2023-08-10", "2023-08-13"], "datetime64[ns]"),
        "band": ["B02", "B03", "B04"],
        "y": np.arange(5)[::-1] * 10.0,
        "x": np.arange(4) * 10.0,
    }
    made = xr.DataArray(
        values, dims=DIMS, coords=coords, name="reflectance", attrs={"units": "1", "STATISTICS_MEAN": 3}
    )
    made = made.transpose(*dims).rio.write_crs(32633)
    if nodata is not None:
        made = made.rio.write_nodata(nodata)
    made.encoding |= {"zlib": True, "scale_factor": 1e-4} if dtype.startswith("u") else {"zlib": True}
    return made


@settings(deadline=None, max_examples=40)
@given(
    dims=st.sampled_from(list(permutations(DIMS))),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"]),
    lazy=st.booleans(),
)
def test_round_trip_changes_only_what_is_filled(dims: tuple[str, ...], dtype: str, lazy: bool) -> None:
    given_ = raster(dtype, dims)
    read = cube.read(given_.chunk(x=3) if lazy else given_)
    filled = np.random.default_rng(1).random(read.shape) < 0.3
    back = cube.write(read, np.full(read.shape, 7.4, np.float32), filled)
    assert isinstance(back, xr.DataArray)
    assert isinstance(back.data, da.Array) == lazy
    if lazy:
        assert back.chunks == given_.chunk(x=3).chunks
    assert (back.dims, back.dtype, back.name) == (given_.dims, given_.dtype, given_.name)
    assert back.rio.crs == given_.rio.crs
    assert back.rio.nodata == given_.rio.nodata
    assert back.encoding == given_.encoding
    assert back.attrs == {k: v for k, v in given_.attrs.items() if k != "STATISTICS_MEAN"}
    xr.testing.assert_equal(back.drop_vars("filled").x, given_.x)
    where = xr.DataArray(filled, dims=DIMS).transpose(*dims).values
    np.testing.assert_array_equal(back.values[~where], given_.values[~where])
    expected = 7.4 if dtype.startswith("f") else 7
    np.testing.assert_allclose(back.values[where], expected, rtol=1e-6)
    assert back.filled.dtype == bool
    assert not lazy or "band" not in back.filled.dims


def test_dataset_keeps_its_variables_and_dimension_order() -> None:
    sample = ngr_geo.sample().transpose("x", "time", "y")
    read = cube.read(sample)
    assert read.bands == ("B02", "B03", "B04", "B08")
    assert read.dates == ("2023-08-10", "2023-08-13", "2023-08-15", "2023-08-18", "2023-08-20")
    back = cube.write(read, np.ones(read.shape, np.float32), np.zeros(read.shape, bool))
    xr.testing.assert_identical(back.drop_vars("filled"), sample)
    assert back["filled"].dims == ("x", "time", "y")


def test_a_true_zero_is_data_and_nodata_nan_and_infinity_are_not() -> None:
    zero = raster("float32", nodata=None) * 0
    zero[0, 0, 0, 0], zero[0, 0, 0, 1], zero[0, 0, 0, 2] = np.nan, np.inf, -9999
    assert cube.read(zero).valid.sum() == zero.size - 2
    assert cube.read(zero.rio.write_nodata(-9999)).valid.sum() == zero.size - 3
    counts = raster("uint8", nodata=None)
    assert cube.read(counts).valid.all()


def test_integers_are_rounded_clipped_and_never_nodata() -> None:
    given_ = raster("uint8", nodata=0)
    read = cube.read(given_)
    for value, expected in ((-5.0, 1), (0.2, 1), (254.6, 255), (300.0, 255), (np.nan, 0)):
        back = cube.write(read, np.full(read.shape, value, np.float32), np.ones(read.shape, bool))
        assert (back.values == expected).all(), value  # type: ignore[union-attr]
    assert not back["filled"].any()  # NaN could not be filled, and is told apart
    no_nodata = cube.read(raster("uint8", nodata=None))
    kept = cube.write(no_nodata, np.full(read.shape, np.nan, np.float32), np.ones(read.shape, bool))
    np.testing.assert_array_equal(kept.values, no_nodata.values)


def test_scaled_floats_do_not_land_on_the_stored_nodata() -> None:
    given_ = raster("float32", nodata=None)
    given_.encoding = {"dtype": "uint16", "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": 0}
    read = cube.read(given_)
    back = cube.write(read, np.full(read.shape, 1e-6, np.float32), np.ones(read.shape, bool))
    stored = np.rint(back.values / 1e-4)  # type: ignore[operator]
    assert (stored == 1).all()


def test_nothing_is_computed() -> None:
    def boom(block: np.ndarray) -> np.ndarray:
        raise AssertionError

    given_ = raster()
    lazy = given_.copy(
        data=da.from_array(given_.values, chunks=2).map_blocks(boom, dtype=given_.dtype, meta=given_.values[:0])
    )
    read = cube.read(lazy)
    cube.write(read, read.values.astype("float32"), ~read.valid)


def test_dates_are_named_uniquely() -> None:
    made = raster().isel(time=[0, 0, 1])
    assert cube.read(made).dates == ("2023-08-10T00:00:00#1", "2023-08-10T00:00:00#2", "2023-08-13T00:00:00")
    assert cube.read(made.isel(time=0)).dates == ("2023-08-10",)
    assert cube.read(made.drop_vars("time")).dates == ("0", "1", "2")


def test_resolution_in_metres() -> None:
    assert grid.resolution(raster()) == (10.0, 10.0)
    degrees = raster().drop_vars("spatial_ref").rename(y="lat", x="lon").rio.write_crs(4326)
    size = grid.resolution(degrees.assign_coords(lat=np.arange(5) * 1e-4, lon=np.arange(4) * 1e-4))
    assert size is not None
    assert size[1] == pytest.approx(11.13, abs=0.01)
    with pytest.warns(UserWarning, match="write_crs"):
        assert grid.resolution(raster().drop_vars("spatial_ref")) is None


def test_the_warning_of_no_crs_names_what_was_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "cube.zarr"
    raster(nodata=None).to_dataset("band").to_zarr(path, consolidated=False, encoding={})
    for decode in (True, False):
        read = xr.open_zarr(path, consolidated=False, decode_coords=decode)
        if read.rio.crs is None:
            with pytest.warns(UserWarning, match=r"grid mapping 'spatial_ref'.*decode_coords=\"all\".*write_crs"):
                assert grid.resolution(read) is None
            with pytest.warns(UserWarning, match=r"decode_coords=\"all\""):
                assert grid.resolution(read.B02) is None
        assert grid.resolution(xr.open_zarr(path, consolidated=False, decode_coords="all")) == (10.0, 10.0)
    bare = raster(nodata=None).drop_vars("spatial_ref")
    bare.encoding.pop("grid_mapping", None)
    bare.attrs.pop("grid_mapping", None)
    with pytest.warns(UserWarning, match=r"in pixels\. Set one with raster\.rio\.write_crs"):
        grid.resolution(bare)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.astype("complex64"), "complex"),
        (lambda r: r > 3, "bool"),
        (lambda r: r.rename(y="row"), "rename"),
        (lambda r: r.rename(time="tile"), "tile"),
        (lambda r: r.isel(x=slice(0, 0)), "at least one pixel"),
        (lambda r: (r > 3).to_dataset(name="mask"), "no band"),
        (lambda r: r.to_dataset(name="one").assign(other=r), "several cubes"),
    ],
)
def test_what_cannot_be_read_is_a_clear_error(change: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        cube.read(change(raster()))


def test_where_one_day_is_unknown_dates_are_in_their_order() -> None:
    """Days and numbers of dates are never compared."""
    times = np.array(["2024-05-01", "NaT", "2024-05-21"], "datetime64[ns]")
    raster = xr.DataArray(np.zeros((3, 4, 4), np.float32), {"time": times}, ("time", "y", "x"))
    assert cube.read(raster).when.tolist() == [0, 1, 2]
    assert np.diff(cube.read(raster.isel(time=[0, 2])).when).tolist() == [20]
