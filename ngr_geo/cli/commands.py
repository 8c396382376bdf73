"""The ngr-geo command, also `rio ngr`. Heavy modules are imported where they are used: --help answers at once."""

import glob
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from . import console as terminal
from .console import Console
from .options import (
    AREA,
    BANDS,
    CHANGE,
    CLOUDS,
    DATES,
    DIRECTION,
    FILES,
    INPUTS,
    LINES,
    MASKING,
    MISSING,
    NETWORKS,
    NOISE,
    OUTPUT,
    OVERWRITE,
    RUNNING,
    SOLVING,
    SPECTRAL,
    TALKING,
    WRITTEN_DATES,
    Job,
    Verb,
    options,
)


@click.group("ngr", epilog=terminal.EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ngr-geo", prog_name="ngr-geo")
def main() -> None:  # named ngr for rio, which goes by the command's own name
    """Restore satellite images with the Neural Gradient Regularizer: clouds, gaps, noise, stripes, dead lines."""
    os.environ.setdefault("GDAL_CACHEMAX", "128")  # MB; by default it is a share of the machine's memory


def verb(*several: Callable[[Any], Any]) -> Callable[[Any], click.Command]:
    """Return a decorator that makes a command with these options of a function of (job, console)."""
    return lambda function: main.command(cls=Verb, epilog=terminal.EXIT_CODES)(options(*several)(function))


@verb(INPUTS, CLOUDS, OUTPUT, WRITTEN_DATES, MASKING, SOLVING, NETWORKS, RUNNING, TALKING)
def decloud(job: Job, console: Console) -> int:
    """Fill clouds from the other dates.

    INPUTS are GeoTIFFs, one per date, or one NetCDF file or Zarr store:

    \b
      ngr-geo decloud S2_*.tif --clouds SCL_*.tif -o OUT/
      ngr-geo decloud cube.nc --clouds SCL -o clear.nc

    Pixels that are not cloud come back as they were.
    """
    return _restore("decloud", job, console)


@verb(INPUTS, MISSING, OUTPUT, WRITTEN_DATES, SOLVING, NETWORKS, RUNNING, TALKING)
def inpaint(job: Job, console: Console) -> int:
    """Fill missing pixels: nodata, NaN, or those of a mask.

    \b
      ngr-geo inpaint S2_*.tif -o OUT/
      ngr-geo inpaint scene.tif --missing holes.tif -o filled.tif
    """
    return _restore("inpaint", job, console)


@verb(INPUTS, NOISE, OUTPUT, SPECTRAL, CHANGE, SOLVING, RUNNING, TALKING)
def denoise(job: Job, console: Console) -> int:
    """Remove noise from a hyperspectral cube.

    \b
      ngr-geo denoise cube.tif -o clean.tif
      ngr-geo denoise cube.hdr --noise mixed -o clean.img
    """
    return _restore("denoise", job, console)


@verb(INPUTS, DIRECTION, OUTPUT, SPECTRAL, CHANGE, SOLVING, RUNNING, TALKING)
def destripe(job: Job, console: Console) -> int:
    """Remove stripes from a hyperspectral cube, vertical, horizontal or slightly tilted.

    \b
      ngr-geo destripe enmap.tif -o even.tif
    """
    return _restore("destripe", job, console)


@verb(INPUTS, LINES, OUTPUT, SPECTRAL, SOLVING, RUNNING, TALKING)
def fill_deadlines(job: Job, console: Console) -> int:
    """Find dead lines of a hyperspectral cube, and fill them.

    \b
      ngr-geo fill-deadlines cube.nc -o whole.nc
      ngr-geo fill-deadlines cube.tif --lines 17,18,r40 -o whole.tif
    """
    return _restore("fill_deadlines", job, console)


@verb(INPUTS, CLOUDS, DATES, BANDS, FILES, AREA, MASKING, SOLVING, TALKING)
def info(job: Job, console: Console) -> int:
    """Show what decloud would do: dates, cloud shares, tiles, memory and time. Nothing is filled or written."""
    from .run import info

    return info(job, console)


@verb(
    click.option("-o", "--output", default="ngr_geo_demo", show_default=True, metavar="FOLDER", help="Where to write."),
    SOLVING,
    OVERWRITE,
    TALKING,
)
def demo(job: Job, console: Console) -> int:
    """Remove the clouds from the Sentinel-2 sample in the package, and show where the results are."""
    from ..samples import sample_path

    folder = sample_path("slovenia")
    images, masks = (tuple(sorted(glob.glob(str(folder / pattern)))) for pattern in ("S2_*.tif", "SCL_*.tif"))
    picture, page = (str(Path(job.output) / name) for name in ("before_after.png", "report.html"))
    return _restore("decloud", replace(job, inputs=images, clouds=masks, quicklook=picture, report=page), console)


def _restore(verb: str, job: Job, console: Console) -> int:
    from .run import restore

    return restore(verb, job, console)
