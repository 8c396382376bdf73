"""A mask is brought to a raster's dates and grid: the same moment or day, the nearest pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import GridError, MaskError
from .cube import TIME_NAMES, spatial_dims


def align(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the mask on the raster's dates and grid, dimensions (time, rows, columns) as far as the raster has them.

    A mask of another resolution, offset or CRS is taken from the nearest pixel, which is right for classes.

    Raises:
        GridError: the mask does not cover the raster.
        MaskError: a date of the raster has no mask.
    """
    rows, columns = spatial_dims(raster)
    mask = _in_time(_squeezed(mask), raster)
    if rows not in mask.dims or columns not in mask.dims:
        own_rows, own_columns = spatial_dims(mask)
        mask = mask.rename({own_rows: rows, own_columns: columns})
    if _other_crs(mask, raster):
        return _reprojected(mask, raster, str(rows), str(columns))
    for dim in (rows, columns):
        has = [dim in a.coords for a in (mask, raster)]
        if not all(has):
            if mask.sizes[dim] != raster.sizes[dim]:
                msg = (
                    f"Found a mask with {mask.sizes[dim]} pixels along {dim}, without coordinates, for a raster with "
                    f"{raster.sizes[dim]}: give both coordinates, or cut the mask to the raster's grid."
                )
                raise GridError(msg)
            continue
        mask = _nearest(mask, raster, str(dim))
    return mask


def labelled(mask: NDArray[Any], raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return a bare array with the raster's dimensions."""
    rows, columns = spatial_dims(raster)
    time = next((d for d in raster.dims if str(d).lower() in TIME_NAMES), None)
    dims = ([time] if time is not None and mask.ndim == 3 else []) + [rows, columns]
    if mask.ndim != len(dims) or any(mask.shape[i] != raster.sizes[d] for i, d in enumerate(dims)):
        wanted = tuple(raster.sizes[d] for d in ([time] if time is not None else []) + [rows, columns])
        msg = f"Found a mask array of shape {mask.shape}, expected {wanted} (time, rows, columns): transpose or cut it."
        raise MaskError(msg)
    return xr.DataArray(mask, dims=dims, coords={d: raster[d] for d in dims if d in raster.coords})


def _squeezed(mask: xr.DataArray) -> xr.DataArray:
    """Return the mask without a band dimension of length one."""
    rows, columns = spatial_dims(mask)
    extra = [d for d in mask.dims if d not in (rows, columns) and str(d).lower() not in TIME_NAMES]
    wide = [str(d) for d in extra if mask.sizes[d] > 1]
    if wide:
        msg = f"Found a mask with the dimensions {tuple(mask.dims)}, expected time, y, x:"
        raise MaskError(
            msg, call=f"choose one with .isel({wide[0]}=0).", option="name files of one band each (rio stack --bidx 1)."
        )
    return mask.isel({d: 0 for d in extra}, drop=True)


def _in_time(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the mask of each of the raster's dates: the same moment, or the same day where that is unique."""
    time = next((d for d in raster.dims if str(d).lower() in TIME_NAMES), None)
    own = next((d for d in mask.dims if str(d).lower() in TIME_NAMES), None)
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
    if own not in mask.coords or time not in raster.coords:
        if mask.sizes[own] != count:
            msg = f"Found {mask.sizes[own]} masks for {count} dates, without times to match them: give both a time coordinate."
            raise MaskError(msg)
        return mask.rename({own: time}) if own != time else mask
    wanted, have = raster[time].values, mask[own].values
    picked = _matched(wanted, have)
    chosen = mask.isel({own: picked})
    chosen = chosen.rename({own: time}) if own != time else chosen
    return chosen.assign_coords({time: raster[time].variable})


def _matched(wanted: NDArray[Any], have: NDArray[Any]) -> list[int]:
    """Return, for each wanted time, the position of its mask."""
    if len(wanted) == len(have) and (wanted == have).all():
        return list(range(len(wanted)))

    def keys(values: NDArray[Any]) -> Sequence[Any]:
        return (
            [str(v.astype("datetime64[D]")) for v in values] if values.dtype.kind == "M" else [str(v) for v in values]
        )

    exact = {v: i for i, v in reversed(list(enumerate(have.tolist())))}
    if (
        len(exact) == len(have)
        and len(set(wanted.tolist())) == len(wanted)
        and all(v in exact for v in wanted.tolist())
    ):
        return [exact[v] for v in wanted.tolist()]
    days, mine = keys(have), keys(wanted)
    lost = [d for d in mine if d not in days]
    if lost:
        msg = f"Found no mask for {', '.join(lost)}; there are masks for {', '.join(days)}: expected one for each date."
        raise MaskError(msg)
    twice = [d for d in mine if days.count(d) > 1 or mine.count(d) > 1]
    if twice:
        msg = f"Found several dates or masks on {twice[0]}, which cannot be matched by day: give the masks the raster's times"
        raise MaskError(
            msg, call="with mask.assign_coords(time=raster.time).", option="in their names, as the rasters have them."
        )
    return [days.index(d) for d in mine]


def _other_crs(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset) -> bool:
    import rioxarray  # noqa: F401  # registers .rio; slow to import

    ours, theirs = raster.rio.crs, mask.rio.crs
    return ours is not None and theirs is not None and ours != theirs


def _reprojected(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset, rows: str, columns: str) -> xr.DataArray:
    """Return the mask warped to the raster's CRS and grid, nearest pixel; what it does not cover is an error."""
    first = next(iter(raster.data_vars.values())) if isinstance(raster, xr.Dataset) else raster
    like = first.isel({d: 0 for d in first.dims if d not in (rows, columns)}, drop=True).rio.set_spatial_dims(
        columns, rows
    )
    like = like.rio.write_crs(raster.rio.crs)
    bare = mask.drop_attrs(deep=False).drop_encoding().rio.set_spatial_dims(columns, rows)
    inside = xr.ones_like(bare, dtype=np.uint8).rio.reproject_match(like, nodata=255)
    if bool((inside == 255).any()):
        msg = (
            f"The mask, in {mask.rio.crs}, does not cover the raster, in {raster.rio.crs}: expected a mask of at least its "
            f"extent."
        )
        raise GridError(
            msg,
            call="Cut the raster with raster.rio.clip_box(...).",
            option="Name the whole mask with --clouds, or cut the rasters (rio clip).",
        )
    warped = bare.astype(np.float64).rio.reproject_match(
        like, nodata=np.nan
    )  # exact for codes of up to 53 bits, and keeps NaN
    if mask.dtype.kind != "f":
        warped = warped.astype(mask.dtype)
    names = {d: n for d, n in zip((warped.rio.y_dim, warped.rio.x_dim), (rows, columns), strict=True) if d != n}
    codes = warped.rename(names).assign_coords({d: raster[d].variable for d in (rows, columns) if d in raster.coords})
    return codes.drop_attrs(deep=False).drop_encoding().assign_attrs(mask.attrs).rename(mask.name)


def _nearest(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset, dim: str) -> xr.DataArray:
    """Return the mask at the raster's pixel centres along one axis."""
    centres, own = raster[dim].values.astype(float), mask[dim].values.astype(float)
    if len(centres) == len(own) and np.allclose(centres, own, rtol=0, atol=1e-3 * _step(centres)):
        return mask.assign_coords({dim: raster[dim].variable})
    step = _step(own) if len(own) > 1 else max(_step(own), float(np.ptp(centres)) + _step(centres))
    distance = np.abs(own[None, :] - centres[:, None])
    index = distance.argmin(axis=1)
    if (distance[np.arange(len(centres)), index] > 0.5 * step * (1 + 1e-6)).any():
        msg = (
            f"Found a mask from {own.min():g} to {own.max():g} along {dim} for a raster from {centres.min():g} to "
            f"{centres.max():g}, expected one that covers it:"
        )
        raise GridError(
            msg,
            call="cut the raster with raster.sel(...) or pass the whole mask.",
            option="name the whole mask with --clouds, or cut the rasters (rio clip).",
        )
    return mask.isel({dim: index}).assign_coords({dim: raster[dim].variable})


def _step(centres: NDArray[np.float64]) -> float:
    """Return the pixel size along an axis; 1 for a single pixel."""
    return float(np.median(np.abs(np.diff(centres)))) if len(centres) > 1 else 1.0
