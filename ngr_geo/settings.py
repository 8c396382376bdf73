"""The keywords common to the verbs, and the settings that methods take of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from .errors import InputError
from .keywords import TILES, Method
from .methods.checkpoint import StackModel
from .progress import Progress
from .tiling import jobs, scheduling, tiles, work

if TYPE_CHECKING:
    from .methods.problem import Settings
    from .raster.aoi import Area
    from .raster.cube import Cube

BYTES_A_VALUE, BYTES_A_DATE = 100, 600
"""Bytes of a pixel of a tile on a GPU: for each date and band, and for each date that networks refine. An upper limit of what was
counted of the tensors that exist at a time, with 3 to 8 dates of 4 and 10 bands."""
GPU_SHARE = 0.5
"""Of the free memory that a tile may take: torch's allocator and its libraries need some beside tensors."""
GPU_TILES = (384, 512, 768, 1024)
MOST = 2**63 - 1
"""The largest number that a seed, a size or a count of steps may be."""


@dataclass(frozen=True)
class Options:
    """The keywords common to the verbs; see `accessor`."""

    method: str = "auto"
    tile: int | None = 256
    overlap: int = 32
    device: str | None = None
    seed: int = 0
    steps: int | None = None
    tune: int = 0
    uncertainty: bool = False
    progress: Progress | None = None
    prior: StackModel | str | os.PathLike[str] | None = None
    work: work.Folder | None = None
    aoi: Any = None
    extent: str = "footprint"


def check(options: Options) -> None:
    """Raise where keywords are not what they can be."""
    if options.method not in get_args(Method):
        msg = f"Found the method {options.method!r}, expected one of {', '.join(get_args(Method))}:"
        raise InputError(msg, call='method="auto".', option="--method auto")
    if options.steps is not None:
        _check_whole("steps", options.steps, 1)
    tile = TILES["decloud"] if options.tile is None else options.tile
    for name, value, least in (
        ("tune", options.tune, 0),
        ("seed", options.seed, 0),
        ("tile", tile, 1),
        ("overlap", options.overlap, 0),
    ):
        _check_whole(name, value, least)
    if options.uncertainty and options.method == "paper":
        msg = "Found uncertainty asked of the method paper, which hides no pixels to learn it from, expected another method:"
        option = "--method auto, ngr or guide; or leave --uncertainty out."
        raise InputError(msg, call='method="auto", "ngr" or "guide".', option=option)
    tiles.spans(1, tile, options.overlap)


def settings_of(options: Options) -> Settings:
    """Return checked settings for the task."""
    check(options)
    import torch

    from .methods.problem import Settings

    here = options.device is not None and scheduling.active_client() is None  # a cluster's workers have their own
    try:
        if here:
            torch.empty(1, device=options.device).cpu()  # `meta` holds no numbers
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        msg = f"Found the device {options.device!r}, which torch cannot use here ({reason}): use"
        raise InputError(msg, call='device="cpu".', option="--device cpu") from error
    chosen: Any = options.method
    return Settings(chosen, options.steps, options.seed, options.device, options.tune, options.uncertainty)


def sized(options: Options, shape: tuple[int, int, int, int], verb: str, settings: Settings) -> Options:
    """Return options with the side of the tiles, where it is to be found: see `keywords.ABOUT`.

    It is found once, before there are any tiles: a job in a work folder goes on with that it was begun with.
    """
    if options.tile is not None:
        return options
    if options.work is not None and not options.work.restart:
        begun = jobs.tile_of(Path(options.work.path))
        if begun is not None:
            return replace(options, tile=begun)
    usual = TILES.get(verb, TILES["decloud"])
    stack = verb in ("decloud", "inpaint") and shape[0] > 1
    here = settings.device is not None and scheduling.active_client() is None  # a cluster's GPUs are not those here
    if not stack or not here or settings.method == "paper":
        return replace(options, tile=usual)
    from .tiling import lanes

    free = lanes.free_memory(settings.where)
    pixels = GPU_SHARE * (free or 0) / (shape[0] * (BYTES_A_VALUE * shape[1] + BYTES_A_DATE))
    return replace(options, tile=max(usual, *(side for side in (0, *GPU_TILES) if side**2 <= pixels)))


def _check_whole(name: str, value: Any, least: int) -> None:
    """Raise where a keyword is no whole number from `least` on."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= MOST:
        msg = f"Found {name} {value!r}, expected a whole number from {least} to {MOST}:"
        some = max(least, 1)
        raise InputError(msg, call=f"{name}={some}, for example.", option=f"--{name} {some}, for example.")


def identity(cube: Cube, verb: str, settings: Settings, options: Options, area: Area | None) -> dict[str, Any]:
    """Return what makes a job the same job, beside its pixels."""
    return {
        "version": version("ngr_geo"),
        "verb": verb,
        **{name: getattr(settings, name) for name in ("method", "steps", "seed", "tune", "uncertainty")},
        "tile": options.tile,
        "overlap": options.overlap,
        "shape": list(cube.shape),
        "bands": list(cube.bands),
        "all dates": list(cube.dates),
        "days": [str(day) for day in cube.days],
        "aoi": None if area is None else area.record["digest"],
        "extent": options.extent,
    }
