"""Simulated faults on clean spectral cubes: what ngr_geo and simple methods make of them.

Scored over the whole cube: PSNR and SSIM per band, then averaged, SAM in degrees, ERGAS; for stripes the PSNR of the total error.
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
from peers.spectral import baselines

from .common import OURS, Row, in_its_own_process, peak_gb, psnr, show, spectral_angle, write_csv
from .faults import Fault, load, simulate

COLUMNS = {"cube": "7", "task": "10", "method": "16", "psnr": "6.2f", "ssim": "6.3f", "sam": "6.2f"}
COLUMNS |= {"ergas": "7.2f", "seconds": "7.1f", "peak_gb": "7.2f", "note": ""}


def restored(fault: Fault, task: str, **keywords: Any) -> xr.DataArray:
    """Return what ngr_geo makes of a fault, by the verb for its task."""
    import ngr_geo  # noqa: F401  # registers .ngr

    verbs = {"entries10": "inpaint", "entries5": "inpaint", "dead": "fill_deadlines", "stripes": "destripe"}
    raster = xr.DataArray(fault.seen.astype(np.float32), dims=("band", "y", "x"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: xr.DataArray = getattr(raster.ngr, verbs.get(task, "denoise"))(**keywords)
    return result


def measure(cube: str, task: str, method: str, seeds: Sequence[int], steps: int | None) -> Row:
    """Return the row of one method: the mean over draws of the faults, or a note that a package is missing."""
    clean, simple = load(cube), baselines(task)
    row: Row = {"cube": cube, "task": task, "method": method}
    scores, kept, seconds = [], "", 0.0
    if method in OURS:  # imports are not the method's time: a small cube first
        small = Fault(*(part[:12, :24, :24] for part in simulate(clean, task, 0)))
        restored(small, task, method="auto", steps=1)
    for seed in seeds:
        fault = simulate(clean, task, seed)
        begun = time.perf_counter()
        try:
            if method == "input":
                image = np.where(fault.observed, fault.seen, 0)
            elif method in simple:
                image = simple[method](fault)
            else:
                result = restored(fault, task, method=method, steps=steps)
                image, kept = result.values.astype(float), json.loads(result.attrs["ngr_dates"])[0]["method"]
        except ImportError as error:
            return row | {"note": f"not installed: {error.name}"}
        seconds += time.perf_counter() - begun
        scores.append(score(image, clean, task))
    means = {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}
    note = f"{kept}, {steps} steps" if method == "paper" else kept if method == "auto" else ""
    return row | means | {"seconds": seconds / len(seeds), "peak_gb": peak_gb(), "note": note}


def score(image: np.ndarray, clean: np.ndarray, task: str) -> dict[str, float]:
    """Return PSNR, SSIM, SAM in degrees and ERGAS of the whole cube."""
    from skimage.metrics import structural_similarity

    error = ((image - clean) ** 2).mean((1, 2))
    return {
        "psnr": psnr(error.mean() if task == "stripes" else error),
        "ssim": float(
            np.mean([structural_similarity(a, b, data_range=1.0) for a, b in zip(clean, image, strict=True)])
        ),
        "sam": spectral_angle(image.reshape(len(image), -1), clean.reshape(len(clean), -1)),
        "ergas": float(100 * np.sqrt((error / np.maximum(clean.mean((1, 2)), 1e-6) ** 2).mean())),
    }


def run(cubes: Sequence[str], tasks: Sequence[str], seeds: int, paper: int | None, out: Path) -> None:
    """Measure all methods on all tasks, print their rows and write hyperspectral.csv.

    Args:
        cubes: names of clean cubes.
        tasks: kinds of faults.
        seeds: how many draws of each fault.
        paper: steps of the published algorithm on one draw, None to leave it out.
        out: folder for the table.
    """
    draws, rows = tuple(range(seeds)), []
    for cube in cubes:
        for task in tasks:
            runs = [(method, draws, None) for method in ("input", *baselines(task), "guide", "ngr", "auto")]
            more = [("paper", (0,), paper)] if paper else []
            mine = [in_its_own_process(measure, cube, task, *one) for one in (*runs, *more)]
            show(mine, COLUMNS)
            rows += mine
    write_csv(rows, out / "hyperspectral.csv")
    print(f"wrote {out / 'hyperspectral.csv'}")
