"""The Laplacian of irregular gaps, and a multigrid cycle that is about its inverse.

The unknowns are the missing pixels, and their equations

    (number of neighbours + ε) xᵢ - Σ xⱼ over the missing neighbours j = bᵢ

are those of a network of springs: one spring between missing neighbours, one from each missing pixel to each observed neighbour,
which does not move, and a weak one of strength ε from each missing pixel to 0. A coarser grid takes 2 by 2 pixels as one that
moves as a whole. The spring between two blocks is then the sum of the springs between their pixels: no gap is lost on the way
down, however thin, and no two gaps grow together. The last grid is one block, which a division solves.

Blocks that move as a whole are stiffer than the image, so that the correction from a coarse grid is too small: it is multiplied by
`OVERCORRECTION`. (Braess, Towards algebraic multigrid for elliptic problems of second order, Computing 55, 1995.)
"""

from typing import NamedTuple

import torch
from torch import Tensor

DAMPING = 0.85
"""Of the Jacobi sweep before and after each coarse correction. One of each took less time than two, or than W cycles."""
OVERCORRECTION = 1.5
"""1.3 and 1.8 took up to two steps more under real cloud masks that hide 15 to 90 % of 256 by 256 pixels."""


class Level(NamedTuple):
    """The equations of one grid, each (..., h, w) less one where it lies between pixels; they broadcast over bands."""

    across: Tensor
    """Strength of the springs between columns, (..., h, w - 1)."""
    down: Tensor
    """Strength of the springs between rows, (..., h - 1, w)."""
    fixed: Tensor
    """Strength of the springs to what does not move, (..., h, w); 0 where nothing is unknown."""
    diagonal: Tensor
    """The sum of all springs of a pixel, (..., h, w); 0 where nothing is unknown."""
    inverse: Tensor
    """1 / diagonal; 0 where nothing is unknown."""

    def apply(self, image: Tensor) -> Tensor:
        """Return the left-hand sides of the equations, for an image (..., h, w) of the unknowns.

        From differences: in float32 those of a wide gap would be lost in the sum of a pixel's own spring forces.
        """
        total = image * self.fixed
        across = (image[..., 1:] - image[..., :-1]).mul_(self.across)
        total[..., 1:] += across
        total[..., :-1] -= across
        down = (image[..., 1:, :] - image[..., :-1, :]).mul_(self.down)
        total[..., 1:, :] += down
        total[..., :-1, :] -= down
        return total

    def residual(self, image: Tensor, rhs: Tensor) -> Tensor:
        """Return the right-hand sides less the left-hand sides."""
        return self._add_neighbours(rhs.addcmul(image, self.diagonal, value=-1), image)

    def smooth(self, image: Tensor, rhs: Tensor) -> Tensor:
        """Return the image after one damped Jacobi sweep; the right-hand sides are used up."""
        swept = self._add_neighbours(rhs, image).mul_(self.inverse)
        return swept.lerp_(image, 1 - DAMPING)

    def _add_neighbours(self, total: Tensor, image: Tensor) -> Tensor:
        """Return `total`, to which the pull of each pixel's four neighbours was added in place."""
        total[..., 1:].addcmul_(image[..., :-1], self.across)
        total[..., :-1].addcmul_(image[..., 1:], self.across)
        total[..., 1:, :].addcmul_(image[..., :-1, :], self.down)
        total[..., :-1, :].addcmul_(image[..., 1:, :], self.down)
        return total


def levels_of(missing: Tensor, tether: float, dtype: torch.dtype) -> tuple[Level, ...]:
    """Return the equations of the missing pixels (..., h, w), boolean, and those of all coarser grids; ε is the tether."""
    free = missing.to(dtype)
    across, down = free[..., 1:] * free[..., :-1], free[..., 1:, :] * free[..., :-1, :]
    fixed = (neighbours(1 - free) + tether) * free
    levels = [_level(across, down, fixed)]
    while max(fixed.shape[-2:]) > 1:
        across, down = _paired_rows(across[..., 1::2]), _paired_columns(down[..., 1::2, :])
        fixed = coarsened(fixed)
        levels.append(_level(across, down, fixed))
    return tuple(levels)


def cycle(levels: tuple[Level, ...], rhs: Tensor) -> Tensor:
    """Return about the solution of the first level's equations; symmetric and positive in `rhs`, (..., h, w)."""
    level, *coarser = levels
    image = rhs * level.inverse
    if not coarser:
        return image
    image *= DAMPING
    left = level.residual(image, rhs)
    correction = cycle(tuple(coarser), coarsened(left))
    rows = torch.stack([correction, correction], -1).flatten(-2)[..., : image.shape[-1]]
    image[..., ::2, :].add_(rows, alpha=OVERCORRECTION)
    image[..., 1::2, :].add_(rows[..., : image.shape[-2] // 2, :], alpha=OVERCORRECTION)
    return level.smooth(image, left.copy_(rhs))


def neighbours(image: Tensor) -> Tensor:
    """Return the sum of each pixel's four neighbours in images (..., h, w); beyond the edge is 0."""
    total = torch.zeros_like(image)
    total[..., 1:] += image[..., :-1]
    total[..., :-1] += image[..., 1:]
    total[..., 1:, :] += image[..., :-1, :]
    total[..., :-1, :] += image[..., 1:, :]
    return total


def coarsened(image: Tensor) -> Tensor:
    """Return the sums over blocks of 2 by 2 pixels, (..., ⌈h/2⌉, ⌈w/2⌉)."""
    return _paired_columns(_paired_rows(image))


def _paired_rows(image: Tensor) -> Tensor:
    """Return the sums of two rows each; the last stays alone where their number is odd."""
    total = image[..., ::2, :].clone()
    total[..., : image.shape[-2] // 2, :] += image[..., 1::2, :]
    return total


def _paired_columns(image: Tensor) -> Tensor:
    """Return the sums of two columns each; the last stays alone where their number is odd."""
    total = image[..., ::2].clone()
    total[..., : image.shape[-1] // 2] += image[..., 1::2]
    return total


def _level(across: Tensor, down: Tensor, fixed: Tensor) -> Level:
    diagonal = fixed.clone()
    diagonal[..., 1:] += across
    diagonal[..., :-1] += across
    diagonal[..., 1:, :] += down
    diagonal[..., :-1, :] += down
    inverse = torch.where(diagonal > 0, 1 / diagonal.clamp(min=torch.finfo(diagonal.dtype).tiny), 0)
    return Level(across, down, fixed, diagonal, inverse)
