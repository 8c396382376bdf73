"""PRISMA files of Levels 1, 2C and 2D, small.

ASI, PRISMA Products Specification Document (issue 2.3): attributes of the root, swaths PRS_L*_HCO, cubes (row, band, column) of
uint16 with bands from long waves to short ones and one in each that was not recorded, matrices of pixel errors of uint8.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from pyproj import Transformer
from small_cube import WAVELENGTHS, clean_cube

VNIR, SWIR = slice(0, 14), slice(12, 40)  # they overlap in two bands
CLOUD = (slice(0, 6), slice(0, 8))
LEFT, TOP = 600_000.0, 5_100_000.0
SCALE, OFFSET = 100.0, 0.0
LOW, HIGH = 0.0, 1.2


def bad_pixels() -> np.ndarray:
    """(band, y, x) of the clean cube: a dead detector element in bands 5 to 9, and a saturated patch in bands 22 to 25."""
    bad = np.zeros(clean_cube().shape, bool)
    bad[5:10, :, 30] = True
    bad[22:26, 40:43, 12:15] = True
    return bad


def order() -> np.ndarray:
    """Of the file's bands, by wavelength, which band of the clean cube each is: those of the overlap are there twice."""
    both = np.concatenate([np.arange(40)[VNIR], np.arange(40)[SWIR]])
    return both[np.argsort(WAVELENGTHS[both], kind="stable")]


def product(folder: Path, level: str = "2D", centres: bool = True) -> Path:
    """A file of a level; where it is 2D its corners are centres of pixels, or their edges."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"PRS_L{level}_STD_20230819101010_20230819101014_0001.he5"
    height, width = clean_cube().shape[1:]
    with h5py.File(path, "w") as file:
        file.attrs["Processing_Level"] = np.bytes_(level)
        file.attrs["Product_StartTime"] = np.bytes_("2023-08-19T10:10:10.000000")
        swath = file.create_group(f"HDFEOS/SWATHS/PRS_L{level}_HCO")
        fields, places = swath.create_group("Data Fields"), swath.create_group("Geolocation Fields")
        for arm, part in (("VNIR", VNIR), ("SWIR", SWIR)):
            _arm(file, fields, arm, part, level)
        half = 0.5 if centres else 0.0
        for name, value in (
            ("UL", (LEFT + 30 * half, TOP - 30 * half)),
            ("LR", (LEFT + 30 * (width - half), TOP - 30 * (height - half))),
        ):
            file.attrs[f"Product_{name}corner_easting"], file.attrs[f"Product_{name}corner_northing"] = value
        file.attrs["Epsg_Code"] = 32633
        rows, columns = np.mgrid[:height, :width] + 0.5
        lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(LEFT + 30 * columns, TOP - 30 * rows)
        for name, values in (("Latitude", lat), ("Longitude", lon)):
            places[name + ("_VNIR" if level == "1" else "")] = values
        if level == "1":
            clouds = np.zeros((height, width), np.uint8)
            clouds[CLOUD] = 1
            fields["Cloud_Mask"], fields["SunGlint_Mask"] = clouds, np.zeros_like(clouds)
    return path


def _arm(file: h5py.File, fields: h5py.Group, arm: str, part: slice, level: str) -> None:
    """One spectrometer, long waves first, and at the end a band that was not recorded."""
    cube, bad = clean_cube()[part] * 0.6 + 0.05, bad_pixels()[part]
    cube = np.where(bad, 1.15, cube)
    if level == "1":
        numbers = np.rint((cube * 100 + OFFSET) * SCALE)
        file.attrs[f"ScaleFactor_{arm.capitalize()}"], file.attrs[f"Offset_{arm.capitalize()}"] = SCALE, OFFSET
        codes = np.where(bad, 2, 0)
    else:
        numbers = np.rint((cube - LOW) / (HIGH - LOW) * 65535)
        for end, value in (("Min", LOW), ("Max", HIGH)):
            file.attrs[f"L2Scale{arm.capitalize()}{end}"] = value
        numbers[:, 0, :2] = 0  # negative after the correction of the atmosphere, or beside the swath
        codes = np.where(bad, 1, 0)
        codes[:, 0, 0] = 2
    blank = np.zeros((1, *cube.shape[1:]))
    stored = [np.concatenate([layer[::-1], blank]).transpose(1, 0, 2) for layer in (numbers, codes)]
    matrix = f"{arm}_PIXEL_{'SAT' if level == '1' else 'L2'}_ERR_MATRIX"
    fields[f"{arm}_Cube"], fields[matrix] = stored[0].astype(np.uint16), stored[1].astype(np.uint8)
    for what, values in (("Cw", WAVELENGTHS[part]), ("Fwhm", WAVELENGTHS[part] * 0 + 10)):
        file.attrs[f"List_{what}_{arm.capitalize()}"] = np.append(values[::-1], 0.0)
    file.attrs[f"List_Cw_{arm.capitalize()}_Flags"] = np.append(np.ones(len(cube), np.uint8), 0)
