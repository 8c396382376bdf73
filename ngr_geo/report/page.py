"""One HTML page on a result: pictures, expected errors, tiles, how it was made. It holds all that it shows and fetches nothing.

Names, tags and attributes come from files that anyone may have made. They reach the page through a template that escapes them, and
the page's policy lets only the package's own style and script run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import jinja2
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, features

from .. import atomic
from .. import rows as records
from ..raster.cube import SPECTRAL_BANDS
from ..record import number, read_json
from ..result import DateRecord, of_row
from . import charts, facts, index, pictures, tilemap, views
from .views import Result, Spectra, View

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

PICTURE_BYTES = 150_000
"""Of one picture, at most: with six dates of five pictures a page stays below 10 MB."""


def save(
    before: xr.DataArray | xr.Dataset,
    after: xr.DataArray | xr.Dataset,
    path: str | os.PathLike[str],
    tiles: GeoDataFrame | None = None,
    warnings: Sequence[str] = (),
) -> Path:
    """Write a page on a result and return its path. A file that is there is replaced, when the page is whole.

    Pictures show the six dates with most filled pixels, of one date of many bands those that were changed most; rasters above 800
    pixels are averaged down. The page stays below 10 MB. A lazy result is computed, block by block: cheaper is one that was
    written and read back.

    Args:
        before: the raster as it was, DataArray (time, band, y, x) or Dataset, without time for a single date.
        after: what a verb made of it, with its attributes and coordinates.
        path: of the page.
        tiles: the tiles of the job, as `.ngr.tiles(work)` returns them; None: as far as the result's record has them.
        warnings: what was warned of while it was made, beside those in the result's record.

    Raises:
        InputError: the two do not belong together, or nothing says what was filled.
        OutputError: the page cannot be written.
    """
    page = _page(views.read(before, after, None), tiles, warnings)
    atomic.write(path, _rendered(page).encode("utf-8", "replace"), "Choose another place with --report.")
    return Path(path)


def _rendered(page: Mapping[str, Any]) -> str:
    """Return a page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ngr_geo.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    folder = resources.files("ngr_geo.report") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("report.html").render(
        page=page, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script)
    )


def _hash(text: str) -> str:
    """Return what a page's policy calls a text that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _page(result: Result, tiles: GeoDataFrame | None, warnings: Sequence[str]) -> dict[str, Any]:
    """Return all that the template shows."""
    after, cube = result.after.raster, result.before
    choices = views.dates(result)
    found = views.spectra(result, 0) if cube.shape[0] == 1 and cube.shape[1] >= SPECTRAL_BANDS else None
    if found is not None:
        choices += views.most_changed(result, found, 0)
    looks, columns = dask.compute([views.view(result, choice) for choice in choices], records.coordinates(result.after))
    recorded = read_json(after.attrs.get("ngr_warnings"))
    warnings = list(dict.fromkeys([*warnings, *(map(str, recorded) if isinstance(recorded, list) else ())]))
    table = index.of_result(result.after) if tiles is None else tiles
    rows = [of_row(row) for row in records.merged(result.after, columns)]
    page: dict[str, Any] = {
        "title": facts.TITLES.get(str(after.attrs.get("ngr_verb")), "Restored"),
        "lead": facts.lead(cube),
        "cards": facts.cards(rows, after.attrs),
        "warnings": [facts.short(text) for text in warnings],
        "notes": facts.notes(cube, rows, after.attrs),
        "caption": _caption(result, looks),
        "views": _shown(result, looks, rows),
        "numbers": "Expected error" if any(row.expected_rmse is not None for row in rows) else "In numbers",
        "charts": _charts(result, rows, found),
        "dates": facts.dates_table(cube, rows),
        "errors": facts.errors_table(cube, rows),
        "map": None if table is None else tilemap.drawn(table),
        "made": facts.made(after.attrs),
        "more": facts.more(after.attrs, cube),
        "repeat": facts.repeat(after.attrs),
        "foot": f"ngr_geo {version('ngr_geo')}. This page holds all that it shows and fetches nothing.",
    }
    sections = [
        ("Trust", "trust", True),
        ("Pictures", "pictures", True),
        (page["numbers"], "errors", page["charts"] or page["dates"]),
        ("Tiles", "tiles", page["map"]),
        ("How it was made", "provenance", True),
    ]
    return page | {"sections": [(name, place) for name, place, there in sections if there]}


def _caption(result: Result, looks: Sequence[View]) -> str:
    """Return what holds for all pictures."""
    words = [
        "Drag the line, or use the arrow keys, to compare. Each date has a stretch of its own, the same before and after: from the "
        "2nd to the 98th percentile of what was measured and not filled."
    ]
    count, steps = len(result.before.dates), views.steps_of(result.before)
    if len(looks) < count:
        are = "is" if len(looks) == 1 else "are"
        words.append(f"Of {count} dates {len(looks)}, with most filled pixels, {are} shown; the tables have all.")
    if max(steps) > 1:
        words.append(f"A pixel here is the mean of {steps[0]} x {steps[1]}.")
    return " ".join(words)


def _shown(result: Result, looks: Sequence[View], rows: Sequence[DateRecord]) -> list[dict[str, Any]]:
    """Return the views as the template shows them; each has its own stretch, and those of the same bands one scale."""
    shown = []
    aspect = views.aspect(result.before)
    for look in looks:
        alike = [other for other in looks if other.bands == look.bands]
        limits = pictures.own_stretch(look, alike)
        title = look.title or (f"Band {look.bands[0]}" if len(look.bands) == 1 else "In colours")
        of_date = len(look.bands) > 1 or look.title in ("", result.before.dates[look.date])
        row = rows[look.date] if of_date and look.date < len(rows) else None
        legend = [f"{c}: {facts.short(b, 60)}" for c, b in zip(("Red", "green", "blue"), look.bands, strict=False)]
        before, after = (_picture(pictures.coloured(image, limits), aspect) for image in (look.before, look.after))
        shown.append(
            {
                "title": facts.short(title, 200),
                "facts": _line(look, row),
                "bands": "; ".join(legend) + "." if len(look.bands) == 3 else "",
                "before": before,
                "after": after,
                "others": _others(look, alike, limits, aspect, facts.unit(result.before)),
            }
        )
    return shown


def _line(look: View, row: DateRecord | None) -> str:
    """Return one line on a date."""
    words = [f"{look.share:.1%} filled"] if look.share > 0 else []
    if row is not None and row.method not in (None, "", "none"):
        words.append(f"kept: {facts.short(row.method, 100)}")
    if row is not None and row.expected_rmse is not None:
        words.append(f"expected RMSE {facts.figure(row.expected_rmse)}, mean of the bands")
    text = "; ".join(words)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _others(
    look: View, alike: Sequence[View], limits: pictures.Stretch, aspect: float, unit: str
) -> list[dict[str, Any]]:
    """Return the pictures beside the slider: what was filled, its standard deviation, what was changed."""
    bands = "mean of the three bands, " if len(look.bands) > 1 else ""
    filled = "Red: filled." if look.filled.any() else "Nothing was filled here."
    found: list[dict[str, Any]] = [
        {"name": "Mask", "picture": pictures.marked(look, limits), "bar": None, "caption": f"{filled} Grey: no data."}
    ]
    if look.deviation is not None:
        most = pictures.highest([other.deviation for other in alike])
        caption = f"Standard deviation, {bands}{unit}. Grey: as measured, or not known."
        scale = tilemap.bar(pictures.DEVIATION, ("0", f"{facts.figure(most, 3)} or more"))
        picture = pictures.heated(look.deviation, (0, most), pictures.DEVIATION)
        found.append({"name": "Uncertainty", "picture": picture, "bar": scale, "caption": caption})
    most = pictures.highest([other.change for other in alike])
    caption = f"After - before, {bands}{unit}."
    scale = tilemap.bar(pictures.CHANGE, (f"-{facts.figure(most, 3)}", "0", facts.figure(most, 3)))
    picture = pictures.heated(look.change, (-most, most), pictures.CHANGE)
    found.append({"name": "Difference", "picture": picture, "bar": scale, "caption": caption})
    return [part | {"picture": _picture(part["picture"], aspect)} for part in found]


def _charts(result: Result, rows: Sequence[DateRecord], found: Spectra | None) -> list[dict[str, Any]]:
    """Return the charts, as far as there is something to draw."""
    drawn = []
    if any(row.expected_rmse is not None for row in rows):
        caption = (
            "The error to expect in what was filled, measured on pixels that were hidden for this alone, in the raster's units. "
            "Whiskers, or the shade: the uncertainty of such an expectation."
        )
        if any("ngr" in row.hidden_rmse for row in rows) and result.before.shape[1] < SPECTRAL_BANDS:
            caption += (
                " Below: members and blend on the hidden pixels that weights were fitted on; full: what was kept."
            )
        drawn.append(_chart(charts.expected(rows, result.after.raster), "Expected error per band", caption))
    if found is not None:
        noise = read_json(result.after.raster.attrs.get("ngr_noise"))
        levels = [number(level) for level in noise] if isinstance(noise, list) else []
        caption = "Each band before and after, how far it was changed, and how much of it was filled."
        if levels:
            caption += " A change well below the estimated noise leaves noise; one above it may take signal."
        drawn.append(_chart(charts.plot_bands(result.before.raster, found, levels), "Change per band", caption))
    return drawn


def _chart(figure: Figure, alt: str, caption: str) -> dict[str, Any]:
    content = pictures.png(figure, 200)
    width, height = Image.open(io.BytesIO(content)).size
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return {"source": source, "width": width // 2, "height": height // 2, "alt": alt, "caption": caption}


def _picture(image: NDArray[Any], aspect: float) -> dict[str, Any]:
    """Return a picture (row, column, 3) in [0, 1] with square pixels, small: as PNG, or where that is too large as WebP."""
    picture = Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))
    width, height = float(picture.width), picture.height * min(max(aspect, 0.02), 50)
    longest = max(width, height)
    factor = views.PIXELS / longest if longest > views.PIXELS else max(1.0, views.PIXELS // longest)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BOX)
    lossy = "WEBP" if features.check("webp") else "JPEG"
    for kind, quality in (("PNG", 0), *((lossy, quality) for quality in (80, 45, 15))):
        content = io.BytesIO()
        picture.save(content, kind, **({"quality": quality} if quality else {}))
        if content.tell() <= PICTURE_BYTES:
            break
    data = base64.b64encode(content.getvalue()).decode()
    return {"source": f"data:image/{kind.lower()};base64,{data}", "width": size[0], "height": size[1]}
