"""The graph of a lazy scene: the same bits whatever it is cut into, read from, or computed by, and small before it is computed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
import zarr
from rasterio.shutil import copy
from rasterio.transform import from_origin

import ngr_geo

GRID: dict[str, Any] = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_100_000, 10, 10)}
QUICK: dict[str, Any] = {"method": "guide", "tile": 40, "overlap": 6}


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of the sample, 72 x 64 pixels."""
    scene = ngr_geo.sample("slovenia").isel(time=slice(-3, None), y=slice(60, 132), x=slice(60, 124))
    return scene


@pytest.fixture(scope="module")
def expected(stack: xr.Dataset) -> xr.Dataset:
    """The result in memory."""
    return stack.ngr.decloud(**QUICK)


def uneven(stack: xr.Dataset, _: Path) -> xr.Dataset:
    """Chunks that fit neither tiles nor each other."""
    scene = stack.chunk(time=1, y=(1, 30, 41), x=(50, 3, 11))
    scene["SCL"] = stack.SCL.chunk(time=2, y=20, x=64)
    return scene


def sharded(stack: xr.Dataset, folder: Path) -> xr.Dataset:
    """Zarr of version 3 with shards of several chunks."""
    group = zarr.open_group(folder / "scene.zarr", mode="w", zarr_format=3)
    lazy = stack.copy()
    for name in stack.data_vars:
        values = stack[name].values
        kept = group.create_array(
            str(name), shape=values.shape, dtype=values.dtype, chunks=(1, 16, 16), shards=(1, 48, 32)
        )
        kept[...] = values
        lazy[name] = stack[name].copy(data=da.from_array(kept, chunks=(1, 48, 32)))
    return lazy


def overviews(stack: xr.Dataset, folder: Path) -> xr.Dataset:
    """Cloud Optimized GeoTIFFs with overviews, a file for each variable and date."""
    lazy = stack.copy()
    for name in stack.data_vars:
        dates = []
        for number, values in enumerate(stack[name].values):
            plain, cog = folder / f"{name}_{number}_plain.tif", folder / f"{name}_{number}.tif"
            profile = {"height": 72, "width": 64, "count": 1, "dtype": values.dtype, **GRID}
            with rasterio.open(plain, "w", driver="GTiff", **profile) as target:
                target.write(values, 1)
            copy(plain, cog, driver="COG", blocksize=128, overview_count=2)
            opened = rioxarray.open_rasterio(cog, chunks={"y": 32, "x": 48})
            assert isinstance(opened, xr.DataArray)
            dates.append(opened.data[0])
        lazy[name] = stack[name].copy(data=da.stack(dates))
    return lazy


@pytest.mark.parametrize("how", [uneven, sharded, overviews])
def test_any_chunks_give_the_same_bits(
    stack: xr.Dataset, expected: xr.Dataset, tmp_path: Path, how: Callable[[xr.Dataset, Path], xr.Dataset]
) -> None:
    lazy = how(stack, tmp_path).ngr.decloud(**QUICK)
    assert lazy.B02.chunks is not None
    found = lazy.compute(scheduler="threads")
    for name in ("B02", "B03", "B04", "B08", "filled"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("scheduler", ["synchronous", "processes"])
def test_any_scheduler_gives_the_same_bits(stack: xr.Dataset, expected: xr.Dataset, scheduler: str) -> None:
    lazy = stack.chunk(y=30, x=40).ngr.decloud(**QUICK)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        found = lazy.compute()
    for name in ("B02", "B08", "filled"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_the_graph_of_a_large_scene_is_small() -> None:
    """Its layers are described, not written out: 12 000 x 12 000 pixels are sent to a scheduler in few bytes."""
    shape, chunks = (2, 12_000, 12_000), (1, 2000, 2000)
    bands = {b: (("time", "y", "x"), da.zeros(shape, chunks=chunks, dtype="uint16")) for b in ("B02", "B08")}
    place = {"y": 5e6 - 10.0 * np.arange(12_000), "x": 4e5 + 10.0 * np.arange(12_000)}
    times = np.array(["2024-05-01", "2024-05-11"], "datetime64[ns]")
    scene = xr.Dataset(bands, coords={"time": times, **place}).rio.write_crs("EPSG:32633")
    cloud = xr.DataArray(da.zeros(shape, chunks=chunks, dtype=bool), dims=("time", "y", "x"), coords=scene.coords)
    lazy = scene.ngr.decloud(cloud, method="guide", dilate=0)
    layers = lazy.B02.data.dask.layers
    ours = [layer for layer in layers.values() if type(layer).__module__.startswith("ngr_geo")]
    assert ours
    assert all(len(pickle.dumps(layer)) < 3_000_000 for layer in ours)
    tiles = scene.ngr.plan(cloud, method="guide", dilate=0).tiles
    assert sum(len(layer) for layer in ours) < tiles + 10 * 36 + 100
