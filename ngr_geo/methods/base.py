"""What a method is: it learns from a sample of the scene, solves tiles, and says what was done. Arrays only, NumPy or Dask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import xarray as xr
from numpy.typing import NDArray

from ..progress import Progress
from ..raster.cube import Cube
from ..record import Row
from ..tiling.tiles import Tile

if TYPE_CHECKING:
    from ..tiling.work import Work
    from .problem import Settings


class Sample(NamedTuple):
    """Windows of the scene that it is learnt from, one array (time, band, h, w) for each.

    `gaps` are what is to be filled, in the area of interest and beyond it; None where nothing is. `inside` (h, w) is that area,
    None where there is none.
    """

    values: Sequence[NDArray[Any]]
    observed: Sequence[NDArray[Any]]
    gaps: Sequence[NDArray[Any]] | None
    inside: Sequence[NDArray[Any]] | None


class Part(NamedTuple):
    """What one tile is solved from, in the order of `store.READ`."""

    values: NDArray[Any]
    observed: NDArray[Any]
    gaps: NDArray[Any] | None
    inside: NDArray[Any] | None


class Solved(NamedTuple):
    """A tile solved: `layers` (layer, time, band, h, w), 0 where nothing is asked of them, None for none; what is known of it."""

    layers: NDArray[Any] | None
    stats: dict[str, NDArray[Any]]


class Method(Protocol):
    """How a raster is restored. Its models and stats can be pickled; `fit` and `solve` are functions of their arguments alone."""

    settings: Settings

    @property
    def layers(self) -> tuple[str, ...]:
        """What is blended: the first is what `written` makes the raster of."""

    @property
    def entries(self) -> tuple[str, ...]:
        """What a row of the record holds, of `rows.NUMBERS` and `rows.WORDS`."""

    def fit(self, sample: Sample, progress: Progress) -> Any:
        """Return the model: what there is to learn before any tile is solved."""

    def notes(self, model: Any, sample: Sample) -> list[str]:
        """Return what a user should know of a scene as its sample shows it, where tiles are solved later."""

    def solve(self, model: Any, part: Part, tile: Tile) -> Solved:
        """Return one tile solved."""

    def kept(self, folder: Work, learn: Callable[[], Any]) -> tuple[Any, Any]:
        """Return the model that a work folder keeps, or one learnt now; and the same as tasks are to get it."""

    def written(self, cube: Cube, layers: Any, gaps: Any) -> xr.DataArray | xr.Dataset:
        """Return the raster with the blended layers in it; lazy where these are."""

    def rows(self, model: Any, stats: Sequence[dict[str, NDArray[Any]]]) -> list[Row]:
        """Return the record, a row for each date, from what is known of all tiles."""

    def notes_on(self, model: Any, rows: Sequence[Row]) -> list[str]:
        """Return what a user should know of a record."""

    def peak(self, model: Any) -> float:
        """Return the range of values, for PSNR."""

    def done(self, model: Any) -> Settings:
        """Return the settings with what was found out."""
