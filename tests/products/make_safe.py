"""A Sentinel-2 Level 2A product as a SAFE folder, small: real JPEG 2000 files, lossless.

ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD, issue 14.9): names, folders, and the parts of MTD_MSIL2A.xml
that say what numbers mean. 0 is no data; SCL has 20 m pixels.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import rasterio
from make_bands import reflectance
from rasterio.transform import from_origin

SIDE = 48  # pixels of 10 m
CRS = "EPSG:32633"
CLOUD = (slice(12, 24), slice(12, 26))
OFFSETS = "".join(f'<BOA_ADD_OFFSET band_id="{number}">-1000</BOA_ADD_OFFSET>' for number in range(13))
XML = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
 <n1:General_Info>
  <Product_Info><PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE></Product_Info>
  <Product_Image_Characteristics>
   <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
   <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
   {offsets}
  </Product_Image_Characteristics>
 </n1:General_Info>
</n1:Level-2A_User_Product>
"""


def write(path: Path, values: np.ndarray, size: int) -> None:
    """A JPEG 2000 file of one band, lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile = {"driver": "JP2OpenJPEG", "height": height, "width": width, "count": 1, "dtype": values.dtype, "crs": CRS}
    options = {"QUALITY": "100", "REVERSIBLE": "YES"}
    with rasterio.open(path, "w", **profile, transform=from_origin(600_000, 5_100_000, size, size), **options) as file:
        file.write(values, 1)


def coarse(values: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of pixels."""
    height, width = (side // factor for side in values.shape)
    return values[: height * factor, : width * factor].reshape(height, factor, width, factor).mean((1, 3))


def safe(
    folder: Path, date: int = 0, baseline: str = "05.09", cloudy: bool = False, without_offsets: bool = False
) -> Path:
    """One acquisition: B02, B03, B04, B08 at 10 m, these and B8A at 20 m, SCL at 20 m, and AOT, which is no band."""
    offset = 1000 if float(baseline) >= 4 else 0
    day = f"202308{10 + 8 * date:02d}T100559"
    product = folder / f"S2A_MSIL2A_{day}_N{baseline.replace('.', '')}_R022_T33TVM_{day}.SAFE"
    images = product / "GRANULE" / f"L2A_T33TVM_A042000_{day}" / "IMG_DATA"
    bands = reflectance(date)
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    if cloudy:
        for part in bands.values():
            part[CLOUD] = 0.9
        scl[CLOUD[0].start // 2 : CLOUD[0].stop // 2, CLOUD[1].start // 2 : CLOUD[1].stop // 2] = 9
    for name, part in bands.items():
        part[:, :2] = -offset / 10_000  # beside the swath
        numbers = np.rint(part * 10_000 + offset).astype(np.uint16)
        write(images / "R10m" / f"T33TVM_{day}_{name}_10m.jp2", numbers, 10)
        name = "B8A" if name == "B08" else name
        write(images / "R20m" / f"T33TVM_{day}_{name}_20m.jp2", np.rint(coarse(numbers, 2)).astype(np.uint16), 20)
    scl[:, 0] = 0
    write(images / "R20m" / f"T33TVM_{day}_SCL_20m.jp2", scl, 20)
    write(images / "R10m" / f"T33TVM_{day}_AOT_10m.jp2", np.full((SIDE, SIDE), 100, np.uint16), 10)
    offsets = (
        "" if without_offsets or not offset else f"<BOA_ADD_OFFSET_VALUES_LIST>{OFFSETS}</BOA_ADD_OFFSET_VALUES_LIST>"
    )
    (product / "MTD_MSIL2A.xml").write_text(XML.format(baseline=baseline, offsets=offsets))
    return product


def zipped(product: Path) -> Path:
    """The same as a zip archive."""
    path = product.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(product.rglob("*")):
            archive.write(file, Path(product.name) / file.relative_to(product))
    return path
