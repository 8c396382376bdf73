"""A stack read from files: the raster, its clouds, and all that is needed to write it back the way it was."""

import glob
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from .. import record
from ..atomic import PathLike
from ..errors import InputError, MaskError
from ..raster import picking, products
from ..raster.grid import align
from ..raster.storage import nodata as nodata_of
from ..record import Held
from . import containers, earlier, formats, maskfiles, rasters
from . import products as readers
from .gather import Wanted, gather
from .nodata import NoData, declared, settle, settle_dataset
from .products import Content
from .rasterfile import Header, read_header

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """What `read_stack` gives back: the raster in some files, and what is needed to write it the way it was read.

    Attributes:
        raster: DataArray (time, band, y, x), without time for one file without a date, from GeoTIFFs and other raster
            files; the Dataset (or its only four-dimensional variable) from a NetCDF file or Zarr store. Raw values:
            scale and offset are not applied, nodata is not masked.
        clouds: codes (time, y, x), with the mask's kind ("SCL", ...) as name where the file's name holds it; the name of a
            variable of the raster; or None.
        headers: one per date, in the order of the raster; empty for NetCDF and Zarr.
        bands: the numbers, from 1, that the raster's bands have in the files.
        carried: numbers of the bands that are no part of the raster (alpha, classes) but go along into what is written.
        dataset: the whole Dataset, where the raster is a part of it.
        inputs: every file that was read; none of them is ever written to.
        cog: write Cloud Optimized GeoTIFFs, whatever the inputs are.
        filled: what `filled` is in a NetCDF file or Zarr store that is written: "coordinate" or "variable".
        notes: what was found among the inputs and how they were put together, for the user.
    """

    raster: xr.DataArray | xr.Dataset
    clouds: xr.DataArray | str | None
    inputs: tuple[str, ...]
    headers: tuple[Header, ...] = ()
    bands: tuple[int, ...] = ()
    carried: tuple[int, ...] = ()
    dataset: xr.Dataset | None = None
    cog: bool = False
    filled: Held = "coordinate"
    notes: tuple[str, ...] = ()

    @property
    def lazy(self) -> bool:
        """Whether the raster was too large to be loaded and is a Dask array."""
        return bool(self.raster.chunks)


def only(stack: Files, dates: Sequence[int]) -> Files:
    """Return a stack with some of its dates, by their numbers from 0: what is written of it, and shown."""
    if "time" not in stack.raster.dims:
        return stack
    whole = stack.dataset
    return replace(
        stack,
        raster=stack.raster.isel(time=list(dates)),
        headers=tuple(stack.headers[date] for date in dates) if stack.headers else (),
        dataset=whole.isel(time=list(dates)) if whole is not None and "time" in whole.dims else whole,
    )


def read_stack(
    paths: PathLike | Sequence[PathLike],
    clouds: PathLike | Sequence[PathLike] | None = None,
    bands: Sequence[str] | None = None,
    date_pattern: str | None = None,
    lazy: bool = False,
    *,
    band_pattern: str | None = None,
    resolution: str | float | None = None,
    nodata: NoData = None,
    product: str | None = None,
) -> Files:
    """Return dated rasters and their cloud masks as one stack, sorted by date; or a product, as its reader finds it.

    All headers are checked before any pixel is read. Stacks above 64 MiB, and where `lazy` smaller ones, become Dask arrays.

    Args:
        paths: GeoTIFFs (or other files that GDAL reads), one per date, or one per date and band as agencies deliver them; or
            one NetCDF file or Zarr store; or products of one kind (see `ngr_geo.io.products`): folders, archives or files. "*" and
            "?" are expanded. Masks among them are known by their names and set aside.
        clouds: mask files, matched to the rasters by date, on this or another grid; or the name of a band of the
            GeoTIFFs or of a variable of the NetCDF file or Zarr store. By default one with a well-known name.
        bands: names of the bands (or variables) to work on; the others are left out. By default all.
        date_pattern: where the date stands in the names: see `ngr_geo.io.dates.acquired`.
        lazy: do not load pixels, however few they are.
        band_pattern: where the band stands in the names of files of one band, where that is not known: a regular expression
            with a group, or "*_{band}_*".
        resolution: "finest", "coarsest" or the size of a pixel, where bands have pixels of several sizes: bilinear, or averages.
        nodata: the number that means missing, whatever is declared; "none" where all numbers are data.
        product: the name of a product, where it is not to be found out.

    Raises:
        InputError: no such file, not a raster, truncated, complex or mixed dtypes, unknown band, no or unclear dates.
        GridError: rasters on different grids.
        MaskError: dates without a mask.
    """
    files = expand(paths)
    masks = _names(clouds)
    if not files:
        msg = "No input was given. Expected GeoTIFFs, one per date, or one NetCDF file or Zarr store."
        raise InputError(msg)
    for file in files:
        LOGGER.info("reading %s", file)
    wanted = Wanted(bands, date_pattern, band_pattern, resolution, nodata)
    reader = readers.find(files, product)
    if reader is not None:
        return _read_product(reader.read(files, wanted, lazy), files, masks, wanted, lazy)
    packed = [path for path in files if formats.container(path)]
    if packed and len(files) > 1:
        msg = (
            f"{packed[0]} is one of {len(files)} inputs. Expected GeoTIFFs, or one NetCDF file or Zarr store that "
            "holds all dates: run once per file, or join them first"
        )
        raise InputError(msg, call="with xarray.concat.", option="(cdo mergetime IN... OUT.nc).")
    if packed:
        return _read_container(files[0], masks, bands, lazy, nodata)
    masks = masks if _is_one_name(masks) else expand(masks)
    images = [path for path in files if path not in masks]
    return _read_rasters(Content(tuple(map(read_header, images or files)), inputs=files), masks, wanted, lazy)


def expand(paths: PathLike | Sequence[PathLike]) -> tuple[str, ...]:
    """Return paths as text, with "*" and "?" expanded (shells on Windows, and quotes, leave them).

    Raises:
        InputError: a pattern that fits no file, or a file named twice.
    """
    found: list[str] = []
    for path in _names(paths):
        if any(letter in path for letter in "*?[") and not os.path.exists(path):
            matches = sorted(glob.glob(path))
            if not matches:
                msg = f"{path}: no file fits this pattern in {Path.cwd()}. Check the path."
                raise InputError(msg)
            found.extend(matches)
        else:
            found.append(_envi_data(path))
    twice = sorted({path for path in found if found.count(path) > 1})
    if twice:
        msg = f"{twice[0]} is named twice among the inputs. Name each file once."
        raise InputError(msg)
    return tuple(found)


def _envi_data(path: str) -> str:
    """Return the data file that an ENVI header belongs to, which is what GDAL opens; any other path as it is."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() != ".hdr" or not os.path.exists(path):
        return path
    for candidate in (stem, *(stem + ending for ending in formats.ENVI.endings)):
        if os.path.isfile(candidate):
            return candidate
    msg = (
        f"{path} is an ENVI header, and the image it belongs to is not beside it ({stem}, {stem}.img, {stem}.dat, ...)."
    )
    raise InputError(msg)


def _names(paths: PathLike | Sequence[PathLike] | None) -> tuple[str, ...]:
    if paths is None:
        return ()
    return (os.fspath(paths),) if isinstance(paths, str | os.PathLike) else tuple(os.fspath(path) for path in paths)


def _read_product(
    content: Content, paths: tuple[str, ...], masks: tuple[str, ...], wanted: Wanted, lazy: bool
) -> Files:
    """Return a product as its reader found it, with the masks that the user gave in place of its own."""
    if content.headers:
        return _read_rasters(content, masks if _is_one_name(masks) else expand(masks), wanted, lazy)
    assert content.raster is not None
    whole, clouds, inputs = content.dataset, content.clouds, (*paths, *content.inputs)
    if masks:
        layers: Any = content.raster if whole is None else whole
        if len(masks) == 1 and masks[0] in {**layers.coords, **getattr(layers, "data_vars", {})}:
            clouds = layers[masks[0]]
        elif _is_one_name(masks):
            names = ", ".join(map(str, (*getattr(layers, "data_vars", ()), *layers.coords)))
            msg = f"{paths[0]} has no layer {masks[0]!r}; it has {names}. Give one of these, or mask files, with --clouds."
            raise MaskError(msg)
        else:
            clouds = maskfiles.read_mask(maskfiles.match_masks(expand(masks), None, None, None), None, lazy=False)
            inputs += expand(masks)
    raster = content.raster
    if isinstance(raster, xr.DataArray):
        if wanted.resolution is not None:
            msg = f"{paths[0]} has pixels of one size: leave the resolution ({wanted.resolution}) out, it is for bands of several."
            raise InputError(msg)
        raster = containers.with_bands(raster, paths[0], wanted.bands) if wanted.bands else raster
        raster = raster if wanted.nodata is None else declared(raster, wanted.nodata)
    elif wanted.nodata is not None:
        raster = settle_dataset(raster, paths[0], wanted.nodata)
    return Files(raster, clouds, tuple(dict.fromkeys(inputs)), dataset=whole, notes=content.notes)


def _read_rasters(content: Content, masks: tuple[str, ...], wanted: Wanted, lazy: bool) -> Files:
    """Return raster files put together by date."""
    found = content.headers
    for header in found:
        rasters.check_image(header)
    kinds = {products.kind(header.name) for header in found}
    kind = next((k for k in kinds if k and len(masks) == 1 and k.lower() == masks[0].lower()), None)
    gathered = gather(found, replace(wanted, mask=kind, names=content.names))
    if not masks or kind is not None:
        masks = gathered.masks or masks
    headers, times = list(gathered.headers), gathered.times
    rasters.check_alike(headers)
    rasters.warn_of_baselines(headers)
    names = rasters.band_names(headers)
    mask_band = _mask_band(names, masks)
    numbers = rasters.choose_bands(headers[0], names, wanted.bands, mask_band)
    headers = settle(headers, names, numbers, wanted.nodata)
    mask_files = masks if masks and mask_band is None else ()
    clouds = maskfiles.match_masks(mask_files, headers, times, wanted.date_pattern) if mask_files else None
    lazy = lazy or rasters.is_large(headers, len(numbers))
    mask: xr.DataArray | None = None
    if clouds is not None:
        mask = maskfiles.read_mask(clouds, times, lazy)
    elif mask_band is not None:
        mask = maskfiles.read_band(headers, mask_band, times, lazy)
    carried = tuple(number for number in range(1, len(names) + 1) if number not in numbers)
    raster = earlier.with_record(rasters.read_raster(headers, names, numbers, times, lazy), headers)
    if content.finish is not None:
        raster = content.finish(raster, headers, lazy)
    raster, sidecars = earlier.with_filled(raster, headers, names, numbers)
    return Files(
        raster=raster,
        clouds=mask,
        inputs=tuple(dict.fromkeys((*content.inputs, *mask_files, *sidecars))),
        headers=tuple(headers),
        bands=numbers,
        carried=() if wanted.bands else carried,
        notes=(*content.notes, *gathered.notes),
    )


def _is_one_name(masks: tuple[str, ...]) -> bool:
    """Return whether masks are given by the name of a band or of a kind of mask, and not as files."""
    return len(masks) == 1 and not os.path.exists(masks[0]) and not any(letter in masks[0] for letter in "*?[/\\.")


def _mask_band(names: tuple[str, ...], masks: tuple[str, ...]) -> int | None:
    """Return the number of the band that holds the cloud classes: the one that `masks` names, else one with a known name."""
    if len(masks) == 1 and masks[0] in names and not os.path.exists(masks[0]):
        return names.index(masks[0]) + 1
    if _is_one_name(masks):
        msg = (
            f"{masks[0]!r} is neither a mask file nor a band of the rasters, which have {', '.join(names)}. "
            "Give the mask files, for example --clouds SCL_*.tif."
        )
        raise MaskError(msg)
    if masks:
        return None
    known = [number for number, name in enumerate(names, start=1) if products.is_searched(name)]
    return known[0] if known else None


def _read_container(
    path: str, masks: tuple[str, ...], bands: Sequence[str] | None, lazy: bool, nodata: NoData
) -> Files:
    dataset = settle_dataset(containers.open_container(path, lazy), path, nodata)
    inputs: tuple[str, ...] = (path,)
    clouds: xr.DataArray | str | None = None
    if len(masks) == 1 and masks[0] in dataset.variables:
        clouds = masks[0]
    elif len(masks) == 1 and formats.container(masks[0]):
        clouds = containers.mask_variable(containers.open_container(masks[0]), masks[0])
        inputs += masks
    elif masks:
        if _is_one_name(masks):
            names = ", ".join(map(str, dataset.data_vars))
            msg = f"{path} has no variable {masks[0]!r}; it has {names}. Give one of these with --clouds."
            raise MaskError(msg)
        files = expand(masks)
        times = dataset["time"].values if "time" in dataset.dims and "time" in dataset.coords else None
        clouds = maskfiles.read_mask(maskfiles.match_masks(files, None, times, None), times, lazy=False)
        inputs += files
    raster = containers.choose(dataset, path, bands, clouds if isinstance(clouds, str) else None)
    if isinstance(raster, xr.Dataset):
        return Files(raster, clouds, inputs)
    if clouds is None:
        clouds = containers.find_mask(dataset)
    return Files(raster, dataset[clouds] if isinstance(clouds, str) else clouds, inputs, dataset=dataset)


def as_raster(files: Files) -> xr.DataArray | xr.Dataset:
    """Return the raster of some files; a stack with a mask as a Dataset of its bands and that mask, on the raster's grid."""
    if files.dataset is not None:
        assert isinstance(files.raster, xr.DataArray)
        whole = files.dataset[files.raster.name]
        same = files.raster.sizes == whole.sizes and nodata_of(files.raster) == nodata_of(whole)
        return files.dataset if same else picking.put_back(files.raster, files.dataset)
    if not files.headers:  # its layers are coordinates
        return files.raster
    raster, clouds = files.raster, files.clouds
    if isinstance(clouds, xr.DataArray) and isinstance(raster, xr.DataArray):
        raster = xr.Dataset(containers.by_band(raster)).assign_attrs(record.notes_in(raster.attrs))
    if not isinstance(clouds, xr.DataArray) or isinstance(raster, xr.DataArray):
        return raster
    name = "clouds" if clouds.name is None else str(clouds.name).replace(" ", "_")
    mask = align(clouds, raster).drop_vars([*clouds.coords], errors="ignore")
    return raster.assign({name: mask})
