"""An area of interest: polygons in any CRS, laid on a raster's grid. Beyond them nothing is solved, and nothing changes."""

import json
import math
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import GridError, InputError, needed
from ..tiling.store import digest
from ..tiling.tiles import Tile
from .cube import Cube

LONGITUDE_LATITUDE = "OGC:CRS84"
"""What GeoJSON is in, where it does not say (RFC 7946)."""
POLYGONS = ("Polygon", "MultiPolygon")
STEPS = 200
"""Edges are cut to this part of the raster's diagonal before they are projected: straight lines become curves."""

_NEEDS = "An area of interest needs geopandas, which is"
_BURNING = threading.Lock()
"""rasterio silences a warning while it burns polygons, by filters of the whole process: two threads would lose each other's."""


@dataclass(frozen=True)
class Area:
    """Polygons on a raster's grid, in pixels from its upper left corner; `record` describes them in the result's attributes."""

    polygons: tuple[Any, ...]
    shape: tuple[int, int]
    chunks: tuple[tuple[int, ...], tuple[int, ...]] | None
    record: dict[str, Any]

    def mask(self) -> Any:
        """Return which pixels the polygons touch, (y, x), Dask where the raster is."""
        if self.chunks is None:
            return _burnt(self.polygons, {None: {"array-location": [(0, size) for size in self.shape]}})
        meta = np.zeros((0, 0), bool)
        return da.map_blocks(_burnt, self.polygons, chunks=self.chunks, dtype=bool, meta=meta)

    def touched(self, pieces: Sequence[Tile]) -> tuple[Tile, ...]:
        """Return the tiles whose windows share a pixel with the area."""
        import shapely

        whole = shapely.union_all(self.polygons)
        shapely.prepare(whole)
        boxes = [(t.column.start, t.row.start, t.column.stop, t.row.stop) for t in pieces]
        near = shapely.intersects(whole, [shapely.box(*box) for box in boxes])
        return tuple(t for t, is_near in zip(pieces, near, strict=True) if is_near)


def read(cube: Cube, aoi: Any) -> Area | None:
    """Return an area of interest on a cube's grid, None where none is given.

    Args:
        cube: the raster; nothing of it is read.
        aoi: a GeoDataFrame or GeoSeries, GeoJSON as a mapping, or a file that geopandas reads.

    Raises:
        InputError: no such file, or no polygons. GridError: no CRS, or polygons beside the raster.
    """
    if aoi is None:
        return None
    shapes, source = _shapes(aoi)
    crs = cube.raster.rio.crs
    if crs is None:
        option = "write one into the file, for example: rio edit-info FILE --crs EPSG:32633"
        msg = "The raster has no CRS, so an area of interest cannot be laid on it:"
        raise GridError(msg, call="set one with raster.rio.write_crs(...).", option=option)
    shapes = shapes[~shapes.is_empty & shapes.notna()].make_valid()
    kinds = sorted(set(shapes.geom_type))
    shapes = shapes[shapes.geom_type.isin(POLYGONS)]
    if shapes.empty:
        msg = f"Found {', '.join(kinds) or 'nothing'} in the area of interest {source}, expected polygons:"
        raise InputError(msg, call="for example points.buffer(500).", option="name a file that holds some: --aoi FILE")
    here = _in_pixels(shapes, cube.raster.rio.transform(), cube.shape[-2:], crs)
    if here.empty:
        there, mine = (", ".join(f"{v:.6g}" for v in b) for b in (shapes.total_bounds, cube.raster.rio.bounds()))
        msg = (
            f"Found the area of interest {source} beside the raster: it spans {there} ({shapes.crs.to_string()}), "
            f"the raster {mine} ({crs.to_string()}); expected that they overlap. Check the CRS, and the order of its axes."
        )
        raise GridError(msg)
    chunks = cube.values.chunks[-2:] if cube.lazy else None
    return Area(tuple(here.geometry), cube.shape[-2:], chunks, {"source": source, "digest": digest_of(shapes)})


def _in_pixels(shapes: Any, grid: Any, shape: tuple[int, int], crs: Any) -> Any:
    """Return the parts of polygons that lie on a raster, in its pixels."""
    geopandas, shapely = needed(_NEEDS, "index", "geopandas", "shapely")
    height, width = shape
    # Only what lies on the raster, or a little beyond it, is projected.
    margin = 0.02 * max(height, width)
    box = shapely.box(-margin, -margin, width + margin, height + margin).segmentize(max(height, width) / 50)
    outline = geopandas.GeoSeries([box], crs=crs).affine_transform(grid.to_shapely()).to_crs(shapes.crs)
    here = shapes.clip(outline.make_valid().iloc[0])
    here = here[here.geom_type.isin(POLYGONS) & ~here.is_empty]
    if here.empty:
        return here
    left, bottom, right, top = here.total_bounds
    here = here.segmentize(max(math.hypot(right - left, top - bottom) / STEPS, 1e-9)).to_crs(crs)
    here = here.affine_transform((~grid).to_shapely()).make_valid().intersection(shapely.box(0, 0, width, height))
    return here[here.area > 0]


def noted(result: xr.DataArray | xr.Dataset, area: Area | None) -> xr.DataArray | xr.Dataset:
    """Return a result with its area of interest in its attributes."""
    return result if area is None else result.assign_attrs(ngr_aoi=json.dumps(area.record))


def digest_of(shapes: Any) -> str:
    """Return a hash of a GeoDataFrame or GeoSeries: its polygons and their CRS."""
    return digest(*(part.hex() for part in shapes.geometry.to_wkb()), str(shapes.crs))


def _shapes(aoi: Any) -> tuple[Any, str]:
    """Return polygons as a GeoSeries with a CRS, and what they were given as."""
    geopandas, shapely = needed(_NEEDS, "index", "geopandas", "shapely")
    if isinstance(aoi, geopandas.GeoDataFrame | geopandas.GeoSeries):
        shapes, source = aoi.geometry, type(aoi).__name__
    elif isinstance(aoi, str | os.PathLike):
        source = os.fspath(aoi)
        if not os.path.exists(source):
            msg = f"Found no file {source} for the area of interest, expected polygons: a GeoJSON, GeoPackage or shapefile"
            raise InputError(msg, call="or a GeoDataFrame.", option="(--aoi FILE).")
        try:
            read = geopandas.read_parquet if source.endswith("parquet") else geopandas.read_file
            shapes = read(source).geometry
        except Exception as error:  # whatever the drivers raise: the user has one file to look at
            msg = f"{source} holds no polygons that can be read ({str(error)[:120]}): expected GeoJSON, GeoPackage, shapefile."
            raise InputError(msg) from error
    elif isinstance(aoi, Mapping):
        source = "GeoJSON"
        parts = aoi.get("features", [aoi])
        try:
            given = [shapely.from_geojson(json.dumps(part.get("geometry", part))) for part in parts]
        except (AttributeError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
            msg = f"Found aoi that is no GeoJSON ({str(error)[:120]}): expected a geometry, a Feature or a FeatureCollection."
            raise InputError(msg) from error
        crs = aoi.get("crs", {}).get("properties", {}).get("name", LONGITUDE_LATITUDE)
        shapes = geopandas.GeoSeries(given, crs=crs)
    else:
        msg = f"Found aoi of type {type(aoi).__name__}, expected a GeoDataFrame, a GeoSeries, GeoJSON as a mapping, or a file."
        raise InputError(msg)
    if shapes.crs is None:
        option = "write it into the file (ogr2ogr -a_srs EPSG:4326 OUT IN), or give GeoJSON: --aoi FILE"
        msg = f"Found the area of interest {source} without a CRS, so its place is not known:"
        raise GridError(msg, call="set one with .set_crs('EPSG:4326').", option=option)
    return shapes, source


def _burnt(polygons: Sequence[Any], block_info: Mapping[Any, Any]) -> NDArray[np.bool_]:
    """Return which pixels of a block, whose place on the raster is in its information from Dask, the polygons touch."""
    from affine import Affine
    from rasterio.features import geometry_mask

    (top, bottom), (left, right) = block_info[None]["array-location"]
    there, shape = Affine.translation(left, top), (bottom - top, right - left)
    with _BURNING:
        inside: NDArray[np.bool_] = geometry_mask(polygons, shape, there, all_touched=True, invert=True)
    return inside
