"""Places that cannot be written to: known before solving, in one clear line."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from one_line import arguments, check_one_line, decloud, files, without_notes
from running import small_disk
from small_stack import hidden_files, pixels, rewrite

from ngr_geo.cli import console


def _a_file_above(folder: Path) -> Iterator[Path]:
    (folder / "file").write_text("")
    yield folder / "file" / "out"


def _a_file(folder: Path) -> Iterator[Path]:
    (folder / "out").write_text("")
    yield folder / "out"


def _proc(folder: Path) -> Iterator[Path]:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    yield Path("/proc/ngr_out")


def _immutable(folder: Path) -> Iterator[Path]:
    place = folder / "fixed"
    place.mkdir()
    if (
        shutil.which("chattr") is None
        or subprocess.run(["chattr", "+i", place], capture_output=True, check=False).returncode
    ):
        pytest.skip("no right to make a folder immutable")
    try:
        yield place / "out"
    finally:
        subprocess.run(["chattr", "-i", place], check=True)


def _read_only(folder: Path) -> Iterator[Path]:
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("this user may write to read-only folders")
    place = folder / "fixed"
    place.mkdir(mode=0o500)
    yield place / "out"


@pytest.mark.parametrize("suffix", ["", ".nc", ".zarr"])
@pytest.mark.parametrize(
    "place", [_a_file_above, _a_file, _proc, _immutable, _read_only], ids=lambda place: place.__name__
)
def test_an_unwritable_output_is_known_before_solving(
    folder: Path, place: Callable[[Path], Iterator[Path]], suffix: str
) -> None:
    """Its parent is a file, it is one itself, no right to write."""
    places = place(folder.parent)
    out = next(places)
    try:
        result = decloud(*arguments(folder), "-o", out.with_suffix(suffix) if out.exists() is False else out)
        check_one_line(result, console.BAD_OUTPUT, ["-o"])
        assert hidden_files(folder.parent) == []
    finally:
        places.close()  # type: ignore[attr-defined]


def test_several_dates_do_not_fit_one_tiff(folder: Path) -> None:
    """A folder would."""
    check_one_line(decloud(*arguments(folder), "-o", folder / "out.tif"), console.BAD_OUTPUT, ["3 dates", "folder"])


@pytest.mark.parametrize("picture", ["look", "file/look.png"])
def test_a_picture_that_cannot_be_written_is_known_before_solving(folder: Path, picture: str) -> None:
    """It is a folder, or in a file."""
    (folder.parent / "look").mkdir()
    (folder.parent / "file").write_text("")
    result = decloud(*arguments(folder), "-o", folder.parent / "out", "--quicklook", folder.parent / picture)
    check_one_line(result, console.BAD_OUTPUT, ["--quicklook"])
    assert not (folder.parent / "out").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 60 kB."""
    with small_disk(tmp_path / "disk", "60k") as place:
        yield place


def test_a_full_disk_is_known_before_solving(folder: Path, tiny_disk: Path) -> None:
    """From the size of the inputs."""
    result = decloud(*arguments(folder), "-o", tiny_disk / "out")
    check_one_line(result, console.BAD_OUTPUT, ["MB free", "at least", "-o"])
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_fills_up_while_writing(folder: Path, tiny_disk: Path) -> None:
    """Clouds of one value compress to nothing, what is filled in does not: known only when it happens."""
    for image, mask in zip(*files(folder), strict=True):
        values = pixels([image])[0]
        keep = np.ones((64, 64), bool)
        if image != files(folder)[0][0]:
            keep[:, 8:] = False
        rewrite(image, np.where(keep, values, 9000).astype(values.dtype))
        rewrite(mask, np.where(keep, 4, 9).astype(np.uint8)[None])
    sizes = sum(image.stat().st_size for image in files(folder)[0])
    assert sizes < 60_000
    result = decloud(*arguments(folder), "-o", tiny_disk / "out")
    result.stderr_bytes = without_notes(result.stderr_bytes)
    check_one_line(result, console.BAD_OUTPUT, ["could not be written", "MB free", "-o"])
    assert list(tiny_disk.iterdir()) == []
