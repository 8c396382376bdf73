"""From a raster to a cube, and the exact way back.

A raster is what the user has: a DataArray or a Dataset, with its dimensions in any order, its own nodata, dtype, encoding,
coordinates and chunks. A cube is (time, band, y, x). On the way back only the filled pixels change; all else is the
original's, bit for bit.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from .. import record
from ..errors import InputError, MaskError
from ..record import LAYERS as LAYERS
from ..tiling.tiles import Region
from ..wording import counted, listed
from . import picking, products
from .grid import BAND_NAMES, TIME_NAMES, named, spatial_dims, time_dim
from .storage import Stored
from .storage import nodata as nodata

_KINDS = dict(c="complex numbers", b="booleans", U="text", S="text", O="objects", M="times", m="durations")
SPECTRAL_BANDS = 8
"""A single date with at least so many bands is a spectral cube: its faults differ from band to band."""
SAMPLE_VALUES = 10_000_000
"""Values (dates x bands x pixels) that a scene is learnt from, at most: 40 MB, and about twenty times that while fitting."""
SAMPLE_SIZE = 256


@dataclass(frozen=True)
class Cube:
    """A raster as one array.

    Attributes:
        values: (time, band, y, x), NumPy or Dask, in the raster's units and (promoted) dtype.
        valid: the same shape and kind, True where a value is finite and not nodata.
        days: (time,), since 1970; NaN where the raster has no dates.
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

    @property
    def when(self) -> NDArray[np.float64]:
        """When the dates are (time,): in days, or by their order where any of them is unknown."""
        return self.days if np.isfinite(self.days).all() else np.arange(len(self.days), dtype=np.float64)

    @property
    def variables(self) -> list[xr.DataArray]:
        """The variables of a Dataset that are bands, or the DataArray itself."""
        return [self.raster[name] for name in self.names] if isinstance(self.raster, xr.Dataset) else [self.raster]


def read(raster: xr.DataArray | xr.Dataset, exclude: Collection[Hashable] = ()) -> Cube:
    """Return the cube of a raster; nothing is computed. Layers of quality (`products.is_quality`) are never bands.

    Args:
        raster: a Dataset whose numeric variables on (time, y, x) are bands, or whose only cube is meant (see `picking`), or a
            DataArray (time, band, y, x); in any order, time and band may be absent.
        exclude: variables of the Dataset that are not bands.

    Raises:
        InputError: a dimension or dtype that cannot be worked with.
    """
    cube = picking.cube_of(raster) if isinstance(raster, xr.Dataset) else None
    raster = record.with_coordinates(raster) if cube is None else cube
    names: tuple[Hashable, ...] = ()
    left_out: tuple[str, ...] = ()
    if isinstance(raster, xr.Dataset):
        names, left_out = _bands(raster, exclude)
        parts = [raster[n] for n in names]
        dims = _dims(parts[0])
        _check_alike(parts, dims)
        bands = tuple(map(str, names))
    else:
        parts, dims = [raster], _dims(raster)
        _check_dtype(raster)
        _check_bands(raster, dims[1])
        bands = _band_names(raster, dims[1])
    columns = [laid_out(p, dims) for p in parts]
    valid = [_valid(c, p) for c, p in zip(columns, parts, strict=True)]
    if 0 in columns[0].shape:
        msg = f"Found an empty raster, {dict(raster.sizes)}, expected at least one pixel, band and date: check how it was cut out."
        raise InputError(msg)
    days, names_of_dates = _times(raster, dims[0])
    values, known = (c[0] if len(c) == 1 else np.concatenate(c, axis=1) for c in (columns, valid))
    return Cube(values, known, days, names_of_dates, bands, raster, names, dims, left_out)


def dates(raster: xr.DataArray | xr.Dataset) -> tuple[str, ...]:
    """Return a unique name for each date of a raster, as `Cube.dates` has them."""
    return _times(raster, time_dim(raster))[1]


def regions(shape: tuple[int, int, int, int]) -> list[Region]:
    """Return the windows of a scene that it is learnt from: all of it, or evenly spread ones where it is large."""
    dates, bands, height, width = shape
    room = SAMPLE_VALUES // (dates * bands)
    if height * width <= room:
        return [(slice(0, height), slice(0, width))]
    size = SAMPLE_SIZE
    down, across = max(1, height // size), max(1, width // size)
    keep = max(1, room // (min(size, height) * min(size, width)))
    cells = [(r, c) for r in range(down) for c in range(across)]
    picked = [cells[i * len(cells) // keep] for i in range(keep)] if keep < len(cells) else cells
    tops, lefts = (np.linspace(0, max(n - size, 0), k).astype(int) for n, k in ((height, down), (width, across)))
    return [
        (slice(int(tops[r]), int(min(tops[r] + size, height))), slice(int(lefts[c]), int(min(lefts[c] + size, width))))
        for r, c in picked
    ]


def write(
    cube: Cube, restored: Any, filled: Any, made: Any = None, layers: Mapping[str, Any] = MappingProxyType({})
) -> xr.DataArray | xr.Dataset:
    """Return the raster with `restored` values in the `filled` pixels, both (time, band, y, x), and nothing else changed.

    Integers are rounded, clipped to their dtype and kept off nodata; what is NaN becomes nodata, or stays as it was in an
    integer raster without nodata. A boolean coordinate `filled` says which pixels are new: those of `made`, where that is given
    because others were corrected and not filled, or bands may differ; and those that earlier verbs filled. Each of `layers`, by
    name one of `LAYERS`, becomes a coordinate, for a Dataset one per variable, NAME_uncertainty: in the raster's units, 0 where
    nothing was filled, and NaN in an uncertainty where an earlier verb did. The record of an earlier verb is dropped: see
    `record`. Lazy where the raster is.
    """
    before = _filled_before(cube)
    if cube.lazy:
        # All dates of a place in one block: date by date, every restored block would be kept in memory to the end.
        one = {0: -1, -2: cube.values.chunks[-2], -1: cube.values.chunks[-1]}
        restored, filled, made, before = (
            None if a is None else da.asarray(a).rechunk(one) for a in (restored, filled, made, before)
        )
        layers = {name: layer.rechunk(one) for name, layer in layers.items()}
    raster = record.begun(cube.raster)
    if isinstance(raster, xr.Dataset):
        for i, name in enumerate(cube.names):
            raster[name] = _filled_in(raster[name], cube, restored[:, i : i + 1], filled[:, i : i + 1])
    else:
        earlier = {key: text for key, text in raster.attrs.items() if key == record.BEFORE}
        raster = _filled_in(raster, cube, restored, filled).assign_attrs(earlier)
    known = np.isfinite(restored)
    new = (filled if made is None else made) & known
    if before is not None:
        new = new | (before & ~(filled & ~known))
    # A lazy coordinate has bands where they may differ, since whether they do is not known yet.
    differ = made is not None or (before is not None and before.shape[1] > 1)
    has_bands = cube.dims[1] is not None and (differ if cube.lazy else bool((new != new[:, :1]).any()))
    like, new = cube.variables[0], new if has_bands else new.any(axis=1, keepdims=True)
    raster = raster.assign_coords(filled=variable_of(new, cube, like, record.mark(record.FILLED), has_bands))
    for kind, layer in layers.items():
        unknown = before is not None and kind == "uncertainty"
        elsewhere: Any = np.where(before, np.float32(np.nan), np.float32(0)) if unknown else np.float32(0)
        shown = np.where(filled, layer, elsewhere)
        parts: dict[str, Any] = {f"{n}_{kind}": [i] for i, n in enumerate(cube.names)} or {kind: slice(None)}
        raster = raster.assign_coords(
            {name: variable_of(shown[:, i], cube, like, record.mark(kind)) for name, i in parts.items()}
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
    return along(cube, found) | np.zeros((cube.shape[0], 1, 1, 1), bool)


def along(cube: Cube, mask: xr.DataArray) -> Any:
    """Return a mask that has some of the raster's dimensions as (time or 1, band or 1, y, x), in memory unless the cube is lazy."""
    data = laid_out(mask, cube.dims)
    return data.compute() if isinstance(data, da.Array) and not cube.lazy else data


def laid_out(variable: xr.DataArray, dims: tuple[Hashable | None, ...]) -> Any:
    """Return data, NumPy or Dask, as (time or 1, band or 1, y, x); `dims`: how the raster calls these, see `Cube`."""
    data = variable.transpose(*(d for d in dims if d is not None and d in variable.dims)).data
    if not isinstance(data, da.Array):
        data = np.asarray(data)
    return data[tuple(slice(None) if d is not None and d in variable.dims else None for d in dims)]


def variable_of(
    data: Any, cube: Cube, like: xr.DataArray, attrs: Mapping[str, Any] | None = None, has_bands: bool = True
) -> xr.Variable:
    """Return data (time, some bands or one, y, x), laid out like a cube, with the dimensions, in the order, of a variable."""
    here = [d is not None and (i != 1 or has_bands) for i, d in enumerate(cube.dims)]
    dims = [d for d, is_here in zip(cube.dims, here, strict=True) if is_here]
    bare = xr.Variable(dims, data[tuple(slice(None) if is_here else 0 for is_here in here)], attrs)
    return bare.transpose(*like.dims, missing_dims="ignore")


def bad_bands(cube: Cube) -> NDArray[np.bool_]:
    """Return which bands (B,) the raster itself flags as bad.

    Known are, along the band dimension or as a list among the attributes: `bbl` and `good_wavelengths` (ENVI, EnMAP, EMIT: 0 is
    bad) and `bad_bands` (1 is bad).
    """
    count, parts = cube.shape[1], cube.variables
    bad = np.zeros(count, bool)
    for name, flag in (("bbl", 0), ("good_wavelengths", 0), ("bad_bands", 1)):
        for i, part in enumerate(parts):
            found = part.coords[name].values if name in part.coords else part.attrs.get(name)
            entries = np.ravel(np.asarray([] if found is None or isinstance(found, str) else found, dtype=float))
            if len(parts) > 1 and entries.size == 1:
                bad[i] |= bool(entries[0] == flag)
            elif entries.size == count:
                bad |= entries == flag
            elif entries.size > 1:  # a single one is about something else than these bands
                msg = (
                    f"Found {counted(entries.size, 'entry', 'entries')} in the bad-band list {name!r} of a raster with "
                    f"{counted(count, 'band')}, expected one per band: mend it, or"
                )
                call = f"drop it with raster.drop_vars({name!r}) or del raster.attrs[{name!r}]."
                raise InputError(msg, call=call, option=f"take {name} out of the file.")
    return bad


def _bands(raster: xr.Dataset, exclude: Collection[Hashable]) -> tuple[tuple[Hashable, ...], tuple[str, ...]]:
    """Return which variables are bands, and which would be, were they no layers of quality."""
    row, column = spatial_dims(raster)
    timed = time_dim(raster) is not None
    found, left_out = [], []
    for name, variable in raster.data_vars.items():
        fits = {row, column} <= set(variable.dims) and (not timed or time_dim(variable) is not None)
        if name in exclude or not fits or variable.dtype.kind == "b":
            continue
        if products.is_quality(name, variable.attrs):
            left_out.append(str(name))
        else:
            _check_dtype(variable)
            found.append(name)
    if not found:
        but = f" besides layers of quality ({', '.join(left_out)})" if left_out else ""
        msg = (
            f"Found no band among the variables {listed([str(v) for v in raster.data_vars]) or '(none)'}{but}, expected numeric "
            f"variables with the dimensions time, y and x:"
        )
        option = "name a file that holds them, or other --bands."
        raise InputError(msg, call="open the raster with its bands.", option=option)
    return tuple(found), tuple(left_out)


def _check_alike(parts: Sequence[xr.DataArray], dims: tuple[Hashable | None, ...]) -> None:
    """Raise where a variable of a Dataset has a band dimension, or other dimensions than the first one."""
    odd = [p.name for p in parts if set(p.dims) != set(parts[0].dims)] or [parts[0].name] * (dims[1] is not None)
    if odd:
        msg = f"Found a variable {str(odd[0])!r} with other dimensions than time, y, x; expected one variable per band:"
        call = "drop it, or call .ngr on one DataArray (time, band, y, x)."
        raise InputError(msg, call=call, option="leave it out with --bands, or keep it alone in a file.")


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
        if variable.dtype.kind == "c":
            call = "take amplitude or phase, for example abs(raster)."
            raise InputError(msg, call=call, option="write amplitude or phase to a file.")
        raise InputError(
            msg, call="convert with .astype('float32').", option="convert it, or leave it out with --bands."
        )


def _dims(variable: xr.DataArray) -> tuple[Hashable | None, Hashable | None, Hashable, Hashable]:
    row, column = spatial_dims(variable)
    rest = [d for d in variable.dims if d not in (row, column)]
    time, band = named(rest, TIME_NAMES), named(rest, BAND_NAMES)
    unknown = [str(d) for d in rest if d not in (time, band)]
    if unknown:
        msg = f"Found the dimensions {tuple(map(str, variable.dims))}, expected time, band, y, x:"
        raise InputError(
            msg,
            call=f"rename {unknown[0]!r} with .rename({{{unknown[0]!r}: 'time'}}) or select one of it with .isel({unknown[0]}=0).",
            option=f"rename {unknown[0]!r} in the file (ncrename -d {unknown[0]},time FILE), or choose one of it (ncks -d "
            f"{unknown[0]},0).",
        )
    return time, band, row, column


def _valid(values: Any, variable: xr.DataArray) -> Any:
    missing = nodata(variable)
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones_like(values, dtype=bool)
    return valid if missing is None else valid & (values != values.dtype.type(missing))


def _band_names(raster: xr.DataArray, dim: Hashable | None) -> tuple[str, ...]:
    count = 1 if dim is None else raster.sizes[dim]
    described = raster.attrs.get("long_name")
    if isinstance(described, tuple | list) and len(described) == count:
        return tuple(str(d) for d in described)
    if dim is not None and dim in raster.coords:
        return tuple(str(v) for v in raster[dim].values.tolist())
    return (str(raster.name),) if count == 1 and raster.name is not None else tuple(str(i + 1) for i in range(count))


def _times(raster: xr.DataArray | xr.Dataset, dim: Hashable | None) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the days since 1970, NaN where they are not known, and a unique name for each date."""
    count = raster.sizes[dim] if dim is not None else 1
    coordinate = raster.coords.get(dim if dim is not None else "time")
    days = np.full(count, np.nan)
    if coordinate is None or coordinate.size != count:
        return days, tuple(str(i) for i in range(count))
    values = np.atleast_1d(coordinate.values)
    if values.dtype.kind == "M":
        days = np.where(np.isnat(values), np.nan, values.astype("datetime64[s]").astype(np.float64) / 86400)
        names = [str(pd.Timestamp(v).date()) for v in values]
        if len(set(names)) < count:
            names = [pd.Timestamp(v).isoformat() for v in values]
    else:
        names = [str(v)[:10] if hasattr(v, "isoformat") else str(v) for v in values.tolist()]
    twice = {n for n in names if names.count(n) > 1}
    return days, tuple(f"{n}#{names[:i].count(n) + 1}" if n in twice else n for i, n in enumerate(names))


def _filled_in(variable: xr.DataArray, cube: Cube, restored: Any, filled: Any) -> xr.DataArray:
    """Return one variable with its filled pixels replaced; restored and filled are (time, its bands, y, x)."""
    new, where = (variable_of(a, cube, variable).data for a in (restored, filled))
    stored = Stored.of(variable)
    if cube.lazy:
        data = da.asarray(variable.data)
        out = da.map_blocks(stored.merge, data.rechunk(new.chunks), new, where.rechunk(new.chunks), dtype=data.dtype)
        out = out.rechunk(data.chunks)
    else:
        out = stored.merge(variable.values, new, where)
    changed = variable.copy(data=out)
    changed.attrs, changed.encoding = record.fresh(variable.attrs), dict(variable.encoding)
    return changed
