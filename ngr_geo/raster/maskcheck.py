"""Whether a cloud mask may be inverted: what it calls clear is brighter than usual, and what it calls cloud is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 40_000
"""Of each date that are looked at."""
LEAST = 200
"""Bright pixels, and ordinary ones, of all dates, below which nothing is said."""
BRIGHT, ORDINARY = 2.0, 1.3
"""How many times as bright as usual a pixel is that looks like cloud, at least, and one that looks like ground, at most;
thick cloud over land is three to ten times as bright."""
WORSE = 0.4
"""By how much the share of ordinary pixels that are masked exceeds that of bright ones in a mask that looks inverted."""
_VISIBLE = re.compile(r"^(b0?[234]|sr_b[1234]|blue|green|red|band_?0?[1234])(_\w+)?$")


def inverted(
    values: Sequence[NDArray[Any]],
    valid: Sequence[NDArray[np.bool_]],
    masked: Sequence[NDArray[np.bool_]],
    bands: Sequence[str],
) -> list[str]:
    """Return a warning where a mask looks inverted, from windows of the scene (time, band, h, w); nothing where it does not.

    Usual is the lower quartile over the dates at each pixel, whatever the mask says. An inverted mask marks most of the ordinary
    ground, and spares what is bright. Snow that is not masked is bright, too, but the ground beside it is not masked; nor is it by
    a mask of shadows alone. One date alone has no usual.
    """
    if not values or values[0].shape[0] < 2:
        return []
    chosen = [i for i, name in enumerate(bands) if _VISIBLE.match(name.lower())] or list(range(len(bands)))
    step = max(1, int(np.sqrt(sum(v.shape[-2] * v.shape[-1] for v in values) / MOST_PIXELS)))
    light, cloud = (
        np.concatenate(parts, axis=1)
        for parts in zip(
            *(_pixels(v, ok, m, chosen, step) for v, ok, m in zip(values, valid, masked, strict=True)), strict=True
        )
    )  # (time, pixels) each
    seen = np.isfinite(light).sum(axis=0) >= 2
    light, cloud = light[:, seen], cloud[:, seen]
    if not light.size:
        return []
    ordered = np.sort(light, axis=0)  # NaN last
    quarter = (np.isfinite(light).sum(axis=0) - 1) // 4
    usual = np.take_along_axis(ordered, quarter[None], axis=0)[0]
    known = np.isfinite(light) & (usual > 0)
    ratio = light / np.where(usual > 0, usual, 1)
    bright, ordinary = known & (ratio > BRIGHT), known & (ratio < ORDINARY)
    if min(bright.sum(), ordinary.sum()) < LEAST:
        return []
    caught, lost = float(cloud[bright].mean()), float(cloud[ordinary].mean())
    if lost <= 0.5 or lost - caught <= WORSE:
        return []
    return [
        f"The mask may be inverted: it marks {lost:.0%} of the pixels that are as bright as usual, and {caught:.0%} of those that "
        "are much brighter, as cloud is. Check that what it marks is cloud, and not what is clear."
    ]


def _pixels(
    values: NDArray[Any], valid: NDArray[np.bool_], masked: NDArray[np.bool_], bands: Sequence[int], step: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return brightness, NaN where a band is missing, and the mask of every `step`-th pixel along rows and columns."""
    here = (..., slice(None, None, step), slice(None, None, step))
    light = values[:, bands][here].astype(np.float32).mean(axis=1)
    known = valid[:, bands][here].all(axis=1)
    cloud = np.broadcast_to(masked, (*masked.shape[:1], 1, *masked.shape[2:]))[:, 0][here]
    dates = len(light)
    return np.where(known, light, np.float32(np.nan)).reshape(dates, -1), cloud.reshape(dates, -1)
