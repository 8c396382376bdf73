"""Where tiles are solved: here and now in threads, later as a Dask graph, or in a work folder that keeps each. Nothing else knows.

All three do the same with a method: learn a model from the sample, solve each tile from its own part, blend the layers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
from numpy.typing import NDArray

from ..errors import warn
from ..methods.base import Part
from ..progress import Progress, silent
from . import scheduling, store, tiles, work
from .store import Slot, Stored
from .tiles import Tile

if TYPE_CHECKING:
    from ..methods.base import Method, Sample, Solved
    from ..methods.problem import Settings
    from ..raster.cube import Cube


MOST_VALUES = 60_000_000
"""Values in the tiles that are solved at one time: each takes about 80 bytes while it is."""


@dataclass(frozen=True)
class Todo:
    """What is to be solved: by which method, from which arrays of the scene, in which tiles; how many of these at a time.

    `scene` and `sample` are a `Part` and a `Sample` of arrays of the whole scene, Dask or not. `chunks` of rows and columns are
    those of the result, `leading` the shape (layer, time, band) of what is blended.
    """

    method: Method
    scene: Part
    sample: Sample
    pieces: Sequence[Tile]
    chunks: tuple[tuple[int, ...], tuple[int, ...]]
    leading: tuple[int, int, int]
    together: int
    device: str | None
    progress: Progress


class Done(NamedTuple):
    """The model, the blended layers (layer, time, band, y, x), and what is known of each tile."""

    model: Any
    layers: Any
    stats: Any


def in_threads(todo: Todo) -> Done:
    """Return the scene solved here and now, tiles side by side."""
    model = todo.method.fit(todo.sample, todo.progress)

    def solve(tile: Tile) -> Solved:
        parts: list[Any] = [None if a is None else a[(..., *tile.window)] for a in todo.scene]
        return todo.method.solve(model, Part(*parts), tile)

    solved = tiles.each(todo.pieces, solve, todo.together, todo.progress)
    whole = slice(0, todo.scene.values.shape[-2]), slice(0, todo.scene.values.shape[-1])
    layers = tiles.blend(todo.pieces, [s.layers for s in solved], whole, todo.leading)
    return Done(model, layers, [s.stats for s in solved])


def lazily(todo: Todo) -> Done:
    """Return the scene as a Dask graph: one task that learns, one for each tile, and the blending; nothing is computed."""
    method = dask.delayed(todo.method, traverse=False)
    model = dask.delayed(_fit)(method, todo.sample)
    solve = dask.delayed(_solve)
    cut = [None if a is None else scheduling.windows(scheduling.blocks(a)) for a in todo.scene]
    with scheduling.asking_for_gpus():
        solved = [solve(method, model, t, *(c and c(t.window) for c in cut)) for t in todo.pieces]
    layers = tiles.blend_lazy(todo.pieces, [s[0] for s in solved], todo.leading, todo.chunks)
    return Done(model, layers, [s[1] for s in solved])


def in_folder(todo: Todo, folder: work.Folder, job: Mapping[str, Any], files: Sequence[str]) -> Done:
    """Return the scene solved here and now, each tile kept in a work folder, from which the layers are blended as Dask arrays.

    Args:
        todo: what is to be solved.
        folder: where tiles are kept.
        job: what makes it the same job, beside the pixels of its sample.
        files: that the raster was opened from.
    """
    scene = [None if a is None else scheduling.blocks(a) for a in todo.scene]
    sample = dask.delayed(todo.sample)
    held = list(scheduling.compute([sample]))
    job = {**job, "pixels": store.digests_of(held[0][:3])}

    def learn() -> Any:
        if not scheduling.elsewhere():
            return todo.method.fit(held[0], todo.progress)
        return scheduling.compute([dask.delayed(todo.method.fit)(sample, silent)])[0]

    with work.opened(folder, job, files) as opened:
        model, handle = todo.method.kept(opened, learn)
        held.clear()  # it is large
        cut = [None if a is None else scheduling.windows(a) for a in scene]

        def read(tile: Tile) -> list[Any]:
            return [c and c(tile.window) for c in cut]

        def solve(tile: Tile, parts: list[Any], slot: Slot) -> Any:
            return dask.delayed(_solve_and_keep, pure=False)(todo.method, handle, parts, tile, todo.device, slot)

        opened.solve(todo.pieces, read, solve, todo.progress, todo.together)
        slots = opened.slots(todo.pieces)
        stats, seals = zip(*(_stats_of(slot) for slot in slots), strict=True)
    stored = [Stored(slot.path, "layers", seal) for slot, seal in zip(slots, seals, strict=True)]
    chunks = scene[0].chunks[-2:]  # type: ignore[union-attr]  # values are always there
    return Done(model, tiles.blend_lazy(todo.pieces, stored, todo.leading, chunks), list(stats))


def _fit(method: Method, sample: Sample) -> Any:
    """Return the model of a lazy raster, and warn of what is known only now."""
    model = method.fit(sample, silent)
    for note in method.notes(model, sample):
        warn(note)
    return model


def _solve(method: Method, model: Any, tile: Tile, *parts: Any) -> tuple[NDArray[Any] | None, dict[str, Any]]:
    """Return a tile of a lazy raster solved, from the arrays of its `Part`."""
    return tuple(method.solve(model, Part(*parts), tile))  # type: ignore[return-value]


def _solve_and_keep(
    method: Method, model: Any, parts: Sequence[Any], tile: Tile, device: str | None, slot: Slot
) -> None:
    """Solve a tile and write its record: its layers where they are not 0, and what is known of it."""
    begun = time.perf_counter()
    layers, stats = method.solve(model, Part(*parts), tile)
    kept = {} if layers is None else store.sparse("layers", layers, layers != 0)
    store.keep(slot, parts, {**stats, **kept}, work.notes_of(begun, device))


def _stats_of(slot: Slot) -> tuple[dict[str, NDArray[Any]], str]:
    """Return what the record of a tile holds beside its layers, and the record's seal."""
    with store.opened_at(slot) as record:
        return {name: record[name] for name in record if not name.startswith("layers")}, record.seal


def side_by_side(cube: Cube, pieces: Sequence[Tile], settings: Settings) -> int:
    """Return how many tiles are solved at a time in this process: one on a GPU, else one per core, as far as memory goes."""
    rows, columns = (max(s.stop - s.start for s in sides) for sides in zip(*(t.window for t in pieces), strict=True))
    fitting = MOST_VALUES // (cube.shape[0] * cube.shape[1] * rows * columns)
    return max(1, min(os.cpu_count() or 1, fitting)) if settings.placed().device == "cpu" else 1
