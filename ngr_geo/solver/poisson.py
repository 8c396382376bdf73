"""Linear systems over the missing pixels only: the conjugate gradients, and the X step that holds the observed pixels.

With only the missing pixels unknown, the system of the X step is no longer diagonal under a transform. Conjugate gradients solve
it, with a multigrid cycle (`multigrid.py`) as preconditioner: six to ten steps, whatever the width and the shape of the gaps.

The preconditioned residual of a system is about the error that its solution still has, so that is what they stop by: a
tolerance is a number in the unit of the image.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .multigrid import Level, cycle, levels_of, neighbours

TETHER = 2.0**-20
"""ε of `hold`: so small that it only decides what the fields leave open, the level of a channel without observed pixels. As a
power of two it is exact beside the springs, which are whole numbers, in float32 too."""
TOLERANCE = 2e-4
"""Of `hold`, in standard deviations. The largest true error of a pixel was at most four times as much: below 1e-3."""
MOST_STEPS = 60
"""Of `hold`. Fifteen were enough in all gaps of 256 by 256 pixels that were tried."""

Operator = Callable[[Tensor], Tensor]


def conjugate_gradients(
    operator: Operator, precondition: Operator, rhs: Tensor, tolerance: Tensor, most: int
) -> Tensor:
    """Return the x (..., h, w) with  operator(x) = rhs  by preconditioned conjugate gradients from 0.

    Each image (h, w) is a system of its own. It has its own step lengths, and stays as it is from the step on after which
    no pixel of its preconditioned residual is larger than the tolerance; so it does not depend on what it is solved with.

    Args:
        operator: symmetric and positive on the unknowns; it returns 0 elsewhere.
        precondition: about the inverse of the operator, with the same properties.
        rhs: 0 where nothing is unknown.
        tolerance: of each system, (..., 1, 1) or for all of them, ().
        most: steps at most.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vecdot(a.flatten(-2), b.flatten(-2))[..., None, None]

    def unsolved(preconditioned: Tensor) -> Tensor:
        least, largest = (f(preconditioned, (-2, -1), keepdim=True) for f in (torch.amin, torch.amax))
        return ~(torch.maximum(-least, largest) <= tolerance)  # NaN is never solved

    solution, residual, direction = torch.zeros_like(rhs), rhs.clone(), precondition(rhs)
    slope, going = dot(residual, direction), unsolved(direction)
    for _ in range(most):
        if not going.any():  # the only time that a step waits for the device
            break
        applied = operator(direction)
        length = torch.where(going, slope / dot(direction, applied), 0)
        solution.addcmul_(length, direction)
        residual.addcmul_(length, applied, value=-1)
        preconditioned = precondition(residual)
        previous, slope = slope, dot(residual, preconditioned)
        direction = direction.mul_(torch.where(going, slope / previous, 0)).add_(preconditioned)
        going &= unsolved(preconditioned)
    return solution


class Gaps(NamedTuple):
    """The missing pixels of one or more images, and their equations on all grids: made once, for any number of fills."""

    missing: Tensor
    """(..., h, w) of the dtype of the images, 1 where missing: one mask for all bands, or one for each."""
    levels: tuple[Level, ...]

    def solve(self, rhs: Tensor, unit: Tensor | float = 1.0) -> Tensor:
        """Return the x, 0 where observed, with  (DᵀD + ε) x = rhs  on the missing pixels; (..., h, w)."""
        return conjugate_gradients(
            self.levels[0].apply,
            self.about_inverse,
            rhs * self.missing,
            torch.as_tensor(unit, dtype=rhs.dtype, device=rhs.device) * TOLERANCE,
            MOST_STEPS,
        )

    def about_inverse(self, rhs: Tensor) -> Tensor:
        """Return about what `solve` returns, by one multigrid cycle: symmetric and positive, so it can precondition."""
        return cycle(self.levels, rhs).mul_(self.missing)


def gaps_of(observed: Tensor, like: Tensor, tether: float = TETHER) -> Gaps:
    """Return the gaps where images such as `like` (..., h, w) are not `observed`, which broadcasts to them.

    `tether`: ε of `hold`, a power of two.
    """
    missing = ~observed.to(like.device)
    return Gaps(missing.to(like.dtype), levels_of(missing, tether, like.dtype))


@torch.no_grad()
def hold(values: Tensor, gaps: Gaps, guide: Tensor, unit: Tensor | float = 1.0) -> Tensor:
    """Return the image that follows the gradient of a guide in the gaps, and holds the values elsewhere, bit for bit.

    Over the missing pixels of X it minimises  ½ ‖D(X - G)‖² + ε/2 ‖X - G‖²,  differences between rows and between columns: a
    Poisson fill. `docs/method.md` derives it from the X step of the loop. A pixel's error is below 1e-3 `unit`.

    Args:
        values: (..., h, w); anything finite where missing.
        gaps: of these images.
        guide: G, (..., h, w).
        unit: about the standard deviation of the values, (..., 1, 1) or one for all.
    """
    missing = gaps.missing > 0
    known = torch.where(missing, 0, values - guide)  # X - G: harmonic in the gaps
    return torch.where(missing, guide + gaps.solve(neighbours(known), unit), values)
