"""How a raster calls its dimensions, and how large its pixels are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..errors import InputError, NgrWarning, warn

TIME_NAMES = ("time", "date", "t")
BAND_NAMES = ("band", "bands", "channel", "wavelength", "variable")
ROW_NAMES = ("y", "lat", "latitude", "northing")
COLUMN_NAMES = ("x", "lon", "longitude", "easting")
METRES_PER_DEGREE = 111_320.0


def named(dims: Iterable[Hashable], names: Sequence[str]) -> Hashable | None:
    """Return the first of some dimensions that has one of these names, whatever its case; None where none has."""
    return next((d for d in dims if str(d).lower() in names), None)


def time_dim(raster: xr.DataArray | xr.Dataset) -> Hashable | None:
    """Return the dimension of the dates, None where a raster has none."""
    return named(raster.dims, TIME_NAMES)


def spatial_dims(raster: xr.DataArray | xr.Dataset) -> tuple[Hashable, Hashable]:
    """Return how a raster calls rows and columns.

    Raises:
        InputError: no two dimensions have such names.
    """
    lower = {str(d).lower(): d for d in raster.dims}
    row = next((lower[n] for n in ROW_NAMES if n in lower), None)
    column = next((lower[n] for n in COLUMN_NAMES if n in lower), None)
    if row is None or column is None:
        msg = f"Found the dimensions {tuple(map(str, raster.dims))}, expected two named y and x (or latitude and longitude):"
        raise InputError(
            msg,
            call="rename them, for example raster.rename({'row': 'y', 'col': 'x'}).",
            option="rename them in the file, for example: ncrename -d row,y -d col,x FILE",
        )
    return row, column


def resolution(raster: xr.DataArray | xr.Dataset) -> tuple[float, float] | None:
    """Return the pixel's (width, height) in metres, or None, with a warning, for a raster without CRS."""
    import rioxarray  # noqa: F401  # registers .rio; slow to import

    crs = raster.rio.crs
    if crs is None:
        text = NgrWarning(
            "The raster has no CRS: distances are counted in pixels.",
            call=_crs_call(raster),
            option="Write it into the file, for example: rio edit-info FILE --crs EPSG:32633",
        )
        warn(text)
        return None
    row, column = spatial_dims(raster)
    if any(d not in raster.coords or raster.sizes[d] == 1 for d in (row, column)):
        return None
    height, width = (float(np.median(np.abs(np.diff(raster[d].values.astype(float))))) for d in (row, column))
    middle = float(raster[row].mean())
    if crs.is_geographic:
        return width * METRES_PER_DEGREE * math.cos(math.radians(middle)), height * METRES_PER_DEGREE
    factor = float(crs.linear_units_factor[1]) if crs.is_projected else 1.0
    return width * factor, height * factor


def _crs_call(raster: xr.DataArray | xr.Dataset) -> str:
    """Return the call that gives a raster its CRS: where a CF grid mapping was read as a variable, it only has to be found."""
    variables: Mapping[Any, Any] = raster.variables if isinstance(raster, xr.Dataset) else raster.coords
    described = {"crs_wkt", "spatial_ref", "grid_mapping_name"}
    found = next((str(n) for n, part in variables.items() if part.ndim == 0 and described & set(part.attrs)), None)
    parts = [raster, *raster.data_vars.values()] if isinstance(raster, xr.Dataset) else [raster]
    named = next((str(s["grid_mapping"]) for p in parts for s in (p.attrs, p.encoding) if "grid_mapping" in s), None)
    if found is None and named is None:
        return "Set one with raster.rio.write_crs(...)."
    return (
        f"Its grid mapping {found or named!r} was not read as a coordinate, or is not named as one. Open the file with "
        'decode_coords="all", as in xarray.open_zarr(..., decode_coords="all"), or set the CRS with raster.rio.write_crs(...).'
    )
