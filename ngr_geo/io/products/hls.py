"""Harmonized Landsat Sentinel-2, S30 and L30: a folder of GeoTIFFs, one per band, with the bits of Fmask.

NASA, Harmonized Landsat Sentinel-2 (HLS) Product User Guide, version 2.0: names in section 6.1, numbers in tables 7 and 8.
"""

import re
from collections.abc import Sequence

from ..gather import Wanted
from ..rasterfile import Header, read_header
from .base import Content, Reader, by_measure, declared, fitting, listed

_NAME = r"HLS\.[SL]30\.T\d\d[A-Z]{3}\.\d{7}T\d{6}\.v\d+\.\d+\.(?P<band>B\d[\dA]|Fmask)\.tif$"
_COLOURS = {"B01": "coastal", "B02": "blue", "B03": "green", "B04": "red"}
_MEASURED = {
    "L30": _COLOURS | {"B05": "nir08", "B06": "swir16", "B07": "swir22"},
    "S30": _COLOURS | {"B8A": "nir08", "B11": "swir16", "B12": "swir22"},
}
"""What the bands that both sensors have measure, as STAC calls it."""
_THERMAL = re.compile(r"^HLS\.L30\..*\.B1[01]\.", re.IGNORECASE)


def recognise(path: str) -> bool:
    """Return whether a folder holds bands of HLS, or folders of them."""
    return bool(fitting(listed(path), _NAME))


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the bands and Fmask of all granules: reflectance times 10 000, brightness temperature times 100, -9999 for none.

    Of granules of both sensors the bands that both have, by what they measure.
    """
    files = [file for path in paths for file in fitting(listed(path), _NAME)]
    files, names, notes = by_measure(files, _NAME, _MEASURED, lambda name: name.split(".")[1].upper(), "L30 and S30")
    headers = tuple(_declared(read_header(file)) for file in files)
    return Content(headers, names, inputs=tuple(files), notes=notes)


def _declared(header: Header) -> Header:
    if ".fmask." in header.name.lower():
        return header
    return declared(header, 0.01 if _THERMAL.match(header.name) else 0.0001, nodata=-9999)


READER = Reader(
    "hls",
    "HLS S30 or L30, band files",
    "a folder with files such as HLS.S30.T32TQM.2023228T100559.v2.0.B04.tif and ...Fmask.tif, or folders of them",
    recognise,
    read,
)
