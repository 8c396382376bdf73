"""Cloud masks: found, decoded from the classes of the common products, brought to the raster's grid, and grown a little.

And the masks of dead lines of imaging spectrometers.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from . import cube as cubes
from .cube import TIME_NAMES, resolution, spatial_dims
from .errors import GridError, InputError, MaskError
from .guides import deadlines

CLOUD_VARIABLES = ("SCL", "QA_PIXEL", "pixel_qa", "Fmask", "cloud_mask", "clouds", "cloud")
"""Names under which a mask is looked for, whatever their case; the first that is there is taken."""
SCL_CLASSES = (0, 1, 3, 8, 9, 10)
"""Sentinel-2: no data, saturated or defective, cloud shadow, medium and high cloud probability, thin cirrus."""
QA_PIXEL_BITS = (0, 1, 2, 3, 4)
"""Landsat Collection 2: fill, dilated cloud, cirrus, cloud, cloud shadow."""
FMASK_CLASSES = (2, 4, 255)
"""Fmask: cloud shadow, cloud, no data. (HLS packs bits instead: see `decode`.)"""
HLS_FMASK_BITS = (1, 2, 3)
"""HLS Fmask: cloud, adjacent to cloud, cloud shadow."""
GROWTH_METRES = 60.0
"""What the mask is grown by: masks of Sentinel-2 and Landsat miss about so much of a cloud's soft rim."""


class Rule(NamedTuple):
    """Which codes of a mask count as cloud: these classes, and those with one of these bits set."""

    classes: tuple[int, ...] = ()
    bits: tuple[int, ...] = ()


def find(raster: xr.DataArray | xr.Dataset) -> str:
    """Return the name of the variable of a Dataset that holds the mask.

    Raises:
        MaskError: naming what was searched and what there is.
    """
    if isinstance(raster, xr.Dataset):
        lower = {str(n).lower(): str(n) for n in raster.data_vars}
        for name in CLOUD_VARIABLES:
            if name.lower() in lower:
                return lower[name.lower()]
        have = ", ".join(map(str, raster.data_vars))
    else:
        have = "none, since it is a DataArray"
    msg = (
        f"Found no cloud mask: searched for a variable {', '.join(CLOUD_VARIABLES)}; the raster has {have}. "
        f"Pass one: .ngr.decloud(clouds=mask), a boolean DataArray (True = cloud) or the name of a variable."
    )
    raise MaskError(msg)


def decode(mask: xr.DataArray, kind: str | None = None, classes: Collection[int] | None = None) -> xr.DataArray:
    """Return True where a mask says that a pixel cannot be trusted; lazy where the mask is.

    Args:
        mask: boolean, or the codes of SCL, QA_PIXEL or Fmask, or 0 and 1 (1 = cloud). NaN counts as not to be trusted.
        kind: "SCL", "QA_PIXEL", "Fmask" or "HLS"; None: told from the mask's name.
        classes: the codes (for QA_PIXEL and HLS: the bits) that count, in place of the default ones.

    Raises:
        MaskError: codes that cannot be understood.
    """
    return _decoded(mask, _rule(mask, kind, classes))


def _decoded(mask: xr.DataArray, rule: Rule | None) -> xr.DataArray:
    """Return True where the codes of a mask count, or are NaN; without a rule the mask itself."""
    if rule is None:
        return mask
    lost = mask.isnull() if mask.dtype.kind == "f" else None
    codes = _integers(mask)
    bad = codes.isin(list(rule.classes))
    bad = bad | _any_bit(codes, rule.bits) if rule.bits else bad
    return (bad if lost is None else bad | lost).drop_attrs(deep=False)  # nodata of the codes is not nodata of the mask


def _rule(mask: xr.DataArray, kind: str | None, classes: Collection[int] | None) -> Rule | None:
    """Return which codes of a mask count, None for booleans; see `decode`."""
    name = str(kind or mask.name or "").lower()
    if mask.dtype.kind == "b":
        return None
    if mask.dtype.kind not in "iuf":
        msg = f"Found a mask of dtype {mask.dtype}, expected bool or integer codes: pass for example mask.astype('uint8')."
        raise MaskError(msg)
    chosen = tuple(classes or ())
    if "scl" in name:
        return Rule(chosen or SCL_CLASSES)
    if "qa_pixel" in name or "pixel_qa" in name:
        return Rule(bits=chosen or QA_PIXEL_BITS)
    if "hls" in name:
        return Rule((255,), chosen or HLS_FMASK_BITS)
    if "fmask" in name:
        if classes is None and not isinstance(mask.data, da.Array):
            codes = _integers(mask)
            if bool(((codes > 4) & (codes != 255)).any()):  # values beyond the classes: the packed form
                return Rule((255,), HLS_FMASK_BITS)
        return Rule(chosen or FMASK_CLASSES)
    if classes is not None:
        return Rule(chosen)
    if not isinstance(mask.data, da.Array):
        codes = _integers(mask)
        if bool(((codes != 0) & (codes != 1)).any()):
            found = np.unique(codes.values)
            msg = (
                f"Found a mask {mask.name!r} with the values {', '.join(map(str, found[:8]))}{'…' if len(found) > 8 else ''}, "
                f"expected booleans, 0 and 1, or a name that tells the product: use mask.rename('SCL') (or 'QA_PIXEL', "
                f"'Fmask', 'HLS'), or choose classes=[...]."
            )
            raise MaskError(msg)
    return Rule((1,))


def _integers(mask: xr.DataArray) -> xr.DataArray:
    """Return the codes of a mask as integers, 0 for NaN."""
    return (mask.fillna(0) if mask.dtype.kind == "f" else mask).astype(np.int64)


def grow(mask: xr.DataArray, pixels: int, rows: Hashable = "y", columns: Hashable = "x") -> xr.DataArray:
    """Return the mask grown by a disk of that radius in pixels, each date by itself; lazy where the mask is.

    Raises:
        MaskError: a negative radius.
    """
    radius = int(pixels)
    if radius < 0:
        msg = f"Found dilate={pixels}, expected 0 or more pixels."
        raise MaskError(msg)
    if radius == 0:
        return mask
    other = [d for d in mask.dims if d not in (rows, columns)]
    ordered = mask.transpose(*other, rows, columns)
    data = ordered.data
    if isinstance(data, da.Array):
        depth = {data.ndim - 2: radius, data.ndim - 1: radius}
        data = da.map_overlap(_grow, data, depth=depth, boundary=False, dtype=bool, radius=radius)
    else:
        data = _grow(np.asarray(data), radius)
    return ordered.copy(data=data).transpose(*mask.dims)


def default_dilation(pixel: tuple[float, float] | None) -> int:
    """Return `GROWTH_METRES` in pixels of that (width, height) in metres, from 2 to 6; 2 where the size is not known."""
    return 2 if pixel is None else int(np.clip(round(GROWTH_METRES / min(pixel)), 2, 6))


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


def cloud_mask(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any = None,
    classes: Collection[int] | None = None,
    dilate: int | None = None,
) -> xr.DataArray:
    """Return what counts as cloud: boolean (time, rows, columns), on the raster's grid, True = not clear.

    Args:
        raster: to which the mask belongs.
        clouds: the name of a variable, a DataArray of codes or booleans, a boolean array of the raster's shape, or None (a
            variable is looked for).
        classes: see `decode`.
        dilate: radius in pixels to grow the mask by; None: 60 m, 2 to 6 pixels.

    Raises:
        MaskError, GridError: see `find`, `decode` and `align`.
    """
    return with_record(raster, clouds, classes, dilate)[0]


def with_record(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any = None,
    classes: Collection[int] | None = None,
    dilate: int | None = None,
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Return what `cloud_mask` does, and what it was made of, as JSON can hold it.

    The record has `source` (see `source`), `classes` or `bits` that count (neither for booleans), and `dilate` in pixels.
    """
    rows, columns = spatial_dims(raster)
    if clouds is None:
        clouds = find(raster)
    record: dict[str, Any] = {"source": source(clouds)}
    if isinstance(clouds, str):
        if isinstance(raster, xr.DataArray) or clouds not in raster.variables:
            have = (
                ", ".join(map(str, raster.data_vars))
                if isinstance(raster, xr.Dataset)
                else "no variables: it is a DataArray"
            )
            msg = f"Found no variable {clouds!r} for the clouds; the raster has {have}. Pass one of them or a boolean DataArray."
            raise MaskError(msg)
        clouds = raster[clouds]
    if not isinstance(clouds, xr.DataArray):
        clouds = _labelled(np.asarray(clouds), raster)
    rule = _rule(clouds, None, classes)
    mask = align(_decoded(clouds, rule), raster)
    codes = {} if rule is None else rule._asdict()
    record |= {name: [int(code) for code in some] for name, some in codes.items() if some}
    pixels = default_dilation(resolution(raster)) if dilate is None else dilate
    record["dilate"] = int(pixels)
    grown = grow(mask, pixels, rows, columns)
    time = next((d for d in grown.dims if str(d).lower() in TIME_NAMES), None)
    return grown.transpose(*([time] if time is not None else []), rows, columns).rename("cloud"), record


def source(mask: Any) -> str:
    """Return in words where a mask is from: the name of a variable, or "array", with its name where it has one."""
    if isinstance(mask, str):
        return mask
    name = getattr(mask, "name", None)
    return "array" if name is None else f"array {name}"


def _any_bit(codes: xr.DataArray, bits: Collection[int]) -> xr.DataArray:
    """Return True where any of the bits is set."""
    return (codes & sum(1 << int(b) for b in bits)) != 0


def _grow(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return each (h, w) mask dilated by a disk: pixels at most `radius` away from a set one."""
    out = np.empty_like(mask)
    for index in np.ndindex(mask.shape[:-2]):
        here = mask[index]
        out[index] = ndimage.distance_transform_edt(~here) <= radius if here.any() else here
    return out


def _labelled(mask: NDArray[Any], raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
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
        msg = f"Found a mask with the dimensions {tuple(mask.dims)}, expected time, y, x: choose one with .isel({wide[0]}=0)."
        raise MaskError(msg)
    return mask.isel({d: 0 for d in extra}, drop=True)


def _in_time(mask: xr.DataArray, raster: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the mask of each of the raster's dates: the same moment, or the same day where that is unique."""
    time = next((d for d in raster.dims if str(d).lower() in TIME_NAMES), None)
    own = next((d for d in mask.dims if str(d).lower() in TIME_NAMES), None)
    count = 1 if time is None else raster.sizes[time]
    if own is None:
        if count > 1:
            msg = (
                f"Found one mask without a time dimension for {count} dates, expected one per date: give it a time, for "
                f"example mask.expand_dims(time=raster.time) if it holds for all."
            )
            raise MaskError(msg)
        return mask.expand_dims({time: raster[time].values}) if time is not None else mask
    if time is None:
        if mask.sizes[own] != 1:
            msg = (
                f"Found {mask.sizes[own]} masks for a raster without time, expected one: choose it with .isel({own}=0)."
            )
            raise MaskError(msg)
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
        msg = (
            f"Found several dates or masks on {twice[0]}, which cannot be matched by day: give the masks the raster's times, "
            f"mask.assign_coords(time=raster.time)."
        )
        raise MaskError(msg)
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
    codes = mask.astype(np.uint8).drop_attrs(deep=False).drop_encoding().rio.set_spatial_dims(columns, rows)
    warped = codes.rio.reproject_match(like, nodata=255)
    if bool((warped == 255).any()):
        msg = (
            f"The mask, in {mask.rio.crs}, does not cover the raster, in {raster.rio.crs}: expected a mask of at least its "
            f"extent; cut the raster with raster.rio.clip_box(...)."
        )
        raise GridError(msg)
    names = {d: n for d, n in zip((warped.rio.y_dim, warped.rio.x_dim), (rows, columns), strict=True) if d != n}
    return (warped.rename(names) == 1).assign_coords(
        {d: raster[d].variable for d in (rows, columns) if d in raster.coords}
    )


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
            f"{centres.max():g}, expected one that covers it: cut the raster with raster.sel(...) or pass the whole mask."
        )
        raise GridError(msg)
    return mask.isel({dim: index}).assign_coords({dim: raster[dim].variable})


def _step(centres: NDArray[np.float64]) -> float:
    """Return the pixel size along an axis; 1 for a single pixel."""
    return float(np.median(np.abs(np.diff(centres)))) if len(centres) > 1 else 1.0


def dead_lines(raster: xr.DataArray) -> tuple[xr.DataArray, pd.DataFrame]:
    """Return the dead lines of a cube: a boolean mask with the raster's dimensions, and a table with a row for each line.

    A line is dead where one value repeats along it for at least 12 pixels and a twentieth of the image, at most five lines
    wide, and stands out from both sides; or where it is nodata between data. It needs the pixels: a lazy raster is computed.

    Args:
        raster: DataArray (band, y, x), or (time, band, y, x), in any order; numbers, raw or scaled.

    Returns:
        The mask, and columns `date`, `band` (names), `direction` ("column" or "row"), `index` of the column or row, `start` and
        `stop` along it (from 0, stop excluded), `value`, `kind` ("zero", "saturated", "constant", "nodata").

    Raises:
        InputError: not a DataArray, or no numbers.
    """
    if not isinstance(raster, xr.DataArray):
        msg = f"Found {type(raster).__name__}, expected a DataArray (band, y, x): of a Dataset, pass ds.to_dataarray('band')."
        raise InputError(msg)
    cube = cubes.read(raster)
    values, valid = np.asarray(cube.values), np.asarray(cube.valid)
    good = ~cubes.bad_bands(cube)
    found = [deadlines.find(v, ok & good[:, None, None]) for v, ok in zip(values, valid, strict=True)]
    tables = []
    for date, lines in zip(cube.dates, found, strict=True):
        table = pd.DataFrame(lines.table)
        table["band"] = [cube.bands[b] for b in table["band"]]
        table.insert(0, "date", date)
        tables.append(table)
    dims = [d for d in cube.dims if d is not None]
    mask = np.stack([f.mask for f in found])[tuple(slice(None) if d is not None else 0 for d in cube.dims)]
    coords = {n: c for n, c in raster.coords.items() if set(c.dims) <= set(dims)}
    result = xr.DataArray(mask, dims=dims, coords=coords, name="dead_lines").transpose(*raster.dims)
    return result, pd.concat(tables, ignore_index=True)
