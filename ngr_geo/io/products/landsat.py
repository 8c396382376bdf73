"""Landsat Collection 2 Level 2: a folder of GeoTIFFs, one per band, with the bits of QA_PIXEL and QA_RADSAT.

USGS, Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619, version 6) and Landsat 4-7 Collection 2 Level 2 Science
Product Guide (LSDS-1618, version 4): scale and offset, and the bits of QA_RADSAT. Gaps of Landsat 7 after the failure of its scan
line corrector are fill, which is nodata.
"""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from ..gather import Wanted
from ..rasterfile import Header, read_header
from .base import Content, Reader, by_measure, codes_on, declared, fitting, listed

_NAME = r"L[COTE]0\d_L2S[PR]_\d{6}_\d{8}_\d{8}_02_\w\w_(?P<band>[SQ][RTA]_\w+)\.TIF$"
_BANDS = r"L[COTE]0\d_L2S[PR]_\d{6}_\d{8}_\d{8}_02_\w\w_(SR_B\d|ST_B\d+|QA_PIXEL)\.TIF$"
_BAND = re.compile(r"_(?:SR|ST)_B(\d+)(?=\.TIF$)", re.IGNORECASE)
_REFLECTANCE, _TEMPERATURE = (0.0000275, -0.2), (0.00341802, 149.0)
_DROPPED = 1 << 9
_OLD = ("LT04", "LT05", "LE07")
_COLOURS = ("blue", "green", "red", "nir08", "swir16", "swir22")
_MEASURED = {
    "old": {f"SR_B{n}": colour for n, colour in zip((1, 2, 3, 4, 5, 7), _COLOURS, strict=True)},
    "new": {f"SR_B{n}": colour for n, colour in enumerate(_COLOURS, start=2)},
}
"""What the bands that all of Landsat 4 to 9 have measure, as STAC calls it."""


def recognise(path: str) -> bool:
    """Return whether a folder holds bands of Landsat Collection 2 Level 2, or folders of them."""
    return bool(fitting(listed(path), _BANDS))


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the bands and QA_PIXEL of all scenes; where QA_RADSAT says that a band is saturated, its pixels become nodata."""
    there = [file for path in paths for file in listed(path)]
    files, saturation = fitting(there, _BANDS), fitting(there, _NAME.replace(r"[SQ][RTA]_\w+", "QA_RADSAT"))
    files, names, notes = by_measure(
        files, _NAME, _MEASURED, lambda name: "old" if name[:4].upper() in _OLD else "new", "Landsat 4 to 7 and 8 to 9"
    )
    headers = tuple(_declared(read_header(file)) for file in files)
    return Content(
        headers, names, finish=partial(_without_saturated, there=saturation), inputs=(*files, *saturation), notes=notes
    )


def _declared(header: Header) -> Header:
    if "_QA_PIXEL" in header.name.upper():
        return header
    scale, offset = _TEMPERATURE if "_ST_B" in header.name.upper() else _REFLECTANCE
    return declared(header, scale, offset, nodata=0)


def _without_saturated(
    raster: xr.DataArray, headers: Sequence[Header], lazy: bool, there: Collection[str]
) -> xr.DataArray:
    """Return the raster with nodata where QA_RADSAT says that the band is saturated, or that the pixel was dropped.

    Where the user says that no number means missing, all stay as they are.
    """
    if headers[0].nodata is None:
        return raster
    bands = [str(name) for name in raster["band"].values]
    parts = [_saturated(header, bands, lazy, there) for header in headers]
    if not any(part is not None for part in parts):
        return raster
    library = da if lazy else np
    none = library.zeros((len(bands), *headers[0].shape), bool)
    bad: Any = library.stack([none if part is None else part for part in parts])
    fill = raster.dtype.type(headers[0].nodata)
    return raster.copy(data=library.where(bad if "time" in raster.dims else bad[0], fill, raster.data))


def _saturated(header: Header, bands: Sequence[str], lazy: bool, there: Collection[str]) -> Any:
    """Return where the bands (band, y, x) of one date are saturated, None where its QA_RADSAT is not `there`."""
    file = next((band.file for band in header.bands if band.file), header.path)
    path = _BAND.sub("_QA_RADSAT", file)
    if path not in there:
        return None
    codes = codes_on(replace(header, path=file), path, [1], lazy)[0]
    old = os.path.basename(path)[:4].upper() in _OLD
    files = {band.name: band.file or header.path for band in header.bands}
    bits = [_bits(files[name], old) | _DROPPED for name in bands]
    library = da if lazy else np
    return library.stack([(codes & bit) != 0 for bit in bits])


def _bits(file: str, old: bool) -> int:
    """Return the bits of QA_RADSAT that are about a band: bit 0 for band 1; none for the thermal bands of Landsat 8 and 9."""
    match = _BAND.search(file)
    number = int(match[1]) if match else 0
    if old and number == 6:
        return 1 << 5 | 1 << 8  # low and high gain of Landsat 7
    return 1 << (number - 1) if 1 <= number <= 7 else 0


READER = Reader(
    "landsat",
    "Landsat Collection 2 Level 2, band files",
    "a folder with files such as LC09_L2SP_190028_20230816_20230822_02_T1_SR_B4.TIF and ..._QA_PIXEL.TIF, or folders of them",
    recognise,
    read,
)
