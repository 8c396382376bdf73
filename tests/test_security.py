"""Files are data: nothing in them is run, fetched, or let loose on the terminal."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import rasterio
import torch
import xarray as xr
from click.testing import CliRunner
from small_stack import rewrite, write_crops, write_masks

from ngr_geo import InputError, sample
from ngr_geo.cli import main
from ngr_geo.cli.console import Console, plain
from ngr_geo.io import read_stack

UGLY = "\x1b[31m[red]a\rb[/]\u202e"
"""Colours the terminal, goes back to the line's start, is markup of rich, and turns the direction of writing."""


class Bomb:
    """What makes a file when it is loaded as a pickle."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Bomb]:
    """A pickle that must not go off in the test."""
    trace = tmp_path / "executed"
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()  # it would
    trace.unlink()
    yield Bomb(trace)
    assert not trace.exists()


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    return sample("slovenia").isel(time=slice(2, 4), y=slice(0, 48), x=slice(0, 48))


def _command(folder: Path, *more: str | Path) -> list[str]:
    files, clouds = write_crops(folder, 48, 2), write_masks(folder, 48, 2)
    return [str(w) for w in ("decloud", *files, "--clouds", *clouds, "--method", "guide", *more)]


def _half_done(stack: xr.Dataset, folder: Path) -> Path:
    """A work folder with its tiles, one of them to be replaced."""
    stack.ngr.decloud(method="guide", tile=32, overlap=8, work=folder)
    record: Path = sorted((folder / "tiles").glob("*.npz"))[0]
    return record


def _object_array(bomb: Bomb) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = bomb
    return array


def test_a_pickle_among_the_tiles_is_not_loaded(stack: xr.Dataset, tmp_path: Path, bomb: Bomb) -> None:
    """In the archive or in its place: it is no record, so the tile is solved again."""
    record = _half_done(stack, tmp_path / "work")
    same = {"method": "guide", "tile": 32, "overlap": 8, "work": tmp_path / "work"}
    good = stack.ngr.decloud(**same)
    names = dict(np.load(record))
    for name in names:
        np.savez(record, allow_pickle=True, **{**names, name: _object_array(bomb)})
        if name in ("label", "notes", "pixels"):  # what the table needs
            with pytest.warns(UserWarning, match="Left out 1 damaged or misplaced record "):
                stack.ngr.tiles(tmp_path / "work")
        with pytest.warns(UserWarning, match="1 damaged: solved again"):
            stack.ngr.decloud(**same)
    record.write_bytes(pickle.dumps(bomb))
    with pytest.warns(UserWarning, match="1 damaged: solved again"):
        again = stack.ngr.decloud(**same)
    np.testing.assert_array_equal(again.B02, good.B02)


def test_the_tiles_of_a_cube_neither(tmp_path: Path, bomb: Bomb) -> None:
    noisy = np.random.default_rng(0).normal(1, 0.1, (10, 40, 40)).astype(np.float32)
    cube = xr.DataArray(noisy, dims=("band", "y", "x"))
    same: dict[str, Any] = {"method": "guide", "work": tmp_path / "work"}
    expected = cube.ngr.denoise(**same)
    (record,) = (tmp_path / "work" / "tiles").glob("*.npz")
    names = dict(np.load(record))
    np.savez(record, allow_pickle=True, **{**names, "verdicts": _object_array(bomb)})
    with pytest.warns(UserWarning, match="1 damaged: solved again"):
        np.testing.assert_array_equal(cube.ngr.denoise(**same), expected)


@pytest.mark.parametrize("name", ["prior.safetensors", "weights.pt", "weights.pkl"])
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_weights_come_as_safetensors_only(stack: xr.Dataset, tmp_path: Path, bomb: Bomb, name: str, how: str) -> None:
    path = tmp_path / name
    if how == "torch":
        torch.save({"weights": bomb}, path)
    else:
        path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(InputError, match=r"no prior.*pickles \(\.pt, \.pkl\) are never loaded"):
        stack.ngr.decloud(method="ngr", prior=path)
    _half_done(stack, tmp_path / "work")
    path.replace(tmp_path / "work" / "prior.safetensors")
    with pytest.warns(UserWarning, match=r"learnt again.*are never loaded"):
        stack.ngr.decloud(method="guide", tile=32, overlap=8, work=tmp_path / "work")


@pytest.mark.parametrize("how", ["filter", "compressor", "second"])
def test_a_zarr_store_of_pickles_is_refused(tmp_path: Path, bomb: Bomb, how: str) -> None:
    """Its codecs know one that unpickles every chunk; what Zarr itself makes of that depends on its version."""
    store = tmp_path / "a.zarr"
    xr.Dataset({"a": (("y", "x"), np.ones((4, 4), np.float32))}).to_zarr(store, zarr_format=2, consolidated=False)
    description = json.loads((store / "a" / ".zarray").read_text())
    codec = {"id": "pickle", "protocol": 5}
    first = [{"id": "delta", "dtype": "<f4"}] if how == "second" else []
    description["compressor"] = codec if how == "compressor" else None
    description["filters"] = None if how == "compressor" else [*first, codec]
    (store / "a" / ".zarray").write_text(json.dumps(description))
    (store / "a" / "0.0").write_bytes(pickle.dumps(bomb))
    with pytest.raises(InputError, match="holds pickles, which are never loaded"):
        read_stack(store)


def test_numpy_loads_no_pickles_anywhere() -> None:
    """A reader that is added later has to say so, too."""
    sources = [p.read_text(encoding="utf-8") for p in (Path(__file__).parents[1] / "ngr_geo").rglob("*.py")]
    for word in ("import pickle", "torch.load", "joblib", "allow_pickle=True", "eval(", "yaml.load"):
        assert not any(word in text for text in sources), word
    assert all(text.count("np.load(") == text.count("allow_pickle=False") for text in sources)


GUARD = """
import socket
def guarded(name):
    real = getattr(socket.socket, name)
    def call(self, *arguments):
        address = arguments[-1] if name == "sendto" else arguments[0]
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise SystemExit(f"NETWORK {name} {address}")
        return real(self, *arguments)
    setattr(socket.socket, name, call)
for name in ("connect", "connect_ex", "sendto"):
    guarded(name)
look_up = socket.getaddrinfo
def guarded_look_up(host, *more, **others):
    if host not in (None, "", "127.0.0.1", "::1", "localhost"):
        raise SystemExit(f"NETWORK getaddrinfo {host}")
    return look_up(host, *more, **others)
socket.getaddrinfo = guarded_look_up
"""


def _guarded(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python where any connection to another machine ends it."""
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    paths = [str(folder / "guard"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, timeout=120)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    caught = _guarded(tmp_path, "-c", "import urllib.request as u; u.urlopen('http://192.0.2.1/', timeout=2)")
    assert "NETWORK" in caught.stderr
    command = _command(tmp_path / "in", "-o", str(tmp_path / "out"), "--stac", "--quicklook", str(tmp_path / "a.png"))
    script = (
        "import sys, ngr_geo, ngr_geo.cli;"
        "ngr_geo.sample().isel(time=slice(2, 4), y=slice(40), x=slice(40)).ngr.decloud(method='ngr', steps=2);"
        "ngr_geo.cli.main()"
    )
    done = _guarded(tmp_path, "-c", script, *command)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a machine on the network (this one, in another process), and the log of what was asked of it."""
    log = tmp_path / "asked"
    words = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with log.open("w") as asked, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=asked, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split(" port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}", log
        process.terminate()


def _vrt(path: Path, source: str) -> Path:
    path.write_text(
        '<VRTDataset rasterXSize="10" rasterYSize="10"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    return path


def test_a_file_that_refers_to_a_network_is_refused(tmp_path: Path, server: tuple[str, Path]) -> None:
    """Also where it is called .tif, or where another file is between: nothing is asked for."""
    address, asked = server
    near = _vrt(tmp_path / "near.vrt", f"/vsicurl/{address}/a.tif")
    far = _vrt(tmp_path / "far.vrt", str(near))
    service = tmp_path / "service.tif"
    service.write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>'
        "<UpperLeftX>-20037508</UpperLeftX><UpperLeftY>20037508</UpperLeftY><LowerRightX>20037508</LowerRightX>"
        "<LowerRightY>-20037508</LowerRightY><TileLevel>0</TileLevel></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    )
    for path in (near, service):
        with pytest.raises(InputError, match="only what is named itself is fetched"):
            read_stack(path)
    with pytest.raises(InputError, match=r"far\.vrt"):
        read_stack(far)
    assert asked.read_text() == ""
    with pytest.raises(InputError):  # which this server does not have
        read_stack(f"/vsicurl/{address}/named.tif")
    assert "named.tif" in asked.read_text()


def test_only_this_machine_is_listened_to() -> None:
    from ngr_geo.tiling.scheduling import cluster

    with cluster(workers=1):
        here = psutil.Process()
        found = [c for p in (here, *here.children(recursive=True)) for c in p.net_connections() if c.status == "LISTEN"]
        assert found
        assert {c.laddr.ip for c in found} == {"127.0.0.1"}


def test_tags_call_verbs_only(stack: xr.Dataset, tmp_path: Path) -> None:
    """A record may be from a file of anyone's."""
    record = dict(stack.ngr.decloud(method="guide").attrs)
    for verb, call in (("quicklook", "{}"), ("__init__", "{}"), ("decloud", json.dumps({"work": str(tmp_path / "w")}))):
        with pytest.raises(InputError, match="no verb wrote"):
            stack.ngr.repeat({**record, "ngr_verb": verb, "ngr_call": call})
    assert not (tmp_path / "w").exists()


def test_what_is_shown_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain(UGLY) == "\\x1b[31m[red]a\\rb[/]\\u202e"
    assert plain("été, 水, [1] 'a b'") == "été, 水, [1] 'a b'"
    assert plain("a\udcff") == "a\\udcff"  # a byte that is no text, as Python has it in names
    console = Console()
    for show in (console.say, console.note, console.warn):
        show(UGLY)
    shown = "".join(capsys.readouterr())
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert shown.count("[red]") == 3


@pytest.mark.parametrize("name", [UGLY.replace("/", "|"), "a\nb", 'it\'s "50 %" & [1] où 水 #?'])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    """From reading to the files, the picture, the items and what is printed, also of errors."""
    files, clouds = write_crops(tmp_path / "in", 48, 2), write_masks(tmp_path / "in", 48, 2)
    odd = []
    for file in files:
        odd.append(file.rename(file.with_name(f"{name} {file.name[-12:]}")))
        with rasterio.open(odd[-1], "r+") as target:
            target.descriptions = ["$\\frac$", UGLY, "[/]", name]
            target.update_tags(comment=UGLY)
    command = ["decloud", *odd, "--clouds", *clouds, "--method", "guide", "--quicklook", tmp_path / f"{name}.png"]
    words = [str(w) for w in (*command, "-o", tmp_path / f"out {name}")]
    if name.isprintable():
        words.append("--stac")
    else:
        refused = CliRunner().invoke(main, [*words, "--stac"])
        assert (refused.exit_code, "control characters" in refused.output) == (2, True)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    told = CliRunner().invoke(main, [*words, "--json", "--overwrite"])
    summary = json.loads(told.stdout)
    for path in (*summary["files"], *summary["filled_files"], *summary["stac_files"], summary["quicklook"]):
        assert Path(path).exists()
    with rasterio.open(summary["files"][0]) as after, rasterio.open(odd[0]) as before:
        assert after.descriptions == before.descriptions  # as they were: only what is shown is made plain
        assert after.tags()["comment"] == before.tags()["comment"]
    rewrite(odd[0], nodata=7)
    failed = CliRunner().invoke(main, [*words, "--overwrite"])
    assert failed.exit_code == 2
    for output in (done.output, told.output, failed.output):
        assert "\x1b" not in output
        assert "\r" not in output
