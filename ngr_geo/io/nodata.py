"""Which number means missing: as the files declare it, as the user says it, and what looks like it but is not declared.

All that is unclear is reported at once, with the option that settles it; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rasterio.windows import Window

from ..errors import InputError
from .geotiff import Header, read_window

NoData = str | float | None
"""A number, "none" (no number means missing), or None: as the files declare it."""

_CODES = (
    -9999.0,
    -99999.0,
    -999.0,
    -32768.0,
    -32767.0,
    65535.0,
    32767.0,
    255.0,
    -128.0,
    1e20,
    -1e20,
    9.969209968386869e36,
)
_OFTEN = 0.005  # of the pixels, for a number that is suspected
_FAR = 0.3  # of the range of all others, between that number and the nearest of them
_SIDE, _PLACES = (
    128,
    5,
)  # windows that are looked at in a large raster: so many rows and columns, so many down and across
_CLASSES = 20  # different numbers: a raster with fewer holds classes or marks
_BANDS = 6  # of many bands, spread over all


@dataclass(frozen=True)
class _Suspect:
    value: float
    share: float
    where: str


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
        return [replace(h, nodata=value, band_nodata=(value,) * h.count) for h in headers]
    declared = {_text(value): value for header in headers for value in _declared(header)}
    findings = []
    if len(declared) > 1:
        findings.append(f"nodata differs: {_differences(headers, names)}")
    suspects: list[_Suspect] = []
    known = [value for value in declared.values() if value is not None]
    if None in declared.values():
        suspects = _first_of_each(
            suspect
            for header in headers
            if None in _declared(header)
            for suspect in _suspected(_sampled(header, numbers), [names[n - 1] for n in numbers], header.path, known)
        )
        findings += [
            f"no nodata is declared, but {_number(s.value)} stands in {s.share:.0%} of {s.where}" for s in suspects
        ]
    if not findings:
        return list(headers)
    unnamed = [str(n) for n, name in enumerate(headers[0].band_names, start=1) if not name]
    if unnamed and headers[0].count > 1:
        findings.append(
            f"bands without a name ({', '.join(unnamed[:8])}{', ...' if len(unnamed) > 8 else ''}) go by their numbers"
        )
    raise _unsettled(findings, [s.value for s in suspects] or known, ",".join(unnamed) if headers[0].count > 1 else "")


def settle_dataset(dataset: xr.Dataset, path: str, nodata: NoData) -> xr.Dataset:
    """Return a Dataset of raw values with what the user said of nodata, or as it is where nothing is unclear.

    Raises:
        InputError: a number that no variable declares looks as if it meant missing.
    """
    images = [
        str(name) for name, variable in dataset.data_vars.items() if variable.ndim >= 2 and variable.dtype.kind in "iuf"
    ]
    if nodata is not None:
        for name in images:
            dataset = _declare(dataset, name, nodata)
        return dataset
    suspects: list[_Suspect] = []
    for name in images:
        variable = dataset[name]
        described = {**variable.attrs, **variable.encoding}
        if {"_FillValue", "missing_value", "nodata", "flag_values", "flag_masks"} & set(described):
            continue
        values = _thinned(variable)
        suspects += _suspected(
            values.reshape(1, *values.shape[-2:]) if values.ndim == 2 else values, None, f"{name} of {path}", []
        )
    found = _first_of_each(suspects)
    if found:
        texts = [f"no nodata is declared, but {_number(s.value)} stands in {s.share:.0%} of {s.where}" for s in found]
        raise _unsettled(texts, [s.value for s in found], "")
    return dataset


def _unsettled(findings: Sequence[str], values: Sequence[float], unnamed: str) -> InputError:
    listed = (
        findings[0] if len(findings) == 1 else "; ".join(f"({n}) {text}" for n, text in enumerate(findings, start=1))
    )
    value = _number(values[0]) if values else "VALUE"
    more = f"; --bands {unnamed} chooses among the bands by number" if unnamed else ""
    python = f"'{value}'" if value == "VALUE" else value
    return InputError(
        f"What means missing is not clear: {listed}. Say which:",
        call=f"nodata={python}, or nodata='none' where all of it is data.",
        option=f"--nodata {value}, or --nodata none where all of it is data{more}.",
    )


def _declared(header: Header) -> tuple[float | None, ...]:
    return header.band_nodata or (header.nodata,) * header.count


def _differences(headers: Sequence[Header], names: Sequence[str]) -> str:
    """Return which file, or which band, has which nodata value."""
    inside = next((header for header in headers if len(set(map(_text, _declared(header)))) > 1), None)
    some: dict[str, str] = {}
    if inside is not None:
        for name, value in zip(names, _declared(inside), strict=True):
            some.setdefault(_text(value), f"band {name} of {inside.path} has {_text(value)}")
    else:
        for header in headers:
            value = _declared(header)[0]
            some.setdefault(_text(value), f"{header.path} has {_text(value)}")
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
    if kind.kind in "iu" and not (value.is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max):
        msg = f"Found nodata {text}, which {dtype} cannot hold. Expected one of its numbers, or none: --nodata none"
        raise InputError(msg)
    return float(np.dtype(dtype).type(value))


def _declare(dataset: xr.Dataset, name: str, nodata: NoData) -> xr.Dataset:
    variable = dataset[name].copy(deep=False)
    value = _parsed(nodata, str(variable.dtype))
    keys = ("_FillValue", "missing_value", "nodata")
    variable.attrs = {key: kept for key, kept in variable.attrs.items() if key not in keys}
    variable.encoding = {key: kept for key, kept in variable.encoding.items() if key not in keys}
    if value is not None:
        variable.attrs["_FillValue"] = variable.dtype.type(value)
    return dataset.assign({name: variable})


def _places(length: int) -> list[slice]:
    """Return parts of an axis to look at: all of a short one, else both ends and some between."""
    if length <= _SIDE * _PLACES:
        return [slice(0, length)]
    starts = np.linspace(0, length - _SIDE, _PLACES).astype(int)
    return [slice(int(start), int(start) + _SIDE) for start in starts]


def _sampled(header: Header, numbers: Sequence[int]) -> NDArray[np.generic]:
    """Return pixels (band, row, column) of windows spread over a file, the edges among them."""
    step = max(1, -(-len(numbers) // _BANDS))
    bands = list(numbers)[::step]
    rows = [
        np.concatenate([read_window(header, bands, Window.from_slices(r, c)) for c in _places(header.shape[1])], axis=2)
        for r in _places(header.shape[0])
    ]
    return np.concatenate(rows, axis=1)


def _thinned(variable: xr.DataArray) -> NDArray[np.generic]:
    """Return some of a variable's pixels: the same windows, of the first index of all other dimensions but one."""
    rows, columns = variable.dims[-2:]
    first = variable.isel({dim: 0 for dim in variable.dims[:-2]})
    parts = [
        np.concatenate([first.isel({rows: r, columns: c}).values for c in _places(first.sizes[columns])], axis=1)
        for r in _places(first.sizes[rows])
    ]
    return np.concatenate(parts, axis=0)


def _suspected(
    values: NDArray[np.generic], names: Sequence[str] | None, path: str, known: Sequence[float]
) -> Iterator[_Suspect]:
    """Give the numbers that look as if they meant missing, band by band."""
    if values.dtype.kind not in "iuf" or values.shape[-1] * values.shape[-2] < 64:
        return
    step = max(1, -(-len(names) // len(values))) if names else 1
    labels = [f"band {name} of {path}" for name in names[::step]] if names else [path] * len(values)
    kind: Any = values.dtype
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    extremes = float(limits.min), float(limits.max)
    zero_edge = bool(_edge_of_zeros(values))
    for band, label in zip(values, labels, strict=True):
        found = band[np.isfinite(band)].astype(np.float64) if kind.kind == "f" else band.ravel()
        if len(np.unique(found)) < _CLASSES:
            continue
        candidates = {float(kind.type(code)) for code in (*_CODES, *extremes) if _fits(code, kind)}
        candidates -= {0.0, *(float(kind.type(v)) for v in known if _fits(v, kind))}
        for value in sorted(candidates):
            share = float(np.mean(found == value)) if found.size else 0.0
            if share >= _OFTEN and _is_far(found[found != value], value):
                yield _Suspect(value, share, label)
        if zero_edge and 0.0 not in known:
            share = float(np.mean(found == 0))
            rest = found[found != 0]
            if share >= 2 * _OFTEN and rest.size and np.quantile(rest, 0.01) > 0.02 * np.quantile(rest, 0.99) > 0:
                yield _Suspect(0.0, share, f"{label}, along its edge")


def _fits(value: float, kind: Any) -> bool:
    if kind.kind in "iu":
        return value.is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max
    return math.isfinite(value) and abs(value) <= float(np.finfo(kind).max)


def _is_far(rest: NDArray[np.generic], value: float) -> bool:
    """Return whether a number is far from all others: a bright roof next to saturation is no gap."""
    if rest.size < 32:
        return False
    low, high = np.quantile(rest.astype(np.float64), (0.001, 0.999))
    if low <= value <= high:
        return False
    gap = low - value if value < low else value - high
    return bool(gap > _FAR * max(high - low, 1e-12 * abs(value)))


def _edge_of_zeros(values: NDArray[np.generic]) -> bool:
    """Return whether pixels that are 0 in all bands lie along the edge of the raster, as beside a swath; not where all are."""
    empty = np.all(values == 0, axis=0)
    if empty.all() or min(empty.shape) < 8:
        return False
    edge = np.concatenate([empty[0], empty[-1], empty[:, 0], empty[:, -1]])
    return bool(edge.mean() >= 0.05)


def _first_of_each(suspects: Iterator[_Suspect] | Sequence[_Suspect]) -> list[_Suspect]:
    """Return for each number the place where it was found first."""
    found: dict[float, _Suspect] = {}
    for suspect in suspects:
        found.setdefault(suspect.value, suspect)
    return list(found.values())


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)


def _text(value: float | None) -> str:
    return "no value" if value is None else _number(value) if math.isfinite(value) else str(value)
