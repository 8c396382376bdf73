"""Where tiles are solved: here and now in threads, later as a Dask graph, or in a work folder that keeps each. Nothing else knows.

All three do the same with a method: learn a model from the sample, solve each tile from its own part, blend the layers.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
from numpy.typing import NDArray

from ..errors import warn
from ..methods.base import Part, Sample
from ..progress import Progress, silent
from . import graph as graphs
from . import lanes, scheduling, store, tiles, work
from .graph import Blocks, Graph, Made, Windows
from .store import Slot, Stored
from .tiles import Region, Tile

if TYPE_CHECKING:
    from ..methods.base import Method, Solved
    from ..methods.problem import Settings
    from ..raster.cube import Cube


MOST_VALUES = 60_000_000
"""Values in the tiles that are held at one time: each takes about 80 bytes while it is solved, and less before and after."""


@dataclass(frozen=True)
class Todo:
    """What is to be solved: by which method, from which arrays of the scene, in which tiles; how many of these at a time.

    `scene` is a `Part` of arrays of the whole scene, Dask or not, which is learnt from its `windows`. `chunks` of rows and columns
    are those of the result, `leading` the shape (layer, time, band) of what is blended.
    """

    method: Method
    scene: Part
    windows: Sequence[Region]
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


def sample(scene: Part, windows: Sequence[Region]) -> Sample:
    """Return the windows of a scene that it is learnt from; not computed where they are Dask."""
    return _sample_of([_window(scene, region) for region in windows])


def _window(scene: Part, region: Region) -> Part:
    return Part(*(None if a is None else a[(..., *region)] for a in scene))  # type: ignore[arg-type]


def in_threads(todo: Todo) -> Done:
    """Return the scene solved here and now, tiles side by side."""
    model = todo.method.fit(sample(todo.scene, todo.windows), todo.progress)

    def solve(tile: Tile) -> Solved:
        return todo.method.solve(model, _window(todo.scene, tile.window), tile)

    solved = tiles.each(todo.pieces, solve, todo.together, todo.progress)
    whole = slice(0, todo.scene.values.shape[-2]), slice(0, todo.scene.values.shape[-1])
    layers = tiles.blend(todo.pieces, [s.layers for s in solved], whole, todo.leading)
    return Done(model, layers, [s.stats for s in solved])


def lazily(todo: Todo) -> Done:
    """Return the scene as a Dask graph: one task that learns, one for each tile, and the blending; nothing is computed."""
    graph = Graph([None if a is None else scheduling.blocks(a) for a in todo.scene])
    # The method is a task: it is sent to a worker once, and not with each tile.
    method = graph.add_one("method", partial(_same, todo.method))
    sample = graph.add("sample", (len(todo.windows),), partial(_cutting, graph.blocks, todo.windows))
    model = graph.add_one("fit", _fit, [(method, 0), *((sample, i) for i in range(len(todo.windows)))])
    with scheduling.asking_for_gpus():
        make = partial(_solving, graph.blocks, todo.pieces, method, model)
        solved = graph.add("solve", (len(todo.pieces),), make, [method, model])
    layers = graphs.blended(graph, todo.pieces, solved, todo.leading, todo.chunks)
    return Done(graph.delayed(model, 0), layers, graphs.gathered(graph, todo.pieces, solved, todo.chunks))


def in_folder(todo: Todo, folder: work.Folder, job: Mapping[str, Any], files: Sequence[str]) -> Done:
    """Return the scene solved here and now, each tile kept in a work folder, from which the layers are blended as Dask arrays.

    Args:
        todo: what is to be solved.
        folder: where tiles are kept.
        job: what makes it the same job, beside the pixels of its sample.
        files: that the raster was opened from.
    """
    # Optimised once, and together: what they have in common is read once.
    scene = Part(*dask.optimize(*(None if a is None else scheduling.blocks(a) for a in todo.scene)))
    graph = Graph(scene)  # type: ignore[arg-type]  # Dask arrays
    windows = graph.add("sample", (len(todo.windows),), partial(_cutting, graph.blocks, todo.windows))
    learnt_from = dask.delayed(_sample_of)([graph.delayed(windows, i) for i in range(len(todo.windows))])
    held = list(scheduling.compute([learnt_from]))
    job = {**job, "pixels": store.digests_of(held[0][:3])}

    def learn() -> Any:
        if not scheduling.elsewhere():
            return todo.method.fit(held[0], todo.progress)
        return scheduling.compute([dask.delayed(todo.method.fit)(learnt_from, silent)])[0]

    with work.opened(folder, job, files) as opened:
        model, handle = todo.method.kept(opened, learn)
        held.clear()  # it is large
        place = {tile.number: i for i, tile in enumerate(todo.pieces)}
        parts = graph.add("window", (len(place),), partial(_cutting, graph.blocks, [t.window for t in todo.pieces]))

        def read(tile: Tile) -> Any:
            return graph.delayed(parts, place[tile.number])

        def solve(tile: Tile, part: Any, slot: Slot) -> Any:
            return dask.delayed(_solve_and_keep, pure=False)(todo.method, handle, part, tile, todo.device, slot)

        opened.solve(todo.pieces, read, solve, todo.progress, todo.together)
        slots = opened.slots(todo.pieces)
        stats, seals = zip(*(_stats_of(slot) for slot in slots), strict=True)
    stored = [Stored(slot.path, "layers", seal) for slot, seal in zip(slots, seals, strict=True)]
    chunks = scene.values.chunks[-2:]  # type: ignore[attr-defined]  # a Dask array
    return Done(model, graphs.blended(Graph([]), todo.pieces, stored, todo.leading, chunks), list(stats))


def _same(method: Method) -> Method:
    return method


def _cutting(blocks: Sequence[Blocks | None], windows: Sequence[Region], number: int) -> Made:
    """Return the task that cuts one of some windows out of the scene."""
    cut, keys = graphs.cut(blocks, windows[number])
    return partial(_cut, cut), keys


def _cut(cut: Windows, *blocks: NDArray[Any]) -> Part:
    return Part(*cut(blocks))  # type: ignore[arg-type]  # values are always there


def _fit(method: Method, *windows: Part) -> Any:
    """Return the model of a lazy raster, and warn of what is known only now."""
    sample = _sample_of(windows)
    model = method.fit(sample, silent)
    for note in method.notes(model, sample):
        warn(note)
    return model


def _solving(blocks: Sequence[Blocks | None], pieces: Sequence[Tile], method: str, model: str, number: int) -> Made:
    """Return the task that solves one tile."""
    cut, keys = graphs.cut(blocks, pieces[number].window)
    return partial(_solve, pieces[number], cut), [(method, 0), (model, 0), *keys]


def _solve(tile: Tile, cut: Windows, method: Method, model: Any, *blocks: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    """Return the layers of a tile of a lazy raster, and what is known of it."""
    solved = method.solve(model, _cut(cut, *blocks), tile)
    return solved.layers, solved.stats


def _sample_of(windows: Sequence[Part]) -> Sample:
    """Return windows of a scene, put together by what they hold."""
    values, observed, gaps, inside = (list(part) for part in zip(*windows, strict=True))
    return Sample(values, observed, *(None if part[0] is None else part for part in (gaps, inside)))


def _solve_and_keep(method: Method, model: Any, part: Part, tile: Tile, device: str | None, slot: Slot) -> None:
    """Solve a tile and write its record: its layers where they are not 0, and what is known of it."""
    begun = time.perf_counter()
    layers, stats = method.solve(model, part, tile)
    kept = {} if layers is None else store.sparse("layers", layers, layers != 0)
    seconds = round(time.perf_counter() - begun, 3)
    notes = {"seconds": seconds, "worker": f"{socket.gethostname()}:{os.getpid()}", "device": device}
    store.keep(slot, part, {**stats, **kept}, notes)


def _stats_of(slot: Slot) -> tuple[dict[str, NDArray[Any]], str]:
    """Return what the record of a tile holds beside its layers, and the record's seal."""
    with store.opened_at(slot) as record:
        return {name: record[name] for name in record if not name.startswith("layers")}, record.seal


def at_a_time(cube: Cube, pieces: Sequence[Tile], settings: Settings) -> int:
    """Return how many tiles are held at a time in this process, of which some are solved and some read: as far as memory goes."""
    rows, columns = (max(s.stop - s.start for s in sides) for sides in zip(*(t.window for t in pieces), strict=True))
    fitting = MOST_VALUES // (cube.shape[0] * cube.shape[1] * rows * columns)
    return max(1, min(lanes.threads_for(settings.where), fitting))
