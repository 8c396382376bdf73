"""Pictures of a result: before, mask and after side by side, in the same colours."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import cube as cubes
from .cube import Cube
from .errors import InputError, OutputError

_COLOURS = (
    ("B04", "B03", "B02"),  # Sentinel-2
    ("B4", "B3", "B2"),
    ("SR_B4", "SR_B3", "SR_B2"),  # Landsat 8, 9
    ("red", "green", "blue"),
    ("Red", "Green", "Blue"),
    ("r", "g", "b"),
)
_PANEL = 800  # pixels: larger rasters are thinned
_DATES = 6  # rows of a picture, unless dates are asked for
_INK, _PAPER, _FILLED, _EMPTY = "#1b1f24", "#ffffff", (0.93, 0.35, 0.22), (0.86, 0.87, 0.89)


class _Panel(NamedTuple):
    """One date, averaged down: before and after (band, row, column), filled and missing (row, column)."""

    title: str
    before: np.ndarray
    after: np.ndarray
    filled: np.ndarray
    share: float


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
    cube = cubes.read(before)
    panels = _panels(cube, cubes.read(after), after.coords["filled"] if filled is None else filled, dates)
    figure = _draw(panels, _stretch(panels), _aspect(cube), _caption(_rgb(cube.bands)))
    if path is not None:
        _save(figure, Path(path))
    return figure


def _panels(before: Cube, after: Cube, filled: xr.DataArray, dates: Sequence[str] | None) -> list[_Panel]:
    """The dates to show, averaged down."""
    bands = [before.bands.index(name) for name in _rgb(before.bands)]
    step = max(1, -(-max(before.shape[-2:]) // _PANEL))
    mask = _mask(filled, before)
    shares = np.array([float(mask[date].mean()) for date in range(len(mask))])
    panels = []
    for date in _choose(before.dates, shares, dates):
        old, new = (_image(cube, date, bands, step) for cube in (before, after))
        made_up = _thinned(np.asarray(mask[date : date + 1], dtype=np.float32), step)[0] >= 0.5
        day = before.dates[date] if np.isfinite(before.days[date]) else ""
        panels.append(_Panel(day, old, new, made_up, float(shares[date])))
    return panels


def _mask(filled: xr.DataArray, cube: Cube) -> Any:
    """Filled pixels (time, row, column): of any band."""
    time, band, row, column = cube.dims
    if band is not None and band in filled.dims:
        filled = filled.any([band])
    if time is None or time not in filled.dims:
        return filled.transpose(row, column).data[None]
    return filled.transpose(time, row, column).data


def _choose(days: tuple[str, ...], shares: np.ndarray, dates: Sequence[str] | None) -> list[int]:
    if dates is None:
        most = np.argsort(-shares, kind="stable")[:_DATES]
        return sorted(int(index) for index in most)
    wanted = {str(date)[:10] for date in dates}
    chosen = [index for index, day in enumerate(days) if day[:10] in wanted]
    unknown = wanted - {day[:10] for day in days}
    if unknown:
        msg = f"There is no date {', '.join(sorted(unknown))}; there are {', '.join(days[:12])}. Choose among these."
        raise InputError(msg)
    return chosen


def _rgb(names: Sequence[str]) -> Sequence[str]:
    """The names of red, green and blue among the bands; else the first three; else one band, grey."""
    for triple in _COLOURS:
        if set(triple) <= set(names):
            return triple
    return names[:3] if len(names) >= 3 else names[:1]


def _image(cube: Cube, date: int, bands: list[int], step: int) -> np.ndarray:
    """Some bands of one date (band, row, column), averaged down, NaN where missing. Band by band: scenes are large."""
    images = []
    for band in bands:
        values, valid = (np.asarray(data[date, band]) for data in (cube.values, cube.valid))
        images.append(_thinned(np.where(valid, values, np.nan).astype(np.float32)[None], step)[0])
    return np.stack(images)


def _thinned(values: np.ndarray, step: int) -> np.ndarray:
    """Means over step x step pixels (band, row, column), without what is missing; the ragged edge is left out."""
    if step == 1:
        return values
    bands, rows, columns = (size // step if axis else size for axis, size in enumerate(values.shape))
    blocks = values[:, : rows * step, : columns * step].reshape(bands, rows, step, columns, step)
    count = np.isfinite(blocks).sum(axis=(2, 4))
    total = np.nansum(blocks, axis=(2, 4), dtype=np.float32)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _aspect(cube: Cube) -> float:
    """Height over width of a pixel: on the ground where the CRS tells, else in coordinates."""
    row, column = cube.dims[2:]
    if row not in cube.raster.coords or column not in cube.raster.coords or min(cube.shape[-2:]) < 2:
        return 1.0
    height, width = (float(abs(cube.raster[dim][1] - cube.raster[dim][0])) for dim in (row, column))
    if cube.raster.rio.crs is not None and cube.raster.rio.crs.is_geographic:
        width *= max(0.05, float(np.cos(np.deg2rad(cube.raster[row].mean()))))
    return height / width if height > 0 and width > 0 else 1.0


def _stretch(panels: list[_Panel]) -> tuple[np.ndarray, np.ndarray]:
    """Low and high value of each band, the same for all panels, from pixels that were measured and not filled.

    The median over the dates, weighted by their pixels, of each date's percentiles: a cloudy date that was left as it
    is does not darken the others.
    """
    low, high = [], []
    for band in range(panels[0].before.shape[0]):
        measured = [panel.before[band][~panel.filled & np.isfinite(panel.before[band])] for panel in panels]
        if not any(values.size for values in measured):  # all filled, or nothing there
            measured = [panel.after[band][np.isfinite(panel.after[band])] for panel in panels]
        seen = [values for values in measured if values.size]
        limits = np.array([np.percentile(values, (2, 98)) for values in seen]) if seen else np.array([[0.0, 1.0]])
        weights = np.array([values.size for values in seen]) if seen else np.ones(1)
        bottom, top = (_weighted_median(column, weights) for column in limits.T)
        low.append(bottom)
        high.append(top if top > bottom else bottom + 1.0)
    return np.array(low), np.array(high)


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(values[order][half])


def _colour(image: np.ndarray, stretch: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Red, green, blue in [0, 1] (row, column, 3); missing pixels in a light grey."""
    low, high = (bound[:, None, None] for bound in stretch)
    scaled = np.clip((image - low) / (high - low), 0, 1) ** 0.75  # a little brighter: land is dark
    if scaled.shape[0] == 1:
        scaled = np.repeat(scaled, 3, axis=0)
    picture = np.moveaxis(scaled, 0, -1)
    picture[np.isnan(image).any(axis=0)] = _EMPTY
    return picture


def _draw(panels: list[_Panel], stretch: tuple[np.ndarray, np.ndarray], aspect: float, caption: str) -> Figure:
    rows, columns = panels[0].filled.shape
    ratio = min(max(rows * aspect / columns, 0.2), 3.0)  # height over width of a panel
    width, gap, top, bottom = 3.6, 0.34, 0.3, 0.28  # inches
    height = width * ratio
    total = len(panels) * height + (len(panels) - 1) * gap + top + bottom
    figure = Figure(figsize=(3 * width + 0.4, total), dpi=110, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 3, squeeze=False)
    for line, panel in zip(axes, panels, strict=True):
        before, after = (_colour(image, stretch) for image in (panel.before, panel.after))
        grey = 0.55 + 0.45 * before.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
        grey[np.isnan(panel.before).any(axis=0)] = _EMPTY
        grey[panel.filled] = _FILLED
        titles = (f"{panel.title}  before".strip(), f"filled: {panel.share:.1%}", f"{panel.title}  after".strip())
        for axis, picture, title in zip(line, (before, grey, after), titles, strict=True):
            axis.imshow(picture, aspect=aspect, interpolation="nearest" if max(rows, columns) < 200 else "antialiased")
            axis.set_title(title, fontsize=10, color=_INK, loc="left", pad=4, parse_math=False)
            axis.set_axis_off()
    figure.text(0.01, 0.07 / total, caption, fontsize=7.5, color="#5b6470", ha="left", va="bottom", parse_math=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - top / total, bottom=bottom / total, wspace=0.03, hspace=gap / height
    )
    return figure


def _caption(bands: Sequence[str]) -> str:
    shown = " ".join(bands)
    return f"Bands {shown}; one stretch (2nd to 98th percentile of measured pixels). Red: filled. Grey: no data."


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG under a temporary name, and rename it when it is whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".png", prefix=f".{path.stem}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            figure.savefig(temporary, format="png")
            temporary.chmod(0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{path} could not be written: {error.strerror or error}. Choose another place with --quicklook."
        raise OutputError(msg) from error
