"""Mask files: which of them belongs to which raster, and their codes."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ..errors import InputError, MaskError
from ..raster import products
from ..raster.masks import packed
from . import rasters
from .dates import HELP, acquired
from .rasterfile import Header, read_header


def searched_kind(name: str | None) -> str | None:
    """Return the kind of mask that a file's name says, where it is one that is taken unasked: saturation is not, cloud is."""
    kind = products.kind(name)
    return kind if kind and products.is_searched(kind.removeprefix("HLS ")) else None


def match_masks(
    paths: Sequence[str], headers: Sequence[Header] | None, times: np.ndarray | None, pattern: str | None
) -> list[Header]:
    """Return the mask file of every raster, in the order of the rasters, by time or by day.

    Args:
        paths: the mask files.
        headers: the rasters, for messages; None for the dates of a Dataset.
        times: the rasters' times, or None for one raster without.
        pattern: the date pattern of the rasters; where it does not fit a mask's name, that is read without.

    Raises:
        MaskError: rasters without a mask or with several; masks on different grids.
    """
    masks = [read_header(path) for path in paths]
    for mask in masks:
        rasters.check_dtype(mask)
        if mask.shape != masks[0].shape or mask.crs != masks[0].crs:
            rasters.check_grid(masks[0], mask)
    found = [_mask_date(mask, pattern) for mask in masks]
    if len(masks) == 1 and (times is None or (len(times) == 1 and found[0] is None)):
        return masks
    undated = [mask.path for mask, time in zip(masks, found, strict=True) if time is None]
    if undated or times is None:
        what = (
            f"{undated[0]}: no date in its name or tags"
            if undated
            else f"{len(masks)} masks for one raster without a date"
        )
        msg = f"{what}. Expected masks with the dates of the rasters, such as SCL_20230815.tif, or {HELP}."
        raise MaskError(msg)
    chosen = [_match(time, np.array(found, dtype="datetime64[ns]")) for time in times]
    for index, hits in enumerate(chosen):
        if len(hits) > 1:
            where = headers[index].path if headers else f"date {index}"
            twins = ", ".join(masks[hit].path for hit in hits)
            msg = f"{where} ({_day(times[index])}) fits {len(hits)} masks: {twins}. Expected one: leave the others out."
            raise MaskError(msg)
    without = [_day(time) for time, hits in zip(times, chosen, strict=True) if not hits]
    if without:
        msg = (
            f"No mask for {len(without)} of {len(times)} dates: {rasters.some(without)}. The {len(masks)} masks are of "
            f"{rasters.some([_day(time) for time in found])}. Give one mask per date, or leave the other dates out."
        )
        raise MaskError(msg)
    return [masks[hits[0]] for hits in chosen]


def _match(time: np.datetime64, found: np.ndarray) -> list[int]:
    exact = np.flatnonzero(found == time)
    hits = exact if len(exact) == 1 else np.flatnonzero(found.astype("datetime64[D]") == time.astype("datetime64[D]"))
    return [int(hit) for hit in hits]


def _mask_date(mask: Header, pattern: str | None) -> np.datetime64 | None:
    if pattern is not None:
        try:
            return acquired(mask.name, mask.all_tags, pattern)
        except InputError:
            pass  # made for the names of the rasters
    return acquired(mask.name, mask.all_tags)


def read_mask(masks: Sequence[Header], times: np.ndarray | None, lazy: bool) -> xr.DataArray:
    """Return the masks' codes (time, y, x), with the kind as name where the name of a file or band holds it.

    Raises:
        MaskError: several bands, none of them with a known name.
    """
    first = masks[0]
    if first.count == len(products.UDM2_BANDS) and products.kind(first.name) == "UDM2":
        named = tuple(name or str(number) for number, name in enumerate(first.band_names, start=1))
        return packed(rasters.read_raster(masks, named, tuple(range(1, first.count + 1)), times, lazy).rename("UDM2"))
    known = [number for number, name in enumerate(first.band_names, start=1) if products.kind(name)]
    if first.count > 1 and len(known) != 1:
        msg = (
            f"{first.path} has {first.count} bands ({', '.join(str(name) for name in first.band_names)}). Expected one "
            f"with cloud classes. Take it out first: rio stack {first.path} --bidx 1 -o {rasters.twin(first)}"
        )
        raise MaskError(msg)
    number = known[0] if known else 1
    return read_band(masks, number, times, lazy).rename(
        products.kind(first.band_names[number - 1]) or products.kind(first.name)
    )


def read_band(headers: Sequence[Header], number: int, times: np.ndarray | None, lazy: bool) -> xr.DataArray:
    """Return one band of all files (time, y, x), named by its kind of mask."""
    name = headers[0].band_names[number - 1]
    mask = rasters.read_raster(headers, (name or "",) * headers[0].count, (number,), times, lazy)
    return mask.isel(band=0, drop=True).rename(products.kind(name))


def _day(time: np.datetime64 | None) -> str:
    return "?" if time is None else str(np.datetime_as_string(time, unit="D"))
