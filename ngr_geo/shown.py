"""What the accessors show of a raster and of what a verb made of it: records, tables, pictures, pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import xarray as xr

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure

    PathLike = str | os.PathLike[str]

Raster = TypeVar("Raster", xr.DataArray, xr.Dataset)


class Shown(Generic[Raster]):
    """Views of a raster and of results, the same on both types; it holds nothing but the raster."""

    def __init__(self, raster: Raster) -> None:
        """Take the raster; xarray makes a new accessor for every object."""
        self._raster: Any = raster

    def record(self) -> list[dict[str, Any]]:
        """Return the record of this result, a row for each date: what was filled, the method kept, the errors expected.

        That is `json.loads(result.attrs["ngr_dates"])`, and for a result that was lazy also its coordinates `ngr_*` along time.
        Where these are still lazy they are computed, and that solves all tiles: call it on a result that is computed.
        """
        from . import rows

        return rows.of(self._raster)

    def tiles(self, work: PathLike) -> GeoDataFrame:
        """Return the finished tiles of a verb's work folder as a GeoDataFrame: polygons, what was done, expected error, seconds.

        See `index.of_folder`. `.to_parquet("tiles.parquet")` and `.to_file("tiles.gpkg")` write what QGIS opens.
        """
        from .raster import cube
        from .report import index

        return index.of_folder(cube.read(self._raster), work)

    def quicklook(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure of this raster, what was filled, and the result, for a notebook; see `pictures.quicklook`."""
        from .report.pictures import quicklook

        return quicklook(self._raster, result, dates=dates)

    def plot_expected(self, result: Raster) -> Figure:
        """Return a matplotlib figure of the error expected per date and band; see `charts.plot_expected`."""
        from .report.charts import plot_expected

        return plot_expected(result)

    def plot_uncertainty(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure with maps of how far what was filled may be off; see `pictures.plot_uncertainty`."""
        from .report.pictures import plot_uncertainty

        return plot_uncertainty(self._raster, result, dates)

    def plot_change(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure with maps of result - raster; see `pictures.plot_change`."""
        from .report.pictures import plot_change

        return plot_change(self._raster, result, dates)

    def report(
        self, result: Raster, path: PathLike, *, tiles: GeoDataFrame | None = None, overwrite: bool = False
    ) -> Path:
        """Write one HTML page on what a verb made of this raster, and return its path; see `report.save`.

        Args:
            result: what the verb returned, or what was read back of it with its attributes and coordinates.
            path: of the page.
            tiles: what `tiles(work)` returned, for a map of them; None: drawn as far as the result shows.
            overwrite: replace a file that is there.

        Raises:
            InputError: the two do not belong together, or nothing shows what was filled.
            OutputError: the file is there, or cannot be written.
        """
        from . import atomic
        from .report import page as report

        atomic.check(path, overwrite, "overwrite=True", "another path")
        return report.save(self._raster, result, path, tiles)
