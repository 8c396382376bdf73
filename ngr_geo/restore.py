"""From a raster with gaps to a restored raster. Read `_restore` from top to bottom: it is the whole story.

raster -> cube (time, band, y, x) -> a sample of the scene, from which guide, network and scaling are learnt once -> tiles,
each solved by itself -> blended -> the raster with its gaps filled and everything else as it was. With a raster in memory
the steps run here; with one backed by Dask the same functions become tasks, and nothing is computed.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import cube as cubes
from . import masks, tiles
from .cube import Cube
from .errors import InputError, MaskError
from .tiles import Region, Tile

if TYPE_CHECKING:
    from .tasks import Scene, Settings

METHODS = ("auto", "ngr", "guide", "paper")
SAMPLE_VALUES = 10_000_000
"""Values (dates x bands x pixels) that a scene is learnt from, at most: 40 MB, and about twenty times that while fitting."""
SAMPLE_SIZE = 256
Progress = Callable[[str, int, int], None]
Dates = str | Sequence[str] | None


@dataclass(frozen=True)
class Options:
    """The keywords common to the verbs; see `accessor`."""

    method: str = "auto"
    tile: int = 256
    overlap: int = 32
    device: str | None = None
    seed: int = 0
    steps: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class Plan:
    """What would be done: `missing` shares per date, tiles, `memory` in bytes at the peak and `seconds`, both estimated.

    Tiles without a clear pixel on any date are unsolvable: they stay as they are.
    """

    dates: tuple[str, ...]
    bands: tuple[str, ...]
    shape: tuple[int, int, int, int]
    missing: tuple[float, ...]
    tiles: int
    tiles_to_solve: int
    tiles_unsolvable: int
    memory: int
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Learnt:
    """What is known of the scene as a whole: its scaling, (time, band, 1, 1) in the raster's units, and what `fit` learnt.

    `limits` are the least and greatest observed value, for the paper's own scaling to [0, 1].
    """

    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    limits: tuple[float, float]
    scene: Scene | None


def decloud(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any,
    dates: Dates,
    classes: Sequence[int] | None,
    dilate: int | None,
    options: Options,
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its clouds, and its nodata where another date has data, filled; see `accessor`."""
    cube, mask = _clouds(raster, clouds, classes, dilate)
    cloudy = mask[:, None]  # (time, 1, y, x)
    inside = cube.valid.any(axis=0, keepdims=True)  # beyond the footprint of all dates nothing is made up
    return _restore(cube, cube.valid & ~cloudy, inside, dates, "decloud", options)


def inpaint(
    raster: xr.DataArray | xr.Dataset, missing: Any, dates: Dates, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its missing pixels filled: those of a mask, or without one nodata and NaN; see `accessor`."""
    cube, gap = gaps(raster, missing)
    fillable = np.ones((1, 1, 1, 1), bool) if missing is None else gap
    return _restore(cube, cube.valid & ~gap, fillable, dates, "inpaint", options)


def gaps(raster: xr.DataArray | xr.Dataset, missing: Any) -> tuple[Cube, Any]:
    """Return the cube of a raster, and what of it is missing (time, band, y, x)."""
    cube = cubes.read(raster, exclude=[missing] if isinstance(missing, str) else ())
    return cube, ~cube.valid if missing is None else missing_mask(cube, missing)


def plan(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any = None,
    missing: Any = None,
    *,
    verb: str = "decloud",
    dates: Dates = None,
    classes: Sequence[int] | None = None,
    dilate: int | None = None,
    options: Options | None = None,
) -> Plan:
    """Return what `decloud` or `inpaint` would do with the same arguments; reads the mask, solves nothing."""
    chosen = options or Options()
    if verb == "decloud":
        cube, mask = _clouds(raster, clouds, classes, dilate)
        gap = mask[:, None] | ~cube.valid
        gap = gap & cube.valid.any(axis=0, keepdims=True)
    else:
        cube, gap = gaps(raster, missing)
        gap = gap | ~cube.valid
    targets = date_indices(cube, dates)
    missing_at = np.asarray(gap.any(axis=1))  # (time, y, x)
    clear_somewhere = np.asarray((cube.valid & ~gap).any(axis=(0, 1)))  # (y, x)
    if not clear_somewhere.any():
        raise MaskError(_nothing_clear(cube))
    pieces = tiles.grid(cube.shape[-2:], chosen.tile, chosen.overlap)
    busy = [t for t in pieces if missing_at[targets][(slice(None), *t.window)].any()]
    notes = _notes(cube)
    notes += [
        f"{cube.dates[d]} has no clear pixel at all: it can only be interpolated in time."
        for d in targets
        if missing_at[d].all()
    ]
    return Plan(
        cube.dates,
        cube.bands,
        cube.shape,
        tuple(float(m) for m in missing_at.mean((1, 2))),
        len(pieces),
        len(busy),
        sum(not clear_somewhere[t.window].any() for t in busy),
        _memory(cube.shape, chosen),
        _seconds(cube.shape, targets, len(busy), chosen),
        tuple(notes),
    )


def _restore(
    cube: Cube, observed: Any, fillable: Any, dates: Dates, verb: str, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster restored.

    Args:
        cube: the raster.
        observed: (time, band, y, x), True where a pixel is measured and trusted.
        fillable: broadcastable to that, True where a pixel may be filled.
        dates: to fill; None: all.
        verb: for the record.
        options: see `Options`.
    """
    settings = settings_of(options)
    targets = date_indices(cube, dates)
    chosen = np.isin(np.arange(len(cube.dates)), targets)[:, None, None, None]
    fill = ~observed & fillable & chosen  # (time, band, y, x)
    pieces = tiles.grid(cube.shape[-2:], options.tile, options.overlap)
    for note in _notes(cube):
        warnings.warn(note, UserWarning, stacklevel=4)

    if cube.lazy:
        return _lazily(cube, observed, fill, targets, pieces, verb, settings)
    _check_observed(cube, observed, fill, targets)
    tell = options.progress or (lambda stage, done, total: None)
    if not fill.any():
        warnings.warn("Nothing is missing in the chosen dates: the result is the input.", UserWarning, stacklevel=4)
        return _recorded(cubes.write(cube, cube.values, fill), cube, None, [], verb, settings, observed, fill)

    windows = regions(cube.shape)
    values, seen, gaps = ([a[(..., *r)] for r in windows] for a in (cube.values, observed, fill))
    learnt = _learn(values, seen, gaps, targets, cube.days, settings, tell)
    del values, seen, gaps
    states = _solve_all(learnt, cube, observed, fill, targets, pieces, settings, tell)
    whole = slice(0, cube.shape[-2]), slice(0, cube.shape[-1])
    restored = tiles.blend(pieces, states, whole, cube.shape[:2])
    return _recorded(cubes.write(cube, restored, fill), cube, learnt, states, verb, settings, observed, fill)


def _learn(
    values: Sequence[NDArray[Any]],
    observed: Sequence[NDArray[np.bool_]],
    fill: Sequence[NDArray[np.bool_]],
    targets: Sequence[int],
    days: NDArray[np.float64],
    settings: Settings,
    progress: Progress | None = None,
) -> Learnt:
    """Return what there is to learn from windows of the scene, (time, band, h, w) each."""
    from .tasks import fit

    if not any(o.any() for o in observed):
        msg = (
            "No pixel is observed on any date, expected some clear ones: check the mask (True means cloud) and nodata."
        )
        raise MaskError(msg)
    center, spread = _scaling(values, observed, days)
    low = min(float(v[o].min()) for v, o in zip(values, observed, strict=True) if o.any())
    high = max(float(v[o].max()) for v, o in zip(values, observed, strict=True) if o.any())
    learnt = Learnt(center, spread, (low, high), None)
    if settings.method == "paper":
        return learnt
    windows = [_window(learnt, v, o) for v, o in zip(values, observed, strict=True)]
    busy = [t for t in targets if any(f[t].any() for f in fill)]  # a date without gaps has nothing to teach or to judge
    wanted = busy if len(windows) == 1 else targets  # gaps may lie outside a sample of several windows
    return replace(learnt, scene=fit(windows, wanted, days.tolist(), settings, progress))


def _solve_tile(
    learnt: Learnt,
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    tile: Tile,
    settings: Settings,
) -> NDArray[np.float32] | None:
    """Return one tile (time, band, h, w) solved, in the raster's units; None if it has nothing to fill, NaN if it cannot be.

    A function of its arguments alone: it does not matter where and when it runs.
    """
    from .tasks import solve, solve_as_published

    targets = [int(t) for t in np.flatnonzero(fill.any(axis=(1, 2, 3)))]
    if not targets:
        return None
    if not observed.any():
        return np.full(values.shape, np.nan, np.float32)
    if learnt.scene is None:
        low, high = learnt.limits
        unit = max(high - low, 1e-12)
        scaled = np.where(observed, (values.astype(np.float64) - low) / unit, 0).astype(np.float32)
        answer = solve_as_published(scaled, observed, replace(settings, seed=tile.seed(settings.seed)))
        return (answer.astype(np.float64) * unit + low).astype(np.float32)
    answer = solve(learnt.scene, _window(learnt, values, observed), targets, settings).numpy()
    return (answer * learnt.spread + learnt.center).astype(np.float32)


def _solve_all(
    learnt: Learnt,
    cube: Cube,
    observed: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    targets: Sequence[int],
    pieces: Sequence[Tile],
    settings: Settings,
    tell: Progress,
) -> list[NDArray[np.float32] | None]:
    """Return all tiles, solved side by side in threads."""

    def solve_one(tile: Tile) -> NDArray[np.float32] | None:
        here = (..., *tile.window)
        return _solve_tile(learnt, cube.values[here], observed[here], fill[here], tile, settings)

    together = 1 if settings.device != "cpu" else os.cpu_count() or 1
    return tiles.each(pieces, solve_one, together, tell)


def _lazily(
    cube: Cube, observed: Any, fill: Any, targets: Sequence[int], pieces: Sequence[Tile], verb: str, settings: Settings
) -> xr.DataArray | xr.Dataset:
    """Return the restored raster as a Dask graph: one task that learns, one per tile, and the blending."""
    observed, fill = da.asarray(observed), da.asarray(fill)
    windows = regions(cube.shape)
    sample = [[a[(..., *r)] for r in windows] for a in (cube.values, observed, fill)]
    learnt = dask.delayed(_learn)(*sample, list(targets), cube.days, settings)
    solve = dask.delayed(_solve_tile)
    solved = [
        solve(learnt, cube.values[(..., *t.window)], observed[(..., *t.window)], fill[(..., *t.window)], t, settings)
        for t in pieces
    ]
    restored = tiles.blend_lazy(pieces, solved, cube.shape[:2], cube.values.chunks[-2:])
    result = stamped(cubes.write(cube, restored, fill), verb, settings)
    time = cube.dims[0]
    if time is None or settings.method == "paper":
        return result
    count = len(cube.dates)
    record = dask.delayed(_kept, nout=3)(learnt, count)
    columns = zip(("ngr_method", "ngr_guide_rmse", "ngr_ngr_rmse"), record, ("U5", float, float), strict=True)
    return result.assign_coords({name: ((time,), da.from_delayed(c, (count,), kind)) for name, c, kind in columns})


def _kept(learnt: Learnt, count: int) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.float64]]:
    """Return the method kept for each date, and the errors of guide and NGR on hidden pixels, in the raster's units."""
    judged = learnt.scene.judgement if learnt.scene else {}
    methods, errors = np.full(count, "none", "U5"), np.full((2, count), np.nan)
    for date, verdict in judged.items():
        methods[date] = verdict.method
        unit = learnt.spread[date, :, 0, 0]
        errors[:, date] = [float((np.asarray(r) * unit).mean()) for r in (verdict.guide_rmse, verdict.ngr_rmse)]
    return methods, errors[0], errors[1]


def _window(learnt: Learnt, values: NDArray[Any], observed: NDArray[np.bool_]) -> Any:
    """Return a standardised window for the task. A pixel with a band missing is a gap of its whole date."""
    import torch

    from .tasks import Window

    known = np.asarray(observed.all(axis=1))  # (time, h, w)
    scaled = (values.astype(np.float64) - learnt.center) / learnt.spread
    clean = np.where(known[:, None], scaled, 0).astype(np.float32)
    return Window(torch.from_numpy(clean), torch.from_numpy(known))


def _scaling(
    values: Sequence[NDArray[Any]], observed: Sequence[NDArray[np.bool_]], days: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each date and band, (time, band, 1, 1); a date unseen takes its neighbours'."""
    shape = values[0].shape[:2]
    center, spread = np.full(shape, np.nan), np.full(shape, np.nan)
    for t in range(shape[0]):
        for b in range(shape[1]):
            seen = np.concatenate([v[t, b][o[t, b]] for v, o in zip(values, observed, strict=True)]).astype(np.float64)
            if seen.size:
                center[t, b], spread[t, b] = seen.mean(), seen.std()
    when = np.where(np.isfinite(days), days, np.arange(len(days), dtype=float))
    order = np.argsort(when, kind="stable")
    for b in range(shape[1]):
        for table in (center, spread):
            known = [t for t in order if np.isfinite(table[t, b])]
            if known:
                table[:, b] = np.where(
                    np.isfinite(table[:, b]), table[:, b], np.interp(when, when[known], table[known, b])
                )
    fallback = np.nanmean(center) if np.isfinite(center).any() else 0.0
    center = np.where(np.isfinite(center), center, fallback)
    least = 1e-6 * np.maximum(np.abs(center), 1e-6)
    spread = np.maximum(np.where(np.isfinite(spread), spread, 0), least)
    return center[..., None, None].astype(np.float32), spread[..., None, None].astype(np.float32)


def regions(shape: tuple[int, int, int, int]) -> list[Region]:
    """Return the windows of a scene that it is learnt from: all of it, or evenly spread ones where it is large."""
    dates, bands, height, width = shape
    room = SAMPLE_VALUES // (dates * bands)
    if height * width <= room:
        return [(slice(0, height), slice(0, width))]
    size = SAMPLE_SIZE
    down, across = max(1, height // size), max(1, width // size)
    keep = max(1, room // (min(size, height) * min(size, width)))
    cells = [(r, c) for r in range(down) for c in range(across)]
    picked = [cells[i * len(cells) // keep] for i in range(min(keep, len(cells)))] if keep < len(cells) else cells
    tops, lefts = (np.linspace(0, max(n - size, 0), k).astype(int) for n, k in ((height, down), (width, across)))
    return [
        (slice(int(tops[r]), int(min(tops[r] + size, height))), slice(int(lefts[c]), int(min(lefts[c] + size, width))))
        for r, c in picked
    ]


def _clouds(
    raster: xr.DataArray | xr.Dataset, clouds: Any, classes: Sequence[int] | None, dilate: int | None
) -> tuple[Cube, Any]:
    """Return the cube and the cloud mask (time, y, x) on its grid, NumPy or Dask."""
    name = clouds
    if clouds is None and isinstance(raster, xr.Dataset):
        name = masks.find(raster)
    mask = masks.cloud_mask(raster, clouds, classes, dilate)
    cube = cubes.read(raster, exclude=[name] if isinstance(name, str) else ())
    return cube, _on_cube(cube, mask)


def _on_cube(cube: Cube, mask: xr.DataArray) -> Any:
    """Return a mask's data as (time, y, x), of the cube's kind: the verb is lazy exactly where the raster is."""
    time, _, row, column = cube.dims
    data = mask.transpose(*(d for d in (time, row, column) if d is not None and d in mask.dims)).data
    data = data if data.ndim == 3 else data[None]
    if isinstance(data, da.Array) and not cube.lazy:
        return data.compute()
    return (
        data.rechunk({-2: cube.values.chunks[-2], -1: cube.values.chunks[-1]}) if isinstance(data, da.Array) else data
    )


def missing_mask(cube: Cube, missing: Any) -> Any:
    """Return a boolean mask of missing pixels as (time, band or 1, y, x)."""
    if isinstance(missing, str):
        if isinstance(cube.raster, xr.DataArray) or missing not in cube.raster:
            have = [str(v) for v in getattr(cube.raster, "data_vars", {})]
            msg = f"Found no variable {missing!r} among {have}: pass one of them, or a boolean DataArray."
            raise MaskError(msg)
        missing = cube.raster[missing]
    shape = cube.shape
    if not isinstance(missing, xr.DataArray):
        missing = np.asarray(missing)
        names = [d for d in cube.dims if d is not None]
        for wanted in (names, [d for d in cube.dims[:1] + cube.dims[2:] if d is not None], list(cube.dims[2:])):
            if len(wanted) == missing.ndim:
                missing = xr.DataArray(missing, dims=wanted)
                break
        else:
            msg = f"Found a mask of shape {missing.shape}, expected the shape of the raster, {dict(cube.raster.sizes)}."
            raise MaskError(msg)
    if missing.dtype.kind != "b":
        msg = f"Found a mask of dtype {missing.dtype}, expected bool, True where a pixel is missing: pass for example mask == 1."
        raise MaskError(msg)
    here = [d for d in cube.dims if d is not None and d in missing.dims]
    if set(missing.dims) - set(here) or not set(cube.dims[2:]) <= set(here):
        msg = f"Found a mask with dimensions {tuple(missing.dims)}, expected some of {[d for d in cube.dims if d is not None]}."
        raise MaskError(msg)
    for axis, dim in enumerate(cube.dims):
        if dim in here and missing.sizes[dim] not in (shape[axis], 1):
            msg = f"Found a mask with {missing.sizes[dim]} along {dim!r}, expected {shape[axis]}: cut it to the raster's grid."
            raise MaskError(msg)
    data = missing.transpose(*here).data
    data = data.compute() if isinstance(data, da.Array) and not cube.lazy else data
    return data[tuple(slice(None) if d in here else None for d in cube.dims)]


def date_indices(cube: Cube, dates: Dates) -> list[int]:
    """Return the indices of the dates to fill."""
    if dates is None:
        return list(range(len(cube.dates)))
    found = []
    for wanted in [dates] if isinstance(dates, str | np.datetime64) or not np.iterable(dates) else dates:
        text = str(wanted)[:10] if isinstance(wanted, np.datetime64) or hasattr(wanted, "isoformat") else str(wanted)
        match = [i for i, name in enumerate(cube.dates) if name == text or name.startswith(text)]
        if not match:
            msg = f"Found no date {text!r}, expected some of {', '.join(cube.dates)}: pass them as dates=[...]."
            raise InputError(msg)
        found += match
    return sorted(set(found))


def settings_of(options: Options) -> Settings:
    """Return checked settings for the task."""
    if options.method not in METHODS:
        msg = f"Found method={options.method!r}, expected one of {', '.join(METHODS)}."
        raise InputError(msg)
    if options.steps is not None and options.steps < 1:
        msg = f"Found steps={options.steps}, expected at least 1, or None to stop on hidden pixels."
        raise InputError(msg)
    if options.seed < 0:
        msg = f"Found seed={options.seed}, expected 0 or more."
        raise InputError(msg)
    tiles.spans(1, options.tile, options.overlap)
    import torch

    from .tasks import Settings

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        msg = f"Found device={device!r}, which torch cannot use here ({str(error).splitlines()[0]}): use device='cpu'."
        raise InputError(msg) from error
    return Settings(options.method, options.steps, options.seed, device)  # type: ignore[arg-type]  # checked above


def _check_observed(cube: Cube, observed: NDArray[np.bool_], fill: NDArray[np.bool_], targets: Sequence[int]) -> None:
    if not observed.any():
        raise MaskError(_nothing_clear(cube))
    blind = [cube.dates[d] for d in targets if fill[d].any() and not observed[d].any()]
    if blind:
        text = f"No clear pixel at all on {', '.join(blind)}: interpolated in time from the other dates."
        warnings.warn(text, UserWarning, stacklevel=5)


def _nothing_clear(cube: Cube) -> str:
    return (
        f"No pixel of the {len(cube.dates)} dates is clear, so there is nothing to learn from; expected some: check that True "
        f"means cloud in the mask, which classes count as cloud, and dilate."
    )


def _notes(cube: Cube) -> list[str]:
    """Return what a user should know before the work starts."""
    notes = []
    if len(cube.dates) == 1:
        notes.append("There is only one date: gaps are filled from their surroundings alone (spatial inpainting).")
    for key in ("s2:processing_baseline", "processing_baseline", "PROCESSING_BASELINE"):
        if key in cube.raster.coords and cube.raster.coords[key].size > 1:
            old = {float(v) < 4 for v in np.ravel(cube.raster.coords[key].values)}
            if len(old) > 1:
                notes.append(
                    "The stack mixes Sentinel-2 processing baselines before and from 04.00, whose digital numbers differ by "
                    "1000: subtract 1000 from the newer ones, unless that was done, before filling."
                )
    return notes


def _recorded(
    result: xr.DataArray | xr.Dataset,
    cube: Cube,
    learnt: Learnt | None,
    states: Sequence[NDArray[np.float32] | None],
    verb: str,
    settings: Settings,
    observed: NDArray[np.bool_],
    fill: NDArray[np.bool_],
) -> xr.DataArray | xr.Dataset:
    """Return the result with what was done written into its attributes."""
    judged = learnt.scene.judgement if learnt and learnt.scene else {}
    rows = []
    missing = ~np.asarray(observed.all(axis=1))
    for index, name in enumerate(cube.dates):
        here = fill[index].any(axis=0)
        share = round(float(missing[index].mean()), 6)
        row: dict[str, Any] = {"date": name, "missing": share, "filled": round(float(here.mean()), 6), "method": "none"}
        if learnt and here.any():
            row["method"] = judged[index].method if index in judged else "paper"
        if learnt and index in judged and here.any():
            unit = learnt.spread[index, :, 0, 0]
            guide, ngr = (np.asarray(r) * unit for r in (judged[index].guide_rmse, judged[index].ngr_rmse))
            row["guide_rmse"], row["ngr_rmse"] = (
                float(r.mean()) if np.isfinite(r).all() else None for r in (guide, ngr)
            )
            if row["guide_rmse"] and row["ngr_rmse"]:
                row["gain_db"] = round(float(np.mean(20 * np.log10(guide / ngr))), 3)
        rows.append(row)
    spoilt = [s is not None and bool(np.isnan(s).all()) for s in states]
    counts = {
        "total": len(states),
        "solved": sum(s is not None for s in states) - sum(spoilt),
        "unsolvable": sum(spoilt),
    }
    if learnt and learnt.scene:
        settings = replace(settings, steps=learnt.scene.steps)
    return stamped(result, verb, settings).assign_attrs(ngr_dates=json.dumps(rows), ngr_tiles=json.dumps(counts))


def stamped(result: xr.DataArray | xr.Dataset, verb: str, settings: Settings) -> xr.DataArray | xr.Dataset:
    """Return the result with the version, verb and settings that it was made with in its attributes."""
    keep = {"method": settings.method, "steps": settings.steps, "seed": settings.seed, "device": settings.device}
    return result.assign_attrs(ngr_version=version("ngr_geo"), ngr_verb=verb, ngr_settings=json.dumps(keep))


def _memory(shape: tuple[int, int, int, int], options: Options) -> int:
    """Return a rough peak in bytes: torch and the libraries, the raster some times over, the sample, the tiles at work."""
    values = int(np.prod(shape))
    sample = min(values, SAMPLE_VALUES)
    window = shape[0] * shape[1] * min(options.tile, shape[-2]) * min(options.tile, shape[-1])
    return int(400e6 + 16 * values + 90 * sample + 200 * window * (os.cpu_count() or 1))


def _seconds(shape: tuple[int, int, int, int], targets: Sequence[int], busy: int, options: Options) -> float:
    """Return a rough duration, from runs on two cores of 2.8 GHz."""
    if options.method == "paper":
        pixels = min(options.tile, shape[-2]) * min(options.tile, shape[-1])
        return busy * (options.steps or 15_000) * 4.0 * pixels / 65536
    return float(len(targets) * busy)
