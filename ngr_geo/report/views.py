"""What a picture of a result is made of: some bands of one date before and after, averaged down block by block.

A scene may be larger than the memory, and a lazy result costly to compute. So views are lazy: Dask averages every block as soon as
it is there, and all that is to be shown is computed by one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InputError
from ..raster import cube as cubes
from ..raster import selection
from ..raster.colours import by_name, wavelengths
from ..raster.cube import SPECTRAL_BANDS, Cube
from ..record import with_coordinates

COLOURS = (
    ("B04", "B03", "B02"),  # Sentinel-2
    ("B4", "B3", "B2"),
    ("SR_B4", "SR_B3", "SR_B2"),  # Landsat 8, 9
    ("red", "green", "blue"),
    ("Red", "Green", "Blue"),
    ("r", "g", "b"),
)
NANOMETRES = (650.0, 550.0, 470.0)
"""Red, green and blue of a spectrometer's cube."""
PIXELS = 800
"""Sides of a picture, at most."""
DATES = 6
"""Dates to show, unless some are asked for."""
_BLOCK = 2**22  # values of an array in memory that are looked at together


@dataclass(frozen=True)
class Choice:
    """What to show: some bands (one or three, by number) of one date."""

    title: str
    date: int
    bands: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """Some bands of one date, averaged down. Pixels that are missing are NaN.

    Attributes:
        title: the date, or what the bands are.
        date: its number.
        bands: their names.
        before: (band, row, column), float32.
        after: the same.
        filled: (row, column), True where at least half of the pixels are filled.
        share: how much of the date is filled, of all its pixels.
        change: (row, column), after - before, mean of the bands.
        deviation: (row, column), standard deviation of what was changed, mean of the bands; None where it is not known.
    """

    title: str
    date: int
    bands: tuple[str, ...]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    filled: NDArray[np.bool_]
    share: float
    change: NDArray[np.float32]
    deviation: NDArray[np.float32] | None


@dataclass(frozen=True)
class Result:
    """A raster before and after a verb, (time, band, y, x) each, all as Dask arrays; nothing is computed.

    Attributes:
        before: the raster.
        after: what the verb made of it.
        filled: (time, band or 1, y, x), True where it was filled.
        deviation: (time, band, y, x), standard deviations, or None.
    """

    before: Cube
    after: Cube
    filled: da.Array
    deviation: da.Array | None


def read(before: xr.DataArray | xr.Dataset, after: xr.DataArray | xr.Dataset, filled: xr.DataArray | None) -> Result:
    """Return a raster and what a verb made of it; `filled` is by default the coordinate of that name.

    Raises:
        InputError: they do not belong together, or nothing says what was filled.
    """
    after = with_coordinates(after)
    old, new = (
        replace(cube, values=_blocks(cube.values), valid=_blocks(cube.valid))
        for cube in map(cubes.read, (before, after))
    )
    if old.shape != new.shape:
        msg = (
            f"Found a raster of shape {old.shape} and a result of shape {new.shape} (time, band, y, x), expected one shape: "
            "pass the raster that the result was made of."
        )
        raise InputError(msg)
    if filled is None and "filled" not in after.coords:
        msg = (
            "Found no coordinate 'filled', expected the result of a verb: pass what .ngr.decloud() or another returned."
        )
        raise InputError(msg)
    mask = _placed(after.coords["filled"] if filled is None else filled, old)
    return Result(old, new, mask, _deviation(after, new))


def _deviation(after: xr.DataArray | xr.Dataset, cube: Cube) -> da.Array | None:
    """Return the standard deviations that a result carries, if it does."""
    if not cube.names:
        return _placed(after.coords["uncertainty"], cube) if "uncertainty" in after.coords else None
    names = [f"{name}_uncertainty" for name in cube.names]
    if not set(names) <= set(after.coords):
        return None
    return da.concatenate([_placed(after.coords[name], cube) for name in names], axis=1)


def _placed(part: xr.DataArray, cube: Cube) -> da.Array:
    """Return an array of a result as (time, band or 1, y, x)."""
    return _blocks(cubes.laid_out(part, cube.dims))


def _blocks(data: Any) -> da.Array:
    """Return an array as a Dask array; one in memory is looked at strip by strip."""
    if isinstance(data, da.Array):
        return data
    return da.from_array(data, chunks=(1, 1, max(1, _BLOCK // data.shape[-1]), -1), name=False)


def dates(result: Result, wanted: Sequence[str] | None = None) -> list[Choice]:
    """Return the dates to show in colour: those asked for, or those with most filled pixels.

    Raises:
        InputError: a date that is not there.
    """
    cube = result.before
    names = [day if np.isfinite(number) else "" for day, number in zip(cube.dates, cube.days, strict=True)]
    bands = tuple(colours(cube))
    if wanted is not None:
        chosen = selection.dates(cube.dates, wanted)
    elif len(names) <= DATES:
        chosen = list(range(len(names)))
    else:
        shares = np.asarray(result.filled.any(axis=1).mean((1, 2)))
        chosen = sorted(np.argsort(-shares, kind="stable")[:DATES].tolist())
    return [Choice(names[date], date, bands) for date in chosen]


def colours(cube: Cube) -> list[int]:
    """Return the numbers of red, green and blue: by name, by wavelength, else the first three; else one band, grey."""
    known = by_name(cube.bands)
    if known is not None:
        return list(known[2::-1])
    for triple in COLOURS:
        if set(triple) <= set(cube.bands):
            return [cube.bands.index(name) for name in triple]
    waves = wavelengths(cube)
    if waves is not None and waves.min() < 500 and waves.max() > 600:
        return [int(np.nanargmin(np.abs(waves - colour))) for colour in NANOMETRES]
    return list(range(3)) if len(cube.bands) >= 3 else [0]


def look(result: Result, choices: Sequence[Choice]) -> list[View]:
    """Return views of a result, computed together."""
    views: list[View] = list(dask.compute(*(view(result, choice) for choice in choices)))
    return views


def view(result: Result, choice: Choice) -> Any:
    """Return one view, its arrays still lazy, for who computes something else with it."""
    cube, date, bands = result.before, choice.date, list(choice.bands)
    old, old_seen, new, new_seen = (
        data[date, bands] for data in (cube.values, cube.valid, result.after.values, result.after.valid)
    )
    filled = _mask(result, choice)
    change = _mean_of_bands(new.astype(np.float32) - old.astype(np.float32), old_seen & new_seen)
    deviation: Any = None
    if result.deviation is not None:
        part = result.deviation[date, bands]
        deviation = _averaged(_mean_of_bands(part, part > 0), cube)  # 0: as measured
    return View(
        choice.title,
        date,
        tuple(cube.bands[band] for band in bands),
        _averaged(da.where(old_seen, old, np.float32(np.nan)), cube),
        _averaged(da.where(new_seen, new, np.float32(np.nan)), cube),
        _averaged(filled.astype(np.float32), cube) >= 0.5,
        filled.mean(),
        _averaged(change, cube),
        deviation,
    )


def _mask(result: Result, choice: Choice) -> da.Array:
    """Return where something was filled (y, x): in any band, of a spectral cube in any that is shown."""
    shown = result.filled[choice.date]
    if shown.shape[0] >= SPECTRAL_BANDS:
        shown = shown[list(choice.bands)]
    return shown.any(axis=0)


def _mean_of_bands(values: da.Array, known: da.Array) -> da.Array:
    """Return the mean over the bands (y, x) of what is known, NaN where nothing is."""
    return da.nanmean(da.where(known, values, np.float32(np.nan)).rechunk({0: -1}), axis=0)


def _averaged(values: da.Array, cube: Cube) -> Any:
    """Return means over the picture's pixels (..., row, column), of what is not NaN; a ragged edge is left out."""
    dims = ("band", "y", "x")[-values.ndim :]
    steps = dict(zip(("y", "x"), steps_of(cube), strict=True))
    array = xr.DataArray(values.astype(np.float32), dims=dims)
    return array.coarsen(steps, boundary="trim").mean().data


def steps_of(cube: Cube) -> tuple[int, int]:
    """Return how many rows and columns of a raster become one of its picture."""
    step = max(1, -(-max(cube.shape[-2:]) // PIXELS))
    return min(step, cube.shape[-2]), min(step, cube.shape[-1])


def aspect(cube: Cube) -> float:
    """Return height over width of a picture's pixel: on the ground where the CRS allows it, else in coordinates."""
    row, column = cube.dims[2:]
    down, across = steps_of(cube)
    if row not in cube.raster.coords or column not in cube.raster.coords or min(cube.shape[-2:]) < 2:
        return down / across
    height, width = (float(abs(cube.raster[dim][1] - cube.raster[dim][0])) for dim in (row, column))
    if cube.raster.rio.crs is not None and cube.raster.rio.crs.is_geographic:
        width *= max(0.05, float(np.cos(np.deg2rad(cube.raster[row].mean()))))
    return height * down / (width * across) if height > 0 and width > 0 else down / across


@dataclass(frozen=True)
class Spectra:
    """What each band of one date is like (B,), from pixels spread over it: NaN for a band without any.

    Attributes:
        before: mean.
        after: mean.
        deviation: standard deviation, after.
        change: root mean square of after - before.
        filled: share that was filled.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    deviation: NDArray[np.float64]
    change: NDArray[np.float64]
    filled: NDArray[np.float64]


def spectra(result: Result, date: int) -> Spectra:
    """Return what each band of a date is like, from at most 256 x 256 pixels."""
    step = max(1, -(-max(result.before.shape[-2:]) // 256))
    some = slice(step // 2, None, step)
    arrays = (result.before.values, result.before.valid, result.after.values, result.after.valid, result.filled)
    # Copied, as a view would keep the whole block that it is of.
    parts = [array[date, :, some, some].map_blocks(np.copy, dtype=array.dtype) for array in arrays]
    old, old_seen, new, new_seen, filled = dask.compute(*parts)
    both = old_seen & new_seen
    before, after = _mean_where(old, old_seen), _mean_where(new, new_seen)
    deviation = np.sqrt(_mean_where((new - after[:, None, None]) ** 2, new_seen))
    change = np.sqrt(_mean_where((new.astype(np.float64) - old) ** 2, both))
    return Spectra(before, after, deviation, change, np.broadcast_to(filled.mean((1, 2)), before.shape))


def _mean_where(values: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of each band where it is seen, (B,)."""
    count = seen.sum(axis=(1, 2))
    total = np.where(seen, values, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def most_changed(result: Result, found: Spectra, date: int) -> list[Choice]:
    """Return the three bands that a verb changed most, beside how much they vary, or filled most."""
    with np.errstate(invalid="ignore", divide="ignore"):
        much = np.nan_to_num(found.change / found.deviation, posinf=0) + found.filled
    worst = [int(band) for band in np.argsort(-much, kind="stable")[:3] if much[band] > 0]
    waves = wavelengths(result.before)
    titles = [_title(result.before.bands[band], None if waves is None else float(waves[band])) for band in worst]
    return [Choice(title, date, (band,)) for title, band in zip(titles, worst, strict=True)]


def _title(name: str, wave: float | None) -> str:
    """Return what a band is called: its name, and its wavelength unless the name has it."""
    named = name if "band" in name.lower() else f"Band {name}"
    where = "" if wave is None or str(int(wave)) in name else f", {wave:.0f} nm"
    return f"{named[:1].upper()}{named[1:]}{where}"
