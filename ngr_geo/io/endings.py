"""What an output is by its name: a file of a kind that is written here, or a folder."""

import os
import re
from pathlib import Path

from ..errors import OutputError
from .target import ENVI

TIFF = {".tif", ".tiff"}
_KNOWN = ".tif, .tiff (GeoTIFF), .img, .dat, .bsq, .bil, .bip (ENVI), .nc, .nc4, .cdf, .netcdf (NetCDF) and .zarr"
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,8}$")  # not that of "mosaic_v1.2"


def check(out: str | os.PathLike[str]) -> None:
    """Raise where an output is neither a file of a kind that is written here nor a folder.

    A folder has no suffix, is there already, or ends in a slash.
    """
    text, path = os.fspath(out), Path(out)
    suffix = path.suffix.lower()
    if text.endswith(("/", os.sep)) or path.is_dir() or suffix in TIFF or suffix in ENVI:
        return
    if suffix == ".hdr":
        msg = f"{out} is an ENVI header, which is written beside its image. Name the image:"
        raise OutputError(msg, call=f"out={str(path.with_suffix('.img'))!r}", option=f"-o {path.with_suffix('.img')}")
    if _SUFFIX.search(path.name):
        found = f"{out} ends in {path.suffix}, which is not written here. Known endings are {_KNOWN}; a folder ends in a slash:"
        plain = path.with_suffix("")
        raise OutputError(found, call=f"out='{plain}.tif' or out='{out}/'", option=f"-o {plain}.tif, or -o {out}/")
