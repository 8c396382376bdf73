"""Two hundred command lines that cannot be worked with, drawn by Hypothesis: verbs x inputs x masks x options x outputs.

Each ends with code 2 or 3 and one line on stderr, which says nothing of Python. Never a traceback, never a result. The draws are
the same at every run.
"""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from one_line import ADVICE_IN_PYTHON, DRAWS
from rasterio.transform import from_origin
from running import invoke

SIZE = 12
PIXELS = re.compile(r"\d+ x \d+ pixels, ")
"""How the spectral verbs begin to say what they read."""
STACKED, SPECTRAL = ("decloud", "inpaint", "info"), ("denoise", "destripe", "fill-deadlines", "repair")
VERBS = (*STACKED, *SPECTRAL)
DAYS = ("20230815", "20230818", "20230820")

NASTY = (
    "nul\\x00.tif",
    "bell\x07.tif",
    "new\nline.tif",
    "\x1b[31mred.tif",
    "caf\udce9.tif",
    "-",
    "~~",
    "*.nothing",
    "a" * 300,
)


def write(path: Path, values: np.ndarray, nodata: float | None = 0, crs: str | None = "EPSG:32633") -> Path:
    """A small GeoTIFF, (band, y, x)."""
    grid = from_origin(500_000, 5_000_000, 10, 10)
    count, height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=values.dtype,
        crs=crs,
        transform=grid,
        nodata=nodata,
    ) as target:
        target.write(values)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good dates and masks, and with all kinds of bad ones."""
    folder = tmp_path_factory.mktemp("hostile")
    numbers = np.random.default_rng(0)
    for i, day in enumerate(DAYS):
        write(folder / f"S2_{day}.tif", numbers.integers(100, 3000, (2, SIZE, SIZE)).astype(np.uint16))
        codes = np.full((1, SIZE, SIZE), 4, np.uint8)
        codes[:, i : i + 4, :4] = 9
        write(folder / f"SCL_{day}.tif", codes, None)
    good = (folder / "S2_20230815.tif").read_bytes()
    for name, content in {"empty": b"", "text": b"a letter to nobody", "cut": good[: len(good) // 2]}.items():
        for suffix in (".tif", ".nc", ".jp2"):
            (folder / f"{name}_20230901{suffix}").write_bytes(content)
    (folder / "no.zarr").mkdir()
    (folder / "no.zarr" / "zarr.json").write_text("{}")
    (folder / "S2_20230815.doc").write_bytes(good)
    floats = np.full((2, SIZE, SIZE), np.nan, np.float32)
    write(folder / "nan_20230815.tif", floats, None)
    write(folder / "nan_20230818.tif", floats, None)
    write(folder / "nodata_20230815.tif", np.zeros((2, SIZE, SIZE), np.uint16))
    write(folder / "nodata_20230818.tif", np.zeros((2, SIZE, SIZE), np.uint16))
    write(folder / "complex_20230815.tif", np.ones((2, SIZE, SIZE), np.complex64), None)
    write(folder / "undated.tif", np.ones((2, SIZE, SIZE), np.uint16))
    write(folder / "undated_too.tif", np.ones((2, SIZE, SIZE), np.uint16))
    write(folder / "wide_20230822.tif", np.ones((2, SIZE, SIZE + 1), np.uint16))
    write(folder / "deep_20230822.tif", np.ones((3, SIZE, SIZE), np.uint16))
    write(folder / "north_20230822.tif", np.ones((2, SIZE, SIZE), np.uint16), crs="EPSG:32733")
    write(folder / "float_20230822.tif", np.ones((2, SIZE, SIZE), np.float32))
    write(folder / "SCL_cloudy_20230815.tif", np.full((1, SIZE, SIZE), 9, np.uint8), None)
    write(folder / "SCL_wide_20230815.tif", np.full((1, SIZE, SIZE + 5), 4, np.uint8), None)
    write(folder / "SCL_complex_20230815.tif", np.ones((1, SIZE, SIZE), np.complex64), None)
    write(folder / "SCL_20210815.tif", np.full((1, SIZE, SIZE), 4, np.uint8), None)
    write(folder / "SCL_far_20230815.tif", np.full((1, SIZE, SIZE), 4, np.uint8), None, "EPSG:32733")
    for name, dims, shape, kind in (
        ("no_time", ("time", "y", "x"), (0, 4, 4), "f4"),
        ("no_rows", ("time", "y", "x"), (2, 0, 4), "f4"),
        ("other_dims", ("time", "row", "col"), (2, 4, 4), "f4"),
        ("five_dims", ("run", "time", "band", "y", "x"), (1, 2, 2, 4, 4), "f4"),
        ("words", ("time", "y", "x"), (2, 4, 4), "U3"),
        ("all_nan", ("time", "y", "x"), (2, 4, 4), "f4"),
    ):
        values: Any = np.full(shape, "red") if kind == "U3" else np.full(shape, np.nan, kind)
        xr.Dataset({"B04": (dims, values)}).to_netcdf(folder / f"{name}.nc")
    xr.Dataset(attrs={"title": "nothing in it"}).to_netcdf(folder / "nothing.nc")
    (folder / "a_file").write_text("taken")
    (folder / "points.geojson").write_text(
        '{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [15, 45]}}'
    )
    (folder / "far.geojson").write_text(
        '{"type": "Polygon", "coordinates": [[[100, 10], [101, 10], [101, 11], [100, 10]]]}'
    )
    (folder / "weights.pt").write_bytes(b"\x80\x04pickle")
    return folder


GOOD = [f"S2_{day}.tif" for day in DAYS]
MASKS = [f"SCL_{day}.tif" for day in DAYS]

BAD_INPUTS: list[list[str]] = [
    *([name] for name in NASTY),
    *(
        [f"{kind}_20230901{suffix}"]
        for kind, suffix in itertools.product(("empty", "text", "cut"), (".tif", ".nc", ".jp2"))
    ),
    ["no.zarr"],
    ["missing.zarr"],
    ["missing.nc"],
    ["S2_20230815.doc", "S2_20230818.doc"],
    ["."],
    ["a_file"],
    ["nan_20230815.tif", "nan_20230818.tif"],
    ["nodata_20230815.tif", "nodata_20230818.tif"],
    ["complex_20230815.tif"],
    ["undated.tif", "undated_too.tif"],
    *([*GOOD, f"{name}_20230822.tif"] for name in ("wide", "deep", "north", "float")),
    [*GOOD, GOOD[0]],
    *([f"{name}.nc"] for name in ("no_time", "no_rows", "other_dims", "five_dims", "words", "all_nan", "nothing")),
    ["words.nc", *GOOD],
]

BAD_MASKS: list[list[str]] = [
    ["--clouds", "SCL_cloudy_20230815.tif", *MASKS[1:]],
    ["--clouds", "SCL_complex_20230815.tif", *MASKS[1:]],
    ["--clouds", "SCL_20210815.tif"],
    ["--clouds", "SCL_far_20230815.tif", *MASKS[1:]],
    ["--clouds", MASKS[0]],
    ["--clouds", "B99"],
    ["--clouds", "none.tif"],
    ["--clouds", "text_20230901.tif"],
    ["--clouds"],
    ["--clouds", ""],
]
BAD_MASKS = BAD_MASKS[1:]  # the first one, of one date under cloud, is worked with

BAD_OPTIONS: dict[str, tuple[list[list[str]], tuple[str, ...]]] = {
    "any": (
        [
            *(["--tile", word] for word in ("0", "-5", "1e3", "nan", "7", str(10**30))),
            *(["--overlap", word] for word in ("-1", "inf", "300", str(10**25))),
            *(["--seed", word] for word in ("-1", "x", "1.5", str(2**80))),
            *(["--steps", word] for word in ("0", "-3", "many", str(2**70))),
            ["--method", "magic"],
            ["--method", ""],
            *(["--device", word] for word in ("abacus", "cuda:99", "cpu:x", "meta", "")),
            *(["--bands", word] for word in ("B99", "", ",", "1,99", "0", "-1")),
            *(["--aoi", word] for word in ("missing.gpkg", "points.geojson", "far.geojson", "a_file", "")),
            ["--date-pattern", "("],
            ["--date-pattern", "tag:NOTHING"],
            ["--date-pattern", ""],
            ["--work", "a_file"],
            ["--work", "out.tif"],
            ["--workers", "0"],
            ["--scheduler", "tcp://127.0.0.1:1"],
            ["--report", "a_file/page.html"],
            ["--report", "S2_20230815.tif"],
            ["--quicklook", "S2_20230815.tif"],
            ["--index", "tiles.txt"],
            ["--what-is-this"],
        ],
        VERBS,
    ),
    "stack": (
        [
            *(["--dates", word] for word in ("2023-08-19", "2023-08-1", "20231340", "", "tomorrow", "\x1b[2J", "1e9")),
            *(["--dilate", word] for word in ("-1", "wide", "nan")),
            *(["--classes", word] for word in ("53248", "-1", "cloud", "", "²", "1.5", str(2**70))),
            *(["--prior", word] for word in ("missing.safetensors", "weights.pt", "a_file", "")),
            ["--tune", "-1"],
            ["--method", "paper", "--uncertainty"],
            *(["--probability", word] for word in ("-1", "2", "80", "nan", "high", "")),
        ],
        ("decloud",),
    ),
    "spectral": (
        [
            *(["--bad-bands", word] for word in ("99", "0", "B99", "1,2", "²", "")),
            ["--bad-bands", "1", "--bad-bands", "99"],
        ],
        SPECTRAL,
    ),
    "lines": (
        [["--lines", word] for word in ("left", "99", "r99", "-1", "1.5", "", "²", str(2**70))],
        ("fill-deadlines",),
    ),
    "direction": ([["--direction", word] for word in ("up", "")], ("destripe",)),
    "noise": ([["--noise", "loud"]], ("denoise", "repair")),
    "faults": ([["--faults", word] for word in ("clouds", "bad pixels", "", "²", "noise,,x")], ("repair",)),
}

BAD_OUTPUTS = [
    "a_file",
    "a_file/out",
    "S2_20230815.tif",
    "out.jpg",
    "out.h5",
    "/proc/no/such",
    "/dev/null",
    "bad\x00name",
    "",
    "a" * 300,
]

NOT_OF_INFO = {
    "--device",
    "--seed",
    "--work",
    "--workers",
    "--scheduler",
    "--report",
    "--quicklook",
    "--index",
    "--prior",
    "--tune",
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command line with one thing wrong, at least."""
    verb = draw(st.sampled_from(VERBS))
    wrong = draw(
        st.sampled_from(("input", "option", "output") if verb in SPECTRAL else ("input", "option", "output", "mask"))
    )
    if wrong == "output" and verb == "info":
        wrong = "input"
    if wrong == "mask":
        verb = draw(st.sampled_from(("decloud", "info")))
    inputs = GOOD
    mask: list[str] = ["--clouds", *MASKS] if verb in ("decloud", "info") else []
    more: list[str] = []
    out = "out"
    if wrong == "input":
        inputs = draw(st.sampled_from(BAD_INPUTS))
    elif wrong == "mask":
        mask = draw(st.sampled_from(BAD_MASKS))
    elif wrong == "output":
        out = draw(st.sampled_from(BAD_OUTPUTS))
    else:
        group = draw(st.sampled_from([name for name, (_, verbs) in BAD_OPTIONS.items() if verb in verbs]))
        more = draw(st.sampled_from(BAD_OPTIONS[group][0]))
        if verb in ("info", "inpaint") and "--device" in more:  # where nothing is missing none is asked for
            verb = "decloud"
        if verb == "info" and (NOT_OF_INFO & set(more)):
            verb = "decloud"
    words = [verb, *inputs, *mask, *more]
    return (
        words
        if verb == "info"
        else [*words, "-o", out, "--method", "guide"]
        if "--method" not in more
        else [*words, "-o", out]
    )


def trees(folder: Path) -> list[tuple[str, int]]:
    """What lies in a folder."""
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*"))


@pytest.mark.filterwarnings("default")
def test_two_hundred_command_lines_end_in_one_clear_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exit code that says whose fault it is, and nothing written."""
    monkeypatch.chdir(place)
    before = trees(place)
    seen: dict[str, str] = {}
    wrong: list[str] = []

    @DRAWS
    @given(command_lines())
    def run(words: list[str]) -> None:
        if str(words) in seen:
            return
        result = invoke(*words)
        lines = [
            line
            for line in result.stderr.splitlines()
            if not line.startswith(("Warning: ", "Usage: ", "Try ", "\x1b[0m"))
        ]
        lines = [line for line in lines if line.strip() and " to solve, about " not in line and not PIXELS.match(line)]
        seen[str(words)] = "\n".join(lines)
        if reason := fault(result.exit_code, lines, result.stderr, result.stdout):
            wrong.append(f"{words}\n   {result.exit_code}: {reason}: {result.stderr.strip()[:500]}")
        if trees(place) != before:
            wrong.append(f"{words}\n   left {sorted(set(trees(place)) ^ set(before))}")
            for path in place.iterdir():
                if str(path) not in {name for name, _ in before}:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    run()
    assert len(seen) > 120
    assert not wrong, "\n".join([f"{len(wrong)} of {len(seen)}", *wrong])


def fault(code: int, lines: list[str], stderr: str, stdout: str) -> str:
    """What is wrong with how a command ended, "" for nothing."""
    if code not in (2, 3):
        return "the exit code"
    if "Traceback" in stderr or "unexpected" in stderr:
        return "an unexpected error"
    if len(lines) != 1 or not lines[0].startswith("Error: "):
        return f"{len(lines)} lines"
    if ADVICE_IN_PYTHON.search(lines[0]):
        return "advice in Python"
    if stdout:
        return "something on stdout"
    return ""
