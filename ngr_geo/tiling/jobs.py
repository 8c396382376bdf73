"""The job of a work folder: what `job.json` says of it, and whether a run may go on with what the folder holds.

A job is its version, verb, settings and input. The input is known by digests of its pixels, not by its files: their size and time
only serve to name the file that changed. A file that was touched or moved, with the pixels it had, is the same input.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from .. import atomic
from ..errors import InputError
from .store import Slot, digest, unwritable
from .tiles import Tile

FILE, CHECKPOINT, TILES, LOCK = "job.json", "prior.safetensors", "tiles", "lock"
PIXELS, FILES, LEARNT = "pixels", "inputs", "learnt"
"""Entries beside what the job is: digests of what the scene is learnt from, stamps of the files, digest of what was learnt."""
_OURS = re.compile(r"\d{6}\.npz|\.\d{6}\..*")
_TEMPORARY = f".{FILE}."
MEANING = {
    "values": "values",
    "observed": "which pixels count as observed (the mask, its rule, nodata)",
    "gaps": "which pixels are to be filled (the mask, the dates)",
    "inside": "the area of interest",
}
Job = dict[str, Any]


def key(job: Mapping[str, Any]) -> str:
    """Return the digest of a job and of what was learnt for it: its tiles' records carry it."""
    return digest(json.dumps({name: value for name, value in job.items() if name != FILES}, sort_keys=True))


def slots(folder: Path, job: Mapping[str, Any], pieces: Sequence[Tile]) -> list[Slot]:
    """Return where the tiles of a job are kept."""
    name = key(job)
    return [Slot(str(folder / TILES / f"{t.number:06d}.npz"), name, t.place) for t in pieces]


def read(folder: Path) -> Job:
    """Return the job that a folder holds.

    Raises:
        InputError: there is none, or one that cannot be read.
    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"Found no job in {folder}, expected the work folder of one (work=, --work) that was not removed yet."
        raise InputError(msg) from error
    try:
        job = json.loads(text)
    except (ValueError, RecursionError):
        job = None
    if not isinstance(job, dict) or not {"version", "verb", "tile", "shape", PIXELS, FILES} <= set(job):
        found = f"{folder / FILE} describes no job of this version, or is damaged. Choose another work folder, or start over with"
        raise InputError(found, call="restart=True.", option="--restart")
    return job


def tile_of(folder: Path) -> int | None:
    """Return the side of the tiles of the job that a folder holds, None where it holds none that can be read."""
    try:
        found = read(folder)["tile"]
    except InputError:
        return None
    return found if isinstance(found, int) else None


def begin(folder: Path, restart: bool, job: Job, files: Sequence[str]) -> Job:
    """Return the job of a folder after comparing it with `job`; written down where the folder is new, or starts over.

    Raises:
        InputError: the folder holds another job, or files of others.
        OutputError: it cannot be written.
    """
    job = json.loads(json.dumps(job))  # as it comes back from the file
    ours = (folder / FILE).exists()
    if restart and ours:
        _refuse_others(folder)
        _clear(folder)
    if ours and not restart:
        found = read(folder)
        _compare(folder, found, job, files)
    else:
        strangers = [p.name for p in folder.iterdir() if p.name != LOCK and not p.name.startswith(_TEMPORARY)]
        if strangers and not ours:
            msg = (
                f"{folder} holds other files ({', '.join(sorted(strangers)[:3])}): choose an empty or new work folder."
            )
            raise InputError(msg)
        found = {**job, FILES: stamps(files), LEARNT: None}
        write(folder, found)
    (folder / TILES).mkdir(exist_ok=True)
    for leftover in (folder / TILES).glob(".*"):
        if _OURS.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)
    return found


def write(folder: Path, job: Mapping[str, Any]) -> None:
    """Write what the job is, whole or not at all."""
    try:
        with atomic.replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(job, indent=1), encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, error) from error


def remove(folder: Path) -> None:
    """Remove a work folder: only what is ours in it, and the folder itself if nothing else is left; not under a run's feet."""
    if not folder.is_dir():
        return
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):  # another run has begun in it, or it is gone
        return
    try:
        if (folder / FILE).exists():
            _clear(folder)
        (folder / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def changed(
    folder: Path, where: str, parts: Sequence[str], before: Mapping[str, Any], files: Sequence[str]
) -> InputError:
    """Return the error for an input that is not what a folder was begun with.

    Args:
        folder: of the job.
        where: the part of the scene where it was noticed.
        parts: what differs there: names of `store.READ`.
        before: the stamps of the files then.
        files: that are read now.
    """
    what = ", ".join(MEANING.get(part, part) for part in parts)
    found = (
        f"The input is not what {folder} was begun with: other {what} {where}. {_suspects(before, files)}Run it with the input "
        "as it was, choose another work folder, or start over with"
    )
    return InputError(found, call="restart=True.", option="--restart")


def stamps(files: Sequence[str]) -> dict[str, list[int]]:
    """Return size and time of change of files, by name; a Zarr store counts by its description."""
    found = {}
    for name in files:
        path = Path(name)
        path = next((path / n for n in ("zarr.json", ".zmetadata", ".zgroup") if (path / n).exists()), path)
        if path.exists():
            found[os.path.abspath(name)] = [path.stat().st_size, path.stat().st_mtime_ns]
    return found


def sources(raster: xr.DataArray | xr.Dataset) -> tuple[str, ...]:
    """Return the files that a raster says it was opened from."""
    variables = [raster, *(raster.data_vars.values() if isinstance(raster, xr.Dataset) else ())]
    return tuple(dict.fromkeys(str(v.encoding["source"]) for v in variables if v.encoding.get("source")))


def _compare(folder: Path, found: Job, job: Job, files: Sequence[str]) -> None:
    """Raise where two jobs differ: first in what was asked for, then in the pixels of the sample that the scene is learnt from."""
    beside = (PIXELS, FILES, LEARNT)
    names = [name for name in dict.fromkeys((*found, *job)) if name not in beside]
    other = [name for name in names if found.get(name) != job.get(name)]
    if other:
        what = "; ".join(f"{name} was {_short(found.get(name))} and is {_short(job.get(name))}" for name in other[:4])
        text = (
            f"{folder} holds the records of another job: {what}. Run it as it was begun, choose another work folder, or"
        )
        text += " start over with"
        raise InputError(text, call="restart=True.", option="--restart")
    then, now = found[PIXELS], job[PIXELS]
    if then != now:
        parts = [name for name in now if not isinstance(then, dict) or then.get(name) != now[name]]
        raise changed(folder, "in the windows that the scene is learnt from", parts, found[FILES], files)


def _refuse_others(folder: Path) -> None:
    """Raise where `job.json` is another program's; what cannot be read at all counts as a damaged one of ours."""
    try:
        read(folder)
    except InputError:
        try:
            json.loads((folder / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return
        msg = f"{folder / FILE} was not written by ngr_geo, and is not removed: choose an empty or new work folder."
        raise InputError(msg) from None


def _suspects(before: Mapping[str, Any], files: Sequence[str]) -> str:
    """Return which files changed, as a sentence; which there are where none looks changed."""
    now = stamps(files)
    other = [f"{n} ({_looks(before[n])}, now {_looks(now[n])})" for n in now if n in before and before[n] != now[n]]
    new, gone = [n for n in now if n not in before], [n for n in before if n not in now]
    kinds = [("Changed since", other), ("Not read then", new), ("Not read now", gone)]
    found = [f"{title}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}. " for title, names in kinds if names]
    if not found and now:
        found = [
            f"No file that is known to be read shows another size or time of change ({', '.join(list(now)[:3])}). "
        ]
    return "".join(found)


def _looks(stamp: Sequence[int]) -> str:
    """Return a file's size and time of change as text."""
    size, time = stamp
    return f"{size} bytes of {datetime.fromtimestamp(time / 1e9, UTC).isoformat(' ', 'seconds').removesuffix('+00:00')} UTC"


def _clear(folder: Path) -> None:
    """Remove what is ours in a folder; `job.json` last, so that what is left of an interrupted removal is still known as ours."""
    tiles = folder / TILES
    for path in tiles.iterdir() if tiles.is_dir() else ():
        if _OURS.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if tiles.is_dir() and not any(tiles.iterdir()):
        tiles.rmdir()
    for name in (CHECKPOINT, *(p.name for p in folder.glob(f"{_TEMPORARY}*")), FILE):
        (folder / name).unlink(missing_ok=True)


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 90 else f"{text[:87]}..."
