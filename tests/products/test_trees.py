"""EOPF Zarr and trees; Datasets of other readers, as they are."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from make_bands import reflectance
from make_eopf import store, tree
from make_safe import CLOUD, SIDE
from running import invoke
from small_cube import WAVELENGTHS, clean_cube, raster

import ngr_geo
from ngr_geo import GridError, InputError

GUIDE = ("--method", "guide", "--no-refine", "--tile", 64, "--overlap", 8)


@pytest.mark.parametrize("lazy", [False, True])
def test_stores_of_one_tile_are_a_stack(tmp_path: Path, lazy: bool) -> None:
    stores = [store(tmp_path, date, cloudy=date == 1) for date in range(3)]
    stack = ngr_geo.open(stores, resolution=10, lazy=lazy)
    assert list(stack.data_vars) == ["b02", "b03", "b04", "b08", "SCL"]
    assert bool(dask.is_dask_collection(stack.b02.data)) is lazy
    assert stack.sizes == {"time": 3, "y": SIDE, "x": SIDE}
    assert (stack.rio.crs.to_epsg(), float(stack.x[0]), float(stack.y[0])) == (32633, 600_005, 5_099_995)
    assert (stack.b02.dtype, stack.b02.attrs["scale_factor"], stack.b02.attrs["add_offset"]) == (
        np.uint16,
        0.0001,
        -0.1,
    )
    assert stack.ngr.cloud_mask(dilate=0, refine=False).values[1][CLOUD].all()
    clear = stack.ngr.decloud(method="guide", refine=False, tile=64, overlap=8)
    assert abs(clear.b02.values[1] * 1e-4 - 0.1 - reflectance(1)["B02"])[CLOUD].mean() < 0.02
    with pytest.raises(GridError, match=r"several sizes \(10 m: b02, .*20 m: "):
        ngr_geo.open(stores)
    assert list(ngr_geo.open(stores[0], bands=["B8A"]).data_vars) == ["b8a", "SCL"]
    with pytest.raises(InputError, match="no size of pixels with all of b08, b8a"):
        ngr_geo.open(stores[0], bands=["b08", "b8a"])


def test_the_command_line_takes_stores(tmp_path: Path) -> None:
    stores = [store(tmp_path, date, cloudy=date == 1) for date in range(3)]
    done = invoke("decloud", *stores, "-o", tmp_path / "out.zarr", "--resolution", 20, *GUIDE)
    assert done.exit_code == 0, done.output
    out = xr.open_zarr(tmp_path / "out.zarr", decode_coords="all")
    assert "b8a" in out
    assert out.rio.crs.to_epsg() == 32633
    assert abs(out.b02.values[1] - reflectance(1)["B02"].reshape(24, 2, 24, 2).mean((1, 3)))[6:12, 6:13].mean() < 0.02


def test_a_tree_has_the_verbs() -> None:
    whole = tree(1, cloudy=True)
    bands = ngr_geo.open(whole, resolution=20)
    assert isinstance(bands, xr.Dataset)
    assert list(bands.data_vars) == ["b02", "b03", "b04", "b8a", "SCL"]
    with pytest.raises(GridError, match="several sizes"):
        _ = whole.ngr
    other = xr.DataTree.from_dict({"/a": xr.Dataset(attrs={"n": 1}), "/b": raster(clean_cube()[:10]).to_dataset()})
    assert "filled" in other.ngr.inpaint(other["b"].reflectance > 2, method="guide").coords
    with pytest.raises(InputError, match="2 nodes"):
        ngr_geo.open(xr.DataTree.from_dict({"/a": other["b"].to_dataset(), "/b": other["b"].to_dataset()}))


def pace() -> xr.Dataset:
    """PACE OCI Level 2 AOP, as it is opened: lines and pixels, Rrs with its uncertainty, flags with their meanings."""
    cube = clean_cube()[:16].transpose(1, 2, 0).astype(np.float32)
    dims = ("number_of_lines", "pixels_per_line", "wavelength_3d")
    flags = np.zeros(cube.shape[:2], np.int32)
    flags[:5, :5] = 512
    about = {"flag_masks": np.array([1, 512], np.int32), "flag_meanings": "ATMFAIL CLDICE"}
    return xr.Dataset(
        {
            "Rrs": (dims, np.where(np.random.default_rng(0).random(cube.shape) < 0.02, np.nan, cube)),
            "Rrs_unc": (dims, cube * 0.1),
            "chlor_a": (dims[:2], cube[..., 0]),
            "l2_flags": (dims[:2], flags, about),
        },
        coords={
            "wavelength_3d": WAVELENGTHS[:16],
            "latitude": (dims[:2], cube[..., 0]),
            "longitude": (dims[:2], cube[..., 0]),
        },
    )


def hypercoast() -> xr.Dataset:
    """HyperCoast's readers: latitude, longitude and wavelength as dimensions with coordinates, one variable."""
    cube = np.where(np.random.default_rng(0).random((64, 64, 16)) < 0.02, np.nan, clean_cube()[:16].transpose(1, 2, 0))
    coords = {
        "latitude": 46 - 0.001 * np.arange(64),
        "longitude": 11 + 0.001 * np.arange(64),
        "wavelength": WAVELENGTHS[:16],
    }
    return xr.Dataset({"reflectance": (tuple(coords), cube.astype(np.float32))}, coords=coords).rio.write_crs(
        "EPSG:4326"
    )


@pytest.mark.parametrize(("made", "name"), [(pace, "Rrs"), (hypercoast, "reflectance")])
def test_datasets_of_other_readers_are_taken_as_they_are(made: object, name: str) -> None:
    assert callable(made)
    whole = made()
    found = whole.ngr.inpaint(extent="all", method="guide", tile=64, overlap=8)
    assert found[name].dims == whole[name].dims
    assert set(whole.data_vars) <= set(found.data_vars)
    missing = np.isnan(whole[name].values)
    assert np.isfinite(found[name].values).all()
    truth = clean_cube()[:16].transpose(1, 2, 0)
    assert abs(found[name].values - truth)[missing].mean() < 0.02
    np.testing.assert_array_equal(found[name].values[~missing], whole[name].values[~missing])
    np.testing.assert_array_equal(found.filled.values, missing)


def test_several_cubes_are_an_error_that_says_what_to_call() -> None:
    whole = hypercoast()
    with pytest.raises(InputError, match=r"several cubes .*dataset\['reflectance'\]\.ngr"):
        whole.assign(radiance=whole.reflectance * 2).ngr.denoise()


def test_stacks_of_stac_readers_are_taken_as_they_are() -> None:
    """odc-stac gives a Dataset with a variable per band and SCL; stackstac a DataArray with the asset's names as bands."""
    dates = [reflectance(date) for date in range(3)]
    scl = np.full((3, SIDE, SIDE), 4, np.uint8)
    scl[1][CLOUD] = 9
    coords = {
        "time": np.array(["2023-08-10", "2023-08-18", "2023-08-26"], "datetime64[ns]"),
        "y": 5e6 - 10.0 * np.arange(SIDE),
        "x": 10.0 * np.arange(SIDE),
    }
    bands = {name: (("time", "y", "x"), np.stack([part[name] for part in dates]), {"nodata": 0}) for name in dates[0]}
    odc = xr.Dataset({**bands, "SCL": (("time", "y", "x"), scl)}, coords=coords).rio.write_crs("EPSG:32633")
    clear = odc.ngr.decloud(method="guide", refine=False, tile=64, overlap=8)
    assert abs(clear.B02.values[1] - dates[1]["B02"])[CLOUD].mean() < 0.02
    stacked = (
        odc[list(bands)]
        .to_dataarray("band")
        .transpose("time", "band", "y", "x")
        .assign_coords(title=("band", list("abcd")))
    )
    again = stacked.ngr.decloud(clouds=odc.SCL, method="guide", refine=False, tile=64, overlap=8)
    np.testing.assert_array_equal(again.sel(band="B02").values, clear.B02.values)
