"""What tests of the report share."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from small_cube import clean_cube, raster

from ngr_geo import sample


@pytest.fixture(scope="session")
def stack() -> xr.Dataset:
    return sample("slovenia").isel(time=slice(1, 4), y=slice(0, 96), x=slice(0, 80))


@pytest.fixture(scope="session")
def clear(stack: xr.Dataset) -> xr.Dataset:
    return stack.ngr.decloud(clouds="SCL", method="guide", uncertainty=True)


@pytest.fixture(scope="session")
def cube() -> xr.DataArray:
    noise = np.random.default_rng(0).normal(0, 0.05, clean_cube().shape)
    return raster(clean_cube() + noise)
