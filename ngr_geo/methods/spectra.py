"""Noise, stripes, dead lines and gaps of spectral cubes, date by date: judged by the other bands and the neighbours.

The method scales a scene by one number and leaves the rest to `faults.solve`, tile by tile. Of gaps it blends what they are filled
with; of noise, stripes and lines that it finds itself the correction, so that what was measured stays as it was but for that.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import rows as records
from ..errors import InputError
from ..keywords import OF_STACKS
from ..raster import cube as cubes
from ..raster.cube import Cube
from ..tiling import work
from ..tiling.tiles import Tile
from . import expected
from .base import Part, Progress, Row, Sample, Solved, Summary, Task

if TYPE_CHECKING:
    from torch import Tensor

    from .problem import Judgement, Settings
    from .spectral import Answer

QUANTILE = 0.999
WHOLE = 0.999
"""Sum of the weights of tiles from which on all of them count: it is 1 to float32 precision."""


@dataclass(frozen=True)
class Spectra:
    """The method for spectral cubes. `together`: the bands of all dates are those of one cube, in which gaps are filled."""

    task: Task
    settings: Settings
    dates: tuple[str, ...]
    bands: tuple[str, ...]
    together: bool = False
    entries = ("kind", *records.COMMON)
    """What a row of the record holds."""

    @property
    def fills(self) -> bool:
        """True where the gaps are known beforehand: nothing else is changed then."""
        return self.task.kind == "gaps" and not self.task.find_lines

    @property
    def layers(self) -> tuple[str, ...]:
        """What is blended: the values of gaps, or what is added to the raster and 1 where a line was found; the uncertainty."""
        more = ("uncertainty",) if self.settings.uncertainty else ()
        return ("values", *more) if self.fills else ("correction", "filled", *more)

    def fit(self, sample: Sample, progress: Progress | None = None) -> float:
        """Return the 99.9 % quantile of the magnitude of what is observed: the scene's unit.

        Raises:
            InputError: nothing is observed.
        """
        parts = [np.abs(v[o].astype(np.float64)) for v, o in zip(sample.values, sample.observed, strict=True)]
        seen = np.concatenate(parts)
        if not seen.size:
            raise nothing_usable({})
        value = float(np.quantile(seen, QUANTILE))
        return value if value > 0 else max(float(seen.max(initial=0.0)), 1.0)

    def kept(self, folder: work.Work, learn: Callable[[], float]) -> tuple[float, float]:
        """Return the scene's unit, of which a work folder keeps the digits, twice: it is small enough to go with each task."""
        scale = learn()
        folder.learn(scale.hex())
        return scale, scale

    def notes(self, scale: float, sample: Sample) -> list[str]:
        """Return nothing: all that is to be known is known beforehand."""
        return []

    def solve(self, scale: float, part: Part, tile: Tile) -> Solved:
        """Return one tile solved, in the raster's units, and changed inside the area of interest."""
        if not self.together:
            return self._each(scale, part)
        dates, bands, *size = shape = part.values.shape
        gaps = np.broadcast_to(False if part.gaps is None else part.gaps, shape)
        values, observed, gaps = (a.reshape(1, dates * bands, *size) for a in (part.values, part.observed, gaps))
        solved = self._each(scale, Part(values, observed, gaps, part.inside))
        assert solved.layers is not None
        layers = solved.layers.reshape(-1, *shape)
        ((note, judgement),) = _judgements(solved.stats)
        wanted = gaps.reshape(shape) & (True if part.inside is None else part.inside)
        filled = (wanted & np.isfinite(layers[0])).sum((1, 2, 3))
        judged = []
        for date, some in enumerate(filled > 0):
            mine = judgement.of(slice(date * bands, (date + 1) * bands))
            judged.append((note if some else "none", mine if some else mine._replace(method="none")))
        more = {
            "pixels": solved.stats["pixels"] // dates,
            "filled": filled.astype(np.float64),
            "noise": solved.stats["noise"].reshape(dates, bands),
            "verdicts": _verdicts(judged),
        }
        return Solved(layers, {**solved.stats, **more})

    def _each(self, scale: float, part: Part) -> Solved:
        """Return one tile solved, date by date: see `solve`."""
        import torch

        from ..raster import deadlines
        from .placement import here_or_on_cpu
        from .problem import unjudged

        values, observed, gaps, inside = part
        states, filled = np.zeros((len(self.layers), *values.shape), np.float32), np.zeros(len(values))
        noise = np.full(values.shape[:2], np.nan)
        judged, places = [], []
        inside = np.ones(values.shape[-2:], bool) if inside is None else inside
        for date in range(len(values)):
            seen = observed[date]
            cube = np.where(seen, values[date].astype(np.float64) / scale, 0).astype(np.float32)
            gap = None if gaps is None else np.broadcast_to(gaps[date], cube.shape)
            if self.task.find_lines:
                gap = deadlines.find(cube, seen).mask
                seen = seen & ~gap
                cube = np.where(seen, cube, 0)
            wanted = inside if gap is None else gap & inside
            if not seen.any() or not wanted.any():
                states[0, date] = np.where(wanted, np.nan, 0) if self.fills else 0
                judged.append(("none", unjudged("none", len(cube))))
                continue
            # What is neither observed nor to be filled (nodata) takes no part: it is as unknown as the gaps, and left alone.
            task = self.task, torch.from_numpy(cube), torch.from_numpy(seen.copy())
            answer, place = here_or_on_cpu(self.settings.where, partial(self._solved_on, *task))
            places.append(place)
            image = answer.image.numpy()
            where = wanted & (seen if gap is None else seen.any(axis=(1, 2), keepdims=True))
            if gap is None:
                states[0, date] = np.where(where, (image.astype(np.float64) - cube) * scale, 0)
            else:
                original = np.where(
                    observed[date], values[date], 0
                )  # of lines that were found; of a gap nothing is known
                new = np.where(where, image.astype(np.float64) * scale - original, 0)
                filled[date] = where.sum()
                states[0, date] = np.where(wanted & ~where, np.nan, new) if self.fills else new
            if self.task.find_lines:
                states[1, date] = where
            if self.settings.uncertainty:
                states[-1, date] = np.where(where, answer.deviation.numpy() * scale, 0)
            noise[date] = answer.noise.numpy() * scale
            judged.append((answer.note, answer.judgement.scaled(scale)))
        stats = {
            "pixels": np.array(int(inside.sum()) * values.shape[1]),
            "filled": filled,
            "noise": noise,
            "place": np.array(max(places, key=len, default="")),  # the longest says more than the device
            "verdicts": _verdicts(judged),
        }
        if self.settings.uncertainty and (known := np.isfinite(states[-1]) & (states[-1] != 0)).any():
            stats["uncertainty"] = states[-1][known].mean(dtype=np.float64)
        return Solved(states, {name: np.asarray(value) for name, value in stats.items()})

    def _solved_on(self, task: Task, cube: Tensor, seen: Tensor, device: str) -> Answer:
        """Return the answer to a task, computed on a device."""
        from .faults import solve

        return solve(task, cube, seen, replace(self.settings, device=device))

    def written(self, cube: Cube, layers: Any, gaps: Any) -> xr.DataArray | xr.Dataset:
        """Return the raster with its gaps filled, or with the corrections added; `filled` says which values were filled."""
        more = {"uncertainty": layers[-1]} if self.settings.uncertainty else {}
        if self.fills:
            return cubes.write(cube, layers[0], gaps, gaps, more)
        correction, filled = layers[0], layers[1] > 0.5
        if self.task.find_lines:  # of the tiles over a line those that found it fill it, unless most did not
            share = np.where(layers[1] < WHOLE, np.where(filled, layers[1], np.inf), np.float32(1))
            correction, more = correction / share, {name: layer / share for name, layer in more.items()}
        base = np.where(cube.valid, cube.values, 0).astype(np.float64)
        if self.task.change:
            more["change"] = correction
        return cubes.write(cube, base + correction, correction != 0, filled, more)

    def summary(self, scale: float, stats: Sequence[dict[str, NDArray[Any]]]) -> Summary:
        """Return the record of each date: which fault was found, what was kept and filled, the errors expected; and the noise.

        Errors of a date are root mean squares over its tiles, which count by what is filled there, if anything is.
        """
        judged = [_judgements(s) for s in stats]
        size = max(sum(int(s["pixels"]) for s in stats), 1)
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # bands that took no part have no noise and no error
            for index, name in enumerate(self.dates):
                found = [(*tile[index], float(s["filled"][index])) for tile, s in zip(judged, stats, strict=True)]
                found = [tile for tile in found if tile[1].method != "none"]
                row: Row = {"date": name, "method": "+".join(sorted({j.method for _, j, _ in found})) or "none"}
                row |= {"kind": "+".join(sorted({kind for kind, _, _ in found}))} if found else {}
                row["filled"] = round(sum(float(s["filled"][index]) for s in stats) / size, 6)
                if found:
                    judgement = _of_tiles([(j, count) for _, j, count in found])
                    row |= expected.of_judgement(judgement, scale, self.bands)
                    row |= expected.choice(judgement, self.settings.method)
                rows.append(row)
            noise: NDArray[np.float64] = np.nanmean([s["noise"] for s in stats], axis=(0, 1))
        return Summary(rows, [], scale, self.settings, noise)


def _verdicts(judged: Sequence[tuple[str, Judgement]]) -> NDArray[Any]:
    """Return which fault was found on each date, and the errors expected there, as `_judgements` reads them."""
    return np.array(json.dumps([[note, judgement._asdict()] for note, judgement in judged]))


def _judgements(stats: Mapping[str, NDArray[Any]]) -> list[tuple[str, Judgement]]:
    """Return which fault a tile found on each date, and the errors expected there."""
    from .problem import Judgement

    return [(kind, Judgement(**table)) for kind, table in json.loads(str(stats["verdicts"]))]


def _of_tiles(found: Sequence[tuple[Judgement, float]]) -> Judgement:
    """Return the judgement of a date from those of its tiles, which count by how many values of each are filled."""
    from .problem import Judgement

    count = np.array([count for _, count in found])
    count = count if count.any() else np.ones(len(found))
    blocks = np.nan_to_num(np.array([j.blocks for j, _ in found]))  # (tiles, bands)

    hidden = {}
    for name in dict.fromkeys(name for j, _ in found for name in j.hidden):
        measured = [i for i, (j, _) in enumerate(found) if name in j.hidden]
        weights = blocks[measured] if blocks[measured].any() else np.ones_like(blocks[measured])
        hidden[name] = tuple(expected.mean([found[i][0].hidden[name] for i in measured], weights, 2).tolist())
    rmse, bias, log_sd = (
        tuple(expected.mean([getattr(j, name) for j, _ in found], count[:, None], 1 + (name == "rmse")).tolist())
        for name in ("rmse", "bias", "log_sd")
    )
    return Judgement(found[0][0].method, {}, rmse, bias, log_sd, hidden, tuple(blocks.sum(0).tolist()))


def refused(settings: Settings, prior: bool) -> None:
    """Raise where gaps are to be filled entry by entry, and what was asked for is of stacks of dates.

    Args:
        settings: see `Settings`.
        prior: whether networks were given.

    Raises:
        InputError: networks were given or are to be tuned, or the method predicts a date from others.
    """
    for name in [name for name, given in (("prior", prior), ("tune", settings.tune)) if given]:
        msg = (
            "Found a raster that is filled entry by entry, for which no networks are learnt, expected a stack of dates:"
        )
        raise InputError(msg, call=f"leave {name}= out.", option=f"leave --{name} out.")
    if settings.method in OF_STACKS:
        msg = f"Found the method {settings.method!r} for a spectral cube; it predicts a date from other dates, expected another:"
        raise InputError(msg, call='method="auto", "guide" or "ngr".', option="--method auto, guide or ngr.")


def nothing_usable(sizes: Mapping[Any, int]) -> InputError:
    """Return the error for a raster without a value that can be used."""
    where = f" {dict(sizes)}" if sizes else ", where it was looked at,"
    return InputError(
        f"No value of the raster{where} can be used, expected some: all are nodata, NaN or in bad bands.",
        call="Check the nodata value, the bad-band list and bad_bands=[...].",
        option="Check the nodata value, the bad-band list (bbl) and --bad-bands.",
    )
