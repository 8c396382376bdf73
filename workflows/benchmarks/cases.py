"""Real and simulated gaps in stacks with a known truth: the four protocols R, S, M and N."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from peers.case import Case

from .common import DATA, slovenia


def protocol_r() -> Iterator[Case]:
    """Yield eight dates of a Romanian forest under real cloud masks, each with the three dates nearest in time."""
    clear, masks = np.load(DATA / "romania" / "clear.npz"), np.load(DATA / "romania" / "masks_100.npz")["masks"]
    share = masks.mean((1, 2))
    masks = masks[(share >= 0.15) & (share <= 0.6)].astype(bool)
    days = clear["dates"].astype("datetime64[D]").astype(float)
    for j in range(8):
        target = 2 + 4 * j
        near = [int(i) for i in np.argsort(np.abs(days - days[target]), kind="stable") if i != target][:3]
        pick = [target, *near]
        stack = clear["data"][pick].astype(np.float32) * 1e-4
        observed = np.ones((4, 100, 100), bool)
        observed[0] = ~masks[(5 * j) % len(masks)]
        yield Case(f"R{j}", stack, observed, ~observed, days[pick], (0,))


def protocol_s() -> Iterator[Case]:
    """Yield one Slovenian date under the clouds of another, with two nearly clear dates five days around."""
    stack, cloud, days = slovenia()
    pick, cover = [2, 1, 4], cloud[3]
    clear = ~cloud[pick] & (stack[pick] > 0).all(axis=1)
    observed, score = clear.copy(), np.zeros_like(clear)
    observed[0] &= ~cover
    score[0] = cover & clear.all(axis=0)
    yield Case("S", stack[pick], observed, score, days[pick], (0,))


def protocol_m() -> Iterator[Case]:
    """Yield the five Slovenian dates under their own clouds and, each, those of the next date rolled by (200, 300)."""
    stack, cloud, days = slovenia()
    clear = ~cloud & (stack > 0).all(axis=1)
    cover = np.stack([np.roll(cloud[(t + 1) % 5], (200, 300), (0, 1)) for t in range(5)])
    yield Case("M", stack, clear & ~cover, clear & cover, days, tuple(range(5)))


def protocol_n() -> Iterator[Case]:
    """Yield one clear date alone, 256 x 256, under each of the 18 masks."""
    stack, _, days = slovenia()
    window = stack[2:3, :, 300:556, 300:556]
    archive = np.load(DATA / "masks" / "masks_256.npz")
    for number, mask in enumerate(archive[archive.files[0]].astype(bool)):
        yield Case(f"N{number}", window, ~mask[None], mask[None], days[2:3], (0,))


PROTOCOLS: dict[str, Callable[[], Iterator[Case]]] = {
    "R": protocol_r,
    "S": protocol_s,
    "M": protocol_m,
    "N": protocol_n,
}
