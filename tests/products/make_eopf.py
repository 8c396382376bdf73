"""A Sentinel-2 Level 2A product as EOPF Zarr, small.

ESA, EOPF product structure of Sentinel-2 Level 2A: groups `measurements/reflectance/r10m` and `r20m`, `scl` in
`conditions/mask/l2a_classification/r20m`, `stac_discovery` among the attributes of the root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from make_bands import reflectance
from make_safe import CLOUD, SIDE, coarse


def tree(date: int = 0, cloudy: bool = False, only: str | None = None) -> xr.DataTree:
    """One acquisition."""
    bands = {name.lower(): part for name, part in reflectance(date).items()}
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    if cloudy:
        for part in bands.values():
            part[CLOUD] = 0.9
        scl[CLOUD[0].start // 2 : CLOUD[0].stop // 2, CLOUD[1].start // 2 : CLOUD[1].stop // 2] = 9
    fine, rough = {n: _band(v) for n, v in bands.items()}, {n: _band(coarse(v, 2)) for n, v in bands.items()}
    rough["b8a"] = rough.pop("b08")
    properties = {"proj:code": "EPSG:32633", "start_datetime": f"2023-08-{10 + 8 * date:02d}T10:05:59.024Z"}
    parts: dict[str, Any] = {
        "/": xr.Dataset(attrs={"stac_discovery": {"properties": properties}}),
        "/measurements/reflectance/r10m": _grid(xr.Dataset(fine), 10),
        "/measurements/reflectance/r20m": _grid(xr.Dataset(rough), 20),
        "/conditions/mask/l2a_classification/r20m": _grid(xr.Dataset({"scl": (("y", "x"), scl)}), 20),
    }
    return xr.DataTree.from_dict(
        {name: part for name, part in parts.items() if only is None or only in name or name == "/"}
    )


def _band(values: np.ndarray) -> xr.Variable:
    encoding = {"dtype": "uint16", "scale_factor": 0.0001, "add_offset": -0.1, "_FillValue": 0}
    return xr.Variable(("y", "x"), values.astype(np.float32), encoding=encoding)


def _grid(part: xr.Dataset, size: int) -> xr.Dataset:
    side = part.sizes["y"]
    centres = size * (np.arange(side) + 0.5)
    return part.assign_coords(y=5_100_000 - centres, x=600_000 + centres)


def store(folder: Path, date: int = 0, cloudy: bool = False) -> Path:
    """The same as a Zarr store."""
    path = folder / f"S2A_MSIL2A_202308{10 + 8 * date:02d}T100559_N0511_R022_T33TVM.zarr"
    tree(date, cloudy).to_zarr(path, zarr_format=2)
    return path
