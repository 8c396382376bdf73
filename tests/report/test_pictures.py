"""Pictures: the right pixels in the right colours, at a bounded size."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from small_stack import as_result, write_crops

from ngr_geo import sample
from ngr_geo.errors import InputError, OutputError
from ngr_geo.io import read_stack
from ngr_geo.raster import cube as cubes
from ngr_geo.report import views
from ngr_geo.report.pictures import quicklook


@pytest.fixture
def before(tmp_path: Path) -> xr.DataArray:
    """Three real dates."""
    raster = read_stack(write_crops(tmp_path / "in")).raster
    assert isinstance(raster, xr.DataArray)
    return raster


def _after(before: xr.DataArray) -> xr.DataArray:
    """The upper left corner of every date filled."""
    corner = (before.y > before.y[20]) & (before.x < before.x[30])
    filled = (corner & (before.time == before.time)).transpose("time", "y", "x")
    return before.where(~filled, before.median("time").astype(before.dtype)).assign_coords(filled=filled)


def _titles(figure: Figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes]


def _shown(figure: Figure, panel: int) -> np.ndarray:
    picture = figure.axes[panel].images[0].get_array()
    assert picture is not None
    return picture


def test_a_picture_has_before_mask_and_after(before: xr.DataArray, tmp_path: Path) -> None:
    """A row per date, its day and share in the titles, and a PNG that is whole."""
    after = _after(before)
    path = tmp_path / "new" / "look.png"
    figure = quicklook(before, after, path=path)
    titles = _titles(figure)
    assert len(titles) == 9
    assert titles[0] == f"{str(before.time.values[0])[:10]}  before"
    assert titles[1] == f"filled: {20 * 30 / 64**2:.1%}"
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > picture.shape[1] / 2 > 300
    assert [file.name for file in path.parent.iterdir()] == ["look.png"]


def test_the_accessor_shows_the_same(before: xr.DataArray) -> None:
    after = _after(before)
    assert _titles(before.ngr.quicklook(after)) == _titles(quicklook(before, after))
    assert len(before.ngr.quicklook(after, dates=[str(before.time.values[1])[:10]]).axes) == 3


def test_before_and_after_have_one_stretch(before: xr.DataArray) -> None:
    """Pixels that were not filled look the same; clouds that were filled do not spoil the stretch."""
    after = _after(before)
    cloudy = before.where(~after.filled, np.uint16(20000)).assign_attrs(before.attrs)
    figure = quicklook(cloudy, after, after.filled)
    old, mask, new = (_shown(figure, panel) for panel in range(3))
    clear = ~after.filled.values[0]
    np.testing.assert_array_equal(old[clear], new[clear])
    assert (old[~clear] == 1).all()
    assert 0.2 < new[clear].mean() < 0.6  # neither black nor white
    red = mask[~clear]
    assert (red == red[0]).all()
    assert red[0][0] > 0.9 > 0.5 > red[0][1]


def test_colours_are_red_green_blue(before: xr.DataArray) -> None:
    """B04, B03, B02, whatever the order of the bands, and for a Dataset alike."""
    after = _after(before)
    shuffled = [2, 3, 0, 1]
    reference = _shown(quicklook(before, after), 0)
    for one, two in (
        (before.isel(band=shuffled), after.isel(band=shuffled)),
        (before.transpose("y", "band", "x", "time"), after.transpose("y", "band", "x", "time")),
        (_dataset(before), _dataset(after)),
    ):
        np.testing.assert_array_equal(_shown(quicklook(one, two, after.filled), 0), reference)
    named = dict(zip(before.band.values, ("blue", "green", "red", "nir"), strict=True))
    colours = [raster.assign_coords(band=[named[band] for band in raster.band.values]) for raster in (before, after)]
    np.testing.assert_array_equal(_shown(quicklook(colours[0], colours[1]), 0), reference)
    older = {"band": [f"SR_B{n}" for n in (1, 2, 3, 4, 5, 7)]}  # Landsat 4 to 7, where B4 is near infrared
    assert views.colours(cubes.read(xr.DataArray(np.ones((6, 4, 4)), older, ("band", "y", "x")))) == [2, 1, 0]


def _dataset(raster: xr.DataArray) -> xr.Dataset:
    dataset = raster.to_dataset("band")
    for name in dataset.data_vars:
        dataset[name].attrs = raster.attrs
    return dataset


def test_one_band_is_grey_and_no_data_is_light(before: xr.DataArray) -> None:
    """Missing pixels (nodata here) are not black: black is a colour of data."""
    one = before.isel(band=[3]).copy()
    one[:, :, :10] = 0
    image = _shown(quicklook(one, _after(one)), 2)
    assert (image[40:, :, 0] == image[40:, :, 2]).all()
    assert (image[:10, 40:].min(axis=-1) > 0.8).all()


def test_large_rasters_are_averaged_down(before: xr.DataArray) -> None:
    """At most 800 pixels a side; a date at a time, also of Dask arrays."""
    large = before.isel(time=[0]).pad(y=(0, 1000), x=(0, 700), mode="wrap").assign_attrs(before.attrs)
    large = large.assign_coords(y=np.arange(large.sizes["y"]), x=np.arange(large.sizes["x"]))
    filled = xr.zeros_like(large.isel(band=0, drop=True), dtype=bool)
    one = _shown(quicklook(large, large, filled), 0)
    assert one.shape == (1064 // 2, 764 // 2, 3)
    lazy = large.chunk({"y": 300})
    np.testing.assert_array_equal(_shown(quicklook(lazy, lazy, filled.chunk()), 0), one)


def test_pixels_have_the_shape_of_the_ground(before: xr.DataArray) -> None:
    """Twice as high as wide; and degrees at 60 north are half as wide as high."""
    tall = before.assign_coords(y=before.y * 2)
    assert quicklook(tall, as_fill(tall)).axes[0].get_aspect() == pytest.approx(2)
    degrees = before.assign_coords(y=60 - np.arange(64) * 1e-3, x=np.arange(64) * 1e-3).rio.write_crs(4326)
    assert quicklook(degrees, as_fill(degrees)).axes[0].get_aspect() == pytest.approx(2, rel=0.01)


def as_fill(raster: xr.DataArray) -> xr.DataArray:
    """The raster with nothing filled."""
    return raster.assign_coords(filled=xr.zeros_like(raster.isel(band=0, drop=True), dtype=bool))


def test_many_dates_show_the_most_filled(before: xr.DataArray) -> None:
    """Six of them, in order; or those asked for."""
    many = xr.concat([before] * 4, "time").assign_coords(time=np.datetime64("2023-01-01") + np.arange(12))
    filled = xr.zeros_like(many.isel(band=0, drop=True), dtype=bool)
    for date in range(12):
        filled[date, : date * 3] = True
    assert [title[:10] for title in _titles(quicklook(many, many, filled))[::3]] == [
        f"2023-01-{day:02d}" for day in range(7, 13)
    ]
    chosen = quicklook(many, many, filled, dates=["2023-01-02"])
    assert _titles(chosen)[0] == "2023-01-02  before"
    with pytest.raises(InputError, match="no date '2024-01-01'"):
        quicklook(many, many, filled, dates=["2024-01-01"])


def test_one_scene_without_a_date(before: xr.DataArray) -> None:
    """Dimensions (band, y, x)."""
    scene = before.isel(time=0, drop=True)
    assert _titles(quicklook(scene, as_fill(scene))) == ["before", "filled: 0.0%", "after"]


@pytest.mark.parametrize("value", [0, np.nan])
def test_nothing_to_see_is_no_error(before: xr.DataArray, value: float) -> None:
    """All filled, all nodata, constant."""
    empty = before.astype("float32").where(False, value).assign_attrs(before.attrs)
    everything = xr.ones_like(empty.isel(band=0, drop=True), dtype=bool)
    quicklook(empty, empty, everything)
    constant = empty.where(False, np.float32(5)).assign_attrs(before.attrs)
    quicklook(constant, constant, everything)


def test_a_picture_that_cannot_be_written(before: xr.DataArray, tmp_path: Path) -> None:
    """Its folder is a file; nothing is left."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--quicklook"):
        quicklook(before, as_fill(before), path=tmp_path / "file" / "look.png")


def test_results_of_verbs_need_no_mask(before: xr.DataArray, tmp_path: Path) -> None:
    """The coordinate is enough, also where it differs between bands."""
    stack = read_stack(write_crops(tmp_path / "other"))
    result = as_result(stack)
    filled = result.filled.expand_dims(band=result.band).transpose(*result.dims) & (result.band == "B08")
    figure = quicklook(stack.raster, result.assign_coords(filled=filled))
    assert _titles(figure)[1] == f"filled: {5 * 9 / 64**2:.1%}"


def test_a_lazy_result_tells_its_expected_errors_too() -> None:
    stack = sample("slovenia").isel(time=slice(1, 4), y=slice(0, 60), x=slice(0, 60))
    lazy = stack.chunk(y=40).ngr.decloud(method="guide")
    assert json.loads(lazy.attrs["ngr_dates"])[0]["method"] is None
    figure = stack.ngr.plot_expected(lazy)
    assert figure.axes[0].get_ylabel() == "expected RMSE"
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
