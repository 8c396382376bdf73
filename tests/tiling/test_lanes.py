"""Tiles on fake GPUs: one at a time on each, others read meanwhile, few are held, and the bits are those of one GPU."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from fake_device import fake_device
from numpy.typing import NDArray

import ngr_geo
from ngr_geo.errors import TilesFailedError
from ngr_geo.methods.base import Part, Solved
from ngr_geo.methods.placement import here_or_on_cpu
from ngr_geo.methods.problem import Settings
from ngr_geo.progress import silent
from ngr_geo.tiling import executors, lanes, tiles, work
from ngr_geo.tiling.executors import Todo
from ngr_geo.tiling.tiles import Tile

SIDE, COUNT = 8, 16
TOGETHER = 1 + lanes.AHEAD_OF_GPU
JOB = {"version": "0", "verb": "none", "tile": SIDE, "shape": [1, 1, SIDE, SIDE * COUNT]}


class Reader:
    """A row of blocks, of which each is one tile: which of them are held, from when they are read until their tile is solved."""

    def __init__(self, broken: int | None = None) -> None:
        """Take the number of a block that cannot be read."""
        self.broken, self.held, self.most, self.changed = broken, set[int](), 0, threading.Condition()
        self.array = da.map_blocks(
            self.read, chunks=((1,), (1,), (SIDE,), (SIDE,) * COUNT), dtype=np.float32, meta=np.empty(0, np.float32)
        )

    def read(self, block_info: Any = None) -> NDArray[np.float32]:
        """Return a block of its own number."""
        number = block_info[None]["chunk-location"][-1]
        if number == self.broken:
            msg = f"block {number} is broken"
            raise OSError(msg)
        with self.changed:
            self.held.add(number)
            self.most = max(self.most, len(self.held))
            self.changed.notify_all()
        return np.full((1, 1, SIDE, SIDE), number, np.float32)

    def solved(self, number: int) -> None:
        """Note that a tile is solved."""
        with self.changed:
            self.held.discard(number)


class Doubling:
    """A method that doubles values on a device, and there waits, for its first tile, until another is read."""

    settings, layers, entries = Settings(device="cuda"), ("values",), ()

    def __init__(self, reader: Reader) -> None:
        """Take the reader."""
        self.reader, self.ahead, self.busy, self.crowded = reader, False, threading.Lock(), False

    def fit(self, sample: Any, progress: Any) -> int:
        self.reader.held.clear()  # what was read of it for this
        return 2

    def notes(self, model: Any, sample: Any) -> list[str]:
        return []

    def kept(self, folder: Any, learn: Any) -> tuple[int, int]:
        folder.learn("two")
        return learn(), 2

    def solve(self, model: int, part: Part, tile: Tile) -> Solved:
        number = int(part.values[0, 0, 0, 0])

        def computed(device: str) -> NDArray[np.float32]:
            self.crowded |= not self.busy.acquire(blocking=False)
            with self.reader.changed:
                self.ahead |= self.reader.changed.wait_for(lambda: len(self.reader.held) > 1, 2 * (not self.ahead))
            found = (torch.from_numpy(part.values).to(device) * model).cpu().numpy()
            self.busy.release()
            return found

        layers, place = here_or_on_cpu("cuda", computed)
        self.reader.solved(number)
        return Solved(layers[None], {"place": np.array(place)})


def todo(reader: Reader, method: Any) -> Todo:
    """All tiles, each a block."""
    observed = da.ones(reader.array.shape, bool, chunks=reader.array.chunks)
    pieces = tiles.grid((SIDE, SIDE * COUNT), SIDE, 0)
    scene: Any = Part(reader.array, observed, None, None)
    chunks: Any = reader.array.chunks[-2:]
    return Todo(method, scene, [pieces[0].window], pieces, chunks, (1, 1, 1), TOGETHER, "cuda", silent)


def test_tiles_are_read_ahead_and_few_are_held(tmp_path: Path) -> None:
    with fake_device():
        reader = Reader()
        method = Doubling(reader)
        done = executors.in_folder(todo(reader, method), work.Folder(tmp_path), JOB, [])
    expected = np.repeat(2.0 * np.arange(COUNT, dtype=np.float32), SIDE)
    np.testing.assert_array_equal(done.layers.compute(scheduler="synchronous")[0, 0, 0, 0], expected)
    assert method.ahead, "no tile was read while another was computed"
    assert not method.crowded, "two tiles were on one GPU at a time"
    assert reader.most <= TOGETHER


def test_an_error_in_reading_ahead_is_of_its_tile(tmp_path: Path) -> None:
    broken = 5
    with (
        fake_device(),
        ThreadPoolExecutor(TOGETHER) as pool,
        dask.config.set(pool=pool),
    ):  # threads that know the device
        reader = Reader(broken)
        with pytest.raises(TilesFailedError, match="1 of 16 tiles") as caught:
            executors.in_folder(todo(reader, Doubling(reader)), work.Folder(tmp_path), JOB, [])
    (failure,) = caught.value.failures
    assert failure["columns"] == (broken * SIDE, (broken + 1) * SIDE)
    assert "block 5 is broken" in str(failure["cause"])


def test_a_lazy_graph_of_many_threads_has_one_tile_on_a_gpu() -> None:
    with fake_device():
        reader = Reader()
        method = Doubling(reader)
        done = executors.lazily(todo(reader, method))
        with dask.config.set(scheduler="threads", num_workers=6):
            found = done.layers.compute()
    np.testing.assert_array_equal(found[0, 0, 0, 0, ::SIDE], 2.0 * np.arange(COUNT, dtype=np.float32))
    assert method.ahead
    assert not method.crowded
    assert reader.most <= 6


def test_each_gpu_of_one_model_is_a_lane() -> None:
    assert lanes.lanes("cpu") == ("cpu",) * len(lanes.lanes("cpu"))
    assert lanes.lanes("mps") == ("mps",)
    with fake_device(count=3):
        assert lanes.lanes("cuda") == ("cuda:0", "cuda:1", "cuda:2")
        assert lanes.lanes("cuda:1") == ("cuda:1",)
        with lanes.lane("cuda") as first, lanes.lane("cuda") as second, lanes.lane("cuda:2") as third:
            assert (first, second, third) == ("cuda:0", "cuda:1", "cuda:2")
        with lanes.lane("cuda:1"), lanes.lane("cuda") as first, lanes.lane("cuda") as second:
            assert (first, second) == ("cuda:0", "cuda:2")


def test_tiles_go_to_all_gpus_and_have_the_bits_of_one() -> None:
    """What was learnt is copied to each of them, and nothing of two of them meets."""
    stack = ngr_geo.sample("slovenia").isel(time=slice(-3, None), y=slice(0, 90), x=slice(0, 90))
    how: dict[str, Any] = {"method": "ngr", "steps": 2, "tile": 40, "overlap": 4}
    with fake_device() as one:
        expected = stack.ngr.decloud(device="cuda", **how)
    with fake_device(count=3) as three:
        found = stack.ngr.decloud(device="cuda", **how)
    assert one.used == {"cuda:0"}
    assert three.used == {"cuda:0", "cuda:1", "cuda:2"}
    xr.testing.assert_identical(found, expected)
