"""EMIT Level 2A reflectance or Level 1B radiance: a NetCDF file in the swath of the sensor, with a lookup table of the ground.

LP DAAC, EMIT L2A User Guide, versions 1 and 2: groups `sensor_band_parameters` and `location`; `good_wavelengths` is 0 in bands of
water vapour; the lookup table counts from 1, with 0 for none. The file of masks beside it has flags that versions order
differently, so they are chosen by name, and `band_mask`, whose bits are 1 where a value was interpolated.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from ...errors import InputError, warn
from ..gather import Wanted
from ..rasters import LARGE
from .base import BAD_PIXELS, Content, Reader, only, timed

_CUBES = ("reflectance", "radiance")
_UNITS = {"reflectance": ("unitless", "1", ""), "radiance": ("uW/cm^2/SR/nm", "uW/cm^2/sr/nm")}
_FLAGS = (("spectf-cloud flag", "cirrus flag"), ("cloud flag", "cirrus flag", "dilated cloud flag", "spacecraft flag"))
"""Flags of what is not clear: those of version 2, which has a better flag of clouds, else those of version 1."""
_BLOCK = {"y": 256, "x": 256, "band": -1}
_SPATIAL = {"downtrack": "y", "crosstrack": "x", "bands": "band"}


def recognise(path: str) -> bool:
    """Return whether a path is a NetCDF file with the groups and a cube of EMIT."""
    if not path.lower().endswith(".nc") or not os.path.isfile(path):
        return False
    import netCDF4

    try:
        with netCDF4.Dataset(path) as file:
            groups = {"sensor_band_parameters", "location"} <= set(file.groups)
            return groups and any(name in file.variables for name in _CUBES)
    except OSError:
        return False


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the cube (band, y, x) in a Dataset with the lookup table, the mask and, from the file of masks, bad pixels.

    Raises:
        InputError: several files, or a unit that is not known.
    """
    path = only(paths, "granules of EMIT, whose swaths share no grid;")
    root, lazy = _group(path, None, lazy)
    name = next(name for name in _CUBES if name in root)
    units = str(root[name].attrs.get("units", root[name].attrs.get("unit", "")))
    if units not in _UNITS[name]:
        msg = f"{path} has {name} in {units!r}, expected one of {', '.join(map(repr, _UNITS[name]))}: look at the file first."
        raise InputError(msg, option=f"Look at it with ncdump -h {path}.")
    bands, place = (_group(path, group, False)[0].load() for group in ("sensor_band_parameters", "location"))
    cube = root[name].transpose("band", "y", "x")
    cube = cube.assign_coords(band=np.arange(1, cube.sizes["band"] + 1))
    for long, short in (("wavelength", "wavelengths"), ("fwhm", "fwhm"), ("good_wavelengths", "good_wavelengths")):
        if short in bands:
            nanometres = {} if short == "good_wavelengths" else {"units": str(bands[short].attrs.get("units", "nm"))}
            cube = cube.assign_coords({long: ("band", bands[short].values, nanometres)})
    where = {long: place[short].variable for long, short in (("latitude", "lat"), ("longitude", "lon"))}
    cube = timed(cube.assign_coords(where), str(root.attrs.get("time_coverage_start", "")))
    layers: dict[str, Any] = {n: place[n] for n in ("glt_x", "glt_y") if n in place}
    kept = {key: root.attrs[key] for key in ("geotransform", "spatial_ref", "time_coverage_start") if key in root.attrs}
    beside = _masks_of(path)
    if beside is None:
        warn(
            f"{path} has no file of masks beside it (EMIT_L2A_MASK_*): no clouds and no interpolated values are known."
        )
    else:
        masks, _ = _group(beside, None, lazy)
        layers["cloud_mask"] = _clouds(beside, masks)
        cube = cube.assign_coords({BAD_PIXELS: _interpolated(masks, cube.sizes["band"])})
    whole = xr.Dataset({name: cube, **layers}, attrs=kept)
    clouds = whole["cloud_mask"] if "cloud_mask" in whole else None
    inputs = (path,) if beside is None else (path, beside)
    note = "The cube stays in the swath of the sensor, with its lookup table: ngr_geo.orthorectify brings a result to the ground."
    return Content(raster=whole[name], dataset=whole, clouds=clouds, inputs=inputs, notes=(note,))


def _group(path: str, group: str | None, lazy: bool) -> tuple[xr.Dataset, bool]:
    """Return a group of a file, raw, and whether it is lazy."""
    options: dict[str, Any] = {"group": group, "mask_and_scale": False, "engine": "netcdf4"}
    with xr.open_dataset(path, **options) as dataset:
        if not lazy and dataset.nbytes <= LARGE:
            return _renamed(dataset.load()), False
    blocks = {short: _BLOCK[long] for short, long in _SPATIAL.items() if short in dataset.dims}
    return _renamed(xr.open_dataset(path, chunks=blocks, **options)), True


def _renamed(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.rename({short: long for short, long in _SPATIAL.items() if short in dataset.dims})


def _masks_of(path: str) -> str | None:
    """Return the file of masks of the same scene, of any version, or None."""
    folder, name = os.path.split(path)
    match = re.match(r"EMIT_L[12][AB]_\w+?_\d{3}_(\d{8}T\d{6}_\d+_\d+)\.nc$", name)
    if match is None:
        return None
    pattern = rf"EMIT_L2A_MASK_\d{{3}}_{match[1]}\.nc$"
    found = sorted(other for other in os.listdir(folder or ".") if re.match(pattern, other))
    return os.path.join(folder, found[-1]) if found else None


def _clouds(path: str, masks: xr.Dataset) -> xr.DataArray:
    """Return where a pixel is not clear (y, x), by the names of the flags.

    Raises:
        InputError: the file has none of the flags that are known.
    """
    labels = [str(label) for label in _group(path, "sensor_band_parameters", False)[0]["mask_bands"].values]
    known = {" ".join(label.lower().split()): number for number, label in enumerate(labels)}
    chosen = next(([flag for flag in flags if flag in known] for flags in _FLAGS if flags[0] in known), None)
    if not chosen:
        msg = f"{path} has the masks {', '.join(labels)}, and none is a flag of clouds that is known: look at the file first."
        raise InputError(msg, option="Give another mask with --clouds.")
    flags = masks["mask"].isel(band=[known[flag] for flag in chosen])
    clouds = (flags == 1).any("band").transpose("y", "x")
    return clouds.rename("cloud_mask").assign_attrs(long_name="not clear", flags=", ".join(chosen))


def _interpolated(masks: xr.Dataset, count: int) -> xr.Variable:
    """Return which values (band, y, x) were interpolated, for lack of a good detector element or of unsaturated light."""
    packed = masks["band_mask"].transpose("y", "x", "packed_wavelength_bands").data
    if isinstance(packed, da.Array):
        packed = packed.rechunk({2: -1})
        bits = packed.map_blocks(_unpacked, count=count, dtype=bool, chunks=(*packed.chunks[:2], (count,)))
    else:
        bits = _unpacked(packed, count)
    about = {"long_name": "bad pixels that the product ships: interpolated by its maker"}
    return xr.Variable(("band", "y", "x"), bits.transpose(2, 0, 1), about)


def _unpacked(packed: np.ndarray, count: int) -> np.ndarray:
    return np.unpackbits(packed, axis=-1)[..., :count].astype(bool)


READER = Reader(
    "emit",
    "EMIT Level 2A reflectance or Level 1B radiance, NetCDF",
    "a file *.nc with the groups sensor_band_parameters and location, and reflectance or radiance",
    recognise,
    read,
)
