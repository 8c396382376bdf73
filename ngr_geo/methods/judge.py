"""Which member is kept, or with which weights: errors of several members at the same hidden pixels, compared block by block.

Errors of neighbouring pixels are alike, so the unit of evidence is a block: a hidden blob, or what of it lies in one cell. Two
members are compared on the same blocks (a paired test), bands by the mean of their gains in dB; the jackknife over blocks gives
the standard error of the gain. Only pixels count that neither stopped a network nor were shown to it: at pixels that it was shown,
its gain over the guide came out 1 to 2 dB too large (Romanian and Slovenian crops of 60 to 128 pixels), on the set that stopped it
.15 dB.

Of a stack of dates the members are blended, see `weights`. Of a cube the refined member is kept where its gain is `SURE` standard
errors above 0, a test with one side: where it gained less, and was kept, it had lost up to .8 dB on the whole cube. Without any
block nothing speaks for it, and the guide is kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

CELL = 32
"""Side in pixels of the cells that wide blobs are cut by: errors further apart say more than one."""
SURE = 2.0
"""Standard errors above 0 at which a gain is one."""
UNSURE = 1.0
"""Standard error in dB of a gain that was measured on one block."""
PULL = 1.0
"""How strongly weights are drawn to equal ones, by one block; with ten of them a tenth as strongly."""
LEAST = 0.05
"""Weight below which a member takes no part."""


class Table(NamedTuple):
    """Sums of products (M, M, K, B) of the errors of M members on K blocks and B bands, and how many pixels were hidden (K, B)."""

    products: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def squares(self) -> NDArray[np.float64]:
        """Sums of squared errors (M, K, B)."""
        return np.moveaxis(np.diagonal(self.products), -1, 0)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """How many blocks each band (B,) was hidden in."""
        return np.count_nonzero(self.counts, axis=0)

    def rmse(self) -> NDArray[np.float64]:
        """Return the RMSE of each member and band (M, B), NaN where nothing was hidden."""
        return np.stack([self.rmse_of(one) for one in np.eye(len(self.products))])

    def rmse_of(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the RMSE of each band (B,) of the members' mean with some weights (M,), NaN where nothing was hidden."""
        square = np.einsum("m,n,mnb->b", weights, weights, self.products.sum(2))
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = np.sqrt(np.maximum(square, 0) / self.counts.sum(0))
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
    some = [error[:, place].double().numpy() * use for error in errors]
    return Table(np.stack([np.stack([sums(one * other) for other in some]) for one in some]), sums(use))


def joined(tables: Sequence[Table]) -> Table:
    """Return the blocks of several tables of the same members in one."""
    return Table(np.concatenate([t.products for t in tables], axis=2), np.concatenate([t.counts for t in tables]))


def gain(table: Table) -> tuple[float, float]:
    """Return by how many dB the second member is better than the first, mean of bands, and the standard error, or NaN."""
    some = table.counts.sum(0) > 0
    used = table.counts[:, some].any(1)
    squares = table.squares[:2, used][:, :, some]
    count = squares.shape[1]
    if not count:
        return float("nan"), float("nan")
    total = squares.sum(1)
    found = float(_decibel(*total))
    if count == 1:
        return found, UNSURE
    without = _decibel(*(total[:, None] - squares))
    return found, float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))


def keeps(table: Table) -> bool:
    """Return whether the second member is kept and not the first: whether its gain is sure."""
    found, error = gain(table)
    return bool(np.isfinite(found) and found > SURE * error)


def weights(table: Table | None, members: int) -> NDArray[np.float64]:
    """Return the weights (M,) of the members' mean, none negative, that sum to 1.

    They minimise the mean square error on the hidden blocks, of each band in units of its best member, plus `PULL` by the number of
    blocks times the squared distance from equal weights: with no block they are equal. A member whose weight is below `LEAST` gets
    none, since each costs time.
    """
    equal = np.full(members, 1 / members)
    if table is None or not table.counts.any():
        return equal
    mean = table.products.sum(2)[..., table.counts.sum(0) > 0]  # (M, M, B)
    best = np.maximum(np.diagonal(mean).min(-1), 1e-30)
    matrix = (mean / best).mean(-1) + PULL / int(table.blocks.max()) * np.eye(members)
    right = PULL / int(table.blocks.max()) * equal
    allowed = np.ones(members, bool)
    while True:
        found = _on_simplex(matrix, right, allowed)
        if not (small := allowed & (found < LEAST)).any():
            return found
        allowed &= ~small


def _on_simplex(
    matrix: NDArray[np.float64], right: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the w (M,) ≥ 0 of sum 1, 0 where not `allowed`, that minimises  w' A w - 2 b' w: the best of all sets of members."""
    best, least = np.zeros(len(right)), np.inf
    places = np.flatnonzero(allowed)
    for bits in range(1, 1 << len(places)):
        use = places[[bool(bits >> i & 1) for i in range(len(places))]]
        system = np.block(
            [[matrix[np.ix_(use, use)], np.ones((len(use), 1))], [np.ones((1, len(use))), np.zeros((1, 1))]]
        )
        some = np.linalg.lstsq(system, np.append(right[use], 1.0), rcond=None)[0][:-1]
        loss = some @ matrix[np.ix_(use, use)] @ some - 2 * right[use] @ some
        if (some >= 0).all() and loss < least:
            best, least = np.zeros(len(right)), loss
            best[use] = some
    return best


def _decibel(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over bands (the last axis) of ten times the logarithm of first by second."""
    floor = 1e-12
    ratio = np.log10((np.maximum(first, 0) + floor) / (np.maximum(second, 0) + floor))
    mean: NDArray[np.float64] = 10 * ratio.mean(-1)
    return mean
