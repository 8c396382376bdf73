"""What the command line prints and how it ends: progress, warnings, one line per error, exit codes, signals."""

import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

import click

from ..errors import NgrError, NgrWarning, OutputError, TilesFailedError
from ..progress import Progress, ProgressBar, silent

OK, UNEXPECTED, BAD_INPUT, BAD_OUTPUT, PARTLY, FAILED_TILES, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

EXIT_CODES = """\b
Exit codes:
  0    done
  1    unexpected error (run again with --debug)
  2    usage, or an input that cannot be worked with
  3    the output cannot be written
  4    done, but some pixels could not be filled
  5    some tiles failed, nothing is written; run again: the rest is kept
  130  interrupted; nothing half-written is left
"""

# What GDAL and HDF5 print by themselves on a full disk, before they report the error that we turn into one line.
_NATIVE_NOISE = re.compile(
    r"^(_?tiff|TIFF|HDF5-DIAG|ERROR \d|\s+#\d+:|\s+(major|minor):)|: No space left on device", re.I
)


# Names and tags of files are shown, and may hold anything: what would move the cursor, colour, turn the direction of writing, or
# cannot be written at all (bytes of a name that are no text).
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return a line of text as a terminal can show it: control characters as escapes, such as \\x1b."""
    return _UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@dataclass
class Console:
    """Where a command prints: results to stdout, all else to stderr; with `json` only the summary goes to stdout."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    warnings: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print a line of the result."""
        if not self.quiet:
            click.echo(plain(text), err=self.json)

    def note(self, text: str) -> None:
        """Print a line on what is going on."""
        if not self.quiet:
            click.echo(plain(text), err=True)

    def warn(self, text: str) -> None:
        """Print a warning once, and add it to the summary."""
        line = " ".join(text.split())
        if line not in self.warnings:
            self.warnings.append(line)
            self.note(f"Warning: {line}")

    def finish(self, summary: dict[str, Any]) -> None:
        """Print the machine-readable summary, if it was asked for."""
        if self.json:
            click.echo(json.dumps(summary | {"warnings": self.warnings}, indent=2))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give a function (stage, done, total) that moves a bar on a terminal, and elsewhere, with `--json`, prints lines."""
        if self.quiet or not sys.stderr.isatty():
            yield ProgressLines() if self.json and not self.quiet else silent
            return
        bar = ProgressBar()
        try:
            yield bar
        finally:
            bar.stop()


class ProgressLines:
    """Progress for programs that watch the command: lines on stderr such as {"stage": "tiles", "done": 3, "total": 12}.

    The first and the last line of a stage are always printed, and between them some each second. Any thread may call it.
    """

    EVERY = 0.25  # seconds

    def __init__(self) -> None:
        """Print nothing yet."""
        self._lock = threading.Lock()  # tiles report from several threads
        self._stage, self._printed = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Print how much of a stage is done."""
        with self._lock:
            now = time.monotonic()
            if stage == self._stage and done < total and now - self._printed < self.EVERY:
                return
            self._stage, self._printed = stage, now
            click.echo(json.dumps({"stage": stage, "done": done, "total": total}), err=True)


def run(command: Callable[[], int], console: Console, debug: bool) -> int:
    """Run a command and return its exit code: errors become one line on stderr, SIGINT and SIGTERM end it cleanly."""
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        stack.enter_context(_logged_to(console))
        if not debug:
            stack.enter_context(_shown_by(console))
        try:
            return command()
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # the reader has gone; say nothing when closing
            return UNEXPECTED
        except click.exceptions.Exit:
            raise
        except (KeyboardInterrupt, Exception) as error:
            if debug and not isinstance(error, KeyboardInterrupt):
                click.echo("\n".join(plain(line) for line in traceback.format_exc().split("\n")), err=True)
            text, code = _verdict(error)
            line = " ".join(text.split())
            click.echo(plain(line), err=True)
            more = {"failures": error.failures} if isinstance(error, TilesFailedError) else {}
            console.finish({"error": line.removeprefix("Error: "), "exit_code": code} | more)
            return code


def _verdict(error: BaseException) -> tuple[str, int]:
    """Return what an error comes to: a line, and an exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted; nothing half-written was left behind.", INTERRUPTED
    if isinstance(error, NgrError):
        kinds = ((TilesFailedError, FAILED_TILES), (OutputError, BAD_OUTPUT), (NgrError, BAD_INPUT))
        return f"Error: {error.on_command_line}", next(code for kind, code in kinds if isinstance(error, kind))
    if isinstance(error, MemoryError):
        return (
            "Error: not enough memory. Use a smaller --tile, fewer --bands, or see the need with: ngr-geo info",
            UNEXPECTED,
        )
    return f"Error: unexpected {type(error).__name__}: {error}. Run again with --debug and report it.", UNEXPECTED


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop.

    A class of its own: Python ends a `-m` process by SIGINT, whatever its exit code, once a plain KeyboardInterrupt has passed
    through an `exec` of text, of which an import that is interrupted runs many.
    """


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end things the way Ctrl-C does, so that temporary files are removed, and both by `Interrupted`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Lines(logging.Handler):
    """Prints what is logged as lines on stderr, each with the seconds since the command began."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console, self._begun = console, time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        seconds, name = time.monotonic() - self._begun, record.name.removeprefix("ngr_geo.")
        self._console.note(f"[{seconds:6.1f} s] {name}: {record.getMessage()}")


@contextmanager
def _logged_to(console: Console) -> Iterator[None]:
    """Print the log of ngr_geo at the level that -v and -vv ask for; other loggers are left alone."""
    if not console.verbose:
        yield
        return
    logger, handler = logging.getLogger("ngr_geo"), _Lines(console)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if console.verbose == 1 else logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def _shown_by(console: Console) -> Iterator[None]:
    """Print warnings for users as lines, and hide those of libraries."""

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if category is UserWarning or issubclass(category, NgrWarning):
            console.warn(getattr(message, "on_command_line", str(message)))

    handler = logging.NullHandler()  # else Python prints rasterio's errors, which we raise anyway
    logger = logging.getLogger("rasterio")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show  # type: ignore[assignment]
            yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def counted_tasks(progress: Progress) -> Iterator[None]:
    """Report the tasks of Dask's local schedulers as progress, for results that are computed while they are written."""
    from dask.callbacks import Callback

    def report(key: object, result: object, graph: object, state: dict[str, Any], worker: object) -> None:
        done = len(state["finished"])
        waiting = sum(len(state[name]) for name in ("ready", "waiting", "running"))
        progress("tasks", done, done + waiting)

    with Callback(posttask=report):
        yield


@contextmanager
def hushed() -> Iterator[None]:
    """Hold back what native libraries print while files are written; what is no known noise is printed afterwards."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not _NATIVE_NOISE.search(line):
                    click.echo(plain(line), err=True)
