"""Scenes larger than memory: work folders, clusters, killed processes. The parts are real: processes, signals, disks."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.enums import Resampling
from rasterio.windows import Window
from running import invoke, ngr_geo, small_disk
from small_stack import damage, hidden_files, pixels, write_crops, write_masks

from ngr_geo.cli import console
from ngr_geo.errors import InputError, OutputError, TilesFailedError
from ngr_geo.io import read_stack
from ngr_geo.raster import cube as cubes
from ngr_geo.samples import sample
from ngr_geo.tiling import executors, work
from ngr_geo.tiling.tiles import grid

distributed = pytest.importorskip("distributed")
SOLVERS: list[str] = []
_solve_and_keep = executors._solve_and_keep
QUICK: dict[str, Any] = {"method": "guide", "tile": 40, "overlap": 6, "seed": 1}


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of 96 x 80 pixels."""
    return sample("slovenia").isel(time=slice(2, 5), y=slice(60, 156), x=slice(50, 130))


@pytest.fixture(scope="module")
def expected(stack: xr.Dataset) -> xr.Dataset:
    """Filled in memory."""
    return stack.ngr.decloud(**QUICK)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes on loopback, with a client."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as local:
        yield local


def lazy(stack: xr.Dataset) -> xr.Dataset:
    """In chunks that fit no tile."""
    return stack.chunk(y=50, x=33)


def assert_same(one: xr.Dataset, two: xr.Dataset) -> None:
    """The same bits, everywhere."""
    for name in (*one.data_vars, "filled"):
        np.testing.assert_array_equal(one[name].values, two[name].values)


def test_the_same_bits_from_threads_processes_and_any_order(
    stack: xr.Dataset, expected: xr.Dataset, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_threads = lazy(stack).ngr.decloud(work=tmp_path / "threads", **QUICK)
    assert in_threads.chunks
    assert_same(in_threads.compute(), expected)
    assert in_threads.attrs == expected.attrs  # what is told of dates and tiles, too
    one_by_one = stack.ngr.decloud(work=tmp_path / "memory", **QUICK)
    assert one_by_one.identical(expected)
    with distributed.Client(cluster), monkeypatch.context() as patch:
        assert_same(lazy(stack).ngr.decloud(work=tmp_path / "processes", **QUICK).compute(), expected)
        assert_same(lazy(stack).ngr.decloud(**QUICK).compute(), expected)  # no folder: one lazy graph
        shuffled = random.Random(3)
        patch.setattr(work, "along_curve", lambda pieces: shuffled.sample(list(pieces), len(pieces)))
        assert_same(lazy(stack).ngr.decloud(work=tmp_path / "shuffled", **QUICK).compute(), expected)


def test_a_worker_is_killed_and_nobody_notices(stack: xr.Dataset, expected: xr.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    killed = []
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):

        def kill() -> None:
            while len(list((folder / "tiles").glob("*.npz"))) < 2:
                time.sleep(0.01)
            killed.append(cluster.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = lazy(stack).ngr.decloud(work=folder, **QUICK)
        killer.join()
    assert killed
    assert_same(result.compute(), expected)


def test_spectral_verbs_keep_their_tiles_too(tmp_path: Path) -> None:
    from small_cube import clean_cube, raster

    cube = raster(clean_cube() + np.random.default_rng(0).normal(0, 0.05, clean_cube().shape))
    cube[:, :, 20] = 0
    for verb in ("denoise", "destripe", "fill_deadlines"):
        keywords: dict[str, Any] = {"method": "guide", "tile": 48, "overlap": 8}
        eager = getattr(cube.ngr, verb)(**keywords)
        for chunked in (cube, cube.chunk(y=30, x=64)):
            one = getattr(chunked.ngr, verb)(work=tmp_path / verb, restart=True, **keywords)
            np.testing.assert_array_equal(one.values, eager.values)
            np.testing.assert_array_equal(*xr.broadcast(one.filled, eager.filled.compute()))
            assert one.attrs == eager.attrs


def test_finished_tiles_are_not_solved_again(stack: xr.Dataset, tmp_path: Path) -> None:
    first = stack.ngr.decloud(work=tmp_path, **QUICK)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    lost = sorted(before)[4]
    lost.write_bytes(lost.read_bytes()[:-30])  # cut short, as by a full disk or a crash
    with pytest.warns(UserWarning, match="1 damaged: solved again"):
        again = stack.ngr.decloud(work=tmp_path, **QUICK)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    assert [p for p in before if before[p] != after[p]] == [lost]
    assert again.identical(first)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 2}, "seed was 1 and is 2"),
        ({"tile": 48}, "tile was 40 and is 48"),
        ({"dates": "2023-08-18"}, "2023-08-18"),
        ({"dilate": 0}, "other which pixels count as observed"),
    ],
)
def test_another_job_is_refused(stack: xr.Dataset, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    stack.ngr.decloud(work=tmp_path, **QUICK)
    with pytest.raises(InputError, match=says) as told:
        stack.ngr.decloud(work=tmp_path, **{**QUICK, **change})
    assert "restart=True" in str(told.value)
    stack.ngr.decloud(work=tmp_path, restart=True, **{**QUICK, **change})


def test_a_folder_with_other_files_is_not_taken(stack: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        stack.ngr.decloud(work=tmp_path, **QUICK)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"


def test_two_runs_do_not_meet_in_one_folder(stack: xr.Dataset, tmp_path: Path) -> None:
    job = {"version": "1", "verb": "decloud", "tile": 40, "shape": [], "pixels": {}}
    with work.opened(work.Folder(tmp_path), job), pytest.raises(InputError, match="Another run"):
        stack.ngr.decloud(work=tmp_path, **QUICK)


def test_a_folder_that_cannot_be_written(stack: xr.Dataset) -> None:
    with pytest.raises(OutputError, match="work=") as told:
        stack.ngr.decloud(work="/proc/work", **QUICK)
    assert "--work" in told.value.on_command_line


def test_a_disk_that_fills_up_keeps_what_is_finished(stack: xr.Dataset, expected: xr.Dataset, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "150k") as small:
        with pytest.raises(OutputError, match="No space left"):
            stack.ngr.decloud(work=small / "work", **QUICK)
        kept = list((small / "work" / "tiles").glob("*.npz"))
        assert kept
        deadline = time.monotonic() + 10  # a tile that was being written when another failed is given up a moment later
        while list((small / "work" / "tiles").glob(".*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list((small / "work" / "tiles").glob(".*"))
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        assert_same(stack.ngr.decloud(work=small / "work", **QUICK), expected)


def test_a_damaged_input_spares_the_other_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is met halfway: the sample that the scene is learnt from does not reach the damage."""
    monkeypatch.setattr(cubes, "SAMPLE_VALUES", 30_000)
    monkeypatch.setattr(cubes, "SAMPLE_SIZE", 32)
    monkeypatch.setattr("ngr_geo.io.rasters._CHUNK", 32)
    files, masks = write_crops(tmp_path / "in"), write_masks(tmp_path / "in")
    whole = read_stack(files, masks, lazy=True)
    keywords: dict[str, Any] = {**QUICK, "tile": 24, "overlap": 4, "refine": False}
    assert whole.raster.ngr.plan(whole.clouds, tile=24, overlap=4).tiles == 16
    sound = files[1].read_bytes()
    damage(files[1])
    folder = work.Folder(tmp_path / "work", inputs=whole.inputs)
    with pytest.raises(TilesFailedError, match="each tried twice") as told:
        whole.raster.ngr.decloud(whole.clouds, work=folder, **keywords)
    failures = told.value.failures
    assert 0 < len(failures) < 16
    assert all(f["rows"][1] > 32 and f["columns"][1] > 32 for f in failures)  # type: ignore[index]
    assert str(files[1]) in str(told.value)
    assert len(list((tmp_path / "work" / "tiles").glob("*.npz"))) == 16 - len(failures)
    files[1].write_bytes(sound)
    mended = whole.raster.ngr.decloud(whole.clouds, work=folder, **keywords)
    np.testing.assert_array_equal(mended.values, whole.raster.ngr.decloud(whole.clouds, **keywords).values)


def test_the_command_tells_of_tiles_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_crops(tmp_path / "in"), write_masks(tmp_path / "in")

    def fail(*_: Any) -> None:
        raise ValueError("a cosmic ray")

    monkeypatch.setattr(executors, "_solve_and_keep", fail)
    files = tmp_path / "in" / "S2_*.tif", "--clouds", tmp_path / "in" / "SCL_*.tif"
    result = invoke("decloud", *files, "-o", tmp_path / "out", "--work", tmp_path / "work", "--json")
    assert result.exit_code == console.FAILED_TILES
    told = json.loads(result.stdout)
    assert told["failures"][0]["cause"] == "ValueError: a cosmic ray"
    assert told["failures"][0]["rows"] == [0, 64]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [1])
def test_killed_at_three_moments_and_resumed(tmp_path: Path, seed: int) -> None:
    """SIGKILL while tiles are solved, twice, and while the result is written; nothing is under a final name before the end."""
    write_crops(tmp_path / "in", size=96), write_masks(tmp_path / "in", size=96)
    files = (tmp_path / "in" / "S2_*.tif", "--clouds", tmp_path / "in" / "SCL_*.tif")
    command = ("decloud", *files, "--tile", 32, "--overlap", 6, "--method", "guide", "--work", tmp_path / "work", "-o")
    plain = invoke(*command, tmp_path / "plain")
    assert plain.exit_code == 0, plain.output
    draw = random.Random(seed)
    goals = sorted(draw.sample(range(1, 20), 2))

    def reached(goal: int | None) -> bool:
        if goal is None:
            return bool(list((tmp_path / "out").glob(".*.part")))
        return len(list((tmp_path / "work" / "tiles").glob("*.npz"))) >= goal

    for goal in (*goals, None):
        run = ngr_geo(*command, tmp_path / "out", cwd=tmp_path)
        while run.poll() is None and not reached(goal):
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        assert not list((tmp_path / "out").glob("[!.]*.tif"))
        assert (tmp_path / "work" / "job.json").exists()
    last = invoke(*command, tmp_path / "out")
    assert last.exit_code == 0, last.output
    results = [sorted((tmp_path / name).glob("*.tif")) for name in ("plain", "out")]
    assert len(results[0]) == len(results[1]) == 6
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(pixels([one]), pixels([two]))
    assert hidden_files(tmp_path) == []
    assert not (tmp_path / "work").exists()


def test_the_command_runs_on_a_cluster_by_address(tmp_path: Path, cluster: Any) -> None:
    write_crops(tmp_path / "in"), write_masks(tmp_path / "in")
    command = ("decloud", tmp_path / "in" / "S2_*.tif", "--clouds", tmp_path / "in" / "SCL_*.tif", *("--seed", "1"))
    assert invoke(*command, "-o", tmp_path / "here", "--method", "guide").exit_code == 0
    there = invoke(*command, "-o", tmp_path / "there", "--method", "guide", "--scheduler", cluster.scheduler_address)
    assert there.exit_code == 0, there.output
    ours, theirs = (pixels(sorted((tmp_path / name).glob("S2*.tif"))[::2]) for name in ("here", "there"))
    np.testing.assert_array_equal(ours, theirs)
    nobody = invoke(*command, "-o", tmp_path / "nobody", "--scheduler", "tcp://127.0.0.1:9")
    assert nobody.exit_code == console.BAD_INPUT
    assert "dask scheduler" in nobody.output


def test_tiles_go_to_workers_with_gpus_where_there_are_any(
    stack: xr.Dataset, expected: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker declares `GPU`, the other does not; what is behind it makes no difference to where tiles go."""
    monkeypatch.setattr(executors, "_solve_and_keep", _noted)
    kinds = {"with": {"resources": {"GPU": 1}}, "without": {}}
    workers = {
        name: {"cls": distributed.Worker, "options": {"nthreads": 1, "dashboard": False, **kind}}
        for name, kind in kinds.items()
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster,
        distributed.Client(cluster),
    ):
        result = lazy(stack).ngr.decloud(work=tmp_path, device="cpu", **QUICK)
    assert SOLVERS == ["with"] * len(grid((96, 80), 40, 6))
    assert_same(result.compute(), expected)


def _noted(*arguments: Any) -> None:
    SOLVERS.append(distributed.get_worker().name)
    _solve_and_keep(*arguments)


def test_a_graph_reads_nothing_and_carries_nothing_large() -> None:
    read = []

    def block(block_info: Any = None) -> np.ndarray:
        read.append(block_info)
        return np.ones((2, 3, 512, 512), np.uint16)

    values = da.map_blocks(
        block, chunks=((2,), (3,), (512,) * 8, (512,) * 8), dtype=np.uint16, meta=np.empty(0, np.uint16)
    )
    scene = xr.DataArray(
        values, dims=("time", "band", "y", "x"), coords={"time": np.array(["2024-01-01", "2024-02-01"], "M8[ns]")}
    )
    cloud = xr.DataArray(
        da.zeros((2, 4096, 4096), bool, chunks=(1, 512, 512)), dims=("time", "y", "x"), coords={"time": scene.time}
    )
    result = scene.ngr.decloud(cloud, dilate=0)
    graph: dict[Any, Any] = {}

    def scheduler(tasks: Any, keys: Any, **_: Any) -> Any:
        graph.update(tasks.__dask_graph__() if hasattr(tasks, "__dask_graph__") else tasks)  # as old Dask has them
        raise InterruptedError

    with pytest.raises(InterruptedError):
        result.data.compute(scheduler=scheduler)
    assert not read
    assert max(len(cloudpickle.dumps(task)) for task in graph.values()) < 200_000  # a tile of this scene has 800 kB
    assert sum("solve" in str(key) for key in graph) == len(grid((4096, 4096), 256, 32))


@pytest.mark.shared_data
def test_a_landsat_mosaic_through_the_command_line(shared_data: Path, tmp_path: Path) -> None:
    """A part of 420 x 470 pixels, real cloud masks laid over it: georeferencing, overviews, tags, measured pixels and seams."""
    source = tmp_path / "LC08_20200518.tif"
    with rasterio.open(next((shared_data / "landsat").glob("*.tif"))) as whole:
        part = Window(900, 700, 470, 420)
        profile = whole.profile | {"width": 470, "height": 420, "transform": whole.window_transform(part)}
        with rasterio.open(source, "w", **profile) as crop:
            crop.write(whole.read(window=part))
    archive = np.load(shared_data / "masks" / "masks_256.npz")
    clouds = archive[archive.files[0]].astype(np.uint8)
    with rasterio.open(source, "r+") as image:
        image.build_overviews([2, 4, 8], Resampling.average)
        image.update_tags(1, wavelength="482")
        image.update_tags(SENSOR="OLI")
        shape, profile, data = image.shape, image.profile, image.read().any(axis=0)
    mask = np.zeros(shape, np.uint8)
    for number, (row, column) in enumerate((r, c) for r in (0, 164) for c in (0, 214)):
        mask[row : row + 256, column : column + 256] = clouds[number % len(clouds)]
    mask &= data
    profile.update(count=1, dtype="uint8", nodata=None)
    with rasterio.open(
        tmp_path / "mask_20200518.tif", "w", **{k: v for k, v in profile.items() if v is not None}
    ) as file:
        file.write(mask, 1)
    arguments = (
        source,
        "--missing",
        tmp_path / "mask_20200518.tif",
        "-o",
        tmp_path / "out.tif",
        "--method",
        "guide",
        "--json",
    )
    run = ngr_geo("inpaint", *arguments, "--work", tmp_path / "work", cwd=tmp_path)
    told, errors = run.communicate(timeout=900)
    assert run.returncode == 0, errors
    assert json.loads(told)["tiles"]["total"] == 9
    with rasterio.open(source) as old, rasterio.open(tmp_path / "out.tif") as new:
        assert (new.crs, new.transform, new.nodata, new.dtypes) == (old.crs, old.transform, old.nodata, old.dtypes)
        assert new.overviews(1) == [2, 4, 8]
        assert new.tags()["SENSOR"] == "OLI"
        assert new.tags(1)["wavelength"] == "482"
        before, after = old.read(), new.read()
    hole = mask > 0
    np.testing.assert_array_equal(after[:, mask == 0], before[:, mask == 0])
    truth, filled = before[:, hole].astype(float), after[:, hole].astype(float)
    assert np.sqrt(((filled - truth) ** 2).mean()) < 0.8 * truth.std(axis=1).mean()
    edges = sorted({t.row.core_start for t in grid(shape, 256, 32)} - {0})
    step = np.abs(np.diff(after.astype(float), axis=1))
    inside = hole[1:] & hole[:-1]
    seam = np.concatenate([step[:, e - 1][:, inside[e - 1]].ravel() for e in edges])
    beside = np.concatenate([step[:, e + 40][:, inside[e + 40]].ravel() for e in edges if e + 41 < shape[0]])
    assert seam.mean() < 1.15 * beside.mean()
