"""The paper's tables: a run writes its rows, and goes on where another one ended; scores are those of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paper
import pytest
from benchmarks import published
from PIL import Image


def slope(size: int = 24) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    return np.stack([x, y, (x + y) / 2])


def test_table_1_is_written_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A smooth picture whose name is a number: ours and a peer, near the truth; a second run measures nothing again."""
    Image.fromarray((255 * slope().transpose(1, 2, 0)).astype(np.uint8)).save(tmp_path / "148089.png")
    options = ["--data", str(tmp_path), "--levels", "0.5", "--methods", "guide", "t-CTV", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["paper.py", "table1", *options])
    monkeypatch.setattr(paper, "in_its_own_process", lambda measure, *arguments: measure(*arguments))
    paper.main()
    rows = paper.read_csv(tmp_path / "table1.csv", paper.WORDS)
    assert [(row["image"], row["method"], row["size"]) for row in rows] == [
        ("148089", "guide", "3x24x24"),
        ("148089", "t-CTV", "3x24x24"),
    ]
    assert min(row["psnr"] for row in rows) > 35
    assert (tmp_path / "table1.png").stat().st_size > 0
    written = (tmp_path / "table1.csv").read_bytes()
    monkeypatch.setattr(paper, "in_its_own_process", None)
    paper.main()
    assert (tmp_path / "table1.csv").read_bytes() == written
    assert "mean of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["table7"], "the protocol of table7 is not known here: choose one of table1"),
        (["table5", "--levels", "weak", "0.5"], "found the levels 0.5, expected such as weak, harsh: shares"),
        (["table2", "--levels", "15"], "found the levels 15, expected such as 0.15"),
        (["table4", "--images", "reno"], "found no image reno, expected some of R0"),
        (["table5", "--methods", "TV"], "invalid choice: 'TV'"),
    ],
)
def test_what_cannot_be_run_is_said_at_once(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["paper.py", *options])
    with pytest.raises(SystemExit):
        paper.main()
    assert says in capsys.readouterr().err


def test_scores_of_the_truth_and_of_a_constant_error() -> None:
    truth = slope()
    perfect = published.score(truth, truth)
    assert perfect["psnr"] > 100
    assert perfect["ssim"] == pytest.approx(1)
    assert perfect["sam"] < 1  # the published formula has 1e-6 below the root
    assert perfect["ergas"] == 0
    worse = published.score(truth * 0.5 + 0.1, truth * 0.5)
    assert worse["psnr"] == pytest.approx(20, abs=0.1)
    means = truth.mean((1, 2)) / 2
    assert worse["ergas"] == pytest.approx(100 * np.sqrt((0.01 / means**2).mean()))


@pytest.mark.parametrize("method", ["paper", "DIP"])
def test_the_best_image_on_the_way_of_a_network_is_marked_and_is_not_the_result(method: str) -> None:
    truth, known = slope(16), np.random.default_rng(0).random((3, 16, 16)) < 0.5
    problem = published.Problem("entries", truth, np.where(known, truth, 0), known)
    row = paper.measure(problem, method, 3, None)
    assert row["best"] >= row["psnr"]
