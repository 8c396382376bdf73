"""The X step that holds the observed pixels exactly; by itself, the integration of a gradient field (a Poisson fill).

Only the missing pixels are unknown, so the system is no longer diagonal under a transform. It is solved by conjugate
gradients from the image at hand. Without help they would need some hundred steps to cross a wide cloud; with the X step
of the whole image, which *is* diagonal under the transform, as preconditioner they need about a dozen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .gradient import Boundary, Weights, column

SHIFT = 1e-3
"""μ of the preconditioner, relative to the largest weight. Without it the preconditioner lets the mean of a hole float,
which the held rim does not. 1e-3 was best of 1e-6 … 1e-1 for a hole 192 pixels wide, and among the best for 48."""


@torch.no_grad()
def hold(
    image: Tensor,
    fields: Tensor,
    observed: Tensor,
    weights: Weights,
    boundary: Boundary,
    steps: int,
    guide: Tensor | None = None,
    tether: float = 1e-6,
) -> Tensor:
    """Return the image with its missing pixels made to follow the fields; the observed ones stay, bit for bit.

    Over the missing pixels of X it minimises  Σₖ wₖ/2 ‖DₖX - Fₖ‖² + ε/2 ‖X - G‖²,  by `steps` conjugate-gradient steps
    from `image`.

    Args:
        image: (..., C, H, W), finite: right where observed, the starting point elsewhere.
        fields: F, (..., 3, C, H, W).
        observed: boolean, broadcastable to the image.
        weights: w >= 0. With w₃ = 0 the channels do not meet, and each has its own conjugate gradients.
        boundary: what differences do at the rim.
        steps: 10 bring the equations of a hole 192 pixels wide to a relative residual of about 3e-3, 16 to 1e-3.
        guide: G, where the tether ends; `image` if None.
        tether: ε > 0, so small that it only decides what the fields leave open: the level of a channel that has no
            observed pixel at all.
    """
    missing = (~observed).expand_as(image).to(image.dtype)
    shift = SHIFT * max(weights) + tether
    inverse_spectrum = 1 / (shift + boundary.spectrum(image, weights))

    def precondition(residual: Tensor) -> Tensor:
        return missing * boundary.inverse(boundary.transform(residual) * inverse_spectrum, like=residual)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(dim=(-3, -2, -1) if weights[2] else (-2, -1), keepdim=True)

    target = boundary.adjoint(column(weights, fields) * fields) + tether * (image if guide is None else guide)
    residual = missing * (target - boundary.laplacian(image, weights) - tether * image)
    change = torch.zeros_like(image)
    direction = precondition(residual)
    slope = dot(residual, direction)
    done = torch.finfo(image.dtype).eps ** 2 * slope  # a channel that is solved, to rounding, stays as it is
    for _ in range(steps):
        applied = missing * (boundary.laplacian(direction, weights) + tether * direction)
        length = torch.where(slope > done, slope / dot(direction, applied), 0)
        change = change + length * direction
        residual = residual - length * applied
        preconditioned = precondition(residual)
        previous, slope = slope, dot(residual, preconditioned)
        direction = preconditioned + torch.where(slope > done, slope / previous, 0) * direction
    return torch.where(observed, image, image + change)
