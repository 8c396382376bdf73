"""Discrete Poisson and Laplace equations on the missing pixels of an image, by conjugate gradients."""

from __future__ import annotations

import numpy as np

Edges = tuple[np.ndarray, np.ndarray]
"""A value for each pair of neighbours: down (B, y - 1, x) and across (B, y, x - 1)."""


def differences(image: np.ndarray) -> Edges:
    """Return the differences of neighbours, the later one minus the earlier one."""
    return np.diff(image, axis=-2), np.diff(image, axis=-1)


def solve(start: np.ndarray, known: np.ndarray, gradient: Edges, weight: Edges | None = None) -> np.ndarray:
    """Return the image (B, y, x) whose differences of neighbours are nearest to a gradient, with known pixels held.

    It minimises the sum of weight * (u_j - u_i - gradient_ij)^2 over all pairs of neighbours.

    Args:
        start: the known pixels, and a first guess of the others (B, y, x).
        known: the pixels to keep (y, x).
        gradient: wanted differences.
        weight: of each difference; by default 1.
    """
    ones = tuple(np.ones_like(part, dtype=float) for part in gradient)
    down, across = weight if weight is not None else ones
    bands = zip(start, *gradient, down, across, strict=True)
    return np.stack([_solve_band(image, known, (g, h), (v, w)) for image, g, h, v, w in bands])


def _solve_band(image: np.ndarray, known: np.ndarray, gradient: Edges, weight: Edges) -> np.ndarray:
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import cg

    free = ~known.ravel()
    if not free.any():
        return image
    number = np.where(free, np.cumsum(free) - 1, -1)
    size, values = int(free.sum()), image.ravel().astype(float)
    pixels = np.arange(image.size).reshape(image.shape)
    first = np.concatenate([pixels[:-1].ravel(), pixels[:, :-1].ravel()])
    second = np.concatenate([pixels[1:].ravel(), pixels[:, 1:].ravel()])
    wanted, strength = (np.concatenate([part.ravel() for part in edges]).astype(float) for edges in (gradient, weight))
    diagonal, right = np.zeros(size), np.zeros(size)
    for here, there, sign in ((first, second, -1), (second, first, 1)):
        own = free[here]
        diagonal += np.bincount(number[here[own]], strength[own], size)
        held = own & ~free[there]
        right += np.bincount(number[here[own]], sign * (strength * wanted)[own], size)
        right += np.bincount(number[here[held]], (strength * values[np.where(held, there, 0)])[held], size)
    both = free[first] & free[second]
    rows, columns, entries = number[first[both]], number[second[both]], -strength[both]
    off = coo_array((entries, (rows, columns)), shape=(size, size))
    matrix = (off + off.T + diags_array(diagonal)).tocsr()
    found, failed = cg(matrix, right, x0=values[free], rtol=1e-6, maxiter=20_000, M=diags_array(1 / diagonal))
    if failed:
        message = f"the Poisson equation of {size} pixels has not converged after 20 000 steps"
        raise RuntimeError(message)
    values[free] = found
    return values.reshape(image.shape)
