"""What a type checker sees of the package where it is installed from its wheel."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

CHECKED = """
import xarray as xr
import ngr_geo

array, dataset = xr.DataArray([1.0]), xr.Dataset()
reveal_type(ngr_geo.verbs(array).decloud())
reveal_type(ngr_geo.verbs(dataset).denoise(method="guide"))
reveal_type(ngr_geo.verbs(array).plan().missing)
reveal_type(ngr_geo.InputError("found").on_command_line)
reveal_type(array.ngr)
ngr_geo.verbs(array).decloud(method="magic")
"""
FAST = """
[mypy]
[mypy-numpy.*,pandas.*,dask.*,torch.*,matplotlib.*,scipy.*,rasterio.*,geopandas.*,distributed.*]
follow_imports = skip
"""


def test_mypy_knows_the_types_of_the_verbs_from_a_wheel(tmp_path: Path) -> None:
    """`.ngr` itself is Any to it, as xarray says of all attributes that it does not know: hence `ngr_geo.verbs`."""
    pytest.importorskip("hatchling")
    root = Path(__file__).resolve().parents[1]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv").glob("[Ll]ib/**/site-packages")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert "ngr_geo/py.typed" in wheel.namelist()
        wheel.extractall(site)
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (tmp_path / "mypy.ini").write_text(FAST)
    (tmp_path / "user.py").write_text(CHECKED)
    python = next((tmp_path / "venv").glob("[Bb*S]*/python*"))
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--python-executable", str(python), "user.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PATH": "", "HOME": str(tmp_path)}
    )
    told = [
        line.partition('Revealed type is "')[2].rstrip('"') for line in done.stdout.splitlines() if "Revealed" in line
    ]
    assert told == [
        "xarray.core.dataarray.DataArray",
        "xarray.core.dataset.Dataset",
        "tuple[float, ...]",
        "str",
        "Any",
    ], done.stdout + done.stderr
    assert "user.py:11: error" in done.stdout  # and what is no method is found
