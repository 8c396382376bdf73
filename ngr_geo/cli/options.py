"""The options of the ngr-geo command: each is a field of `Job`, declared once with its type, default and help."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args

import click

from ..accessor import DataArrayVerbs
from ..keywords import OF_STACKS, Method, first_sentence
from ..raster.products import RULES
from ..record import Held
from . import console as terminal
from .console import Console

MASK_RULES = (*(rule.name for rule in RULES if rule.name != "UDM2"), "MSK_CLDPRB", "CLP_255", "cloud_mask")
"""Names that a mask can be read by; "cloud_mask": 0 and 1."""


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


def _option(text: str, default: Any = None, **click_option: Any) -> Any:
    """Return a field of `Job` that an option of its name sets."""
    return field(default=default, metadata={"help": text, **click_option})


def _switch(text: str) -> Any:
    """Return a field of `Job` that --NAME sets to True, --no-NAME to False, and neither leaves at None."""
    return _option(text, switch=True)


def _flag(text: str) -> Any:
    return _option(text, False, is_flag=True)


def _count(least: int, text: str, default: int | None = None) -> Any:
    """Return an option that takes a whole number."""
    return _option(text, default, type=click.IntRange(min=least), metavar="N")


def _as_verb(text: str, **click_option: Any) -> Any:
    """Return an option that is as the verb's keyword of the same name: --help names its default, and of words all of them."""
    return _option(text, as_verb=True, **click_option)


class _Side(click.IntRange):
    """A whole number of pixels, or "auto"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or "auto" as it is."""
        return value if value == "auto" else super().convert(value, param, ctx)


def _choice(text: str, default: str | None, *values: str) -> Any:
    return _option(text, default, type=click.Choice(values), show_default=default is not None)


def _listing(metavar: str, text: str, callback: Any = _split) -> Any:
    """Return an option that takes several values, separated by commas or given one by one."""
    return _option(text, (), multiple=True, callback=callback, metavar=metavar)


@dataclass(frozen=True)
class Job:
    """What a command was asked for; `url` is the final place of an output that is first written to `output`."""

    inputs: tuple[str, ...] = ()
    clouds: tuple[str, ...] = _option(
        "Mask files (SCL, QA_PIXEL, Fmask, ..., probabilities, or 1 = cloud), matched to the inputs by date; or the name of "
        "a band or variable. By default one with a well-known name.",
        (),
        multiple=True,
        metavar="MASK...",
    )
    missing: tuple[str, ...] = _option(
        "Mask files (not 0 = missing), matched by date; a band or variable; or product: the bad pixels that the product ships. "
        "By default nodata and NaN.",
        (),
        multiple=True,
        metavar="MASK...",
    )
    extent: str = _choice(
        "Where nodata is filled without --missing: inside the footprint of the data (of a single date, holes count as "
        "inside), or everywhere.",
        "footprint",
        *("footprint", "all"),
    )
    noise: str = _choice(
        "mixed: also impulses, saturation, stripes and dead lines.", "auto", "auto", "gaussian", "mixed"
    )
    faults: tuple[str, ...] = _listing(
        "NAME,...",
        "What is mended: bad pixels, lines, stripes, noise.  [default: all; bad pixels where the product ships any]",
    )
    direction: str | None = _choice("Direction of the stripes.  [default: detected]", None, "columns", "rows")
    lines: tuple[str, ...] = _listing(
        "N,...",
        "Numbers of dead columns, from 0, and of dead rows, as rN (r12); or product: those that it ships.  [default: detected]",
    )
    output: str = _option(
        "A folder for GeoTIFFs (each with NAME_filled.tif: 1 = filled), out.tif, out.img (ENVI), out.nc or out.zarr; or a "
        "URL of one of these.",
        "",
        metavar="OUT",
    )
    bad_bands: tuple[str, ...] = _listing(
        "NAME,...", "Bands to leave as they are, by name or number from 1, with those flagged in the file (bbl)."
    )
    dates: tuple[str, ...] = _listing("DAY,...", "Fill and write only these dates; the others are still used as input.")
    all_dates: bool = _flag("With --dates: also write the other dates, unchanged.")
    bands: tuple[str, ...] = _listing("NAME,...", "Process only these bands.")
    date_pattern: str | None = _option("Dates in file names: 'S2_%Y%m%d', a regex, or tag:NAME.", metavar="TEXT")
    band_pattern: str | None = _option(
        "Bands in names of files of one band: '_(B\\d+)', or '*_{band}_*'.  [default: known products]", metavar="TEXT"
    )
    resolution: str | None = _option("Bring bands to one pixel size: finest, coarsest, or a size (20).", metavar="SIZE")
    product: str | None = _option(
        "The product that the inputs are, where that is not to be found out: hls, landsat, sentinel2, emit, prisma, enmap, eopf.",
        metavar="NAME",
    )
    nodata: str | None = _option(
        "The number that means missing, whatever the files declare; none: all are data.", metavar="VALUE"
    )
    aoi: str | None = _option(f"{first_sentence('aoi')} GeoJSON, GeoPackage or shapefile.", metavar="FILE")
    uncertainty: bool = _flag(f"{first_sentence('uncertainty')} Written as NAME_uncertainty.tif.")
    filled: str = _choice(
        "In NetCDF and Zarr: what the layer of filled values is; GIS show a variable.", "coordinate", *get_args(Held)
    )
    change: bool = _flag(f"{first_sentence('change')} Written as NAME_change.tif.")
    classes: tuple[int, ...] = _listing("N,...", first_sentence("classes"), _numbers)
    dilate: int | None = _count(0, f"{first_sentence('dilate')}  [default: about 60 m; 0 for masks of 0 and 1]")
    probability: float = _option(
        first_sentence("probability"),
        0.5,
        type=click.FloatRange(0, 1, min_open=True),
        show_default=True,
        metavar="SHARE",
    )
    refine: bool | None = _switch(f"{first_sentence('refine')}  [default: where the mask is a product's]")
    mask_rule: str | None = _option(
        f"The product of the mask, where its name does not say so: {', '.join(MASK_RULES)}.",
        type=click.Choice(MASK_RULES, case_sensitive=False),
        metavar="NAME",
    )
    method: str = _as_verb("auto takes what does best on hidden pixels;", default="auto", metavar="NAME")
    tile: int | str | None = _as_verb(
        f"{first_sentence('tile')} auto: what a GPU has memory for.", type=_Side(min=8), metavar="SIDE"
    )
    overlap: int | None = _as_verb(first_sentence("overlap"), type=click.IntRange(min=0), metavar="N")
    steps: int | None = _count(1, f"{first_sentence('steps')}  [default: stopped on hidden pixels]")
    tune: int = _count(0, first_sentence("tune"), 0)
    prior: str | None = _option(first_sentence("prior"), metavar="FILE")
    save_prior: str | None = _option(
        "Save the networks trained on this scene (.safetensors), for --prior.", metavar="FILE"
    )
    work: str | None = _option(f"{first_sentence('work')}  [default for large rasters: OUT.ngr-work]", metavar="FOLDER")
    restart: bool = _flag(first_sentence("restart"))
    workers: int | None = _count(1, "Solve in this many processes.  [default: threads]")
    scheduler: str | None = _option("Solve on a Dask cluster: tcp://host:8786, or a scheduler file.", metavar="ADDRESS")
    index: str | None = _option(
        "Write the tiles as polygons (.parquet, .gpkg), with method, seconds and expected error.", metavar="FILE"
    )
    device: str | None = _option("cpu, cuda, cuda:1, ...  [default: the fastest available]", metavar="NAME")
    seed: int = _option(first_sentence("seed"), 0, type=int, show_default=True, metavar="N")
    cog: bool = _flag("Write Cloud Optimized GeoTIFFs, even if the inputs are not.")
    overwrite: bool = _flag("Replace existing outputs. Inputs are never replaced.")
    quicklook: str | None = _option("Write a picture: before, mask and after.", metavar="PNG")
    report: str | None = _option("Write a page: pictures, expected errors, tiles, how it was made.", metavar="HTML")
    stac: bool = _flag("Write a STAC item beside each output: NAME.stac.json.")
    json: bool = _flag(
        "Print a machine-readable summary on stdout, all else on stderr, with progress as lines of JSON."
    )
    verbose: int = _option("Print what is going on; -vv: in detail.", 0, count=True)
    quiet: bool = _flag("Print errors only.")
    debug: bool = _flag("Show tracebacks and all warnings.")
    url: str | None = None


FILES = ("product", "bands", "date_pattern", "band_pattern", "resolution", "nodata", "aoi")
STACK = ("output", "dates", "all_dates", *FILES, "uncertainty", "filled")
CUBE = ("output", "bad_bands", *FILES, "uncertainty", "filled")
MASKING = ("classes", "dilate", "probability", "mask_rule", "refine")
SOLVING = ("method", "tile", "overlap", "steps")
NETWORKS = ("tune", "prior", "save_prior")
RUNNING = ("work", "restart", "workers", "scheduler", "index", "device", "seed")
WRITING = ("cog", "overwrite", "quicklook", "report", "stac")
TALKING = ("json", "verbose", "quiet", "debug")

GROUPS = {
    "Input": ("clouds", "missing", *FILES, "bad_bands", "lines", *MASKING),
    "Method": ("faults", "noise", "direction", "extent", *SOLVING, "tune", "prior", "seed"),
    "Output": ("output", "dates", "all_dates", "uncertainty", "change", "filled", *WRITING, "index", "save_prior"),
    "Running": ("device", "work", "restart", "workers", "scheduler", *TALKING),
}
"""What --help shows under which head, in this order; every field of `Job` that is an option is in one of them."""


def parameters(verb: str, *names: str) -> list[click.Parameter]:
    """Return the click options of these fields of `Job`, with the defaults of a verb of the accessors."""
    declared = {part.name: part for part in fields(Job)}
    return [_parameter(verb, name, declared[name].default, **declared[name].metadata) for name in names]


def _parameter(verb: str, name: str, default: Any, as_verb: bool = False, **click_option: Any) -> click.Parameter:
    if name == "output":
        return click.Option(["-o", "--output"], required=True, **click_option)
    if as_verb:
        keywords = inspect.signature(getattr(DataArrayVerbs, verb)).parameters
        if name == "method":
            words = [word for word in get_args(Method) if "dates" in keywords or word not in OF_STACKS]
            click_option |= {"type": click.Choice(words)}
            click_option["help"] += f" or {', '.join(words[1:])}."
        own = keywords[name].default
        click_option["help"] += f"  [default: {'that of each step' if own is None else own}]"
    if name == "verbose":
        return click.Option(["-v", "--verbose"], **click_option)
    if click_option.pop("switch", False):
        return click.Option([f"--{name}/--no-{name}", name], default=default, **click_option)
    given = {} if default is None or default == () else {"default": default}
    return click.Option([f"--{name.replace('_', '-')}", name], **given, **click_option)


class Verb(click.Command):
    """A command whose options --clouds and --missing take all values up to the next option, as a shell expands patterns."""

    greedy = ("--clouds", "--missing")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the heads of `GROUPS`."""
        shown = {part.name: part.get_help_record(ctx) for part in self.get_params(ctx) if part.name != "inputs"}
        for head, names in GROUPS.items():
            records = [shown.pop(name, None) for name in names]
            records += shown.values() if head == "Running" else ()  # --help, which click adds under a name of its own
            if any(records):
                with formatter.section(head):
                    formatter.write_dl([record for record in records if record is not None])

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
        if job.verbose and job.quiet:
            msg = "--quiet and -v contradict each other, expected one of them."
            raise click.UsageError(msg, ctx)
        console = Console(json=job.json, quiet=job.quiet, verbose=job.verbose)
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
