"""The refined mask is the same however a raster is read, is recorded and counted, and is refused where it cannot be."""

import json
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from running import invoke
from small_stack import sample_files

import ngr_geo
from ngr_geo import rows as records
from ngr_geo.errors import InputError, MaskError
from ngr_geo.methods import leaks
from ngr_geo.raster import colours
from ngr_geo.raster import cube as cubes
from ngr_geo.raster.missing import Clouded

QUICK: dict[str, Any] = {"method": "guide", "dates": "2023-08-18"}
COUNTS = ("haze", "shadow", "taken_off")


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return ngr_geo.sample()


@pytest.fixture(scope="module")
def eager(stack: xr.Dataset) -> xr.Dataset:
    return stack.ngr.decloud(**QUICK)


def counts(rows: list[dict[str, Any]]) -> list[list[float]]:
    return [[row[name] for name in COUNTS] for row in rows]


def of_mask(stack: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    return stack.ngr.cloud_mask(refine=False), stack.ngr.cloud_mask()


def same(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in ("B02", "B03", "B04", "B08", "filled"):
        assert np.array_equal(one[name].values, other[name].values), name


def test_by_default_a_product_is_refined_and_the_mask_is_that_of_decloud(stack: xr.Dataset, eager: xr.Dataset) -> None:
    plain, refined = of_mask(stack)
    assert (refined & ~plain).sum() > 2000 and (plain & ~refined).sum() > 500
    filled = eager.filled.values[3]
    gap = refined.values[3] | (stack.B02.values[3] == 0)
    assert np.array_equal(filled, gap)
    assert json.loads(eager.attrs["ngr_mask"])["refine"] == {"on": True}


def test_the_record_counts_what_was_added_and_taken_off(stack: xr.Dataset, eager: xr.Dataset) -> None:
    plain, refined = of_mask(stack)
    rows = json.loads(eager.attrs["ngr_dates"])
    added = (refined & ~plain).mean(("y", "x")).values
    for row, share in zip(rows, added, strict=True):
        assert share - 0.002 <= row["haze"] + row["shadow"] <= share + 0.01  # some lies where flags were taken off
    assert rows[3]["haze"] > 0.02 and rows[0]["taken_off"] == rows[3]["taken_off"] == 0
    assert all(rows[t]["taken_off"] > 0.001 for t in (1, 2, 4))
    assert records.of(eager) == rows


@pytest.mark.parametrize("chunks", [{"time": 1, "y": 100, "x": 70}, {"time": -1, "y": 16, "x": 240}])
def test_lazy_is_the_same(stack: xr.Dataset, eager: xr.Dataset, chunks: dict[str, int]) -> None:
    lazy = stack.chunk(chunks).ngr.decloud(**QUICK)
    assert isinstance(lazy.B02.data, da.Array)
    assert lazy.B02.chunks == stack.chunk(chunks).B02.chunks
    computed = lazy.compute()
    same(eager, computed)
    assert counts(records.of(computed)) == counts(records.of(eager))


def test_a_work_folder_is_the_same(stack: xr.Dataset, eager: xr.Dataset, tmp_path: Path) -> None:
    lazy = stack.chunk({"y": 90, "x": 130}).ngr.decloud(**QUICK, work=tmp_path / "work")
    same(eager, lazy.compute())
    assert counts(json.loads(lazy.attrs["ngr_dates"])) == counts(records.of(eager))


@pytest.mark.parametrize("more", [(), ("--work", "WORK")])
def test_the_command_is_the_same(eager: xr.Dataset, tmp_path: Path, more: tuple[str, ...]) -> None:
    images, masks = sample_files("S2_*.tif"), sample_files("SCL_*.tif")
    out = tmp_path / "out"
    more = tuple(str(tmp_path / word) if word == "WORK" else word for word in more)
    result = invoke(
        "decloud", *images, "--clouds", *masks, "-o", out, "--method", "guide", "--dates", "2023-08-18", *more
    )
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out / "S2_33TWM_20230818.tif") as source:
        values, tags = source.read(), source.tags()
    wanted = (
        eager.sel(time="2023-08-18").isel(time=0)
        if "time" in eager.sel(time="2023-08-18").dims
        else eager.sel(time="2023-08-18")
    )
    assert np.array_equal(values, np.stack([wanted[b].values for b in ("B02", "B03", "B04", "B08")]))
    row = json.loads(tags["ngr_dates"])
    assert [row[name] for name in COUNTS] == counts(records.of(eager))[3]
    assert "haze added" in result.stdout.lower()  # in the table, or named below it where a terminal is narrow
    assert "refined" in result.stderr


def test_the_switch_of_the_command(tmp_path: Path) -> None:
    images, masks = sample_files("S2_*.tif"), sample_files("SCL_*.tif")
    result = invoke(
        *("decloud", *images, "--clouds", *masks, "-o", tmp_path / "out", "--method", "guide"),
        *("--no-refine", "--dates", "2023-08-18"),
    )
    assert result.exit_code == 0, result.stderr
    assert "haze added" not in result.stdout.lower() and "not refined" in result.stderr


def test_own_booleans_are_left_unless_it_is_asked_for(stack: xr.Dataset) -> None:
    own = stack.SCL.isin([0, 1, 3, 8, 9, 10]).drop_attrs().rename("mine")
    bands = stack.drop_vars("SCL")
    result = bands.ngr.decloud(own, **QUICK)
    assert json.loads(result.attrs["ngr_mask"])["refine"]["on"] is False
    assert "haze" not in json.loads(result.attrs["ngr_dates"])[0]
    gap = own.values[3] | (stack.B02.values[3] == 0)
    assert np.array_equal(result.filled.values[3], gap)
    assert np.array_equal(bands.ngr.cloud_mask(own), own)
    assert (bands.ngr.cloud_mask(own, refine=True) != own).any()
    zero_one = own.astype(np.uint8).rename("cloud_mask")
    assert np.array_equal(bands.ngr.cloud_mask(zero_one), own)


def test_chosen_classes_are_left_unless_it_is_asked_for(stack: xr.Dataset) -> None:
    chosen = stack.ngr.cloud_mask(classes=[3, 8, 9, 10])
    assert np.array_equal(chosen, stack.ngr.cloud_mask(classes=[3, 8, 9, 10], refine=False))
    assert (stack.ngr.cloud_mask(classes=[3, 8, 9, 10], refine=True) != chosen).any()


@pytest.mark.parametrize("lazy", [False, True])
def test_a_date_of_which_too_much_would_be_found_is_left_and_warned_of(stack: xr.Dataset, lazy: bool) -> None:
    """Here because the shadows of very many clouds are called clear."""
    raster = stack.chunk(y=120) if lazy else stack
    plain = raster.ngr.decloud(classes=[8, 9], dilate=0, **QUICK)
    with pytest.warns(UserWarning, match=r"mask of 2023-08-18 is not refined: \d\d% of its clear pixels"):
        result = raster.ngr.decloud(classes=[8, 9], dilate=0, refine=True, **QUICK).compute()
    if not lazy:
        assert any("2023-08-18 is not refined" in note for note in json.loads(result.attrs["ngr_warnings"]))
    assert np.array_equal(result.filled.values[3], plain.filled.values[3])
    assert counts(records.of(result))[3] == [0, 0, 0]


@pytest.mark.parametrize("size", [1, 2, 9, 24, 40])
def test_small_rasters(stack: xr.Dataset, size: int) -> None:
    """Smaller than what a pixel's answer depends on."""
    small = stack.isel(y=slice(60, 60 + size), x=slice(60, 70))
    assert np.array_equal(small.ngr.cloud_mask(), small.chunk(y=7, x=4, time=2).ngr.cloud_mask())


def test_a_product_without_snow(stack: xr.Dataset) -> None:
    clouds = xr.where(stack.SCL.isin([8, 9]), 1 << 10, 0).astype(np.uint16).rename("QA60")
    raster = stack.drop_vars("SCL").assign(QA60=clouds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shadows are not in it, so there may be too much
        one, other = raster.ngr.cloud_mask(), raster.chunk(y=50, x=80).ngr.cloud_mask()
        assert np.array_equal(one, other)
    assert (one != raster.ngr.cloud_mask(refine=False)).any()


def test_bands_without_colours(stack: xr.Dataset) -> None:
    """Not refined, which is recorded; an error where it was asked for."""
    names = {"B02": "VV", "B03": "VH", "B04": "one", "B08": "two"}
    odd = stack.rename(names)
    assert np.array_equal(odd.ngr.cloud_mask(), stack.ngr.cloud_mask(refine=False))
    told = json.loads(odd.isel(y=slice(0, 60), x=slice(0, 60)).ngr.decloud(**QUICK).attrs["ngr_mask"])["refine"]
    assert told["on"] is False and "names of the bands" in told["why"]
    for call in (odd.ngr.cloud_mask, odd.ngr.decloud, odd.ngr.plan, odd.ngr.prior):
        with pytest.raises(InputError, match=r"VV.*expected names such as B02.*refine=True"):
            call(refine=True)


def test_one_date_alone(stack: xr.Dataset) -> None:
    one = stack.isel(time=[3])
    assert np.array_equal(one.ngr.cloud_mask(), one.ngr.cloud_mask(refine=False))
    with pytest.raises(MaskError, match=r"one date, expected several"):
        one.ngr.cloud_mask(refine=True)


def test_a_mask_alone_is_still_read(stack: xr.Dataset) -> None:
    assert np.array_equal(stack[["SCL"]].ngr.cloud_mask(), stack.ngr.cloud_mask(refine=False))


def test_what_refine_may_be(stack: xr.Dataset) -> None:
    with pytest.raises(InputError, match="refine='yes'"):
        stack.ngr.cloud_mask(refine="yes")  # type: ignore[arg-type]


def test_the_plan_is_of_the_refined_mask(stack: xr.Dataset) -> None:
    missing = stack.ngr.plan().missing
    refined = stack.ngr.cloud_mask().mean(("y", "x")).values
    assert np.allclose(missing, refined, atol=0.02)
    assert missing != stack.ngr.plan(refine=False).missing


def test_repeat_is_the_same(stack: xr.Dataset, eager: xr.Dataset) -> None:
    same(eager, stack.ngr.repeat(eager))
    off = stack.ngr.decloud(**QUICK, refine=False)
    assert json.loads(off.attrs["ngr_call"])["refine"] is False
    same(off, stack.ngr.repeat(off))


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["B02", "B03", "B04", "B08"], (0, 1, 2, 3)),
        (["B8", "B4", "B3", "B2"], (3, 2, 1, 0)),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5"], (0, 1, 2, 3)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"], (0, 1, 2, 3)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], (1, 2, 3, 4)),
        (["coastal", "blue", "green", "red", "nir08", "swir16"], (1, 2, 3, 4)),
        (["B02_10m", "B03_10m", "B04_10m", "B8A_20m"], (0, 1, 2, 3)),
        (["B03", "B04", "B08"], None),
        (["1", "2", "3", "4"], None),
    ],
)
def test_colours_by_name(names: list[str], wanted: tuple[int, ...] | None) -> None:
    raster = xr.DataArray(np.ones((2, len(names), 4, 4)), dims=("time", "band", "y", "x"), coords={"band": names})
    assert colours.of(cubes.read(raster)) == wanted


def test_colours_by_wavelength() -> None:
    waves = ("band", [0.865, 0.665, 0.56, 0.49, 1.6])
    raster = xr.DataArray(np.ones((2, 5, 4, 4)), dims=("time", "band", "y", "x"), coords={"wavelength": waves})
    assert colours.of(cubes.read(raster)) == (3, 2, 1, 0)
    assert colours.of(cubes.read(raster.isel(band=slice(0, 3)))) is None


def test_a_prepared_mask_is_taken_as_it_is(stack: xr.Dataset) -> None:
    from ngr_geo.methods import leaks

    found = leaks.clouded(stack, leaks.Masking(None))
    assert isinstance(found, Clouded)
    assert leaks.clouded(stack, leaks.Masking(found, refine=True)) is found


def test_a_block_that_cannot_be_read_spares_the_others() -> None:
    def block(block_info: Any = None) -> NDArray[np.uint8]:
        if block_info[None]["chunk-location"] == (0, 1, 1):
            raise InputError("this block is damaged")
        return np.full((2, 4, 4), leaks.HAZE | leaks.NOT_CLEAR, np.uint8)

    codes = da.map_blocks(block, chunks=((2,), (4, 4), (4, 4)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    kept, shares = leaks._kept(codes)
    np.testing.assert_array_equal(kept[:, :4].compute(), codes[:, :4].compute())
    np.testing.assert_allclose(shares[:, 0], 0.75)
    with pytest.raises(InputError, match="damaged"):
        kept.compute()
