"""Files as agencies deliver them: layouts, names, headers, sizes and places that the sample does not have."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_stack import as_result, hidden_files, pixels, write_crops

from ngr_geo.errors import InputError, OutputError
from ngr_geo.io import outputs, read_stack, write_stack
from ngr_geo.io import target as targets

GRID = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5.1e6)}


def write_raster(path: Path, values: np.ndarray, **profile: object) -> Path:
    """A raster (band, row, column) with a grid, in the layout that the profile says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, rows, columns = values.shape
    options = {
        "driver": "GTiff",
        "count": count,
        "height": rows,
        "width": columns,
        "dtype": values.dtype,
        **GRID,
        **profile,
    }
    with rasterio.open(path, "w", **options) as target:
        target.write(values)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    square=st.booleans(),
    layout=st.one_of(
        st.integers(1, 70).map(lambda n: {"blockysize": n}),
        st.tuples(st.sampled_from([16, 32, 64]), st.sampled_from([16, 32, 64])).map(
            lambda n: {"tiled": True, "blockysize": n[0], "blockxsize": n[1]}
        ),
    ),
    compress=st.sampled_from([None, "deflate"]),
)
def test_every_layout_of_a_geotiff_is_written_again(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, square: bool, layout: dict, compress: str | None
) -> None:
    """Strips of any height, one strip, tiles of any size: also a square image in one strip whose side is no multiple of 16."""
    folder = tmp_path_factory.mktemp("layout")
    columns = rows if square else columns
    if "tiled" not in layout:
        layout = {"blockysize": min(layout["blockysize"], rows)}
    values = np.random.default_rng(rows * 100 + columns).integers(1, 255, (2, rows, columns), dtype=np.uint8)
    path = write_raster(folder / "in.tif", values, **layout, **({"compress": compress} if compress else {}))
    stack = read_stack(path)
    written = write_stack(as_result(stack), stack, folder / "out.tif")
    after = pixels(written.rasters)[0]
    np.testing.assert_array_equal(after[:, 5:], values[:, 5:])
    with rasterio.open(path) as old, rasterio.open(written.rasters[0]) as new:
        assert new.block_shapes == old.block_shapes


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


HUGE = {
    "tiles": {"tiled": True, "blockxsize": 256, "blockysize": 256},
    "large tiles": {"tiled": True, "blockxsize": 16384, "blockysize": 16384},
    "strips": {},
    "one strip": {"blockysize": 100_000},
}


@pytest.mark.parametrize("layout", HUGE.values(), ids=HUGE)
def test_a_small_file_that_declares_a_huge_raster_is_refused(tmp_path: Path, layout: dict) -> None:
    """Without looking for its pixels."""
    path = tmp_path / "huge_20230813.tif"
    options = {"driver": "GTiff", "width": 100_000, "height": 100_000, "count": 1, "dtype": "uint8", "SPARSE_OK": True}
    with rasterio.open(path, "w", compress="deflate", **options, **GRID, **layout):
        pass
    with pytest.raises(InputError, match=r"declares 100000 x 100000 pixels \(10 GB\) in \d+ bytes"):
        read_stack(path)


def test_a_raw_image_shorter_than_its_header_says_is_cut_short(tmp_path: Path) -> None:
    """GDAL would read zeros for what is not there."""
    path = write_raster(tmp_path / "a.img", np.ones((2, 8, 9), np.int16), driver="ENVI")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="cut short: 278 bytes, but its header declares 288"):
        read_stack(path)


ENVI_HEADER = """reflectance scale factor = 10000
sensor type = AVIRIS
default bands = {3, 2, 1}
acquisition time = 2023-08-13T10:00:31Z
wavelength units = Nanometers
wavelength = {
 400, 500, 600.5, 700}
fwhm = { 10, 10.5, 10, 10}
data gain values = {0.1, 0.1, 0.1, 0.2}
data offset values = {1, 1, 2, 3}
bbl = {1,1,0,1}
cloud cover = 3
"""


def write_envi(folder: Path, interleave: str) -> Path:
    """An ENVI image of four bands with a header such as agencies write."""
    values = np.random.default_rng(0).integers(1, 1000, (4, 12, 14), dtype=np.int16)
    path = write_raster(folder / "scene.img", values, driver="ENVI", INTERLEAVE=interleave, nodata=-9999)
    with rasterio.open(path, "r+") as target:
        target.descriptions = ("blue", "green", "red", "nir")
    head = path.with_suffix(".hdr")
    text = head.read_text().replace(
        "description = {\n" + str(path) + "}", "description = {\n A flight over the valley}"
    )
    head.write_text(text + ENVI_HEADER)
    return path


@pytest.mark.parametrize("interleave", ["BSQ", "BIL", "BIP"])
def test_an_envi_image_keeps_what_its_header_says(tmp_path: Path, interleave: str) -> None:
    """Opened with another program's reader: same pixels, wavelengths, factor, gains, names, layout, description."""
    spectral = pytest.importorskip("spectral")
    path = write_envi(tmp_path / "in", interleave)
    stack = read_stack(path)
    written = write_stack(as_result(stack), stack, tmp_path / "out.img")
    old, new = (spectral.open_image(str(file.with_suffix(".hdr"))) for file in (path, written.rasters[0]))
    np.testing.assert_array_equal(np.array(new.load())[5:], np.array(old.load())[5:])
    assert new.scale_factor == old.scale_factor == 10000
    assert new.bands.centers == old.bands.centers == [400, 500, 600.5, 700]
    assert new.bands.bandwidths == old.bands.bandwidths
    assert new.bands.band_unit == "Nanometers"
    kept = dict(new.metadata)
    assert kept.pop("band names") == ["blue", "green", "red", "nir"]
    for key, value in old.metadata.items():
        if key not in ("band names", "map info", "coordinate system string"):
            assert kept[key] == value, key
    assert "valley" in kept["description"]
    assert kept["interleave"] == interleave.lower()
    with rasterio.open(path) as before, rasterio.open(written.rasters[0]) as after:
        assert after.crs == before.crs and after.transform == before.transform and after.nodata == -9999
        assert (after.scales, after.offsets) == (before.scales, before.offsets)


def test_an_envi_image_of_some_bands_has_the_lists_of_these(tmp_path: Path) -> None:
    """Also by way of a GeoTIFF."""
    spectral = pytest.importorskip("spectral")
    path = write_envi(tmp_path / "in", "BIL")
    stack = read_stack(path, bands=["red", "blue", "green"])
    write_stack(as_result(stack), stack, tmp_path / "mid.tif")
    stack = read_stack(tmp_path / "mid.tif")
    written = write_stack(as_result(stack), stack, tmp_path / "out.bip")
    new = spectral.envi.read_envi_header(str(written.rasters[0].with_suffix(".hdr")))
    assert new["wavelength"] == ["600.5", "400", "500"]
    assert new["data offset values"] == ["2", "1", "1"]
    assert new["default bands"] == ["1", "3", "2"]
    assert new["interleave"] == "bip"
    assert "valley" in new["description"]
