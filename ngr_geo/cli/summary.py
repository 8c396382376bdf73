"""What the commands print when they are done, in words and as JSON."""

import json
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from .. import __version__, record
from ..io import Files, Written, remote
from ..plan import Plan
from ..raster import masks
from ..raster.cube import Cube, read
from ..report import facts
from ..result import of_row
from ..wording import counted
from . import console as terminal
from .console import Console
from .options import Job

SPARED = ("Taken off", "Shadow added", "Haze added", "Seen on no date", "Weights", "Fault")
"""Columns of the table of dates that a terminal has where it is wide enough, the first to go first; a report has all."""
WIDTH = 120
"""Of lines that go to a file or another program."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: its job, what was read, made and written, and the plan of a verb that fills gaps."""

    verb: str
    job: Job
    stack: Files
    result: xr.DataArray | xr.Dataset
    written: Written
    plan: Plan | None

    def place(self, path: Path) -> str:
        """Return where a file is for the user: a URL if it went there."""
        return str(path) if self.job.url is None else remote.url_of(path, self.job.output, self.job.url)

    def places(self, kind: str) -> list[str]:
        """Return the files of a kind: "rasters", "filled" or a layer."""
        return [self.place(path) for path in getattr(self.written, kind)]

    @property
    def stac_files(self) -> list[str]:
        """The STAC items, if they were asked for."""
        if not self.job.stac:
            return []
        from ..report.stac import place

        return [str(place(path)) for path in self.written.rasters]


def finish(outcome: Outcome, seconds: float, console: Console) -> int:
    """Print what was done, and return the exit code."""
    own = _spectral(outcome, console) if outcome.plan is None else _gaps(outcome, outcome.plan, console)
    job, seconds = outcome.job, round(seconds, 2)
    _say_files(outcome, seconds, console)
    code = terminal.OK
    tiles = own.get("tiles", {})
    if unsolvable := int(tiles.get("unsolvable", 0)):
        code = terminal.PARTLY
        console.warn(
            f"{unsolvable} of {counted(tiles['total'], 'tile')} {'has' if unsolvable == 1 else 'have'} no measured "
            "pixel on any date, and nothing was filled there. Add clearer dates."
        )
    console.finish(
        {
            "command": outcome.verb.replace("_", "-"),
            "version": __version__,
            "inputs": list(outcome.stack.inputs),
            "output": job.url or job.output,
            "files": outcome.places("rasters"),
            **{f"{kind}_files": outcome.places(kind) for kind in ("filled", "uncertainty", "change")},
            "stac_files": outcome.stac_files,
            "quicklook": job.quicklook,
            "report": job.report,
            **own,
            "seconds": seconds,
            "exit_code": code,
        }
    )
    return code


def _gaps(outcome: Outcome, plan: Plan, console: Console) -> dict[str, Any]:
    """Print a row for each date, and return what the summary says of gaps.

    Of a lazy result the plan gives what its record does not know.
    """
    attrs = outcome.result.attrs
    rows = json.loads(attrs.get("ngr_dates", "null")) or [{"date": date} for date in plan.dates]
    rows = [row | {"missing": share} for row, share in zip(rows, plan.missing, strict=True)]
    _say_dates(read(outcome.stack.raster), rows, console)
    solved = plan.tiles_to_solve - plan.tiles_unsolvable
    planned = {"total": plan.tiles, "solved": solved, "unsolvable": plan.tiles_unsolvable}
    return {"dates": rows, "mask": plan.mask, "tiles": json.loads(attrs.get("ngr_tiles", "null")) or planned}


def _spectral(outcome: Outcome, console: Console) -> dict[str, Any]:
    """Print a row for each date, and return what the summary says of a spectral cube."""
    attrs = outcome.result.attrs
    rows = record.dates_of(attrs)
    _say_dates(read(outcome.stack.raster), rows, console)
    left_out = json.loads(attrs.get("ngr_bands_left_out", "[]"))
    if left_out:
        unchanged = "it was" if len(left_out) == 1 else "they were"
        console.say(f"Left as {unchanged}, flagged bad or without values: {counted(len(left_out), 'band')}")
    return {"dates": rows, "bands_left_out": left_out}


def _say_dates(cube: Cube, rows: list[dict[str, Any]], console: Console) -> None:
    """Print the table of dates as far as the terminal is wide, and what its figures mean."""
    table = facts.dates_table(cube, [of_row(row) for row in rows], brief=True)
    if table is None:
        return
    width = shutil.get_terminal_size((WIDTH, 0)).columns
    left_out: list[str] = []
    for column in SPARED:
        if max(map(len, facts.text(table, without=left_out))) <= width:
            break
        left_out += [column] * (column in table["head"])
    for line in facts.text(table, without=left_out):
        console.say(line)
    legend = facts.legend(cube, table)
    if left_out:
        legend.append(
            f"Not shown for want of width: {', '.join(reversed(left_out)).lower()}. --report and --json have all."
        )
    for line in legend:
        for part in textwrap.wrap(line, width, subsequent_indent="  "):
            console.say(part)


def _say_files(outcome: Outcome, seconds: float, console: Console) -> None:
    """Print which files were written, and how long it took."""
    written, job = outcome.written, outcome.job
    first, count = written.rasters[0], len(written.rasters)
    place = outcome.place(first)
    where = place if count == 1 else f"{count} GeoTIFFs in {place[: -len(first.name)]}"
    filled = f", and beside {'it' if count == 1 else 'each'} which pixels were filled: *_filled.tif"
    console.say(f"Wrote {where}" + (filled if written.filled else ""))
    if written.uncertainty:
        console.say("and the standard deviation of each of these values: *_uncertainty.tif")
    if written.change:
        console.say("and what was added: *_change.tif")
    if items := outcome.stac_files:
        console.say(f"STAC item: {items[0]}" if len(items) == 1 else "STAC items: *.stac.json")
    if job.quicklook:
        console.say(f"Picture: {job.quicklook}")
    if job.report:
        console.say(f"Report: {job.report}")
    console.note(f"Took {_duration(seconds)}.")


def size(cube: Cube) -> str:
    """Return the size of a cube in words."""
    dates, bands, rows, columns = cube.shape
    many = f"{counted(dates, 'date')}, " if dates > 1 else ""
    return f"{columns} x {rows} pixels, {many}{counted(bands, 'band')}."


def of_plan(plan: Plan, cube: Cube, verb: str, method: str, console: Console) -> int:
    """Print a plan, and return the exit code."""
    rows, columns = plan.shape[-2:]
    bands = f"{'band' if len(plan.bands) == 1 else 'bands'} {', '.join(map(str, plan.bands))}"
    console.say(f"{columns} x {rows} pixels, {counted(len(plan.dates), 'date')}, {bands}")
    for line in masks.in_words(plan.mask):
        console.say(line)
    dates = [{"date": date, "missing": share} for date, share in zip(plan.dates, plan.missing, strict=True)]
    _say_dates(cube, dates, console)
    console.say(f"tiles to solve: {plan.tiles_to_solve} of {plan.tiles}")
    time = f"time of {verb} --method {method}: about {_duration(plan.seconds)}"
    console.say(f"memory: about {plan.memory / 1e9:.1f} GB; {time}")
    console.finish(
        {
            "command": "info",
            "dates": dates,
            "bands": list(map(str, plan.bands)),
            "mask": plan.mask,
            "shape": list(plan.shape),
            "tiles": {
                "total": plan.tiles,
                "to_solve": plan.tiles_to_solve,
                "unsolvable": plan.tiles_unsolvable,
            },
            "memory": plan.memory,
            "seconds": plan.seconds,
            "exit_code": terminal.OK,
        }
    )
    return terminal.OK


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
