"""Gaps in stacks of dates: what ngr_geo and simple methods fill in, scored on missing pixels only.

PSNR for reflectance up to 1, per band, then averaged over bands and dates; SAM in degrees.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from peers.simple import SIMPLE, SPATIAL

from .cases import PROTOCOLS, Case, protocol_r
from .common import OURS, Row, in_its_own_process, peak_gb, psnr, show, spectral_angle, write_csv

COLUMNS = {
    "case": "5",
    "method": "22",
    "psnr": "6.2f",
    "sam": "6.3f",
    "seconds": "7.1f",
    "peak_gb": "7.2f",
    "note": "",
}
BIHARMONIC_LIMIT = 0.3
"""Share of missing pixels beyond which biharmonic inpainting takes minutes and more memory than there is."""


def restored(case: Case, **keywords: Any) -> xr.DataArray:
    """Return what ngr_geo fills in, for all targets of a case."""
    import ngr_geo  # noqa: F401  # registers .ngr

    times = case.days.astype("datetime64[D]").astype("datetime64[ns]")
    raster = xr.DataArray(case.stack, dims=("time", "band", "y", "x"), coords={"time": times})
    missing = xr.DataArray(~case.observed, dims=("time", "y", "x"))
    dates = [str(times[target])[:10] for target in case.targets]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result: xr.DataArray = raster.ngr.inpaint(missing, dates=dates, **keywords)
    return result


def measure(case: Case, method: str, steps: int | None) -> Row:
    """Return the row of one method on one case."""
    begun, note = time.perf_counter(), ""
    if method in OURS:
        result = restored(case, method=method, steps=steps)
        estimate = result.values
        kept = [row["method"] for row in json.loads(result.attrs["ngr_dates"]) if row["filled"]]
        note = f"{'/'.join(kept)}, {json.loads(result.attrs['ngr_settings'])['steps']} steps"
    else:
        estimate, function = case.stack.copy(), (SIMPLE | SPATIAL)[method]
        for target in case.targets:
            estimate[target] = np.where(case.observed[target], case.stack[target], function(case, target))
    seconds = time.perf_counter() - begun
    scores = score(case, estimate)
    return {"case": case.name, "method": method, **scores, "seconds": seconds, "peak_gb": peak_gb(), "note": note}


def score(case: Case, estimate: np.ndarray) -> dict[str, float]:
    """Return PSNR and SAM on the scored pixels, averaged over the dates."""
    ratios, angles = [], []
    for target in case.targets:
        where = case.score[target]
        if where.any():
            truth, found = (a[:, where].astype(np.float64) for a in (case.stack[target], estimate[target]))
            ratios.append(psnr(((found - truth) ** 2).mean(axis=1)))
            angles.append(spectral_angle(found, truth))
    return {"psnr": float(np.mean(ratios)), "sam": float(np.mean(angles))}


def run(protocols: Sequence[str], paper: int | None, out: Path) -> None:
    """Measure all methods on all cases of some protocols; print rows and means, write decloud.csv and decloud.png.

    Args:
        protocols: names in `PROTOCOLS`.
        paper: steps of the published algorithm on protocol R, None to leave it out.
        out: folder for the files.
    """
    rows: list[Row] = []
    for protocol in protocols:
        for case in PROTOCOLS[protocol]():
            runs: list[tuple[str, int | None]] = [(name, None) for name in _methods(case, protocol)]
            if paper and protocol == "R":
                runs.append(("paper", paper))
            mine = [in_its_own_process(measure, case, *one) for one in runs]
            show(mine, COLUMNS)
            rows += mine
    means = summary(rows)
    print()
    show(means, COLUMNS)
    write_csv(rows, out / "decloud.csv")
    draw(means, out / "decloud.png")


def _methods(case: Case, protocol: str) -> list[str]:
    simple = list(SPATIAL if protocol == "N" else SIMPLE)
    if protocol == "N" and case.score.mean() > BIHARMONIC_LIMIT:
        simple.remove("biharmonic")
    return [*simple, "guide", "ngr", "auto"]


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return the means of each protocol and method, with the highest peak memory."""
    out = []
    for protocol, method in dict.fromkeys((row["case"][0], row["method"]) for row in rows):
        mine = [row for row in rows if (row["case"][0], row["method"]) == (protocol, method)]
        means = {name: float(np.mean([row[name] for row in mine])) for name in ("psnr", "sam", "seconds")}
        peak = max(row["peak_gb"] for row in mine)
        out.append({"case": protocol, "method": method, **means, "peak_gb": peak, "note": f"mean of {len(mine)}"})
    return out


def draw(means: Sequence[Row], path: Path) -> None:
    """Write a picture with a bar for each method of each protocol."""
    from matplotlib.figure import Figure

    protocols = list(dict.fromkeys(row["case"] for row in means))
    figure = Figure(figsize=(4.2 * len(protocols), 3.6), layout="constrained")
    for axes, protocol in zip(figure.subplots(1, len(protocols), squeeze=False)[0], protocols, strict=True):
        mine = [row for row in means if row["case"] == protocol]
        values = [row["psnr"] for row in mine]
        colors = ["tab:orange" if row["method"] in OURS else "tab:gray" for row in mine]
        axes.bar_label(axes.barh([row["method"] for row in mine], values, color=colors), fmt="%.2f", padding=2)
        axes.set(title=f"protocol {protocol}", xlabel="PSNR, dB", xlim=(min(values) - 2, max(values) + 2))
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def equal_time(seconds: float) -> None:
    """Print the published algorithm on the first case of protocol R, in as many seconds as `auto` takes, and in ten times as many.

    Args:
        seconds: the budget in place of those that `auto` takes, 0 for these.
    """
    case = next(protocol_r())
    rows = [in_its_own_process(measure, case, method, None) for method in ("guide", "auto")]
    few, more = (in_its_own_process(measure, case, "paper", steps)["seconds"] for steps in (3, 13))
    of_one_step, budget = (more - few) / 10, seconds or rows[-1]["seconds"]
    for factor in (1, 10):
        rows.append(in_its_own_process(measure, case, "paper", max(1, int(factor * budget / of_one_step))))
    show(rows, COLUMNS)
