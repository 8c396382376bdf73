"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import OutputError


def write(path: str | os.PathLike[str], content: bytes, option: str) -> None:
    """Write a file under a temporary name beside it, and rename it when it is whole.

    Raises:
        OutputError: it cannot be written; `option` of the command line names another place.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", prefix=f".{target.stem}.", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            temporary.chmod(0o644)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{target} could not be written: {error.strerror or error}. Choose another place with {option}."
        raise OutputError(msg) from error


def check(path: str | os.PathLike[str], overwrite: bool, allow: str, other: str) -> None:
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
