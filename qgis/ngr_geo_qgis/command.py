"""The command ngr-geo as a process: its words, its progress, its errors. Nothing here needs QGIS."""

import json
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PARTLY = 4
"""Exit code of a result that is written, though some pixels could not be filled."""
PATIENCE = 20.0
"""Seconds that a process has to end and to remove what is half written, before it is killed."""
_FOREIGN = ("PYTHONHOME", "PYTHONPATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "LD_LIBRARY_PATH")
_SUBDATASET = re.compile(r"^[A-Z][A-Za-z0-9_]+:(?!//)")  # NETCDF:"file.nc":B02; the letter of a drive is shorter


class CommandError(Exception):
    """The command is not there, or it failed; the text is for the user."""


class Canceled(Exception):
    """The user canceled, and the process has ended."""


def find(named: str = "") -> str:
    """Return the path of the command: the one that is named, or the one on PATH.

    Raises:
        CommandError: there is none.
    """
    found = shutil.which(os.path.expanduser(named.strip() or "ngr-geo"))
    if found is not None:
        return found
    what = (
        f"The command ngr-geo at {named.strip()!r} is not there"
        if named.strip()
        else "Found no command ngr-geo on PATH"
    )
    msg = (
        f"{what}. ngr_geo runs outside QGIS, in a Python environment of its own: install it there with pip, and give the path of "
        "its ngr-geo in Settings > Options > Processing > Providers > ngr_geo."
    )
    raise CommandError(msg)


def path_of(source: str) -> str:
    """Return the file of a raster layer, given the layer's source.

    Raises:
        CommandError: the layer is a part of a file, of which the command would take all.
    """
    if _SUBDATASET.match(source):
        msg = (
            f"The layer {source} is one part of a file, and ngr_geo reads whole files. Name the file itself in place of the layer, "
            "or save the layer as a GeoTIFF."
        )
        raise CommandError(msg)
    return source.partition("|")[0]


def words(verb: str, inputs: Sequence[str], output: str, options: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the command.

    An option that is None, False, empty or blank is left out, True is a flag, and a sequence is given value by value.
    """
    said = [verb, "--json", "--overwrite", "--output", output]
    for name, value in options.items():
        if value is True:
            said.append(f"--{name}")
        elif isinstance(value, list | tuple):
            said.extend(word for one in value for word in (f"--{name}", str(one)))
        elif value not in (None, False) and str(value).strip():
            said.extend((f"--{name}", str(value).strip()))
    return [*said, "--", *inputs]


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process: that of QGIS without what QGIS sets for its own Python and GDAL."""
    return {name: value for name, value in base.items() if name not in _FOREIGN} | {"PYTHONUTF8": "1"}


def run(
    command: Sequence[str],
    progress: Callable[[str, float], None],
    note: Callable[[str], None],
    canceled: Callable[[], bool],
) -> dict[str, Any]:
    """Run a command, and return the summary that it prints.

    Args:
        command: the path of ngr-geo and its arguments.
        progress: called with the name of a stage and how much of it is done, in percent.
        note: called with each other line that the command prints.
        canceled: whether the user wants it to end.

    Raises:
        CommandError: it could not be started, or it failed; the text is its own.
        Canceled: the user canceled.
    """
    pipes: dict[str, Any] = {name: subprocess.PIPE for name in ("stdout", "stderr")} | {"stdin": subprocess.DEVNULL}
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # else Windows opens a console
    try:
        process = subprocess.Popen(
            command, env=environment(os.environ), encoding="utf-8", errors="replace", creationflags=hidden, **pipes
        )
    except OSError as error:
        msg = f"{command[0]} could not be started: {error.strerror}."
        raise CommandError(msg) from error
    printed: list[str] = []
    said: queue.Queue[str | None] = queue.Queue()
    readers = (
        threading.Thread(target=lambda: printed.append(process.stdout.read()), daemon=True),  # type: ignore[union-attr]
        threading.Thread(target=_hand_on, args=(process.stderr, said), daemon=True),
    )
    for reader in readers:
        reader.start()
    try:
        last = _follow(said, progress, note, canceled)
        code = process.wait()
    finally:
        _end(process)
        for reader in readers:
            reader.join(PATIENCE)
        for stream in (process.stdout, process.stderr):
            stream.close()  # type: ignore[union-attr]
    return summary(printed[0], code, last)


def summary(printed: str, code: int, last: str) -> dict[str, Any]:
    """Return the summary of a finished command.

    Args:
        printed: what it printed on its standard output.
        code: its exit code.
        last: its last line on the standard error.

    Raises:
        CommandError: the command failed.
    """
    try:
        told = json.loads(printed)
    except ValueError:
        told = {}
    if code in (0, PARTLY) and isinstance(told.get("files"), list):
        return dict(told)
    if code == 0:
        msg = "The command printed no summary, so it is no ngr-geo, or not of this version."
        raise CommandError(msg)
    raise CommandError(told.get("error") or last or f"ngr-geo ended with code {code} and said nothing.")


def moved(line: str) -> tuple[str, float] | None:
    """Return the stage and the percentage of a line of progress, None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
        return str(told["stage"]), 100.0 * told["done"] / max(told["total"], 1)
    except (ValueError, KeyError, TypeError):
        return None


def _follow(
    said: "queue.Queue[str | None]",
    progress: Callable[[str, float], None],
    note: Callable[[str], None],
    canceled: Callable[[], bool],
) -> str:
    """Hand on what the process says until it has said all; return its last line that is no progress."""
    last = ""
    while True:
        if canceled():
            raise Canceled
        try:
            line = said.get(timeout=0.1)
        except queue.Empty:
            continue
        if line is None:
            return last
        if (stage := moved(line)) is not None:
            progress(*stage)
        elif line:
            last = line
            note(line)


def _hand_on(stream: Any, said: "queue.Queue[str | None]") -> None:
    """Put each line of a stream into a queue, and None behind them."""
    for line in stream:
        said.put(line.strip())
    said.put(None)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process if it runs: first asked to, so that it removes what is half written, then killed."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
