"""One raster file at a time, as GDAL reads it: its header, and its pixels by window.

A header holds everything of a file that is not pixels, so that what is written can be like what was read. Paths are
text, because GDAL also reads "/vsicurl/..." and "s3://...".
"""

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window, intersect, intersection

from ..errors import InputError, warn
from . import envi

# Written by GDAL itself, or about pixels that have changed.
_UNCOPIED_NAMESPACES = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "TIFF", "COLOR_PROFILE"}

_REMOTE = re.compile(r"://|/vsi(curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)", re.IGNORECASE)
_SERVICES = {"DAAS", "EEDA", "EEDAI", "HTTP", "OGCAPI", "PLMOSAIC", "WCS", "WMS", "WMTS"}
# What GDAL may do with a file of this machine, such as a VRT that names others: fetch nothing.
_OFFLINE = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_PROXY": "127.0.0.1:9",
    "GDAL_HTTPS_PROXY": "127.0.0.1:9",
}


HUGE = 2**30  # bytes that a file declares; below, its pixels are read in no time, whatever they are
SPARSE = 5000  # times its own size: five times what DEFLATE can make of a constant
_WARPED = 512  # rows and columns brought to another grid at a time
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_BLOCKS = 20_000  # of a file, looked at before it is read


@dataclass(frozen=True)
class Band:
    """All of a band but its pixels."""

    name: str | None
    dtype: str
    nodata: float | None = None
    colorinterp: ColorInterp = ColorInterp.undefined
    scale: float = 1.0
    offset: float = 0.0
    unit: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    file: str | None = None  # where the band is a file of its own
    resampling: Resampling | None = None  # where that file has to be brought to the raster's grid


@dataclass(frozen=True)
class Header:
    """All of a raster file but its pixels."""

    path: str  # only a name where every band is a file of its own
    driver: str
    shape: tuple[int, int]  # rows, columns
    crs: CRS | None
    transform: Affine
    bands: tuple[Band, ...]
    tags: Mapping[str, Mapping[str, str]]  # namespace ("" for the usual one) -> tags
    blocks: tuple[int, int] | None = None  # rows, columns of a tile; columns = width for strips; None: ours to choose
    structure: Mapping[str, str] = field(default_factory=dict)  # compression, predictor, ..., as GDAL names them
    overviews: tuple[int, ...] = ()
    gcps: tuple[tuple[float, ...], ...] = ()  # ground control points: row, column, x, y, z
    gcps_crs: CRS | None = None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return os.path.basename(self.path.rstrip("/"))

    @property
    def count(self) -> int:
        """The number of bands."""
        return len(self.bands)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtype of every band; those of an image are one."""
        return tuple(band.dtype for band in self.bands)

    @property
    def nodata(self) -> float | None:
        """The nodata value, that of the first band."""
        return self.bands[0].nodata

    @property
    def band_names(self) -> tuple[str | None, ...]:
        """The description of every band."""
        return tuple(band.name for band in self.bands)

    @property
    def is_cog(self) -> bool:
        """Whether the file is laid out as a Cloud Optimized GeoTIFF."""
        return self.structure.get("LAYOUT") == "COG"

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags of all namespaces together."""
        return {key: value for entries in reversed(list(self.tags.values())) for key, value in entries.items()}

    @property
    def content(self) -> str | None:
        """What the file says that it is: one of `SIDECARS`, None for an image. rioxarray writes the attribute as it is."""
        return {key.upper(): value for key, value in self.tags[""].items()}.get(FILLED_TAG)


def without_colours(bands: Iterable[Band]) -> tuple[Band, ...]:
    """Return bands that have no colours: the first grey, the others undefined."""
    grey, *others = bands
    plain = (replace(band, colorinterp=ColorInterp.undefined) for band in others)
    return (replace(grey, colorinterp=ColorInterp.gray), *plain)


FILLED_TAG = "NGR_CONTENT"
"""The tag by which a sidecar says what it holds, one of `SIDECARS`."""
SIDECARS = {
    "filled": "which pixels ngr-geo filled",
    "uncertainty": "how far what ngr-geo filled may be off",
    "change": "what ngr-geo added",
}


@contextmanager
def opened(path: str) -> Iterator[rasterio.DatasetReader]:
    """Give the file open for reading; raise an InputError that says why where GDAL cannot.

    Only what the user names is fetched from a network, not what such a file refers to.
    """
    local = "://" not in path and not path.startswith("/vsi")
    if local and not os.path.exists(path):
        msg = f"{path}: no such file. Expected a raster (GeoTIFF, NetCDF or Zarr); check the path."
        raise InputError(msg)
    if local and os.path.isdir(path):
        msg = f"{path} is a folder and no Zarr store. Give the rasters in it, for example '{path.rstrip('/')}/*.tif'."
        raise InputError(msg)
    with rasterio.Env(**_OFFLINE) if local else nullcontext():
        try:
            with warnings.catch_warnings():
                # A missing georeference is reported once for the whole stack, where the grid is used.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                source = rasterio.open(path)
        except (RasterioError, OSError, UnicodeEncodeError) as error:
            if local and path.lower().endswith(_ARCHIVES):
                found = f"{path} is an archive, and a raster is expected. Unpack it, or name the raster in it: "
                found += f"/vsi{'zip' if path.lower().endswith('.zip') else 'tar'}/{path}/NAME.tif"
                raise InputError(found) from error
            size = f" ({os.path.getsize(path)} bytes)" if local and os.path.exists(path) else ""
            msg = (
                f"{path}{size} is not a raster that can be read: {first_line(error)}. Check the file with: rio info "
                f"{path}"
            )
            raise InputError(msg) from error
        with source:
            if local:
                _check_here(source, path)
            yield source


def _check_here(source: rasterio.DatasetReader, path: str) -> None:
    """Raise where a file on this machine holds only where on a network its pixels are."""
    elsewhere = [name for name in source.files if _REMOTE.search(name)]
    if elsewhere or source.driver in _SERVICES:
        what = elsewhere[0] if elsewhere else f"a service ({source.driver})"
        msg = (
            f"{path} refers to {what} on a network, and only what is named itself is fetched from there. Name that as input, or "
            f"copy it first: rio convert {path} copy.tif"
        )
        raise InputError(msg)


def read_header(path: str) -> Header:
    """Return the header of a raster file; its pixels are not read.

    Raises:
        InputError: no such file, not a raster, no band, or shorter than its own directory says (truncated).
    """
    with opened(path) as source:
        if source.count == 0:
            parts = ", ".join(source.subdatasets[:3]) or "nothing"
            msg = f"{path} holds no band of its own but {parts}. Expected an image: give one of these."
            raise InputError(msg)
        _check_size(source, path)
        if source.driver == "GTiff":
            _check_whole(source, path)
        if any(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in source.mask_flag_enums):
            msg = f"{path} has an internal mask, which is not read. Mark missing pixels by nodata or with a mask file."
            warn(msg)
        namespaces = [name for name in source.tag_namespaces() if not name.startswith("xml:")]
        kept = {name: source.tags(ns=name) for name in namespaces if name not in _UNCOPIED_NAMESPACES}
        if "ENVI" in kept:
            kept["ENVI"] |= envi.description(source.files)
        details = (source.colorinterp, source.scales, source.offsets, source.units)
        bands = zip(
            source.descriptions,
            source.dtypes,
            source.nodatavals,
            *details,
            map(source.tags, source.indexes),
            strict=True,
        )
        return Header(
            path=path,
            driver=source.driver,
            shape=source.shape,
            crs=source.crs,
            transform=source.transform,
            bands=tuple(Band(*band) for band in bands),
            tags={"": source.tags(), **kept},
            blocks=source.block_shapes[0] if source.driver == "GTiff" else None,
            structure=source.tags(ns="IMAGE_STRUCTURE"),
            overviews=tuple(source.overviews(1)),
            gcps=tuple((p.row, p.col, p.x, p.y, p.z or 0.0) for p in source.gcps[0]),
            gcps_crs=source.gcps[1] if source.gcps[0] else None,
        )


def _check_size(source: rasterio.DatasetReader, path: str) -> None:
    """Raise where a file is too small for what it declares: raw pixels that are not there, or hardly any block that is."""
    if not os.path.isfile(path) or source.driver == "VRT":
        return
    rows, columns = source.shape
    declared = rows * columns * sum(np.dtype(kind).itemsize for kind in source.dtypes if kind in np.sctypeDict)
    if source.driver == "ENVI" and source.tags(ns="ENVI").get("file_compression", "0") == "0":
        whole = declared + int(source.tags(ns="ENVI").get("header_offset", "0") or 0)
        if os.path.getsize(path) < whole:
            found = f"{path} is cut short: {os.path.getsize(path)} bytes, but its header declares {whole}."
            raise InputError(found, call="Fetch or copy the file again.")
    sizes = (os.path.getsize(name) for name in source.files if os.path.isfile(name))
    cut = f"rio clip {path} part.tif --bounds 'LEFT BOTTOM RIGHT TOP'"
    check_stored(path, f"{columns} x {rows} pixels", declared, sizes, cut)


def check_stored(path: str, what: str, declared: int, sizes: Iterable[int], cut: str) -> None:
    """Raise where next to nothing is stored of what a file declares: to look for its pixels would take hours, or all memory.

    Args:
        path: of the file or store.
        what: it declares, in words.
        declared: bytes.
        sizes: bytes of its parts, which are added up only as far as it takes.
        cut: how to take a part of it.
    """
    found = 0
    for size in sizes if declared > HUGE else ():
        found += size
        if found * SPARSE >= declared:
            return
    if declared > HUGE:
        msg = (
            f"{path} declares {what} ({declared / 1e9:.0f} GB) in {found} bytes, so next to no pixel holds a number. "
            f"Cut it to where its data is: {cut}"
        )
        raise InputError(msg)


def _check_whole(source: rasterio.DatasetReader, path: str) -> None:
    """Raise where a file is truncated, without reading it: its directory names bytes beyond its end.

    Where there are very many blocks, the last ones and a sample of the others are looked at.
    """
    if not os.path.isfile(path):
        return
    size, bands = os.path.getsize(path), [1] if source.interleaving.name == "pixel" else source.indexes
    rows, columns = source.block_shapes[0]
    down, across = -(-source.height // rows), -(-source.width // columns)
    count = len(bands) * down * across
    step = -(-count // _BLOCKS)
    for number in sorted({*range(0, count, step), *range(max(count - _BLOCKS // 10, 0), count)}):
        band, (row, column) = bands[number // (down * across)], divmod(number % (down * across), across)
        place = f"{column}_{row}"
        start = source.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=band)
        length = source.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=band)
        if start and length and int(start) + int(length) > size:
            where = describe(Window(column * columns, row * rows, columns, rows), source.shape)
            msg = (
                f"{path} is cut short: {size} bytes, but the block at {where} ends at byte "
                f"{int(start) + int(length)}. Fetch or copy the file again."
            )
            raise InputError(msg)


def read_window(header: Header, numbers: Sequence[int], window: Window) -> np.ndarray:
    """Return the pixels (band, row, column) of one window, raw values in the file's dtype.

    Args:
        header: the file.
        numbers: of the bands, from 1.
        window: rows and columns to read, inside the file.

    Raises:
        InputError: the file cannot be decoded there.
    """
    chosen = [header.bands[number - 1] for number in numbers]
    if any(band.file for band in chosen):
        return np.concatenate([_read_band(header, band, window) for band in chosen])
    with opened(header.path) as source, _naming_damage(header.path, window, header.shape):
        return source.read(list(numbers), window=window)


def _read_band(header: Header, band: Band, window: Window) -> np.ndarray:
    """Return one band (1, row, column) from its own file, brought to the header's grid."""
    path = band.file or header.path
    with opened(path) as source, _naming_damage(path, window, header.shape):
        if band.resampling is None:
            return source.read([1], window=window)
        height, width = header.shape
        grid = {"crs": header.crs, "transform": header.transform, "height": height, "width": width}
        fill = {} if header.nodata is None else {"src_nodata": header.nodata, "nodata": header.nodata}
        out = np.empty((1, window.height, window.width), source.dtypes[0])
        with WarpedVRT(source, resampling=band.resampling, **grid, **fill) as warped:
            # Always the same blocks, or the same pixel could differ by a rounding with the window that asks for it.
            for block in windows(header.shape, _WARPED):
                if intersect(block, window):
                    shared = intersection(block, window)
                    out[0][_within(window, shared)] = warped.read(1, window=block)[_within(block, shared)]
        return out


def _within(window: Window, part: Window) -> tuple[slice, slice]:
    """Return where a part of a window is in it."""
    row, column = part.row_off - window.row_off, part.col_off - window.col_off
    return slice(row, row + part.height), slice(column, column + part.width)


@contextmanager
def _naming_damage(path: str, window: Window, shape: tuple[int, int]) -> Iterator[None]:
    """Turn what goes wrong while pixels are read into an InputError that says where."""
    try:
        yield
    except (RasterioError, OSError) as error:
        msg = (
            f"{path} cannot be read at {describe(window, shape)}: {first_line(error)}. The file looks damaged or cut short: "
            "fetch or copy it again."
        )
        raise InputError(msg) from error


def windows(shape: tuple[int, int], step: int) -> Iterator[Window]:
    """Return windows of at most step x step that cover a shape, row by row."""
    for row in range(0, shape[0], step):
        for column in range(0, shape[1], step):
            yield Window(column, row, min(step, shape[1] - column), min(step, shape[0] - row))


def describe(window: Window, shape: tuple[int, int]) -> str:
    """Return a window in words, cut to the file's shape."""
    last_row = min(window.row_off + window.height, shape[0]) - 1
    last_column = min(window.col_off + window.width, shape[1]) - 1
    return f"rows {window.row_off}-{last_row}, columns {window.col_off}-{last_column}"


def first_line(error: BaseException) -> str:
    """Return the root of an error on one line. GDAL's own message is in the cause, not in rasterio's."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return str(root).strip().split("\n")[0].rstrip(".") or type(root).__name__
