"""What a method is: it learns from a sample of the scene, solves tiles, and says what was done. Arrays only, NumPy or Dask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..progress import Progress
from ..raster.cube import Cube
from ..record import Row
from ..tiling.tiles import Tile

if TYPE_CHECKING:
    from ..tiling.work import Work
    from .problem import Settings


Kind = Literal["gaussian", "mixed", "stripes", "gaps"]


@dataclass(frozen=True)
class Task:
    """What a verb asks for. `kind` None: to be found out; `direction` as the user gave it, if so.

    `find_lines`: dead lines are looked for in each tile, and filled; `change`: what was added is shown.
    """

    verb: str
    kind: Kind | None = None
    direction: Literal["columns", "rows"] | None = None
    find_lines: bool = False
    change: bool = False


class Sample(NamedTuple):
    """Windows of the scene that it is learnt from, one array (time, band, h, w) for each.

    `gaps` are what is to be filled, in the area of interest and beyond it, `inside` (h, w) is that area: None where there is none,
    or where the method does not learn from them.
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


class Summary(NamedTuple):
    """What is known of a result: its record, a row for each date; what a user should know; the range of values, for PSNR.

    `settings` are those of the method with what was found out, `noise` (B,) is the level found in each band, None where none is
    looked for.
    """

    rows: list[Row]
    notes: list[str]
    peak: float
    settings: Settings
    noise: NDArray[np.float64] | None = None
    learnt: str = ""
    """Where the model was learnt, if that is not where it was to be: see `placement`."""


class Method(Protocol):
    """How a raster is restored. Its models and stats can be pickled; `fit` and `solve` are functions of their arguments alone."""

    @property
    def settings(self) -> Settings:
        """What the user chose."""

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

    def summary(self, model: Any, stats: Sequence[dict[str, NDArray[Any]]]) -> Summary:
        """Return what is known of a result, from the model and what is known of all tiles."""
