"""Restore satellite imagery: importing this registers the accessor `.ngr` on xarray's DataArray and Dataset."""

from importlib.metadata import version

from . import accessor as accessor
from .errors import GridError, InputError, MaskError, NgrError, OutputError
from .samples import sample, sample_path

__version__ = version("ngr_geo")

__all__ = [
    "GridError",
    "InputError",
    "MaskError",
    "NgrError",
    "OutputError",
    "__version__",
    "sample",
    "sample_path",
]
