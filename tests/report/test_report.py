"""The HTML report: what is on a page, in bounded size for whole scenes; and the command that writes it."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import matplotlib.figure
import numpy as np
import pytest
import xarray as xr
from running import invoke
from small_stack import write_crops, write_masks

from ngr_geo import InputError, OutputError
from ngr_geo.raster import cube as cubes
from ngr_geo.record import dates_of, number
from ngr_geo.report import facts
from ngr_geo.report import page as report
from ngr_geo.result import of_row


def test_a_page_points_nowhere(stack: xr.Dataset, clear: xr.Dataset, tmp_path: Path) -> None:
    """Every address in it is data or a place on the page; the policy names its own style and script by their digests."""
    text = stack.ngr.report(clear, tmp_path / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:\s(?:src|href|srcset|action)\s*=\s*|url\()["']?([^"'\s>)]+)""", text)
    assert len(addresses) > 15
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src &#39;none&#39;;") or policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert 'style="' not in text
    for kind in ("style", "script"):
        (part,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert report._hash(part) in policy.replace("&#43;", "+")


def test_a_page_that_is_there_is_kept(stack: xr.Dataset, clear: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"already there.*overwrite=True"):
        stack.ngr.report(clear, path)
    assert path.read_text() == "mine"
    assert stack.ngr.report(clear, path, overwrite=True) == path
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OutputError, match="folder is a file"):
        stack.ngr.report(clear, path / "page.html")


def test_what_does_not_belong_together_is_refused(stack: xr.Dataset, clear: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one shape"):
        stack.isel(x=slice(0, 40)).ngr.report(clear, tmp_path / "report.html")
    with pytest.raises(InputError, match=r"coordinate 'filled'"):
        stack.ngr.report(stack, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["one date", "one band", "undated", "no record", "integers with gaps", "degrees"])
def test_odd_shapes(stack: xr.Dataset, clear: xr.Dataset, what: str, tmp_path: Path) -> None:
    """Absent parts are left out."""
    before, after = stack.drop_vars("SCL"), clear.drop_vars("SCL")
    if what == "one date":
        before, after = before.isel(time=2), after.isel(time=2)
    elif what == "one band":
        before, after = before["B04"], after["B04"].assign_attrs(after.attrs)  # type: ignore[assignment]
    elif what == "undated":
        before, after = before.isel(time=2, drop=True), after.isel(time=2, drop=True)
    elif what == "no record":
        after = after.drop_attrs().drop_vars([f"{name}_uncertainty" for name in before.data_vars])
    elif what == "degrees":
        place = {"y": 60 - np.arange(96) * 1e-3, "x": np.arange(80) * 1e-3}
        before, after = (r.assign_coords(place).rio.write_crs(4326) for r in (before, after))
    else:
        before = before.where(before["B02"] > 300, 0).astype("uint16")
        with pytest.warns(UserWarning, match="beyond the footprint"):
            after = before.ngr.inpaint(method="guide")
    text = before.ngr.report(after, tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count('class="slider"') == (1 if before.sizes.get("time", 1) == 1 else 3)
    assert ("Uncertainty</h4>" in text) == (what not in ("no record", "one band", "integers with gaps"))
    if what == "no record":
        assert "carries no record" in text
    if what == "degrees":
        sizes = re.findall(r'width="(\d+)" height="(\d+)" alt="2023-08-18, after"', text)
        assert [int(h) / int(w) for w, h in sizes] == [pytest.approx(96 / (80 * np.cos(np.deg2rad(59.95))), rel=0.02)]


def test_a_lazy_result_is_as_good(stack: xr.Dataset, tmp_path: Path) -> None:
    """What was kept for each date is told, from coordinates that are computed with the pictures."""
    lazy = stack.chunk(y=50, x=50)
    result = lazy.ngr.decloud(clouds="SCL", method="guide")
    assert dask.is_dask_collection(result)
    text = lazy.ngr.report(result, tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count('class="slider"') == 3
    assert ">guide<" in text


class _Scene:
    """Dates of noise, made block by block, a third of it filled."""

    def __init__(self, size: int, dates: int) -> None:
        noise = da.random.default_rng(0).integers(
            0, 3000, (dates, 3, size, size), chunks=(1, 3, 510, 510), dtype="uint16"
        )
        values = noise + np.uint16(500)
        coords = {
            "time": np.datetime64("2024-01-01", "ns") + np.arange(dates) * np.timedelta64(5, "D"),
            "band": ["B04", "B03", "B02"],
        }
        self.before = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords)
        filled = xr.DataArray(noise[:, 0] > 2000, dims=("time", "y", "x"))
        deviation = xr.DataArray(da.where(noise > 2000, noise / 10, 0).astype("float32"), dims=self.before.dims)
        self.after = (
            self.before.where(~filled, 1000).astype("uint16").assign_coords(filled=filled, uncertainty=deviation)
        )


def test_a_whole_scene_stays_small(tmp_path: Path) -> None:
    """Read block by block: six times as many pixels take hardly more memory. Six dates of noise: a page below 10 MB."""
    peaks = []
    for size in (1200, 2900):
        scene = _Scene(size, 1)
        tracemalloc.start()
        with dask.config.set(scheduler="threads", num_workers=2):
            path = scene.before.ngr.report(scene.after, tmp_path / f"{size}.html")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0], peaks
    several = _Scene(850, 7)
    page = several.before.ngr.report(several.after, tmp_path / "six.html").stat().st_size
    assert page < 10e6
    for text in (path.read_text(encoding="utf-8"), (tmp_path / "six.html").read_text(encoding="utf-8")):
        sizes = [int(n) for pair in re.findall(r'<img [^>]*width="(\d+)" height="(\d+)" alt="2024', text) for n in pair]
        assert max(sizes) <= 800
        pictures = re.findall(r"data:image/(?:png|webp|jpeg);base64,([A-Za-z0-9+/=]+)", text)
        assert max(map(len, pictures)) < report.PICTURE_BYTES * 1.34 + 200
    assert text.count('class="slider"') == 6


def test_block_means_are_means(stack: xr.Dataset) -> None:
    """Whatever the chunks."""
    from ngr_geo.report import views

    bands = stack.drop_vars("SCL")
    mask = xr.zeros_like(bands["B02"], dtype=bool)
    big = bands.pad(y=(0, 1600), x=(0, 900), mode="wrap").drop_vars(["y", "x"])
    filled = mask.pad(y=(0, 1600), x=(0, 900), mode="wrap").drop_vars(["y", "x"])
    (eager,) = views.look(result := views.read(big, big, filled), views.dates(result, ["2023-08-18"]))
    ragged = big.chunk(y=(1, 7, 688, 1000), x=(333, 333, 314))
    (lazy,) = views.look(result := views.read(ragged, ragged, filled.chunk()), views.dates(result, ["2023-08-18"]))
    np.testing.assert_array_equal(eager.after, lazy.after)
    red = big["B04"].isel(time=2).values.astype(float)[: 565 * 3, : 326 * 3]
    red[red == 0] = np.nan
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        means = np.nanmean(red.reshape(565, 3, 326, 3), axis=(1, 3))
    np.testing.assert_allclose(eager.after[0], means, rtol=1e-6)


def test_figures_for_notebooks(stack: xr.Dataset, clear: xr.Dataset, cube: xr.DataArray) -> None:
    expected = stack.ngr.plot_expected(clear)
    assert isinstance(expected, matplotlib.figure.Figure)
    assert {text.get_text() for text in expected.axes[0].get_legend().get_texts()} == {"B02", "B03", "B04", "B08"}  # type: ignore[union-attr]
    rmse = json.loads(clear.attrs["ngr_dates"])[2]["expected"]["rmse"]["B08"]
    points = [line.get_ydata()[2] for line in expected.axes[0].get_lines() if len(np.asarray(line.get_ydata())) == 3]  # type: ignore[index]
    assert any(point == pytest.approx(rmse) for point in points)
    maps = stack.ngr.plot_uncertainty(clear, dates=["2023-08-18"])
    assert maps.axes[0].get_title(loc="left") == "2023-08-18"
    assert len(stack.ngr.plot_change(clear).axes) == 3 + 1
    with pytest.raises(InputError, match="uncertainty=True"):
        cube.ngr.plot_uncertainty(cube.assign_coords(filled=cube > 2))
    with pytest.raises(InputError, match="expected error"):
        cube.ngr.plot_expected(cube)


def test_expected_errors_of_a_cube_are_a_line(cube: xr.DataArray, tmp_path: Path) -> None:
    names = [str(n) for n in range(1, 41)]
    table = {"rmse": dict.fromkeys(names, 0.01), "log_sd": dict.fromkeys(names, 0.2), "bias": dict.fromkeys(names)}
    rows = [
        {
            "date": "0",
            "method": "guide",
            "kind": "gaussian",
            "filled": 0.0,
            "expected": table,
        }
    ]
    result = cube.assign_coords(filled=cube > 2, uncertainty=cube * 0 + 0.01).assign_attrs(
        ngr_verb="denoise", ngr_dates=json.dumps(rows)
    )
    assert cube.ngr.plot_expected(result).axes[0].get_xlabel() == "wavelength, nm"
    text = cube.ngr.report(result, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Expected error" in text
    assert "Uncertainty</h4>" in text
    assert text.count("0.008187 to 0.01221") == 40


def test_the_terminal_shows_the_table_of_the_page(stack: xr.Dataset) -> None:
    """Without columns that hold nothing; a share is never rounded to none or all."""
    rows = [
        {"date": "2023-08-15", "missing": 0.0001, "filled": 0.0, "method": "none"},
        {
            "date": "2023-08-18",
            "missing": 0.4567,
            "filled": 0.4567,
            "method": "guide",
            "choice": {"guide": 210.34, "by": "x"},
        },
    ]
    table = facts.dates_table(cubes.read(stack), [of_row(row) for row in rows])
    assert table is not None
    assert facts.text(table, without=("Chosen by",)) == [
        "Date        Missing         Filled  Kept   Hidden RMSE, guide",
        "2023-08-15  less than 0.1%  0.0%    none   -",
        "2023-08-18  45.7%           45.7%   guide  210.3",
    ]
    rows[1] |= {"method": "ngr", "choice": {"guide": 210.34, "ngr": 198.5, "by": "x"}}
    short = facts.dates_table(cubes.read(stack), [of_row(row) for row in rows], brief=True)
    assert short is not None
    assert facts.text(short)[2].endswith("ngr   198.5 (guide 210.3)")
    assert facts.legend(cubes.read(stack), short)[1].startswith("RMSE in the raster's units: hidden on pixels")


@pytest.mark.parametrize("text", [None, "", "[", "3", "[3]", '"x"', "[" * 100_000, b"\xff"])
def test_records_of_other_hands(text: Any) -> None:
    assert dates_of({"ngr_dates": text}) == []
    assert np.isnan(number(text))
    assert np.isnan(number(10**400))


@pytest.mark.parametrize(
    ("more", "maps"),
    [((), 0), (("--tile", "32", "--overlap", "4"), 1), (("--work", "tiles", "--tile", "32", "--overlap", "4"), 3)],
)
def test_the_command_writes_it(
    more: tuple[str, ...], maps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of several tiles, with a map of them; those kept in a work folder tell more."""
    monkeypatch.chdir(tmp_path)
    files, masks = (write(tmp_path / "in", size=48) for write in (write_crops, write_masks))
    command = ("decloud", *files, "--clouds", *masks, "-o", "out", "--method", "guide", "--report", "r.html", *more)
    done = invoke(*command, "--uncertainty", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["report"] == "r.html"
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count('class="slider"') == 3
    assert "Uncertainty</h4>" in text
    assert all(path.name in text for path in (*files, *masks))
    assert ('class="map"' in text) == bool(maps)
    assert text.count("<title>tile: ") == 4 * maps
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", "r.html"]
    again = invoke(*command, "--overwrite", "-o", "other")
    assert again.exit_code == 0, again.stderr
    assert "Report: r.html" in again.stdout


def test_the_command_writes_it_for_cubes(cube: xr.DataArray, tmp_path: Path) -> None:
    """With what was warned of; from a work folder the mask of each band is read back."""
    few = cube.isel(band=[0, 9, 19, 29], y=slice(0, 40), x=slice(0, 40))
    few.rio.to_raster(tmp_path / "few.tif")
    done = invoke(
        "denoise",
        tmp_path / "few.tif",
        "-o",
        tmp_path / "out.tif",
        "--method",
        "guide",
        "--report",
        tmp_path / "r.html",
    )
    assert done.exit_code == 0, done.stderr
    assert "there is little spectral redundancy" in (tmp_path / "r.html").read_text(encoding="utf-8")
    small = cube.isel(band=slice(0, 12), y=slice(0, 50), x=slice(0, 50))
    dead = small.where(small.x != small.x[20], 0.0).where(small.band != 3, small)
    dead.rio.to_raster(tmp_path / "dead.tif")
    more = ("--method", "guide", "--tile", "50", "--work", tmp_path / "work", "--overwrite")
    done = invoke(
        "fill-deadlines", tmp_path / "dead.tif", "-o", tmp_path / "out.tif", "--report", tmp_path / "r.html", *more
    )
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2.0% filled" in text  # 1 of 50 columns, of a band that has it
    assert 'class="map"' in text


def test_places_are_checked_before_any_work(tmp_path: Path) -> None:
    """Not over an input, over what is there, or below a file."""
    (file, *_) = write_crops(tmp_path / "in")
    (tmp_path / "there.html").write_text("mine")
    command = ("inpaint", file, "-o", tmp_path / "o.tif", "--report")
    for place, words in (
        (tmp_path / "there.html", "--overwrite, or another --report"),
        (file, "inputs are never overwritten"),
        (tmp_path / "in", "is a folder"),
        (tmp_path / "there.html" / "r.html", "its folder is a file"),
    ):
        done = invoke(*command, place)
        assert done.exit_code == 3
        assert words in done.stderr
    done = invoke(*command, tmp_path / "new.html", "--quicklook", tmp_path / "new.html")
    assert "named twice" in done.stderr
    assert not (tmp_path / "o.tif").exists()
    assert (tmp_path / "there.html").read_text() == "mine"


def test_what_was_warned_of_is_on_the_page_from_python_too(cube: xr.DataArray, tmp_path: Path) -> None:
    few = cube.isel(band=[0, 9, 19, 29], y=slice(0, 40), x=slice(0, 40))
    with pytest.warns(UserWarning, match="little spectral redundancy"):
        result = few.ngr.denoise(method="guide")
    assert "little spectral redundancy" in few.ngr.report(result, tmp_path / "r.html").read_text(encoding="utf-8")
    whole = result.isel(band=[0]).squeeze("band", drop=True).ngr.fill_deadlines
    with pytest.warns(UserWarning, match="Only 1 band"):
        again = whole(lines=[3], method="guide")
    assert "Only 1 band" in again.attrs["ngr_warnings"]
