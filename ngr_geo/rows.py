"""The rows of a record, one for each date: as the attribute `ngr_dates`, and of a lazy result as coordinates.

A verb on data in memory writes its rows as the attribute. Attributes cannot be computed later, so a lazy result holds what is
known only once its tiles are solved in coordinates `ngr_*`: numbers all of them, since every format can hold these. `of` reads
either form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from .keywords import OF_STACKS, Method
from .raster import cube as cubes
from .raster.cube import Cube
from .record import EXPECTED, SHORT, Raster, Row, dates_of, mark, short_flags, table_of
from .tiling import scheduling
from .wording import counted

if TYPE_CHECKING:
    from .methods.problem import Settings

MEMBERS = tuple(name for name in get_args(Method) if name not in ("auto", "paper"))
"""What a date can be filled by, alone or blended."""
WORDS = {
    "method": (("guide", "ngr", "paper", *OF_STACKS, "blend"), "method that was kept"),
    "kind": (("gaussian", "mixed", "stripes", "gaps"), "fault that was found"),
}
"""The entries of a row that are words, each with all words that it can be, and its long name."""
CHOICE = (*MEMBERS, "blend", "blocks")
"""The figures of a row's `choice`: RMSE of members and of their blend on hidden blocks, and how many of these there are."""
COMMON = ("method", "filled", *(f"choice_{name}" for name in ("guide", "ngr", "blocks")))
"""The entries of a row that all verbs write."""
BLENDED = (*(f"choice_{name}" for name in (*OF_STACKS, "blend")), *(f"weight_{name}" for name in MEMBERS))
"""Those of a stack of dates."""
NUMBERS = ("missing", "haze", "shadow", "taken_off", "unseen", *COMMON[1:], *BLENDED)


def written(result: Raster, cube: Cube, rows: Any, names: Sequence[str]) -> Raster:
    """Return a lazy result with its rows in coordinates.

    Args:
        result: of a verb.
        cube: what the verb was called on.
        rows: the rows, delayed.
        names: the entries of a row that are written: some of `NUMBERS` and `WORDS`.
    """
    found = {f"ngr_{name}": _column(cube, rows, name) for name in names} | _expected(cube, rows)
    empty: Row = {name: None for name in names if not name.startswith(("choice_", "weight_"))}
    empty |= {"expected": {"rmse": dict.fromkeys(cube.bands)}}
    known = [{"date": date, **empty, "in_coordinates": list(found)} for date in cube.dates]
    return result.assign_coords(found).assign_attrs(ngr_dates=json.dumps(known))


def shortage(result: Raster, stats: Any, summary: Any, settings: Settings) -> Raster:
    """Return a lazy result with what a GPU was out of memory for as a coordinate: flags of `record.SHORT`, 0 for nothing.

    Args:
        result: of a verb.
        stats: what is known of each tile, delayed.
        summary: of the result, delayed.
        settings: of the method; on a CPU there is no such coordinate.
    """
    if settings.where == "cpu" and scheduling.active_client() is None:
        return result
    names = [way.replace(" ", "_") for way in SHORT]
    found = da.from_delayed(dask.delayed(_shortage)(stats, summary, names), (), np.int8)
    return result.assign_coords(ngr_short_of_memory=((), found, flags(names, "what a GPU was out of memory for")))


def _shortage(stats: Any, summary: Any, names: Sequence[str]) -> NDArray[np.int8]:
    """Return the flags of what happened."""
    happened = short_flags(stats, summary.learnt)
    return encoded(["+".join(way.replace(" ", "_") for way in happened)], names)[0]


def _column(cube: Cube, rows: Any, name: str) -> tuple[Any, ...]:
    """Return one entry of the rows as a coordinate along time: a scalar where the raster has no time."""
    time = cube.dims[0]
    kind, attrs = (np.int8, flags(*WORDS[name])) if name in WORDS else (np.float64, None)
    values = da.from_delayed(dask.delayed(_entries)(rows, name), (len(cube.dates),), kind)
    return ((), values[0], attrs) if time is None else ((time,), values, attrs)


def _entries(rows: Sequence[Row], name: str) -> NDArray[Any]:
    """Return one entry of all rows (time,), words as numbers."""
    if name in WORDS:
        return encoded([row.get(name, "") for row in rows], WORDS[name][0])
    kind, _, member = name.partition("_")
    if kind == "choice":
        rows, name = [row.get("choice", {}) for row in rows], member
    elif kind == "weight":
        rows, name = [row.get("choice", {}).get("weights", {}) for row in rows], member
    values = [row.get(name) for row in rows]
    return np.array([np.nan if value is None else value for value in values], np.float64)


# Words are small integers with their meanings, after the CF conventions: all formats hold these alike. A value is the sum of the
# `flag_masks` of its words, 0 where there is none, so that "guide+ngr" (some tiles each) is 1 + 2.


def flags(meanings: Sequence[str], about: str) -> dict[str, Any]:
    """Return the attributes that say what the numbers mean."""
    masks = np.array([1 << i for i in range(len(meanings))], np.int8)
    return {"long_name": about, "flag_masks": masks, "flag_meanings": " ".join(meanings)}


def encoded(words: Iterable[str], meanings: Sequence[str]) -> NDArray[np.int8]:
    """Return texts such as "guide" or "guide+ngr" as numbers; "none" and "" are 0."""
    bits = {"": 0, "none": 0} | {word: 1 << i for i, word in enumerate(meanings)}
    return np.array([sum({bits[part] for part in str(text).split("+")}) for text in words], np.int8)


def decoded(values: Any, attrs: Mapping[Any, Any]) -> list[str]:
    """Return numbers as the texts that they stand for, by their attributes; "none" for 0. Texts come back as they are."""
    flat = np.ravel(values)
    if flat.dtype.kind not in "iuf":
        return [str(value) for value in flat]
    masks, words = np.ravel(attrs.get("flag_masks", [])).astype(int), str(attrs.get("flag_meanings", "")).split()
    whole = np.nan_to_num(flat).astype(int).tolist()
    return ["+".join(w for m, w in zip(masks, words, strict=False) if value & m) or "none" for value in whole]


def _expected(cube: Cube, rows: Any) -> dict[str, tuple[Any, ...]]:
    """Return the RMSE expected (time, band) as coordinates: `ngr_expected_rmse`, for a Dataset NAME_expected_rmse."""
    time, band = cube.dims[:2]
    rmse = da.from_delayed(dask.delayed(_expected_rmse)(rows, cube.bands), cube.shape[:2], np.float64)
    along = () if time is None else (time,)
    rmse = rmse[0] if time is None else rmse
    if cube.names:
        return {f"{name}_{EXPECTED}": (along, rmse[..., i], mark(EXPECTED)) for i, name in enumerate(cube.names)}
    dims, values = (along, rmse[..., 0]) if band is None else ((*along, band), rmse)
    return {f"ngr_{EXPECTED}": (dims, values, mark(EXPECTED))}


def _expected_rmse(rows: Sequence[Row], bands: Sequence[str]) -> NDArray[np.float64]:
    """Return the RMSE expected of each date and band, (time, band)."""
    tables = [row.get("expected", {}).get("rmse", {}) for row in rows]
    return np.array([[np.nan if t.get(b) is None else t[b] for b in bands] for t in tables], np.float64)


def coordinates(cube: Cube) -> dict[str, Any]:
    """Return the coordinates that hold the rows of a lazy result, by their entry in a row, not computed."""
    coords = cube.raster.coords
    columns = {name: coords[f"ngr_{name}"].data for name in (*WORDS, *NUMBERS) if f"ngr_{name}" in coords}
    names = [f"{name}_{EXPECTED}" for name in cube.names] or [f"ngr_{EXPECTED}"]
    if columns and set(names) <= set(coords):
        columns["expected"] = [coords[name].data for name in names]
    return columns


def of(result: Raster, compute: bool = True) -> list[Row]:
    """Return the rows of a result; what a lazy one holds in coordinates is computed, or left out."""
    cube = cubes.read(result)
    columns = coordinates(cube)
    if compute:
        (columns,) = dask.compute(columns)
    elif any(isinstance(data, da.Array) for name, data in columns.items() if name != "expected"):
        columns = {}
    return merged(cube, columns)


def merged(cube: Cube, columns: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a result: its attribute `ngr_dates`, and of a lazy one its computed `coordinates`."""
    known = dates_of(cube.raster.attrs)
    if known and not any("in_coordinates" in row for row in known):
        return known
    found = _read(cube, columns) or [{"date": row.get("date")} for row in known]
    by_date = {row.get("date"): row for row in known}
    both = [{**by_date.get(row["date"], {}), "expected": None, **row} for row in found]
    return [{k: v for k, v in r.items() if k != "in_coordinates" and v is not None} for r in both]


def _read(cube: Cube, columns: Mapping[str, Any]) -> list[Row]:
    """Return the rows that computed columns hold; none where they do not fit the dates of the raster."""
    days, bands = cube.dates, cube.bands
    table: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if name in WORDS:
            table[name] = decoded(values, cube.raster.coords[f"ngr_{name}"].attrs)
        elif name != "expected":
            table[name] = [value if np.isfinite(value) else None for value in np.ravel(values).tolist()]
    if not table or any(len(values) != len(days) for values in table.values()):
        return []
    asked = table_of(cube.raster.attrs.get("ngr_settings")).get("method")
    parts = [np.reshape(part, (len(days), -1)) for part in columns.get("expected", ()) if np.size(part)]
    expected = np.concatenate(parts, axis=1) if parts else np.empty((len(days), 0))
    found = []
    for index, day in enumerate(days):
        entry = {name: values[index] for name, values in table.items() if values[index] is not None}
        if entry.get("kind") == "none":  # there was no fault
            del entry["kind"]
        figures, weights = (
            {name.removeprefix(start): value for name, value in entry.items() if name.startswith(start)}
            for start in ("choice_", "weight_")
        )
        rest = {name: value for name, value in entry.items() if not name.startswith(("choice_", "weight_"))}
        found.append({"date": day, **rest, **choice(figures, weights, asked)})
        if expected.shape[1] == len(bands) and np.isfinite(expected[index]).any():
            found[-1]["expected"] = {"rmse": dict(zip(bands, expected[index].tolist(), strict=True))}
    return found


def choice(figures: Mapping[str, float], weights: Mapping[str, float], asked: str | None) -> Row:
    """Return what members were kept or weighted by as an entry of a row; {} where nothing was hidden.

    Args:
        figures: see `CHOICE`.
        weights: of the members that a date was filled by.
        asked: the method that the user asked for.
    """
    if not {*MEMBERS} & set(figures):
        return {}
    count = int(figures.get("blocks", 0))
    blocks = f"{counted(count, 'block')} of hidden pixels"
    by = f"paired test on {blocks}"
    if asked not in ("auto", None):
        by = f"method={asked!r} was asked for"
    elif len(weights) > 1 or {*OF_STACKS} & set(figures):
        by = f"weights fitted on {blocks}"
    elif "ngr" not in figures:
        by = "guide kept: no network did better on the pixels that stop its training"
    more = {"weights": dict(weights)} if len(weights) > 1 else {}
    return {"choice": {"by": by, **more, **figures, "blocks": count}}
