"""What the layers of quality of satellite products hold: the rules of `products.toml`, those of CF flags, and names of masks.

A `Rule` says how one product is laid out, what each of its classes or bits means, and which of them make a pixel not clear. Nothing
here reads a pixel; `codes` chooses among the rules by what a mask holds.
"""

import re
import tomllib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
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
    """How one product is laid out; `products.toml` explains what is not said here.

    Attributes:
        name: short; a mask renamed to it is read by it.
        product: in words.
        kind: whether flags are classes or bits, or the values are a probability.
        largest: of its codes; None for classes, which are listed.
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
        usual = (codes & self.never == 0) | np.isin(codes, self.listed)
        for mask in self.always:
            usual &= filled | (codes & mask != 0)
        return bool((self.possible(codes) & usual).all())


def _bits(span: str) -> int:
    """Return "3" or "8-9" as a mask of bits."""
    low, _, high = span.partition("-")
    return sum(1 << n for n in range(int(low), int(high or low) + 1))


def _flag(text: str, packed: bool, counts: bool) -> Flag:
    """Return a flag of `products.toml`."""
    where, meaning = text.split(" ", 1)
    span, _, values = where.partition("=")
    if not packed or not span:
        return Flag(meaning, (int(span or values),), None, counts)
    mask = _bits(span)
    return Flag(meaning, tuple(int(v) * (mask & -mask) for v in values.split(",") if v), mask, counts)


def _rule(name: str, entry: Mapping[str, Any]) -> Rule:
    """Return a rule of `products.toml`."""
    packed = "bits" in entry
    kind: Any = "bits" if packed else "probability" if "most" in entry else "classes"
    flags = [_flag(text, packed, key == "not_clear") for key in ("not_clear", "clear") for text in entry.get(key, ())]
    return Rule(
        name,
        entry["product"],
        tuple(entry["names"]),
        tuple(flags),
        entry["source"],
        kind,
        _bits(entry["bits"]) if packed else entry.get("most"),
        tuple(map(_bits, entry.get("always", ()))),
        _bits(entry["never"]) if "never" in entry else 0,
        tuple(entry.get("rivals", ())),
    )


_TABLE = tomllib.loads((resources.files(__package__) / "products.toml").read_text(encoding="utf-8"))
RULES = tuple(_rule(name, entry) for name, entry in _TABLE.items())
"""All that is known by name; what carries CF flags is known by `cf_rule`."""
BY_CODES = ("BQA", "Fmask", "UDM2", "CLP")
"""Names that several rules go by: the codes choose. Any other name says one rule, which the codes must not contradict."""
UDM2_BANDS = ("clear", "snow", "shadow", "haze_light", "haze_heavy", "cloud", "confidence", "udm1")
SEARCHED = tuple(
    "SCL QA_PIXEL pixel_qa BQA Fmask HLS_Fmask state_1km state_1km_1 l2_flags OmniCloudMask UDM2 CLM "
    "cloud_mask clouds cloud MSK_CLDPRB CLP s2cloudless cloud_probability QA60".split()
)
"""Names under which a mask is looked for, whatever their case; the first that is there is taken."""
BAD_PIXELS = "bad_pixels"
"""The coordinate by which readers of products pass on the bad pixels that a product ships: boolean, over y, x and perhaps bands."""
OWN_NAMES = ("cloud_mask", "clouds", "cloud", "mask", "filled")
PLAIN = ("scl", "qa_pixel", "pixel_qa", "fmask", "hls_fmask", *OWN_NAMES)
"""Names that nobody takes for a band's: no warning says that these layers are left out."""
_QUALITY = re.compile(r"(?<![a-z])([a-z]*masks?|qa|qc|quality|flags?|msk|probability|clouds?_prob\w*)(?![a-z])")


def rule(name: str) -> Rule:
    """Return the rule of that name."""
    return next(r for r in RULES if r.name.lower() == name.lower())


def named(name: object) -> tuple[Rule, ...]:
    """Return the rules that a mask's name stands for, the likeliest first: none where it says nothing.

    The name is a word, or a part of it between anything but letters: "scl_20m" is SCL, "SCLERA" is not.
    """
    text = str(name or "")
    if "confidence" in text.lower():
        return ()
    alias = known_name(text)
    found = next((r for r in RULES if alias in r.names), None)
    return () if found is None else (found, *map(rule, found.rivals))


def by_codes(name: object) -> bool:
    """Return True where several rules go by a mask's name, so that the codes choose."""
    return known_name(str(name or "")) in BY_CODES


def known_name(text: str) -> str | None:
    """Return the longest name of a product that a text holds as a word, or None."""
    return _longest([n for r in RULES for n in r.names if n != "HLS" or text.lower() == "hls"], text)


def kind(text: str | None) -> str | None:
    """Return the name of a mask, of a product or such as "cloud", that the name of a file or band holds as a word, or None."""
    if not text:
        return None
    found = _longest([*SEARCHED, *(n for r in RULES for n in r.names if n != "HLS")], text)
    return f"HLS {found}" if found == "Fmask" and text.startswith("HLS.") else found


def _longest(names: Sequence[str], text: str) -> str | None:
    fitting = [n for n in names if re.search(rf"(?<![A-Za-z]){re.escape(n)}(?![A-Za-z])", text, flags=re.IGNORECASE)]
    return max(fitting, key=len, default=None)


def is_searched(name: object) -> bool:
    """Return True for a name under which a mask is looked for."""
    return str(name).lower() in {known.lower() for known in SEARCHED}


def masks_among(names: Iterable[Hashable]) -> list[Hashable]:
    """Return the names among some under which a mask is looked for, the first to be taken first."""
    lower = {str(name).lower(): name for name in names}
    return [lower[known.lower()] for known in SEARCHED if known.lower() in lower]


def is_quality(name: object, attrs: Mapping[Any, Any] | None = None) -> bool:
    """Return True for a layer of quality, which is no band: by its name, or because it has flags as the CF conventions put them."""
    text = str(name).lower()
    if attrs and any(key in attrs for key in ("flag_meanings", "flag_values", "flag_masks")):
        return True
    known = text in OWN_NAMES or is_searched(text) or known_name(text) is not None
    return known or _QUALITY.search(text) is not None


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
    flags = [
        Flag(text.replace("_", " "), values[i : i + 1], masks[i] if masks else None, means_not_clear(text))
        for i, text in enumerate(meanings)
    ]
    product, source = f"the flags of {name!r} itself", "CF conventions, section 3.5, flags"
    if masks:
        return Rule("CF flags", product, (), tuple(flags), source, "bits", largest=2**63 - 1, signed=True)
    return Rule("CF flags", product, (), tuple(flags), source)


def means_not_clear(meaning: str) -> bool:
    """Return True where the meaning of a flag, as the CF conventions write it, makes a pixel not clear."""
    text = meaning.lower().replace("-", "_").replace("no_data", "nodata")
    unclear = re.search(r"not_clear|unclear", text) is not None
    return bool(_NOT_CLEAR.search(text)) and (unclear or not _CLEAR.search(text))


def _integers(value: Any) -> tuple[int, ...]:
    """Return a CF attribute as integers: an array, a list, one number, or text such as "1b, 2b"."""
    if isinstance(value, str):
        return tuple(int(part) for part in re.findall(r"-?\d+", value))
    return () if value is None else tuple(int(part) for part in np.ravel(np.asarray(value)))
