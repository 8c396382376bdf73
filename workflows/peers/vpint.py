"""Value propagation with a reference image, after VPint2."""

from __future__ import annotations

import numpy as np

from . import poisson
from .case import Case
from .dates import copy_nearest

DARKEST = 1e-3
"""Reflectance below which ratios of the reference are not formed."""


def value_propagation(case: Case, target: int) -> np.ndarray:
    """Return values propagated from neighbour to neighbour, times the ratio that the reference has between them.

    Weighted value propagation of VPint (Arp, Baratchi and Hoos, Data Mining and Knowledge Discovery 36, 2022) as VPint2 uses it
    against clouds (Arp, Hoos, van Bodegom, Francis, Wheeler, van Laar and Baratchi, ISPRS Journal 216, 2024): with neighbours j
    of a missing pixel i, the reference f and ratios g_ij = f_i / f_j,

        v_i = sum_j p_ij g_ij v_j / sum_j p_ij,    p_ij = min(g_ij, 1 / g_ij): priority of the identity, with intensity 1,

    without the optional elastic band resistance and automatic adaptation. An implementation of its own: in u = v / f the fixed
    point of the sweeps is a Laplace equation with weights p, which is solved directly. The reference is, pixel by pixel, the
    nearest clear date.
    """
    seen = case.observed[target]
    reference = np.maximum(copy_nearest(case, target), DARKEST)
    ratio = np.where(seen, case.stack[target], reference) / reference
    logarithm = poisson.differences(np.log(reference))
    priority = (np.exp(-np.abs(logarithm[0])), np.exp(-np.abs(logarithm[1])))
    still = (np.zeros_like(logarithm[0]), np.zeros_like(logarithm[1]))
    return reference * poisson.solve(ratio, seen, still, priority)
