"""What lies in a work folder: whose files are removed, who is at work in it, and what its job is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from ngr_geo import InputError
from ngr_geo.samples import sample
from ngr_geo.tiling import jobs, work

QUICK: dict[str, Any] = {"method": "guide", "tile": 24, "overlap": 4, "seed": 1}


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of 40 x 30 pixels: 3 x 2 tiles."""
    return sample("slovenia").isel(time=slice(2, 5), y=slice(60, 100), x=slice(50, 80))


def kept(folder: Path) -> list[Path]:
    """Return the records of a work folder."""
    return sorted((folder / "tiles").glob("[0-9]*.npz"))


def test_files_of_others_are_kept(stack: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    map_tile = tmp_path / "tiles" / "12.png"
    map_tile.write_text("of a map")
    for restart in (False, True):
        with pytest.raises(InputError, match=r"holds other files \(tiles\)"):
            stack.ngr.decloud(work=tmp_path, restart=restart, **QUICK)
    map_tile.rename(tmp_path / "12.png")
    (tmp_path / "tiles").rmdir()
    work_folder = tmp_path / "work"
    stack.ngr.decloud(work=work_folder, **QUICK)
    strangers = [work_folder / "notes.txt", work_folder / "tiles" / "12.png", work_folder / "tiles" / ".hidden"]
    for path in strangers:
        path.write_text("mine")
    stack.ngr.decloud(work=work_folder, restart=True, **QUICK)
    jobs.remove(work_folder)
    assert sorted(p for p in work_folder.rglob("*") if p.is_file()) == sorted(strangers)


def test_a_folder_in_use_is_not_removed(stack: xr.Dataset, tmp_path: Path) -> None:
    stack.ngr.decloud(work=tmp_path / "work", **QUICK)
    job = jobs.read(tmp_path / "work")
    same = {key: value for key, value in job.items() if key not in ("inputs", "learnt")}
    with work.opened(work.Folder(tmp_path / "work"), same):
        jobs.remove(tmp_path / "work")
        assert len(kept(tmp_path / "work")) == 6
    jobs.remove(tmp_path / "work")
    assert not (tmp_path / "work").exists()
    jobs.remove(tmp_path / "work")


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", '{"job": "of another program"}', '{"version": "0.1"}', "[" * 100_000]
)
def test_a_damaged_job_is_a_clear_error(stack: xr.Dataset, tmp_path: Path, content: str) -> None:
    stack.isel(x=slice(0, 20), y=slice(0, 20)).ngr.decloud(work=tmp_path, **QUICK)
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(InputError, match=r"describes no job of this version, or is damaged.*restart=True"):
        stack.ngr.decloud(work=tmp_path, **QUICK)
    with pytest.raises(InputError, match="describes no job"):
        stack.ngr.tiles(tmp_path)
    small = stack.isel(x=slice(0, 20), y=slice(0, 20))
    if content in ("", "{"):
        small.ngr.decloud(work=tmp_path, restart=True, **QUICK)
    elif len(content) < 100:
        with pytest.raises(InputError, match="not written by ngr_geo, and is not removed"):
            small.ngr.decloud(work=tmp_path, restart=True, **QUICK)
        assert (tmp_path / "job.json").read_text() == content


def test_what_was_learnt_is_part_of_the_job(stack: xr.Dataset, tmp_path: Path) -> None:
    """Records solved with one prior are of another job than those solved with the next."""
    stack.ngr.decloud(work=tmp_path, **QUICK)
    job = json.loads((tmp_path / "job.json").read_text())
    assert job["learnt"]
    assert jobs.key(job) != jobs.key(job | {"learnt": "another"})
    assert jobs.key(job) == jobs.key(job | {"inputs": {"a.tif": [1, 2]}})
