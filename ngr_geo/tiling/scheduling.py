"""Dask: what is computed where, and clusters of workers, with GPUs or without."""

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask
import dask.array as da

from ..errors import InputError

ALLOCATING = {
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment of our worker processes. Distributed's own has every array of more than 128 kB taken from the system and given back:
three times as slow here."""


def compute(
    tasks: Sequence[Any], progress: Callable[[int], None] | None = None, together: int | None = None
) -> tuple[Any, ...]:
    """Return the results of delayed tasks, from the active Dask cluster where there is one, else from threads.

    On a cluster with workers that declare `GPU` each asks for one; on others nothing is asked for.
    """
    client = active_client()
    if client is not None:
        resources = {"GPU": 1} if has_gpus(client) else None
        results: tuple[Any, ...] = client.gather(client.compute(list(tasks), resources=resources))
        return tuple(results)
    from dask.callbacks import Callback

    wanted = {task.key for task in tasks}
    finished = itertools.count(1)

    def count(key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        if key in wanted and progress is not None:
            progress(next(finished))

    with Callback(posttask=count):
        answers: tuple[Any, ...] = dask.compute(*tasks, scheduler=_scheduler(), num_workers=together)
    return answers


def blocks(data: Any) -> da.Array:
    """Return an array as a Dask array, one in memory in blocks of 1024 x 1024 pixels."""
    return data if isinstance(data, da.Array) else da.from_array(data, chunks=(-1,) * (data.ndim - 2) + (1024, 1024))


def active_client() -> Any:
    """Return the Dask client that is active here, or None."""
    import sys

    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


def elsewhere() -> bool:
    """Return whether the active Dask cluster, if there is one, has machines of its own, maybe with a GPU that is not here."""
    client = active_client()
    if client is None:
        return False
    from distributed import LocalCluster

    return not isinstance(client.cluster, LocalCluster)


@contextmanager
def asking_for_gpus() -> Iterator[None]:
    """Have the tasks made inside the block ask for a GPU, where workers of the active cluster declare any."""
    client = active_client()
    if client is None or not has_gpus(client):
        yield
        return
    with dask.annotate(resources={"GPU": 1}):
        yield


def local(workers: int, gpus: Sequence[str] = ()) -> Any:
    """Return a Dask cluster of so many processes here, each of which sees one of the GPUs, in turn."""
    from distributed import LocalCluster

    class Pinned(LocalCluster):
        def new_worker_spec(self) -> Any:
            ((number, worker),) = super().new_worker_spec().items()  # the same dictionary for all workers
            own = {"CUDA_VISIBLE_DEVICES": gpus[int(number) % len(gpus)]} if gpus else {}
            return {number: worker | {"options": worker["options"] | {"env": own}}}

    where = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    cluster = Pinned(n_workers=0, threads_per_worker=1, **where)
    cluster.scale(workers)
    return cluster


@contextmanager
def cluster(address: str | None = None, workers: int | None = None, gpus: Sequence[str] = ()) -> Iterator[None]:
    """Have tiles run on the Dask cluster at an address (or of a scheduler file), or on one of so many processes here.

    Each process here sees one of the GPUs, in turn; without any it sees what this process does.

    Raises:
        InputError: no scheduler answers there, or `distributed` is not installed.
    """
    if address is None and workers is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        msg = "Found no package distributed, which a Dask cluster needs: pip install 'ngr_geo[cluster]'."
        raise InputError(msg) from error
    if address is None:
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": ALLOCATING}),
            local(workers or 1, gpus) as processes,
            Client(processes) as client,
        ):
            client.wait_for_workers(workers or 1)
            yield
        return
    known = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        client = Client(timeout=10, **known)
    except (OSError, ValueError) as error:
        msg = f"No Dask scheduler answers at {address} ({str(error).splitlines()[0][:100]}): start one with: dask scheduler"
        raise InputError(msg) from error
    with client:
        if not client.scheduler_info()["workers"]:
            msg = f"The Dask scheduler at {address} has no workers: start some with: dask worker {address}"
            raise InputError(msg)
        yield


def has_gpus(client: Any) -> bool:
    """Return whether a worker of the cluster declares the resource `GPU`."""
    return any(
        w.get("resources", {}).get("GPU", 0) >= 1 for w in client.scheduler_info(n_workers=-1)["workers"].values()
    )


def _scheduler() -> Any:
    """Return the user's own choice of a local scheduler, or threads."""
    return dask.config.get("scheduler", None) or "threads"
