"""Words of a lazy result's record as small integers with their meanings, after the CF conventions: all formats hold these alike.

A value is the sum of the `flag_masks` of its words, 0 where there is none, so that "guide+ngr" (some tiles each) is 1 + 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS = ("auto", "ngr", "guide", "paper")
"""What a verb can be asked for."""
KEPT = ("guide", "ngr", "paper")
"""What it can have kept."""
KINDS = ("gaussian", "mixed", "stripes", "gaps")
"""Faults that were found: `methods.spectral.Kind`."""


def encode(words: Iterable[str], meanings: Sequence[str]) -> NDArray[np.int8]:
    """Return texts such as "guide" or "guide+ngr" as numbers; "none" and "" are 0."""
    bits = {"": 0, "none": 0} | {word: 1 << i for i, word in enumerate(meanings)}
    return np.array([sum({bits[part] for part in str(text).split("+")}) for text in words], np.int8)


def attributes(meanings: Sequence[str], about: str) -> dict[str, Any]:
    """Return the attributes that say what the numbers mean."""
    return {
        "long_name": about,
        "flag_masks": np.array([1 << i for i in range(len(meanings))], np.int8),
        "flag_meanings": " ".join(meanings),
    }


def decode(values: Any, attrs: Mapping[Any, Any]) -> list[str]:
    """Return numbers as the texts that they stand for, by their attributes; "none" for 0. Texts come back as they are."""
    flat = np.ravel(values)
    if flat.dtype.kind not in "iuf":
        return [str(value) for value in flat]
    words = str(attrs.get("flag_meanings", "")).split()
    masks = np.ravel(attrs.get("flag_masks", [])).astype(int).tolist()
    named = list(zip(masks, words, strict=False))
    whole = np.nan_to_num(flat).astype(int).tolist()
    return ["+".join(word for mask, word in named if value & mask) or "none" for value in whole]
