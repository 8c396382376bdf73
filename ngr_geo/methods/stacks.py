"""Filling a stack of dates: each is predicted from the others, by a guide and the networks that refine it (`filling`).

The method learns a `StackModel` from a sample of the scene: scaling, guide, networks and expected errors. It solves a tile in the
raster's units. Its stats are counts of the pixels that each tile owns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import rows as records
from ..errors import InputError, MaskError, warn
from ..raster import bands as bands_of
from ..raster import cube as cubes
from ..raster.cube import Cube
from ..tiling import work
from ..tiling.tiles import Tile
from . import expected
from .base import Part, Progress, Row, Sample, Solved, Summary
from .checkpoint import StackModel, load

if TYPE_CHECKING:
    from .problem import Settings

UNSEEN_WARNED = 0.01
"""Share of a date's gaps that no other date saw from which that is warned of; the record counts all of it."""


@dataclass(frozen=True)
class Stack:
    """The method for stacks of dates: the `targets` are filled; `whole`: the sample is all of the scene.

    `networks` were learnt elsewhere: they are used, or trained further, in place of new ones.
    """

    settings: Settings
    targets: tuple[int, ...]
    dates: tuple[str, ...]
    bands: tuple[str, ...]
    days: NDArray[np.float64]
    whole: bool
    networks: tuple[Any, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """What is blended."""
        return ("values", "uncertainty") if self.settings.uncertainty else ("values",)

    @property
    def entries(self) -> tuple[str, ...]:
        """What a row of the record holds."""
        return ("missing", *records.COMMON, *records.BLENDED, "unseen")

    def fit(self, sample: Sample, progress: Progress | None = None) -> StackModel:
        """Return what there is to learn of the scene.

        Raises:
            InputError: there is one date alone.
            MaskError: no pixel is observed.
        """
        from .filling import fit, standardised
        from .placement import first_that_fits

        if len(self.dates) == 1:
            msg = "Found one date, from which there is nothing to learn for others:"
            raise InputError(msg, call="pass a stack of dates.", option="give several dates.")
        values, observed = sample.values, sample.observed
        if not any(o.any() for o in observed):
            msg = "No pixel is observed on any date, expected some clear ones: check the mask (True means cloud) and nodata."
            raise MaskError(msg)
        take_part = bands_of.observed_bands(observed)
        center, deviation = _scaling(values, observed, self.days)
        low = min(float(v[o].min()) for v, o in zip(values, observed, strict=True) if o.any())
        high = max(float(v[o].max()) for v, o in zip(values, observed, strict=True) if o.any())
        model = StackModel(center, deviation, (low, high), None if take_part.all() else take_part)
        if self.settings.method == "paper":
            return model
        # Of a whole scene, a date without gaps has nothing to teach or to judge.
        gaps = sample.gaps if self.whole and sample.gaps is not None else None
        wanted = [t for t in self.targets if gaps is None or any(g[t].any() for g in gaps)]
        _check_networks(self.networks, len(self.dates), int(take_part.sum()))

        def learnt(device: str, apart: bool = False) -> StackModel:
            windows = [standardised(model, v, o, device) for v, o in zip(values, observed, strict=True)]
            settings = replace(self.settings, device=device, apart=apart)
            return fit(model, windows, wanted, self.days.tolist(), settings, progress, self.networks)

        attempts: dict[str, Callable[[str], StackModel]] = {
            "": learnt,
            "one network at a time": partial(learnt, apart=True),
        }
        if self.settings.method == "guide":
            attempts.pop("one network at a time")
        model, place = first_that_fits(self.settings.where, attempts, learnt)
        model = replace(model, place=place if "," in place else "")
        if model.bands is None:
            return model
        return replace(model, judgement={d: j.for_all(model.bands) for d, j in model.judgement.items()})

    def kept(self, folder: work.Work, learn: Callable[[], StackModel]) -> tuple[StackModel, Any]:
        """Return the model that a work folder keeps, learnt where it has none or a damaged one; and as tasks are to load it."""
        import dask

        model = None
        if folder.learnt is not None:
            try:
                model = load(folder.checkpoint, folder.learnt)
            except InputError as error:
                warn(f"What was learnt of the scene is learnt again: {error}")
        if model is None:
            folder.learn(learn().save(folder.checkpoint))
            model = load(folder.checkpoint, folder.learnt)
        # Delayed: it is loaded once for the tiles of a computation.
        handle = dask.delayed(load, pure=True)(str(folder.checkpoint), folder.learnt)
        return model, handle

    def notes(self, model: StackModel, sample: Sample) -> list[str]:
        """Return warnings of what no date saw in the sample."""
        if sample.gaps is None:
            return []
        shares = []
        for index, (observed, gaps) in enumerate(zip(sample.observed, sample.gaps, strict=True)):
            fill = gaps if sample.inside is None else gaps & sample.inside[index]
            missing = missing_in(observed, model.bands)
            maps = missing, fill.any(axis=1), _seen_on_no_date(missing, fill)
            shares.append([part.mean((1, 2)) for part in maps])
        missing, filled, unseen = np.mean(shares, axis=0)
        stats = [{"pixels": np.array(1), "missing": missing, "filled": filled, "unseen": unseen}]
        return self.summary(replace(model, guide=None, judgement={}), stats).notes

    def solve(self, model: StackModel, part: Part, tile: Tile) -> Solved:
        """Return one tile solved, in the raster's units: NaN where it cannot be."""
        values, observed, gaps, inside = part
        assert gaps is not None
        fill = gaps if inside is None else gaps & inside
        layers, place = self._solved(model, values, np.array(np.broadcast_to(observed, values.shape)), fill, tile)
        core = (slice(None), *tile.core)
        counted = np.ones(values.shape[-2:], bool) if inside is None else inside
        missing = missing_in(observed, model.bands)
        stats = {
            "pixels": counted[tile.core].sum(),
            "missing": np.asarray(missing & counted)[core].sum((1, 2)),
            "filled": np.asarray(fill.any(axis=1))[core].sum((1, 2)),
            "unseen": np.asarray(_seen_on_no_date(missing, fill))[core].sum((1, 2)),
            "outcome": np.array("nothing"),
            "place": np.array(place),
        }
        if layers is not None:
            here = np.broadcast_to(fill, values.shape)
            stats["outcome"] = np.array("unsolvable" if np.isnan(layers[:, here]).all() else "solved")
            if self.settings.uncertainty:
                stats["uncertainty"] = layers[1][here].mean(dtype=np.float64)
            layers[:, ~here] = 0  # nothing is asked of it there
        return Solved(layers, {name: np.asarray(value) for name, value in stats.items()})

    def _solved(
        self, model: StackModel, values: NDArray[Any], observed: NDArray[np.bool_], fill: NDArray[np.bool_], tile: Tile
    ) -> tuple[NDArray[np.float32] | None, str]:
        """Return the layers (layer, time, band, h, w) of a tile, and where they were computed.

        The layers are None if it has nothing to fill, NaN if it cannot be solved.
        """
        from . import filling

        targets = [int(t) for t in np.flatnonzero(fill.any(axis=(1, 2, 3)))]
        if not targets:
            return None, ""
        count = len(self.layers)
        if not observed.any():
            return np.full((count, *values.shape), np.nan, np.float32), ""
        if model.bands is not None and not model.bands.all():
            bands = model.bands
            some = replace(model, center=model.center[:, bands], deviation=model.deviation[:, bands], bands=None)
            gaps = np.broadcast_to(fill, values.shape)[:, bands]
            answer, place = self._solved(some, values[:, bands], observed[:, bands], gaps, tile)
            if answer is None:
                return None, place
            wide = np.full((count, *values.shape), np.nan, np.float32)
            wide[:, :, bands] = answer
            return wide, place
        if model.guide is None:
            settings = replace(self.settings, seed=tile.seed(self.settings.seed))
            return filling.filled_as_published(model, values, observed, settings)
        window = filling.Inputs(values, observed, np.broadcast_to(fill, values.shape))
        return filling.filled(model, window, targets, self.settings)

    def written(self, cube: Cube, layers: Any, gaps: Any) -> xr.DataArray | xr.Dataset:
        """Return the raster with its gaps filled."""
        more = {name: layers[i] for i, name in enumerate(self.layers) if i}
        return cubes.write(cube, layers[0], gaps, layers=more)

    def summary(self, model: StackModel, stats: Sequence[dict[str, NDArray[Any]]]) -> Summary:
        """Return what was done on each date: what is missing, filled and seen on no date, the method, the errors expected."""
        total = {n: np.sum([s[n] for s in stats], axis=0) for n in ("pixels", "missing", "filled", "unseen")}
        shares = {n: total[n] / np.maximum(total["pixels"], 1) for n in ("missing", "filled", "unseen")}
        peak = model.limits[1] - model.limits[0]
        rows, notes = [], []
        for index, name in enumerate(self.dates):
            missing, filled, unseen = (round(float(share[index]), 6) for share in shares.values())
            row: Row = {"date": name, "missing": missing, "filled": filled, "method": "none"}
            judgement = model.judgement.get(index)
            some = shares["filled"][index] > 0
            if some:
                row["method"] = judgement.method if judgement else "paper"
            row["unseen"] = unseen
            if judgement and some:
                scaled = judgement.scaled(model.deviation[index, :, 0, 0].astype(float))
                row |= expected.of_judgement(scaled, peak, self.bands)
                row |= expected.choice(scaled, self.settings.method)
            rows.append(row)
            measured = model.guide is None or index in model.unseen_calibration
            notes += _unseen_note(name, row.get("unseen", 0.0) / max(filled, 1e-9), measured)
        settings = self.settings if model.guide is None else replace(self.settings, steps=model.steps)
        return Summary(rows, notes, peak, settings, learnt=model.place)


def _unseen_note(date: str, share: float, measured: bool) -> list[str]:
    """Return a warning of the share of a date's gaps that no date saw, where it counts, or its error could not be measured."""
    if share < UNSEEN_WARNED and (measured or not share):
        return []
    part = f"{share:.1%}" if share >= 0.001 else "Less than 0.1%"
    text = f"{part} of the gaps of {date} were seen on no other date: they are interpolated from their surroundings."
    unknown = " How far off that may be could not be measured: too little can be hidden in the same situation."
    return [text + unknown * (share > 0 and not measured)]


def missing_in(observed: Any, take_part: Any) -> Any:
    """Return which pixels are missing (time, y, x): those without a value in one of the bands that take part (band,), or None."""
    return (~observed if take_part is None else ~observed & take_part[:, None, None]).any(axis=1)


def _seen_on_no_date(missing: Any, fill: Any) -> Any:
    """Return what is filled (time, y, x) though it is `missing` (time, y, x) on all dates."""
    return fill.any(axis=1) & missing.all(axis=0)


def _scaling(
    values: Sequence[NDArray[Any]], observed: Sequence[NDArray[np.bool_]], days: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each date and band, (time, band, 1, 1); a date unseen takes its neighbours'."""
    shape = values[0].shape[:2]
    center, deviation = np.full(shape, np.nan), np.full(shape, np.nan)
    for t in range(shape[0]):
        for b in range(shape[1]):
            seen = np.concatenate([v[t, b][o[t, b]] for v, o in zip(values, observed, strict=True)]).astype(np.float64)
            if seen.size:
                center[t, b], deviation[t, b] = seen.mean(), seen.std()
    order = np.argsort(days, kind="stable")
    for b in range(shape[1]):
        for table in (center, deviation):
            known = [t for t in order if np.isfinite(table[t, b])]
            if known:
                table[:, b] = np.where(
                    np.isfinite(table[:, b]), table[:, b], np.interp(days, days[known], table[known, b])
                )
    fallback = np.nanmean(center) if np.isfinite(center).any() else 0.0
    center = np.where(np.isfinite(center), center, fallback)
    least = 1e-6 * np.maximum(np.abs(center), 1e-6)
    deviation = np.maximum(np.where(np.isfinite(deviation), deviation, 0), least)
    return center[..., None, None].astype(np.float32), deviation[..., None, None].astype(np.float32)


def networks_of(given: Any) -> tuple[Any, ...]:
    """Return the networks of the prior that was given, if one was."""
    if given is None:
        return ()
    given = given if isinstance(given, StackModel) else load(given)
    if not given.networks:
        msg = "Found a prior without networks, as the method guide leaves it: expected one with something learnt."
        raise InputError(msg, call="Leave prior= out.", option="Leave --prior out.")
    return given.networks


def _check_networks(networks: Sequence[Any], dates: int, bands: int) -> None:
    """Raise where networks learnt elsewhere do not fit a stack of so many dates and bands."""
    from ..guides.choice import REFERENCES

    width = min(REFERENCES, dates - 1)
    for network in networks:
        inputs, outputs = network.stem.convolution.in_channels, network.head.out_channels
        if (inputs, outputs) != (bands + width * (bands + 1), bands):
            msg = (
                f"Found a prior for {outputs} bands and {(inputs - outputs) // (outputs + 1)} reference dates, expected one for "
                f"{bands} bands and {width} (a stack of {dates} dates): train one on such a stack,"
            )
            raise InputError(msg, call="or leave prior= out.", option="or leave --prior out.")
