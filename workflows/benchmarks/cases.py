"""Real and simulated gaps in stacks with a known truth: the protocols R, S, M, N, C and D."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from peers.case import Case

from .common import DATA, slovenia
from .haze import hazy


def protocol_r() -> Iterator[Case]:
    """Yield eight dates of a Romanian forest under real cloud masks, each with the three dates nearest in time."""
    for j in range(8):
        yield _romania(j, 3, f"R{j}", "R")


def _romania(j: int, count: int, name: str, group: str) -> Case:
    """Return one of eight dates under a real mask, with so many other dates, the nearest in time."""
    clear, masks = np.load(DATA / "romania" / "clear.npz"), np.load(DATA / "romania" / "masks_100.npz")["masks"]
    share = masks.mean((1, 2))
    masks = masks[(share >= 0.15) & (share <= 0.6)].astype(bool)
    days = clear["dates"].astype("datetime64[D]").astype(float)
    target = 2 + 4 * j
    near = [int(i) for i in np.argsort(np.abs(days - days[target]), kind="stable") if i != target][:count]
    pick = [target, *near]
    stack = clear["data"][pick].astype(np.float32) * 1e-4
    observed = np.ones((len(pick), 100, 100), bool)
    observed[0] = ~masks[(5 * j) % len(masks)]
    return Case(name, stack, observed, ~observed, days[pick], (0,), group)


def protocol_s() -> Iterator[Case]:
    """Yield one Slovenian date under the clouds of another, with two nearly clear dates five days around."""
    stack, cloud, days = slovenia()
    pick, cover = [2, 1, 4], cloud[3]
    clear = ~cloud[pick] & (stack[pick] > 0).all(axis=1)
    observed, score = clear.copy(), np.zeros_like(clear)
    observed[0] &= ~cover
    score[0] = cover & clear.all(axis=0)
    yield Case("S", stack[pick], observed, score, days[pick], (0,), "S")


def protocol_m() -> Iterator[Case]:
    """Yield the five Slovenian dates under their own clouds and, each, those of the next date rolled by (200, 300).

    Two of them carry haze that their mask missed and that no method can know: it is scored as it is and, beside it, cleaned.
    """
    stack, cloud, days = slovenia()
    clear = ~cloud & (stack > 0).all(axis=1)
    cover = np.stack([np.roll(cloud[(t + 1) % 5], (200, 300), (0, 1)) for t in range(5)])
    scored = clear & cover
    yield Case("M", stack, clear & ~cover, scored, days, tuple(range(5)), "M", scored & ~hazy(stack, clear))


def protocol_n() -> Iterator[Case]:
    """Yield one clear date alone, 256 x 256, under each of the 18 masks."""
    stack, _, days = slovenia()
    window = stack[2:3, :, 300:556, 300:556]
    archive = np.load(DATA / "masks" / "masks_256.npz")
    for number, mask in enumerate(archive[archive.files[0]].astype(bool)):
        yield Case(f"N{number}", window, ~mask[None], mask[None], days[2:3], (0,), "N")


CROPS, CROP = 20, 50
SHARE = (0.15, 0.8)
"""Least and greatest share of missing pixels of a crop's target."""


def protocol_c() -> Iterator[Case]:
    """Yield 20 small stacks of 50 x 50 pixels at random places, in turn of Romania and Slovenia, under real masks.

    Romania: a clear date and the three nearest in time, each of these with a mask of its own in half of the cases. Slovenia: one of
    the three nearly clear dates among all five, with their own clouds.
    """
    random = np.random.default_rng(2026)
    clear, masks = np.load(DATA / "romania" / "clear.npz"), np.load(DATA / "romania" / "masks_100.npz")["masks"]
    archive, (stack, cloud, days) = np.load(DATA / "masks" / "masks_256.npz"), slovenia()
    covers, own = archive[archive.files[0]].astype(bool), ~cloud & (stack > 0).all(axis=1)
    days_r = clear["dates"].astype("datetime64[D]").astype(float)
    for number in range(CROPS):
        rows, columns = _window(random, stack.shape[-2:] if number % 2 else (100, 100))
        if number % 2:
            target, pick = int(random.choice([1, 2, 4])), np.arange(5)
            values, when, observed = stack[..., rows, columns], days, own[:, rows, columns].copy()
            cover = _cover(random, covers)
        else:
            target, chosen = 0, int(random.integers(len(days_r)))
            pick = np.argsort(np.abs(days_r - days_r[chosen]), kind="stable")[:4]
            pick = np.array([chosen, *pick[pick != chosen]])
            values, when = clear["data"][pick][..., rows, columns].astype(np.float32) * 1e-4, days_r[pick]
            observed = np.ones((4, CROP, CROP), bool)
            if number % 4 == 0:
                observed[1:] = [~_cover(random, masks.astype(bool)) for _ in range(3)]
            cover = _cover(random, masks.astype(bool))
        score = np.zeros_like(observed)
        score[target] = observed[target] & cover
        observed[target] &= ~cover
        yield Case(f"C{number}", values, observed, score, when, (target,), "C")


def _window(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(at, at + CROP) for at in (int(random.integers(size - CROP + 1)) for size in shape))


def _cover(random: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    """Return a window of a random mask with some missing and some clear pixels."""
    while True:
        mask: np.ndarray = masks[random.integers(len(masks))]
        window = mask[_window(random, mask.shape)]
        if SHARE[0] <= window.mean() <= SHARE[1]:
            return window


COUNTS = (3, 8, 20, 36)


def protocol_d() -> Iterator[Case]:
    """Yield four cases of protocol R with more dates: 3, 8, 20 and 36 references, the nearest in time."""
    for count in COUNTS:
        for j in (0, 2, 4, 6):
            yield _romania(j, count, f"D{count}.{j}", f"D{count}")


PROTOCOLS: dict[str, Callable[[], Iterator[Case]]] = {
    "R": protocol_r,
    "S": protocol_s,
    "M": protocol_m,
    "N": protocol_n,
    "C": protocol_c,
    "D": protocol_d,
}
