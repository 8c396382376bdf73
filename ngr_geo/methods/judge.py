"""Which member is kept: errors of several members at the same hidden pixels, compared block by block.

Errors of neighbouring pixels are alike, so the unit of evidence is a block: a hidden blob, or what of it lies in one cell. Two
members are compared on the same blocks (a paired test), bands by the mean of their gains in dB; the jackknife over blocks gives
the standard error of the gain. Only pixels count that neither stopped a network nor were shown to it: at pixels that it was shown,
its gain over the guide came out 1 to 2 dB too large (Romanian and Slovenian crops of 60 to 128 pixels), on the set that stopped it
.15 dB.

Tie rule. The gain is drawn towards `USUAL` dB, the more the less sure it is, and the refined member is kept where what results is
above 0. So it wins a tie: what is judged is one network on its guide, what is made is the mean of two, which was .1 dB better on
these crops. Without any block nothing speaks for it, and the guide is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

CELL = 32
"""Side in pixels of the cells that wide blobs are cut by: errors further apart say more than one."""
USUAL, DEVIATION = 0.1, 0.4
"""Mean and standard deviation, in dB, of the gain of NGR over its guide before anything is measured."""
UNSURE = 1.0
"""Standard error in dB of a gain that was measured on one block."""


class Table(NamedTuple):
    """Sums of squared errors (M, K, B) of M members on K blocks and B bands, and how many pixels were hidden (K, B)."""

    squares: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many blocks each band (B,) was hidden in."""
        return np.count_nonzero(self.counts, axis=0)

    def rmse(self) -> NDArray[np.float64]:
        """Return the RMSE of each member and band (M, B), NaN where nothing was hidden."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = np.sqrt(self.squares.sum(1) / self.counts.sum(0))
        return found


def tabulated(errors: Sequence[Tensor], hidden: Tensor) -> Table:
    """Return the table of members' errors, each (B, h, w), at the `hidden` pixels, (h, w) or for each band (B, h, w)."""
    place = hidden if hidden.ndim == 2 else hidden.any(0)
    height, width = place.shape
    errors, hidden, place = [error.cpu() for error in errors], hidden.cpu(), place.cpu()
    blob = ndimage.label(place.numpy())[0]
    cell = (np.arange(height) // CELL)[:, None] * (width // CELL + 1) + np.arange(width) // CELL
    _, label = np.unique((blob * (cell.max() + 1) + cell)[place.numpy()], return_inverse=True)
    count = int(label.max()) + 1 if label.size else 0

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([np.bincount(label, weights=band, minlength=count) for band in values], axis=1)

    bands = len(errors[0])
    use = hidden.expand(bands, height, width)[:, place].double().numpy()
    squares = [sums(error[:, place].double().square().numpy() * use) for error in errors]
    return Table(np.stack(squares), sums(use))


def joined(tables: Sequence[Table]) -> Table:
    """Return the blocks of several tables of the same members in one."""
    return Table(np.concatenate([t.squares for t in tables], axis=1), np.concatenate([t.counts for t in tables]))


def gain(table: Table, first: int = 0, second: int = 1) -> tuple[float, float]:
    """Return by how many dB the second member is better than the first, mean of bands, and the standard error, or NaN."""
    some = table.counts.sum(0) > 0
    used = table.counts[:, some].any(1)
    squares = table.squares[:, used][:, :, some][[first, second]]
    count = squares.shape[1]
    if not count:
        return float("nan"), float("nan")
    total = squares.sum(1)
    found = float(_decibel(*total))
    if count == 1:
        return found, UNSURE
    without = _decibel(*(total[:, None] - squares))
    return found, float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))


def keeps(table: Table, usual: float = USUAL) -> bool:
    """Return whether the second member is kept and not the first: see the tie rule above; `usual` dB wins ties for it."""
    found, error = gain(table)
    if not np.isfinite(found):
        return False
    weights = 1 / max(error, 1e-6) ** 2, 1 / DEVIATION**2
    return (weights[0] * found + weights[1] * usual) / sum(weights) > 0


def _decibel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over bands (the last axis) of ten times the logarithm of first by second."""
    floor = 1e-12
    ratio = np.log10((np.maximum(first, 0) + floor) / (np.maximum(second, 0) + floor))
    mean: NDArray[np.float64] = 10 * ratio.mean(-1)
    return mean
