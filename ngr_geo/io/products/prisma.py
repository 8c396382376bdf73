"""PRISMA Levels 1, 2B, 2C and 2D: one HDF-EOS5 file with two cubes, VNIR and SWIR, and a matrix of pixel errors for each.

ASI, PRISMA Products Specification Document (issue 2.3). Cubes are (row, band, column), bands from long waves to short ones, and
those that were not recorded are at 0 nm. Level 1 is number / ScaleFactor - Offset in W/(m² sr µm); Level 2 goes from L2Scale*Min to
L2Scale*Max, and 0 is none. The errors of Level 1: 1 saturated, 2 defective, 3 both; of Level 2: 1 invalid in Level 1, 2 negative
(stored as 0, so nodata), 3 saturated.
"""

import os
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from affine import Affine

from ...errors import InputError, needed
from ..gather import Wanted
from ..rasters import LARGE
from .base import BAD_PIXELS, Content, Reader, only, timed

_KINDS = {"1": "radiance", "2B": "radiance", "2C": "reflectance", "2D": "reflectance"}
_UNITS = {"radiance": "W/m^2/sr/um", "reflectance": "1"}
_NEGATIVE = 2
_TOP = 65535
_SIZE = 30.0
"""Metres of a pixel on the ground."""
_MASKS = {"cloud_mask": "Cloud_Mask", "sunglint_mask": "SunGlint_Mask"}
_BLOCK = 256


def recognise(path: str) -> bool:
    """Return whether a path is an HDF5 file with the swath of PRISMA's cubes."""
    if not path.lower().endswith(".he5") or not os.path.isfile(path):
        return False
    try:
        with _opened(path) as file:
            return any(f"HDFEOS/SWATHS/PRS_L{level}_HCO/Data Fields" in file for level in _KINDS)
    except OSError:
        return False


def _opened(path: str) -> Any:
    """Return a file that h5py has opened for reading."""
    (h5py,) = needed(f"{path} takes the package h5py, which is", "products", "h5py")
    return h5py.File(path)


class _Stored:
    """An array in the file that is opened for each part that is read: what Dask takes, and what other processes can."""

    def __init__(self, path: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path, self.name, self.shape, self.dtype, self.ndim = path, name, shape, dtype, len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        with _opened(self.path) as file:
            return np.asarray(file[self.name][key])

    def __dask_tokenize__(self) -> tuple[Hashable, ...]:
        status = os.stat(self.path)
        return self.path, self.name, status.st_size, status.st_mtime_ns


class _Arm(NamedTuple):
    """One spectrometer: its cube and errors (band, y, x), only bands that were recorded, and what is known of these."""

    cube: Any
    errors: Any
    wavelength: np.ndarray
    fwhm: np.ndarray
    names: list[str]
    scale: float
    offset: float


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the cube (band, y, x), its bands sorted by wavelength, with bad pixels, masks and georeference.

    Raises:
        InputError: several files, or what the file does not say.
    """
    path = only(paths, "files of PRISMA, whose swaths share no grid;")
    with _opened(path) as file:
        level = _text(file.attrs.get("Processing_Level", ""))
        if level not in _KINDS:
            msg = f"{path} is of level {level!r}, expected one of {', '.join(_KINDS)}."
            raise InputError(msg, option=f"Look at it with h5dump -A {path}.")
        swath = f"HDFEOS/SWATHS/PRS_L{level}_HCO"
        lazy = lazy or sum(file[f"{swath}/Data Fields/{arm}_Cube"].size * 2 for arm in ("VNIR", "SWIR")) > LARGE
        arms = [_arm(file, path, f"{swath}/Data Fields", arm, level, lazy) for arm in ("VNIR", "SWIR")]
        cube = _joined(arms, _KINDS[level])
        cube = cube.assign_coords(_places(file, swath, cube.shape[1:]))
        cube = cube.assign_coords(_masks(file, cube.shape[1:]))
        if level == "2D":
            cube = _on_ground(cube, file, path)
        cube = timed(cube, _text(file.attrs.get("Product_StartTime", "")))
    if level != "1":
        cube = cube.rio.write_nodata(0)
    overlap = arms[0].wavelength.max() > arms[1].wavelength.min()
    notes = ("VNIR and SWIR overlap; the bands of both are kept, sorted by wavelength.",) if overlap else ()
    return Content(raster=cube, clouds=cube.coords.get("cloud_mask"), notes=notes)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _arm(file: Any, path: str, fields: str, arm: str, level: str, lazy: bool) -> _Arm:
    """Return one spectrometer."""
    name, attrs = arm.capitalize(), file.attrs
    wavelength, width = (np.asarray(attrs[f"List_{what}_{name}"], np.float64) for what in ("Cw", "Fwhm"))
    flags = np.asarray(attrs.get(f"List_Cw_{name}_Flags", np.ones(len(wavelength)))).astype(bool)
    recorded = np.flatnonzero(flags & (wavelength > 0))
    if level == "1":
        scale, offset = 1 / float(attrs[f"ScaleFactor_{name}"]), -float(attrs[f"Offset_{name}"])
    else:
        low, high = (float(attrs[f"L2Scale{name}{end}"]) for end in ("Min", "Max"))
        scale, offset = (high - low) / _TOP, low
    errors = f"{fields}/{arm}_PIXEL_{'SAT' if level == '1' else 'L2'}_ERR_MATRIX"
    found = [_stored(file, path, key, lazy) for key in (f"{fields}/{arm}_Cube", errors)]
    cube, codes = (part[:, recorded].transpose(1, 0, 2) for part in found)
    bad = codes != 0 if level == "1" else (codes != 0) & (codes != _NEGATIVE)
    return _Arm(cube, bad, wavelength[recorded], width[recorded], [f"{arm}{n + 1}" for n in recorded], scale, offset)


def _stored(file: Any, path: str, name: str, lazy: bool) -> Any:
    """Return an array (row, band, column) of the file, as NumPy or Dask."""
    if name not in file:
        msg = f"{path} has no {name}, which its level should have. Fetch it again."
        raise InputError(msg)
    found = file[name]
    if not lazy:
        return found[()]
    return da.from_array(_Stored(path, name, found.shape, found.dtype), chunks=(_BLOCK, -1, _BLOCK))


def _joined(arms: Sequence[_Arm], kind: str) -> xr.DataArray:
    """Return the bands of both spectrometers, sorted by wavelength, with what is known of each."""
    wavelength = np.concatenate([arm.wavelength for arm in arms])
    order = np.argsort(wavelength, kind="stable")
    library: Any = da if isinstance(arms[0].cube, da.Array) else np
    values, bad = (library.concatenate([getattr(arm, part) for arm in arms])[order] for part in ("cube", "errors"))
    if library is da:
        values, bad = values.rechunk({0: -1}), bad.rechunk({0: -1})
    about = {"long_name": "bad pixels that the product ships: defective, saturated or invalid"}
    nanometres = {"units": "nm"}
    coords = {
        "band": np.array([name for arm in arms for name in arm.names])[order],
        "wavelength": ("band", wavelength[order], nanometres),
        "fwhm": ("band", np.concatenate([arm.fwhm for arm in arms])[order], nanometres),
        BAD_PIXELS: (("band", "y", "x"), bad, about),
    }
    cube = xr.DataArray(values, coords, ("band", "y", "x"), kind, {"units": _UNITS[kind]})
    for name, key in (("scale_factor", "scale"), ("add_offset", "offset")):
        numbers = np.concatenate([np.full(len(arm.names), getattr(arm, key)) for arm in arms])[order]
        if (numbers == numbers[0]).all():
            cube.attrs[name] = float(numbers[0])
        else:
            cube = cube.assign_coords({name: ("band", numbers)})
    return cube


def _places(file: Any, swath: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return latitude and longitude of the pixels (y, x); of Level 1 those of VNIR, to which SWIR is brought."""
    found: dict[str, Any] = {}
    for long, units in (("latitude", "degrees_north"), ("longitude", "degrees_east")):
        for name in (f"{swath}/Geolocation Fields/{long.capitalize()}{end}" for end in ("", "_VNIR")):
            if name in file and file[name].shape == shape:
                found[long] = (("y", "x"), file[name][()], {"units": units})
    return found


def _masks(file: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the masks of Level 1 as booleans (y, x): 1 is cloud or glint, 255 could not be told."""
    found: dict[str, Any] = {}
    for name, stored in _MASKS.items():
        key = f"HDFEOS/SWATHS/PRS_L1_HCO/Data Fields/{stored}"
        if key in file and file[key].shape == shape:
            found[name] = (("y", "x"), np.isin(file[key][()], (1, 255)))
    return found


def _on_ground(cube: xr.DataArray, file: Any, path: str) -> xr.DataArray:
    """Return a cube of Level 2D with its UTM grid.

    Raises:
        InputError: the corners fit no grid of 30 m, or rows do not run from north to south.
    """
    attrs, (rows, columns) = file.attrs, cube.shape[1:]
    left, right = (float(attrs[f"Product_{corner}corner_easting"]) for corner in ("UL", "LR"))
    top, bottom = (float(attrs[f"Product_{corner}corner_northing"]) for corner in ("UL", "LR"))
    # Corners may be those of the outer pixels' centres or of their edges: which it is, their distance says.
    at_centres = _is_size((right - left) / max(columns - 1, 1)) and _is_size((top - bottom) / max(rows - 1, 1))
    at_edges = _is_size((right - left) / columns) and _is_size((top - bottom) / rows)
    if not at_centres and not at_edges:
        sides = f"{right - left:g} m and {top - bottom:g} m"
        msg = f"{path} has corners {sides} apart, which {columns} x {rows} pixels of 30 m do not fit."
        raise InputError(msg)
    latitude = cube.coords.get("latitude")
    if latitude is not None:
        north, south = (latitude[row].values[latitude[row].values != 0] for row in (0, -1))
        if north.size and south.size and not np.median(north) > np.median(south):
            msg = f"{path} has its first row in the south (latitude {np.median(north):.4f}), expected in the north."
            raise InputError(msg)
    shift = 0.5 if at_centres else 0.0
    transform = Affine(_SIZE, 0, left - shift * _SIZE, 0, -_SIZE, top + shift * _SIZE)
    x = transform.c + _SIZE * (np.arange(columns) + 0.5)
    y = transform.f - _SIZE * (np.arange(rows) + 0.5)
    placed = cube.assign_coords(y=y, x=x).rio.write_crs(f"EPSG:{int(attrs['Epsg_Code'])}")
    return placed.rio.write_transform(transform)


def _is_size(distance: float) -> bool:
    return abs(distance - _SIZE) < 1e-3 * _SIZE


READER = Reader(
    "prisma",
    "PRISMA Level 1, 2B, 2C or 2D, HDF-EOS5",
    "a file *.he5 with HDFEOS/SWATHS/PRS_L*_HCO",
    recognise,
    read,
)
