"""Pictures of a result as matplotlib figures: before, mask and after in the same colours; uncertainty and change."""

import io
import os
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import atomic
from ..errors import InputError
from . import views
from .views import View

INK, PAPER, SOFT = "#1b1f24", "#ffffff", "#5b6470"
FILLED, EMPTY = (0.93, 0.35, 0.22), (0.86, 0.87, 0.89)
DEVIATION, CHANGE = "viridis", "RdBu_r"
"""Colour maps."""
Stretch = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Low and high value of each band."""
LEAST_MEASURED = 0.05
"""Share of a date's pixels that its own stretch needs."""
NOTEBOOK_DOTS = 60
"""Per inch, of a figure that a notebook shows."""


def quicklook(
    before: xr.DataArray | xr.Dataset,
    after: xr.DataArray | xr.Dataset,
    filled: xr.DataArray | None = None,
    path: str | os.PathLike[str] | None = None,
    dates: Sequence[str] | None = None,
    per_date: bool = False,
) -> Figure:
    """Return a figure with before, mask and after for every date, written as PNG where a path is given.

    All panels have one stretch, from the 2nd to the 98th percentile of the pixels that were measured and not filled, so
    that a difference in colour is a difference in the data. With `per_date` each date has its own, the same before and after.
    Rasters above 800 pixels are averaged down.

    Args:
        before: the raster as it was, DataArray (time, band, y, x) or Dataset, without time for a single date.
        after: what a verb made of it.
        filled: True where it was filled (time, y, x), or per band; by default the coordinate "filled" of `after`.
        path: where to write a PNG, or None.
        dates: ISO days to show; by default the six with most filled pixels.
        per_date: for dates of other seasons or light, of which some would be dark or pale in a common stretch.

    Raises:
        InputError: a date that is not there.
        OutputError: the picture cannot be written.
    """
    result = views.read(before, after, filled)
    looks = views.look(result, views.dates(result, dates))
    limits = [own_stretch(look, looks) if per_date else stretch(looks) for look in looks]
    figure = _side_by_side(
        looks, limits, views.aspect(result.before), "a stretch for each date" if per_date else "one stretch"
    )
    if path is not None:
        atomic.write(path, png(figure), "Choose another place with --quicklook.")
    return figure


def plot_uncertainty(
    before: xr.DataArray | xr.Dataset, after: xr.DataArray | xr.Dataset, dates: Sequence[str] | None = None
) -> Figure:
    """Return a figure with a map for every date of the standard deviation of what was filled, in the raster's units.

    Args:
        before: the raster as it was, as for `quicklook`.
        after: what a verb made of it, with uncertainty=True.
        dates: ISO days to show; by default the six with most filled pixels.

    Raises:
        InputError: the result has no uncertainty, or has no such date.
    """
    result = views.read(before, after, None)
    if result.deviation is None:
        msg = "Found no coordinate 'uncertainty', expected a result that has one: call the verb with uncertainty=True."
        raise InputError(msg)
    return _maps(result, dates, "deviation", DEVIATION, "Standard deviation")


def plot_change(
    before: xr.DataArray | xr.Dataset, after: xr.DataArray | xr.Dataset, dates: Sequence[str] | None = None
) -> Figure:
    """Return a figure with a map for every date of what a verb changed: after - before, mean of the bands that are shown.

    Args:
        before: the raster as it was, as for `quicklook`.
        after: what a verb made of it.
        dates: ISO days to show; by default the six with most filled pixels.

    Raises:
        InputError: a date that is not there.
    """
    return _maps(views.read(before, after, None), dates, "change", CHANGE, "After - before")


class Picture(Figure):
    """A figure that a notebook shows, also where pyplot was never asked for one."""

    def _repr_png_(self) -> bytes:
        return png(self, NOTEBOOK_DOTS)


def blank(width: float, height: float, **layout: Any) -> Picture:
    """Return a figure without anything in it, of so many inches; with no display behind it."""
    figure = Picture(figsize=(width, height), dpi=110, facecolor=PAPER, **layout)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, dots: int | None = None) -> bytes:
    """Return a figure as PNG, with so many dots per inch, or its own."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # names may be in any script
        figure.savefig(content, format="png", dpi="figure" if dots is None else dots)
    return content.getvalue()


def stretch(looks: Sequence[View]) -> Stretch:
    """Return low and high value of each band, the same for all views, from pixels that were measured and not filled.

    The median over the views, weighted by their pixels, of each one's percentiles: a cloudy date that was left as it
    is does not darken the others.
    """
    low, high = [], []
    for band in range(len(looks[0].bands)):
        measured = [look.before[band][~look.filled & np.isfinite(look.before[band])] for look in looks]
        if not any(values.size for values in measured):  # all filled, or nothing there
            measured = [look.after[band][np.isfinite(look.after[band])] for look in looks]
        seen = [values for values in measured if values.size]
        limits = np.array([np.percentile(values, (2, 98)) for values in seen]) if seen else np.array([[0.0, 1.0]])
        weights = np.array([values.size for values in seen]) if seen else np.ones(1)
        bottom, top = (_weighted_median(column, weights) for column in limits.T)
        low.append(bottom)
        high.append(top if top > bottom else bottom + 1.0)
    return np.array(low), np.array(high)


def own_stretch(look: View, alike: Sequence[View]) -> Stretch:
    """Return the stretch of one view, from its own pixels; where too few of them were measured, that of all views."""
    measured = ~look.filled & np.isfinite(look.before).all(axis=0)
    return stretch([look] if measured.mean() >= LEAST_MEASURED else alike)


def _weighted_median(values: NDArray[Any], weights: NDArray[Any]) -> float:
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(values[order][half])


def coloured(image: NDArray[np.float32], limits: Stretch) -> NDArray[Any]:
    """Return red, green, blue in [0, 1] (row, column, 3) of an image (band, row, column); missing pixels in a light grey."""
    low, high = (bound[:, None, None] for bound in limits)
    scaled = np.clip((image - low) / (high - low), 0, 1) ** 0.75  # a little brighter: land is dark
    if scaled.shape[0] == 1:
        scaled = np.repeat(scaled, 3, axis=0)
    picture = np.moveaxis(scaled, 0, -1)
    picture[np.isnan(image).any(axis=0)] = EMPTY
    return picture


def marked(look: View, limits: Stretch) -> NDArray[Any]:
    """Return what was filled in red on a pale picture from before (row, column, 3)."""
    grey = 0.55 + 0.45 * coloured(look.before, limits).mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    grey[np.isnan(look.before).any(axis=0)] = EMPTY
    grey[look.filled] = FILLED
    return grey


def heated(values: NDArray[np.float32], limits: tuple[float, float], name: str) -> NDArray[Any]:
    """Return values (row, column) in a colour map (row, column, 3); NaN in a light grey."""
    scaled = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    picture = matplotlib.colormaps[name](np.nan_to_num(scaled))[..., :3]
    picture[np.isnan(values)] = EMPTY
    return np.asarray(picture)


def highest(maps: Sequence[NDArray[np.float32] | None]) -> float:
    """Return the 98th percentile of the magnitude of all that is neither 0 nor missing, to the end of a scale: never 0."""
    known = [values for values in maps if values is not None]
    seen = np.concatenate([np.abs(values[np.isfinite(values) & (values != 0)]) for values in known])
    return float(np.percentile(seen, 98)) if seen.size else 1.0


def _side_by_side(looks: Sequence[View], stretches: Sequence[Stretch], aspect: float, words: str) -> Figure:
    figure, axes, total = _grid(looks, len(looks), aspect, 0.28)
    smooth = _interpolation(looks)
    for line, look, limits in zip(axes, looks, stretches, strict=True):
        pictures = (coloured(look.before, limits), marked(look, limits), coloured(look.after, limits))
        titles = (f"{look.title}  before".strip(), f"filled: {look.share:.1%}", f"{look.title}  after".strip())
        for axis, picture, title in zip(line, pictures, titles, strict=True):
            axis.imshow(picture, aspect=aspect, interpolation=smooth)
            axis.set_title(title, fontsize=10, color=INK, loc="left", pad=4, parse_math=False)
            axis.set_axis_off()
    shown = " ".join(looks[0].bands)
    caption = f"Bands {shown}; {words} (2nd to 98th percentile of measured pixels). Red: filled. Grey: no data."
    figure.text(0.01, 0.07 / total, caption, fontsize=7.5, color=SOFT, ha="left", va="bottom", parse_math=False)
    return figure


def _maps(result: views.Result, dates: Sequence[str] | None, part: str, name: str, what: str) -> Figure:
    """Return a map for each date of a part of its view, three in a row, with one scale."""
    looks, aspect = views.look(result, views.dates(result, dates)), views.aspect(result.before)
    maps = [getattr(look, part) for look in looks]
    most = highest(maps)
    limits = (0.0 if part == "deviation" else -most, most)
    figure, axes, total = _grid(looks, -(-len(looks) // 3), aspect, 0.8)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, look, values in zip(axes.flat, looks, maps, strict=False):
        axis.imshow(heated(values, limits, name), aspect=aspect, interpolation=_interpolation(looks))
        axis.set_title(look.title, fontsize=10, color=INK, loc="left", pad=4, parse_math=False)
    bar = figure.add_axes((0.01, 0.32 / total, 0.4, 0.12 / total))
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(*limits), name)
    figure.colorbar(scale, cax=bar, orientation="horizontal", extend="max" if limits[0] == 0 else "both")
    bar.tick_params(labelsize=8)
    label = f"{what}, mean of {' '.join(looks[0].bands)}"
    bar.set_title(label, fontsize=8, color=SOFT, loc="left", pad=3, parse_math=False)
    return figure


def _grid(looks: Sequence[View], lines: int, aspect: float, bottom: float) -> tuple[Figure, Any, float]:
    """Return a figure with lines of three panels above a margin (inches), its axes, and its height in inches."""
    rows, across = looks[0].filled.shape
    ratio = min(max(rows * aspect / across, 0.2), 3.0)  # height over width of a panel
    width, gap, top = 3.6, 0.34, 0.3  # inches
    height = width * ratio
    total = lines * height + (lines - 1) * gap + top + bottom
    figure = blank(3 * width + 0.4, total)
    axes = figure.subplots(lines, 3, squeeze=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - top / total, bottom=bottom / total, wspace=0.03, hspace=gap / height
    )
    return figure, axes, total


def _interpolation(looks: Sequence[View]) -> str:
    return "nearest" if max(looks[0].filled.shape) < 200 else "antialiased"
