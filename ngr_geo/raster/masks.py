"""Cloud masks: found, decoded by the rule of their product, brought to the raster's grid, and grown a little.

And the masks of dead lines of imaging spectrometers. `products` describes as data how each product is laid out; `codes` chooses the
rule that a mask is read by, after all its values were counted.
"""

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from .. import wording
from ..errors import InputError, MaskError
from . import codes, deadlines, products
from . import cube as cubes
from .grid import align, bare, labelled, resolution, spatial_dims, time_dim
from .reading import Found, Reading, look, shares
from .storage import NODATA_KEYS

__all__ = [
    "CLOUD_VARIABLES",
    "Masked",
    "align",
    "cloud_mask",
    "dead_lines",
    "decode",
    "find",
    "grow",
    "source",
    "with_record",
]

CLOUD_VARIABLES = products.SEARCHED
GROWTH_METRES = 60.0
"""By so much the mask of a product is grown: those of Sentinel-2 and Landsat miss about so much of a cloud's soft edge."""


class Masked(NamedTuple):
    """A cloud mask and what it was made of.

    Attributes:
        mask: boolean (time, rows, columns), True = not clear, grown.
        record: as JSON can hold it; see `with_record`.
        notes: what a user should know of it.
        plain: the mask before it was grown.
        snow: where the product says snow, which counts as clear; None where it says nothing of that.
        own: True for a mask that the user made.
    """

    mask: xr.DataArray
    record: dict[str, Any]
    notes: list[str]
    plain: xr.DataArray
    snow: xr.DataArray | None
    own: bool


def find(raster: xr.DataArray | xr.Dataset) -> str:
    """Return the name of the variable of a Dataset that holds the mask.

    Raises:
        MaskError: naming what was searched and what there is.

    Examples:
        >>> import ngr_geo
        >>> find(ngr_geo.sample())
        'SCL'
    """
    found = products.masks_among(raster.data_vars) if isinstance(raster, xr.Dataset) else []
    if found:
        return str(found[0])
    msg = f"Found no cloud mask: searched for a variable {', '.join(CLOUD_VARIABLES)}; the raster has {_have(raster)}. Pass one:"
    raise MaskError(
        msg,
        call=".ngr.decloud(clouds=mask), a boolean DataArray (True = cloud) or the name of a variable.",
        option="--clouds SCL_*.tif, or --clouds NAME.",
    )


def _have(raster: xr.DataArray | xr.Dataset) -> str:
    """Return the variables of a raster in words."""
    return ", ".join(map(str, raster.data_vars)) if isinstance(raster, xr.Dataset) else "none: it is a DataArray"


def decode(
    mask: xr.DataArray, kind: str | None = None, classes: Collection[int] | None = None, probability: float = 0.5
) -> xr.DataArray:
    """Return True where a mask says that a pixel cannot be trusted; lazy where the mask is, though its values are counted first.

    Args:
        mask: boolean, or the values of a product of `products.RULES`, or with CF flags, or 0 and 1 (1 = cloud). NaN counts as not
            to be trusted.
        kind: the name of a product; None: the mask's own name.
        classes: the codes (of packed products: the bits) that count, in place of those of the rule.
        probability: from which on a pixel is not clear, where the mask holds probabilities.

    Raises:
        MaskError: values that cannot be understood.

    Examples:
        >>> decode(xr.DataArray([[4, 8], [9, 5]], dims=("y", "x"), name="SCL")).values
        array([[False,  True],
               [ True, False]])
    """
    named = _without_fill(mask if kind is None else mask.rename(kind))
    return _where(_read(named, classes, probability)[0].not_clear, named)


def _read(mask: xr.DataArray, classes: Collection[int] | None, probability: float) -> tuple[Reading, Found | None]:
    """Return how a mask is read, and what it holds; of booleans nothing is counted."""
    if mask.dtype.kind == "b":
        if classes:
            msg = f"Found classes={list(classes)} for a boolean mask {mask.name!r}, which has none: leave"
            raise MaskError(msg, call="classes out.", option="--classes out.")
        return Reading("boolean", own=True), None
    if mask.dtype.kind not in "iuf":
        msg = f"Found a mask of dtype {mask.dtype}, expected booleans or integer codes:"
        raise MaskError(msg, call="pass for example mask.astype('uint8').", option="convert the files (rio convert).")
    found = look(_by_date(mask), probability)
    return codes.choose(mask.name, mask.attrs, found, classes, probability, cubes.nodata(mask)), found


def _without_fill(mask: xr.DataArray) -> xr.DataArray:
    """Return a mask with NaN for its declared nodata where that is a number that no code can be, such as -3.4e38."""
    missing = cubes.nodata(mask)
    if missing is None or abs(missing) < 2**53 or mask.dtype.kind != "f":
        return mask
    decoded = mask.where(mask != mask.dtype.type(missing))
    decoded.attrs = {key: value for key, value in mask.attrs.items() if key not in NODATA_KEYS}
    return decoded


def _by_date(mask: xr.DataArray) -> Any:
    """Return a mask's data as (time, rows, columns)."""
    data = mask.transpose(..., *spatial_dims(mask)).data
    return data.reshape((-1, *data.shape[-2:])) if data.ndim != 3 else data


def _where(told: Callable[[NDArray[Any]], NDArray[np.bool_]], mask: xr.DataArray) -> xr.DataArray:
    """Return what is told of the values of a mask, as booleans."""
    plain = xr.apply_ufunc(told, mask, dask="parallelized", output_dtypes=[bool], keep_attrs=True)
    return bare(plain)  # nodata of the codes is not nodata of the mask


def grow(mask: xr.DataArray, pixels: int, rows: Hashable = "y", columns: Hashable = "x") -> xr.DataArray:
    """Return the mask grown by a disk of that radius in pixels, each date by itself; lazy where the mask is.

    Raises:
        MaskError: a negative radius.

    Examples:
        >>> int(grow(xr.DataArray(np.eye(1, 9, 4, dtype=bool), dims=("y", "x")), 2).sum())
        5
    """
    if pixels < 0:
        msg = f"Found dilate={pixels}, expected 0 or more pixels."
        raise MaskError(msg, option="Choose another --dilate.")
    if pixels == 0:
        return mask
    ordered = mask.transpose(..., rows, columns)
    data = ordered.data
    if isinstance(data, da.Array):
        depth = {axis: min(pixels, data.shape[axis]) for axis in (data.ndim - 2, data.ndim - 1)}
        data = da.map_overlap(_grow, data, depth=depth, boundary=False, dtype=bool, radius=pixels)
    else:
        data = _grow(np.asarray(data), pixels)
    return ordered.copy(data=data).transpose(*mask.dims)


def default_dilation(pixel: tuple[float, float] | None) -> int:
    """Return `GROWTH_METRES` in pixels of that (width, height) in metres, from 2 to 6; 2 where the size is not known."""
    return 2 if pixel is None else int(np.clip(round(GROWTH_METRES / min(pixel)), 2, 6))


def cloud_mask(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any = None,
    classes: Collection[int] | None = None,
    dilate: int | None = None,
    probability: float = 0.5,
) -> xr.DataArray:
    """Return what counts as cloud: boolean (time, rows, columns), on the raster's grid, True = not clear.

    Args:
        raster: to which the mask belongs.
        clouds: the name of a variable, a DataArray of codes or booleans, a boolean array of the raster's shape, or None (a
            variable is looked for).
        classes: see `decode`.
        dilate: radius in pixels to grow the mask by; None: 60 m, 2 to 6 pixels, for masks of products, and 0 for masks that the
            user made: booleans, 0 and 1, and chosen classes of a mask whose name says no product.
        probability: see `decode`.

    Raises:
        MaskError, GridError: see `find`, `decode` and `align`.

    Examples:
        >>> import ngr_geo
        >>> float(cloud_mask(ngr_geo.sample(), "SCL", dilate=0).mean(("y", "x"))[0].round(2))
        0.51
    """
    return with_record(raster, clouds, classes, dilate, probability).mask


def with_record(
    raster: xr.DataArray | xr.Dataset,
    clouds: Any = None,
    classes: Collection[int] | None = None,
    dilate: int | None = None,
    probability: float = 0.5,
    counted: bool = False,
) -> Masked:
    """Return what `cloud_mask` does, and what it was made of, as JSON can hold it.

    The record has `source` (see `source`); `rule`; `classes`, `bits`, `fields` (of several bits) or `probability` that count;
    `dilate` in pixels; and `dates`, of each the share `masked` by the rule and `grown`, after growing. These shares are null for
    a lazy boolean mask, which is not read, unless `counted`.
    """
    codes.check(classes, dilate, probability)
    space, dates = spatial_dims(raster), cubes.dates(raster)
    clouds = find(raster) if clouds is None else clouds
    layer = _without_fill(align(_layer(raster, clouds), raster))
    reading, found = _read(layer, classes, probability)
    plain = _where(reading.not_clear, layer)
    if dilate is None:
        dilate = 0 if reading.own else default_dilation(resolution(raster))
    grown = grow(plain, int(dilate), *space)
    before: list[float | None] = [None] * len(dates)
    after = before
    if found is not None or counted or not isinstance(plain.data, da.Array):
        before = _rounded(shares(_by_date(plain)) if found is None else reading.share(found))
        after = _rounded(shares(_by_date(grown))) if dilate else before
    rows = [{"date": d, "masked": b, "grown": a} for d, b, a in zip(dates, before, after, strict=True)]
    record = {"source": source(clouds), "rule": reading.rule, **reading.record, "dilate": int(dilate), "dates": rows}
    notes = _notes(rows, reading, [] if found is None else reading.never_seen(tuple(classes or ()), found))
    if probability != 0.5 and reading.at_least is None:
        notes.append(
            f"The mask is read by the rule {reading.rule}, which knows no probabilities: {probability:g} changes nothing."
        )
    time = time_dim(grown)
    order = space if time is None else (time, *space)
    snow = _where(reading.is_snow, layer).transpose(*order) if reading.snow else None
    return Masked(grown.transpose(*order).rename("cloud"), record, notes, plain.transpose(*order), snow, reading.own)


def _layer(raster: xr.DataArray | xr.Dataset, clouds: Any) -> xr.DataArray:
    """Return the mask that was given or named, of several bands of Planet's UDM2 one layer of bits."""
    if isinstance(clouds, str):
        if isinstance(raster, xr.DataArray) or clouds not in raster.variables:
            msg = f"Found no variable {clouds!r} for the clouds; the raster has {_have(raster)}."
            option = "Name one of them, or mask files: --clouds"
            raise MaskError(msg, call="Pass one of them or a boolean DataArray.", option=option)
        clouds = raster[clouds]
    return packed(clouds if isinstance(clouds, xr.DataArray) else labelled(np.asarray(clouds), raster))


def packed(mask: xr.DataArray) -> xr.DataArray:
    """Return the bands of Planet's UDM2 as the bits of one layer, named "UDM2_PACKED"; any other mask as it is.

    Bits 0 to 5 are clear, snow, shadow, light haze, heavy haze, cloud; bit 7 is set where the eighth band is not 0.
    """
    band = next((d for d in mask.dims if str(d).lower() == "band"), None)
    if band is None or mask.sizes[band] != len(products.UDM2_BANDS) or products.known_name(str(mask.name)) != "UDM2":
        return mask
    names = [str(n).lower() for n in mask[band].values] if band in mask.coords else []
    order = [names.index(n) for n in products.UDM2_BANDS] if set(products.UDM2_BANDS) <= set(names) else range(8)
    parts = [
        (mask.isel({band: i}, drop=True) != 0).astype(np.uint8) << bit
        for bit, i in enumerate(order)
        if products.UDM2_BANDS[bit] != "confidence"
    ]
    return bare(sum(parts[1:], parts[0]).rename("UDM2_PACKED"))


def _rounded(shares: NDArray[np.float64]) -> list[float | None]:
    """Return shares as the record has them: to a millionth."""
    return [round(float(share), 6) for share in shares]


def _notes(shares: list[dict[str, Any]], reading: Reading, unseen: list[int]) -> list[str]:
    """Return what a user should know of a mask, from its shares."""
    notes = []
    for part, meaning in ((0.0, "nothing"), (1.0, "every pixel")):
        days = [row["date"] for row in shares if row["masked"] == part]
        if days:
            notes.append(
                f"The mask, read by the rule {reading.rule}, marks {meaning} on {wording.listed(days, 6)} ({part:.0%}): "
                "check that it belongs to these dates, and how it is read."
            )
    if unknown := reading.record.get("unknown"):
        notes.append(
            f"The mask holds a few pixels with the values {', '.join(map(str, unknown))}, which {reading.rule} does not have: they "
            "count as not clear."
        )
    if unseen:
        kind = "bits" if "bits" in reading.record else "classes"
        notes.append(f"The mask never holds the {kind} {', '.join(map(str, unseen))} that were asked for.")
    return notes


def in_words(record: Mapping[str, Any]) -> list[str]:
    """Return a record (see `with_record`) in words: of each date how much is masked, by which rule; nothing without a rule."""
    if "rule" not in record:
        return []
    parts = [f"{kind} {', '.join(map(str, record[kind]))}" for kind in ("classes", "bits") if record.get(kind)]
    parts += [f"bits {place} = {' or '.join(map(str, values))}" for place, values in record.get("fields", {}).items()]
    if "probability" in record:
        parts.append(f"probability from {record['probability']:g} of {record['scale']:g}")
    how = f" ({'; '.join(parts)})" if parts else ""
    refine = record.get("refine", {})
    refined = ", refined" if refine.get("on") else f", not refined, as {refine['why']}" if "why" in refine else ""
    found = [f"Mask {record['source']}, read by the rule {record['rule']}{how}{refined}:"]
    for row in record.get("dates", ()):
        grown = f", grown by {wording.counted(record['dilate'], 'pixel')} to " if record["dilate"] else ", not grown"
        if row["masked"] is None:
            found.append(f"{row['date']}: not counted")
            continue
        grown += f"{row['grown']:.1%}" if record["dilate"] else ""
        found.append(f"{row['date']}: {row['masked']:.1%} masked by the rule {record['rule']}{grown}")
    return found


def source(mask: Any) -> str:
    """Return in words where a mask is from: the name of a variable, or "array", with its name where it has one."""
    if isinstance(mask, str):
        return mask
    name = getattr(mask, "name", None)
    return "array" if name is None else f"array {name}"


def _grow(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return each (h, w) mask dilated by a disk: pixels at most `radius` away from a set one.

    The disk is a row of pixels for each of its heights; shifts of the whole array are ten times as fast as distances.
    """
    out = mask.copy()
    if not mask.any():
        return out
    wide, width = mask.copy(), 0
    for dy in range(radius, -1, -1):  # the rows widen towards the middle of the disk
        while width < math.isqrt(radius**2 - dy**2):
            width += 1
            wide[..., width:] |= mask[..., :-width]
            wide[..., :-width] |= mask[..., width:]
        if dy == 0:
            out |= wide
        else:
            out[..., dy:, :] |= wide[..., :-dy, :]
            out[..., :-dy, :] |= wide[..., dy:, :]
    return out


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

    Examples:
        >>> cube = xr.DataArray(np.random.default_rng(0).random((3, 40, 40)), dims=("band", "y", "x"))
        >>> cube[:, :, 17] = 0
        >>> mask, table = dead_lines(cube)
        >>> sorted(set(table["index"])), int(mask.sum())
        ([17], 120)
    """
    if not isinstance(raster, xr.DataArray):
        msg = f"Found {type(raster).__name__}, expected a DataArray (band, y, x): of a Dataset, pass ds.to_dataarray('band')."
        raise InputError(msg)
    cube = cubes.read(raster)
    usable = np.asarray(cube.valid) & ~cubes.bad_bands(cube)[:, None, None]
    found = [deadlines.find(*date) for date in zip(np.asarray(cube.values), usable, strict=True)]
    tables = []
    for date, lines in zip(cube.dates, found, strict=True):
        table = pd.DataFrame(lines.table)
        table["band"] = [cube.bands[b] for b in table["band"]]
        table.insert(0, "date", date)
        tables.append(table)
    mask = cubes.variable_of(np.stack([lines.mask for lines in found]), cube, raster)
    return xr.DataArray(mask, raster.coords, name="dead_lines"), pd.concat(tables, ignore_index=True)
