"""The record of a result in words and tables: its dates, how far to trust it, how it was made.

The record may have gone through other hands, as tags of a file: what is not as a verb writes it is shown as text, or left out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import rows as records
from ..raster import cube as cubes
from ..raster.cube import SPECTRAL_BANDS, Cube
from ..record import BEFORE, history, number, read_json, table_of
from ..result import DateRecord
from ..wording import counted, percent

LETTERS, ROWS = 2000, 400
"""Of a text, and of a table, at most."""
MEMBERS = {name: "NGR" if name == "ngr" else name for name in (*records.MEMBERS, "blend")}
"""What a date can be filled by, as a reader sees it."""
TITLES = {
    "decloud": "Clouds removed",
    "inpaint": "Gaps filled",
    "denoise": "Noise removed",
    "destripe": "Stripes removed",
    "fill_deadlines": "Dead lines filled",
    "repair": "Faults of a cube mended",
}
Pairs = list[tuple[str, list[str]]]
Table = dict[str, Any]


def lead(cube: Cube) -> str:
    """Return one line on a raster: sizes, grid."""
    dates, bands, rows, columns = cube.shape
    words = [f"{columns} x {rows} pixels", counted(bands, "band")]
    if dated(cube):
        days = sorted(day for day, number in zip(cube.dates, cube.days, strict=True) if np.isfinite(number))
        words.append(counted(dates, "date") + (f" from {days[0]} to {days[-1]}" if len(days) > 1 else ""))
        if len(days) == dates == 1:
            words[-1] = days[0]
    crs = cube.raster.rio.crs
    return ", ".join([*words, crs.to_string() if crs is not None and len(crs.to_string()) < 40 else "own grid"])


def cards(rows: Sequence[DateRecord], attrs: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Return the most important numbers of a result."""
    shares = [row.filled for row in rows if row.filled is not None]
    found = []
    if any(shares):
        whole = "all values" if rows[0].filled is None else "all pixels"
        whole = "the area of interest" if "ngr_aoi" in attrs else whole
        found.append((f"filled, of {whole}", f"{np.mean(shares):.1%}"))
    if len(rows) > 1:
        changed = sum(share > 0 for share in shares) if shares else sum(row.method != "none" for row in rows)
        found.append(("dates with something filled", f"{changed} of {len(rows)}"))
    faults = sorted({short(row.fault or "") for row in rows} - {""})
    if faults:
        found.append(("found", ", ".join(faults)))
    kept = sorted({short(row.method or "") for row in rows} - {"none", ""})
    if kept:
        found.append(("method kept", ", ".join(kept)))
    errors = [row.expected_rmse for row in rows if row.expected_rmse is not None]
    if errors:
        what = "error expected, mean of bands" + (" and dates" if len(errors) > 1 else "")
        found.append((what, f"{figure(float(np.sqrt(np.mean(np.square(errors)))))}"))
    tiles = number(table_of(attrs.get("ngr_tiles")).get("total"))
    if np.isfinite(tiles):
        found.append(("tile" if tiles == 1 else "tiles", f"{tiles:.0f}"))
    return found


def dated(cube: Cube) -> bool:
    """Return whether a raster has dates worth naming: several, or one that is known."""
    return cube.shape[0] > 1 or bool(np.isfinite(cube.days).all())


def _hidden_rmse(name: str, row: DateRecord) -> str:
    """Return the error of a member, or of a blend, on hidden pixels as text."""
    return figure(row.hidden_rmse.get(name))


def _weights(row: DateRecord) -> str:
    """Return the weights of the members that a date is blended from, as text."""
    return short(", ".join(f"{MEMBERS.get(n, short(n))} {weight:.2f}" for n, weight in row.weights.items()), 80)


def notes(cube: Cube, rows: Sequence[DateRecord], attrs: Mapping[Any, Any]) -> list[str]:
    """Return what speaks against trusting a result, as far as its record says."""
    found = []
    verb = attrs.get("ngr_verb")
    if not rows:
        found.append("The result carries no record of what was done to each date.")
    for row in rows:
        missing, filled = number(row.missing), number(row.filled)
        texts = []
        if missing >= 1:
            texts.append("no clear pixel at all, so all of it is interpolated from the other dates.")
        elif filled > 0.5:
            texts.append(f"{percent(filled)} of the pixels are filled.")
        if missing - filled > 0.0005:
            texts.append(f"{missing - filled:.1%} of the pixels were missing and are left as they were.")
        if row.method not in (None, "none", "") and not row.expected:
            texts.append("its expected error is not recorded.")
        day = f"{short(row.date)}: " if dated(cube) else ""
        found += [day + text if day else text[:1].upper() + text[1:] for text in texts]
    lost = number(table_of(attrs.get("ngr_tiles")).get("unsolvable"))
    if lost > 0:
        have = "tile has" if lost == 1 else "tiles have"
        found.append(f"{lost:.0f} {have} no measured pixel on any date, and nothing was filled there.")
    if verb in ("decloud", "inpaint") and cube.shape[0] == 1 and cube.shape[1] < SPECTRAL_BANDS:
        found.append("There is one date alone: gaps are filled from the other bands and from their surroundings.")
    left_out = read_json(attrs.get("ngr_bands_left_out"))
    if isinstance(left_out, list) and left_out:
        found.append(
            f"{counted(len(left_out), 'band')} flagged bad or without values, and left alone: "
            f"{short(', '.join(map(str, left_out)), 300)}."
        )
    if verb == "decloud":
        found.append("What changed on the ground between the dates, under a cloud, cannot be known.")
    return found


def dates_table(cube: Cube, rows: Sequence[DateRecord], brief: bool = False) -> Table | None:
    """Return a line for each date: what was missing and filled, what was kept and by which figures, the error expected of it.

    A brief one, for a terminal, has of the errors on hidden pixels only that of what was kept, and its guide's.
    """
    if not rows:
        return None
    chosen: dict[str, Callable[[DateRecord], str]] = {
        "Chosen by": lambda row: short(row.chosen_by or "", 80),
        **{f"Hidden RMSE, {word}": partial(_hidden_rmse, name) for name, word in MEMBERS.items()},
    }
    columns: dict[str, Callable[[DateRecord], str]] = {
        "Date": lambda row: short(row.date, 80),
        "Fault": lambda row: short(row.fault or "", 80),
        "Missing": lambda row: _percent(row.missing),
        "Haze added": lambda row: _percent(row.haze),
        "Shadow added": lambda row: _percent(row.shadow),
        "Taken off": lambda row: _percent(row.taken_off),
        "Filled": lambda row: _percent(row.filled),
        "Kept": lambda row: short(row.method or ""),
        **({"Hidden RMSE": _hidden_of_kept} if brief else chosen),
        "Weights": _weights,
        "Seen on no date": lambda row: _percent(row.unseen) if row.unseen else "",
        "Expected RMSE": lambda row: figure(row.expected_rmse),
    }
    lines = [[cell(row) for cell in columns.values()] for row in rows[:ROWS]]
    used = [i for i in range(len(columns)) if any(line[i] for line in lines) and (i or dated(cube))]
    head = [name for i, name in enumerate(columns) if i in used]
    return _cut({"head": head, "rows": [[line[i] for i in used] for line in lines]}, len(rows))


def _hidden_of_kept(row: DateRecord) -> str:
    """Return the error on hidden pixels of what was kept, and beside it that of the guide alone."""
    kept, guide = (_hidden_rmse(name, row) for name in (row.method or "", "guide"))
    return f"{kept} (guide {guide})" if kept and guide and row.method != "guide" else kept


def legend(cube: Cube, table: Table) -> list[str]:
    """Return what the columns of a brief table of dates mean, and in which units they are."""
    head = table["head"]
    shares = [name.lower() for name in ("Missing", "Filled") if name in head]
    lines = [f"{', '.join(shares).capitalize()}: share of all pixels."] if "Missing" in head else []
    what = {
        "Hidden RMSE": "on pixels hidden to choose what was kept, and its weights",
        "Expected RMSE": "in what was filled or changed, mean of the bands",
    }
    known = [f"{name.partition(' ')[0].lower()} {about}" for name, about in what.items() if name in head]
    lines += [f"RMSE {unit(cube)}: {'; '.join(known)}."] if known else []
    return lines


def text(table: Table, without: Sequence[str] = ()) -> list[str]:
    """Return a table as lines for a terminal, without some of its columns; what is not known as "-"."""
    columns = [column for column in zip(table["head"], *table["rows"], strict=True) if column[0] not in without]
    padded = [[cell.ljust(max(map(len, column))) for cell in (c or "-" for c in column)] for column in columns]
    return ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def errors_table(cube: Cube, rows: Sequence[DateRecord]) -> Table | None:
    """Return a line for each date and band with what is expected of it."""
    lines = []
    for row in rows:
        for band, error in row.expected.items():
            name = " ".join([short(row.date, 80)] * dated(cube) + [short(band, 80)])
            reach = " to ".join(map(figure, error.likely or ()))
            psnr = "" if error.psnr is None else f"{error.psnr:.1f}"
            lines.append([name, figure(error.rmse), reach, figure(error.bias), psnr])
    if not lines:
        return None
    head = ["Date and band" if dated(cube) else "Band", "RMSE", "likely between", "Bias", "PSNR, dB"]
    return _cut({"head": head, "rows": lines[:ROWS]}, len(lines))


def _cut(table: Table, count: int) -> Table:
    if count > len(table["rows"]):
        table["rows"].append([f"and {count - len(table['rows'])} more"] + [""] * (len(table["head"]) - 1))
    return table


def made(attrs: Mapping[Any, Any]) -> Pairs:
    """Return how a result was made: verb, version, time, mask, seed, method."""
    call, settings = (table_of(attrs.get(name)) for name in ("ngr_call", "ngr_settings"))
    masks = read_json(attrs.get("ngr_masks"))
    found = {
        "Verb": attrs.get("ngr_verb"),
        "Version of ngr_geo": attrs.get("ngr_version"),
        "Made": attrs.get("ngr_made"),
        "Method asked for": settings.get("method", call.get("method")),
        "Seed": settings.get("seed", call.get("seed")),
        "Mask": masks if masks else call.get("clouds", call.get("missing")),
        "Inputs": read_json(attrs.get("ngr_inputs")),
    }
    return [(name, _lines(value)) for name, value in found.items() if value not in (None, [], "")]


def more(attrs: Mapping[Any, Any], cube: Cube) -> list[tuple[str, Pairs]]:
    """Return the rest of the record, and what else the raster carries, under headings."""
    call, settings, mask = (table_of(attrs.get(name)) for name in ("ngr_call", "ngr_settings", "ngr_mask"))
    steps = history({BEFORE: attrs.get(BEFORE)})
    carried = {key: value for key, value in attrs.items() if not str(key).startswith("ngr_")}
    return [
        ("Keywords of the call", _pairs(call)),
        ("Settings that it ran with", _pairs(settings)),
        ("Mask", _mask(mask)),
        ("Area of interest", _pairs(table_of(attrs.get("ngr_aoi")))),
        (
            "Verbs before this one",
            [(f"{i}. {short(s.get('verb'))}", _lines(s.get("call"))) for i, s in enumerate(steps, 1)],
        ),
        ("The raster", _pairs(_raster(cube))),
        ("Attributes of the raster", _pairs(carried)),
    ]


def _mask(record: Mapping[str, Any]) -> Pairs:
    """Return what is recorded of a mask: where it is from, how it is read, and how much of each date it marks."""
    found = _pairs({name: value for name, value in record.items() if name != "dates"})
    rows = record.get("dates")
    dates = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    shares = [(short(row.get("date")), _percent(row.get("masked")), _percent(row.get("grown"))) for row in dates[:ROWS]]
    lines = [f"{date}: {masked}, {grown} when grown" for date, masked, grown in shares if masked]
    return [*found, ("marked", lines)] if lines else found


def _raster(cube: Cube) -> dict[str, Any]:
    """Return what a raster is like."""
    raster, first = cube.raster, cube.variables[0]
    nodata = cubes.nodata(first)
    axes = {str(dim): raster.coords[dim].values for dim in cube.dims[2:] if dim in raster.coords}
    return {
        "Size": " x ".join(
            counted(size, name) for size, name in zip(cube.shape, ("date", "band", "row", "column"), strict=True)
        ),
        "Bands": ", ".join(cube.bands),
        "Kind of numbers": str(first.dtype),
        "Nodata": "none but NaN" if nodata is None else f"{nodata:g}",
        "Units": first.attrs.get("units"),
        "Grid (CRS)": None if raster.rio.crs is None else raster.rio.crs.to_string(),
        **{
            dim: f"{short(places[0], 40)} to {short(places[-1], 40)} (middle of the first and the last pixel)"
            for dim, places in axes.items()
        },
    }


def repeat(attrs: Mapping[Any, Any]) -> str:
    """Return the call that makes a result again."""
    given = [name for name, value in table_of(attrs.get("ngr_call")).items() if isinstance(value, Mapping)]
    arrays = "".join(f", {short(name, 40)}=..." for name in given)
    lines = ["import ngr_geo", "", "# result: what this page is about, its attributes, or the tags of a GeoTIFF of it"]
    lines += (
        ["# " + ", ".join(short(name, 40) for name in given) + ": given as an array then, and again"] if given else []
    )
    return "\n".join([*lines, f"again = raster.ngr.repeat(result{arrays})"])


def _pairs(table: Mapping[Any, Any]) -> Pairs:
    return [(short(name, 200), _lines(value)) for name, value in list(table.items())[:ROWS] if value is not None]


def _lines(value: Any) -> list[str]:
    """Return a value as lines of text."""
    if isinstance(value, list | tuple):
        return [short(part) for part in value[:ROWS]] + [f"and {len(value) - ROWS} more"] * (len(value) > ROWS)
    if isinstance(value, Mapping) and set(value) == {"kind", "digest"}:
        return [f"{short(value['kind'])}, digest {short(value['digest'])}" if value["digest"] else short(value["kind"])]
    return [short(value)]


def short(value: Any, letters: int = LETTERS) -> str:
    """Return a value as text of bounded length."""
    if isinstance(value, np.ndarray):
        value = np.array2string(value, threshold=50)
    text = json.dumps(value) if isinstance(value, dict | list | bool) else str(value)
    return text if len(text) <= letters else text[:letters] + " ..."


def _percent(value: Any) -> str:
    """Return a share with one digit, which is 0.0% and 100.0% for none and all alone."""
    share = number(value)
    rounded = f"{share:.1%}"
    return "" if np.isnan(share) else percent(share) if rounded in ("0.0%", "100.0%") and share % 1 else rounded


def figure(value: Any, digits: int = 4) -> str:
    """Return a number with so many digits that count, "" for what is none."""
    rounded = float(f"{number(value):.{digits}g}")
    return "" if np.isnan(rounded) else f"{rounded:.0f}" if 1000 <= abs(rounded) < 1e7 else f"{rounded:g}"


def unit(cube: Cube) -> str:
    """Return in what a raster's values are given."""
    units = cube.variables[0].attrs.get("units")
    return f"in {short(units, 60)}" if units else "in the raster's units"
