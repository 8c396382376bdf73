"""The scaling half of `benchmark.py`: how time and memory grow with a scene, and what one prior for all of it is worth.

`growth` runs the command line on mosaics of the Slovenian stack: three dates of it repeated, mirrored so that they fit together,
one of them under the clouds of a fourth, which are rolled on from repeat to repeat. Time and memory are the process's own.
`workers` solves one mosaic with threads, one and two worker processes. `overhead` solves the same tiles with and without what is
around them. `priors` compares one prior for the scene with training on every tile, and with networks from elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.transform import from_origin

BANDS = ("B02", "B03", "B04", "B08")
DAYS = ("20230813", "20230815", "20230820")
CLOUDY = 1
Source = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(3, 4, n, n) digital numbers of the dates; (3, n, n) their own clouds; (n, n) the clouds of another date."""


def mosaic(folder: Path, source: Source, size: int) -> tuple[list[str], list[str]]:
    """Write a scene of size x size pixels as tiled GeoTIFFs, window by window, and its cloud masks; return their names.

    Args:
        folder: where to.
        source: what it is made of.
        size: rows and columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": size,
        "width": size,
        "crs": "EPSG:32633",
        "compress": "deflate",
    }
    profile |= {
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "transform": from_origin(500_000, 5_100_000, 10, 10),
    }
    images, masks = [], []
    for date, day in enumerate(DAYS):
        images.append(str(folder / f"S2_{day}.tif"))
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


def run(images: list[str], masks: list[str], out: Path, *more: str) -> dict[str, Any]:
    """Return seconds, peak memory and PSNR-free summary of one run of the command."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(f"{out}.ngr-work", ignore_errors=True)
    command = [sys.executable, "-m", "ngr_geo", "decloud", *images, "--clouds", *masks, "-o", str(out), "--json", *more]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(text)
    return json.loads(text) | {"wall": time.perf_counter() - begun, "peak_gb": usage.ru_maxrss / 1e6}


def predicted(images: list[str], masks: list[str]) -> float:
    """Return the gigabytes that `info` expects."""
    command = [sys.executable, "-m", "ngr_geo", "info", *images, "--clouds", *masks, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["memory"]) / 1e9


def psnr(out: Path, source: Source) -> float:
    """Return the PSNR (dB, peak 1, mean of bands) of a result where it was filled, over all of the scene."""
    total, count = np.zeros(4), 0
    with rasterio.open(out / f"S2_{DAYS[CLOUDY]}.tif") as image:
        for window in (w for _, w in image.block_windows()):
            rows, columns = (np.arange(s.start, s.stop) for s in window.toslices())
            truth, hidden = scored(source, rows, columns)
            error = (image.read(window=window).astype(float) - truth)[:, hidden] * 1e-4
            total, count = total + (error**2).sum(1), count + int(hidden.sum())
    return float(np.mean(-10 * np.log10(total / count)))


def growth(source: Source, folder: Path, sizes: list[int], method: str) -> None:
    """Print how time and memory grow with the scene."""
    print(f"{'pixels':>11} {'tiles':>5} {'s':>7} {'us/px':>6} {'peak GB':>8} {'info GB':>8} {'PSNR':>6}")
    for size in sizes:
        images, masks = mosaic(folder / f"in_{size}", source, size)
        told = run(images, masks, folder / "out", "--method", method, "--dates", iso(DAYS[CLOUDY]), *in_folder(folder))
        quality = psnr(folder / "out", source)
        row = f"{size:>5}x{size:<5} {told['tiles']['total']:5} {told['wall']:7.1f} {told['wall'] / size**2 * 1e6:6.1f} "
        print(row + f"{told['peak_gb']:8.2f} {predicted(images, masks):8.2f} {quality:6.2f}", flush=True)
        shutil.rmtree(folder / f"in_{size}")
        shutil.rmtree(folder / "out")


def workers(source: Source, folder: Path, size: int, method: str) -> None:
    """Print the time with threads, one and two worker processes."""
    images, masks = mosaic(folder / "in", source, size)
    common = ("--method", method, "--dates", iso(DAYS[CLOUDY]), *in_folder(folder))
    for name, more in (("threads", ()), ("1 worker", ("--workers", "1")), ("2 workers", ("--workers", "2"))):
        told = run(images, masks, folder / "out", *common, *more)
        print(f"{size}x{size} {name:10} {told['wall']:7.1f} s", flush=True)


def overhead(source: Source, size: int, method: str) -> None:
    """Print the seconds of tiles solved by themselves, with all around them (reading, Dask, records), and of the whole job.

    One at a time, and the second of two runs: the first one imports.
    """
    import dask

    from ngr_geo import restore
    from ngr_geo.tiling import work as folders

    raster, cloud = in_memory(source, size)
    spent: dict[str, list[float]] = {}

    def timed(owner: Any, name: str) -> None:
        """Note how long each call takes of a function of a module or class."""
        function = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            begun = time.perf_counter()
            answer = function(*arguments)
            spent.setdefault(name, []).append(time.perf_counter() - begun)
            return answer

        setattr(owner, name, call)

    timed(restore, "_solve_tile")
    timed(folders.Work, "solve")
    folder = Path("benchmark_work")
    for _ in range(2):
        spent.clear()
        shutil.rmtree(folder, ignore_errors=True)
        begun = time.perf_counter()
        with dask.config.set(scheduler="sync"):
            blocks = raster.chunk(y=512, x=512)
            blocks.ngr.decloud(cloud, dilate=0, work=folder, method=method, dates=iso(DAYS[CLOUDY])).compute()
        total = time.perf_counter() - begun
    shutil.rmtree(folder)
    solving, tiles = sum(spent["solve"]), spent["_solve_tile"]
    around = solving - sum(tiles)
    text = f"{len(tiles)} tiles of {size}x{size}: solved in {sum(tiles):.1f} s, around them {around:.2f} s"
    print(f"{text} ({around / sum(tiles):.1%}); learning, sampling, blending {total - solving:.1f} s")


def priors(source: Source, size: int, method: str) -> None:
    """Print quality and seconds of one prior for a scene, of training on every tile, and of networks from elsewhere."""
    from ngr_geo.tiling import tiles

    raster, cloud = in_memory(source, size)
    truth, hidden = scored(source, np.arange(size), np.arange(size))
    options: dict[str, Any] = {"method": method, "dates": iso(DAYS[CLOUDY]), "dilate": 0}

    def tell(name: str, values: np.ndarray, seconds: float) -> None:
        error = (values.astype(float) - truth)[:, hidden] * 1e-4
        quality = float(np.mean(-10 * np.log10((error**2).mean(1))))
        print(f"{size}x{size} {name:42} {quality:6.2f} dB {seconds:7.1f} s", flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        begun = time.perf_counter()
        guide = raster.ngr.decloud(cloud, **{**options, "method": "guide"})
        tell("guide", guide.values[CLOUDY], time.perf_counter() - begun)
        begun = time.perf_counter()
        one = raster.ngr.decloud(cloud, **options)
        tell("one prior for the scene", one.values[CLOUDY], time.perf_counter() - begun)

        begun = time.perf_counter()
        pieces = tiles.grid((size, size), 256, 32)
        alone = []
        for tile in pieces:
            rows, columns = tile.window
            part = {"y": rows, "x": columns}
            alone.append(raster.isel(part).ngr.decloud(cloud.isel(part), **options).values.astype(np.float32))
        seconds = time.perf_counter() - begun
        blended = tiles.blend(pieces, alone, (slice(0, size), slice(0, size)), raster.shape[:2])
        tell("trained on every tile", blended[CLOUDY], seconds)

        half = size // 2
        west, east = {"x": slice(0, half)}, {"x": slice(half, size)}
        prior = raster.isel(west).ngr.prior(cloud.isel(west), method=method, dilate=0)
        hidden, truth = hidden[:, half:], truth[:, :, half:]
        for name, more in (("east: trained there", {}), ("east: networks from the west", {"prior": prior})):
            begun = time.perf_counter()
            answer = raster.isel(east).ngr.decloud(cloud.isel(east), **options, **more)
            tell(name, answer.values[CLOUDY], time.perf_counter() - begun)


def in_memory(source: Source, size: int) -> tuple[xr.DataArray, xr.DataArray]:
    """Return a mosaic (time, band, y, x), and its clouds (time, y, x)."""
    looks = [look(source, date, np.arange(size), np.arange(size)) for date in range(len(DAYS))]
    values, cloudy = (np.stack([part[k] for part in looks]) for k in (0, 1))
    hidden = looks[CLOUDY][2]
    values[CLOUDY][:, hidden] = 10_000
    cloudy[CLOUDY] |= hidden
    days = {"time": np.array([np.datetime64(iso(d), "ns") for d in DAYS])}
    raster = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=days | {"band": list(BANDS)})
    return raster, xr.DataArray(cloudy, dims=("time", "y", "x"), coords=days)


def in_folder(folder: Path) -> tuple[str, ...]:
    """Return the options that have a scene of any size solved the way of large ones."""
    return "--work", str(folder / "work"), "--dilate", "0"


def iso(day: str) -> str:
    """Return 2023-08-15 for 20230815."""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"
