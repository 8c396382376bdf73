"""One GeoTIFF written under a temporary name: like a given header, block by block, from any thread."""

import errno
import os
import shutil
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from .. import atomic
from ..errors import InputError, OutputError
from . import envi
from .geotiff import FILLED_TAG, Header, first_line, read_header, read_window, spectral, windows
from .names import ENVI

# Compressions that give back what was put in. Anything else (JPEG, WEBP, ...) would change observed pixels when written
# again, so DEFLATE takes its place. The LERC family is lossless unless a tolerance is asked for, which we never do.
_LOSSLESS = {"LZW", "DEFLATE", "ZSTD", "LZMA", "PACKBITS", "LERC", "LERC_DEFLATE", "LERC_ZSTD"}
_NOT_IN_COG = {"LZMA", "PACKBITS"}
_PREDICTABLE = {"LZW", "DEFLATE", "ZSTD"}
_COG_PREDICTORS = {"2": "STANDARD", "3": "FLOATING_POINT"}
# No sidecar .aux.xml: a GeoTIFF holds all that is written here.
_OPTIONS = {"GDAL_PAM_ENABLED": "NO"}

_LITTLE = 4 * 2**20  # bytes free; with fewer, a file that cannot be written most likely did not fit


class Target:
    """A raster file, GeoTIFF or ENVI, in the making: `write` its blocks, `finish` it, `publish` it under its name, or `discard` it.

    Args:
        path: where it will be.
        header: what it is to be like. `header.path` is the file that `carried` bands are copied from.
        carried: band numbers (from 1) copied from that file as they are; `write` writes the others.
        tags: dataset tags on top of the header's.
    """

    def __init__(
        self, path: Path, header: Header, carried: Sequence[int] = (), tags: Mapping[str, str] | None = None
    ) -> None:
        """Open the temporary file."""
        self.path = path
        self.header = header
        self.carried = tuple(carried)
        self.written = tuple(band for band in range(1, header.count + 1) if band not in self.carried)
        self.temporary = atomic.temporary_name(path)
        self._lock = threading.Lock()  # Dask stores blocks from several threads
        self._closed = True
        try:
            with naming_errors(path), rasterio.Env(**_OPTIONS), warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the input had no georeference either
                self._dataset = rasterio.open(self.temporary, "w", **_profile(header))
                self._closed = False
                _annotate(self._dataset, header, tags or {})
        except BaseException:
            self.discard()
            raise

    def write(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        """Write a block (band, row, column) of the bands in `written`. Nothing happens once the target is closed."""
        window = Window.from_slices(rows, columns)
        with self._lock, naming_errors(self.path):
            if not self._closed:
                self._dataset.write(values, list(self.written), window=window)

    def finish(self) -> None:
        """Complete the temporary file: carried bands, overviews, COG layout; check that the disk took all of it."""
        if self.carried:
            for window in windows(self.header.shape, 1024):
                values = read_window(self.header, self.carried, window)
                with naming_errors(self.path):
                    self._dataset.write(values, list(self.carried), window=window)
        with naming_errors(self.path), rasterio.Env(**_OPTIONS):
            self._close()
            if self.header.overviews:
                # Averages between filled and measured would be neither.
                resampling = Resampling.nearest if FILLED_TAG in self.header.tags[""] else Resampling.average
                with rasterio.open(self.temporary, "r+") as dataset:
                    dataset.build_overviews(list(self.header.overviews), resampling)
            if self.path.suffix.lower() in ENVI:
                self._to_envi()
                return
            if self.header.is_cog:
                self._translate()
            try:
                read_header(str(self.temporary))  # GDAL may meet a full disk only when closing, and say nothing
            except InputError as error:
                raise OSError(first_line(error)) from None

    def publish(self) -> None:
        """Give the finished file its name."""
        with naming_errors(self.path):
            if self.path.suffix.lower() in ENVI:
                os.replace(self._translated.with_suffix(".hdr"), self.path.with_suffix(".hdr"))
            atomic.put(self.temporary, self.path)

    def discard(self) -> None:
        """Remove the temporary file, whatever state it is in."""
        with self._lock:
            try:
                self._close()
            except (RasterioError, OSError):
                pass  # closing flushes, and that may fail for the very reason we discard
        for leftover in (self.temporary, self._translated, self._translated.with_suffix(".hdr")):
            leftover.unlink(missing_ok=True)

    @property
    def _translated(self) -> Path:
        return self.temporary.with_suffix(".cog")

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._dataset.close()

    def _to_envi(self) -> None:
        """Turn the temporary file into an ENVI image and its header, with all that its source's header told."""
        rows, columns = self.header.shape
        layout = envi.interleave(self.path, self.header)
        with rasterio.open(self.temporary) as source:
            profile = {"height": rows, "width": columns, "count": source.count, "dtype": source.dtypes[0]}
            profile |= {"crs": source.crs, "transform": source.transform, "nodata": source.nodata}
            with rasterio.open(self._translated, "w", driver="ENVI", INTERLEAVE=layout, **profile) as image:
                for window in windows(self.header.shape, 1024):
                    image.write(source.read(window=window), window=window)
        envi.complete(self._translated.with_suffix(".hdr"), self.header, spectral(self.header))
        os.replace(self._translated, self.temporary)

    def _translate(self) -> None:
        """Turn the temporary file into a COG: that driver wants finished pixels and overviews, not blocks."""
        structure = self.header.structure
        compression = _compression(structure)
        if compression in _NOT_IN_COG:
            compression = "DEFLATE"
        options = {"COMPRESS": compression or "NONE"}
        if compression in _PREDICTABLE and structure.get("PREDICTOR") in _COG_PREDICTORS:
            options["PREDICTOR"] = _COG_PREDICTORS[structure["PREDICTOR"]]
        rasterio.shutil.copy(
            str(self.temporary),
            str(self._translated),
            driver="COG",
            BLOCKSIZE=str(self.header.blocks[0] if self.header.blocks else 512),
            OVERVIEWS="AUTO" if self.header.overviews else "NONE",
            BIGTIFF="IF_SAFER",
            COPY_SRC_MDD="YES",
            **options,
        )
        os.replace(self._translated, self.temporary)


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing into an OutputError that names the file and the free space."""
    try:
        yield
    except OutputError:
        raise
    except (RasterioError, OSError) as error:
        found = f"{path} could not be written: {first_line(error)}"
        if _is_full(error, path):
            msg = (
                f"{found} ({free_space(path) / 1e6:.1f} MB free). Nothing was left behind. Free some space, or choose "
                "another place"
            )
        else:
            msg = f"{found}. Nothing was left behind. Choose another place or format"
        raise OutputError(msg, call="as out=.", option="with -o.") from error


def _is_full(error: BaseException, path: Path) -> bool:
    """Return whether a full disk is the cause: GDAL and HDF5 say so in words of their own, or only fail."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "space" in first_line(error).lower() or free_space(path) < _LITTLE


def free_space(path: Path) -> int:
    """Return bytes left on the disk that a path, existing or not, is on."""
    return shutil.disk_usage(existing_folder(path)).free


def existing_folder(path: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    return next(parent for parent in path.absolute().parents if parent.is_dir())


def _compression(structure: Mapping[str, str]) -> str | None:
    compression = structure.get("COMPRESSION")
    return compression if compression is None or compression in _LOSSLESS else "DEFLATE"


def _profile(header: Header) -> dict[str, object]:
    """Arguments of rasterio.open that give a file with the header's grid, dtype, tiling and compression."""
    rows, columns = header.shape
    profile: dict[str, object] = {
        "driver": "GTiff",
        "height": rows,
        "width": columns,
        "count": header.count,
        "dtype": header.dtypes[0],
        "crs": header.crs,
        "nodata": header.nodata,
        "BIGTIFF": "IF_SAFER",
    }
    if not header.transform.is_identity:
        profile["transform"] = header.transform
    compression = _compression(header.structure)
    if compression is not None:
        profile["compress"] = compression
    if compression in _PREDICTABLE and header.structure.get("PREDICTOR", "1") != "1":
        profile["predictor"] = header.structure["PREDICTOR"]
    if header.structure.get("INTERLEAVE") in ("PIXEL", "BAND") and header.count > 1:  # ENVI has LINE, too
        profile["interleave"] = header.structure["INTERLEAVE"]
    block_rows, block_columns = header.blocks or (256, 256)
    # Tiles have sides that are multiples of 16. Blocks as wide as the image may be tiles or strips; strips serve both, but where
    # the whole image is one tile.
    tiled = block_rows % 16 == block_columns % 16 == 0
    if tiled and (block_columns != columns or block_rows == block_columns):
        if not header.blocks and min(rows, columns) < 256:
            return profile
        profile.update(tiled=True, blockxsize=block_columns, blockysize=block_rows)
    else:
        profile["blockysize"] = block_rows
    return profile


def _annotate(dataset: rasterio.io.DatasetWriter, header: Header, tags: Mapping[str, str]) -> None:
    """Band names, colours, scales, units and tags, all but those that processing makes false."""
    if header.gcps:
        dataset.gcps = ([GroundControlPoint(*point) for point in header.gcps], header.gcps_crs)
    dataset.colorinterp = header.colorinterp
    dataset.descriptions = header.band_names
    if set(header.scales) != {1.0} or set(header.offsets) != {0.0}:
        dataset.scales = header.scales
        dataset.offsets = header.offsets
    if any(header.units):
        dataset.units = [unit or "" for unit in header.units]
    for namespace, entries in header.tags.items():
        dataset.update_tags(ns=namespace or None, **_still_true(entries))
    dataset.update_tags(**tags)
    for band, entries in enumerate(header.band_tags, start=1):
        dataset.update_tags(band, **_still_true(entries))


def _still_true(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags without the statistics, which were taken before, and without the record of an earlier verb."""
    return {key: value for key, value in tags.items() if not key.startswith(("STATISTICS_", "ngr_"))}
