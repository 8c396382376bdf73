"""One file per band, as agencies deliver them."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from running import invoke
from small_stack import BANDS, as_result, codes, pixels, rewrite, write_crops, write_masks

from ngr_geo.errors import GridError, InputError
from ngr_geo.io import Files, read_stack, write_stack
from ngr_geo.io.bands import in_name, in_order

NAMES = {
    "T33TWL_20230813T100031_B04_10m.jp2": ("B04", "T33TWL_20230813T100031"),
    "T33TWL_20230813T100031_B8A.jp2": ("B8A", "T33TWL_20230813T100031"),
    "L2A_T33TWL_20170813T100031_B12_20m.jp2": ("B12", "L2A_T33TWL_20170813T100031"),
    "SENTINEL2B_20230810-100559-123_L2A_T33TWM_C_V3-1_FRE_B8A.tif": (
        "FRE_B8A",
        "SENTINEL2B_20230810-100559-123_L2A_T33TWM_C_V3-1",
    ),
    "LC09_L2SP_190028_20230813_20230815_02_T1_SR_B4.TIF": ("SR_B4", "LC09_L2SP_190028_20230813_20230815_02_T1"),
    "LC08_L1TP_190028_20130813_20200912_02_T1_B10.TIF": ("B10", "LC08_L1TP_190028_20130813_20200912_02_T1"),
    "LT05_L1TP_190028_20100813_20161014_01_T1_sr_band3.tif": ("sr_band3", "LT05_L1TP_190028_20100813_20161014_01_T1"),
    "LC08_CU_003010_20200813_20210101_02_SR_B4.TIF": ("SR_B4", "LC08_CU_003010_20200813_20210101_02"),
    "LC80330332013180LGN00_B4.TIF": ("B4", "LC80330332013180LGN00"),
    "HLS.S30.T33TWM.2023222T100031.v2.0.B04.tif": ("B04", "HLS.S30.T33TWM.2023222T100031.v2.0"),
    "CBERS_4_PAN5M_20230813_151_101_L4_BAND2.tif": ("BAND2", "CBERS_4_PAN5M_20230813_151_101_L4"),
    "AMAZONIA_1_WFI_20230813_036_018_L4_BAND4.tif": ("BAND4", "AMAZONIA_1_WFI_20230813_036_018_L4"),
    "MOD09A1.061_sur_refl_b01_doy2023222_aid0001.tif": ("sur_refl_b01", "MOD09A1.061"),
    "mosaic_amazon_20230801_swir1.tif": ("swir1", "mosaic_amazon_20230801"),
    "scene_20230813_VV.tif": ("VV", "scene_20230813"),
    "B04.tif": ("B04", ""),
    "S2_33TWM_20230815.tif": None,
    "20230810_095549_27_2461_3B_AnalyticMS.tif": None,
    "SCL_20230815.tif": None,
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_bands_are_read_from_names(name: str, expected: tuple[str, str] | None) -> None:
    """ESA, CNES, USGS, NASA, INPE, AppEEARS and plain names; others tell no band."""
    found = in_name(name)
    if name.startswith("MOD09A1"):
        assert found is not None and found.band == "sur_refl_b01" and "doy2023222" in found.scene
        return
    assert (None if found is None else (found.band, found.scene)) == expected


def test_bands_are_sorted_as_they_are_counted() -> None:
    """By numbers, not by letters."""
    names = ["B10", "B9", "B8A", "B8", "B1", "SR_B2"]
    assert sorted(names, key=in_order) == ["B1", "B8", "B8A", "B9", "B10", "SR_B2"]


def array(stack: Files) -> xr.DataArray:
    """The raster of a stack of files."""
    assert isinstance(stack.raster, xr.DataArray)
    return stack.raster


def split(folder: Path, name: str = "T33TWM_{date}T100031_{band}_10m.tif", **profile: object) -> list[Path]:
    """The crops of the sample, in one file for each date and band."""
    found = []
    for file in write_crops(folder / "whole"):
        for number, band in enumerate(BANDS):
            path = folder / name.format(date=file.stem[-8:], band=band)
            with rasterio.open(file) as source:
                kept = source.profile | {"count": 1} | profile
                kept = {k: v for k, v in kept.items() if v is not None or k == "nodata"}
                with rasterio.open(path, "w", **kept) as target:
                    target.write(source.read([number + 1]))
            found.append(path)
    return found


def split_masks(folder: Path) -> list[Path]:
    """The scene classifications of `split`, named as ESA does."""
    masks = write_masks(folder / "masks")
    return [mask.rename(folder / f"T33TWM_{mask.stem[-8:]}T100031_SCL_20m.tif") for mask in masks]


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize(
    "name",
    [
        "T33TWM_{date}T100031_{band}_10m.tif",
        "LC09_L2SP_190028_{date}_20230920_02_T1_SR_{band}.TIF",
        "CBERS_4_PAN5M_{date}_151_101_L4_BAND{band}.tif",
        "scene_{date}_{band}.tif",
    ],
)
def test_one_file_per_band_is_a_stack_of_dates_and_bands(tmp_path: Path, name: str, lazy: bool) -> None:
    """The same values as of one file per date; written as one GeoTIFF per date that names its bands."""
    files = split(tmp_path, name)
    stack = read_stack(files[::-1], lazy=lazy, band_pattern=r"(B0\d)\b" if "CBERS" in name else None)
    whole = read_stack(sorted((tmp_path / "whole").glob("*.tif")))
    given = array(whole).values
    assert [str(band)[-3:] for band in stack.raster.band.values] == list(BANDS)
    np.testing.assert_array_equal(array(stack).values, given)
    np.testing.assert_array_equal(
        stack.raster.time.values.astype("datetime64[D]"), whole.raster.time.values.astype("datetime64[D]")
    )
    assert stack.raster.rio.crs == whole.raster.rio.crs and stack.raster.rio.nodata == 0
    assert stack.raster.rio.transform() == whole.raster.rio.transform()
    assert "12 files of one band each are 3 dates" in stack.notes[0]
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    assert len(written.rasters) == 3
    with rasterio.open(written.rasters[0]) as source:
        assert source.descriptions == tuple(stack.raster.band.values)
        assert (source.nodata, source.dtypes[0]) == (0, "uint16")
        assert source.profile["blockxsize"] == 32 and source.compression.name == "deflate"
    np.testing.assert_array_equal(pixels(written.rasters)[..., 5:, :], given[..., 5:, :])


def test_jpeg2000_per_band_on_the_command_line(tmp_path: Path) -> None:
    """As ESA delivers Sentinel-2, with the classification among the inputs: it is the mask, and no band."""
    files = split(tmp_path)
    for file in files:
        rasterio.shutil.copy(
            str(file), str(file.with_suffix(".jp2")), driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES"
        )
        file.unlink()
    split_masks(tmp_path)
    (tmp_path / "in").mkdir()
    for path in tmp_path.glob("T33*.*"):
        path.rename(tmp_path / "in" / path.name)
    result = invoke(
        "decloud",
        f"{tmp_path}/in/T33*.jp2",
        f"{tmp_path}/in/T33*.tif",
        "-o",
        tmp_path / "out",
        "--nodata",
        "0",
        "--method",
        "guide",
        "--json",
        "--dilate",
        "0",
        "--no-refine",
    )
    assert result.exit_code == 0, result.stderr
    assert "SCL is the mask" in result.stderr and "12 files of one band each are 3 dates" in result.stderr
    told = json.loads(result.stdout)
    names = [Path(name).name for name in told["files"]]
    assert names == [f"T33TWM_202308{day}T100031.tif" for day in (15, 18, 20)]
    masks = pixels(sorted((tmp_path / "in").glob("*_SCL_20m.tif")))
    cloud = np.isin(masks, (0, 1, 3, 8, 9, 10))
    before = pixels(sorted((tmp_path / "whole").glob("*.tif")))
    after = pixels(sorted((tmp_path / "out").glob("T33*T100031.tif")))
    keep = np.broadcast_to(~cloud & (before != 0).all(1, keepdims=True), before.shape)
    assert after[keep].tobytes() == before[keep].tobytes()
    assert (after[~keep] != before[~keep]).mean() > 0.9


def coarse(path: Path, factor: int) -> None:
    """A band at a coarser resolution, of the same ground."""
    with rasterio.open(path) as source:
        a, b, c, d, e, f = source.transform[:6]
        values = source.read()
    rewrite(
        path,
        values[:, ::factor, ::factor],
        transform=rasterio.Affine(a * factor, b, c, d, e * factor, f),
        blockxsize=16,
        blockysize=16,
    )


def test_resolutions_are_refused_with_the_option_or_brought_to_one_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bilinear to finer pixels, averages to coarser ones; bands that are there already stay bit for bit, eager and lazy alike."""
    files = split(tmp_path)
    for path in tmp_path.glob("*_B08_10m.tif"):
        coarse(path, 2)
        path.rename(str(path).replace("_10m", "_20m"))
    files = sorted(tmp_path.glob("T33*.tif"))
    with pytest.raises(
        GridError, match=r"120: B02, B03, B04; 240: B08.*--resolution finest, coarsest.*--bands B02,B03,B04"
    ):
        read_stack(files)
    assert read_stack(files, bands=["B03", "B02"]).raster.shape == (3, 2, 64, 64)
    with pytest.raises(InputError, match=r"resolution 15.* 120, 240"):
        read_stack(files, resolution="15")
    monkeypatch.setattr("ngr_geo.io.rasterfile._WARPED", 16)
    monkeypatch.setattr("ngr_geo.io.rasters._CHUNK", 24)
    whole = array(read_stack(sorted((tmp_path / "whole").glob("*.tif")))).values
    for resolution, shape, kept in (("finest", (64, 64), slice(0, 3)), ("240", (32, 32), slice(3, 4))):
        with pytest.warns(UserWarning, match="resampled, not measured"):
            stack, lazy = (read_stack(files, resolution=resolution, lazy=flag) for flag in (False, True))
        values = array(stack).values
        assert values.shape == (3, 4, *shape)
        np.testing.assert_array_equal(array(lazy).values, values)
        if resolution == "finest":
            np.testing.assert_array_equal(values[:, kept], whole[:, kept])
            given = whole[:, 3, ::2, ::2].astype(float)
            near = 0.75 * given[:, :-1] + 0.25 * given[:, 1:]  # a pixel's middle is a quarter off its coarse one's
            near = 0.75 * near[..., :-1] + 0.25 * near[..., 1:]
            seen = given != 0
            clear = seen[:, :-1, :-1] & seen[:, 1:, :-1] & seen[:, :-1, 1:] & seen[:, 1:, 1:]
            found = values[:, 3, 1:-1:2, 1:-1:2].astype(float)
            assert np.abs(found - near)[clear].max() <= 0.5
        else:
            np.testing.assert_array_equal(values[:, 3], whole[:, 3, ::2, ::2])
            blocks = whole[:, :3].reshape(3, 3, 32, 2, 32, 2).astype(float)
            clear = (blocks != 0).all((3, 5))
            assert np.abs(values[:, :3] - blocks.mean((3, 5)))[clear].max() <= 0.5
            assert stack.raster.rio.resolution() == (240, -240)


def test_a_band_delivered_in_several_resolutions_is_taken_in_the_one_asked_for(tmp_path: Path) -> None:
    """Nothing is resampled where the agency has done it; of bands that are only finer, the nearest finer is averaged."""
    for path in split(tmp_path):
        twin = Path(str(path).replace("_10m", "_20m"))
        if "_B02_" in path.name or "_B08_" in path.name:
            twin.write_bytes(path.read_bytes())
            coarse(twin, 2)
    files = sorted(tmp_path.glob("T33*.tif"))
    with pytest.raises(GridError, match="--resolution"):
        read_stack(files)
    stack = read_stack(files, resolution="coarsest", bands=["B08", "B02"])  # no warning: both are there
    assert [band.resampling for band in stack.headers[0].bands] == [None, None]
    assert array(stack).shape == (3, 2, 32, 32)
    fine = read_stack(files, resolution="finest")
    np.testing.assert_array_equal(fine.raster, array(read_stack(f"{tmp_path}/whole/*.tif")))


def test_a_band_that_some_dates_lack_is_named(tmp_path: Path) -> None:
    """And the bands that all have are offered, and work."""
    files = split(tmp_path)
    files[1].unlink()
    left = sorted(tmp_path.glob("T33*.tif"))
    with pytest.raises(InputError, match=r"2023-08-15T10:00:31 has no B03.*--bands B02,B04,B08"):
        read_stack(left)
    assert list(read_stack(left, bands=["B02", "B04", "B08"]).raster.band.values) == ["B02", "B04", "B08"]


def test_files_of_one_day_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    """Unknown names of bands, the same band of two scenes, the same bands twice: both files and the option."""
    files = split(tmp_path / "a", "a_{date}_x{band}y.tif")
    with pytest.raises(InputError, match=r"xB02y\.tif and .*xB03y\.tif are both of 2023-08-15 .*--band-pattern"):
        read_stack(files)
    stack = read_stack(files, band_pattern="_x{band}y")
    assert list(stack.raster.band.values) == list(BANDS)
    assert array(read_stack(files, band_pattern=r"_x(B\d+)y")).equals(array(stack))
    with pytest.raises(InputError, match=r"band pattern 'q\(z\)' finds no band"):
        read_stack(files, band_pattern="q(z)")
    split(tmp_path / "b", "LC09_L2SP_190028_{date}_20230920_02_T1_SR_{band}.TIF")
    split(tmp_path / "b", "LC09_L2SP_190027_{date}_20230920_02_T1_SR_{band}.TIF")
    with pytest.raises(InputError, match=r"190027.*190028.*both SR_B02 of 2023-08-15"):
        read_stack(f"{tmp_path}/b/*.TIF")
    twice = write_crops(tmp_path / "c", dates=1) + [
        p.rename(p.with_stem(f"B_{p.stem}")) for p in write_crops(tmp_path / "d", dates=1)
    ]
    with pytest.raises(InputError, match=r"both of 2023-08-20 and hold the same bands"):
        read_stack(twice)


def test_quality_layers_among_the_files_are_no_bands(tmp_path: Path) -> None:
    """QA_PIXEL is the mask; saturation, aerosol and temperature by-products are left out, and that is said."""
    name = "LC09_L2SP_190028_{date}_20230920_02_T1_SR_{band}.TIF"
    files = split(tmp_path, name)
    masks = split_masks(tmp_path)
    for mask in masks:
        date = mask.stem[7:15]
        for kind in ("QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_CDIST"):
            other = tmp_path / name.format(date=date, band=kind).replace("SR_QA", "QA").replace("SR_ST", "ST")
            rewrite(Path(str(mask)), np.full((1, 64, 64), 21824, np.uint16))
            other.write_bytes(mask.read_bytes())
        mask.unlink()
    stack = read_stack(f"{tmp_path}/LC09*.TIF")
    assert list(stack.raster.band.values) == [f"SR_{band}" for band in BANDS]
    assert codes(stack).name == "QA_PIXEL"
    assert len(stack.inputs) == len(files) + 12
    assert any("QA_PIXEL is the mask" in note for note in stack.notes)
    asked = read_stack(f"{tmp_path}/LC09*.TIF", bands=["SR_B04", "ST_CDIST"])
    assert list(asked.raster.band.values) == ["SR_B04", "ST_CDIST"]
    assert any("ST_CDIST" in note and "QA_RADSAT" in note for note in stack.notes)


def test_single_bands_on_several_dates_get_the_name_of_their_files(tmp_path: Path) -> None:
    """Nothing is to be put together; the files keep their names."""
    files = [path for path in split(tmp_path) if "_B04_" in path.name]
    stack = read_stack(files)
    assert stack.raster.shape == (3, 1, 64, 64)
    assert list(stack.raster.band.values) == ["B04"]
    written = write_stack(as_result(stack), stack, tmp_path / "out")
    assert [path.name for path in written.rasters] == [path.name for path in files]
