"""The ngr-geo command, also `rio ngr`. Heavy modules are imported where they are used: --help answers at once."""

import glob
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError, MaskError, NgrError, OutputError
from ..raster.maskrecord import lines as mask_lines
from ..wording import counted, percent
from . import console as terminal
from .console import Console
from .options import (
    ALL_DATES,
    BANDS,
    CHANGE,
    CLOUDS,
    CLUSTER,
    EXTENT,
    INPUTS,
    LINES,
    MASKING,
    OUTPUT,
    PRIOR,
    RUNNING,
    SELECTION,
    SOLVING,
    TALKING,
    Job,
    Verb,
    options,
)

if TYPE_CHECKING:
    import xarray as xr
    from geopandas import GeoDataFrame

    from ..io import Stack, Written
    from ..plan import Plan
    from ..tiling.work import Folder


@click.group("ngr", epilog=terminal.EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ngr-geo", prog_name="ngr-geo")
def main() -> None:  # named ngr for rio, which goes by the command's own name
    """Restore satellite images with the Neural Gradient Regularizer: clouds, gaps, noise, stripes, dead lines."""
    os.environ.setdefault("GDAL_CACHEMAX", "128")  # MB; by default it is a share of the machine's memory


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(INPUTS, CLOUDS, OUTPUT, SELECTION, ALL_DATES, MASKING, SOLVING, PRIOR, CLUSTER, RUNNING, TALKING)
def decloud(job: Job, console: Console) -> int:
    """Fill clouds from the other dates.

    INPUTS are GeoTIFFs, one per date, or one NetCDF file or Zarr store:

    \b
      ngr-geo decloud S2_*.tif --clouds SCL_*.tif -o OUT/
      ngr-geo decloud cube.nc --clouds SCL -o clear.nc

    Pixels that are not cloud come back as they were.
    """
    return _restore("decloud", job, console)


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(
    INPUTS,
    click.option(
        "--missing",
        multiple=True,
        metavar="MASK...",
        help="Mask files (not 0 = missing), matched by date; or a band or variable. By default nodata and NaN.",
    ),
    EXTENT,
    OUTPUT,
    SELECTION,
    ALL_DATES,
    SOLVING,
    PRIOR,
    CLUSTER,
    RUNNING,
    TALKING,
)
def inpaint(job: Job, console: Console) -> int:
    """Fill missing pixels: nodata, NaN, or those of a mask.

    \b
      ngr-geo inpaint S2_*.tif -o OUT/
      ngr-geo inpaint scene.tif --missing holes.tif -o filled.tif
    """
    return _restore("inpaint", job, console)


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(
    INPUTS,
    click.option(
        "--noise",
        type=click.Choice(("auto", "gaussian", "mixed")),
        default="auto",
        show_default=True,
        help="mixed: also impulses, saturation, stripes and dead lines.",
    ),
    OUTPUT,
    BANDS,
    CHANGE,
    SOLVING,
    CLUSTER,
    RUNNING,
    TALKING,
)
def denoise(job: Job, console: Console) -> int:
    """Take noise out of a hyperspectral cube.

    \b
      ngr-geo denoise cube.tif -o clean.tif
      ngr-geo denoise cube.hdr --noise mixed -o clean.img
    """
    return _restore_cube("denoise", job, console, noise=job.noise, change=job.change)


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(
    INPUTS,
    click.option(
        "--direction", type=click.Choice(("columns", "rows")), help="Along what stripes run.  [default: found]"
    ),
    OUTPUT,
    BANDS,
    CHANGE,
    SOLVING,
    CLUSTER,
    RUNNING,
    TALKING,
)
def destripe(job: Job, console: Console) -> int:
    """Take stripes out of a hyperspectral cube, upright or slightly tilted.

    \b
      ngr-geo destripe enmap.tif -o even.tif
    """
    return _restore_cube("destripe", job, console, direction=job.direction, change=job.change)


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(
    INPUTS,
    LINES,
    OUTPUT,
    BANDS,
    SOLVING,
    CLUSTER,
    RUNNING,
    TALKING,
)
def fill_deadlines(job: Job, console: Console) -> int:
    """Find dead lines of a hyperspectral cube, and fill them.

    \b
      ngr-geo fill-deadlines cube.nc -o whole.nc
      ngr-geo fill-deadlines cube.tif --lines 17,18,r40 -o whole.tif
    """
    return _restore_cube("fill_deadlines", job, console, lines=_lines(job.lines))


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(INPUTS, CLOUDS, SELECTION, MASKING, SOLVING, TALKING)
def info(job: Job, console: Console) -> int:
    """Tell what decloud would do: dates, cloud shares, tiles, memory and time. Nothing is filled or written."""
    stack, mask = _read("info", job, console)
    verb = "inpaint" if _has_no_mask(stack) else "decloud"
    plan = _plan(verb, job, stack, mask)
    for warning in plan.warnings:
        console.warn(warning)
    rows, columns = plan.shape[-2:]
    names = ", ".join(map(str, plan.bands))
    console.say(
        f"{columns} x {rows} pixels, {counted(len(plan.dates), 'date')}, {'band' if len(plan.bands) == 1 else 'bands'} {names}"
    )
    for line in mask_lines(plan.mask):
        console.say(line)
    console.say("date        missing")
    for date, share in zip(plan.dates, plan.missing, strict=True):
        console.say(f"{date:<10}  {share:7.1%}")
    console.say(f"tiles to solve: {plan.tiles_to_solve} of {plan.tiles}")
    console.say(
        f"memory: about {plan.memory / 1e9:.1f} GB; time of {verb} --method {job.method}: about {_duration(plan.seconds)}"
    )
    console.finish(
        {
            "command": "info",
            "dates": [{"date": date, "missing": share} for date, share in zip(plan.dates, plan.missing, strict=True)],
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


@main.command(cls=Verb, epilog=terminal.EXIT_CODES)
@options(
    click.option("-o", "--output", default="ngr_geo_demo", show_default=True, metavar="FOLDER", help="Where to write."),
    SOLVING,
    click.option("--overwrite", is_flag=True, help="Replace what an earlier demo wrote."),
    TALKING,
)
def demo(job: Job, console: Console) -> int:
    """Take the clouds off the real Sentinel-2 sample that comes along, and show where the results are."""
    from ..samples import sample_path

    folder = Path(sample_path("slovenia"))
    images, masks = (tuple(sorted(glob.glob(str(folder / pattern)))) for pattern in ("S2_*.tif", "SCL_*.tif"))
    picture, page = (str(Path(job.output) / name) for name in ("before_after.png", "report.html"))
    return _restore("decloud", replace(job, inputs=images, clouds=masks, quicklook=picture, report=page), console)


def _restore(verb: str, job: Job, console: Console) -> int:
    """Restore a stack, and bring the result to its URL where it has one."""
    with _placed(job) as placed:
        return _restore_stack(verb, placed, console)


def _restore_cube(verb: str, job: Job, console: Console, **chosen: Any) -> int:
    """Restore a cube, and bring the result to its URL where it has one."""
    with _placed(job) as placed:
        return _restore_spectral(verb, placed, console, **chosen)


@contextmanager
def _placed(job: Job) -> Iterator[Job]:
    """Give the job with a place on this machine for what goes to a URL."""
    if "://" not in job.output:
        yield job
        return
    from ..io import remote

    with remote.staged(job.output) as place:
        if job.stac:
            msg = f"{job.output} is a URL, and STAC items are written beside files on this machine: leave out --stac."
            raise OutputError(msg)
        yield replace(job, output=place, url=job.output)


def _restore_stack(verb: str, job: Job, console: Console) -> int:
    """Read, check, plan, restore, write, report."""
    import ngr_geo

    from ..io import only

    start = time.monotonic()
    stack, mask = _read(verb, job, console)
    kept = _kept(job, stack)
    written_stack = stack if kept is None else only(stack, kept)
    _check_others(job, written_stack, _planned(job, written_stack))
    plan = _plan(verb, job, stack, mask, timed=False)
    for warning in plan.warnings:
        console.warn(warning)
    _check_something_to_do(verb, plan, stack.raster, console)
    for line in mask_lines(plan.mask):
        console.note(line)
    console.note(
        f"{counted(len(plan.dates), 'date')}, {_most_missing(plan)}; {plan.tiles_to_solve} of {counted(plan.tiles, 'tile')} "
        "to solve."
    )
    result, written = _compute(
        lambda progress, work: _call(verb, job, stack, mask, progress, work), job, stack, console, kept
    )
    if kept is not None:
        numbers = [plan.missing[date] for date in kept]
        plan = replace(plan, dates=tuple(plan.dates[date] for date in kept), missing=tuple(numbers))
    summary = {
        "command": verb,
        "version": ngr_geo.__version__,
        "inputs": list(stack.inputs),
        "output": job.url or job.output,
        "files": [_place_of(job, path) for path in written.rasters],
        "filled_files": [_place_of(job, path) for path in written.filled],
        **_layer_files(job, written),
        "stac_files": _stac_files(job, written),
        "quicklook": job.quicklook,
        "report": job.report,
        "dates": _dates(plan, result),
        "mask": plan.mask,
        "tiles": _tiles(plan, result),
        "seconds": round(time.monotonic() - start, 2),
    }
    return _report(summary, job, written, console)


def _most_missing(plan: "Plan") -> str:
    """How much is missing where most is, in words."""
    most = max(plan.missing)
    return f"{'up to ' if len(plan.dates) > 1 and most else ''}{percent(most) if most else 'nothing'} missing"


def _compute(
    call: "Callable[[Callable[[str, int, int], None], Folder | None], xr.DataArray | xr.Dataset]",
    job: Job,
    stack: "Stack",
    console: Console,
    kept: Sequence[int] | None = None,
) -> "tuple[xr.DataArray | xr.Dataset, Written]":
    """Call a verb with a progress bar, write what it gives and draw the quicklook.

    A raster too large for memory has its tiles solved into a work folder, wherever they run; then they are blended while the
    result is written, here.
    """
    from ..io import only, read_back, remote, write_stack
    from ..tiling.jobs import remove
    from ..tiling.work import cluster

    all_dates = stack
    folder = _work_folder(job, stack)
    with console.progress() as progress:
        if folder is None:
            result = call(progress, None)
        else:
            with cluster(job.scheduler, job.workers):
                result = call(progress, folder)
        files = {"ngr_inputs": stack.inputs, "ngr_masks": (*job.clouds, *job.missing)}
        names = {key: json.dumps([Path(n).name for n in some]) for key, some in files.items() if some}
        result = result.assign_attrs(names)
        if kept is not None:
            result, stack = _only_dates(result, kept), only(stack, kept)
        if stack.lazy:
            with terminal.counted_tasks(progress):
                written = write_stack(result, stack, job.output, job.overwrite)
    if not stack.lazy:
        with terminal.hushed():
            written = write_stack(result, stack, job.output, job.overwrite)
    if job.quicklook or job.report:
        shown = read_back(written, stack).assign_attrs(result.attrs) if stack.lazy else result
        if job.quicklook:
            from ..report.pictures import quicklook

            quicklook(stack.raster, shown, path=job.quicklook)
        if job.report:
            from ..report import page as report

            table = None if folder is None else _tile_table(all_dates, folder)
            report.save(stack.raster, shown, job.report, table, console.warnings)
    if job.stac:
        from ..report import stac

        stac.save(stac.items(result, written, job.quicklook), job.overwrite)
    if job.url is not None:
        remote.publish(_all_files(written), job.output, job.url)
    if folder is not None:
        if job.save_prior:
            from ..methods.checkpoint import load

            load(Path(folder.path) / "prior.safetensors").save(job.save_prior)
        if job.index:
            from ..report.index import save

            save(all_dates.raster.ngr.tiles(folder.path), job.index)
        remove(Path(folder.path))
    return result, written


def _kept(job: Job, stack: "Stack") -> list[int] | None:
    """The numbers of the dates that are written, None for all: those that --dates names, unless --all-dates asks for the others."""
    from ..raster import selection
    from ..raster.cube import read

    if not job.dates or job.all_dates:
        return None
    return selection.dates(read(stack.raster).dates, job.dates)


def _only_dates(result: "xr.DataArray | xr.Dataset", kept: Sequence[int]) -> "xr.DataArray | xr.Dataset":
    """A result with some of its dates, and its record with what tells of these."""
    from ..record import read_json

    if "time" not in result.dims:
        return result
    count = result.sizes["time"]
    attrs = {}
    for name in ("ngr_dates", "ngr_mask"):
        told = read_json(result.attrs.get(name))
        rows = told.get("dates") if isinstance(told, dict) else told
        if isinstance(rows, list) and len(rows) == count:
            some = [rows[date] for date in kept]
            attrs[name] = json.dumps(told | {"dates": some} if isinstance(told, dict) else some)
    return result.isel(time=list(kept)).assign_attrs(attrs)


def _all_files(written: "Written") -> list[Path]:
    """Everything that was written, headers of ENVI images among it."""
    heads = [path.with_suffix(".hdr") for path in written.rasters]
    return [*written.all, *(path for path in heads if path.exists())]


def _place_of(job: Job, path: Path) -> str:
    """Where a file that was written is, for the user: a URL where it went there."""
    if job.url is None:
        return str(path)
    from ..io import remote

    return remote.url_of(path, job.output, job.url)


def _tile_table(stack: "Stack", folder: "Folder") -> "GeoDataFrame | None":
    """The tiles of a work folder, for the report's map; None without the packages that this takes."""
    if importlib.util.find_spec("geopandas") is None or importlib.util.find_spec("pyarrow") is None:
        return None
    table: GeoDataFrame = stack.raster.ngr.tiles(folder.path)
    return table


def _stac_files(job: Job, written: "Written") -> list[str]:
    """The STAC items beside what was written, if they were asked for."""
    if not job.stac:
        return []
    from ..report.stac import place

    return [str(place(path)) for path in written.rasters]


def _work_folder(job: Job, stack: "Stack") -> "Folder | None":
    """The folder that finished tiles are kept in: none for a raster that is solved in memory."""
    from ..tiling.work import Folder

    if not stack.lazy:
        return None
    beside = os.path.basename(job.output.rstrip(os.sep)) if job.url else job.output.rstrip(os.sep)
    path = Path(job.work or f"{beside}.ngr-work")
    if path.exists() and not path.is_dir():
        msg = f"{path} is a file, and a work folder is expected. Choose another --work."
        raise OutputError(msg)
    if path.absolute() == Path(job.output).absolute():
        msg = f"{path} is the output, too. Choose another --work; it is removed in the end."
        raise OutputError(msg)
    return Folder(path, job.restart, stack.inputs)


def _layers(job: Job) -> tuple[str, ...]:
    """The layers that were asked for, beside `filled`."""
    return tuple(kind for kind in ("uncertainty", "change") if getattr(job, kind))


def _layer_files(job: Job, written: "Written") -> dict[str, list[str]]:
    """The sidecars of these, for the summary."""
    return {
        f"{kind}_files": [_place_of(job, path) for path in written.layer(kind)] for kind in ("uncertainty", "change")
    }


def _say_layers(written: "Written", console: Console) -> None:
    if written.uncertainty:
        console.say("and how far these may be off: *_uncertainty.tif")
    if written.change:
        console.say("and what was added: *_change.tif")


def _asks_for_folder(job: Job) -> bool:
    """Whether the tiles of a raster of any size are to be kept in a work folder."""
    return bool(job.work or job.scheduler or job.workers or job.save_prior or job.index)


def _reading(job: Job) -> dict[str, Any]:
    """How to read the inputs, as keywords of `read_stack`."""
    return {
        "bands": job.bands or None,
        "date_pattern": job.date_pattern,
        "lazy": _asks_for_folder(job),
        "band_pattern": job.band_pattern,
        "resolution": job.resolution,
        "nodata": job.nodata,
    }


def _solving(job: Job) -> dict[str, Any]:
    """How to solve, as keywords of the verbs; sizes that were not given are the verb's own."""
    sizes = {name: size for name, size in (("tile", job.tile), ("overlap", job.overlap)) if size is not None}
    return {"method": job.method, "device": job.device, "seed": job.seed, "steps": job.steps, **sizes}


def _lines(words: tuple[str, ...]) -> dict[str, list[int]] | None:
    """The dead lines that were named, or None."""
    if not words:
        return None
    table: dict[str, list[int]] = {"columns": [], "rows": []}
    for word in words:
        number = word[1:] if word[0] in "rR" else word
        if not number.isdecimal():
            msg = (
                f"{word!r} names no line. Expected columns as whole numbers from 0, and rows as r12: --lines 17,18,r12"
            )
            raise InputError(msg)
        table["rows" if word[0] in "rR" else "columns"].append(int(number))
    return table


def _restore_spectral(verb: str, job: Job, console: Console, **chosen: Any) -> int:
    """Read a cube, check, restore, write, report."""
    import ngr_geo

    from ..io import read_stack
    from ..raster import selection
    from ..raster.cube import read
    from ..record import dates_of
    from ..report.facts import dated

    start = time.monotonic()
    stack = replace(read_stack(job.inputs, **_reading(job)), cog=job.cog)
    for note in stack.notes:
        console.note(note)
    _check_others(job, stack, _planned(job, stack))
    cube = read(stack.raster)
    dates, bands, rows, columns = cube.shape
    console.note(
        f"{columns} x {rows} pixels, "
        + (f"{counted(dates, 'date')}, " if dates > 1 else "")
        + f"{counted(bands, 'band')}."
    )
    bad = selection.bands(cube.bands, job.bad_bands, first=1)
    common = {"uncertainty": job.uncertainty, "aoi": job.aoi, **_solving(job)}
    call = getattr(stack.raster.ngr, verb)
    result, written = _compute(
        lambda progress, work: call(**chosen, bad_bands=bad or None, progress=progress, work=work, **common),
        job,
        stack,
        console,
    )
    lines = dates_of(result.attrs)
    for row in lines:
        console.say((f"{row['date']:<10}  " if dated(cube) else "") + _found_in(row))
    left_out = json.loads(result.attrs.get("ngr_bands_left_out", "[]"))
    if left_out:
        console.say(
            f"Left as {'it was' if len(left_out) == 1 else 'they were'}, flagged bad or without values: "
            f"{counted(len(left_out), 'band')}"
        )
    seconds = round(time.monotonic() - start, 2)
    _say_files(job, written, seconds, console)
    console.finish(
        {
            "command": verb.replace("_", "-"),
            "version": ngr_geo.__version__,
            "inputs": list(stack.inputs),
            "output": job.url or job.output,
            "files": [_place_of(job, path) for path in written.rasters],
            "filled_files": [_place_of(job, path) for path in written.filled],
            **_layer_files(job, written),
            "stac_files": _stac_files(job, written),
            "quicklook": job.quicklook,
            "report": job.report,
            "dates": lines,
            "bands_left_out": left_out,
            "seconds": seconds,
            "exit_code": terminal.OK,
        }
    )
    return terminal.OK


def _found_in(row: dict[str, Any]) -> str:
    """What was found in a date of a cube and done to it, in a line."""
    errors = [f"{name} {row[f'{name}_rmse']:.4g}" for name in ("guide", "ngr") if row.get(f"{name}_rmse") is not None]
    return f"{row['kind'] or 'nothing to do'}: {row['method']}; {percent(row['filled'])} of the values filled" + (
        f"; error on hidden values: {', '.join(errors)}" if errors else ""
    )


def _say_files(job: Job, written: "Written", seconds: float, console: Console) -> None:
    """All that was written, and how long it took."""
    first, count = written.rasters[0], len(written.rasters)
    place = _place_of(job, first)
    where = place if count == 1 else f"{count} GeoTIFFs in {place[: -len(first.name)]}"
    each = "it" if count == 1 else "each"
    console.say(
        f"Wrote {where}" + (f", and beside {each} which pixels were filled: *_filled.tif" if written.filled else "")
    )
    _say_layers(written, console)
    items = _stac_files(job, written)
    if items:
        console.say(f"STAC item: {items[0]}" if len(items) == 1 else "STAC items: *.stac.json")
    if job.quicklook:
        console.say(f"Picture: {job.quicklook}")
    if job.report:
        console.say(f"Report: {job.report}")
    console.note(f"Took {_duration(seconds)}.")


def _read(verb: str, job: Job, console: Console) -> "tuple[Stack, xr.DataArray | str | None]":
    """The stack and its mask: clouds as codes or by name, missing pixels as booleans."""
    from ..io import read_stack

    masks = job.clouds or job.missing or None
    stack = replace(read_stack(job.inputs, masks, **_reading(job)), cog=job.cog)
    for note in stack.notes:
        console.note(note)
    if not job.missing:
        if verb == "decloud" and stack.clouds is None:
            _check_mask_is_there(stack)
        return _by_rule(stack, job.mask_rule)
    import xarray as xr

    from ..raster.masks import align

    mask, raster = stack.clouds, stack.raster
    if isinstance(mask, str) and isinstance(
        raster, xr.Dataset
    ):  # among the bands: set aside, and written with them again
        stack = replace(stack, raster=raster.drop_vars(mask), dataset=raster)
        mask = raster[mask]
    assert isinstance(mask, xr.DataArray)
    return stack, align(mask != 0, stack.raster)


def _by_rule(stack: "Stack", rule: str | None) -> "tuple[Stack, xr.DataArray | str | None]":
    """The stack and its mask, renamed to the product that the user says it is of."""
    mask, raster = stack.clouds, stack.raster
    if rule is None or _has_no_mask(stack):
        return stack, mask
    import xarray as xr

    from ..raster.masks import find

    if not isinstance(mask, xr.DataArray):
        assert isinstance(raster, xr.Dataset)
        name = mask or find(raster)
        mask = raster[name]  # set aside, so that it is no band whatever its name, and written with them again
        stack = replace(stack, raster=raster.drop_vars(name), dataset=raster)
    return stack, mask.rename(rule)


def _has_no_mask(stack: "Stack") -> bool:
    from ..raster.masks import find

    if stack.clouds is not None:
        return False
    try:
        find(stack.raster)
    except MaskError:
        return True
    return False


def _check_mask_is_there(stack: "Stack") -> None:
    """Raise in the words of the command line, where nothing tells what is cloud."""
    if _has_no_mask(stack):
        msg = (
            f"Nothing tells where {stack.inputs[0]} is cloudy. Expected mask files, or a band or variable such as SCL: "
            "--clouds SCL_*.tif or --clouds NAME. To fill only nodata, use: ngr-geo inpaint"
        )
        raise MaskError(msg)


def _planned(job: Job, stack: "Stack") -> "Written":
    """The files that will be written; raises where they could not be."""
    from ..io import check_output

    try:
        return check_output(job.output, stack, job.overwrite, _layers(job))
    except NgrError:
        raise
    except (OSError, ValueError) as error:  # of names that no file can have: too long, or with a null
        msg = f"{job.output!r:.100} cannot be written: {getattr(error, 'strerror', None) or error}. Name another place with -o."
        raise OutputError(msg) from error


def _check_others(job: Job, stack: "Stack", planned: "Written") -> None:
    """Raise where what was named could not be read or would replace something, before hours of work."""
    _work_folder(job, stack)
    for option in ("work", "save_prior", "index", "quicklook", "report"):
        place = getattr(job, option)
        if place is not None and "://" in place:
            msg = (
                f"{place} is a URL, and this is written on this machine. Name a path: --{option.replace('_', '-')} PATH"
            )
            raise OutputError(msg)
    if job.url is not None:
        from ..io import remote

        remote.check_free(planned.all, job.output, job.url, job.overwrite)
    if job.prior is not None:
        from ..methods.checkpoint import load

        load(job.prior)
    if job.save_prior is not None and Path(job.save_prior).exists() and not job.overwrite:
        msg = f"{job.save_prior} is already there. Use --overwrite, or another --save-prior."
        raise OutputError(msg)
    if job.index is not None:
        from ..report.index import check

        check(job.index, job.overwrite)
    if job.stac:
        from ..report.stac import check as check_items

        check_items(stack.raster, planned, job.overwrite)
    for option, name in (("--quicklook", job.quicklook), ("--report", job.report)):
        if name is not None:
            _check_page(Path(name), option, job, stack)
    if (
        job.report is not None
        and job.quicklook is not None
        and Path(job.report).absolute() == Path(job.quicklook).absolute()
    ):
        msg = f"{job.report} is named twice, by --quicklook and --report. Name two files."
        raise OutputError(msg)


def _check_page(path: Path, option: str, job: Job, stack: "Stack") -> None:
    """Raise where a picture or a page could not be written, or would replace something."""
    from ..atomic import check

    if path.exists() and any(os.path.samefile(path, name) for name in stack.inputs if os.path.exists(name)):
        msg = f"{path} is an input, and inputs are never overwritten. Choose another {option}."
        raise OutputError(msg)
    check(path, job.overwrite, "--overwrite", f"another {option}")


def _plan(verb: str, job: Job, stack: "Stack", mask: "xr.DataArray | str | None", timed: bool = True) -> "Plan":
    from ..plan import plan
    from ..settings import Options

    return plan(
        stack.raster,
        mask if verb == "decloud" else None,
        mask if job.missing else None,
        verb=verb,
        timed=timed,
        dates=job.dates or None,
        classes=job.classes or None,
        dilate=job.dilate,
        probability=job.probability,
        options=Options(aoi=job.aoi, extent=job.extent, **_solving(job)),
    )


def _check_something_to_do(verb: str, plan: "Plan", raster: "xr.DataArray | xr.Dataset", console: Console) -> None:
    """Raise where nothing is measured, and say so where nothing is missing."""
    from ..raster.cube import read

    what = "cloud or nodata" if verb == "decloud" else "missing"
    if min(plan.missing) >= 1.0:
        msg = (
            f"Every pixel of every date is {what} ({counted(len(plan.missing), 'date')}), so there is nothing to learn from. "
            "Add clearer dates, or choose the classes that count as cloud with --classes and --dilate."
        )
        raise InputError(msg)
    if max(plan.missing) == 0.0:
        if not bool(read(raster).valid.any()):
            msg = "No pixel holds a number: all are nodata or NaN on every date. Check the nodata value of the inputs."
            raise InputError(msg)
        console.warn(f"No pixel is {what}: nothing is filled, and the output equals the input.")


def _call(
    verb: str,
    job: Job,
    stack: "Stack",
    mask: "xr.DataArray | str | None",
    progress: Callable[[str, int, int], None],
    work: "Folder | None",
) -> "xr.DataArray | xr.Dataset":
    """The verb itself, as a user of Python would call it."""
    import ngr_geo  # noqa: F401  (registers .ngr)

    common: dict[str, Any] = {
        "dates": job.dates or None,
        "progress": progress,
        "tune": job.tune,
        "uncertainty": job.uncertainty,
        "aoi": job.aoi,
        "prior": job.prior,
        "work": work,
        **_solving(job),
    }
    if verb == "inpaint":
        return stack.raster.ngr.inpaint(mask if job.missing else None, extent=job.extent, **common)
    masking = {"classes": job.classes or None, "dilate": job.dilate, "probability": job.probability}
    return stack.raster.ngr.decloud(mask, **masking, **common)


def _dates(plan: "Plan", result: "xr.DataArray | xr.Dataset") -> list[dict[str, Any]]:
    """What was done to each date, as far as the result tells: a lazy one does not know."""
    rows = json.loads(result.attrs.get("ngr_dates", "null")) or [{"date": date} for date in plan.dates]
    return [row | {"missing": share} for row, share in zip(rows, plan.missing, strict=True)]


def _tiles(plan: "Plan", result: "xr.DataArray | xr.Dataset") -> dict[str, int]:
    """How many tiles there were: as counted, or, where they are computed later, as planned."""
    solved = plan.tiles_to_solve - plan.tiles_unsolvable
    planned = {"total": plan.tiles, "solved": solved, "unsolvable": plan.tiles_unsolvable}
    counted: dict[str, int] = json.loads(result.attrs.get("ngr_tiles", "null")) or planned
    return counted


def _report(summary: dict[str, Any], job: Job, written: "Written", console: Console) -> int:
    """Print what was done, and give the exit code."""
    from ..report import facts

    console.say("date        missing   filled  method   error expected   chosen by, RMSE on hidden pixels")
    for date in summary["dates"]:
        error = facts.figure(facts.expected(date)) or "-"
        choice = date.get("choice") or {}
        errors = [f"{name} {choice[name]:.4g}" for name in ("guide", "ngr") if choice.get(name) is not None]
        filled = f"{date['filled']:8.1%}" if date.get("filled") is not None else "       -"
        method = date.get("method") or "-"
        line = f"{date['date']!s:<10} {date['missing']:8.1%} {filled}  {method:<7}  {error:<15}  {', '.join(errors)}"
        console.say(line.rstrip())
    _say_files(job, written, summary["seconds"], console)
    unsolvable = int(summary["tiles"].get("unsolvable", 0))
    code = terminal.PARTLY if unsolvable else terminal.OK
    if unsolvable:
        console.warn(
            f"{unsolvable} of {counted(summary['tiles']['total'], 'tile')} {'has' if unsolvable == 1 else 'have'} no measured "
            "pixel on any date, and nothing was filled there. Add clearer dates."
        )
    console.finish(summary | {"exit_code": code})
    return code


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
