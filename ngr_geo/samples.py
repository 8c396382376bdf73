"""The real sample that the package carries: five dates of Sentinel-2 over Slovenia, one of them really cloudy."""

from importlib import resources
from pathlib import Path

import numpy as np
import xarray as xr

from .errors import InputError

NAMES = ("slovenia",)


def sample_path(name: str = "slovenia") -> Path:
    """Return the folder of a sample: S2_*.tif (bands B02 B03 B04 B08) and SCL_*.tif, one of each per date, and its notice.

    Raises:
        InputError: for an unknown name.

    Examples:
        >>> sorted(path.name for path in sample_path().glob("S2_*.tif"))[0]
        'S2_33TWM_20230810.tif'
    """
    if name not in NAMES:
        msg = f"Found no sample {name!r}, expected one of {', '.join(NAMES)}: ngr_geo.sample({NAMES[0]!r})."
        raise InputError(msg)
    return Path(str(resources.files(__package__) / "data" / name))


def sample(name: str = "slovenia") -> xr.Dataset:
    """Return a sample as a Dataset (time, y, x): B02, B03, B04, B08 (uint16, reflectance = DN·1e-4, nodata 0) and SCL.

    Contains modified Copernicus Sentinel data 2023; see NOTICE.txt in `sample_path`.

    Examples:
        >>> list(sample("slovenia").data_vars)
        ['B02', 'B03', 'B04', 'B08', 'SCL']
    """
    import rioxarray

    folder = sample_path(name)
    files = sorted(folder.glob("S2_*.tif"))
    times = [np.datetime64(f"{f.stem[-8:-4]}-{f.stem[-4:-2]}-{f.stem[-2:]}", "ns") for f in files]
    stacks = {}
    for prefix in ("S2", "SCL"):
        parts: list[xr.DataArray] = []
        for path in sorted(folder.glob(f"{prefix}_*.tif")):
            opened = rioxarray.open_rasterio(path)
            assert isinstance(opened, xr.DataArray)
            parts.append(opened.load())
            opened.close()
        stacks[prefix] = xr.concat(parts, dim="time", combine_attrs="override").assign_coords(time=times)
    image = stacks["S2"]
    variables = {}
    for index, band in enumerate(image.attrs["long_name"]):
        variables[band] = image.isel(band=index, drop=True)
        variables[band].attrs = {"_FillValue": 0, "long_name": band}
    variables["SCL"] = stacks["SCL"].isel(band=0, drop=True)
    variables["SCL"].attrs = {"_FillValue": 0, "long_name": "scene classification"}
    return xr.Dataset(variables, attrs={"source": "Sentinel-2 L2A, tile 33TWM, 120 m"})
