"""From a raster with noise, stripes or dead lines to a restored one. Read `_restore` from top to bottom: it is the whole story.

raster -> cube (time, band, y, x) -> one scale for the scene -> tiles, each solved by itself (`spectral_tasks.solve`) -> the
*corrections* blended -> the raster, corrected. A value whose correction is 0 comes back bit for bit. With a raster in memory the
steps run here; with one backed by Dask the same functions become tasks, and nothing is computed.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import cube as cubes
from . import restore, tiles, work
from .cube import Cube
from .errors import InputError, MaskError
from .restore import Dates, Options, regions, settings_of
from .tiles import Stored, Tile

if TYPE_CHECKING:
    from .spectral_tasks import Task, Verdict
    from .tasks import Settings

NOISES = ("auto", "gaussian", "mixed")
DIRECTIONS = (None, "columns", "rows")
QUANTILE = 0.999
SPECTRAL_BANDS = 8
"""A single date with at least so many bands is a spectral cube."""


@dataclass(frozen=True)
class Job:
    """One verb on one raster: the task, what of each date and band may be changed, and the user's options."""

    verb: str
    task: Task
    gaps: Any
    """(time, band, y, x) True where a value is missing and to be filled; None: dead lines are looked for, or nothing is filled."""
    find_lines: bool
    options: Options


class Piece(NamedTuple):
    """A tile solved: correction and made-up (time, band, h, w), noise (time, band), and a verdict per date; units of the raster."""

    correction: NDArray[np.float32]
    made: NDArray[np.float32]
    noise: NDArray[np.float64]
    verdicts: tuple[tuple[str, Verdict], ...]


def denoise(
    raster: xr.DataArray | xr.Dataset, noise: str, bad_bands: Sequence[Any] | None, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with less noise; see `accessor`."""
    from .spectral_tasks import Task

    if noise not in NOISES:
        msg = f"Found noise={noise!r}, expected one of {', '.join(NOISES)}."
        raise InputError(msg)
    kinds: dict[str, Any] = {"auto": None, "gaussian": "gaussian", "mixed": "mixed"}
    return _restore(raster, bad_bands, Job("denoise", Task("denoise", kinds[noise]), None, False, options))


def destripe(
    raster: xr.DataArray | xr.Dataset, direction: str | None, bad_bands: Sequence[Any] | None, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster without stripes; see `accessor`."""
    from .spectral_tasks import Task

    if direction not in DIRECTIONS:
        msg = f"Found direction={direction!r}, expected 'columns', 'rows', or None to find it."
        raise InputError(msg)
    task = Task("destripe", "stripes", direction)  # type: ignore[arg-type]  # checked above
    return _restore(raster, bad_bands, Job("destripe", task, None, False, options))


def fill_deadlines(
    raster: xr.DataArray | xr.Dataset, lines: Any, bad_bands: Sequence[Any] | None, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its dead lines filled; see `accessor`."""
    from .spectral_tasks import Task

    cube = cubes.read(raster)
    gaps = None if lines is None else _lines(cube, lines)
    result = _restore(
        raster, bad_bands, Job("fill_deadlines", Task("fill_deadlines", "gaps"), gaps, lines is None, options)
    )
    by_number = lines is not None and not isinstance(lines, xr.DataArray | np.ndarray)
    return result.assign_attrs(ngr_mask=restore.mask_record("lines" if by_number else lines, "dead lines found"))


def inpaint(
    raster: xr.DataArray | xr.Dataset, missing: Any, dates: Dates, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with what is missing filled; see `accessor`.

    One date of many bands is filled here, as a spectral cube: there the other bands tell more than other dates could.
    """
    cube, gaps = restore.gaps(raster, missing)
    if cube.shape[0] > 1 or cube.shape[1] < SPECTRAL_BANDS:
        return restore.inpaint(raster, missing, dates, options)
    given = {"prior": options.prior is not None, "tune": bool(options.tune), "uncertainty": options.uncertainty}
    for name in (n for n, is_given in given.items() if is_given):
        msg = f"Found {name}= for one date of {cube.shape[1]} bands, expected a stack of dates: leave it out for a spectral cube."
        raise InputError(msg)
    from .spectral_tasks import Task

    restore.date_indices(cube, dates)  # there is one date, so this only finds wrong names
    result = _restore(raster, None, Job("inpaint", Task("inpaint", "gaps"), gaps, False, options))
    return result.assign_attrs(ngr_mask=restore.mask_record(missing))


def _restore(raster: xr.DataArray | xr.Dataset, bad_bands: Sequence[Any] | None, job: Job) -> xr.DataArray | xr.Dataset:
    """Return the raster restored."""
    settings = settings_of(job.options)
    cube = cubes.read(raster)
    good = _good_bands(cube, bad_bands)
    usable = cube.valid & good[:, None, None]  # (time, band, y, x)
    gaps = None if job.gaps is None else job.gaps & good[:, None, None]
    observed = usable if gaps is None else usable & ~gaps
    pieces = tiles.grid(cube.shape[-2:], job.options.tile, job.options.overlap)
    for note in _notes(cube, good):
        warnings.warn(note, UserWarning, stacklevel=4)
    sample = [tuple(a[(..., *r)] for a in (cube.values, observed)) for r in regions(cube.shape)]
    if work.active_client() is None and (job.options.work is not None or not cube.lazy):
        settings = settings.placed()  # it runs here and now
    if job.options.work is not None:
        result = _in_folder(cube, observed, gaps, sample, pieces, bad_bands, job, settings)
    elif cube.lazy:
        result = _lazily(cube, observed, gaps, sample, pieces, job, settings)
    else:
        if not observed.any():
            msg = (
                f"No value of the raster {dict(cube.raster.sizes)} can be used, expected some: all are nodata, NaN or in bad "
                "bands. Check the nodata value, the bad-band list and bad_bands=[...]."
            )
            raise InputError(msg)
        scale = _scale(sample)
        solved = _solve_all(cube, observed, gaps, scale, pieces, job, settings)
        whole = slice(0, cube.shape[-2]), slice(0, cube.shape[-1])
        correction = tiles.blend(pieces, [p.correction for p in solved], whole, cube.shape[:2])
        made = tiles.blend(pieces, [p.made for p in solved], whole, cube.shape[:2]) > 0.5
        shares = [p.made.mean((1, 2, 3)) for p in solved]
        result = _written(cube, correction, made, gaps)
        result = _recorded(result, cube, [p.verdicts for p in solved], [p.noise for p in solved], shares, job)
    left_out = json.dumps([cube.bands[i] for i in np.flatnonzero(~good)])
    return restore.stamped(result, job.verb, settings).assign_attrs(ngr_bands_left_out=left_out)


def _solve_all(
    cube: Cube, observed: Any, gaps: Any, scale: float, pieces: Sequence[Tile], job: Job, settings: Settings
) -> list[Piece]:
    """Return all tiles, solved side by side in threads."""
    tell = job.options.progress or (lambda stage, done, total: None)

    def solve_one(tile: Tile) -> Piece:
        here = (..., *tile.window)
        gap = None if gaps is None else gaps[here]
        return _solve_tile(cube.values[here], observed[here], gap, scale, job.task, job.find_lines, settings)

    together = restore.side_by_side(cube, pieces, settings)
    return tiles.each(pieces, solve_one, together, tell)


def _solve_tile(
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    gaps: NDArray[np.bool_] | None,
    scale: float,
    task: Task,
    find_lines: bool,
    settings: Settings,
) -> Piece:
    """Return one tile solved, date by date. A function of its arguments alone: it does not matter where and when it runs."""
    import torch

    from .guides import deadlines
    from .spectral_tasks import Verdict, solve

    correction, made = np.zeros(values.shape, np.float32), np.zeros(values.shape, np.float32)
    noise = np.full(values.shape[:2], np.nan)
    verdicts = []
    for date in range(len(values)):
        seen = observed[date]
        cube = np.where(seen, values[date].astype(np.float64) / scale, 0).astype(np.float32)
        gap = None if gaps is None else np.broadcast_to(gaps[date], cube.shape)
        if find_lines:
            gap = deadlines.find(cube, seen).mask
            seen = seen & ~gap
            cube = np.where(seen, cube, 0)
        if not seen.any() or (gap is not None and not gap.any()):
            verdicts.append(("none", Verdict("none", float("nan"), float("nan"))))
            continue
        # What is neither observed nor to be filled (nodata regions) takes no part: it is as unknown as the gaps, and left alone.
        answer = solve(task, torch.from_numpy(cube), torch.from_numpy(seen.copy()), settings)
        image = answer.image.numpy()
        change = (image.astype(np.float64) - cube) * scale
        where = seen if gap is None else gap & seen.any(axis=(1, 2), keepdims=True)
        original = values[date].astype(np.float64) if gap is None else np.where(observed[date], values[date], 0)
        change = change if gap is None else image.astype(np.float64) * scale - original
        correction[date] = np.where(where, change, 0)
        made[date] = (answer.made.numpy() if gap is None else gap) & where
        noise[date] = answer.noise.numpy() * scale
        found = answer.verdict
        found = found._replace(guide_rmse=found.guide_rmse * scale, ngr_rmse=found.ngr_rmse * scale)
        verdicts.append((answer.note, found))
    return Piece(correction, made, noise, tuple(verdicts))


def _lazily(
    cube: Cube, observed: Any, gaps: Any, sample: Any, pieces: Sequence[Tile], job: Job, settings: Settings
) -> xr.DataArray | xr.Dataset:
    """Return the restored raster as a Dask graph: one task for the scale, one per tile, the blending, and the record."""
    observed = da.asarray(observed)
    gaps = None if gaps is None else da.broadcast_to(da.asarray(gaps), cube.shape)
    scale = dask.delayed(_scale)(sample)
    solve = dask.delayed(_solve_tile)
    cut = [None if a is None else work.windows(a) for a in (cube.values, observed, gaps)]
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
    correction = tiles.blend_lazy(pieces, [s.correction for s in solved], cube.shape[:2], chunks)
    made = tiles.blend_lazy(pieces, [s.made for s in solved], cube.shape[:2], chunks) > 0.5
    result = _written(cube, correction, made, gaps)
    rows, noise = dask.delayed(_summary, nout=2)([s.verdicts for s in solved], [s.noise for s in solved], cube.dates)
    time, band = cube.dims[:2]
    along, shape = ((), ()) if time is None else ((time,), cube.shape[:1])
    columns = {
        f"ngr_{key}": (along, da.from_delayed(dask.delayed(_column)(rows, key, shape), shape, kind))
        for key, kind in (("method", "U16"), ("kind", "U24"), ("guide_rmse", float), ("ngr_rmse", float))
    }
    if job.verb == "denoise" and band in result.dims:
        columns["ngr_noise"] = ((band,), da.from_delayed(noise, cube.shape[1:2], float))
    return result.assign_coords(columns)


def _in_folder(
    cube: Cube,
    observed: Any,
    gaps: Any,
    sample: Any,
    pieces: Sequence[Tile],
    bad_bands: Sequence[Any] | None,
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
        **restore.identity(cube, job.verb, settings, job.options),
        "task": [job.task.kind, job.task.direction],
        "bad bands": [str(b) for b in bad_bands or ()],
        "pixels": work.digest(*seen),
    }
    del seen
    with work.opened(job.options.work, identity) as folder:
        cut = [None if a is None else work.windows(a) for a in (values, observed, gaps)]

        def solve(tile: Tile, record: str) -> Any:
            parts = [None if window is None else window(tile.window) for window in cut]
            task = dask.delayed(_solve_and_keep, pure=False)
            return task(*parts, scale, job.task, job.find_lines, settings, record)

        tell = job.options.progress or restore.silent
        folder.solve(pieces, solve, tell, restore.side_by_side(cube, pieces, settings))
        records = [str(folder.record(t)) for t in pieces]
    chunks = values.chunks[-2:]
    correction, made = (
        tiles.blend_lazy(pieces, [Stored(r, name) for r in records], cube.shape[:2], chunks)
        for name in ("correction", "made")
    )
    if not cube.lazy:
        correction, made = dask.compute(correction, made)
    if gaps is not None and not cube.lazy:
        gaps = gaps.compute()
    verdicts, noise, shares = zip(*(_told(record) for record in records), strict=True)
    return _recorded(_written(cube, correction, made > 0.5, gaps), cube, verdicts, noise, shares, job)


def _solve_and_keep(
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    gaps: NDArray[np.bool_] | None,
    scale: float,
    task: Task,
    find_lines: bool,
    settings: Settings,
    record: str,
) -> None:
    """Solve a tile and write its record."""
    begun = time.perf_counter()
    piece = _solve_tile(values, observed, gaps, scale, task, find_lines, settings)
    verdicts = json.dumps([[note, *verdict] for note, verdict in piece.verdicts])
    changed = piece.correction != 0
    dense = changed.mean() > 0.5
    kept = {"correction": piece.correction} if dense else tiles.sparse("correction", piece.correction, changed)
    made = tiles.sparse("made", piece.made, piece.made > 0)
    shares = piece.made.mean((1, 2, 3))
    told = np.array(json.dumps(work.telling(begun, settings.placed().device)))
    work.keep(record, **kept, **made, shares=shares, noise=piece.noise, verdicts=np.array(verdicts), told=told)


def _told(record: str) -> tuple[tuple[tuple[str, Verdict], ...], NDArray[np.float64], NDArray[np.float64]]:
    """Return what the record of a tile tells beside its pixels: verdicts, noise, and how much of each date is made up."""
    from .spectral_tasks import Verdict

    with tiles.record(record) as file:
        verdicts = tuple((note, Verdict(*rest)) for note, *rest in json.loads(str(file["verdicts"])))
        return verdicts, file["noise"], file["shares"]


def _written(cube: Cube, correction: Any, made: Any, gaps: Any) -> xr.DataArray | xr.Dataset:
    """Return the raster with the corrections added; `filled` tells what was made up."""
    xp = da if cube.lazy else np
    base = xp.where(cube.valid, cube.values, 0).astype(np.float64)
    changed = correction != 0
    if gaps is not None:
        changed = changed | (made & gaps)  # a gap may be filled with a true 0
    return cubes.write(cube, base + correction, changed, made)


def _scale(sample: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]]) -> float:
    """Return the 99.9 % quantile of the magnitude of what is observed, in windows of the scene: its unit."""
    parts = [np.abs(v[o].astype(np.float64)) for v, o in sample]
    seen = np.concatenate(parts)
    value = float(np.quantile(seen, QUANTILE)) if seen.size else 1.0
    return value if value > 0 else max(float(seen.max(initial=0.0)), 1.0)


def _good_bands(cube: Cube, bad_bands: Sequence[Any] | None) -> NDArray[np.bool_]:
    """Return which bands take part (B,): not those flagged bad by the raster (`cube.bad_bands`) or by the user."""
    good = ~cubes.bad_bands(cube)
    for wanted in bad_bands or ():
        if isinstance(wanted, str) and wanted in cube.bands:
            good[cube.bands.index(wanted)] = False
        elif isinstance(wanted, int | np.integer) and -len(good) <= wanted < len(good):
            good[wanted] = False
        else:
            names = ", ".join(cube.bands[:4]) + (", ..." if len(cube.bands) > 4 else "")
            msg = (
                f"Found no band {wanted!r} in bad_bands, expected names ({names}) or indices from 0 to {len(good) - 1}."
            )
            raise InputError(msg)
    if not good.any():
        msg = f"All {len(good)} bands are flagged bad, expected some good ones: check the raster's bad-band list and bad_bands=."
        raise InputError(msg)
    return good


def _notes(cube: Cube, good: NDArray[np.bool_]) -> list[str]:
    """Return what a user should know before the work starts."""
    notes = []
    if good.sum() < SPECTRAL_BANDS:
        notes.append(
            f"Only {int(good.sum())} band(s) can be used: there is little spectral redundancy, so results rest on neighbouring "
            "pixels. Hyperspectral cubes have tens of bands; is the band dimension named 'band'?"
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
            msg = f"Found {name} {wrong[:5]}, expected whole numbers from 0 to {size - 1}: pixel indices, not coordinates."
            raise MaskError(msg)
        for index in picked:
            mask[..., index] |= name == "columns"
            if name == "rows":
                mask[..., index, :] = True
    return np.broadcast_to(mask, (1, bands, height, width))


def _recorded(
    result: xr.DataArray | xr.Dataset,
    cube: Cube,
    verdicts: Sequence[Any],
    noise: Sequence[Any],
    made: Sequence[NDArray[np.floating]],
    job: Job,
) -> xr.DataArray | xr.Dataset:
    """Return the result with what was done, told by each tile, written into its attributes."""
    rows, levels = _summary(verdicts, noise, cube.dates)
    for index, row in enumerate(rows):
        row["made_up"] = round(float(np.mean([m[index] for m in made])), 6)
    if job.verb == "denoise":
        rounded = [float(f"{s:.6g}") if np.isfinite(s) else None for s in levels]
        result = result.assign_attrs(ngr_noise=json.dumps(rounded))
    counts = {"total": len(verdicts), "solved": len(verdicts), "unsolvable": 0}
    return result.assign_attrs(ngr_dates=json.dumps(rows), ngr_tiles=json.dumps(counts))


def _summary(
    verdicts: Sequence[Sequence[tuple[str, Verdict]]], noises: Sequence[NDArray[np.float64]], dates: Sequence[str]
) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Return a record for each date, from what each tile says of it, and the noise of each band (B,)."""
    rows = []
    for index, name in enumerate(dates):
        found = [v[index] for v in verdicts if v[index][1].method != "none"]
        row: dict[str, Any] = {"date": name, "method": "+".join(sorted({v.method for _, v in found})) or "none"}
        row["kind"] = "+".join(sorted({kind for kind, _ in found}))
        for key in ("guide_rmse", "ngr_rmse"):
            errors = [getattr(v, key) for _, v in found if np.isfinite(getattr(v, key))]
            row[key] = float(np.sqrt(np.mean(np.square(errors)))) if errors else None
        rows.append(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # bands that took no part have no noise
        return rows, np.nanmean(noises, axis=(0, 1))


def _column(rows: Sequence[dict[str, Any]], key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return one entry of the records of all dates; the only date's, shaped (), where the raster has no time."""
    values = [np.nan if row[key] is None else row[key] for row in rows]
    return np.asarray(values).reshape(shape)
