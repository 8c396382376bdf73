"""A small cube for the spectral tests: the real textures of the sample as abundances of smooth spectra, and faults to put on it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import xarray as xr

import ngr_geo

BANDS, SIZE = 40, 64
WAVELENGTHS = np.linspace(420, 2400, BANDS)


@cache
def clean_cube() -> np.ndarray:
    """(40, 64, 64) in [0, 1]: five textures, five spectra."""
    stack = ngr_geo.sample("slovenia")
    day = stack.isel(time=2, y=slice(40, 40 + SIZE), x=slice(60, 60 + SIZE))
    other = stack.isel(time=4, y=slice(40, 40 + SIZE), x=slice(60, 60 + SIZE))
    maps = [day[b].values.astype(float) for b in ("B02", "B03", "B04", "B08")] + [other["B08"].values.astype(float)]
    wave = np.linspace(0, 1, BANDS)
    spectra = [np.exp(-(((wave - centre) / 0.25) ** 2)) for centre in (0.0, 0.25, 0.5, 0.75, 1.0)]
    cube = sum(s[:, None, None] * m for s, m in zip(spectra, maps, strict=True))
    return np.asarray(np.clip(cube / np.quantile(cube, 0.999), 0, 1))


def raster(values: np.ndarray, **attrs: object) -> xr.DataArray:
    """A DataArray (band, y, x) with wavelengths and a grid."""
    bands, height, width = values.shape
    coords = {
        "band": np.arange(1, bands + 1),
        "wavelength": ("band", WAVELENGTHS[:bands], {"units": "Nanometers"}),
        "y": 5_000_000 - 30.0 * np.arange(height),
        "x": 400_000 + 30.0 * np.arange(width),
    }
    array = xr.DataArray(values.astype(np.float32), dims=("band", "y", "x"), coords=coords, name="reflectance")
    return array.rio.write_crs("EPSG:32633").assign_attrs(**attrs)


def tensor(values: np.ndarray) -> torch.Tensor:
    """As float32."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def everywhere(values: np.ndarray) -> torch.Tensor:
    """All observed."""
    return torch.ones(values.shape, dtype=torch.bool)


def psnr(image: object, truth: np.ndarray) -> float:
    """Per band, then averaged; peak 1."""
    error = ((np.asarray(image) - truth) ** 2).mean((1, 2))
    return float((-10 * np.log10(error + 1e-15)).mean())


def low_rank(cube: np.ndarray, rank: int = 5) -> np.ndarray:
    """The plain projection on the leading spectra."""
    flat = cube.reshape(len(cube), -1)
    mean = flat.mean(1, keepdims=True)
    vectors = np.linalg.eigh((flat - mean) @ (flat - mean).T)[1][:, -rank:]
    return np.asarray((mean + vectors @ (vectors.T @ (flat - mean))).reshape(cube.shape))
