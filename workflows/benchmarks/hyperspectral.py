"""The hyperspectral half of `benchmark.py`: simulated faults on clean AVIRIS cubes, and what is made of them.

Scored over the whole cube, scaled by its 99.9 % quantile and clipped to [0, 1]: PSNR and SSIM per band then averaged, SAM in
degrees, ERGAS; for stripes the PSNR of the total error. `weak` mixed noise has 10 % impulses, 35 dead lines in 20 % of the bands
and 35 stripes of U(-0.25, 0.25) in 20 %; `strong` has them in 25 % and 50 %; `harsh` has 25 % impulses and both kinds of lines
in 50 %.
"""

from __future__ import annotations

import json
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
import xarray as xr
from scipy import ndimage

TASKS = ("gaussian", "weak", "strong", "harsh", "entries10", "entries5", "dead", "stripes")


MIXED = {"weak": (0.1, 0.2, 0.2), "strong": (0.1, 0.25, 0.5), "harsh": (0.25, 0.5, 0.5)}


class Fault(NamedTuple):
    """A clean cube (B, h, w), what is seen of it, and which entries are seen."""

    clean: np.ndarray
    seen: np.ndarray
    observed: np.ndarray


def load(data: Path, name: str) -> np.ndarray:
    """Return Reno (100, 150, 150) or Jasper Ridge (198, 100, 100) in [0, 1]."""
    if name == "reno":
        cube = scipy.io.loadmat(data / "hsi" / "reno.mat")["C"].astype(float).transpose(2, 0, 1)
    else:
        flat = scipy.io.loadmat(data / "hsi" / "jasper_ridge.mat")["Y"].astype(float)
        cube = flat.reshape(198, 100, 100).transpose(0, 2, 1)
    return np.clip(cube / np.quantile(cube, 0.999), 0, 1)


def simulate(clean: np.ndarray, task: str, seed: int) -> Fault:
    """Return a fault of a kind."""
    rng = np.random.default_rng(seed)
    bands, _, width = clean.shape
    everything = np.ones(clean.shape, bool)
    if task == "gaussian":
        return Fault(clean, clean + 0.1 * rng.standard_normal(clean.shape), everything)
    if task in ("weak", "strong", "harsh"):
        impulses, dead, striped = MIXED[task]
        sigma = rng.uniform(0.1, 0.4, (bands, 1, 1))
        seen: np.ndarray = clean + sigma * rng.standard_normal(clean.shape)
        for band in rng.choice(bands, int(striped * bands), replace=False):
            seen[band][:, rng.choice(width, 35, replace=False)] += rng.uniform(-0.25, 0.25, 35)
        hit = rng.random(clean.shape) < impulses
        seen = np.where(hit, (rng.random(clean.shape) < 0.5).astype(float), seen)
        for band in rng.choice(bands, int(dead * bands), replace=False):
            seen[band][:, rng.choice(width, 35, replace=False)] = 0
        return Fault(clean, np.clip(seen, 0, 1), everything)
    if task.startswith("entries"):
        observed = rng.random(clean.shape) < int(task[7:]) / 100
        return Fault(clean, np.where(observed, clean, np.nan), observed)
    if task == "dead":
        count, lines = round(23 * width / 150), np.zeros(width, bool)
        while lines.sum() < count:
            first, size = int(rng.integers(1, width - 4)), min(int(rng.integers(1, 4)), count - int(lines.sum()))
            if not lines[first - 1 : first + size + 1].any():
                lines[first : first + size] = True
        observed = np.broadcast_to(~lines, clean.shape)
        return Fault(clean, np.where(observed, clean, 0), observed)
    seen, count = clean.copy(), round(0.4 * width)
    for band in rng.choice(bands, bands // 2, replace=False):
        seen[band][:, rng.choice(width, count, replace=False)] += rng.uniform(-0.25, 0.25, count)
    return Fault(clean, seen, everything)


# --- what people use today -------------------------------------------------------------------------------------------


def low_rank(fault: Fault, rank: int = 8) -> np.ndarray:
    """Return the projection on the leading spectra; gaps interpolated first, then replaced by it ten times."""
    image = linear(fault) if not fault.observed.all() else fault.seen
    for _ in range(1 if fault.observed.all() else 10):
        flat = image.reshape(len(image), -1)
        mean = flat.mean(1, keepdims=True)
        vectors = np.linalg.eigh((flat - mean) @ (flat - mean).T)[1][:, -rank:]
        projected = (mean + vectors @ (vectors.T @ (flat - mean))).reshape(image.shape)
        image = projected if fault.observed.all() else np.where(fault.observed, fault.seen, projected)
    return image


def median(fault: Fault) -> np.ndarray:
    """Return a 3x3 median of each band."""
    return ndimage.median_filter(fault.seen, (1, 3, 3))


def total_variation(fault: Fault) -> np.ndarray:
    """Return Chambolle's total variation of each band, weighted by its own estimated noise."""
    from skimage.restoration import denoise_tv_chambolle

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    sigma = [1.4826 * np.median(np.abs(ndimage.convolve(b, kernel))) for b in fault.seen]
    return np.stack([denoise_tv_chambolle(b, weight=1.2 * s) for b, s in zip(fault.seen, sigma, strict=True)])


def mnf(fault: Fault) -> np.ndarray:
    """Return SPy's minimum noise fraction transform, with the components of signal-to-noise above one kept."""
    import spectral  # optional: not among the test requirements

    cube = fault.seen.transpose(1, 2, 0)
    transform = spectral.mnf(spectral.calc_stats(cube), spectral.noise_from_diffs(cube))
    return np.asarray(transform.denoise(cube, snr=1)).transpose(2, 0, 1)


def linear(fault: Fault) -> np.ndarray:
    """Return each row of each band interpolated, from the nearest values of its column where it has none."""
    out = np.empty_like(fault.clean)
    for band, (image, known) in enumerate(zip(fault.seen, fault.observed, strict=True)):
        nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
        filled = image[tuple(nearest)]
        for row in range(len(image)):
            at = np.flatnonzero(known[row])
            if len(at) > 1:
                filled[row] = np.interp(np.arange(image.shape[1]), at, image[row, at])
        out[band] = np.where(known, image, filled)
    return out


def column_means(fault: Fault) -> np.ndarray:
    """Return each column moved to the smoothed mean of its neighbours (moment matching)."""
    mean = fault.seen.mean(1, keepdims=True)
    return fault.seen - (mean - ndimage.median_filter(mean, (1, 1, 9), mode="mirror"))


BASELINES: dict[str, dict[str, Callable[[Fault], np.ndarray]]] = {
    "noise": {"median 3x3": median, "total variation": total_variation, "low rank": low_rank, "MNF (SPy)": mnf},
    "gaps": {"linear": linear, "low rank": low_rank},
    "stripes": {"column means": column_means, "low rank": low_rank},
}


def baselines(task: str) -> dict[str, Callable[[Fault], np.ndarray]]:
    """Return the simple methods for a task."""
    return BASELINES[
        "gaps" if task.startswith("entries") or task == "dead" else "stripes" if task == "stripes" else "noise"
    ]


def restored(fault: Fault, task: str, **chosen: Any) -> xr.DataArray:
    """Return our result, by the accessor."""
    import ngr_geo  # noqa: F401  (registers .ngr)

    raster = xr.DataArray(fault.seen.astype(np.float32), dims=("band", "y", "x"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: xr.DataArray
        if task.startswith("entries"):
            result = raster.ngr.inpaint(**chosen)
        elif task == "dead":
            result = raster.ngr.fill_deadlines(**chosen)
        elif task == "stripes":
            result = raster.ngr.destripe(**chosen)
        else:
            result = raster.ngr.denoise(**chosen)
    return result


def ours(fault: Fault, task: str, method: str, steps: int | None) -> tuple[np.ndarray, str]:
    """Return our result, and which method was kept."""
    result = restored(fault, task, method=method, steps=steps)
    kept = json.loads(result.attrs["ngr_dates"])[0]["method"]
    return result.values.astype(float), kept


def trust(data: Path, cubes: list[str], tasks: list[str], method: str, seeds: list[int]) -> None:
    """Print expected by true error of what was changed, and how much of it 90 % intervals cover.

    Stripes are put on a cube that was destriped before: the clean ones have weak stripes of their own, which are taken off too.
    """
    if not cubes:
        return
    print(f"{'cube':7} {'task':10} {'kept':9} {'true':>8} {'expected':>8} {'ratio':>6} {'covered':>7}")
    ratios, covered = [], []
    warnings.filterwarnings("ignore", "Mean of empty slice|invalid value", RuntimeWarning)  # bands that were left alone
    for cube in cubes:
        for task in tasks:
            clean = load(data, cube)
            if task == "stripes":
                clean = restored(Fault(clean, clean, np.ones(clean.shape, bool)), task, method="guide").values
            for seed in seeds:
                fault = simulate(clean, task, seed)
                result = restored(fault, task, method=method, uncertainty=True)
                row = json.loads(result.attrs["ngr_dates"])[0]
                error, changed = np.abs(result.values - clean), result.uncertainty.values > 0
                true = np.sqrt((error**2).mean((1, 2), where=changed, dtype=float))
                rmse = np.array([np.nan if v is None else v for v in row["expected"]["rmse"].values()])
                expected = float(np.nanmean(np.where(np.isfinite(true), rmse, np.nan)))
                ratios.append(expected / float(np.nanmean(true)))
                covered.append(float((error <= 1.6449 * result.uncertainty.values)[changed].mean()))
                text = f"{cube:7} {task:10} {row['method']:9} {np.nanmean(true):8.5f} {expected:8.5f}"
                print(f"{text} {ratios[-1]:6.2f} {covered[-1]:7.1%}", flush=True)
    print(f"mean: ratio {np.mean(ratios):.2f}, covered {np.mean(covered):.1%}", flush=True)


def score(image: np.ndarray, clean: np.ndarray, task: str) -> dict[str, float]:
    """Return PSNR, SSIM, SAM in degrees and ERGAS of the whole cube."""
    from skimage.metrics import structural_similarity

    error = ((image - clean) ** 2).mean((1, 2))
    psnr = -10 * np.log10(error.mean()) if task == "stripes" else float((-10 * np.log10(error + 1e-12)).mean())
    ssim = np.mean([structural_similarity(a, b, data_range=1.0) for a, b in zip(clean, image, strict=True)])
    a, b = clean.reshape(len(clean), -1), image.reshape(len(image), -1)
    cosine = (a * b).sum(0) / np.maximum(np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0), 1e-12)
    ergas = 100 * np.sqrt((error / np.maximum(clean.mean((1, 2)), 1e-6) ** 2).mean())
    sam = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())
    return {"psnr": float(psnr), "ssim": float(ssim), "sam": sam, "ergas": float(ergas)}


def measure(
    pipe: Any, data: Path, cube: str, task: str, method: str, seeds: tuple[int, ...], steps: int | None
) -> None:
    """Run one method on all seeds and send the mean as a row; in a process of its own."""
    clean = load(data, cube)
    rows, kept, seconds = [], "", 0.0
    if method in ("guide", "ngr", "auto", "paper"):  # imports are not the method's time: a small cube first
        ours(Fault(*(part[:12, :24, :24] for part in simulate(clean, task, 0))), task, "auto", 1)
    for seed in seeds:
        fault = simulate(clean, task, seed)
        begun = time.perf_counter()
        try:
            if method == "input":
                image = np.where(fault.observed, fault.seen, 0)
            elif method in baselines(task):
                image = baselines(task)[method](fault)
            else:
                image, kept = ours(fault, task, method, steps)
        except ImportError as error:
            pipe.send({"cube": cube, "task": task, "method": method, "note": f"not installed: {error.name}"})
            return
        seconds += time.perf_counter() - begun
        rows.append(score(image, clean, task))
    mean = {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    note = f"{kept}, {steps} steps" if method == "paper" else kept if method == "auto" else ""
    row = {"cube": cube, "task": task, "method": method, **mean, "seconds": seconds / len(seeds), "peak_gb": peak}
    pipe.send(row | {"note": note})


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    print(
        f"{'cube':7} {'task':10} {'method':16} {'PSNR':>6} {'SSIM':>6} {'SAM':>6} {'ERGAS':>7} {'s':>6} {'GB':>5}  note"
    )
    for r in rows:
        numbers = (
            f"{r['psnr']:6.2f} {r['ssim']:6.3f} {r['sam']:6.2f} {r['ergas']:7.2f} {r['seconds']:6.1f} {r['peak_gb']:5.2f}"
            if "psnr" in r
            else f"{'-':>6} {'-':>6} {'-':>6} {'-':>7} {'-':>6} {'-':>5}"
        )
        print(f"{r['cube']:7} {r['task']:10} {r['method']:16} {numbers}  {r['note']}", flush=True)
