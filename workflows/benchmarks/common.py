"""What all benchmarks share: the data, a process for each measurement, scores, and tables."""

from __future__ import annotations

import csv
import multiprocessing
import os
import platform
import resource
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

DATA = Path(os.environ.get("NGR_GEO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
OURS = ("guide", "ngr", "auto", "paper")
INTERVAL = 1.6449
"""Standard deviations on either side of a value that hold 90 % of a normal distribution."""

SLOVENIA = ("10", "13", "15", "18", "20")
SLOVENIA_SIZE = 896
SCL_CLOUD = (3, 8, 9, 10)

Result = TypeVar("Result")
Row = dict[str, Any]
"""One line of a table: a name and a value for each column that is known."""


def slovenia() -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Return the Slovenian stack: reflectance (5, 4, 896, 896), cloud (5, 896, 896), and days of August 2023 (5,)."""
    import rasterio

    def read(prefix: str, day: str) -> NDArray[Any]:
        with rasterio.open(DATA / "s2_slovenia" / f"{prefix}_33TWM_202308{day}.tif") as source:
            values: NDArray[Any] = source.read()[:, :SLOVENIA_SIZE, :SLOVENIA_SIZE]
            return values

    stack = np.stack([read("S2", day) for day in SLOVENIA]).astype(np.float32) * 1e-4
    cloud = np.stack([np.isin(read("SCL", day)[0], SCL_CLOUD) for day in SLOVENIA])
    return stack, cloud, np.array([float(day) for day in SLOVENIA])


def in_its_own_process(measure: Callable[..., Result], *arguments: Any) -> Result:
    """Return what one measurement gives in a fresh process, so that its seconds and peak memory are its own.

    The processes are forked from one that has imported the benchmark, but neither torch nor ngr_geo.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", measure.__module__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, *arguments).result()


def peak_gb() -> float:
    """Return the peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def where_and_when() -> dict[str, str]:
    """Return the machine, its processor and number of cores, and the day: columns of a row that is kept."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    name = next(names, platform.processor() or platform.machine())
    return {"date": date.today().isoformat(), "machine": f"{name}, {os.cpu_count()} cores"}


def psnr(squared_error: NDArray[Any]) -> float:
    """Return the PSNR in dB for values up to 1, of mean squared errors per band, averaged over the bands."""
    return float(np.mean(-10 * np.log10(squared_error + 1e-12)))


def spectral_angle(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean angle in degrees between spectra (band, pixel)."""
    lengths = np.linalg.norm(found, axis=0) * np.linalg.norm(truth, axis=0)
    cosine = (found * truth).sum(0) / np.maximum(lengths, 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def show(rows: Sequence[Row], columns: Mapping[str, str], *, head: bool = True) -> None:
    """Print rows as a table.

    Args:
        rows: of the table; a value that a row does not have is printed as a dash.
        columns: name and format of each, such as {"psnr": "6.2f"}.
        head: whether the names of the columns come first.
    """
    if head:
        print(*(f"{name:{_aligned(form)}}" for name, form in columns.items()), flush=True)
    for row in rows:
        cells = (f"{row[name]:{form}}" if name in row else f"{'-':{_aligned(form)}}" for name, form in columns.items())
        print(*cells, flush=True)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows with all columns that any of them has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path, words: Collection[str] = ()) -> list[Row]:
    """Return the rows that `write_csv` wrote: numbers, except in columns of `words`; what is empty is left out."""
    with path.open(newline="") as file:
        return [
            {name: text if name in words else _number(text) for name, text in row.items() if text != ""}
            for row in csv.DictReader(file)
        ]


def draw(means: Sequence[Row], path: Path, title: str = "") -> None:
    """Write a picture with a bar for the PSNR of each method in each case, whose names follow the title."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row["case"] for row in means))
    figure = Figure(figsize=(4.2 * len(cases), 3.6), layout="constrained")
    for axes, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        mine = [row for row in means if row["case"] == case]
        values = [row["psnr"] for row in mine]
        colors = ["tab:orange" if row["method"] in OURS else "tab:gray" for row in mine]
        axes.bar_label(axes.barh([row["method"] for row in mine], values, color=colors), fmt="%.2f", padding=2)
        axes.set(title=f"{title}{case}", xlabel="PSNR, dB", xlim=(min(values) - 2, max(values) + 2))
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _aligned(form: str) -> str:
    """Return how text is formatted above or in a column: numbers stand on the right, as "6.2f" says."""
    return f">{form.split('.')[0]}" if "." in form else form
