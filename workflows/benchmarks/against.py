"""How long jobs take beside an older version of the package: each in processes of its own, old and new in turn, on this machine.

The jobs are told in public words only, so that any version runs them. A job's time is the least of its repeats. Seconds of the
processor are printed as well as those of the clock: they say more where other programs run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .common import DATA, SLOVENIA, Row, show

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {"job": "52", "old_s": "7.2f", "new_s": "7.2f", "ratio": "6.2f", "old_cpu": "8.2f", "new_cpu": "8.2f"}
Seconds = tuple[float, float]
"""Of the clock and of the processor."""


def run(version: str, repeats: int) -> None:
    """Print the seconds of all jobs with this checkout and with an older one.

    Args:
        version: a folder with a checkout, or a tag or commit of this one's history.
        repeats: how often each job is run with each.
    """
    rows: list[Row] = []
    with _checkout(version) as old:
        for name in JOBS:
            found: dict[Path, list[Seconds]] = {old: [], ROOT: []}
            for _ in range(repeats):
                for folder, times in found.items():
                    times.append(_in_a_process(name, folder))
            (before, before_cpu), (after, after_cpu) = (
                tuple(map(min, zip(*times, strict=True))) for times in found.values()
            )
            row: Row = {"job": (JOBS[name].__doc__ or "").splitlines()[0].removeprefix("Return the seconds of ")}
            row |= {
                "old_s": before,
                "new_s": after,
                "ratio": before / after,
                "old_cpu": before_cpu,
                "new_cpu": after_cpu,
            }
            show([row], COLUMNS, head=not rows)
            rows.append(row)


@contextmanager
def _checkout(version: str) -> Iterator[Path]:
    """Provide the folder of a checkout: the one named, or a temporary one of a tag or commit."""
    if Path(version, "ngr_geo").is_dir():
        yield Path(version).resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "old"
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--detach", folder, version], check=True, capture_output=True
        )
        try:
            yield folder
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=True)


def _in_a_process(job: str, folder: Path) -> Seconds:
    """Return the seconds of one job with the package of a folder."""
    paths = os.pathsep.join([str(folder), str(ROOT / "workflows")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "NGR_GEO_DATA": str(DATA)}
    arguments = [sys.executable, "-P", "-W", "ignore", "-m", "benchmarks.against", job, str(folder)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    clock, processor = json.loads(done.stdout.splitlines()[-1])
    return clock, processor


def _timed(work: Callable[[], object]) -> Seconds:
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


def tile(folder: Path) -> Seconds:
    """Return the seconds of one tile of 256 x 256 pixels, one date of three"""
    from .scale import CLOUDY, DAYS, in_memory, source

    raster, cloud = in_memory(source(), 256)
    options: dict[str, Any] = {"method": "ngr", "steps": 10, "dates": DAYS[CLOUDY], "dilate": 0, "restart": True}
    seconds = []
    for _ in range(4):
        raster.ngr.decloud(cloud, work=folder, **options)
        seconds.append(float(raster.ngr.tiles(folder).seconds.sum()))
    return min(seconds), float("nan")


def stack(_: Path) -> Seconds:
    """Return the seconds of three dates of 256 x 256 pixels, one of them cloudy, after import"""
    import torch

    from .scale import CLOUDY, DAYS, in_memory, source

    raster, cloud = in_memory(source(), 256)
    torch.ones(3).sum()
    return _timed(lambda: raster.ngr.decloud(cloud, dates=DAYS[CLOUDY], dilate=0))


def command(folder: Path) -> Seconds:
    """Return the seconds of the command on five dates of 915 x 915 pixels"""
    scenes = DATA / "s2_slovenia"
    images, masks = ([str(scenes / f"{kind}_33TWM_202308{day}.tif") for day in SLOVENIA] for kind in ("S2", "SCL"))
    arguments = [
        sys.executable,
        "-P",
        "-m",
        "ngr_geo",
        "decloud",
        *images,
        "--clouds",
        *masks,
        "-o",
        str(folder / "out"),
    ]
    begun = time.perf_counter()
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(arguments)
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


JOBS: dict[str, Callable[[Path], Seconds]] = {"tile": tile, "stack": stack, "command": command}

if __name__ == "__main__":
    import ngr_geo

    assert Path(ngr_geo.__file__).is_relative_to(sys.argv[2]), ngr_geo.__file__
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(JOBS[sys.argv[1]](Path(scratch))))
