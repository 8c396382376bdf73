"""Runs of the command on three dates that must end in one clear line."""

import re
from pathlib import Path

from click.testing import Result
from hypothesis import HealthCheck, Phase, settings
from running import invoke

DRAWS = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Two hundred draws, the same at every run."""

ADVICE_IN_PYTHON = re.compile(
    r"\.(rename|rio|isel|sel|astype|drop_vars|fillna|ngr|attrs|save|buffer|set_crs|assign_coords|chunk)\b|\w=\[|\w+=(True|False|None)\b|"
    r"\b(DataArray|GeoDataFrame|Dataset|xarray|raise|np\.)|(?<!-)\b(classes|dilate|clouds|missing|bad_bands|restart|work|prior|"
    r"tile|overlap|device|method|steps|seed|aoi|dates|out|files)=|in Python"
)
"""What no line for the command line may say: there an option mends it."""


def files(folder: Path) -> tuple[list[Path], list[Path]]:
    return sorted(folder.glob("S2_*.tif")), sorted(folder.glob("SCL_*.tif"))


def arguments(folder: Path, *more: object) -> list[object]:
    images, masks = files(folder)
    return [*images, "--clouds", *masks, *more]


def decloud(*arguments: object) -> Result:
    return invoke("decloud", *arguments, "--method", "guide")


def without_notes(text: bytes) -> bytes:
    """What is on stderr beside what is to be done and what the mask marks, which is said before the work starts."""
    return b"\n".join(line for line in text.splitlines() if b"to solve" not in line and b"by the rule" not in line)


def check_one_line(result: Result, code: int, words: list[str]) -> None:
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert result.exit_code == code, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert "unexpected" not in lines[0]
    assert len(re.sub(r"/tmp/\S+/", "", lines[0])) < 500
    assert not ADVICE_IN_PYTHON.search(result.stderr), result.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert result.stdout == ""
