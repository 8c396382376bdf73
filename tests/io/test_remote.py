"""Results that go to URLs, and only the dates asked for, by way of the command line."""

import importlib.util
import json
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio
from running import invoke
from small_stack import pixels, write_crops, write_masks

from ngr_geo.errors import InputError, OutputError
from ngr_geo.io import read_stack, remote


def test_a_result_goes_to_a_url_whole(tmp_path: Path) -> None:
    """GeoTIFFs, a NetCDF file and a Zarr store, in the memory of this process; nothing is left beside them, nor here."""
    files, masks = write_crops(tmp_path / "in", size=32), write_masks(tmp_path / "in", size=32)
    system = fsspec.filesystem("memory")
    system.store.clear()
    arguments = ("decloud", *files, "--clouds", *masks, "--method", "guide", "--json")
    for out, count in (
        ("memory://bucket/OUT/", 6),
        ("memory://bucket/a/clear.nc", 1),
        ("memory://bucket/a/clear.zarr", 1),
    ):
        result = invoke(*arguments, "-o", out)
        assert result.exit_code == 0, result.stderr
        summary = json.loads(result.stdout)
        assert summary["output"] == out
        assert len(summary["files"]) + len(summary["filled_files"]) == count
        for name in (*summary["files"], *summary["filled_files"]):
            assert name.startswith(out.rstrip("/")) and system.exists(name), name
        where = out if count > 1 else summary["files"][0]
        assert f"Wrote {where}" in result.stderr or f"3 GeoTIFFs in {where}" in result.stderr
        again = invoke(*arguments, "-o", out)
        assert again.exit_code == 3
        assert "is already there. Use --overwrite" in again.stderr
    assert invoke(*arguments, "-o", "memory://bucket/a/clear.zarr", "--overwrite").exit_code == 0
    assert not [name for name in system.find("/bucket") if "part" in name]
    read = read_stack("memory://bucket/a/clear.zarr").raster
    local = invoke(*arguments, "-o", tmp_path / "clear.zarr")
    assert local.exit_code == 0, local.stderr
    np.testing.assert_array_equal(read["B04"], read_stack(tmp_path / "clear.zarr").raster["B04"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clear.zarr", "in"]


def test_what_cannot_be_brought_to_a_url_leaves_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file is not there under its name while the second cannot be."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    system = fsspec.filesystem("file")
    (tmp_path / "far").mkdir()
    url = f"file://{tmp_path}/far/OUT"
    put = type(system).put_file

    def fail(self: object, source: str, *more: object, **options: object) -> object:
        if source.endswith("b"):
            raise OSError("connection lost")
        return put(self, source, *more, **options)

    monkeypatch.setattr(type(system), "put_file", fail)
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(OutputError, match="could not be written: connection lost"):
        remote.publish(paths, str(tmp_path / "OUT"), url)
    assert [path.name for path in (tmp_path / "far").rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    remote.publish(paths, str(tmp_path / "OUT"), url)
    assert sorted(path.name for path in (tmp_path / "far").rglob("*") if path.is_file()) == ["a", "b"]


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/x.zarr", "s3fs"), ("gs://bucket/x.zarr", "gcsfs")])
def test_the_package_that_a_url_takes_is_named(tmp_path: Path, url: str, package: str) -> None:
    """For inputs and outputs; no folder of the scheme's name is made."""
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(InputError, match=rf"which is not installed: pip install {package}"):
        read_stack(url)
    files = write_crops(tmp_path / "in")
    result = invoke("inpaint", *files, "-o", url)
    assert result.exit_code == 3
    assert f"pip install {package}" in result.stderr
    assert "Wrote" not in result.stdout
    assert not Path(url.split("//")[0]).exists()
    odd = invoke("inpaint", *files, "-o", "quux://bucket/x.zarr")
    assert odd.exit_code == 3 and "quux:// is no protocol" in odd.stderr
    report = invoke("inpaint", *files, "-o", tmp_path / "out", "--report", url)
    assert report.exit_code == 3 and "--report PATH" in report.stderr


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("out", ["OUT/", "out.nc", "out.zarr"])
def test_only_the_dates_asked_for_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, lazy: bool
) -> None:
    """The others help; --all-dates writes them, too. The record, the report, the picture and the STAC items agree."""
    monkeypatch.setattr("ngr_geo.io.rasters.LARGE", 0 if lazy else 2**26)
    files, masks = write_crops(tmp_path / "in"), write_masks(tmp_path / "in")
    arguments = ("decloud", *files, "--clouds", *masks, "--method", "guide", "--json", "--dates", "2023-08-18")
    extra = ("--report", tmp_path / "r.html", "--quicklook", tmp_path / "q.png", "--stac", "--uncertainty")
    result = invoke(*arguments, "-o", f"{tmp_path}/one/{out}", *extra)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert [date["date"] for date in summary["dates"]] == ["2023-08-18"]
    assert len(summary["files"]) == len(summary["stac_files"]) == 1
    assert all(
        Path(name).exists()
        for name in (*summary["files"], *summary["stac_files"], tmp_path / "r.html", tmp_path / "q.png")
    )
    whole = invoke(*arguments, "-o", f"{tmp_path}/all/{out}", "--all-dates")
    assert whole.exit_code == 0, whole.stderr
    assert [date["date"] for date in json.loads(whole.stdout)["dates"]] == ["2023-08-15", "2023-08-18", "2023-08-20"]
    if out == "OUT/":
        assert sorted(path.name for path in (tmp_path / "one" / "OUT").glob("*.tif")) == [
            f"S2_33TWM_20230818{end}.tif" for end in ("", "_filled", "_uncertainty")
        ]
        one, same = (tmp_path / folder / "OUT" / "S2_33TWM_20230818.tif" for folder in ("one", "all"))
        np.testing.assert_array_equal(pixels([one]), pixels([same]))
        with rasterio.open(one) as source:
            assert json.loads(source.tags()["ngr_dates"])["date"] == "2023-08-18"
    else:
        few, many = (read_stack(f"{tmp_path}/{folder}/{out}").raster for folder in ("one", "all"))
        assert [str(day)[:10] for day in few.time.values] == ["2023-08-18"]
        assert len(json.loads(few.attrs["ngr_dates"])) == 1
        np.testing.assert_array_equal(few["B04"], many["B04"][1:2])
        assert many.sizes["time"] == 3
