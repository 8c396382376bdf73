"""Nodata: declared, said by the user, or obvious but undeclared."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from running import invoke
from small_stack import as_result, pixels, rewrite, sample_files, write_crops

from ngr_geo.errors import InputError
from ngr_geo.io import read_stack, write_stack


def write_undeclared(folder: Path, value: float, dtype: str) -> list[Path]:
    """Crops without declared nodata, a corner of which holds a number that means missing."""
    files = write_crops(folder, nodata=None)
    for path in files:
        values = np.maximum(pixels([path])[0], 1).astype(dtype)
        values[:, :20, :30] = value
        rewrite(path, values, nodata=None, predictor=1)
    return files


@pytest.mark.parametrize(
    ("value", "dtype"), [(-9999, "int16"), (65535, "uint16"), (-32768, "int32"), (-9999, "float32"), (0, "uint16")]
)
def test_nodata_that_is_obvious_but_undeclared_is_refused(tmp_path: Path, value: float, dtype: str) -> None:
    """It is not guessed: the user says that it is missing, or that it is data; in Python as on the command line."""
    files = write_undeclared(tmp_path, value, dtype)
    with pytest.raises(InputError) as caught:
        read_stack(files)
    assert f"{value} stands in 15% of band 1" in str(caught.value).replace("B02", "1")
    assert f"--nodata {value}, or --nodata none" in caught.value.on_command_line
    assert f"nodata={value}, or nodata='none'" in str(caught.value)
    with pytest.raises(InputError, match="stands in"):
        read_stack(files, lazy=True)
    assert read_stack(files, nodata=value).raster.rio.nodata == value
    assert read_stack(files, nodata="none").raster.rio.nodata is None
    stack = read_stack(files, nodata=value)
    with rasterio.open(write_stack(as_result(stack), stack, tmp_path / "out").rasters[0]) as source:
        assert source.nodata == value


def test_all_that_is_unclear_is_reported_at_once(tmp_path: Path) -> None:
    """Nodata that differs, a number that is not declared, bands without a name: one message with the options."""
    files = write_undeclared(tmp_path, -9999, "int16")
    with rasterio.open(files[0], "r+") as target:
        target.nodata = -1
    for path in files:
        with rasterio.open(path, "r+") as target:
            target.descriptions = (None,) * 4
    result = invoke("info", *files)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    for word in (
        "has -1",
        "has no value",
        "-9999 stands in",
        "bands without a name (1, 2, 3, 4)",
        "--nodata -9999",
        "--nodata none",
        "--bands",
    ):
        assert word in line
    assert invoke("info", *files, "--nodata", "none").exit_code == 0
    with pytest.raises(InputError, match="int16 cannot hold"):
        read_stack(files, nodata=70000)
    with pytest.raises(InputError, match="expected a number"):
        read_stack(files, nodata="zero")


def test_bands_of_one_file_with_different_nodata(tmp_path: Path) -> None:
    """A VRT can declare one for each band."""
    file = write_crops(tmp_path, dates=1)[0]
    source = f'<SourceFilename relativeToVRT="1">{file.name}</SourceFilename>'
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{n}"><NoDataValue>{v}</NoDataValue>'
        f"<SimpleSource>{source}<SourceBand>{n}</SourceBand></SimpleSource></VRTRasterBand>"
        for n, v in ((1, 0), (2, 65535))
    )
    (tmp_path / "a_20230820.vrt").write_text(f'<VRTDataset rasterXSize="64" rasterYSize="64">{bands}</VRTDataset>')
    with pytest.raises(InputError, match=r"band 1 .* has 0, band 2 .* has 65535"):
        read_stack(tmp_path / "a_20230820.vrt")
    assert read_stack(tmp_path / "a_20230820.vrt", nodata=0).raster.rio.nodata == 0


def test_numbers_that_may_be_data_are_left_alone(tmp_path: Path) -> None:
    """Saturation next to bright pixels, zeros inside, few outliers, classes, dark edges."""
    file = write_crops(tmp_path, dates=1, nodata=None)[0]
    rng = np.random.default_rng(0)
    bright = np.minimum(rng.normal(52000, 12000, (4, 64, 64)), 65535).clip(1).astype(np.uint16)
    inside = rng.integers(100, 4000, (4, 64, 64), dtype=np.uint16)
    inside[:, 20:30, 20:30] = 0
    few = rng.integers(100, 4000, (4, 64, 64), dtype=np.uint16)
    few[:, 3, 3:7] = 65535
    classes = rng.integers(0, 9, (4, 64, 64)).astype(np.uint8)
    classes[:, :20] = 255
    dark = rng.integers(0, 60, (4, 64, 64)).astype(np.uint8)
    dark[:, 0] = 0
    for values in (bright, inside, few, classes, dark):
        rewrite(file, values, nodata=None, predictor=1)
        assert read_stack(file).raster.rio.nodata is None


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_nodata_of_netcdf_and_zarr(tmp_path: Path, kind: str) -> None:
    """The same for variables without a fill value."""
    cube = read_stack(write_crops(tmp_path / "in", nodata=None), nodata="none").raster.astype("int16").drop_attrs()
    cube[..., :20, :30] = -9999
    dataset = cube.to_dataset("band")
    path = tmp_path / f"cube.{kind}"
    dataset.to_netcdf(path) if kind == "nc" else dataset.to_zarr(path)
    with pytest.raises(InputError, match=r"-9999 stands in 15% of B02 of .*nodata=-9999"):
        read_stack(path)
    raster = read_stack(path, nodata="-9999").raster
    assert isinstance(raster, xr.Dataset)
    assert raster.B04.attrs["_FillValue"] == -9999
    assert "_FillValue" not in read_stack(path, nodata="none").raster.B04.attrs


def test_the_sample_needs_no_option() -> None:
    """As it is shipped."""
    assert read_stack(sample_files("S2_*.tif")).notes == ()
