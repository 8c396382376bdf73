"""What is said of a mask: layers that are no bands, dates all clear or all cloud, strange codes, masks that look inverted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers .cf)
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from mask_cases import Case, command, flags, mask_of, raster, spread, written

import ngr_geo
from ngr_geo import MaskError
from ngr_geo.raster import masks, missing, products


@pytest.mark.parametrize(
    ("name", "quality"),
    [
        *(
            (n, True)
            for n in ("udm2", "state_1km", "quality_aerosol", "SR_QA_AEROSOL", "QA60", "QA_RADSAT", "scl", "filled")
        ),
        *(
            (n, True)
            for n in ("sur_refl_qc_500m", "MSK_SNWPRB", "cloud_probability", "CLP", "dataMask", "l2_flags", "landmask")
        ),
        *(
            (n, False)
            for n in ("B02", "red", "nir08", "SR_B4", "sur_refl_b01", "AOT", "cloud_top_height", "HLS B02", "squared")
        ),
    ],
)
def test_layers_of_quality_are_known_by_name(name: str, quality: bool) -> None:
    assert products.is_quality(name) == quality


def test_layers_of_quality_are_never_bands() -> None:
    stack = raster().rename(red="B04", nir="B08")
    layers = ["udm2", "state_1km", "quality_aerosol", "QA60", "own_layer"]
    for name in layers:
        stack[name] = mask_of(Case(name, [0, 1]))
    stack["own_layer"].attrs = flags("values")
    stack["SCL"] = mask_of(Case("SCL", [4, 4, 4, 9]))
    with pytest.warns(UserWarning, match="Left out.*udm2, state_1km, quality_aerosol, QA60, own_layer") as told:
        result = stack.ngr.decloud(dilate=0, method="guide")
    assert sum("Left out" in str(w.message) for w in told) == 1
    assert json.loads(result.attrs["ngr_left_out"]) == ["udm2", "state_1km", "quality_aerosol", "QA60", "own_layer"]
    assert "Left out" in result.attrs["ngr_warnings"]
    for name in (*layers, "SCL"):
        xr.testing.assert_identical(result[name].drop_vars("filled"), stack[name])
    table = xr.concat([stack.B04, stack.SCL], "band").assign_coords(band=["B04", "SCL"])
    with pytest.raises(ngr_geo.InputError, match="layer of quality SCL among the bands"):
        table.ngr.inpaint(method="guide")


def test_layers_of_quality_in_files_are_said_and_copied(tmp_path: Path) -> None:
    files = written(tmp_path, spread([4, 4, 9], "uint8"), "SCL")
    for path in files[:3]:
        with rasterio.open(path) as source:
            values, profile = source.read(), source.profile
        profile.update(count=3)
        with rasterio.open(path, "w", **profile) as target:
            target.write(np.concatenate([values, values[:1] % 7]))
            target.descriptions = ("red", "nir", "SR_QA_AEROSOL")
    result = command("decloud", *files, "-o", str(tmp_path / "out"), "--method", "guide", "--dilate", "0")
    assert result.exit_code == 0, result.output
    assert "Left out as layers of quality" in result.output
    for path in files[:3]:
        with rasterio.open(path) as before, rasterio.open(tmp_path / "out" / Path(path).name) as after:
            np.testing.assert_array_equal(before.read(3), after.read(3))


def test_every_run_says_what_is_masked(tmp_path: Path) -> None:
    values = spread([4], "uint8")
    values[:, 3:6, 2:9] = 9
    files = written(tmp_path, values, "SCL")
    result = command("decloud", *files, "-o", str(tmp_path / "out"), "--method", "guide", "--dilate", "1")
    assert result.exit_code == 0, result.output
    info = command("info", *files, "--dilate", "1")
    told = json.loads(command("info", *files, "--dilate", "1", "--json").stdout)["mask"]
    row = told["dates"][0]
    line = f"2023-08-15: {row['masked']:.1%} masked by the rule SCL, grown by 1 pixel to {row['grown']:.1%}"
    assert line in result.output
    assert line in info.output
    with rasterio.open(tmp_path / "out" / "S_20230815.tif") as source:
        assert json.loads(source.tags()["ngr_mask"]) == told
    mask = raster().ngr.cloud_mask(mask_of(Case("SCL", [4])).copy(data=values), dilate=1)
    np.testing.assert_allclose([r["grown"] for r in told["dates"]], mask.mean(("y", "x")), atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_dates_all_clear_or_all_cloud_and_unseen_classes_are_warned_of(lazy: bool) -> None:
    mask = mask_of(Case("SCL", [4, 4, 9]))
    mask[0], mask[2] = 4, 9
    layer = mask.chunk(y=8) if lazy else mask
    notes = masks.with_record(raster(), layer, classes=[9, 10], dilate=0).notes
    assert any("marks nothing on 2023-08-15 (0%)" in note for note in notes)
    assert any("marks every pixel on 2023-08-20 (100%)" in note for note in notes)
    assert any("never holds the classes 10" in note for note in notes)
    mask[2] = 4
    with pytest.warns(UserWarning) as told:
        result = raster().ngr.decloud(layer if not lazy else mask.chunk(y=8), classes=[9, 10], dilate=0, method="guide")
    assert any("never holds" in str(w.message) for w in told)
    assert "never holds" in result.attrs["ngr_warnings"]


def test_chosen_bits_that_never_occur(tmp_path: Path) -> None:
    files = written(tmp_path, spread([21824, 22280], "uint16"), "QA_PIXEL")
    result = command("info", *files, "--classes", "3,5", "--dilate", "0")
    assert result.exit_code == 0, result.output
    assert "never holds the bits 5" in result.output


@pytest.mark.parametrize("lazy", [False, True])
def test_few_codes_that_a_product_does_not_know_are_not_clear_and_named(lazy: bool) -> None:
    values = np.full((2, 64, 64), 4, np.uint8)
    values[0, :20], values[1, 3, 5:8] = 9, 12  # as in a real scene classification: three pixels of 12
    mask = xr.DataArray(values, dims=("time", "y", "x"), name="SCL")
    stack = xr.Dataset({"B04": mask.astype(float)})
    found = masks.with_record(stack, mask.chunk({"y": 24}) if lazy else mask)
    np.testing.assert_array_equal(found.plain, (values == 9) | (values == 12))
    assert found.record["unknown"] == [12] and any("values 12, which SCL does not have" in note for note in found.notes)
    with pytest.raises(MaskError, match="values 12, which SCL"):
        masks.decode(mask.where(mask != 9, 12))


@pytest.fixture(scope="module")
def romania(shared_data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (time, band, y, x), valid, classes: every fifth of 140 dates, among them some with snow."""
    with xr.open_dataset(shared_data / "romania" / "sentinel2_cube_subset_romania_10m.nc") as dataset:
        part = dataset.isel(time=slice(None, None, 5)).load()
    values = np.stack([part[name].values for name in ("B2", "B3", "B4")], axis=1)
    return values, np.isfinite(values) & (values != 0), np.nan_to_num(part.SCL.values).astype(int)


@pytest.mark.shared_data
@pytest.mark.parametrize("classes", [(0, 1, 3, 8, 9, 10), (8, 9), (3,), (10,), (11,)])
def test_right_masks_and_parts_of_them_do_not_look_inverted(romania: Any, classes: tuple[int, ...]) -> None:
    values, valid, scl = romania
    mask = np.isin(scl, classes)[:, None]
    assert missing.inverted([values], [valid], [mask], ["B2", "B3", "B4"]) == []


@pytest.mark.shared_data
def test_an_inverted_mask_of_a_scene_with_snow_is_seen(romania: Any) -> None:
    values, valid, scl = romania
    mask = ~np.isin(scl, (0, 1, 3, 8, 9, 10))[:, None]
    assert "may be inverted" in missing.inverted([values], [valid], [mask], ["B2", "B3", "B4"])[0]


def test_an_inverted_mask_is_warned_of() -> None:
    sample = ngr_geo.sample("slovenia").isel(y=slice(0, 96), x=slice(0, 96))
    right = sample.ngr.cloud_mask(dilate=0)
    bands = sample.drop_vars("SCL")
    with pytest.warns(UserWarning, match="may be inverted"):
        result = bands.ngr.decloud(~right, method="guide")
    assert "may be inverted" in result.attrs["ngr_warnings"]
    assert any("may be inverted" in note for note in bands.ngr.plan(~right).warnings)
    assert not any("may be inverted" in note for note in bands.ngr.plan(right).warnings)
    lazy = bands.chunk(y=48).ngr.decloud(~right, method="guide")
    with pytest.warns(UserWarning, match="may be inverted"):
        assert lazy.B02.values.shape == result.B02.shape
