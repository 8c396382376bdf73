"""Progress of a long job: a function of (stage, done, total), and a bar for terminals and notebooks, drawn by rich."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is in all."""


LOGGER = logging.getLogger(__name__)


def silent(stage: str, done: int, total: int) -> None:
    """Show no progress."""


class Logged:
    """Progress that also goes to the log: at the level INFO when a stage ends and how long it took, at DEBUG each part of it."""

    def __init__(self, shown: Progress | None) -> None:
        """Take the function that shows progress, if there is one."""
        self._shown = shown or silent
        self._begun: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show it, and log it."""
        self._shown(stage, done, total)
        begun = self._begun.setdefault(stage, time.monotonic())
        LOGGER.debug("%s: %d of %d", stage, done, total)
        if done >= total and self._begun.pop(stage, None) is not None:
            LOGGER.info("%s: done in %.1f s", stage, time.monotonic() - begun)


class ProgressBar:
    """A bar, one line per stage, with the time left: on stderr, or as text below a notebook's cell. Any thread may call it.

    It appears at the first call and disappears when all stages are done; in a notebook it stays.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        self._lock = threading.Lock()  # tiles report from several threads
        self._bar: Any = None
        self._stages: dict[str, Any] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Move the line of a stage."""
        with self._lock:
            if self._bar is None:
                self._bar = _NotebookBar() if _in_notebook() else _rich_bar(None)
                self._bar.start()
            if stage not in self._stages:
                self._stages[stage] = self._bar.add_task(stage, total=total)
            self._bar.update(self._stages[stage], completed=done, total=total)
            finished = self._bar.finished
        if finished:
            self.stop()

    def stop(self) -> None:
        """Remove the bar from the terminal."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar, self._stages = None, {}


def _in_notebook() -> bool:
    """Return whether this runs in a kernel with a display, such as Jupyter's."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def _rich_bar(file: io.StringIO | None) -> Any:
    """Return the bar of rich, on stderr or in a text file."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True) if file is None else Console(file=file, width=100, force_jupyter=False)
    return Bar(*columns, console=console, transient=True)


class _NotebookBar:
    """Rich's bar as plain text that is updated in place: its own display in notebooks needs widgets."""

    EVERY = 0.2  # seconds

    def __init__(self) -> None:
        self._bar = _rich_bar(io.StringIO())
        self.add_task = self._bar.add_task
        self._handle: Any = None
        self._shown = 0.0

    @property
    def finished(self) -> bool:
        return bool(self._bar.finished)

    def start(self) -> None:
        from IPython.display import display

        self._handle = display(self._text(), display_id=True)

    def update(self, stage: Any, completed: int, total: int) -> None:
        self._bar.update(stage, completed=completed, total=total)
        if self.finished or time.monotonic() - self._shown > self.EVERY:
            self.stop()

    def stop(self) -> None:
        """Show the bar as it is."""
        self._shown = time.monotonic()
        self._handle.update(self._text())

    def _text(self) -> Any:
        from IPython.display import Pretty

        with self._bar.console.capture() as text:
            self._bar.console.print(self._bar.get_renderable())
        return Pretty(text.get().rstrip() or "...")
