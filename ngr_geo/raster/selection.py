"""Which dates and bands of a raster a user means: by name, as they may be written, or by number."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any, NoReturn

import numpy as np

from ..errors import InputError
from ..wording import listed

Day = str | date | np.datetime64
Dates = Day | Sequence[Day] | None
"""Dates as a user gives them, None for all: text, datetimes and Timestamps are dates of Python, and what NumPy has."""
_COMPACT = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2})(?:T?(\d{2})(?:(\d{2})(\d{2})?)?)?)?)?(?:Z)?")
_DAY = len("2023-08-18")


def dates(names: Sequence[str], wanted: Any) -> list[int]:
    """Return the indices of the dates that are wanted, all for None.

    Args:
        names: of the raster's dates: ISO days, with the time where a day occurs twice; any text where the raster has no dates.
        wanted: one or several of str, date, datetime, Timestamp and datetime64. Text may be ISO (2023-08-18) or compact (20230818),
            and may stop after the year, the month or the day: it stands for all dates that begin so.

    Raises:
        InputError: one is not there, or nothing is wanted at all.
    """
    if wanted is None:
        return list(range(len(names)))
    if hasattr(wanted, "values") and not isinstance(wanted, dict):  # DataArray, Index
        wanted = np.asarray(wanted.values)
    several = [wanted] if isinstance(wanted, str | bytes) or not np.iterable(wanted) else list(wanted)
    if not several:
        _refuse("an empty list of dates", names)
    return sorted({index for one in several for index in _matching(names, one)})


def _matching(names: Sequence[str], wanted: Any) -> list[int]:
    """Return the indices of the dates that one wanted value stands for."""
    text = _text(wanted)
    for form in dict.fromkeys((text, _iso(text))):
        found = [i for i, name in enumerate(names) if name == form]
        found = found or [i for i, name in enumerate(names) if form and _begins(name, form)]
        if found:
            return found
    day = _iso(text)[:_DAY]
    if len(_iso(text)) > _DAY and names.count(day) == 1:  # a time of day, where days are told apart without
        return [names.index(day)]
    _refuse(f"no date {text!r}", names)


def _text(wanted: Any) -> str:
    """Return a date as text; midnight stands for the day."""
    if isinstance(wanted, np.datetime64):
        wanted = str(wanted)
    elif hasattr(wanted, "isoformat"):
        wanted = wanted.isoformat()
    return re.sub(r"(?<=\d)T00:00(:00(\.0+)?)?$", "", str(wanted).strip())


def _iso(text: str) -> str:
    """Return compact dates as ISO ones; other text as it is."""
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        return text.replace(" ", "T") if re.match(r"\d{4}-\d{2}-\d{2} ", text) else text
    day, clock = [p for p in parts.groups()[:3] if p], [p for p in parts.groups()[3:] if p]
    return "-".join(day) + (f"T{':'.join(clock)}" if clock else "")


def _begins(name: str, form: str) -> bool:
    """Return whether a date begins so, and a part of it ends there: 2023-08-1 is not 2023-08-18."""
    return name.startswith(form) and not (form[-1].isdigit() and name[len(form) : len(form) + 1].isdigit())


def _refuse(found: str, names: Sequence[str]) -> NoReturn:
    msg = f"Found {found}, expected some of {listed(names)}."
    raise InputError(msg, call="Pass them as dates=[...].", option="Name them with --dates.")


def bands(names: Sequence[str], wanted: Any, *, first: int = 0) -> list[int]:
    """Return the indices of bands that are wanted, by name or number.

    Args:
        names: of the raster's bands.
        wanted: one or several names and numbers; text that is a number counts as one on the command line alone (`first` = 1),
            and only where names are none themselves: "7" of the bands "5", "6", "7" is the third.
        first: the number of the first band; from 0, negative ones count from the end.

    Raises:
        InputError: one is not there.
    """
    if wanted is None:
        return []
    several = [wanted] if isinstance(wanted, str) or not np.iterable(wanted) else list(wanted)
    return [_band(names, one, first) for one in several]


def _band(names: Sequence[str], wanted: Any, first: int) -> int:
    if isinstance(wanted, str) and wanted in names:
        return names.index(wanted)
    count = len(names)
    numbered = not all(name.isdecimal() for name in names)
    if first == 0:
        if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool) and -count <= wanted < count:
            return int(wanted) % count
    elif numbered and isinstance(wanted, str) and wanted.isdecimal() and len(wanted) < 9:
        if first <= int(wanted) < first + count:
            return int(wanted) - first
    numbers = f" or indices from 0 to {count - 1}" if first == 0 else f" or numbers from 1 to {count}" * numbered
    msg = f"Found no band {wanted!r} to leave out, expected names ({listed(names, 8)}){numbers}."
    raise InputError(msg, call="Pass them as bad_bands=[...].", option="Name them with --bad-bands.")
