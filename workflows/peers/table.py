"""All methods against gaps in stacks of dates, by the names that tables have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .boosted import boosted_trees
from .case import Case
from .dates import copy_nearest
from .dineof import dineof
from .histogram import histogram_poisson
from .prior import deep_image_prior
from .regression import local, neighbourhoods, pixelwise
from .simple import biharmonic, fill_nodata, linear, median
from .tensors import halrtc, tctv, tnn_dct
from .vpint import value_propagation
from .whittaker import whittaker

SIMPLE: dict[str, Callable[[Case, int], np.ndarray]] = {
    "copy nearest": copy_nearest,
    "linear in time": linear,
    "median": median,
    "pixelwise regression": pixelwise,
    "local regression": local,
    "ridge 3x3": neighbourhoods,
    "histogram + Poisson": histogram_poisson,
}
"""Take seconds."""

SPATIAL: dict[str, Callable[[Case, int], np.ndarray]] = {"fillnodata": fill_nodata, "biharmonic": biharmonic}
"""For one date alone."""

BY_DATE: dict[str, Callable[[Case, int], np.ndarray]] = {
    "Whittaker": whittaker,
    "VPint2-like": value_propagation,
    "boosted trees 3x3": boosted_trees,
}
"""Published methods that fill one date: (case, target) -> image (B, y, x)."""

AT_ONCE: dict[str, Callable[[Case], np.ndarray]] = {
    "DINEOF": dineof,
    "HaLRTC": halrtc,
    "TNN-DCT": tnn_dct,
    "t-CTV": tctv,
    "deep image prior": deep_image_prior,
}
"""Published methods that complete all dates together: case -> stack (T, B, y, x)."""

PUBLISHED = (*BY_DATE, *AT_ONCE)
METHODS = (*SIMPLE, *SPATIAL, *PUBLISHED)


def fill(case: Case, method: str) -> np.ndarray:
    """Return the stack with the targets of a case filled by a method, which gets NaN for all that is not observed."""
    seen, out = case.seen(), case.stack.copy()
    if method in AT_ONCE:
        stack = AT_ONCE[method](seen)
        images = {target: stack[target] for target in case.targets}
    else:
        function = (SIMPLE | SPATIAL | BY_DATE)[method]
        images = {target: function(seen, target) for target in case.targets}
    for target, image in images.items():
        out[target] = np.where(case.observed[target], case.stack[target], image)
    return out
