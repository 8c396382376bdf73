"""Records: what a work folder keeps of a finished tile, and how a record is known to be whole and to belong where it lies.

A record (.npz) holds arrays and a label (JSON): the job and the place of its tile, a digest of everything that the tile was solved
from, and a digest of each array. The digest of the label is the record's seal: it stands for the whole content, so the same tile,
solved again from the same pixels, has the same seal. The notes of a record (seconds, worker, device) are not under the seal. NumPy
only; no pickle is ever loaded.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import atomic
from ..errors import InputError, OutputError

READ = ("values", "observed", "gaps", "inside")
"""What a tile is solved from, in the order in which its arrays come."""
LABEL, NOTES = "label", "notes"
PARSES = 9
"""How often an array's header is read before an error of Python's own parser is believed: Python 3.11 loses count, rarely, where
several threads parse at once (https://github.com/python/cpython/issues/106905), and NumPy parses each header."""
AGAIN = "Run the same again, and this tile is solved again; or start over with"


class Slot(NamedTuple):
    """Where the record of one tile of one job is kept: its path, the digest of the job, and the tile's place in the scene."""

    path: str
    job: str
    place: tuple[int, ...]


class Record(Mapping[str, NDArray[Any]]):
    """The arrays of an open record: each is compared with its digest when it is read."""

    def __init__(self, path: str | os.PathLike[str], file: Mapping[str, NDArray[Any]]) -> None:
        """Take an open .npz file, and read its label."""
        self.path, self._file = path, file
        text = str(self._read(LABEL))
        self.seal = digest(text)
        with _refusing(path):
            label = json.loads(text)
            self.job, self.place = str(label["job"]), tuple(int(n) for n in label["place"])
            self.read: dict[str, str | None] = dict(label["read"])
            self._digests: dict[str, str] = dict(label["arrays"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one array."""
        if name not in self._digests:
            raise KeyError(name)
        values = self._read(name)
        if digest(values) != self._digests[name]:
            raise _damaged(self.path, f"{name} is not what was written")
        return values

    def __iter__(self) -> Iterator[str]:
        """Return the names of the arrays."""
        return iter(self._digests)

    def __len__(self) -> int:
        """Return how many arrays there are."""
        return len(self._digests)

    @property
    def notes(self) -> dict[str, Any]:
        """How long the tile took, where, and on which device."""
        text = str(self._read(NOTES))
        with _refusing(self.path):
            return dict(json.loads(text))

    def belongs(self, slot: Slot) -> bool:
        """Return whether this is the record of that tile of that job."""
        return (self.job, self.place) == (slot.job, slot.place)

    def _read(self, name: str) -> NDArray[Any]:
        with _refusing(self.path):
            for _ in range(PARSES - 1):
                try:
                    return self._file[name]
                except SystemError:  # Python's, not the file's: see `PARSES`
                    continue
            return self._file[name]


class Stored(NamedTuple):
    """One array of a solved tile that lies in a record, read where it is blended; `seal`: of the record that is meant."""

    path: str
    name: str
    seal: str

    def load(self) -> NDArray[np.float32] | None:
        """Return the array; None where the tile has none.

        Raises:
            InputError: the record is damaged, gone, or another one than when the result was made.
        """
        with opened(self.path) as record:
            if record.seal != self.seal:
                msg = (
                    f"{self.path} is another record than the one that this result was made with: its work folder was used "
                    "again for another job since. Call the verb again, with a work folder of its own."
                )
                raise InputError(msg)
            if self.name not in record:
                return None
            values: NDArray[np.float32] = record[self.name]
            if f"{self.name}.where" not in record:
                return values
            shape = tuple(record[f"{self.name}.shape"])
            where = np.unpackbits(record[f"{self.name}.where"], count=int(np.prod(shape))).astype(bool)
        full = np.zeros(shape, values.dtype)
        full.ravel()[where] = values
        return full


def sparse(name: str, values: NDArray[np.float32], where: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Return what `Stored` reads as `values` where `where`, and 0 elsewhere."""
    return {name: values[where], f"{name}.where": np.packbits(where), f"{name}.shape": np.array(values.shape)}


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Open the record of a solved tile. No pickle is loaded, whatever the file holds.

    Raises:
        InputError: it is damaged, gone, or none that this package wrote.
    """
    with ExitStack() as stack:
        with _refusing(path):
            handle = stack.enter_context(open(path, "rb"))  # NumPy leaves it open where it is no archive
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                msg = "it holds one array"
                raise ValueError(msg)
            stack.enter_context(file)
        yield Record(path, file)


def keep(slot: Slot, read: Sequence[Any], arrays: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    """Write the record of a tile, whole or not at all.

    Args:
        slot: where it is kept.
        read: what the tile was solved from, in the order of `READ`.
        arrays: what it keeps, by name.
        notes: how the tile was solved, which may differ from run to run.

    Raises:
        OutputError: the folder cannot be written, or is not there, as where a worker does not share the disk.
    """
    plain = {name: np.asarray(values) for name, values in arrays.items()}
    digests = {name: digest(values) for name, values in plain.items()}
    label = {"job": slot.job, "place": slot.place, "read": digests_of(read), "arrays": digests}
    content: dict[str, Any] = {LABEL: json.dumps(label), NOTES: json.dumps(notes), **plain}
    target = Path(slot.path)
    try:
        with atomic.replacing(target) as temporary, temporary.open("xb") as file:
            np.savez(file, **content)
    except OSError as error:
        raise unwritable(target.parent, error) from error


def check(slot: Slot, read: Sequence[Any]) -> str:
    """Return what is wrong with a tile's record: "" for nothing, "damaged", "misplaced", or what its tile is solved from now.

    Args:
        slot: where it is kept.
        read: what the tile is to be solved from, in the order of `READ`; the names of what differs are joined by ", ".
    """
    try:
        with opened(slot.path) as record:
            if not record.belongs(slot):
                return "misplaced"
            kept, _, _ = record.read, record.notes, dict(record)  # an array is compared with its digest when it is read
    except InputError:
        return "damaged"
    return ", ".join(name for name, now in digests_of(read).items() if kept.get(name) != now)


@contextmanager
def opened_at(slot: Slot) -> Iterator[Record]:
    """Open the record of one tile of one job.

    Raises:
        InputError: it is damaged, or the record of another tile or job.
    """
    with opened(slot.path) as record:
        if not record.belongs(slot):
            raise _damaged(slot.path, "it belongs to another tile or another job")
        yield record


def digests_of(read: Sequence[Any]) -> dict[str, str | None]:
    """Return a digest of each array that a tile is solved from, by name; None where there is no such array."""
    return {name: None if part is None else digest(part) for name, part in zip(READ, read, strict=False)}


def digest(*parts: Any) -> str:
    """Return a hash of arrays, or sequences of arrays, and text."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, list | tuple):
            total.update(digest(*part).encode())
        elif isinstance(part, np.ndarray) and not part.dtype.hasobject:
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            total.update(str(part).encode())
    return total.hexdigest()[:16]


def unwritable(path: Path, error: OSError) -> OutputError:
    """Return the error for a work folder that cannot be written."""
    found = (
        f"The work folder {path} cannot be written: {error.strerror or error}. Finished tiles are kept. Free some space, or see "
        "that it is there on all workers, and run the same again; or choose another one"
    )
    return OutputError(found, call="as work=.", option="with --work.")


@contextmanager
def _refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever reading a damaged file raises into one error: a flipped bit may meet any part of the readers."""
    try:
        yield
    except Exception as error:
        raise _damaged(path, str(error)[:120] or type(error).__name__) from error


def _damaged(path: str | os.PathLike[str], why: str) -> InputError:
    found = f"{path} is no record of this tile that can be read ({why}). {AGAIN}"
    return InputError(found, call="restart=True.", option="--restart")
