"""Sentinel-2 Level 2A as a SAFE folder or its zip archive: JPEG 2000 files, one per band and resolution.

ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, issue 14.9): the layout, and what MTD_MSIL2A.xml holds. From
processing baseline 04.00 on reflectance is (number + BOA_ADD_OFFSET) / BOA_QUANTIFICATION_VALUE. Pixels are read by GDAL's driver
for JPEG 2000, band by band: GDAL's own driver for SAFE folders joins bands of one resolution, and would hide SCL among them.
"""

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ..gather import Wanted
from ..rasterfile import Header, read_header
from .base import Content, Reader, declared, fitting, listed, xml_of

_METADATA = "MTD_MSIL2A.xml"
_IMAGES = r"(?:L2A_)?T\d\d[A-Z]{3}_\d{8}T\d{6}_(?P<band>B\d[\dA]|SCL)_[126]0m\.jp2$"
_BANDS = (*(f"B{number:02d}" for number in range(1, 9)), "B8A", *(f"B{number:02d}" for number in range(9, 13)))
"""By their `band_id` in the metadata."""
_OFFSETS_FROM = 4.0  # the processing baseline


@dataclass(frozen=True)
class _Scaling:
    """What the metadata says of stored numbers: the processing baseline, the divisor and the offset of each band."""

    baseline: str
    divisor: float
    offsets: Mapping[str, float]


def recognise(path: str) -> bool:
    """Return whether a path is a SAFE folder of Level 2A, the zip archive of one, or its MTD_MSIL2A.xml."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, _METADATA))
    if path.lower().endswith(".zip") and os.path.isfile(path) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(os.path.basename(name) == _METADATA for name in archive.namelist())
    return os.path.basename(path) == _METADATA and os.path.isfile(path)


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the bands and SCL of all products; where `wanted.resolution` is None they have to have one size of pixels.

    Raises:
        InputError: no image, or metadata that does not say what the numbers mean.
    """
    headers: list[Header] = []
    for path in paths:
        files = listed(os.path.dirname(path) if os.path.basename(path) == _METADATA else path, depth=4)
        images = fitting(files, _IMAGES)
        if not images:
            msg = f"{path} holds no band of Level 2A (GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2, ...). Fetch the product again."
            raise InputError(msg)
        scaling = _scaling(next(name for name in files if os.path.basename(name) == _METADATA))
        headers += [_declared(read_header(image), scaling) for image in images]
    return Content(tuple(headers), inputs=tuple(paths))


def _declared(header: Header, scaling: _Scaling) -> Header:
    match = re.match(_IMAGES, header.name, re.IGNORECASE)
    assert match is not None
    band = match["band"].upper()
    if band == "SCL":
        return header
    offset = scaling.offsets.get(band, 0.0)
    tags = {"PROCESSING_BASELINE": scaling.baseline}
    return declared(header, 1 / scaling.divisor, offset / scaling.divisor, nodata=0, tags=tags)


def _scaling(path: str) -> _Scaling:
    """Return what the metadata of a product says of its numbers.

    Raises:
        InputError: the baseline or the divisor is not there, or no offset though the baseline has one.
    """
    root = xml_of(path, "product")
    baseline = root.findtext(".//{*}PROCESSING_BASELINE") or root.findtext(".//PROCESSING_BASELINE") or ""
    divisor = root.findtext(".//BOA_QUANTIFICATION_VALUE") or ""
    offsets = {
        _BANDS[int(part.get("band_id", "-1"))]: float(part.text or "nan") for part in root.findall(".//BOA_ADD_OFFSET")
    }
    if not re.fullmatch(r"\d\d\.\d\d", baseline) or not divisor:
        msg = f"{path} says neither the processing baseline nor the divisor (found {baseline!r} and {divisor!r})."
        raise InputError(msg, call="Fetch the product again, or give its *.jp2 files by themselves.")
    if float(baseline) >= _OFFSETS_FROM and len(offsets) < len(_BANDS):
        msg = f"{path} is of baseline {baseline} and has {len(offsets)} of {len(_BANDS)} offsets (BOA_ADD_OFFSET), expected all."
        raise InputError(msg, call="Fetch the product again, or give its *.jp2 files by themselves.")
    return _Scaling(baseline, float(divisor), offsets)


READER = Reader(
    "sentinel2",
    "Sentinel-2 Level 2A, SAFE",
    f"a folder *.SAFE with {_METADATA}, a zip archive of one, or that file",
    recognise,
    read,
)
