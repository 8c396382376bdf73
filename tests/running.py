"""How tests run the command, in this process or in one of its own, and the small disk that some of them write to."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ngr_geo.cli import main


def invoke(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ngr_geo(*arguments: object, cwd: Path, **options: object) -> "subprocess.Popen[str]":
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "ngr_geo", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **streams)  # type: ignore[call-overload]


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of a size such as "60k", mounted at a new folder; without the right to do so the test is skipped."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if shutil.which("mount") is None or os.name != "posix":
        pytest.skip("no mount command: a full disk cannot be tried here")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk: a full disk cannot be tried here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)  # lazily: the NetCDF library keeps a failed file open
