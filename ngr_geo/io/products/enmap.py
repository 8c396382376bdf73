"""EnMAP Levels 1B, 1C and 2A: a folder or zip archive of GeoTIFFs with their metadata in XML.

DLR, EnMAP HSI Level 1B, 1C and 2A Product Specification (EN-PCV-ICD-2009-2, version 1.6): `bandCharacterisation` has wavelength,
width, gain and offset of every band, in the order of the image, where value = number * gain + offset. QL_PIXELMASK is 1 where a
detector element is defective, QL_QUALITY_* hold clouds, shadow, haze and cirrus. VNIR and SWIR of Level 1B are two images in the
geometry of two detectors, which are not registered to each other.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from rasterio.windows import Window

from ...errors import InputError, warn
from ..gather import Wanted
from ..rasterfile import Header, read_header, read_window
from .base import BAD_PIXELS, Content, Reader, codes_on, fitting, listed, only, xml_of

_SCENE = r"ENMAP\d\d-____L(?P<level>1B|1C|2A)-.+-"
_IMAGE = _SCENE + r"SPECTRAL_IMAGE(?P<part>_VNIR|_SWIR)?\.(?:TIFF?|GEOTIFF|BSQ|BIL|BIP|JP2)$"
_METADATA = _SCENE + r"METADATA\.XML$"
_UNCLEAR = ("CLOUD", "CLOUDSHADOW", "HAZE", "CIRRUS")
_NODATA = -32768.0
_GOOD, _DEFECTIVE, _BESIDE = 0, 1, 255


def recognise(path: str) -> bool:
    """Return whether a path is a folder or archive of EnMAP, its METADATA.XML, or its image with the metadata beside it."""
    name = os.path.basename(path.rstrip("/"))
    if os.path.isdir(path) or name.lower().endswith(".zip"):
        return bool(fitting(listed(path), _METADATA))
    beside = listed(os.path.dirname(path) or ".", 0) if os.path.isfile(path) and re.match(_SCENE, name) else []
    return bool(fitting(beside, _METADATA)) and bool(re.match(_METADATA, name) or re.match(_IMAGE, name))


def read(paths: Sequence[str], wanted: Wanted, lazy: bool) -> Content:
    """Return the image with wavelengths, widths and scales of its bands; its masks come with the pixels.

    Raises:
        InputError: several scenes, two images to choose from, or metadata that do not fit the image.
    """
    path = only(paths, "scenes of EnMAP,")
    inside = os.path.isdir(path) or path.lower().endswith(".zip")
    files = listed(path) if inside else listed(os.path.dirname(path) or ".", 0)
    image = path if re.match(_IMAGE, os.path.basename(path), re.IGNORECASE) else _image(path, fitting(files, _IMAGE))
    scene = os.path.basename(image).split("-SPECTRAL_IMAGE")[0]
    files = fitting(files, re.escape(scene) + "-")
    metadata = fitting(files, _METADATA)[0]
    part = re.match(_IMAGE, os.path.basename(image), re.IGNORECASE)
    detector = ((part and part["part"]) or "").upper()
    header = _described(read_header(image), metadata, detector)
    layers = {_layer(name, scene): name for name in files}
    finish = partial(_with_layers, layers=layers, detector=detector)
    return Content((header,), finish=finish, inputs=(image, metadata))


def _layer(path: str, scene: str) -> str:
    """Return what a file of a scene holds: SPECTRAL_IMAGE, QL_PIXELMASK, ..."""
    return os.path.splitext(os.path.basename(path))[0].removeprefix(f"{scene}-").upper()


def _image(path: str, images: Sequence[str]) -> str:
    """Return the one image of a scene."""
    if not images:
        msg = f"{path} holds no *-SPECTRAL_IMAGE.TIF. Fetch the scene again."
        raise InputError(msg)
    if len(images) > 1:
        names = " or ".join(images)
        msg = f"{path} is of Level 1B, whose VNIR and SWIR images are not registered to each other. Name one of them: {names}"
        raise InputError(msg)
    return images[0]


def _described(header: Header, metadata: str, detector: str) -> Header:
    """Return the header with what the metadata say of every band; of an image of one detector they may have both, VNIR first."""
    root = xml_of(metadata, "scene")
    found = root.findall(".//bandCharacterisation/bandID")
    names = ("wavelengthCenterOfBand", "FWHMOfBand", "GainOfBand", "OffsetOfBand")
    table = [tuple(float(band.findtext(name) or "nan") for name in names) for band in found]
    if detector and len(table) > header.count:
        table = table[: header.count] if detector == "_VNIR" else table[-header.count :]
    if len(table) != header.count or not np.isfinite(table).all():
        msg = f"{metadata} describes {len(found)} bands, {header.path} has {header.count}. Expected the same: fetch it again."
        raise InputError(msg)
    bands = []
    for number, (band, (wavelength, width, gain, offset)) in enumerate(zip(header.bands, table, strict=True), start=1):
        tags = {**band.tags, "wavelength": f"{wavelength:g}", "fwhm": f"{width:g}", "wavelength_units": "nm"}
        nodata = _NODATA if band.nodata is None and header.dtypes[0] == "int16" else band.nodata
        name = f"B{number:03d}"
        bands.append(replace(band, name=name, nodata=nodata, scale=gain, offset=offset, tags=tags))
    start = root.findtext(".//temporalCoverage/startTime") or root.findtext(".//datatakeStart") or ""
    own = {**header.tags[""], **({"ACQUISITION_DATE": start.strip()} if start else {})}
    return replace(header, bands=tuple(bands), tags={**header.tags, "": own})


def _with_layers(
    raster: xr.DataArray, headers: Sequence[Header], lazy: bool, layers: Mapping[str, str], detector: str
) -> xr.DataArray:
    """Return the cube (band, y, x) with bad pixels, and with what is not clear as `cloud_mask`, where there are such layers."""
    (header,) = headers
    if "time" in raster.dims:
        raster = raster.isel(time=0)
    numbers = [list(header.band_names).index(str(name)) + 1 for name in raster["band"].values]
    if f"QL_PIXELMASK{detector}" in layers:
        raster = raster.assign_coords(
            {BAD_PIXELS: _bad_pixels(layers[f"QL_PIXELMASK{detector}"], header, numbers, lazy)}
        )
    unclear = [layers[f"QL_QUALITY_{name}"] for name in _UNCLEAR if f"QL_QUALITY_{name}" in layers]
    if unclear and detector != "_SWIR":  # they are in the geometry of VNIR
        found: Any = sum(codes_on(header, path, [1], lazy)[0] > 0 for path in unclear)
        raster = raster.assign_coords(
            cloud_mask=(("y", "x"), found > 0, {"long_name": "cloud, its shadow, haze or cirrus"})
        )
    return raster


def _bad_pixels(path: str, image: Header, numbers: Sequence[int], lazy: bool) -> xr.Variable:
    """Return the bad pixels of some bands (band, y, x), or of all bands alike (y, x); warn of values that are not documented."""
    mask = read_header(path)
    about = {"long_name": "bad pixels that the product ships: defective detector elements"}
    if mask.count not in (1, image.count):
        msg = f"{path} has {mask.count} bands, the image {image.count}, and one or as many are expected. Fetch the scene again."
        raise InputError(msg)
    codes = codes_on(image, path, [1] if mask.count == 1 else numbers, lazy)
    whole = Window(0, 0, mask.shape[1], mask.shape[0])  # all of it, also where the codes are lazy, but band by band
    found = {int(code) for number in range(1, mask.count + 1) for code in np.unique(read_window(mask, [number], whole))}
    strange = sorted(found - {_GOOD, _DEFECTIVE, _BESIDE})
    if strange:
        shown = ", ".join(map(str, strange[:6]))
        warn(f"{mask.path} holds the values {shown}, which are not documented: they count as defective.")
    bad = (codes != _GOOD) & (codes != _BESIDE)
    return xr.Variable(("y", "x"), bad[0], about) if mask.count == 1 else xr.Variable(("band", "y", "x"), bad, about)


READER = Reader(
    "enmap",
    "EnMAP Level 1B, 1C or 2A",
    "a folder or zip archive with ENMAP*-METADATA.XML, that file, or ENMAP*-SPECTRAL_IMAGE*.TIF beside it",
    recognise,
    read,
)
