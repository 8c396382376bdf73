"""How a raster's numbers are stored: what means missing, and which values fit in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")
"""Attributes, and entries of an encoding, that declare nodata."""


def nodata(variable: xr.DataArray) -> float | None:
    """Return the value that means missing in the array as it is in memory, None where only NaN does or nothing."""
    # Floats with an encoded nodata have been decoded: there it is NaN.
    sources = [variable.attrs, variable.encoding] if variable.dtype.kind in "iu" else [variable.attrs]
    found = [source.get(key) for source in sources for key in NODATA_KEYS]
    numbers = (float(v) for v in found if not (v is None or isinstance(v, str) or np.ndim(v)))
    return next((number for number in numbers if not math.isnan(number)), None)


@dataclass(frozen=True)
class Stored:
    """How a variable is stored: the step and offset of its integers, their limits, and nodata; new values have to fit in.

    `dtype` is that in memory, whose nodata is NaN where integers were decoded to floats.
    """

    dtype: np.dtype[Any]
    missing: float | None
    limits: tuple[float, float] | None = None
    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def of(cls, variable: xr.DataArray) -> Stored:
        """Return how a variable is stored, by its dtype, nodata and encoding."""
        packing: Mapping[str, Any] = {} if variable.dtype.kind in "iu" else variable.encoding
        stored = np.dtype(packing.get("dtype", variable.dtype))
        if stored.kind not in "iu":
            return cls(variable.dtype, nodata(variable))
        fill = packing.get("_FillValue") if packing else nodata(variable)
        limits = float(np.iinfo(stored).min), float(np.iinfo(stored).max)
        scale, offset = float(packing.get("scale_factor", 1)), float(packing.get("add_offset", 0))
        return cls(variable.dtype, None if fill is None else float(fill), limits, scale, offset)

    def merge(self, original: NDArray[Any], new: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the original with `new` where `where`; where that is NaN, with nodata, or as it was without any."""
        known = np.isfinite(new)
        value = np.where(known, new, 0).astype(np.float64)
        empty = self.missing
        if self.dtype.kind == "f" and (empty is None or self.limits is not None):
            empty = np.nan
        if self.limits is not None:
            value = self._representable(value)
        elif self.missing is not None:
            value = np.where(value == self.missing, np.nextafter(self.dtype.type(self.missing), np.inf), value)
        out = np.where(where & known, value.astype(self.dtype), original)
        return out if empty is None else np.where(where & ~known, self.dtype.type(empty), out)

    def _representable(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values that integers can hold and that are not nodata; floats that were decoded from them keep their fraction."""
        assert self.limits is not None
        low, high = self.limits
        stored = np.clip(np.rint((value - self.offset) / self.scale), low, high)
        if self.missing is not None:
            beside = self.missing + 1 if self.missing < high else self.missing - 1
            value = np.where(stored == self.missing, beside * self.scale + self.offset, value)
            stored = np.where(stored == self.missing, beside, stored)
        ends = low * self.scale + self.offset, high * self.scale + self.offset
        return np.clip(value, min(ends), max(ends)) if self.dtype.kind == "f" else stored
