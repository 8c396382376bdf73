"""Linear systems over the missing pixels only: the conjugate gradients, and the X step that holds the observed pixels.

With only the missing pixels unknown, the system of the X step is no longer diagonal under a transform. It is solved by
conjugate gradients from the image at hand. Without help they would need some hundred steps to cross a wide cloud; with the X
step of the whole image, which *is* diagonal under the transform, as preconditioner they need about a dozen.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .gradient import Boundary, Weights, column

SHIFT = 1e-3
"""μ of the preconditioner, relative to the largest weight. Without it the preconditioner lets the mean of a hole float,
which the held pixels around it do not. 1e-3 was best of 1e-6 … 1e-1 for a hole 192 pixels wide, and among the best for 48."""
TETHER = 1e-6
"""ε of `hold`: so small that it only decides what the fields leave open, the level of a channel without observed pixels."""

Operator = Callable[[Tensor], Tensor]


def conjugate_gradients(
    operator: Operator, precondition: Operator, rhs: Tensor, steps: int, dims: tuple[int, ...] = (-2, -1)
) -> Tensor:
    """Return about the x with  operator(x) = rhs,  after `steps` steps of preconditioned conjugate gradients from 0.

    Args:
        operator: symmetric and positive on the unknowns; it returns 0 elsewhere.
        precondition: about the inverse of the operator, with the same properties.
        rhs: 0 where nothing is unknown.
        steps: how many.
        dims: the axes that one system spans. Each index of the other axes is a system with its own step lengths.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=dims, keepdim=True)

    solution, residual, direction = torch.zeros_like(rhs), rhs, precondition(rhs)
    slope = dot(residual, direction)
    done = torch.finfo(rhs.dtype).eps ** 2 * slope  # a system that is solved, to rounding, stays as it is
    for _ in range(steps):
        applied = operator(direction)
        length = torch.where(slope > done, slope / dot(direction, applied), 0)
        solution = solution + length * direction
        residual = residual - length * applied
        preconditioned = precondition(residual)
        previous, slope = slope, dot(residual, preconditioned)
        direction = preconditioned + torch.where(slope > done, slope / previous, 0) * direction
    return solution


@torch.no_grad()
def hold(
    image: Tensor,
    fields: Tensor,
    observed: Tensor,
    weights: Weights,
    boundary: Boundary,
    steps: int,
    guide: Tensor,
) -> Tensor:
    """Return the image with its missing pixels made to follow the fields; the observed ones stay, bit for bit.

    Over the missing pixels of X it minimises  Σₖ wₖ/2 ‖DₖX - Fₖ‖² + ε/2 ‖X - G‖².  Where the fields are those of an image,
    this is a Poisson fill. `docs/method.md` derives it from the X step of the loop.

    Args:
        image: (..., C, H, W), finite: right where observed, the starting point elsewhere.
        fields: F, (..., 3, C, H, W).
        observed: boolean, broadcastable to the image.
        weights: w >= 0. With w₃ = 0 the channels are independent, and each has its own conjugate gradients.
        boundary: what differences do at the edge of the image.
        steps: 10 bring the equations of a hole 192 pixels wide to a relative residual of about 3e-3, 16 to 1e-3.
        guide: G, (..., C, H, W).
    """
    missing = (~observed).expand_as(image).to(image.dtype)
    basis = boundary.basis(image)
    inverse_spectrum = 1 / (SHIFT * max(weights) + TETHER + boundary.spectrum(image, weights))

    def operator(change: Tensor) -> Tensor:
        return missing * (boundary.laplacian(change, weights) + TETHER * change)

    def precondition(residual: Tensor) -> Tensor:
        return missing * basis.inverse(basis.transform(residual) * inverse_spectrum)

    target = boundary.adjoint(column(weights, fields) * fields) + TETHER * guide
    rhs = missing * (target - boundary.laplacian(image, weights) - TETHER * image)
    dims = (-3, -2, -1) if weights[2] else (-2, -1)
    change = conjugate_gradients(operator, precondition, rhs, steps, dims)
    return torch.where(observed, image, image + change)
