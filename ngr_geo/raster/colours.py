"""Which bands of a raster are blue, green, red and near infrared: by their names, or by their wavelengths."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .cube import Cube

_NAMES = (
    ("blue", "green", "red", r"nir|nir08|nir_?narrow|near[-_ ]?infra[-_ ]?red"),
    ("r?blue", "r?green", "r?red", "rnir"),
    ("b02", "b03", "b04", "b08|b8a|b05"),  # Sentinel-2; HLS
    ("b2", "b3", "b4", "b8|b8a|b5"),  # Sentinel-2; Landsat 8 and 9
    ("sr_b2", "sr_b3", "sr_b4", "sr_b5"),  # Landsat 8 and 9
)
_OLDER = (("sr_b1", "sr_b2", "sr_b3", "sr_b4"), ("b1", "b2", "b3", "b4"))
"""Landsat 4 to 7, whose bands have the names of others in Landsat 8; told by all of their names being there, and no sixth."""
_WAVELENGTHS = ("wavelength", "wavelengths", "wavelength_3d")
_NANOMETRES = (480.0, 560.0, 660.0, 850.0)
NEAR = 40.0
"""Nanometres that a band may be from a colour's wavelength."""
WORDS = "names such as B02, B03, B04, B08 or blue, green, red, nir, or a coordinate wavelength"


def of(cube: Cube) -> tuple[int, int, int, int] | None:
    """Return the numbers of the blue, green, red and near infrared bands; None where names and wavelengths do not say them all."""
    named, waves = by_name(cube.bands), wavelengths(cube)
    if named is not None or waves is None:
        return named
    away = np.abs(waves[:, None] - np.array(_NANOMETRES))
    if (away.min(axis=0) > NEAR).any():
        return None
    blue, green, red, nir = away.argmin(axis=0).tolist()
    return blue, green, red, nir


def by_name(bands: Sequence[str]) -> tuple[int, int, int, int] | None:
    """Return the numbers of the blue, green, red and near infrared bands; None where names do not say them all."""
    names = [
        re.sub(r"[-_]\d+m$", "", name.lower()) for name in bands
    ]  # without the resolution that some have behind them
    for older in _OLDER:
        prefix = older[0][:-1]
        if {f"{prefix}{n}" for n in (1, 2, 3, 4, 5, 7)} == {n for n in names if re.fullmatch(prefix + r"\d", n)}:
            return _found(names, older)
    for colours in _NAMES:
        found = _found(names, colours)
        if found is not None:
            return found
    return None


def _found(names: Sequence[str], colours: Sequence[str]) -> tuple[int, int, int, int] | None:
    """Return which band has the name of each colour; of several alternatives the first."""
    numbers = []
    for colour in colours:
        fitting = [i for part in colour.split("|") for i, name in enumerate(names) if re.fullmatch(part, name)]
        if not fitting:
            return None
        numbers.append(fitting[0])
    blue, green, red, nir = numbers
    return blue, green, red, nir


def wavelengths(cube: Cube) -> NDArray[np.float64] | None:
    """Return the bands' wavelengths in nanometres (B,), where the raster has them."""
    band = cube.dims[1]
    for name, values in cube.raster.coords.items():
        if name in _WAVELENGTHS and values.dims == (band,) and values.dtype.kind in "iuf":
            waves = values.values.astype(float)
            if np.isfinite(waves).all():
                return waves * 1000 if waves.max() < 100 else waves  # micrometres
    return None
