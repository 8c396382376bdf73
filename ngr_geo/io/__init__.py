"""Files in and out: GeoTIFF stacks, COG, NetCDF and Zarr, each written back the way it was read."""

from .planned import Written, check_output, outputs
from .stack import Files, as_raster, expand, only, read_stack
from .writing import read_back, write_stack

__all__ = [
    "Files",
    "Written",
    "as_raster",
    "check_output",
    "expand",
    "only",
    "outputs",
    "read_back",
    "read_stack",
    "write_stack",
]
