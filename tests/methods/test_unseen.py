"""Where no date saw the ground: counted, warned of, and with errors that were measured in the same situation."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ngr_geo import rows as records
from ngr_geo import sample
from ngr_geo.methods import calibration, hiding

BANDS = ("B02", "B03", "B04", "B08")
DATA = Path(os.environ.get("NGR_GEO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
Case = tuple[xr.DataArray, np.ndarray, np.ndarray]
"""A raster (time, band, y, x), what is missing (time, y, x), and what of it is scored: unseen, with a known truth."""


def _slovenia(size: int, place: tuple[int, int], common: np.ndarray) -> Case:
    top, left = place
    stack = sample("slovenia").isel(time=[1, 2, 4], y=slice(top, top + size), x=slice(left, left + size))
    raster = stack[list(BANDS)].to_dataarray("band").transpose("time", "band", "y", "x").astype(np.float32)
    clear = ~np.isin(stack.SCL.values, [0, 1, 3, 8, 9, 10, 11]) & (raster.values > 0).all(axis=1)
    observed = clear & ~common
    return raster, ~observed, clear & ~observed.any(axis=0)


def clouds() -> Case:
    """The same real clouds, those of another date and place, on all three dates."""
    scl = sample("slovenia").SCL.values[3]
    return _slovenia(96, (20, 20), np.isin(scl[60:156, 40:136], [3, 8, 9, 10]))


def stripes() -> Case:
    """The same stripes on all dates, as where a line scanner failed."""
    row, column = np.mgrid[:80, :80]
    return _slovenia(80, (100, 60), (row + 0.2 * column) % 22 < 7 * (0.3 + 0.7 * column / 80))


def blobs() -> Case:
    """A forest under the same blobs on all dates."""
    data = np.load(DATA / "romania" / "clear.npz")
    days = data["dates"].astype("datetime64[ns]")[14:17]
    raster = xr.DataArray(
        data["data"][14:17].astype(np.float32), dims=("time", "band", "y", "x"), coords={"time": days}
    )
    common, _ = hiding.draw(np.ones((100, 100), bool), 7, 3, 0.15, 1 / 4)
    missing = np.broadcast_to(common, (3, 100, 100)).copy()
    return raster, missing, missing


def solved(case: Case, method: str = "guide", **more: Any) -> xr.DataArray:
    raster, missing, _ = case
    mask = xr.DataArray(missing, dims=("time", "y", "x"))
    result: xr.DataArray = raster.ngr.inpaint(mask, method=method, uncertainty=True, **more)
    return result


def check(case: Case, result: xr.DataArray) -> None:
    """Of both dates together 80 to 97 % are covered, and the RMSE expected is 0.6 to 1.7 of the true one."""
    raster, missing, score = case
    assert score.mean() > 0.04
    inside, expected, true = [], [], []
    for date, row in enumerate(json.loads(result.attrs["ngr_dates"])[:2]):
        error = (result.values[date] - raster.values[date])[:, score[date]]
        deviation = result.uncertainty.values[date][:, score[date]]
        inside.append(np.abs(error) <= calibration.NORMAL * deviation)
        expected.append([row["expected"]["rmse"][str(b)] for b in row["expected"]["rmse"]])
        true.append(np.sqrt(np.square(error).mean(1)))
        assert row["unseen"] == pytest.approx((missing[date] & ~(~missing).any(0)).mean(), abs=1e-6)
    covered = [float(part.mean()) for part in inside]
    assert 0.80 < np.mean(covered) < 0.97, covered
    assert 0.6 < np.mean(np.array(expected) / np.array(true)) < 1.7


@pytest.mark.parametrize("case", [clouds, stripes])
def test_intervals_cover_what_no_date_saw(case: Any) -> None:
    made = case()
    with pytest.warns(UserWarning, match="seen on no other date"):
        result = solved(made, dates=[str(d)[:10] for d in made[0].time.values[:2]])
    check(made, result)


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.exists(), reason="needs the development data")
def test_intervals_cover_what_no_date_saw_of_a_forest() -> None:
    made = blobs()
    with pytest.warns(UserWarning, match="seen on no other date"):
        result = solved(made, "ngr", steps=10, dates=[str(d)[:10] for d in made[0].time.values[:2]])
    check(made, result)


def test_a_gap_that_no_date_saw_is_counted_and_warned_of_per_date() -> None:
    common = np.zeros((64, 64), bool)
    common[20:36, 20:40] = True
    case = _slovenia(64, (150, 100), common)
    case[1][2, 45:60, 5:30] = True  # a gap of one date that the others see
    with pytest.warns(UserWarning) as met:
        result = solved(case)
    texts = [str(w.message) for w in met if "seen on no other date" in str(w.message)]
    rows = json.loads(result.attrs["ngr_dates"])
    assert len(texts) == 3
    assert all(row["date"] in text for row, text in zip(rows, texts, strict=True))
    assert texts == [t for t in json.loads(result.attrs["ngr_warnings"]) if "seen on no" in t]
    assert [row["unseen"] for row in rows] == pytest.approx([(case[1].all(0)).mean()] * 3, abs=1e-6)
    seen_elsewhere = result.uncertainty.values[2][:, 50, 15]
    assert (result.uncertainty.values[2][:, 28, 30] > 1.5 * seen_elsewhere).all()


@pytest.mark.parametrize("way", ["lazy", "folder"])
def test_the_same_bits_any_way(tmp_path: Path, way: str) -> None:
    common = np.zeros((64, 64), bool)
    common[20:36, 20:40] = True
    raster, missing, _ = case = _slovenia(64, (150, 100), common)
    with pytest.warns(UserWarning, match="seen on no other date"):
        plain = solved(case, tile=48, overlap=16, dates="2023-08-13")
    if way == "lazy":
        other = solved((raster.chunk(time=1, y=40, x=32), missing, missing), tile=48, overlap=16, dates="2023-08-13")
        with pytest.warns(UserWarning, match="of the gaps of 2023-08-13 were seen on no other date"):
            other = other.compute()
        rows, same = records.of(plain), records.of(other)
        assert max(row["unseen"] for row in rows) > 0
        assert [row["unseen"] for row in same] == [row["unseen"] for row in rows]
    else:
        with pytest.warns(UserWarning, match="seen on no other date"):
            other = solved(case, tile=48, overlap=16, dates="2023-08-13", work=tmp_path / "work")
        assert other.attrs["ngr_dates"] == plain.attrs["ngr_dates"]
    np.testing.assert_array_equal(other.uncertainty.values, plain.uncertainty.values)
    np.testing.assert_array_equal(other.values, plain.values)


def test_what_cannot_be_measured_is_not_known() -> None:
    """Where nearly all is seen by no date, nothing can be hidden in the same situation."""
    common = np.ones((40, 40), bool)
    common[:9, :9] = False
    raster, missing, _ = _slovenia(40, (150, 100), common)
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        result = solved((raster, missing, missing))
    deviation = result.uncertainty.values[0][:, 30, 30]
    row = json.loads(result.attrs["ngr_dates"])[0]
    assert np.isnan(deviation).all()
    assert "expected" not in row
    assert any("could not be measured" in str(w.message) for w in met)


def test_errors_grow_on_beyond_the_depth_that_was_met() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    columns = torch.rand(1, calibration.FEATURES, 1000, generator=generator)
    columns[:, 0] = 1
    errors = torch.exp(columns[:, calibration.DEPTH]) * torch.randn(1, 1000, generator=generator)
    never = torch.ones(1000, dtype=torch.bool)
    found = calibration.calibrate(errors, columns, never, torch.arange(1000) % 4, by_depth=True)
    assert found is not None
    deep = columns[:, :, :2].clone()
    deep[:, calibration.DEPTH] = torch.tensor([1.0, 3.0])
    deep[..., 1:, 1] = deep[..., 1:, 0].where(
        torch.arange(1, calibration.FEATURES) != calibration.DEPTH, deep[..., 1:, 1]
    )
    near, far = found.scale(deep)[0].tolist()
    assert far > near * np.exp(2 * calibration.GROWTH) * 0.99


def test_moved_gaps_keep_their_shape_and_leave_enough() -> None:
    gaps = np.zeros((60, 60), bool)
    gaps[10:30, 20:35] = True
    hidden = hiding.moved(gaps, ~gaps, 0)
    assert hidden.sum() == gaps.sum()
    assert (hidden & ~gaps).sum() > 0.8 * gaps.sum()
    assert not hiding.moved(np.ones((60, 60), bool), ~gaps, 0).any()
