"""What a user can get wrong: each case ends in one clear line and the right exit code, and writes nothing.

The line says what was found, what was expected and what to do. Whatever can be known before solving is: the command
tells how many tiles it will solve just before it starts, and that line must not be there.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner, Result
from small_stack import BANDS, damage, hidden_files, pixels, rewrite, write_crops, write_masks

from ngr_geo.cli import console, main
from ngr_geo.io import read_stack

Case = Callable[[Path], Sequence[object]]
QUICK = ("--method", "guide")
ADVICE_IN_PYTHON = re.compile(
    r"\.(rename|rio|isel|sel|astype|drop_vars|fillna|ngr|attrs|save|buffer|set_crs|assign_coords|chunk)\b|\w=\[|\w+=(True|False|None)\b|"
    r"\b(DataArray|GeoDataFrame|Dataset|xarray|raise|np\.)|(?<!-)\b(classes|dilate|clouds|missing|bad_bands|restart|work|prior|"
    r"tile|overlap|device|method|steps|seed|aoi|dates|out|files)=|in Python"
)
"""What no line for the command line may say: there an option mends it."""


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    return sorted(folder.glob("S2_*.tif")), sorted(folder.glob("SCL_*.tif"))


def _arguments(folder: Path, *more: object) -> list[object]:
    images, masks = _files(folder)
    return [*images, "--clouds", *masks, *more]


def _edit(path: Path, **changes: Any) -> None:
    rewrite(path, **changes)


def no_such_file(folder: Path) -> Sequence[object]:
    """A name that is not there, among others that are."""
    return [folder / "S2_20230101.tif", *_arguments(folder)]


def no_file_fits(folder: Path) -> Sequence[object]:
    """A quoted pattern that fits nothing."""
    return [f"{folder}/L8_*.tif", "--clouds", f"{folder}/SCL_*.tif"]


def a_folder(folder: Path) -> Sequence[object]:
    """A folder in place of the files in it."""
    return [folder, "--clouds", f"{folder}/SCL_*.tif"]


def not_a_raster(folder: Path) -> Sequence[object]:
    """Text with the name of a GeoTIFF."""
    _files(folder)[0][1].write_text("S2 of August")
    return _arguments(folder)


def an_empty_file(folder: Path) -> Sequence[object]:
    """A download that never started."""
    _files(folder)[0][1].write_bytes(b"")
    return _arguments(folder)


def not_a_netcdf(folder: Path) -> Sequence[object]:
    """Text with the name of a NetCDF file."""
    (folder / "cube.nc").write_text("nothing")
    return [folder / "cube.nc"]


def truncated(folder: Path) -> Sequence[object]:
    """A download that broke off."""
    path = _files(folder)[0][1]
    path.write_bytes(path.read_bytes()[:-5000])
    return _arguments(folder)


def truncated_mask(folder: Path) -> Sequence[object]:
    """The same of a mask."""
    path = _files(folder)[1][1]
    path.write_bytes(path.read_bytes()[:-100])
    return _arguments(folder)


def damaged(folder: Path) -> Sequence[object]:
    """The right length, the wrong bytes."""
    damage(_files(folder)[0][1])
    return _arguments(folder)


def another_crs(folder: Path) -> Sequence[object]:
    """The neighbouring UTM zone."""
    _edit(_files(folder)[0][1], crs="EPSG:32634")
    return _arguments(folder)


def no_crs_on_one(folder: Path) -> Sequence[object]:
    """One date without CRS."""
    _edit(_files(folder)[0][1], crs=None)
    return _arguments(folder)


def another_grid(folder: Path) -> Sequence[object]:
    """Half a pixel to the east."""
    path = _files(folder)[0][1]
    with rasterio.open(path) as source:
        a, b, c, d, e, f = source.transform[:6]
    _edit(path, transform=rasterio.Affine(a, b, c + a / 2, d, e, f))
    return _arguments(folder)


def another_size(folder: Path) -> Sequence[object]:
    """A row less."""
    path = _files(folder)[0][1]
    rewrite(path, pixels([path])[0][:, :-1])
    return _arguments(folder)


def another_number_of_bands(folder: Path) -> Sequence[object]:
    """A band less."""
    path = _files(folder)[0][1]
    rewrite(path, pixels([path])[0][:3])
    return _arguments(folder)


def bands_in_another_order(folder: Path) -> Sequence[object]:
    """Red where blue is."""
    with rasterio.open(_files(folder)[0][1], "r+") as target:
        target.descriptions = BANDS[::-1]
    return _arguments(folder)


def another_dtype(folder: Path) -> Sequence[object]:
    """One date in floats."""
    path = _files(folder)[0][1]
    rewrite(path, pixels([path])[0].astype("float32"), predictor=1)
    return _arguments(folder)


def another_nodata(folder: Path) -> Sequence[object]:
    """One date without nodata."""
    _edit(_files(folder)[0][1], nodata=None)
    return _arguments(folder)


def complex_numbers(folder: Path) -> Sequence[object]:
    """Radar."""
    for path in _files(folder)[0]:
        rewrite(path, pixels([path])[0].astype("complex64"), predictor=1)
    return _arguments(folder)


def words_for_numbers(folder: Path) -> Sequence[object]:
    """A NetCDF file whose variable is text."""
    xr.Dataset({"B04": (("time", "y", "x"), np.full((2, 4, 4), "red"))}).to_netcdf(folder / "cube.nc")
    return [folder / "cube.nc", "--clouds", *_files(folder)[1][:1]]


def complex_mask(folder: Path) -> Sequence[object]:
    """A mask that cannot be one."""
    for path in _files(folder)[1]:
        rewrite(path, pixels([path])[0].astype("complex64"))
    return _arguments(folder)


def a_mask_of_probabilities(folder: Path) -> Sequence[object]:
    """Neither classes nor 0 and 1; and its name tells nothing."""
    for path in _files(folder)[1]:
        values = np.linspace(0, 100, 64 * 64).reshape(1, 64, 64).astype("float32")
        rewrite(path, values, nodata=None).rename(path.with_name(path.name.replace("SCL", "PROB")))
    return [*_files(folder)[0], "--clouds", *sorted(folder.glob("PROB_*.tif"))]


def unknown_band(folder: Path) -> Sequence[object]:
    """B11 is not in the files."""
    return _arguments(folder, "--bands", "B04,B11")


def unknown_date(folder: Path) -> Sequence[object]:
    """A day without an image."""
    return _arguments(folder, "--dates", "2023-08-16")


def no_date_in_the_names(folder: Path) -> Sequence[object]:
    """Nor in the tags."""
    for number, path in enumerate(_files(folder)[0]):
        with rasterio.open(path, "r+") as target:
            target.update_tags(DATE="")
        path.rename(folder / f"scene_{number}.tif")
    return [f"{folder}/scene_*.tif", "--clouds", *_files(folder)[1]]


def two_dates_in_the_names(folder: Path) -> Sequence[object]:
    """Which of them?"""
    for path in _files(folder)[0]:
        path.rename(folder / f"mean_{path.stem[-8:]}_20230901.tif")
    return [f"{folder}/mean_*.tif", "--clouds", *_files(folder)[1]]


def a_pattern_that_does_not_fit(folder: Path) -> Sequence[object]:
    """Days first."""
    return _arguments(folder, "--date-pattern", "S2_%d%m%Y")


def masks_of_other_dates(folder: Path) -> Sequence[object]:
    """A year earlier."""
    for path in _files(folder)[1]:
        path.rename(path.with_name(path.name.replace("2023", "2022")))
    return _arguments(folder)


def a_mask_too_few(folder: Path) -> Sequence[object]:
    """Two masks for three dates."""
    return [*_files(folder)[0], "--clouds", *_files(folder)[1][:2]]


def a_mask_elsewhere(folder: Path) -> Sequence[object]:
    """The right dates, another place."""
    for path in _files(folder)[1]:
        with rasterio.open(path) as source:
            a, b, c, d, e, f = source.transform[:6]
        _edit(path, transform=rasterio.Affine(a, b, c + 50_000, d, e, f))
    return _arguments(folder)


def no_mask(folder: Path) -> Sequence[object]:
    """Nothing tells where clouds are."""
    return _files(folder)[0]


def no_such_variable(folder: Path) -> Sequence[object]:
    """A mask by name that the files do not hold."""
    return [*_files(folder)[0], "--clouds", "SCL"]


def no_such_variable_in_netcdf(folder: Path) -> Sequence[object]:
    """The same in a NetCDF file."""
    read_stack(_files(folder)[0]).raster.to_dataset("band").to_netcdf(folder / "cube.nc")
    return [folder / "cube.nc", "--clouds", "clouds_please"]


def all_cloud(folder: Path) -> Sequence[object]:
    """No clear pixel on any date."""
    for path in _files(folder)[1]:
        rewrite(path, np.full((1, 64, 64), 9, np.uint8))
    return _arguments(folder)


def all_nan(folder: Path) -> Sequence[object]:
    """Clear, but nothing was measured."""
    for path, mask in zip(*_files(folder), strict=True):
        rewrite(path, np.full((4, 64, 64), np.nan, np.float32), predictor=1, nodata=np.nan)
        rewrite(mask, np.full((1, 64, 64), 4, np.uint8))
    return _arguments(folder)


def two_cubes(folder: Path) -> Sequence[object]:
    """Two NetCDF files."""
    for name in ("a.nc", "b.nc"):
        read_stack(_files(folder)[0]).raster.to_dataset("band").to_netcdf(folder / name)
    return [folder / "a.nc", folder / "b.nc", "--clouds", "SCL"]


def named_twice(folder: Path) -> Sequence[object]:
    """One file two times."""
    return [_files(folder)[0][0], *_arguments(folder)]


def overlap_of_a_whole_tile(folder: Path) -> Sequence[object]:
    """Tiles that would never move on."""
    return _arguments(folder, "--tile", 32, "--overlap", 16)


def no_such_device(folder: Path) -> Sequence[object]:
    """Hardware that is not there."""
    return _arguments(folder, "--device", "abacus")


BAD: dict[Case, list[str]] = {
    no_such_file: ["S2_20230101.tif", "no such file"],
    no_file_fits: ["L8_*.tif", "no file fits"],
    a_folder: ["folder", "*.tif"],
    not_a_raster: ["S2_33TWM_20230818.tif", "(12 bytes)", "not a raster", "rio info"],
    an_empty_file: ["(0 bytes)", "not a raster"],
    not_a_netcdf: ["cube.nc", "cannot be read as a NetCDF file"],
    truncated: ["S2_33TWM_20230818.tif", "cut short", "rows", "again"],
    truncated_mask: ["SCL_33TWM_20230818.tif", "cut short", "again"],
    damaged: ["S2_33TWM_20230818.tif", "cannot be read at rows 0-63", "again"],
    another_crs: ["S2_33TWM_20230818.tif", "S2_33TWM_20230815.tif", "EPSG:32634, not EPSG:32633", "rio warp", "--like"],
    no_crs_on_one: ["CRS is missing", "rio edit-info", "--crs EPSG:32633"],
    another_grid: ["0.5 pixels", "rio warp", "--like"],
    another_size: ["63 rows and 64 columns, not 64 rows", "rio warp"],
    another_number_of_bands: ["has 3 bands", "has 4", "rio stack"],
    bands_in_another_order: ["B08, B04, B03, B02", "B02, B03, B04, B08", "rio stack"],
    another_dtype: ["float32", "uint16", "rio convert"],
    another_nodata: ["no value", "has 0", "--nodata 0", "--nodata none"],
    complex_numbers: ["complex", "integers or floats", "rio calc"],
    words_for_numbers: ["numbers"],
    complex_mask: ["complex"],
    a_mask_of_probabilities: [],
    unknown_band: ["'B11'", "B02, B03, B04, B08"],
    unknown_date: ["2023-08-16", "2023-08-15"],
    no_date_in_the_names: ["3 of 3", "--date-pattern"],
    two_dates_in_the_names: ["2 dates", "--date-pattern"],
    a_pattern_that_does_not_fit: ["S2_%d%m%Y", "%Y"],
    masks_of_other_dates: ["No mask for 3 of 3 dates", "2023-08-15", "2022-08-15"],
    a_mask_too_few: ["No mask for 1 of 3 dates", "2023-08-20"],
    a_mask_elsewhere: [],
    no_mask: ["--clouds"],
    no_such_variable: ["'SCL'", "B02, B03, B04, B08"],
    no_such_variable_in_netcdf: ["'clouds_please'", "B02", "--clouds"],
    all_cloud: ["cloud"],
    all_nan: [],
    two_cubes: ["a.nc", "one NetCDF file"],
    named_twice: ["S2_33TWM_20230815.tif", "twice"],
    overlap_of_a_whole_tile: ["32", "16"],
    no_such_device: ["abacus"],
}
# Known only once the solver is set up, or the pixels are there.
LATE = {no_such_device}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three real dates and their masks."""
    write_crops(tmp_path / "in")
    write_masks(tmp_path / "in")
    return tmp_path / "in"


def decloud(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["decloud", *map(str, arguments), *QUICK])


def _without_notes(text: bytes) -> bytes:
    """What is on stderr beside what is to be done and what the mask marks, which is said before the work starts."""
    return b"\n".join(line for line in text.splitlines() if b"to solve" not in line and b"by the rule" not in line)


def _check_one_line(result: Result, code: int, words: list[str]) -> None:
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert result.exit_code == code, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert "unexpected" not in lines[0]
    assert len(re.sub(r"/tmp/\S+/", "", lines[0])) < 500
    assert not ADVICE_IN_PYTHON.search(result.stderr), result.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert result.stdout == ""


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.__name__)
def test_bad_input_is_one_clear_line_before_solving(folder: Path, case: Case) -> None:
    """For the command line, with nothing written."""
    arguments = case(folder)
    here = sorted(folder.parent.rglob("*"))
    result = decloud(*arguments, "-o", folder.parent / "out")
    if case in LATE:
        result.stderr_bytes = _without_notes(result.stderr_bytes)
    _check_one_line(result, console.BAD_INPUT, BAD[case])
    assert sorted(folder.parent.rglob("*")) == here


@pytest.mark.parametrize(
    "arguments",
    [[], ["x.tif"], ["x.tif", "-o"], ["x.tif", "-o", "y", "--method", "magic"], ["x.tif", "-o", "y", "--tile", "none"]],
    ids=" ".join,
)
def test_bad_usage_is_told_by_code_two(arguments: list[str]) -> None:
    """Options that are missing or no numbers."""
    result = CliRunner().invoke(main, ["decloud", *arguments])
    assert result.exit_code == console.BAD_INPUT
    assert "Error: " in result.stderr


def test_a_mask_without_cloud_is_fine(folder: Path) -> None:
    """A warning, and the output equals the input."""
    images, masks = _files(folder)
    for image, mask in zip(images, masks, strict=True):
        rewrite(image, np.maximum(pixels([image])[0], 1))
        rewrite(mask, np.full((1, 64, 64), 4, np.uint8))
    result = decloud(*_arguments(folder), "-o", folder.parent / "out")
    assert result.exit_code == console.OK, result.stderr
    assert "Warning: No pixel is cloud" in result.stderr
    out = folder.parent / "out"
    np.testing.assert_array_equal(pixels([out / image.name for image in images]), pixels(images))
    assert not pixels(sorted(out.glob("*_filled.tif"))).any()


def test_nan_and_infinities_are_missing(folder: Path) -> None:
    """In floats they are filled like cloud, also where the mask says clear."""
    images, masks = _files(folder)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        values = np.maximum(pixels([image])[0], 1).astype("float32")
        values[:, 10:20, 15 * number : 15 * number + 10] = (np.nan, np.inf, -np.inf)[number]
        rewrite(image, values, nodata=None, predictor=1)
        rewrite(mask, np.full((1, 64, 64), 4, np.uint8))
    result = decloud(*_arguments(folder), "-o", folder.parent / "out")
    assert result.exit_code == console.OK, result.stderr
    before, after = pixels(images), pixels([folder.parent / "out" / image.name for image in images])
    assert np.isfinite(after).all()
    np.testing.assert_array_equal(after[np.isfinite(before)], before[np.isfinite(before)])


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
        result = decloud(*_arguments(folder), "-o", out.with_suffix(suffix) if out.exists() is False else out)
        _check_one_line(result, console.BAD_OUTPUT, ["-o"])
        assert hidden_files(folder.parent) == []
    finally:
        places.close()  # type: ignore[attr-defined]


def test_several_dates_do_not_fit_one_tiff(folder: Path) -> None:
    """A folder would."""
    _check_one_line(decloud(*_arguments(folder), "-o", folder / "out.tif"), console.BAD_OUTPUT, ["3 dates", "folder"])


@pytest.mark.parametrize("picture", ["look", "file/look.png"])
def test_a_picture_that_cannot_be_written_is_known_before_solving(folder: Path, picture: str) -> None:
    """It is a folder, or in a file."""
    (folder.parent / "look").mkdir()
    (folder.parent / "file").write_text("")
    result = decloud(*_arguments(folder), "-o", folder.parent / "out", "--quicklook", folder.parent / picture)
    _check_one_line(result, console.BAD_OUTPUT, ["--quicklook"])
    assert not (folder.parent / "out").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 60 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.name != "posix":
        pytest.skip("no mount command: a full disk cannot be tried here")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no right to mount a small disk: a full disk cannot be tried here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_known_before_solving(folder: Path, tiny_disk: Path) -> None:
    """From the size of the inputs."""
    result = decloud(*_arguments(folder), "-o", tiny_disk / "out")
    _check_one_line(result, console.BAD_OUTPUT, ["MB free", "at least", "-o"])
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_fills_up_while_writing(folder: Path, tiny_disk: Path) -> None:
    """Clouds of one value compress to nothing, what is filled in does not: known only when it happens."""
    for image, mask in zip(*_files(folder), strict=True):
        values = pixels([image])[0]
        keep = np.ones((64, 64), bool)
        if image != _files(folder)[0][0]:
            keep[:, 8:] = False
        rewrite(image, np.where(keep, values, 9000).astype(values.dtype))
        rewrite(mask, np.where(keep, 4, 9).astype(np.uint8)[None])
    sizes = sum(image.stat().st_size for image in _files(folder)[0])
    assert sizes < 60_000
    result = decloud(*_arguments(folder), "-o", tiny_disk / "out")
    result.stderr_bytes = _without_notes(result.stderr_bytes)
    _check_one_line(result, console.BAD_OUTPUT, ["could not be written", "MB free", "-o"])
    assert list(tiny_disk.iterdir()) == []
