"""Files and folders that are written whole or not at all: under a hidden temporary name, then renamed."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike, advice: str = "", ending: str = "") -> Iterator[Path]:
    """Give a temporary path beside `path` for a file or a folder, which takes its place when the block ends without an error.

    Args:
        path: where it will be.
        advice: how a user can mend an error of the disk, which then becomes an OutputError. "": it is raised as it is.
        ending: of the temporary name, where a library chooses the format by it.

    Raises:
        OutputError: it cannot be written, and there is an `advice`.
    """
    target = Path(path)
    temporary = temporary_name(target, ending)
    try:
        yield temporary
        put(temporary, target)
    except OSError as error:
        if not advice or isinstance(error, OutputError):
            raise
        msg = f"{target} could not be written: {error.strerror or error}. {advice}"
        raise OutputError(msg) from error
    finally:
        remove(temporary)


def write(path: PathLike, content: bytes, advice: str = "") -> None:
    """Write a file, and the folders above it, by way of `replacing`."""
    with replacing(path, advice) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def temporary_name(path: Path, ending: str = "") -> Path:
    """Return a hidden name beside a path that no other thread, process or machine uses."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part{ending}")


def sweep(path: Path) -> None:
    """Remove what runs on this machine that were killed left beside a path under temporary names."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.{_host()}-*.part*"):
        process = re.fullmatch(r"(\d+)[-.].*", leftover.name.removeprefix(f".{path.name}.{_host()}-"))
        if process and not _is_running(int(process[1])):
            remove(leftover)


def put(temporary: Path, path: Path) -> None:
    """Rename a file or a folder. A folder steps aside for another first, as no rename replaces it in one step."""
    if not path.is_dir():
        os.replace(temporary, path)
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(aside, path)
        raise
    shutil.rmtree(aside)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there, even while threads that have not yet noticed a full disk still write into it."""
    for _ in range(50):
        if not os.path.lexists(path):
            return
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.1)


def check(path: PathLike, overwrite: bool, allow: str, other: str) -> None:
    """Raise where `write` could not write a file, or would replace one that may not be.

    Raises:
        OutputError: what is there, and what to use: `allow`, which replaces it, or `other`, another place.
    """
    target = Path(path)
    if target.is_dir() or (target.exists() and not overwrite):
        msg = f"{target} is {'a folder' if target.is_dir() else 'already there'}. Use {allow}, or {other}."
        raise OutputError(msg)
    if any(parent.exists() and not parent.is_dir() for parent in target.absolute().parents):
        msg = f"{target} cannot be written: its folder is a file. Use {other}."
        raise OutputError(msg)


def _host() -> str:
    return "".join(letter for letter in socket.gethostname() if letter.isalnum())


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
