"""Values that cannot be, bands that hold nothing, areas without data: they spoil nothing, and nothing is invented in silence."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from test_filled import stack

from ngr_geo import InputError
from ngr_geo.cli import main
from ngr_geo.plan import plan
from ngr_geo.raster import cube, footprint, plausible
from ngr_geo.raster.missing import gaps

QUICK: dict[str, Any] = {"method": "guide"}
SPECTRAL = "ignore:.*there is little spectral redundancy:UserWarning"
pytestmark = pytest.mark.filterwarnings(SPECTRAL)


def holed(*values: float) -> tuple[xr.DataArray, xr.DataArray]:
    """A stack with values that cannot be in band B1, and the same with NaN in their place."""
    odd, bare = stack(bands=3), stack(bands=3)
    for place, value in enumerate(values):
        odd[1, 1, 15, 3 + 2 * place] = value
        bare[1, 1, 15, 3 + 2 * place] = np.nan
    return odd, bare


def limits(values: np.ndarray) -> tuple[float, float]:
    low, high = plausible._limits([(values, np.isfinite(values))], [False] * values.shape[1])[:, 0]
    return float(low), float(high)


@pytest.mark.parametrize("how", ["eager", "lazy", "work", "lazy work"])
def test_an_impossible_value_counts_as_missing_and_is_named(how: str, tmp_path: Path) -> None:
    odd, bare = holed(3e38, -1e31, np.inf, 1e9)
    expected = bare.ngr.inpaint(**QUICK)
    given = odd.chunk(y=12) if "lazy" in how else odd
    folder = {"work": tmp_path / "work"} if "work" in how else {}
    with pytest.warns(UserWarning, match="values that no sensor gives.*in band B1"):
        result = given.ngr.inpaint(**QUICK, **folder).compute()
    np.testing.assert_array_equal(result.values, expected.values)
    filled = result.filled.any("band") if "band" in result.filled.dims else result.filled
    assert filled.values[1, 15, [3, 5, 7, 9]].all()
    if how == "lazy":
        assert result.ngr_implausible.values.tolist() == [0, 4, 0]
    else:
        assert json.loads(result.attrs["ngr_implausible"]) == {"B1": 4}
        assert any("4 in band B1" in text for text in json.loads(result.attrs["ngr_warnings"]))


@pytest.mark.parametrize("verb", ["decloud", "denoise", "destripe", "fill_deadlines"])
def test_every_verb_leaves_or_fills_what_cannot_be(verb: str) -> None:
    odd, bare = holed(3e38)
    chosen: dict[str, Any] = {
        "decloud": {"clouds": np.zeros((2, 24, 24), bool), "dilate": 0},
        "fill_deadlines": {"lines": [2]},
    }
    with pytest.warns(UserWarning, match="1 in band B1"):
        result = getattr(odd.ngr, verb)(**chosen.get(verb, {}), **QUICK)
    expected = getattr(bare.ngr, verb)(**chosen.get(verb, {}), **QUICK)
    here = np.zeros(odd.shape, bool)
    here[1, 1, 15, 3] = True
    np.testing.assert_array_equal(result.values[~here], expected.values[~here])
    if verb == "decloud":
        np.testing.assert_array_equal(result.values, expected.values)
    else:
        assert result.values[here] == np.float32(3e38)


def test_real_values_are_never_taken_for_impossible_ones() -> None:
    rng = np.random.default_rng(0)
    surface = rng.gamma(2, 0.05, (2, 1, 200, 200))
    clouds = surface.copy()
    clouds[:, :, :3, :3], clouds[0, 0, 9, 9] = 1.4, 16.0  # bright tops, a glint
    fire = 290 + rng.normal(0, 0.3, surface.shape)
    fire[0, 0, 5, 5] = 1400.0
    rain = np.where(rng.random(surface.shape) < 0.002, rng.pareto(0.5, surface.shape), 0)
    sar = rng.exponential(0.05, surface.shape)
    sar[0, 0, 7, 7] = 30.0
    chlorophyll = np.exp(rng.normal(-2, 1.5, surface.shape))
    mixed = np.concatenate([surface[:1], 1e5 * surface[1:]])  # units differ between dates
    flat = np.full(surface.shape, 0.3)
    flat[0, 0, 0, 0] = 9e9
    for values in (surface, clouds, fire, rain, sar, chlorophyll, mixed, flat):
        low, high = limits(values)
        assert low < values.min() and values.max() < high


@pytest.mark.parametrize("share", [1e-4, 0.05, 0.2])
def test_one_fill_value_is_found_however_often(share: float) -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 0.05, (1, 1, 300, 300))
    values[rng.random(values.shape) < share] = 1e20
    assert limits(values)[1] < 1e4


def test_integers_have_no_limit() -> None:
    raster = (stack(bands=3).fillna(0) * 100).astype("int32")
    raster[0, 0, 0, 0] = 2**31 - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked = plausible.checked(cube.read(raster))
    assert checked.odd is None and checked.valid.all()


@pytest.mark.parametrize("how", ["eager", "lazy", "work", "lazy work"])
def test_a_band_that_holds_nothing_is_named_and_left_alone(how: str, tmp_path: Path) -> None:
    raster = stack(bands=3)
    empty = raster.copy(deep=True)
    empty = xr.concat([raster[:, :2], raster[:, :1] * np.nan, raster[:, 2:]], "band").assign_coords(
        band=["B0", "B1", "no", "B2"]
    )
    empty = empty.transpose(*raster.dims)
    given = empty.chunk(y=12) if "lazy" in how else empty
    folder = {"work": tmp_path / "work"} if "work" in how else {}
    with pytest.warns(UserWarning, match="Without any valid value on any date.*: no"):
        result = given.ngr.inpaint(**QUICK, **folder).compute()
    expected = raster.ngr.inpaint(**QUICK)
    np.testing.assert_array_equal(result.isel(band=[0, 1, 3]).values, expected.values)
    assert np.isnan(result.sel(band="no")).all()
    if how == "lazy":
        assert result.ngr_band_left_out.values.tolist() == [False, False, True, False]
        return
    assert json.loads(result.attrs["ngr_bands_left_out"]) == ["no"]
    rows, others = (json.loads(r.attrs["ngr_dates"]) for r in (result, expected))
    assert [row["missing"] for row in rows] == [row["missing"] for row in others]
    assert rows[0]["expected"]["rmse"]["no"] is None
    assert rows[0]["expected"]["rmse"]["B2"] == others[0]["expected"]["rmse"]["B2"]


def test_a_band_that_holds_nothing_on_the_command_line(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(5, 1, (3, 40, 40)).astype("float32")
    values[:, 10:13, 10:13], values[1] = -9, -9
    values[2, 30, 30] = 3e38
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 3,
        "width": 40,
        "height": 40,
        "nodata": -9,
        "crs": "EPSG:32633",
    }
    with rasterio.open(tmp_path / "in.tif", "w", **profile, transform=rasterio.Affine(10, 0, 0, 0, -10, 0)) as target:
        target.write(values)
    for more in ([], ["--work", str(tmp_path / "work")]):
        command = [
            "inpaint",
            str(tmp_path / "in.tif"),
            "-o",
            str(tmp_path / "out.tif"),
            "--method",
            "guide",
            "--overwrite",
        ]
        done = CliRunner().invoke(main, [*command, *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert "Without any valid value on any date" in done.output and "1 in band 3" in done.output
        with rasterio.open(tmp_path / "out.tif") as source:
            result = source.read()
        assert (result[1] == -9).all()
        assert np.abs(result[[0, 2]]).max() < 100


def scene(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A single date with areas of nodata, and which of them are to be filled."""
    seen = np.ones((120, 120), bool)
    fill = np.zeros_like(seen)
    rows, columns = np.mgrid[:120, :120]
    if kind == "askew":
        seen = np.abs(rows - 60) + 0.3 * np.abs(columns - 60) < 40
        seen[50:58, 55:70], fill[50:58, 55:70] = False, True
    elif kind == "dead columns":
        fill[:, 40:43] = True
    elif kind == "scan lines off":
        for top in range(5, 85, 22):
            wide = np.abs(columns - 60) / 60 * 14
            fill |= (rows >= top + columns // 8) & (rows < top + columns // 8 + wide)
    elif kind == "random":
        fill = np.random.default_rng(0).random(seen.shape) < 0.8
    elif kind == "cloud":
        fill[30:80, 30:90] = True
    elif kind == "sea":
        seen = ~((columns > 70 + 12 * np.sin(rows / 9.0)) | ((rows > 100) & (columns > 40)))
    elif kind == "strip":
        seen[:2], seen[:, :7], seen[-30:] = False, False, False
    return seen & ~fill, fill


@pytest.mark.parametrize("kind", ["askew", "dead columns", "scan lines off", "random", "cloud", "sea", "strip"])
def test_the_footprint_of_a_single_date(kind: str) -> None:
    seen, fill = scene(kind)
    inside = footprint.enclosed(seen)
    assert inside[seen].all()
    np.testing.assert_array_equal(inside & ~seen, fill)


def single(kind: str = "sea", bands: int = 1) -> xr.DataArray:
    seen, _ = scene(kind)
    rows, columns = np.mgrid[:120, :120]
    values = np.stack([np.sin(rows / 20 + b) + columns / 120 for b in range(bands)])
    coords = {"band": np.arange(bands), "y": -10.0 * np.arange(120), "x": 10.0 * np.arange(120)}
    made = xr.DataArray(
        np.where(seen, values, np.nan).astype("float32"), dims=("band", "y", "x"), coords=coords, name="sst"
    )
    return made.rio.write_crs(32633)


@pytest.mark.parametrize("bands", [1, 9])
@pytest.mark.parametrize("how", ["eager", "lazy", "lazy work"])
@pytest.mark.filterwarnings("ignore:There is only one date:UserWarning")
def test_land_is_not_invented_unless_asked_for(bands: int, how: str, tmp_path: Path) -> None:
    sea = single(bands=bands)
    sea[:, 20:25, 20:25] = np.nan
    land = ~scene("sea")[0]
    given = sea.chunk(y=50, x=70) if "lazy" in how else sea
    folder = {"work": tmp_path / "work"} if "work" in how else {}
    options: dict[str, Any] = {"tile": 64, "overlap": 8, **QUICK}
    with pytest.warns(UserWarning, match=f"{land.sum()} pixels are beyond the footprint.*extent='all'"):
        result = given.ngr.inpaint(**options, **folder).compute()
    filled = result.filled if "band" not in result.filled.dims else result.filled.any("band")
    assert int(filled.sum()) == 25 and filled.values[20:25, 20:25].all()
    assert np.isnan(result.values[:, land]).all()
    if how == "eager":
        assert json.loads(result.attrs["ngr_mask"]) == {"source": "nodata", "extent": "footprint"}
    if how == "eager" and bands == 1:
        everything = sea.ngr.inpaint(extent="all", **options)
        assert np.isfinite(everything.values).all()
        masked = sea.ngr.inpaint(xr.DataArray(land, dims=("y", "x")), **options)
        assert np.isfinite(masked.values[:, land]).all()


def test_extents_are_the_same_for_a_stack_of_dates(tmp_path: Path) -> None:
    raster = stack(bands=3)
    raster[:, :, :, 20:] = np.nan  # no date has it
    results = []
    for given, more in ((raster, {}), (raster.chunk(y=12), {}), (raster.chunk(y=12), {"work": tmp_path / "w"})):
        with pytest.warns(UserWarning, match="beyond the footprint"):
            results.append(given.ngr.inpaint(**QUICK, **more).compute())
    for result in results:
        np.testing.assert_array_equal(result.values, results[0].values)
        assert np.isnan(result.values[..., 20:]).all() and np.isfinite(result.values[..., :20]).all()
    assert np.isfinite(raster.ngr.inpaint(extent="all", **QUICK).values).all()
    with pytest.raises(InputError, match="footprint, all"):
        raster.ngr.inpaint(extent="some")


def test_the_plan_says_what_is_left() -> None:
    told = plan(gaps(single(), None, "footprint", now=True))
    assert any("beyond the footprint" in text for text in told.warnings)
    assert told.missing == (0.0,) and told.tiles_to_solve == 0
    odd, _ = holed(3e38)
    told = plan(gaps(odd.chunk(y=12), None, "footprint", now=True))
    assert any("1 in band B1" in text for text in told.warnings)


def test_building_the_graph_computes_no_pixels() -> None:
    def boom(block: np.ndarray) -> np.ndarray:
        raise AssertionError

    for raster in (stack(bands=3), single(bands=3)):
        values = da.from_array(raster.values, chunks=16)
        lazy = raster.copy(
            data=values.map_blocks(boom, dtype=values.dtype, meta=np.zeros((0,) * raster.ndim, "float32"))
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is only one date")
            for verb in ("inpaint", "denoise", "destripe", "fill_deadlines"):
                getattr(lazy.ngr, verb)(**QUICK)


@pytest.mark.shared_data
def test_the_outside_of_a_mosaic_is_not_invented(shared_data: Path) -> None:
    with rasterio.open(shared_data / "hsi" / "enmap_potsdam.tif") as source:
        seen = source.read([30, 60])[0] != source.nodata
    inside = footprint.enclosed(seen)
    assert 0.3 < (~seen).mean() < 0.5
    assert (inside & ~seen).mean() < 0.001
