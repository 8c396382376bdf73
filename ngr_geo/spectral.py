"""From a raster with noise, stripes or dead lines to a restored one. Read `_restore` from top to bottom: it is the whole story.

raster -> cube (time, band, y, x) -> one scale for the scene -> tiles, each solved by itself (`spectral_tasks.solve`) -> the
*corrections* blended -> the raster, corrected. A value whose correction is 0 comes back bit for bit. With a raster in memory the
steps run here; with one backed by Dask the same functions become tasks, and nothing is computed.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import restore
from . import rows as records
from .errors import InputError, MaskError, warn
from .progress import silent
from .raster import aoi as areas
from .raster import cube as cubes
from .raster import footprint, plausible, selection
from .raster.cube import SPECTRAL_BANDS, Cube
from .restore import Dates, Options, regions, settings_of
from .tiling import jobs, store, tiles, work
from .tiling.store import Slot, Stored
from .tiling.tiles import Tile
from .wording import counted, listed

if TYPE_CHECKING:
    from .methods.faults import Task
    from .methods.filling import Judgement, Settings

NOISES = ("auto", "gaussian", "mixed")
DIRECTIONS = (None, "columns", "rows")
QUANTILE = 0.999
STATES = ("correction", "made", "deviation")
"""What is blended of a tile, as its record calls it."""


@dataclass(frozen=True)
class Job:
    """One verb on one raster: the task, what of each date and band may be changed, and the user's options."""

    verb: str
    task: Task
    gaps: Any
    """(time, band, y, x) True where a value is missing and to be filled; None: dead lines are looked for, or nothing is filled."""
    find_lines: bool
    options: Options
    change: bool = False


class Piece(NamedTuple):
    """A tile solved, in units of the raster.

    `states` (2 or 3, time, band, h, w): correction, 1 where made up, and the deviation where it was asked for; `noise`
    (time, band); for each date which fault was found, and what is expected of guide and NGR; how many values of each date were
    made up (time,), of how many.
    """

    states: NDArray[np.float32]
    noise: NDArray[np.float64]
    judged: tuple[tuple[str, Judgement], ...]
    made: NDArray[np.float64]
    size: int


def denoise(
    raster: xr.DataArray | xr.Dataset, noise: str, bad_bands: Sequence[Any] | None, change: bool, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with less noise; see `accessor`."""
    from .methods.faults import Task

    if noise not in NOISES:
        msg = f"Found the noise {noise!r}, expected one of {', '.join(NOISES)}:"
        raise InputError(msg, call='noise="auto".', option="--noise auto")
    kinds: dict[str, Any] = {"auto": None, "gaussian": "gaussian", "mixed": "mixed"}
    return _restore(
        _read(raster, options), bad_bands, Job("denoise", Task("denoise", kinds[noise]), None, False, options, change)
    )


def destripe(
    raster: xr.DataArray | xr.Dataset,
    direction: str | None,
    bad_bands: Sequence[Any] | None,
    change: bool,
    options: Options,
) -> xr.DataArray | xr.Dataset:
    """Return the raster without stripes; see `accessor`."""
    from .methods.faults import Task

    if direction not in DIRECTIONS:
        msg = f"Found the direction {direction!r}, expected columns, rows,"
        raise InputError(msg, call="or None to find it.", option="or no --direction to find it.")
    task = Task("destripe", "stripes", direction)  # type: ignore[arg-type]  # checked above
    return _restore(_read(raster, options), bad_bands, Job("destripe", task, None, False, options, change))


def fill_deadlines(
    raster: xr.DataArray | xr.Dataset, lines: Any, bad_bands: Sequence[Any] | None, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its dead lines filled; see `accessor`."""
    from .methods.faults import Task

    cube = _read(raster, options)
    gaps = None if lines is None else _lines(cube, lines)
    result = _restore(
        cube, bad_bands, Job("fill_deadlines", Task("fill_deadlines", "gaps"), gaps, lines is None, options)
    )
    by_number = lines is not None and not isinstance(lines, xr.DataArray | np.ndarray)
    return result.assign_attrs(ngr_mask=restore.mask_record("lines" if by_number else lines, "dead lines found"))


def inpaint(
    raster: xr.DataArray | xr.Dataset, missing: Any, dates: Dates, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with what is missing filled; see `accessor`.

    One date of many bands is filled here, as a spectral cube: there the other bands tell more than other dates could.
    """
    shape = cubes.read(raster, exclude=[missing] if isinstance(missing, str) else ()).shape
    if shape[0] > 1 or shape[1] < SPECTRAL_BANDS:
        return restore.inpaint(raster, missing, dates, options)
    cube, gaps, found = restore.gaps(raster, missing, options.extent, options.work is not None)
    given = {"prior": options.prior is not None, "tune": bool(options.tune)}
    for name in (n for n, is_given in given.items() if is_given):
        msg = (
            f"Found one date of {counted(cube.shape[1], 'band')}, filled as a spectral cube, expected a stack of dates:"
        )
        raise InputError(msg, call=f"leave {name}= out.", option=f"leave --{name} out.")
    from .methods.faults import Task

    restore.date_indices(cube, dates)  # there is one date, so this only finds wrong names
    job = Job("inpaint", Task("inpaint", "gaps"), gaps & found.inside, False, options)
    result = _restore(cube, None, job, found)
    return result.assign_attrs(ngr_mask=restore.mask_record(missing, extent=options.extent))


def _read(raster: xr.DataArray | xr.Dataset, options: Options) -> Cube:
    """Return the cube of a raster, without values that cannot be."""
    cube = cubes.read(raster)
    return plausible.checked(cube, regions(cube.shape), options.work is not None)


def _restore(
    cube: Cube, bad_bands: Sequence[Any] | None, job: Job, found: footprint.Footprint | None = None
) -> xr.DataArray | xr.Dataset:
    """Return the raster restored, of which what lies beyond a footprint is left alone."""
    settings = settings_of(job.options)
    good = _good_bands(cube, bad_bands)
    usable = cube.valid & good[:, None, None]  # (time, band, y, x)
    gaps = None if job.gaps is None else _over(cube, job.gaps & good[:, None, None])
    observed = usable if gaps is None else usable & ~gaps
    area = areas.read(cube, job.options.aoi)
    pieces = tiles.grid(cube.shape[-2:], job.options.tile, job.options.overlap)
    pieces = pieces if area is None else area.touched(pieces)
    inside = None if area is None else area.mask()
    notes = [*_notes(cube, good), *plausible.notes(cube), *(found.notes() if found else [])]
    for note in notes:
        warn(note)
    sample = [tuple(a[(..., *r)] for a in (cube.values, observed)) for r in regions(cube.shape)]
    if work.active_client() is None and (job.options.work is not None or not cube.lazy):
        settings = settings.placed()  # it runs here and now
    if job.options.work is not None:
        result = _in_folder(cube, observed, gaps, inside, sample, pieces, bad_bands, area, job, settings)
    elif cube.lazy:
        result = _lazily(cube, observed, gaps, inside, sample, pieces, job, settings)
    else:
        if not observed.any():
            raise _nothing_usable(cube.raster.sizes)
        scale = _scale(sample)
        solved = _solve_all(cube, observed, gaps, inside, scale, pieces, job, settings)
        whole = slice(0, cube.shape[-2]), slice(0, cube.shape[-1])
        blended = tiles.blend(pieces, [p.states for p in solved], whole, _leading(cube, settings))
        result = _written(cube, blended, gaps, job)
        result = _recorded(result, cube, [p[1:] for p in solved], scale, job)
    if not cube.lazy:
        good = good & usable.any(axis=(0, 2, 3))
    left_out = json.dumps([cube.bands[i] for i in np.flatnonzero(~good)])
    result = plausible.noted(result, cube)
    result = areas.noted(restore.stamped(result, job.verb, settings), area)
    return restore.warned(result, notes).assign_attrs(ngr_bands_left_out=left_out)


def _over(cube: Cube, mask: Any) -> Any:
    """Return a mask with a length of 1 along some dimensions over all of the cube."""
    return (da if isinstance(mask, da.Array) else np).broadcast_to(mask, cube.shape)


def _solve_all(
    cube: Cube,
    observed: Any,
    gaps: Any,
    inside: Any,
    scale: float,
    pieces: Sequence[Tile],
    job: Job,
    settings: Settings,
) -> list[Piece]:
    """Return all tiles, solved side by side in threads."""
    tell = job.options.progress or (lambda stage, done, total: None)

    def solve_one(tile: Tile) -> Piece:
        here = (..., *tile.window)
        gap, there = (None if a is None else a[here] for a in (gaps, inside))
        return _solve_tile(cube.values[here], observed[here], gap, there, scale, job.task, job.find_lines, settings)

    together = restore.side_by_side(cube, pieces, settings)
    return tiles.each(pieces, solve_one, together, tell)


def _solve_tile(
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    gaps: NDArray[np.bool_] | None,
    inside: NDArray[np.bool_] | None,
    scale: float,
    task: Task,
    find_lines: bool,
    settings: Settings,
) -> Piece:
    """Return one tile solved, date by date, and changed `inside` (h, w) the area of interest, everywhere where that is None.

    A function of its arguments alone: it does not matter where and when it runs.
    """
    import torch

    from .guides import deadlines
    from .methods.faults import solve, unjudged

    states = np.zeros((3 if settings.uncertainty else 2, *values.shape), np.float32)
    noise = np.full(values.shape[:2], np.nan)
    judged = []
    inside = np.ones(values.shape[-2:], bool) if inside is None else inside
    for date in range(len(values)):
        seen = observed[date]
        cube = np.where(seen, values[date].astype(np.float64) / scale, 0).astype(np.float32)
        gap = None if gaps is None else np.broadcast_to(gaps[date], cube.shape)
        if find_lines:
            gap = deadlines.find(cube, seen).mask
            seen = seen & ~gap
            cube = np.where(seen, cube, 0)
        if not seen.any() or not (inside if gap is None else gap & inside).any():
            judged.append(("none", unjudged("none", len(cube))))
            continue
        # What is neither observed nor to be filled (nodata regions) takes no part: it is as unknown as the gaps, and left alone.
        answer = solve(task, torch.from_numpy(cube), torch.from_numpy(seen.copy()), settings)
        image = answer.image.numpy()
        change = (image.astype(np.float64) - cube) * scale
        where = seen if gap is None else gap & seen.any(axis=(1, 2), keepdims=True)
        where = where & inside
        original = values[date].astype(np.float64) if gap is None else np.where(observed[date], values[date], 0)
        change = change if gap is None else image.astype(np.float64) * scale - original
        states[0, date] = np.where(where, change, 0)
        states[1, date] = (answer.made.numpy() if gap is None else gap) & where
        if settings.uncertainty:
            states[2, date] = np.where(where, answer.deviation.numpy() * scale, 0)
        noise[date] = answer.noise.numpy() * scale
        judged.append((answer.note, answer.judgement.scaled(scale)))
    made = states[1].sum((1, 2, 3), dtype=np.float64)
    return Piece(states, noise, tuple(judged), made, int(inside.sum()) * values.shape[1])


def _leading(cube: Cube, settings: Settings) -> tuple[int, ...]:
    """Return the dimensions of a tile's states before its rows and columns."""
    return (3 if settings.uncertainty else 2, *cube.shape[:2])


def _lazily(
    cube: Cube, observed: Any, gaps: Any, inside: Any, sample: Any, pieces: Sequence[Tile], job: Job, settings: Settings
) -> xr.DataArray | xr.Dataset:
    """Return the restored raster as a Dask graph: one task for the scale, one per tile, the blending, and the record."""
    observed = da.asarray(observed)
    gaps = None if gaps is None else da.broadcast_to(da.asarray(gaps), cube.shape)
    scale = dask.delayed(_scale)(sample)
    solve = dask.delayed(_solve_tile)
    cut = [None if a is None else work.windows(a) for a in (cube.values, observed, gaps, inside)]
    with work.asking_for_gpus():
        solved = [
            solve(
                *(None if window is None else window(t.window) for window in cut),
                scale,
                job.task,
                job.find_lines,
                settings,
            )
            for t in pieces
        ]
    chunks = cube.values.chunks[-2:]
    blended = tiles.blend_lazy(pieces, [s.states for s in solved], _leading(cube, settings), chunks)
    result = _written(cube, blended, gaps, job)
    told = [s[1:] for s in solved]
    rows, noise = dask.delayed(_summary, nout=2)(told, scale, cube.dates, cube.bands, settings.method)
    band = cube.dims[1]
    if job.verb == "denoise" and band in result.dims:
        result = result.assign_coords(ngr_noise=((band,), da.from_delayed(noise, cube.shape[1:2], float)))
    return records.written(result, cube, rows, ("kind", *records.COMMON))


def _in_folder(
    cube: Cube,
    observed: Any,
    gaps: Any,
    inside: Any,
    sample: Any,
    pieces: Sequence[Tile],
    bad_bands: Sequence[Any] | None,
    area: areas.Area | None,
    job: Job,
    settings: Settings,
) -> xr.DataArray | xr.Dataset:
    """Return the restored raster, blended from tiles that are solved and kept in a work folder here and now."""
    assert job.options.work is not None
    values, observed = work.blocks(cube.values), work.blocks(observed)
    gaps = None if gaps is None else da.broadcast_to(work.blocks(gaps), cube.shape)
    (seen,) = work.compute([dask.delayed(sample)])
    scale = _scale(seen)
    identity = {
        **restore.identity(cube, job.verb, settings, job.options, area),
        "task": [job.task.kind, job.task.direction],
        "bad bands": [cube.bands[i] for i in selection.bands(cube.bands, bad_bands)],
        "pixels": store.digests_of(list(zip(*seen, strict=True))),
    }
    del seen
    with work.opened(job.options.work, identity, jobs.sources(cube.raster)) as folder:
        folder.learn(scale.hex())
        area_blocks = None if inside is None else work.blocks(inside)
        cut = [None if a is None else work.windows(a) for a in (values, observed, gaps, area_blocks)]

        def read(tile: Tile) -> list[Any]:
            return [None if window is None else window(tile.window) for window in cut]

        def solve(tile: Tile, parts: list[Any], slot: Slot) -> Any:
            task = dask.delayed(_solve_and_keep, pure=False)
            return task(parts, scale, job.task, job.find_lines, settings, slot)

        tell = job.options.progress or silent
        folder.solve(pieces, read, solve, tell, restore.side_by_side(cube, pieces, settings))
        slots = folder.slots(pieces)
        told, seals = zip(*(_told(slot) for slot in slots), strict=True)
    chunks = values.chunks[-2:]
    leading = _leading(cube, settings)
    blended = da.stack(
        [
            tiles.blend_lazy(
                pieces, [Stored(s.path, name, seal) for s, seal in zip(slots, seals, strict=True)], leading[1:], chunks
            )
            for name in STATES[: leading[0]]
        ]
    )
    if not cube.lazy:
        blended = blended.compute()
    if gaps is not None and not cube.lazy:
        gaps = gaps.compute()
    return _recorded(_written(cube, blended, gaps, job), cube, told, scale, job)


def _solve_and_keep(
    read: Sequence[Any], scale: float, task: Task, find_lines: bool, settings: Settings, slot: Slot
) -> None:
    """Solve a tile from values, observed, gaps and the area of interest, and write its record."""
    begun = time.perf_counter()
    values, observed, gaps, inside = read
    piece = _solve_tile(values, observed, gaps, inside, scale, task, find_lines, settings)
    kept: dict[str, NDArray[Any]] = {}
    for name, state in zip(STATES, piece.states, strict=False):
        where = state != 0
        kept |= {name: state} if where.mean() > 0.5 else store.sparse(name, state, where)
    told = work.telling(begun, settings.placed().device)
    if settings.uncertainty and (piece.states[2] != 0).any():
        told["uncertainty"] = float(piece.states[2][piece.states[2] != 0].mean(dtype=np.float64))
    table = np.array([judgement[1:] for _, judgement in piece.judged], float)  # (time, 8, band)
    names = np.array(json.dumps([[note, judgement.method] for note, judgement in piece.judged]))
    beside = {"verdicts": names, "noise": piece.noise, "errors": table, "made_up": piece.made, "size": piece.size}
    store.keep(slot, read, kept | beside, told)


def _told(slot: Slot) -> tuple[tuple[Any, ...], str]:
    """Return what the record of a tile says beside its pixels: the fields of its `Piece` after the first; and the record's seal."""
    from .methods.filling import Judgement

    with store.opened_at(slot) as record:
        names, errors = json.loads(str(record["verdicts"])), record["errors"]
        judged = tuple(
            (note, Judgement(method, *map(tuple, table.tolist())))
            for (note, method), table in zip(names, errors, strict=True)
        )
        return (record["noise"], judged, record["made_up"], int(record["size"])), record.seal


def _written(cube: Cube, blended: Any, gaps: Any, job: Job) -> xr.DataArray | xr.Dataset:
    """Return the raster with the corrections added; `filled` tells what was made up."""
    xp = da if cube.lazy else np
    correction, made = blended[0], blended[1] > 0.5
    base = xp.where(cube.valid, cube.values, 0).astype(np.float64)
    changed = correction != 0
    if gaps is not None:
        changed = changed | (made & gaps)  # a gap may be filled with a true 0
    layers = {"uncertainty": blended[2]} if len(blended) > 2 else {}
    if job.change:
        layers["change"] = correction
    return cubes.write(cube, base + correction, changed, made, layers)


def _scale(sample: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]]) -> float:
    """Return the 99.9 % quantile of the magnitude of what is observed, in windows of the scene: its unit."""
    parts = [np.abs(v[o].astype(np.float64)) for v, o in sample]
    seen = np.concatenate(parts)
    if not seen.size:
        raise _nothing_usable({})
    value = float(np.quantile(seen, QUANTILE))
    return value if value > 0 else max(float(seen.max(initial=0.0)), 1.0)


def _nothing_usable(sizes: Mapping[Any, int]) -> InputError:
    where = f" {dict(sizes)}" if sizes else ", where it was looked at,"
    return InputError(
        f"No value of the raster{where} can be used, expected some: all are nodata, NaN or in bad bands.",
        call="Check the nodata value, the bad-band list and bad_bands=[...].",
        option="Check the nodata value, the bad-band list (bbl) and --bad-bands.",
    )


def _good_bands(cube: Cube, bad_bands: Sequence[Any] | None) -> NDArray[np.bool_]:
    """Return which bands take part (B,): not those flagged bad by the raster (`cube.bad_bands`) or by the user."""
    good = ~cubes.bad_bands(cube)
    good[selection.bands(cube.bands, bad_bands)] = False
    if not good.any():
        msg = f"Every band ({len(good)}) is flagged bad, expected some good ones:"
        raise InputError(
            msg,
            call="check the raster's bad-band list and bad_bands=.",
            option="check the bad-band list of the file (bbl) and --bad-bands.",
        )
    return good


def _notes(cube: Cube, good: NDArray[np.bool_]) -> list[str]:
    """Return what a user should know before the work starts."""
    notes = []
    if good.sum() < SPECTRAL_BANDS:
        notes.append(
            f"Only {counted(int(good.sum()), 'band')} can be used: there is little spectral redundancy, so results rest on "
            "neighbouring pixels. Hyperspectral cubes have tens of bands; is the band dimension named 'band'?"
        )
    return notes


def _lines(cube: Cube, lines: Any) -> Any:
    """Return lines given by hand as a mask: a boolean array or DataArray, column indices, or {'columns': [...], 'rows': [...]}."""
    _, bands, height, width = cube.shape
    if isinstance(lines, xr.DataArray) or (isinstance(lines, np.ndarray) and lines.dtype.kind == "b"):
        return restore.missing_mask(cube, lines)
    table = lines if isinstance(lines, dict) else {"columns": lines}
    unknown = set(table) - {"columns", "rows"}
    if unknown:
        msg = f"Found lines={lines!r}, expected column indices, {{'columns': [...], 'rows': [...]}} or a boolean mask."
        raise MaskError(msg)
    mask = np.zeros((1, 1, height, width), bool)
    for name, size in (("columns", width), ("rows", height)):
        picked = np.atleast_1d(np.asarray(table.get(name, []), dtype=object)).tolist()
        wrong = [i for i in picked if not isinstance(i, int | np.integer) or not -size <= i < size]
        if wrong:
            msg = f"Found {name} {listed(wrong, 5)} in the lines, expected whole numbers from 0 to {size - 1}: pixel indices,"
            raise MaskError(msg, call="not coordinates.", option="not coordinates: --lines 17,18,r12")
        for index in picked:
            mask[..., index] |= name == "columns"
            if name == "rows":
                mask[..., index, :] = True
    return np.broadcast_to(mask, (1, bands, height, width))


def _recorded(
    result: xr.DataArray | xr.Dataset, cube: Cube, told: Sequence[tuple[Any, ...]], peak: float, job: Job
) -> xr.DataArray | xr.Dataset:
    """Return the result with what was done, told by each tile, written into its attributes."""
    rows, levels = _summary(told, peak, cube.dates, cube.bands, job.options.method)
    if job.verb == "denoise":
        rounded = [float(f"{s:.6g}") if np.isfinite(s) else None for s in levels]
        result = result.assign_attrs(ngr_noise=json.dumps(rounded))
    if scene := restore.scene_expectation(rows, peak, cube.bands):
        result = result.assign_attrs(ngr_expected=json.dumps(scene))
    counts = {"total": len(told), "solved": len(told), "unsolvable": 0}
    return result.assign_attrs(ngr_dates=json.dumps(rows), ngr_tiles=json.dumps(counts))


def _summary(
    told: Sequence[tuple[Any, ...]], peak: float, dates: Sequence[str], bands: Sequence[str], asked: str
) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Return a record for each date, from what each tile says of it, and the noise of each band (B,).

    Args:
        told: the fields of each tile's `Piece` after the first.
        peak: the range of values that PSNR is told of.
        dates: their names.
        bands: their names.
        asked: the method that the user asked for.

    Errors of a date are root mean squares over its tiles, which count by what is made up there, if anything is.
    """
    noises, judged, made, sizes = zip(*told, strict=True)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bands that took no part have no noise and no error
        for index, name in enumerate(dates):
            found = [(*tile[index], float(m[index])) for tile, m in zip(judged, made, strict=True)]
            found = [tile for tile in found if tile[1].method != "none"]
            row: dict[str, Any] = {"date": name, "method": "+".join(sorted({j.method for _, j, _ in found})) or "none"}
            row["kind"] = "+".join(sorted({kind for kind, _, _ in found}))
            row["filled"] = round(sum(float(m[index]) for m in made) / max(sum(sizes), 1), 6)
            row |= _expected_of([(j, count) for _, j, count in found], peak, bands)
            rows.append(row | _choice_of([j for _, j, _ in found], asked))
        return rows, np.nanmean(noises, axis=(0, 1))


def _expected_of(found: Sequence[tuple[Judgement, float]], peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return what is expected of a date by the judgements of its tiles, and how many values of each are made up."""
    if not any(j.method in ("guide", "ngr") for j, _ in found):
        return {"guide_rmse": None, "ngr_rmse": None}
    weights = np.array([count for _, count in found])
    weights = weights if weights.any() else np.ones(len(found))

    def mean(values: Any, power: int = 1) -> NDArray[np.float64]:
        table = np.asarray(values, float) ** power  # (tiles, bands)
        known = np.isfinite(table) * weights[:, None]
        average: NDArray[np.float64] = (np.where(known > 0, table, 0) * known).sum(0) / known.sum(0)
        return average ** (1 / power)

    def errors(name: str) -> dict[str, NDArray[np.float64]]:
        methods = [j.method if name == "kept" else name for j, _ in found]
        rmse, bias = (
            [getattr(j, f"{m}_{k}") for (j, _), m in zip(found, methods, strict=True)] for k in ("rmse", "bias")
        )
        return {"rmse": mean(rmse, 2), "bias": mean(bias)}

    kept = errors("kept") | {"doubt": mean([j.doubt for j, _ in found])}
    return restore.expectation({m: errors(m) for m in ("guide", "ngr")}, kept, peak, bands)


def _choice_of(found: Sequence[Judgement], asked: str) -> dict[str, Any]:
    """Return the figures that tiles kept guide or NGR by: of all tiles that hid something, which count by their blocks."""
    some = [j for j in found if np.nansum(j.blocks) > 0]
    if not some:
        return {}
    blocks = np.nan_to_num(np.array([j.blocks for j in some]))  # (tiles, bands)
    hidden: dict[str, Any] = {}
    for name in ("guide_hidden", "ngr_hidden"):
        square = np.array([getattr(j, name) for j in some], float) ** 2
        weight = np.where(np.isfinite(square), blocks, 0)
        with np.errstate(invalid="ignore"):
            hidden[name] = tuple(np.sqrt((np.nan_to_num(square) * weight).sum(0) / weight.sum(0)).tolist())
    return restore.choice(some[0]._replace(blocks=tuple(blocks.sum(0).tolist()), **hidden), asked)
