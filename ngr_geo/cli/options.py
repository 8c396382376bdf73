"""The options of the ngr-geo command, each declared once, and the value that holds them."""

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
    """The options of a command under their names; `url` is the final place of an output that is first written to `output`."""

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
    """A command whose options --clouds and --missing take all values up to the next option, as a shell expands patterns."""

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
    if values and not parts:  # "" would silently lift the restriction that the option asks for
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
    """Return several click options as one decorator; --help shows them in the order given."""

    def decorate(function: Any) -> Any:
        for option in reversed(several):
            function = option(function)
        return function

    return decorate


def _listing(name: str, metavar: str, text: str, callback: Any = _split) -> Callable[[Any], Any]:
    """Return an option that takes several values, separated by commas or given one by one."""
    return click.option(name, multiple=True, callback=callback, metavar=metavar, help=text)


def _count(name: str, least: int, text: str, default: int | None = None) -> Callable[[Any], Any]:
    """Return an option that takes a whole number."""
    return click.option(name, type=click.IntRange(min=least), default=default, help=text)


INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUTS...")
CLOUDS = click.option(
    "--clouds",
    multiple=True,
    metavar="MASK...",
    help="Mask files (SCL, QA_PIXEL, Fmask, ..., probabilities, or 1 = cloud), matched to the inputs by date; or the name of a "
    "band or variable. By default one with a well-known name.",
)
MISSING = options(
    click.option(
        "--missing",
        multiple=True,
        metavar="MASK...",
        help="Mask files (not 0 = missing), matched by date; or a band or variable. By default nodata and NaN.",
    ),
    click.option(
        "--extent",
        type=click.Choice(("footprint", "all")),
        default="footprint",
        show_default=True,
        help="Where nodata is filled without --missing: inside the footprint of the data (of a single date, holes count as "
        "inside), or everywhere.",
    ),
)
NOISE = click.option(
    "--noise",
    type=click.Choice(("auto", "gaussian", "mixed")),
    default="auto",
    show_default=True,
    help="mixed: also impulses, saturation, stripes and dead lines.",
)
DIRECTION = click.option(
    "--direction", type=click.Choice(("columns", "rows")), help="Direction of the stripes.  [default: detected]"
)
LINES = _listing(
    "--lines", "N,...", "Numbers of dead columns, from 0, and of dead rows, as rN (r12).  [default: detected]"
)
OUTPUT = click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    help="A folder for GeoTIFFs (each with NAME_filled.tif: 1 = filled), out.tif, out.img (ENVI), out.nc or out.zarr; or a "
    "URL of one of these.",
)
DATES = _listing("--dates", "DAY,...", "Fill and write only these dates; the others are still used as input.")
BANDS = _listing("--bands", "NAME,...", "Process only these bands.")
BAD_BANDS = _listing(
    "--bad-bands",
    "NAME,...",
    "Bands to leave as they are, by name or number from 1, with those flagged in the file (bbl).",
)
FILES = options(
    click.option("--date-pattern", metavar="TEXT", help="Dates in file names: 'S2_%Y%m%d', a regex, or tag:NAME."),
    click.option(
        "--band-pattern",
        metavar="TEXT",
        help="Bands in names of files of one band: '_(B\\d+)', or '*_{band}_*'.  [default: known products]",
    ),
    click.option(
        "--resolution", metavar="SIZE", help="Bring bands to one pixel size: finest, coarsest, or a size (20)."
    ),
    click.option(
        "--nodata",
        metavar="VALUE",
        help="The number that means missing, whatever the files declare; none: all are data.",
    ),
)
AREA = click.option(
    "--aoi", metavar="FILE", help="Polygons (GeoJSON, GeoPackage, shapefile), in any CRS: nothing changes outside them."
)
UNCERTAINTY = click.option(
    "--uncertainty",
    is_flag=True,
    help="Also write the standard deviation of each filled or changed value: NAME_uncertainty.tif.",
)
CHANGE = click.option("--change", is_flag=True, help="Also write what was added to each value: NAME_change.tif.")
WRITTEN_DATES = options(
    DATES,
    click.option("--all-dates", is_flag=True, help="With --dates: also write the other dates, unchanged."),
    BANDS,
    FILES,
    AREA,
    UNCERTAINTY,
)
SPECTRAL = options(BAD_BANDS, BANDS, FILES, AREA, UNCERTAINTY)
MASKING = options(
    _listing("--classes", "N,...", "Classes (or bits) that count as cloud.", _numbers),
    _count("--dilate", 0, "Grow clouds by this many pixels.  [default: about 60 m; 0 for masks of 0 and 1]"),
    click.option(
        "--probability",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.5,
        show_default=True,
        help="The least probability that counts as cloud, where the mask holds probabilities.",
    ),
    click.option(
        "--mask-rule",
        type=click.Choice(MASK_RULES, case_sensitive=False),
        metavar="NAME",
        help=f"The product of the mask, where its name does not say so: {', '.join(MASK_RULES)}.",
    ),
)
SOLVING = options(
    click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How to fill."),
    _count("--tile", 8, "Side of a tile in pixels.  [default: 256; denoise: 320; other spectral verbs: 512]"),
    _count("--overlap", 0, "Pixels shared by neighbouring tiles.  [default: 32; spectral cubes: 16]"),
    _count("--steps", 1, "Steps of the solver.  [default: stopped on hidden pixels]"),
)
NETWORKS = options(
    _count("--tune", 0, "Steps of training on each tile, after those on the scene.", default=0),
    click.option("--prior", metavar="FILE", help="Trained networks to use (.safetensors), instead of training."),
    click.option("--save-prior", metavar="FILE", help="Save the networks trained on this scene, for --prior."),
)
OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace existing outputs. Inputs are never replaced.")
RUNNING = options(
    click.option(
        "--work",
        metavar="FOLDER",
        help="Folder for finished tiles; an interrupted run continues from it.  [default for large rasters: OUT.ngr-work]",
    ),
    click.option("--restart", is_flag=True, help="Start over, and delete the tiles in the work folder."),
    _count("--workers", 1, "Solve in this many processes.  [default: threads]"),
    click.option(
        "--scheduler", metavar="ADDRESS", help="Solve on a Dask cluster: tcp://host:8786, or a scheduler file."
    ),
    click.option(
        "--index",
        metavar="FILE",
        help="Write the tiles as polygons (.parquet, .gpkg), with method, seconds and expected error.",
    ),
    click.option("--device", help="cpu, cuda, cuda:1, ...  [default: the fastest available]"),
    click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same result."),
    click.option("--cog", is_flag=True, help="Write Cloud Optimized GeoTIFFs, even if the inputs are not."),
    OVERWRITE,
    click.option("--quicklook", metavar="PNG", help="Write a picture: before, mask and after."),
    click.option("--report", metavar="HTML", help="Write a page: pictures, expected errors, tiles, how it was made."),
    click.option("--stac", is_flag=True, help="Write a STAC item beside each output: NAME.stac.json."),
)
TALKING = options(
    click.option("--json", is_flag=True, help="Print a machine-readable summary on stdout, all else on stderr."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option("--debug", is_flag=True, help="Show tracebacks and all warnings."),
)
