"""Results written to URLs: made on this machine, then brought there whole by fsspec."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.registry import known_implementations

from ..errors import NgrError, OutputError

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://(?!$)")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a URL, such as s3://bucket/out.zarr."""
    return bool(_URL.match(os.fspath(path)))


def file_system(url: str, kind: type[NgrError]) -> Any:
    """Return the file system of a URL.

    Raises:
        InputError, OutputError: as `kind` says, where the package that this takes is not there, or the protocol is none.
    """
    protocol = url.split("://")[0].lower()
    try:
        fsspec.get_filesystem_class(protocol)
        return fsspec.core.url_to_fs(url)[0]
    except ImportError as error:
        package = known_implementations[protocol]["class"].split(".")[0]
        package = "aiohttp requests" if package == "fsspec" else package
        found = f"{url} takes {package.replace(' ', ' and ')}, which is not installed:"
        raise kind(found, call=f"pip install {package}") from error
    except ValueError as error:
        found = f"{url}: {protocol}:// is no protocol that is known here."
        raise kind(found, call="Expected a path, s3://, gs://, az:// or another one of fsspec's.") from error


@contextmanager
def staged(out: str) -> Iterator[str]:
    """Give a path on this machine for what goes to a URL, in a folder that is removed in the end.

    Raises:
        OutputError: the URL cannot be written to: see `file_system`.
    """
    file_system(out, OutputError)
    with tempfile.TemporaryDirectory(prefix="ngr-geo-") as folder:
        name = out.rstrip("/").rsplit("/", 1)[1]
        yield os.path.join(folder, name) + ("/" if out.endswith("/") else "")


def url_of(path: Path, local: str, url: str) -> str:
    """Return where a file that was made for a URL goes: `local` is the place that `staged` gave for it."""
    return f"{url.rstrip('/').rsplit('/', 1)[0]}/{path.relative_to(Path(local).parent).as_posix()}"


def check_free(paths: Sequence[Path], local: str, url: str, overwrite: bool) -> None:
    """Raise where a URL cannot be reached, or holds something already.

    Raises:
        OutputError: with what is there.
    """
    system = file_system(url, OutputError)
    for path in paths:
        place = url_of(path, local, url)
        with _naming(place):
            there = system.exists(place)
        if there and not overwrite:
            found = f"{place} is already there."
            raise OutputError(
                found, call="Use overwrite=True, or another place.", option="Use --overwrite, or another -o."
            )


def publish(paths: Sequence[Path], local: str, url: str) -> None:
    """Bring files and stores to a URL: each under a hidden name, and only when all are there under its own.

    Raises:
        OutputError: it cannot be written. Nothing is left there then.
    """
    system = file_system(url, OutputError)
    moves: list[tuple[str, str]] = []
    with _naming(url):
        try:
            for path in paths:
                place = system._strip_protocol(url_of(path, local, url))
                folder, name = place.rsplit("/", 1)
                system.makedirs(folder, exist_ok=True)
                moves.append((f"{folder}/.{name}.{os.getpid()}.part", place))
                if path.is_dir():
                    system.put(f"{path}/", f"{moves[-1][0]}/", recursive=True)
                else:
                    system.put_file(str(path), moves[-1][0])
            while moves:
                part, place = moves[0]
                if system.exists(place):
                    system.rm(place, recursive=True)
                system.mv(part, place, recursive=system.isdir(part))
                moves.pop(0)
        finally:
            for part, _ in moves:
                if system.exists(part):
                    system.rm(part, recursive=True)


@contextmanager
def _naming(url: str) -> Iterator[None]:
    """Turn whatever a file system raises into an OutputError: each has errors of its own."""
    try:
        yield
    except NgrError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        msg = f"{url} could not be written: {reason}. Nothing was left behind. Choose another place with -o."
        raise OutputError(msg) from error
