"""A stack with gaps and a known truth, as every method against clouds gets it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A stack of dates with a known truth, what of it is observed, and where it is scored.

    Attributes:
        name: of the case.
        stack: reflectance (T, B, y, x): blue, green, red, near infrared.
        observed: what a method may use (T, y, x).
        score: missing pixels with a known truth (T, y, x).
        days: of the dates (T,).
        targets: the dates to fill.
        group: cases with means of their own in a table.
        cleaned: the scored pixels that an independent haze test leaves (T, y, x), where the protocol has such a test.
    """

    name: str
    stack: NDArray[Any]
    observed: NDArray[np.bool_]
    score: NDArray[np.bool_]
    days: NDArray[np.float64]
    targets: tuple[int, ...]
    group: str = ""
    cleaned: NDArray[np.bool_] | None = None

    def seen(self) -> Case:
        """Return the case as a method gets it: whatever is not observed is NaN."""
        return replace(self, stack=np.where(self.observed[:, None], self.stack, np.float32(np.nan)))
