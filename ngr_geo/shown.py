"""What the accessors show of a raster and of what a verb made of it: records, tables, pictures, pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import xarray as xr

if TYPE_CHECKING:
    from pathlib import Path

    from geopandas import GeoDataFrame
    from matplotlib.figure import Figure

    from .atomic import PathLike
    from .result import Record


Raster = TypeVar("Raster", xr.DataArray, xr.Dataset)


class Shown(Generic[Raster]):
    """Views of a raster and of results, the same on both types; it holds nothing but the raster."""

    def __init__(self, raster: Raster) -> None:
        """Take the raster; xarray makes a new accessor for every object."""
        self._raster: Any = raster

    def __repr__(self) -> str:
        """Return what the verbs see of this raster, and which of them apply."""
        from . import overview

        return overview.text(overview.of(self._raster))

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        from . import overview

        return overview.html(overview.of(self._raster))

    @property
    def record(self) -> Record:
        """The record of this result: verb, settings, call, and of each date what was filled, what was kept, the errors expected.

        It is read from the attributes `ngr_*` of a result, in memory or opened again from NetCDF, Zarr or GeoTIFF. Nothing is
        computed for it: of a lazy result `.record.compute()` has what only solving shows, and solves all tiles.

        Raises:
            InputError: the raster is no result.

        Examples:
            >>> import ngr_geo
            >>> stack = ngr_geo.sample("slovenia").isel(x=slice(0, 60), y=slice(0, 60))
            >>> record = stack.ngr.decloud(clouds="SCL", dates="2023-08-18", method="guide").ngr.record
            >>> record.verb, record.dates[3].method, list(record.dates[3].expected)
            ('decloud', 'guide', ['B02', 'B03', 'B04', 'B08'])
            >>> bool(record.to_pandas().loc["2023-08-18", "filled"] > 0.5)
            True
            >>> list(record.to_pandas("band").columns)
            ['rmse', 'bias', 'psnr', 'rmse_low', 'rmse_high']
        """
        from . import result

        return result.of(self._raster)

    def tiles(self, work: PathLike) -> GeoDataFrame:
        """Return the finished tiles of a verb's work folder as a GeoDataFrame: polygons, what was done, expected error, seconds.

        See `index.of_folder`. `.to_parquet("tiles.parquet")` and `.to_file("tiles.gpkg")` write what QGIS opens.

        Examples:
            >>> lazy = stack.ngr.decloud("SCL", dates="2023-08-18", method="guide", work="work")
            >>> list(stack.ngr.tiles("work").outcome)
            ['solved']
        """
        from .raster import cube
        from .report import index

        return index.of_folder(cube.read(self._raster), work)

    def quicklook(self, result: Raster, dates: Sequence[str] | None = None, per_date: bool = False) -> Figure:
        """Return a matplotlib figure of this raster, what was filled, and the result, for a notebook; see `pictures.quicklook`.

        Args:
            result: what a verb returned.
            dates: ISO days to show. None: the six with most filled pixels.
            per_date: stretch each date by its own values, for dates of other seasons or light; else all dates alike.

        Examples:
            >>> figure = stack.ngr.quicklook(clear, dates=["2023-08-18"])
            >>> figure.savefig("quicklook.png")
        """
        from .report.pictures import quicklook

        return quicklook(self._raster, result, dates=dates, per_date=per_date)

    def plot_expected(self, result: Raster) -> Figure:
        """Return a matplotlib figure of the error expected per date and band; see `charts.plot_expected`.

        Examples:
            >>> figure = stack.ngr.plot_expected(clear)
        """
        from .report.charts import plot_expected

        return plot_expected(result)

    def plot_uncertainty(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure with maps of how far what was filled may be off; see `pictures.plot_uncertainty`.

        Examples:
            >>> figure = stack.ngr.plot_uncertainty(clear)  # clear: made with uncertainty=True
        """
        from .report.pictures import plot_uncertainty

        return plot_uncertainty(self._raster, result, dates)

    def plot_change(self, result: Raster, dates: Sequence[str] | None = None) -> Figure:
        """Return a matplotlib figure with maps of result - raster; see `pictures.plot_change`.

        Examples:
            >>> figure = stack.ngr.plot_change(clear, dates=["2023-08-18"])
        """
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

        Examples:
            >>> stack.ngr.report(clear, "report.html").name
            'report.html'
        """
        from . import atomic
        from .report import page as report

        atomic.check(path, overwrite, "overwrite=True", "another path")
        return report.save(self._raster, result, path, tiles)
