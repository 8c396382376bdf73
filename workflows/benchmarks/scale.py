"""How time and memory grow with a scene, and what one prior for all of it is worth.

`growth` runs the command line on mosaics of the Slovenian stack: three dates of it repeated, mirrored so that they fit together,
one of them under the clouds of a fourth, which are shifted from repeat to repeat. Time and memory are the process's own.
`workers` solves one mosaic with threads, one and two worker processes. `overhead` compares the seconds of the tiles alone with
those of the whole job. `priors` compares one prior for the scene with training on every tile, and with networks from elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.transform import from_origin

from .common import SLOVENIA_SIZE, psnr, slovenia

PARTS = ("growth", "workers", "overhead", "priors")
BANDS = ("B02", "B03", "B04", "B08")
DAYS = ("2023-08-13", "2023-08-15", "2023-08-20")
CLOUDY = 1
GRID = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_100_000, 10, 10)}
Source = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(3, 4, n, n) digital numbers of the dates; (3, n, n) their own clouds; (n, n) the clouds of another date."""


def run(parts: Sequence[str], sizes: Sequence[int], method: str, out: Path) -> None:
    """Print what is asked for; scenes are written below a folder and removed again.

    Args:
        parts: names in `PARTS`.
        sizes: rows and columns of the scenes; all parts but `growth` take the smallest.
        method: how ngr_geo fills.
        out: folder for the scenes.
    """
    scene = source()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as name:
        folder = Path(name)
        if "growth" in parts:
            growth(scene, folder, sizes, method)
        if "workers" in parts:
            workers(scene, folder, min(sizes), method)
        if "overhead" in parts:
            overhead(scene, folder, min(sizes), method)
        if "priors" in parts:
            priors(scene, min(SLOVENIA_SIZE, *sizes), method)


def source() -> Source:
    """Return what scenes are made of: three dates of the Slovenian stack, and the clouds of a fourth."""
    stack, cloud, _ = slovenia()
    unseen = cloud | (stack == 0).any(axis=1)  # beyond the swath there is nothing to score against either
    return np.rint(stack[[1, 2, 4]] * 1e4).astype(np.uint16), unseen[[1, 2, 4]], cloud[3]


# --- scenes of any size ----------------------------------------------------------------------------------------------


def mosaic(folder: Path, source: Source, size: int) -> tuple[list[str], list[str]]:
    """Write a scene of size x size pixels as tiled GeoTIFFs, window by window, and its cloud masks; return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {"driver": "GTiff", "height": size, "width": size, "compress": "deflate", **GRID}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512}
    images, masks = [], []
    for date, day in enumerate(DAYS):
        images.append(str(folder / _image(day)))
        masks.append(str(folder / f"CLOUD_{day}.tif"))
        with (
            rasterio.open(images[-1], "w", count=4, dtype="uint16", nodata=0, predictor=2, **profile) as image,
            rasterio.open(masks[-1], "w", count=1, dtype="uint8", **profile) as mask,
        ):
            image.descriptions = BANDS
            for window in (w for _, w in image.block_windows()):
                rows, columns = (np.arange(s.start, s.stop) for s in window.toslices())
                values, own, hidden = look(source, date, rows, columns)
                hidden &= date == CLOUDY
                image.write(np.where(hidden, 10_000, values).astype(np.uint16), window=window)
                mask.write((own | hidden).astype(np.uint8)[None], window=window)
    return images, masks


def in_memory(source: Source, size: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Return a mosaic (time, band, y, x), and its clouds (time, y, x)."""
    import rioxarray  # noqa: F401  # registers .rio

    import ngr_geo  # noqa: F401  # registers .ngr

    looks = [look(source, date, np.arange(size), np.arange(size)) for date in range(len(DAYS))]
    values, cloudy = (np.stack([part[k] for part in looks]) for k in (0, 1))
    hidden = looks[CLOUDY][2]
    values[CLOUDY][:, hidden] = 10_000
    cloudy[CLOUDY] |= hidden
    days = {"time": np.array(DAYS, "datetime64[ns]")}
    raster = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=days | {"band": list(BANDS)})
    raster = raster.rio.write_crs(GRID["crs"]).rio.write_transform(GRID["transform"])
    return raster, xr.DataArray(cloudy, dims=("time", "y", "x"), coords=days)


def look(source: Source, date: int, rows: np.ndarray, columns: np.ndarray) -> Source:
    """Return a date's values (4, h, w), its own clouds (h, w) and those to be laid over it, at these rows and columns."""
    stack, own, cloud = source
    size = cloud.shape[-1]

    def mirrored(index: np.ndarray) -> np.ndarray:
        return np.where(index // size % 2, size - 1 - index % size, index % size)

    down, across = rows[:, None] // size, columns[None] // size
    rolled = (rows[:, None] + 211 * down + 97 * across) % size, (columns[None] + 157 * across + 53 * down) % size
    here = mirrored(rows)[:, None], mirrored(columns)[None]
    return stack[date][:, *here], own[date][here], cloud[rolled]


def scored(source: Source, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what was under the clouds (4, h, w), and where that is known (h, w): where all dates are clear by themselves."""
    looks = [look(source, date, rows, columns) for date in range(len(DAYS))]
    values, _, hidden = looks[CLOUDY]
    return values, hidden & ~np.any([own for _, own, _ in looks], axis=0)


def _image(day: str) -> str:
    return f"S2_{day}.tif"


# --- the command line as a process of its own ------------------------------------------------------------------------


def command(images: Sequence[str], masks: Sequence[str], folder: Path, method: str, *more: str) -> dict[str, Any]:
    """Return the summary of one run of `ngr-geo decloud` into folder/out, with its wall time in s and peak memory in GB.

    It has a work folder, so that a scene of any size is solved the way of large ones.
    """
    for name in ("out", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    arguments = [sys.executable, "-m", "ngr_geo", "decloud", *images, "--clouds", *masks, "-o", str(folder / "out")]
    arguments += ["--json", "--method", method, "--dates", DAYS[CLOUDY], "--dilate", "0"]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*arguments, "--work", str(folder / "work"), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(text)
    return json.loads(text) | {"wall": time.perf_counter() - begun, "peak_gb": usage.ru_maxrss / 1e6}


def predicted(images: Sequence[str], masks: Sequence[str]) -> float:
    """Return the gigabytes that `ngr-geo info` expects."""
    arguments = [sys.executable, "-m", "ngr_geo", "info", *images, "--clouds", *masks, "--json"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["memory"]) / 1e9


def quality(path: Path, source: Source) -> float:
    """Return the PSNR (dB, peak 1, mean of bands) of a result where it was filled, over all of the scene."""
    total, count = np.zeros(4), 0
    with rasterio.open(path) as image:
        for window in (w for _, w in image.block_windows()):
            rows, columns = (np.arange(s.start, s.stop) for s in window.toslices())
            truth, hidden = scored(source, rows, columns)
            error = (image.read(window=window).astype(float) - truth)[:, hidden] * 1e-4
            total, count = total + (error**2).sum(1), count + int(hidden.sum())
    return psnr(total / count)


# --- what is measured ------------------------------------------------------------------------------------------------


def growth(source: Source, folder: Path, sizes: Sequence[int], method: str) -> None:
    """Print how time and memory grow with the scene."""
    print(f"{'pixels':>11} {'tiles':>5} {'s':>7} {'us/px':>6} {'peak GB':>8} {'info GB':>8} {'PSNR':>6}")
    for size in sizes:
        images, masks = mosaic(folder / "in", source, size)
        done = command(images, masks, folder, method)
        times = f"{done['wall']:7.1f} {done['wall'] / size**2 * 1e6:6.1f}"
        memory = f"{done['peak_gb']:8.2f} {predicted(images, masks):8.2f}"
        found = quality(folder / "out" / _image(DAYS[CLOUDY]), source)
        print(f"{size:>5}x{size:<5} {done['tiles']['total']:5} {times} {memory} {found:6.2f}", flush=True)


def workers(source: Source, folder: Path, size: int, method: str) -> None:
    """Print the time with threads, one and two worker processes."""
    images, masks = mosaic(folder / "in", source, size)
    for name, more in (("threads", ()), ("1 worker", ("--workers", "1")), ("2 workers", ("--workers", "2"))):
        done = command(images, masks, folder, method, *more)
        print(f"{size}x{size} {name:10} {done['wall']:7.1f} s", flush=True)


def overhead(source: Source, folder: Path, size: int, method: str) -> None:
    """Print the seconds of tiles solved by themselves, with all around them (reading, Dask, records), and of the whole job.

    One at a time, and the second of two runs: the first one imports.
    """
    import dask

    raster, cloud = in_memory(source, size)
    blocks, begun, ended = raster.chunk(y=512, x=512), 0.0, 0.0

    def note(stage: str, done: int, total: int) -> None:
        nonlocal begun, ended
        ended = time.perf_counter()
        if stage != "tiles" or done == 0:
            begun = ended

    for _ in range(2):
        start = time.perf_counter()
        with dask.config.set(scheduler="sync"):
            options: dict[str, Any] = {"method": method, "dates": DAYS[CLOUDY], "dilate": 0, "progress": note}
            blocks.ngr.decloud(cloud, work=folder / "tiles", restart=True, **options).compute()
        total = time.perf_counter() - start
    seconds = raster.ngr.tiles(folder / "tiles").seconds
    alone, around = seconds.sum(), ended - begun - seconds.sum()
    text = f"{len(seconds)} tiles of {size}x{size}: solved in {alone:.1f} s, around them {around:.2f} s"
    print(f"{text} ({around / alone:.1%}); learning, sampling, blending {total - (ended - begun):.1f} s")


def priors(source: Source, size: int, method: str) -> None:
    """Print quality and seconds of one prior for a scene, of training on every tile, and of networks from elsewhere."""
    raster, cloud = in_memory(source, size)
    truth, hidden = scored(source, np.arange(size), np.arange(size))
    options: dict[str, Any] = {"method": method, "dates": DAYS[CLOUDY], "dilate": 0}
    half = size // 2
    west, east = ({"x": side} for side in (slice(0, half), slice(half, size)))

    def show(name: str, call: Callable[[], np.ndarray], columns: slice = slice(None)) -> None:
        begun = time.perf_counter()
        values = call()
        seconds = time.perf_counter() - begun
        error = (values[CLOUDY].astype(float) - truth[..., columns])[:, hidden[:, columns]] * 1e-4
        print(f"{size}x{size} {name:42} {psnr((error**2).mean(1)):6.2f} dB {seconds:7.1f} s", flush=True)

    def filled(part: dict[str, slice], **more: Any) -> np.ndarray:
        values: np.ndarray = raster.isel(part).ngr.decloud(cloud.isel(part), **{**options, **more}).values
        return values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        show("guide", lambda: filled({}, method="guide"))
        show("one prior for the scene", lambda: filled({}))
        show("trained on every tile", lambda: tile_by_tile(size, filled))
        prior = raster.isel(west).ngr.prior(cloud.isel(west), method=method, dilate=0)
        show("east: trained there", lambda: filled(east), east["x"])
        show("east: networks from the west", lambda: filled(east, prior=prior), east["x"])


def tile_by_tile(size: int, solve: Callable[[dict[str, slice]], np.ndarray]) -> np.ndarray:
    """Return the blend of tiles that were each learnt from and solved by themselves."""
    from ngr_geo.tiling import tiles

    pieces = tiles.grid((size, size), 256, 32)
    windows = [dict(zip(("y", "x"), tile.window, strict=True)) for tile in pieces]
    solved = [solve(window).astype(np.float32) for window in windows]
    blended: np.ndarray = tiles.blend(pieces, solved, (slice(0, size), slice(0, size)), (len(DAYS), len(BANDS)))
    return blended
