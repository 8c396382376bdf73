"""Expected by true error, and the share of true values inside 90 % intervals, on pixels that nothing was learnt from."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import numpy as np

from . import decloud, hyperspectral
from .cases import PROTOCOLS
from .common import INTERVAL, Row, show
from .faults import Fault, load, simulate

SCORES = {"kept": "9", "true": "8.5f", "expected": "8.5f", "ratio": "6.2f", "covered": "7.1%"}
DATES = {"case": "4", "date": "4", **SCORES}
CUBES = {"cube": "7", "task": "10", **SCORES}


def of_dates(protocols: Sequence[str]) -> None:
    """Print the scores of each filled date, and the means of each protocol."""
    for protocol in protocols:
        show([], DATES)
        rows = []
        for case in PROTOCOLS[protocol]():
            result = decloud.restored(case, uncertainty=True)
            for date in case.targets:
                record, scored = json.loads(result.attrs["ngr_dates"])[date], case.score[date]
                error = np.abs(result.values[date] - case.stack[date])[:, scored].astype(float)
                true = float(np.sqrt((error**2).mean(1)).mean())
                kept, inside = record["method"], error <= INTERVAL * result.uncertainty.values[date][:, scored]
                row = _row(kept, true, record[f"{kept}_rmse"], inside)
                rows.append({"case": case.name, "date": str(date), **row})
                show(rows[-1:], DATES, head=False)
        _show_means(protocol, rows)


def of_cubes(cubes: Sequence[str], tasks: Sequence[str], method: str, seeds: int) -> None:
    """Print the scores of what was changed in each cube, and their means.

    Stripes are put on a cube that was destriped before: the clean ones have weak stripes of their own, which are taken off too.
    """
    if not cubes:
        return
    show([], CUBES)
    rows = []
    warnings.filterwarnings("ignore", "Mean of empty slice|invalid value", RuntimeWarning)  # bands without any change
    for cube in cubes:
        for task in tasks:
            clean = load(cube)
            if task == "stripes":
                everything = np.ones(clean.shape, bool)
                clean = hyperspectral.restored(Fault(clean, clean, everything), task, method="guide").values
            for seed in range(seeds):
                rows.append({"cube": cube, "task": task, **_of_cube(clean, task, method, seed)})
                show(rows[-1:], CUBES, head=False)
    _show_means("cubes", rows)


def _of_cube(clean: np.ndarray, task: str, method: str, seed: int) -> Row:
    result = hyperspectral.restored(simulate(clean, task, seed), task, method=method, uncertainty=True)
    record = json.loads(result.attrs["ngr_dates"])[0]
    deviation = result.uncertainty.values
    error, changed = np.abs(result.values - clean), deviation > 0
    true = np.sqrt((error**2).mean((1, 2), where=changed, dtype=float))
    rmse = np.array([np.nan if value is None else value for value in record["expected"]["rmse"].values()])
    expected = float(np.nanmean(np.where(np.isfinite(true), rmse, np.nan)))
    return _row(record["method"], float(np.nanmean(true)), expected, (error <= INTERVAL * deviation)[changed])


def _row(kept: str, true: float, expected: float, inside: np.ndarray) -> Row:
    ratio = expected / true
    return {"kept": kept, "true": true, "expected": expected, "ratio": ratio, "covered": float(inside.mean())}


def _show_means(name: str, rows: Sequence[Row]) -> None:
    ratio, covered = (float(np.mean([row[score] for row in rows])) for score in ("ratio", "covered"))
    print(f"{name}, mean: ratio {ratio:.2f}, covered {covered:.1%}", flush=True)
