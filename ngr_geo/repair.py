"""The faults of a spectrometer's cube mended one after the other, by the verbs that mend each; see `accessor`.

What is missing comes first, since stripes and noise are estimated from what is there; then lines that are dead, which would look
like strong stripes; then stripes, which would look like noise that is the same along a line; then noise.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from . import record
from .errors import InputError
from .raster import cube as cubes
from .raster import selection
from .raster.missing import PRODUCT, missing_mask
from .raster.products import BAD_PIXELS
from .record import Raster
from .tiling.work import Folder
from .wording import listed

FAULTS = {"bad pixels": "inpaint", "lines": "fill_deadlines", "stripes": "destripe", "noise": "denoise"}
"""What is mended, in this order, and the verb that does it."""
_RECORD = ("ngr_settings", "ngr_dates", "ngr_tiles", "ngr_expected", "ngr_noise", "ngr_mask", "ngr_bands_left_out")


def repair(
    raster: Raster,
    faults: Sequence[str] | None,
    noise: str,
    direction: str | None,
    bad_bands: Sequence[Any] | None,
    shared: Mapping[str, Any],
) -> Raster:
    """Return a cube with its faults mended.

    Args:
        raster: the cube, or a Dataset with one.
        faults: some of `FAULTS`; None: all, bad pixels where the product ships any.
        noise, direction, bad_bands: of the verbs.
        shared: the keywords common to them, as a user gave them; `work` is a folder for theirs.

    Raises:
        InputError, MaskError: a fault that is not known, or bad pixels asked for where none are shipped.
    """
    cube = cubes.read(raster)
    chosen = _chosen(cube, faults)
    common = {
        name: value
        for name, value in shared.items()
        if name not in ("work", "filled") and not (name == "tile" and value is None)
    }
    own = {
        "bad pixels": {"missing": _shipped(cube, bad_bands), "extent": "all"} if "bad pixels" in chosen else {},
        "lines": {"bad_bands": bad_bands},
        "stripes": {"direction": direction, "bad_bands": bad_bands},
        "noise": {"noise": noise, "bad_bands": bad_bands},
    }
    before = record.history(record.noted(raster))
    found, steps, notes = raster, [], list[str]()
    for fault in chosen:
        verb = getattr(found.ngr, FAULTS[fault])
        found = verb(**own[fault], **common, work=_inside(shared.get("work"), fault))
        notes += [note for note in record.read_json(found.attrs.get("ngr_warnings")) or [] if note not in notes]
        steps.append(_step(fault, found))
    return _whole(found, steps, notes, before, shared.get("work") is not None)


def _chosen(cube: cubes.Cube, faults: Sequence[str] | None) -> list[str]:
    """Return the faults to be mended, in their order."""
    ships = BAD_PIXELS in cube.raster.coords
    asked = [fault for fault in FAULTS if ships or fault != "bad pixels"] if faults is None else list(faults)
    unknown = [fault for fault in asked if fault not in FAULTS]
    if isinstance(faults, str) or unknown or not asked:
        what = repr(faults) if isinstance(faults, str) or not asked else listed([repr(fault) for fault in unknown])
        msg = f"Found the faults {what}, expected some of {', '.join(map(repr, FAULTS))}, or None for all:"
        raise InputError(
            msg, call='faults=["lines", "noise"], for example.', option="--faults lines,noise, for example."
        )
    return [fault for fault in FAULTS if fault in asked]


def _shipped(cube: cubes.Cube, bad_bands: Sequence[Any] | None) -> Any:
    """Return "product", or the bad pixels that it ships in all bands that take part."""
    missing_mask(cube, PRODUCT)  # raises where there is none
    if not bad_bands:
        return PRODUCT
    good = np.ones(len(cube.bands), bool)
    good[selection.bands(cube.bands, bad_bands)] = False
    mask: Any = missing_mask(cube, PRODUCT) & good[:, None, None]
    mask = (da if isinstance(mask, da.Array) else np).broadcast_to(mask, cube.shape)
    return xr.DataArray(cubes.variable_of(mask, cube, cube.variables[0]))


def _inside(work: Any, fault: str) -> Folder | None:
    """Return the folder of one step in the work folder."""
    if work is None:
        return None
    name = fault.replace(" ", "-")
    if isinstance(work, Folder):
        return Folder(os.path.join(work.path, name), work.restart, work.inputs)
    return Folder(os.path.join(work, name))


def _step(fault: str, found: Raster) -> dict[str, Any]:
    """Return the record of one step, as JSON can hold it; of a lazy raster without what only computing shows."""
    kept = {name.removeprefix("ngr_"): record.read_json(found.attrs[name]) for name in _RECORD if name in found.attrs}
    return {"fault": fault, "verb": FAULTS[fault], "call": record.read_json(found.attrs.get("ngr_call")), **kept}


def _whole(
    found: Raster, steps: list[dict[str, Any]], notes: list[str], before: list[dict[str, Any]], solved: bool
) -> Raster:
    """Return the last step's result with the record of all steps in place of the history that they left.

    How much was filled is counted where that solves nothing: of a raster in memory, or where all is `solved` in a work folder.
    """
    attrs = {key: value for key, value in found.attrs.items() if key not in (record.BEFORE, "ngr_warnings")}
    if before:
        attrs[record.BEFORE] = json.dumps(before)
    rows = record.dates_of(found.attrs)
    filled = record.filled_before(cubes.read(found).raster)
    if rows and filled is not None and (solved or not filled.chunks):
        shares = filled.mean([dim for dim in filled.dims if str(dim) != "time"]).values.ravel()
        rows = [
            {**row, "filled": round(float(share), 6)}
            for row, share in zip(rows, np.resize(shares, len(rows)), strict=True)
        ]
        attrs["ngr_dates"] = json.dumps(rows)
    attrs |= {"ngr_verb": "repair", "ngr_steps": json.dumps(steps)}
    out = found.copy(deep=False)
    out.attrs = attrs
    return record.warned(out, notes)


def remove(folder: Path) -> None:
    """Remove the work folders of all steps, and the one around them where nothing else is left in it."""
    from .tiling import jobs

    for fault in FAULTS:
        jobs.remove(folder / fault.replace(" ", "-"))
    jobs.remove(folder)
