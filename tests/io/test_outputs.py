"""Outputs that are whole or not there: nothing is overwritten unasked, nothing is left half-written."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rioxarray
import xarray as xr
from running import small_disk
from small_stack import as_result, hidden_files, pixels, write_crops, write_masks

from ngr_geo.errors import OutputError
from ngr_geo.io import check_output, formats, outputs, rasters, read_stack, write_stack
from ngr_geo.io import target as targets


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """And with overwrite=True everything is replaced, in all three forms."""
    stack = read_stack(write_crops(tmp_path))
    result = as_result(stack)
    for out in ("folder", "out.nc", "out.zarr"):
        write_stack(result, stack, tmp_path / out)
        with pytest.raises(OutputError, match="overwrite=True"):
            check_output(tmp_path / out, stack)
        with pytest.raises(OutputError, match="overwrite=True"):
            write_stack(result, stack, tmp_path / out)
        written = write_stack(result, stack, tmp_path / out, overwrite=True)
        assert all(path.exists() for path in written.all)
    assert hidden_files(tmp_path) == []


def test_what_another_program_wrote_among_the_attributes_is_kept_if_it_is_true(tmp_path: Path) -> None:
    """Nested attributes as Zarr holds them, in a NetCDF file as JSON; the transform of another grid is dropped, or mended."""
    axes = {"y": 40.0 - 10 * np.arange(4), "x": 10.0 * np.arange(5)}
    raster = xr.Dataset({"B02": (("y", "x"), np.zeros((4, 5), np.float32))}, axes).rio.write_crs(32633)
    raster.attrs = {"about": {"by": ["a", 1]}, "none": None, "spatial:transform": [1.0, 0.0, 7.0, 0.0, -1.0, 9.0]}
    for kind in (formats.ZARR, formats.NETCDF):
        assert kind.save is not None
        kind.save(raster, tmp_path / f"out{kind.endings[0]}", "")
    stored = xr.open_zarr(tmp_path / "out.zarr")
    can_write = hasattr(getattr(rioxarray, "enum", None), "Convention")
    assert stored.attrs["about"] == {"by": ["a", 1]}
    assert ("proj:wkt2" in stored.attrs) == can_write
    assert stored.attrs.get("spatial:transform") == ([10.0, 0.0, -5.0, 0.0, -10.0, 45.0] if can_write else None)
    with xr.open_dataset(tmp_path / "out.nc") as file:
        assert json.loads(file.attrs["about"]) == {"by": ["a", 1]}
    assert raster.attrs["none"] is None


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    """Not in their folder, not through links, not with overwrite=True, and no store around or inside them."""
    files, masks = write_crops(tmp_path / "in"), write_masks(tmp_path / "in")
    stack = read_stack(files, masks)
    before = pixels(files)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "hard").mkdir()
    os.link(files[0], tmp_path / "hard" / files[0].name)
    (tmp_path / "soft").mkdir()
    (tmp_path / "soft" / files[0].name).symlink_to(files[0])
    for out in ("in", "link", "hard", "soft", f"in/../in/{masks[0].name}"):
        target = tmp_path / out
        one = read_stack(files[0], masks[0]) if out.endswith(".tif") else stack
        with pytest.raises(OutputError, match="input"):
            write_stack(as_result(one), one, target, overwrite=True)
    np.testing.assert_array_equal(pixels(files), before)
    assert hidden_files(tmp_path) == []


def test_a_store_is_no_place_for_its_own_result(tmp_path: Path) -> None:
    """Zarr stores are folders: neither the same, nor inside, nor around."""
    stack = read_stack(write_crops(tmp_path, dates=2))
    write_stack(as_result(stack), stack, tmp_path / "a.zarr")
    one = read_stack(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr" / "inner.zarr")
    inner = read_stack(tmp_path / "b.zarr" / "inner.zarr")
    for source, out in ((one, "a.zarr"), (one, "a.zarr/x.nc"), (one, "a.zarr/x"), (inner, "b.zarr")):
        with pytest.raises(OutputError, match="input"):
            check_output(tmp_path / out, source, overwrite=True)


def test_only_what_is_a_store_is_replaced(tmp_path: Path) -> None:
    """A folder of someone's that happens to end in .zarr stays."""
    stack = read_stack(write_crops(tmp_path, dates=2))
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("years of work")
    (tmp_path / "a.nc").mkdir()
    for out in ("a.zarr", "a.nc"):
        with pytest.raises(OutputError, match="not replaced"):
            write_stack(as_result(stack), stack, tmp_path / out, overwrite=True)
    assert (tmp_path / "a.zarr" / "thesis.txt").read_text() == "years of work"


def test_two_inputs_of_one_name(tmp_path: Path) -> None:
    """Cannot both be written to one folder, but to one file."""
    files = [path.rename(path.with_name(f"{path.stem[-8:]}.tif")) for path in write_crops(tmp_path, dates=2)]
    for file in files:
        (tmp_path / file.stem).mkdir()
        file.rename(tmp_path / file.stem / "scene.tif")
    stack = read_stack(f"{tmp_path}/*/scene.tif", date_pattern="tag:DATE")
    with pytest.raises(OutputError, match="one name"):
        outputs(tmp_path / "out", stack)
    assert outputs(tmp_path / "out.nc", stack).rasters == (tmp_path / "out.nc",)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """Not even the first file, though it was finished; the folders that were made for it go too."""
    stack = read_stack(write_crops(tmp_path / "in"))

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(error):
        write_stack(as_result(stack), stack, tmp_path / "a" / "b", progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("out", ["out", "out.nc", "out.zarr"])
def test_a_failing_computation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], out: str
) -> None:
    """Lazy results are computed while they are written."""
    monkeypatch.setattr(rasters, "LARGE", 0)
    stack = read_stack(write_crops(tmp_path / "in"))
    result = as_result(stack)

    def fail(block: np.ndarray) -> np.ndarray:
        raise error

    result = result.copy(data=result.data.map_blocks(fail, meta=np.empty((0,) * 4, result.dtype)))
    with pytest.raises(error):
        write_stack(result, stack, tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB."""
    with small_disk(tmp_path / "disk", "200k") as place:
        yield place


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("compress", ["deflate", None])
@pytest.mark.parametrize("out", ["out", "out.nc", "out.zarr"])
def test_a_full_disk_is_one_clear_error(
    tmp_path: Path, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, out: str, compress: str | None, lazy: bool
) -> None:
    """Also where GDAL notices only when it closes the file; nothing is left."""
    monkeypatch.setattr(rasters, "LARGE", 0 if lazy else rasters.LARGE)
    predictor = 2 if compress else None
    stack = read_stack(write_crops(tmp_path / "in", size=128, compress=compress, predictor=predictor))
    noise = np.random.default_rng(0).integers(1, 60000, stack.raster.shape, dtype=np.uint16)
    result = as_result(stack)
    assert isinstance(result, xr.DataArray)
    result = result.copy(data=result.chunk().copy(data=noise).chunk(y=40).data if lazy else noise)
    monkeypatch.setattr(
        "ngr_geo.io.planned.least_size", lambda planned, stack: 0
    )  # the check before solving let it pass
    with pytest.raises(OutputError, match=r"could not be written: .*free") as caught:
        write_stack(result, stack, tiny_disk / out)
    assert "\n" not in str(caught.value)
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_is_too_small_is_known_before(tmp_path: Path, tiny_disk: Path) -> None:
    """From the sizes of the inputs."""
    stack = read_stack(write_crops(tmp_path / "in", size=200))
    with pytest.raises(OutputError, match="at least"):
        check_output(tiny_disk / "out", stack)


@pytest.mark.parametrize("name", ["out.jpg", "out.h5", "out.png", "out.jp2", "out.gpkg", "out.SAFE", "out.hdr"])
def test_an_unknown_ending_is_no_folder(tmp_path: Path, name: str) -> None:
    """The known ones are listed."""
    stack = read_stack(write_crops(tmp_path / "in", dates=1))
    with pytest.raises(OutputError) as caught:
        outputs(tmp_path / name, stack)
    assert ("out.img" if name == "out.hdr" else ".zarr") in caught.value.on_command_line
    assert "-o " in caught.value.on_command_line and "out=" in str(caught.value)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["out", "mosaic_v1.2", "2023.08.15", "out.jpg/", "there.d"])
def test_a_folder_has_no_ending_or_is_there_or_ends_in_a_slash(tmp_path: Path, name: str) -> None:
    """Versions and days are no endings."""
    (tmp_path / "there.d").mkdir()
    stack = read_stack(write_crops(tmp_path / "in", dates=2))
    assert outputs(f"{tmp_path}/{name}", stack).rasters[0].parent == tmp_path / name


@pytest.mark.parametrize("name", ["out.TIF", "out.nc4", "out.cdf", "out.NETCDF", "out.IMG"])
def test_what_can_be_read_can_be_written(tmp_path: Path, name: str) -> None:
    """Upper case, and all the endings of NetCDF; the file is there when it is said to be."""
    stack = read_stack(write_crops(tmp_path / "in", dates=1))
    written = write_stack(as_result(stack), stack, tmp_path / name)
    assert written.rasters == (tmp_path / name,)
    again = read_stack(tmp_path / name)
    values = again.raster.to_array() if hasattr(again.raster, "to_array") else again.raster
    assert values.shape[-2:] == (64, 64)
    assert hidden_files(tmp_path) == []


def test_only_a_full_disk_is_told_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else went wrong is said as it is."""
    with (
        pytest.raises(OutputError, match="Choose another place or format") as caught,
        targets.naming_errors(tmp_path / "a"),
    ):
        raise OSError("Width and height must be a multiple of 16")
    assert "Free" not in str(caught.value) and "multiple of 16" in str(caught.value)
    with pytest.raises(OutputError, match="Free some space"), targets.naming_errors(tmp_path / "a"):
        raise OSError(28, "No space left on device")


def test_a_format_is_added_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its row, its ending is known, it is written whole or not at all, and messages list it."""

    def save(dataset: xr.Dataset, path: Path, source: str) -> None:
        with path.open("wb") as file:
            np.save(file, dataset.to_array().values)

    row = formats.Format("NumPy", (".npy",), "application/octet-stream", save=save)
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, row))
    stack = read_stack(write_crops(tmp_path / "in"))
    written = write_stack(as_result(stack), stack, tmp_path / "out.npy")
    assert written.all == (tmp_path / "out.npy",)
    values = np.load(written.rasters[0], allow_pickle=False)  # (band, time, y, x)
    np.testing.assert_array_equal(values[:, :, 5:], pixels(list(map(Path, stack.inputs))).swapaxes(0, 1)[:, :, 5:])
    with pytest.raises(OutputError, match=r"\.npy \(NumPy\)"):
        outputs(tmp_path / "out.jpg", stack)
    assert hidden_files(tmp_path) == []
