"""Cloud masks refined: what the mask of a product misses is added, and what it takes for cloud on every date is taken off.

The mathematics is in `guides.haze`. Here it is learnt from the windows that a scene is learnt from, and applied block by block,
each with a margin as wide as it reaches: a raster in memory, a lazy one and a work folder have the same mask, to the bit, however
they are cut.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InputError, MaskError, warn
from ..raster import colours, masks, missing
from ..raster.cube import Cube, regions
from ..raster.missing import Clouded
from ..record import dates_of
from ..tiling import scheduling
from ..wording import listed

if TYPE_CHECKING:
    from ..guides.haze import Recipe, Window

BLOCK = 512
"""Side of the blocks that a raster in memory is worked on in."""
NOT_CLEAR, HAZE, SHADOW, FALSE = 8, 1, 2, 4
"""Bits of a block: the refined mask, and what differs from the mask as it was."""
COUNTS = {"haze": HAZE, "shadow": SHADOW, "taken_off": FALSE}
"""What a row of the record says of it: shares of the scene."""


class Masking(NamedTuple):
    """What is cloud: the mask, how it is read (see `masks.cloud_mask`), and whether it is refined.

    `refine` None: where the mask is a product's, and dates and bands allow it.
    """

    clouds: Any
    classes: Sequence[int] | None = None
    dilate: int | None = None
    probability: float = 0.5
    refine: bool | None = None


def clouded(raster: xr.DataArray | xr.Dataset, how: Masking, now: bool = False) -> Clouded:
    """Return what `missing.clouded` does, with the mask refined; a mask that was prepared before as it is.

    Raises:
        InputError, MaskError: it was asked for, and cannot be.
    """
    clouds, classes, dilate, probability, refine = how
    if isinstance(clouds, Clouded):
        return clouds
    if refine is not None and not isinstance(refine, bool):
        msg = f"Found refine={refine!r}, expected True, False or None:"
        raise InputError(msg, call="leave it out.", option="--refine or --no-refine.")
    found = missing.clouded(raster, clouds, classes, dilate, probability, now)
    why = _why_not(found, how)
    if why:
        return found._replace(record={**found.record, "refine": {"on": False, "why": why}})
    return _refined(found, now)


def mask(raster: xr.DataArray | xr.Dataset, how: Masking) -> xr.DataArray:
    """Return what `masks.cloud_mask` does, refined as `decloud` has it."""
    *reading, refine = how
    plain = masks.with_record(raster, *reading)
    if refine is False or (refine is None and (plain.own or how.classes or not _has_bands(raster, how.clouds))):
        return plain.mask
    found = clouded(raster, how)
    data = found.mask.reshape(plain.mask.shape)
    lazy = isinstance(plain.mask.data, da.Array) and not isinstance(data, da.Array)
    return plain.mask.copy(data=da.from_array(data) if lazy else data)


def _has_bands(raster: xr.DataArray | xr.Dataset, clouds: Any) -> bool:
    """Return whether there is anything beside the mask to refine it by."""
    from ..raster import cube as cubes

    name = clouds or masks.find(raster) if isinstance(clouds, str | None) else None
    try:
        cubes.read(raster, exclude=[] if name is None else [name])
    except InputError:
        return False
    return True


def _why_not(found: Clouded, how: Masking) -> str:
    """Return why a mask is not refined, "" where it is.

    Raises:
        InputError, MaskError: it was asked for.
    """
    refine = how.refine
    if refine is False:
        return "that was asked for"
    if refine is None and (found.own or how.classes):
        return "the mask is the user's own" if found.own else "its classes were chosen"
    cube = found.cube
    if colours.of(cube) is None:
        if refine:
            msg = (
                f"Found the bands {listed(cube.bands, 12)}, whose names do not say which is blue, green, red and near infrared, so "
                f"haze cannot be told by its colour: expected {colours.WORDS}. Rename the bands,"
            )
            raise InputError(msg, call="or leave refine=True out.", option="or leave --refine out.")
        return "the names of the bands do not say which is blue, green, red and near infrared"
    if len(cube.dates) == 1:
        if refine:
            msg = "Found one date, expected several: haze is told by what other, nearly clear dates show there. Add dates,"
            raise MaskError(msg, call="or leave refine=True out.", option="or leave --refine out.")
        return "there is only one date"
    return ""


def _refined(found: Clouded, now: bool) -> Clouded:
    """Return a mask refined, with what was found; lazy where the raster is."""
    cube = found.cube
    codes, notes = _codes(found, now)
    if cube.lazy and now:
        codes, shares = _kept(codes)
    elif cube.lazy:
        shares = da.stack([((codes & bit) > 0).mean((1, 2)) for bit in COUNTS.values()], axis=1)
        codes = codes.rechunk({1: cube.values.chunks[-2], 2: cube.values.chunks[-1]})
    else:
        (codes,) = dask.compute(codes, scheduler="threads")
        shares = np.stack([((codes & bit) > 0).mean((1, 2)) for bit in COUNTS.values()], axis=1)
    record, notes = {**found.record, "refine": {"on": True}}, [*found.notes, *notes]
    return found._replace(mask=(codes & NOT_CLEAR) > 0, record=record, notes=notes, shares=shares)


def _codes(found: Clouded, now: bool) -> tuple[Any, list[str]]:
    """Return the bits of each pixel (time, y, x) as a Dask array, and what to warn of, as far as that is known before."""
    from ..guides import haze

    cube, dilate = found.cube, int(found.record["dilate"])
    where, days = colours.of(cube), cube.when.tolist()
    assert where is not None
    snow = found.plain & False if found.snow is None else found.snow
    arrays = cube.values[:, list(where)], cube.valid[:, list(where)].all(axis=1), found.plain, snow
    windows = [tuple(a[(..., *region)] for a in arrays) for region in regions(cube.shape)]
    recipe: Any = (dask.delayed(_learnt) if cube.lazy else _learnt)(windows, days, dilate)
    notes: list[str] = []
    if cube.lazy and not now:
        recipe = dask.delayed(_warned)(recipe, cube.dates)
    else:
        recipe = scheduling.compute([recipe])[0] if cube.lazy else recipe
        notes = _left(recipe, cube.dates)
    blocks = [_in_blocks(a[:, None] if a.ndim == 3 else a, cube) for a in arrays]
    depth = {0: 0, 1: 0} | {axis: min(haze.reach(dilate), cube.shape[axis]) for axis in (2, 3)}
    wide = [da.overlap.overlap(block, depth, boundary="none") for block in blocks]
    codes = da.map_blocks(
        _marked, *wide, recipe=recipe, dilate=dilate, dtype=np.uint8, chunks=(*wide[1].chunks[:2], *wide[0].chunks[2:])
    )
    return da.overlap.trim_internal(codes, depth, boundary="none")[:, 0], notes


def _in_blocks(array: Any, cube: Cube) -> da.Array:
    """Return an array (time, band, y, x) as a Dask array, all dates and bands in one block."""
    if isinstance(array, da.Array):
        return array.rechunk({0: -1, 1: -1, 2: cube.values.chunks[-2], 3: cube.values.chunks[-1]})
    if cube.lazy:
        return da.from_array(array, chunks=(-1, -1, *cube.values.chunks[-2:]), name=False)
    return da.from_array(array, chunks=(-1, -1, BLOCK, BLOCK), name=False)


def _window(values: Any, valid: Any, flagged: Any, snow: Any) -> Window:
    """Return a window as `guides.haze` takes it."""
    import torch

    from ..guides.haze import Window

    parts = [np.asarray(a).reshape((-1, *a.shape[-2:])) for a in (valid, flagged, snow)]
    shape = (values.shape[0], *values.shape[-2:])
    known, marked, white = (torch.from_numpy(np.broadcast_to(p, shape).copy()) for p in parts)
    clean = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    return Window(torch.where(known[:, None], clean, 0), known, marked, white)


def _learnt(windows: Sequence[tuple[Any, ...]], days: Sequence[float], dilate: int) -> Recipe:
    """Return what there is to find."""
    from ..guides import haze

    return haze.learn([_window(*w) for w in windows], days, dilate)


def _left(recipe: Recipe, dates: Sequence[str]) -> list[str]:
    """Return the warnings of dates that are left as they were."""
    from ..guides import haze

    return [
        f"The mask of {dates[t]} is not refined: {recipe.found[t]:.0%} of its clear pixels would be haze or shadow, and more than "
        f"{haze.MOST:.0%} may as well be another season. Where it is haze, mask it."
        for t in recipe.beyond
    ]


def _warned(recipe: Recipe, dates: Sequence[str]) -> Recipe:
    """Return what there is to find in a lazy raster, after the warnings."""
    for note in _left(recipe, dates):
        warn(note)
    return recipe


def _marked(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    flagged: NDArray[np.bool_],
    snow: NDArray[np.bool_],
    recipe: Recipe,
    dilate: int,
) -> NDArray[np.uint8]:
    """Return the bits (time, 1, y, x) of a block."""
    from ..guides import haze

    mask, marks = haze.mark(_window(values, valid, flagged, snow), recipe, dilate)
    return np.asarray((marks.numpy() + NOT_CLEAR * mask.numpy().astype(np.uint8))[:, None])


def _kept(codes: da.Array) -> tuple[da.Array, NDArray[np.float64]]:
    """Return bits worked out now, kept small in memory, and unpacked where they are asked for; and the shares of the scene.

    A work folder asks for each pixel several times: for a plan, for the shares, for each tile. A block that cannot be read stays
    as it is, and is not counted: only the tiles that need it fail.
    """
    blocks = codes.to_delayed()
    packing = [dask.delayed(_packed)(block) for block in blocks.ravel()]
    try:
        found = list(scheduling.compute(packing))
    except (InputError, OSError):
        found = [_tried(one) for one in packing]
    sizes = [[tuple(c[i] for c, i in zip(codes.chunks, at, strict=True))] for at in np.ndindex(blocks.shape)]
    parts = np.empty(blocks.shape, object)
    for at, size, one in zip(np.ndindex(blocks.shape), sizes, found, strict=True):
        block = blocks[at] if one is None else dask.delayed(_unpacked)(one[0], size[0])
        parts[at] = da.from_delayed(block, size[0], np.uint8)
    total = np.sum([one[1] for one in found if one is not None], axis=0)
    return da.block(parts.tolist()), total / (codes.shape[1] * codes.shape[2])


def _tried(packing: Any) -> Any:
    """Return a packed block, None where it cannot be read."""
    try:
        return scheduling.compute([packing])[0]
    except (InputError, OSError):
        return None


def _packed(block: NDArray[np.uint8]) -> tuple[bytes, NDArray[np.int64]]:
    counts = [[int(((date & bit) > 0).sum()) for bit in COUNTS.values()] for date in block]
    return zlib.compress(np.ascontiguousarray(block).tobytes(), 1), np.array(counts, np.int64)


def _unpacked(packed: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)


def counted(result: xr.DataArray | xr.Dataset, cube: Cube, shares: Any) -> xr.DataArray | xr.Dataset:
    """Return a result whose record says of each date how much was found; of a lazy raster as coordinates `ngr_*` along time.

    `shares` of the scene are (date, haze or shadow or taken off), NumPy or Dask; None where the mask was not refined.
    """
    if shares is None:
        return result
    rows = dates_of(result.attrs)
    if not isinstance(shares, da.Array):
        for row, found in zip(rows, shares.tolist(), strict=True):
            row |= {name: round(share, 6) for name, share in zip(COUNTS, found, strict=True)}
        return result.assign_attrs(ngr_dates=json.dumps(rows))
    time = cube.dims[0]
    columns = {f"ngr_{name}": shares[:, i].round(6) for i, name in enumerate(COUNTS)}
    for row in rows:
        row |= dict.fromkeys(COUNTS) | {"in_coordinates": [*row.get("in_coordinates", []), *columns]}
    coords = {n: ((), c[0]) if time is None else ((time,), c) for n, c in columns.items()}
    return result.assign_coords(coords).assign_attrs(ngr_dates=json.dumps(rows))
