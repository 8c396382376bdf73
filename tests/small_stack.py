"""Small real stacks for tests: crops of the shipped Sentinel-2 sample, written the way a test asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.windows import Window

from ngr_geo.io import Files
from ngr_geo.samples import sample_path

BANDS = ("B02", "B03", "B04", "B08")


def sample_files(pattern: str) -> list[Path]:
    """The sample's files, sorted by date."""
    return sorted(Path(sample_path("slovenia")).glob(pattern))


def write_crops(folder: Path, size: int = 64, dates: int = 3, **profile: Any) -> list[Path]:
    """The last `dates` dates of the sample, size x size pixels of its middle, with some of the profile changed."""
    return [_crop(path, folder, size, profile) for path in sample_files("S2_*.tif")[-dates:]]


def write_masks(folder: Path, size: int = 64, dates: int = 3, **profile: Any) -> list[Path]:
    """The scene classification of `write_crops`."""
    return [_crop(path, folder, size, profile) for path in sample_files("SCL_*.tif")[-dates:]]


def _crop(path: Path, folder: Path, size: int, changes: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path) as source:
        row, column = (source.height - size) // 2, (source.width - size) // 2
        window = Window(column, row, size, size)
        values, profile = source.read(window=window), source.profile
        profile.update(height=size, width=size, transform=source.window_transform(window))
        profile.update(tiled=True, blockxsize=32, blockysize=32)
        if profile["dtype"] == "uint16":
            profile["predictor"] = 2
        profile.update(changes)
        for key in [key for key, value in profile.items() if value is None and key not in ("nodata", "crs")]:
            del profile[key]
        with rasterio.open(folder / path.name, "w", **profile) as target:
            target.descriptions = source.descriptions
            target.update_tags(**source.tags())
            target.write(values.astype(profile["dtype"]))
    return folder / path.name


def rewrite(path: Path, values: np.ndarray | None = None, **changes: Any) -> Path:
    """The same file with other pixels or another profile."""
    with rasterio.open(path) as source:
        profile, descriptions, tags = source.profile, source.descriptions, source.tags()
        values = source.read() if values is None else values
    profile.update(count=values.shape[0], height=values.shape[1], width=values.shape[2], dtype=values.dtype.name)
    profile.update(changes)
    if np.dtype(values.dtype).kind == "c":
        profile["nodata"] = None
    path.unlink()
    with rasterio.open(path, "w", **profile) as target:
        if len(descriptions) == profile["count"]:
            target.descriptions = descriptions
        target.update_tags(**tags)
        target.write(values.astype(profile["dtype"]))
    return path


def damage(path: Path) -> None:
    """Spoil the head of the last tile: in the middle of one, libtiff may decode other numbers and not notice."""
    with rasterio.open(path) as source:
        start = int(source.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)


def pixels(paths: Sequence[Path]) -> np.ndarray:
    """Values (file, band, row, column) of several files."""
    values = []
    for path in paths:
        with rasterio.open(path) as source:
            values.append(source.read())
    return np.stack(values)


def codes(stack: Files) -> xr.DataArray:
    """The stack's mask, which was read from files."""
    assert isinstance(stack.clouds, xr.DataArray)
    return stack.clouds


def as_result(stack: Files) -> xr.DataArray | xr.Dataset:
    """What a verb would give back, had it put 7 into a corner of every date: enough to test how it is written."""
    raster = stack.raster.copy(deep=True)
    first = raster if isinstance(raster, xr.DataArray) else next(iter(raster.data_vars.values()))
    dims = tuple(dim for dim in first.dims if dim != "band")
    filled = xr.zeros_like(first.isel(band=0, drop=True) if "band" in first.dims else first, dtype=bool).drop_attrs()
    corner = xr.DataArray(np.arange(first.sizes["y"]) < 5, dims="y") & xr.DataArray(
        np.arange(first.sizes["x"]) < 9, dims="x"
    )
    filled = (filled | corner).transpose(*dims)
    if isinstance(raster, xr.Dataset):
        for name, variable in raster.data_vars.items():
            if set(dims) <= set(variable.dims):
                raster[name] = variable.where(~filled, variable.dtype.type(7)).assign_attrs(variable.attrs)
                raster[name].encoding = variable.encoding
        result: xr.DataArray | xr.Dataset = raster
    else:
        result = raster.where(~filled, raster.dtype.type(7)).transpose(*raster.dims).assign_attrs(raster.attrs)
    result = result.assign_coords(filled=(dims, filled.data))
    count = result.sizes.get("time", 1)
    notes = "[" + ", ".join(f'{{"date": {date}}}' for date in range(count)) + "]"
    return result.assign_attrs(ngr_version="0", ngr_dates=notes)


def hidden_files(folder: Path) -> list[str]:
    """Temporary files that should not be there."""
    return [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.suffix in (".part", ".xml")]
