"""Gaps in stacks of dates: what ngr_geo, simple and published methods fill in, scored on missing pixels only.

PSNR for reflectance up to 1, per band, then averaged over bands and dates; SAM in degrees; SSIM; RMSE of NDVI. All methods get
the same observed pixels, and NaN for all others.
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
from peers.case import Case
from peers.table import PUBLISHED, SIMPLE, SPATIAL, fill

from .cases import PROTOCOLS, protocol_r
from .common import OURS, Row, draw, in_its_own_process, peak_gb, read_csv, show, where_and_when, write_csv
from .scores import score

COLUMNS = {"case": "9", "method": "19", "psnr": "6.2f", "sam": "6.3f", "ssim": "6.4f", "ndvi": "6.4f"}
COLUMNS |= {"seconds": "7.1f", "peak_gb": "7.2f", "note": ""}
TABLE = ("R", "S", "M", "N")
"""Protocols that are run unless others are named."""
CLEANED = " cleaned"
PLAIN = ("copy nearest", "pixelwise regression", "local regression", "histogram + Poisson")
"""Simple methods that ours should never be far behind."""
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


def measure(case: Case, method: str, steps: int | None) -> list[Row]:
    """Return the row of one method on one case, and another for the cleaned pixels where the case has them."""
    begun, note, seen = time.perf_counter(), "", case.seen()
    if method in OURS:
        result = restored(seen, method=method, steps=steps)
        estimate = result.values
        kept = [row["method"] for row in json.loads(result.attrs["ngr_dates"]) if row["filled"]]
        note = f"{'/'.join(kept)}, {json.loads(result.attrs['ngr_settings'])['steps']} steps"
    else:
        estimate = fill(case, method)
    seconds = time.perf_counter() - begun
    for target in case.targets:
        if not np.isfinite(estimate[target][:, case.score[target]]).all():
            message = (
                f"{method} left missing pixels of {case.name} without a value: give it a fallback in workflows/peers"
            )
            raise ValueError(message)
    costs = {"seconds": seconds, "peak_gb": peak_gb(), "note": note, **where_and_when()}
    rows = [{"case": case.name, "group": case.group, "method": method, **score(case, estimate), **costs}]
    if case.cleaned is not None:
        names = {"case": case.name + CLEANED, "group": case.group + CLEANED, "method": method}
        rows.append({**names, **score(case, estimate, case.cleaned), **costs})
    return rows


def run(
    protocols: Sequence[str], methods: Sequence[str], peers: bool, resume: bool, paper: int | None, out: Path
) -> None:
    """Measure methods on all cases of some protocols; print rows and means, write decloud.csv and decloud.png.

    Args:
        protocols: names in `PROTOCOLS`.
        methods: names of methods; none for those that suit each protocol.
        peers: whether the published methods are measured, too; some take minutes.
        resume: whether rows that are in decloud.csv already are kept instead of measured again.
        paper: steps of the published algorithm on protocol R, None to leave it out.
        out: folder for the files.
    """
    path = out / "decloud.csv"
    rows: list[Row] = read_csv(path) if resume and path.exists() else []
    done = {(row["case"], row["method"]) for row in rows}
    show([], COLUMNS)
    for protocol in protocols:
        for case in PROTOCOLS[protocol]():
            runs: list[tuple[str, int | None]] = [(name, None) for name in methods or suited(case, protocol, peers)]
            if paper and protocol == "R":
                runs.append(("paper", paper))
            for method, steps in runs:
                if (case.name, method) not in done:
                    mine = in_its_own_process(measure, case, method, steps)
                    show(mine, COLUMNS, head=False)
                    rows += mine
                    write_csv(rows, path)
    means = summary(rows)
    print()
    show(means, COLUMNS)
    show_shortfalls(rows)
    print(f"wrote {path}")
    draw(means, out / "decloud.png", "protocol ")


def suited(case: Case, protocol: str, peers: bool) -> list[str]:
    """Return the methods for a case of a protocol."""
    if protocol == "N":
        names = [name for name in SPATIAL if name != "biharmonic" or case.score.mean() <= BIHARMONIC_LIMIT]
        more = ["HaLRTC", "TNN-DCT", "t-CTV", "deep image prior"]  # the other published ones need other dates
    else:
        names, more = list(SIMPLE), list(PUBLISHED)
    return [*names, *(more if peers else []), "guide", "ngr", "auto"]


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return the means of each group of cases and method, with the highest peak memory."""
    out = []
    for group, method in dict.fromkeys((row["group"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["group"], row["method"]) == (group, method)]
        scores = ("psnr", "sam", "ssim", "ndvi", "seconds")
        means = {name: float(np.mean([row[name] for row in mine])) for name in scores}
        peak = max(row["peak_gb"] for row in mine)
        out.append({"case": group, "method": method, **means, "peak_gb": peak, "note": f"mean of {len(mine)}"})
    return out


def shortfalls(rows: Sequence[Row]) -> list[Row]:
    """Return, for each case that has all four plain methods, how far each of ours is below the best of them in dB."""
    out = []
    for case in dict.fromkeys(row["case"] for row in rows):
        found = {row["method"]: row["psnr"] for row in rows if row["case"] == case}
        ours = [method for method in OURS if method in found]
        if ours and all(name in found for name in PLAIN):
            best = max(PLAIN, key=lambda name: found[name])
            below = {method: found[best] - found[method] for method in ours}
            out.append({"case": case, "best": best, "psnr": found[best], **below})
    return out


def show_shortfalls(rows: Sequence[Row]) -> None:
    """Print how far ours is below the best plain method in each case, and the worst case."""
    found = shortfalls(rows)
    ours = [method for method in OURS if any(method in row for row in found)]
    if found:
        print("\ndB below the best of " + ", ".join(PLAIN))
        show(found, {"case": "9", "best": "20", "psnr": "6.2f", **dict.fromkeys(ours, "6.2f")})
        for method in ours:
            worst = max((row for row in found if method in row), key=lambda row: row[method])
            side = "below" if worst[method] > 0 else "above"
            print(f"worst of {method}: {worst['case']}, {abs(worst[method]):.2f} dB {side} {worst['best']}")


def equal_time(seconds: float) -> None:
    """Print the published algorithm on the first case of protocol R, in as many seconds as `auto` takes, and in ten times as many.

    Args:
        seconds: the budget in place of those that `auto` takes, 0 for these.
    """
    case = next(protocol_r())
    rows = [row for method in ("guide", "auto") for row in in_its_own_process(measure, case, method, None)]
    few, more = (in_its_own_process(measure, case, "paper", steps)[0]["seconds"] for steps in (3, 13))
    of_one_step, budget = (more - few) / 10, seconds or rows[-1]["seconds"]
    for factor in (1, 10):
        rows += in_its_own_process(measure, case, "paper", max(1, int(factor * budget / of_one_step)))
    show(rows, COLUMNS)
