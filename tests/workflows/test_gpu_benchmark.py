"""The benchmark of GPUs: it says so where there is none, and all of its parts run, here on a CPU in a GPU's place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import gpu

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_was_found_and_what_to_do() -> None:
    command = [sys.executable, str(WORKFLOWS / "benchmark.py"), "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Found no GPU that torch can use here")
    assert "benchmark.py scale" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rate_is_one() -> None:
    assert 1e7 < gpu.rate("cpu", 256) < 1e13


@pytest.mark.shared_data
def test_its_parts_run(shared_data: Path) -> None:
    rows = gpu.tiles("cpu", 96, [96], 1e9)
    assert [row["device"] for row in rows] == ["cpu"] * 4
    assert all(row["tiles_s"] > 0 and row["solve_s"] > 0 for row in rows)
    assert all(row["peak"] > 0 and row["rms"] == 0 for row in rows[::2])
    there, here = gpu.paper("cpu", 96, 2)
    assert np.isfinite([there["psnr"], there["faster"], here["solve_s"]]).all()
