"""Runs the protocol of a table of the paper (arXiv 2308.16612) on images that are at hand.

python workflows/paper.py table1 [--data FOLDER] [--methods NAME …] [--shares …] [--steps N] [--out FOLDER]

Table I: random entries of colour photographs. Each entry is missing by itself; images are rounded to 8 bits, PSNR and SSIM are
means over the bands of the whole image. By default the five images of Set5 and two of BSDS of the development data, from 50, 30 and
10 % of the entries. A row is written as soon as it is there; a run goes on where another one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import DATA, OURS, Row, in_its_own_process, read_csv, show, write_csv
from numpy.typing import NDArray

IMAGES = ("baby", "bird", "butterfly", "head", "woman", "148089", "291000")
PEERS = ("HaLRTC", "TNN-DCT", "t-CTV")
COLUMNS = {
    "image": "10",
    "share": "5.2f",
    "method": "10",
    "psnr": "6.2f",
    "ssim": "6.3f",
    "seconds": "7.1f",
    "note": "",
}


def main() -> None:
    """Run the table that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    each = parser.add_subparsers(dest="table", required=True)
    first = each.add_parser("table1", help="random entries of colour photographs")
    first.add_argument("--data", type=Path, default=DATA / "rgb", help="folder of PNG or JPEG images")
    first.add_argument("--images", nargs="+", default=None, metavar="NAME", help="only these, without their ending")
    first.add_argument("--shares", nargs="+", type=float, default=[0.5, 0.3, 0.1], help="of the entries that are seen")
    first.add_argument(
        "--methods", nargs="+", default=["guide", "auto", *PEERS], choices=[*OURS, *PEERS], metavar="NAME"
    )
    first.add_argument("--steps", type=int, help="of the published algorithm and of NGR, in place of their own")
    first.add_argument("--out", type=Path, default=Path("benchmark"), help="folder for the table")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
    if not chosen.data.is_dir():
        parser.error(f"found no folder {chosen.data}, expected one with images: pass --data, or set NGR_GEO_DATA")
    files = {
        path.stem: path for path in sorted(chosen.data.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg")
    }
    names = chosen.images or [name for name in IMAGES if name in files] or list(files)
    if unknown := [name for name in names if name not in files]:
        parser.error(f"found no image {', '.join(unknown)} in {chosen.data}, expected some of {', '.join(files)}")
    table1([files[name] for name in names], chosen.shares, chosen.methods, chosen.steps, chosen.out)


def table1(files: list[Path], shares: list[float], methods: list[str], steps: int | None, out: Path) -> None:
    """Measure the methods on random entries of images, print their rows and write table1.csv."""
    path = out / "table1.csv"
    rows = read_csv(path) if path.exists() else []
    done = {(row["image"], float(row["share"]), row["method"]) for row in rows}
    for share in shares:
        for file in files:
            for method in methods:
                if (file.stem, share, method) not in done:
                    rows.append(in_its_own_process(entries, file, share, method, steps))
                    show(rows[-1:], COLUMNS, head=len(rows) == 1)
                    write_csv(rows, path)
    print()
    for share in shares:
        for method in methods:
            mine = [row for row in rows if (float(row["share"]), row["method"]) == (share, method)]
            means = {name: float(np.mean([float(row[name]) for row in mine])) for name in ("psnr", "ssim", "seconds")}
            show(
                [{"image": f"mean of {len(mine)}", "share": share, "method": method, **means, "note": ""}],
                COLUMNS,
                head=False,
            )
    print(f"wrote {path}")


def entries(file: Path, share: float, method: str, steps: int | None) -> Row:
    """Return the row of one method on one image."""
    from peers.tensors import of_entries
    from PIL import Image

    image = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1) / np.float32(255)
    seen = np.zeros(image.size, bool)
    seen[np.random.default_rng(0).permutation(image.size)[: round(share * image.size)]] = True
    observed, note = seen.reshape(image.shape), ""
    begun = time.perf_counter()
    if method in PEERS:
        found = of_entries(image, observed, method)
    else:
        found, note = ours(image, observed, method, steps)
    seconds = time.perf_counter() - begun
    row: Row = {"image": file.stem, "share": share, "method": method}
    return row | score(found, image) | {"seconds": seconds, "note": note}


def ours(image: NDArray[Any], observed: NDArray[np.bool_], method: str, steps: int | None) -> tuple[NDArray[Any], str]:
    """Return what ngr_geo makes of the entries that are seen, and what it kept."""
    import xarray as xr

    import ngr_geo  # noqa: F401  # registers .ngr

    raster = xr.DataArray(np.where(observed, image, np.nan), dims=("band", "y", "x"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = raster.ngr.inpaint(method=method, steps=steps, tile=max(256, *image.shape[1:]))
    kept = json.loads(result.attrs["ngr_dates"])[0]["method"]
    return result.values, "" if kept == method else kept


def score(found: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    """Return PSNR and SSIM as the paper takes them: of 8-bit images, means over the bands."""
    from skimage.metrics import structural_similarity

    pairs = [
        (np.round(np.clip(a, 0, 1) * 255).astype(np.uint8), np.round(b * 255).astype(np.uint8))
        for a, b in zip(found, truth, strict=True)
    ]
    errors = [np.square(a.astype(float) - b).mean() for a, b in pairs]
    return {
        "psnr": float(np.mean([10 * np.log10(255**2 / max(error, 1e-12)) for error in errors])),
        "ssim": float(np.mean([structural_similarity(a, b) for a, b in pairs])),
    }


if __name__ == "__main__":
    main()
