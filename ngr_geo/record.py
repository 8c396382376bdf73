"""The record of a result: its attributes and coordinates `ngr_*`, the coordinate `filled`, and the layers beside it.

The record describes one result, so the next verb drops all of it (`begun`). Two things stay: the history, `ngr_before`, and
`filled`, which is cumulative. A verb's own coordinates carry the attribute `ngr_content`, so that a user's are never taken for
them. What is recorded of each date is in `rows`, the call and how it is repeated in `calls`, what users read of it all in `result`.
"""

import json
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, NamedTuple, get_args

import xarray as xr

from .errors import InputError, warn

Raster = xr.DataArray | xr.Dataset
Held = Literal["coordinate", "variable"]
"""What `filled` can be in a result."""
Row = dict[str, Any]
"""What is recorded of one date, as JSON can hold it."""


class Kind(NamedTuple):
    """A coordinate that a verb writes beside its values: the kind of its dtype, and its long name."""

    dtype: str
    about: str


PREFIX = "ngr_"
"""How all attributes, and the coordinates that describe dates and bands, begin."""
BEFORE = "ngr_before"
"""The history: verb and call of all earlier verbs, the only attribute that stays."""
CONTENT = "ngr_content"
"""The attribute by which coordinates of one of `KINDS` are recognised."""
FILLED = "filled"
LAYERS = ("uncertainty", "change")
"""What a verb can write for each pixel beside `filled`: its standard deviation, and what was added to it."""
EXPECTED = "expected_rmse"
KINDS = {
    FILLED: Kind("b", "filled by ngr_geo"),
    "uncertainty": Kind("f", "standard deviation of what ngr_geo filled or changed"),
    "change": Kind("f", "what ngr_geo added"),
    EXPECTED: Kind("f", "root mean square error expected in the gaps"),
}
STALE = ("STATISTICS_", "actual_range", "valid_min", "valid_max", "valid_range", PREFIX)
"""Attributes that a verb makes false, by how they begin."""
VERBS = ("decloud", "inpaint", "denoise", "destripe", "fill_deadlines", "repair")
FILLING = ("decloud", "inpaint", "fill_deadlines", "repair")


# What an earlier verb left on a raster.


def mark(kind: str) -> dict[str, str]:
    """Return the attributes of a coordinate of one of `KINDS`."""
    return {CONTENT: kind, "long_name": KINDS[kind].about}


def fresh(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those that a verb makes false, the record of an earlier verb among them."""
    return {key: value for key, value in attrs.items() if not str(key).startswith(STALE)}


def own(raster: Raster) -> list[Hashable]:
    """Return the variables and coordinates of a raster that an earlier verb wrote, wherever they are by now.

    One without a mark, such as `filled` that a user put back, counts where the raster's own record says that a verb made it.
    """
    recorded = f"{PREFIX}verb" in noted(raster)
    bands = [] if isinstance(raster, xr.DataArray) else list(raster.data_vars)
    parts: Mapping[Hashable, Any] = raster.coords if isinstance(raster, xr.DataArray) else raster.variables
    return [name for name, part in parts.items() if _is_own(str(name), part, recorded, bands)]


def _is_own(name: str, part: Any, recorded: bool, bands: Iterable[Hashable]) -> bool:
    if name.startswith(PREFIX) or part.attrs.get(CONTENT) in KINDS:
        return True
    names = {kind: kind for kind in (FILLED, *LAYERS)}
    names |= {f"{band}_{kind}": kind for band in bands for kind in (*LAYERS, EXPECTED)}
    return recorded and name in names and part.dtype.kind == KINDS[names[name]].dtype


def with_coordinates(raster: Raster) -> Raster:
    """Return a raster with what an earlier verb wrote as coordinates: a file read without them has them among its variables."""
    if isinstance(raster, xr.DataArray):
        return raster
    return raster.set_coords([name for name in own(raster) if name in raster.data_vars])


def begun(raster: Raster) -> Raster:
    """Return a raster without the record, the coordinates and the layers of an earlier verb; only the history stays."""
    bare = raster.copy(deep=False).drop_vars(own(raster))  # its attributes are another object's
    earlier = history(noted(raster))
    attrs = fresh(raster.attrs)
    bare.attrs = {**attrs, BEFORE: json.dumps(earlier)} if earlier else attrs
    return bare


def notes_in(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the attributes that are of the record."""
    return {key: value for key, value in attrs.items() if str(key).startswith(PREFIX)}


def noted(raster: Raster) -> Mapping[Any, Any]:
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


def filled_before(raster: Raster) -> xr.DataArray | None:
    """Return which pixels earlier verbs filled, None where nothing says so."""
    if FILLED not in raster.coords or FILLED not in own(raster):
        return None
    found: xr.DataArray = raster.coords[FILLED]
    return found if found.dtype.kind == "b" else found != 0


def lost_filled(raster: Raster) -> str | None:
    """Return a warning where a raster was filled by an earlier verb and its coordinate `filled` is gone, else None."""
    attrs = noted(raster)
    verb = str(attrs.get(f"{PREFIX}verb", ""))
    present = FILLED in raster.coords or (isinstance(raster, xr.Dataset) and FILLED in raster.variables)
    shares = [row.get("filled") for row in dates_of(attrs)]
    if verb not in FILLING or present or (shares and all(share == 0 for share in shares)):
        return None
    return (
        f"The raster was made by {verb}, and its coordinate 'filled' is gone, so what was filled then will count as measured. Keep "
        "it, or put it back from NAME_filled.tif: raster.assign_coords(filled=(('y', 'x'), mask.values.astype(bool)))."
    )


def check(raster: Raster, layers: Collection[str] = ()) -> None:
    """Raise where the result of a verb would replace a variable or coordinate that is the user's.

    Args:
        raster: what a verb is called on.
        layers: those of `LAYERS` that will be written.

    Raises:
        InputError: with the name, and how to rename it.
    """
    taken = {*raster.dims, *raster.coords}
    if isinstance(raster, xr.DataArray):
        wanted, taken = [FILLED, *layers], taken | {raster.name}
    else:
        from .raster import picking

        whole = picking.cube_name(raster) is not None
        wanted = [FILLED, *(layers if whole else (f"{name}_{kind}" for name in raster.data_vars for kind in layers))]
        taken |= set(raster.data_vars)
    ours = own(raster)
    for name in wanted:
        if name not in taken or name in ours:
            continue
        what, call = "a variable", f"raster.rename({{{name!r}: 'my_{name}'}})"
        if name in raster.coords:
            what = "a coordinate"
        elif name == getattr(raster, "name", None):
            what, call = "a raster", f"raster.rename('my_{name}')"
        msg = (
            f"Found {what} named {name!r} that no verb of ngr_geo wrote, and the result of this one has a coordinate of that "
            "name; expected that it is free. Rename yours:"
        )
        option = f"ncrename -v {name},my_{name} FILE (a GeoTIFF's band: rio edit-info)."
        raise InputError(msg, call=f"{call}.", option=option)


def check_held(raster: Raster, held: str) -> None:
    """Raise where `filled` cannot be in a result what it was asked to be: a "coordinate" or a "variable".

    Raises:
        InputError: another word, or a variable beside a DataArray.
    """
    if held not in get_args(Held):
        msg = f"Found filled={held!r}, expected one of {', '.join(map(repr, get_args(Held)))}:"
        raise InputError(msg, call='filled="coordinate".', option="--filled coordinate.")
    if held == "variable" and isinstance(raster, xr.DataArray):
        msg = 'Found filled="variable" for a DataArray, which has no variables beside it, expected a Dataset:'
        raise InputError(msg, call='raster.to_dataset(name="image").ngr', option="-o out.nc or out.zarr.")


def with_variable(result: xr.Dataset) -> xr.Dataset:
    """Return a result with `filled` among its variables, on the same grid as the others; it is still recognised as a verb's own."""
    if FILLED not in result.coords:
        return result
    out = result.reset_coords(FILLED)
    names = {part.encoding.get("grid_mapping") for part in out.data_vars.values()} - {None}
    if len(names) == 1:
        out[FILLED].encoding["grid_mapping"] = names.pop()
    return out


SHORT = ("date by date", "in four parts", "cpu", "learnt one network at a time", "learnt cpu")
"""What can happen to tiles, and to learning, where a device is out of memory: a lazy result has them as flags."""


def short_of_memory(stats: Sequence[Mapping[str, Any]], learnt: str) -> dict[str, Any]:
    """Return where tiles were computed, and how many, and where the scene was learnt, if not as it was chosen; and warn of that.

    Args:
        stats: what is known of each tile.
        learnt: where the scene was learnt; empty where it was to be.
    """
    places = Counter(str(s["place"]) for s in stats if "," in str(s.get("place", "")))
    parts = [f"{count} of {len(stats)} tiles were computed on {place}" for place, count in places.items()]
    found: dict[str, Any] = {"short_of_memory": dict(places)} if places else {}
    if learnt:
        parts, found = [f"the scene was learnt on {learnt}", *parts], {**found, "learnt": learnt}
    if parts:
        warn(f"The device was out of memory: {'; '.join(parts)}. Smaller tiles fit, and are faster than the CPU.")
    return found


def short_flags(stats: Sequence[Mapping[str, Any]], learnt: str) -> list[str]:
    """Return which of `SHORT` happened; and warn of it: see `short_of_memory`."""

    def way(place: str) -> str:
        return "cpu" if place.startswith("cpu,") else place.partition(", ")[2]

    found = short_of_memory(stats, learnt)
    happened = {way(place) for place in found.get("short_of_memory", ())} | (
        {f"learnt {way(learnt)}"} if learnt else set()
    )
    return [each for each in SHORT if each in happened]


# What attributes and tags say, which may have gone through other hands.


def dates_of(attrs: Mapping[Any, Any]) -> list[Row]:
    """Return the rows in a result's attributes, or a file's tags (`ngr_dates`); nothing where there are none."""
    found = read_json(attrs.get("ngr_dates"))
    return [row for row in (found if isinstance(found, list) else [found]) if isinstance(row, dict)]


def read_json(text: Any) -> Any:
    """Return what a text in JSON says, None where it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def table_of(text: Any) -> dict[str, Any]:
    """Return the table that a text in JSON holds, an empty one where it holds none."""
    found = read_json(text)
    return found if isinstance(found, dict) else {}


def number(value: Any) -> float:
    """Return a number of a record, NaN for what is none."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    except OverflowError:
        return float("nan")


def warned(result: xr.DataArray | xr.Dataset, notes: Sequence[str]) -> xr.DataArray | xr.Dataset:
    """Return a result with what a user was warned of in its attributes, beside what is there of the same verb."""
    if not notes:
        return result
    before = json.loads(result.attrs.get("ngr_warnings", "[]"))
    return result.assign_attrs(ngr_warnings=json.dumps([*before, *(n for n in notes if n not in before)]))


def stamped(result: xr.DataArray | xr.Dataset, verb: str, settings: Any, tile: int | None) -> xr.DataArray | xr.Dataset:
    """Return the result with the version, verb and settings that it was made with, and its side of tiles, in its attributes."""
    keep = {name: getattr(settings, name) for name in ("method", "steps", "seed", "device", "tune")} | {"tile": tile}
    return result.assign_attrs(ngr_version=version("ngr_geo"), ngr_verb=verb, ngr_settings=json.dumps(keep))
