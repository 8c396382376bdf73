"""The spectral verbs on the command line: GeoTIFF, ENVI, NetCDF and Zarr in and out, with what they say of their bands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from click.testing import Result
from running import invoke
from small_cube import BANDS, WAVELENGTHS, clean_cube, psnr, raster
from small_stack import write_crops
from test_spectral import dead
from test_spectral_guides import noisy, striped


def run(*words: object) -> Result:
    return invoke(*words)


def as_file(path: Path, values: np.ndarray, bad: int | None = None) -> Path:
    """A cube with wavelengths and a bad-band list, in the format that the ending tells."""
    da = raster(values)
    bbl = [0 if n == bad else 1 for n in range(BANDS)]
    if path.suffix in (".nc", ".zarr"):
        da = da.assign_coords(bbl=("band", bbl))
        ds = da.to_dataset(name="reflectance")
        ds.to_netcdf(path) if path.suffix == ".nc" else ds.to_zarr(path)
        return path
    profile = {"height": values.shape[1], "width": values.shape[2], "count": BANDS, "dtype": "float32"}
    profile |= {"crs": da.rio.crs, "transform": da.rio.transform(), "nodata": -9999}
    driver = "ENVI" if path.suffix == ".img" else "GTiff"
    with rasterio.open(path, "w", driver=driver, **profile) as target:
        target.write(values.astype(np.float32))
        if driver == "ENVI":
            lists: dict[str, list[float]] = {
                "wavelength": WAVELENGTHS.tolist(),
                "fwhm": [10.0] * BANDS,
                "bbl": [float(b) for b in bbl],
            }
            target.update_tags(
                ns="ENVI",
                wavelength_units="Nanometers",
                **{k: "{" + ",".join(map(str, v)) + "}" for k, v in lists.items()},
            )
        else:
            for n in range(BANDS):
                target.update_tags(
                    n + 1, wavelength=f"{WAVELENGTHS[n]:.2f}", wavelength_units="Nanometers", bbl=str(bbl[n])
                )
    return path


def read(path: Path) -> tuple[np.ndarray, list[float]]:
    """Values and wavelengths."""
    if path.suffix in (".nc", ".zarr"):
        with xr.open_dataset(
            path, decode_coords="all", engine="zarr" if path.suffix == ".zarr" else None, chunks=None
        ) as ds:
            name = next(n for n in ds.data_vars if ds[n].ndim == 3)
            return ds[name].values, ds["wavelength"].values.tolist()
    with rasterio.open(path) as source:
        return source.read(), [float(source.tags(n)["wavelength"]) for n in source.indexes]


@pytest.mark.parametrize("source", ["in.tif", "in.img", "in.nc", "in.zarr"])
def test_every_format_comes_in(tmp_path: Path, source: str) -> None:
    path = as_file(tmp_path / source, dead(), bad=7)
    result = run("fill-deadlines", path, "--method", "guide", "-o", tmp_path / "out.tif")
    assert result.exit_code == 0, result.output
    values, wavelengths = read(tmp_path / "out.tif")
    good = np.arange(BANDS) != 7
    assert psnr(values[good], clean_cube()[good]) > 35
    assert np.array_equal(values[7], dead()[7].astype(np.float32))  # flagged bad: as it was
    assert np.allclose(wavelengths, WAVELENGTHS, atol=0.01)


@pytest.mark.parametrize("target", ["out.tif", "out.img", "out.bil", "out.nc", "out.zarr", "FOLDER"])
def test_every_format_goes_out(tmp_path: Path, target: str) -> None:
    path = as_file(tmp_path / "in.tif", striped())
    result = run("destripe", path, "--method", "guide", "-o", tmp_path / target)
    assert result.exit_code == 0, result.output
    values, wavelengths = read(tmp_path / target / "in.tif" if target == "FOLDER" else tmp_path / target)
    assert psnr(values, clean_cube()) > 45
    assert np.allclose(wavelengths, WAVELENGTHS, atol=0.01)
    leftovers = [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert not leftovers
    if target in ("out.img", "out.bil"):
        header = (tmp_path / target).with_suffix(".hdr").read_text()
        assert "bbl" in header and str(tmp_path) not in header
        again = run(
            "denoise", (tmp_path / target).with_suffix(".hdr"), "--method", "guide", "-o", tmp_path / "again.tif"
        )
        assert again.exit_code == 0, again.output


def test_a_summary_for_machines_tells_the_method_and_the_bands_left_out(tmp_path: Path) -> None:
    path = as_file(tmp_path / "in.tif", noisy(), bad=3)
    words = ("--noise", "gaussian", "--bad-bands", "5,6", "--quicklook", tmp_path / "q.png", "--json")
    result = run("denoise", path, "-o", tmp_path / "out.tif", *words)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["dates"][0]["kind"] == "gaussian"
    assert summary["bands_left_out"] == ["4", "5", "6"]
    assert (tmp_path / "q.png").stat().st_size > 1000
    assert summary["seconds"] > 0


def test_wavelengths_that_cannot_be_right_are_left_out(tmp_path: Path) -> None:
    path = as_file(tmp_path / "in.img", striped())
    header = path.with_suffix(".hdr")
    path.with_name("in.img.aux.xml").unlink(missing_ok=True)  # it repeats them
    head, _, rest = header.read_text().partition("wavelength = {")
    header.write_text(head + "wavelength = {400.0, 500.0}" + rest.partition("}")[2])
    result = run("destripe", path, "--method", "guide", "-o", tmp_path / "out.nc")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "out.nc") as ds:
        assert "wavelength" not in ds.variables


def test_entries_and_lines_by_hand(tmp_path: Path) -> None:
    cube = clean_cube().astype(np.float32).copy()
    cube[:, :, 20] = -9999
    path = as_file(tmp_path / "in.tif", cube)
    result = run("inpaint", path, "--method", "guide", "-o", tmp_path / "whole.tif")
    assert result.exit_code == 0, result.output
    assert psnr(read(tmp_path / "whole.tif")[0], clean_cube()) > 35
    result = run("fill-deadlines", path, "--lines", "30,r10", "--method", "guide", "-o", tmp_path / "lines.tif")
    assert result.exit_code == 0, result.output
    with rasterio.open(tmp_path / "lines_filled.tif") as source:
        filled = source.read().any(axis=0)
    assert filled[:, 30].all()
    assert np.delete(filled[10], 20).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("destripe", "none.tif", "-o", "x.tif"), "no such file"),
        (("fill-deadlines", "in.tif", "--lines", "left", "-o", "x.tif"), "names no line"),
        (("denoise", "in.tif", "--bad-bands", "B99", "-o", "x.tif"), "no band 'B99'"),
        (("denoise", "in.tif", "-o", "in.tif"), "inputs are never overwritten"),
        (("denoise", "lonely.hdr", "-o", "x.img"), "not beside it"),
        (("denoise", "in.tif", "-o", "there.img"), "--overwrite"),
    ],
)
def test_mistakes_end_in_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    as_file(tmp_path / "in.tif", noisy())
    (tmp_path / "lonely.hdr").write_text("ENVI\n")
    (tmp_path / "there.hdr").write_text("precious")
    result = run(*words)
    assert result.exit_code not in (0, 4)
    assert says in result.output
    assert not (tmp_path / "x.tif").exists() and not (tmp_path / "x.img").exists()
    assert (tmp_path / "there.hdr").read_text() == "precious"


def test_uncertainty_and_change_are_written_beside_and_into(tmp_path: Path) -> None:
    clean = clean_cube()
    grainy = (clean + np.random.default_rng(0).normal(0, 0.05, clean.shape)).astype(np.float32)
    source = tmp_path / "cube_20240501.tif"
    raster(grainy).rio.to_raster(source)
    words = ["denoise", str(source), "--method", "guide", "--uncertainty", "--change", "--json"]
    words += ["--date-pattern", "cube_%Y%m%d"]
    done = invoke(*words, "-o", str(tmp_path / "out.tif"), "--stac")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [Path(path).name for path in told["change_files"]] == ["out_change.tif"]
    with rasterio.open(source) as a, rasterio.open(tmp_path / "out.tif") as b:
        before, after = a.read(), b.read()
    with rasterio.open(tmp_path / "out_change.tif") as c, rasterio.open(tmp_path / "out_uncertainty.tif") as u:
        change, deviation = c.read(), u.read()
        assert c.crs == raster(clean).rio.crs
        assert c.dtypes[0] == u.dtypes[0] == "float32"
    np.testing.assert_allclose(after, before + change, atol=1e-5)
    assert (deviation[change != 0] > 0).all()
    covered = np.abs(after - clean) <= 1.6449 * deviation
    assert 0.8 < covered[change != 0].mean() < 0.97
    item = json.loads((tmp_path / "out.stac.json").read_text(encoding="utf-8"))
    assert {"data", "filled", "uncertainty", "change"} <= set(item["assets"])
    inside = invoke(*words, "-o", str(tmp_path / "out.nc"))
    assert inside.exit_code == 0, inside.output
    with xr.open_dataset(tmp_path / "out.nc", decode_cf=False) as file:
        names = {str(name) for name in file.variables}
        assert any("uncertainty" in name for name in names)
        assert any("change" in name for name in names)


def test_what_an_earlier_verb_told_does_not_stay() -> None:
    clean = clean_cube()
    grainy = (clean + np.random.default_rng(0).normal(0, 0.05, clean.shape)).astype(np.float32)
    first = raster(grainy).ngr.denoise(method="guide", uncertainty=True, change=True)
    assert {"uncertainty", "change"} <= set(first.coords)
    second = first.ngr.destripe(method="guide")
    assert not {"uncertainty", "change"} & set(second.coords)


@pytest.mark.parametrize("verb", ["denoise", "destripe", "fill-deadlines"])
def test_every_date_has_its_line_and_every_file_is_told(tmp_path: Path, verb: str) -> None:
    files = write_crops(tmp_path / "in", size=24, dates=3)
    result = run(verb, *files, "--method", "guide", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert sorted(told["files"]) == [str(tmp_path / "out" / file.name) for file in files]
    assert [row["date"] for row in told["dates"]] == ["2023-08-15", "2023-08-18", "2023-08-20"]
    for day in ("2023-08-15", "2023-08-18", "2023-08-20"):
        assert sum(line.startswith(day) for line in result.stderr.splitlines()) == 1
    assert "24 x 24 pixels, 3 dates, 4 bands." in result.stderr
    assert f"Wrote 3 GeoTIFFs in {tmp_path / 'out'}" in result.stderr
    assert "*_filled.tif" in result.stderr


@pytest.mark.parametrize(("word", "says"), [("0", "'0'"), ("99", "'99'"), ("41", "'41'")])
def test_bands_to_leave_out_are_numbered_from_1_as_they_were_written(tmp_path: Path, word: str, says: str) -> None:
    values = noisy()
    with rasterio.open(as_file(tmp_path / "in.tif", values), "r+") as target:
        target.descriptions = [f"B{n:02}" for n in range(1, BANDS + 1)]
    result = run("denoise", tmp_path / "in.tif", "--bad-bands", word, "-o", tmp_path / "x.tif")
    assert result.exit_code == 2
    assert f"no band {says}" in result.stderr
    assert "numbers from 1 to 40" in result.stderr
    assert not (tmp_path / "x.tif").exists()
