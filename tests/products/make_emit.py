"""An EMIT granule of Level 2A with its file of masks, small.

LP DAAC, EMIT L2A User Guide, versions 1 and 2: root variables on (downtrack, crosstrack, bands), the groups
`sensor_band_parameters` and `location`, `mask_bands` as text, `band_mask` packed into bytes, first band in the highest bit; the
lookup table counts from 1.
"""

from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
from pyproj import CRS
from small_cube import WAVELENGTHS, clean_cube

TIME = "20230819T103412_2323107_012"
V1 = (
    "Cloud flag",
    "Cirrus flag",
    "Water flag",
    "Spacecraft Flag",
    "Dilated Cloud Flag",
    "AOD550",
    "H2O (g cm-2)",
    "Aggregate Flag",
)
V2 = ("Cloud Flag", "Cirrus Flag", "Water Flag", "Dilated Cloud Flag", "SpecTf-Cloud Probability", "SpecTf-Cloud Flag")
GEOTRANSFORM = (11.5, 0.0005, 0.0, 46.5, 0.0, -0.0005)
BAD_BANDS = (18, 19)
CLOUD = (slice(0, 6), slice(0, 8))


def bad_pixels() -> np.ndarray:
    """(band, y, x): a dead detector element in five bands, and a patch that was saturated in four."""
    bad = np.zeros(clean_cube().shape, bool)
    bad[5:10, :, 30] = True
    bad[22:26, 40:43, 12:15] = True
    return bad


def granule(folder: Path, version: int = 1, units: str = "unitless") -> Path:
    """Reflectance (64, 64, 40), in which bad pixels hold a wrong interpolation."""
    cube = clean_cube() * 0.6
    cube = np.where(bad_pixels(), cube + 0.2, cube).transpose(1, 2, 0).astype(np.float32)
    cube[..., list(BAD_BANDS)] = -0.01
    cube[0, 62:] = -9999
    path = folder / f"EMIT_L2A_RFL_{version:03d}_{TIME}.nc"
    with _file(path, cube.shape) as file:
        reflectance = file.createVariable("reflectance", "f4", ("downtrack", "crosstrack", "bands"), fill_value=-9999)
        reflectance.units, reflectance.long_name = units, "Surface Reflectance"
        reflectance[:] = cube
        bands = file.createGroup("sensor_band_parameters")
        good = np.ones(len(WAVELENGTHS), np.uint8)
        good[list(BAD_BANDS)] = 0
        for name, values, kind in (
            ("wavelengths", WAVELENGTHS, "f4"),
            ("fwhm", WAVELENGTHS * 0 + 8.4, "f4"),
            ("good_wavelengths", good, "u1"),
        ):
            variable = bands.createVariable(name, kind, ("bands",))
            variable[:] = values
            variable.units = "unitless" if kind == "u1" else "nm"
    _masks(folder / f"EMIT_L2A_MASK_{version:03d}_{TIME}.nc", V1 if version == 1 else V2, cube.shape)
    return path


def _file(path: Path, shape: tuple[int, ...]) -> netCDF4.Dataset:
    """A file with dimensions, location, and the lookup table: the swath turned by half a circle, with a rim of one pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, count = shape
    file = netCDF4.Dataset(path, "w")
    sizes = {"downtrack": height, "crosstrack": width, "bands": count, "ortho_y": height + 2, "ortho_x": width + 2}
    for name, size in sizes.items():
        file.createDimension(name, size)
    file.geotransform = np.array(GEOTRANSFORM)
    file.spatial_ref = CRS.from_epsg(4326).to_wkt()
    file.time_coverage_start = "2023-08-19T10:34:12+0000"
    place = file.createGroup("location")
    rows, columns = np.mgrid[:height, :width]
    for name, values in (
        ("lat", GEOTRANSFORM[3] + GEOTRANSFORM[5] * (height - rows + 0.5)),
        ("lon", GEOTRANSFORM[0] + GEOTRANSFORM[1] * (width - columns + 0.5)),
    ):
        place.createVariable(name, "f8", ("downtrack", "crosstrack"))[:] = values
    for name, index in (("glt_x", width - columns), ("glt_y", height - rows)):
        table = np.zeros((height + 2, width + 2), np.int32)
        table[1:-1, 1:-1] = index
        place.createVariable(name, "i4", ("ortho_y", "ortho_x"))[:] = table
    return file


def _masks(path: Path, names: tuple[str, ...], shape: tuple[int, ...]) -> None:
    height, width, count = shape
    layers = np.zeros((height, width, len(names)), np.float32)
    lower = [name.lower() for name in names]
    layers[*CLOUD, lower.index("spectf-cloud flag" if "spectf-cloud flag" in lower else "cloud flag")] = 1
    layers[20:, :, lower.index("water flag")] = 1
    if names == V2:
        layers[30:, :, lower.index("cloud flag")] = 1  # the old flag, which takes bright soil for cloud
    with _file(path, (height, width, len(names))) as file:
        file.createDimension("packed_wavelength_bands", count // 8)
        file.createVariable("mask", "f4", ("downtrack", "crosstrack", "bands"), fill_value=-9999)[:] = layers
        packed = np.packbits(bad_pixels().transpose(1, 2, 0), axis=-1)
        file.createVariable("band_mask", "u1", ("downtrack", "crosstrack", "packed_wavelength_bands"))[:] = packed
        labels = file.createGroup("sensor_band_parameters").createVariable("mask_bands", str, ("bands",))
        labels[:] = np.array(names, dtype=object)
