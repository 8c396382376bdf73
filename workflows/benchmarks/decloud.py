"""Quality and speed, measured side by side: `python workflows/benchmark.py decloud [--cases R S M N] [--paper STEPS]`,
`python workflows/benchmark.py hyperspectral [--cubes reno jasper] [--tasks ...] [--paper STEPS]` (see `hyperspectral.py`),
`python workflows/benchmark.py scale [--sizes 2000 4000 8000] [--parts growth workers overhead priors]` (see `scale.py`),
`python workflows/benchmark.py trust [--cases R S M N] [--cubes reno jasper] [--tasks ...] [--seeds N]`.

Needs the development data that NGR_GEO_DATA names (default ../shared/data). Scored on missing pixels only; PSNR with peak 1
(reflectance) per band, then averaged; SAM in degrees. Prints a table and writes it as CSV and as a picture. Every method of a
case runs in a process of its own, one after the other, so that seconds and peak memory are its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from . import hyperspectral, scale

DATA = Path(os.environ.get("NGR_GEO_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SCL_CLOUD = (3, 8, 9, 10)
SLOVENIA = ("10", "13", "15", "18", "20")
CROP = slice(0, 896)


@dataclass(frozen=True)
class Case:
    """`stack` (T, B, y, x) reflectance, `observed` and `score` (T, y, x), `days` (T,), `targets`: the dates to fill."""

    name: str
    stack: np.ndarray
    observed: np.ndarray
    score: np.ndarray
    days: np.ndarray
    targets: tuple[int, ...]


def protocol_r() -> Iterator[Case]:
    """Yield eight dates of a Romanian forest under real cloud masks, each with the three dates nearest in time."""
    clear, masks = np.load(DATA / "romania" / "clear.npz"), np.load(DATA / "romania" / "masks_100.npz")["masks"]
    share = masks.mean((1, 2))
    masks = masks[(share >= 0.15) & (share <= 0.6)].astype(bool)
    days = clear["dates"].astype("datetime64[D]").astype(float)
    for j in range(8):
        target = 2 + 4 * j
        near = [int(i) for i in np.argsort(np.abs(days - days[target]), kind="stable") if i != target][:3]
        pick = [target, *near]
        stack = clear["data"][pick].astype(np.float32) * 1e-4
        observed = np.ones((4, 100, 100), bool)
        observed[0] = ~masks[(5 * j) % len(masks)]
        yield Case(f"R{j}", stack, observed, ~observed, days[pick], (0,))


def protocol_s() -> Iterator[Case]:
    """Yield one Slovenian date under the clouds of another, with two nearly clear dates five days around."""
    stack, cloud, days = slovenia()
    pick, cover = [2, 1, 4], cloud[3]
    clear = ~cloud[pick] & (stack[pick] > 0).all(axis=1)
    observed, score = clear.copy(), np.zeros_like(clear)
    observed[0] &= ~cover
    score[0] = cover & clear.all(axis=0)
    yield Case("S", stack[pick], observed, score, days[pick], (0,))


def protocol_m() -> Iterator[Case]:
    """Yield the five Slovenian dates under their own clouds and, each, those of the next date rolled by (200, 300)."""
    stack, cloud, days = slovenia()
    clear = ~cloud & (stack > 0).all(axis=1)
    cover = np.stack([np.roll(cloud[(t + 1) % 5], (200, 300), (0, 1)) for t in range(5)])
    yield Case("M", stack, clear & ~cover, clear & cover, days, tuple(range(5)))


def protocol_n() -> Iterator[Case]:
    """Yield one clear date alone, 256 x 256, under each of the 18 masks."""
    stack, _, days = slovenia()
    window = stack[2:3, :, 300:556, 300:556]
    archive = np.load(DATA / "masks" / "masks_256.npz")
    for number, mask in enumerate(archive[archive.files[0]].astype(bool)):
        yield Case(f"N{number}", window, ~mask[None], mask[None], days[2:3], (0,))


def slovenia() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return reflectance (5, 4, 896, 896), cloud (5, 896, 896) and days."""
    import rasterio

    def read(prefix: str, day: str) -> np.ndarray:
        with rasterio.open(DATA / "s2_slovenia" / f"{prefix}_33TWM_202308{day}.tif") as source:
            values: np.ndarray = source.read()[:, CROP, CROP]
            return values

    stack = np.stack([read("S2", d) for d in SLOVENIA]).astype(np.float32) * 1e-4
    cloud = np.stack([np.isin(read("SCL", d)[0], SCL_CLOUD) for d in SLOVENIA])
    return stack, cloud, np.array([float(d) for d in SLOVENIA])


# --- what people use today, made to cope with gaps in the references -------------------------------------------------


def others(case: Case, target: int) -> list[int]:
    """Return the other dates, nearest in time first."""
    return sorted(
        (t for t in range(len(case.days)) if t != target), key=lambda t: abs(case.days[t] - case.days[target])
    )


def copy_nearest(case: Case, target: int) -> np.ndarray:
    """Return the nearest date that is clear, pixel by pixel; the band's mean where none is."""
    out = fallback(case, target)
    for date in reversed(others(case, target)):
        out[:, case.observed[date]] = case.stack[date][:, case.observed[date]]
    return out


def median(case: Case, target: int) -> np.ndarray:
    """Return the median of the other dates where they are clear."""
    rest = others(case, target)
    values = np.where(case.observed[rest][:, None], case.stack[rest], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        middle = np.nanmedian(values, axis=0)
    return np.where(np.isfinite(middle), middle, fallback(case, target))


def linear(case: Case, target: int) -> np.ndarray:
    """Return the linear interpolation in time between the nearest clear dates before and after; beyond them a copy."""
    gap = case.days - case.days[target]
    rest = others(case, target)
    out = copy_nearest(case, target)
    before, after = np.full(out.shape[1:], -1), np.full(out.shape[1:], -1)
    for date in reversed(rest):  # the nearest comes last and stays
        side = before if gap[date] <= 0 else after
        side[case.observed[date]] = date
    for a in rest:
        for b in rest:
            here = (before == a) & (after == b)
            if here.any():
                share = -gap[a] / (gap[b] - gap[a])
                out[:, here] = (1 - share) * case.stack[a][:, here] + share * case.stack[b][:, here]
    return out


def fallback(case: Case, target: int) -> np.ndarray:
    """Return the mean of the date's clear pixels, per band."""
    mean = case.stack[target][:, case.observed[target]].mean(axis=1)
    return np.broadcast_to(mean[:, None, None], case.stack[target].shape).copy()


def regress(case: Case, target: int, neighbourhood: int, local: bool = False) -> np.ndarray:
    """Return a ridge regression on the other dates, whose gaps are first filled with the nearest clear date.

    Args:
        case: the case.
        target: the date.
        neighbourhood: 1 (pixelwise) or 3.
        local: with Gaussian weights of 20 pixels on the residual of the scene-wide regression.
    """
    filled = []
    for date in others(case, target)[:4]:
        without = np.ones(len(case.days), bool)
        without[target] = False
        part = Case("", case.stack[without], case.observed[without], case.score[without], case.days[without], ())
        index = int(np.flatnonzero(np.flatnonzero(without) == date)[0])
        filled.append(np.where(case.observed[date], case.stack[date], copy_nearest(part, index)))
    bands = np.concatenate(filled)
    features = bands if neighbourhood == 1 else shifted(bands)
    seen = case.observed[target]
    picked = np.flatnonzero(seen)
    picked = picked[:: max(1, len(picked) // 200_000)]
    flat = features.reshape(len(features), -1).astype(np.float64)
    center, spread = flat[:, picked].mean(1, keepdims=True), flat[:, picked].std(1, keepdims=True) + 1e-9
    x = (flat[:, picked] - center) / spread
    y = case.stack[target].reshape(len(case.stack[target]), -1)[:, picked].astype(np.float64)
    mean = y.mean(1, keepdims=True)
    gram = x @ x.T / x.shape[1] + 1e-3 * np.eye(len(x))
    weights = np.linalg.solve(gram, x @ (y - mean).T / x.shape[1])
    estimate = ((weights / spread).T @ flat + mean - (weights / spread).T @ center).reshape(case.stack[target].shape)
    return estimate + local_residual(bands, case.stack[target] - estimate, seen) if local else estimate


def shifted(bands: np.ndarray) -> np.ndarray:
    """Return the 3x3 neighbourhoods (9 C, y, x)."""
    height, width = bands.shape[1:]
    padded = np.pad(bands, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return np.concatenate([padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)])


def local_residual(bands: np.ndarray, residual: np.ndarray, seen: np.ndarray, step: int = 4) -> np.ndarray:
    """Return the residual regressed on bands with Gaussian weights (sigma 20 pixels), coefficients on a grid of `step`."""
    from scipy.ndimage import gaussian_filter, zoom

    scaled = (bands - bands[:, seen].mean(1)[:, None, None]) / (bands[:, seen].std(1)[:, None, None] + 1e-9)
    columns = np.concatenate([scaled, np.ones_like(scaled[:1])])

    def smooth(image: np.ndarray) -> np.ndarray:
        out: np.ndarray = gaussian_filter(image * seen, 20, mode="constant", truncate=3)[::step, ::step]
        return out

    weight = np.maximum(smooth(np.ones(seen.shape)), 1e-6)
    size = len(columns)
    gram = np.empty((*weight.shape, size, size))
    for i in range(size):
        for j in range(i, size):
            gram[..., i, j] = gram[..., j, i] = smooth(columns[i] * columns[j]) / weight
    right = np.stack([np.stack([smooth(c * r) / weight for r in residual], -1) for c in columns], -2)
    coefficients = np.linalg.solve(gram + 0.1 * np.eye(size), right)
    shape = (seen.shape[0] / weight.shape[0], seen.shape[1] / weight.shape[1])
    out = np.zeros_like(residual)
    for band in range(len(residual)):
        for i in range(size):
            out[band] += columns[i] * zoom(coefficients[..., i, band], shape, order=1, grid_mode=True, mode="nearest")
    return out


def fill_nodata(case: Case, target: int) -> np.ndarray:
    """Return `rasterio.fill.fillnodata`: inverse distance weighting."""
    from rasterio.fill import fillnodata

    seen = case.observed[target].astype(np.uint8)
    return np.stack([fillnodata(b.copy(), mask=seen, max_search_distance=400) for b in case.stack[target]])


def biharmonic(case: Case, target: int) -> np.ndarray:
    """Return scikit-image's biharmonic inpainting."""
    from skimage.restoration import inpaint_biharmonic

    image: np.ndarray = inpaint_biharmonic(case.stack[target], ~case.observed[target], channel_axis=0)
    return image


def restored(case: Case, **keywords: Any) -> xr.DataArray:
    """Return our result for all targets."""
    import ngr_geo  # noqa: F401  # registers .ngr

    raster = xr.DataArray(
        case.stack,
        dims=("time", "band", "y", "x"),
        coords={"time": case.days.astype("datetime64[D]").astype("datetime64[ns]")},
    )
    missing = xr.DataArray(~case.observed, dims=("time", "y", "x"))
    names = [str(raster.time.values[t])[:10] for t in case.targets]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result: xr.DataArray = raster.ngr.inpaint(missing, dates=names, **keywords)
    return result


def ours(case: Case, method: str, steps: int | None = None) -> tuple[np.ndarray, str]:
    """Return our result for all targets, and a note on what was kept."""
    result = restored(case, method=method, steps=steps)
    kept = [row["method"] for row in json.loads(result.attrs["ngr_dates"]) if row["filled"]]
    return result.values, f"{'/'.join(kept)}, {json.loads(result.attrs['ngr_settings'])['steps']} steps"


# --- running and scoring ---------------------------------------------------------------------------------------------

SIMPLE: dict[str, Callable[[Case, int], np.ndarray]] = {
    "copy nearest": copy_nearest,
    "linear in time": linear,
    "median": median,
    "pixelwise regression": lambda c, t: regress(c, t, 1),
    "local regression": lambda c, t: regress(c, t, 1, local=True),
    "ridge 3x3": lambda c, t: regress(c, t, 3),
}
SPATIAL: dict[str, Callable[[Case, int], np.ndarray]] = {"fillnodata": fill_nodata, "biharmonic": biharmonic}
PROTOCOLS = {"R": protocol_r, "S": protocol_s, "M": protocol_m, "N": protocol_n}


def score(case: Case, estimate: np.ndarray) -> tuple[float, float]:
    """Return PSNR (dB, per band, then averaged over bands and dates) and SAM (degrees) on the scored pixels."""
    psnr, angles = [], []
    for target in case.targets:
        where = case.score[target]
        if not where.any():
            continue
        truth, found = (a[:, where].astype(np.float64) for a in (case.stack[target], estimate[target]))
        psnr.append(float(np.mean(-10 * np.log10(((found - truth) ** 2).mean(axis=1)))))
        cosine = (found * truth).sum(0) / (np.linalg.norm(found, axis=0) * np.linalg.norm(truth, axis=0) + 1e-12)
        angles.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()))
    return float(np.mean(psnr)), float(np.mean(angles))


def measure(pipe: Any, case: Case, method: str, steps: int | None) -> None:
    """Run one method of one case and send its row."""
    begun, note = time.perf_counter(), ""
    if method in ("guide", "ngr", "auto", "paper"):
        estimate, note = ours(case, method, steps)
    else:
        function = (SIMPLE | SPATIAL)[method]
        estimate = case.stack.copy()
        for target in case.targets:
            estimate[target] = np.where(case.observed[target], case.stack[target], function(case, target))
    seconds = time.perf_counter() - begun
    psnr, sam = score(case, estimate)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    row = {
        "case": case.name,
        "method": method,
        "psnr": psnr,
        "sam": sam,
        "seconds": seconds,
        "peak_gb": peak,
        "note": note,
    }
    pipe.send(row)


def run(case: Case, method: str, steps: int | None = None) -> dict[str, Any]:
    """Return one row, measured in a fresh process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(there, case, method, steps))
    process.start()
    there.close()
    row: dict[str, Any] = here.recv()
    process.join()
    return row


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean of each protocol and method."""
    keys = list(dict.fromkeys((r["case"][0], r["method"]) for r in rows))
    out = []
    for protocol, method in keys:
        mine = [r for r in rows if r["case"][0] == protocol and r["method"] == method]
        means = {k: float(np.mean([r[k] for r in mine])) for k in ("psnr", "sam", "seconds")}
        peak = max(r["peak_gb"] for r in mine)
        out.append({"case": protocol, "method": method, **means, "peak_gb": peak, "note": f"mean of {len(mine)}"})
    return out


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    print(f"{'case':5} {'method':22} {'PSNR':>6} {'SAM':>6} {'s':>7} {'GB':>5}  note")
    for r in rows:
        print(
            f"{r['case']:5} {r['method']:22} {r['psnr']:6.2f} {r['sam']:6.3f} {r['seconds']:7.1f} {r['peak_gb']:5.2f}  {r['note']}"
        )


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write all rows as decloud.csv and their means as decloud.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "decloud.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    means = summary(rows)
    protocols = list(dict.fromkeys(r["case"] for r in means))
    figure = Figure(figsize=(4.2 * len(protocols), 3.6), layout="constrained")
    for axes, protocol in zip(figure.subplots(1, len(protocols), squeeze=False)[0], protocols, strict=True):
        mine = [r for r in means if r["case"] == protocol]
        ours_here = ["tab:orange" if r["method"] in ("guide", "ngr", "auto") else "tab:gray" for r in mine]
        bars = axes.barh([r["method"] for r in mine], [r["psnr"] for r in mine], color=ours_here)
        axes.bar_label(bars, fmt="%.2f", padding=2)
        axes.set(
            title=f"protocol {protocol}",
            xlabel="PSNR, dB",
            xlim=(min(r["psnr"] for r in mine) - 2, max(r["psnr"] for r in mine) + 2),
        )
        axes.invert_yaxis()
    figure.savefig(folder / "decloud.png", dpi=120)
    print(f"wrote {folder / 'decloud.csv'} and {folder / 'decloud.png'}")


def equal_time(seconds: float) -> None:
    """Print the published algorithm on one case of protocol R after as many seconds as the default takes, and ten times."""
    case = next(protocol_r())
    rows = [run(case, m) for m in ("guide", "auto")]
    probe = [run(case, "paper", n) for n in (3, 13)]
    per_step = (probe[1]["seconds"] - probe[0]["seconds"]) / 10
    budget = seconds or rows[-1]["seconds"]
    for factor in (1, 10):
        row = run(case, "paper", max(1, int(factor * budget / per_step)))
        rows.append(row)
    show(rows)


def all_hyperspectral(chosen: argparse.Namespace) -> None:
    """Run the hyperspectral tasks, print their table and write it as CSV."""
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for cube in chosen.cubes:
        for task in chosen.tasks or hyperspectral.TASKS:
            methods = ["input", *hyperspectral.baselines(task), "guide", "ngr", "auto"]
            methods += ["paper"] if chosen.paper else []
            mine = []
            for method in methods:
                here, there = context.Pipe()
                seeds = (0,) if method == "paper" else tuple(range(chosen.seeds))
                steps = chosen.paper if method == "paper" else None
                arguments = (there, DATA, cube, task, method, seeds, steps)
                process = context.Process(target=hyperspectral.measure, args=arguments)
                process.start()
                there.close()
                mine.append(here.recv())
                process.join()
            hyperspectral.show(mine)
            rows += mine
    chosen.out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(key for row in rows for key in row))
    with (chosen.out / "hyperspectral.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=names)
        writer.writeheader()
        writer.writerows(rows)
    print(f"wrote {chosen.out / 'hyperspectral.csv'}")


SCALES = ("growth", "workers", "overhead", "priors")


def all_scales(chosen: argparse.Namespace) -> None:
    """Measure how time and memory grow; scenes are written below --out and removed again."""
    import tempfile

    stack, cloud, _ = slovenia()
    unseen = cloud | (stack == 0).any(axis=1)  # beyond the swath there is nothing to score against either
    source = np.rint(stack[[1, 2, 4]] * 1e4).astype(np.uint16), unseen[[1, 2, 4]], cloud[3]
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.out) as name:
        folder = Path(name)
        if "growth" in chosen.parts:
            scale.growth(source, folder, chosen.sizes, chosen.method)
        if "workers" in chosen.parts:
            scale.workers(source, folder, min(chosen.sizes), chosen.method)
        if "overhead" in chosen.parts:
            scale.overhead(source, min(chosen.sizes), chosen.method)
        if "priors" in chosen.parts:
            scale.priors(source, min(CROP.stop, min(chosen.sizes)), chosen.method)


def trust(protocols: list[str]) -> None:
    """Print expected by true error, and how much 90 % intervals cover, in gaps that nothing was learnt from."""
    print(f"{'case':4} {'date':4} {'kept':5} {'true':>8} {'expected':>8} {'ratio':>6} {'covered':>7}")
    for protocol in protocols:
        ratios, covered = [], []
        for case in PROTOCOLS[protocol]():
            result = restored(case, uncertainty=True)
            for date in case.targets:
                row, score = json.loads(result.attrs["ngr_dates"])[date], case.score[date]
                error = np.abs(result.values[date] - case.stack[date])[:, score].astype(float)
                true = float(np.sqrt((error**2).mean(1)).mean())
                ratios.append(row[f"{row['method']}_rmse"] / true)
                covered.append(float((error <= 1.6449 * result.uncertainty.values[date][:, score]).mean()))
                text = (
                    f"{case.name:4} {date:4} {row['method']:5} {true:8.5f} {ratios[-1] * true:8.5f} {ratios[-1]:6.2f}"
                )
                print(f"{text} {covered[-1]:7.1%}", flush=True)
        print(f"{protocol}, mean: ratio {np.mean(ratios):.2f}, covered {np.mean(covered):.1%}", flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["decloud", "equal-time", "hyperspectral", "scale", "trust"])
    parser.add_argument("--cases", nargs="*", default=["R", "S", "M", "N"], choices=list(PROTOCOLS))
    parser.add_argument("--paper", type=int, metavar="STEPS", help="also the published algorithm, with so many steps")
    parser.add_argument("--seconds", type=float, default=0.0, help="equal-time: the budget; default: what auto takes")
    parser.add_argument("--cubes", nargs="*", default=["reno", "jasper"], choices=["reno", "jasper"])
    parser.add_argument("--tasks", nargs="+", choices=hyperspectral.TASKS)
    parser.add_argument("--seeds", type=int, default=3, help="hyperspectral: how many draws of the faults")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[1000, 2000, 4000, 8000], help="scale: sides of the scenes"
    )
    parser.add_argument("--parts", nargs="+", default=list(SCALES), choices=list(SCALES), help="scale: what to measure")
    parser.add_argument("--method", default="auto", help="scale, and trust of cubes: how to fill")
    parser.add_argument("--out", type=Path, default=Path("benchmark"))
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not DATA.is_dir():
        parser.error(f"the development data is not at {DATA}: set NGR_GEO_DATA")
    if chosen.task == "equal-time":
        equal_time(chosen.seconds)
        return
    if chosen.task == "hyperspectral":
        all_hyperspectral(chosen)
        return
    if chosen.task == "trust":
        trust(chosen.cases)
        tasks = chosen.tasks or [t for t in hyperspectral.TASKS if t != "harsh"]
        hyperspectral.trust(DATA, chosen.cubes, tasks, chosen.method, list(range(chosen.seeds)))
        return
    if chosen.task == "scale":
        all_scales(chosen)
        return
    rows = []
    for protocol in chosen.cases:
        for case in PROTOCOLS[protocol]():
            methods = [*(SPATIAL if protocol == "N" else SIMPLE), "guide", "ngr", "auto"]
            if protocol == "N" and case.score.mean() > 0.3:
                methods.remove("biharmonic")  # its system grows with the hole: minutes, and beyond memory
            rows += [run(case, m) for m in methods]
            if chosen.paper and protocol == "R":
                rows.append(run(case, "paper", chosen.paper))
            show(rows[-len(methods) :])
    print()
    show(summary(rows))
    write(rows, chosen.out)
