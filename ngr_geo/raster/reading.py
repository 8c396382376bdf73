"""What values a mask holds, counted block by block, and how they become booleans: by flags, or from a probability on."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from ..errors import MaskError
from ..tiling import scheduling
from .products import Flag, Rule

SCALES = (1.0, 100.0, 255.0)
"""What a probability of one is written as."""
MOST_CODES = 2**16
"""Different values that a mask may hold: those of 16 bits."""
_WHOLE = 2.0**53  # beyond it not every whole number is a float


class Found(NamedTuple):
    """What a mask (time, y, x) holds.

    Attributes:
        codes: all its values (n,), sorted; empty where they are no whole numbers.
        counts: how often each occurs (time, n).
        lost: how many are NaN (time,).
        above: how many are at least the probability, written on each of `SCALES` (time, 3).
        low, high: the least and the greatest, NaN where there is none.
        whole: True where all are whole numbers.
        pixels: of one date.
        dtype: of the mask.
    """

    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    lost: NDArray[np.int64]
    above: NDArray[np.int64]
    low: float
    high: float
    whole: bool
    pixels: int
    dtype: np.dtype[Any]


def in_memory(data: Any) -> NDArray[Any]:
    """Return a small array, computed where it is Dask."""
    if not isinstance(data, da.Array):
        return np.asarray(data)
    (found,) = scheduling.compute([data.rechunk(-1).to_delayed().item()])
    return np.asarray(found)


def shares(data: Any) -> NDArray[np.float64]:
    """Return the share of each date (time,) of a boolean mask (time, y, x), NumPy or Dask, that is True."""
    return np.asarray(in_memory(data.sum((1, 2), dtype=np.int64)) / max(int(np.prod(data.shape[1:])), 1))


def look(data: Any, probability: float) -> Found:
    """Return what a mask (time, y, x), NumPy or Dask, holds; block by block, so that it need not fit into memory."""
    firsts, found = [0], [_counted(data, probability)] if isinstance(data, np.ndarray) else []
    if not found:
        lazy, starts = data.to_delayed(), np.cumsum([0, *data.chunks[0]]).tolist()
        firsts = [starts[time] for time, *_ in np.ndindex(lazy.shape)]
        found = list(scheduling.compute([dask.delayed(_counted)(block, probability) for block in lazy.ravel()]))
    dates = [(first + i, part) for first, parts in zip(firsts, found, strict=True) for i, part in enumerate(parts)]
    return _merged(dates, data.shape, data.dtype)


def _counted(block: NDArray[Any], probability: float) -> list[Found]:
    """Return what each date of a block (time, y, x) holds."""
    return [_counted_date(date.ravel(), thresholds(probability)) for date in block]


def _counted_date(values: NDArray[Any], limits: Sequence[float]) -> Found:
    known = values[~np.isnan(values)].astype(np.float64) if values.dtype.kind == "f" else values
    low, high = (float(known.min()), float(known.max())) if known.size else (np.nan, np.nan)
    whole = values.dtype.kind != "f" or bool((np.abs(known) < _WHOLE).all() and (known == np.floor(known)).all())
    codes = counts = np.zeros(0, np.int64)
    if whole and values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        many = np.bincount(known)
        codes, counts = np.flatnonzero(many), many[many > 0]
    elif whole:
        codes, counts = np.unique(known.astype(np.int64), return_counts=True)
    _check_many(codes)
    above = np.array([counts[codes >= at].sum() if whole else (known >= at).sum() for at in limits], np.int64)
    lost = np.array(values.size - known.size)
    return Found(codes, counts, lost, above, low, high, whole, values.size, values.dtype)


def thresholds(probability: float) -> tuple[float, ...]:
    """Return a probability as it is written on each of `SCALES`."""
    return tuple(round(probability * scale, 9) for scale in SCALES)


def _check_many(codes: NDArray[np.int64]) -> None:
    if codes.size > MOST_CODES:
        msg = (
            f"Found a mask with more than {MOST_CODES} different values, from {codes[0]} to {codes[-1]}, expected booleans or "
            "the classes or bits of a product: this is no mask."
        )
        raise MaskError(msg, call="Pass the layer that says what is cloud.", option="Give the right one with --clouds.")


def _merged(dates: Sequence[tuple[int, Found]], shape: Sequence[int], dtype: np.dtype[Any]) -> Found:
    """Return what a whole mask holds, from parts of its dates."""
    whole = all(part.whole for _, part in dates)
    codes = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.codes for _, part in dates)]))
    _check_many(codes)
    codes = codes if whole else codes[:0]
    counts, lost = np.zeros((shape[0], codes.size), np.int64), np.zeros(shape[0], np.int64)
    above = np.zeros((shape[0], len(SCALES)), np.int64)
    for date, part in dates:
        if whole:
            counts[date, np.searchsorted(codes, part.codes)] += part.counts
        lost[date] += part.lost
        above[date] += part.above
    low = min((part.low for _, part in dates if not np.isnan(part.low)), default=np.nan)
    high = max((part.high for _, part in dates if not np.isnan(part.high)), default=np.nan)
    return Found(codes, counts, lost, above, low, high, whole, int(np.prod(shape[1:])), dtype)


@dataclass(frozen=True)
class Reading:
    """How a mask's values become booleans.

    Attributes:
        rule: its name.
        flags: which make a pixel not clear.
        fill: values that stand for no data, beside these.
        at_least: the value from which on it is not clear, for a probability; None for codes.
        record: which classes, bits or probability that is, as JSON can hold it.
        own: True for a mask of no product, as a user makes it.
        snow: which flags mean snow or ice that counts as clear: as white as haze is.
    """

    rule: str
    flags: tuple[Flag, ...] = ()
    fill: tuple[int, ...] = ()
    at_least: float | None = None
    record: dict[str, Any] = field(default_factory=dict)
    own: bool = False
    snow: tuple[Flag, ...] = ()

    def not_clear(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where values say that a pixel is not clear, or are NaN."""
        if values.dtype.kind == "b":
            return values
        if values.dtype.kind == "u" and values.dtype.itemsize <= 2 and values.size > MOST_CODES:
            table = self._decoded(np.arange(2 ** (8 * values.dtype.itemsize), dtype=np.int64))
            return table[values]
        return self._decoded(values)

    def _decoded(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        if self.at_least is not None:
            return ~(values.astype(np.float64) < self.at_least)  # NaN is not below it
        lost = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        codes = np.where(lost, 0, values).astype(np.int64)
        result = lost | np.isin(codes, self.fill)
        for flag in self.flags:
            result |= flag.found(codes)
        return result

    def is_snow(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where values say that there is snow, and that it counts as clear."""
        return Reading(self.rule, self.snow).not_clear(np.nan_to_num(values))

    def share(self, found: Found) -> NDArray[np.float64]:
        """Return the share of each date (time,) of a mask that is not clear."""
        if found.whole:
            bad = found.counts[:, self.not_clear(found.codes)].sum(axis=1)
        else:
            bad = found.above[:, SCALES.index(self.record["scale"])]
        return np.asarray((bad + found.lost) / max(found.pixels, 1), dtype=np.float64)

    def never_seen(self, chosen: Collection[int], found: Found) -> list[int]:
        """Return the chosen classes, or bits, that do not occur in a mask."""
        by_number = {n: flag for flag in self.flags for n in (flag.values if flag.mask is None else bits_of([flag]))}
        return [int(c) for c in chosen if int(c) in by_number and not by_number[int(c)].found(found.codes).any()]


def read_by(rule: Rule, chosen: Sequence[int], dtype: np.dtype[Any], fill: tuple[int, ...] = ()) -> Reading:
    """Return the reading of a rule, of its own flags or of chosen classes or bits.

    Raises:
        MaskError: a bit that the mask cannot have; a rule of which nothing counts.
    """
    flags = tuple(flag for flag in rule.flags if flag.counts)
    if not chosen and not flags:
        meanings = ", ".join(flag.meaning for flag in rule.flags)
        msg = f"Found {rule.product}, of which nothing says that a pixel is not clear: {meanings}. Choose what counts:"
        raise MaskError(msg, call="classes=[...].", option="--classes N,...")
    if chosen and rule.kind == "bits":
        width = 64 if dtype.kind == "f" else 8 * dtype.itemsize
        for number in chosen:
            if number >= width:
                raise _no_bit(rule, int(number), width)
        bits = (Flag(f"bit {n}", (), -(2**63) if n == 63 else 1 << int(n)) for n in chosen)
        flags = (*(flag for flag in flags if flag.mask is None), *bits)
    elif chosen:
        flags = flags_of(chosen)
    snow = tuple(flag for flag in rule.flags if "snow" in flag.meaning and not flag.counts)
    return Reading(rule.name, flags, fill, record=described(flags), snow=snow)


def flags_of(chosen: Iterable[int]) -> tuple[Flag, ...]:
    """Return flags of these classes."""
    return tuple(Flag(f"class {c}", (int(c),)) for c in chosen)


def _no_bit(rule: Rule, number: int, width: int) -> MaskError:
    bits = [n for n in range(64) if number >> n & 1]
    msg = (
        f"Found the class {number} for {rule.name} ({rule.product}), where bits from 0 to {width - 1} are chosen and not values; "
        f"the value {number} has the bits {', '.join(map(str, bits))}. Choose among them:"
    )
    return MaskError(msg, call=f"classes={bits}.", option=f"--classes {','.join(map(str, bits))}.")


def bits_of(flags: Iterable[Flag]) -> list[int]:
    """Return the numbers of all bits that flags look at."""
    return [n for flag in flags if flag.mask is not None for n in range(64) if flag.mask >> n & 1]


def described(flags: Sequence[Flag]) -> dict[str, Any]:
    """Return which classes, bits and fields of several bits count."""
    classes: list[int] = []
    bits: list[int] = []
    fields: dict[str, list[int]] = {}
    for flag in flags:
        here = bits_of([flag])
        if flag.mask is None:
            classes += flag.values
        elif len(here) == 1 and flag.values in ((), (flag.mask,)):
            bits += here
        else:
            place = f"{here[0]}-{here[-1]}" if len(here) > 1 else str(here[0])
            fields.setdefault(place, []).extend(v >> here[0] for v in flag.values)
    return {k: v for k, v in (("classes", classes), ("bits", bits), ("fields", fields)) if v}
