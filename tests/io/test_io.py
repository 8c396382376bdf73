"""Files in and out: dates, masks, what survives a round trip, and that nothing is left half-written."""

import os
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning
from small_stack import (
    BANDS,
    as_result,
    codes,
    damage,
    hidden_files,
    pixels,
    rewrite,
    sample_files,
    write_crops,
    write_masks,
)

from ngr_geo.errors import GridError, InputError, MaskError, OutputError
from ngr_geo.io import check_output, outputs, rasters, read_stack, write_stack
from ngr_geo.io.dates import acquired
from ngr_geo.raster import products

NAMES = {
    "S2_33TWM_20230810.tif": "2023-08-10",
    "S2A_MSIL2A_20230810T100031_N0509_R122_T33TWM_20230811T143259.tif": "2023-08-10T10:00:31",
    "T33TWM_20230810T100031_B04_10m.jp2": "2023-08-10T10:00:31",
    "SENTINEL2B_20230810-100559-123_L2A_T33TWM_C_V3-1.tif": "2023-08-10T10:05:59",
    "S1A_IW_GRDH_1SDV_20230810T165014_20230810T165039_049810_05FD9A.tif": "2023-08-10T16:50:14",
    "LC08_L2SP_190028_20230810_20230815_02_T1_SR_B4.TIF": "2023-08-10",
    "LC80330332013180LGN00.tif": "2013-06-29",
    "HLS.L30.T33TWM.2023222T095549.v2.0.B04.tif": "2023-08-10T09:55:49",
    "MOD09A1.061_sur_refl_b01_doy2023222_aid0001.tif": "2023-08-10",
    "MOD09GA.A2023222.h18v04.061.hdf": "2023-08-10",
    "20230810_095549_27_2461_3B_AnalyticMS.tif": "2023-08-10T09:55:49",
    "scene_20230810100031.tif": "2023-08-10T10:00:31",
    "scene 2023-08-10T10:00:31Z.tif": "2023-08-10T10:00:31",
    "folder/2023_08_10.tif": "2023-08-10",
    r"C:\data\2023.08.10_scene.tiff": "2023-08-10",
    "twice_20230810_20230810.tif": "2023-08-10",
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_dates_are_read_from_names(name: str, expected: str) -> None:
    """Sentinel, Landsat, HLS, MODIS, Planet, MAJA and plain names."""
    assert acquired(name, {}) == np.datetime64(expected)


@pytest.mark.parametrize("name", ["scene.tif", "id_1234567890.tif", "id_20231399.tif", "v20230810123.tif"])
def test_other_numbers_are_no_dates(name: str) -> None:
    """Numbers that are no day of the calendar, or part of a longer one."""
    assert acquired(name, {}) is None


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("scene.tif", {"TIFFTAG_DATETIME": "2023:08:10 11:22:33"}, "2023-08-10T11:22:33"),
        ("scene.tif", {"datetime": "2023-08-10T23:22:33+02:00"}, "2023-08-10T21:22:33"),
        ("scene.tif", {"ACQUISITION_DATE": "2023-08-10", "DATE": "2023-09-01"}, "2023-08-10"),
        ("scene.tif", {"DATATAKE_1_DATATAKE_SENSING_START": "2023-08-10T10:00:31.024Z"}, "2023-08-10T10:00:31.024"),
        ("scene.tif", {"DATE_ACQUIRED": "'2023-08-10'"}, "2023-08-10"),
        ("S2_20230810.tif", {"PRODUCT_START_TIME": "2023-08-10T10:00:31"}, "2023-08-10T10:00:31"),
        ("S2_20230810.tif", {"TIFFTAG_DATETIME": "2024:01:01 00:00:00"}, "2023-08-10"),  # the day of processing
    ],
)
def test_dates_are_read_from_tags(name: str, tags: dict[str, str], expected: str) -> None:
    """Acquisition tags come before names, names before tags that may mean processing."""
    assert acquired(name, tags) == np.datetime64(expected)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a_10.08.2023_x.tif", "%d.%m.%Y", "2023-08-10"),
        ("a_1.8.2023_x.tif", "_%d.%m.%Y", "2023-08-01"),
        ("mean_20230801_20230831.tif", "mean_*_%Y%m%d", "2023-08-31"),
        ("mean_20230801_20230831.tif", r"_(\d{8})$", "2023-08-31"),
        ("mean_20230801_20230831.tif", r"mean_(?P<date>\d{8})_(\d{8})", "2023-08-01"),
        ("d2023222.tif", "d%Y%j", "2023-08-10"),
        ("d2023222.tif", r"d(\d{7})", "2023-08-10"),
        ("x_10Aug2023.tif", "_%d%b%Y", "2023-08-10"),
        ("x.tif", "tag:MADE", "2023-08-10"),
    ],
)
def test_date_patterns(name: str, pattern: str, expected: str) -> None:
    """strptime anywhere in the name, regular expressions, tags."""
    assert acquired(name, {"MADE": "2023-08-10"}, pattern) == np.datetime64(expected)


@pytest.mark.parametrize(
    ("name", "tags", "pattern", "words"),
    [
        ("mean_20230801_20230831.tif", {}, None, ["2 dates", "--date-pattern"]),
        ("S2_20230801.tif", {"ACQUISITION_DATE": "2022-01-01"}, None, ["ACQUISITION_DATE", "tag:ACQUISITION_DATE"]),
        ("scene.tif", {}, "S2_%Y%m%d", ["S2_%Y%m%d", "scene.tif"]),
        ("scene.tif", {}, "S2_%Q", ["%Q"]),
        ("scene.tif", {}, "S2_%Y", ["needs a year"]),
        ("scene.tif", {}, "S2", ["neither %Y nor a group"]),
        ("scene.tif", {}, "(S2", ["no regular expression"]),
        ("scene.tif", {"A": "1"}, "tag:B", ["tag B", "['A']"]),
        ("scene.tif", {"A": "1"}, "tag:A", ["'1'", "no date"]),
        ("S2_20231399.tif", {}, "S2_%Y%m%d", ["finds no date"]),
    ],
)
def test_unclear_dates_are_errors(name: str, tags: dict[str, str], pattern: str | None, words: list[str]) -> None:
    """With what was found and what helps."""
    with pytest.raises(InputError) as caught:
        acquired(name, tags, pattern)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_stack_is_read_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    """Sorted by date, raw values, CRS, transform, nodata, band names; masks matched by date whatever their order."""
    files, masks = write_crops(tmp_path), write_masks(tmp_path)
    stack = read_stack(files[::-1], masks)
    raster = stack.raster
    assert raster.dims == ("time", "band", "y", "x")
    assert raster.dtype == np.uint16
    np.testing.assert_array_equal(raster.values, pixels(files))
    assert [str(day)[:10] for day in raster.time.values] == [f"2023-08-{path.stem[-2:]}" for path in files]
    assert tuple(raster.band.values) == BANDS
    with rasterio.open(files[0]) as source:
        assert raster.rio.crs == source.crs
        assert raster.rio.transform() == source.transform
        assert raster.rio.transform(recalc=True) == source.transform
    assert raster.rio.nodata == 0
    assert codes(stack).name == "SCL"
    assert codes(stack).dims == ("time", "y", "x")
    np.testing.assert_array_equal(codes(stack).values, pixels(masks)[:, 0])
    np.testing.assert_array_equal(codes(stack).time, raster.time)
    assert not stack.lazy


def test_globs_are_expanded_for_shells_that_do_not(tmp_path: Path) -> None:
    """Quoted patterns, and Windows."""
    write_crops(tmp_path)
    write_masks(tmp_path)
    stack = read_stack(f"{tmp_path}/S2_*.tif", f"{tmp_path}/SCL_*.tif")
    assert stack.raster.sizes["time"] == codes(stack).sizes["time"] == 3


def test_masks_of_other_dates_and_another_grid_are_fine(tmp_path: Path) -> None:
    """More masks than rasters, at half the resolution; with times of day."""
    files, masks = write_crops(tmp_path, dates=2), write_masks(tmp_path / "masks", dates=3)
    for mask in masks:
        with rasterio.open(mask) as source:
            a, b, c, d, e, f = source.transform[:6]
        transform = rasterio.Affine(2 * a, b, c, d, 2 * e, f)
        rewrite(mask, pixels([mask])[0][:, ::2, ::2], transform=transform, blockxsize=16, blockysize=16)
        mask.rename(mask.with_stem(f"{mask.stem}T100031"))
    stack = read_stack(files, f"{tmp_path}/masks/*.tif")
    assert codes(stack).shape == (2, 32, 32)
    np.testing.assert_array_equal(codes(stack).time, stack.raster.time)


def test_one_file_needs_no_date(tmp_path: Path) -> None:
    """A single scene has no time dimension, and takes any single mask without a date."""
    scene, mask = write_crops(tmp_path, dates=1)[0], write_masks(tmp_path, dates=1)[0]
    scene, mask = scene.rename(tmp_path / "scene.tif"), mask.rename(tmp_path / "clouds.tif")
    with rasterio.open(scene, "r+") as target:
        target.update_tags(DATE="")
    stack = read_stack(scene, mask)
    assert stack.raster.dims == ("band", "y", "x")
    assert codes(stack).dims == ("y", "x")
    written = write_stack(as_result(stack), stack, tmp_path / "out.tif")
    assert [path.name for path in written.all] == ["out.tif", "out_filled.tif"]
    assert (pixels(written.rasters)[0][:, :5, :9] == 7).all()


@pytest.mark.parametrize(
    ("dates", "error", "words"),
    [
        ((20230101, 20230102, 20230103), MaskError, ["No mask for 3 of 3", "2023-01-01", "2023-08-20"]),
        ((20230815, 20230818), MaskError, ["No mask for 1 of 3", "2023-08-20"]),
        (("a", "b", "c"), MaskError, ["no date", "--date-pattern"]),
    ],
)
def test_masks_that_do_not_match(tmp_path: Path, dates: tuple[int, ...], error: type, words: list[str]) -> None:
    """Never by order: a wrong mask is worse than none."""
    files = write_crops(tmp_path)
    for mask, date in zip(write_masks(tmp_path), dates, strict=False):
        mask.rename(tmp_path / f"mask_{date}.tif")
    with pytest.raises(error) as caught:
        read_stack(files, f"{tmp_path}/mask_*.tif")
    assert all(word in str(caught.value) for word in words), caught.value


def test_bands_that_are_chosen_are_all_that_is_read_and_written(tmp_path: Path) -> None:
    """In the order asked for."""
    files = write_crops(tmp_path)
    stack = read_stack(files, bands=["B04", "B02"])
    assert list(stack.raster.band.values) == ["B04", "B02"]
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    with rasterio.open(written.rasters[0]) as source:
        assert source.descriptions == ("B04", "B02")
    np.testing.assert_array_equal(pixels(written.rasters)[..., 5:, :], pixels(files)[:, [2, 0], 5:])


def test_classes_and_alpha_in_the_files_are_carried_along(tmp_path: Path) -> None:
    """A band called SCL is the mask; it and an alpha band are never filled, and come back in their places."""
    files, masks = write_crops(tmp_path), write_masks(tmp_path / "masks")
    for file, mask in zip(files, masks, strict=True):
        alpha = np.full((1, 64, 64), 65535, np.uint16)
        values = np.concatenate([pixels([mask])[0].astype(np.uint16), pixels([file])[0], alpha])
        rewrite(file, values)
        with rasterio.open(file, "r+") as target:
            target.descriptions = ("SCL", *BANDS, "alpha")
            target.colorinterp = (*(ColorInterp.undefined,) * 5, ColorInterp.alpha)
    with pytest.warns(UserWarning, match="band 6 is marked as transparency"):
        stack = read_stack(files)
    assert tuple(stack.raster.band.values) == BANDS
    assert codes(stack).name == "SCL"
    assert stack.carried == (1, 6)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    before, after = pixels(files), pixels(written.rasters)
    np.testing.assert_array_equal(after[:, [0, 5]], before[:, [0, 5]])
    np.testing.assert_array_equal(after[..., 5:, :], before[..., 5:, :])
    with rasterio.open(written.rasters[0]) as source:
        assert source.descriptions == ("SCL", *BANDS, "alpha")
        assert source.colorinterp[-1] == ColorInterp.alpha
    assert list(read_stack(files, "SCL", bands=["B02"]).raster.band.values) == ["B02"]


PROFILES = {
    "deflate": {},
    "lzw strips": {"compress": "lzw", "tiled": False, "blockxsize": None, "blockysize": 8, "predictor": 1},
    "zstd by band": {"compress": "zstd", "interleave": "band"},
    "uncompressed": {"compress": None, "predictor": None, "tiled": False, "blockxsize": None, "blockysize": None},
    "int16": {"dtype": "int16", "nodata": -9999},
    "float32": {"dtype": "float32", "nodata": np.nan, "predictor": 3},
    "no nodata": {"nodata": None},
    "no CRS": {"crs": None},
    "uint8 lerc": {"dtype": "uint8", "compress": "lerc", "predictor": None},
}


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profiles_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: dict, lazy: bool) -> None:
    """Tiling, compression, predictor, interleave, dtype, nodata, CRS, transform; pixels bit for bit."""
    monkeypatch.setattr(rasters, "LARGE", 0 if lazy else rasters.LARGE)
    files = write_crops(tmp_path / "in", **profile)
    stack = read_stack(files)
    assert stack.lazy == lazy
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    for file, copy in zip(files, written.rasters, strict=True):
        assert copy.name == file.name
        with rasterio.open(file) as old, rasterio.open(copy) as new:
            assert _comparable(new) == _comparable(old)
    before, after = pixels(files), pixels(written.rasters)
    assert (after[..., :5, :9] == 7).all()
    assert after[..., 5:, :].tobytes() == before[..., 5:, :].tobytes()
    filled = pixels(written.filled)
    assert filled.dtype == np.uint8
    assert filled.sum() == 3 * 5 * 9
    assert filled[..., :5, :9].all()
    assert hidden_files(tmp_path) == []


def _comparable(source: rasterio.DatasetReader) -> dict:
    profile = {key: str(value) for key, value in source.profile.items()}
    return (
        profile
        | source.tags(ns="IMAGE_STRUCTURE")
        | {
            "names": source.descriptions,
            "colours": source.colorinterp,
            "overviews": source.overviews(1),
        }
    )


def test_tags_colours_scales_units_and_overviews_survive(tmp_path: Path) -> None:
    """And statistics do not; what the verb noted about a date goes into its file."""
    files = write_crops(tmp_path / "in", size=256)
    for file in files:
        with rasterio.open(file, "r+") as target:
            target.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
            target.scales, target.offsets, target.units = (1e-4,) * 4, (-0.1,) * 4, ("reflectance",) * 4
            target.update_tags(AREA_OR_POINT="Point", SATELLITE="Sentinel-2B", STATISTICS_MEAN="3")
            target.update_tags(1, wavelength="490", STATISTICS_MAXIMUM="9")
            target.update_tags(ns="IMAGERY", SATELLITEID="S2B")
            target.build_overviews([2, 4], Resampling.average)
    stack = read_stack(files)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    for date, (file, copy) in enumerate(zip(files, written.rasters, strict=True)):
        with rasterio.open(file) as old, rasterio.open(copy) as new:
            assert _comparable(new) == _comparable(old)
            assert new.colorinterp == old.colorinterp
            assert (new.scales, new.offsets, new.units) == (old.scales, old.offsets, old.units)
            tags = new.tags()
            assert tags.pop("ngr_version") == "0"
            assert tags.pop("ngr_dates") == f'{{"date": {date}}}'
            assert tags | {"STATISTICS_MEAN": "3"} == old.tags()
            assert new.tags(1) == {"wavelength": "490"}
            assert new.tags(ns="IMAGERY") == {"SATELLITEID": "S2B"}
    with rasterio.open(written.filled[0]) as filled:
        assert filled.overviews(1) == [2, 4]
        assert filled.tags()["AREA_OR_POINT"] == "Point"


@pytest.mark.parametrize("size", [96, 640])
def test_any_input_becomes_a_valid_cog_on_request(tmp_path: Path, size: int) -> None:
    """Whole by the rules of rio-cogeo: tiles, overviews and directories where they belong."""
    from rio_cogeo import cog_validate

    paths = write_crops(tmp_path / "in", size=96, dates=1, tiled=False, blockxsize=None, blockysize=None)
    if size > 96:
        rewrite(paths[0], np.tile(pixels(paths)[0], (1, 7, 7))[:, :size, :size])
    stack = replace(read_stack(paths), cog=True)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    for path in written.all:
        valid, errors, warnings = cog_validate(path, strict=True)
        assert (valid, errors, warnings) == (True, [], [])
        with rasterio.open(path) as new:
            assert bool(new.overviews(1)) == (size > 512)
    np.testing.assert_array_equal(pixels(written.rasters)[0, :, 5:], pixels(paths)[0, :, 5:])


@pytest.mark.parametrize("overviews", [True, False])
def test_a_cog_becomes_a_cog(tmp_path: Path, overviews: bool) -> None:
    """Layout, block size, compression and overviews; the sidecar too."""
    options = {"driver": "COG", "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "128"}
    (tmp_path / "in").mkdir()
    files = []
    for crop in write_crops(tmp_path / "plain", size=300, dates=2):
        files.append(tmp_path / "in" / crop.name)
        rasterio.shutil.copy(str(crop), str(files[-1]), OVERVIEWS="AUTO" if overviews else "NONE", **options)
    stack = read_stack(files)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    for file, copy in zip(files, written.rasters, strict=True):
        with rasterio.open(file) as old, rasterio.open(copy) as new:
            assert new.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert _comparable(new) == _comparable(old)
            assert bool(new.overviews(1)) == overviews
    with rasterio.open(written.filled[0]) as filled:
        assert filled.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert (pixels(written.rasters)[..., 5:, :] == pixels(files)[..., 5:, :]).all()
    assert hidden_files(tmp_path / "out") == []


def test_lossy_compression_is_not_repeated(tmp_path: Path) -> None:
    """Written again as JPEG, observed pixels would change."""
    files = write_crops(tmp_path / "in", dates=2, dtype="uint8", compress="jpeg", predictor=None, interleave="band")
    stack = read_stack(files)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    np.testing.assert_array_equal(pixels(written.rasters)[..., 5:, :], pixels(files)[..., 5:, :])
    with rasterio.open(written.rasters[0]) as source:
        assert source.compression.name == "deflate"


def test_other_formats_become_geotiffs(tmp_path: Path) -> None:
    """ENVI in, GeoTIFF out."""
    files = []
    for crop in write_crops(tmp_path / "plain", dates=2):
        files.append(tmp_path / f"{crop.stem}.img")
        rasterio.shutil.copy(str(crop), str(files[-1]), driver="ENVI")
    stack = read_stack(files)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    assert [path.name for path in written.rasters] == [f"{file.stem}.tif" for file in files]
    np.testing.assert_array_equal(pixels(written.rasters)[..., 5:, :], pixels(files)[..., 5:, :])


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("first", ["nc", "zarr"])
@pytest.mark.parametrize("second", ["nc", "zarr"])
def test_netcdf_and_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, lazy: bool) -> None:
    """GeoTIFFs to one file, and that file to another: values, CRS, nodata, attributes."""
    files = write_crops(tmp_path)
    stack = read_stack(files)
    write_stack(as_result(stack), stack, tmp_path / f"a.{first}")
    monkeypatch.setattr(rasters, "LARGE", 0 if lazy else rasters.LARGE)
    one = read_stack(tmp_path / f"a.{first}")
    assert one.lazy == lazy
    assert one.raster.rio.crs == stack.raster.rio.crs
    assert one.raster.filled.dtype == bool
    assert one.raster.attrs["ngr_version"] == "0"
    for index, band in enumerate(BANDS):
        assert one.raster[band].dtype == np.uint16
        assert one.raster[band].attrs["_FillValue"] == 0
        np.testing.assert_array_equal(one.raster[band][:, 5:], stack.raster[:, index, 5:])
    written = write_stack(as_result(one), one, tmp_path / f"b.{second}")
    assert written.filled == ()
    two = read_stack(tmp_path / f"b.{second}")
    xr.testing.assert_identical(two.raster.load(), one.raster.load())
    assert hidden_files(tmp_path) == []


def test_a_dataset_goes_back_with_all_its_variables_and_encodings(tmp_path: Path) -> None:
    """Scaled and packed variables, masks, scalars, time units."""
    files, masks = write_crops(tmp_path), write_masks(tmp_path)
    stack = read_stack(files, masks)
    dataset = stack.raster.astype("float64").to_dataset("band").drop_attrs() * 1e-4 - 0.1
    dataset["SCL"] = codes(stack).drop_attrs()
    dataset["angle"] = ("time", [1.0, 2.0, 3.0])
    packed = {
        "dtype": "int16",
        "scale_factor": 1e-4,
        "add_offset": -0.1,
        "_FillValue": -9999,
        "zlib": True,
        "complevel": 3,
    }
    encoding = {band: packed | {"chunksizes": (1, 32, 32)} for band in BANDS}
    encoding |= {"time": {"units": "hours since 2000-01-01", "dtype": "float64"}}
    dataset.rio.write_crs(stack.raster.rio.crs).to_netcdf(tmp_path / "in.nc", encoding=encoding)
    one = read_stack(tmp_path / "in.nc", "SCL")
    assert one.clouds == "SCL"
    write_stack(one.raster.assign_coords(filled=one.raster.SCL == 9), one, tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "in.nc") as old, xr.open_dataset(tmp_path / "out.nc") as new:
        xr.testing.assert_identical(new.drop_vars("filled"), old)
        for band in BANDS:
            for key in (*packed, "chunksizes"):
                assert new[band].encoding[key] == old[band].encoding[key], key
        assert new.time.encoding["units"] == old.time.encoding["units"]


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_versions_and_uneven_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """The version stays, and chunks that Zarr would refuse are made even."""
    monkeypatch.setattr(rasters, "LARGE", 0)
    stack = read_stack(write_crops(tmp_path))
    source = stack.raster.to_dataset("band").chunk({"time": 1, "y": 20, "x": 64})
    source.to_zarr(tmp_path / "in.zarr", zarr_format=version, consolidated=version == 2)
    one = read_stack(tmp_path / "in.zarr")
    result = as_result(one).chunk({"y": (7, 30, 27)})
    write_stack(result, one, tmp_path / "out.zarr")
    assert (tmp_path / "out.zarr" / ("zarr.json" if version == 3 else ".zgroup")).exists()
    two = read_stack(tmp_path / "out.zarr")
    np.testing.assert_array_equal(two.raster.B04, result.B04)
    assert two.raster.B04.encoding["chunks"] == one.raster.B04.encoding["chunks"]


def test_one_cube_variable_is_a_dataarray(tmp_path: Path) -> None:
    """A variable (time, band, y, x) is worked on as such, with the mask beside it, and goes back under its name."""
    stack = read_stack(write_crops(tmp_path), write_masks(tmp_path))
    dataset = stack.raster.to_dataset(name="reflectance").assign(SCL=stack.clouds)
    dataset.to_netcdf(tmp_path / "in.nc")
    one = read_stack(tmp_path / "in.nc")
    assert isinstance(one.raster, xr.DataArray)
    assert codes(one).name == "SCL"
    write_stack(as_result(one), one, tmp_path / "out.nc")
    two = read_stack(tmp_path / "out.nc")
    np.testing.assert_array_equal(two.raster[..., 5:, :], stack.raster[..., 5:, :])
    np.testing.assert_array_equal(codes(two), codes(stack))
    assert list(read_stack(tmp_path / "in.nc", bands=["B04"]).raster.band.values) == ["B04"]


def test_netcdf_to_geotiffs(tmp_path: Path) -> None:
    """One GeoTIFF per date, named after file and day, tiled and deflated, with the variable's nodata."""
    files = write_crops(tmp_path)
    stack = read_stack(files)
    encoding = {band: {"_FillValue": 0} for band in BANDS}
    stack.raster.to_dataset("band").rio.write_crs(stack.raster.rio.crs).to_netcdf(
        tmp_path / "cube.nc", encoding=encoding
    )
    one = read_stack(tmp_path / "cube.nc", bands=["B02", "B08"])
    written = write_stack(as_result(one), one, tmp_path / "out")
    assert written.rasters[0].name == f"cube_2023-08-{files[0].stem[-2:]}.tif"
    with rasterio.open(files[0]) as old, rasterio.open(written.rasters[0]) as new:
        assert (new.crs, new.dtypes[0], new.nodata) == (old.crs, "uint16", old.nodata)
        assert new.transform.almost_equals(old.transform)
        assert new.descriptions == ("B02", "B08")
        np.testing.assert_array_equal(new.read()[:, 5:], old.read([1, 4])[:, 5:])


def test_masks_need_not_fit_the_pattern_of_the_rasters(tmp_path: Path) -> None:
    """It was made for the names of the rasters; where it does not fit a mask, that is read without."""
    files, masks = write_crops(tmp_path), write_masks(tmp_path)
    renamed = [file.rename(tmp_path / f"S2_{file.stem[-2:]}.08.2023_20230901.tif") for file in files]
    stack = read_stack(renamed, masks, date_pattern="S2_%d.%m.%Y")
    np.testing.assert_array_equal(stack.raster.time, codes(stack).time)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SCL_33TWM_20230818.tif", "SCL"),
        ("T33TWM_20230818T100031_SCL_20m.jp2", "SCL"),
        ("LC08_L2SP_190028_20230810_20230815_02_T1_QA_PIXEL.TIF", "QA_PIXEL"),
        ("HLS.S30.T33TWM.2023222T100031.v2.0.Fmask.tif", "HLS Fmask"),
        ("fmask_20230818.tif", "Fmask"),
        ("SCLERA_20230818.tif", None),
        ("mask_20230818.tif", None),
    ],
)
def test_the_kind_of_a_mask_is_told_by_its_name(name: str, kind: str | None) -> None:
    """So that its codes are decoded as what they are."""
    assert products.kind(name) == kind


def test_no_georeference_at_all(tmp_path: Path) -> None:
    """Neither CRS nor transform: read and written the same; a warning comes where the grid counts."""
    files = []
    for crop in write_crops(tmp_path / "in", crs=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            files.append(rewrite(crop, crs=None, transform=rasterio.Affine.identity()))
    stack = read_stack(files)
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    assert len(written.rasters) == 3


def test_mixed_baselines_warn(tmp_path: Path) -> None:
    """Numbers of Sentinel-2 products before and after 04.00 differ by 1000."""
    for number, path in enumerate(write_crops(tmp_path, dates=2)):
        with rasterio.open(path, "r+") as target:
            target.update_tags(PROCESSING_BASELINE=("03.01", "05.09")[number], OFFSET_APPLIED="")
    with pytest.warns(UserWarning, match=r"04\.00"):
        read_stack(f"{tmp_path}/*.tif")


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
def tiny_disk(tmp_path: Path):
    """A disk of 200 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.name != "posix":
        pytest.skip("no mount command: a full disk cannot be tried here")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no right to mount a small disk: a full disk cannot be tried here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # the NetCDF library keeps a failed file open


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


def test_a_truncated_file_is_found_without_reading_it(tmp_path: Path) -> None:
    """Its directory names bytes that are not there."""
    file = write_crops(tmp_path, dates=1)[0]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=r"cut short: \d+ bytes, but the block at rows \d+-\d+"):
        read_stack(file)


def test_a_damaged_file_names_the_window(tmp_path: Path) -> None:
    """The directory is fine, the pixels are not."""
    file = write_crops(tmp_path, dates=1)[0]
    damage(file)
    with pytest.raises(InputError, match=r"cannot be read at rows 0-63, columns 0-63"):
        read_stack(file)


def test_what_we_wrote_as_a_mask_is_not_taken_for_an_image(tmp_path: Path) -> None:
    """OUT/*.tif holds both."""
    stack = read_stack(write_crops(tmp_path / "in"))
    write_stack(as_result(stack), stack, tmp_path / "out")
    with pytest.raises(InputError, match="_filled"):
        read_stack(f"{tmp_path}/out/*.tif")


def test_grids_are_compared_to_a_hundredth_of_a_pixel(tmp_path: Path) -> None:
    """Rounding in a file's transform is no other grid; half a pixel is."""
    files = write_crops(tmp_path, dates=2)
    with rasterio.open(files[1]) as source:
        a, b, c, d, e, f = source.transform[:6]
    for shift, fine in ((0.3, True), (60.0, False)):
        rewrite(files[1], transform=rasterio.Affine(a, b, c + shift, d, e, f))
        if fine:
            read_stack(files)
        else:
            with pytest.raises(GridError, match=r"rio warp .* --like"):
                read_stack(files)


def test_the_sample_itself(tmp_path: Path) -> None:
    """All dates of the shipped sample are read and written."""
    stack = read_stack(sample_files("S2_*.tif"), sample_files("SCL_*.tif"))
    written = write_stack(as_result(stack), stack, tmp_path)
    assert len(written.rasters) == len(written.filled) == stack.raster.sizes["time"] >= 3
