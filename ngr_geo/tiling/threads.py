"""How many threads torch uses, changed for a block of code and put back as it was, whatever else runs at the time.

torch keeps two things: a count of each thread's own, and one default of the process, which a thread takes over when it first
computes. `torch.set_num_threads` sets both. So tiles that are solved side by side took each other's count for the user's, and left
a count of 1 behind, or let new threads start with more in the middle of a tile. The lock below is state of this module, since what
it protects is state of the process: between reading both and setting them no other block may do the same.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_CHANGING = threading.Lock()


def side_by_side(work: Callable[[Item], Answer], items: Sequence[Item], device: str | None) -> list[Answer]:
    """Return what `work` makes of each item, in their order: on the CPU one for each core at a time, else one after another.

    Each item is computed by one thread, so the answers do not depend on how many there are.
    """
    together = min(os.cpu_count() or 1, len(items)) if device in (None, "cpu") else 1

    def alone(item: Item) -> Answer:
        with threads(1):
            return work(item)

    if together < 2:
        return [alone(item) for item in items]
    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(alone, items))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use that many threads in the calling thread inside the block; other threads, and new ones, keep theirs.

    One, everywhere: sums in another order are other bits, so the answer would depend on the machine; and two processes with
    two such threads each on two cores wait for each other, twenty times as long as they compute. What can run side by side
    (tiles, the two networks) runs in threads of Python.
    """
    before = _set(count)
    try:
        yield
    finally:
        _set(before)


def _set(count: int) -> int:
    """Set the calling thread's count, leave the default of the process as it is, and return the count from before."""
    with _CHANGING:  # a thread that has not computed yet takes the default over when asked: not while that is another
        before = torch.get_num_threads()
        if before != count:
            default = default_count()
            torch.set_num_threads(count)
            _in_new_thread(default)
    return before


def default_count() -> int:
    """Return the count that a new thread starts with: the default of the process."""
    return _in_new_thread(None)


def _in_new_thread(count: int | None) -> int:
    """Return the count of a new thread, after it has set one, if it has to: which makes that the default of the process."""
    found: list[int] = []

    def ask() -> None:
        if count is not None:
            torch.set_num_threads(count)
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=ask, name="ngr_geo-torch-threads")
    thread.start()
    thread.join()
    return found[0]
