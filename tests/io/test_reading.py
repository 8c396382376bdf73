"""Stacks read from files: what belongs together, which mask belongs to which date, what cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
from small_stack import BANDS, as_result, codes, damage, pixels, rewrite, write_crops, write_masks

from ngr_geo.errors import GridError, InputError, MaskError
from ngr_geo.io import read_stack, write_stack
from ngr_geo.raster import products


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


def test_mixed_baselines_warn(tmp_path: Path) -> None:
    """Numbers of Sentinel-2 products before and after 04.00 differ by 1000."""
    for number, path in enumerate(write_crops(tmp_path, dates=2)):
        with rasterio.open(path, "r+") as target:
            target.update_tags(PROCESSING_BASELINE=("03.01", "05.09")[number], OFFSET_APPLIED="")
    with pytest.warns(UserWarning, match=r"04\.00"):
        read_stack(f"{tmp_path}/*.tif")


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
