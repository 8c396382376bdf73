"""A whole job to copy and edit: a hyperspectral cube, destriped and denoised by the workers of a Dask cluster.

Start the cluster as `decloud_on_cluster.py` says, and then

    python workflows/hyperspectral_on_cluster.py tcp://HOST:8786 cube.tif clean.tif

GeoTIFF, ENVI (.hdr), NetCDF and Zarr are read and written. A worker needs about 150 bytes per value of a tile: 8 GB for
512 x 512 pixels of 200 bands. Stripes are found best in long lines, so do not make tiles smaller than needed.
"""

import shutil
import sys
from pathlib import Path

from distributed import Client

import ngr_geo  # noqa: F401  (registers .ngr)
from ngr_geo.io import check_output, read_stack, write_stack


def main(address: str, source: Path, target: Path) -> None:
    """Read, check, solve on the cluster verb by verb, write here."""
    stack = read_stack(source, lazy=True)
    check_output(target, stack)
    work = [target.with_name(f"{target.name}.{verb}.ngr-work") for verb in ("destripe", "denoise")]
    with Client(address):  # run again after a crash, finished tiles are not solved again
        even = stack.raster.ngr.destripe(work=work[0])
        clean = even.ngr.denoise(work=work[1])
    print(*write_stack(clean, stack, target).all, sep="\n")
    for folder in work:
        shutil.rmtree(folder)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
