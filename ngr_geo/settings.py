"""The keywords common to the verbs, and the settings that methods take of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from .errors import InputError
from .keywords import Method
from .methods.checkpoint import StackModel
from .progress import Progress
from .tiling import scheduling, tiles, work

if TYPE_CHECKING:
    from .methods.problem import Settings
    from .raster.aoi import Area
    from .raster.cube import Cube

MOST = 2**63 - 1
"""The largest number that a seed, a size or a count of steps may be."""


@dataclass(frozen=True)
class Options:
    """The keywords common to the verbs; see `accessor`."""

    method: str = "auto"
    tile: int = 256
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
    for name, least in (("tune", 0), ("seed", 0), ("tile", 1), ("overlap", 0)):
        _check_whole(name, getattr(options, name), least)
    if options.uncertainty and options.method == "paper":
        msg = "Found uncertainty asked of the method paper, which hides no pixels to learn it from, expected another method:"
        option = "--method auto, ngr or guide; or leave --uncertainty out."
        raise InputError(msg, call='method="auto", "ngr" or "guide".', option=option)
    tiles.spans(1, options.tile, options.overlap)


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
