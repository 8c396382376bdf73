"""Interpolation of one date from its own clear pixels: kriging with a power-law spectrum.

Satellite images have spectra close to  k^(-2p).  The most likely image with that spectrum which agrees with the observed
pixels minimises  xᵀ Lᵖ x,  L the Laplacian: p = 1 is the harmonic (Poisson) fill, p = 2 the biharmonic one; what fits real
scenes lies between. `fit` picks p on pixels that it hides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..solver import Neumann, conjugate_gradients

POWERS = (0.7, 0.85, 1.0, 1.25, 1.5)
SIZE = 192
"""Side of the windows that the power is chosen on."""
SHIFT = 1e-3
"""Added to the eigenvalues: keeps a window without any observed pixel well posed, its answer is 0, the scene's mean."""


@torch.no_grad()
def interpolate(values: Tensor, observed: Tensor, power: float, steps: int = 40) -> Tensor:
    """Return `values` (B, h, w), standardised, with what is not `observed` (h, w) interpolated.

    Conjugate gradients over the missing pixels, with the inverse of Lᵖ on the whole window as preconditioner.
    """
    boundary = Neumann()
    basis = boundary.basis(values)
    spectrum = (boundary.spectrum(values, (1.0, 1.0, 0.0)) + SHIFT**2) ** power
    inverse = 1 / (spectrum + SHIFT**power)
    missing = (~observed).to(values.dtype)

    def through(image: Tensor, eigenvalues: Tensor) -> Tensor:
        return missing * basis.inverse(basis.transform(image) * eigenvalues)

    filled = conjugate_gradients(
        lambda image: through(image, spectrum),
        lambda residual: through(residual, inverse),
        -through(values * observed, spectrum),
        steps,
    )
    return torch.where(observed, values, filled)


def fit(windows: Sequence[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Return the power of `POWERS` with the least error, for windows of (values (B, h, w), observed, hidden (h, w))."""
    if not any(bool(hidden.any()) for _, _, hidden in windows):
        return POWERS[len(POWERS) // 2]
    parts_of = [tuple(t[..., :SIZE, :SIZE] for t in window) for window in windows[:4]]
    if not any(bool(hidden.any()) for _, _, hidden in parts_of):
        parts_of = list(windows[:4])
    errors = []
    for power in POWERS:
        parts = [
            (interpolate(values, observed & ~hidden, power) - values)[:, hidden].flatten()
            for values, observed, hidden in parts_of
        ]
        errors.append(float(torch.cat(parts).square().mean()))
    return POWERS[errors.index(min(errors))]
