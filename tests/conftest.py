"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads that wait for each other are slow
os.environ.setdefault(
    "SOURCE_DATE_EPOCH", "0"
)  # files without the time they were made at, so that bits can be compared


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NGR_GEO_DATA", default))
    if not (folder / "s2_slovenia").is_dir():
        pytest.skip(f"the development data is not at {folder}: set NGR_GEO_DATA to switch this test on")
    return folder
