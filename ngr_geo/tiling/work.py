"""Tiles solved wherever Dask runs, each kept in a work folder when it is finished, so that a job that was stopped goes on.

    FOLDER/job.json            what the job is: version, verb, settings, input
    FOLDER/prior.safetensors   the checkpoint of a stack: what was learnt of the scene
    FOLDER/tiles/000042.npz    a finished tile: see `store`

A tile is a function of its own pixels and of the model, so any order, any scheduler and any number of interruptions give the same
bits; an interrupted run differs from another in `ngr_made`, the time of the call, alone. Before a finished tile is taken over, its
pixels are read again and compared with what it was solved from. Tasks write their records themselves and send nothing back: no
worker ever holds more than the tiles it is working on. On a cluster the folder has to be on a disk that all workers see.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dask
from filelock import FileLock, Timeout

from ..errors import InputError, NgrError, OutputError, TilesFailedError, warn
from ..progress import Progress
from ..wording import counted
from . import jobs, scheduling, store
from .store import Slot
from .tiles import Tile

GROUP = 64
"""Tiles in one Dask computation, more on a large cluster: keeps workers busy, and bounds the graph and what is read ahead."""


@dataclass(frozen=True)
class Folder:
    """Where a job keeps its records; `restart` removes those of an earlier one; `inputs`: the files of the raster."""

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

    def __init__(self, path: Path, job: jobs.Job, files: Sequence[str]) -> None:
        """Take the folder, its job, and the files that are read."""
        self.path, self.job, self.files = path, job, files
        self._begun = jobs.stamps(files)

    @property
    def checkpoint(self) -> Path:
        """Where the model of a stack is kept."""
        return self.path / jobs.CHECKPOINT

    @property
    def learnt(self) -> str | None:
        """The digest of what was learnt of the scene; None before that."""
        return self.job[jobs.LEARNT]

    def learn(self, learnt: str) -> None:
        """Write down the digest of what was learnt of the scene: records of tiles solved with anything else are of another job."""
        if learnt != self.learnt:
            self.job[jobs.LEARNT] = learnt
            jobs.write(self.path, self.job)

    def slots(self, pieces: Sequence[Tile]) -> list[Slot]:
        """Return where tiles are kept."""
        return jobs.slots(self.path, self.job, pieces)

    def solve(
        self,
        pieces: Sequence[Tile],
        read: Callable[[Tile], Any],
        task: Callable[[Tile, Any, Slot], Any],
        progress: Progress,
        together: int | None = None,
    ) -> None:
        """Have all tiles that are not finished solved and recorded.

        Neighbours go together, so that what they read in common is read once. Where something fails, the tiles of that group are
        tried again one by one: only those that fail twice are given up, and reported when all others are finished.

        Args:
            pieces: of the scene.
            read: tile -> what it is solved from, delayed, in the order of `store.READ`.
            task: (tile, what it is solved from, where its record is kept) -> delayed.
            progress: called with the tiles that are done.
            together: so many at a time, where they run in this process; None: one per core.

        Raises:
            InputError: the input is not what finished tiles were solved from.
            TilesFailedError: some could not be solved.
            OutputError: a record cannot be written.
        """
        slots = {t.number: s for t, s in zip(pieces, self.slots(pieces), strict=True)}

        def finished(tile: Tile) -> bool:
            return os.path.exists(slots[tile.number].path)

        def check(tile: Tile) -> Any:
            return dask.delayed(store.check, pure=False)(slots[tile.number], read(tile))

        along = along_curve(pieces)
        failures = self._check([t for t in along if finished(t)], slots, check, partial(progress, "check"), together)
        todo = [t for t in along if not finished(t)]
        done = len(pieces) - len(todo)
        progress("tiles", done, len(pieces))
        for group in _groups(todo):

            def count(solved: int, before: int = done) -> None:
                progress("tiles", before + solved, len(pieces))

            _, failed = _computed(
                group, lambda t: task(t, read(t), slots[t.number]), count, together, lambda t: not finished(t)
            )
            failures += failed
            done += len(group)
            progress("tiles", done, len(pieces))
        if failures:
            raise TilesFailedError(_failed(failures, len(pieces), self.path), [f._asdict() for f in failures])
        self._still()

    def _check(
        self,
        pieces: Sequence[Tile],
        slots: Mapping[int, Slot],
        check: Callable[[Tile], Any],
        progress: Callable[[int, int], None],
        together: int | None,
    ) -> list[Failure]:
        """Remove the records that cannot be used, and return which tiles could not be read to be compared with theirs.

        Raises:
            InputError: a tile was solved from other pixels.
        """
        done, failures, useless = 0, [], {"damaged": 0, "misplaced": 0}
        for group in _groups(pieces):
            found, failed = _computed(group, check, None, together)
            failures += failed
            for tile in group:
                verdict = found.get(tile.number, "")
                if verdict in useless:
                    useless[verdict] += 1
                    self._drop(slots[tile.number])
                elif verdict:
                    where = f"in tile {tile.number} ({_window(*_ends(tile))}), which is solved already"
                    raise jobs.changed(self.path, where, verdict.split(", "), self.job[jobs.FILES], self.files)
            done += len(group)
            progress(done, len(pieces))
        if any(useless.values()):
            kinds = {"damaged": "damaged", "misplaced": "of another tile or another job"}
            counts = " and ".join(f"{n} {kinds[k]}" for k, n in useless.items() if n)
            text = f"Found {counted(sum(useless.values()), 'record')} in {self.path} that cannot be used, {counts}: solved again."
            warn(text)
        if self.job[jobs.FILES] != self._begun and not failures:  # touched or moved, with the same pixels
            self.job[jobs.FILES] = self._begun
            jobs.write(self.path, self.job)
        return failures

    def _drop(self, slot: Slot) -> None:
        try:
            Path(slot.path).unlink(missing_ok=True)
        except OSError as error:
            raise store.unwritable(self.path, error) from error

    def _still(self) -> None:
        """Raise where a file changed while it was read: tiles may be of both.

        The next run compares them one by one.
        """
        now = jobs.stamps(self.files)
        moved = [name for name in now if now[name] != self._begun.get(name)]
        if moved:
            msg = f"{moved[0]} changed while the tiles were solved. Run the same again: every tile is compared with the file then."
            raise InputError(msg)


def _computed(
    group: Sequence[Tile],
    task: Callable[[Tile], Any],
    progress: Callable[[int], None] | None,
    together: int | None,
    again: Callable[[Tile], bool] = lambda tile: True,
) -> tuple[dict[int, Any], list[Failure]]:
    """Return what a task gives for each tile, by number, and which tiles failed twice: with others, and alone."""
    try:
        return {
            t.number: r
            for t, r in zip(group, scheduling.compute([task(t) for t in group], progress, together), strict=True)
        }, []
    except OutputError:
        raise
    except Exception:  # of any tile, in reading or in solving: found out below
        results, failures = {}, []
        for tile in filter(again, group):
            try:
                (results[tile.number],) = scheduling.compute([task(tile)])
            except OutputError:
                raise
            except Exception as error:
                cause = str(error) if isinstance(error, NgrError) else f"{type(error).__name__}: {error}"
                failures.append(Failure(*_ends(tile), cause))
        return results, failures


def _groups(pieces: Sequence[Tile]) -> Iterator[Sequence[Tile]]:
    """Yield tiles in groups for one Dask computation each."""
    client = scheduling.active_client()
    size = max(4 * GROUP, 4 * sum(client.nthreads().values())) if client else GROUP
    for start in range(0, len(pieces), size):
        yield pieces[start : start + size]


@contextmanager
def opened(folder: Folder, job: Mapping[str, Any], files: Sequence[str] = ()) -> Iterator[Work]:
    """Open, or begin, the work folder of a job; nobody else can at the same time.

    Args:
        folder: where it is.
        job: what the job is, as JSON can hold it; `pixels`: digests of what the scene is learnt from.
        files: the raster was opened from, where the folder names none.

    Raises:
        InputError: it holds another job, or another run is at work in it.
        OutputError: it cannot be written.
    """
    path = Path(os.path.abspath(folder.path))
    files = folder.inputs or files
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / jobs.LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"Another run is at work in {path}. Wait for it to end, or choose another work folder."
        raise InputError(msg) from error
    except OSError as error:
        raise store.unwritable(path, error) from error
    try:
        yield Work(path, jobs.begin(path, folder.restart, dict(job), files), files)
    finally:
        lock.release()


def along_curve(pieces: Sequence[Tile]) -> list[Tile]:
    """Return tiles so that neighbours come soon after each other: along a Z-order curve."""
    down = {start: i for i, start in enumerate(sorted({t.row.start for t in pieces}))}
    across = {start: i for i, start in enumerate(sorted({t.column.start for t in pieces}))}

    def place(tile: Tile) -> int:
        row, column = down[tile.row.start], across[tile.column.start]
        return sum((row >> bit & 1) << 2 * bit + 1 | (column >> bit & 1) << 2 * bit for bit in range(20))

    return sorted(pieces, key=place)


def _ends(tile: Tile) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where a tile begins and ends, in rows and in columns."""
    return (tile.row.start, tile.row.stop), (tile.column.start, tile.column.stop)


def _window(rows: tuple[int, int], columns: tuple[int, int]) -> str:
    return f"rows {rows[0]}-{rows[1] - 1}, columns {columns[0]}-{columns[1] - 1}"


def _failed(failures: Sequence[Failure], total: int, path: Path) -> str:
    parts = [f"{_window(f.rows, f.columns)}: {f.cause}" for f in failures[:3]]
    more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
    return (
        f"{len(failures)} of {counted(total, 'tile')} could not be solved, each tried twice: {' | '.join(parts)}{more}. "
        f"Nothing was written. The others are kept in {path}: mend the cause and run the same again, and only these are solved."
    )
