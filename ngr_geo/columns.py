"""The record of a lazy result: what is known of each date only once tiles are solved is computed with it, as coordinates.

A verb on data in memory writes its record, a row for each date, as the attribute `ngr_dates`. Attributes cannot be computed later,
so a lazy result holds the same rows in coordinates `ngr_*`, numbers all of them, since every format can hold these. `record`
puts them together again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import record
from .provenance import dates_of
from .raster import cube as cubes
from .raster import flags
from .raster.cube import Cube
from .wording import counted

Row = dict[str, Any]
"""What is said of one date, as JSON can hold it."""
WORDS = {
    "method": (flags.METHODS, flags.attributes(flags.METHODS, "method that was kept")),
    "kind": (flags.KINDS, flags.attributes(flags.KINDS, "fault that was found")),
}
CHOICE = ("guide", "ngr", "blocks")
"""The figures of a row's `choice`: RMSE of both on hidden blocks, and how many of these there are."""
NUMBERS = ("missing", "filled", "unseen", "guide_rmse", "ngr_rmse", *(f"choice_{name}" for name in CHOICE))
COMMON = ("method", "filled", "guide_rmse", "ngr_rmse", *(f"choice_{name}" for name in CHOICE))
"""What all verbs say of a date."""


def written(
    result: xr.DataArray | xr.Dataset, cube: Cube, rows: Any, names: Sequence[str]
) -> xr.DataArray | xr.Dataset:
    """Return a lazy result with its record in coordinates.

    Args:
        result: of a verb.
        cube: what the verb was called on.
        rows: the record, delayed.
        names: the entries of a row that are written: some of `NUMBERS` and `WORDS`.
    """
    found = {f"ngr_{name}": _column(cube, rows, name) for name in names} | _expected(cube, rows)
    empty = {name: None for name in names if "choice" not in name} | {"expected": {"rmse": dict.fromkeys(cube.bands)}}
    known = [{"date": date, **empty, "in_coordinates": list(found)} for date in cube.dates]
    return result.assign_coords(found).assign_attrs(ngr_dates=json.dumps(known))


def _column(cube: Cube, rows: Any, name: str) -> tuple[Any, ...]:
    """Return one entry of the record as a coordinate along time: a scalar where the raster has no time."""
    time = cube.dims[0]
    kind, attrs = (np.int8, WORDS[name][1]) if name in WORDS else (np.float64, None)
    values = da.from_delayed(dask.delayed(_entries)(rows, name), (len(cube.dates),), kind)
    return ((), values[0], attrs) if time is None else ((time,), values, attrs)


def _entries(rows: Sequence[Row], name: str) -> NDArray[Any]:
    """Return one entry of all rows (time,), words as numbers."""
    if name in WORDS:
        return flags.encode([row[name] for row in rows], WORDS[name][0])
    if name.startswith("choice_"):
        values = [row.get("choice", {}).get(name.removeprefix("choice_")) for row in rows]
    else:
        values = [row.get(name) for row in rows]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _expected(cube: Cube, rows: Any) -> dict[str, tuple[Any, ...]]:
    """Return the RMSE expected (time, band) as coordinates: `ngr_expected_rmse`, for a Dataset NAME_expected_rmse."""
    time, band = cube.dims[:2]
    rmse = da.from_delayed(dask.delayed(_expected_rmse)(rows, cube.bands), cube.shape[:2], np.float64)
    along = () if time is None else (time,)
    rmse = rmse[0] if time is None else rmse
    attrs = record.mark(record.EXPECTED)
    if cube.names:
        return {f"{name}_{record.EXPECTED}": (along, rmse[..., i], attrs) for i, name in enumerate(cube.names)}
    dims, values = (along, rmse[..., 0]) if band is None else ((*along, band), rmse)
    return {f"ngr_{record.EXPECTED}": (dims, values, attrs)}


def _expected_rmse(rows: Sequence[Row], bands: Sequence[str]) -> NDArray[np.float64]:
    """Return the RMSE expected of each date and band, (time, band)."""
    tables = [row.get("expected", {}).get("rmse", {}) for row in rows]
    return np.array([[np.nan if t.get(b) is None else t[b] for b in bands] for t in tables], np.float64)


def of(after: xr.DataArray | xr.Dataset, compute: bool = True) -> list[Row]:
    """Return the record of a result, a row for each date; what a lazy one holds in coordinates is computed, or left out."""
    cube = cubes.read(after)
    columns = coordinates(cube)
    if compute:
        (columns,) = dask.compute(columns)
    elif any(isinstance(data, da.Array) for name, data in columns.items() if name != "expected"):
        columns = {}
    return rows_of(cube, columns)


def coordinates(cube: Cube) -> dict[str, Any]:
    """Return the coordinates that hold the record of a lazy result, by their entry in a row, not computed."""
    coords = cube.raster.coords
    columns = {name: coords[f"ngr_{name}"].data for name in (*WORDS, *NUMBERS) if f"ngr_{name}" in coords}
    names = [f"{name}_{record.EXPECTED}" for name in cube.names] or [f"ngr_{record.EXPECTED}"]
    if columns and set(names) <= set(coords):
        columns["expected"] = [coords[name].data for name in names]
    return columns


def rows_of(cube: Cube, columns: Mapping[str, Any]) -> list[Row]:
    """Return the record of a result: its attribute `ngr_dates`, and of a lazy one its computed `coordinates`."""
    rows = dates_of(cube.raster.attrs)
    if rows and not any("in_coordinates" in row for row in rows):
        return rows
    found = _read(cube, columns) or [{"date": row.get("date")} for row in rows]
    known = {row.get("date"): row for row in rows}
    merged = [{**known.get(row["date"], {}), "expected": None, **row} for row in found]
    empty = [
        {k for k, v in row.items() if v is None and not k.endswith("_rmse")} | {"in_coordinates"} for row in merged
    ]
    return [{k: v for k, v in row.items() if k not in none} for row, none in zip(merged, empty, strict=True)]


def _read(cube: Cube, columns: Mapping[str, Any]) -> list[Row]:
    """Return the rows that computed columns hold; none where they do not fit the dates of the raster."""
    days, bands = cube.dates, cube.bands
    table: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if name in WORDS:
            table[name] = flags.decode(values, cube.raster.coords[f"ngr_{name}"].attrs)
        elif name != "expected":
            table[name] = [value if np.isfinite(value) else None for value in np.ravel(values).tolist()]
    if not table or any(len(values) != len(days) for values in table.values()):
        return []
    settings = record.read_json(cube.raster.attrs.get("ngr_settings"))
    asked = settings.get("method") if isinstance(settings, dict) else None
    rows = []
    for index, day in enumerate(days):
        row = {"date": day} | {name: values[index] for name, values in table.items() if not name.startswith("choice_")}
        figures = {name: table[f"choice_{name}"][index] for name in CHOICE if f"choice_{name}" in table}
        rows.append(row | choice({k: v for k, v in figures.items() if v is not None}, asked))
    parts = [np.reshape(part, (len(days), -1)) for part in columns.get("expected", ()) if np.size(part)]
    expected = np.concatenate(parts, axis=1) if parts else np.empty((len(days), 0))
    if expected.shape[1] == len(bands):
        for row, rmse in zip(rows, expected.tolist(), strict=True):
            if np.isfinite(rmse).any():
                row["expected"] = {"rmse": dict(zip(bands, rmse, strict=True))}
    return rows


def choice(figures: Mapping[str, float], asked: str | None) -> Row:
    """Return what guide or NGR was kept by as an entry of a row; {} where nothing was measured on hidden blocks.

    Args:
        figures: see `CHOICE`.
        asked: the method that the user asked for.
    """
    if "blocks" not in figures or not {"guide", "ngr"} & set(figures):
        return {}
    count = int(figures["blocks"])
    by = f"paired test on {counted(count, 'block')} of hidden pixels"
    if asked not in ("auto", None):
        by = f"method={asked!r} was asked for"
    elif "ngr" not in figures:
        by = "guide kept: no network did better on the pixels that stop its training"
    return {"choice": {"by": by, **figures, "blocks": count}}
