"""Charts of a result as matplotlib figures: the errors expected, and what was changed in each band."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import rows as records
from ..errors import InputError
from ..raster import cube as cubes
from ..raster.colours import wavelengths
from ..raster.cube import SPECTRAL_BANDS
from ..result import DateRecord, of_row
from . import views
from .facts import MEMBERS
from .pictures import SOFT, blank

_LINES = ("#2563a8", "#d9622b", "#3a8f5c", "#8a4fa3", "#b3892b", "#4aa3b8", "#c0447c")


def plot_expected(after: xr.DataArray | xr.Dataset) -> Figure:
    """Return a figure with the error that is expected in what was filled: per date and band, in the raster's units.

    Of few bands a point for each date and band, whiskers for the uncertainty of such an expectation, and below the errors of guide
    and NGR on hidden pixels; of a spectral cube a line over its bands.

    Args:
        after: what a verb made of a raster.

    Raises:
        InputError: the result has no expected error.
    """
    return expected([of_row(row) for row in records.of(after)], after)


def expected(rows: Sequence[DateRecord], after: xr.DataArray | xr.Dataset) -> Figure:
    """Return a figure as `plot_expected` makes it, from the record of each date of a result."""
    rows = [row for row in rows if row.expected]
    if not rows:
        msg = (
            "Found no expected error in the attribute 'ngr_dates', expected a result that was checked on hidden pixels."
        )
        raise InputError(msg)
    bands = list(rows[0].expected)
    if len(bands) >= SPECTRAL_BANDS:
        return _expected_of_cube(rows, bands, after)
    return _expected_of_dates(rows, bands)


def _errors(rows: Sequence[DateRecord], bands: Sequence[str]) -> NDArray[np.float64]:
    """Return the RMSE expected, and the least and the greatest that are likely, (3, date, band)."""
    table = np.full((3, len(rows), len(bands)), np.nan)
    for date, row in enumerate(rows):
        for index, band in enumerate(bands):
            error = row.expected.get(band)
            if error is not None and error.rmse is not None:
                table[:, date, index] = error.rmse, *(error.likely or (error.rmse, error.rmse))
    return table


def _expected_of_dates(rows: Sequence[DateRecord], bands: list[str]) -> Figure:
    days = [row.date for row in rows]
    both = any(np.isfinite(rmse) for row in rows for name, rmse in row.hidden_rmse.items() if name != "guide")
    figure = blank(5.0, 4.6 if both else 3.2, layout="constrained")
    axes = figure.subplots(2 if both else 1, 1, sharex=True, squeeze=False, height_ratios=(3, 2) if both else None)[
        :, 0
    ]
    places = np.arange(len(days), dtype=float)
    for index, (band, errors) in enumerate(zip(bands, np.moveaxis(_errors(rows, bands), -1, 0), strict=True)):
        rmse, low, high = errors
        shift = (index - (len(bands) - 1) / 2) * 0.6 / max(len(bands), 3)
        bars = np.stack([rmse - low, high - rmse])
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


def _compared(axis: Any, places: NDArray[np.float64], rows: Sequence[DateRecord]) -> None:
    """Draw the errors on hidden pixels of the members and of their blend; hollow where another one was kept."""
    shown = [name for name in MEMBERS if any(np.isfinite(row.hidden_rmse.get(name, np.nan)) for row in rows)]
    for index, name in enumerate(shown):
        errors = np.array([row.hidden_rmse.get(name, np.nan) for row in rows])
        kept = np.array([row.method == name for row in rows])
        style: dict[str, Any] = {"ls": "", "ms": 6, "color": _LINES[index % len(_LINES)], "marker": "o"}
        axis.plot([], [], label=MEMBERS[name], **style)
        for where, how in ((kept, "full"), (~kept, "none")):
            axis.plot(places[where] + 0.15 * (index - (len(shown) - 1) / 2), errors[where], fillstyle=how, **style)
    axis.set_ylabel("RMSE on hidden pixels")


def _expected_of_cube(rows: Sequence[DateRecord], bands: list[str], after: xr.DataArray | xr.Dataset) -> Figure:
    figure = blank(5.0, 3.0, layout="constrained")
    axis = figure.subplots()
    places, label = _along(after, bands)
    pieces = _pieces(places)
    for index, (row, rmse, low, high) in enumerate(zip(rows, *_errors(rows, bands), strict=True)):
        colour = _LINES[index % len(_LINES)]
        for part in pieces:
            axis.fill_between(places[part], low[part], high[part], color=colour, alpha=0.2, lw=0)
        axis.plot(
            *_lines(places, rmse, pieces), color=colour, lw=1.3, label=row.date if len(rows) > 1 else "expected RMSE"
        )
    axis.set_xlabel(label)
    axis.set_ylabel("expected RMSE")
    _tidy(axis)
    return figure


def plot_bands(before: xr.DataArray | xr.Dataset, found: views.Spectra, noise: Sequence[float]) -> Figure:
    """Return a figure of what was changed in each band of a spectral cube, beside its estimated noise where that is known.

    Args:
        before: the cube as it was.
        found: what its bands are like.
        noise: standard deviation for each band, or nothing.
    """
    figure = blank(5.0, 4.4, layout="constrained")
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
        share.set_ylabel("filled, %", color=_LINES[2], fontsize=9)
        share.tick_params(labelsize=8, colors=SOFT)
        share.spines[["top", "left"]].set_visible(False)
    bottom.set_xlabel(label)
    for axis in (top, bottom):
        _tidy(axis)
    return figure


def _along(raster: xr.DataArray | xr.Dataset, bands: Sequence[str]) -> tuple[NDArray[np.float64], str]:
    """Return where the bands stand on an axis, and its label."""
    waves = wavelengths(cubes.read(raster))
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
