"""Where tiles of this process are computed: one at a time on each GPU, one for each core on CPUs, whoever starts them.

A thread that has read its tile waits for a lane, and the others read theirs meanwhile: so reading ahead is having more threads than
lanes, and no more tiles are held than there are threads. "cuda" means all GPUs of one model that this process sees; a process that
is to use one of them is started with CUDA_VISIBLE_DEVICES. The module's state is what the process is computing on, whatever runs
beside it: a Dask graph has as many threads as its user chose, and two verbs at the same time have one GPU.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

AHEAD_OF_CORE, AHEAD_OF_GPU = 1, 3
"""Tiles of each lane that are read, or are written, while one is computed there. On two cores, where a block took .3 s to come, as
from a server, tiles took .6 of the time with it; from a compressed file on a disk the same."""
_TAKEN: Counter[str] = Counter()
_CHANGED = threading.Condition()


def lanes(device: str) -> tuple[str, ...]:
    """Return where tiles of a device are computed side by side: each GPU is one lane, each core one."""
    kind = torch.device(device)
    if kind.type == "cpu":
        return ("cpu",) * (os.cpu_count() or 1)
    if kind.type != "cuda" or kind.index is not None:
        return (str(kind),)
    first = torch.cuda.current_device()
    others = [i for i in range(torch.cuda.device_count()) if i != first]
    alike = [i for i in others if torch.cuda.get_device_name(i) == torch.cuda.get_device_name(first)]
    return tuple(f"cuda:{i}" for i in (first, *alike))


def gpus(device: str | None) -> list[str]:
    """Return the GPUs that processes here may share out, as CUDA_VISIBLE_DEVICES names them: none where one is chosen."""
    if device not in (None, "cuda"):
        return []
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] or [str(number) for number in range(count)]


def threads_for(device: str) -> int:
    """Return how many threads keep all lanes of a device busy: so many tiles are held."""
    found = lanes(device)
    return len(found) * (1 + (AHEAD_OF_CORE if found[0] == "cpu" else AHEAD_OF_GPU))


def free_memory(device: str) -> int | None:
    """Return the bytes that each GPU of a device has left, None for what torch cannot tell; what torch keeps unused counts."""
    if torch.device(device).type != "cuda":
        return None
    found = [torch.device(name) for name in lanes(device)]
    kept = [torch.cuda.memory_reserved(one) - torch.cuda.memory_allocated(one) for one in found]
    return min(torch.cuda.mem_get_info(one)[0] + unused for one, unused in zip(found, kept, strict=True))


@contextmanager
def lane(device: str) -> Iterator[str]:
    """Give the calling thread a lane of a device, of which there is one for it alone inside the block."""
    room = Counter(lanes(device))
    with _CHANGED:
        _CHANGED.wait_for(lambda: _free(room))
        taken = _free(room)[0]
        _TAKEN[taken] += 1
    try:
        yield taken
    finally:
        with _CHANGED:
            _TAKEN[taken] -= 1
            _CHANGED.notify_all()


def _free(room: Counter[str]) -> Sequence[str]:
    """Return the lanes that nobody has, in their order."""
    return [name for name, count in room.items() if _TAKEN[name] < count]
