"""What tests of the command share."""

from pathlib import Path

import pytest
from small_stack import write_crops, write_masks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three dates and their masks."""
    write_crops(tmp_path / "in")
    write_masks(tmp_path / "in")
    return tmp_path / "in"
