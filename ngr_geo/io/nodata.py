"""Which number means missing: as the files declare it, as the user says it, and what looks like it but is not declared.

All that is unclear is reported at once, with the option that settles it; nothing is guessed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from ..errors import InputError
from ..raster.storage import NODATA_KEYS
from .rasterfile import Header, read_window

NoData = str | float | None
"""A number, "none" (no number means missing), or None: as the files declare it."""

_CODES = (-9999, -99999, -999, -32768, -32767, 65535, 32767, 255, -128, 1e20, -1e20, 9.969209968386869e36)
_OFTEN = 0.005  # of the pixels, for a number that is suspected
_FAR = 0.3  # of the range of all others, between that number and the nearest of them
_SIDE = 128  # rows and columns of the windows that are looked at in a large raster
_PLACES = 5  # of these windows, down and across
_CLASSES = 20  # different numbers: a raster with fewer holds classes or marks
_BANDS = 6  # of many bands, spread over all


def settle(headers: Sequence[Header], names: Sequence[str], numbers: Sequence[int], nodata: NoData) -> list[Header]:
    """Return the headers with one nodata value for all, or none.

    Args:
        headers: one per date.
        names: of all bands.
        numbers: of the bands to work on, from 1.
        nodata: what the user said.

    Raises:
        InputError: what is declared differs, or a number that is not declared looks as if it meant missing. All of it in one
            message, with bands that have no name.
    """
    if nodata is not None:
        value = _parsed(nodata, headers[0].dtypes[0])
        return [replace(h, bands=tuple(replace(band, nodata=value) for band in h.bands)) for h in headers]
    declared = {_text(band.nodata): band.nodata for header in headers for band in header.bands}
    known = [value for value in declared.values() if value is not None]
    suspects: dict[float, str] = {}
    bands = list(numbers)[:: max(1, -(-len(numbers) // _BANDS))]
    for header in headers:
        if any(band.nodata is None for band in header.bands):
            labels = [f"band {names[number - 1]} of {header.path}" for number in bands]
            _suspect(_sampled(partial(_pixels, header, bands), header.shape), labels, known, suspects)
    findings = [f"nodata differs: {_differences(headers, names)}"] if len(declared) > 1 else []
    findings += suspects.values()
    if not findings:
        return list(headers)
    unnamed = [str(n) for n, name in enumerate(headers[0].band_names, start=1) if not name and headers[0].count > 1]
    if unnamed:
        findings.append(
            f"bands without a name ({', '.join(unnamed[:8])}{', ...' if len(unnamed) > 8 else ''}) go by their numbers"
        )
    raise _unsettled(findings, [*suspects] or known, unnamed)


def settle_dataset(dataset: xr.Dataset, path: str, nodata: NoData) -> xr.Dataset:
    """Return a Dataset of raw values with what the user said of nodata, or as it is where nothing is unclear.

    Raises:
        InputError: a number that no variable declares looks as if it meant missing.
    """
    images = {n: v for n, v in dataset.data_vars.items() if v.ndim >= 2 and v.dtype.kind in "iuf"}
    if nodata is not None:
        return dataset.assign({name: declared(variable, nodata) for name, variable in images.items()})
    suspects: dict[float, str] = {}
    for name, variable in images.items():
        if not {*NODATA_KEYS, "flag_values", "flag_masks"} & {*variable.attrs, *variable.encoding}:
            first = variable.isel({dim: 0 for dim in variable.dims[:-2]})
            values = _sampled(partial(_cut, first), first.shape)
            _suspect(values, [f"{name} of {path}"], [], suspects)
    if suspects:
        raise _unsettled([*suspects.values()], [*suspects], [])
    return dataset


def _unsettled(findings: Sequence[str], values: Sequence[float], unnamed: Sequence[str]) -> InputError:
    several = "; ".join(f"({number}) {finding}" for number, finding in enumerate(findings, start=1))
    value = _text(values[0]) if values else "VALUE"
    more = f"; --bands {','.join(unnamed)} chooses among the bands by number" if unnamed else ""
    return InputError(
        f"What means missing is not clear: {several if len(findings) > 1 else findings[0]}. Say which:",
        call=f"nodata={value if values else repr(value)}, or nodata='none' where all of it is data.",
        option=f"--nodata {value}, or --nodata none where all of it is data{more}.",
    )


def _differences(headers: Sequence[Header], names: Sequence[str]) -> str:
    """Return which file, or which band, has which nodata value."""
    some: dict[str, str] = {}
    inside = [header for header in headers if len({_text(band.nodata) for band in header.bands}) > 1]
    for header in inside[:1] or headers:
        for name, band in zip(names, header.bands, strict=True):
            value = _text(band.nodata)
            some.setdefault(value, f"{f'band {name} of ' if inside else ''}{header.path} has {value}")
    return ", ".join(some.values())


def _parsed(nodata: NoData, dtype: str) -> float | None:
    """Return what the user said as a number that the dtype can hold, None for "none"."""
    text = str(nodata).strip().lower()
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        msg = f"Found nodata {nodata!r}, expected a number, nan or none: --nodata -9999 (nodata=-9999 in Python)."
        raise InputError(msg) from None
    kind = np.dtype(dtype)
    if kind.kind in "iu" and not _fits(value, kind):
        msg = f"Found nodata {text}, which {dtype} cannot hold. Expected one of its numbers, or none: --nodata none"
        raise InputError(msg)
    return float(kind.type(value))


def declared(variable: xr.DataArray, nodata: NoData) -> xr.DataArray:
    """Return a variable that declares what the user said, and nothing else."""
    value = _parsed(nodata, str(variable.dtype))
    variable = variable.copy(deep=False)
    variable.attrs = {key: kept for key, kept in variable.attrs.items() if key not in NODATA_KEYS}
    variable.encoding = {key: kept for key, kept in variable.encoding.items() if key not in NODATA_KEYS}
    return variable if value is None else variable.assign_attrs(_FillValue=variable.dtype.type(value))


def _sampled(read: Callable[[slice, slice], NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return pixels (band, row, column) of windows that are spread over a raster, its edges among them."""
    rows, columns = map(_places, shape)
    return np.block([[read(row, column) for column in columns] for row in rows])


def _places(length: int) -> list[slice]:
    """Return parts of an axis to look at: all of a short one, else both ends and some between."""
    if length <= _SIDE * _PLACES:
        return [slice(0, length)]
    starts = np.linspace(0, length - _SIDE, _PLACES).astype(int)
    return [slice(int(start), int(start) + _SIDE) for start in starts]


def _pixels(header: Header, numbers: Sequence[int], rows: slice, columns: slice) -> NDArray[Any]:
    return read_window(header, numbers, Window.from_slices(rows, columns))


def _cut(image: xr.DataArray, rows: slice, columns: slice) -> NDArray[Any]:
    values: NDArray[Any] = image[rows, columns].values
    return values[None]


def _suspect(values: NDArray[Any], labels: Sequence[str], known: Sequence[float], suspects: dict[float, str]) -> None:
    """Add the numbers that look as if they meant missing, each with the band where it was found first.

    Args:
        values: (band, row, column).
        labels: what to call each band.
        known: numbers that are declared, for other bands.
        suspects: what was found before, in words.
    """
    kind = values.dtype
    if kind.kind not in "iuf" or values[0].size < 64:
        return
    limits: Any = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    numbers = {kind.type(value) for value in (*_CODES, limits.min, limits.max) if _fits(value, kind)}
    candidates = sorted({float(n) for n in numbers} - {0.0, *(float(kind.type(v)) for v in known if _fits(v, kind))})
    has_edge = 0.0 not in known and _has_edge_of_zeros(values)
    for band, label in zip(values, labels, strict=True):
        found = band[np.isfinite(band)].astype(np.float64) if kind.kind == "f" else band.ravel()
        if len(np.unique(found)) < _CLASSES:
            continue
        for value in candidates:
            share = float(np.mean(found == value))
            if share >= _OFTEN and _is_far(found[found != value], value):
                suspects.setdefault(value, _finding(value, share, label))
        rest = found[found != 0]
        share = float(np.mean(found == 0))
        if has_edge and share >= 2 * _OFTEN and rest.size:
            if np.quantile(rest, 0.01) > 0.02 * np.quantile(rest, 0.99) > 0:
                suspects.setdefault(0.0, _finding(0.0, share, f"{label}, along its edge"))


def _finding(value: float, share: float, where: str) -> str:
    """Return in words in what share of which pixels a number stands that may mean missing."""
    return f"no nodata is declared, but {_text(value)} stands in {share:.0%} of {where}"


def _fits(value: float, kind: np.dtype[Any]) -> bool:
    """Return whether a dtype can hold a number."""
    if kind.kind in "iu":
        return float(value).is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max
    return math.isfinite(value) and abs(value) <= float(np.finfo(kind).max)


def _is_far(rest: NDArray[Any], value: float) -> bool:
    """Return whether a number is far from all others: a bright roof next to saturation is no gap."""
    if rest.size < 32:
        return False
    low, high = np.quantile(rest.astype(np.float64), (0.001, 0.999))
    if low <= value <= high:
        return False
    gap = low - value if value < low else value - high
    return bool(gap > _FAR * max(high - low, 1e-12 * abs(value)))


def _has_edge_of_zeros(values: NDArray[Any]) -> bool:
    """Return whether pixels that are 0 in all bands lie along the edge of the raster, as beside a swath; not where all are."""
    empty = np.all(values == 0, axis=0)
    if empty.all() or min(empty.shape) < 8:
        return False
    edge = np.concatenate([empty[0], empty[-1], empty[:, 0], empty[:, -1]])
    return bool(edge.mean() >= 0.05)


def _text(value: float | None) -> str:
    """Return a nodata value as a user would write it."""
    if value is None:
        return "no value"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
