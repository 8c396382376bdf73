"""Two hundred calls of the accessors that cannot be worked with, drawn by Hypothesis: verbs x rasters x keywords.

Each ends in an `NgrError`, never in a result. The draws are the same at every run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from one_line import DRAWS

from ngr_geo.errors import NgrError

SIZE = 12


def raster(**changes: Any) -> xr.DataArray:
    """A good one, with changes."""
    values = np.random.default_rng(0).integers(100, 3000, (2, 3, SIZE, SIZE)).astype(np.float32)
    array = xr.DataArray(
        changes.get("values", values),
        dims=changes.get("dims", ("time", "band", "y", "x")),
        coords={
            "time": np.array(["2023-08-15", "2023-08-18"], "datetime64[ns]"),
            "y": 5e6 - 10.0 * np.arange(SIZE),
            "x": 5e5 + 10.0 * np.arange(SIZE),
        }
        if "values" not in changes and "dims" not in changes
        else None,
    )
    return array.rio.write_crs("EPSG:32633") if "dims" not in changes else array


def mask(kind: Any = bool, shape: tuple[int, ...] = (2, SIZE, SIZE), value: Any = 0) -> np.ndarray:
    """A mask that fits, or not."""
    found = np.zeros(shape, kind)
    found[..., :2, :2] = 1
    return found + np.asarray(value, kind) if value else found


FULL = np.ones((2, 3, SIZE, SIZE), np.float32)

BAD_RASTERS: dict[str, Callable[[], Any]] = {
    "all NaN": lambda: raster(values=FULL * np.nan),
    "all nodata": lambda: raster(values=FULL).assign_attrs(_FillValue=1.0),
    "text": lambda: raster(values=np.full(FULL.shape, "a")),
    "complex": lambda: raster(values=FULL.astype(complex)),
    "times": lambda: raster(values=np.zeros(FULL.shape, "datetime64[s]")),
    "booleans": lambda: raster(values=FULL.astype(bool)),
    "objects": lambda: raster(values=FULL.astype(object)),
    "no pixel": lambda: raster().isel(y=slice(0)),
    "no band": lambda: raster().isel(band=slice(0)),
    "no date": lambda: raster().isel(time=slice(0)),
    "lazy and empty": lambda: raster().isel(x=slice(0)).chunk(),
    "lazy objects": lambda: raster(values=da.from_array(FULL.astype(object), chunks=-1)),
    "no rows": lambda: raster(values=FULL[:, :, 0], dims=("time", "band", "x")),
    "one dimension": lambda: raster(values=FULL[0, 0, 0], dims=("x",)),
    "no dimension": lambda: xr.DataArray(1.0),
    "other names": lambda: raster(values=FULL, dims=("time", "band", "north", "east")),
    "too many": lambda: raster(values=FULL[None], dims=("run", "time", "band", "y", "x")),
    "no variable": xr.Dataset,
    "no band variable": lambda: xr.Dataset({"SCL": raster().isel(band=0, drop=True).astype(np.uint8)}),
    "variables that do not fit": lambda: xr.Dataset({"a": raster(), "b": raster().isel(band=0, drop=True)}),
}
NO_AREAS: tuple[Any, ...] = ("none.gpkg", {}, 3, [], {"type": "Point", "coordinates": [0, 0]}, {"type": "Polygon"})
CLASSES: tuple[Any, ...] = ([53248], ["cloud"], [-1], [1.5], 3, [], [np.nan], [True], "9")
TILES: tuple[Any, ...] = (0, -1, 10.5, "256", None, np.nan, 2**80, 1)

BAD_ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "any": [
        *({"tile": v} for v in TILES),
        *({"overlap": v} for v in (-1, 300, 1.5, "a", None, np.inf)),
        *({"seed": v} for v in (-1, 0.5, "x", None, 2**80)),
        *({"steps": v} for v in (0, -1, 1.5, "x", np.nan)),
        *({"method": v} for v in ("magic", "", None, 3, ["auto"])),
        *({"device": v} for v in ("abacus", "cuda:99", 7.5, "meta", object())),
        *({"aoi": v} for v in NO_AREAS),
    ],
    "decloud": [
        *({"clouds": v} for v in ("SCL", 3, "", object())),
        *(
            {"clouds": mask(kind, shape)}
            for kind, shape in ((bool, (5, SIZE, SIZE)), (complex, (2, SIZE, SIZE)), (bool, (3, 4)))
        ),
        {"clouds": mask("U1")},
        {"clouds": np.ones((2, SIZE, SIZE), bool)},
        {"clouds": mask().astype(np.float32) * np.nan},
        *({"dates": v} for v in ([], "2023-08-1", "2022", np.nan, object(), [None], "", ["2023-08-15", "x"])),
        *({"dilate": v} for v in (-1, 1.5, "2", np.nan)),
        *({"probability": v} for v in (-0.1, 1.1, 80, "x", np.nan, None)),
        *({"classes": v} for v in CLASSES),
        *({"tune": v} for v in (-1, 0.5, "x")),
        *({"prior": v} for v in ("none.safetensors", 3, object())),
    ],
    "inpaint": [
        *(
            {"missing": v}
            for v in ("SCL", 3, mask(np.uint8), mask(bool, (3, 4)), mask("U1"), np.ones((2, SIZE, SIZE), bool))
        ),
        {"dates": []},
    ],
    "denoise": [
        *({"noise": v} for v in ("loud", None, 3)),
        *({"bad_bands": v} for v in ([99], ["x"], 1.5, [0, 1, 2], [True], "9")),
    ],
    "destripe": [{"direction": v} for v in ("up", 3, "")],
    "fill_deadlines": [
        {"lines": v}
        for v in ([99], ["x"], {"up": [1]}, {"rows": [99]}, [1.5], [True], "3", mask(bool, (3, 4)), [np.nan], object())
    ],
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str, dict[str, Any]]:
    """A verb, a raster by name ("" is a good one), and keywords: with one thing wrong."""
    verb = draw(st.sampled_from(("decloud", "inpaint", "denoise", "destripe", "fill_deadlines")))
    lazy = draw(st.sampled_from(("", "lazy")))
    if draw(st.booleans()):
        return verb, lazy, draw(st.sampled_from(sorted(BAD_RASTERS))), {}
    index = draw(st.sampled_from([(kind, i) for kind in ("any", verb) for i in range(len(BAD_ARGUMENTS[kind]))]))
    return verb, lazy, "", BAD_ARGUMENTS[index[0]][index[1]]


@pytest.mark.filterwarnings("ignore")
def test_two_hundred_calls_end_in_an_error_that_tells() -> None:
    """Also of a lazy raster, when its graph is built or, where pixels decide, when it is computed."""
    seen: set[str] = set()
    wrong: list[str] = []

    @DRAWS
    @given(calls())
    def run(call: tuple[str, str, str, dict[str, Any]]) -> None:
        verb, lazy, name, keywords = call
        told = f"{verb} {lazy} {name} {str(keywords)[:200]}"
        if told in seen:
            return
        seen.add(told)
        given = BAD_RASTERS[name]() if name else raster()
        given = given.chunk(dict.fromkeys(given.dims, -1)) if lazy and name not in ("objects", "no variable") else given
        keywords = {"method": "guide"} | keywords
        if verb == "decloud" and "clouds" not in keywords:
            keywords["clouds"] = xr.DataArray(mask(), dims=("time", "y", "x"))
        if verb == "inpaint" and "missing" not in keywords:
            keywords["missing"] = xr.DataArray(mask(), dims=("time", "y", "x"))
        try:
            getattr(given.ngr, verb)(**keywords).compute()
        except NgrError as error:
            if len(str(error)) < 20 or "\n" in str(error):
                wrong.append(f"{told}\n   says little: {error}")
        except Exception as error:
            wrong.append(f"{told}\n   {type(error).__name__}: {str(error)[:300]}")
        else:
            wrong.append(f"{told}\n   came back as if nothing were wrong")

    run()
    assert len(seen) > 120
    assert not wrong, "\n".join([f"{len(wrong)} of {len(seen)}", *wrong])
