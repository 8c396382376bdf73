"""Which bands of a raster take part: those that hold something, and are not flagged bad."""

from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import InputError, warn
from ..tiling import scheduling
from ..wording import counted
from . import cube as cubes
from . import products, selection
from .cube import SPECTRAL_BANDS, Cube, regions


def taking_part(cube: Cube, observed: Any, now: bool = False) -> Any:
    """Return which bands take part (B,): all with a value observed in the windows that the scene is learnt from.

    A band that holds nothing would make every pixel of every date a gap. Of a lazy cube it is found when the graph is computed,
    unless `now`.
    """
    seen = [observed[(..., *r)] for r in regions(cube.shape)]
    if not cube.lazy:
        return observed_bands(seen)
    found = dask.delayed(observed_bands)(seen)
    if now:
        return scheduling.compute([found])[0]
    return da.from_delayed(dask.delayed(_named)(found, cube.bands), cube.shape[1:2], bool)


def _named(take_part: NDArray[np.bool_], bands: Sequence[str]) -> NDArray[np.bool_]:
    """Return which bands take part as it is, and warn of those that do not."""
    for note in left_out_notes([bands[b] for b in np.flatnonzero(~take_part).tolist()]):
        warn(note)
    return take_part


def left_out_notes(bands: Sequence[str]) -> list[str]:
    """Return the warning of bands that hold nothing."""
    if not bands:
        return []
    return [
        f"Without any valid value on any date, where the scene is learnt from: {', '.join(bands)}. Left as it is, and without part "
        "in the rest; expected some values. Check its nodata value, or leave it out."
    ]


def good(cube: Cube, bad_bands: Sequence[Any] | None) -> NDArray[np.bool_]:
    """Return which bands take part (B,): not those flagged bad by the raster (`cube.bad_bands`) or by the user."""
    good = ~cubes.bad_bands(cube)
    good[selection.bands(cube.bands, bad_bands)] = False
    if not good.any():
        msg = f"Every band ({len(good)}) is flagged bad, expected some good ones: check the bad-band list of"
        raise InputError(msg, call="the raster and bad_bands=.", option="the file (bbl) and --bad-bands.")
    return good


def notes(good: NDArray[np.bool_]) -> list[str]:
    """Return what a user should know before the work starts on a spectral cube."""
    if good.sum() >= SPECTRAL_BANDS:
        return []
    return [
        f"Only {counted(int(good.sum()), 'band')} can be used: there is little spectral redundancy, so results rest on "
        "neighbouring pixels. Hyperspectral cubes have tens of bands; is the band dimension named 'band'?"
    ]


def observed_bands(observed: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return which bands (B,) are observed anywhere in windows (time, band, h, w); all where none is."""
    found: NDArray[np.bool_] = np.any([o.any(axis=(0, 2, 3)) for o in observed], axis=0)
    return found if found.any() else ~found


def stack_notes(cube: Cube) -> list[str]:
    """Return what a user should know before the work starts on a stack of dates."""
    notes = []
    if len(cube.dates) == 1 and len(cube.bands) < SPECTRAL_BANDS:  # a spectrometer's cube has no other
        notes.append("There is only one date: gaps are filled from the other bands and from their surroundings.")
    layers = [name for name in cube.left_out if name.lower() not in products.PLAIN]
    if layers:
        notes.append(
            f"Left out as layers of quality, which are no bands, and returned as they are: {', '.join(layers)}."
        )
    for key in ("s2:processing_baseline", "processing_baseline", "PROCESSING_BASELINE"):
        if key not in cube.raster.coords:
            continue
        baselines = pd.to_numeric(pd.Series(np.ravel(cube.raster.coords[key].values)), errors="coerce").dropna()
        if (baselines < 4).nunique() > 1:
            notes.append(
                "The stack mixes Sentinel-2 processing baselines before and from 04.00, whose digital numbers differ by "
                "1000: subtract 1000 from the newer ones, unless that was done, before filling."
            )
    return notes
