"""The keywords that verbs share: type, default and description of each, written once.

A verb takes them as `**shared: Unpack[Solving]`. The decorator `described` writes them out in its signature, and adds to its
documentation what that does not describe itself. The command line shows the first sentence as the help of an option.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar

from .record import Held

if TYPE_CHECKING:
    from .atomic import PathLike
    from .methods.checkpoint import StackModel
    from .progress import Progress


P = ParamSpec("P")
R = TypeVar("R")
Method = Literal["auto", "guide", "ngr", "local", "kriging", "paper"]
OF_STACKS = ("local", "kriging")
"""Methods of a stack of dates alone, which predict a date from other dates."""


class Repairing(TypedDict, total=False):
    """What every verb takes."""

    method: Method
    tile: int | None
    overlap: int
    device: str | None
    seed: int
    steps: int | None
    filled: Held
    aoi: Any
    work: PathLike | None
    restart: bool
    progress: bool | Progress | None


class Solving(Repairing, total=False):
    """What every verb but `repair` takes: the record of an uncertainty would be lost with the next step."""

    uncertainty: bool


class Gaps(Solving, total=False):
    """What the verbs take that fill gaps of a stack."""

    tune: int
    prior: StackModel | PathLike | None


TILES = {"decloud": 256, "denoise": 320, "destripe": 512, "fill_deadlines": 512}
"""Sides of tiles, pixels: the longer a line, the surer its offset."""
DEFAULTS: dict[str, Any] = {
    "method": "auto",
    "tile": TILES["decloud"],
    "overlap": 32,
    "seed": 0,
    "tune": 0,
    "uncertainty": False,
    "filled": "coordinate",
    "restart": False,
}
"""Of all other shared keywords it is None."""
ABOUT = {
    "dates": 'Fill only these dates; the others still help. ISO dates such as "2023-08-18". None: all.',
    "classes": "The classes that count as not clear, of packed masks the numbers of the bits. None: the rule's own.",
    "dilate": (
        "Grow the mask by this many pixels. None: 60 m, from 2 to 6 pixels, for products, and 0 for your own masks: "
        "booleans, 0 and 1 without the name of a product, and chosen classes of such a mask."
    ),
    "probability": (
        "The least probability that counts as not clear, where the mask holds probabilities. From 0 to 1, also of a mask "
        "in percent."
    ),
    "refine": (
        "Refine the mask: add haze and shadow that it misses, and take off flags that stay in one place though values agree. "
        "Haze and shadow are found where a date differs, in their colour, from what each of up to three other, nearly clear dates "
        "predicts. Flags are taken off where nearly all nearly clear dates, three at least, have them, and predict each other as "
        "well as clear pixels do. It needs bands whose names or wavelengths say blue, green, red and near infrared. A date of "
        "which more than half of the clear pixels would be haze or shadow is left as its mask has it. None: for masks of "
        "products, where that is possible, and not for your own: booleans, 0 and 1, chosen classes."
    ),
    "bad_bands": "Bands to leave as they are, besides those that the raster flags. Names, or indices from 0.",
    "method": (
        '"auto" takes what does best on hidden pixels. Of a stack of dates that is a mean of "guide", a regression on the other '
        'dates, "ngr", networks that refine it, "local" and "kriging", which learn from each tile alone, with weights fitted to '
        'hidden pixels; of a spectral cube "guide" or "ngr". "paper" is the published algorithm, which takes hours.'
    ),
    "tile": (
        "Side of a tile, the window that is solved at a time, in pixels. None: on a GPU as large as a stack's dates and "
        "bands leave it room in its free memory, 256 to 1024, recorded in `ngr_settings`; elsewhere, of spectral cubes and "
        'for "paper", the default. Of another side the result is another by as much as tiles differ.'
    ),
    "overlap": "Pixels that neighbouring tiles share.",
    "device": 'Where torch computes: "cpu", "cuda", "cuda:1", "mps". None: CUDA where there is any.',
    "seed": "The same seed gives the same result.",
    "steps": 'Steps of training. None: stopped on hidden pixels ("paper": 15 000, of a spectral cube 4 000).',
    "tune": "Steps of training on each tile, 0 to 30, after those on the scene.",
    "prior": (
        "Networks learnt from another scene or date, with as many bands and reference dates, in place of training. As "
        "`prior()` returns them, or the file that they were saved to. They are used as they are, or trained for `steps` "
        "more steps, and still judged on this scene. Not for a spectral cube."
    ),
    "uncertainty": (
        "Also give the standard deviation of each filled or changed value. It is a coordinate `uncertainty` (of a Dataset "
        "one per variable, NAME_uncertainty), in the raster's units: 0 where nothing was changed, NaN where too little "
        "could be hidden. Learnt from errors at hidden pixels, and of `denoise` and `destripe` from noise or stripes that "
        "are put on the result and removed once more. ± 1.645 of them cover about 90 % of what was hidden."
    ),
    "change": "Also give what was added to each value. It is a coordinate `change`, in the raster's units.",
    "filled": (
        "What `filled` is in the result, which says which values were filled: a coordinate or a variable. A variable, which only a "
        "Dataset can have, is found by tools that show no coordinates, such as GIS. Verbs know it as well."
    ),
    "aoi": (
        "Polygons of an area of interest, in any CRS: nothing changes outside them. A GeoDataFrame or GeoSeries, GeoJSON "
        "(a mapping, in longitude and latitude), or a file that geopandas reads. Only tiles that touch it are solved; "
        "inside, the result is what it would be without aoi."
    ),
    "work": (
        "A folder for finished tiles and what was learnt, from which an interrupted call continues. The tiles are then "
        "solved by this call, also where the raster is lazy (the result is still). The result of a call that was "
        "interrupted and repeated differs in nothing but `ngr_made`. The pixels of finished tiles are read again and "
        "compared: that they have changed is an error. Damaged records are solved again. Tiles are read a few at a time "
        "and run on the active Dask cluster, if there is one; all its workers have to see the folder. It can be removed "
        "when the result has been computed."
    ),
    "restart": "Start over, and delete the tiles in the work folder; files of others are kept.",
    "progress": "True for a bar, or a function of (stage, done, total).",
}
"""In the order of the signatures."""


def first_sentence(name: str) -> str:
    """Return the first sentence of a keyword's description."""
    return ABOUT[name].partition(". ")[0].rstrip(".") + "."


def described(shared: type, **defaults: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that writes the shared keywords of a verb into its signature and its documentation.

    Args:
        shared: the type of the verb's `**shared`.
        defaults: those of this verb, where they differ.
    """
    types = {name: getattr(hint, "__forward_arg__", hint) for name, hint in shared.__annotations__.items()}
    chosen = {name: {**DEFAULTS, **defaults}.get(name) for name in types}
    keyword = inspect.Parameter.KEYWORD_ONLY

    def decorate(verb: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(verb)
        *own, _ = signature.parameters.values()
        plain = [part for part in own if part.kind is not keyword]
        named = [part for part in own if part.kind is keyword]
        named += [inspect.Parameter(n, keyword, default=chosen[n], annotation=hint) for n, hint in types.items()]
        named.sort(key=lambda part: _place(part.name))

        @wraps(verb)
        def call(*arguments: P.args, **keywords: P.kwargs) -> R:
            return verb(*arguments, **{**chosen, **keywords})  # type: ignore[arg-type]

        call.__signature__ = signature.replace(parameters=[*plain, *named])  # type: ignore[attr-defined]
        call.__doc__ = _documented(inspect.getdoc(verb) or "", [part.name for part in named])
        return call

    return decorate


def _documented(text: str, names: list[str]) -> str:
    """Return the documentation of a verb with all its arguments, in their order: those it describes itself, and the shared ones."""
    head, begin, rest = text.partition("Args:\n")
    own, end, rest = rest.partition("\n\nReturns:")
    entries = {entry.partition(":")[0].strip(): entry for entry in re.split(r"\n(?= {4}\w)", own)}
    wrapper = textwrap.TextWrapper(120, initial_indent=" " * 4, subsequent_indent=" " * 8)
    entries = {name: wrapper.fill(f"{name}: {about}") for name, about in ABOUT.items() if name in names} | entries
    return head + begin + "\n".join(entries[name] for name in sorted(entries, key=_place)) + end + rest


def _place(name: str) -> int:
    """Return where a keyword stands among the others; a verb's own, which are not shared, come first."""
    return list(ABOUT).index(name) if name in ABOUT else -1
