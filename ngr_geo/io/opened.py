"""What was read, as one xarray object that the verbs take."""

import xarray as xr

from .. import record
from ..raster import picking
from ..raster.grid import align
from ..raster.storage import nodata
from . import containers
from .stack import Files


def as_raster(files: Files) -> xr.DataArray | xr.Dataset:
    """Return the raster of some files; a stack with a mask as a Dataset of its bands and that mask, on the raster's grid."""
    if files.dataset is not None:
        assert isinstance(files.raster, xr.DataArray)
        whole = files.dataset[files.raster.name]
        same = files.raster.sizes == whole.sizes and nodata(files.raster) == nodata(whole)
        return files.dataset if same else picking.put_back(files.raster, files.dataset)
    if not files.headers:  # its layers are coordinates
        return files.raster
    raster, clouds = files.raster, files.clouds
    if isinstance(clouds, xr.DataArray) and isinstance(raster, xr.DataArray):
        noted = {key: text for key, text in raster.attrs.items() if str(key).startswith(record.PREFIX)}
        raster = xr.Dataset(containers.by_band(raster)).assign_attrs(noted)
    if not isinstance(clouds, xr.DataArray) or isinstance(raster, xr.DataArray):
        return raster
    name = "clouds" if clouds.name is None else str(clouds.name).replace(" ", "_")
    mask = align(clouds, raster).drop_vars([*clouds.coords], errors="ignore")
    return raster.assign({name: mask})
