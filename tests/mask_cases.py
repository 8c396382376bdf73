"""Masks of all products, small, with what of them is not clear; a stack, and both as files, for tests.

Codes are written out from the products' published specifications, which `ngr_geo/raster/products.toml` names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (registers .cf)
import numpy as np
import rasterio
import rioxarray  # noqa: F401  (registers .rio)
import xarray as xr
from click.testing import CliRunner, Result
from rasterio.transform import from_origin

from ngr_geo.cli import main

TIMES = np.array(["2023-08-15", "2023-08-18", "2023-08-20"], "datetime64[ns]")
SIDE = 16


@dataclass(frozen=True)
class Case:
    """A mask's values, which of them are not clear, and the rule that they are read by; or the error that they raise."""

    name: str | None
    values: list[float]
    not_clear: list[float] = field(default_factory=list)
    rule: str = ""
    dtype: str = "uint8"
    error: str = ""
    option: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}-{self.rule or 'refused'}-{self.values[-1]:g}"


NAN = float("nan")
CASES = [
    # Sentinel-2
    Case("SCL", list(range(12)), [0, 1, 3, 8, 9, 10], "SCL"),
    Case("scl", [4, 9], [9], "SCL"),
    Case("SCL", [4, 8, NAN], [8, NAN], "SCL", "float32"),
    Case("SCL", [4, 8, 10], [8], "SCL", keywords={"classes": [8]}),
    Case("SCL", [4, 9, 255], error="values 255, which SCL"),
    Case("SCL", [4, 8.5], error="no whole numbers", dtype="float32", option="--mask-rule"),
    Case("QA60", [0, 1024, 2048], [1024, 2048], "QA60", "uint16"),
    Case("QA60", [0, 1, 1024], error="QA60", dtype="uint16"),
    Case("MSK_CLDPRB", [0, 20, 49, 50, 100], [50, 100], "cloud_probability"),
    Case("MSK_CLDPRB", [0, 20, 49, 50, 100], [20, 49, 50, 100], "cloud_probability", keywords={"probability": 0.2}),
    Case("s2cloudless", [0.1, 0.499, 0.5, 0.8, NAN], [0.5, 0.8, NAN], "cloud_probability", "float32"),
    Case("cloud_probability", [0.0, 12.5, 80.0], [80.0], "cloud_probability", "float32"),
    Case("cloud_probability", [-1.0, 0.5], error="from -1 to 0.5", dtype="float32"),
    Case("cloud_probability", [0, 1], error="scale cannot be told", option="--mask-rule"),
    Case("CLP", [0, 100, 127, 128, 255], [128, 255], "CLP"),
    Case("CLP", [0, 40, 60], error="scale cannot be told", option="--mask-rule CLP_255"),
    Case("CLM", [0, 1, 255], [1, 255], "CLM"),
    # Landsat: clear land and water, cloud, shadow, cirrus, snow, from the tables of common values of the three generations
    Case("QA_PIXEL", [21824, 21952, 22280, 23888, 54596, 30048, 1], [22280, 23888, 54596, 1], "QA_PIXEL", "uint16"),
    Case("qa_pixel", [5440, 5504, 5896, 7440], [5896, 7440], "QA_PIXEL", "uint16"),  # Landsat 4 to 7 have no cirrus
    Case("pixel_qa", [322, 386, 324, 328, 336, 352, 480, 1], [328, 352, 480, 1], "pixel_qa", "uint16"),
    Case("pixel_qa", [66, 68, 72, 80, 96, 224, 130], [72, 96, 224], "pixel_qa", "uint16"),
    Case("pixel_qa", [322, 834, 898, 1346], [834, 898, 1346], "pixel_qa", "uint16"),  # cirrus, terrain occlusion
    Case("BQA", [2720, 2800, 2976, 6816, 3744, 1], [2800, 2976, 6816, 1], "BQA_C1", "uint16"),
    Case("BQA", [672, 752, 928], [752, 928], "BQA_C1", "uint16"),
    Case("BQA", [20480, 20516, 23552, 36864, 53248, 28672, 1], [20516, 36864, 53248, 28672, 1], "BQA_PRE", "uint16"),
    Case("QA_RADSAT", [0, 1, 64, 256, 512, 2048], [1, 64, 256, 512], "QA_RADSAT", "uint16"),
    Case("radsat_qa", [0, 1, 2, 128], [1, 2, 128], "radsat_qa"),
    Case("sr_cloud_qa", [0, 1, 2, 4, 8, 16, 32, 34], [2, 4, 8, 34], "SR_CLOUD_QA"),
    Case("pixel_qa", [21824, 22280], error="read as QA_PIXEL", dtype="uint16", option="--mask-rule QA_PIXEL"),
    Case("QA_PIXEL", [322, 352], error="read as pixel_qa", dtype="uint16", option="--mask-rule pixel_qa"),
    Case("QA_PIXEL", [0, 8], error="read as pixel_qa", dtype="uint16", option="--classes"),
    Case("QA_PIXEL", [0, 8], [8], "QA_PIXEL", "uint16", keywords={"classes": [3]}),
    Case("BQA", [2720, 53248], error="BQA", dtype="uint16"),
    Case(
        "QA_PIXEL",
        [21824, 22280],
        error="bits 12, 14, 15",
        dtype="uint16",
        keywords={"classes": [53248]},
        option="--classes",
    ),
    # Fmask and HLS
    Case("Fmask", [0, 1, 2, 3, 4, 255], [2, 4, 255], "Fmask"),
    Case("Fmask", [64, 66, 68, 72, 80, 96, 255], [66, 68, 72, 255], "HLS"),
    Case("HLS", [0, 2, 4, 8, 16, 32, 128, 130, 224, 255], [2, 4, 8, 130, 255], "HLS"),
    Case("Fmask", [0, 1, 64], error="Fmask"),
    # Planet, MODIS, OmniCloudMask
    Case("OmniCloudMask", [0, 1, 2, 3], [1, 2, 3], "OmniCloudMask"),
    Case("udm2_clear", [0, 1], [0], "UDM2_CLEAR"),
    Case("udm2_cloud", [0, 1], [1], "UDM2_LAYER"),
    Case("udm1", [0, 1, 2, 4], [1, 2, 4], "UDM"),
    Case("udm2", [0, 1], error="read as UDM2_CLEAR", option="--mask-rule UDM2_CLEAR"),
    Case("state_1km", [8, 72, 9, 10, 11, 12, 264, 1032, 4104], [9, 10, 12, 264, 1032], "state_1km", "uint16"),
    # a user's own, and what nobody can know
    Case(None, [0, 1], [1], "0/1"),
    Case("cloud_mask", [0.0, 1.0, NAN], [1.0, NAN], "0/1", "float32"),
    Case(None, [3, 4, 9], [9], "classes", keywords={"classes": [9]}),
    Case(None, [0, 255], error="values 0, 255", option="--classes 255"),
    Case(None, [0, 255], [255], "classes", keywords={"classes": [255]}),
    Case(None, [0, 1, 2, 3], error="rename", option="--mask-rule"),
    Case(None, [2, 4, 8, 9, 11], error="rename", option="--mask-rule"),
    Case(None, [64, 66], error="rename", option="--mask-rule"),
    Case(None, [0.2, 0.8], error="cloud_probability", dtype="float32", option="--mask-rule cloud_probability"),
    Case(None, [0, 40, 100], error="rename", option="--mask-rule"),
]


def spread(values: list[float], dtype: str) -> np.ndarray:
    """Each value many times, over three dates of which none has all."""
    rows = np.arange(3 * SIDE * SIDE).reshape(3, SIDE, SIDE)
    return np.array(values, dtype)[(rows * 7 + rows // SIDE) % len(values)]


def raster() -> xr.Dataset:
    rng = np.random.default_rng(0)
    y, x = 5e6 - 30 * (np.arange(SIDE) + 0.5), 5e5 + 30 * (np.arange(SIDE) + 0.5)
    shape = (3, SIDE, SIDE)
    bands = {
        b: (("time", "y", "x"), rng.integers(500, 600, shape).astype("uint16"), {"_FillValue": 0})
        for b in ("red", "nir")
    }
    return xr.Dataset(bands, coords={"time": TIMES, "y": y, "x": x}).rio.write_crs(32633)


def mask_of(case: Case) -> xr.DataArray:
    like = raster().red
    return xr.DataArray(spread(case.values, case.dtype), like.coords, like.dims, name=case.name)


def expected(case: Case) -> np.ndarray:
    values = spread(case.values, case.dtype)
    bad = np.isin(values, np.array([v for v in case.not_clear if v == v], case.dtype))
    return bad | np.isnan(values) if NAN in case.not_clear or any(v != v for v in case.not_clear) else bad


def written(folder: Path, mask: np.ndarray, name: str | None, bands: int = 1) -> list[str]:
    """A stack and its masks as GeoTIFFs, and the arguments that name them."""
    folder.mkdir(exist_ok=True)
    stack, profile = raster(), {"driver": "GTiff", "height": SIDE, "width": SIDE, "crs": "EPSG:32633"}
    profile["transform"] = from_origin(5e5, 5e6, 30, 30)
    images, clouds = [], []
    for i, time in enumerate(TIMES):
        day = str(time)[:10].replace("-", "")
        image, layer = folder / f"S_{day}.tif", folder / f"{name or 'layer'}_{day}.tif"
        with rasterio.open(image, "w", count=2, dtype="uint16", nodata=0, **profile) as target:
            target.write(np.stack([stack.red.values[i], stack.nir.values[i]]))
            target.descriptions = ("red", "nir")
        values = mask[i] if bands > 1 else mask[i][None]
        with rasterio.open(layer, "w", count=bands, dtype=mask.dtype.name, **profile) as target:
            target.write(values)
        images.append(str(image))
        clouds.append(str(layer))
    return [*images, "--clouds", *clouds]


def command(verb: str, *arguments: str, **keywords: Any) -> Result:
    options = [
        w for k, v in keywords.items() for w in (f"--{k}", ",".join(map(str, v)) if isinstance(v, list) else str(v))
    ]
    return CliRunner().invoke(main, [verb, *arguments, *options])


def flags(kind: str) -> dict[str, Any]:
    if kind == "values":  # as EOPF has its scene classification
        return {
            "flag_values": np.array(range(6), "uint8"),
            "flag_meanings": "no_data saturated vegetation cloud_shadow cloud_high_probability snow",
        }
    if kind == "masks":  # as PACE has its l2_flags
        names = "ATMFAIL LAND CLDICE HILT NAVFAIL CLOUD_FREE"
        return {"flag_masks": np.array([1, 2, 512, 16, 2**25, 4], "int32"), "flag_meanings": names}
    return {
        "flag_masks": np.array([3, 3, 3, 4, 24, 24], "uint8"),
        "flag_values": np.array([0, 1, 2, 4, 8, 16], "uint8"),
        "flag_meanings": "clear cloudy mixed_cloud cloud_shadow low_cirrus cirrus",
    }
