"""How a mask's values become booleans, by a rule's flags, by chosen classes or bits, or from a probability on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MaskError
from .counting import MOST_CODES, SCALES, Found
from .layout import Flag, Rule


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
    """

    rule: str
    flags: tuple[Flag, ...] = ()
    fill: tuple[int, ...] = ()
    at_least: float | None = None
    record: dict[str, Any] = field(default_factory=dict)
    own: bool = False

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


def share(found: Found, reading: Reading) -> NDArray[np.float64]:
    """Return the share of each date (time,) that a reading calls not clear."""
    if found.whole:
        bad = found.counts[:, reading.not_clear(found.codes)].sum(axis=1)
    else:
        assert reading.at_least is not None
        bad = found.above[:, SCALES.index(reading.record["scale"])]
    return np.asarray((bad + found.lost) / max(found.pixels, 1), dtype=np.float64)


def read_by(rule: Rule, chosen: Sequence[int], dtype: np.dtype[Any], fill: tuple[int, ...] = ()) -> Reading:
    """Return the reading of a rule, of its own flags or of chosen classes or bits.

    Raises:
        MaskError: a bit that the mask cannot have; a rule of which nothing counts.
    """
    if not chosen:
        flags = tuple(flag for flag in rule.flags if flag.counts)
        if not flags:
            meanings = ", ".join(flag.meaning for flag in rule.flags)
            msg = f"Found {rule.product}, of which nothing says that a pixel is not clear: {meanings}. Choose what counts:"
            raise MaskError(msg, call="classes=[...].", option="--classes N,...")
    elif rule.kind == "bits":
        width = 64 if dtype.kind == "f" else 8 * dtype.itemsize
        for number in chosen:
            if number >= width:
                raise _no_bit(rule, int(number), width)
        whole = tuple(flag for flag in rule.flags if flag.mask is None and flag.counts)
        flags = (*whole, *(Flag(f"bit {n}", (), -(2**63) if n == 63 else 1 << int(n)) for n in chosen))
    else:
        flags = flags_of(chosen)
    return Reading(rule.name, flags, fill, record=described(flags))


def flags_of(chosen: Iterable[int]) -> tuple[Flag, ...]:
    """Return flags of these classes."""
    return tuple(Flag(f"class {c}", (int(c),)) for c in chosen)


def _no_bit(rule: Rule, number: int, width: int) -> MaskError:
    bits = [n for n in range(64) if number >> n & 1]
    msg = (
        f"Found the class {number} for {rule.name} ({rule.product}), where bits from 0 to {width - 1} are chosen and not values; "
        f"the value {number} has the bits {', '.join(map(str, bits))}."
    )
    return MaskError(
        msg,
        call=f"Choose among them: classes={bits}.",
        option=f"Choose among them: --classes {','.join(map(str, bits))}.",
    )


def bits_of(flags: Iterable[Flag]) -> Iterable[int]:
    """Return the numbers of all bits that flags look at."""
    for flag in flags:
        if flag.mask is not None:
            yield from (n for n in range(64) if flag.mask >> n & 1)


def described(flags: Sequence[Flag]) -> dict[str, Any]:
    """Return which classes, bits and fields of several bits count."""
    classes: list[int] = []
    bits: list[int] = []
    fields: dict[str, list[int]] = {}
    for flag in flags:
        here = list(bits_of([flag]))
        if flag.mask is None:
            classes += flag.values
        elif len(here) == 1 and flag.values in ((), (flag.mask,)):
            bits += here
        else:
            place = f"{here[0]}-{here[-1]}" if len(here) > 1 else str(here[0])
            fields.setdefault(place, []).extend(v >> here[0] for v in flag.values)
    return {k: v for k, v in (("classes", classes), ("bits", bits), ("fields", fields)) if v}


def never_seen(reading: Reading, chosen: Collection[int], found: Found) -> list[int]:
    """Return the chosen classes, or bits, that do not occur in a mask."""
    by_number = {n: flag for flag in reading.flags for n in (flag.values if flag.mask is None else bits_of([flag]))}
    return [int(c) for c in chosen if int(c) in by_number and not by_number[int(c)].found(found.codes).any()]
