"""The tiles of a job as a table on the map: what was missing, what was done, how long it took and where."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from .. import atomic
from ..errors import InputError, OutputError, needed, warn
from ..methods.checkpoint import StackModel, load
from ..raster.cube import Cube
from ..record import table_of
from ..tiling import jobs, store, tiles
from ..wording import counted

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

MOST = 4000
"""Tiles of a result in memory that are listed, at most."""
SUFFIXES = (".parquet", ".geoparquet", ".gpkg")


def check(path: str | os.PathLike[str]) -> None:
    """Raise where a table of tiles cannot be written under a name, before hours of work."""
    _geopandas()
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        msg = f"Found {target} for the tile index, expected a name that ends in {', '.join(SUFFIXES)}."
        raise OutputError(msg)


def save(table: GeoDataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as GeoParquet or GeoPackage, by the name's ending, whole or not at all."""
    target = Path(path)
    with atomic.replacing(target, "Choose another place with --index.", target.suffix) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix.lower() == ".gpkg":
            table.to_file(temporary, driver="GPKG", layer="tiles")
        else:
            table.to_parquet(temporary)


def of_folder(cube: Cube, folder: str | os.PathLike[str]) -> GeoDataFrame:
    """Return the finished tiles of a work folder, a polygon each, in the raster's CRS.

    Columns: `tile`, `missing` and `filled` (shares of the tile's own pixels, mean of the dates), `outcome`, `method` (per date that
    was filled, joined by "+"), `steps` of training, `expected_rmse` (mean of bands and dates, in the raster's units),
    `uncertainty` (mean standard deviation of what was filled), `seconds`, `worker`, `device`. NaN or "" where not known.

    Raises:
        InputError: no such job, or one of another raster.
    """
    _geopandas()
    path = Path(folder)
    job = jobs.read(path)
    if job.get("shape") != list(cube.shape):
        msg = (
            f"Found a job for a raster of shape {job.get('shape')} in {path}, expected this one's, {list(cube.shape)}."
        )
        raise InputError(msg)
    model = load(path / jobs.CHECKPOINT, job[jobs.LEARNT]) if (path / jobs.CHECKPOINT).exists() else None
    rows, done, useless = [], [], 0
    pieces = tiles.grid(cube.shape[-2:], job["tile"], job["overlap"])
    for tile, slot in zip(pieces, jobs.slots(path, job, pieces), strict=True):
        if not os.path.exists(slot.path):
            continue
        try:
            with store.opened_at(slot) as record:
                rows.append({"tile": tile.number, **_row(record, cube, model)})
            done.append(tile)
        except InputError:
            useless += 1
    if useless:
        found = counted(useless, "damaged or misplaced record")
        text = f"Left out {found} in {path}: run the job again to have these tiles solved."
        warn(text)
    return _on_the_map(rows, done, cube)


def of_result(cube: Cube) -> GeoDataFrame | None:
    """Return the tiles of a result in memory, as far as its record has them: `tile` and `filled`, the share of its own pixels.

    None where the record has no tiles, or one, where the result is lazy, and without geopandas.
    """
    attrs, filled = cube.raster.attrs, cube.raster.coords.get("filled")
    sizes: list[Any] = [table_of(attrs.get(f"ngr_{a}")).get(b) for a, b in (("settings", "tile"), ("call", "overlap"))]
    if not all(type(size) is int and 0 <= size < 10**6 for size in sizes):
        return None
    if filled is None or isinstance(filled.data, da.Array) or not set(cube.dims[2:]) <= set(filled.dims):
        return None
    tile, overlap = sizes
    try:
        _geopandas()
        rows, columns = (tiles.spans(size, tile, overlap) for size in cube.shape[-2:])
    except InputError:
        return None
    if not 1 < len(rows) * len(columns) <= MOST:
        return None
    share = filled.mean([d for d in filled.dims if d not in cube.dims[2:]]).transpose(*cube.dims[2:]).values
    pieces = tiles.grid(cube.shape[-2:], tile, overlap)
    cores = [(slice(t.row.core_start, t.row.core_stop), slice(t.column.core_start, t.column.core_stop)) for t in pieces]
    table = [{"tile": t.number, "filled": float(share[core].mean())} for t, core in zip(pieces, cores, strict=True)]
    return _on_the_map(table, pieces, cube)


def _on_the_map(rows: Sequence[Mapping[str, Any]], pieces: Sequence[tiles.Tile], cube: Cube) -> GeoDataFrame:
    """Return a table with the part of the raster that each tile owns as a polygon, in the raster's CRS."""
    geopandas, shapely = _geopandas()
    grid, shapes = cube.raster.rio.transform(), []
    for tile in pieces:
        ends = [(c, r) for r in (tile.row.core_start, tile.row.core_stop) for c in tile.column[2:]]
        corners = [(grid.a * c + grid.b * r + grid.c, grid.d * c + grid.e * r + grid.f) for c, r in ends]
        shapes.append(shapely.Polygon([corners[i] for i in (0, 1, 3, 2)]))
    return geopandas.GeoDataFrame(rows, geometry=shapes, crs=cube.raster.rio.crs)


def _row(file: store.Record, cube: Cube, model: StackModel | None) -> dict[str, Any]:
    """Return what a tile's record holds."""
    row: dict[str, Any] = {"missing": np.nan, "filled": np.nan, "outcome": "solved", "method": "", "steps": 0}
    row |= {"expected_rmse": np.nan, "uncertainty": float(file.get("uncertainty", np.nan))}
    if "outcome" in file:
        size, filled = max(int(file["pixels"]), 1), file["filled"]
        row |= {"missing": float(file["missing"].mean() / size), "filled": float(filled.mean() / size)}
        row |= {"outcome": str(file["outcome"])} | _from_model(filled.tolist(), cube, model)
    else:
        verdicts = json.loads(str(file["verdicts"]))
        judged = [judgement for _, judgement in verdicts]
        row |= {
            "filled": float(np.mean(file["filled"]) / max(int(file["pixels"]), 1)),
            "method": "+".join(dict.fromkeys(j["method"] for j in judged)),
            "steps": np.nan,
        }
        errors = [float(np.nanmean(j["rmse"])) for j in judged if np.isfinite(j["rmse"]).any()]
        row |= {"expected_rmse": float(np.sqrt(np.mean(np.square(errors)))) if errors else np.nan}
    return row | {key: file.notes.get(key) for key in ("seconds", "worker", "device")}


def _from_model(filled: Sequence[int], cube: Cube, model: StackModel | None) -> dict[str, Any]:
    """Return methods, steps and the expected error of the dates that a tile fills, weighted by its pixels."""
    if model is None or model.guide is None:
        return {"method": "paper" if np.any(filled) else ""}
    dates = [d for d in np.flatnonzero(filled).tolist() if d in model.judgement]
    judged = [model.judgement[d] for d in dates]
    errors = [
        float(np.nanmean(np.asarray(j.rmse) * model.deviation[d, :, 0, 0])) for d, j in zip(dates, judged, strict=True)
    ]
    weights = np.asarray(filled)[dates]
    mean = float(np.sqrt(np.average(np.square(errors), weights=weights))) if dates else np.nan
    return {
        "method": "+".join(dict.fromkeys(j.method for j in judged)),
        "steps": model.steps if any("ngr" in j.weights for j in judged) else 0,
        "expected_rmse": mean,
    }


def _geopandas() -> tuple[Any, ...]:
    """Return geopandas and shapely; pyarrow, which GeoParquet takes, is there, too."""
    what = "A tile index needs geopandas and pyarrow, which are"
    return needed(what, "index", "geopandas", "shapely", "pyarrow")[:2]
