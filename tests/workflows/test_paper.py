"""The paper's tables: a run writes its rows, and goes on where another one ended."""

from pathlib import Path

import numpy as np
import paper
import pytest
from PIL import Image


def test_table_1_is_written_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A smooth picture of 24 pixels: ours and a peer, near the truth; a second run measures nothing again."""
    y, x = np.mgrid[:24, :24] / 24
    picture = np.stack([x, y, (x + y) / 2], -1)
    Image.fromarray((255 * picture).astype(np.uint8)).save(tmp_path / "slope.png")
    paper.table1([tmp_path / "slope.png"], [0.5], ["guide", "HaLRTC"], None, tmp_path)
    rows = paper.read_csv(tmp_path / "table1.csv")
    assert [row["method"] for row in rows] == ["guide", "HaLRTC"]
    assert rows[0]["psnr"] > 35
    written = (tmp_path / "table1.csv").read_bytes()
    paper.table1([tmp_path / "slope.png"], [0.5], ["guide", "HaLRTC"], None, tmp_path)
    assert (tmp_path / "table1.csv").read_bytes() == written
    assert "mean of 1" in capsys.readouterr().out
