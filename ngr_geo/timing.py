"""How long a job takes: its parts are tried on a small window of the raster itself, on this machine, and counted up."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import dask
import numpy as np
from numpy.typing import NDArray

from .raster.cube import Cube, regions
from .settings import settings_of
from .tiling import tiles
from .tiling.tiles import Tile

TRIED = 128
"""Side of the window that is tried, pixels. What is learnt of a date beyond its guide takes the same for all larger ones."""
TRIED_ENTRIES = 64
"""Side of the window that is tried where gaps are filled entry by entry."""
STEPS = 3
"""Steps of training that are tried."""
STARTING, WRITING = 1.5, 3e-8
"""Seconds until a process is at work, beside imports that are over when this is asked; seconds a value that is written."""
STOPPED = 0.4
"""Share of the steps of training at their most that it takes until the stop set gets no better."""
CHECKING, SECOND, MEASURED = 0.65, 0.75, 0.4
"""What a network adds: a check of the stop set, and preparing what the second one learns from, as shares of solving these pixels;
measuring its errors, as a share of learning a date by its guide."""
WEIGHED, FIXED = 20, 0.65
"""Windows of a date in which members are weighed and their blend is measured; the share of their time that no window changes."""


class Job(NamedTuple):
    """A raster, what of it (time, band, y, x) is observed and to be filled, dates and tiles; how many tiles have gaps.

    `together`: it is filled entry by entry, see `missing.Gaps`.
    """

    cube: Cube
    observed: Any
    gaps: Any
    targets: Sequence[int]
    pieces: Sequence[Tile]
    busy: int
    together: bool


class Tried(NamedTuple):
    """Seconds of parts of the work: what all dates share, learning one without training, solving a pixel of it, a training step.

    `members` is what the members take that learn from a window alone; `pixels` is how many were tried.
    """

    shared: float
    learning: float
    solving: float
    step: float
    members: float
    pixels: int

    def blending(self, area: float) -> float:
        """Return what the members take for a window of so many pixels."""
        return self.members * (FIXED + (1 - FIXED) * area / self.pixels)


def seconds(job: Job, options: Any, spent: float) -> float:
    """Return how long a command is expected to take that fills a raster; `spent` was taken by looking at it, and will be again."""
    from .methods import training
    from .methods.problem import cells_of

    cube, busy = job.cube, job.busy
    if options.method == "paper":
        pixels = min(options.tile, cube.shape[-2]) * min(options.tile, cube.shape[-1])
        return float(busy * (options.steps or 15_000) * 4.0 * pixels / 65536)
    imports = min(time.process_time(), 6.0)  # most of what this process has computed, where little was looked at
    fixed = STARTING + max(imports - spent, 0.0) + spent + WRITING * float(np.prod(cube.shape))
    if not busy or not job.targets:
        return fixed
    if job.together:
        return fixed + _entry_by_entry(job, options)
    tried = _tried(job, options)
    if tried is None:
        return fixed
    sample = sum((r.stop - r.start) * (c.stop - c.start) for r, c in regions(cube.shape))
    dates = len(job.targets)
    learning = tried.shared + dates * (tried.learning + 2 * tried.solving * max(sample - tried.pixels, 0))
    cores = max(1, os.cpu_count() or 1)
    first = regions(cube.shape)[0]
    (rows, columns), *_ = cells_of((first[0].stop - first[0].start, first[1].stop - first[1].start))
    cell = (rows.stop - rows.start) * (columns.stop - columns.start)
    learning += WEIGHED * dates * tried.blending(cell) / cores
    if options.method in ("auto", "ngr") and options.prior is None:
        most = min(max(60 * (sample * dates / 128**2) ** 0.5, 60), training.MOST_STEPS)
        steps = options.steps or STOPPED * most
        checks = 0 if options.steps else steps / training.CHECK_EVERY
        checked = max(training.MOST_TRIALS, dates) * cell
        learning += steps * tried.step + checks * CHECKING * tried.solving * checked
        learning += SECOND * tried.solving * sample * dates + MEASURED * dates * tried.learning
    area = float(np.mean([(t.row.stop - t.row.start) * (t.column.stop - t.column.start) for t in job.pieces]))
    solving = busy * (area * tried.solving + tried.blending(area)) * dates / min(cores, busy)
    return fixed + learning + solving


def _entry_by_entry(job: Job, options: Any) -> float:
    """Return the time of all tiles where gaps are filled entry by entry: judging one takes the same for all larger windows."""
    import torch

    from .methods.base import Part, Sample, Task
    from .methods.faults import fill_gaps
    from .methods.spectra import Spectra
    from .methods.spectral import TRIAL_SIZE

    values, seen, fill = _window(job, TRIED_ENTRIES)
    if not seen.any():
        return 0.0
    rows, columns = values.shape[-2:]
    if not fill.any():  # a hole like those elsewhere
        fill[..., : rows // 2, : columns // 2], seen[..., : rows // 2, : columns // 2] = True, False
    (tile,) = tiles.grid((rows, columns), max(rows, columns), 0)
    dates = job.cube.dates
    method = Spectra(
        Task("inpaint", "gaps"),
        settings_of(options).placed(),
        dates,
        job.cube.bands,
        together=len(dates) > 1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scale = method.fit(Sample([values], [seen], None, None))
        _, whole = _timed(lambda: method.solve(scale, Part(values, seen, fill, None), tile))
        known = seen.reshape(-1, rows, columns)
        use = known.any(axis=(1, 2))
        cube = np.where(known, values.reshape(known.shape) / scale, 0)[use].astype(np.float32)
        gaps = torch.from_numpy(cube), torch.from_numpy(known[use])
        _, once = _timed(lambda: fill_gaps(*gaps))
    judged = min(TRIAL_SIZE**2, job.cube.shape[-2] * job.cube.shape[-1]) / (rows * columns)
    area = float(np.mean([(t.row.stop - t.row.start) * (t.column.stop - t.column.start) for t in job.pieces]))
    each = max(whole - once, 0.0) * max(judged, 1.0) + once * area / (rows * columns)
    return job.busy * each / min(max(1, os.cpu_count() or 1), job.busy)


def _tried(job: Job, options: Any) -> Tried | None:
    """Return the time of the parts of the work on a window of the raster; None where nothing of it is observed."""
    from .guides.members import MEMBERS
    from .methods.base import Part, Sample
    from .methods.stacks import Stack

    values, seen, fill = _window(job, TRIED)
    if not seen.any():
        return None
    shares = fill.any(axis=1).mean((1, 2))[list(job.targets)]
    few = np.where((shares > 0.02) & (shares < 0.8), shares, 0)
    target = int(job.targets[int(np.argmax(few if few.any() else -shares))])
    rows, columns = (size // 2 for size in values.shape[-2:])
    if not few.any():  # a hole like those elsewhere
        fill[target, :, :rows, :columns], seen[target, :, :rows, :columns] = True, False
    settings = replace(settings_of(replace(options, prior=None, uncertainty=False)), method="guide").placed()
    (tile,) = tiles.grid(values.shape[-2:], max(values.shape[-2:]), 0)
    only = np.zeros_like(fill)
    only[target] = fill[target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method = Stack(settings, (target,), job.cube.dates, job.cube.bands, job.cube.when, True)
        model, learning = _timed(lambda: method.fit(Sample([values], [seen], [only], None)))
        shared = min(2 * _shared(model, values, seen), 0.9 * learning)
        _, solving = _timed(lambda: method.solve(model, Part(values, seen, only, None), tile))
    step = _step(job.cube) if options.method in ("auto", "ngr") else 0.0
    names = [name for name in MEMBERS if options.method in ("auto", name)]
    members = _members(model, values, seen, target, names) if names else 0.0
    pixels = int(np.prod(values.shape[-2:]))
    return Tried(shared, learning - shared, solving / pixels, step, members, pixels)


def _members(model: Any, values: Any, seen: Any, target: int, names: Sequence[str]) -> float:
    """Return the time of some members that learn from a window alone."""
    from .methods.filling import standardised
    from .methods.problem import answers_by, problem_of
    from .tiling.threads import threads

    with threads(1):
        window = standardised(model, values, seen, "cpu")
        problem = problem_of(model.guide, window, window, target)
        return _timed(lambda: answers_by(problem, names, None))[1]


def _shared(model: Any, values: Any, seen: Any) -> float:
    """Return the time of what is fitted to all dates together: the factors of a stack, which a guide is made of."""
    from .guides import dates, lowrank
    from .methods.filling import standardised
    from .tiling.threads import threads

    with threads(1):
        sample = dates.sampled([standardised(model, values, seen, "cpu")])
        return _timed(lambda: lowrank.fit(*sample, dates.RANK))[1]


def _step(cube: Cube) -> float:
    """Return the time of one step of training."""
    import torch

    from .guides.choice import REFERENCES
    from .solver.network import Small
    from .solver.train import Example, Training, train
    from .tiling.threads import threads

    bands, references = cube.shape[1], min(REFERENCES, cube.shape[0] - 1)
    side = min(Training().crop, *cube.shape[-2:])
    inputs = bands + references * (bands + 1)
    with threads(1):
        network = Small(inputs, bands, seed=0)
        numbers = torch.randn(inputs + bands, side, side)
        example = Example(numbers[:inputs], numbers[inputs:], torch.ones(side, side, dtype=torch.bool), 1.0)
        steps = train(network, [example], Training(), 0)
        next(steps)
        return _timed(lambda: [next(steps) for _ in range(STEPS)])[1] / STEPS


def _window(job: Job, side: int) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the values of a window in the middle, what of them is observed, and what is to be filled, (time, band, h, w)."""
    rows, columns = (
        slice(max((n - side) // 2, 0), max((n - side) // 2, 0) + min(n, side)) for n in job.cube.shape[-2:]
    )
    scene = job.cube.values, job.observed, job.gaps
    values, seen, fill = dask.compute(*(part[..., rows, columns] for part in scene))
    return values, np.array(np.broadcast_to(seen, values.shape)), np.array(np.broadcast_to(fill, values.shape))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun
