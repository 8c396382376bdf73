"""What a result was made with: every verb writes it into the result's attributes, and it is enough to make the result again."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import wraps
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd
import xarray as xr

from . import record
from .errors import InputError, warn
from .record import read_json

P = ParamSpec("P")
R = TypeVar("R")
VERBS = ("decloud", "inpaint", "denoise", "destripe", "fill_deadlines")
LEFT_OUT = ("self", "work", "restart", "progress")
"""Keywords that change nothing in the result."""


def recorded(verb: Callable[P, R]) -> Callable[P, R]:
    """Have a verb of the accessors write its keywords, and when it was called, into what it returns.

    `ngr_call` has the keywords as JSON, of an array its digest; `ngr_made` the time, unless the environment asks for reproducible
    files (SOURCE_DATE_EPOCH: reproducible-builds.org): nothing else tells a call that was interrupted and went on in a work folder
    from one that was not. What an earlier verb left in the raster: see `record`.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        told = {name: _told(value) for name, value in bound.arguments.items() if name not in LEFT_OUT}
        raster = cast(Any, arguments[0])._raster
        record.check(raster, [kind for kind in record.LAYERS if bound.arguments.get(kind)])
        if lost := record.lost_filled(raster):
            warn(lost)
        result: Any = verb(*arguments, **keywords)
        made = {}
        if "SOURCE_DATE_EPOCH" not in os.environ:
            made["ngr_made"] = datetime.now(UTC).isoformat(timespec="seconds")
        return cast(R, result.assign_attrs(ngr_call=json.dumps(told), **made))

    return call


def call_of(record: Mapping[Any, Any], given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the verb and the keywords of a result's attributes; arrays are taken from `given`, which also overrules the rest.

    Raises:
        InputError: there is no record, an array is missing, or it is another one than then.
    """
    if "ngr_call" not in record or "ngr_verb" not in record:
        msg = "Found no record of a verb (ngr_verb, ngr_call), expected a result of ngr_geo: pass one, or its attrs or tags."
        raise InputError(msg)
    verb, keywords = str(record["ngr_verb"]), dict(json.loads(record["ngr_call"]))
    if verb not in VERBS or set(keywords) & set(LEFT_OUT):  # tags may say anything: they call and write nothing else
        msg = f"Found a record that no verb wrote ({verb}, {', '.join(keywords)}), expected one of {', '.join(VERBS)}."
        raise InputError(msg)
    if str(record.get("ngr_version")) != version("ngr_geo"):
        text = f"The result was made by version {record.get('ngr_version')}, this is {version('ngr_geo')}: the bits may differ."
        warn(text)
    for name, value in keywords.items():
        if not isinstance(value, dict):
            continue
        if name not in given:
            msg = f"The result was made with {name}= given as {value['kind']}: pass it again, .ngr.repeat(result, {name}=...)."
            raise InputError(msg)
        found = _told(given[name])
        if value["digest"] and isinstance(found, dict) and found["digest"] and found["digest"] != value["digest"]:
            msg = f"Found another {name} than the result was made with, expected the same values: pass that one."
            raise InputError(msg)
    return verb, {**keywords, **given}


def _told(value: Any) -> Any:
    """Return a keyword's value as JSON can hold it; of an array or object a digest, None where that would compute something."""
    from .tiling.store import digest

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, xr.DataArray):
        kind = f"array {value.name}" if value.name else "an array"
        return {"kind": kind, "digest": None if value.chunks else digest(value.values)}
    if isinstance(value, np.ndarray) and value.ndim > 1:
        return {"kind": "an array", "digest": digest(value)}
    if hasattr(value, "to_wkb"):  # polygons
        from .raster.aoi import digest_of

        return {"kind": type(value).__name__, "digest": digest_of(value)}
    if isinstance(value, Mapping) and "type" in value:
        return {"kind": "GeoJSON", "digest": digest(json.dumps(value, sort_keys=True))}
    if isinstance(value, list | tuple | np.ndarray | pd.Index):
        return [_told(v) for v in value]
    return {"kind": type(value).__name__, "digest": None}


def dates_of(record: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return what a result's attributes, or a file's tags, tell of each date (`ngr_dates`); nothing where they tell nothing."""
    rows = read_json(record.get("ngr_dates"))
    return [row for row in (rows if isinstance(rows, list) else [rows]) if isinstance(row, dict)]


def number(value: Any) -> float:
    """Return a number of a record, NaN for what is none."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
    except OverflowError:
        return float("nan")
