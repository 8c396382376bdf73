"""Draw the small pictures of the cheat sheet and the gallery, before and after: python docs/thumbnails.py [name ...].

Each is made by the verb that it stands for, from a corner of the shipped sample or a cube made of it, and is committed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from PIL import Image

import ngr_geo

FOLDER = Path(__file__).parent / "pictures"
SIDE, ZOOM = 56, 2  # pixels of the sample, and screen pixels for each of them
WINDOW = {"y": slice(40, 40 + SIDE), "x": slice(60, 60 + SIDE)}
BAND = 14


def colour(date: xr.Dataset) -> np.ndarray:
    """Return true colours in [0, 1], (y, x, 3); reflectance 0.2 is full."""
    return np.clip(np.stack([date[b].values for b in ("B04", "B03", "B02")], axis=-1) / 2000, 0, 1) ** 0.7


def gray(cube: xr.DataArray) -> np.ndarray:
    """Return one band in [0, 1], (y, x, 3); NaN in orange."""
    values = np.asarray(cube[BAND], float)
    shade = np.clip((values - 0.02) / 0.1, 0, 1)[..., None].repeat(3, -1)
    return np.where(np.isnan(values)[..., None], (0.95, 0.78, 0.65), shade)


def stack(window: dict[str, slice] = WINDOW) -> xr.Dataset:
    """Return a corner of the sample, all five dates."""
    return ngr_geo.sample("slovenia").isel(window)


def cube() -> xr.DataArray:
    """Return 33 bands made of one date: straight spectra between its four bands, with weak noise."""
    four = stack().isel(time=2)[["B02", "B03", "B04", "B08"]].to_dataarray("wavelength") / 10_000
    four = four.assign_coords(wavelength=[490.0, 560.0, 665.0, 842.0])
    bands = four.interp(wavelength=np.linspace(490, 842, 33)).swap_dims(wavelength="band")
    return bands + np.random.default_rng(0).normal(0, 0.002, bands.shape)


def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Return a date before and after `decloud`."""
    whole = stack({"y": slice(0, 120), "x": slice(60, 180)})
    clear = whole.ngr.decloud("SCL", dates="2023-08-10", method="guide")
    part = {"time": 0, "y": slice(20, 20 + SIDE), "x": slice(20, 20 + SIDE)}
    return colour(whole.isel(part)), colour(clear.isel(part))


def haze() -> tuple[np.ndarray, np.ndarray]:
    """Return the mask of the product and the refined mask over a date."""
    whole = stack({"y": slice(0, 240), "x": slice(0, 240)})
    part = {"time": 3, "y": slice(0, SIDE), "x": slice(0, SIDE)}
    image = colour(whole.isel(part))
    masks = [whole.ngr.cloud_mask("SCL", refine=refine).isel(part).values[..., None] for refine in (False, True)]
    before, after = (np.where(mask, 0.4 * image + 0.6 * np.array([0.76, 0.25, 0.05]), image) for mask in masks)
    return before, after


def alone() -> tuple[np.ndarray, np.ndarray]:
    """Return one date with a gap like a cloud, and filled without other dates."""
    date = stack().isel(time=2).drop_vars("SCL")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    gap = (rows - 28) ** 2 + (columns - 26) ** 2 < 11**2
    holed = date.where(~gap, 0).astype("uint16")
    return colour(holed), colour(holed.ngr.inpaint(gap, method="guide"))


def dates(gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a date with gaps, and filled from two others."""
    three = stack().isel(time=[1, 2, 4]).drop_vars("SCL").copy(deep=True)
    for band in three.data_vars:
        three[band][1] = three[band][1].where(~gap, 0)
    full = three.ngr.inpaint(dates="2023-08-15", method="guide")
    return colour(three.isel(time=1)), colour(full.isel(time=1))


def holes() -> tuple[np.ndarray, np.ndarray]:
    """Return a date with holes, and filled from two others."""
    gap = np.zeros((SIDE, SIDE), bool)
    gap[8:22, 10:30] = gap[32:38, 36:50] = gap[40:50, 6:14] = True
    return dates(gap)


def scan_lines() -> tuple[np.ndarray, np.ndarray]:
    """Return a date with wedges like those of Landsat 7, and filled from two others."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return dates((rows + 0.15 * columns) % 20 < 2 + columns / 9)


def entries() -> tuple[np.ndarray, np.ndarray]:
    """Return a band of which a fifth is left, and filled."""
    sparse = cube().where(np.random.default_rng(1).random((33, SIDE, SIDE)) < 0.2)
    return gray(sparse), gray(sparse.ngr.inpaint(method="guide"))


def bad_pixels() -> tuple[np.ndarray, np.ndarray]:
    """Return a band with known bad entries, and filled."""
    whole = cube()
    bad = np.zeros(whole.shape, bool)
    bad[10:20, :, 30] = True
    bad[12:18, 12:16, 40:45] = bad[13:16, 40:44, 12:16] = True
    broken = xr.where(bad, 0.3, whole).assign_coords(bad_pixels=(whole.dims, bad))
    return gray(broken), gray(broken.ngr.inpaint("product", method="guide"))


def dead_lines() -> tuple[np.ndarray, np.ndarray]:
    """Return a band with dead columns, and filled."""
    dead = cube()
    dead[8:24, :, 18] = dead[:, :, 44] = 0
    dead[5:18, 20:, 30] = 0.6
    return gray(dead), gray(dead.ngr.fill_deadlines(method="guide"))


def offsets(shape: tuple[int, ...]) -> np.ndarray:
    """Return offsets for a fifth of the columns of every other band."""
    random = np.random.default_rng(2)
    found = random.normal(0, 0.025, (shape[0], 1, shape[2])) * (random.random((shape[0], 1, shape[2])) < 0.2)
    found[1::2] = 0
    return found


def stripes() -> tuple[np.ndarray, np.ndarray]:
    """Return a band with stripes and without."""
    striped = cube() + offsets((33, SIDE, SIDE))
    return gray(striped), gray(striped.ngr.destripe("columns", method="guide"))


def noise() -> tuple[np.ndarray, np.ndarray]:
    """Return a band with noise and without."""
    noisy = cube() + np.random.default_rng(3).normal(0, 0.03, (33, SIDE, SIDE))
    return gray(noisy), gray(noisy.ngr.denoise(method="guide"))


def mixed() -> tuple[np.ndarray, np.ndarray]:
    """Return a band with noise, impulses and stripes, and without."""
    random = np.random.default_rng(4)
    noisy = cube() + random.normal(0, 0.015, (33, SIDE, SIDE)) + offsets((33, SIDE, SIDE))
    noisy = xr.where(random.random(noisy.shape) < 0.08, random.choice([0.0, 0.4], noisy.shape), noisy)
    return gray(noisy), gray(noisy.ngr.denoise("mixed", method="guide"))


def repair() -> tuple[np.ndarray, np.ndarray]:
    """Return a band with a dead column, stripes and noise, and mended."""
    broken = cube() + np.random.default_rng(5).normal(0, 0.01, (33, SIDE, SIDE)) + offsets((33, SIDE, SIDE))
    broken[8:24, :, 18] = 0
    return gray(broken), gray(broken.ngr.repair(method="guide"))


PICTURES: tuple[Callable[[], tuple[np.ndarray, np.ndarray]], ...] = (
    *(clouds, haze, alone, holes, scan_lines, entries),
    *(bad_pixels, dead_lines, stripes, noise, mixed, repair),
)


def save(name: str, before: np.ndarray, after: np.ndarray) -> None:
    """Write before and after side by side, with white between."""
    pair = np.concatenate([before, np.ones((SIDE, 2, 3)), after], axis=1)
    large = np.rint(pair * 255).astype(np.uint8).repeat(ZOOM, 0).repeat(ZOOM, 1)
    Image.fromarray(large).quantize(128).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for picture in PICTURES:
        name = picture.__name__.replace("_", "-")
        if not wanted or name in wanted:
            save(name, *picture())
            print(name)
