"""One raster file written under a temporary name: like a given header, block by block, from any thread."""

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
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from .. import atomic
from ..errors import OutputError
from .formats import GEOTIFF, PREDICTABLE, by_ending, lossless
from .rasterfile import Header, first_line, read_window, windows

# No sidecar .aux.xml: a GeoTIFF holds all that is written here.
_OPTIONS = {"GDAL_PAM_ENABLED": "NO"}
_LITTLE = 4 * 2**20  # bytes free; with fewer, a file that cannot be written most likely did not fit


class Target:
    """A raster file in the making: `write` its blocks, `finish` it, `publish` it under its name, or `discard` it.

    It begins as a GeoTIFF, whose blocks can be written in any order; its format converts that in the end.

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
        self.format = by_ending(path) or GEOTIFF
        self._spare = self.temporary.with_name(f"{self.temporary.name}.spare")  # where the format is made
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
            assert self.format.convert is not None
            self.format.convert(self.temporary, self._spare, self.header, self.path)

    def publish(self) -> None:
        """Give the finished file its name."""
        with naming_errors(self.path):
            if self.format.beside:
                os.replace(self._spare.with_suffix(self.format.beside), self.path.with_suffix(self.format.beside))
            atomic.put(self.temporary, self.path)

    def discard(self) -> None:
        """Remove the temporary file, whatever state it is in."""
        with self._lock:
            try:
                self._close()
            except (RasterioError, OSError):
                pass  # closing flushes, and that may fail for the very reason we discard
        for leftover in (self.temporary, self._spare, self._spare.with_suffix(self.format.beside)):
            leftover.unlink(missing_ok=True)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._dataset.close()


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing into an OutputError that names the file and the free space."""
    try:
        yield
    except OutputError:
        raise
    except (RasterioError, OSError) as error:
        found = f"{path} could not be written: {first_line(error)}"
        # GDAL and HDF5 say in words of their own that the disk is full, or only fail.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "space" in first_line(error).lower() or free_space(path) < _LITTLE:
            msg = (
                f"{found} ({free_space(path) / 1e6:.1f} MB free). Nothing was left behind. Free some space, or choose "
                "another place"
            )
        else:
            msg = f"{found}. Nothing was left behind. Choose another place or format"
        raise OutputError(msg, call="as out=.", option="with -o.") from error


def free_space(path: Path) -> int:
    """Return bytes left on the disk that a path, existing or not, is on."""
    return shutil.disk_usage(existing_folder(path)).free


def existing_folder(path: Path) -> Path:
    """Return the nearest folder above a path that is there."""
    return next(parent for parent in path.absolute().parents if parent.is_dir())


def _profile(header: Header) -> dict[str, object]:
    """Return arguments of rasterio.open that give a file with the header's grid, dtype, tiling and compression."""
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
    compression = lossless(header.structure)
    if compression is not None:
        profile["compress"] = compression
    if compression in PREDICTABLE and header.structure.get("PREDICTOR", "1") != "1":
        profile["predictor"] = header.structure["PREDICTOR"]
    if header.structure.get("INTERLEAVE") in ("PIXEL", "BAND") and header.count > 1:  # ENVI has LINE, too
        profile["interleave"] = header.structure["INTERLEAVE"]
    block_rows, block_columns = header.blocks or (256, 256)
    # Tiles have sides that are multiples of 16. Blocks as wide as the image may be tiles or strips; strips serve both, but where
    # the whole image is in one tile.
    tiled = block_rows % 16 == block_columns % 16 == 0
    if tiled and (block_columns != columns or block_rows == block_columns or block_rows > rows):
        if not header.blocks and min(rows, columns) < 256:
            return profile
        profile.update(tiled=True, blockxsize=block_columns, blockysize=block_rows)
    else:
        profile["blockysize"] = block_rows
    return profile


def _annotate(dataset: rasterio.io.DatasetWriter, header: Header, tags: Mapping[str, str]) -> None:
    """Write band names, colours, scales, units and tags, all but those that processing makes false."""
    if header.gcps:
        dataset.gcps = ([GroundControlPoint(*point) for point in header.gcps], header.gcps_crs)
    bands = header.bands
    dataset.colorinterp = [band.colorinterp for band in bands]
    dataset.descriptions = header.band_names
    if any(band.scale != 1.0 or band.offset != 0.0 for band in bands):
        dataset.scales = [band.scale for band in bands]
        dataset.offsets = [band.offset for band in bands]
    if any(band.unit for band in bands):
        dataset.units = [band.unit or "" for band in bands]
    for namespace, entries in header.tags.items():
        dataset.update_tags(ns=namespace or None, **_still_true(entries))
    dataset.update_tags(**tags)
    for number, band in enumerate(bands, start=1):
        dataset.update_tags(number, **_still_true(band.tags))


def _still_true(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags without the statistics, which were taken before, and without the record of an earlier verb."""
    return {key: value for key, value in tags.items() if not key.startswith(("STATISTICS_", "ngr_"))}
