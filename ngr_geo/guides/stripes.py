"""Stripes: offsets that are constant along a line of the detector, upright or slightly tilted.

Differences along a line hold no stripe, so they show which spectra the scene is made of. The mean of a line is then a mix of these
spectra plus its offset in each band; as most offsets are small, or few, a robust regression parts the two. Stripes that look like
the scene's own spectra (all bands brighter together) pass it: they are found as steps between neighbouring lines that go the
same way along their whole length. An offset that the scatter along a line can explain is left alone, so that a cube without
stripes comes back as it was.

Ref.: Bioucas-Dias & Nascimento 2008 (subspace), Beaton & Tukey 1974 (bisquare weights), Bouali & Ladjal 2011 (directional
differences), Rogass et al. 2014 (EnMAP columns).
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .base import Estimate
from .covariance import moments, precise, unpredicted
from .filters import median_filter, middle
from .subspace import EDGE

Direction = Literal["columns", "rows"]

STEEPEST = 0.4
"""Tilts tried, in columns per row."""
TILTED = 3.0
"""How many times better than upright lines tilted ones have to agree."""
BLOCK = 3
"""Rows that are added up before tilts are tried."""
MOST_SPECTRA = 12
ROUNDS = 20
TUKEY = 4.7
NEAR = 7
SURE = 5.0
"""Standard errors from which an offset is one."""
MANY = 3.0
"""Variance of a band's offsets over their squared error from which the whole band is striped."""
CLIP = 2.5
LEAST = 8
"""Pixels that a line needs."""
BROAD = 25
"""Lines over which stripes in the scene's own spectra are averaged away: what is wider is the scene."""
WIDE = 51
"""The same for offsets that are not mixes of these spectra: a detector drifts more broadly than a scene has other colours."""
DARK = -0.6
"""Brightness relative to the rest of a line, less one, below which an area is dark."""
PARTS = 8
"""Parts of a line that have to agree on its offset."""


class Lines:
    """The lines of an image (h, w) at one tilt, laid upright: maps (..., h, n) with one column for each of n lines."""

    def __init__(self, inside: Tensor, slope: float) -> None:
        """Number the lines; `inside` (h, w) marks the pixels that there are."""
        height, width = inside.shape
        row = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
        first = (slope * row + 0.5).floor()
        share = (first - slope * row).remainder(1)  # how far a pixel is beyond the middle of a line
        margin = int(first[-1].abs()) + 2 if slope else 0  # on either side
        line = torch.arange(width + 2 * margin)
        column = line + first.long()[:, None] - margin
        self.there = ((column >= 0) & (column < width)).to(inside.device)
        self.column = column.clamp(0, width - 1).to(inside.device)
        self.line = (torch.arange(width) - first.long()[:, None] + margin).to(inside.device)
        self.low = (line - (first < slope * row)[:, None].long()).clamp(0).to(inside.device)
        self.share = share[:, None].to(inside.device, torch.float32)
        self.upright = not slope
        self.inside = self.sheared(inside)
        self.size = self.inside.sum(0)
        self.part = (self.inside.cumsum(0) - 1).clamp(0) * PARTS // self.size.clamp(min=1)

    def sheared(self, maps: Tensor) -> Tensor:
        """Return maps (..., h, w) with their lines upright, (..., h, n), 0 where there is no pixel."""
        if self.upright:
            return maps
        return maps.gather(-1, self.column.expand(*maps.shape[:-1], -1)) * self.there

    def back(self, maps: Tensor) -> Tensor:
        """Return maps (..., h, w) whose lines are upright (..., h, n)."""
        return maps if self.upright else maps.gather(-1, self.line.expand(*maps.shape[:-1], -1))

    def expand(self, offsets: Tensor) -> Tensor:
        """Return offsets (n, B) as maps (B, h, n), interpolated between lines."""
        offsets = offsets.T.to(torch.float32)
        if self.upright:
            return offsets[:, None].expand(-1, len(self.inside), -1)
        above = (self.low + 1).clamp(max=offsets.shape[1] - 1)
        return torch.lerp(offsets[:, self.low], offsets[:, above], self.share.expand(self.low.shape))


def remove(cube: Tensor, observed: Tensor, direction: Direction | None = None) -> Estimate:
    """Return a cube (B, h, w) less its stripes; what is not `observed` (B, h, w), or has none, comes back as it was."""
    values = torch.where(observed, cube, 0).float()
    best: tuple[float, Direction, float] = (0.0, direction or "columns", 0.0)
    for name in (direction,) if direction else ("columns", "rows"):
        score, slope = _tilt(_upright(values, name), _upright(observed, name))
        if score > best[0]:
            best = (score, name, slope)
    _, name, slope = best
    offset = _offsets(_upright(values, name), _upright(observed, name), slope)
    found = torch.where(observed, _upright(offset, name), 0).to(cube.dtype)
    return Estimate(cube - found, cube, cube.new_zeros(len(cube)), -1 if name == "rows" and found.any() else -2)


def _upright(cube: Tensor, direction: Direction) -> Tensor:
    """Return a cube (B, h, w) turned so that lines of this direction are columns; or one that was turned, as it was."""
    return cube.transpose(1, 2).contiguous() if direction == "rows" else cube


def _tilt(values: Tensor, seen: Tensor) -> tuple[float, float]:
    """Return how much of a cube (B, h, w) is constant along its columns, beyond chance, and the columns' slope."""
    height = values.shape[1]
    both = seen[:, :, 1:] & seen[:, :, :-1]
    whole = both.any(0)
    if height < LEAST or int(whole.sum()) < LEAST:
        return 0.0, 0.0
    left = (values - _projected(values, seen, *_spectra(values, seen, 0.0))) * seen
    steps = left.diff(dim=2).mul_(both)  # (B, h, w - 1): across the lines
    sigma = 1.4826 * steps[:, whole].abs().median(1).values + 1e-12
    steps = (steps / sigma[:, None, None]).clamp_(-CLIP, CLIP)
    blocks, size = (  # no line moves half a column within a block of rows
        functional.pad(a, (0, 0, 0, -height % BLOCK)).unflatten(-2, (-1, BLOCK)).sum(-2)
        for a in (steps, whole.to(steps))
    )
    table = functional.pad(torch.cat([blocks, size[None]]).flatten(1).T, (0, 0, 0, 1)).contiguous()  # last: no pixel

    def score(slope: float) -> float:
        """Return how many squared standard errors the means of the lines are away from 0, beyond chance, in all bands."""
        lines = Lines(size > 0, BLOCK * slope)
        at = torch.arange(len(size), device=size.device)[:, None] * size.shape[1] + lines.column
        total = table[torch.where(lines.there, at, len(table) - 1)].sum(0)  # (n, B + 1)
        z2 = total[:, :-1].square() / total[:, -1:].clamp(min=1)
        return float((z2 - SURE**2).clamp(min=0).sum())

    slopes = torch.linspace(-STEEPEST, STEEPEST, 2 * math.ceil(STEEPEST * height) + 1, dtype=torch.float64).tolist()
    slopes.sort(key=abs)
    upright = score(0.0)
    if upright > 5 * max(score(slope) for slope in slopes[1 :: max(1, len(slopes) // 8)]):
        return upright, 0.0
    best, slope = max((score(slope), -number) for number, slope in enumerate(slopes))
    return (best, slopes[-slope]) if best > TILTED * upright else (upright, 0.0)


def _offsets(values: Tensor, seen: Tensor, slope: float) -> Tensor:
    """Return the offsets (B, h, w) of the columns, tilted by `slope`, of a cube."""
    lines = Lines(seen.any(0), slope)
    vectors, noise = _spectra(values, seen, slope)  # (B, r), (B,)
    pixels, seen = lines.sheared(values), lines.sheared(seen)
    size = seen.sum(1).T  # (n, B)
    offset = _regress(precise(pixels.sum(1).T) / size.clamp(min=1), size, precise(vectors), precise(noise))
    used = size.amax(1) >= LEAST
    offset[used] -= median_filter(offset[used], WIDE)  # what is that wide is the scene
    offset = offset * (size >= LEAST)
    clean = _projected(pixels - lines.expand(offset), seen, vectors, noise)
    offset *= _sure(lines, (pixels - clean) * seen, seen, offset)
    if vectors.shape[1]:  # what all bands share, in the scene's own spectra
        scores = (pixels - lines.expand(offset)) * seen / noise[:, None, None]
        scores = torch.einsum("br,bhn->rhn", vectors, scores)
        offset = offset + _steps(lines, scores, 2 * SURE) @ precise(vectors * noise[:, None]).T
    else:
        offset = _steps(lines, pixels, SURE)
    return lines.back(_applied(lines, offset, pixels, seen, vectors, noise))


def _applied(lines: Lines, offset: Tensor, pixels: Tensor, seen: Tensor, vectors: Tensor, noise: Tensor) -> Tensor:
    """Return the offsets of pixels (B, h, n). In bands where stripes go with brightness (unequal gains), dark pixels have less."""
    level = lines.expand(offset)
    clean = _projected(pixels - level, seen, vectors, noise)
    mean = (clean * seen).sum(1) / seen.sum(1).clamp(min=1)
    usual = lines.expand(mean.T).clamp(min=1e-12)
    relative = torch.where(usual > 1e-6, (clean / usual).clamp(0, 4), 1) - 1
    varied = level * relative * seen
    share = ((pixels - clean - level) * varied).sum((1, 2)) / varied.square().sum((1, 2)).clamp(min=1e-30)
    share = torch.where(share < 0.25, 0, torch.where(share > 0.5, 1, share))
    applied = torch.addcmul(level, share[:, None, None] * level, relative)
    # Water and other dark areas have the offset only if they show it.
    dark = (relative < DARK) & seen
    shown = ((pixels - clean) * applied * dark).sum(1) > 0.5 * (applied.square() * dark).sum(1)
    return applied.masked_fill_(dark & ~shown[:, None], 0)


def _spectra(values: Tensor, seen: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Return the scene's spectra (B, r), bands divided by their noise, and that noise (B,): from differences along the lines."""
    most = min(12, values.shape[1] // 3)
    step = min(range(max(1, most // 2), most + 1), key=lambda n: abs(slope * n - round(slope * n)))
    shift = round(slope * step)
    low, high = max(0, -shift), values.shape[2] - max(0, shift)
    near, far = (
        (slice(None), slice(-step), slice(low, high)),
        (slice(None), slice(step, None), slice(low + shift, high + shift)),
    )
    both = seen[near] & seen[far]
    flat = torch.where(both, values[far] - values[near], 0)[:, both.any(0)]
    bands, count = flat.shape
    covariance = moments(flat)
    scale = covariance.diagonal().sqrt()
    if bands < 3 or count <= 2 * bands:
        return values.new_zeros(bands, 0), scale.clamp(min=1e-7).to(values)
    noise = torch.maximum(unpredicted(covariance), 1e-4 * scale.max() + 1e-12)
    variances, vectors = torch.linalg.eigh(covariance / noise / noise[:, None])
    edge = EDGE * (1 + (bands / count) ** 0.5) ** 2
    rank = max(1, min(MOST_SPECTRA, bands // 3))
    return vectors[:, -rank:][:, variances[-rank:] > edge].to(values), noise.to(values)


def _projected(pixels: Tensor, seen: Tensor, vectors: Tensor, noise: Tensor) -> Tensor:
    """Return pixels (B, h, n) as mixes of the spectra, about the mean of those `seen`."""
    mean = ((pixels * seen).sum((1, 2)) / seen.sum((1, 2)).clamp(min=1))[:, None, None]
    white = (pixels - mean).mul_(seen).div_(noise[:, None, None]).flatten(1)
    return torch.addcmul(mean, (vectors @ (vectors.T @ white)).view_as(pixels), noise[:, None, None])


def _steps(lines: Lines, maps: Tensor, sure: float) -> Tensor:
    """Return the offsets (n, k) of maps (k, h, n), each by itself: steps between neighbouring lines that all parts agree on.

    The step of a part is the median of its pixels' differences to their neighbours: an edge of the scene is not as long.
    """
    both = functional.pad(lines.inside[:, 1:] & lines.inside[:, :-1], (1, 0))
    difference = functional.pad(maps.diff(dim=2), (1, 0))
    parts = [both & (lines.part == number) for number in range(PARTS)]
    there = torch.stack([part.sum(0) >= 4 for part in parts])  # (PARTS, n)
    medians = [-torch.where(part, -difference, torch.nan).nanmedian(1).values.T for part in parts]
    median = precise(torch.stack(medians)).masked_fill(~there[..., None], 0)  # (PARTS, n, k)
    enough, middles, error = _agreement(median, there[..., None].expand_as(median))
    usual = middle(torch.where(enough, error, torch.nan), 0).nan_to_num(nan=torch.inf)
    error = torch.maximum(error, 0.5 * usual)
    profile = torch.where(enough & (middles.abs() > sure * error), middles, 0).cumsum(0)
    return profile - median_filter(profile, BROAD)


def _agreement(values: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether enough parts of lines have a value, (PARTS, n, k) where `there`, their mean, and its error: all (n, k)."""
    count = there.sum(0).clamp(min=1)
    mean = torch.where(there, values, 0).sum(0) / count
    variance = torch.where(there, values - mean, 0).square().sum(0) / (count - 1).clamp(min=1) / count
    return count >= PARTS // 2, mean, variance.sqrt()


def _sure(lines: Lines, residual: Tensor, seen: Tensor, offset: Tensor) -> Tensor:
    """Return how much of each offset (n, B) is to be taken off, 0 to 1.

    All of it where the residual (B, h, n) shows it in all parts of a line alike, far beyond their scatter. In a band where the
    lines in their majority have offsets beyond that scatter, each is taken as far as it is not the scatter's (Wiener).
    """
    own = torch.stack([lines.part == number for number in range(PARTS)]).to(residual)
    total, size = (precise(torch.einsum("phn,bhn->pnb", own, a)) for a in (residual, seen.to(residual)))
    there = size >= 2
    used = there.any(2).any(0)
    means = total / size.clamp(min=1e-9)
    means[:, used] -= median_filter(means[:, used], WIDE, axis=1)
    enough, middles, deviation = _agreement(means, there)
    error = deviation.square()
    usual = middle(torch.where(enough, error, torch.nan), 0).nan_to_num(nan=torch.inf)
    error = torch.maximum(error, 0.04 * usual)
    single = torch.minimum(offset.abs(), middles.abs()) > SURE * error.sqrt()
    variance = middle(torch.where(enough, offset.square(), torch.nan), 0).nan_to_num(nan=0) / 0.455
    dense = torch.where(variance > MANY * usual, 1 - usual / variance.clamp(min=1e-30), 0)
    return torch.where(single, 1.0, dense) * enough


def _regress(means: Tensor, size: Tensor, vectors: Tensor, noise: Tensor) -> Tensor:
    """Return the offsets (n, B) of the lines' means (n, B): bisquare regression of each line on the spectra.

    A line with many stripes has wrong answers that are stable too. So it starts from equal weights, from little trust in what
    is far from its neighbours in a band, and from its neighbours' answers; what leaves most bands alone is taken.
    """
    used = size.amax(1) >= LEAST
    z = means / noise
    level = middle(z[used], 0) if used.any() else torch.zeros_like(noise)
    beside = torch.zeros_like(z)
    beside[used] = (z[used] - median_filter(z[used], NEAR)).abs()
    trust = 1 / (1 + (beside / (middle(beside, 1)[:, None] + 1e-9)).square())
    best, score = z.new_full((len(z), 1), torch.inf), z.new_zeros(len(z), vectors.shape[1])
    unit: Tensor | None = None
    for start in ("equal", "trusted", "beside", "beside"):
        if start == "beside":
            weight = _bisquare(z - level - median_filter(score, 5) @ vectors.T)
        else:
            weight = trust if start == "trusted" else torch.ones_like(z)
        trial = score
        for _ in range(ROUNDS):
            trial = _weighted(z - level, weight * (size > 0), vectors)
            left = z - level - trial @ vectors.T
            weight = _bisquare(left)
        unit = middle(left.abs(), 1)[:, None] + 1e-9 if unit is None else unit
        cost = (left / unit).square().log1p().sum(1, keepdim=True)
        score = torch.where(cost < best, trial, score)
        best = torch.minimum(cost, best)
        if used.any():
            level = level + middle((z - level - score @ vectors.T)[used], 0)
    return (z - level - score @ vectors.T) * noise


def _weighted(z: Tensor, weight: Tensor, vectors: Tensor) -> Tensor:
    """Return the scores (n, r) of lines (n, B) by least squares with `weight` (n, B)."""
    rank = vectors.shape[1]
    products = (vectors[:, :, None] * vectors[:, None]).flatten(1)
    gram = (weight @ products).unflatten(1, (rank, rank)) + 1e-9 * torch.eye(rank).to(z)
    return torch.linalg.solve(gram, (weight * z) @ vectors)


def _bisquare(left: Tensor) -> Tensor:
    """Return Tukey's weights of residuals (n, B), scaled line by line."""
    sigma = 1.4826 * middle(left.abs(), 1)[:, None] + 1e-9
    return (1 - (left / (TUKEY * sigma)).square()).clamp(min=0).square() + 1e-6
