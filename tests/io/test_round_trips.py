"""What survives when files are read and written: layouts, compressions, tags, encodings, pixels bit for bit."""

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
from small_stack import BANDS, as_result, codes, hidden_files, pixels, rewrite, sample_files, write_crops, write_masks

from ngr_geo.io import rasters, read_stack, write_stack


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
    structure = source.tags(ns="IMAGE_STRUCTURE")
    structure.pop("OVERVIEW_RESAMPLING", None)  # noted since GDAL 3.11: ours are averages
    return (
        profile
        | structure
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


def test_the_sample_itself(tmp_path: Path) -> None:
    """All dates of the shipped sample are read and written."""
    stack = read_stack(sample_files("S2_*.tif"), sample_files("SCL_*.tif"))
    written = write_stack(as_result(stack), stack, tmp_path)
    assert len(written.rasters) == len(written.filled) == stack.raster.sizes["time"] >= 3
