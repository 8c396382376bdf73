"""The grid of a raster: how its dimensions are called, how large its pixels are, and how a mask is brought onto it."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ..errors import GridError, InputError, MaskError, NgrWarning, warn

TIME_NAMES = ("time", "date", "t")
BAND_NAMES = ("band", "bands", "channel", "wavelength", "wavelengths", "wavelength_3d", "variable")
ROW_NAMES = ("y", "lat", "latitude", "northing", "downtrack", "number_of_lines")
COLUMN_NAMES = ("x", "lon", "longitude", "easting", "crosstrack", "pixels_per_line")
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
    row, column = (next((lower[n] for n in names if n in lower), None) for names in (ROW_NAMES, COLUMN_NAMES))
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
        option = "Write it into the file, for example: rio edit-info FILE --crs EPSG:32633"
        warn(
            NgrWarning("The raster has no CRS: distances are counted in pixels.", call=_crs_call(raster), option=option)
        )
        return None
    row, column = spatial_dims(raster)
    if any(d not in raster.coords or raster.sizes[d] == 1 for d in (row, column)):
        return None
    height, width = (_step(raster[d].values.astype(float)) for d in (row, column))
    if crs.is_geographic:
        across = math.cos(math.radians(float(raster[row].mean())))
        return width * METRES_PER_DEGREE * across, height * METRES_PER_DEGREE
    factor = float(crs.linear_units_factor[1]) if crs.is_projected else 1.0
    return width * factor, height * factor


def _step(centres: NDArray[np.float64]) -> float:
    """Return the pixel size along an axis; 1 for a single pixel."""
    return float(np.median(np.abs(np.diff(centres)))) if len(centres) > 1 else 1.0


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


# A mask is brought to a raster's dates and grid: the same moment or day, the nearest pixel.


def align(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the mask on the raster's dates and grid, dimensions (time, rows, columns) as far as the raster has them.

    A mask of another resolution, offset or CRS is taken from the nearest pixel, which is right for classes.

    Raises:
        GridError: the mask does not cover the raster.
        MaskError: a date of the raster has no mask.
    """
    import rioxarray  # noqa: F401  # registers .rio; slow to import

    rows, columns = spatial_dims(raster)
    mask = _in_time(_squeezed(mask), raster)
    if rows not in mask.dims or columns not in mask.dims:
        mask = mask.rename(dict(zip(spatial_dims(mask), (rows, columns), strict=True)))
    ours, theirs = raster.rio.crs, mask.rio.crs
    if ours is not None and theirs is not None and ours != theirs:
        return _reprojected(mask, raster, str(rows), str(columns))
    for dim in (rows, columns):
        if dim in mask.coords and dim in raster.coords:
            mask = _nearest(mask, raster, str(dim))
        elif mask.sizes[dim] != raster.sizes[dim]:
            msg = (
                f"Found a mask with {mask.sizes[dim]} pixels along {dim}, without coordinates, for a raster with "
                f"{raster.sizes[dim]}: give both coordinates, or cut the mask to the raster's grid."
            )
            raise GridError(msg)
    return mask


def labelled(mask: NDArray[Any], raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return a bare array with the raster's dimensions."""
    time, space = time_dim(raster), spatial_dims(raster)
    whole = space if time is None else (time, *space)
    dims = space if mask.ndim == 2 else whole
    if mask.shape != tuple(raster.sizes[d] for d in dims):
        wanted = tuple(raster.sizes[d] for d in whole)
        msg = f"Found a mask array of shape {mask.shape}, expected {wanted} (time, rows, columns): transpose or cut it."
        raise MaskError(msg)
    return xr.DataArray(mask, dims=dims, coords={d: raster[d] for d in dims if d in raster.coords})


def _squeezed(mask: xr.DataArray) -> xr.DataArray:
    """Return the mask without a band dimension of length one."""
    extra = [d for d in mask.dims if d not in spatial_dims(mask) and named([d], TIME_NAMES) is None]
    wide = [str(d) for d in extra if mask.sizes[d] > 1]
    if wide:
        msg = f"Found a mask with the dimensions {tuple(mask.dims)}, expected time, y, x:"
        option = "name files of one band each (rio stack --bidx 1)."
        raise MaskError(msg, call=f"choose one with .isel({wide[0]}=0).", option=option)
    return mask.isel({d: 0 for d in extra}, drop=True)


def _in_time(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the mask of each of the raster's dates: the same moment, or the same day where that is unique."""
    time, own = time_dim(raster), time_dim(mask)
    count = 1 if time is None else raster.sizes[time]
    if own is None:
        if count > 1:
            msg = f"Found one mask without a time dimension for {count} dates, expected one per date:"
            raise MaskError(
                msg,
                call="give it a time, for example mask.expand_dims(time=raster.time) if it holds for all.",
                option="name one file per date with --clouds.",
            )
        return mask.expand_dims({time: raster[time].values}) if time is not None else mask
    if time is None:
        if mask.sizes[own] != 1:
            msg = f"Found {mask.sizes[own]} masks for a raster without time, expected one:"
            raise MaskError(msg, call=f"choose it with .isel({own}=0).", option="name its file with --clouds.")
        return mask.isel({own: 0}, drop=True)
    matched = own in mask.coords and time in raster.coords
    if not matched and mask.sizes[own] != count:
        msg = f"Found {mask.sizes[own]} masks for {count} dates, without times to match them: give both a time coordinate."
        raise MaskError(msg)
    chosen = mask.isel({own: _matched(raster[time].values, mask[own].values)}) if matched else mask
    chosen = chosen.rename({own: time}) if own != time else chosen
    return chosen.assign_coords({time: raster[time].variable}) if matched else chosen


def _matched(wanted: NDArray[Any], have: NDArray[Any]) -> list[int]:
    """Return, for each wanted time, the position of its mask: of that moment, else of that day."""
    if np.array_equal(wanted, have):
        return list(range(len(wanted)))
    moments, ours = have.tolist(), wanted.tolist()
    if len({*moments}) == len(moments) and len({*ours}) == len(ours) and {*ours} <= {*moments}:
        return [moments.index(v) for v in ours]
    days, mine = (
        [str(v.astype("datetime64[D]") if v.dtype.kind == "M" else v) for v in times] for times in (have, wanted)
    )
    lost = [d for d in mine if d not in days]
    if lost:
        msg = f"Found no mask for {', '.join(lost)}; there are masks for {', '.join(days)}: expected one for each date."
        raise MaskError(msg)
    twice = [d for d in mine if days.count(d) > 1 or mine.count(d) > 1]
    if twice:
        msg = f"Found several dates or masks on {twice[0]}, which cannot be matched by day: give the masks the raster's times"
        option = "in their names, as the rasters have them."
        raise MaskError(msg, call="with mask.assign_coords(time=raster.time).", option=option)
    return [days.index(d) for d in mine]


def bare(array: xr.DataArray) -> xr.DataArray:
    """Return an array without its attributes; its coordinates keep theirs, such as the CRS.

    `array.drop_attrs(deep=False)` leaves them where they are in xarray of January 2025.
    """
    plain = array.copy(deep=False)
    plain.attrs = {}
    return plain


def _reprojected(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset, rows: str, columns: str) -> xr.DataArray:
    """Return the mask warped to the raster's CRS and grid, nearest pixel; what it does not cover is an error."""
    first = next(iter(raster.data_vars.values())) if isinstance(raster, xr.Dataset) else raster
    like = first.isel({d: 0 for d in first.dims if d not in (rows, columns)}, drop=True)
    like = like.rio.set_spatial_dims(columns, rows).rio.write_crs(raster.rio.crs)
    plain = bare(mask).drop_encoding().rio.set_spatial_dims(columns, rows)
    inside = xr.ones_like(plain, dtype=np.uint8).rio.reproject_match(like, nodata=255)
    if bool((inside == 255).any()):
        ours = raster.rio.crs
        msg = f"The mask, in {mask.rio.crs}, does not cover the raster, in {ours}: expected a mask of at least its extent."
        raise GridError(
            msg,
            call="Cut the raster with raster.rio.clip_box(...).",
            option="Name the whole mask with --clouds, or cut the rasters (rio clip).",
        )
    # A double is exact for codes of up to 53 bits, and keeps NaN.
    warped = plain.astype(np.float64).rio.reproject_match(like, nodata=np.nan)
    if mask.dtype.kind != "f":
        warped = warped.astype(mask.dtype)
    names = {d: n for d, n in zip((warped.rio.y_dim, warped.rio.x_dim), (rows, columns), strict=True) if d != n}
    codes = warped.rename(names).assign_coords({d: raster[d].variable for d in (rows, columns) if d in raster.coords})
    return bare(codes).drop_encoding().assign_attrs(mask.attrs).rename(mask.name)


def _nearest(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset, dim: str) -> xr.DataArray:
    """Return the mask at the raster's pixel centres along one axis, of two pixels equally near the first one."""
    wanted, index = raster[dim].values.astype(float), pd.Index(mask[dim].values)
    if not (index.is_unique and (index.is_monotonic_increasing or index.is_monotonic_decreasing)):
        mask = mask.drop_duplicates(dim).sortby(dim)
    have = mask[dim].values.astype(float)
    if len(wanted) == len(have) and np.allclose(wanted, have, rtol=0, atol=1e-3 * _step(wanted)):
        return mask.assign_coords({dim: raster[dim].variable})
    step = _step(have) if len(have) > 1 else max(1.0, float(np.ptp(wanted)) + _step(wanted))
    sign = -1 if have[0] <= have[-1] else 1  # pandas takes the greater one of two that are equally near
    try:
        found = mask.assign_coords({dim: sign * have}).sel(
            {dim: sign * wanted}, method="nearest", tolerance=0.5 * step * (1 + 1e-6)
        )
    except KeyError as error:
        msg = (
            f"Found a mask from {have.min():g} to {have.max():g} along {dim} for a raster from {wanted.min():g} to "
            f"{wanted.max():g}, expected one that covers it:"
        )
        raise GridError(
            msg,
            call="cut the raster with raster.sel(...) or pass the whole mask.",
            option="name the whole mask with --clouds, or cut the rasters (rio clip).",
        ) from error
    return found.assign_coords({dim: raster[dim].variable})
