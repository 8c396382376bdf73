"""What a reader of a product is, and what it gives: raster files with their headers, or arrays.

A reader is thin: it knows how one product lies in its folder, archive or file, and which of its numbers mean what. How bands are
put together, masks matched to dates and results written is the same for all products, and is not done here.
"""

import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import xarray as xr

from ...errors import InputError
from ...raster.products import BAD_PIXELS as BAD_PIXELS
from .. import rasters
from ..gather import Wanted
from ..rasterfile import Header, read_header

Finish = Callable[[xr.DataArray, Sequence[Header], bool], xr.DataArray]
"""Takes the raster, the headers of its dates and whether it is lazy; returns it with what the product says of its pixels."""


@dataclass(frozen=True)
class Content:
    """What a reader finds: either the headers of raster files, or a raster in memory or lazy.

    Attributes:
        headers: of raster files, images and masks; bands know the product's nodata, scale and offset.
        names: of bands, by the path of their file, where that is not what its name says.
        finish: adds to the raster of these files what the product says of its pixels, such as saturation.
        raster: the cube, where it is no raster file.
        dataset: the Dataset that the cube is a part of, with layers beside it.
        clouds: the name of the layer that is the mask, or the mask itself; None for none.
        inputs: all files that are read.
        notes: for the user.
    """

    headers: tuple[Header, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    finish: Finish | None = None
    raster: xr.DataArray | xr.Dataset | None = None
    dataset: xr.Dataset | None = None
    clouds: xr.DataArray | str | None = None
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """How one product is known and read.

    Attributes:
        name: short, as `product=` takes it.
        about: the product in words.
        looked_for: what `recognise` looks for, in words.
        recognise: whether a path is such a product, by what lies in it.
        read: what is in one or several such paths; `lazy` asks for arrays that are not in memory.
    """

    name: str
    about: str
    looked_for: str
    recognise: Callable[[str], bool]
    read: Callable[[Sequence[str], Wanted, bool], Content]


def listed(path: str, depth: int = 1) -> list[str]:
    """Return the files in a folder and in so many levels of folders below it, or in a zip archive, as GDAL's paths; sorted."""
    if os.path.isdir(path):
        found: list[str] = []
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if entry.is_dir() and depth:
                found += listed(entry.path, depth - 1)
            elif entry.is_file():
                found.append(entry.path)
        return found
    if path.lower().endswith(".zip") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return sorted(f"/vsizip/{path}/{name}" for name in archive.namelist() if not name.endswith("/"))
    return []


def only(paths: Sequence[str], what: str) -> str:
    """Return the only path there is.

    Raises:
        InputError: there are several, `what` they are and why they do not go together.
    """
    if len(paths) > 1:
        msg = f"Found {len(paths)} {what} expected one a run."
        raise InputError(msg)
    return paths[0]


def xml_of(path: str, what: str) -> ElementTree.Element:
    """Return the root of an XML file, also of one that `listed` found in a zip archive.

    Raises:
        InputError: it cannot be read; `what` is to be fetched again.
    """
    try:
        if not path.startswith("/vsizip/"):
            return ElementTree.parse(path).getroot()
        outer, _, inner = path.removeprefix("/vsizip/").partition(".zip/")
        with zipfile.ZipFile(f"{outer}.zip") as archive:
            return ElementTree.fromstring(archive.read(inner))
    except ElementTree.ParseError as error:
        msg = f"{path} cannot be read: {error}. Fetch the {what} again."
        raise InputError(msg) from error


def fitting(paths: Iterable[str], pattern: str) -> list[str]:
    """Return the paths whose names, without folder, fit a regular expression from the start."""
    return [path for path in paths if re.match(pattern, os.path.basename(path), re.IGNORECASE)]


def by_measure(
    files: Sequence[str],
    pattern: str,
    measured: Mapping[str, Mapping[str, str]],
    sensor: Callable[[str], str],
    about: str,
) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
    """Return files and, where they are of several sensors, the names of their bands by what they measure, and a note on that.

    Of several sensors bands are left out that not all have.

    Args:
        files: of bands and masks.
        pattern: of their names, with a group `band`.
        measured: of each sensor, what a band measures.
        sensor: returns that of a file's name.
        about: the sensors in words.
    """
    kept, names = [], {}
    sensors = {sensor(os.path.basename(file)) for file in files}
    if len(sensors) < 2:
        return list(files), {}, ()
    for file in files:
        match = re.match(pattern, os.path.basename(file), re.IGNORECASE)
        band = match["band"].upper() if match else ""
        table = measured[sensor(os.path.basename(file))]
        if band in table:
            names[file] = table[band]
        if band in table or not re.search(r"B\d", band):  # masks stay
            kept.append(file)
    common = ", ".join(sorted(set(names.values())))
    note = f"{about} number their bands differently: the bands that both have are named by what they measure, {common}."
    return kept, names, (note,) if names else ()


def codes_on(image: Header, path: str, numbers: Sequence[int], lazy: bool) -> Any:
    """Return some bands of a layer of quality (band, y, x), by their numbers from 1, on the image's grid.

    Raises:
        InputError: it is on another one.
    """
    layer = read_header(path)
    difference = rasters.grid_difference(image, layer)
    if difference is not None:
        msg = f"{path} is not on the grid of {image.path}: {difference}. Fetch the scene again."
        raise InputError(msg)
    names = tuple(map(str, range(1, layer.count + 1)))
    return rasters.read_raster([layer], names, tuple(numbers), None, lazy).data


def declared(
    header: Header,
    scale: float = 1.0,
    offset: float = 0.0,
    nodata: float | None = None,
    tags: Mapping[str, str] | None = None,
) -> Header:
    """Return a header with the product's scale and offset, and its nodata where the file declares none."""
    missing = None if nodata is None else float(nodata)
    bands = tuple(
        replace(band, scale=scale, offset=offset, nodata=missing if band.nodata is None else band.nodata)
        for band in header.bands
    )
    return replace(header, bands=bands, tags={**header.tags, "": {**header.tags[""], **(tags or {})}})


def timed(cube: xr.DataArray, text: str) -> xr.DataArray:
    """Return a cube with its time in UTC as a scalar coordinate, from a text that begins with it as ISO 8601 puts it."""
    match = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text.strip())
    return cube.assign_coords(time=np.datetime64(match[0], "ns")) if match else cube
