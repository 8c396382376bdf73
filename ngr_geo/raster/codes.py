"""Which rule of `products` a mask is read by.

A mask is never read blindly: `counting` has counted all of its values before a rule is chosen here. What fits no rule, or several
that disagree, is an error that shows what was found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MaskError
from . import products
from .counting import MOST_CODES, SCALES, Found, listed, thresholds
from .layout import Flag, Rule, cf_rule

MOST_PIXELS = 10_000
"""A mask is grown by so many pixels at most."""

STRAY = 1e-3
"""Share of a mask that codes may have which its product does not know."""


@dataclass(frozen=True)
class Reading:
    """How a mask's values become booleans.

    Attributes:
        rule: its name.
        product: in words.
        flags: which make a pixel not clear.
        fill: values that stand for no data, beside these.
        at_least: the value from which on it is not clear, for a probability; None for codes.
        record: which classes, bits or probability that is, as JSON can hold it.
        own: True for a mask of no product, as a user makes it.
    """

    rule: str
    product: str
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
        result = lost | np.isin(codes, self.fill) if self.fill else lost
        for flag in self.flags:
            result = result | flag.found(codes)
        return result


def share(found: Found, reading: Reading) -> NDArray[np.float64]:
    """Return the share of each date (time,) that a reading calls not clear."""
    if found.whole:
        bad = found.counts[:, reading.not_clear(found.codes)].sum(axis=1)
    else:
        assert reading.at_least is not None
        bad = found.above[:, SCALES.index(reading.record["scale"])]
    return np.asarray((bad + found.lost) / max(found.pixels, 1), dtype=np.float64)


def check(classes: Any, dilate: Any, probability: Any) -> None:
    """Raise where what a user says of a mask is not what it can be."""
    if (
        not isinstance(probability, int | float | np.number)
        or isinstance(probability, bool)
        or not 0 < probability <= 1
    ):
        msg = f"Found the probability {probability!r}, expected more than 0 and at most 1:"
        raise InputError(msg, call="probability=0.5.", option="--probability 0.5.")
    if dilate is not None and (not _is_whole(dilate) or not 0 <= dilate <= MOST_PIXELS):
        msg = f"Found dilation by {dilate!r} pixels, expected a whole number from 0 to {MOST_PIXELS}:"
        raise MaskError(msg, call="dilate=3, for example.", option="--dilate 3, for example.")
    if classes is None:
        return
    several = list(classes) if np.iterable(classes) and not isinstance(classes, str) else None
    if not several or not all(_is_whole(code) and 0 <= code < 2**63 for code in several):
        msg = f"Found the classes {classes!r}, expected whole numbers from 0 on, one at least:"
        raise MaskError(msg, call="classes=[3, 8, 9], for example.", option="--classes 3,8,9, for example.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def choose(
    name: object,
    attrs: Any,
    found: Found,
    classes: Collection[int] | None,
    probability: float,
    nodata: float | None = None,
) -> Reading:
    """Return how a mask is read.

    Args:
        name: of the mask: of its product.
        attrs: its attributes, among which may be CF flags.
        found: what it holds.
        classes: the codes, or bits, that count in place of those of the rule; None or empty: those of the rule.
        probability: from which on a pixel is not clear, where the mask holds probabilities.
        nodata: what the mask declares as its own nodata: not clear, unless it is a code of the product.

    Raises:
        MaskError: values that fit no rule, several, or another than the name says.
    """
    check(classes, None, probability)
    chosen = tuple(classes or ())
    if any(int(c) != c or c < 0 for c in chosen):
        msg = f"Found classes={list(chosen)}, expected whole numbers from 0:"
        raise MaskError(msg, call="classes=[3, 8, 9, 10].", option="--classes 3,8,9,10.")
    rules = products.named(name)
    if not rules and (flags := cf_rule(name, attrs)) is not None:
        rules = (flags,)
    if not rules:
        return _without_rule(name, found, chosen, nodata)
    if rules[0].kind == "probability":
        return _probability(name, rules[0], found, chosen, probability)
    if not found.whole:
        msg = (
            f"Found {_called(name)} with values that are no whole numbers, from {found.low:g} to {found.high:g}, expected the "
            f"codes of {rules[0].product}: they may have been resampled, which only the nearest neighbour leaves whole."
        )
        raise MaskError(
            msg,
            call="If they are probabilities: mask.rename('cloud_probability').",
            option="If they are probabilities: --mask-rule cloud_probability.",
        )
    if stray := _stray(rules, found, nodata):
        left = ~np.isin(found.codes, stray)
        found = found._replace(codes=found.codes[left], counts=found.counts[:, left])
    picked, fill = _picked(name, rules, found, bool(chosen), nodata)
    reading = read_by(picked, chosen, found.dtype, (*fill, *stray))
    return replace(reading, record=reading.record | {"unknown": list(stray)}) if stray else reading


def _stray(rules: Sequence[Rule], found: Found, nodata: float | None) -> tuple[int, ...]:
    """Return codes that a product of classes does not have where they are so few that they do not speak against the product.

    Real products hold some. What is meant by them is not known, so such pixels are not clear.
    """
    if len(rules) > 1 or rules[0].kind != "classes":
        return ()
    strange = ~rules[0].possible(found.codes) & (found.codes != (np.nan if nodata is None else nodata))
    few = found.counts[:, strange].sum() <= STRAY * max(found.counts.sum(), 1)
    return tuple(int(code) for code in found.codes[strange]) if few else ()


def _picked(
    name: object, rules: Sequence[Rule], found: Found, asked: bool, nodata: float | None
) -> tuple[Rule, tuple[int, ...]]:
    """Return the one rule that a mask's name and values agree on, and its declared nodata where that is none of its codes."""
    first = rules[0]
    fills = {
        r.name: (int(nodata),) if nodata is not None and not r.possible(np.array([int(nodata)], np.int64)).all() else ()
        for r in rules
    }
    codes = {r.name: found.codes[~np.isin(found.codes, fills[r.name])] for r in rules}
    fitting = [r for r in rules if r.fits(codes[r.name])]
    if products.by_codes(name):
        if fitting and _agree(fitting, found):
            return fitting[0], fills[fitting[0].name]
    elif first in fitting:
        return first, fills[first.name]
    elif asked and first.possible(codes[first.name]).all() and not fitting:
        return first, fills[first.name]  # the bits are said: nothing is guessed
    if len(rules) == 1 or (not fitting and not any(r.possible(codes[r.name]).all() for r in rules)):
        raise _impossible(name, first, codes[first.name])
    raise _contradiction(name, fitting if len(fitting) > 1 else rules, fitting, found)


def _called(name: object) -> str:
    return "a mask without a name" if name is None else f"a mask {name!r}"


def _agree(rules: Sequence[Rule], found: Found) -> bool:
    """Return True where rules call the same of the codes that occur not clear."""
    read = [read_by(r, (), found.dtype).not_clear(found.codes) for r in rules]
    return all(bool((r == read[0]).all()) for r in read)


def _impossible(name: object, rule: Rule, codes: NDArray[np.int64]) -> MaskError:
    strange = codes[~rule.possible(codes)]
    strange = strange if strange.size else codes
    msg = (
        f"Found {_called(name)} with the values {listed(strange)}, which {rule.name} ({rule.product}) does not have: expected "
        f"{_range(rule)}."
    )
    return MaskError(
        msg,
        call=f"If they mean no data: mask.rio.write_nodata({strange[-1]}); else rename the mask to the product that it is, "
        f"mask.rename('{_other(rule)}').",
        option=f"If they mean no data: rio edit-info MASK --nodata {strange[-1]}; else the product: --mask-rule {_other(rule)}.",
    )


def _range(rule: Rule) -> str:
    if rule.largest is None:
        return listed(np.array(sorted(rule.listed)), 20)
    return f"0 to {rule.largest}"


def _other(rule: Rule) -> str:
    return "cloud_mask" if rule.name == "SCL" else "SCL"


def _contradiction(name: object, rules: Sequence[Rule], fitting: Sequence[Rule], found: Found) -> MaskError:
    """Return the error for a mask whose rule cannot be told, with both readings."""
    read = [(r, float(share(found, read_by(r, (), found.dtype)).mean())) for r in rules]
    words = "; ".join(f"read as {r.name} ({r.product}) {part:.1%} of its pixels are not clear" for r, part in read)
    msg = f"Found {_called(name)} with the values {listed(found.codes)}, whose layout cannot be told: {words}."
    if fitting:
        names = [r.name for r in fitting]
        return MaskError(
            msg,
            call="Say which it is: " + " or ".join(f"mask.rename('{n}')" for n in names) + ".",
            option="Say which it is: " + " or ".join(f"--mask-rule {n}" for n in names) + ".",
        )
    bits = list(_counted_bits(read_by(rules[0], (), found.dtype).flags))
    return MaskError(
        f"{msg} No such product has these values: its confidence bits are missing.",
        call=f"Say which bits count, for example classes={bits}.",
        option=f"Say which bits count, for example --classes {','.join(map(str, bits))}.",
    )


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
        flags = (*whole, *(Flag(f"bit {n}", (), int(_signed(n))) for n in chosen))
    else:
        flags = tuple(Flag(f"class {c}", (int(c),)) for c in chosen)
    return Reading(rule.name, rule.product, flags, fill, None, _record(flags))


def _signed(bit: int) -> int:
    return -(2**63) if bit == 63 else 1 << int(bit)


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


def _counted_bits(flags: Iterable[Flag]) -> Iterable[int]:
    for flag in flags:
        if flag.mask is not None:
            yield from (n for n in range(64) if flag.mask >> n & 1)


def _record(flags: Sequence[Flag]) -> dict[str, Any]:
    """Return which classes, bits and fields of several bits count."""
    classes = [v for flag in flags if flag.mask is None for v in flag.values]
    bits: list[int] = []
    fields: dict[str, list[Any]] = {}
    for flag in flags:
        if flag.mask is None:
            continue
        here = list(_counted_bits([flag]))
        if len(here) == 1 and (not flag.values or flag.values == (flag.mask,)):
            bits.append(here[0])
        else:
            place = f"{here[0]}-{here[-1]}" if len(here) > 1 else str(here[0])
            fields[place] = [*fields.get(place, []), *(v >> here[0] for v in flag.values)]
    return {k: v for k, v in (("classes", classes), ("bits", bits), ("fields", fields)) if v}


def _probability(name: object, rule: Rule, found: Found, chosen: Sequence[int], probability: float) -> Reading:
    """Return the reading of a mask that holds probabilities: fractions, percent, or 0 to 255."""
    if chosen:
        msg = f"Found classes={list(chosen)} for {name!r}, which is a probability of cloud and has no classes: choose a threshold,"
        raise MaskError(msg, call="probability=0.5.", option="--probability 0.5 in place of --classes.")
    if not np.isnan(found.low) and not (found.low >= 0 and found.high <= (rule.largest or 100)):
        msg = (
            f"Found a probability of cloud {name!r} from {found.low:g} to {found.high:g}, expected fractions from 0 to 1 or "
            f"percent from 0 to {rule.largest}:"
        )
        raise MaskError(
            msg,
            call="bring it there, or pass booleans: mask > threshold.",
            option="bring it there, or pass a mask of 0 and 1: rio calc.",
        )
    readings = [_at_least(rule, probability, scale) for scale in _scales(name, rule, found)]
    shares = [share(found, r) for r in readings]
    if all(bool((s == shares[0]).all()) for s in shares):
        return readings[0]
    words = "; ".join(
        f"from 0 to {r.record['scale']:g}, {float(s.mean()):.1%} of its pixels are not clear"
        for r, s in zip(readings, shares, strict=True)
    )
    kinds = {1.0: "cloud_mask", 100.0: "MSK_CLDPRB", 255.0: "CLP_255"}
    names = [kinds[r.record["scale"]] for r in readings]
    msg = f"Found a probability of cloud {name!r} up to {found.high:g}, whose scale cannot be told: {words}."
    raise MaskError(
        msg,
        call="Say which it is: " + " or ".join(f"mask.rename('{n}')" for n in names) + ".",
        option="Say which it is: " + " or ".join(f"--mask-rule {n}" for n in names) + ".",
    )


def _scales(name: object, rule: Rule, found: Found) -> tuple[float, ...]:
    """Return the scales that a probability may be on."""
    known = products.known_name(str(name))
    if known == "CLP_255":
        return (255.0,)
    if not found.whole and found.high <= 1:
        return (1.0,)
    if rule.name == "CLP":
        return (255.0, 100.0) if found.high <= 100 else (255.0,)
    if found.high <= 1 and known not in ("MSK_CLDPRB", "CLDPRB", "CLD"):
        return (1.0, 100.0)
    return (100.0,)


def _at_least(rule: Rule, probability: float, scale: float) -> Reading:
    at_least = thresholds(probability)[SCALES.index(scale)]
    record = {"probability": probability, "scale": scale}
    return Reading(rule.name, rule.product, at_least=at_least, record=record)


def _without_rule(name: object, found: Found, chosen: tuple[int, ...], nodata: float | None) -> Reading:
    """Return the reading of a mask whose name says no product: 0 and 1, or chosen classes."""
    fill = () if nodata is None or nodata in (0, 1, *chosen) else (int(nodata),)
    if chosen and found.whole:
        flags = tuple(Flag(f"class {c}", (int(c),)) for c in chosen)
        return Reading("classes", "classes that were chosen", flags, fill, None, _record(flags), own=True)
    known = found.codes[~np.isin(found.codes, fill)]
    if found.whole and np.isin(known, (0, 1)).all():
        flags = (Flag("cloud", (1,)),)
        return Reading("0/1", "0 is clear, 1 is not", flags, fill, None, _record(flags), own=True)
    if not found.whole:
        msg = (
            f"Found {_called(name)} with fractions, from {found.low:g} to {found.high:g}, and a name that does not say what they "
            "are; expected booleans, 0 and 1, or the codes of a product."
        )
        raise MaskError(
            msg,
            call="If they are probabilities of cloud: mask.rename('cloud_probability') and probability=0.5; else pass booleans, "
            "mask > threshold.",
            option="If they are probabilities of cloud: --mask-rule cloud_probability --probability 0.5; else give 0 and 1.",
        )
    some = known[-1] if known.size else 1
    probable = found.low >= 0 and found.high <= 100 and known.size > 4
    names = ", ".join(f"'{n}'" for n in ("QA_PIXEL", "Fmask", "HLS", "OmniCloudMask", "cloud_probability"))
    msg = f"Found {_called(name)} with the values {listed(known)}, expected booleans, 0 and 1, or a name that says the product:"
    raise MaskError(
        msg,
        call=f"use mask.rename('SCL') (or {names}), or choose what is cloud, classes=[{some}].",
        option=f"use --mask-rule {'cloud_probability' if probable else 'SCL'} (or another product), or choose what is cloud, "
        f"--classes {some}.",
    )


def never_seen(reading: Reading, chosen: Collection[int], found: Found) -> list[int]:
    """Return the chosen classes, or bits, that do not occur in a mask."""
    by_number = {
        n: flag for flag in reading.flags for n in (flag.values if flag.mask is None else _counted_bits([flag]))
    }
    return [int(c) for c in chosen if int(c) in by_number and not by_number[int(c)].found(found.codes).any()]
