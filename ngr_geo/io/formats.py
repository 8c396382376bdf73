"""The formats that results are written in: one table, `FORMATS`, and the functions that write each.

To add a format, add a row to `FORMATS`, with the function that writes it. All else follows from the table: which endings are known
when files are read, which files are planned, which messages list them, and what a STAC item calls them.
"""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr
from rasterio.enums import Resampling

from ..errors import InputError
from . import envi
from .rasterfile import FILLED_TAG, Header, first_line, read_header, windows

# Compressions that give back what was put in. Anything else (JPEG, WEBP, ...) would change observed pixels when written
# again, so DEFLATE takes its place. The LERC family is lossless unless a tolerance is asked for, which we never do.
_LOSSLESS = {"LZW", "DEFLATE", "ZSTD", "LZMA", "PACKBITS", "LERC", "LERC_DEFLATE", "LERC_ZSTD"}
_NOT_IN_COG = {"LZMA", "PACKBITS"}
PREDICTABLE = {"LZW", "DEFLATE", "ZSTD"}
"""Compressions that take a predictor."""
_COG_PREDICTORS = {"2": "STANDARD", "3": "FLOATING_POINT"}
_ZARR_FILES = ("zarr.json", ".zgroup", ".zmetadata", ".zattrs")


@dataclass(frozen=True)
class Format:
    """A format that results are written in: by `save` where one file holds all dates, by `convert` where there is one per date.

    Attributes:
        name: as messages call it.
        endings: of its files; the first is the usual one.
        media: its media type, as STAC items name it.
        convert: turns a finished GeoTIFF into the format, in place: takes its path, another one for what is made meanwhile, the
            header that it is to have (see `headers`), and the path it will have in the end.
        save: writes a Dataset to a path; takes the path that the Dataset was read from, too.
        beside: the ending of a second file that is written with each, "" for none.
        folder: whether it is a folder and not a file.
    """

    name: str
    endings: tuple[str, ...]
    media: str
    convert: Callable[[Path, Path, Header, Path], None] | None = None
    save: Callable[[xr.Dataset, Path, str], None] | None = None
    beside: str = ""
    folder: bool = False


def _to_geotiff(made: Path, spare: Path, header: Header, path: Path) -> None:
    """Add overviews and, where asked for, the layout of a COG: that driver wants finished pixels and overviews, not blocks."""
    if header.overviews:
        # Averages between filled and measured would be neither.
        resampling = Resampling.nearest if FILLED_TAG in header.tags[""] else Resampling.average
        with rasterio.open(made, "r+") as dataset:
            dataset.build_overviews(list(header.overviews), resampling)
    if header.is_cog:
        compression = lossless(header.structure)
        compression = "DEFLATE" if compression in _NOT_IN_COG else compression
        options = {"COMPRESS": compression or "NONE", "BIGTIFF": "IF_SAFER", "COPY_SRC_MDD": "YES"}
        options["BLOCKSIZE"] = str(header.blocks[0] if header.blocks else 512)
        options["OVERVIEWS"] = "AUTO" if header.overviews else "NONE"
        if compression in PREDICTABLE and header.structure.get("PREDICTOR") in _COG_PREDICTORS:
            options["PREDICTOR"] = _COG_PREDICTORS[header.structure["PREDICTOR"]]
        rasterio.shutil.copy(str(made), str(spare), driver="COG", **options)
        os.replace(spare, made)
    try:
        read_header(str(made))  # GDAL may meet a full disk only when closing, and say nothing
    except InputError as error:
        raise OSError(first_line(error)) from None


def lossless(structure: Mapping[str, str]) -> str | None:
    """Return the compression of a file that is to be like one of that structure, None for none."""
    compression = structure.get("COMPRESSION")
    return compression if compression is None or compression in _LOSSLESS else "DEFLATE"


def _to_envi(made: Path, spare: Path, header: Header, path: Path) -> None:
    """Write an ENVI image, and its header with all that the source's header said."""
    with rasterio.open(made) as source:
        keys = ("height", "width", "count", "dtype", "crs", "transform", "nodata")
        profile = {key: source.profile[key] for key in keys}
        with rasterio.open(spare, "w", driver="ENVI", INTERLEAVE=envi.interleave(path, header), **profile) as image:
            for window in windows(header.shape, 1024):
                image.write(source.read(window=window), window=window)
    envi.complete(spare.with_suffix(".hdr"), header)
    os.replace(spare, made)


def _save_netcdf(dataset: xr.Dataset, path: Path, source: str) -> None:
    """Write a NetCDF file, with the CRS as a CF grid mapping; attributes that it cannot hold, as those of Zarr may be, as JSON."""
    out = dataset.copy()
    out.attrs = _flat(out.attrs)
    for variable in out.variables.values():
        variable.attrs = _flat(variable.attrs)
        if variable.ndim > 1 and "zlib" not in variable.encoding:  # not from a NetCDF file: ours to choose
            variable.encoding.update(zlib=True, complevel=4, shuffle=True)
    try:
        out.to_netcdf(path)
    except RuntimeError as error:
        if "NetCDF" not in str(error) and "HDF" not in str(error):
            raise
        raise OSError(str(error)) from error  # the NetCDF library's way to say that the disk is full


def _flat(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes with those that are nested, or None, as JSON."""

    def is_flat(value: Any) -> bool:
        parts = value if isinstance(value, list | tuple) else [value]
        return isinstance(value, np.ndarray) or all(
            isinstance(part, str | Number | np.generic | bytes) for part in parts
        )

    return {key: value if is_flat(value) else json.dumps(value, default=str) for key, value in attrs.items()}


def _in_zarr_conventions(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset with CRS and transform in the conventions `proj:` and `spatial:` of GeoZarr beside those of CF.

    They are written where the installed rioxarray can (0.23, on Python 3.12 or later) and the grid is regular; what another program
    wrote there of another grid, of which this may be a part, is dropped.
    """
    convention = getattr(getattr(rioxarray, "enum", None), "Convention", None)
    axes = [dataset[name].values for name in ("x", "y") if name in dataset.coords and dataset[name].dims == (name,)]
    regular = len(axes) == 2 and all(
        a.size > 1 and np.allclose(np.diff(a), a[1] - a[0], rtol=1e-3, atol=0) for a in axes
    )
    transform = dataset.rio.transform(recalc=True) if regular else None
    if "spatial:transform" in dataset.attrs and list(transform or ())[:6] != list(dataset.attrs["spatial:transform"]):
        dataset = dataset.copy()
        dataset.attrs = {key: value for key, value in dataset.attrs.items() if not str(key).startswith("spatial:")}
    if convention is None or transform is None or dataset.rio.crs is None:
        return dataset
    with_crs = dataset.rio.write_crs(dataset.rio.crs, convention=convention.ZARR)
    written: xr.Dataset = with_crs.rio.write_transform(transform, convention=convention.ZARR)
    return written


def _save_zarr(dataset: xr.Dataset, path: Path, source: str) -> None:
    """Write a Zarr store, in the version of the source where that is one, in even chunks of whole stored ones."""
    version: Literal[2, 3] | None = None
    if is_zarr(source) and os.path.isdir(source):
        version = 3 if os.path.exists(os.path.join(source, "zarr.json")) else 2
    out = dataset.copy()
    for name, variable in dataset.variables.items():
        if variable.chunks:
            stored = variable.encoding.get("chunks") or (1,) * variable.ndim
            # One writer per stored chunk, or parallel writes to the same file would lose pixels.
            even = [-(-max(sizes) // step) * step for sizes, step in zip(variable.chunks, stored, strict=True)]
            out[name] = out[name].chunk(dict(zip(variable.dims, even, strict=True)))
    with warnings.catch_warnings():
        # It is no part of Zarr 3 yet, but without it xarray warns every reader.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        _in_zarr_conventions(out).to_zarr(path, zarr_format=version, consolidated=True)


GEOTIFF = Format("GeoTIFF", (".tif", ".tiff"), "image/tiff; application=geotiff", convert=_to_geotiff)
ENVI = Format(
    "ENVI",
    (".img", ".dat", ".bsq", ".bil", ".bip", ".raw"),
    "application/octet-stream",
    convert=_to_envi,
    beside=".hdr",
)
NETCDF = Format("NetCDF", (".nc", ".nc4", ".cdf", ".netcdf"), "application/netcdf", save=_save_netcdf)
ZARR = Format("Zarr", (".zarr",), "application/vnd+zarr", save=_save_zarr, folder=True)
FORMATS = (GEOTIFF, ENVI, NETCDF, ZARR)


def by_ending(path: str | os.PathLike[str]) -> Format | None:
    """Return the format that a path's ending says, None where it is none of `FORMATS`."""
    ending = Path(os.fspath(path).rstrip("/")).suffix.lower()
    return next((known for known in FORMATS if ending in known.endings), None)


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a Zarr store, by what lies in it, or by its name where it cannot be looked into."""
    if os.path.isdir(path):
        return any(os.path.exists(os.path.join(path, name)) for name in _ZARR_FILES)
    return by_ending(path) is ZARR


def container(path: str | os.PathLike[str]) -> Format | None:
    """Return the format of a file or store that holds all dates, as its content or its ending says; None for any other path."""
    found = ZARR if is_zarr(path) else by_ending(path)
    return found if found is not None and found.save and found.folder == is_zarr(path) else None
