"""Bad lines: rows and columns of a band most of whose entries are far off, while those of the lines beside them are not.

Far off what? In a cube, what the other bands predict of an entry: no scene is left then. With few bands, or few pixels, what an
entry's neighbours in the line predict: a road is smooth along itself, noise is not. What a scene leaves of either kind is hardly
ever one line wide, straight along it and in more than half of it. A line that is off alike in several bands is taken for scene.
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import lines
from .covariance import moments, predictors
from .filters import median_filter

FAR = 3.0
"""Standard deviations that noise passes once in 370 values."""
BAD, USUAL = 0.5, 0.25
"""Share of far entries from which a line is bad, and the largest share that is usual beside it."""
BESIDE, SHORT = 8, 12
"""Lines on either side that a line is compared with, and entries that it needs to be judged by."""
FINE = 1e-4
"""Least size of what is off, in deviations of a band: below, it is rounding."""
LOST = 0.5
"""Share of the bands beyond which a pixel that is bad in them is so in all: too little is left to predict it from."""


def mend(cube: Tensor, observed: Tensor, inside: Tensor, by_bands: bool) -> tuple[Tensor, Tensor]:
    """Return where lines of a cube (B, h, w) are bad, (B, h, w), and the cube with what may be there.

    Args:
        cube: (B, h, w), complete where `inside`.
        observed: (B, h, w), what was measured: only that can be bad.
        inside: (h, w), the pixels that count.
        by_bands: whether bands predict each other well enough.
    """
    deviation = cube[:, inside].std(1, correction=0)

    def found(off: Tensor, where: Tensor, axes: tuple[int, ...]) -> Tensor:
        lines_of = (_bad(off, where, deviation, axis).expand_as(observed) for axis in axes)
        return torch.stack([*lines_of]).any(0) & observed

    if by_bands:
        mended, bad = cube, torch.zeros_like(observed)
        for _ in range(2):  # bad lines are not what others are predicted from
            predicted = mended - _across_bands(mended, inside)
            bad = found(cube - predicted, observed, (1, 2))
            if not bad.any():
                return bad, cube
            mended = torch.where(bad, predicted, cube)
    else:
        bad = found(*_along(cube, observed, 1), (1,)) | found(*_along(cube, observed, 2), (2,))
        mended = lines.interpolate(cube, observed & ~bad) if bad.any() else cube
    return bad | (bad.sum(0) > LOST * observed.sum(0)), mended


def _across_bands(cube: Tensor, inside: Tensor) -> Tensor:
    """Return a cube (B, h, w) less what the other bands predict of it; 0 but `inside`."""
    pixels = cube[:, inside]
    pixels -= pixels.mean(1, keepdim=True)
    off = torch.zeros_like(cube)
    off[:, inside] = predictors(moments(pixels)).to(pixels) @ pixels
    return off


def _along(cube: Tensor, seen: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return the second differences of a cube (B, h, w) along an axis, and where all they are made of is seen."""
    size = cube.shape[axis] - 2
    if size < 1:
        return torch.zeros_like(cube), torch.zeros_like(seen)
    room = (1, 1) if axis == 2 else (0, 0, 1, 1)
    whole = seen.narrow(axis, 0, size) & seen.narrow(axis, 1, size) & seen.narrow(axis, 2, size)
    return functional.pad(cube.diff(n=2, dim=axis), room), functional.pad(whole, room)


def _bad(off: Tensor, seen: Tensor, deviation: Tensor, axis: int) -> Tensor:
    """Return which lines along an axis of images (B, h, w) are bad, by what is off where it is seen; 1 wide along the axis."""
    size = torch.where(seen, off.abs(), torch.nan).flatten(1).nanmedian(1).values.nan_to_num() / 0.6745
    size = torch.maximum(size, FINE * deviation)
    count = seen.sum(axis, keepdim=True)
    far = (off.abs() > FAR * size[:, None, None]) & seen
    share = far.sum(axis, keepdim=True) / count.clamp(min=1)
    beside = median_filter(share, 2 * BESIDE + 1, axis=3 - axis)
    return (share > BAD) & (beside < USUAL) & (count >= SHORT)
