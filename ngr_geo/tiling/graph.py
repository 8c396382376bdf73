"""Dask graphs of tiles: windows cut from the blocks of arrays, tiles solved from them, and the scene blended from the tiles.

`dask.delayed` for each tile would copy and optimise the graph of the whole raster as often as there are tiles. Here a layer of the
graph knows its keys and how to make the task of one of them: it is small until it is computed, and a cluster gets it as it is.
Tasks are as many as tiles, plus two for each chunk of the result.
"""

import itertools
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from numpy.typing import NDArray

from . import tiles
from .store import Stored
from .tiles import Region, Tile

try:
    from dask._task_spec import Task, TaskRef
except ImportError:  # older Dask has tuples only
    Task = TaskRef = None  # type: ignore[assignment,misc]

Key = Any
Chunks = tuple[tuple[int, ...], tuple[int, ...]]
"""Of rows and of columns."""
Made = tuple[Callable[..., Any], Sequence[Key]]
"""A function, and the keys whose results it is called with."""


class Tasks(Layer):
    """A layer of tasks that are made when they are asked for: `make` returns the function and the inputs of one by its index."""

    has_legacy_tasks = Task is None

    def __init__(self, kind: str, shape: Sequence[int], make: Callable[..., Made]) -> None:
        """Take what kind of task it is, and how many there are along each index."""
        super().__init__()
        self.name, self.shape, self.make = f"{kind}-{uuid.uuid4().hex}", tuple(shape), make

    def __contains__(self, key: object) -> bool:
        """Return whether a key is of this layer."""
        if not isinstance(key, tuple) or len(key) != len(self.shape) + 1 or key[0] != self.name:
            return False
        return all(isinstance(i, int) and 0 <= i < n for i, n in zip(key[1:], self.shape, strict=True))

    def __getitem__(self, key: Key) -> Any:
        """Return the task of a key."""
        if key not in self:
            raise KeyError(key)
        function, inputs = self.make(*key[1:])
        return (function, *inputs) if Task is None else Task(key, function, *map(TaskRef, inputs))

    def __iter__(self) -> Iterator[Key]:
        """Return all keys."""
        return ((self.name, *index) for index in np.ndindex(self.shape))

    def __len__(self) -> int:
        """Return how many tasks there are."""
        return int(np.prod(self.shape))

    def is_materialized(self) -> bool:
        """Return that the tasks are not made yet."""
        return False

    def get_output_keys(self) -> set[Key]:
        """Return all keys."""
        return set(self)

    def get_dependencies(self, key: Key, all_hlg_keys: Collection[Key]) -> set[Key]:
        """Return the keys that a task depends on."""
        return set(self.make(*key[1:])[1])

    def cull(self, keys: set[Key], all_hlg_keys: Collection[Key]) -> tuple[Layer, Mapping[Key, set[Key]]]:
        """Return the layer with some of its tasks, and what these depend on."""
        some = keys if len(keys) < len(self) else self
        here = {key: self[key] for key in some if key in self and key in keys}
        needs = {key: self.get_dependencies(key, all_hlg_keys) for key in here}
        return MaterializedLayer(here, annotations=self.annotations), needs


Sides = tuple[tuple[slice, ...], tuple[slice, ...]]
"""Which rows and which columns of the blocks that a window touches belong to it."""


class Blocks(NamedTuple):
    """A Dask array with all of its leading dimensions in one block: its name, how many these are, where its blocks end."""

    name: str
    leading: int
    ends: tuple[tuple[int, ...], tuple[int, ...]]

    def touched(self, region: Region) -> tuple[list[Key], Sides]:
        """Return the keys of the blocks that share pixels with a window, row by row, and what of them."""
        (top, rows), (left, columns) = (_shared(side, ends) for side, ends in zip(region, self.ends, strict=True))
        first = (self.name, *(0,) * self.leading)
        places = itertools.product(range(top, top + len(rows)), range(left, left + len(columns)))
        return [(*first, i, j) for i, j in places], (rows, columns)


class Windows(NamedTuple):
    """How the windows of several arrays are put together from their blocks; None where there is no such array."""

    sides: tuple[Sides | None, ...]

    def __call__(self, blocks: Sequence[NDArray[Any]]) -> list[NDArray[Any] | None]:
        """Return the windows, from the blocks in the order of `cut`."""
        each = iter(blocks)
        return [None if sides is None else _joined(each, *sides) for sides in self.sides]


def cut(arrays: Sequence[Blocks | None], region: Region) -> tuple[Windows, list[Key]]:
    """Return how a window of each array is put together, and the keys of the blocks that this takes."""
    found = [None if blocks is None else blocks.touched(region) for blocks in arrays]
    keys = [key for part in found if part is not None for key in part[0]]
    return Windows(tuple(None if part is None else part[1] for part in found)), keys


class Graph:
    """A graph that begins with the arrays of a scene, (..., y, x) each or None, and grows by layers."""

    def __init__(self, arrays: Sequence[da.Array | None]) -> None:
        """Take the arrays; `blocks` describes them as `cut` wants them."""
        whole = [None if a is None else a.rechunk(dict.fromkeys(range(a.ndim - 2), -1)) for a in arrays]
        some = [a for a in whole if a is not None]
        self.blocks = tuple(None if a is None else Blocks(a.name, a.ndim - 2, ends(a.chunks[-2:])) for a in whole)
        graph = HighLevelGraph.merge(*(a.dask for a in some))
        self._layers, self._needs = dict(graph.layers), dict(graph.dependencies)
        self._first = {name for a in some for name in a.__dask_layers__()}

    def add(self, kind: str, shape: Sequence[int], make: Callable[..., Made], after: Collection[str] = ()) -> str:
        """Return the name of a new layer (see `Tasks`) that depends on the arrays and on other layers."""
        layer = Tasks(kind, shape, make)
        self._layers[layer.name], self._needs[layer.name] = layer, self._first | set(after)
        return layer.name

    def add_one(self, kind: str, function: Callable[..., Any], inputs: Sequence[Key] = ()) -> str:
        """Return the name of a new layer of one task: a function of the results of others."""
        return self.add(kind, (1,), partial(_made, function, inputs), {key[0] for key in inputs})

    def array(self, name: str, leading: Sequence[int], chunks: Chunks) -> da.Array:
        """Return a layer as an array of float32 (*leading, y, x), all of the leading dimensions in one chunk."""
        return da.Array(self._so_far(), name, (*((n,) for n in leading), *chunks), np.float32)

    def delayed(self, name: str, *index: int) -> Delayed:
        """Return one task of a layer."""
        return Delayed((name, *index), self._so_far(), layer=name)

    def _so_far(self) -> HighLevelGraph:
        return HighLevelGraph(dict(self._layers), dict(self._needs))


def ends(chunks: Chunks) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return where the chunks of rows and of columns end, from 0 on."""
    down, across = (tuple(itertools.accumulate(sizes, initial=0)) for sizes in chunks)
    return down, across


def blended(
    graph: Graph, pieces: Sequence[Tile], solved: Sequence[Stored] | str, leading: tuple[int, ...], chunks: Chunks
) -> da.Array:
    """Return the blended scene: each block depends on the tiles that touch it and on nothing else.

    Args:
        graph: to which the blending is added.
        pieces: the tiles of the scene.
        solved: where they lie; or a layer of tasks that return layers (*leading, h, w), or None, and what is known of the tile.
        leading: the shape before rows and columns, kept in one chunk.
        chunks: of rows and columns.
    """
    make = partial(_blending, tiles.Near(pieces), solved, leading, ends(chunks))
    shape = *(1,) * len(leading), *map(len, chunks)
    name = graph.add("blend", shape, make, [solved] if isinstance(solved, str) else [])
    return graph.array(name, leading, chunks)


def gathered(graph: Graph, pieces: Sequence[Tile], solved: str, chunks: Chunks) -> Delayed:
    """Return what is known of all tiles, in their order, as one list.

    What a chunk of the result owns is taken out of its tiles by one task, so that their layers need not wait for all others.
    """
    down, across = ends(chunks)
    owned: dict[tuple[int, int], list[int]] = {}
    for position, tile in enumerate(pieces):
        place = bisect_right(down, tile.row.core_start), bisect_right(across, tile.column.core_start)
        owned.setdefault(place, []).append(position)
    groups = list(owned.values())
    some = graph.add("stats", (len(groups),), partial(_taking, groups, solved), [solved])
    order = list(itertools.chain(*groups))
    taken = [(some, i) for i in range(len(groups))]
    return graph.delayed(graph.add_one("all-stats", partial(_ordered, order), taken), 0)


def _made(function: Callable[..., Any], inputs: Sequence[Key], _: int) -> Made:
    return function, inputs


def _blending(
    near: tiles.Near, solved: Sequence[Stored] | str, leading: tuple[int, ...], ends: Any, *place: int
) -> Made:
    """Return the task that blends one block."""
    rows, columns = (slice(*side[i : i + 2]) for side, i in zip(ends, place[-2:], strict=True))
    region = rows, columns
    here = near.touching(region)
    pieces = [near.tiles[i] for i in here]
    if isinstance(solved, str):
        return partial(_blend, pieces, region, leading), [(solved, i) for i in here]
    return partial(tiles.blend, pieces, [solved[i] for i in here], region, leading), []


def _blend(
    pieces: Sequence[Tile], region: Region, leading: tuple[int, ...], *solved: tuple[Any, Any]
) -> NDArray[np.float32]:
    return tiles.blend(pieces, [layers for layers, _ in solved], region, leading)


def _taking(groups: Sequence[Sequence[int]], solved: str, group: int) -> Made:
    """Return the task that takes what is known of some tiles."""
    return _known, [(solved, i) for i in groups[group]]


def _known(*solved: tuple[Any, Any]) -> list[Any]:
    return [stats for _, stats in solved]


def _ordered(order: Sequence[int], *groups: Sequence[Any]) -> list[Any]:
    """Return the members of groups where `order` says that they belong."""
    return [known for _, known in sorted(zip(order, itertools.chain(*groups), strict=True), key=itemgetter(0))]


def _shared(side: slice, ends: Sequence[int]) -> tuple[int, tuple[slice, ...]]:
    """Return the first block along an axis that shares pixels with a window, and which pixels of it and of the next ones."""
    first, last = bisect_right(ends, side.start) - 1, bisect_left(ends, side.stop)
    near = itertools.pairwise(ends[first : last + 1])
    return first, tuple(slice(max(side.start - a, 0), min(side.stop, b) - a) for a, b in near)


def _joined(blocks: Iterator[NDArray[Any]], rows: Sequence[slice], columns: Sequence[slice]) -> NDArray[Any]:
    """Return a window put together from the next blocks, row by row."""
    lines = [[next(blocks)[..., r, c] for c in columns] for r in rows]
    if len(rows) == len(columns) == 1:
        return lines[0][0]
    return np.concatenate([np.concatenate(line, axis=-1) for line in lines], axis=-2)
