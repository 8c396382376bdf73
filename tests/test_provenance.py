"""A result tells what it was made with, and can be made again from that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from small_stack import write_crops, write_masks

import ngr_geo
from ngr_geo import InputError, sample
from ngr_geo.cli import main
from ngr_geo.io import read_stack

BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return sample("slovenia").isel(time=slice(1, 4), y=slice(0, 70), x=slice(0, 64))


@pytest.mark.filterwarnings("ignore:The mask of 2023-08-18 is not refined")
@pytest.mark.parametrize("how", ["name", "found", "array", "lazy"])
def test_one_call_repeats_a_result(stack: xr.Dataset, how: str) -> None:
    mask = stack.ngr.cloud_mask("SCL")
    given: dict[str, Any] = {"clouds": {"name": "SCL", "array": mask, "lazy": mask.chunk(y=32)}.get(how)}
    keywords: dict[str, Any] = {
        "dates": ["2023-08-18"],
        "method": "ngr",
        "steps": 4,
        "seed": 3,
        "tile": 48,
        "overlap": 8,
    }
    keywords["dilate"] = 0
    raster = stack.chunk(y=32) if how == "lazy" else stack
    result = raster.ngr.decloud(**given, **keywords).compute()
    again = raster.ngr.repeat(result, **(given if how in ("array", "lazy") else {})).compute()
    for band in BANDS:
        np.testing.assert_array_equal(result[band].values, again[band].values)
    assert {k: v for k, v in result.attrs.items() if k.startswith("ngr_")} == {
        k: v for k, v in again.attrs.items() if k.startswith("ngr_")
    }


def test_what_is_told(stack: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    result = stack.ngr.decloud(method="guide", uncertainty=True)
    call = json.loads(result.attrs["ngr_call"])
    assert call["method"] == "guide"
    assert call["seed"] == 0
    assert not {"work", "restart", "progress", "self"} & set(call)
    assert result.attrs["ngr_verb"] == "decloud"
    assert result.attrs["ngr_version"] == ngr_geo.__version__
    assert "ngr_made" not in result.attrs  # the tests ask for reproducible files
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert "ngr_made" in stack.ngr.decloud(method="guide").attrs


def test_what_came_before_is_told() -> None:
    generator = np.random.default_rng(0)
    noisy = xr.DataArray(generator.normal(1, 0.1, (20, 40, 40)).astype(np.float32), dims=("band", "y", "x"))
    even = noisy.ngr.destripe(method="guide")
    clean = even.ngr.denoise(method="guide")
    (before,) = json.loads(clean.attrs["ngr_before"])
    assert before["verb"] == "destripe"
    assert "ngr_before" not in even.attrs
    np.testing.assert_array_equal(even.ngr.repeat(clean).values, clean.values)


def test_another_mask_is_refused(stack: xr.Dataset) -> None:
    mask = stack.ngr.cloud_mask("SCL")
    result = stack.ngr.decloud(mask, method="guide")
    with pytest.raises(InputError, match=r"pass it again, \.ngr\.repeat\(result, clouds=\.\.\.\)"):
        stack.ngr.repeat(result)
    with pytest.raises(InputError, match="another clouds"):
        stack.ngr.repeat(result, clouds=~mask)
    with pytest.raises(InputError, match="no record"):
        stack.ngr.repeat(stack)
    with pytest.warns(UserWarning, match=r"made by version 0\.0"):
        stack.ngr.repeat({**result.attrs, "ngr_version": "0.0"}, clouds=mask)


def test_a_written_file_is_enough(tmp_path: Path) -> None:
    """Names and tags from outside are data: they come through as they are, and nothing is run."""
    files, clouds = ([str(p) for p in write(tmp_path / "in", size=96)] for write in (write_crops, write_masks))
    command = ["decloud", *files, "--clouds", *clouds, "--method", "guide", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    target = tmp_path / "out" / Path(files[1]).name
    with rasterio.open(target) as source:
        tags, values = source.tags(), source.read()
    assert json.loads(tags["ngr_inputs"]) == [Path(f).name for f in (*files, *clouds)]
    assert json.loads(tags["ngr_masks"]) == [Path(f).name for f in clouds]
    assert json.loads(tags["ngr_dates"])["expected"]["rmse"].keys() == set(BANDS)
    read = read_stack(files, clouds=clouds)
    again = read.raster.ngr.repeat(tags, clouds=read.clouds)
    np.testing.assert_array_equal(again.values[1], values)
