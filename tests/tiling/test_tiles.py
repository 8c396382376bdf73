"""Tiles cover the scene, their weights sum to one, and blending does not depend on how the scene is cut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngr_geo import InputError
from ngr_geo.tiling import tiles
from ngr_geo.tiling.graph import Graph, Made, blended

sizes = st.integers(1, 400)
layouts = st.tuples(st.integers(3, 128), st.integers(0, 40)).filter(lambda p: p[0] > 2 * p[1])


@given(size=sizes, layout=layouts)
def test_cores_partition_and_windows_fit(size: int, layout: tuple[int, int]) -> None:
    tile, overlap = layout
    spans = tiles.spans(size, tile, overlap)
    assert [s.core_start for s in spans] == [0, *(s.core_stop for s in spans[:-1])]
    assert spans[-1].core_stop == size
    assert all(0 < s.stop - s.start <= tile and s.start <= s.core_start < s.core_stop <= s.stop for s in spans)
    assert all(s.core_start - s.start in (overlap, s.core_start) for s in spans)
    cores = [s.core_stop - s.core_start for s in spans]
    assert max(cores) - min(cores) <= 1


@given(size=sizes, layout=layouts)
def test_tapers_sum_to_one(size: int, layout: tuple[int, int]) -> None:
    spans = tiles.spans(size, *layout)
    total = np.zeros(size)
    for span, weight in zip(spans, tiles.taper(spans), strict=True):
        assert (weight >= 0).all()
        total[span.start : span.stop] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 99))
def test_identity_solver_returns_its_input_however_it_is_cut(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((2, height, width), dtype=np.float32)
    grid = tiles.grid((height, width), 32, 6)
    solved = [image[(..., *t.window)] for t in grid]
    whole = tiles.blend(grid, solved, (slice(0, height), slice(0, width)), (2,))
    np.testing.assert_allclose(whole, image, atol=1e-6)
    chunks = tuple((7,) * (n // 7) + ((n % 7,) if n % 7 else ()) for n in (height, width))
    graph = Graph([])
    lazy = blended(graph, grid, graph.add("solve", (len(grid),), partial(_given, solved)), (2,), (chunks[0], chunks[1]))
    assert lazy.chunks[1:] == chunks
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), whole)


def test_a_block_depends_only_on_the_tiles_that_touch_it() -> None:
    grid = tiles.grid((100, 100), 40, 8)
    region = slice(0, 10), slice(0, 10)
    near = tiles.Near(grid).touching(region)
    solved = [np.ones((1, *t.weight.shape), np.float32) if i in near else "broken" for i, t in enumerate(grid)]
    graph = Graph([])
    lazy = blended(graph, grid, graph.add("solve", (len(grid),), partial(_given, solved)), (1,), ((10, 90), (10, 90)))
    assert 0 < len(near) < len(grid)
    np.testing.assert_allclose(lazy[:, :10, :10].compute(scheduler="synchronous"), 1, atol=1e-6)


def _given(solved: Sequence[Any], number: int) -> Made:
    """The task that gives a tile as it is, but for those that nobody should ask for."""
    return partial(_solved, solved[number]), []


def _solved(answer: Any) -> tuple[np.ndarray, dict[str, Any]]:
    assert isinstance(answer, np.ndarray)
    return answer, {}


def test_seeds_depend_on_the_position_alone() -> None:
    wide, narrow = tiles.grid((100, 200), 40, 8), tiles.grid((100, 200), 40, 8)[::-1]
    assert {t.window: t.seed(3) for t in map(_hashable, wide)} == {t.window: t.seed(3) for t in map(_hashable, narrow)}
    assert len({t.seed(3) for t in wide}) == len(wide)
    assert wide[0].seed(3) != wide[0].seed(4)


@pytest.mark.parametrize(("tile", "overlap"), [(64, 32), (10, -1), (0, 0)])
def test_a_tile_without_core_is_an_error(tile: int, overlap: int) -> None:
    with pytest.raises(InputError, match="tile="):
        tiles.spans(100, tile, overlap)


class _hashable:
    def __init__(self, tile: tiles.Tile) -> None:
        self.window = str(tile.window)
        self.seed = tile.seed
