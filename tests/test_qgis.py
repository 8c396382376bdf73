"""The QGIS plugin: how it runs the command, and, where QGIS is installed, its algorithms in qgis_process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from ngr_geo_qgis import command

import ngr_geo

PLUGINS = Path(__file__).parent.parent / "qgis"


def script(folder: Path, text: str) -> list[str]:
    """Return a command that runs a Python text."""
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    return [sys.executable, str(path)]


def test_the_words_of_a_command() -> None:
    options = {
        "clouds": ["a.tif", "b.tif"],
        "classes": " ",
        "tile": None,
        "uncertainty": True,
        "change": False,
        "dates": "2023-08-18",
    }
    assert command.words("decloud", ["x.tif"], "out/", options) == (
        "decloud --json --overwrite --output out/ --clouds a.tif --clouds b.tif --uncertainty --dates 2023-08-18 -- x.tif"
    ).split(" ")


def test_the_environment_of_the_process_is_not_that_of_qgis() -> None:
    kept = command.environment(
        {"PATH": "/bin", "PYTHONHOME": "/qgis", "PROJ_LIB": "/qgis/proj", "GDAL_DATA": "/qgis/gdal"}
    )
    assert kept == {"PATH": "/bin", "PYTHONUTF8": "1"}


def test_a_layer_that_is_part_of_a_file_is_refused() -> None:
    assert command.path_of("C:/data/S2.tif|option:X=Y") == "C:/data/S2.tif"
    with pytest.raises(command.CommandError, match="whole files"):
        command.path_of('NETCDF:"cube.nc":B02')


def test_a_command_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(command.CommandError, match=r"on PATH.*Settings > Options"):
        command.find()
    with pytest.raises(command.CommandError, match="nowhere"):
        command.find("nowhere/ngr-geo")


def test_the_error_is_the_commands_own(tmp_path: Path) -> None:
    words = command.words("inpaint", [str(tmp_path / "none.tif")], str(tmp_path / "out.tif"), {})
    with pytest.raises(command.CommandError, match=r"none\.tif"):
        command.run([sys.executable, "-m", "ngr_geo", *words], print_stage, print, lambda: False)


def print_stage(stage: str, percent: float) -> None:
    print(stage, percent)


def test_a_program_that_is_not_ngr_geo(tmp_path: Path) -> None:
    with pytest.raises(command.CommandError, match="no summary"):
        command.run(script(tmp_path, "print('{}')"), print_stage, print, lambda: False)
    with pytest.raises(command.CommandError, match="cannot open"):
        broken = "import sys; print('cannot open', file=sys.stderr); sys.exit(1)"
        command.run(script(tmp_path, broken), print_stage, print, lambda: False)


def test_to_cancel_ends_the_process(tmp_path: Path) -> None:
    """It is asked to end by a signal, as Ctrl-C does, and has time to tidy up."""
    text = f"""
import json, signal, sys, time
def tidy(*_):
    open({str(tmp_path / "tidied")!r}, "w").close()
    sys.exit(130)
signal.signal(signal.SIGTERM, tidy)
print(json.dumps({{"stage": "tiles", "done": 1, "total": 4}}), file=sys.stderr, flush=True)
time.sleep(60)
"""
    seen: list[tuple[str, float]] = []
    begun = time.monotonic()
    with pytest.raises(command.Canceled):
        command.run(script(tmp_path, text), lambda *stage: seen.append(stage), print, lambda: bool(seen))
    assert seen == [("tiles", 25.0)]
    assert time.monotonic() - begun < 10
    assert (tmp_path / "tidied").exists() or os.name == "nt"


@pytest.fixture(scope="module")
def qgis_process() -> str:
    """The command of QGIS; Debian's is a wrapper that passes an option which its program does not know."""
    found = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if found is None:
        pytest.skip(
            "QGIS is not installed: its algorithms cannot be tried here (Debian: apt-get install qgis python3-qgis)"
        )
    return found


def run_qgis(program: str, home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run qgis_process without a display and with settings of its own."""
    own = {
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(home / "qgis"),
        "QGIS_PLUGINPATH": str(PLUGINS),
        "XDG_RUNTIME_DIR": str(home),
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own
    return subprocess.run([program, *map(str, words)], env=environment, capture_output=True, text=True, check=False)


def test_qgis_removes_clouds_and_names_the_mask_of_filled_pixels(qgis_process: str, tmp_path: Path) -> None:
    days = ("20230813", "20230818")
    shipped = ngr_geo.sample_path()
    for kind in ("S2", "SCL"):
        for day in days:
            with rasterio.open(shipped / f"{kind}_33TWM_{day}.tif") as source:
                window = rasterio.windows.Window(0, 0, 48, 48)
                profile = source.profile | {"width": 48, "height": 48, "tiled": False, "blockysize": 48}
                with rasterio.open(tmp_path / f"{kind}_{day}.tif", "w", **profile) as target:
                    target.write(source.read(window=window))
    executable = tmp_path / "ngr-geo"
    path = os.pathsep.join(place for place in sys.path if place)
    executable.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" -m ngr_geo "$@"\n', encoding="utf-8")
    executable.chmod(0o755)
    settings = tmp_path / "qgis" / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text("[PythonPlugins]\nngr_geo_qgis=true\n", encoding="utf-8")  # as "plugins enable" writes it
    files = [
        f"{name}={tmp_path / kind}_{day}.tif" for name, kind in (("INPUT", "S2"), ("MASKS", "SCL")) for day in days
    ]
    words = (*files, "METHOD=guide", "DATES=2023-08-18", f"OUTPUT={tmp_path / 'out'}", f"EXECUTABLE={executable}")
    done = run_qgis(qgis_process, tmp_path, "--json", "run", "ngr_geo:decloud", "--", *words)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["FILES"] == [str(tmp_path / "out" / "S2_20230818.tif")]
    with rasterio.open(results["FILES"][0]) as after, rasterio.open(results["FILLED_FILES"][0]) as mask:
        before = rasterio.open(tmp_path / "S2_20230818.tif").read()
        filled = mask.read(1) == 1
        assert filled.any()
        np.testing.assert_array_equal(after.read()[:, ~filled], before[:, ~filled])
