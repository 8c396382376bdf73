"""What the header of a written file is to be: like its input's, or made for a result from NetCDF or Zarr."""

import math
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from rasterio.crs import CRS

from ..errors import OutputError
from ..raster import cube as cubes
from . import envi
from .rasterfile import FILLED_TAG, Band, Header, without_colours
from .stack import Files


def headers_of(raster: xr.DataArray | xr.Dataset, files: Files) -> list[Header]:
    """Return the header for each date's raster file: its input's, or for NetCDF and Zarr that of a tiled and deflated one."""
    if files.headers:
        headers = [header if files.carried else subset(header, files.bands) for header in files.headers]
    else:
        headers = _new_headers(raster, files.inputs[0])
    return [_as_cog(header) for header in headers] if files.cog else headers


def _new_headers(raster: xr.DataArray | xr.Dataset, source: str) -> list[Header]:
    cube = cubes.read(raster)
    one = cube.variables[0]
    dtypes = {str(part.dtype) for part in cube.variables}
    if len(dtypes) > 1:
        kinds = ", ".join(sorted(dtypes))
        msg = f"{source} holds bands of different dtypes ({kinds}), which a GeoTIFF cannot. Write to a .nc or .zarr."
        raise OutputError(msg)
    (dtype,) = dtypes
    nodata = cubes.nodata(one)
    band = Band(
        name=None,
        dtype=dtype,
        nodata=math.nan if nodata is None and one.dtype.kind == "f" else nodata,
        scale=float(one.attrs.get("scale_factor", 1.0)),
        offset=float(one.attrs.get("add_offset", 0.0)),
        unit=one.attrs.get("units"),
    )
    stem = os.path.splitext(os.path.basename(source.rstrip("/")))[0]
    header = Header(
        path=f"{stem}.tif",
        driver="GTiff",
        shape=cube.shape[-2:],
        crs=None if raster.rio.crs is None else CRS.from_user_input(raster.rio.crs),
        transform=raster.rio.transform(recalc=True),
        bands=without_colours(replace(band, name=name) for name in cube.bands),
        tags={"": {}},
        structure={"COMPRESSION": "DEFLATE", "PREDICTOR": "3" if np.dtype(dtype).kind == "f" else "2"},
    )
    spectral = {name for name in envi.SPECTRAL if name in one.coords and one[name].dims == (cube.dims[1],)}
    for name in sorted(spectral):  # what a NetCDF file or Zarr store says of every band, as a GeoTIFF says it
        units = {"wavelength_units": str(one[name].attrs["units"])} if one[name].attrs.get("units") else {}
        tags = [{name: f"{float(value):g}"} | (units if name == "wavelength" else {}) for value in one[name].values]
        bands = zip(header.bands, tags, strict=True)
        header = replace(header, bands=tuple(replace(band, tags={**band.tags, **more}) for band, more in bands))
    if cube.dims[0] is None and len(cube.dates) == 1:
        return [header]
    return [replace(header, path=f"{stem}_{date.replace(':', '').replace('/', '-')}.tif") for date in cube.dates]


def sidecar_header(header: Header, kind: str, names: Sequence[str | None]) -> Header:
    """Return the header of a raster's sidecar, on the same grid and with the same tiling.

    Args:
        header: of the raster.
        kind: "filled": uint8; 1 = filled, 0 = as measured. One of `cube.LAYERS`: float32, in the raster's stored units; NaN = not
            known.
        names: of its bands.
    """
    area = {key: value for key, value in header.tags.get("", {}).items() if key == "AREA_OR_POINT"}
    layout = {key: value for key, value in header.structure.items() if key == "LAYOUT"}
    dtype, nodata = ("uint8", None) if kind == "filled" else ("float32", math.nan)
    return replace(
        header,
        bands=without_colours(Band(name, dtype, nodata) for name in names),
        tags={"": {FILLED_TAG: kind, **area}},
        structure={"COMPRESSION": "DEFLATE", **layout},
    )


def _as_cog(header: Header) -> Header:
    """Return the header as that of a Cloud Optimized GeoTIFF: square tiles, compressed, overviews down to 256 pixels."""
    if header.is_cog:
        return header
    levels = (2**n for n in range(1, 16) if max(header.shape) / 2 ** (n - 1) > 256)
    structure = {"COMPRESSION": "DEFLATE", **header.structure, "LAYOUT": "COG"}
    return replace(header, blocks=(512, 512), overviews=tuple(levels), structure=structure)


def subset(header: Header, numbers: Sequence[int]) -> Header:
    """Return the header with only some of its bands, by their numbers from 1."""
    tags = {name: envi.subset(header, tags, numbers) if name == "ENVI" else tags for name, tags in header.tags.items()}
    return replace(header, bands=tuple(header.bands[number - 1] for number in numbers), tags=tags)
