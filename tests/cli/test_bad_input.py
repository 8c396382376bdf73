"""What a user can get wrong: each case ends in one clear line and the right exit code, and writes nothing.

The line says what was found, what was expected and what to do. Whatever can be known before solving is: the command
tells how many tiles it will solve just before it starts, and that line must not be there.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from one_line import arguments, check_one_line, decloud, files, without_notes
from running import invoke
from small_stack import BANDS, damage, pixels, rewrite

from ngr_geo.cli import console
from ngr_geo.io import read_stack

Case = Callable[[Path], Sequence[object]]


def no_such_file(folder: Path) -> Sequence[object]:
    """A name that is not there, among others that are."""
    return [folder / "S2_20230101.tif", *arguments(folder)]


def no_file_fits(folder: Path) -> Sequence[object]:
    """A quoted pattern that fits nothing."""
    return [f"{folder}/L8_*.tif", "--clouds", f"{folder}/SCL_*.tif"]


def a_folder(folder: Path) -> Sequence[object]:
    """A folder in place of the files in it."""
    return [folder, "--clouds", f"{folder}/SCL_*.tif"]


def not_a_raster(folder: Path) -> Sequence[object]:
    """Text with the name of a GeoTIFF."""
    files(folder)[0][1].write_text("S2 of August")
    return arguments(folder)


def an_empty_file(folder: Path) -> Sequence[object]:
    """A download that never started."""
    files(folder)[0][1].write_bytes(b"")
    return arguments(folder)


def not_a_netcdf(folder: Path) -> Sequence[object]:
    """Text with the name of a NetCDF file."""
    (folder / "cube.nc").write_text("nothing")
    return [folder / "cube.nc"]


def truncated(folder: Path) -> Sequence[object]:
    """A download that broke off."""
    path = files(folder)[0][1]
    path.write_bytes(path.read_bytes()[:-5000])
    return arguments(folder)


def truncated_mask(folder: Path) -> Sequence[object]:
    """The same of a mask."""
    path = files(folder)[1][1]
    path.write_bytes(path.read_bytes()[:-100])
    return arguments(folder)


def damaged(folder: Path) -> Sequence[object]:
    """The right length, the wrong bytes."""
    damage(files(folder)[0][1])
    return arguments(folder)


def another_crs(folder: Path) -> Sequence[object]:
    """The neighbouring UTM zone."""
    rewrite(files(folder)[0][1], crs="EPSG:32634")
    return arguments(folder)


def no_crs_on_one(folder: Path) -> Sequence[object]:
    """One date without CRS."""
    rewrite(files(folder)[0][1], crs=None)
    return arguments(folder)


def another_grid(folder: Path) -> Sequence[object]:
    """Half a pixel to the east."""
    path = files(folder)[0][1]
    with rasterio.open(path) as source:
        a, b, c, d, e, f = source.transform[:6]
    rewrite(path, transform=rasterio.Affine(a, b, c + a / 2, d, e, f))
    return arguments(folder)


def another_size(folder: Path) -> Sequence[object]:
    """A row less."""
    path = files(folder)[0][1]
    rewrite(path, pixels([path])[0][:, :-1])
    return arguments(folder)


def another_number_of_bands(folder: Path) -> Sequence[object]:
    """A band less."""
    path = files(folder)[0][1]
    rewrite(path, pixels([path])[0][:3])
    return arguments(folder)


def bands_in_another_order(folder: Path) -> Sequence[object]:
    """Red where blue is."""
    with rasterio.open(files(folder)[0][1], "r+") as target:
        target.descriptions = BANDS[::-1]
    return arguments(folder)


def another_dtype(folder: Path) -> Sequence[object]:
    """One date in floats."""
    path = files(folder)[0][1]
    rewrite(path, pixels([path])[0].astype("float32"), predictor=1)
    return arguments(folder)


def another_nodata(folder: Path) -> Sequence[object]:
    """One date without nodata."""
    rewrite(files(folder)[0][1], nodata=None)
    return arguments(folder)


def complex_numbers(folder: Path) -> Sequence[object]:
    """Radar."""
    for path in files(folder)[0]:
        rewrite(path, pixels([path])[0].astype("complex64"), predictor=1)
    return arguments(folder)


def words_for_numbers(folder: Path) -> Sequence[object]:
    """A NetCDF file whose variable is text."""
    xr.Dataset({"B04": (("time", "y", "x"), np.full((2, 4, 4), "red"))}).to_netcdf(folder / "cube.nc")
    return [folder / "cube.nc", "--clouds", *files(folder)[1][:1]]


def complex_mask(folder: Path) -> Sequence[object]:
    """A mask that cannot be one."""
    for path in files(folder)[1]:
        rewrite(path, pixels([path])[0].astype("complex64"))
    return arguments(folder)


def a_mask_of_probabilities(folder: Path) -> Sequence[object]:
    """Neither classes nor 0 and 1; and its name tells nothing."""
    for path in files(folder)[1]:
        values = np.linspace(0, 100, 64 * 64).reshape(1, 64, 64).astype("float32")
        rewrite(path, values, nodata=None).rename(path.with_name(path.name.replace("SCL", "PROB")))
    return [*files(folder)[0], "--clouds", *sorted(folder.glob("PROB_*.tif"))]


def unknown_band(folder: Path) -> Sequence[object]:
    """B11 is not in the files."""
    return arguments(folder, "--bands", "B04,B11")


def unknown_date(folder: Path) -> Sequence[object]:
    """A day without an image."""
    return arguments(folder, "--dates", "2023-08-16")


def no_date_in_the_names(folder: Path) -> Sequence[object]:
    """Nor in the tags."""
    for number, path in enumerate(files(folder)[0]):
        with rasterio.open(path, "r+") as target:
            target.update_tags(DATE="")
        path.rename(folder / f"scene_{number}.tif")
    return [f"{folder}/scene_*.tif", "--clouds", *files(folder)[1]]


def two_dates_in_the_names(folder: Path) -> Sequence[object]:
    """Which of them?"""
    for path in files(folder)[0]:
        path.rename(folder / f"mean_{path.stem[-8:]}_20230901.tif")
    return [f"{folder}/mean_*.tif", "--clouds", *files(folder)[1]]


def a_pattern_that_does_not_fit(folder: Path) -> Sequence[object]:
    """Days first."""
    return arguments(folder, "--date-pattern", "S2_%d%m%Y")


def masks_of_other_dates(folder: Path) -> Sequence[object]:
    """A year earlier."""
    for path in files(folder)[1]:
        path.rename(path.with_name(path.name.replace("2023", "2022")))
    return arguments(folder)


def a_mask_too_few(folder: Path) -> Sequence[object]:
    """Two masks for three dates."""
    return [*files(folder)[0], "--clouds", *files(folder)[1][:2]]


def a_mask_elsewhere(folder: Path) -> Sequence[object]:
    """The right dates, another place."""
    for path in files(folder)[1]:
        with rasterio.open(path) as source:
            a, b, c, d, e, f = source.transform[:6]
        rewrite(path, transform=rasterio.Affine(a, b, c + 50_000, d, e, f))
    return arguments(folder)


def no_mask(folder: Path) -> Sequence[object]:
    """Nothing tells where clouds are."""
    return files(folder)[0]


def no_such_variable(folder: Path) -> Sequence[object]:
    """A mask by name that the files do not hold."""
    return [*files(folder)[0], "--clouds", "SCL"]


def no_such_variable_in_netcdf(folder: Path) -> Sequence[object]:
    """The same in a NetCDF file."""
    read_stack(files(folder)[0]).raster.to_dataset("band").to_netcdf(folder / "cube.nc")
    return [folder / "cube.nc", "--clouds", "clouds_please"]


def all_cloud(folder: Path) -> Sequence[object]:
    """No clear pixel on any date."""
    for path in files(folder)[1]:
        rewrite(path, np.full((1, 64, 64), 9, np.uint8))
    return arguments(folder)


def all_nan(folder: Path) -> Sequence[object]:
    """Clear, but nothing was measured."""
    for path, mask in zip(*files(folder), strict=True):
        rewrite(path, np.full((4, 64, 64), np.nan, np.float32), predictor=1, nodata=np.nan)
        rewrite(mask, np.full((1, 64, 64), 4, np.uint8))
    return arguments(folder)


def two_cubes(folder: Path) -> Sequence[object]:
    """Two NetCDF files."""
    for name in ("a.nc", "b.nc"):
        read_stack(files(folder)[0]).raster.to_dataset("band").to_netcdf(folder / name)
    return [folder / "a.nc", folder / "b.nc", "--clouds", "SCL"]


def named_twice(folder: Path) -> Sequence[object]:
    """One file two times."""
    return [files(folder)[0][0], *arguments(folder)]


def overlap_of_a_whole_tile(folder: Path) -> Sequence[object]:
    """Tiles that would never move on."""
    return arguments(folder, "--tile", 32, "--overlap", 16)


def no_such_device(folder: Path) -> Sequence[object]:
    """Hardware that is not there."""
    return arguments(folder, "--device", "abacus")


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


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.__name__)
def test_bad_input_is_one_clear_line_before_solving(folder: Path, case: Case) -> None:
    """For the command line, with nothing written."""
    arguments = case(folder)
    here = sorted(folder.parent.rglob("*"))
    result = decloud(*arguments, "-o", folder.parent / "out")
    if case in LATE:
        result.stderr_bytes = without_notes(result.stderr_bytes)
    check_one_line(result, console.BAD_INPUT, BAD[case])
    assert sorted(folder.parent.rglob("*")) == here


@pytest.mark.parametrize(
    "arguments",
    [[], ["x.tif"], ["x.tif", "-o"], ["x.tif", "-o", "y", "--method", "magic"], ["x.tif", "-o", "y", "--tile", "none"]],
    ids=" ".join,
)
def test_bad_usage_is_told_by_code_two(arguments: list[str]) -> None:
    """Options that are missing or no numbers."""
    result = invoke("decloud", *arguments)
    assert result.exit_code == console.BAD_INPUT
    assert "Error: " in result.stderr


def test_a_mask_without_cloud_is_fine(folder: Path) -> None:
    """A warning, and the output equals the input."""
    images, masks = files(folder)
    for image, mask in zip(images, masks, strict=True):
        rewrite(image, np.maximum(pixels([image])[0], 1))
        rewrite(mask, np.full((1, 64, 64), 4, np.uint8))
    result = decloud(*arguments(folder), "-o", folder.parent / "out", "--no-refine")
    assert result.exit_code == console.OK, result.stderr
    assert "Warning: No pixel is cloud" in result.stderr
    out = folder.parent / "out"
    np.testing.assert_array_equal(pixels([out / image.name for image in images]), pixels(images))
    assert not pixels(sorted(out.glob("*_filled.tif"))).any()


def test_nan_and_infinities_are_missing(folder: Path) -> None:
    """In floats they are filled like cloud, also where the mask says clear."""
    images, masks = files(folder)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        values = np.maximum(pixels([image])[0], 1).astype("float32")
        values[:, 10:20, 15 * number : 15 * number + 10] = (np.nan, np.inf, -np.inf)[number]
        rewrite(image, values, nodata=None, predictor=1)
        rewrite(mask, np.full((1, 64, 64), 4, np.uint8))
    result = decloud(*arguments(folder), "-o", folder.parent / "out", "--no-refine")
    assert result.exit_code == console.OK, result.stderr
    before, after = pixels(images), pixels([folder.parent / "out" / image.name for image in images])
    assert np.isfinite(after).all()
    np.testing.assert_array_equal(after[np.isfinite(before)], before[np.isfinite(before)])
