"""`tile=None`: on a GPU what its free memory has room for, found once, and recorded; elsewhere the default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from fake_device import fake_device
from running import invoke

import ngr_geo
from ngr_geo.methods.problem import Settings
from ngr_geo.settings import BYTES_A_DATE, BYTES_A_VALUE, GPU_SHARE, GPU_TILES, Options, sized

HOW: dict[str, Any] = {"method": "guide", "tile": None, "overlap": 8}


def room_for(side: int, dates: int, bands: int) -> int:
    """Bytes that must be free for a tile."""
    return int(side**2 * dates * (BYTES_A_VALUE * bands + BYTES_A_DATE) / GPU_SHARE) + 1


def chosen(device: str | None, verb: str = "decloud", shape: tuple[int, int, int, int] = (3, 4, 5000, 5000)) -> int:
    found = sized(Options(tile=None), shape, verb, Settings(device=device)).tile
    assert found is not None
    return found


def tile_of(result: xr.Dataset) -> Any:
    return json.loads(result.attrs["ngr_settings"])["tile"]


def test_the_side_follows_free_memory_dates_and_bands() -> None:
    for side in GPU_TILES:
        with fake_device(free=room_for(side, 3, 4)):
            assert chosen("cuda") == side
            assert chosen("cuda", shape=(2, 4, 5000, 5000)) >= side
            assert chosen("cuda", shape=(12, 10, 5000, 5000)) < side
        with fake_device(free=room_for(side, 3, 4) - 100):
            assert chosen("cuda") < side
    with fake_device(free=2**50):
        assert chosen("cuda") == max(GPU_TILES)
    with fake_device(free=2**20):
        assert chosen("cuda") == 256


def test_elsewhere_it_is_the_default() -> None:
    with fake_device():
        assert [chosen("cuda", verb) for verb in ("denoise", "destripe", "fill_deadlines")] == [320, 512, 512]
        assert chosen("cuda", "inpaint", (1, 100, 5000, 5000)) == 256
        assert chosen(None) == 256
    assert chosen("cpu") == 256


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of the sample, 40 x 40 pixels."""
    return ngr_geo.sample("slovenia").isel(time=slice(-3, None), y=slice(60, 100), x=slice(60, 100))


def test_it_is_found_once_and_recorded(stack: xr.Dataset, tmp_path: Path) -> None:
    """A job in a folder goes on with it, and a result is repeated with it, whatever is free by then."""
    much, little = room_for(768, 3, 4), room_for(384, 3, 4)
    with fake_device(free=much):
        first = stack.ngr.decloud(device="cuda", work=tmp_path, **HOW)
    with fake_device(free=little):
        again = stack.ngr.decloud(device="cuda", work=tmp_path, **HOW)
        repeated = stack.ngr.repeat(first)
        other = stack.ngr.decloud(device="cuda", work=tmp_path, restart=True, **HOW)
        lazy = stack.chunk(y=20, x=20).ngr.decloud(device="cuda", **HOW)
    assert [tile_of(found) for found in (first, again, repeated, other, lazy)] == [768, 768, 768, 384, 384]
    np.testing.assert_array_equal(first.B02, again.B02)


def test_it_is_recorded_on_a_cpu_too(stack: xr.Dataset) -> None:
    found = stack.ngr.decloud(device="cpu", **HOW)
    assert tile_of(found) == 256
    assert json.loads(found.attrs["ngr_call"])["tile"] is None


def test_the_command_line_calls_it_auto(stack: xr.Dataset, tmp_path: Path) -> None:
    source = tmp_path / "in.nc"
    stack.drop_encoding().to_netcdf(source)
    done = invoke("decloud", source, "-o", tmp_path / "out.nc", "--method", "guide", "--tile", "auto", "--json")
    assert done.exit_code == 0, done.output
    with xr.open_dataset(tmp_path / "out.nc") as found:
        assert tile_of(found) == 256
        assert json.loads(found.attrs["ngr_call"])["tile"] is None
    assert "'--tile'" in invoke("decloud", source, "-o", tmp_path / "out.nc", "--tile", "7").output
