"""A job that goes on in a work folder: nothing of another scene, tile or job gets into its result, and nothing damaged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from running import invoke
from small_cube import clean_cube, raster
from small_stack import write_crops, write_masks

from ngr_geo import InputError
from ngr_geo.cli import console
from ngr_geo.io import read_stack
from ngr_geo.methods.checkpoint import load
from ngr_geo.raster import cube as cubes
from ngr_geo.samples import sample
from ngr_geo.tiling import executors, jobs, store, work

QUICK: dict[str, Any] = {"method": "guide", "tile": 24, "overlap": 4, "seed": 1}
SPECTRAL: dict[str, Any] = {"method": "guide", "tile": 40, "overlap": 4}


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of 56 x 48 pixels: 4 x 3 tiles."""
    return sample("slovenia").isel(time=slice(2, 5), y=slice(60, 116), x=slice(50, 98))


@pytest.fixture(scope="module")
def other() -> xr.Dataset:
    """Another place with the same dates and bands, and other units."""
    there = sample("slovenia").isel(time=slice(2, 5), y=slice(0, 56), x=slice(150, 198))
    bright = [name for name in there.data_vars if name != "SCL"]
    return there.assign({name: there[name] * 2 + np.asarray(50, there[name].dtype) for name in bright})


@pytest.fixture(scope="module")
def expected(stack: xr.Dataset) -> xr.Dataset:
    """Filled in memory."""
    return stack.ngr.decloud(**QUICK)


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene is learnt from two windows far from its lower right corner, as from some windows of a large one."""
    monkeypatch.setattr(cubes, "SAMPLE_VALUES", 6_200)
    monkeypatch.setattr(cubes, "SAMPLE_SIZE", 16)


def spectral_pair() -> list[xr.DataArray]:
    """Two noisy cubes, the second three times as bright."""
    noise = np.random.default_rng(0).normal(0, 0.05, clean_cube().shape)
    return [raster((clean_cube() + noise)[:12] * factor) for factor in (1, 3)]


def kept(folder: Path) -> list[Path]:
    """Return the records of a work folder."""
    return sorted((folder / "tiles").glob("[0-9]*.npz"))


# --- what was learnt is known by its content -------------------------------------------------------------------------


def test_two_rasters_in_one_process_share_nothing(
    stack: xr.Dataset, other: xr.Dataset, expected: xr.Dataset, tmp_path: Path
) -> None:
    fresh = other.ngr.decloud(**QUICK)
    for scene, want in ((stack, expected), (other, fresh)):
        assert scene.ngr.decloud(work=tmp_path / "work", restart=True, **QUICK).identical(want)
    shutil.rmtree(tmp_path / "work")
    assert other.ngr.decloud(work=tmp_path / "work", **QUICK).identical(fresh)


def test_two_rasters_on_one_cluster_share_nothing(
    stack: xr.Dataset, other: xr.Dataset, expected: xr.Dataset, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    fresh, cubes = other.ngr.decloud(**QUICK), spectral_pair()
    clean = [cube.ngr.denoise(**SPECTRAL) for cube in cubes]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        for scene, want in ((stack, expected), (other, fresh)):
            result = scene.chunk(y=30, x=30).ngr.decloud(work=tmp_path / "work", restart=True, **QUICK).compute()
            for name in (*scene.data_vars, "filled"):
                np.testing.assert_array_equal(result[name], want[name])
            assert result.attrs["ngr_dates"] == want.attrs["ngr_dates"]
        for cube, one in zip(cubes, clean, strict=True):
            again = cube.chunk(y=30, x=30).ngr.denoise(work=tmp_path / "spectral", restart=True, **SPECTRAL)
            np.testing.assert_array_equal(again.compute(), one)


def test_the_prior_of_another_scene_is_not_used(
    stack: xr.Dataset, other: xr.Dataset, expected: xr.Dataset, tmp_path: Path
) -> None:
    stack.ngr.decloud(work=tmp_path / "here", **QUICK)
    other.ngr.decloud(work=tmp_path / "there", **QUICK)
    shutil.copy(tmp_path / "there" / "prior.safetensors", tmp_path / "here")
    kept(tmp_path / "here")[4].unlink()
    with pytest.warns(UserWarning, match="learnt again: .* holds another prior"):
        assert stack.ngr.decloud(work=tmp_path / "here", **QUICK).identical(expected)


def test_a_flipped_bit_in_a_prior_is_noticed(stack: xr.Dataset, tmp_path: Path) -> None:
    path, draw = tmp_path / "prior.safetensors", random.Random(5)
    stack.ngr.prior(method="guide").save(path)
    sound = path.read_bytes()
    for place in [9, 40, *draw.sample(range(len(sound)), 60)]:
        path.write_bytes(_flipped(sound, place, draw))
        with pytest.raises(InputError, match="prior"):
            load(path)


# --- the input is the one that finished tiles were solved from -------------------------------------------------------


def _files(folder: Path) -> tuple[list[Path], Any, dict[str, Any]]:
    """Return three files, a function that restores them in a work folder, and its keywords."""
    files, clouds = write_crops(folder / "in"), write_masks(folder / "in")
    keywords: dict[str, Any] = {**QUICK, "tile": 32}

    def call(**more: Any) -> Any:
        whole = read_stack(files, clouds, lazy=True)
        return whole.raster.ngr.decloud(
            whole.clouds, work=work.Folder(folder / "work", inputs=whole.inputs), **keywords, **more
        )

    return files, call, keywords


def _brighter(path: Path, row: int, column: int) -> None:
    """Change one pixel of a file in place."""
    with rasterio.open(path, "r+") as image:
        image.write(image.read() + (np.indices(image.shape) == np.reshape((row, column), (2, 1, 1))).all(0))


@pytest.mark.usefixtures("small_sample")
def test_a_file_that_changed_beyond_the_sample_is_named(tmp_path: Path) -> None:
    files, call, _ = _files(tmp_path)
    call()
    assert len(kept(tmp_path / "work")) == 9
    _brighter(files[1], 60, 61)  # in the last tile alone, in no window that the scene is learnt from
    with pytest.raises(InputError, match=r"tile 8 \(rows 38-63, columns 38-63\)") as refused:
        call()
    assert "other values in" in str(refused.value)
    assert f"Changed since: {files[1]} (" in str(refused.value)
    assert all(str(file) not in str(refused.value) for file in (files[0], files[2]))
    assert "--restart" in refused.value.on_command_line
    assert len(kept(tmp_path / "work")) == 9


@pytest.mark.usefixtures("small_sample")
def test_a_change_that_no_finished_tile_has_read_is_no_other_job(tmp_path: Path) -> None:
    """What comes out is what a run from the start gives: bit for bit."""
    files, call, keywords = _files(tmp_path)
    call()
    kept(tmp_path / "work")[8].unlink()
    _brighter(files[1], 60, 61)
    whole = read_stack(files, sorted((tmp_path / "in").glob("SCL*")), lazy=True)
    np.testing.assert_array_equal(call().values, whole.raster.ngr.decloud(whole.clouds, **keywords).values)


@pytest.mark.usefixtures("small_sample")
def test_the_command_names_the_file_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in which a tile fails keeps its folder; the next finds another file."""
    solve_and_keep = executors._solve_and_keep

    def fail(method: Any, model: Any, read: Any, tile: Any, *more: Any) -> None:
        if tile.number == 3:
            raise ValueError("a cosmic ray")
        solve_and_keep(method, model, read, tile, *more)

    files, masks = write_crops(tmp_path / "in"), write_masks(tmp_path / "in")
    command = ["decloud", *files, "--clouds", *masks, "-o", tmp_path / "out", "--work", tmp_path / "work"]
    command += ["--method", "guide", "--tile", "24", "--overlap", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(executors, "_solve_and_keep", fail)
        assert invoke(*command).exit_code == console.FAILED_TILES
    _brighter(files[0], 60, 60)
    refused = invoke(*command)
    assert refused.exit_code == console.BAD_INPUT
    told = " ".join(refused.output.replace("\n", "").split())
    assert f"{files[0]} (".replace(" ", "") in told.replace(" ", "")
    assert "--restart" in told
    assert "restart=True" not in told
    assert invoke(*command, "--restart").exit_code == 0


def test_a_file_that_was_touched_is_the_same(tmp_path: Path) -> None:
    files, call, _ = _files(tmp_path)
    first = call()
    for file in files:
        os.utime(file, ns=(1, 1))
    before = {path: path.stat().st_mtime_ns for path in kept(tmp_path / "work")}
    np.testing.assert_array_equal(call().values, first.values)
    assert before == {path: path.stat().st_mtime_ns for path in kept(tmp_path / "work")}
    assert {tuple(stamp)[1] for name, stamp in jobs.read(tmp_path / "work")["inputs"].items() if "S2" in name} == {1}


def test_a_file_that_changes_while_tiles_are_solved_is_named(tmp_path: Path) -> None:
    files, call, _ = _files(tmp_path)

    def meddle(stage: str, done: int, total: int) -> None:
        if stage == "tiles":
            os.utime(files[2], ns=(done, done))

    with pytest.raises(InputError, match=f"{files[2]} changed while the tiles were solved"):
        call(progress=meddle)
    call()


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("kind", ["memory", "dask"])
def test_pixels_without_files_are_compared_too(stack: xr.Dataset, tmp_path: Path, kind: str) -> None:
    changed = stack.copy(deep=True)
    changed["B03"][1, -2, -2] += 1
    masked = stack.copy(deep=True)
    masked["SCL"][0, -2, -2] = 9 if int(stack["SCL"][0, -2, -2]) != 9 else 4
    if kind == "dask":
        stack, changed, masked = (scene.chunk(y=30, x=30) for scene in (stack, changed, masked))
    stack.ngr.decloud(work=tmp_path, dilate=0, **QUICK)
    with pytest.raises(InputError, match=r"other values in tile 11 .*restart=True"):
        changed.ngr.decloud(work=tmp_path, dilate=0, **QUICK)
    with pytest.raises(InputError, match=r"other which pixels count as observed .* in tile 11 "):
        masked.ngr.decloud(work=tmp_path, dilate=0, **QUICK)
    assert stack.ngr.decloud(work=tmp_path, dilate=0, **QUICK).ngr is not None


@pytest.mark.usefixtures("small_sample")
def test_pixels_of_a_cube_are_compared_too(tmp_path: Path) -> None:
    cube = spectral_pair()[0]
    first = cube.ngr.denoise(work=tmp_path, **SPECTRAL)
    assert cube.ngr.denoise(work=tmp_path, **SPECTRAL).identical(first)
    changed = cube.copy(deep=True)
    changed[3, -1, -1] += 1
    with pytest.raises(InputError, match="other values in tile 3 "):
        changed.ngr.denoise(work=tmp_path, **SPECTRAL)


def test_the_file_that_a_raster_was_opened_from_is_named(tmp_path: Path) -> None:
    xr.DataArray(np.ones((2, 3)), dims=("y", "x")).to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as opened:
        assert jobs.sources(opened) == (str(tmp_path / "a.nc"),)
    assert jobs.sources(xr.Dataset()) == ()


def test_gaps_beyond_a_sample_of_one_window_are_filled(
    stack: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a long series: so many dates and bands that one window is all that the scene is learnt from."""
    monkeypatch.setattr(cubes, "SAMPLE_VALUES", 4_000)
    monkeypatch.setattr(cubes, "SAMPLE_SIZE", 16)
    clouds = xr.zeros_like(stack["SCL"], dtype=bool).drop_attrs()
    clouds[0, 40:50, 30:40] = True
    clear = stack.drop_vars("SCL")
    result = clear.ngr.decloud(clouds, dilate=0, **QUICK)
    assert int(result.filled.sum()) == 100
    for one in (
        clear.chunk(y=30, x=30).ngr.decloud(clouds, dilate=0, **QUICK),
        clear.ngr.decloud(clouds, dilate=0, work=tmp_path, **QUICK),
    ):
        np.testing.assert_array_equal(one.B03, result.B03)


# --- records ---------------------------------------------------------------------------------------------------------


def test_records_elsewhere_are_solved_again(
    stack: xr.Dataset, other: xr.Dataset, expected: xr.Dataset, tmp_path: Path
) -> None:
    for scene, name in ((stack, "here"), (other, "there")):
        scene.ngr.decloud(work=tmp_path / name, **QUICK)
    here, there = kept(tmp_path / "here"), kept(tmp_path / "there")
    spare = here[0].read_bytes()
    here[0].write_bytes(here[1].read_bytes())
    here[1].write_bytes(spare)
    shutil.copy(there[5], here[5])
    with pytest.warns(UserWarning, match="3 of another tile or another job: solved again"):
        assert stack.ngr.decloud(work=tmp_path / "here", **QUICK).identical(expected)
    assert stack.ngr.decloud(work=tmp_path / "here", **QUICK).identical(
        expected
    )  # without a warning: it is whole again


def test_damaged_records_are_solved_again_and_counted(stack: xr.Dataset, expected: xr.Dataset, tmp_path: Path) -> None:
    stack.ngr.decloud(work=tmp_path, **QUICK)
    files = kept(tmp_path)
    with np.load(files[5]) as file:
        content = dict(file)
    files[0].write_bytes(_flipped(files[0].read_bytes(), files[0].stat().st_size // 2, random.Random(0)))
    files[1].write_bytes(files[1].read_bytes()[:100])
    files[2].write_bytes(b"")
    np.savez(files[3], values=np.ones(3))  # of another program
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").replace(files[4])
    np.savez(files[5], **{**content, "missing": content["missing"] + 1})  # ours, changed
    with pytest.warns(UserWarning, match="6 damaged: solved again"):
        assert stack.ngr.decloud(work=tmp_path, **QUICK).identical(expected)


def test_any_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Whatever a flip meets (the archive, a header, a label, values), reading ends in one kind of error or the same content."""
    draw, slot = random.Random(3), store.Slot(str(tmp_path / "000001.npz"), "job", (1, 2, 3))
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {**store.sparse("values", values, values > 5), "outcome": "solved", "pixels": 24}
    store.keep(slot, [values, values > 3, None], arrays, {"seconds": 1})
    assert store.check(slot, [values, values > 3, None]) == ""
    assert store.check(slot, [values, values > 4, None]) == "observed"
    assert store.check(slot, [values.astype(float), values > 4, values]) == "values, observed, gaps"
    assert store.check(slot._replace(job="another"), [values]) == "misplaced"
    assert store.check(slot._replace(place=(2, 2, 3)), [values]) == "misplaced"
    assert store.check(slot._replace(path=str(tmp_path / "none.npz")), [values]) == "damaged"
    with store.opened_at(slot) as record:
        stored = store.Stored(slot.path, "values", record.seal)
    wanted, path = stored.load(), Path(slot.path)
    assert wanted is not None
    sound, noticed = path.read_bytes(), 0
    for place in draw.sample(range(len(sound)), 400):
        path.write_bytes(_flipped(sound, place, draw))
        noticed += store.check(slot, [values, values > 3, None]) == "damaged"
        try:
            np.testing.assert_array_equal(stored.load(), wanted)  # type: ignore[arg-type]
        except InputError as error:
            assert "this tile is solved again" in str(error)
    assert noticed > 150
    for size in range(0, len(sound), 97):
        path.write_bytes(sound[:size])
        assert store.check(slot, [values, values > 3, None]) == "damaged"


def test_a_lazy_result_gives_no_pixels_of_a_damaged_or_another_record(
    stack: xr.Dataset, other: xr.Dataset, expected: xr.Dataset, tmp_path: Path
) -> None:
    lazy = stack.chunk(y=30, x=30)
    result = lazy.ngr.decloud(work=tmp_path, **QUICK)
    lazy.ngr.decloud(work=tmp_path, restart=True, **QUICK)  # the same job: the same records
    np.testing.assert_array_equal(result.B03, expected.B03)
    record = kept(tmp_path)[4]
    sound = record.read_bytes()
    record.write_bytes(sound[:-40])
    with pytest.raises(InputError, match="Run the same again, and this tile is solved again"):
        result.compute()
    record.write_bytes(sound)
    second = other.chunk(y=30, x=30).ngr.decloud(work=tmp_path, restart=True, **QUICK)
    with pytest.raises(InputError, match="another record than the one that this result was made with"):
        result.compute()
    second.compute()
    jobs.remove(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        second.compute()


# --- interrupted or not ----------------------------------------------------------------------------------------------

FINE: dict[str, Any] = {"method": "guide", "tile": 12, "overlap": 2, "uncertainty": True}
INTERRUPTED = f"""
import sys, ngr_geo
stack = ngr_geo.sample("slovenia").isel(time=slice(2, 5), y=slice(60, 116), x=slice(50, 98))
stack.ngr.decloud(work=sys.argv[1], **{FINE})
"""


def test_a_killed_run_differs_in_nothing_but_when_it_was_made(
    stack: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the middle of tiles; values, coordinates and attributes, but for `ngr_made`."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    run = subprocess.Popen([sys.executable, "-c", INTERRUPTED, tmp_path / "work"])
    while run.poll() is None and len(kept(tmp_path / "work")) < 5:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in kept(tmp_path / "work")}
    assert 5 <= len(before) < 42
    one, two = (stack.ngr.decloud(work=tmp_path / name, **FINE) for name in ("plain", "work"))
    assert len(kept(tmp_path / "work")) == len(kept(tmp_path / "plain")) == 42
    assert before == {path: path.stat().st_mtime_ns for path in before}  # what was finished was taken over
    assert one.attrs.pop("ngr_made") <= two.attrs.pop("ngr_made")
    assert two.identical(one)


def _flipped(content: bytes, place: int, draw: random.Random) -> bytes:
    """Return content with one bit changed in a byte."""
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
