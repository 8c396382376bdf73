"""Files as agencies deliver them: layouts, headers, sizes and kinds that the sample does not have."""

import warnings
import zipfile
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import rasterio
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from small_stack import as_result, pixels

from ngr_geo.errors import InputError
from ngr_geo.io import read_stack, write_stack

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


@pytest.mark.parametrize(
    "case", ["rotated", "no CRS", "GCPs", "RPCs", "scaled", "upper case", "zipped", "VRT", "world file"]
)
def test_rasters_of_all_kinds_are_read_and_written(tmp_path: Path, case: str) -> None:
    """Their grid, or what they have of one, is the result's."""
    values = np.random.default_rng(0).integers(1, 200, (3, 20, 30), dtype=np.uint8)
    path = tmp_path / ("scene.TIF" if case == "upper case" else "scene.tif")
    grids: dict[str, dict[str, object]] = {
        "rotated": {"transform": rasterio.Affine(10, 2, 5e5, 2, -10, 5e6)},
        "no CRS": {"crs": None},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if case == "GCPs":
            points = [GroundControlPoint(r, c, 15 + c / 100, 46 - r / 100) for r in (0, 20) for c in (0, 30)]
            write_raster(path, values, crs="EPSG:4326", transform=None, gcps=points)
        elif case == "world file":
            path = write_raster(tmp_path / "scene.png", values, driver="PNG", crs=None, transform=None)
            path.with_suffix(".pgw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
        else:
            write_raster(path, values, **grids.get(case, {}))
    if case == "RPCs":
        with rasterio.open(path, "r+") as target:
            ones = [1.0, *[0.001] * 19]
            target.rpcs = RPC(100, 50, 46, 1, ones, ones, 10, 10, 15, 1, ones, ones, 15, 15, 0.5, 0.5)
    if case == "scaled":
        with rasterio.open(path, "r+") as target:
            target.scales, target.offsets = (0.1,) * 3, (2.0,) * 3
    name = str(path)
    if case == "zipped":
        with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
            archive.write(path, "scene.tif")
        name = f"/vsizip/{tmp_path}/scene.zip/scene.tif"
    if case == "VRT":
        name = str(tmp_path / "scene.vrt")
        rasterio.shutil.copy(str(path), name, driver="VRT")
    stack = read_stack(name)
    written = write_stack(as_result(stack), stack, tmp_path / "OUT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(name) as old, rasterio.open(written.rasters[0]) as new:
            np.testing.assert_array_equal(new.read()[:, 5:], values[:, 5:])
            assert (new.crs, new.transform, new.scales, new.offsets) == (
                old.crs,
                old.transform,
                old.scales,
                old.offsets,
            )
            assert [(p.row, p.col, p.x, p.y) for p in new.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in old.gcps[0]]
            assert new.gcps[1] == old.gcps[1]
            assert new.tags(ns="RPC") == old.tags(ns="RPC")
            assert bool(new.rpcs) == (case == "RPCs")


@pytest.mark.parametrize("name", ["scene.zip", "scene.tar", "scene.tar.gz"])
def test_an_archive_is_no_raster(tmp_path: Path, name: str) -> None:
    """What lies in it can be named."""
    (tmp_path / name).write_bytes(b"PK" + bytes(100))
    with pytest.raises(InputError, match=rf"is an archive.*/vsi(zip|tar)/.*{name}/NAME\.tif"):
        read_stack(tmp_path / name)


@pytest.mark.parametrize("kind", ["zarr", "nc"])
def test_a_store_that_declares_a_huge_raster_and_holds_nothing_is_refused(tmp_path: Path, kind: str) -> None:
    """As a GeoTIFF is."""
    path = tmp_path / f"huge.{kind}"
    if kind == "zarr":
        group = zarr.open_group(path, mode="w", zarr_format=2)
        array = group.create_array("B04", shape=(100_000, 100_000), chunks=(4096, 4096), dtype="uint8", fill_value=0)
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    else:
        with netCDF4.Dataset(path, "w") as file:
            for name in "yx":
                file.createDimension(name, 100_000)
            file.createVariable("B04", "u1", ("y", "x"), zlib=True, chunksizes=(5000, 5000))
    with pytest.raises(InputError, match=r"declares 100000 y x 100000 x \(10 GB\) in \d+ bytes"):
        read_stack(path)
