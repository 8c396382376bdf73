"""From a raster to a cube, and the exact way back.

A raster is what the user has: a DataArray or a Dataset, with its dimensions in any order, its own nodata, dtype, encoding,
coordinates and chunks. A cube is (time, band, y, x). On the way back only the filled pixels change; all else is the
original's, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from .. import record
from ..errors import InputError, MaskError, NgrWarning, warn
from ..record import LAYERS as LAYERS
from ..wording import counted, listed
from . import products

TIME_NAMES = ("time", "date", "t")
BAND_NAMES = ("band", "bands", "channel", "wavelength", "variable")
ROW_NAMES = ("y", "lat", "latitude", "northing")
COLUMN_NAMES = ("x", "lon", "longitude", "easting")
_KINDS = {
    "c": "complex numbers",
    "b": "booleans",
    "U": "text",
    "S": "text",
    "O": "objects",
    "M": "times",
    "m": "durations",
}
METRES_PER_DEGREE = 111_320.0
SPECTRAL_BANDS = 8
"""A single date with at least so many bands is a spectral cube: its faults differ from band to band."""


@dataclass(frozen=True)
class Cube:
    """A raster as one array.

    Attributes:
        values: (time, band, y, x), NumPy or Dask, in the raster's units and (promoted) dtype.
        valid: the same shape and kind, True where a value is finite and not nodata.
        days: (time,), since 1970; NaN where the raster does not say.
        dates: a unique name for each date.
        bands: a name for each band.
        raster: the original.
        names: the variables that are bands, for a Dataset.
        dims: how the raster calls (time, band, y, x); None for one that it does not have.
        left_out: layers of quality among the variables, which are no bands.
        odd: how many values of each band cannot be (see `plausible`), NumPy or Dask; None where nobody looked, or of integers.
    """

    values: Any
    valid: Any
    days: NDArray[np.float64]
    dates: tuple[str, ...]
    bands: tuple[str, ...]
    raster: xr.DataArray | xr.Dataset
    names: tuple[Hashable, ...]
    dims: tuple[Hashable | None, Hashable | None, Hashable, Hashable]
    left_out: tuple[str, ...] = ()
    odd: Any = None

    @property
    def lazy(self) -> bool:
        """True where the raster is backed by Dask."""
        return isinstance(self.values, da.Array)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(time, band, y, x)."""
        shape: tuple[int, int, int, int] = self.values.shape
        return shape


def read(raster: xr.DataArray | xr.Dataset, exclude: Collection[Hashable] = ()) -> Cube:
    """Return the cube of a raster; nothing is computed. Layers of quality (`products.is_quality`) are never bands.

    Args:
        raster: a Dataset whose numeric variables on (time, y, x) are bands, or a DataArray (time, band, y, x); in any order,
            time and band may be absent.
        exclude: variables of the Dataset that are not bands.

    Raises:
        InputError: a dimension or dtype that cannot be worked with.
    """
    raster = record.with_coordinates(raster)
    if isinstance(raster, xr.Dataset):
        names, left_out = _bands(raster, exclude)
        parts = [raster[n] for n in names]
        dims = _dims(parts[0])
        bands = tuple(str(n) for n in names)
        odd = [str(p.name) for p in parts if set(p.dims) != set(parts[0].dims)]
        if dims[1] is not None or odd:
            msg = (
                f"Found a variable {odd[0] if odd else bands[0]!r} with other dimensions than time, y, x; expected one variable "
                "per band:"
            )
            raise InputError(
                msg,
                call="drop it, or call .ngr on one DataArray (time, band, y, x).",
                option="leave it out with --bands, or keep it alone in a file.",
            )
        columns = [_as_cube(p, dims) for p in parts]
        join = da.concatenate if any(isinstance(c, da.Array) for c in columns) else np.concatenate
        values = join(columns, axis=1)
        valid = join([_valid(c, p) for c, p in zip(columns, parts, strict=True)], axis=1)
    else:
        names, left_out, dims = (), (), _dims(raster)
        _check_dtype(raster)
        _check_bands(raster, dims[1])
        values = _as_cube(raster, dims)
        valid = _valid(values, raster)
        bands = _band_names(raster, dims[1], values.shape[1])
    if 0 in values.shape:
        msg = f"Found an empty raster, {dict(raster.sizes)}, expected at least one pixel, band and date: check how it was cut out."
        raise InputError(msg)
    days, names_of_dates = _times(raster, dims[0])
    return Cube(values, valid, days, names_of_dates, bands, raster, names, dims, left_out)


def dates(raster: xr.DataArray | xr.Dataset) -> tuple[str, ...]:
    """Return a unique name for each date of a raster, as `Cube.dates` has them."""
    return _times(raster, next((d for d in raster.dims if str(d).lower() in TIME_NAMES), None))[1]


def write(
    cube: Cube, restored: Any, filled: Any, made: Any = None, layers: Mapping[str, Any] = MappingProxyType({})
) -> xr.DataArray | xr.Dataset:
    """Return the raster with `restored` values in the `filled` pixels, both (time, band, y, x), and nothing else changed.

    Integers are rounded, clipped to their dtype and kept off nodata; what is NaN becomes nodata, or stays as it was in an
    integer raster without nodata. A boolean coordinate `filled` says which pixels are new: those of `made`, where that is
    given because others were corrected and not filled; and those that earlier verbs filled. Each of `layers`, by name one of
    `LAYERS`, becomes a coordinate, for a Dataset one per variable, NAME_uncertainty: in the raster's units, 0 where nothing was
    filled, and NaN in an uncertainty where an earlier verb did. The record of an earlier verb is dropped: see `record`. Lazy
    where the raster is.
    """
    before = _filled_before(cube)
    if cube.lazy:
        chunks = cube.values.chunks
        # All dates of a place in one block: date by date, every restored block would be kept in memory to the end.
        one = {0: -1, -2: chunks[-2], -1: chunks[-1]}
        restored, filled = (da.asarray(a).rechunk(one) for a in (restored, filled))
        made = None if made is None else da.asarray(made).rechunk(one)
        before = None if before is None else da.asarray(before).rechunk(one)
        layers = {name: layer.rechunk(one) for name, layer in layers.items()}
    raster = record.begun(cube.raster)
    if isinstance(raster, xr.Dataset):
        for index, name in enumerate(cube.names):
            raster[name] = _filled_in(raster[name], cube, restored[:, index : index + 1], filled[:, index : index + 1])
    else:
        earlier = {key: text for key, text in raster.attrs.items() if key == record.BEFORE}
        raster = _filled_in(raster, cube, restored, filled).assign_attrs(earlier)
    known = da.isfinite(restored) if cube.lazy else np.isfinite(restored)
    new = (filled if made is None else made) & known
    by_band = made is not None or (before is not None and before.shape[1] > 1)
    if before is not None:
        new = new | (before & ~(filled & ~known))
    raster = raster.assign_coords(filled=(*_filled_coordinate(cube, new, by_band), record.mark(record.FILLED)))
    variable = cube.raster[cube.names[0]] if isinstance(cube.raster, xr.Dataset) else cube.raster
    where = da.where if cube.lazy else np.where
    for kind, layer in layers.items():
        elsewhere: Any = np.float32(0)
        if kind == "uncertainty" and before is not None:
            elsewhere = where(before, np.float32(np.nan), np.float32(0))
        shown = where(filled, layer, elsewhere)
        parts: dict[str, Any] = {f"{n}_{kind}": [i] for i, n in enumerate(cube.names)} or {kind: slice(None)}
        raster = raster.assign_coords(
            {n: (variable.dims, _shaped(shown[:, b], cube, variable), record.mark(kind)) for n, b in parts.items()}
        )
    return raster


def _filled_before(cube: Cube) -> Any:
    """Return what earlier verbs filled, (time or 1, band or 1, y, x), of the cube's kind; None where nothing says so."""
    found = record.filled_before(cube.raster)
    if found is None:
        return None
    here = [d for d in cube.dims if d is not None and d in found.dims]
    if set(found.dims) - set(here) or not set(cube.dims[2:]) <= set(here):
        msg = (
            f"Found a coordinate 'filled' with dimensions {tuple(map(str, found.dims))}, expected y, x and some of "
            f"{[str(d) for d in cube.dims[:2] if d is not None]}:"
        )
        raise MaskError(msg, call="drop it with raster.drop_vars('filled').")
    data = found.transpose(*here).data
    data = data.compute() if isinstance(data, da.Array) and not cube.lazy else data
    data = data[tuple(slice(None) if d in here else None for d in cube.dims)]
    return data | np.zeros((cube.shape[0], 1, 1, 1), bool)


def bad_bands(cube: Cube) -> NDArray[np.bool_]:
    """Return which bands (B,) the raster itself flags as bad.

    Known are, along the band dimension or as a list among the attributes: `bbl` and `good_wavelengths` (ENVI, EnMAP, EMIT: 0 is
    bad) and `bad_bands` (1 is bad).
    """
    count = cube.shape[1]
    bad = np.zeros(count, bool)
    parts = [cube.raster[n] for n in cube.names] if isinstance(cube.raster, xr.Dataset) else [cube.raster]
    for name, flag in (("bbl", 0), ("good_wavelengths", 0), ("bad_bands", 1)):
        for part in parts:
            found = part.coords[name].values if name in part.coords else part.attrs.get(name)
            if found is None or isinstance(found, str):
                continue
            entries = np.ravel(np.asarray(found, dtype=float))
            if len(parts) > 1 and entries.size == 1:
                bad[parts.index(part)] |= bool(entries[0] == flag)
            elif entries.size == count:
                bad |= entries == flag
            elif entries.size > 1:  # one alone tells of something else than these bands
                msg = (
                    f"Found {counted(entries.size, 'entry', 'entries')} in the bad-band list {name!r} of a raster with "
                    f"{counted(count, 'band')}, expected one per band: mend it,"
                )
                raise InputError(
                    msg,
                    call=f"or drop it with raster.drop_vars({name!r}) or del raster.attrs[{name!r}].",
                    option=f"or take {name} out of the file.",
                )
    return bad


def nodata(variable: xr.DataArray) -> float | None:
    """Return the value that means missing in the array as it is in memory, None where only NaN does or nothing."""
    sources: list[Mapping[Any, Any]] = [variable.attrs]
    if variable.dtype.kind in "iu":  # floats with an encoded nodata have been decoded: there it is NaN
        sources.append(variable.encoding)
    for source in sources:
        for key in ("_FillValue", "missing_value", "nodata"):
            value = source.get(key)
            if (
                value is not None
                and np.ndim(value) == 0
                and not isinstance(value, str)
                and not math.isnan(float(value))
            ):
                return float(value)
    return None


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
    variables = raster.variables if isinstance(raster, xr.Dataset) else raster.coords
    described = {"crs_wkt", "spatial_ref", "grid_mapping_name"}
    found = next(
        (str(name) for name, part in variables.items() if part.ndim == 0 and described & set(part.attrs)), None
    )
    parts = [raster, *raster.data_vars.values()] if isinstance(raster, xr.Dataset) else [raster]
    named = next((str(s["grid_mapping"]) for p in parts for s in (p.attrs, p.encoding) if "grid_mapping" in s), None)
    name = found or named
    if name is None:
        return "Set one with raster.rio.write_crs(...)."
    again = 'Open the file with decode_coords="all", as in xarray.open_zarr(..., decode_coords="all")'
    cause = f"It names the grid mapping {name!r}, which was not read as a coordinate." if found is None or named else ""
    if found is not None:
        cause = f"Its grid mapping {found!r} was not read as a coordinate, or is not named as one."
    return f"{cause} {again}, or set it with raster.rio.write_crs(...)."


def spatial_dims(raster: xr.DataArray | xr.Dataset) -> tuple[Hashable, Hashable]:
    """Return how a raster calls rows and columns.

    Raises:
        InputError: where it cannot be told.
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


def _bands(raster: xr.Dataset, exclude: Collection[Hashable]) -> tuple[tuple[Hashable, ...], tuple[str, ...]]:
    """Return which variables are bands, and which would be, were they no layers of quality."""
    row, column = spatial_dims(raster)
    timed = any(str(d).lower() in TIME_NAMES for d in raster.dims)
    found, left_out = [], []
    for name, variable in raster.data_vars.items():
        fits = {row, column} <= set(variable.dims)
        fits &= not timed or any(str(d).lower() in TIME_NAMES for d in variable.dims)
        if name in exclude or not fits or variable.dtype.kind == "b":
            continue
        if products.is_quality(name, variable.attrs):
            left_out.append(str(name))
            continue
        _check_dtype(variable)
        found.append(name)
    if not found:
        but = f" besides layers of quality ({', '.join(left_out)})" if left_out else ""
        msg = (
            f"Found no band among the variables {listed([str(v) for v in raster.data_vars]) or '(none)'}{but}, expected numeric "
            f"variables with the dimensions time, y and x:"
        )
        raise InputError(
            msg, call="open the raster with its bands.", option="name a file that holds them, or other --bands."
        )
    return tuple(found), tuple(left_out)


def _check_bands(raster: xr.DataArray, band: Hashable | None) -> None:
    """Raise where one of a DataArray's bands is a layer of quality: what is filled would be filled in it, too."""
    if band is None or band not in raster.coords or raster[band].dtype.kind not in "OUT":
        return
    layers = [str(n) for n in raster[band].values if products.is_quality(n)]
    if layers:
        rest = ",".join(str(n) for n in raster[band].values if str(n) not in layers)
        msg = f"Found the layer of quality {', '.join(layers)} among the bands, expected measured values only: take it out,"
        raise InputError(
            msg,
            call=f"raster.drop_sel({band}={layers}), and pass a mask apart: clouds=raster.sel({band}={layers[0]!r}, drop=True)"
            f".rename({layers[0]!r}).",
            option=f"--bands {rest}.",
        )


def _check_dtype(variable: xr.DataArray) -> None:
    if variable.dtype.kind not in "iuf":
        name = f"variable {variable.name!r}" if variable.name is not None else "the raster"
        kind = f"{_KINDS.get(variable.dtype.kind, 'no numbers')} ({variable.dtype})"
        msg = f"Found {kind} in {name}, expected numbers, integers or floats:"
        convert, file = "convert with .astype('float32').", "convert it, or leave it out with --bands."
        if variable.dtype.kind == "c":
            convert, file = "take amplitude or phase, for example abs(raster).", "write amplitude or phase to a file."
        raise InputError(msg, call=convert, option=file)


def _dims(variable: xr.DataArray) -> tuple[Hashable | None, Hashable | None, Hashable, Hashable]:
    row, column = spatial_dims(variable)
    rest = [d for d in variable.dims if d not in (row, column)]
    time = next((d for d in rest if str(d).lower() in TIME_NAMES), None)
    band = next((d for d in rest if str(d).lower() in BAND_NAMES), None)
    unknown = [str(d) for d in rest if d not in (time, band)]
    if unknown:
        msg = f"Found the dimensions {tuple(map(str, variable.dims))}, expected time, band, y, x: "
        raise InputError(
            msg.rstrip(),
            call=f"rename {unknown[0]!r} with .rename({{{unknown[0]!r}: 'time'}}) or select one of it with .isel({unknown[0]}=0).",
            option=f"rename {unknown[0]!r} in the file (ncrename -d {unknown[0]},time FILE), or choose one of it (ncks -d "
            f"{unknown[0]},0).",
        )
    return time, band, row, column


def _as_cube(variable: xr.DataArray, dims: tuple[Hashable | None, ...]) -> Any:
    """Return the variable's data as (time, band, y, x)."""
    data = variable.transpose(*(d for d in dims if d is not None)).data
    if not isinstance(data, da.Array):
        data = np.asarray(data)
    return data[tuple(slice(None) if d is not None else None for d in dims)]


def _valid(values: Any, variable: xr.DataArray) -> Any:
    missing = nodata(variable)
    xp = da if isinstance(values, da.Array) else np
    valid = xp.isfinite(values) if values.dtype.kind == "f" else xp.ones_like(values, dtype=bool)
    return valid if missing is None else valid & (values != values.dtype.type(missing))


def _band_names(raster: xr.DataArray, dim: Hashable | None, count: int) -> tuple[str, ...]:
    described = raster.attrs.get("long_name")
    if isinstance(described, tuple | list) and len(described) == count:
        return tuple(str(d) for d in described)
    if dim is not None and dim in raster.coords:
        return tuple(str(v) for v in raster[dim].values.tolist())
    return (str(raster.name),) if count == 1 and raster.name is not None else tuple(str(i + 1) for i in range(count))


def _times(raster: xr.DataArray | xr.Dataset, dim: Hashable | None) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    count = raster.sizes[dim] if dim is not None else 1
    coordinate = raster.coords.get(dim if dim is not None else "time")
    if coordinate is None or coordinate.size != count:
        return np.full(count, np.nan), tuple(str(i) for i in range(count))
    values = np.atleast_1d(coordinate.values)
    if values.dtype.kind == "M":
        days = values.astype("datetime64[s]").astype(np.float64) / 86400
        days[np.isnat(values)] = np.nan
        names = [str(pd.Timestamp(v).date()) for v in values]
        if len(set(names)) < count:
            names = [pd.Timestamp(v).isoformat() for v in values]
    else:
        days, names = (
            np.full(count, np.nan),
            [str(v)[:10] if hasattr(v, "isoformat") else str(v) for v in values.tolist()],
        )
    twice = {n for n in names if names.count(n) > 1}
    return days, tuple(f"{n}#{names[:i].count(n) + 1}" if n in twice else n for i, n in enumerate(names))


def _shaped(data: Any, cube: Cube, variable: xr.DataArray) -> Any:
    """Return data (time, some bands, y, x) with the dimensions of a variable of the raster."""
    here = [d for d in cube.dims if d is not None]
    drop = tuple(slice(None) if d is not None else 0 for d in cube.dims)
    return data[drop].transpose([here.index(d) for d in variable.dims])


def _filled_in(variable: xr.DataArray, cube: Cube, restored: Any, filled: Any) -> xr.DataArray:
    """Return one variable with its filled pixels replaced; restored and filled are (time, its bands, y, x)."""
    new, where = (_shaped(a, cube, variable) for a in (restored, filled))
    guard = _Guard.of(variable)
    if cube.lazy:
        data = da.asarray(variable.data).rechunk(new.chunks)
        out = da.map_blocks(guard.merge, data, new, where.rechunk(new.chunks), dtype=data.dtype)
        out = out.rechunk(da.asarray(variable.data).chunks)
    else:
        out = guard.merge(variable.values, new, where)
    changed = variable.copy(data=out)
    changed.attrs, changed.encoding = record.fresh(variable.attrs), dict(variable.encoding)
    return changed


@dataclass(frozen=True)
class _Guard:
    """Keeps new values representable: step and offset of the stored integers, their limits, the nodata to stay off."""

    scale: float
    offset: float
    limits: tuple[float, float] | None
    missing: float | None
    is_float: bool

    @classmethod
    def of(cls, variable: xr.DataArray) -> _Guard:
        if variable.dtype.kind in "iu":
            info = np.iinfo(variable.dtype)
            return cls(1.0, 0.0, (float(info.min), float(info.max)), nodata(variable), is_float=False)
        stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
        if stored.kind in "iu":
            info = np.iinfo(stored)
            scale, offset = (
                float(variable.encoding.get(k, d)) for k, d in (("scale_factor", 1.0), ("add_offset", 0.0))
            )
            fill = variable.encoding.get("_FillValue")
            limits = (float(info.min), float(info.max))
            return cls(scale, offset, limits, None if fill is None else float(fill), is_float=True)
        return cls(1.0, 0.0, None, nodata(variable), is_float=True)

    def merge(self, original: NDArray[Any], new: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the original with `new` where `where`."""
        known = np.isfinite(new)
        value = np.where(known, new, 0).astype(np.float64)
        if self.limits is not None:
            low, high = self.limits
            stored = np.clip(np.rint((value - self.offset) / self.scale), low, high)
            if self.missing is not None:
                beside = self.missing + 1 if self.missing < high else self.missing - 1
                hit = stored == self.missing
                stored = np.where(hit, beside, stored)
                value = np.where(hit, beside * self.scale + self.offset, value)
            ends = low * self.scale + self.offset, high * self.scale + self.offset
            clipped = np.clip(value, min(ends), max(ends))
            value = clipped if self.is_float else stored
        elif self.missing is not None:
            value = np.where(value == self.missing, np.nextafter(original.dtype.type(self.missing), np.inf), value)
        out = np.where(where & known, value.astype(original.dtype), original)
        lost = where & ~known
        if self.is_float:
            empty = np.nan if self.limits is not None or self.missing is None else self.missing
            return np.where(lost, original.dtype.type(empty), out)
        return out if self.missing is None else np.where(lost, original.dtype.type(self.missing), out)


def _filled_coordinate(cube: Cube, filled: Any, by_band: bool) -> tuple[tuple[Hashable, ...], Any]:
    """Return dimensions and data of the coordinate `filled`: without bands where they agree.

    Where that is not known, because the raster is lazy, `by_band` tells whether they may differ.
    """
    has_bands = cube.dims[1] is not None
    has_bands &= by_band if cube.lazy else bool((filled != filled[:, :1]).any())
    variable = cube.raster[cube.names[0]] if isinstance(cube.raster, xr.Dataset) else cube.raster
    dims = [d for d in cube.dims if d is not None and (d != cube.dims[1] or has_bands)]
    data = filled if has_bands else filled.any(axis=1)
    if cube.dims[0] is None:
        data = data[0]
    order = [d for d in variable.dims if d in dims]
    return tuple(order), data.transpose([dims.index(d) for d in order])
