"""torch's count of threads is one inside a block and what it was afterwards, with real threads that come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import ngr_geo
from ngr_geo.tiling.threads import default_count, threads


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """A user who lets torch use three threads."""
    before, default = torch.get_num_threads(), default_count()
    torch.set_num_threads(3)
    yield
    thread = threading.Thread(target=torch.set_num_threads, args=(default,))
    torch.set_num_threads(before)
    thread.start()
    thread.join()


def test_blocks_that_overlap_do_not_take_each_others_count_for_the_users() -> None:
    inside, leave = threading.Barrier(2), threading.Event()
    seen: dict[str, int] = {}

    def first() -> None:
        with threads(1):
            inside.wait(10)
            seen["first"] = torch.get_num_threads()
        seen["first, after"] = torch.get_num_threads()
        leave.set()

    def second() -> None:
        with threads(1):
            inside.wait(10)
            assert leave.wait(10)
            seen["second, when the first has left"] = torch.get_num_threads()
        seen["second, after"] = torch.get_num_threads()

    pair = [threading.Thread(target=work) for work in (first, second)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert seen == {
        "first": 1,
        "second, when the first has left": 1,
        "first, after": 3,
        "second, after": 3,
    }
    assert (torch.get_num_threads(), default_count()) == (3, 3)


def test_nested_and_failing_blocks_put_the_count_back() -> None:
    with threads(1):
        with pytest.raises(ValueError, match="on purpose"), threads(2):
            assert torch.get_num_threads() == 2
            msg = "on purpose"
            raise ValueError(msg)
        assert (torch.get_num_threads(), default_count()) == (1, 3)
    assert (torch.get_num_threads(), default_count()) == (3, 3)


def test_many_threads_at_once_leave_the_users_count() -> None:
    def work(number: int) -> tuple[int, int]:
        with threads(1):
            torch.rand(64, 64) @ torch.rand(64, 64)
            here = torch.get_num_threads()
        return here, torch.get_num_threads()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(200))) == {(1, 3)}
    assert (torch.get_num_threads(), default_count()) == (3, 3)


def test_a_verb_leaves_the_users_count_alone() -> None:
    stack = ngr_geo.sample("slovenia").isel(y=slice(0, 48), x=slice(0, 48))
    clear = stack.ngr.decloud(clouds="SCL", method="guide", tile=32, overlap=8)
    assert np.isfinite(clear.B04.values[clear.filled.values]).all()
    assert (torch.get_num_threads(), default_count()) == (3, 3)
