"""From a raster to a restored raster: the whole story, for every verb. Read `_restored` from top to bottom.

raster -> cube (time, band, y, x) -> what is missing -> a sample of the scene, from which a method learns (`fit`) -> tiles,
each solved by itself (`solve`) -> blended -> the raster, with everything else as it was -> its record. Stacks of dates go to the
method `stacks.Stack`, spectral cubes to `spectra.Spectra`. Where the tiles are solved is up to an executor: in threads for a raster
in memory, later and as a Dask graph for a lazy one, or in a work folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from . import rows as records
from .errors import InputError, warn
from .methods import expected, leaks
from .methods.base import Method, Part, Summary, Task
from .methods.checkpoint import StackModel
from .methods.leaks import Masking as Masking
from .methods.spectra import Spectra, nothing_usable, refused
from .methods.stacks import Stack, missing_in, networks_of
from .methods.undecided import Undecided
from .progress import silent
from .raster import aoi as areas
from .raster import bands as bands_of
from .raster import cube as cubes
from .raster import footprint, plausible, selection
from .raster.cube import Cube, regions
from .raster.missing import gaps, line_mask, mask_record, nothing_clear
from .raster.selection import Dates
from .record import Row, short_of_memory, stamped, warned
from .settings import Options, identity, settings_of, sized
from .tiling import executors, jobs, scheduling, store, tiles

if TYPE_CHECKING:
    from .methods.problem import Settings

NOISES = ("auto", "gaussian", "mixed")
DIRECTIONS = (None, "columns", "rows")


def decloud(
    raster: xr.DataArray | xr.Dataset, masking: Masking, dates: Dates, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its clouds, and its nodata where another date has data, filled; see `accessor`."""
    found = leaks.clouded(raster, masking, now=options.work is not None)
    cube, notes = found.cube, found.notes
    cloudy = found.mask[:, None]  # (time, 1, y, x)
    for note in notes:
        warn(note)
    inside = cube.valid.any(axis=0, keepdims=True)  # beyond the footprint of all dates nothing is invented
    if len(cube.dates) == 1:
        result = _fill_entries(cube, ~cube.valid | cloudy, inside, dates, "decloud", options)
    else:
        result = _fill_stack(cube, cube.valid & ~cloudy, inside, dates, "decloud", options)
    result = leaks.counted(warned(result, notes), cube, found.shares)
    return result.assign_attrs(ngr_mask=json.dumps(found.record))


def learn(raster: xr.DataArray | xr.Dataset, masking: Masking, options: Options) -> StackModel:
    """Return what `decloud` would learn of the scene before it solves tiles; see `accessor`."""
    cube, mask, *_ = leaks.clouded(raster, masking)
    observed = cube.valid & ~mask[:, None]
    fill = ~observed & cube.valid.any(axis=0, keepdims=True)
    (sample,) = dask.compute(executors.sample(Part(cube.values, observed, fill, None), regions(cube.shape)))
    for note in plausible.notes(cube):
        warn(note)
    method = _stack(cube, range(len(cube.dates)), settings_of(options), options)
    return method.fit(sample, options.progress)


def inpaint(
    raster: xr.DataArray | xr.Dataset, missing: Any, dates: Dates, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its missing pixels filled: those of a mask, or without one nodata and NaN; see `accessor`.

    Of one date alone, and of several of which most pixels are observed in some bands only, each entry is filled by itself: from all
    bands of its pixel that are observed on any date, and from its surroundings.
    """
    cube, gap, found, given_as, together = gaps(raster, missing, options.extent, options.work is not None)
    mask = mask_record(given_as, extent=options.extent)
    if together is True:
        result = _fill_entries(cube, gap, found.inside, dates, "inpaint", options, found.notes())
        return result.assign_attrs(ngr_mask=mask)
    undecided = cube.lazy and len(cube.bands) > 1
    fillable = gap & found.inside
    result = _fill_stack(cube, cube.valid & ~gap, fillable, dates, "inpaint", options, found.notes(), undecided)
    if found.left is None and options.work is not None:
        rows = json.loads(result.attrs["ngr_dates"])
        if any(rows[d]["missing"] > rows[d]["filled"] for d in selection.dates(cube.dates, dates)):
            warn(footprint.SOME)
    return result.assign_attrs(ngr_mask=mask)


def denoise(
    raster: xr.DataArray | xr.Dataset, noise: str, bad_bands: Sequence[Any] | None, change: bool, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with less noise; see `accessor`."""
    if noise not in NOISES:
        msg = f"Found the noise {noise!r}, expected one of {', '.join(NOISES)}:"
        raise InputError(msg, call='noise="auto".', option="--noise auto")
    kinds: dict[str, Any] = {"auto": None, "gaussian": "gaussian", "mixed": "mixed"}
    return _clean_cube(_read(raster, options), bad_bands, Task("denoise", kinds[noise], change=change), options)


def destripe(
    raster: xr.DataArray | xr.Dataset,
    direction: str | None,
    bad_bands: Sequence[Any] | None,
    change: bool,
    options: Options,
) -> xr.DataArray | xr.Dataset:
    """Return the raster without stripes; see `accessor`."""
    if direction not in DIRECTIONS:
        msg = f"Found the direction {direction!r}, expected columns, rows,"
        raise InputError(msg, call="or None to find it.", option="or no --direction to find it.")
    task = Task("destripe", "stripes", direction, change=change)  # type: ignore[arg-type]  # checked above
    return _clean_cube(_read(raster, options), bad_bands, task, options)


def fill_deadlines(
    raster: xr.DataArray | xr.Dataset, lines: Any, bad_bands: Sequence[Any] | None, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its dead lines filled; see `accessor`."""
    cube = _read(raster, options)
    gap = None if lines is None else line_mask(cube, lines)
    task = Task("fill_deadlines", "gaps", find_lines=lines is None)
    result = _clean_cube(cube, bad_bands, task, options, gap)
    by_number = lines is not None and not isinstance(lines, xr.DataArray | np.ndarray | str)
    return result.assign_attrs(ngr_mask=mask_record("lines" if by_number else lines, "dead lines found"))


def _fill_entries(
    cube: Cube, gap: Any, fillable: Any, dates: Dates, verb: str, options: Options, found: Sequence[str] = ()
) -> xr.DataArray | xr.Dataset:
    """Return a raster with its gaps filled entry by entry, the bands of all dates as one cube; see `_fill_stack`."""
    chosen = np.isin(np.arange(len(cube.dates)), selection.dates(cube.dates, dates))[:, None, None, None]
    notes = [*bands_of.stack_notes(cube), *found]
    result = _clean_cube(cube, None, Task(verb, "gaps"), options, gap, notes=notes, fillable=fillable & chosen)
    return result.assign_attrs(ngr_left_out=json.dumps(cube.left_out)) if cube.left_out else result


def _fill_stack(
    cube: Cube,
    observed: Any,
    fillable: Any,
    dates: Dates,
    verb: str,
    options: Options,
    found: Sequence[str] = (),
    undecided: bool = False,
) -> xr.DataArray | xr.Dataset:
    """Return a stack with its gaps filled.

    Args:
        cube: the raster.
        observed: (time, band, y, x), True where a pixel is measured and trusted.
        fillable: broadcastable to that, True where a pixel may be filled.
        dates: to fill; None: all.
        verb: for the record.
        options: see `Options`.
        found: what else to warn of.
        undecided: how a lazy raster is filled, by date or by entry, is found from its sample.
    """
    settings = _placed(cube, options)
    targets = selection.dates(cube.dates, dates)
    chosen = np.isin(np.arange(len(cube.dates)), targets)[:, None, None, None]
    take_part = bands_of.taking_part(cube, observed, options.work is not None)
    gap = ~observed & fillable & chosen & take_part[:, None, None]  # the scene is learnt from all of them
    left_out = [] if cube.lazy and options.work is None else [cube.bands[b] for b in np.flatnonzero(~take_part)]
    notes = [*bands_of.stack_notes(cube), *plausible.notes(cube), *found, *bands_of.left_out_notes(left_out)]
    for note in notes:
        warn(note)
    method = _stack(cube, targets, settings, options)
    if undecided:
        by_entry = Spectra(Task("inpaint", "gaps"), settings, cube.dates, cube.bands, together=True)
        method = Undecided(**vars(method), by_entry=by_entry)
    weights = [w.numpy() for n in method.networks for w in n.state_dict().values()]
    same = {"dates": [cube.dates[t] for t in targets], "prior": store.digest(weights) if weights else None}
    area = areas.read(cube, options.aoi)
    scene = Part(cube.values, observed, gap, None if area is None else area.mask())
    here = not cube.lazy and options.work is None
    result = _nothing_to_fill(cube, scene, take_part, method, verb) if here else None
    if result is None:
        result = _restored(cube, scene, method, verb, options, area, same)
    result = plausible.noted(areas.noted(result, area), cube)
    if left_out:
        result = result.assign_attrs(ngr_bands_left_out=json.dumps(left_out))
    elif isinstance(take_part, da.Array):
        about = {"long_name": "bands that hold nothing, and take no part"}
        result = result.assign_coords(ngr_band_left_out=plausible.per_band(cube, ~take_part, about))
    if cube.left_out:
        result = result.assign_attrs(ngr_left_out=json.dumps(cube.left_out))
    return warned(result, notes)


def _clean_cube(
    cube: Cube,
    bad_bands: Sequence[Any] | None,
    task: Task,
    options: Options,
    gap: Any = None,
    notes: Sequence[str] | None = None,
    fillable: Any = True,
) -> xr.DataArray | xr.Dataset:
    """Return a spectral cube restored.

    Args:
        cube: the raster.
        bad_bands: left alone, beside those that the raster flags.
        task: what is done.
        options: see `Options`.
        gap: (time, band, y, x), True where a value is missing and to be filled; None: nothing is.
        notes: what to warn of; None: where there are too few bands for a spectral cube, of that.
        fillable: broadcastable to the gap, True where it may be filled.
    """
    settings = _placed(cube, options)
    refused(settings, options.prior is not None)
    good = bands_of.good(cube, bad_bands)
    usable = cube.valid & good[:, None, None]  # (time, band, y, x)
    if gap is not None:
        gap = gap & good[:, None, None]
        gap = (da if isinstance(gap, da.Array) else np).broadcast_to(gap, cube.shape)
    observed = usable if gap is None else usable & ~gap
    notes = [*(bands_of.notes(good) if notes is None else notes), *plausible.notes(cube)]
    for note in notes:
        warn(note)
    if not cube.lazy and options.work is None and not observed.any():
        raise nothing_usable(cube.raster.sizes)
    together = len(cube.dates) > 1 and task.verb == "inpaint"
    method = Spectra(task, settings, cube.dates, cube.bands, together)
    bad = [cube.bands[i] for i in selection.bands(cube.bands, bad_bands)]
    area = areas.read(cube, options.aoi)
    fill = None if gap is None else gap & fillable
    scene = Part(cube.values, observed, fill, None if area is None else area.mask())
    same = {"task": [task.kind, task.direction], "bad bands": bad}
    result = _restored(cube, scene, method, task.verb, options, area, same)
    if not cube.lazy:
        good = good & usable.any(axis=(0, 2, 3))
    left_out = json.dumps([cube.bands[i] for i in np.flatnonzero(~good)])
    result = areas.noted(plausible.noted(result, cube), area)
    return warned(result, notes).assign_attrs(ngr_bands_left_out=left_out)


def _restored(
    cube: Cube,
    scene: Part,
    method: Method,
    verb: str,
    options: Options,
    area: areas.Area | None,
    same: Mapping[str, Any],
) -> xr.DataArray | xr.Dataset:
    """Return the raster restored by a method, with its record.

    Args:
        cube: the raster.
        scene: its values, what of them is observed, gaps, and the area of interest.
        method: see `methods.base.Method`.
        verb: for the record.
        options: see `Options`.
        area: of interest, whose tiles alone are solved.
        same: what makes a job in a work folder the same job, beside what all have in common.
    """
    options = sized(options, cube.shape, verb, method.settings)
    assert options.tile is not None
    pieces = tiles.grid(cube.shape[-2:], options.tile, options.overlap)
    todo = executors.Todo(
        method,
        scene,
        regions(cube.shape),
        pieces if area is None else area.touched(pieces),
        cube.values.chunks[-2:] if cube.lazy else ((), ()),
        (len(method.layers), *cube.shape[:2]),
        executors.at_a_time(cube, pieces, method.settings),
        method.settings.device,
        options.progress or silent,
    )
    if options.work is not None:
        job = {**identity(cube, verb, method.settings, options, area), **same}
        model, layers, stats = executors.in_folder(todo, options.work, job, jobs.sources(cube.raster))
        layers = layers if cube.lazy else layers.compute()
    else:
        model, layers, stats = (executors.lazily if cube.lazy else executors.in_threads)(todo)
    gap = scene.gaps if scene.gaps is None or scene.inside is None else scene.gaps & scene.inside
    result = method.written(cube, layers, gap)
    if options.work is None and cube.lazy:
        summary = dask.delayed(method, traverse=False).summary(model, stats)
        result = records.shortage(result, stats, summary, method.settings)
        return _recorded_lazily(result, cube, method, summary, verb, options.tile)
    return _recorded(result, cube, method.summary(model, stats), verb, stats, options.tile)


def _stack(cube: Cube, targets: Sequence[int], settings: Settings, options: Options) -> Stack:
    """Return the method for a stack of dates."""
    here = regions(cube.shape)[0]
    whole = (here[0].stop - here[0].start, here[1].stop - here[1].start) == cube.shape[-2:]
    return Stack(settings, tuple(targets), cube.dates, cube.bands, cube.when, whole, networks_of(options.prior))


def _placed(cube: Cube, options: Options) -> Settings:
    """Return the settings of a job, with the device of this machine where it runs here and now."""
    settings = settings_of(options)
    here = scheduling.active_client() is None and (options.work is not None or not cube.lazy)
    return settings.placed() if here else settings


def _nothing_to_fill(
    cube: Cube, scene: Part, take_part: Any, method: Stack, verb: str
) -> xr.DataArray | xr.Dataset | None:
    """Return a stack in memory as it is where nothing of it is to be filled, else None; warn of dates without a clear pixel.

    Raises:
        MaskError: no pixel is clear.
    """
    _, observed, gap, inside = scene
    assert gap is not None
    fill = gap if inside is None else gap & inside
    if not observed.any():
        raise nothing_clear(cube)
    blind = [cube.dates[d] for d in method.targets if fill[d].any() and not observed[d].any()]
    if blind:
        warn(f"No clear pixel at all on {', '.join(blind)}: interpolated in time from the other dates.")
    if fill.any():
        return None
    warn("Nothing is missing in the chosen dates: the result is the input.")
    layers = np.zeros((len(method.layers), *cube.shape), np.float32)
    layers[0] = cube.values
    there = np.ones(cube.shape[-2:], bool) if inside is None else inside
    missing = (missing_in(observed, take_part) & there).sum((1, 2)) / max(there.sum(), 1)
    rows: list[Row] = [
        {"date": date, "missing": round(float(share), 6), "filled": 0.0, "method": "none"}
        for date, share in zip(cube.dates, missing, strict=True)
    ]
    nothing = Summary(rows, [], float("nan"), method.settings)
    return _recorded(method.written(cube, layers, fill), cube, nothing, verb, [], None)


def _recorded(
    result: xr.DataArray | xr.Dataset,
    cube: Cube,
    summary: Summary,
    verb: str,
    stats: Sequence[Mapping[str, Any]],
    tile: int | None,
) -> xr.DataArray | xr.Dataset:
    """Return a result with its record in its attributes."""
    for note in summary.notes:
        warn(note)
    outcomes = [str(s.get("outcome", "solved")) for s in stats]
    more: dict[str, Any] = {
        "total": len(stats),
        "solved": outcomes.count("solved"),
        "unsolvable": outcomes.count("unsolvable"),
    }
    more |= short_of_memory(stats, summary.learnt)
    attrs = {"ngr_dates": json.dumps(summary.rows), "ngr_tiles": json.dumps(more)}
    if found := expected.of_scene(summary.rows, summary.peak, cube.bands):
        attrs["ngr_expected"] = json.dumps(found)
    if verb == "denoise" and summary.noise is not None:
        noise = [float(f"{s:.6g}") if np.isfinite(s) else None for s in summary.noise]
        attrs["ngr_noise"] = json.dumps(noise)
    return warned(stamped(result, verb, summary.settings, tile), summary.notes).assign_attrs(attrs)


def _recorded_lazily(
    result: xr.DataArray | xr.Dataset, cube: Cube, method: Method, summary: Any, verb: str, tile: int
) -> xr.DataArray | xr.Dataset:
    """Return a lazy result with its record in coordinates, which are computed with it, from a delayed summary."""
    band = cube.dims[1]
    if verb == "denoise" and band in result.dims:
        noise = da.from_delayed(summary.noise, cube.shape[1:2], float)
        result = result.assign_coords(ngr_noise=((band,), noise))
    return records.written(stamped(result, verb, method.settings, tile), cube, summary.rows, method.entries)


def _read(raster: xr.DataArray | xr.Dataset, options: Options) -> Cube:
    """Return the cube of a raster, without values that cannot be."""
    cube = cubes.read(raster)
    return plausible.checked(cube, options.work is not None)
