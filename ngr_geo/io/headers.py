"""What the header of a written file is to be: like its input's, or made for a result from NetCDF or Zarr."""

import math
import os
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from ..errors import OutputError
from ..raster import cube as cubes
from . import envi
from .geotiff import FILLED_TAG, SPECTRAL, Header
from .stack import Stack


def headers_of(raster: xr.DataArray | xr.Dataset, stack: Stack) -> list[Header]:
    """Return the header for each date's GeoTIFF: its input's, or for NetCDF and Zarr that of a tiled and deflated one."""
    if stack.headers:
        headers = [header if stack.carried else subset(header, stack.bands) for header in stack.headers]
    else:
        headers = _invented_headers(raster, stack.inputs[0])
    return [as_cog(header) for header in headers] if stack.cog else headers


def _invented_headers(raster: xr.DataArray | xr.Dataset, source: str) -> list[Header]:
    cube = cubes.read(raster)
    one = raster[cube.names[0]] if isinstance(raster, xr.Dataset) else raster
    dtypes = {str(raster[name].dtype) for name in cube.names} or {str(raster.dtype)}
    if len(dtypes) > 1:
        kinds = ", ".join(sorted(dtypes))
        msg = f"{source} holds bands of different dtypes ({kinds}), which a GeoTIFF cannot. Write to a .nc or .zarr."
        raise OutputError(msg)
    nodata = cubes.nodata(one)
    if nodata is None and one.dtype.kind == "f":
        nodata = math.nan
    count = len(cube.bands)
    kind = np.dtype(next(iter(dtypes))).kind
    header = Header(
        path="",
        driver="GTiff",
        shape=cube.shape[-2:],
        dtypes=tuple(dtypes) * count,
        crs=None if raster.rio.crs is None else CRS.from_user_input(raster.rio.crs),
        transform=raster.rio.transform(recalc=True),
        nodata=nodata,
        band_names=cube.bands,
        colorinterp=(ColorInterp.gray,) + (ColorInterp.undefined,) * (count - 1),
        scales=(float(one.attrs.get("scale_factor", 1.0)),) * count,
        offsets=(float(one.attrs.get("add_offset", 0.0)),) * count,
        units=(one.attrs.get("units"),) * count,
        tags={"": {}},
        band_tags=_band_tags(one, cube.dims[1], count),
        blocks=None,
        structure={"COMPRESSION": "DEFLATE", "PREDICTOR": "3" if kind == "f" else "2"},
        overviews=(),
    )
    stem = os.path.splitext(os.path.basename(source.rstrip("/")))[0]
    names = [name.replace(":", "").replace("/", "-") for name in cube.dates]
    named = [stem] if len(names) == 1 and cube.dims[0] is None else [f"{stem}_{name}" for name in names]
    return [replace(header, path=f"{name}.tif") for name in named]


def _band_tags(raster: xr.DataArray, dim: Hashable | None, count: int) -> tuple[dict[str, str], ...]:
    """Return what a NetCDF file or Zarr store says of every band, as a GeoTIFF does."""
    tags: tuple[dict[str, str], ...] = tuple({} for _ in range(count))
    for name in SPECTRAL:
        if name not in raster.coords or raster[name].dims != (dim,):
            continue
        units = raster[name].attrs.get("units")
        for band, value in zip(tags, raster[name].values, strict=True):
            band[name] = f"{float(value):g}"
            if name == "wavelength" and units:
                band["wavelength_units"] = str(units)
    return tags


def filled_header(header: Header, band_names: Sequence[str | None]) -> Header:
    """Return the header of a raster's sidecar: same grid and tiling, uint8; 1 = filled, 0 = as measured."""
    return _sidecar(header, "filled", "uint8", None, band_names)


def layer_header(header: Header, kind: str) -> Header:
    """Return the header of a sidecar of a `kind` of `cube.LAYERS`, float32, in the raster's stored units; NaN = not known."""
    return _sidecar(header, kind, "float32", math.nan, header.band_names)


def _sidecar(header: Header, kind: str, dtype: str, nodata: float | None, band_names: Sequence[str | None]) -> Header:
    count = len(band_names)
    area = {key: value for key, value in header.tags.get("", {}).items() if key == "AREA_OR_POINT"}
    layout = {key: value for key, value in header.structure.items() if key == "LAYOUT"}
    return replace(
        header,
        dtypes=(dtype,) * count,
        nodata=nodata,
        band_names=tuple(band_names),
        colorinterp=(ColorInterp.gray,) + (ColorInterp.undefined,) * (count - 1),
        scales=(1.0,) * count,
        offsets=(0.0,) * count,
        units=(None,) * count,
        tags={"": {FILLED_TAG: kind, **area}},
        band_tags=({},) * count,
        structure={"COMPRESSION": "DEFLATE", **layout},
        band_nodata=(),
        parts=(),
    )


def as_cog(header: Header) -> Header:
    """Return the header as that of a Cloud Optimized GeoTIFF: square tiles, compressed, overviews down to 256 pixels."""
    if header.is_cog:
        return header
    levels = (2**n for n in range(1, 16) if max(header.shape) / 2 ** (n - 1) > 256)
    structure = {"COMPRESSION": "DEFLATE", **header.structure, "LAYOUT": "COG"}
    return replace(header, blocks=(512, 512), overviews=tuple(levels), structure=structure)


def subset(header: Header, bands: Sequence[int]) -> Header:
    """Return the header with only some of its bands, numbers from 1."""
    keep = [band - 1 for band in bands]
    return replace(
        header,
        dtypes=tuple(header.dtypes[band] for band in keep),
        band_names=tuple(header.band_names[band] for band in keep),
        colorinterp=tuple(header.colorinterp[band] for band in keep),
        scales=tuple(header.scales[band] for band in keep),
        offsets=tuple(header.offsets[band] for band in keep),
        units=tuple(header.units[band] for band in keep),
        band_tags=tuple(header.band_tags[band] for band in keep),
        band_nodata=tuple(header.band_nodata[band] for band in keep if header.band_nodata),
        parts=tuple(header.parts[band] for band in keep if header.parts),
        tags={name: envi.subset(header, tags, bands) if name == "ENVI" else tags for name, tags in header.tags.items()},
    )
