"""Pictures of a result as matplotlib figures: before, mask and after in the same colours; errors, uncertainty and change."""

from __future__ import annotations

import io
import itertools
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import atomic
from .. import rows as records
from ..errors import InputError
from ..raster.cube import SPECTRAL_BANDS
from ..record import number
from . import views
from .views import View

INK, PAPER, SOFT = "#1b1f24", "#ffffff", "#5b6470"
FILLED, EMPTY = (0.93, 0.35, 0.22), (0.86, 0.87, 0.89)
DEVIATION, CHANGE = "viridis", "RdBu_r"
"""Colour maps."""
_LINES = ("#2563a8", "#d9622b", "#3a8f5c", "#8a4fa3", "#b3892b", "#4aa3b8", "#c0447c")
Stretch = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Low and high value of each band."""
NOTEBOOK_DOTS = 60
"""Per inch, of a figure that a notebook shows."""


def quicklook(
    before: xr.DataArray | xr.Dataset,
    after: xr.DataArray | xr.Dataset,
    filled: xr.DataArray | None = None,
    path: str | os.PathLike[str] | None = None,
    dates: Sequence[str] | None = None,
) -> Figure:
    """A figure with before, mask and after for every date, written as PNG where a path is given.

    All panels have one stretch, from the 2nd to the 98th percentile of the pixels that were measured and not filled, so
    that a difference in colour is a difference in the data. Rasters above 800 pixels are averaged down.

    Args:
        before: the raster as it was, DataArray (time, band, y, x) or Dataset, without time for a single date.
        after: what a verb made of it.
        filled: True where it was filled (time, y, x), or per band; by default the coordinate "filled" of `after`.
        path: where to write a PNG, or None.
        dates: ISO days to show; by default the six with most filled pixels.

    Raises:
        InputError: a date that is not there.
        OutputError: the picture cannot be written.
    """
    result = views.read(before, after, filled)
    looks = views.look(result, views.dates(result, dates))
    figure = _side_by_side(looks, stretch(looks), views.aspect(result.before))
    if path is not None:
        atomic.write(path, png(figure), "Choose another place with --quicklook.")
    return figure


def plot_uncertainty(
    before: xr.DataArray | xr.Dataset, after: xr.DataArray | xr.Dataset, dates: Sequence[str] | None = None
) -> Figure:
    """A figure with a map for every date of how far what was filled may be off: standard deviations, in the raster's units.

    Args:
        before: the raster as it was, as for `quicklook`.
        after: what a verb made of it, with uncertainty=True.
        dates: ISO days to show; by default the six with most filled pixels.

    Raises:
        InputError: the result tells no uncertainty, or has no such date.
    """
    result = views.read(before, after, None)
    if result.deviation is None:
        msg = "Found no coordinate 'uncertainty', expected a result that has one: call the verb with uncertainty=True."
        raise InputError(msg)
    looks = views.look(result, views.dates(result, dates))
    shown = [look.deviation for look in looks]
    return _maps(looks, shown, (0.0, highest(shown)), DEVIATION, "Standard deviation", views.aspect(result.before))


def plot_change(
    before: xr.DataArray | xr.Dataset, after: xr.DataArray | xr.Dataset, dates: Sequence[str] | None = None
) -> Figure:
    """A figure with a map for every date of what a verb changed: after - before, mean of the bands that are shown.

    Args:
        before: the raster as it was, as for `quicklook`.
        after: what a verb made of it.
        dates: ISO days to show; by default the six with most filled pixels.

    Raises:
        InputError: a date that is not there.
    """
    result = views.read(before, after, None)
    looks = views.look(result, views.dates(result, dates))
    shown = [look.change for look in looks]
    most = highest(shown)
    return _maps(looks, shown, (-most, most), CHANGE, "After - before", views.aspect(result.before))


def plot_expected(after: xr.DataArray | xr.Dataset) -> Figure:
    """A figure with the error that is expected in what was made up: per date and band, in the raster's units.

    Of few bands a point for each date and band, whiskers for how far such an expectation is off (its doubt), and below the errors
    of guide and NGR on hidden pixels; of a spectral cube a line over its bands.

    Args:
        after: what a verb made of a raster.

    Raises:
        InputError: the result tells no expected error.
    """
    return expected(records.of(after), after)


def expected(rows: Sequence[Mapping[str, Any]], after: xr.DataArray | xr.Dataset) -> Figure:
    """A figure as `plot_expected` makes it, from the record of each date of a result."""
    rows = [row for row in rows if isinstance(row.get("expected"), Mapping)]
    if not rows:
        msg = (
            "Found no expected error in the attribute 'ngr_dates', expected a result that was checked on hidden pixels."
        )
        raise InputError(msg)
    tables = [{key: _numbers(part) for key, part in row["expected"].items()} for row in rows]
    days = [str(row.get("date", "")) for row in rows]
    bands = list(tables[0].get("rmse", {}))
    if len(bands) >= SPECTRAL_BANDS:
        return _expected_of_cube(tables, days, bands, after)
    return _expected_of_dates(rows, tables, days, bands)


def _numbers(part: Any) -> dict[str, float]:
    return {str(name): number(value) for name, value in part.items()} if isinstance(part, Mapping) else {}


def _figure_of_choice(row: Mapping[str, Any], method: str) -> float:
    """Return the error on hidden pixels of guide or NGR that one of them was chosen by; NaN where none is recorded."""
    table = row.get("choice")
    return number(table.get(method)) if isinstance(table, Mapping) else float("nan")


def _expected_of_dates(
    rows: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Mapping[str, float]]],
    days: list[str],
    bands: list[str],
) -> Figure:
    both = any(np.isfinite(_figure_of_choice(row, "ngr")) for row in rows)
    figure = _figure(5.0, 4.6 if both else 3.2)
    axes = figure.subplots(2 if both else 1, 1, sharex=True, squeeze=False, height_ratios=(3, 2) if both else None)[
        :, 0
    ]
    places = np.arange(len(days), dtype=float)
    for index, band in enumerate(bands):
        rmse, doubt = (np.array([t.get(key, {}).get(band, np.nan) for t in tables]) for key in ("rmse", "doubt"))
        factor = np.exp(np.nan_to_num(doubt))  # doubt is that of a logarithm
        shift = (index - (len(bands) - 1) / 2) * 0.6 / max(len(bands), 3)
        bars = np.stack([rmse - rmse / factor, rmse * factor - rmse])
        style: dict[str, Any] = {"fmt": "o", "ms": 4, "lw": 1.2, "capsize": 2, "color": _LINES[index % len(_LINES)]}
        axes[0].errorbar(places + shift, rmse, bars, label=band[:20], **style)
    axes[0].set_ylabel("expected RMSE")
    if both:
        _compared(axes[1], places, rows)
    step = max(1, -(-len(days) // 12))
    slant = {"rotation": 30, "ha": "right"} if len(days) > 4 else {}
    axes[-1].set_xticks(places[::step], days[::step], **slant)
    axes[-1].set_xlim(-0.6, len(days) - 0.4)
    for axis in axes:
        _tidy(axis)
    return figure


def _compared(axis: Any, places: NDArray[np.float64], rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the errors of guide and NGR that one was chosen by; hollow where the other one was kept."""
    for method, name, shift, colour in (("guide", "guide", -0.1, _LINES[0]), ("ngr", "NGR", 0.1, _LINES[1])):
        errors = np.array([_figure_of_choice(row, method) for row in rows])
        kept = np.array([row.get("method") == method for row in rows])
        style: dict[str, Any] = {"ls": "", "ms": 6, "color": colour, "marker": "o"}
        axis.plot([], [], label=name, **style)
        for where, how in ((kept, "full"), (~kept, "none")):
            axis.plot(places[where] + shift, errors[where], fillstyle=how, **style)
    axis.set_ylabel("RMSE on hidden pixels")


def _expected_of_cube(
    tables: Sequence[Mapping[str, Mapping[str, float]]],
    days: list[str],
    bands: list[str],
    after: xr.DataArray | xr.Dataset,
) -> Figure:
    figure = _figure(5.0, 3.0)
    axis = figure.subplots()
    places, label = _along(after, bands)
    pieces = _pieces(places)
    for index, (table, day) in enumerate(zip(tables, days, strict=True)):
        rmse, doubt = (np.array([table.get(key, {}).get(band, np.nan) for band in bands]) for key in ("rmse", "doubt"))
        factor = np.exp(np.nan_to_num(doubt))
        colour = _LINES[index % len(_LINES)]
        for part in pieces:
            axis.fill_between(places[part], (rmse / factor)[part], (rmse * factor)[part], color=colour, alpha=0.2, lw=0)
        axis.plot(*_lines(places, rmse, pieces), color=colour, lw=1.3, label=day if len(days) > 1 else "expected RMSE")
    axis.set_xlabel(label)
    axis.set_ylabel("expected RMSE")
    _tidy(axis)
    return figure


def plot_bands(before: xr.DataArray | xr.Dataset, found: views.Spectra, noise: Sequence[float]) -> Figure:
    """A figure of what was changed in each band of a spectral cube, beside its estimated noise where that is known.

    Args:
        before: the cube as it was.
        found: what its bands are like.
        noise: standard deviation for each band, or nothing.
    """
    figure = _figure(5.0, 4.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    places, label = _along(before, [str(index + 1) for index in range(len(found.after))])
    pieces = _pieces(places)
    for values, name, colour in ((found.before, "before", _LINES[1]), (found.after, "after", _LINES[0])):
        top.plot(*_lines(places, values, pieces), color=colour, lw=1.2, label=name)
    top.set_ylabel("mean")
    bottom.plot(*_lines(places, found.change, pieces), color=_LINES[0], lw=1.3, label="changed by (RMS)")
    if len(noise) == len(places):
        bottom.plot(*_lines(places, np.array(noise), pieces), color=_LINES[1], lw=1.2, label="estimated noise")
    positive = found.change[np.isfinite(found.change) & (found.change > 0)]
    if positive.size > len(places) / 2 and positive.max() > 20 * np.median(positive):
        bottom.set_yscale("log")  # one bad band does not flatten all others
    bottom.set_ylabel("change")
    if found.filled.any():
        share = bottom.twinx()
        for part in pieces:
            share.fill_between(places[part], found.filled[part] * 100, color=_LINES[2], alpha=0.25, lw=0, step="mid")
        share.set_ylim(0, max(5.0, float(found.filled.max() * 105)))
        share.set_ylabel("made up, %", color=_LINES[2], fontsize=9)
        share.tick_params(labelsize=8, colors=SOFT)
        share.spines[["top", "left"]].set_visible(False)
    bottom.set_xlabel(label)
    for axis in (top, bottom):
        _tidy(axis)
    return figure


def _along(raster: xr.DataArray | xr.Dataset, bands: Sequence[str]) -> tuple[NDArray[np.float64], str]:
    """Return where the bands stand on an axis, and its label."""
    waves = views.wavelengths(views.cubes.read(raster))
    if waves is not None and len(waves) == len(bands):
        return waves, "wavelength, nm"
    return np.arange(1, len(bands) + 1, dtype=float), "band"


def _pieces(places: NDArray[np.float64]) -> list[slice]:
    """Return the stretches of bands that a line may join: not across a gap, nor back where two sensors overlap."""
    gaps = np.diff(places)
    breaks = (gaps <= 0) | (gaps > 8 * np.median(np.abs(gaps))) if gaps.size else np.zeros(0, bool)
    ends = (np.flatnonzero(breaks) + 1).tolist()
    return [slice(*part) for part in itertools.pairwise([0, *ends, len(places)])]


def _lines(places: NDArray[Any], values: NDArray[Any], pieces: Sequence[slice]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return x and y of a line that breaks between the pieces."""
    parts = [[np.append(array[part], np.nan) for part in pieces] for array in (places, values)]
    return np.concatenate(parts[0]), np.concatenate(parts[1])


class Picture(Figure):
    """A figure that a notebook shows, also where pyplot was never asked for one."""

    def _repr_png_(self) -> bytes:
        return png(self, NOTEBOOK_DOTS)


def _figure(width: float, height: float) -> Figure:
    figure = Picture(figsize=(width, height), dpi=110, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axis: Any) -> None:
    """Finish an axis quietly. Names of bands and dates are text, never formulas."""
    above = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2, "ncols": 4}
    legend = axis.legend(**above, frameon=False, fontsize=8.5, handlelength=1.4, columnspacing=1.2)
    for text in (*legend.get_texts(), *axis.get_xticklabels()):
        text.set_parse_math(False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e3e6ea", lw=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8.5, colors=SOFT)
    for name in (axis.xaxis.label, axis.yaxis.label):
        name.set(fontsize=9, color=SOFT)
    low, high = axis.get_ylim()
    if axis.get_yscale() == "linear" and low >= -0.1 * high:  # errors start at 0
        axis.set_ylim(0, high * 1.06)


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
    told = [values for values in maps if values is not None]
    seen = np.concatenate([np.abs(values[np.isfinite(values) & (values != 0)]) for values in told])
    return float(np.percentile(seen, 98)) if seen.size else 1.0


def _side_by_side(looks: Sequence[View], limits: Stretch, aspect: float) -> Figure:
    figure, axes, total = _grid(looks, len(looks), aspect, 0.28)
    smooth = _interpolation(looks)
    for line, look in zip(axes, looks, strict=True):
        pictures = (coloured(look.before, limits), marked(look, limits), coloured(look.after, limits))
        titles = (f"{look.title}  before".strip(), f"filled: {look.share:.1%}", f"{look.title}  after".strip())
        for axis, picture, title in zip(line, pictures, titles, strict=True):
            axis.imshow(picture, aspect=aspect, interpolation=smooth)
            axis.set_title(title, fontsize=10, color=INK, loc="left", pad=4, parse_math=False)
            axis.set_axis_off()
    shown = " ".join(looks[0].bands)
    caption = f"Bands {shown}; one stretch (2nd to 98th percentile of measured pixels). Red: filled. Grey: no data."
    figure.text(0.01, 0.07 / total, caption, fontsize=7.5, color=SOFT, ha="left", va="bottom", parse_math=False)
    return figure


def _maps(
    looks: Sequence[View], maps: Sequence[Any], limits: tuple[float, float], name: str, what: str, aspect: float
) -> Figure:
    """Return a map for each view, three in a row, with one scale."""
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
    figure = Picture(figsize=(3 * width + 0.4, total), dpi=110, facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, 3, squeeze=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - top / total, bottom=bottom / total, wspace=0.03, hspace=gap / height
    )
    return figure, axes, total


def _interpolation(looks: Sequence[View]) -> str:
    return "nearest" if max(looks[0].filled.shape) < 200 else "antialiased"
