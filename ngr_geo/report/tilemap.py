"""The tiles of a job as small maps: paths and colours for an SVG drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from ..wording import counted

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

MOST = 4000
"""Tiles that are drawn: more would make a page heavy, and could not be distinguished."""
_SIDE = 1000.0  # units of the drawing
_MAPS = (
    ("filled", "Share that was filled", "viridis", "{:.1%}"),
    ("expected_rmse", "Expected error (RMSE, mean of bands and dates)", "magma", "{:.4g}"),
)
_OUTCOMES = ("#2563a8", "#b9c0c9", "#c2352b", "#8a4fa3", "#b3892b", "#3a8f5c")
_UNKNOWN = "#e3e6ea"


def drawn(table: GeoDataFrame) -> dict[str, Any] | None:
    """Return the maps of a table of tiles (`index.of_folder`) as a template needs them; None where there is nothing to draw."""
    if not len(table):
        return None
    if len(table) > MOST:
        text = (
            f"{len(table)} tiles are too many to be drawn here: a tile index (--index tiles.gpkg) shows them on a map."
        )
        return {"caption": text, "box": "0 0 1 1", "parts": []}
    paths, box = _paths(table)
    texts = [_text(row) for row in table.drop(columns="geometry").to_dict("records")]
    parts: list[dict[str, Any]] = []
    for column, name, colours, form in _MAPS:
        if column in table and np.isfinite(values := table[column].to_numpy(float)).any():
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            places = (values - low) / ((high - low) or 1.0)
            scale = matplotlib.colormaps[colours]
            shown = [to_hex(scale(place)) if np.isfinite(place) else _UNKNOWN for place in places]
            parts.append({"name": name, "tiles": shown, "bar": bar(colours, (form.format(low), form.format(high)))})
    if "outcome" in table:
        names = table["outcome"].astype(str).tolist()
        keys = dict(zip(dict.fromkeys(names), _OUTCOMES * len(names), strict=False))
        shown = [keys[name] for name in names]
        parts.append({"name": "Outcome", "tiles": shown, "legend": list(keys.items()), "bar": None})
    for part in parts:
        lines = zip(paths, part["tiles"], texts, strict=True)
        part["tiles"] = [{"path": path, "colour": colour, "text": text} for path, colour, text in lines]
    crs = f" Grid: {table.crs.to_string()}." if table.crs is not None else ""
    return {"caption": f"{counted(len(table), 'tile')}; point at one for its numbers.{crs}", "box": box, "parts": parts}


def _paths(table: GeoDataFrame) -> tuple[list[str], str]:
    """Return the polygons as SVG paths, north up, and the view box that holds them."""
    left, bottom, right, top = table.total_bounds
    scale = _SIDE / max(right - left, top - bottom, 1e-12)
    paths = []
    for shape in table.geometry:
        corners = [((x - left) * scale, (top - y) * scale) for x, y in list(shape.exterior.coords)[:-1]]
        paths.append("M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in corners) + "Z")
    return paths, f"-2 -2 {(right - left) * scale + 4:.0f} {(top - bottom) * scale + 4:.0f}"


def bar(name: str, ends: Sequence[str]) -> dict[str, Any]:
    """Return a colour map as steps of colour, and what stands below it."""
    return {"colours": [to_hex(matplotlib.colormaps[name](x)) for x in np.linspace(0, 1, 32)], "ends": list(ends)}


def _text(row: dict[str, Any]) -> str:
    """Return the numbers of a tile, one a line."""
    words = []
    for key, value in row.items():
        if isinstance(value, float):
            if np.isfinite(value):
                words.append(f"{key.replace('_', ' ')}: {value:.4g}")
        elif value not in (None, ""):
            words.append(f"{key.replace('_', ' ')}: {value}")
    return "\n".join(words)
