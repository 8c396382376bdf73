"""Lazy stacks of which it is not known before they are learnt from how they are filled: date by date, or entry by entry.

The sample decides, as everything in memory does before: see `raster.missing.scattered`. Both methods blend what gaps are filled
with, so that nothing else has to know which of them it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..raster.cube import Cube
from ..raster.missing import mostly_partial
from ..tiling.tiles import Tile
from .base import Part, Progress, Sample, Solved, Summary
from .checkpoint import StackModel
from .spectra import Spectra, refused
from .stacks import Stack


@dataclass(frozen=True)
class Undecided(Stack):
    """The method for stacks of which the sample may show scattered entries: they are filled `by_entry` then."""

    by_entry: Spectra | None = None

    @property
    def entries(self) -> tuple[str, ...]:
        """What a row of the record holds."""
        return ("kind", *super().entries)

    def fit(self, sample: Sample, progress: Progress | None = None) -> Any:
        """Return what there is to learn of the scene for the method that suits it: a model of `Stack`, or of `Spectra`.

        Raises:
            InputError: what was asked for is not to be had entry by entry.
        """
        parts = [np.broadcast_to(o, v.shape) for o, v in zip(sample.observed, sample.values, strict=True)]
        if not mostly_partial(parts):
            return super().fit(sample, progress)
        assert self.by_entry is not None
        refused(self.settings, bool(self.networks))
        return self.by_entry.fit(sample, progress)

    def notes(self, model: Any, sample: Sample) -> list[str]:
        """Return what a user should know of a scene as its sample shows it."""
        chosen = self._that_made(model)
        return super().notes(model, sample) if chosen is None else chosen.notes(model, sample)

    def solve(self, model: Any, part: Part, tile: Tile) -> Solved:
        """Return one tile solved."""
        chosen = self._that_made(model)
        return super().solve(model, part, tile) if chosen is None else chosen.solve(model, part, tile)

    def written(self, cube: Cube, layers: Any, gaps: Any) -> xr.DataArray | xr.Dataset:
        """Return the raster with its gaps filled; the coordinate `filled` has bands."""
        assert self.by_entry is not None
        return self.by_entry.written(cube, layers, gaps)

    def summary(self, model: Any, stats: Sequence[dict[str, NDArray[Any]]]) -> Summary:
        """Return what was done on each date."""
        chosen = self._that_made(model)
        return super().summary(model, stats) if chosen is None else chosen.summary(model, stats)

    def _that_made(self, model: Any) -> Spectra | None:
        """Return the method that made a model, None for that of a stack."""
        return None if isinstance(model, StackModel) else self.by_entry
