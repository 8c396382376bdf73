"""Entries: what is observed of a pixel in some bands comes back, and tells of the others, at any number of bands and dates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from running import invoke

import ngr_geo
from ngr_geo.methods.partial import Entries, corrected
from ngr_geo.methods.problem import Problem

pytestmark = pytest.mark.filterwarnings("ignore:There is only one date")
BANDS = ["B02", "B03", "B04", "B08"]


def clean(dates: list[int], size: int = 64) -> xr.DataArray:
    """Return some clear dates of the sample (time, band, y, x), float32."""
    sample = ngr_geo.sample()[BANDS].isel(time=dates, x=slice(40, 40 + size), y=slice(60, 60 + size))
    return sample.to_dataarray("band").transpose("time", "band", "y", "x").astype(np.float32)


def rmse(found: xr.DataArray, truth: xr.DataArray, missing: np.ndarray) -> float:
    """Return the error of what was missing, in units of each band's deviation."""
    error = (found - truth) / truth.std(["time", "y", "x"])
    return float(np.sqrt(np.square(error.transpose(*truth.dims).values[missing]).mean()))


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_one_date_of_any_number_of_bands(bands: int) -> None:
    """Scattered entries of one date: bit for bit where observed, nothing left, the fill nearer than the band's mean."""
    truth = clean([1], 48).isel(band=slice(0, bands))
    missing = np.random.default_rng(0).random(truth.shape) < 0.5
    found = truth.where(~missing).ngr.inpaint(method="guide")
    assert (found.values[~missing] == truth.values[~missing]).all()
    assert np.isfinite(found).all()
    assert rmse(found, truth, missing) < 1.0
    assert (found.filled.values.reshape(missing.shape) == missing).all()


def test_scattered_entries_of_a_stack_are_filled_from_all_dates_and_bands() -> None:
    """Most pixels lack some band of a date. The record has a row for each date."""
    truth = clean([1, 2, 4], 48)
    missing = np.random.default_rng(1).random(truth.shape) < 0.4
    raster = truth.where(~missing)
    found = raster.ngr.inpaint(method="guide")
    assert (found.values[~missing] == truth.values[~missing]).all()
    assert np.isfinite(found).all()
    alone = xr.concat([raster.isel(time=[t]).ngr.inpaint(method="guide") for t in range(3)], "time")
    assert rmse(found, truth, missing) < 0.8 * rmse(alone, truth, missing)
    rows = json.loads(found.attrs["ngr_dates"])
    assert [row["date"] for row in rows] == ["2023-08-13", "2023-08-15", "2023-08-20"]
    assert [row["filled"] for row in rows] == pytest.approx(missing.mean((1, 2, 3)), abs=1e-6)
    assert all(row["expected"]["rmse"][band] > 0 for row in rows for band in BANDS)


def test_only_the_chosen_dates_are_filled() -> None:
    """A mask's entries on other dates are unknown, but left as they are."""
    truth = clean([1, 2, 4], 48)
    missing = truth.copy(data=np.random.default_rng(2).random(truth.shape) < 0.3)
    found = truth.ngr.inpaint(missing=missing, dates=["2023-08-15"], method="guide")
    assert (found.values[[0, 2]] == truth.values[[0, 2]]).all()
    assert (found.values[1] != truth.values[1])[missing.values[1]].mean() > 0.9


def test_a_pixel_with_one_band_missing_is_no_gap_of_its_date() -> None:
    """Clouds on one date, and beside them a band that is lost in a block: its other bands say what it is."""
    truth = clean([1, 2, 4], 96)
    missing = np.zeros(truth.shape, bool)
    missing[0, :, 5:40, 5:60] = True
    whole = missing.copy()
    missing[0, 2, 50:75, 30:60] = True
    whole[0, :, 50:75, 30:60] = True
    lost = missing & (np.arange(4) == 2)[:, None, None]
    lost[0, 2, 5:40, 5:60] = False
    partly, wholly = (truth.where(~m).ngr.inpaint(method="guide") for m in (missing, whole))
    assert (partly.values[~missing] == truth.values[~missing]).all()
    assert rmse(partly, truth, lost) < 0.8 * rmse(wholly, truth, lost)


def test_the_correction_is_the_conditional_mean() -> None:
    """Of normal errors with a known covariance: what is filled is C_mo C_oo⁻¹ times what the observed bands were off."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.tensor([[1.0, 0, 0], [0.8, 0.5, 0], [-0.3, 0.4, 0.7]])
    error = torch.einsum("ij,jhw->ihw", mix, torch.randn(3, 60, 60, generator=generator))
    guide = torch.randn(3, 60, 60, generator=generator)
    values = guide + error
    seen = torch.ones(60, 60, dtype=torch.bool)
    seen[:20] = False
    observed = seen.expand(3, 60, 60).clone()
    observed[:2, :20] = True
    nothing = torch.zeros(0, 60, 60)
    problem = Problem(0, guide, torch.where(seen, values, 0), seen, nothing, seen, nothing, ~seen, nothing)
    entries = Entries(torch.where(observed, values, 0)[None], observed[None])
    found, deviation = corrected(problem, torch.where(seen, values, guide), torch.ones(3, 60, 60), entries)
    covariance = mix @ mix.T
    gain = torch.linalg.solve(covariance[:2, :2], covariance[:2, 2])
    expected = guide[2, :20] + torch.einsum("o,ohw->hw", gain, error[:2, :20])
    torch.testing.assert_close(found[2, :20], expected, atol=0.15, rtol=0)
    assert torch.equal(found[:2], values[:2])
    assert (deviation[:2, :20] == 0).all()
    left = float((covariance[2, 2] - gain @ covariance[:2, 2]) / covariance[2, 2]) ** 0.5
    assert float(deviation[2, 5, 5]) == pytest.approx(left, rel=0.05)


def test_the_command_line_fills_a_cube_of_which_every_pixel_lacks_some_band(tmp_path: Path) -> None:
    """Eight bands of two dates as one cube, 80 % of the entries missing: as in Python."""
    truth = (
        clean([1, 2], 48)
        .stack(layer=("time", "band"))
        .transpose("layer", "y", "x")
        .drop_vars(["layer", "time", "band"])
    )
    seen = truth.rename(layer="band").where(np.random.default_rng(4).random(truth.shape) > 0.8)
    assert not seen.notnull().all("band").any()
    seen.rio.write_crs(32633).rio.write_nodata(np.nan).rio.to_raster(tmp_path / "cube.tif")
    done = invoke("inpaint", tmp_path / "cube.tif", "-o", tmp_path / "out.tif", "--method", "guide")
    assert done.exit_code == 0, done.output
    in_python = xr.open_dataarray(tmp_path / "cube.tif", engine="rasterio").ngr.inpaint(method="guide")
    np.testing.assert_array_equal(xr.open_dataarray(tmp_path / "out.tif", engine="rasterio").values, in_python.values)


def test_wherever_tiles_are_solved_entries_of_a_stack_are_the_same(tmp_path: object) -> None:
    """Scattered entries, and a place that no date shows in any band: lazily, in a work folder, of variables, as in memory."""
    truth = clean([1, 2, 4], 40)[..., :24]
    raster = truth.where(np.random.default_rng(3).random(truth.shape) < 0.4)
    raster[..., 10:14, 4:10] = np.nan
    keywords: dict[str, Any] = {"method": "guide", "tile": 32, "overlap": 8, "dates": ["2023-08-13", "2023-08-20"]}
    eager = raster.ngr.inpaint(**keywords)
    lazy = raster.chunk({"y": 20, "x": 31}).ngr.inpaint(**keywords)
    kept = raster.chunk({"y": 24}).ngr.inpaint(**keywords, work=f"{tmp_path}/work")
    assert dask.is_dask_collection(lazy.filled)
    lazy, kept = lazy.compute(), kept.compute()
    variables = raster.to_dataset("band").chunk({"y": 20}).ngr.inpaint(**keywords).compute()
    for other in (lazy, kept):
        np.testing.assert_array_equal(eager.values, other.values)
        np.testing.assert_array_equal(eager.filled.values, other.filled.values)
    np.testing.assert_array_equal(eager.values, variables.to_dataarray("band").transpose(*eager.dims).values)
    np.testing.assert_array_equal(eager.filled.any("band"), variables.filled)
    assert eager.attrs["ngr_dates"] == kept.attrs["ngr_dates"]
    rows, later = (r.ngr.record.dates for r in (eager, lazy))
    assert [(r.date, r.filled, r.fault) for r in rows] == [(r.date, r.filled, r.fault) for r in later]


def test_a_lazy_stack_whose_gaps_are_of_dates_is_filled_by_date(tmp_path: Path) -> None:
    """Clouds, and here and there an entry: the same bits, and the same record, as in memory."""
    raster = clean([1, 2, 4], 48)
    raster[1, :, 10:30, 12:40] = np.nan
    raster[0, 2, 5, 7] = np.nan
    chunked = raster.chunk({"y": 20})
    eager, lazy = (r.ngr.inpaint(method="guide").compute() for r in (raster, chunked))
    kept = chunked.ngr.inpaint(method="guide", work=tmp_path / "work").compute()
    for other in (lazy, kept):
        np.testing.assert_array_equal(eager.values, other.values)
        np.testing.assert_array_equal(eager.filled.values, other.filled.values)
    rows, later = (r.ngr.record.dates for r in (eager, lazy))
    assert [(r.date, r.filled, r.fault, r.chosen_by) for r in rows] == [
        (r.date, r.filled, r.fault, r.chosen_by) for r in later
    ]
