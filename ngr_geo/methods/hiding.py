"""Hidden pixels: observed ones kept from the solver on purpose. One set says when to stop, a disjoint one decides what is kept.

They are drawn in blobs as thick as the gaps to be filled, since a pixel amid clear ones is easier than one in a cloud.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

SHARE = 0.06
"""Share of the observed pixels in each of the two sets. 6 % of a date of 100x100 pixels are a few whole blobs."""
PLACES = 16
"""Random places that gaps are moved to, of which the best is taken."""
STAY = 0.3
"""Share of the observed pixels that moved gaps leave, at least."""


def draw(
    observed: Mask, width: float, seed: int | np.random.SeedSequence, share: float = SHARE, widest: float = 1 / 16
) -> tuple[Mask, Mask]:
    """Return two disjoint sets of hidden pixels (h, w), each about `share` of the observed ones.

    The peaks of a smooth random field make the first, its pits the second, so both have blobs of the given `width`.

    Args:
        observed: (h, w), True where a pixel can be hidden.
        width: of the blobs in pixels, as `guides.hidden.thickness` measures it; at most `widest` of the window is used.
        seed: the same seed draws the same pixels.
        share: of the observed pixels, 0 to 0.5.
        widest: as a share of the window.
    """
    none = np.zeros_like(observed)
    if not observed.any() or share <= 0:
        return none, none.copy()
    # The highest 6 % of a field are about 0.9 sigma thick.
    sigma = float(np.clip(width, 1.0, max(1.0, max(observed.shape) * widest)))
    noise = np.random.default_rng(seed).standard_normal(observed.shape)
    field = ndimage.gaussian_filter(noise, sigma, mode="reflect")
    low, high = np.quantile(field[observed], [share, 1 - share])
    return observed & (field > high), observed & (field < low)


def moved(gaps: Mask, observed: Mask, seed: int | np.random.SeedSequence) -> Mask:
    """Return gaps (h, w) of one place moved to where they hide observed pixels of another (H, W), turned over at random.

    Of some random places the one where most observed pixels lie deepest in the moved gaps, and enough of them stay; all False where
    there is none. What is learnt at pixels hidden like that is learnt in gaps of the same shapes and depths.
    """
    random = np.random.default_rng(seed)
    height, width = observed.shape
    flipped = gaps[:: int(random.choice([-1, 1])), :: int(random.choice([-1, 1]))]
    placed = np.zeros_like(observed)
    rows, columns = min(height, gaps.shape[0]), min(width, gaps.shape[1])
    placed[:rows, :columns] = flipped[:rows, :columns]
    depth = ndimage.distance_transform_edt(np.pad(placed, 1))[1:-1, 1:-1]
    best, most = np.zeros_like(observed), 0.0
    for _ in range(PLACES):
        shift = int(random.integers(height)), int(random.integers(width))
        there = np.roll(placed, shift, (0, 1))
        gain = float(np.roll(depth, shift, (0, 1))[there & observed].sum())
        if gain > most and (observed & ~there).sum() > STAY * observed.sum():
            best, most = there, gain
    return best
