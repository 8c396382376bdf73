"""Tiles solved wherever Dask runs, each kept in a work folder when it is finished, so that a job that was stopped goes on.

    FOLDER/job.json            what the job is: version, verb, settings, input
    FOLDER/prior.safetensors   what was learnt of the scene
    FOLDER/tiles/000042.npz    a finished tile

A tile is a function of its own pixels and of the prior, so any order, any scheduler and any number of interruptions give the same
bits. Tasks write their records themselves and send nothing back: no worker ever holds more than the tiles it is working on. On a
cluster the folder has to be on a disk that all workers see.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import shutil
import socket
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from .errors import InputError, NgrError, OutputError, TilesFailedError
from .tiles import Region, Tile
from .wording import counted

GROUP = 64
"""Tiles in one Dask computation, more on a large cluster: keeps workers busy, and bounds the graph and what is read ahead."""
ALLOCATING = {
    "MALLOC_TRIM_THRESHOLD_": str(2**28),
    "MALLOC_MMAP_THRESHOLD_": str(2**28),
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment of our worker processes. Distributed's own has every array of more than 128 kB taken from the system and given back:
three times as slow here."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Folder:
    """Where a job keeps its records; `restart` does away with those of an earlier one; `inputs`: files that must not change."""

    path: str | os.PathLike[str]
    restart: bool = False
    inputs: tuple[str, ...] = ()


class Failure(NamedTuple):
    """A tile that could not be solved: its window (rows, columns) and why."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    cause: str


class Work:
    """An open work folder; made by `opened`."""

    def __init__(self, path: Path) -> None:
        """Take the folder."""
        self.path = path

    @property
    def prior(self) -> Path:
        """Where the scene's prior is kept."""
        return self.path / "prior.safetensors"

    def record(self, tile: Tile) -> Path:
        """Return where a tile is kept."""
        return self.path / "tiles" / f"{tile.number:06d}.npz"

    def has(self, tile: Tile) -> bool:
        """Return whether a tile is finished: its record is there and whole."""
        return zipfile.is_zipfile(self.record(tile))

    def solve(
        self, pieces: Sequence[Tile], task: Callable[[Tile, str], Any], tell: Progress, together: int | None = None
    ) -> None:
        """Have all tiles that are not finished solved and recorded.

        Neighbours go together, so that what they read in common is read once. Where something fails, the tiles of that group are
        tried again one by one: only those that fail twice are given up, and told of when all others are finished.

        Args:
            pieces: of the scene.
            task: (tile, path of its record) -> delayed.
            tell: of the progress.
            together: so many at a time, where they run in this process; None: one per core.

        Raises:
            TilesFailedError: some could not be solved.
            OutputError: a record cannot be written.
        """
        todo = [t for t in along_curve(pieces) if not self.has(t)]
        done, failures = len(pieces) - len(todo), []
        tell("tiles", done, len(pieces))
        client = active_client()
        size = max(4 * GROUP, 4 * sum(client.nthreads().values())) if client else GROUP
        for start in range(0, len(todo), size):
            group = todo[start : start + size]
            try:
                compute(
                    [task(t, str(self.record(t))) for t in group], partial(_count_on, tell, done, len(pieces)), together
                )
            except OutputError:
                raise
            except Exception:  # of any tile, in reading or in solving: found out below
                for tile in [t for t in group if not self.has(t)]:
                    try:
                        compute([task(tile, str(self.record(tile)))])
                    except OutputError:
                        raise
                    except Exception as error:
                        rows, columns = tile.window
                        cause = str(error) if isinstance(error, NgrError) else f"{type(error).__name__}: {error}"
                        failures.append(Failure((rows.start, rows.stop), (columns.start, columns.stop), cause))
            done += len(group)
            tell("tiles", done, len(pieces))
        if failures:
            self._let_mend(failures)
            raise TilesFailedError(_told(failures, len(pieces), self.path), [f._asdict() for f in failures])

    def _let_mend(self, failures: Sequence[Failure]) -> None:
        """Forget how the input files looked that failures name: they may come back mended."""
        path = self.path / "job.json"
        job = json.loads(path.read_text(encoding="utf-8"))
        named = [name for name in job["inputs"] if any(name in f.cause for f in failures)]
        _write(path, job | {"inputs": {n: None if n in named else stamp for n, stamp in job["inputs"].items()}})


@contextmanager
def opened(folder: Folder, job: Mapping[str, Any]) -> Iterator[Work]:
    """Open, or begin, the work folder of a job; nobody else can at the same time.

    Raises:
        InputError: it holds another job, or another run is at work in it.
        OutputError: it cannot be written.
    """
    path = Path(os.path.abspath(folder.path))
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"Another run is at work in {path}. Wait for it to end, or choose another work folder."
        raise InputError(msg) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        _begin(
            path,
            folder.restart,
            {key: _plain(value) for key, value in (*job.items(), ("inputs", _stamps(folder.inputs)))},
        )
        yield Work(path)
    finally:
        lock.release()


def remove(path: Path) -> None:
    """Remove a work folder: only what is ours in it, and the folder itself if nothing else is left."""
    for name in ("tiles", "job.json", "prior.safetensors", "lock"):
        part = path / name
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def keep(record: str, **arrays: Any) -> None:
    """Write the record of a tile, whole or not at all.

    Raises:
        OutputError: the folder cannot be written, or is not there, as where a worker does not share the disk.
    """
    target = Path(record)
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.stem}.", delete=False) as handle:
            temporary = Path(handle.name)
            try:
                np.savez(handle, **arrays)
                handle.close()
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(target.parent, error) from error


def telling(begun: float, device: str | None) -> dict[str, Any]:
    """Return for a tile's record how long it took since `begun` (perf_counter), on which machine and process, on which device."""
    seconds = round(time.perf_counter() - begun, 3)
    return {"seconds": seconds, "worker": f"{socket.gethostname()}:{os.getpid()}", "device": device}


def digest(*parts: Any) -> str:
    """Return a hash of arrays, or sequences of arrays, and text."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, list | tuple):
            total.update(digest(*part).encode())
        elif isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        else:
            total.update(str(part).encode())
    return total.hexdigest()[:16]


def compute(
    tasks: Sequence[Any], tell: Callable[[int], None] | None = None, together: int | None = None
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
        if key in wanted and tell is not None:
            tell(next(finished))

    with Callback(posttask=count):
        answers: tuple[Any, ...] = dask.compute(*tasks, scheduler=_scheduler(), num_workers=together)
    return answers


def blocks(data: Any) -> da.Array:
    """Return an array as a Dask array, one in memory in blocks of 1024 x 1024 pixels."""
    return data if isinstance(data, da.Array) else da.from_array(data, chunks=(-1,) * (data.ndim - 2) + (1024, 1024))


def windows(data: da.Array) -> Callable[[Region], Any]:
    """Return a function that gives windows (..., h, w) of an array as delayed.

    They are cut from its blocks, and each block is computed once for all windows of one computation: Dask's own slices would
    repeat what leads to a block for every window that touches it.
    """
    data = data.rechunk(dict.fromkeys(range(data.ndim - 2), -1))
    parts = data.to_delayed().reshape(data.numblocks[-2:])
    ends = [np.cumsum([0, *chunks]).tolist() for chunks in data.chunks[-2:]]

    def touched(side: slice, edges: Sequence[int]) -> list[tuple[int, slice]]:
        """Return which blocks along an axis share pixels with a window, and which of theirs."""
        along = enumerate(itertools.pairwise(edges))
        near = [(i, a, b) for i, (a, b) in along if a < side.stop and side.start < b]
        return [(i, slice(max(side.start - a, 0), min(side.stop, b) - a)) for i, a, b in near]

    def cut(region: Region) -> Any:
        rows, columns = (touched(side, edges) for side, edges in zip(region, ends, strict=True))
        table = [[(parts[i, j], down, across) for j, across in columns] for i, down in rows]
        return dask.delayed(_joined, pure=False)(table)

    return cut


def _joined(table: Sequence[Sequence[tuple[NDArray[Any], slice, slice]]]) -> NDArray[Any]:
    """Return the parts of blocks that make up a window, put together."""
    return np.concatenate(
        [np.concatenate([block[..., r, c] for block, r, c in line], axis=-1) for line in table], axis=-2
    )


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


@contextmanager
def cluster(address: str | None = None, workers: int | None = None) -> Iterator[None]:
    """Have tiles run on the Dask cluster at an address (or of a scheduler file), or on one of so many processes here.

    Raises:
        InputError: no scheduler answers there, or `distributed` is not installed.
    """
    if address is None and workers is None:
        yield
        return
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        msg = "Found no package distributed, which a Dask cluster needs: pip install 'ngr_geo[cluster]'."
        raise InputError(msg) from error
    if address is None:
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": ALLOCATING}),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
            ) as local,
            Client(local),
        ):
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


def along_curve(pieces: Sequence[Tile]) -> list[Tile]:
    """Return tiles so that neighbours come soon after each other: along a Z-order curve."""
    down = {start: i for i, start in enumerate(sorted({t.row.start for t in pieces}))}
    across = {start: i for i, start in enumerate(sorted({t.column.start for t in pieces}))}

    def place(tile: Tile) -> int:
        row, column = down[tile.row.start], across[tile.column.start]
        return sum((row >> bit & 1) << 2 * bit + 1 | (column >> bit & 1) << 2 * bit for bit in range(20))

    return sorted(pieces, key=place)


def _count_on(tell: Progress, before: int, total: int, count: int) -> None:
    tell("tiles", before + count, total)


def _scheduler() -> Any:
    """Return the user's own choice of a local scheduler, or threads."""
    return dask.config.get("scheduler", None) or "threads"


def _begin(folder: Path, restart: bool, job: dict[str, Any]) -> None:
    """Compare the job with that of the folder, or write it down."""
    path = folder / "job.json"
    if restart:
        for name in ("tiles", "job.json", "prior.safetensors"):
            part = folder / name
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        forgiven = {name for name, stamp in before.get("inputs", {}).items() if stamp is None}
        job = job | {"inputs": {name: None if name in forgiven else stamp for name, stamp in job["inputs"].items()}}
        changed = [key for key in (*before, *(k for k in job if k not in before)) if before.get(key) != job.get(key)]
        if changed:
            what = "; ".join(
                f"{key} was {_short(before.get(key))} and is {_short(job.get(key))}" for key in changed[:4]
            )
            msg = (
                f"{folder} holds the records of another job: {what}. Run it as it was begun, choose another work folder, or "
                "start over with"
            )
            raise InputError(msg, call="restart=True.", option="--restart")
    else:
        strangers = [p.name for p in folder.iterdir() if p.name not in ("lock", "tiles", "prior.safetensors")]
        strangers = [name for name in strangers if not name.startswith(".job.json")]
        if strangers:
            msg = (
                f"{folder} holds other files ({', '.join(sorted(strangers)[:3])}): choose an empty or new work folder."
            )
            raise InputError(msg)
        for name in ("tiles", "prior.safetensors"):  # of a run that was killed while it started over
            part = folder / name
            shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        _write(path, job)
    (folder / "tiles").mkdir(exist_ok=True)
    for leftover in (folder / "tiles").glob(".*"):
        leftover.unlink(missing_ok=True)


def _write(path: Path, job: Mapping[str, Any]) -> None:
    """Write what the job is, whole or not at all."""
    try:
        temporary = path.with_name(f".job.json.{os.getpid()}")
        temporary.write_text(json.dumps(job, indent=1), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _stamps(inputs: Sequence[str]) -> dict[str, list[int]]:
    """Return size and time of change of the input files, by name; a Zarr store counts by its description."""
    found = {}
    for name in inputs:
        path = Path(name)
        path = next((path / n for n in ("zarr.json", ".zmetadata", ".zgroup") if (path / n).exists()), path)
        if path.exists():
            found[os.path.abspath(name)] = [path.stat().st_size, path.stat().st_mtime_ns]
    return found


def _plain(value: Any) -> Any:
    """Return a value as JSON gives it back, so that it can be compared with what was written."""
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 90 else f"{text[:87]}..."


def _told(failures: Sequence[Failure], total: int, path: Path) -> str:
    parts = [
        f"rows {f.rows[0]}-{f.rows[1] - 1}, columns {f.columns[0]}-{f.columns[1] - 1}: {f.cause}" for f in failures[:3]
    ]
    more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
    return (
        f"{len(failures)} of {counted(total, 'tile')} could not be solved, each tried twice: {' | '.join(parts)}{more}. "
        f"Nothing was written. The others are kept in {path}: mend the cause and run the same again, and only these are solved."
    )


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The work folder {path} cannot be written: {error.strerror or error}. Finished tiles are kept. Free some space, or "
        "see that it is there on all workers, and run the same again; or choose another one",
        call="as work=.",
        option="with --work.",
    )
