"""Many raster files, one per date, as one array: what must agree among them, and which mask belongs to which."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace

import dask
import dask.array
import numpy as np
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from rasterio.enums import ColorInterp

from ..errors import GridError, InputError, warn
from ..raster import products
from .dates import HELP, acquired
from .envi import spectral
from .rasterfile import SIDECARS, Header, read_window, windows

LARGE = 64 * 2**20  # bytes; above this a stack is read lazily
_CHUNK = 1024  # rows and columns of a lazy block, at most: a multiple of the usual tile sizes
_CHUNK_VALUES = 2**25  # of all dates and bands together, at most


def check_alike(headers: Sequence[Header]) -> None:
    """Raise where files of one stack differ in grid, bands or dtype.

    Raises:
        InputError, GridError: with the two files, the difference and the call that mends it.
    """
    first = headers[0]
    check_dtype(first)
    for other in headers[1:]:
        check_grid(first, other)
        if other.count != first.count:
            msg = (
                f"{other.path} has {other.count} bands, {first.path} has {first.count}. Expected the same for all. "
                f"Choose common ones first: rio stack {other.name} --bidx 1,2,3 -o {twin(other)}"
            )
            raise InputError(msg)
        if other.dtypes != first.dtypes:
            msg = (
                f"{other.path} holds {other.dtypes[0]}, {first.path} holds {first.dtypes[0]}. Expected one dtype for "
                f"all dates. Convert it first: rio convert {other.name} {twin(other)} --dtype {first.dtypes[0]}"
            )
            raise InputError(msg)


def check_image(header: Header) -> None:
    """Raise where a file holds what cannot be worked on.

    Raises:
        InputError: complex numbers, several dtypes, or a sidecar that was written here.
    """
    check_dtype(header)
    if header.content in SIDECARS:
        what = SIDECARS[header.content]
        msg = f"{header.path} holds {what}; it is no image. Leave the *_{header.content}.tif files out."
        raise InputError(msg)


def check_dtype(header: Header) -> None:
    """Raise where a file holds complex numbers, or several dtypes."""
    if len(set(header.dtypes)) > 1:
        msg = f"{header.path} mixes dtypes ({', '.join(header.dtypes)}). Expected one: rio convert --dtype float32."
        raise InputError(msg)
    if header.dtypes[0].startswith("complex"):
        msg = (
            f"{header.path} holds complex numbers ({header.dtypes[0]}), and integers or floats are expected. "
            f"Take the amplitude first: rio calc '(abs (read 1))' {header.name} {twin(header)}"
        )
        raise InputError(msg)


def grid_difference(first: Header, other: Header) -> str | None:
    """Return in what the second grid differs from the first, or None where they are one."""
    difference = None
    if first.crs != other.crs:
        difference = f"its CRS is {_crs(other)}, not {_crs(first)}"
    elif first.shape != other.shape:
        difference = f"it has {_shape(other)}, not {_shape(first)}"
    else:
        size = min(abs(first.transform.a) + abs(first.transform.d), abs(first.transform.b) + abs(first.transform.e))
        shifts = [np.subtract(corner(first, *at), corner(other, *at)) for at in ((0, 0), first.shape)]
        shift = float(np.abs(shifts).max())
        if not shift <= 0.01 * size:  # a hundredth of a pixel: rounding in the file
            start = tuple(round(value, 6) for value in (other.transform.c, other.transform.f))
            expected = tuple(round(value, 6) for value in (first.transform.c, first.transform.f))
            steps = tuple(round(value, 9) for value in (other.transform.a, other.transform.e))
            difference = (
                f"it starts at {start} with pixels of {steps}, up to {shift / size:.3g} pixels off ({expected})"
            )
    return difference


def check_grid(first: Header, other: Header) -> None:
    """Raise where two files are on different grids, with the command that mends it."""
    difference = grid_difference(first, other)
    if difference is None:
        return
    mend = f"rio warp {other.path} {twin(other)} --like {first.path} --resampling bilinear"
    if other.crs is None or first.crs is None:
        without, known = (other, first) if other.crs is None else (first, other)
        mend = f"rio edit-info {without.path} --crs {_crs(known)}"
    msg = f"{other.path} is not on the grid of {first.path}: {difference}. Bring it there first: {mend}"
    raise GridError(msg)


def dates(headers: Sequence[Header], pattern: str | None) -> np.ndarray | None:
    """Return the acquisition times (datetime64[ns]) of the files; None for one file without a date.

    Raises:
        InputError: several files and one without a date.
    """
    found = [acquired(header.name, header.all_tags, pattern) for header in headers]
    missing = [header.path for header, time in zip(headers, found, strict=True) if time is None]
    if missing and len(headers) > 1:
        msg = (
            f"{missing[0]}: neither its name nor its tags hold a date ({len(missing)} of {len(headers)} files). "
            f"Expected one per file, such as S2_20230815.tif; say where it stands: {HELP}."
        )
        raise InputError(msg)
    return None if missing else np.array(found, dtype="datetime64[ns]")


def warn_of_baselines(headers: Sequence[Header]) -> None:
    """Warn where Sentinel-2 products from before and after baseline 04.00, whose numbers differ by 1000, meet."""
    before: list[str] = []
    after: list[str] = []
    for header in headers:
        tags = header.tags[""]
        named = re.search(r"_N(\d{4})_", header.name)
        text = tags.get("PROCESSING_BASELINE", f"{named[1][:2]}.{named[1][2:]}" if named else "")
        if re.fullmatch(r"\d\d\.\d\d", text) and tags.get("OFFSET_APPLIED", "").lower() != "true":
            (after if float(text) >= 4 else before).append(header.path)
    if before and after:
        msg = (
            f"Sentinel-2 baselines are mixed: {after[0]} is of 04.00 or later, with 1000 added to all numbers, "
            f"{before[0]} is not. Every date keeps its own numbers; subtract 1000 first if they are to be compared."
        )
        warn(msg)


def band_names(headers: Sequence[Header]) -> tuple[str, ...]:
    """Return the bands' names from the files' descriptions, "1", "2", ... where there are none.

    Raises:
        InputError: the files name their bands differently.
    """
    named = [header for header in headers if any(header.band_names)]
    for other in named[1:]:
        if other.band_names != named[0].band_names:
            theirs, ours = (", ".join(str(name) for name in header.band_names) for header in (other, named[0]))
            msg = (
                f"{other.path} has the bands {theirs}, {named[0].path} has {ours}. Expected the same in one order. "
                f"Reorder them first: rio stack {other.path} --bidx 3,2,1 -o {twin(other)}"
            )
            raise InputError(msg)
    chosen = (named or list(headers))[0]
    names = [name or str(number) for number, name in enumerate(chosen.band_names, start=1)]
    return tuple(name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names, start=1))


def choose_bands(
    header: Header, names: tuple[str, ...], bands: Sequence[str] | None, mask_band: int | None
) -> tuple[int, ...]:
    """Return the numbers, from 1, of the bands to work on: those asked for, else all but alpha and classes.

    Raises:
        InputError: a band that is not there.
    """
    if bands:
        check_known(header.path, bands, names)
        return tuple(names.index(name) + 1 for name in dict.fromkeys(bands))
    layers = {number: name for number, name in enumerate(names, start=1) if products.is_quality(name)}
    unsaid = [name for number, name in layers.items() if name.lower() not in products.PLAIN and number != mask_band]
    if unsaid:
        msg = f"Left out as layers of quality, which are no bands, and written as they are: {', '.join(unsaid)}."
        warn(msg)
    left_out = set(layers) | ({mask_band} if mask_band else set())
    for number, (name, band) in enumerate(zip(names, header.bands, strict=True), start=1):
        # GDAL calls the fourth of four uint8 bands alpha unasked: with a name it is something else.
        if band.colorinterp == ColorInterp.alpha and (name == str(number) or "alpha" in name.lower()):
            left_out.add(number)
            msg = (
                f"{header.path}: band {number} is marked as transparency (alpha) and copied, not filled. If it is "
                f"an image, ask for it: --bands {','.join(names)}"
            )
            warn(msg)
    numbers = tuple(number for number in range(1, header.count + 1) if number not in left_out)
    if not numbers:
        msg = f"{header.path} has no band to restore, only {', '.join(names)}. Give images first, masks with --clouds."
        raise InputError(msg)
    return numbers


def check_known(path: str, bands: Sequence[str], known: Sequence[str]) -> None:
    """Raise where a band that is asked for is not there."""
    unknown = [name for name in bands if name not in known]
    if unknown:
        msg = f"{path} has no band {', '.join(map(repr, unknown))}; it has {', '.join(known)}. Choose among these."
        raise InputError(msg)


def is_large(headers: Sequence[Header], bands: int) -> bool:
    """Return whether the stack is better read lazily."""
    rows, columns = headers[0].shape
    return len(headers) * bands * rows * columns * np.dtype(headers[0].dtypes[0]).itemsize > LARGE


def read_raster(
    headers: Sequence[Header], names: tuple[str, ...], numbers: tuple[int, ...], times: np.ndarray | None, lazy: bool
) -> xr.DataArray:
    """Return the bands of all files (time, band, y, x), raw, with coordinates, CRS, transform and nodata.

    Without time where `times` is None.
    """
    first = headers[0]
    if lazy:
        values = dask.array.stack([_blocks(header, numbers, len(headers)) for header in headers])
    else:  # not these blocks computed: for small rasters that takes a third longer
        values = np.empty((len(headers), len(numbers), *first.shape), first.dtypes[0])
        for date, header in enumerate(headers):
            for window in windows(header.shape, 4 * _CHUNK):
                values[date, :, *window.toslices()] = read_window(header, numbers, window)
    raster = xr.DataArray(values, dims=("time", "band", "y", "x"), coords={"band": [names[n - 1] for n in numbers]})
    if times is not None:
        raster = raster.assign_coords(time=times)
    for name, values_of_bands in spectral(first).items():
        raster = raster.assign_coords({name: ("band", [values_of_bands[n - 1] for n in numbers])})
        units = first.bands[0].tags.get("wavelength_units", first.tags.get("ENVI", {}).get("wavelength_units"))
        if units and name != "bbl":
            raster[name].attrs["units"] = units
    raster = _with_scales(raster, headers, numbers)
    if first.transform.b == first.transform.d == 0:  # a rotated grid has no x and y of its own
        rows, columns = first.shape
        x = first.transform.c + first.transform.a * (np.arange(columns) + 0.5)
        y = first.transform.f + first.transform.e * (np.arange(rows) + 0.5)
        raster = raster.assign_coords(y=y, x=x)
    if first.crs is not None:
        raster = raster.rio.write_crs(first.crs)
    raster = raster.rio.write_transform(first.transform)
    if first.nodata is not None:
        raster = raster.rio.write_nodata(first.nodata)
    return raster if times is not None else raster.isel(time=0, drop=True)


def _with_scales(raster: xr.DataArray, headers: Sequence[Header], numbers: tuple[int, ...]) -> xr.DataArray:
    """Return the raster with what its stored numbers mean: attributes, or coordinates where bands or dates differ."""
    divisor = headers[0].tags.get("ENVI", {}).get("reflectance_scale_factor", "")
    if divisor and re.fullmatch(r"[\d.]+(e[+-]?\d+)?", divisor, re.IGNORECASE) and float(divisor) > 0:
        raster = raster.assign_attrs(scale_factor=1 / float(divisor))
    for name, key, neutral in (("scale_factor", "scale", 1.0), ("add_offset", "offset", 0.0)):
        table = np.array([[getattr(header.bands[n - 1], key) for n in numbers] for header in headers])  # (time, band)
        if (table == table[0, 0]).all():
            raster = raster if table[0, 0] == neutral else raster.assign_attrs({name: float(table[0, 0])})
        elif (table == table[:1]).all():
            raster = raster.assign_coords({name: ("band", table[0])})
        else:
            raster = raster.assign_coords({name: (("time", "band"), table)})
    return raster


def _blocks(header: Header, numbers: tuple[int, ...], dates: int) -> dask.array.Array:
    """Return the bands of one of many dates, lazy: what a tile of the solver asks for together lies together in the file."""
    sides = (_CHUNK, _CHUNK // 2)
    side = next((n for n in sides if dates * len(numbers) * n**2 <= _CHUNK_VALUES), _CHUNK // 4)
    header = _absolute(header)
    read = dask.delayed(read_window, pure=True)
    rows: dict[int, list[dask.array.Array]] = {}
    for window in windows(header.shape, side):
        block = read(header, numbers, window)
        shape = (len(numbers), window.height, window.width)
        rows.setdefault(window.row_off, []).append(dask.array.from_delayed(block, shape, header.dtypes[0]))
    return dask.array.block([list(rows.values())])


def _absolute(header: Header) -> Header:
    """Return the header with whole paths, as a worker may be in another folder."""
    bands = tuple(replace(band, file=band.file and _whole(band.file)) for band in header.bands)
    return replace(header, path=_whole(header.path), bands=bands)


def _whole(path: str) -> str:
    return os.path.abspath(path) if os.path.exists(path) else path


def corner(header: Header, row: int, column: int) -> tuple[float, float]:
    """Return where the upper left corner of a pixel is."""
    grid = header.transform  # written out: versions of affine differ in the operator
    return grid.a * column + grid.b * row + grid.c, grid.d * column + grid.e * row + grid.f


def twin(header: Header) -> str:
    """Return a name for a changed copy of a file, as commands in messages give it."""
    stem, suffix = os.path.splitext(header.name)
    return f"{stem}_new{suffix}"


def _crs(header: Header) -> str:
    return "missing" if header.crs is None else header.crs.to_string()[:60]


def _shape(header: Header) -> str:
    return f"{header.shape[0]} rows and {header.shape[1]} columns"


def some(texts: Sequence[str]) -> str:
    """Return texts as a list of bounded length."""
    return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")
