"""What a verb writes on its result beside values, what of an earlier verb's goes when the next one begins, and what stays.

A result carries attributes and coordinates named `ngr_*`, a boolean coordinate `filled`, and layers that were asked for. They
describe that result, so the next verb drops all of them. Two things stay: the history, `ngr_before`, and `filled`, which is
cumulative. A verb's own coordinates are recognised by an attribute, `ngr_content`, so that a user's are never taken for them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

import xarray as xr

from .errors import InputError

PREFIX = "ngr_"
"""How all attributes, and the coordinates that describe dates and bands, begin."""
BEFORE = "ngr_before"
"""The history: verb and call of all earlier verbs, which is the only attribute that stays."""
CONTENT = "ngr_content"
"""The attribute by which the other coordinates are recognised: one of `KINDS`."""
FILLED = "filled"
LAYERS = ("uncertainty", "change")
"""What a verb can write for each pixel beside `filled`: its standard deviation, and what was added to it."""
EXPECTED = "expected_rmse"
KINDS = {
    FILLED: "filled by ngr_geo",
    "uncertainty": "standard deviation of what ngr_geo filled or changed",
    "change": "what ngr_geo added",
    EXPECTED: "root mean square error expected in the gaps",
}
_DTYPES = {FILLED: "b", "uncertainty": "f", "change": "f", EXPECTED: "f"}
_FILLING = ("decloud", "inpaint", "fill_deadlines")
STALE = ("STATISTICS_", "actual_range", "valid_min", "valid_max", "valid_range", PREFIX)
"""Attributes that a verb makes false, by how they begin."""


def mark(kind: str) -> dict[str, str]:
    """Return the attributes of a coordinate of one of `KINDS`."""
    return {CONTENT: kind, "long_name": KINDS[kind]}


def fresh(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those that a verb makes false, the record of an earlier verb among them."""
    return {key: value for key, value in attrs.items() if not str(key).startswith(STALE)}


def own(raster: xr.DataArray | xr.Dataset) -> list[Hashable]:
    """Return the variables and coordinates of a raster that an earlier verb wrote, wherever they are by now.

    Files that were written before there was a mark count where the raster's own record says that a verb made it.
    """
    recorded = f"{PREFIX}verb" in _noted(raster)
    bands = [] if isinstance(raster, xr.DataArray) else list(raster.data_vars)
    parts: Mapping[Hashable, Any] = raster.coords if isinstance(raster, xr.DataArray) else raster.variables
    return [name for name, part in parts.items() if _is_own(str(name), part, recorded, bands)]


def _is_own(name: str, part: Any, recorded: bool, bands: Iterable[Hashable]) -> bool:
    if name.startswith(PREFIX) or part.attrs.get(CONTENT) in KINDS:
        return True
    if not recorded:
        return False
    names = {FILLED: FILLED, **{layer: layer for layer in LAYERS}}
    names |= {f"{band}_{kind}": kind for band in bands for kind in (*LAYERS, EXPECTED)}
    return name in names and part.dtype.kind == _DTYPES[names[name]]


def with_coordinates(raster: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Return a raster with what an earlier verb wrote as coordinates: a file read without them has them among its variables."""
    if isinstance(raster, xr.DataArray):
        return raster
    return raster.set_coords([name for name in own(raster) if name in raster.data_vars])


def begun(raster: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Return a raster without the record, the coordinates and the layers of an earlier verb; only the history stays."""
    bare = raster.copy(deep=False).drop_vars(own(raster))  # its attributes are another object's
    earlier = history(_noted(raster))
    attrs = fresh(raster.attrs)
    bare.attrs = {**attrs, BEFORE: json.dumps(earlier)} if earlier else attrs
    return bare


def _noted(raster: xr.DataArray | xr.Dataset) -> Mapping[Any, Any]:
    """Return the attributes that hold a raster's record: its own, or a variable's where it was put into a Dataset."""
    parts = [raster, *raster.data_vars.values()] if isinstance(raster, xr.Dataset) else [raster]
    noted: list[Mapping[Any, Any]] = [part.attrs for part in parts if {f"{PREFIX}verb", BEFORE} & set(part.attrs)]
    return noted[0] if noted else raster.attrs


def history(attrs: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return the verbs that a raster was made with, first one first, each with its call, from its attributes or a file's tags."""
    before = read_json(attrs.get(BEFORE))
    steps = [step for step in before if isinstance(step, dict)] if isinstance(before, list) else []
    if f"{PREFIX}verb" in attrs:
        steps.append({"verb": str(attrs[f"{PREFIX}verb"]), "call": read_json(attrs.get(f"{PREFIX}call"))})
    return steps


def filled_before(raster: xr.DataArray | xr.Dataset) -> xr.DataArray | None:
    """Return which pixels earlier verbs filled, None where nothing says so."""
    if FILLED not in raster.coords or FILLED not in own(raster):
        return None
    found: xr.DataArray = raster.coords[FILLED]
    return found if found.dtype.kind == "b" else found != 0


def lost_filled(raster: xr.DataArray | xr.Dataset) -> str | None:
    """Return a warning where a raster was filled by an earlier verb and its coordinate `filled` is gone, else None."""
    noted = _noted(raster)
    verb = str(noted.get(f"{PREFIX}verb", ""))
    present = FILLED in raster.coords or (isinstance(raster, xr.Dataset) and FILLED in raster.variables)
    if verb not in _FILLING or present:
        return None
    rows = read_json(noted.get(f"{PREFIX}dates"))
    rows = [row for row in (rows if isinstance(rows, list) else [rows]) if isinstance(row, dict)]
    shares = [row.get("filled") for row in rows]
    if shares and all(share == 0 for share in shares):
        return None
    return (
        f"The raster was made by {verb}, and its coordinate 'filled' is gone, so what was filled then will count as measured. Keep "
        "it, or put it back from NAME_filled.tif: raster.assign_coords(filled=(('y', 'x'), mask.values.astype(bool)))."
    )


def check(raster: xr.DataArray | xr.Dataset, layers: Collection[str] = ()) -> None:
    """Raise where the result of a verb would replace a variable or coordinate that is the user's.

    Args:
        raster: what a verb is called on.
        layers: those of `LAYERS` that will be written.

    Raises:
        InputError: with the name, and how to rename it.
    """
    ours = own(raster)
    if isinstance(raster, xr.DataArray):
        taken = {*raster.coords, *raster.dims, raster.name}
        wanted = [FILLED, *layers]
    else:
        taken = {*raster.variables, *raster.dims}
        wanted = [FILLED, *(f"{name}_{kind}" for name in raster.data_vars for kind in layers)]
    for name in wanted:
        if name in taken and name not in ours:
            what = (
                "a coordinate"
                if name in raster.coords
                else "a variable"
                if name != getattr(raster, "name", None)
                else "a raster"
            )
            called = (
                f"raster.rename('my_{name}')" if what == "a raster" else f"raster.rename({{{name!r}: 'my_{name}'}})"
            )
            msg = (
                f"Found {what} named {name!r} that no verb of ngr_geo wrote, and the result of this one has a coordinate of that "
                "name; expected that it is free. Rename yours:"
            )
            raise InputError(
                msg, call=f"{called}.", option=f"ncrename -v {name},my_{name} FILE (a GeoTIFF's band: rio edit-info)."
            )


def read_json(text: Any) -> Any:
    """Return what a text in JSON says, None where it is none: attributes may have gone through other hands."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
