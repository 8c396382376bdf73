"""What the guides of a stack and of a spectral cube return, and what predicts a date of a stack from the other dates.

A guide is learnt from the scene, members from a window.

To add a member, write a function as `Member` is, and name it in `members.MEMBERS` and `keywords.Method`. Another guide is a module
with the four functions of `Guide`, named in `members.GUIDE`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Window(NamedTuple):
    """A window of the stack: standardised `values` (T, B, h, w), 0 where not `observed` (T, h, w)."""

    values: Tensor
    observed: Tensor


class Prediction(NamedTuple):
    """One date of a window as the other dates predict it.

    At no pixel does it know what the date itself shows there, so that it can be judged, and refined, on observed pixels.
    """

    image: Tensor
    """(B, h, w), standardised."""
    context: Tensor
    """(C, h, w), what a network may see beside the image; the same number of channels for every date."""
    trusted: Tensor
    """(h, w), the observed pixels that a fill has to meet."""
    references: tuple[int, ...]
    """The dates that it was made of, the best first."""
    completed: Tensor
    """(k, h, w), all bands of these dates with their gaps completed: what members are made of. Empty where they can say nothing."""


class Estimate(NamedTuple):
    """What a guide makes of a spectral cube."""

    image: Tensor
    """(B, h, w), the cube restored."""
    clean: Tensor
    """(B, h, w), the observation without what the guide saw as a fault, but with its noise."""
    noise: Tensor
    """(B,), its standard deviation."""
    axis: int = -2
    """Along which stripes run."""


class Member(Protocol):
    """A function that predicts one date of a window from what that alone shows."""

    def __call__(self, references: Tensor, values: Tensor, known: Tensor, where: Tensor, /) -> Tensor | None:
        """Return the `values` (B, h, w), predicted `where` (h, w) is True; None where too little is known.

        Of the values only those `known` (h, w) may be used, and all of the `references` (k, h, w), see `Prediction.completed`.
        """


class Guide(Protocol):
    """A module that predicts dates. What it fits is a value that can be pickled."""

    def fit(
        self, windows: Sequence[Window], seen: Sequence[Window], dates: Sequence[int], days: Sequence[float], /
    ) -> Any:
        """Return what is fitted to the scene: the dates may be learnt from `seen`, references are made of all `windows`."""

    def predict(self, fitted: Any, window: Window, seen: Window, date: int, /) -> Prediction:
        """Return one date of a window."""

    def packed(self, fitted: Any, /) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what was fitted as named tensors and what JSON can hold, for a checkpoint."""

    def unpacked(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any], /) -> Any:
        """Return what was fitted from what `packed` made of it."""
