"""What is masked of each product, to the pixel: in memory, lazily and on the command line alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers .cf)
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mask_cases import CASES, SIDE, Case, command, expected, flags, mask_of, raster, spread, written

from ngr_geo import MaskError
from ngr_geo.io import read_stack
from ngr_geo.raster import masks, products, reading


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


@pytest.mark.parametrize("kind", ["values", "masks", "combined"])
def test_cf_flags_mean_what_cf_xarray_says(kind: str) -> None:
    attrs = flags(kind)
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


def test_classes_of_a_boolean_mask_are_refused() -> None:
    own = mask_of(Case("own", [0, 1])) == 1
    with pytest.raises(MaskError, match="boolean"):
        raster().ngr.cloud_mask(own, classes=[1])


def test_an_image_is_no_mask() -> None:
    values = np.arange(100_000, dtype="int32").reshape(1, 250, 400)
    with pytest.raises(MaskError, match="more than 65536"):
        reading.look(values, 0.5)


def outcome(call: Callable[[], np.ndarray]) -> np.ndarray | str:
    try:
        return np.asarray(call())
    except MaskError as error:
        return error.on_command_line


KINDS = st.sampled_from(
    [None, "SCL", "QA_PIXEL", "pixel_qa", "BQA", "Fmask", "HLS", "QA60", "CLP", "udm2", "state_1km", "s2cloudless"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
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
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    case=st.sampled_from([case for case in CASES if case.name not in (None, "HLS") and not case.keywords])
)  # HLS is in the names of all files of that product, so that it says nothing of a mask there
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
