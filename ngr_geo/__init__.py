"""Restore satellite imagery: importing this registers the accessor `.ngr` on xarray's DataArray and Dataset."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from . import accessor as accessor
from .accessor import verbs
from .errors import GridError, InputError, MaskError, NgrError, OutputError
from .opening import open
from .samples import sample, sample_path

__version__ = version("ngr_geo")

__all__ = [
    "GridError",
    "InputError",
    "MaskError",
    "NgrError",
    "OutputError",
    "__version__",
    "masks",
    "open",
    "orthorectify",
    "sample",
    "sample_path",
    "stac",
    "verbs",
]


def __getattr__(name: str) -> Any:
    """Import `ngr_geo.masks`, `ngr_geo.stac` and `ngr_geo.orthorectify` when they are first asked for."""
    places = {"masks": ".raster.masks", "orthorectify": ".raster.ortho", "stac": ".report.stac"}
    if name not in places:
        msg = f"module 'ngr_geo' has no attribute {name!r}"
        raise AttributeError(msg)
    module = import_module(places[name], __name__)
    return getattr(module, name, module)
