"""Names of files: their endings, and the patterns by which a user says what stands where in them. No file is opened here."""

import os
import re

from ..errors import InputError
from .formats import FORMATS

_READ_ONLY = (".jp2", ".j2k", ".vrt", ".png", ".jpg", ".jpeg", ".hdf", ".h5", ".ovr", ".gz", ".zip")
_ENDINGS = [re.escape(ending) for known in FORMATS for ending in known.endings] + [*map(re.escape, _READ_ONLY)]
_ENDING = re.compile(f"(?:{'|'.join(_ENDINGS)})+$", re.IGNORECASE)


def stem(file: str | os.PathLike[str]) -> str:
    """Return a file's name without folder and without the endings of rasters; dots elsewhere in the name stay."""
    return _ENDING.sub("", re.split(r"[/\\]", os.fspath(file))[-1])


def expression(pattern: str, kind: str, placeholder: str, advice: str) -> re.Pattern[str]:
    """Return a regular expression that a user gave, with a group around what is looked for.

    Args:
        pattern: what the user gave.
        kind: of pattern, for the message: "band" or "date".
        placeholder: what a pattern of the simpler form holds instead of a group.
        advice: an example of the option.

    Raises:
        InputError: it is not a regular expression, or has no group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        msg = f"The {kind} pattern {pattern!r} is no regular expression ({error}) and holds no {placeholder}. Expected: {advice}."
        raise InputError(msg) from None
    if compiled.groups == 0:
        msg = f"The {kind} pattern {pattern!r} has neither {placeholder} nor a group. Expected: {advice}."
        raise InputError(msg)
    return compiled
