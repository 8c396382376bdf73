"""The benchmark's scores agree with numbers computed by hand; its table is kept, resumed and summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import decloud, haze
from benchmarks.common import read_csv, write_csv
from benchmarks.scores import masked_ssim, ndvi, score
from peers.case import Case


def small(cleaned: bool = False) -> Case:
    """Return three dates of 16 x 16 pixels, the first with a gap of 4 x 4."""
    values = np.broadcast_to(np.array([0.1, 0.1, 0.1, 0.3])[:, None, None], (3, 4, 16, 16)).astype(np.float32)
    observed = np.ones((3, 16, 16), bool)
    observed[0, 4:8, 4:8] = False
    part = ~observed
    part = part & (np.arange(16) < 6) if cleaned else part
    return Case("T0", values, observed, ~observed, np.arange(3.0), (0,), "T", part if cleaned else None)


def test_scores_of_a_constant_error() -> None:
    case = small()
    estimate = case.stack.copy()
    estimate[0, :, ~case.observed[0]] = [0.2, 0.2, 0.2, 0.2]  # 0.1 off in each band
    found = score(case, estimate)
    assert found["psnr"] == pytest.approx(20, abs=1e-5)
    angle = (0.1 * 0.2 * 3 + 0.3 * 0.2) / (np.sqrt(3 * 0.01 + 0.09) * 0.4)
    assert found["sam"] == pytest.approx(np.degrees(np.arccos(angle)), abs=1e-4)
    assert found["ndvi"] == pytest.approx(0.5, abs=1e-6)  # (0.3 - 0.1) / 0.4 against 0
    assert score(case, case.stack) == pytest.approx({"psnr": 120, "sam": 0, "ssim": 1, "ndvi": 0}, abs=0.05)


def test_ssim_counts_scored_pixels_only() -> None:
    truth = np.full((1, 20, 20), 0.2)
    everywhere = np.ones((20, 20), bool)
    assert masked_ssim(truth, 2 * truth, everywhere) == pytest.approx(0.8)  # 2 ab / (a^2 + b^2)
    right = np.random.default_rng(0).random((2, 20, 20))
    found, half = right.copy(), np.arange(20) < 10
    found[..., 10:] = 0
    assert masked_ssim(right, found, np.broadcast_to(half, (20, 20))) == 1
    assert masked_ssim(right, found, np.broadcast_to(~half, (20, 20))) < 0.5


def test_ndvi_is_held_between_its_bounds() -> None:
    pixels = np.array([[0, 0, 0], [0, 0, 0], [0.1, 0.0, -0.1], [0.3, 0.0, 0.2]])
    np.testing.assert_allclose(ndvi(pixels), [0.5, 0, 1])


def test_the_haze_test_finds_what_a_mask_missed() -> None:
    random = np.random.default_rng(0)
    red = 0.05 + 0.1 * random.random((1, 60, 60))
    ground = np.concatenate([0.5 * red + 0.02, red, red, 3 * red]) + 0.0005 * random.standard_normal((4, 4, 60, 60))
    hazed = np.zeros((60, 60), bool)
    hazed[10:30, 15:40] = True
    ground[3, :, hazed] += [0.03, 0.02, 0.015, 0.005]
    clear = np.ones((4, 60, 60), bool)
    clear[3, 40:] = False
    found = haze.hazy(ground, clear)
    assert found[3][hazed].mean() > 0.95
    near = np.zeros_like(hazed)
    near[:40, 5:50] = True
    assert found[3, :32][~near[:32]].mean() < 0.05
    assert found[:3].mean() < 0.02
    assert not (found & ~clear).any()
    with pytest.raises(ValueError, match="found 1 dates with 80% of clear pixels"):
        haze.hazy(ground, clear & np.array([True, False, False, False])[:, None, None])


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the benchmark measure in this process, on one small protocol; return the methods that it measured."""
    measured: list[str] = []

    def here(function: Callable[..., Any], case: Case, method: str, steps: int | None) -> Any:
        measured.append(method)
        return function(case, method, steps)

    def protocol() -> Iterator[Case]:
        yield small(cleaned=True)

    monkeypatch.setattr(decloud, "in_its_own_process", here)
    monkeypatch.setattr(decloud, "PROTOCOLS", {"T": protocol})
    return measured


def test_a_run_is_resumed(direct: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decloud.run(["T"], ["copy nearest", "median"], False, False, None, tmp_path)
    decloud.run(["T"], ["copy nearest", "median", "Whittaker"], False, True, None, tmp_path)
    assert direct == ["copy nearest", "median", "Whittaker"]
    rows = read_csv(tmp_path / "decloud.csv")
    assert [(row["case"], row["method"]) for row in rows[:2]] == [
        ("T0", "copy nearest"),
        ("T0 cleaned", "copy nearest"),
    ]
    assert len(rows) == 6 and all(row["psnr"] > 100 and row["ssim"] == 1 for row in rows)
    assert {row["group"] for row in decloud.summary(rows) if "group" in row} == set()
    assert [row["case"] for row in decloud.summary(rows)][:2] == ["T", "T cleaned"]
    assert (tmp_path / "decloud.png").exists() and "T cleaned" in capsys.readouterr().out


def test_a_method_that_leaves_gaps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decloud, "fill", lambda case, method: case.seen().stack)
    with pytest.raises(ValueError, match="left missing pixels of T0 without a value"):
        decloud.measure(small(), "median", None)


def test_shortfalls_against_the_best_plain_method(tmp_path: Path) -> None:
    values = {"copy nearest": 30.0, "pixelwise regression": 33.0, "local regression": 35.5, "histogram + Poisson": 34.0}
    rows = [{"case": "C0", "method": name, "psnr": value} for name, value in values.items()]
    rows += [{"case": "C0", "method": "guide", "psnr": 35.0}, {"case": "C0", "method": "auto", "psnr": 36.0}]
    rows += [{"case": "C1", "method": "auto", "psnr": 36.0}]  # not comparable: no plain method
    write_csv(rows, tmp_path / "rows.csv")
    expected = {"case": "C0", "best": "local regression", "psnr": 35.5, "guide": 0.5, "auto": -0.5}
    assert decloud.shortfalls(read_csv(tmp_path / "rows.csv")) == [expected]


@pytest.mark.shared_data
def test_crops_and_more_dates_have_real_masks_and_something_to_score(shared_data: Path) -> None:
    from benchmarks.cases import PROTOCOLS

    cases = list(PROTOCOLS["C"]())
    assert len(cases) == 20 and all(case.stack.shape[-2:] == (50, 50) for case in cases)
    for case in cases:
        assert case.score.sum() > 100 and case.observed[case.targets[0]].any()
        assert not (case.score & case.observed).any()
    assert [len(case.days) - 1 for case in PROTOCOLS["D"]()] == [count for count in (3, 8, 20, 36) for _ in range(4)]
