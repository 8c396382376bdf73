"""The ngr-geo command, also `rio ngr`. Heavy modules are imported where they are used: --help answers at once."""

import glob
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from . import console as terminal
from .console import Console
from .options import CUBE, FILES, MASKING, NETWORKS, RUNNING, SOLVING, STACK, TALKING, WRITING, Job, Verb, parameters

RESTORING: dict[str, tuple[tuple[str, ...], str]] = {
    "decloud": (
        ("clouds", *STACK, *MASKING, *SOLVING, *NETWORKS),
        """Fill clouds from the other dates.

        INPUTS are GeoTIFFs, one per date, or one NetCDF file or Zarr store:

        \b
          ngr-geo decloud S2_*.tif --clouds SCL_*.tif -o OUT/
          ngr-geo decloud cube.nc --clouds SCL -o clear.nc

        Pixels that are not cloud come back as they were.
        """,
    ),
    "inpaint": (
        ("missing", "extent", *STACK, *SOLVING, *NETWORKS),
        """Fill missing pixels: nodata, NaN, or those of a mask.

        \b
          ngr-geo inpaint S2_*.tif -o OUT/
          ngr-geo inpaint scene.tif --missing holes.tif -o filled.tif
        """,
    ),
    "repair": (
        ("faults", "noise", "direction", *(name for name in CUBE if name != "uncertainty"), *SOLVING),
        """Mend a spectrometer's cube: bad pixels, dead lines, stripes, noise.

        INPUTS are one product, such as an EnMAP folder, or one raster:

        \b
          ngr-geo repair PRS_L2D_STD_20230819*.he5 -o clean.tif
          ngr-geo repair EMIT_L2A_RFL_*.nc --faults lines,stripes -o clean.nc
        """,
    ),
    "denoise": (
        ("noise", *CUBE, "change", *SOLVING),
        """Remove noise from a hyperspectral cube.

        \b
          ngr-geo denoise cube.tif -o clean.tif
          ngr-geo denoise cube.hdr --noise mixed -o clean.img
        """,
    ),
    "destripe": (
        ("direction", *CUBE, "change", *SOLVING),
        """Remove stripes from a hyperspectral cube, vertical, horizontal or slightly tilted.

        \b
          ngr-geo destripe enmap.tif -o even.tif
        """,
    ),
    "fill-deadlines": (
        ("lines", *CUBE, *SOLVING),
        """Find dead lines of a hyperspectral cube, and fill them.

        \b
          ngr-geo fill-deadlines cube.nc -o whole.nc
          ngr-geo fill-deadlines cube.tif --lines 17,18,r40 -o whole.tif
        """,
    ),
}
"""The options of each command, beside those that all have, and its help."""


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group("ngr", epilog=terminal.EXIT_CODES, context_settings=SETTINGS)
@click.version_option(package_name="ngr-geo", prog_name="ngr-geo")
def main() -> None:  # named ngr for rio, which goes by the command's own name
    """Restore satellite images with the Neural Gradient Regularizer: clouds, gaps, noise, stripes, dead lines."""
    os.environ.setdefault("GDAL_CACHEMAX", "128")  # MB; by default it is a share of the machine's memory


def _restore(verb: str, job: Job, console: Console) -> int:
    from .run import restore

    return restore(verb, job, console)


def _info(job: Job, console: Console) -> int:
    from .run import info

    return info(job, console)


def _demo(job: Job, console: Console) -> int:
    from ..samples import sample_path

    folder = sample_path("slovenia")
    images, masks = (tuple(sorted(glob.glob(str(folder / pattern)))) for pattern in ("S2_*.tif", "SCL_*.tif"))
    picture, page = (str(Path(job.output) / name) for name in ("before_after.png", "report.html"))
    return _restore("decloud", replace(job, inputs=images, clouds=masks, quicklook=picture, report=page), console)


def _add(name: str, run: Callable[[Job, Console], int], options: list[click.Parameter], text: str) -> None:
    """Add a command."""
    talking = parameters(name, *TALKING)
    command = Verb(name, callback=run, params=[*options, *talking], help=text, epilog=terminal.EXIT_CODES)
    command.short_help = text.partition("\n")[0]  # whole: click cuts what it takes from the help itself
    main.add_command(command)


_INPUTS = click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUTS...")
for _name, (_options, _text) in RESTORING.items():
    _running = (
        option for option in RUNNING if (_name, option) != ("repair", "index")
    )  # it has the tiles of several verbs
    _verb = _name.replace("-", "_")
    _add(_name, partial(_restore, _verb), [_INPUTS, *parameters(_verb, *_options, *_running, *WRITING)], _text)
_add(
    "info",
    _info,
    [_INPUTS, *parameters("plan", "clouds", "dates", *FILES, *MASKING, *SOLVING)],
    "Show what decloud would do: dates, cloud shares, tiles, memory and time. Nothing is filled or written.",
)
_OUT = click.Option(
    ["-o", "--output"], default="ngr_geo_demo", show_default=True, metavar="FOLDER", help="Where to write."
)
_add(
    "demo",
    _demo,
    [_OUT, *parameters("decloud", "refine", *SOLVING, "overwrite")],
    "Remove the clouds from the Sentinel-2 sample in the package, and show where the results are.",
)
