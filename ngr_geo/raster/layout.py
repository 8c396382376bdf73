"""How a satellite product lays out its layer of quality: the values that such rules are written with, and the rules of CF flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Flag:
    """One thing that a product says of a pixel, where `code & mask` is one of `values`.

    Attributes:
        meaning: in words.
        values: of the class or the field; none: any but 0, as for a single bit.
        mask: the bits that are looked at; None: the whole code is a class.
        counts: True where such a pixel is not clear.
    """

    meaning: str
    values: tuple[int, ...] = ()
    mask: int | None = None
    counts: bool = False

    def found(self, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return where this is so."""
        part = codes if self.mask is None else codes & np.int64(self.mask)
        return np.isin(part, self.values) if self.values else part != 0


@dataclass(frozen=True)
class Rule:
    """How one product is laid out.

    Attributes:
        name: short; a mask renamed to it is read by it.
        product: in words.
        names: by which variables, bands and files of it are known, whatever their case.
        flags: what the codes mean.
        source: the document that says so.
        kind: whether flags are classes or bits, or the values are a probability.
        largest: of its codes; None for classes, which are listed.
        always: fields (masks) of which each code that is no fill has a bit set.
        never: bits that are never set.
        rivals: rules that go by a similar name; which of them it is, the codes have to tell.
        signed: True where bits may make a code negative.
    """

    name: str
    product: str
    names: tuple[str, ...]
    flags: tuple[Flag, ...]
    source: str
    kind: Literal["classes", "bits", "probability"] = "classes"
    largest: int | None = None
    always: tuple[int, ...] = ()
    never: int = 0
    rivals: tuple[str, ...] = ()
    signed: bool = False

    @property
    def listed(self) -> tuple[int, ...]:
        """The classes, all of them."""
        return tuple(v for flag in self.flags if flag.mask is None for v in flag.values)

    def possible(self, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which codes the product can hold at all."""
        if self.largest is None:
            return np.isin(codes, self.listed)
        return ((codes >= 0) | self.signed) & (codes <= self.largest)

    def fits(self, codes: NDArray[np.int64]) -> bool:
        """Return True where all of these codes look as the product writes them."""
        filled = (codes == 0) | (codes & 1 == 1)  # bit 0 is fill wherever `always` is used
        usual = np.ones(codes.shape, bool)
        for mask in self.always:
            usual &= filled | (codes & mask != 0)
        usual &= (codes & self.never == 0) | np.isin(codes, self.listed)
        return bool((self.possible(codes) & usual).all())


_NOT_CLEAR = re.compile(
    r"cloud|cld|cirrus|haz[ey]|shadow|no_?data|fill|missing|saturat|sat_pixel|defective|hilt|bowtie|dropped|atmfail|navfail"
    r"|not_clear|unclear|unusable"
)
_CLEAR = re.compile(
    r"(^|_)(no|not|non|without|free|clear|cloudless|unlikely|none|low|topo\w*|terrain|casted)(_|$)|cloudfree|noncloud"
)


def cf_rule(name: object, attrs: Mapping[Any, Any]) -> Rule | None:
    """Return the rule that attributes `flag_meanings` with `flag_values` and `flag_masks` are, None where there are none.

    What means cloud, shadow, cirrus, haze, saturation or no data is not clear. CF conventions, section 3.5: with masks alone a flag
    is set where any of its bits is; with both, where the masked code equals the value.
    """
    meanings = str(attrs.get("flag_meanings", "")).replace(",", " ").split()
    values, masks = (_integers(attrs.get(key)) for key in ("flag_values", "flag_masks"))
    if not meanings or not (values or masks) or any(len(n) != len(meanings) for n in (values, masks) if n):
        return None
    flags = tuple(
        Flag(
            meaning.replace("_", " "),
            (values[i],) if values else (),
            masks[i] if masks else None,
            means_not_clear(meaning),
        )
        for i, meaning in enumerate(meanings)
    )
    bits = bool(masks)
    return Rule(
        "CF flags",
        f"the flags of {name!r} itself",
        (),
        flags,
        "CF conventions, section 3.5, flags",
        "bits" if bits else "classes",
        largest=2**63 - 1 if bits else None,
        signed=bits,
    )


def means_not_clear(meaning: str) -> bool:
    """Return True where the meaning of a flag, as the CF conventions write it, makes a pixel not clear."""
    text = meaning.lower().replace("-", "_").replace("no_data", "nodata")
    unclear = re.search(r"not_clear|unclear", text) is not None
    return bool(_NOT_CLEAR.search(text)) and (unclear or not _CLEAR.search(text))


def _integers(value: Any) -> tuple[int, ...]:
    """Return a CF attribute as integers: an array, a list, one number, or text such as "1b, 2b"."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(int(part) for part in re.findall(r"-?\d+", value))
    return tuple(int(part) for part in np.ravel(np.asarray(value)))
