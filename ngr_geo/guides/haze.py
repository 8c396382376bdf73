"""Haze and shadow that a cloud mask missed, and flags that are false: each date beside what other, nearly clear dates predict.

A date is predicted from one other date at a time, by a robust regression on clear pixels, and the residual is smoothed. Haze is
brighter in blue than each of the other dates predicts, and about as bright in other bands; a shadow is darker in all bands. What
changed on the ground has another colour, or the dates that follow show it, too. The reverse: what the mask flags in the same place
on nearly all nearly clear dates, while their values agree as well as those of clear pixels do, is no cloud.

`learn` finds from a sample what `mark` applies to a window. What `mark` says of a pixel depends on the window as far as `reach`
around it and on nothing else, to the bit: it adds, multiplies and compares pixel by pixel, in an order that no size of the window
changes. So a scene may be cut in any way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

REFERENCES = 3
"""Other dates that a date is compared with."""
NEARLY_CLEAR = 0.7
"""Share of a date that is clear, from which on others are compared with it."""
PASSES, WIDTH = 4, 4
"""The smoothing: so many running means of so many pixels; a bell of 2.2 pixels standard deviation."""
RADIUS = PASSES * (WIDTH - 1) // 2
STRONG, WEAK = 3.5, 1.5
"""Robust deviations of the smoothed residual where haze or shadow is found, and down to which it is followed."""
FOLLOWED = 16
"""Pixels that it is followed over, at most."""
GROWN = 2
CORE = 5
"""Pixels of a 5 x 5 square that are strong, at least, for one of them to count; or half of those that are clear."""
MOST = 0.5
"""Share of a date's clear pixels that may be found. More is no leak but another season: the date is left as it was."""
FAINT, SLOPE = 0.15, 0.15
"""What is fainter is left, however well a date is predicted: this share of the date's own robust deviation of a band counts as one
robust deviation; and haze, this share of how far a pixel is from the date's median in blue: of bright roofs a regression is less
sure."""
WHITE = 0.85
"""Haze adds to blue at least this share of what it adds to green and red; a dry or bare field adds to blue two thirds, at most."""
DEEP = 0.15
"""Shadow takes at least this share of what is usual in the near infrared."""
SNOWY = 0.1
"""Share of a date that its product calls snow from which on it is left as it was: snow that the product misses is as white."""
AGREES = 4.0
"""Robust deviations within which values agree."""
PERSISTENT, LEAST, APART = 0.75, 3, 2
"""Share of the nearly clear dates, and number of them at least, on which a flag is persistent, within so many pixels."""
ROUNDS, CLIPPED, RIDGE, CLIP = 4, 6, 1e-3, 2.0
CELL, CELLS = 128, 16
"""Side of the squares that a scene is learnt from, and how many of them, at most."""
PIXELS, ENOUGH = 40_000, 400
"""Pixels clear on both dates that a regression is fitted to, about, and at least."""

HAZE, SHADOW, FALSE = 1, 2, 4
"""What `mark` finds, as bits."""


BLUE, GREEN, RED, NIR = range(4)
"""The bands of a window, in their order."""


@dataclass(frozen=True)
class Pair:
    """How a date is predicted from another one, and how far off that is on clear pixels, for each of the four colours.

    Attributes:
        reference: the other date.
        weights: (colour, band + 1), the last is the constant; in the raster's units.
        smooth: center and robust deviation of the smoothed residual (colour, 2).
        near: the same of the mean of 3 x 3 pixels.
        usual: the date's median of each band.
    """

    reference: int
    weights: tuple[tuple[float, ...], ...]
    smooth: tuple[tuple[float, float], ...]
    near: tuple[tuple[float, float], ...]
    usual: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """What `learn` found: what `mark` looks for in a window.

    Attributes:
        pairs: of each date, with the dates that it is compared with; none where it is left as it was.
        clear: the nearly clear dates.
        found: share of each date's clear pixels in the sample that is haze or shadow, also where it is left as it was for that.
    """

    pairs: tuple[tuple[Pair, ...], ...]
    clear: tuple[int, ...]
    found: tuple[float, ...]

    @property
    def beyond(self) -> tuple[int, ...]:
        """The dates that are left as they were, because too much of them would be found."""
        return tuple(t for t, share in enumerate(self.found) if share > MOST)


class Window(NamedTuple):
    """A window of all dates: blue, green, red and near infrared (T, 4, h, w), 0 where not valid.

    And of each pixel (T, h, w) whether it has values, whether the mask flags it, and whether the mask's product says snow.
    """

    values: Tensor
    valid: Tensor
    flagged: Tensor
    snow: Tensor

    def clear(self) -> Tensor:
        """Return which pixels (T, h, w) are clear and without snow."""
        return self.valid & ~self.flagged & ~self.snow


def reach(dilate: int) -> int:
    """Return how far around a pixel the window has to be known for what `mark` says of it."""
    return 4 + dilate + RADIUS + 2 + FOLLOWED + GROWN


def learn(windows: Sequence[Window], days: Sequence[float], dilate: int) -> Recipe:
    """Return what there is to find in a scene, from windows of it."""
    windows = [w._replace(flagged=grown(w.flagged, dilate)) for w in _cells(windows)]
    clear = [w.clear() for w in windows]
    dates = range(len(days))
    pixels = [sum(int(w.valid[t].sum()) for w in windows) for t in dates]
    seen = [sum(int(c[t].sum()) for c in clear) for t in dates]
    usable = tuple(t for t in dates if seen[t] and seen[t] >= NEARLY_CLEAR * pixels[t])
    pairs, found = [], []
    for t in dates:
        snowy = sum(int(w.snow[t].sum()) for w in windows) > SNOWY * pixels[t]
        here = [_pair(windows, clear, t, r) for r in nearest(t, usable, days)] if seen[t] and not snowy else []
        kept = tuple(p for p in here if p is not None)
        marked = sum(int((weather(w, c, t, kept) != 0).sum()) for w, c in zip(windows, clear, strict=True))
        found.append(marked / max(seen[t], 1))
        pairs.append(kept)
    return Recipe(tuple(pairs), usable, tuple(found))


def _cells(windows: Sequence[Window]) -> list[Window]:
    """Return squares of the windows, evenly spread."""
    places = [
        (w, top, left)
        for w in windows
        for top in range(0, w.valid.shape[1], CELL)
        for left in range(0, w.valid.shape[2], CELL)
    ]
    some = places[:: -(-len(places) // CELLS)]
    return [Window(*(a[..., top : top + CELL, left : left + CELL] for a in w)) for w, top, left in some]


def nearest(date: int, usable: Sequence[int], days: Sequence[float]) -> list[int]:
    """Return the dates to compare with: the nearest before and after, and the nearest of the rest."""
    others = sorted((t for t in usable if t != date), key=lambda t: (abs(days[t] - days[date]), t))
    sides = [[t for t in others if days[t] < days[date]], [t for t in others if days[t] >= days[date]]]
    first = [side[0] for side in sides if side]
    return sorted([*first, *(t for t in others if t not in first)][:REFERENCES])


def _pair(windows: Sequence[Window], clear: Sequence[Tensor], date: int, reference: int) -> Pair | None:
    """Return how a date is predicted from another; None where too few pixels are clear on both."""
    both = [c[date] & c[reference] for c in clear]
    count = sum(int(b.sum()) for b in both)
    if count < ENOUGH:
        return None
    step = max(1, count // PIXELS)
    features = _joined([w.values[reference] for w in windows], both, step)
    wanted = _joined([w.values[date] for w in windows], both, step)
    weight = torch.ones_like(wanted[0])
    own = _scales(wanted, sided=False)
    least = [max(FAINT * spread, 1e-6 * abs(middle), 1e-12) for middle, spread in own]
    for _ in range(ROUNDS):
        table = _ridge(features, wanted, weight)
        smooth = []
        for w, use in zip(windows, both, strict=True):
            rest = residual(w, date, reference, table)
            smooth.append(smoothed(rest, use))
        z = _joined(smooth, both, step)
        scale = _scales(z, least)
        high = (z[BLUE] - scale[BLUE][0]) / scale[BLUE][1]  # haze, in blue
        low = (scale[NIR][0] - z[NIR]) / scale[NIR][1]  # shadow, in the near infrared
        weight = (CLIP / torch.maximum(high, low).clamp(min=CLIP)) ** 2
    near = _joined([mean3(residual(w, date, reference, table)) for w in windows], both, step)
    return Pair(reference, table, scale, _scales(near, least, sided=False), tuple(m for m, _ in own))


def _joined(parts: Sequence[Tensor], where: Sequence[Tensor], step: int) -> Tensor:
    """Return every `step`-th of the pixels that count, (channel, pixel), in double precision."""
    return torch.cat([p[:, u] for p, u in zip(parts, where, strict=True)], dim=1)[:, ::step].double()


def _ridge(features: Tensor, wanted: Tensor, weight: Tensor) -> tuple[tuple[float, ...], ...]:
    """Return the weighted ridge regression of each wanted channel on the features and a constant, in their own units.

    To seven digits, so that the order in which a number of threads adds does not show.
    """
    total = weight.sum()
    middle, level = (features * weight).sum(1) / total, (wanted * weight).sum(1) / total
    x, y = features - middle[:, None], wanted - level[:, None]
    gram = (x * weight) @ x.T
    gram += RIDGE * torch.diag(gram.diagonal() + 1e-9 * gram.diagonal().max() + 1e-12)
    table = torch.linalg.solve(gram, (x * weight) @ y.T).T  # (colour, band)
    constant = level - table @ middle
    both = torch.cat([table, constant[:, None]], dim=1).tolist()
    return tuple(tuple(float(f"{value:.7g}") for value in row) for row in both)


def _scales(values: Tensor, least: Sequence[float] = (0.0,) * 4, sided: bool = True) -> tuple[tuple[float, float], ...]:
    """Return median and robust deviation of each channel (channel, pixel), which is `least` at least.

    With `sided` the near infrared takes the deviation of its upper half, which shadow does not reach, and the others that of their
    lower half, which haze does not reach.
    """
    found = []
    for index, (row, floor) in enumerate(zip(values.double(), least, strict=True)):
        sign = -1.0 if index == NIR else 1.0
        middle, spread = _middle(sign * row, sided)
        found.append((sign * middle, max(spread, floor)))
    return tuple(found)


def _middle(values: Tensor, sided: bool) -> tuple[float, float]:
    """Return median and robust deviation; with `sided` of what is left without an upper tail, as far as that can be told."""
    kept = values
    for _ in range(CLIPPED if sided else 1):
        middle = kept.median()
        away = (kept - middle).abs()
        spread = 1.4826 * float(away[kept <= middle].median() if sided else away.median())
        kept = values[values <= middle + CLIP * spread]
    return float(middle), spread


def residual(window: Window, date: int, reference: int, table: Sequence[Sequence[float]]) -> Tensor:
    """Return how much brighter a date is than predicted (colour, h, w)."""
    source = window.values[reference]
    rest = []
    for values, row in zip(window.values[date], table, strict=True):
        left = values - row[-1]
        for band, weight in zip(source, row[:-1], strict=True):
            left = left - band * weight
        rest.append(left)
    return torch.stack(rest)


def smoothed(values: Tensor, use: Tensor) -> Tensor:
    """Return the smooth mean (..., h, w) of the pixels to use (h, w); 0 where there is none."""
    total, weight = _bell(torch.where(use, values, 0)), _bell(use.to(values.dtype))
    return torch.where(weight > 0, total / weight.clamp(min=1), 0)


def _bell(values: Tensor) -> Tensor:
    """Return running sums over rows and columns, as often as `PASSES` says; beyond the window is 0."""
    wide = torch.nn.functional.pad(values, (RADIUS,) * 4)
    for _ in range(PASSES):
        two = wide[..., 1:] + wide[..., :-1]
        wide = two[..., 2:] + two[..., :-2]
    for _ in range(PASSES):
        two = wide[..., 1:, :] + wide[..., :-1, :]
        wide = two[..., 2:, :] + two[..., :-2, :]
    return wide


def mean3(values: Tensor) -> Tensor:
    """Return the mean of 3 x 3 pixels; at the window's border the border is repeated."""
    return _sum(torch.nn.functional.pad(values, (1,) * 4, mode="replicate"), 3) / 9


def _sum(wide: Tensor, width: int) -> Tensor:
    """Return the sum of each square of so many pixels that lies within (..., h, w)."""
    for axis in (-2, -1):
        size = wide.shape[axis] - width + 1
        total = wide.narrow(axis, 0, size)
        for start in range(1, width):
            total = total + wide.narrow(axis, start, size)
        wide = total
    return wide


def count(mask: Tensor, radius: int) -> Tensor:
    """Return how many pixels of the square around each one are set (..., h, w); none beyond the window."""
    wide = torch.nn.functional.pad(mask.to(torch.int16), (radius,) * 4)
    return _sum(wide, 2 * radius + 1)


def grown(mask: Tensor, radius: int) -> Tensor:
    """Return a mask (..., h, w) grown by a disk, as `masks.grow` does: a row of pixels for each of the disk's heights."""
    found, wide, width = mask, mask, 0
    for height in range(radius, -1, -1):  # the rows widen towards the middle of the disk
        while width < math.isqrt(radius**2 - height**2):
            width += 1
            wide = wide | _shifted(mask, 0, width) | _shifted(mask, 0, -width)
        found = found | _shifted(wide, height, 0) | _shifted(wide, -height, 0)
    return found


def _shifted(mask: Tensor, down: int, right: int) -> Tensor:
    """Return a mask (..., h, w) moved by some pixels; what comes in from beyond the window is False."""
    height, width = mask.shape[-2:]
    out = torch.zeros_like(mask)
    if abs(down) < height and abs(right) < width:
        to = slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), width + min(right, 0))
        of = slice(max(-down, 0), height + min(-down, 0)), slice(max(-right, 0), width + min(-right, 0))
        out[(..., *to)] = mask[(..., *of)]
    return out


def weather(window: Window, clear: Tensor, date: int, pairs: Sequence[Pair]) -> Tensor:
    """Return haze and shadow (h, w) of a date among its clear pixels, as `HAZE` and `SHADOW`.

    Each of the other dates that are clear at a pixel has to say so; where none is, nothing is found.
    """
    found = torch.zeros_like(clear[date], dtype=torch.uint8)
    if not pairs or not bool(clear[date].any()):
        return found
    uses, votes = [], []
    for pair in pairs:
        use = clear[date] & clear[pair.reference]
        uses.append(use)
        votes.append(_vote(window, date, pair, use))
    blind = ~torch.stack(uses)
    seen = ~blind.all(dim=0)
    strong_haze, haze, strong_shadow, shadow = (
        (blind | torch.stack(v)).all(dim=0) & seen for v in zip(*votes, strict=True)
    )
    for kind, strong, weak in ((HAZE, strong_haze, haze), (SHADOW, strong_shadow, shadow)):
        marked = _followed(strong, weak, seen) & clear[date]
        found = torch.where((found == 0) & marked, kind, found)
    return found


def _vote(window: Window, date: int, pair: Pair, use: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return where another date says that this one is hazy (h, w), strongly and weakly; and that it is in the shadow."""
    excess = smoothed(residual(window, date, pair.reference, pair.weights), use)
    z = torch.stack([(e - c) / s for e, (c, s) in zip(excess, pair.smooth, strict=True)])
    blue, green, red, nir = (e - c for e, (c, _) in zip(excess, pair.smooth, strict=True))
    around = smoothed(window.values[date, BLUE] - pair.usual[BLUE], use) - excess[BLUE]  # as it is without haze
    white = (blue > WHITE * torch.maximum(green, red)) & (nir > -blue) & (blue > SLOPE * around.abs())
    pale = (z[BLUE] > WEAK) & (blue > 0.5 * red)
    dark = (z < -WEAK).all(dim=0) & (nir < -DEEP * pair.usual[NIR])
    return (z[BLUE] > STRONG) & white, pale, (z[NIR] < -STRONG) & dark, dark


def _followed(strong: Tensor, weak: Tensor, known: Tensor) -> Tensor:
    """Return strong pixels that are not alone among those that are known, followed over weak ones and grown."""
    found = strong & (2 * count(strong, 2) >= count(known, 2).clamp(max=2 * CORE))
    if not bool(found.any()):
        return found
    for _ in range(FOLLOWED):
        found = (count(found, 1) > 0) & (weak | found)
    return grown(found, GROWN)


def mark(window: Window, recipe: Recipe, dilate: int) -> tuple[Tensor, Tensor]:
    """Return what is not clear (T, h, w), and what was found to make it differ from the grown flags: `HAZE`, `SHADOW`, `FALSE`."""
    false = persistent(window, recipe)
    flagged = grown(window.flagged & ~false, dilate)
    clear = window._replace(flagged=flagged).clear()
    found = [weather(window, clear, t, () if t in recipe.beyond else pairs) for t, pairs in enumerate(recipe.pairs)]
    marks = torch.stack(found)
    return flagged | (marks != 0), marks + false.to(torch.uint8) * FALSE


def persistent(window: Window, recipe: Recipe) -> Tensor:
    """Return the flags (T, h, w) of nearly clear dates that stay on a place on nearly all of them, though their values agree.

    On other dates flags stay: there a cloud may hide the place as well, and it is filled from these.
    """
    false = torch.zeros_like(window.flagged)
    some = list(recipe.clear)
    if len(some) < LEAST:
        return false
    seen = window.valid[some].sum(dim=0)
    often = (grown(window.flagged[some], APART) & window.valid[some]).sum(dim=0)
    stays = (often >= LEAST) & (often >= PERSISTENT * seen)
    for date in some:
        flagged = window.flagged[date] & window.valid[date] & stays
        pairs = recipe.pairs[date]
        if date in recipe.beyond or len(pairs) < LEAST - 1 or not bool(flagged.any()):
            continue
        agree = torch.zeros_like(seen)
        for pair in pairs:
            rest = mean3(residual(window, date, pair.reference, pair.weights))
            near = torch.stack([(r - c).abs() <= AGREES * s for r, (c, s) in zip(rest, pair.near, strict=True)])
            agree += near.all(dim=0) & window.valid[pair.reference]
        fits = flagged & (agree >= LEAST - 1)
        false[date] = flagged & (2 * count(fits, 2) >= count(flagged, 2))
    return false
