"""Runs the protocol of a table of the paper (arXiv 2308.16612) on images that are at hand.

python workflows/paper.py table1 [--data FOLDER] [--methods NAME …] [--steps N] [--crop N] [--device cuda] [--out FOLDER]

Table I: random entries of colour photographs. Tables II to VI: entries of videos and cubes, dead lines, clouds, mixed noise,
Gaussian noise. The authors' published code has examples of these; that they have these numbers could not be checked. What
Table VII and Figures 12 to 14 show is not known here, so they are not run. PSNR, SSIM, SAM and ERGAS are computed as that code
does, from one draw. `best` is the PSNR of the best image on the way of a network, by the ground truth, as the paper states it: no
method can know it. By default the five images of Set5 and two of BSDS, the cubes Reno and Jasper Ridge, and Romanian dates of
the development data. A row is written as soon as it is there; rows that the table has are not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import DATA, OURS, Row, draw, in_its_own_process, read_csv, show, write_csv
from benchmarks.published import TABLES, Problem, Table, as_fault, files, fits, posed, psnr, score
from peers.images import BY_KIND, PRIORS, restored

UNKNOWN = ("table7", "fig12", "fig13", "fig14")
WORDS = ("image", "size", "level", "method")
LEVELS = (
    "shares of entries that are seen, weak, strong or harsh mixed noise, or the standard deviation of Gaussian noise"
)
BACKBONES = ("paper u-net", "paper resnet", "paper plain")
"""The published algorithm with other networks than the hour-glass, as the paper compares them (III-C3)."""
NETWORKS = ("ngr", "paper", *BACKBONES, *PRIORS)
"""What `--steps` is for. Not run unless named: the published ones take hours, of which a few minutes would mean nothing."""
SCORES = ("psnr", "ssim", "sam", "ergas", "best", "seconds")
COLUMNS = {"image": "10", "size": "12", "level": "7", "method": "14", "psnr": "6.2f", "ssim": "6.3f", "sam": "6.2f"}
COLUMNS |= {"ergas": "7.2f", "best": "6.2f", "seconds": "7.1f", "note": ""}


def main() -> None:
    """Run the table that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    each = parser.add_subparsers(dest="table", required=True)
    for name, table in TABLES.items():
        add_options(each.add_parser(name, help=table.about), table)
    for name in UNKNOWN:
        each.add_parser(name, help="not run: its protocol is not known here")
    chosen = parser.parse_args()
    if chosen.table in UNKNOWN:
        parser.error(f"the protocol of {chosen.table} is not known here: choose one of {', '.join(TABLES)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
    table, names = TABLES[chosen.table], chosen.images
    if wrong := [level for level in chosen.levels if not fits(table, level)]:
        parser.error(f"found the levels {', '.join(wrong)}, expected such as {', '.join(table.levels)}: {LEVELS}")
    folder = chosen.data or (DATA / "rgb" if chosen.table == "table1" else None)
    if folder is not None:
        if not folder.is_dir():
            parser.error(f"found no folder {folder}, expected one with images: pass --data, or set NGR_GEO_DATA")
        there = files(folder)
        names = names or [name for name in table.images if name in there] or list(there)
        if unknown := [name for name in names if name not in there]:
            parser.error(f"found no image {', '.join(unknown)} in {folder}, expected some of {', '.join(there)}")
    elif unknown := [name for name in names or () if name not in table.images]:
        parser.error(
            f"found no image {', '.join(unknown)}, expected some of {', '.join(table.images)}, or others with --data"
        )
    run(chosen.table, names or table.images, chosen)


def add_options(parser: argparse.ArgumentParser, table: Table) -> None:
    """Add the options of a table."""
    methods = [*OURS, *BACKBONES, *BY_KIND[table.kind]]
    if table.kind != "clouds":
        parser.add_argument(
            "--data", type=Path, help="folder of PNG, JPEG, NPY (channel, y, x) or MAT (gt: y, x, channel)"
        )
        parser.add_argument("--channels", type=int, metavar="N", help="only N channels, evenly spread")
    else:
        parser.set_defaults(data=None, channels=None)
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these, without their ending")
    parser.add_argument("--levels", nargs="+", default=table.levels, help=LEVELS)
    parser.add_argument("--methods", nargs="+", choices=methods, metavar="NAME", help=f"of {', '.join(methods)}")
    parser.add_argument("--steps", type=int, help=f"of {', '.join(NETWORKS)}, in place of their own")
    parser.add_argument("--crop", type=int, metavar="N", help="only the N x N pixels in the middle of each image")
    parser.add_argument("--device", help="where torch computes, such as cuda")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="folder for the table and its picture")


def run(name: str, images: list[str] | tuple[str, ...], chosen: argparse.Namespace) -> None:
    """Measure the methods on a table's problems, print their rows, and write its CSV and picture."""
    table, path = TABLES[name], chosen.out / f"{name}.csv"
    methods = chosen.methods or [one for one in (*OURS, *BY_KIND[table.kind]) if one not in NETWORKS]
    rows = read_csv(path, WORDS) if path.exists() else []
    done = {identity(row) for row in rows}
    mine = []
    for level in chosen.levels:
        for image in images:
            problem = posed(table.kind, level, image, chosen.data, chosen.crop, chosen.channels)
            for method in methods:
                steps = chosen.steps if method in NETWORKS else None
                size = "x".join(map(str, problem.truth.shape))
                row: Row = {"image": image, "size": size, "level": level, "method": method}
                if steps is not None:
                    row["steps"] = steps
                mine.append(identity(row))
                if mine[-1] not in done:
                    rows.append(row | in_its_own_process(measure, problem, method, steps, chosen.device))
                    show(rows[-1:], COLUMNS, head=len(mine) == 1)
                    write_csv(rows, path)
    means = summary([row for row in rows if identity(row) in mine])
    print()
    show(means, COLUMNS | {"image": "10"})
    print(f"wrote {path}")
    draw(means, path.with_suffix(".png"), f"{table.about}: ")


def identity(row: Row) -> tuple[str, ...]:
    """Return what makes a row the same measurement as another."""
    return (*(str(row[word]) for word in WORDS), str(int(row.get("steps", 0))))


def summary(rows: list[Row]) -> list[Row]:
    """Return the means over the images of each level and method."""
    out: list[Row] = []
    for level, method in dict.fromkeys((row["level"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["level"], row["method"]) == (level, method)]
        shared = [name for name in SCORES if name in mine[0]]
        head: Row = {"image": f"mean of {len(mine)}", "case": level, "level": level, "method": method}
        out.append(head | {name: float(np.mean([row[name] for row in mine])) for name in shared})
    return out


def measure(problem: Problem, method: str, steps: int | None, device: str | None) -> Row:
    """Return the scores and seconds of one method on one problem."""
    import torch  # noqa: F401  # imports are not the method's time

    import ngr_geo  # noqa: F401

    note: list[str] = []
    begun = time.perf_counter()
    mine = method in (*OURS, *BACKBONES)
    images = ours(problem, method, steps, device, note) if mine else restored(problem, method, steps, device)
    truth, best, found, count = problem.truth[: problem.scored], -np.inf, problem.seen, 0
    for found in images:
        count += 1
        if count > 1 or method in NETWORKS:
            best = max(best, psnr(found[: len(truth)], truth))
    row: Row = {"seconds": time.perf_counter() - begun, "note": "".join(note)}
    if count > 1:
        row["best"] = best
    return {**score(found[: len(truth)], truth), **row}


def ours(problem: Problem, method: str, steps: int | None, device: str | None, note: list[str]) -> Iterator[np.ndarray]:
    """Yield what ngr_geo makes of a problem, of the published algorithm all images on the way; add to the note what was kept."""
    import torch
    import xarray as xr
    from benchmarks.hyperspectral import restored as restored_cube

    import ngr_geo  # noqa: F401  # registers .ngr
    from ngr_geo.solver.paper import Case, images_as_published

    if method.startswith("paper"):
        seen = torch.from_numpy(problem.observed).to(device)
        data = torch.where(seen, torch.from_numpy(problem.seen).float().to(device), 0)
        case: Case = problem.kind if problem.kind in ("mixed", "gaussian", "video") else "inpaint"
        backbone: Any = method.removeprefix("paper").strip() or "hour-glass"
        clouds = problem.kind == "clouds"
        for image in images_as_published(data, seen, case, clouds=clouds, steps=steps, backbone=backbone):
            yield image.double().cpu().numpy()
        return
    options = {"method": method, "steps": steps, "device": device}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if problem.kind == "clouds":
            shape = len(problem.days), problem.scored, *problem.truth.shape[1:]
            times = np.array(problem.days).astype("datetime64[D]").astype("datetime64[ns]")
            raster = xr.DataArray(problem.seen.reshape(shape), dims=("time", "band", "y", "x"), coords={"time": times})
            missing = xr.DataArray(~problem.observed.reshape(shape)[:, 0], dims=("time", "y", "x"))
            result = raster.ngr.inpaint(missing, dates=str(times[0])[:10], **options)
        else:
            task = {"entries": "entries10", "lines": "dead"}.get(problem.kind, "noise")
            tile = {"tile": max(256, *problem.truth.shape[1:])} if problem.kind == "entries" else {}
            result = restored_cube(as_fault(problem), task, **options, **tile)
    kept = next(row["method"] for row in json.loads(result.attrs["ngr_dates"]))
    note.append("" if kept == method else kept)
    yield result.values.reshape(problem.truth.shape).astype(float)


if __name__ == "__main__":
    main()
