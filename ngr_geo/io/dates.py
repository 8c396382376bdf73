"""When a file was acquired: from its tags, its name, or a pattern the user gives. No file is opened here."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from ..errors import InputError
from . import names

# Tags that hold the acquisition and nothing else, compared in lower case without punctuation.
_ACQUISITION_TAGS = (
    "acquisitiondatetime acquisitiondate acquisitiontime dateacquired sensingtime sensingstart datatakesensingstart "
    "datatake1datatakesensingstart productstarttime starttime datetime"  # the last is STAC's
).split()
# Tags that often hold the day of processing: used only when the name says nothing.
_OTHER_TAGS = ["date", "timestamp", "tifftagdatetime"]

_CLOCK = r"(?:(?:[T_\- ]|(?<=\d{8}))(?P<H>[01]\d|2[0-3])[:\-]?(?P<M>[0-5]\d)[:\-]?(?P<S>[0-5]\d)(?![0-9]))?"
_YEAR = r"(?P<Y>19[5-9]\d|20\d\d)"
_FORMS = (
    re.compile(rf"(?<!\d){_YEAR}(?P<sep>[-_./:])(?P<m>0[1-9]|1[0-2])(?P=sep)(?P<d>0[1-9]|[12]\d|3[01])(?!\d){_CLOCK}"),
    re.compile(rf"(?<!\d){_YEAR}(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?=\D|$|\d{{6}}(?!\d)){_CLOCK}"),
)
# Year and day of the year: HLS (2023222T095549), MODIS (A2023222), AppEEARS (doy2023222),
# Landsat before collections (path, row, year, day).
_ORDINAL = re.compile(
    rf"(?:(?<=[.A])|(?<=_doy)|(?<=^L[A-Z]\d\d{{6}})|(?<=^L[A-Z]\d{{7}})){_YEAR}(?P<j>[0-3]\d\d)(?!\d)"
    r"(?:T(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d))?"
)
# Products whose names hold several dates, the acquisition first.
_ACQUISITION_FIRST = re.compile(
    r"(?<![A-Za-z0-9])(?:L[COTEM]\d\d_|S[1235][A-D]_|SENTINEL|T\d\d[A-Z]{3}_|HLS\.|ENMAP\d\d-|PRS_L)"
)

_DIRECTIVES = {"Y": r"\d{4}", "y": r"\d{2}", "j": r"\d{3}", "f": r"\d{1,6}", "b": r"[^\W\d_]+?", "B": r"[^\W\d_]+"}
_DIRECTIVES |= dict.fromkeys("mdHMS", r"\d{1,2}")

HELP = "--date-pattern 'S2_%Y%m%d' (a regular expression with a group or tag:NAME will do too)"


def acquired(name: str, tags: Mapping[str, str], pattern: str | None = None) -> np.datetime64 | None:
    """Return the time a raster was acquired, or None where neither its tags nor its name say it.

    Without a pattern an acquisition tag comes first, then the name (Sentinel, Landsat and HLS names hold several dates:
    the first is the acquisition), then tags such as DATE and TIFFTAG_DATETIME that may hold the day of processing.

    Args:
        name: file name, with or without folder.
        tags: the dataset's tags, as text.
        pattern: a strptime pattern found anywhere in the name ("S2_%Y%m%d", "*" matches anything), a regular expression
            with a group around the date, or "tag:NAME".

    Raises:
        InputError: the pattern does not match, or name and tags can be read in more than one way.
    """
    file = re.split(r"[/\\]", name)[-1]
    stem = names.stem(file)
    if pattern is not None:
        return _numpy(_by_pattern(file, stem, tags, pattern))
    named = _in_name(stem)
    days = sorted({moment.date() for moment in named})
    tagged = _in_tags(tags, _ACQUISITION_TAGS)
    if tagged is not None:
        tag, moment = tagged
        # A day's tolerance: local time against UTC.
        if days and min(abs(day - moment.date()) for day in days) > timedelta(days=1):
            msg = (
                f"{file}: its tag {tag} says {moment.date()} but its name says {days[0]}. "
                f"Say which one counts: --date-pattern tag:{tag}, or a pattern that fits the name, such as 'S2_%Y%m%d'."
            )
            raise InputError(msg)
        return _numpy(moment)
    if len(days) > 1 and not _ACQUISITION_FIRST.search(stem):
        msg = (
            f"{file}: its name holds {len(days)} dates ({', '.join(str(day) for day in days)}) and no tag says "
            f"which is the acquisition. Say where it stands: {HELP}."
        )
        raise InputError(msg)
    if named:
        return _numpy(named[0])
    tagged = _in_tags(tags, _OTHER_TAGS)
    return None if tagged is None else _numpy(tagged[1])


def _numpy(moment: datetime) -> np.datetime64:
    return np.datetime64(moment, "ns")


def _moment(match: re.Match[str]) -> datetime | None:
    """Return the match as a time; None where it is no day of the calendar."""
    part = {key: int(value) for key, value in match.groupdict().items() if value and key != "sep"}
    clock = {"hour": part.get("H", 0), "minute": part.get("M", 0), "second": part.get("S", 0)}
    try:
        if "j" in part:
            start = datetime(part["Y"], 1, 1) + timedelta(days=part["j"] - 1)
            return start.replace(**clock) if start.year == part["Y"] else None  # type: ignore[arg-type]
        return datetime(part["Y"], part["m"], part["d"], clock["hour"], clock["minute"], clock["second"])
    except ValueError:
        return None


def _in_name(text: str) -> list[datetime]:
    """Return all dates in a text, in the order they stand there."""
    found: list[tuple[int, datetime]] = []
    for form in (*_FORMS, _ORDINAL):
        for match in form.finditer(text):
            moment = _moment(match)
            if moment is not None:
                found.append((match.start(), moment))
    return [moment for _, moment in sorted(found)]


def _parse(text: str) -> datetime | None:
    """Return a tag's text as a time in UTC without zone: ISO 8601, TIFF's YYYY:MM:DD, or any date in it."""
    cleaned = text.strip().strip("\"'")
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError:
        found = _in_name(cleaned)
        return found[0] if found else None
    if moment.tzinfo is not None:
        moment = (moment - (moment.utcoffset() or timedelta())).replace(tzinfo=None)
    return moment


def _in_tags(tags: Mapping[str, str], keys: Sequence[str]) -> tuple[str, datetime] | None:
    plain = {re.sub(r"[^a-z0-9]", "", key.lower()): key for key in tags}
    for name in keys:
        if name in plain:
            moment = _parse(str(tags[plain[name]]))
            if moment is not None:
                return plain[name], moment
    return None


def _by_pattern(file: str, stem: str, tags: Mapping[str, str], pattern: str) -> datetime:
    if pattern.startswith("tag:"):
        tag = pattern.removeprefix("tag:")
        moment = _parse(str(tags[tag])) if tag in tags else None
        if moment is None:
            what = f"reads {tags[tag]!r}, which is no date" if tag in tags else f"is not there; it has {sorted(tags)}"
            msg = f"{file}: the tag {tag} named by the date pattern {what}."
            raise InputError(msg)
        return moment
    moment = _by_strptime(stem, pattern) if "%" in pattern else _by_regex(stem, pattern)
    if moment is None:
        msg = (
            f"{file}: the date pattern {pattern!r} finds no date in this name. A pattern that fits reads like the "
            "name, with %Y, %m, %d (or %j), %H, %M, %S where the numbers stand and * for what changes."
        )
        raise InputError(msg)
    return moment


def _by_strptime(stem: str, pattern: str) -> datetime | None:
    """Search for the pattern in the stem: strptime alone would ask for the whole name."""
    expression, formats = "", []
    for piece in re.findall(r"%.|[^%]", pattern):
        if piece == "%%":
            expression += "%"
        elif piece.startswith("%"):
            if piece[1] not in _DIRECTIVES:
                msg = (
                    f"The date pattern {pattern!r} holds {piece}, which is not known here. "
                    f"Known: {' '.join('%' + letter for letter in _DIRECTIVES)}."
                )
                raise InputError(msg)
            expression += f"({_DIRECTIVES[piece[1]]})"
            formats.append(piece)
        else:
            expression += ".*?" if piece == "*" else re.escape(piece)
    if not {"%Y", "%y"} & set(formats) or not ({"%j"} & set(formats) or {"%d"} & set(formats)):
        msg = f"The date pattern {pattern!r} needs a year (%Y) and a day (%m%d or %j)."
        raise InputError(msg)
    # Two digits first: "%m%d" on 1101 is the first of November; then one, for 1.8.2023.
    match = re.search(expression.replace(r"\d{1,2}", r"\d{2}"), stem) or re.search(expression, stem)
    if match is None:
        return None
    try:
        return datetime.strptime(" ".join(match.groups()), " ".join(formats))
    except ValueError:
        return None


def _by_regex(stem: str, pattern: str) -> datetime | None:
    match = names.expression(pattern, "date", "%Y", HELP).search(stem)
    if match is None:
        return None
    group = match.groupdict().get("date") or next((text for text in match.groups() if text), "")
    found = _in_name(group)
    if not found and re.fullmatch(r"\d{7}", group):
        found = _in_name(f".{group}")
    return found[0] if found else None
