"""Folders of band files as HLS and Landsat come in, small.

HLS: NASA, HLS Product User Guide, version 2.0: int16 GeoTIFFs, -9999 for none; Fmask in uint8, 255 for none, bit 1 cloud,
bit 3 shadow. Landsat: USGS, LSDS-1619 version 6 and LSDS-1618 version 4: uint16 GeoTIFFs, 0 for none, QA_PIXEL, QA_RADSAT.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

import ngr_geo

SIDE = 48
CLOUD = (slice(10, 22), slice(12, 26))
TRANSFORM = from_origin(600_000, 5_100_000, 30, 30)
CRS = "EPSG:32633"
CLEAR_PIXEL, CLOUDY_PIXEL = 21824, 22280  # QA_PIXEL of Landsat 8 and 9: clear, and cloud of high confidence


def reflectance(date: int) -> dict[str, np.ndarray]:
    """Four bands of a real crop, as fractions: blue, green, red, near infrared; dates are a little brighter one by one."""
    stack = ngr_geo.sample("slovenia").isel(time=2, y=slice(60, 60 + SIDE), x=slice(60, 60 + SIDE))
    names = ("B02", "B03", "B04", "B08")
    return {name: stack[name].values / 10_000 * (1 + 0.05 * date) + 0.002 * date for name in names}


def write(path: Path, values: np.ndarray, nodata: float | None = None, **tags: str) -> None:
    """A GeoTIFF of one band."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": values.dtype}
    with rasterio.open(path, "w", **profile, crs=CRS, transform=TRANSFORM, nodata=nodata) as file:
        file.write(values, 1)
        file.update_tags(**tags)


def hls(folder: Path, sensor: str = "S30", days: tuple[int, ...] = (222, 227, 232)) -> Path:
    """Granules of one tile, the second one cloudy, the third without its left column."""
    names = {"S30": ("B02", "B03", "B04", "B8A"), "L30": ("B02", "B03", "B04", "B05")}[sensor]
    for date, day in enumerate(days):
        granule = f"HLS.{sensor}.T33TVM.2023{day:03d}T100559.v2.0"
        fmask = np.full((SIDE, SIDE), 64, np.uint8)  # low aerosol
        for name, part in zip(names, reflectance(date % 3).values(), strict=True):
            values = np.rint(part * 10_000).astype(np.int16)
            if date == 1:
                values[CLOUD] = 9000
            if date == 2:
                values[:, 0] = -9999
            write(folder / granule / f"{granule}.{name}.tif", values, -9999)
        if date == 1:
            fmask[CLOUD] |= 1 << 1
        if date == 2:
            fmask[:, 0] = 255
        write(folder / granule / f"{granule}.Fmask.tif", fmask, 255)
        write(folder / granule / f"{granule}.SZA.tif", np.full((SIDE, SIDE), 4000, np.uint16), 40000)
    return folder


def landsat(folder: Path, sensor: str = "LC09", dates: tuple[str, ...] = ("20230810", "20230818", "20230826")) -> Path:
    """Scenes of one path and row; the second one has a cloud, a saturated patch in the red band, and gaps of scan lines."""
    for date, day in enumerate(dates):
        scene = f"{sensor}_L2SP_190028_{day}_20231001_02_T1"
        pixel = np.full((SIDE, SIDE), CLEAR_PIXEL, np.uint16)
        radsat = np.zeros((SIDE, SIDE), np.uint16)
        gaps = np.zeros((SIDE, SIDE), bool)
        if date == 1:
            pixel[CLOUD] = CLOUDY_PIXEL
            radsat[30:33, 30:33] |= 1 << 3  # band 4
            gaps[40:42] = True
            pixel[gaps] = 1
        numbers = (1, 2, 3, 4) if sensor == "LE07" else (2, 3, 4, 5)
        for name, part in zip([f"SR_B{number}" for number in numbers], reflectance(date).values(), strict=True):
            values = np.rint((part + 0.2) / 0.0000275).astype(np.uint16)
            if date == 1:
                values[CLOUD] = 40_000
                if name == "SR_B4":
                    values[30:33, 30:33] = 65_535
            values[gaps] = 0
            write(folder / f"{scene}_{name}.TIF", values, 0)
        write(folder / f"{scene}_ST_B10.TIF", np.full((SIDE, SIDE), 44_000, np.uint16) * ~gaps, 0)
        write(folder / f"{scene}_QA_PIXEL.TIF", pixel, 1)
        write(folder / f"{scene}_QA_RADSAT.TIF", radsat)
        write(folder / f"{scene}_SR_QA_AEROSOL.TIF", np.full((SIDE, SIDE), 96, np.uint8), 1)
    return folder
