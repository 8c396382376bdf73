"""Which rule of `products` a mask is read by.

A mask is never read blindly: `reading` has counted all of its values before a rule is chosen here. What fits no rule, or several
that disagree, is an error that shows what was found.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MaskError
from ..wording import listed
from . import products
from .products import Rule
from .reading import SCALES, Found, Reading, bits_of, described, flags_of, read_by, thresholds

MOST_PIXELS = 10_000
"""A mask is grown by so many pixels at most."""
STRAY = 1e-3
"""Share of a mask that codes may have which its product does not have."""


def check(classes: Any, dilate: Any, probability: Any) -> None:
    """Raise where classes, dilation or probability are not what a mask can be read with."""
    number = isinstance(probability, int | float | np.number) and not isinstance(probability, bool)
    if not number or not 0 < probability <= 1:
        msg = f"Found the probability {probability!r}, expected more than 0 and at most 1:"
        raise InputError(msg, call="probability=0.5.", option="--probability 0.5.")
    if dilate is not None and (not _is_whole(dilate) or not 0 <= dilate <= MOST_PIXELS):
        msg = f"Found dilation by {dilate!r} pixels, expected a whole number from 0 to {MOST_PIXELS}:"
        raise MaskError(msg, call="dilate=3, for example.", option="--dilate 3, for example.")
    several = list(classes) if np.iterable(classes) and not isinstance(classes, str) else []
    if classes is not None and not (several and all(_is_whole(code) and 0 <= code < 2**63 for code in several)):
        msg = f"Found the classes {classes!r}, expected whole numbers from 0 on, one at least:"
        raise MaskError(msg, call="classes=[3, 8, 9], for example.", option="--classes 3,8,9, for example.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


class _Candidate(NamedTuple):
    """A rule that a mask may be read by, declared nodata that is none of its codes, and the mask's other codes.

    `is_possible`: the product can hold these codes at all; `fits`: they look as the product writes them.
    """

    rule: Rule
    fill: tuple[int, ...]
    codes: NDArray[np.int64]
    is_possible: bool
    fits: bool

    @classmethod
    def of(cls, rule: Rule, found: Found, nodata: float | None) -> _Candidate:
        fill = () if nodata is None or rule.possible(np.array([int(nodata)], np.int64)).all() else (int(nodata),)
        codes = found.codes[~np.isin(found.codes, fill)]
        return cls(rule, fill, codes, bool(rule.possible(codes).all()), rule.fits(codes))


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
        MaskError: values that fit no rule, several, or another than that of the name.
    """
    check(classes, None, probability)
    chosen = tuple(classes or ())
    own_flags = products.cf_rule(name, attrs)
    rules = products.named(name) or ((own_flags,) if own_flags else ())
    # Does the name, or do its attributes, stand for a product?
    if not rules:
        return _without_rule(name, found, chosen, nodata)
    # Does the product hold probabilities?
    if rules[0].kind == "probability":
        return _probability(name, rules[0], found, chosen, probability)
    # Are there codes at all?
    if not found.whole:
        raise _no_codes(name, rules[0], found)
    stray = _stray(rules, found, nodata)
    left = ~np.isin(found.codes, stray)
    found = found._replace(codes=found.codes[left], counts=found.counts[:, left])
    candidates = [_Candidate.of(rule, found, nodata) for rule in rules]
    first, fitting = candidates[0], [c for c in candidates if c.fits]
    by_codes = products.by_codes(name)
    # Do several products go by that name, and do the codes say which, or is it all the same?
    if by_codes and fitting and _agree(fitting, found):
        picked = fitting[0]
    # Do the codes agree with the one product of that name, or are they possible, bits are chosen, and it is no other product?
    elif not by_codes and (first in fitting if fitting else chosen and first.is_possible):
        picked = first
    # Can no product of that name hold these codes?
    elif len(rules) == 1 or not (fitting or any(c.is_possible for c in candidates)):
        raise _impossible(name, first)
    else:
        raise _contradiction(name, candidates, fitting, found)
    reading = read_by(picked.rule, chosen, found.dtype, (*picked.fill, *stray))
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


def _agree(candidates: Sequence[_Candidate], found: Found) -> bool:
    """Return True where rules call the same of the codes that occur not clear."""
    read = [read_by(c.rule, (), found.dtype).not_clear(found.codes) for c in candidates]
    return all(bool((r == read[0]).all()) for r in read)


def _called(name: object) -> str:
    return "a mask without a name" if name is None else f"a mask {name!r}"


def _which(msg: str, names: Sequence[str]) -> MaskError:
    """Return the error for a mask that may be several things, with the names by which each is known."""
    renamed, ruled = (" or ".join(form.format(n) for n in names) for form in ("mask.rename('{}')", "--mask-rule {}"))
    return MaskError(f"{msg} Say which it is:", call=f"{renamed}.", option=f"{ruled}.")


def _no_codes(name: object, rule: Rule, found: Found) -> MaskError:
    msg = (
        f"Found {_called(name)} with values that are no whole numbers, from {found.low:g} to {found.high:g}, expected the "
        f"codes of {rule.product}: they may have been resampled, which only the nearest neighbour leaves whole. If they are "
        "probabilities:"
    )
    return MaskError(msg, call="mask.rename('cloud_probability').", option="--mask-rule cloud_probability.")


def _impossible(name: object, read: _Candidate) -> MaskError:
    rule, strange = read.rule, read.codes[~read.rule.possible(read.codes)]
    strange = strange if strange.size else read.codes
    expected = listed(sorted(rule.listed), 20) if rule.largest is None else f"0 to {rule.largest}"
    other = "cloud_mask" if rule.name == "SCL" else "SCL"
    msg = (
        f"Found {_called(name)} with the values {listed(strange, 8)}, which {rule.name} ({rule.product}) does not have: expected "
        f"{expected}. If they mean no data:"
    )
    return MaskError(
        msg,
        call=f"mask.rio.write_nodata({strange[-1]}); else rename the mask to the product that it is, mask.rename('{other}').",
        option=f"rio edit-info MASK --nodata {strange[-1]}; else the product: --mask-rule {other}.",
    )


def _contradiction(
    name: object, candidates: Sequence[_Candidate], fitting: Sequence[_Candidate], found: Found
) -> MaskError:
    """Return the error for a mask that several rules may be meant by, with what each would make of it."""
    shown = [c.rule for c in (fitting if len(fitting) > 1 else candidates)]
    read = [read_by(rule, (), found.dtype) for rule in shown]
    words = "; ".join(
        f"read as {rule.name} ({rule.product}) {r.share(found).mean():.1%} of its pixels are not clear"
        for rule, r in zip(shown, read, strict=True)
    )
    msg = f"Found {_called(name)} with the values {listed(found.codes, 8)}, whose layout cannot be told: {words}."
    if fitting:
        return _which(msg, [c.rule.name for c in fitting])
    bits = bits_of(read[0].flags)
    msg += " No such product has these values: its confidence bits are missing. Say which bits count, for example"
    return MaskError(msg, call=f"classes={bits}.", option=f"--classes {','.join(map(str, bits))}.")


def _probability(name: object, rule: Rule, found: Found, chosen: Sequence[int], probability: float) -> Reading:
    """Return the reading of a mask that holds probabilities: fractions, percent, or 0 to 255."""
    if chosen:
        msg = f"Found classes={list(chosen)} for {name!r}, which is a probability of cloud and has no classes: choose a threshold,"
        raise MaskError(msg, call="probability=0.5.", option="--probability 0.5 in place of --classes.")
    if not np.isnan(found.low) and not (found.low >= 0 and found.high <= (rule.largest or 100)):
        msg = (
            f"Found a probability of cloud {name!r} from {found.low:g} to {found.high:g}, expected fractions from 0 to 1 or "
            f"percent from 0 to {rule.largest}: bring it there, or pass"
        )
        raise MaskError(msg, call="booleans: mask > threshold.", option="a mask of 0 and 1: rio calc.")
    limits = dict(zip(SCALES, thresholds(probability), strict=True))
    scales = _scales(name, rule, found)
    readings = [
        Reading(rule.name, at_least=limits[scale], record={"probability": probability, "scale": scale})
        for scale in scales
    ]
    shares = [reading.share(found) for reading in readings]
    if all(bool((s == shares[0]).all()) for s in shares):
        return readings[0]
    words = "; ".join(
        f"from 0 to {scale:g}, {s.mean():.1%} of its pixels are not clear"
        for scale, s in zip(scales, shares, strict=True)
    )
    msg = f"Found a probability of cloud {name!r} up to {found.high:g}, whose scale cannot be told: {words}."
    kinds = {1.0: "cloud_mask", 100.0: "MSK_CLDPRB", 255.0: "CLP_255"}
    raise _which(msg, [kinds[scale] for scale in scales])


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


def _without_rule(name: object, found: Found, chosen: tuple[int, ...], nodata: float | None) -> Reading:
    """Return the reading of a mask whose name stands for no product: 0 and 1, or chosen classes."""
    fill = () if nodata is None or nodata in (0, 1, *chosen) else (int(nodata),)
    known = found.codes[~np.isin(found.codes, fill)]
    if found.whole and (chosen or np.isin(known, (0, 1)).all()):
        flags = flags_of(chosen or (1,))
        return Reading("classes" if chosen else "0/1", flags, fill, record=described(flags), own=True)
    if not found.whole:
        msg = (
            f"Found {_called(name)} with fractions, from {found.low:g} to {found.high:g}, and a name that does not say what they "
            "are; expected booleans, 0 and 1, or the codes of a product. If they are probabilities of cloud:"
        )
        raise MaskError(
            msg,
            call="mask.rename('cloud_probability') and probability=0.5; else pass booleans, mask > threshold.",
            option="--mask-rule cloud_probability --probability 0.5; else give 0 and 1.",
        )
    some = known[-1] if known.size else 1
    other = "cloud_probability" if found.low >= 0 and found.high <= 100 and known.size > 4 else "SCL"
    msg = f"Found {_called(name)} with the values {listed(known, 8)}, expected booleans, 0 and 1, or a name that says the product:"
    raise MaskError(
        msg,
        call="use mask.rename('SCL') (or 'QA_PIXEL', 'Fmask', 'HLS', 'OmniCloudMask', 'cloud_probability'), or choose what is "
        f"cloud, classes=[{some}].",
        option=f"use --mask-rule {other} (or another product), or choose what is cloud, --classes {some}.",
    )
