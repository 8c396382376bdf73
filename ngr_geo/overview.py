"""What the accessor sees of a raster, in words, as a notebook shows `raster.ngr`: dates, bands, masks, which verbs apply and why.

Nothing that is lazy is computed for it, and no pixel of a large raster is looked at.
"""

from html import escape
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from .errors import MaskError, NgrError
from .raster import colours, grid, masks, picking, products
from .raster import cube as cubes
from .raster.cube import SPECTRAL_BANDS, Cube
from .record import FILLED, VERBS, noted, with_coordinates
from .wording import counted, listed, percent

MOST_VALUES = 20_000_000
"""Of a raster in memory, in which missing values are counted."""
COLOURS = ("blue", "green", "red", "near infrared")
Facts = list[tuple[str, str]]


class Applies(NamedTuple):
    """Whether a verb applies to a raster, and why."""

    yes: bool
    why: str


class Overview(NamedTuple):
    """What is seen of a raster: facts by name, and each verb; no verb where it cannot be worked with."""

    title: str
    facts: Facts
    verbs: dict[str, Applies]


def of(raster: xr.DataArray | xr.Dataset) -> Overview:
    """Return what the verbs see of a raster."""
    title = f"ngr: {type(raster).__name__}"
    raster = with_coordinates(raster)
    try:
        picked = picking.cube_of(raster) if isinstance(raster, xr.Dataset) else None
        whole: Any = raster if picked is None else picked
        rows, columns = grid.spatial_dims(whole)
        cube = cubes.read(
            whole.isel({rows: slice(0, 1), columns: slice(0, 1)})
        )  # a pixel says all but how many there are
        mask = _mask(raster)
        facts = _facts(raster, whole, cube, mask)
        return Overview(title, facts, {verb: _applies(verb, cube, mask) for verb in VERBS})
    except NgrError as error:
        return Overview(title, [("Cannot be worked with", str(error))], {})


def text(overview: Overview) -> str:
    """Return an overview as lines for a terminal."""
    left = max(len(name) for name in (*(name for name, _ in overview.facts), *overview.verbs))
    lines = [f"<{overview.title}>", *(f"{name:{left}}  {fact}" for name, fact in overview.facts)]
    if overview.verbs:
        lines.append("Verbs")
    return "\n".join(
        [*lines, *(f"{v:{left}}  {'yes' if a.yes else 'no '}  {a.why}" for v, a in overview.verbs.items())]
    )


def html(overview: Overview) -> str:
    """Return an overview as a piece of HTML; what is from the raster is escaped."""
    cell = "style='text-align:left;vertical-align:top;padding:1px 12px 1px 0'"
    facts = [
        f"<tr><th {cell}>{escape(name)}</th><td {cell} colspan='2'>{escape(t)}</td></tr>" for name, t in overview.facts
    ]
    verbs = [
        f"<tr><td {cell}><code>{verb}</code></td><td {cell}>{'yes' if one.yes else 'no'}</td><td {cell}>{escape(one.why)}</td></tr>"
        for verb, one in overview.verbs.items()
    ]
    head = [f"<tr><th {cell}>Verb</th><th {cell}>Applies</th><th {cell}></th></tr>"] if verbs else []
    return f"<div><b>{escape(overview.title)}</b><table>{''.join([*facts, *head, *verbs])}</table></div>"


def _facts(raster: Any, whole: Any, cube: Cube, mask: str | None) -> Facts:
    """Return what a raster is like."""
    rows, columns = cube.dims[2:]
    dates, bands = cube.shape[:2]
    size = f"{whole.sizes[columns]} x {whole.sizes[rows]} pixels, {counted(dates, 'date')}, {counted(bands, 'band')}"
    kinds = listed(sorted({str(part.dtype) for part in cube.variables}))
    found = [("Size", f"{size}, {kinds}{', lazy' if cube.lazy else ''}")]
    if bool(np.isfinite(cube.days).any()):
        found.append(("Dates", listed(cube.dates, 6)))
    found += [("Bands", _bands(cube)), ("Grid", _grid(whole))]
    if isinstance(raster, xr.Dataset):
        layers = [f"{mask} (found by decloud)"] if mask else []
        layers += [str(n) for n, part in raster.data_vars.items() if n != mask and products.is_quality(n, part.attrs)]
        found.append(("Masks", listed(layers) or "none found"))
    carried = [str(name) for name in (FILLED, products.BAD_PIXELS) if name in whole.coords]
    if carried:
        found.append(("Carried", f"{listed(carried)} (known to the verbs)"))
    attrs = noted(raster)
    if "ngr_verb" in attrs:
        found.append(("Result of", f"{attrs['ngr_verb']}: see .ngr.record"))
    return [*found, ("Missing", _missing(whole, cube))]


def _bands(cube: Cube) -> str:
    """Return the bands with their roles, as far as names or wavelengths say them, and how many are flagged bad."""
    roles = dict(zip(colours.of(cube) or (), COLOURS, strict=False))
    many = len(cube.bands) > 12
    names = [f"{name} ({roles[i]})" if i in roles and not many else name for i, name in enumerate(cube.bands)]
    parts = [listed(names, 12 if not many else 3)]
    if roles and many:
        parts.append(", ".join(f"{role}: {cube.bands[i]}" for i, role in roles.items()))
    if bad := int(cubes.bad_bands(cube).sum()):
        parts.append(f"{bad} flagged bad")
    if not roles:
        parts.append("no blue, green, red and near infrared known, so no haze is looked for")
    return "; ".join(parts)


def _grid(whole: Any) -> str:
    """Return CRS and pixel size."""
    import rioxarray  # noqa: F401  # registers .rio; slow to import

    crs = whole.rio.crs
    if crs is None:
        return "no CRS, distances are counted in pixels; raster.rio.write_crs(...) sets it"
    name = crs.to_string() if len(crs.to_string()) < 40 else "a CRS of its own"
    pixel = grid.resolution(whole)
    return name if pixel is None else f"{name}, pixels of {pixel[0]:.6g} x {pixel[1]:.6g} m"


def _mask(raster: Any) -> str | None:
    """Return the variable that `decloud` takes as its mask, None where there is none."""
    try:
        return masks.find(raster)
    except MaskError:
        return None


def _missing(whole: Any, cube: Cube) -> str:
    """Return the share of values that are nodata or NaN, where that is cheap."""
    rows, columns = cube.dims[2:]
    size = cube.shape[0] * cube.shape[1] * whole.sizes[rows] * whole.sizes[columns]
    if cube.lazy or size > MOST_VALUES:
        return f"not counted: the raster is {'lazy' if cube.lazy else 'large'}"
    full = cubes.read(whole)
    shares = 1 - np.asarray(full.valid).mean(axis=(1, 2, 3))
    if not shares.any():
        return "no value is nodata or NaN"
    mean, most = percent(float(shares.mean())), percent(float(shares.max()))
    which = "" if most == mean else f", up to {most} ({full.dates[int(shares.argmax())]})"
    return f"{mean} of the values are nodata or NaN{which}"


def _applies(verb: str, cube: Cube, mask: str | None) -> Applies:
    """Return whether a verb applies, and why."""
    dates, bands = cube.shape[:2]
    others = "from the other dates" if dates > 1 else "from other bands and surroundings: there is one date"
    if verb == "decloud":
        why = f"by {mask}, filled {others}" if mask else "no mask found: pass clouds=mask (a DataArray, True = cloud)"
        return Applies(mask is not None, why)
    if verb == "inpaint":
        return Applies(True, f"nodata, NaN or a mask of yours, filled {others}")
    if bands < SPECTRAL_BANDS:
        are = "is" if bands == 1 else "are"
        return Applies(False, f"made for cubes of many bands ({SPECTRAL_BANDS} at least), and there {are} {bands}")
    ships = products.BAD_PIXELS in cube.raster.coords
    spectral = {
        "repair": f"all of these, one after the other{', with the bad pixels that are shipped' if ships else ''}",
        "fill_deadlines": "dead lines are found, or named by you",
        "destripe": "stripes along rows or columns",
        "denoise": "noise, of which the level is estimated for each band",
    }
    return Applies(True, spectral[verb])
