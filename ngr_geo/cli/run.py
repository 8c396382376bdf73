"""What the commands do: read, check, plan, restore, write, report. One path for all verbs."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from .. import record, repair, settings
from ..errors import InputError, MaskError, OutputError
from ..io import Files, Written, only, read_back, read_stack, remote, write_stack
from ..methods import leaks
from ..plan import Plan
from ..plan import plan as plan_of
from ..raster import cube as cubes
from ..raster import masks, selection
from ..raster import missing as gaps_of
from ..tiling import scheduling
from ..tiling.jobs import remove
from ..wording import counted, percent
from . import checks, summary
from . import console as terminal
from .console import Console
from .options import Job

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

GAPS = ("decloud", "inpaint")
"""Verbs that fill what a mask or nodata marks; the others correct spectral cubes."""


def restore(verb: str, job: Job, console: Console) -> int:
    """Restore the inputs of a job, write the result, and return the exit code."""
    start = time.monotonic()
    with _staged(job) as job:
        stack, mask = _read(verb, job, console)
        some = job.dates and not job.all_dates
        dates = selection.dates(cubes.read(stack.raster).dates, job.dates) if some else None  # that are written
        checks.before(job, stack if dates is None else only(stack, dates))
        plan = None
        if verb in GAPS:
            mask = _prepared(verb, job, stack, mask)
            plan = _plan(job, mask)
            _announce(verb, plan, stack, console)
        else:
            console.note(summary.size(cubes.read(stack.raster)))
        result, written = _solve(verb, job, stack, mask, dates, console)
        if plan is not None and dates is not None:
            plan = replace(
                plan, dates=tuple(plan.dates[i] for i in dates), missing=tuple(plan.missing[i] for i in dates)
            )
        return summary.finish(
            summary.Outcome(verb, job, stack, result, written, plan), time.monotonic() - start, console
        )


def info(job: Job, console: Console) -> int:
    """Show what `decloud` would do, or `inpaint` where there is no mask, and return the exit code."""
    stack, mask = _read("info", job, console)
    verb = "inpaint" if _has_no_mask(stack) else "decloud"
    begun = time.perf_counter()
    plan = _plan(job, _prepared(verb, job, stack, mask), begun)
    for warning in plan.warnings:
        console.warn(warning)
    return summary.of_plan(plan, cubes.read(stack.raster), verb, job.method, console)


@contextmanager
def _staged(job: Job) -> Iterator[Job]:
    """Give the job, with a place on this machine for an output that goes to a URL."""
    if not remote.is_url(job.output):
        yield job
        return
    with remote.staged(job.output) as place:
        if job.stac:
            msg = f"{job.output} is a URL, and STAC items are written beside files on this machine: leave out --stac."
            raise OutputError(msg)
        yield replace(job, output=place, url=job.output)


def _read(verb: str, job: Job, console: Console) -> tuple[Files, Any]:
    """Return the stack and its mask: clouds as codes or by name, missing pixels as booleans."""
    shipped = job.missing == (gaps_of.PRODUCT,)
    stack = read_stack(
        job.inputs,
        job.clouds or (None if shipped else job.missing) or None,
        bands=job.bands or None,
        date_pattern=job.date_pattern,
        lazy=bool(job.work or job.scheduler or job.workers or job.save_prior or job.index),
        band_pattern=job.band_pattern,
        resolution=job.resolution,
        nodata=job.nodata,
        product=job.product,
    )
    stack = replace(stack, cog=job.cog, filled="variable" if job.filled == "variable" else "coordinate")
    for note in stack.notes:
        console.note(note)
    if shipped:
        return stack, gaps_of.PRODUCT
    if job.missing:
        stack, mask = _apart(stack, stack.clouds)
        return stack, masks.align(mask != 0, stack.raster)
    if verb == "decloud" and _has_no_mask(stack):
        msg = (
            f"Found no cloud mask for {stack.inputs[0]}. Expected mask files, or a band or variable such as SCL: "
            "--clouds SCL_*.tif or --clouds NAME. To fill only nodata, use: ngr-geo inpaint"
        )
        raise MaskError(msg)
    if job.mask_rule is None or _has_no_mask(stack):
        return stack, stack.clouds
    stack, mask = _apart(stack, stack.clouds if stack.clouds is not None else masks.find(stack.raster))
    return stack, mask.rename(job.mask_rule)


def _apart(stack: Files, mask: Any) -> tuple[Files, xr.DataArray]:
    """Return the stack and its mask; one that is a variable is no band of the raster then, but is written with it."""
    if isinstance(mask, xr.DataArray):
        return stack, mask
    assert isinstance(stack.raster, xr.Dataset)
    return replace(stack, raster=stack.raster.drop_vars(mask), dataset=stack.raster), stack.raster[mask]


def _has_no_mask(stack: Files) -> bool:
    if stack.clouds is not None:
        return False
    try:
        masks.find(stack.raster)
    except MaskError:
        return True
    return False


def _solving(job: Job) -> dict[str, Any]:
    """Return how to solve, as keywords of the verbs; sizes that were not given are the verb's own."""
    names = ("method", "tile", "overlap", "device", "seed", "steps", "uncertainty", "aoi")
    chosen = {name: getattr(job, name) for name in names}
    given = {name: value for name, value in chosen.items() if value is not None or name not in ("tile", "overlap")}
    return given | ({"tile": None} if job.tile == "auto" else {})


def _masking(job: Job) -> dict[str, Any]:
    names = ("dilate", "probability", "refine")
    return {"classes": job.classes or None, **{name: getattr(job, name) for name in names}}


def _prepared(verb: str, job: Job, stack: Files, mask: Any) -> Any:
    """Return the mask as both the plan and the verb take it: read, counted and grown once."""
    elsewhere = job.scheduler or job.workers  # where there may be other devices
    (settings.check if elsewhere else settings.settings_of)(settings.Options(**_solving(job)))
    record.check(stack.raster)
    if verb == "decloud":
        return leaks.clouded(stack.raster, leaks.Masking(mask, **_masking(job)), now=True)
    return gaps_of.gaps(stack.raster, mask if job.missing else None, job.extent, now=True)


def _plan(job: Job, found: Any, begun: float | None = None) -> Plan:
    """Return what a verb would do; see `plan.plan`."""
    return plan_of(found, job.dates or None, settings.Options(extent=job.extent, **_solving(job)), begun)


def _announce(verb: str, plan: Plan, stack: Files, console: Console) -> None:
    """Show what is to be done; raise where nothing was measured, and warn where nothing is missing."""
    for warning in plan.warnings:
        console.warn(warning)
    what = "cloud or nodata" if verb == "decloud" else "missing"
    if verb == "decloud" and min(plan.missing) >= 1.0:  # entries can be filled where each pixel lacks some band
        msg = (
            f"Every pixel of every date is {what} ({counted(len(plan.missing), 'date')}), so there is nothing to learn from. "
            "Add clearer dates, or choose the classes that count as cloud with --classes and --dilate."
        )
        raise InputError(msg)
    most = max(plan.missing)
    if most == 0.0:
        if not bool(cubes.read(stack.raster).valid.any()):
            msg = "No pixel holds a number: all are nodata or NaN on every date. Check the nodata value of the inputs."
            raise InputError(msg)
        console.warn(f"No pixel is {what}: nothing is filled, and the output equals the input.")
    for line in masks.in_words(plan.mask):
        console.note(line)
    share = f"{'up to ' if len(plan.dates) > 1 and most else ''}{percent(most) if most else 'nothing'} missing"
    tiles = f"{plan.tiles_to_solve} of {counted(plan.tiles, 'tile')} to solve."
    console.note(f"{counted(len(plan.dates), 'date')}, {share}; {tiles}")


def _keywords(verb: str, job: Job, stack: Files, mask: Any) -> dict[str, Any]:
    """Return the keywords of a verb, as a user of Python would write them."""
    common = _solving(job)
    if verb in GAPS:
        common |= {"dates": job.dates or None, "tune": job.tune, "prior": job.prior}
        if verb == "decloud":
            return {"clouds": mask, **_masking(job), **common}
        return {"missing": mask, "extent": job.extent, **common}
    common["bad_bands"] = selection.bands(cubes.read(stack.raster).bands, job.bad_bands, first=1) or None
    if verb == "repair":
        common.pop("uncertainty")
        faults = [fault.replace("-", " ") for fault in job.faults] or None
        return {"faults": faults, "noise": job.noise, "direction": job.direction, **common}
    if verb == "fill_deadlines":
        return {"lines": _lines(job.lines), **common}
    own = {"noise": job.noise} if verb == "denoise" else {"direction": job.direction}
    return {**own, "change": job.change, **common}


def _lines(words: tuple[str, ...]) -> dict[str, list[int]] | str | None:
    """Return the dead lines that were named, "product" as it is, or None."""
    if not words:
        return None
    if words == (gaps_of.PRODUCT,):
        return gaps_of.PRODUCT
    table: dict[str, list[int]] = {"columns": [], "rows": []}
    for word in words:
        number = word[1:] if word[0] in "rR" else word
        if not number.isdecimal():
            msg = f"{word!r} names no line. Expected columns as whole numbers from 0, rows as r12, or product: --lines 17,18,r12"
            raise InputError(msg)
        table["rows" if word[0] in "rR" else "columns"].append(int(number))
    return table


def _solve(
    verb: str, job: Job, stack: Files, mask: Any, dates: Sequence[int] | None, console: Console
) -> tuple[xr.DataArray | xr.Dataset, Written]:
    """Restore the raster and write the result with all that was asked for beside it.

    A raster too large for memory has its tiles solved into a work folder, wherever they run; then they are blended while the
    result is written, here.
    """
    keywords = _keywords(verb, job, stack, mask)
    folder = checks.work_folder(job, stack)
    shown = stack if dates is None else only(stack, dates)
    with console.progress() as progress:
        with _cluster(job) if folder else nullcontext():
            result = getattr(stack.raster.ngr, verb)(work=folder, progress=progress, **keywords)
        files = {"ngr_inputs": stack.inputs, "ngr_masks": (*job.clouds, *job.missing)}
        names = {key: json.dumps([Path(n).name for n in some]) for key, some in files.items() if some}
        result = _only_dates(result.assign_attrs(names), dates)
        if stack.lazy:
            with terminal.counted_tasks(progress):
                written = write_stack(result, shown, job.output, job.overwrite)
    if not stack.lazy:
        with terminal.hushed():
            written = write_stack(result, shown, job.output, job.overwrite)
    if job.quicklook or job.report:
        after = read_back(written, shown).assign_attrs(result.attrs) if stack.lazy else result
        one = folder is not None and verb != "repair" and checks.has_tables()
        tiles = stack.raster.ngr.tiles(folder.path) if folder and one and job.report else None
        _write_views(job, shown.raster, after, tiles, console.warnings)
    if job.stac:
        from ..report import stac

        stac.save(stac.items(result, written, job.quicklook), job.overwrite)
    if job.url is not None:
        remote.publish([*written.all, *written.beside], job.output, job.url)
    if folder is not None:
        _finish_work(verb, job, stack, Path(folder.path))
    return result, written


@contextmanager
def _cluster(job: Job) -> Iterator[None]:
    """Have tiles run where --scheduler or --workers says."""
    gpus: Sequence[str] = ()
    if job.workers and not job.scheduler:
        from ..tiling import lanes

        gpus = lanes.gpus(job.device)
    with scheduling.cluster(job.scheduler, job.workers, gpus):
        yield


def _only_dates(result: xr.DataArray | xr.Dataset, dates: Sequence[int] | None) -> xr.DataArray | xr.Dataset:
    """Return a result with some of its dates, and only these in its record."""
    if dates is None or "time" not in result.dims:
        return result
    attrs = {}
    for name in ("ngr_dates", "ngr_mask"):
        entry = record.read_json(result.attrs.get(name))
        rows = entry.get("dates") if isinstance(entry, dict) else entry
        if isinstance(rows, list) and len(rows) == result.sizes["time"]:
            some = [rows[date] for date in dates]
            attrs[name] = json.dumps(entry | {"dates": some} if isinstance(entry, dict) else some)
    return result.isel(time=list(dates)).assign_attrs(attrs)


def _write_views(job: Job, before: Any, after: Any, tiles: "GeoDataFrame | None", warnings: Sequence[str]) -> None:
    """Write the picture and the page."""
    if job.quicklook:
        from ..report.pictures import quicklook

        quicklook(before, after, path=job.quicklook)
    if job.report:
        from ..report import page

        page.save(before, after, job.report, tiles, warnings)


def _finish_work(verb: str, job: Job, stack: Files, folder: Path) -> None:
    """Write the networks and the table of tiles where they were asked for, and remove the work folder."""
    if job.save_prior:
        from ..methods.checkpoint import load

        load(folder / "prior.safetensors").save(job.save_prior)
    if job.index:
        from ..report.index import save

        save(stack.raster.ngr.tiles(folder), job.index)
    (repair.remove if verb == "repair" else remove)(folder)
