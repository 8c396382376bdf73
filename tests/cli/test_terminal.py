"""What the command prints, how it ends, and how it reads what was typed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from running import invoke, ngr_geo
from small_stack import write_crops, write_masks

from ngr_geo.cli import console
from ngr_geo.cli.options import GROUPS, Job, spread
from ngr_geo.errors import InputError, OutputError

QUICK = ("--method", "guide", "--seed", "1")
DECLOUD = ("decloud", "in/S2_*.tif", "--clouds", "in/SCL_*.tif", "-o", "out")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a b --clouds c d -o OUT", "a b --clouds c --clouds d -o OUT"),
        ("--clouds c d -o OUT a b", "--clouds c --clouds d -o OUT a b"),
        ("--clouds SCL cube.nc -o x", "--clouds SCL cube.nc -o x"),
        ("--clouds c d -o x -- a b", "--clouds c --clouds d -o x -- a b"),
        ("a --clouds", "a --clouds"),
        ("a --clouds=c b", "a --clouds=c b"),
        ("--clouds c --clouds d a", "--clouds c --clouds d a"),
        ("--json --clouds c d", "--json --clouds c d"),
        ("-o OUT --tile 32 --clouds c d", "-o OUT --tile 32 --clouds c d"),
    ],
)
def test_masks_take_all_values_up_to_the_next_option(typed: str, expected: str) -> None:
    """Shells expand SCL_*.tif; with nothing left to be an input, the rest are inputs."""
    assert spread(typed.split(), ("--clouds",), {"-o", "--tile", "--clouds"}) == expected.split()


def test_help_is_quick_and_tells_the_exit_codes(tmp_path: Path) -> None:
    """Neither torch nor the raster libraries are imported for it."""
    code = "import sys; from ngr_geo.cli import main; print({'torch', 'rasterio', 'dask', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert "torch" not in done.stdout
    assert "rich" not in done.stdout
    for command in ((), ("decloud",), ("inpaint",), ("info",), ("demo",)):
        result = invoke(*command, "--help")
        assert result.exit_code == 0
        assert "130  interrupted" in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_has_groups_and_the_defaults_of_its_verb_only() -> None:
    """Every option is in one group."""
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted({part.name for part in fields(Job)} - {"inputs", "url"})
    for verb, tile, method in (("decloud", 256, "local"), ("denoise", 320, None), ("destripe", 512, None)):
        shown = " ".join(invoke(verb, "--help").stdout.split())
        assert (
            0
            < shown.find("Input: --")
            < shown.find("Method: --")
            < shown.find("Output: -o")
            < shown.find("Running: --")
        )
        assert re.findall(r"--tile SIDE .*?\[default: (\w+)", shown) == [str(tile)]
        assert ("local" in shown) == bool(method)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "wait"), [(signal.SIGINT, 0.2), (signal.SIGINT, 1), (signal.SIGTERM, 3)])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals, wait: float) -> None:
    """While modules are imported and in the middle of solving; exit code 130, one line, no folder."""
    write_crops(tmp_path / "in", size=256)
    write_masks(tmp_path / "in", size=256)
    process = ngr_geo(*DECLOUD, "--method", "ngr", "--steps", "100000", cwd=tmp_path)
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    while lines[-1] and "to solve" not in lines[-1]:
        lines.append(process.stderr.readline())
    time.sleep(wait)
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == console.INTERRUPTED, rest
    assert rest.strip().splitlines() == ["Interrupted; nothing half-written was left behind."]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_bar_with_the_time_left(folder: Path, tmp_path: Path) -> None:
    """On stderr; elsewhere there is none."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = ngr_geo(*DECLOUD, "--tile", "32", "--overlap", "4", *QUICK, cwd=tmp_path, stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # Linux says so at the end
            break
        if not piece:
            break
        shown += piece
    out, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0, shown
    assert b"tiles" in shown
    assert b"left" in shown
    assert "Wrote" in out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("found a, expected b:\ndo c"), console.BAD_INPUT, "Error: found a, expected b: do c"),
        (OutputError("no room"), console.BAD_OUTPUT, "Error: no room"),
        (MemoryError(), console.UNEXPECTED, "--tile"),
        (ZeroDivisionError("x"), console.UNEXPECTED, "unexpected ZeroDivisionError: x"),
        (KeyboardInterrupt(), console.INTERRUPTED, "Interrupted"),
        (console.Interrupted(), console.INTERRUPTED, "Interrupted"),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback without --debug."""

    def fail() -> int:
        raise error

    for debug in (False, True):
        assert console.run(fail, console.Console(json=True), debug) == code
        shown = capsys.readouterr()
        assert words in shown.err
        assert json.loads(shown.out)["exit_code"] == code
        assert ("Traceback" in shown.err) == (debug and code != console.INTERRUPTED)
        if not debug:
            assert len(shown.err.splitlines()) == 1


def test_signals_are_given_back() -> None:
    """What the embedding program does with SIGTERM stays its own."""
    before = signal.getsignal(signal.SIGTERM)
    assert console.run(lambda: 0, console.Console(), debug=False) == 0
    assert signal.getsignal(signal.SIGTERM) is before
