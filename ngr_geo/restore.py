"""From a raster with gaps to a restored raster. Read `_restore` from top to bottom: it is the whole story.

raster -> cube (time, band, y, x) -> a sample of the scene, from which guide, network and scaling are learnt once (the `Prior`)
-> tiles, each solved by itself -> blended -> the raster with its gaps filled and everything else as it was. With a raster in
memory the steps run here; with one backed by Dask the same functions become tasks, and nothing is computed; with a work folder
these tasks are run, and each tile is kept in a file from which it is blended later.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import rows as records
from .errors import InputError, MaskError, warn
from .methods.checkpoint import Prior
from .methods.checkpoint import load as load_prior
from .progress import Progress, silent
from .raster import aoi as areas
from .raster import cube as cubes
from .raster import footprint, maskcheck, masks, plausible, products, selection
from .raster.aoi import Area
from .raster.cube import Cube
from .raster.flags import METHODS
from .raster.selection import Dates
from .record import Row
from .tiling import jobs, store, tiles, work
from .tiling.store import Slot, Stored
from .tiling.tiles import Region, Tile
from .wording import listed

if TYPE_CHECKING:
    from .methods.filling import Settings

SAMPLE_VALUES = 10_000_000
"""Values (dates x bands x pixels) that a scene is learnt from, at most: 40 MB, and about twenty times that while fitting."""
SAMPLE_SIZE = 256
MOST_VALUES = 60_000_000
"""Values in the tiles that are solved at one time: each takes about 80 bytes while it is."""
UNSEEN_WARNED = 0.01
"""Share of a date's gaps that no other date saw from which that is warned of; the record counts all of it."""


@dataclass(frozen=True)
class Options:
    """The keywords common to the verbs; see `accessor`."""

    method: str = "auto"
    tile: int = 256
    overlap: int = 32
    device: str | None = None
    seed: int = 0
    steps: int | None = None
    tune: int = 0
    uncertainty: bool = False
    progress: Progress | None = None
    prior: Prior | str | os.PathLike[str] | None = None
    work: work.Folder | None = None
    aoi: Any = None
    extent: str = "footprint"


class Shares(NamedTuple):
    """What of each date (T,) was missing, and what was filled, as shares of its pixels; counts of tiles by outcome.

    `unseen` is what was filled though no other date saw it; 0 where there is one date alone.
    """

    missing: NDArray[np.float64]
    filled: NDArray[np.float64]
    unseen: NDArray[np.float64]
    tiles: dict[str, int]


def decloud(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any,
    dates: Dates,
    classes: Sequence[int] | None,
    dilate: int | None,
    probability: float,
    options: Options,
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its clouds, and its nodata where another date has data, filled; see `accessor`."""
    found = clouded(raster, clouds, classes, dilate, probability, counted=options.work is not None)
    cube = plausible.checked(found.cube, regions(found.cube.shape), options.work is not None)
    found = found._replace(cube=cube)
    cloudy = found.mask[:, None]  # (time, 1, y, x)
    notes = [*found.notes, *(found.inverted() if options.work is not None or not cube.lazy else [])]
    for note in notes:
        warn(note)
    inside = cube.valid.any(axis=0, keepdims=True)  # beyond the footprint of all dates nothing is made up
    result = _restore(cube, cube.valid & ~cloudy, inside, dates, "decloud", options)
    return warned(result, notes).assign_attrs(ngr_mask=json.dumps(found.record))


def learn(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any,
    classes: Sequence[int] | None,
    dilate: int | None,
    probability: float,
    options: Options,
) -> Prior:
    """Return what `decloud` would learn of the scene before it solves tiles; see `accessor`."""
    cube, mask, *_ = clouded(raster, clouds, classes, dilate, probability)
    cube = plausible.checked(cube, regions(cube.shape))
    observed = cube.valid & ~mask[:, None]
    fill = ~observed & cube.valid.any(axis=0, keepdims=True)
    values, seen, gaps = dask.compute(*_lesson(cube, observed, fill))
    for note in plausible.notes(cube):
        warn(note)
    targets = list(range(len(cube.dates)))
    return _learn(values, seen, gaps, targets, cube.days, settings_of(options), _networks(options), options.progress)


def inpaint(
    raster: xr.DataArray | xr.Dataset, missing: Any, dates: Dates, options: Options
) -> xr.DataArray | xr.Dataset:
    """Return the raster with its missing pixels filled: those of a mask, or without one nodata and NaN; see `accessor`."""
    cube, gap, found = gaps(raster, missing, options.extent, options.work is not None)
    result = _restore(cube, cube.valid & ~gap, gap & found.inside, dates, "inpaint", options, found.notes())
    if found.left is None and options.work is not None:
        rows = json.loads(result.attrs["ngr_dates"])
        if any(rows[d]["missing"] > rows[d]["filled"] for d in date_indices(cube, dates)):
            warn(footprint.SOME)
    return result.assign_attrs(ngr_mask=mask_record(missing, extent=options.extent))


def gaps(
    raster: xr.DataArray | xr.Dataset, missing: Any, extent: str, now: bool
) -> tuple[Cube, Any, footprint.Footprint]:
    """Return the cube of a raster, what of it is missing (time, band, y, x), and how far it is filled: all of a mask."""
    cube = cubes.read(raster, exclude=[missing] if isinstance(missing, str) else ())
    cube = plausible.checked(cube, regions(cube.shape), now)
    if missing is None:
        return cube, ~cube.valid, footprint.of(cube, extent, now)
    footprint.check(extent)
    return cube, missing_mask(cube, missing), footprint.Footprint(np.ones((1, 1, 1, 1), bool), 0)


def mask_record(missing: Any, otherwise: str = "nodata", extent: str | None = None) -> str:
    """Return as JSON where a mask of missing pixels is from; `otherwise`: what counts where none was given, and its extent."""
    if missing is not None:
        return json.dumps({"source": masks.source(missing)})
    return json.dumps({"source": otherwise, **({} if extent is None else {"extent": extent})})


def _restore(
    cube: Cube,
    observed: Any,
    fillable: Any,
    dates: Dates,
    verb: str,
    options: Options,
    found: Sequence[str] = (),
) -> xr.DataArray | xr.Dataset:
    """Return the raster restored.

    Args:
        cube: the raster.
        observed: (time, band, y, x), True where a pixel is measured and trusted.
        fillable: broadcastable to that, True where a pixel may be filled.
        dates: to fill; None: all.
        verb: for the record.
        options: see `Options`.
        found: what else to warn of.
    """
    settings = settings_of(options)
    targets = date_indices(cube, dates)
    area = areas.read(cube, options.aoi)
    chosen = np.isin(np.arange(len(cube.dates)), targets)[:, None, None, None]
    gaps = ~observed & fillable & chosen  # (time, band, y, x); the scene is learnt from all of them
    pieces = tiles.grid(cube.shape[-2:], options.tile, options.overlap)
    take_part = taking_part(cube, observed, options.work is not None)
    gaps = gaps & take_part[:, None, None]
    left_out = [] if cube.lazy and options.work is None else [cube.bands[b] for b in np.flatnonzero(~take_part)]
    notes = [*notes_on(cube), *plausible.notes(cube), *found, *left_out_notes(left_out)]
    for note in notes:
        warn(note)

    if work.active_client() is None and (options.work is not None or not cube.lazy):
        settings = settings.placed()  # it runs here and now
    solve = _in_folder if options.work is not None else _lazily if cube.lazy else _in_memory
    job = Job(cube, observed, gaps, targets, pieces if area is None else area.touched(pieces), area, take_part)
    result = plausible.noted(areas.noted(solve(job, verb, settings, options), area), cube)
    if left_out:
        result = result.assign_attrs(ngr_bands_left_out=json.dumps(left_out))
    elif isinstance(take_part, da.Array):
        told = {"long_name": "bands that hold nothing, and take no part"}
        result = result.assign_coords(ngr_band_left_out=plausible.per_band(cube, ~take_part, told))
    if cube.left_out:
        result = result.assign_attrs(ngr_left_out=json.dumps(cube.left_out))
    return warned(result, notes)


def taking_part(cube: Cube, observed: Any, now: bool = False) -> Any:
    """Return which bands take part (B,): all with a value observed in the windows that the scene is learnt from.

    A band that holds nothing would make every pixel of every date a gap. Of a lazy cube it is found when the graph is computed,
    unless `now`.
    """
    seen = [observed[(..., *r)] for r in regions(cube.shape)]
    if not cube.lazy:
        return _observed_bands(seen)
    found = dask.delayed(_observed_bands)(seen)
    if now:
        return work.compute([found])[0]
    return da.from_delayed(dask.delayed(_named)(found, cube.bands), cube.shape[1:2], bool)


def unseen(observed: Any, take_part: Any) -> Any:
    """Return which pixels are missing (time, y, x): those without a value in one of the bands that take part (band,), or None."""
    return (~observed if take_part is None else ~observed & take_part[:, None, None]).any(axis=1)


def _observed_bands(observed: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return which bands (B,) are observed anywhere in windows (time, band, h, w); all where none is."""
    found: NDArray[np.bool_] = np.any([o.any(axis=(0, 2, 3)) for o in observed], axis=0)
    return found if found.any() else ~found


def _named(take_part: NDArray[np.bool_], bands: Sequence[str]) -> NDArray[np.bool_]:
    """Return which bands take part as it is, and warn of those that do not."""
    for note in left_out_notes([bands[b] for b in np.flatnonzero(~take_part).tolist()]):
        warn(note)
    return take_part


def left_out_notes(bands: Sequence[str]) -> list[str]:
    """Return the warning of bands that hold nothing."""
    if not bands:
        return []
    return [
        f"Without any valid value on any date, where the scene is learnt from: {', '.join(bands)}. Left as it is, and without part "
        "in the rest; expected some values. Check its nodata value, or leave it out."
    ]


class Job(NamedTuple):
    """A raster and what is to be done: what of it is observed, its gaps (time, band, y, x), target dates, tiles, area."""

    cube: Cube
    observed: Any
    gaps: Any
    targets: Sequence[int]
    pieces: Sequence[Tile]
    area: Area | None
    take_part: Any
    """(band,) Which bands take part: see `taking_part`."""

    @property
    def unseen(self) -> Any:
        """What is missing (time, y, x): see `unseen`."""
        return unseen(self.observed, self.take_part)

    @property
    def fill(self) -> Any:
        """What is filled (time, band, y, x): the gaps, those in the area where there is one."""
        return self.gaps if self.area is None else self.gaps & self.area.mask()


def _in_memory(job: Job, verb: str, settings: Settings, options: Options) -> xr.DataArray | xr.Dataset:
    """Return the restored raster, solved here and now."""
    cube, observed, _, targets, pieces, *_ = job
    fill = job.fill
    _check_observed(cube, observed, fill, targets)
    tell = options.progress or silent
    shares = Shares(*_shares(job, fill), _counts([]))
    if not fill.any():
        warn("Nothing is missing in the chosen dates: the result is the input.")
        nothing = {"uncertainty": np.zeros(cube.shape, np.float32)} if settings.uncertainty else {}
        return _recorded(cubes.write(cube, cube.values, fill, layers=nothing), cube, None, shares, verb, settings)

    prior = _learn(*_lesson(cube, observed, job.gaps), targets, cube.days, settings, _networks(options), tell)
    states = _solve_all(prior, cube, observed, fill, pieces, settings, tell)
    whole = slice(0, cube.shape[-2]), slice(0, cube.shape[-1])
    restored, layers = _split(tiles.blend(pieces, states, whole, _leading(cube.shape[:2], settings)), settings)
    shares = shares._replace(tiles=_counts([_outcome(s) for s in states]))
    result = cubes.write(cube, restored, fill, layers=layers)
    return _recorded(result, cube, prior, shares, verb, settings)


def _shares(job: Job, fill: Any) -> tuple[Any, Any, Any]:
    """Return which shares (T,) of each date's pixels, in the area where there is one, are missing, filled, and seen on no date."""
    inside = np.ones(job.cube.shape[-2:], bool) if job.area is None else job.area.mask()
    maps = job.unseen, fill.any(axis=1), _seen_on_no_date(job.unseen, fill)
    missing, filled, blind = ((a & inside).sum((1, 2)) / inside.sum() for a in maps)
    return missing, filled, blind


def _seen_on_no_date(missing: Any, fill: Any) -> Any:
    """Return what is filled (time, y, x) though it is `missing` (time, y, x) on all dates; nowhere with one date alone."""
    return fill.any(axis=1) & missing.all(axis=0) & (len(missing) > 1)


def _sample(cube: Cube, observed: Any, fill: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return values, observed and fill of the windows that a scene is learnt from."""
    values, seen, gaps = ([a[(..., *r)] for r in regions(cube.shape)] for a in (cube.values, observed, fill))
    return values, seen, gaps


def _lesson(cube: Cube, observed: Any, fill: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return what `_learn` takes: the sample, without `fill` where gaps may lie outside of it."""
    values, seen, gaps = _sample(cube, observed, fill)
    return values, seen, gaps if values[0].shape[-2:] == cube.shape[-2:] else []


def _learn(
    values: Sequence[NDArray[Any]],
    observed: Sequence[NDArray[np.bool_]],
    fill: Sequence[NDArray[np.bool_]],
    targets: Sequence[int],
    days: NDArray[np.float64],
    settings: Settings,
    networks: Sequence[Any] = (),
    progress: Progress | None = None,
) -> Prior:
    """Return what there is to learn from windows of the scene, (time, band, h, w) each; `networks` were learnt elsewhere.

    `fill` is empty where the windows are not the whole scene: then every date is learnt, as it may have gaps outside of them.
    """
    from .methods.filling import fit

    if not any(o.any() for o in observed):
        msg = (
            "No pixel is observed on any date, expected some clear ones: check the mask (True means cloud) and nodata."
        )
        raise MaskError(msg)
    take_part = _observed_bands(observed)
    center, spread = _scaling(values, observed, days)
    low = min(float(v[o].min()) for v, o in zip(values, observed, strict=True) if o.any())
    high = max(float(v[o].max()) for v, o in zip(values, observed, strict=True) if o.any())
    prior = Prior(center, spread, (low, high), None, None if take_part.all() else take_part)
    if settings.method == "paper":
        return prior
    windows = [_window(prior, v, o) for v, o in zip(values, observed, strict=True)]
    # Of a whole scene, a date without gaps has nothing to teach or to judge.
    wanted = [t for t in targets if any(f[t].any() for f in fill)] if fill else targets
    _check_networks(networks, windows[0].values.shape)
    scene = fit(windows, wanted, days.tolist(), settings, progress, networks)
    if prior.bands is not None:
        scene = replace(scene, judgement={d: _for_all(j, prior.bands) for d, j in scene.judgement.items()})
    return replace(prior, scene=scene)


def _for_all(judgement: Any, bands: NDArray[np.bool_]) -> Any:
    """Return a judgement with NaN for the bands that took no part."""
    wide = {}
    for name in judgement._fields[1:]:
        column = np.full(len(bands), np.nan)
        column[bands] = getattr(judgement, name)
        wide[name] = tuple(column.tolist())
    return judgement._replace(**wide)


def _solve_tile(
    prior: Prior,
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    tile: Tile,
    settings: Settings,
) -> NDArray[np.float32] | None:
    """Return one tile (time, band, h, w) solved, in the raster's units; None if it has nothing to fill, NaN if it cannot be.

    With `settings.uncertainty` (2, time, band, h, w): the values and their standard deviations.

    A function of its arguments alone: it does not matter where and when it runs.
    """
    from .methods.filling import solve, solve_as_published

    targets = [int(t) for t in np.flatnonzero(fill.any(axis=(1, 2, 3)))]
    if not targets:
        return None
    if not observed.any():
        return np.full((*_leading(values.shape[:2], settings), *values.shape[2:]), np.nan, np.float32)
    if prior.bands is not None and not prior.bands.all():
        return _solve_some(prior, values, observed, fill, tile, settings)
    if prior.scene is None:
        low, high = prior.limits
        unit = max(high - low, 1e-12)
        scaled = np.where(observed, (values.astype(np.float64) - low) / unit, 0).astype(np.float32)
        answer = solve_as_published(scaled, observed, replace(settings, seed=tile.seed(settings.seed)))
        return (answer.astype(np.float64) * unit + low).astype(np.float32)
    answer, deviation = (a.numpy() for a in solve(prior.scene, _window(prior, values, observed), targets, settings))
    filled = (answer * prior.spread + prior.center).astype(np.float32)
    return np.stack([filled, deviation * prior.spread]) if settings.uncertainty else filled


def _solve_some(
    prior: Prior,
    values: NDArray[Any],
    observed: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    tile: Tile,
    settings: Settings,
) -> NDArray[np.float32] | None:
    """Return one tile solved from the bands that take part, NaN in the others, which nothing is filled in."""
    bands = prior.bands
    assert bands is not None
    part = replace(prior, center=prior.center[:, bands], spread=prior.spread[:, bands], bands=None)
    seen, gap = (np.broadcast_to(a, values.shape)[:, bands] for a in (observed, fill))
    answer = _solve_tile(part, values[:, bands], seen, gap, tile, settings)
    if answer is None:
        return None
    whole = np.full((*_leading(values.shape[:2], settings), *values.shape[2:]), np.nan, np.float32)
    whole[..., bands, :, :] = answer
    return whole


def _leading(shape: tuple[int, int], settings: Settings) -> tuple[int, ...]:
    """Return the dimensions of a tile's answer before its rows and columns, for (dates, bands)."""
    return (2, *shape) if settings.uncertainty else shape


def _split(blended: Any, settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Return values, and standard deviations where these were asked for, of blended answers."""
    return (blended[0], {"uncertainty": blended[1]}) if settings.uncertainty else (blended, {})


def _solve_all(
    prior: Prior,
    cube: Cube,
    observed: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    pieces: Sequence[Tile],
    settings: Settings,
    tell: Progress,
) -> list[NDArray[np.float32] | None]:
    """Return all tiles, solved side by side in threads."""

    def solve_one(tile: Tile) -> NDArray[np.float32] | None:
        here = (..., *tile.window)
        return _solve_tile(prior, cube.values[here], observed[here], fill[here], tile, settings)

    together = side_by_side(cube, pieces, settings)
    return tiles.each(pieces, solve_one, together, tell)


def side_by_side(cube: Cube, pieces: Sequence[Tile], settings: Settings) -> int:
    """Return how many tiles are solved at a time in this process: one on a GPU, else one per core, as far as memory goes."""
    rows, columns = (max(s.stop - s.start for s in sides) for sides in zip(*(t.window for t in pieces), strict=True))
    fitting = MOST_VALUES // (cube.shape[0] * cube.shape[1] * rows * columns)
    return max(1, min(os.cpu_count() or 1, fitting)) if settings.placed().device == "cpu" else 1


def _lazily(job: Job, verb: str, settings: Settings, options: Options) -> xr.DataArray | xr.Dataset:
    """Return the restored raster as a Dask graph: one task that learns, one per tile, and the blending."""
    cube, _, _, targets, pieces, *_ = job
    observed, gaps, fill = (da.asarray(a) for a in (job.observed, job.gaps, job.fill))
    sample = _sample(cube, observed, gaps)
    inside = None if job.area is None else [job.area.mask()[r] for r in regions(cube.shape)]
    learn = dask.delayed(_learn_and_warn)
    prior = learn(*sample, inside, list(targets), cube.dates, cube.shape, cube.days, settings, _networks(options))
    solve = dask.delayed(_solve_tile)
    cut = [work.windows(a) for a in (cube.values, observed, fill)]
    with work.asking_for_gpus():
        solved = [solve(prior, *(window(t.window) for window in cut), t, settings) for t in pieces]
    blended = tiles.blend_lazy(pieces, solved, _leading(cube.shape[:2], settings), cube.values.chunks[-2:])
    restored, layers = _split(blended, settings)
    result = stamped(cubes.write(cube, restored, fill, layers=layers), verb, settings)
    shares = dask.delayed(Shares)(*_shares(job, fill), {})
    rows = dask.delayed(_rows)(cube.dates, cube.bands, prior, shares, settings.method)
    return records.written(result, cube, rows, ("missing", *records.COMMON, *(["unseen"] * (len(cube.dates) > 1))))


def _learn_and_warn(
    values: Sequence[NDArray[Any]],
    observed: Sequence[NDArray[np.bool_]],
    fill: Sequence[NDArray[np.bool_]],
    inside: Sequence[NDArray[np.bool_]] | None,
    targets: Sequence[int],
    dates: Sequence[str],
    shape: Sequence[int],
    *rest: Any,
) -> Prior:
    """Return what `_learn` does of a lazy raster, and warn of what is known only now: what no date saw in its windows.

    `inside` is the area of interest in each window, where there is one, `shape` that of the cube; see `_learn` for the rest.
    """
    prior = _learn(values, observed, fill if values[0].shape[-2:] == shape[-2:] else [], targets, *rest)
    filled = [f if inside is None else f & inside[i] for i, f in enumerate(fill)]
    missing = [unseen(o, prior.bands) for o in observed]
    maps = [(m, f.any(axis=1), _seen_on_no_date(m, f)) for m, f in zip(missing, filled, strict=True)]
    shares = [np.mean([part.mean((1, 2)) for part in kind], axis=0) for kind in zip(*maps, strict=True)]
    rows = _rows(dates, (), replace(prior, scene=None), Shares(shares[0], shares[1], shares[2], {}), "auto")
    for note in _notes_on_unseen(rows, prior):
        warn(note)
    return prior


def _in_folder(job: Job, verb: str, settings: Settings, options: Options) -> xr.DataArray | xr.Dataset:
    """Return the restored raster, blended from tiles that are solved and kept in a work folder here and now.

    The pixels of a lazy raster stay lazy: they are read, and the tiles blended into them, when the result is computed.
    """
    assert options.work is not None
    tell = options.progress or silent
    networks = _networks(options)
    cube, targets, pieces, area = job.cube, job.targets, job.pieces, job.area
    values, observed, gaps, fill = (work.blocks(a) for a in (cube.values, job.observed, job.gaps, job.fill))
    inside = None if area is None else work.windows(work.blocks(area.mask()))
    sample = _lesson(replace(cube, values=values), observed, gaps)
    seen: tuple[list[Any], list[Any], list[Any]] = work.compute([dask.delayed(sample)])[0]
    identified = {
        **identity(cube, verb, settings, options, area),
        "dates": [cube.dates[t] for t in targets],
        "pixels": store.digests_of(seen),
        "prior": store.digest([w.numpy() for n in networks for w in n.state_dict().values()]) if networks else None,
    }

    def learn() -> Prior:
        if not work.elsewhere():
            return _learn(*seen, targets, cube.days, settings, networks, tell)
        learnt: Prior = work.compute([dask.delayed(_learn)(*sample, list(targets), cube.days, settings, networks)])[0]
        return learnt

    with work.opened(options.work, identified, jobs.sources(cube.raster)) as folder:
        prior = _prior_in(folder, learn)
        seen = ([], [], [])  # it is large
        cut = [*(work.windows(a) for a in (values, observed, fill)), inside]
        kept = dask.delayed(load_prior, pure=True)(
            str(folder.prior), folder.learnt
        )  # once for the tiles of a computation

        def read(tile: Tile) -> list[Any]:
            return [None if window is None else window(tile.window) for window in cut]

        def solve(tile: Tile, parts: list[Any], slot: Slot) -> Any:
            return dask.delayed(_solve_and_keep, pure=False)(kept, parts, tile, settings, slot)

        folder.solve(pieces, read, solve, tell, side_by_side(cube, pieces, settings))
        slots = folder.slots(pieces)
        shares, seals = _tallied(slots, cube)
    leading, chunks = _leading(cube.shape[:2], settings), values.chunks[-2:]
    stored = [Stored(slot.path, "values", seal) for slot, seal in zip(slots, seals, strict=True)]
    blended = tiles.blend_lazy(pieces, stored, leading, chunks)
    restored, layers = _split(blended if cube.lazy else blended.compute(), settings)
    result = cubes.write(cube, restored, fill if cube.lazy else fill.compute(), layers=layers)
    return _recorded(result, cube, prior, shares, verb, settings)


def _prior_in(folder: work.Work, learn: Callable[[], Prior]) -> Prior:
    """Return the prior that a work folder keeps: what `learn` returns where it has none yet, or one that is damaged."""
    if folder.learnt is not None:
        try:
            return load_prior(folder.prior, folder.learnt)
        except InputError as error:
            text = f"What was learnt of the scene is learnt again: {error}"
            warn(text)
    folder.learn(learn().save(folder.prior))
    return load_prior(folder.prior, folder.learnt)


def _solve_and_keep(prior: Prior, read: Sequence[Any], tile: Tile, settings: Settings, slot: Slot) -> None:
    """Solve a tile and write its record: `values` (time, band, h, w) where it fills, and counts of its core's pixels.

    Args:
        prior: of the scene.
        read: values, observed and fill (time, band, h, w), and the area of interest (h, w): pixels inside are counted, all if None.
        tile: which one.
        settings: to solve it with.
        slot: where its record is kept.
    """
    begun = time.perf_counter()
    values, observed, fill, inside = read
    answer = _solve_tile(prior, values, observed, fill, tile, settings)
    told = work.telling(begun, settings.placed().device)
    if answer is not None and settings.uncertainty:
        deviation = answer[1][np.broadcast_to(fill, values.shape)]
        told["uncertainty"] = float(deviation.mean(dtype=np.float64))
    core = (slice(None), *tile.core)
    counted = np.ones(values.shape[-2:], bool) if inside is None else inside
    missing = unseen(observed, prior.bands)
    counts = {
        "pixels": counted[tile.core].sum(),
        "missing": np.asarray(missing & counted)[core].sum((1, 2)),
        "filled": np.asarray(fill.any(axis=1))[core].sum((1, 2)),
        "unseen": np.asarray(_seen_on_no_date(missing, fill))[core].sum((1, 2)),
        "outcome": np.array(_outcome(answer)),
    }
    kept = (
        {} if answer is None else store.sparse("values", answer, np.broadcast_to(fill, answer.shape))
    )  # elsewhere nothing is asked of it
    store.keep(slot, read, {**counts, **kept}, told)


def _tallied(slots: Sequence[Slot], cube: Cube) -> tuple[Shares, list[str]]:
    """Return the shares of a whole scene from the records of its tiles, and the seals of these."""
    counts, pixels, outcomes, seals = np.zeros((3, len(cube.dates))), 0, [], []
    for slot in slots:
        with store.opened_at(slot) as kept:
            counts += np.stack([kept["missing"], kept["filled"], kept["unseen"]])
            pixels += int(kept["pixels"])
            outcomes.append(str(kept["outcome"]))
            seals.append(kept.seal)
    missing, filled, blind = counts / max(pixels, 1)
    return Shares(missing, filled, blind, _counts(outcomes)), seals


def _outcome(state: NDArray[np.float32] | None) -> str:
    """Return what became of a tile: it had nothing to fill, could not be solved, or was solved."""
    if state is None:
        return "nothing"
    return "unsolvable" if np.isnan(state).all() else "solved"


def _counts(outcomes: Sequence[str]) -> dict[str, int]:
    return {"total": len(outcomes), "solved": outcomes.count("solved"), "unsolvable": outcomes.count("unsolvable")}


def identity(cube: Cube, verb: str, settings: Settings, options: Options, area: Area | None) -> dict[str, Any]:
    """Return what makes a job the same job, beside its pixels."""
    return {
        "version": version("ngr_geo"),
        "verb": verb,
        "method": settings.method,
        "steps": settings.steps,
        "seed": settings.seed,
        "tune": settings.tune,
        "uncertainty": settings.uncertainty,
        "tile": options.tile,
        "overlap": options.overlap,
        "shape": list(cube.shape),
        "bands": list(cube.bands),
        "all dates": list(cube.dates),
        "days": [str(day) for day in cube.days],
        "aoi": None if area is None else area.record["digest"],
        "extent": options.extent,
    }


def _networks(options: Options) -> tuple[Any, ...]:
    """Return the networks of the prior that was given, if one was."""
    if options.prior is None:
        return ()
    given = options.prior if isinstance(options.prior, Prior) else load_prior(options.prior)
    if not given.networks:
        msg = "Found a prior without networks, as the method guide or one date alone leaves it: expected one with something learnt."
        raise InputError(msg, call="Leave prior= out.", option="Leave --prior out.")
    return given.networks


def _check_networks(networks: Sequence[Any], shape: Sequence[int]) -> None:
    """Raise where networks learnt elsewhere do not fit a stack (time, band, h, w)."""
    from .guides.dates import REFERENCES

    bands, width = shape[1], min(REFERENCES, shape[0] - 1)
    for network in networks:
        inputs, outputs = network.stem.convolution.in_channels, network.head.out_channels
        if (inputs, outputs) != (bands + width * (bands + 1), bands):
            msg = (
                f"Found a prior for {outputs} bands and {(inputs - outputs) // (outputs + 1)} reference dates, expected one for "
                f"{bands} bands and {width} (a stack of {shape[0]} dates): train one on such a stack,"
            )
            raise InputError(msg, call="or leave prior= out.", option="or leave --prior out.")


def _window(prior: Prior, values: NDArray[Any], observed: NDArray[np.bool_]) -> Any:
    """Return a standardised window for the task. A pixel with a band missing is a gap of its whole date."""
    import torch

    from .methods.filling import Window

    center, spread = prior.center, prior.spread
    if prior.bands is not None:
        values, observed = values[:, prior.bands], observed[:, prior.bands]
        center, spread = center[:, prior.bands], spread[:, prior.bands]
    known = np.asarray(observed.all(axis=1))  # (time, h, w)
    scaled = (values.astype(np.float64) - center) / spread
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


class Clouded(NamedTuple):
    """A cube and its cloud mask (time, y, x), grown; what that was made of and what to know of it; the mask before it was grown."""

    cube: Cube
    mask: Any
    record: dict[str, Any]
    notes: list[str]
    plain: Any

    def inverted(self) -> list[str]:
        """Return a warning where what the mask calls clear looks like cloud; it reads the windows a scene is learnt from."""
        values, valid, masked = dask.compute(*_sample(self.cube, self.cube.valid, self.plain[:, None]))
        return maskcheck.inverted(values, valid, masked, self.cube.bands)


def clouded(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any,
    classes: Sequence[int] | None,
    dilate: int | None,
    probability: float = 0.5,
    counted: bool = False,
) -> Clouded:
    """Return the cube, the cloud mask on its grid, and what it was made of (`masks.with_record`)."""
    name = clouds
    if clouds is None and isinstance(raster, xr.Dataset):
        name = masks.find(raster)
    found = masks.with_record(raster, clouds, classes, dilate, probability, counted)
    cube = cubes.read(raster, exclude=[name] if isinstance(name, str) else ())
    return Clouded(cube, _on_cube(cube, found.mask), found.record, found.notes, _on_cube(cube, found.plain))


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
            msg = f"Found no variable {missing!r} for what is missing; there are {listed(have) or 'none'}."
            raise MaskError(
                msg,
                call="Pass one of them, or a boolean DataArray.",
                option="Name one of them, or mask files: --missing",
            )
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
        msg = f"Found a mask of dtype {missing.dtype}, expected booleans, True where a pixel is missing:"
        raise MaskError(msg, call="pass for example mask == 1.", option="write a mask of 0 and 1.")
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
    return selection.dates(cube.dates, dates)


def check(options: Options) -> None:
    """Raise where keywords are not what they can be."""
    if options.method not in METHODS:
        msg = f"Found the method {options.method!r}, expected one of {', '.join(METHODS)}:"
        raise InputError(msg, call='method="auto".', option="--method auto")
    if options.steps is not None:
        _check_whole("steps", options.steps, 1)
    for name, least in (("tune", 0), ("seed", 0), ("tile", 1), ("overlap", 0)):
        _check_whole(name, getattr(options, name), least)
    if options.uncertainty and options.method == "paper":
        msg = "Found uncertainty asked of the method paper, which hides no pixels to learn it from, expected another method:"
        raise InputError(
            msg,
            call='method="auto", "ngr" or "guide".',
            option="--method auto, ngr or guide; or leave --uncertainty out.",
        )
    tiles.spans(1, options.tile, options.overlap)


def settings_of(options: Options) -> Settings:
    """Return checked settings for the task."""
    check(options)
    import torch

    from .methods.filling import Settings

    try:
        if options.device is not None and work.active_client() is None:  # a cluster's workers have devices of their own
            torch.empty(1, device=options.device).cpu()  # `meta` holds no numbers
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        msg = f"Found the device {options.device!r}, which torch cannot use here ({reason}): use"
        raise InputError(msg, call='device="cpu".', option="--device cpu") from error
    chosen: Any = options.method
    return Settings(chosen, options.steps, options.seed, options.device, options.tune, options.uncertainty)


MOST = 2**63 - 1
"""The largest number that a seed, a size or a count of steps may be."""


def _check_whole(name: str, value: Any, least: int) -> None:
    """Raise where a keyword is no whole number from `least` on."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= MOST:
        msg = f"Found {name} {value!r}, expected a whole number from {least} to {MOST}:"
        raise InputError(
            msg, call=f"{name}={max(least, 1)}, for example.", option=f"--{name} {max(least, 1)}, for example."
        )


def _check_observed(cube: Cube, observed: NDArray[np.bool_], fill: NDArray[np.bool_], targets: Sequence[int]) -> None:
    if not observed.any():
        raise nothing_clear(cube)
    blind = [cube.dates[d] for d in targets if fill[d].any() and not observed[d].any()]
    if blind:
        text = f"No clear pixel at all on {', '.join(blind)}: interpolated in time from the other dates."
        warn(text)


def warned(result: xr.DataArray | xr.Dataset, notes: Sequence[str]) -> xr.DataArray | xr.Dataset:
    """Return a result with what a user was warned of in its attributes, beside what is there of the same verb."""
    if not notes:
        return result
    before = json.loads(result.attrs.get("ngr_warnings", "[]"))
    return result.assign_attrs(ngr_warnings=json.dumps([*before, *(n for n in notes if n not in before)]))


def nothing_clear(cube: Cube) -> MaskError:
    """Return the error for a stack without a clear pixel."""
    many = f"any of {len(cube.dates)} dates" if len(cube.dates) > 1 else "the one date"
    return MaskError(
        f"No pixel of {many} is clear, so there is nothing to learn from; expected some: check that 1 means cloud in the mask, and",
        call="classes=[...] and dilate=.",
        option="--classes and --dilate.",
    )


def notes_on(cube: Cube) -> list[str]:
    """Return what a user should know before the work starts."""
    notes = []
    if len(cube.dates) == 1:
        notes.append("There is only one date: gaps are filled from their surroundings alone (spatial inpainting).")
    layers = [name for name in cube.left_out if name.lower() not in products.PLAIN]
    if layers:
        notes.append(
            f"Left out as layers of quality, which are no bands, and returned as they are: {', '.join(layers)}."
        )
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
    result: xr.DataArray | xr.Dataset, cube: Cube, prior: Prior | None, shares: Shares, verb: str, settings: Settings
) -> xr.DataArray | xr.Dataset:
    """Return the result with what was done written into its attributes."""
    rows = _rows(cube.dates, cube.bands, prior, shares, settings.method)
    notes = _notes_on_unseen(rows, prior)
    for note in notes:
        warn(note)
    result = warned(result, notes)
    if prior and prior.scene:
        settings = replace(settings, steps=prior.scene.steps)
    peak = prior.limits[1] - prior.limits[0] if prior else np.nan
    expected = {"ngr_expected": json.dumps(found)} if (found := scene_expectation(rows, peak, cube.bands)) else {}
    counts = json.dumps(shares.tiles)
    return stamped(result, verb, settings).assign_attrs(ngr_dates=json.dumps(rows), ngr_tiles=counts, **expected)


def _rows(dates: Sequence[str], bands: Sequence[str], prior: Prior | None, shares: Shares, asked: str) -> list[Row]:
    """Return what was done on each date: what is missing, filled and seen on no date, the method, the errors expected."""
    judged = prior.scene.judgement if prior and prior.scene else {}
    rows = []
    for index, name in enumerate(dates):
        missing, filled = (round(float(s[index]), 6) for s in (shares.missing, shares.filled))
        row: Row = {"date": name, "missing": missing, "filled": filled, "method": "none"}
        if prior and shares.filled[index]:
            row["method"] = judged[index].method if index in judged else "paper"
        if prior and len(dates) > 1:
            row["unseen"] = round(float(shares.unseen[index]), 6)
        if prior and index in judged and shares.filled[index]:
            row |= _expectation(judged[index], prior, index, bands)
            row |= choice(judged[index].scaled(prior.spread[index, :, 0, 0].astype(float)), asked)
        rows.append(row)
    return rows


def _notes_on_unseen(rows: Sequence[dict[str, Any]], prior: Prior | None) -> list[str]:
    """Return a warning for each date of which a part that counts was filled though no date saw it, or nobody knows how well."""
    notes = []
    measured = prior.scene.unseen_spread if prior and prior.scene else {}
    for index, row in enumerate(rows):
        share = row.get("unseen", 0.0) / max(row["filled"], 1e-9)
        unknown = share > 0 and prior is not None and prior.scene is not None and index not in measured
        if share < UNSEEN_WARNED and not unknown:
            continue
        part = f"{share:.1%}" if share >= 0.001 else "Less than 0.1%"
        text = f"{part} of the gaps of {row['date']} were seen on no other date: they are interpolated from their surroundings."
        unknown_text = " How far off that may be could not be measured: too little can be hidden in the same situation."
        notes.append(text + unknown_text * unknown)
    return notes


def choice(judgement: Any, asked: str) -> dict[str, Any]:
    """Return the figures that guide or NGR was kept by, as JSON can hold them; {} where nothing was measured on blocks.

    RMSE on the hidden blocks, geometric mean of the bands, since their gains in dB are averaged.

    Args:
        judgement: in the raster's units.
        asked: the method that the user asked for.
    """
    figures = {}
    for member in ("guide", "ngr"):
        rmse = np.asarray(getattr(judgement, f"{member}_hidden"), float)
        rmse = rmse[np.isfinite(rmse) & (rmse > 0)]
        if rmse.size:
            figures[member] = float(f"{np.exp(np.log(rmse).mean()):.5g}")
    return records.choice({**figures, "blocks": int(np.nanmax(judgement.blocks))}, asked)


def _expectation(judgement: Any, prior: Prior, date: int, bands: Sequence[str]) -> dict[str, Any]:
    """Return the error expected in the gaps of a date, in the raster's units, as JSON can hold it."""
    scaled = judgement.scaled(prior.spread[date, :, 0, 0].astype(float))
    tables = {k: np.asarray(getattr(scaled, k)) for k in judgement._fields[1:]}
    errors = {m: {k: tables[f"{m}_{k}"] for k in ("rmse", "bias")} for m in ("guide", "ngr")}
    kept = errors[judgement.method] | {"doubt": tables["doubt"]}
    return expectation(errors, kept, prior.limits[1] - prior.limits[0], bands)


Errors = dict[str, NDArray[np.float64]]
""""rmse", "bias" and, of what was kept, "doubt", per band (B,); NaN where not known."""


def expectation(errors: dict[str, Errors], kept: Errors, peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return the errors that are expected, as JSON can hold them.

    Args:
        errors: of "guide" and "ngr".
        kept: of the method that was kept.
        peak: the range of values that PSNR is told of.
        bands: their names.
    """
    rmse = {m: table["rmse"] for m, table in errors.items()}
    row: dict[str, Any] = {f"{m}_rmse": float(np.nanmean(e)) if np.isfinite(e).any() else None for m, e in rmse.items()}
    if row["guide_rmse"] and row["ngr_rmse"]:
        row["gain_db"] = round(float(np.nanmean(20 * np.log10(rmse["guide"] / rmse["ngr"]))), 3)
    for name, table in {**errors, "expected": kept}.items():
        if np.isfinite(table["rmse"]).any():
            columns = {**table, "psnr": 20 * np.log10(peak / np.maximum(table["rmse"], 1e-12))}
            row[name] = {k: _by_band(columns[k], bands) for k in ("rmse", "bias", "psnr", "doubt") if k in columns}
    return row


def scene_expectation(rows: Sequence[dict[str, Any]], peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return what is expected of a whole scene, for "guide", "ngr" and what was kept ("expected"), from the records of its dates.

    Dates count by how much of them was filled, if anything was.
    """
    found = {}
    for name in ("guide", "ngr", "expected"):
        known = [row for row in rows if name in row]
        weights = np.array([row.get("filled") or 0.0 for row in known])
        weights = weights if weights.any() else np.ones(len(known))
        if not known:
            continue
        tables = {
            k: np.array([[np.nan if (v := row[name][k][b]) is None else v for b in bands] for row in known], float)
            for k in ("rmse", "bias")
        }
        used = np.where(np.isfinite(tables["rmse"]), weights[:, None], 0)
        with np.errstate(invalid="ignore"):  # bands that took no part
            mean = {
                k: (np.nan_to_num(t**p) * used).sum(0) / used.sum(0)
                for (k, t), p in zip(tables.items(), (2, 1), strict=True)
            }
        rmse = np.sqrt(mean["rmse"])
        columns = {"rmse": rmse, "bias": mean["bias"], "psnr": 20 * np.log10(peak / np.maximum(rmse, 1e-12))}
        found[name] = {k: _by_band(v, bands) for k, v in columns.items()}
    return found


def _by_band(values: NDArray[np.float64], bands: Sequence[str]) -> dict[str, float | None]:
    """Return numbers by the names of bands, as JSON can hold them."""
    wide = np.broadcast_to(values, len(bands))
    return {b: float(f"{v:.4g}") if np.isfinite(v) else None for b, v in zip(bands, wide, strict=True)}


def stamped(result: xr.DataArray | xr.Dataset, verb: str, settings: Settings) -> xr.DataArray | xr.Dataset:
    """Return the result with the version, verb and settings that it was made with in its attributes."""
    keep = {name: getattr(settings, name) for name in ("method", "steps", "seed", "device", "tune")}
    return result.assign_attrs(ngr_version=version("ngr_geo"), ngr_verb=verb, ngr_settings=json.dumps(keep))
