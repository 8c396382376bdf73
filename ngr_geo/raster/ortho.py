"""From the swath of a sensor to the ground, by the lookup table that the product ships."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from ..errors import InputError
from .storage import nodata

_TABLE = ("glt_x", "glt_y")
_GROUND = {"ortho_y": "y", "ortho_x": "x"}


def orthorectify(swath: xr.Dataset) -> xr.Dataset:
    """Return a swath on the ground: each pixel that of the swath which the lookup table `glt_y`, `glt_x` names, counted from 1.

    No value is changed or interpolated. What the table does not cover is nodata, NaN, or False. Do it after the verbs: noise,
    stripes and dead lines belong to the sensor's rows and columns.

    Args:
        swath: from `ngr_geo.open`, or what a verb made of it: variables on (y, x), with the attributes `geotransform` (six
            numbers, as GDAL orders them) and `spatial_ref`.

    Returns:
        The variables on (y, x) of the ground, with CRS and coordinates; the table is left out.

    Raises:
        InputError: no lookup table, no georeference, or a table of another swath.

    Examples:
        A swath of two pixels, which lie from right to left on the ground, beside a place that the sensor did not see:

        >>> table = {"glt_x": (("ortho_y", "ortho_x"), [[2, 1, 0]]), "glt_y": (("ortho_y", "ortho_x"), [[1, 1, 0]])}
        >>> swath = xr.Dataset({"radiance": (("y", "x"), [[7.0, 8.0]]), **table})
        >>> swath.attrs = {"geotransform": [11.5, 0.1, 0, 46.5, 0, -0.1], "spatial_ref": "EPSG:4326"}
        >>> orthorectify(swath).radiance.values
        array([[ 8.,  7., nan]])
    """
    import rioxarray  # noqa: F401  # registers .rio; slow to import

    missing = [
        name for name in (*_TABLE, "geotransform", "spatial_ref") if name not in {**swath.variables, **swath.attrs}
    ]
    if missing:
        msg = f"Found no {', '.join(missing)}, expected the lookup table of a swath and its georeference:"
        raise InputError(msg, call="open the product with ngr_geo.open, and keep the Dataset that it returns.")
    column, row = (swath[name].rename(_GROUND).drop_vars([*swath[name].coords]) for name in _TABLE)
    there = (column > 0) & (row > 0)
    if int(row.max()) > swath.sizes["y"] or int(column.max()) > swath.sizes["x"]:
        msg = (
            f"Found a lookup table that names row {int(row.max())} and column {int(column.max())} of a swath with "
            f"{swath.sizes['y']} rows and {swath.sizes['x']} columns, expected the table of this swath: cut neither."
        )
        raise InputError(msg)
    at = {"y": xr.where(there, row - 1, 0).astype(int), "x": xr.where(there, column - 1, 0).astype(int)}
    moved: dict[Hashable, Any] = {}
    for name, part in swath.variables.items():
        if {"y", "x"} <= set(part.dims) and name not in _TABLE:
            bare = swath[name].drop_vars([key for key in swath[name].coords if key != name])
            moved[name] = _moved(bare, at, there)
    kept = {name: part for name, part in swath.variables.items() if not {"y", "x", *_GROUND} & set(part.dims)}
    out = xr.Dataset(
        {**kept, **moved}, attrs={k: v for k, v in swath.attrs.items() if k not in ("geotransform", "spatial_ref")}
    )
    out = out.set_coords([name for name in swath.coords if name in out.variables])
    left, width, _, top, _, height = (float(number) for number in swath.attrs["geotransform"])
    y, x = (np.arange(out.sizes[dim]) + 0.5 for dim in ("y", "x"))
    return out.assign_coords(y=top + height * y, x=left + width * x).rio.write_crs(swath.attrs["spatial_ref"])


def _moved(part: xr.DataArray, at: dict[str, xr.DataArray], there: xr.DataArray) -> xr.Variable:
    """Return one variable on the ground, with its attributes and encoding."""
    found = part.isel(at).transpose(*part.dims)
    empty = nodata(part)
    if empty is None and part.dtype.kind in "iu":
        msg = f"Found the integers {part.name!r} without a nodata value for what the lookup table does not cover. Declare one:"
        raise InputError(msg, call=f"swath[{part.name!r}].rio.write_nodata(...).")
    if empty is None or part.dtype.kind == "b":
        empty = 0 if part.dtype.kind == "b" else np.nan
    out = xr.where(there, found, part.dtype.type(empty)).transpose(*part.dims).astype(part.dtype).variable
    out.attrs, out.encoding = dict(part.attrs), {k: v for k, v in part.encoding.items() if k in ("_FillValue", "dtype")}
    return out
