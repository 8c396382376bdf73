"""The record of a result as values with types: what `result.ngr.record` is.

Attributes and tags `ngr_*` hold the record in files, as JSON, and may have gone through other hands there: what is not as a verb
writes it is None or empty here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import dask
import numpy as np
import xarray as xr

from . import rows
from .errors import InputError
from .raster import cube as cubes
from .record import history, noted, notes_in, number, read_json, table_of

if TYPE_CHECKING:
    import pandas as pd

SHARES = ("missing", "filled", "unseen", "haze", "shadow", "taken_off")


@dataclass(frozen=True)
class Expected:
    """The errors expected in one band of what was filled or changed, in the raster's units; None where that is not known."""

    rmse: float | None
    bias: float | None
    psnr: float | None
    """In dB, from the range of the band."""
    likely: tuple[float, float] | None
    """The RMSE, one standard deviation of its logarithm less and more."""


@dataclass(frozen=True)
class DateRecord:
    """What was done to one date; shares are of its pixels (of values where bands differ), None where they are not recorded."""

    date: str
    method: str | None
    """What it was filled by: "guide", "ngr", "local", "kriging", "paper", "blend"; "guide+ngr": some tiles each; "none"."""
    fault: str | None
    """What a spectral verb found: "gaussian", "mixed", "stripes", "gaps"."""
    missing: float | None
    filled: float | None
    unseen: float | None
    """Seen on no date."""
    haze: float | None
    """Added to the mask as haze; `shadow` as shadow; `taken_off`: taken off it."""
    shadow: float | None
    taken_off: float | None
    chosen_by: str | None
    """Why the method was kept, in words."""
    blocks: int | None
    """Blocks of hidden pixels that members were compared on."""
    hidden_rmse: Mapping[str, float]
    """Of each member, and of their "blend", on hidden pixels: the figures of the choice, no measure of the result."""
    weights: Mapping[str, float]
    """Of the members of a blend; empty where one of them was kept."""
    expected: Mapping[str, Expected]
    """By band."""

    @property
    def expected_rmse(self) -> float | None:
        """Mean of the bands whose error is known."""
        known = [error.rmse for error in self.expected.values() if error.rmse is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Record:
    """What the attributes `ngr_*` of a result say.

    What only solving shows of a lazy result is None, and `complete` False, until the result or this record is computed.
    """

    verb: str
    version: str
    """Of ngr_geo."""
    made: datetime | None
    method: str | None
    """That was asked for; what was kept stands in `dates`."""
    tile: int | None
    """Side of a tile, pixels."""
    steps: int | None
    seed: int | None
    device: str | None
    call: Mapping[str, Any]
    """All keywords; an array is {"kind", "digest"}."""
    dates: tuple[DateRecord, ...]
    expected: Mapping[str, Expected]
    """By band, for the whole scene: its dates, weighted by what was filled."""
    noise: tuple[float, ...]
    """Standard deviation of the noise that `denoise` found, per band."""
    mask: Mapping[str, Any]
    tiles: Mapping[str, Any]
    """How many there were: "total", "solved", "unsolvable"."""
    bands_left_out: tuple[str, ...]
    inputs: tuple[str, ...]
    """Names of the files that the command line read."""
    warnings: tuple[str, ...]
    mended: tuple[Mapping[str, Any], ...]
    """The record of each step of `repair`."""
    before: tuple[Mapping[str, Any], ...]
    """Earlier verbs, each with its call."""
    complete: bool
    _raster: xr.DataArray | xr.Dataset = field(repr=False, compare=False)

    def compute(self) -> Record:
        """Return the whole record: of a lazy result that solves all tiles; of a file that is open it reads a few numbers."""
        return self if self.complete else of(self._raster, compute=True)

    def to_pandas(self, by: Literal["date", "band"] = "date") -> pd.DataFrame:
        """Return the record as a table: a row for each date, or the errors expected, a row for each date and band.

        Raises:
            InputError: `by` is something else.
        """
        import pandas as pd

        if by not in ("date", "band"):
            msg = f"Found by={by!r}, expected a row for each date, or for each date and band:"
            raise InputError(msg, call='to_pandas("date") or to_pandas("band").')
        table = {date.date: _errors(date.expected) if by == "band" else _line(date) for date in self.dates}
        if by == "date":
            return pd.DataFrame.from_dict(table, orient="index", columns=COLUMNS).rename_axis("date")
        lines = {(date, band): line for date, errors in table.items() for band, line in errors.items()}
        index = pd.MultiIndex.from_tuples(list(lines), names=["date", "band"])
        return pd.DataFrame(list(lines.values()), index, list(ERRORS), float)


WORDS = ("method", "fault", "chosen_by")
ERRORS = ("rmse", "bias", "psnr", "rmse_low", "rmse_high")
COLUMNS = (
    *("method", "fault", "missing", "filled", "expected_rmse", *SHARES[2:], "chosen_by", "blocks"),
    *(f"hidden_rmse_{name}" for name in (*rows.MEMBERS, "blend")),
    *(f"weight_{name}" for name in rows.MEMBERS),
)


def of(raster: xr.DataArray | xr.Dataset, compute: bool = False) -> Record:
    """Return the record of a result.

    Args:
        raster: what a verb returned, or what was read back of it with its attributes.
        compute: also what a lazy one holds in coordinates; else that is left out.

    Raises:
        InputError: the raster is no result.
    """
    attrs = noted(raster)
    if "ngr_verb" not in attrs:
        steps = [str(step.get("verb")) for step in history(attrs)]
        found = (
            f"a history ({', '.join(steps)}) without the record of its last verb" if steps else "no record of a verb"
        )
        msg = f"Found {found} in the attributes of this raster (ngr_verb, ngr_dates), expected the result of one:"
        raise InputError(msg, call='ds.ngr.decloud(...).ngr.record, or xr.open_dataset("clear.nc").ngr.record.')
    cube = cubes.read(raster)
    whole = cube.raster.assign_attrs(notes_in(attrs))
    columns = rows.coordinates(cubes.read(whole)).values()
    lazy = any(map(dask.is_dask_collection, [part for c in columns for part in (c if isinstance(c, list) else [c])]))
    settings = table_of(attrs.get("ngr_settings"))
    made = attrs.get("ngr_made")
    return Record(
        verb=str(attrs["ngr_verb"]),
        version=str(attrs.get("ngr_version", "")),
        made=_time(made),
        method=_word(settings.get("method")),
        tile=_whole(settings.get("tile")),
        steps=_whole(settings.get("steps")),
        seed=_whole(settings.get("seed")),
        device=_word(settings.get("device")),
        call=table_of(attrs.get("ngr_call")),
        dates=tuple(of_row(row) for row in rows.of(whole, compute)),
        expected=_expected(table_of(attrs.get("ngr_expected"))),
        noise=tuple(number(value) for value in _list(attrs.get("ngr_noise"))),
        mask=table_of(attrs.get("ngr_mask")),
        tiles=table_of(attrs.get("ngr_tiles")),
        bands_left_out=tuple(map(str, _list(attrs.get("ngr_bands_left_out")))),
        inputs=tuple(map(str, _list(attrs.get("ngr_inputs")))),
        warnings=tuple(map(str, _list(attrs.get("ngr_warnings")))),
        mended=tuple(step for step in _list(attrs.get("ngr_steps")) if isinstance(step, dict)),
        before=tuple(history(attrs)[:-1]),
        complete=compute or not lazy,
        _raster=whole,
    )


def of_row(row: Mapping[str, Any]) -> DateRecord:
    """Return one row of a record as a value with types."""
    choice = _table(row.get("choice"))
    hidden = {name: number(choice[name]) for name in (*rows.MEMBERS, "blend") if name in choice}
    weights = _table(choice.get("weights"))
    shares = {name: _some(row.get(name)) for name in SHARES}
    return DateRecord(
        date=str(row.get("date", "")),
        method=_word(row.get("method")),
        fault=_word(row.get("kind")),
        chosen_by=_word(choice.get("by")),
        blocks=_whole(choice.get("blocks")),
        hidden_rmse=hidden,
        weights={str(name): number(weight) for name, weight in weights.items()},
        expected=_expected(_table(row.get("expected"))),
        **shares,
    )


def _expected(table: Mapping[str, Any]) -> dict[str, Expected]:
    """Return the errors expected, by band."""
    rmse, bias, psnr, log_sd = (_table(table.get(name)) for name in ("rmse", "bias", "psnr", "log_sd"))
    found = {}
    for band in rmse:
        value, spread = number(rmse[band]), number(log_sd.get(band))
        likely = (value * float(np.exp(-spread)), value * float(np.exp(spread)))
        known = bool(np.isfinite(value) and np.isfinite(spread))
        found[str(band)] = Expected(
            _some(value), _some(bias.get(band)), _some(psnr.get(band)), likely if known else None
        )
    return found


def _line(date: DateRecord) -> dict[str, Any]:
    """Return a row of the table of dates."""
    line = {name: getattr(date, name) for name in ("method", "fault", "expected_rmse", *SHARES, "chosen_by", "blocks")}
    line |= {f"hidden_rmse_{name}": value for name, value in date.hidden_rmse.items()}
    line |= {f"weight_{name}": value for name, value in date.weights.items()}
    return {name: np.nan if line.get(name) is None and name not in WORDS else line.get(name) for name in COLUMNS}


def _errors(expected: Mapping[str, Expected]) -> dict[str, tuple[float | None, ...]]:
    """Return the rows of the table of bands of one date."""
    return {band: (e.rmse, e.bias, e.psnr, *(e.likely or (None, None))) for band, e in expected.items()}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(text: Any) -> list[Any]:
    found = read_json(text)
    return found if isinstance(found, list) else []


def _some(value: Any) -> float | None:
    found = number(value)
    return found if np.isfinite(found) else None


def _whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if np.isfinite(found) else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
