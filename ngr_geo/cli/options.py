"""The options of the ngr-geo command, and the one value they become."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from ..raster.flags import METHODS
from ..raster.products import RULES
from . import console as terminal
from .console import Console

MASK_RULES = (*(rule.name for rule in RULES if rule.name != "UDM2"), "MSK_CLDPRB", "CLP_255", "cloud_mask")
"""Names that a mask can be read by; "cloud_mask": 0 and 1."""


@dataclass(frozen=True)
class Job:
    """What the user asked for. Field names are those of the options; `url` is where the output goes that is made at `output`."""

    inputs: tuple[str, ...] = ()
    clouds: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    output: str = ""
    extent: str = "footprint"
    dates: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    dilate: int | None = None
    probability: float = 0.5
    mask_rule: str | None = None
    noise: str = "auto"
    direction: str | None = None
    lines: tuple[str, ...] = ()
    bad_bands: tuple[str, ...] = ()
    method: str = "auto"
    tile: int | None = None
    overlap: int | None = None
    device: str | None = None
    seed: int = 0
    tune: int = 0
    uncertainty: bool = False
    change: bool = False
    aoi: str | None = None
    prior: str | None = None
    save_prior: str | None = None
    work: str | None = None
    cog: bool = False
    restart: bool = False
    workers: int | None = None
    scheduler: str | None = None
    index: str | None = None
    steps: int | None = None
    date_pattern: str | None = None
    band_pattern: str | None = None
    resolution: str | None = None
    nodata: str | None = None
    all_dates: bool = False
    url: str | None = None
    overwrite: bool = False
    quicklook: str | None = None
    report: str | None = None
    stac: bool = False
    json: bool = False
    quiet: bool = False
    debug: bool = False


class Verb(click.Command):
    """A command whose options --clouds and --missing take all values up to the next option, as shells expand them."""

    greedy = ("--clouds", "--missing")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat a greedy option before each of its values, which is what click understands."""
        valued = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count
            for name in parameter.opts
        }
        return super().parse_args(ctx, spread(args, self.greedy, valued))

    def invoke(self, ctx: click.Context) -> None:
        """Run the callback on one Job, and end with its exit code."""
        job = Job(**ctx.params)
        console = Console(json=job.json, quiet=job.quiet)
        callback = self.callback
        assert callback is not None
        ctx.exit(terminal.run(lambda: int(callback(job, console)), console, job.debug))


def spread(args: Sequence[str], greedy: Sequence[str], valued: set[str]) -> list[str]:
    """The arguments with every value of a greedy option behind an option of its own.

    `--clouds a b -o out` becomes `--clouds a --clouds b -o out`. Where nothing else is left to be an input, as in
    `--clouds SCL cube.nc`, the option takes one value and the rest are inputs; "--" ends its values too.
    """
    groups: list[tuple[str | None, list[str]]] = []  # (option, its values); option None: as they are
    inputs = False
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if word == "--":
            inputs = inputs or bool(rest)
            groups.append((None, ["--", *rest]))
            break
        if word in greedy:
            values = []
            while rest and not (rest[0].startswith("-") and len(rest[0]) > 1):
                values.append(rest.pop(0))
            groups.append((word, values))
        elif word in valued:
            groups.append((None, [word, *rest[:1]]))
            rest = rest[1:]
        else:
            inputs = inputs or not word.startswith("-")
            groups.append((None, [word]))
    out: list[str] = []
    for option, values in groups:
        if option is None:
            out.extend(values)
        elif not values:
            out.append(option)  # click says that a value is missing
        elif inputs:
            out.extend(word for value in values for word in (option, value))
        else:
            out.extend([option, *values])
    return out


def _split(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Values given by several options, by commas, or both."""
    parts = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    if values and not parts:  # "" is not the same as no option: what would be restricted is not
        msg = f"found {', '.join(map(repr, values))}, expected at least one value."
        raise click.BadParameter(msg)
    return parts


def _numbers(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    parts = _split(ctx, parameter, values)
    if not all(part.isdecimal() for part in parts):
        msg = f"{', '.join(parts)}: expected whole numbers, such as 3,8,9,10."
        raise click.BadParameter(msg)
    return tuple(int(part) for part in parts)


def options(*several: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several click options as one decorator, shown in the order given."""

    def decorate(function: Any) -> Any:
        for option in reversed(several):
            function = option(function)
        return function

    return decorate


INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
CLOUDS = click.option(
    "--clouds",
    multiple=True,
    metavar="MASK...",
    help="Mask files (SCL, QA_PIXEL, Fmask, ..., probabilities, or 1 = cloud), matched to the inputs by date; or the name of a "
    "band or variable. By default one with a well-known name.",
)
EXTENT = click.option(
    "--extent",
    type=click.Choice(("footprint", "all")),
    default="footprint",
    show_default=True,
    help="How far nodata is filled without --missing: only where the inputs have data (a single date: and its holes), or all.",
)
OUTPUT = click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    help="A folder for GeoTIFFs (each with NAME_filled.tif: 1 = filled), out.tif, out.img (ENVI), out.nc or out.zarr; or a "
    "URL of one of these.",
)
FILES = options(
    click.option(
        "--date-pattern", metavar="TEXT", help="Where names hold the date: 'S2_%Y%m%d', a regex, or tag:NAME."
    ),
    click.option(
        "--band-pattern",
        metavar="TEXT",
        help="Where names of files of one band hold the band: '_(B\\d+)', or '*_{band}_*'.  [default: known products]",
    ),
    click.option(
        "--resolution", metavar="SIZE", help="Bring bands to one size of pixel: finest, coarsest, or its size (20)."
    ),
    click.option(
        "--nodata", metavar="VALUE", help="The number that means missing, whatever is declared; none: all are data."
    ),
)
UNCERTAINTY = click.option(
    "--uncertainty", is_flag=True, help="Write how far what is filled or changed may be off, too: NAME_uncertainty.tif."
)
CHANGE = click.option("--change", is_flag=True, help="Write what was added to each value, too: NAME_change.tif.")
AOI = click.option(
    "--aoi", metavar="FILE", help="Polygons (GeoJSON, GeoPackage, shapefile), in any CRS: change nothing beyond them."
)
SELECTION = options(
    click.option(
        "--dates", multiple=True, callback=_split, metavar="DAY,...", help="Fill and write only these; the others help."
    ),
    click.option(
        "--bands", multiple=True, callback=_split, metavar="NAME,...", help="Work on these, leave out the others."
    ),
    FILES,
    AOI,
)
ALL_DATES = click.option("--all-dates", is_flag=True, help="With --dates: write the other dates, too, as they were.")
MASKING = options(
    click.option(
        "--classes", multiple=True, callback=_numbers, metavar="N,...", help="Classes (or bits) to call cloud."
    ),
    click.option(
        "--dilate",
        type=click.IntRange(min=0),
        help="Grow clouds by so many pixels.  [default: about 60 m; 0 for masks of 0 and 1]",
    ),
    click.option(
        "--probability",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.5,
        show_default=True,
        help="Where the mask holds probabilities of cloud: call cloud what is at least so probable.",
    ),
    click.option(
        "--mask-rule",
        type=click.Choice(MASK_RULES, case_sensitive=False),
        metavar="NAME",
        help=f"What product the mask is of, where its name does not say so: {', '.join(MASK_RULES)}.",
    ),
)
SOLVING = options(
    click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How to fill."),
    click.option(
        "--tile",
        type=click.IntRange(min=8),
        help="Pixels solved at once.  [default: 256; denoise: 320; other spectral verbs: 512]",
    ),
    click.option(
        "--overlap", type=click.IntRange(min=0), help="Pixels shared by tiles.  [default: 32; spectral cubes: 16]"
    ),
    click.option("--steps", type=click.IntRange(min=1), help="Steps of the solver.  [default: until it is best]"),
)
RUNNING = options(
    click.option("--device", help="cpu, cuda, cuda:1, ...  [default: the fastest there is]"),
    click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same answer."),
    click.option("--cog", is_flag=True, help="Write Cloud Optimized GeoTIFFs, also where the inputs are none."),
    click.option("--overwrite", is_flag=True, help="Replace outputs that are there. Inputs are never replaced."),
    click.option("--quicklook", metavar="PNG", help="Write a picture: before, mask and after."),
    click.option("--report", metavar="HTML", help="Write one page: pictures, expected errors, tiles, how it was made."),
    click.option("--stac", is_flag=True, help="Write a STAC item beside each output: NAME.stac.json."),
)
PRIOR = options(
    UNCERTAINTY,
    click.option(
        "--tune", type=click.IntRange(min=0), default=0, help="Steps of training on each tile, beyond the scene's."
    ),
    click.option("--prior", metavar="FILE", help="Networks learnt before (.safetensors), in place of training."),
    click.option("--save-prior", metavar="FILE", help="Keep what was learnt of this scene, for --prior."),
)
CLUSTER = options(
    click.option(
        "--work",
        metavar="FOLDER",
        help="Keep finished tiles there, and go on from them.  [default for large rasters: OUT.ngr-work]",
    ),
    click.option("--restart", is_flag=True, help="Start over, whatever the work folder holds."),
    click.option("--workers", type=click.IntRange(min=1), help="Solve in so many processes.  [default: threads]"),
    click.option(
        "--scheduler", metavar="ADDRESS", help="Solve on a Dask cluster: tcp://host:8786, or a scheduler file."
    ),
    click.option(
        "--index", metavar="FILE", help="Write the tiles as polygons (.parquet, .gpkg): what was done, seconds, error."
    ),
)
BANDS = options(
    click.option(
        "--bad-bands",
        multiple=True,
        callback=_split,
        metavar="NAME,...",
        help="Bands to leave as they are, by name or number from 1, with those flagged in the file (bbl).",
    ),
    click.option(
        "--bands", multiple=True, callback=_split, metavar="NAME,...", help="Work on these, leave out the others."
    ),
    FILES,
    AOI,
    UNCERTAINTY,
)
LINES = click.option(
    "--lines",
    multiple=True,
    callback=_split,
    metavar="N,...",
    help="Columns that are dead, from 0; rows as rN (r12).  [default: found]",
)
TALKING = options(
    click.option("--json", is_flag=True, help="Print a machine-readable summary on stdout, all else on stderr."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option("--debug", is_flag=True, help="Show tracebacks and all warnings."),
)
