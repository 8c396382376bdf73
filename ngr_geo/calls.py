"""The call of a verb: written into what it returns, and repeated from there (`ngr_call`, `ngr_made`)."""

import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import wraps
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd
import xarray as xr

from .errors import InputError, warn
from .record import LAYERS, VERBS, check, check_held, dates_of, lost_filled, table_of, with_variable

LOGGER = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
UNRECORDED = ("self", "work", "restart", "progress")
"""Keywords that change nothing in the result."""


def recorded(verb: Callable[P, R]) -> Callable[P, R]:
    """Make a verb of the accessors write its keywords, and when it was called, into what it returns.

    `ngr_call` has the keywords as JSON, of an array its digest; `ngr_made` the time, unless the environment asks for reproducible
    files (SOURCE_DATE_EPOCH: reproducible-builds.org): nothing else distinguishes a call that was interrupted and went on in a work
    folder from one that was not.
    """
    from .raster import picking

    signature = inspect.signature(verb)

    @wraps(verb)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        given = {name: _as_json(value) for name, value in bound.arguments.items() if name not in UNRECORDED}
        raster = cast(Any, arguments[0])._raster
        check_held(raster, bound.arguments["filled"])
        check(raster, [kind for kind in LAYERS if bound.arguments.get(kind)])
        if lost := lost_filled(raster):
            warn(lost)
        begun, name = time.monotonic(), verb.__name__
        LOGGER.info("%s of %s: %s", name, dict(raster.sizes), {n: v for n, v in given.items() if v is not None})
        result: Any = verb(*arguments, **keywords)
        for row in dates_of(result.attrs):
            LOGGER.debug("%s: %s", name, row)
        LOGGER.info("%s: returned after %.1f s", name, time.monotonic() - begun)
        made = {}
        if "SOURCE_DATE_EPOCH" not in os.environ:
            made["ngr_made"] = datetime.now(UTC).isoformat(timespec="seconds")
        result = result.assign_attrs(ngr_call=json.dumps(given), **made)
        if isinstance(raster, xr.Dataset) and isinstance(result, xr.DataArray):  # its only cube was meant
            result = picking.put_back(result, raster)
        if bound.arguments["filled"] == "variable":
            result = with_variable(result)
        return cast(R, result)

    return call


def call_of(attrs: Mapping[Any, Any], given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the verb and the keywords of a result's attributes; arrays are taken from `given`, which also overrules the rest.

    Raises:
        InputError: there is no record, an array is missing, or it is another one than then.
    """
    if "ngr_call" not in attrs or "ngr_verb" not in attrs:
        msg = "Found no record of a verb (ngr_verb, ngr_call), expected a result of ngr_geo: pass one, or its attrs or tags."
        raise InputError(msg)
    verb, keywords = str(attrs["ngr_verb"]), dict(json.loads(attrs["ngr_call"]))
    if verb not in VERBS or set(keywords) & set(UNRECORDED):  # tags may say anything: they call and write nothing else
        msg = f"Found a record that no verb wrote ({verb}, {', '.join(keywords)}), expected one of {', '.join(VERBS)}."
        raise InputError(msg)
    if str(attrs.get("ngr_version")) != version("ngr_geo"):
        warn(
            f"The result was made by version {attrs.get('ngr_version')}, this is {version('ngr_geo')}: the bits may differ."
        )
    if verb != "repair" and keywords.get("tile", 0) is None:  # found then, and now it might be another
        keywords["tile"] = table_of(attrs.get("ngr_settings")).get("tile")
    for name, value in keywords.items():
        if not isinstance(value, dict):
            continue
        if name not in given:
            msg = f"The result was made with {name}= given as {value['kind']}: pass it again, .ngr.repeat(result, {name}=...)."
            raise InputError(msg)
        found = _as_json(given[name])
        if value["digest"] and isinstance(found, dict) and found["digest"] and found["digest"] != value["digest"]:
            msg = f"Found another {name} than the result was made with, expected the same values: pass that one."
            raise InputError(msg)
    return verb, {**keywords, **given}


def _as_json(value: Any) -> Any:
    """Return a keyword's value as JSON can hold it; of an array or object a digest, None where that would compute something."""
    from .tiling.store import digest

    if isinstance(value, tuple) and hasattr(value, "given"):  # a mask that was prepared: what it was prepared from
        value = value.given
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
        return [_as_json(v) for v in value]
    return {"kind": type(value).__name__, "digest": None}
