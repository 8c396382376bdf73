"""Windows of a scene that it is learnt from: all of it, or evenly spread ones where it is large."""

from __future__ import annotations

import numpy as np

from ..tiling.tiles import Region

SAMPLE_VALUES = 10_000_000
"""Values (dates x bands x pixels) that a scene is learnt from, at most: 40 MB, and about twenty times that while fitting."""
SAMPLE_SIZE = 256


def regions(shape: tuple[int, int, int, int]) -> list[Region]:
    """Return the windows of a scene that it is learnt from: all of it, or evenly spread ones where it is large."""
    dates, bands, height, width = shape
    room = SAMPLE_VALUES // (dates * bands)
    if height * width <= room:
        return [(slice(0, height), slice(0, width))]
    size = SAMPLE_SIZE
    down, across = max(1, height // size), max(1, width // size)
    keep = max(1, room // (min(size, height) * min(size, width)))
    cells = [(r, c) for r in range(down) for c in range(across)]
    picked = [cells[i * len(cells) // keep] for i in range(min(keep, len(cells)))] if keep < len(cells) else cells
    tops, lefts = (np.linspace(0, max(n - size, 0), k).astype(int) for n, k in ((height, down), (width, across)))
    return [
        (slice(int(tops[r]), int(min(tops[r] + size, height))), slice(int(lefts[c]), int(min(lefts[c] + size, width))))
        for r, c in picked
    ]
