"""What is masked of each product, to the pixel: in memory, lazily and on the command line alike.

Codes are written out from the products' published specifications, which `ngr_geo.raster.products.RULES` names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers .cf)
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

import ngr_geo
from ngr_geo import MaskError
from ngr_geo.cli import main
from ngr_geo.io import read_stack
from ngr_geo.raster import masks, missing, products, reading

TIMES = np.array(["2023-08-15", "2023-08-18", "2023-08-20"], "datetime64[ns]")
SIDE = 16


@dataclass(frozen=True)
class Case:
    """A mask's values, which of them are not clear, and the rule that they are read by; or the error that they raise."""

    name: str | None
    values: list[float]
    not_clear: list[float] = field(default_factory=list)
    rule: str = ""
    dtype: str = "uint8"
    error: str = ""
    option: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}-{self.rule or 'refused'}-{self.values[-1]:g}"


NAN = float("nan")
CASES = [
    # Sentinel-2
    Case("SCL", list(range(12)), [0, 1, 3, 8, 9, 10], "SCL"),
    Case("scl", [4, 9], [9], "SCL"),
    Case("SCL", [4, 8, NAN], [8, NAN], "SCL", "float32"),
    Case("SCL", [4, 8, 10], [8], "SCL", keywords={"classes": [8]}),
    Case("SCL", [4, 9, 255], error="values 255, which SCL"),
    Case("SCL", [4, 8.5], error="no whole numbers", dtype="float32", option="--mask-rule"),
    Case("QA60", [0, 1024, 2048], [1024, 2048], "QA60", "uint16"),
    Case("QA60", [0, 1, 1024], error="QA60", dtype="uint16"),
    Case("MSK_CLDPRB", [0, 20, 49, 50, 100], [50, 100], "cloud_probability"),
    Case("MSK_CLDPRB", [0, 20, 49, 50, 100], [20, 49, 50, 100], "cloud_probability", keywords={"probability": 0.2}),
    Case("s2cloudless", [0.1, 0.499, 0.5, 0.8, NAN], [0.5, 0.8, NAN], "cloud_probability", "float32"),
    Case("cloud_probability", [0.0, 12.5, 80.0], [80.0], "cloud_probability", "float32"),
    Case("cloud_probability", [-1.0, 0.5], error="from -1 to 0.5", dtype="float32"),
    Case("cloud_probability", [0, 1], error="scale cannot be told", option="--mask-rule"),
    Case("CLP", [0, 100, 127, 128, 255], [128, 255], "CLP"),
    Case("CLP", [0, 40, 60], error="scale cannot be told", option="--mask-rule CLP_255"),
    Case("CLM", [0, 1, 255], [1, 255], "CLM"),
    # Landsat: clear land and water, cloud, shadow, cirrus, snow, from the tables of common values of the three generations
    Case("QA_PIXEL", [21824, 21952, 22280, 23888, 54596, 30048, 1], [22280, 23888, 54596, 1], "QA_PIXEL", "uint16"),
    Case("qa_pixel", [5440, 5504, 5896, 7440], [5896, 7440], "QA_PIXEL", "uint16"),  # Landsat 4 to 7 have no cirrus
    Case("pixel_qa", [322, 386, 324, 328, 336, 352, 480, 1], [328, 352, 480, 1], "pixel_qa", "uint16"),
    Case("pixel_qa", [66, 68, 72, 80, 96, 224, 130], [72, 96, 224], "pixel_qa", "uint16"),
    Case("pixel_qa", [322, 834, 898, 1346], [834, 898, 1346], "pixel_qa", "uint16"),  # cirrus, terrain occlusion
    Case("BQA", [2720, 2800, 2976, 6816, 3744, 1], [2800, 2976, 6816, 1], "BQA_C1", "uint16"),
    Case("BQA", [672, 752, 928], [752, 928], "BQA_C1", "uint16"),
    Case("BQA", [20480, 20516, 23552, 36864, 53248, 28672, 1], [20516, 36864, 53248, 28672, 1], "BQA_PRE", "uint16"),
    Case("QA_RADSAT", [0, 1, 64, 256, 512, 2048], [1, 64, 256, 512], "QA_RADSAT", "uint16"),
    Case("radsat_qa", [0, 1, 2, 128], [1, 2, 128], "radsat_qa"),
    Case("sr_cloud_qa", [0, 1, 2, 4, 8, 16, 32, 34], [2, 4, 8, 34], "SR_CLOUD_QA"),
    Case("pixel_qa", [21824, 22280], error="read as QA_PIXEL", dtype="uint16", option="--mask-rule QA_PIXEL"),
    Case("QA_PIXEL", [322, 352], error="read as pixel_qa", dtype="uint16", option="--mask-rule pixel_qa"),
    Case("QA_PIXEL", [0, 8], error="read as pixel_qa", dtype="uint16", option="--classes"),
    Case("QA_PIXEL", [0, 8], [8], "QA_PIXEL", "uint16", keywords={"classes": [3]}),
    Case("BQA", [2720, 53248], error="BQA", dtype="uint16"),
    Case(
        "QA_PIXEL",
        [21824, 22280],
        error="bits 12, 14, 15",
        dtype="uint16",
        keywords={"classes": [53248]},
        option="--classes",
    ),
    # Fmask and HLS
    Case("Fmask", [0, 1, 2, 3, 4, 255], [2, 4, 255], "Fmask"),
    Case("Fmask", [64, 66, 68, 72, 80, 96, 255], [66, 68, 72, 255], "HLS"),
    Case("HLS", [0, 2, 4, 8, 16, 32, 128, 130, 224, 255], [2, 4, 8, 130, 255], "HLS"),
    Case("Fmask", [0, 1, 64], error="Fmask"),
    # Planet, MODIS, OmniCloudMask
    Case("OmniCloudMask", [0, 1, 2, 3], [1, 2, 3], "OmniCloudMask"),
    Case("udm2_clear", [0, 1], [0], "UDM2_CLEAR"),
    Case("udm2_cloud", [0, 1], [1], "UDM2_LAYER"),
    Case("udm1", [0, 1, 2, 4], [1, 2, 4], "UDM"),
    Case("udm2", [0, 1], error="read as UDM2_CLEAR", option="--mask-rule UDM2_CLEAR"),
    Case("state_1km", [8, 72, 9, 10, 11, 12, 264, 1032, 4104], [9, 10, 12, 264, 1032], "state_1km", "uint16"),
    # a user's own, and what nobody can know
    Case(None, [0, 1], [1], "0/1"),
    Case("cloud_mask", [0.0, 1.0, NAN], [1.0, NAN], "0/1", "float32"),
    Case(None, [3, 4, 9], [9], "classes", keywords={"classes": [9]}),
    Case(None, [0, 255], error="values 0, 255", option="--classes 255"),
    Case(None, [0, 255], [255], "classes", keywords={"classes": [255]}),
    Case(None, [0, 1, 2, 3], error="rename", option="--mask-rule"),
    Case(None, [2, 4, 8, 9, 11], error="rename", option="--mask-rule"),
    Case(None, [64, 66], error="rename", option="--mask-rule"),
    Case(None, [0.2, 0.8], error="cloud_probability", dtype="float32", option="--mask-rule cloud_probability"),
    Case(None, [0, 40, 100], error="rename", option="--mask-rule"),
]


def spread(values: list[float], dtype: str) -> np.ndarray:
    """Each value many times, over three dates of which none has all."""
    rows = np.arange(3 * SIDE * SIDE).reshape(3, SIDE, SIDE)
    return np.array(values, dtype)[(rows * 7 + rows // SIDE) % len(values)]


def raster() -> xr.Dataset:
    rng = np.random.default_rng(0)
    y, x = 5e6 - 30 * (np.arange(SIDE) + 0.5), 5e5 + 30 * (np.arange(SIDE) + 0.5)
    shape = (3, SIDE, SIDE)
    bands = {
        b: (("time", "y", "x"), rng.integers(500, 600, shape).astype("uint16"), {"_FillValue": 0})
        for b in ("red", "nir")
    }
    return xr.Dataset(bands, coords={"time": TIMES, "y": y, "x": x}).rio.write_crs(32633)


def mask_of(case: Case) -> xr.DataArray:
    like = raster().red
    return xr.DataArray(spread(case.values, case.dtype), like.coords, like.dims, name=case.name)


def expected(case: Case) -> np.ndarray:
    values = spread(case.values, case.dtype)
    bad = np.isin(values, np.array([v for v in case.not_clear if v == v], case.dtype))
    return bad | np.isnan(values) if NAN in case.not_clear or any(v != v for v in case.not_clear) else bad


def written(folder: Path, mask: np.ndarray, name: str | None, bands: int = 1) -> list[str]:
    """A stack and its masks as GeoTIFFs, and the arguments that name them."""
    folder.mkdir(exist_ok=True)
    stack, profile = raster(), {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32633"}
    profile["transform"] = from_origin(5e5, 5e6, 30, 30)
    images, clouds = [], []
    for i, time in enumerate(TIMES):
        day = str(time)[:10].replace("-", "")
        image, layer = folder / f"S_{day}.tif", folder / f"{name or 'layer'}_{day}.tif"
        with rasterio.open(image, "w", count=2, dtype="uint16", nodata=0, **profile) as target:
            target.write(np.stack([stack.red.values[i], stack.nir.values[i]]))
            target.descriptions = ("red", "nir")
        values = mask[i] if bands > 1 else mask[i][None]
        with rasterio.open(layer, "w", count=bands, dtype=mask.dtype.name, **profile) as target:
            target.write(values)
        images.append(str(image))
        clouds.append(str(layer))
    return [*images, "--clouds", *clouds]


def command(verb: str, *arguments: str, **keywords: Any) -> Result:
    options = [
        w for k, v in keywords.items() for w in (f"--{k}", ",".join(map(str, v)) if isinstance(v, list) else str(v))
    ]
    return CliRunner().invoke(main, [verb, *arguments, *options])


@pytest.mark.filterwarnings("ignore:Left out:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_masked(case: Case) -> None:
    """Eager and lazy, in several chunkings: the same booleans, or the same error."""
    stack, mask = raster(), mask_of(case)
    for layer in (mask, mask.chunk(time=1, y=5), mask.chunk(x=7)):
        if case.error:
            with pytest.raises(MaskError, match=case.error) as raised:
                stack.ngr.cloud_mask(layer, dilate=0, **case.keywords)
            assert case.option in raised.value.on_command_line
            assert "rename" not in raised.value.on_command_line
            continue
        found = masks.with_record(stack, layer, dilate=0, **case.keywords)
        np.testing.assert_array_equal(found.mask, expected(case))
        assert found.record["rule"] == case.rule
        shares = [row["masked"] for row in found.record["dates"]]
        np.testing.assert_allclose(shares, expected(case).mean((1, 2)), atol=1e-6)


COMMANDS = [
    case for case in CASES if case.name in (None, "pixel_qa", "BQA", "s2cloudless", "Fmask", "OmniCloudMask", "udm2")
]


@pytest.mark.parametrize("case", COMMANDS, ids=str)
def test_what_the_command_masks(case: Case, tmp_path: Path) -> None:
    """The same error, with options as advice; or the same booleans of what it reads, and their shares in what it says."""
    files = written(tmp_path, spread(case.values, case.dtype), case.name)
    result = command("info", *files, "--dilate", "0", "--json", **case.keywords)
    if case.error:
        assert result.exit_code == 2
        assert case.option in result.output
        assert ".rename(" not in result.output
        return
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)["mask"]
    assert record["rule"] == case.rule
    shares = [row["masked"] for row in record["dates"]]
    np.testing.assert_allclose(shares, expected(case).mean((1, 2)), atol=1e-6)
    for lazy in (False, True):
        stack = read_stack(files[:3], files[4:], lazy=lazy)
        mask = stack.raster.ngr.cloud_mask(stack.clouds, dilate=0, **case.keywords)
        np.testing.assert_array_equal(mask, expected(case))


@pytest.mark.parametrize("case", [c for c in CASES if c.rule in ("BQA_PRE", "HLS")][:2], ids=str)
def test_what_the_command_fills(case: Case, tmp_path: Path) -> None:
    where = tmp_path / "out"
    files = written(tmp_path, spread(case.values, case.dtype), case.name)
    result = command("decloud", *files, "-o", str(where), "--method", "guide", "--dilate", "0")
    assert result.exit_code == 0, result.output
    filled = []
    for file in sorted(where.glob("*_filled.tif")):
        with rasterio.open(file) as source:
            filled.append(source.read(1) != 0)
    np.testing.assert_array_equal(filled, expected(case))


def test_udm2_of_eight_bands(tmp_path: Path) -> None:
    """Shadow, haze, cloud and what is unusable are not clear; snow is."""
    kinds = np.arange(3 * SIDE * SIDE).reshape(3, SIDE, SIDE) % 7
    bands = np.stack([kinds == i for i in range(6)] + [kinds * 0 + 90, kinds == 6], axis=1).astype("uint8")
    truth = kinds >= 2
    stack = raster()
    mask = xr.DataArray(bands, dims=("time", "band", "y", "x"), coords=stack.coords, name="udm2")
    named = mask.assign_coords(band=list(products.UDM2_BANDS)).isel(band=[7, 0, 5, 1, 2, 3, 4, 6])
    for layer in (mask, mask.chunk(y=5), named):
        found = masks.with_record(stack, layer, dilate=0)
        np.testing.assert_array_equal(found.mask, truth)
        assert found.record["rule"] == "UDM2"
    result = command("info", *written(tmp_path, bands, "scene_3B_udm2", 8), "--dilate", "0", "--json")
    assert result.exit_code == 0, result.output
    shares = [row["masked"] for row in json.loads(result.stdout)["mask"]["dates"]]
    np.testing.assert_allclose(shares, truth.mean((1, 2)), atol=1e-6)


def _flags(kind: str) -> dict[str, Any]:
    if kind == "values":  # as EOPF has its scene classification
        return {
            "flag_values": np.array(range(6), "uint8"),
            "flag_meanings": "no_data saturated vegetation cloud_shadow cloud_high_probability snow",
        }
    if kind == "masks":  # as PACE has its l2_flags
        names = "ATMFAIL LAND CLDICE HILT NAVFAIL CLOUD_FREE"
        return {"flag_masks": np.array([1, 2, 512, 16, 2**25, 4], "int32"), "flag_meanings": names}
    return {
        "flag_masks": np.array([3, 3, 3, 4, 24, 24], "uint8"),
        "flag_values": np.array([0, 1, 2, 4, 8, 16], "uint8"),
        "flag_meanings": "clear cloudy mixed_cloud cloud_shadow low_cirrus cirrus",
    }


@pytest.mark.parametrize("kind", ["values", "masks", "combined"])
def test_cf_flags_mean_what_cf_xarray_says(kind: str) -> None:
    attrs = _flags(kind)
    dtype = "int32" if kind == "masks" else "uint8"
    values = {"values": range(6), "masks": (0, 1, 2, 512, 514, 16, 2**25, 4, 6), "combined": range(32)}[kind]
    data = xr.DataArray(spread(list(values), dtype), raster().red.coords, ("time", "y", "x"), "own_layer", attrs)
    rule = products.cf_rule("own_layer", attrs)
    assert rule is not None
    whole = data.values.astype(np.int64)
    for name, flag in zip(attrs["flag_meanings"].split(), rule.flags, strict=True):
        np.testing.assert_array_equal(flag.found(whole), data.cf == name, err_msg=name)
    bad = [n for n, flag in zip(attrs["flag_meanings"].split(), rule.flags, strict=True) if flag.counts]
    assert "low_cirrus" not in bad
    assert not {"LAND", "CLOUD_FREE", "clear", "vegetation", "snow"} & set(bad)
    truth = np.logical_or.reduce([(data.cf == name).values for name in bad])
    stack = raster()
    for layer in (data, data.chunk(y=5)):
        np.testing.assert_array_equal(stack.ngr.cloud_mask(layer, dilate=0), truth)
    if kind == "values":
        np.testing.assert_array_equal(stack.ngr.cloud_mask(data, dilate=0), data.cf.isin(bad))


def test_rules_do_not_contradict_themselves() -> None:
    names = [name.lower() for rule in products.RULES for name in rule.names]
    assert len(set(names)) == len(names)
    for rule in products.RULES:
        assert products.rule(rule.name) is rule
        assert products.named(rule.name)[0].kind == rule.kind or rule.name == "UDM2"  # its bands are packed, then read
        assert rule.source
        assert all(products.rule(rival) for rival in rule.rivals)
        assert all(flag.meaning for flag in rule.flags)


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
    stack["own_layer"].attrs = _flags("values")
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


def test_a_mask_rule_settles_what_a_name_does_not_say(tmp_path: Path) -> None:
    files = written(tmp_path, spread([21824, 22280], "uint16"), "pixel_qa")
    assert command("info", *files).exit_code == 2
    told = command("info", *files, "--mask-rule", "qa_pixel", "--dilate", "0", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["mask"]["rule"] == "QA_PIXEL"
    stack = raster().assign(odd=mask_of(Case("odd", [0, 1, 2, 3])))
    stack.to_netcdf(tmp_path / "cube.nc")
    told = command(
        "info", str(tmp_path / "cube.nc"), "--clouds", "odd", "--mask-rule", "OmniCloudMask", "--dilate", "0", "--json"
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["bands"] == ["red", "nir"]
    assert command("info", *files, "--mask-rule", "nonsense").exit_code == 2


def test_declared_nodata_of_a_mask_is_not_clear(tmp_path: Path) -> None:
    mask = mask_of(Case("SCL", [4, 9, 255])).assign_attrs(_FillValue=255)
    truth = np.isin(mask.values, (9, 255))
    for layer in (mask, mask.chunk(y=5)):
        np.testing.assert_array_equal(raster().ngr.cloud_mask(layer, dilate=0), truth)
    own = mask_of(Case("own", [0, 1])).assign_attrs(_FillValue=0)  # as many tools write masks: 0 is clear all the same
    np.testing.assert_array_equal(raster().ngr.cloud_mask(own), own == 1)


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


def test_classes_of_a_boolean_mask_are_refused() -> None:
    own = mask_of(Case("own", [0, 1])) == 1
    with pytest.raises(MaskError, match="boolean"):
        raster().ngr.cloud_mask(own, classes=[1])


def test_an_image_is_no_mask() -> None:
    values = np.arange(100_000, dtype="int32").reshape(1, 250, 400)
    with pytest.raises(MaskError, match="more than 65536"):
        reading.look(values, 0.5)


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


def outcome(call: Callable[[], np.ndarray]) -> np.ndarray | str:
    try:
        return np.asarray(call())
    except MaskError as error:
        return error.on_command_line


KINDS = st.sampled_from(
    [None, "SCL", "QA_PIXEL", "pixel_qa", "BQA", "Fmask", "HLS", "QA60", "CLP", "udm2", "state_1km", "s2cloudless"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), name=KINDS)
def test_any_mask_is_read_alike_in_memory_and_lazily(data: st.DataObject, name: str | None) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "int32", "float32", "bool"]))
    known = [v for case in CASES if case.name == name for v in case.values if v == v] or [0, 1, 255]
    values = data.draw(st.lists(st.one_of(st.sampled_from(known), st.integers(0, 255)), min_size=1, max_size=5))
    mask = mask_of(Case(name, [float(v) for v in values], dtype="float64")).astype(dtype)
    keywords: dict[str, Any] = {
        "probability": data.draw(st.sampled_from([0.2, 0.5, 0.9])),
        "dilate": data.draw(st.sampled_from([0, 2])),
    }
    if data.draw(st.booleans()):
        keywords["classes"] = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=3))
    sizes = st.integers(1, SIDE)
    chunks = {"time": data.draw(st.integers(1, 3)), "y": data.draw(sizes), "x": data.draw(sizes)}
    stack = raster()
    eager = outcome(lambda: stack.ngr.cloud_mask(mask, **keywords).values)
    lazy = outcome(lambda: stack.ngr.cloud_mask(mask.chunk(chunks), **keywords).values)
    np.testing.assert_array_equal(eager, lazy)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(case=st.sampled_from([case for case in CASES if case.name and not case.keywords]))
def test_any_mask_is_read_alike_by_the_command(case: Case, tmp_path: Path) -> None:
    mask = spread(case.values, case.dtype)
    stack, files = raster(), written(tmp_path / str(case.name), mask, case.name)
    for option, layer in (("", mask_of(case)), ("--json", mask_of(case).chunk(y=5))):
        eager = outcome(lambda layer=layer: masks.with_record(stack, layer, dilate=0).record["dates"])  # type: ignore[misc]
        told = command("info", *files, "--dilate", "0", "--json")
        if told.exit_code:
            assert isinstance(eager, str), (option, told.output)
            assert json.loads(told.stdout)["error"].split("'", 2)[0] == eager.split("'", 2)[0]
            continue
        assert list(eager) == json.loads(told.stdout)["mask"]["dates"]


def test_only_what_was_counted_is_decided() -> None:
    """A value in one chunk of a large mask is enough."""
    values = np.full((1, 64, 64), 4, "uint8")
    values[0, 63, 59:] = 77
    lazy = xr.DataArray(values, dims=("time", "y", "x"), name="SCL").chunk(y=16, x=16)
    with pytest.raises(MaskError, match="values 77"):
        masks.decode(lazy)
    found = reading.look(lazy.data, 0.5)
    assert found.codes.tolist() == [4, 77]
    assert found.counts.tolist() == [[4091, 5]]
