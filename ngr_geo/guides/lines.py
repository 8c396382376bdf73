"""Gaps that reach through all bands (dead lines, holes): the leading spectra's coefficient images, predicted from both sides.

A pixel of a dead line is predicted by a ridge regression on the known columns around it, fitted wherever the same columns and
their middle are known: kriging with the image's own covariances, across coefficients too. Then what is missing is denoised again
and again with a falling threshold, so that edges and textures grow into the gap from the whole of their patches; wider holes
have this alone. Ref.: Cressie 1993 (kriging), Guleryuz 2006 and Cai, Chan & Shen 2008 (iterated shrinkage).
"""

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import precise, principal
from .filters import on_both_sides
from .shrinkage import shrink

SPECTRA = 12
REACH, ROWS = 4, 3
"""A pixel is predicted from the columns up to REACH away, and in each from the rows up to ROWS away."""
CROSSED = 6
"""Leading coefficients that all others may be predicted from."""
LEARN = 30_000
"""Pixels that a regression is fitted on, at most about twice."""
RIDGE = 1e-3
SWEEPS = 8
PATCH = 8
NEAR, WIDE, LAST = 0.15, 0.6, 0.03
"""Thresholds in standard deviations of a coefficient image: of the first sweep (where all gaps were predicted, and where not) and
of the last."""
BLOCK = 2**22
"""Numbers that are interpolated at a time."""


def fill(cube: Tensor, observed: Tensor) -> Tensor:
    """Return a cube (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was."""
    start = interpolate(cube, observed)
    whole = observed.all(0)
    if int(whole.sum()) < 2 * len(cube):
        return start
    pixels = start[:, whole]
    mean, unit = pixels.mean(1)[:, None, None], pixels.std(1).clamp(min=1e-9)[:, None, None]
    vectors = principal((pixels - mean[..., 0]) / unit[..., 0])[1][:, :SPECTRA].to(cube)
    standard = (start - mean) / unit
    target = torch.einsum("br,bhw->rhw", vectors, standard)
    rest = standard - torch.einsum("br,rhw->bhw", vectors, target)
    maps, reached = _from_sides(target, whole)
    deviation = target[:, whole].std(1).clamp(min=1e-9)
    first = NEAR if reached.all() else WIDE
    parts = _around(~whole)
    for sweep in range(SWEEPS):
        sigma = first * (LAST / first) ** (sweep / (SWEEPS - 1)) / 2.6 * deviation
        for part in parts:
            shrunk = shrink(maps[..., *part].contiguous(), sigma, PATCH, wiener=False)
            maps[..., *part] = torch.where(whole[part], target[..., *part], shrunk)
    image = mean + unit * (torch.einsum("br,rhw->bhw", vectors, maps) + rest)
    return torch.where(observed, cube, image)


def _around(gap: Tensor) -> list[tuple[slice, slice]]:
    """Return windows apart from each other that hold all gaps (h, w), and all patches that reach into them."""
    runs = []
    for axis in (1, 0):
        line = gap.any(axis).float()[None]
        near = functional.max_pool1d(line, 2 * PATCH - 1, 1, PATCH - 1)[0]
        ends = functional.pad(near, (1, 1)).diff().nonzero()[:, 0].tolist()
        runs.append([slice(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True)])
    return [(rows, columns) for rows in runs[0] for columns in runs[1] if gap[rows, columns].any()]


def _from_sides(maps: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps (r, h, w) predicted where not `known` (h, w), and where they are known or were reached.

    Across the shorter way: along rows where the gap is narrower from left to right, else along columns.
    """
    across, down = _span(known), _span(known.T).T
    predicted, reached = maps.clone(), known.clone()
    for turned in (False, True):
        want = ~known & ((down < across) if turned else (across <= down))
        if turned:
            out, got = (a.transpose(-2, -1) for a in _columns(maps.transpose(1, 2), known.T, want.T))
        else:
            out, got = _columns(maps, known, want)
        predicted = torch.where(got, out, predicted)
        reached |= got
    return predicted, reached


def _columns(maps: Tensor, known: Tensor, want: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps (r, h, w) predicted from the known columns to either side where `want` (h, w), and where that was possible."""
    width = known.shape[1]
    padded = functional.pad(maps[None], (REACH, REACH, ROWS, ROWS), mode="replicate")[0]
    clear = functional.pad(known.to(torch.int64), (REACH, REACH))
    offsets = [d for d in range(-REACH, REACH + 1) if d]
    code = torch.stack([clear[:, REACH + d : REACH + d + width] << bit for bit, d in enumerate(offsets)]).sum(0)
    out, got = maps.clone(), torch.zeros_like(known)
    for pattern in torch.unique(code[want]).tolist():
        chosen = [d for bit, d in enumerate(offsets) if pattern >> bit & 1]
        if not any(d < 0 for d in chosen) or not any(d > 0 for d in chosen):
            continue
        sides = (max(d for d in chosen if d < 0), min(d for d in chosen if d > 0))
        own = [(dy, d) for d in chosen for dy in range(-ROWS, ROWS + 1)]
        other = [(dy, d) for d in sides for dy in (-1, 0, 1)]
        learn = (known & (code & pattern == pattern)).nonzero()
        if len(learn) < 2 * (len(own) + len(other) * CROSSED):
            continue
        use = want & (code == pattern)
        out[:, use] = _predicted(padded, learn[:: max(1, len(learn) // LEARN)], use.nonzero(), own, other)
        got |= use
    return out, got


def _predicted(
    padded: Tensor, learn: Tensor, use: Tensor, own: list[tuple[int, int]], other: list[tuple[int, int]]
) -> Tensor:
    """Return maps (r, n) at the pixels `use` (n, 2), by ridge regressions that were fitted at the pixels `learn` (m, 2).

    Each map from its `own` values at so many rows and columns from the pixel, and from the `other` ones of the leading maps.
    `padded` (r, h + 2 ROWS, w + 2 REACH) has the maps.
    """
    flat, width = padded.flatten(1), padded.shape[2]

    def at(pixels: Tensor, places: list[tuple[int, int]]) -> Tensor:
        """Return which entries of a flat map are at some places (k, n) beside pixels."""
        shift = pixels.new_tensor([(ROWS + dy) * width + REACH + d for dy, d in places])
        return shift[:, None] + pixels[:, 0] * width + pixels[:, 1]

    (learn_own, use_own), (learn_other, use_other) = ((at(learn, some), at(use, some)) for some in (own, other))
    beside = [(m[learn_other], m[use_other]) for m in flat[:CROSSED]]
    middle = at(learn, [(0, 0)])[0]
    found = []
    for number, values in enumerate(flat):
        others = [pair for k, pair in enumerate(beside) if k != number]
        design = torch.cat([values[learn_own], *(a for a, _ in others)])
        apply = torch.cat([values[use_own], *(b for _, b in others)])
        gram = precise(design @ design.T)
        gram.diagonal().mul_(1 + RIDGE).add_(1e-9 * gram.diagonal().max().clamp(min=1e-30))
        found.append(torch.linalg.solve(gram, precise(design @ values[middle])).to(apply) @ apply)
    return torch.stack(found)


def _span(known: Tensor) -> Tensor:
    """Return how far apart the nearest known pixels to the left and to the right are (h, w); the width and more at an edge."""
    width = known.shape[1]
    left, right = on_both_sides(known, 1, -width, 2 * width)
    return right - left


def interpolate(cube: Tensor, observed: Tensor) -> Tensor:
    """Return a cube (B, h, w) with each gap interpolated linearly across its shorter extent, band by band.

    Along a row the nearest observed values left and right, along a column those above and below, weighted by one over the
    distance between the two: a dead column is filled from its sides. Where a band has nothing in row or column, its mean.
    """
    alike = bool((observed == observed[:1]).all())
    parts = zip(*(a.split(max(1, BLOCK // cube[0].numel())) for a in (cube, observed)), strict=True)
    return torch.cat([torch.where(seen, part, _interpolate(part, seen[:1] if alike else seen)) for part, seen in parts])


def _interpolate(values: Tensor, have: Tensor) -> Tensor:
    """Return bands (b, h, w) interpolated between the pixels that there are: `have` (b or 1, h, w)."""
    total, weight = torch.zeros_like(values), torch.zeros_like(have, dtype=values.dtype)
    for axis in (1, 2):
        size = values.shape[axis]
        before, after = on_both_sides(have, axis, -1, size)
        low, high = before >= 0, after < size
        a, b = (values.gather(axis, at.clamp(0, size - 1).expand_as(values)) for at in (before, after))
        span = (after - before).clamp(min=1)
        index = torch.arange(size, device=values.device).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        share = torch.where(low & high, (index - before).to(values) / span, (~low).to(values))
        alone = (low | high).to(values) * (1e-3 / size**2)
        gain = torch.where(low & high, 1 / span.to(values).square(), alone)
        total += gain * torch.lerp(a, b, share.expand_as(a))
        weight += gain
    mean = (values * have).sum((1, 2)) / have.sum((1, 2)).clamp(min=1)
    return torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), mean[:, None, None])
