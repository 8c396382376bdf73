"""EnMAP scenes of Levels 1B, 1C and 2A, small.

DLR, EnMAP HSI Level 1B, 1C and 2A Product Specification (EN-PCV-ICD-2009-2, version 1.6): names of files, `bandCharacterisation` in
METADATA.XML, int16 with -32768 for none, QL_PIXELMASK with a band for each of the image, QL_QUALITY_* of one band.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from small_cube import WAVELENGTHS, clean_cube

VNIR = 14
CLOUD = (slice(0, 6), slice(0, 8))
TRANSFORM = from_origin(600_000, 5_100_000, 30, 30)
GAIN = 0.0001


def bad_pixels() -> np.ndarray:
    """(band, y, x): a defective detector element in five bands, and a patch in four."""
    bad = np.zeros(clean_cube().shape, bool)
    bad[5:10, :, 30] = True
    bad[22:26, 40:43, 12:15] = True
    return bad


def scene(folder: Path, level: str = "2A", codes: tuple[int, ...] = (1,)) -> Path:
    """A folder of one scene."""
    name = f"ENMAP01-____L{level}-DT0000004950_20230819T102438Z_001_V010110_20230901T145147Z"
    place = folder / name
    cube, bad = clean_cube() * 0.6, bad_pixels()
    numbers = np.rint(np.where(bad, 1.3, cube) / GAIN).astype(np.int16)
    numbers[:, 0, 62:] = -32768
    mask = np.where(bad, np.resize(codes, bad.shape), 0).astype(np.uint8)
    clouds = np.zeros((1, *cube.shape[1:]), np.uint8)
    clouds[0][CLOUD] = 1
    parts = {"_VNIR": slice(0, VNIR), "_SWIR": slice(VNIR, None)} if level == "1B" else {"": slice(None)}
    crs = None if level == "1B" else "EPSG:32633"
    for end, part in parts.items():
        write(place / f"{name}-SPECTRAL_IMAGE{end}.TIF", numbers[part], crs, -32768)
        write(place / f"{name}-QL_PIXELMASK{end}.TIF", mask[part], crs)
    for layer in ("CLOUD", "CLOUDSHADOW", "HAZE", "CIRRUS", "SNOW", "CLASSES"):
        write(place / f"{name}-QL_QUALITY_{layer}.TIF", clouds if layer == "CLOUD" else clouds * 0, crs)
    (place / f"{name}-METADATA.XML").write_text(metadata(level))
    return place


def metadata(level: str) -> str:
    """What describes the bands, all of both detectors."""
    band = (
        '<bandID number="{0}"><wavelengthCenterOfBand>{1}</wavelengthCenterOfBand><FWHMOfBand>8.5</FWHMOfBand>'
        "<GainOfBand>{2}</GainOfBand><OffsetOfBand>0</OffsetOfBand></bandID>"
    )
    bands = "".join(band.format(number, f"{wave:.4f}", GAIN) for number, wave in enumerate(WAVELENGTHS, start=1))
    time = "<temporalCoverage><startTime>2023-08-19T10:24:38.000000Z</startTime></temporalCoverage>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><level_X><base><level>L{level}</level>{time}</base>'
        f"<specific><bandCharacterisation>{bands}</bandCharacterisation></specific></level_X>"
    )


def write(path: Path, values: np.ndarray, crs: str | None, nodata: float | None = None) -> None:
    """A GeoTIFF; without a georeference where there is no CRS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    place = (
        {"crs": crs, "transform": TRANSFORM}
        if crs
        else {"gcps": [rasterio.control.GroundControlPoint(0, 0, 11, 46)], "crs": "EPSG:4326"}
    )
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": count,
        "dtype": values.dtype,
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(values)


def zipped(place: Path) -> Path:
    """The same as a zip archive."""
    path = place.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(place.iterdir()):
            archive.write(file, Path(place.name) / file.name)
    return path
