"""Stripes: offsets that are constant along a line of the detector, upright or slightly tilted.

Differences along a line hold no stripe, so they show which spectra the scene is made of. The mean of a line is then a mix of these
spectra plus its offset in each band; as most offsets are small, or few, a robust regression parts the two. Stripes that look like
the scene's own spectra (all bands brighter together) pass it: they are found as steps between neighbouring lines that go the
same way along their whole length. An offset that the scatter along a line can explain is left alone, so that a cube without
stripes comes back as it was.

Ref.: Bioucas-Dias & Nascimento 2008 (subspace), Beaton & Tukey 1974 (bisquare weights), Bouali & Ladjal 2011 (directional
differences), Rogass et al. 2014 (EnMAP columns).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor

from .covariance import principal, unpredicted
from .subspace import EDGE

Direction = Literal["columns", "rows"]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

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


@dataclass(frozen=True)
class Destriped:
    """`image` (B, h, w); `offset` (B, h, w), what was taken off; the stripes' `direction` and `slope`, columns per row."""

    image: Tensor
    offset: Tensor
    direction: Direction | None
    slope: float


class Lines:
    """The lines of an image (h, w) at one tilt: sums over them and back, only of pixels that are used."""

    def __init__(self, inside: NDArray[np.bool_], slope: float) -> None:
        """Number the lines; `inside` (h, w) marks the pixels that there are."""
        height, width = inside.shape
        rows, columns = np.nonzero(inside)
        at = columns - slope * (rows - (height - 1) / 2)
        first = int(np.floor(-abs(slope) * height / 2)) - 1
        self.at = at - first
        self.count = int(np.ceil(width + abs(slope) * height / 2)) + 2 - first
        nearest = np.rint(self.at).astype(int)
        self.sum = scipy.sparse.csr_matrix(
            (np.ones(len(at), np.float32), (nearest, np.arange(len(at)))), (self.count, len(at))
        )
        self.size = np.bincount(nearest, minlength=self.count)
        order = np.argsort(nearest, kind="stable")  # along each line by row
        rank = np.empty(len(at), np.int64)
        rank[order] = np.arange(len(at)) - (np.cumsum(self.size) - self.size).astype(int)[nearest[order]]
        self.part = rank * PARTS // np.maximum(self.size[nearest].astype(int), 1)

    def parts(self) -> list[Array]:
        """Return for each part of the lines which pixels (n, 1) are in it."""
        return [(self.part == k)[:, None].astype(np.float64) for k in range(PARTS)]

    def mean(self, pixels: Array, weight: Array) -> tuple[Array, Array]:
        """Return the mean (lines, B) of pixels (n, B) along each line, and the sum of weights."""
        total = self.sum @ weight
        return (self.sum @ (pixels * weight)) / np.maximum(total, 1e-9), total

    def expand(self, offsets: Array) -> Array:
        """Return offsets (lines, B) at the pixels (n, B), interpolated between lines."""
        low = np.floor(self.at).astype(int)
        share = (self.at - low)[:, None]
        if not share.any():
            return offsets[low]
        return offsets[low] * (1 - share) + offsets[np.minimum(low + 1, self.count - 1)] * share


def remove(cube: Tensor, observed: Tensor, direction: Direction | None = None) -> Destriped:
    """Return a cube (B, h, w) less its stripes; what is not `observed` (B, h, w), or has none, comes back as it was."""
    inside: Mask = observed.any(0).numpy()
    seen = observed.numpy() & inside
    values = np.where(seen, cube.numpy(), 0).astype(np.float64)
    best: tuple[float, Direction, float] = (0.0, direction or "columns", 0.0)
    for name in (direction,) if direction else ("columns", "rows"):
        frame, there = (values, seen) if name == "columns" else (values.transpose(0, 2, 1), seen.transpose(0, 2, 1))
        score, slope = _tilt(frame, there)
        if score > best[0]:
            best = (score, name, slope)
    _, name, slope = best
    turned = name == "rows"
    frame, there = (values.transpose(0, 2, 1), seen.transpose(0, 2, 1)) if turned else (values, seen)
    offset = _offsets(frame, there, slope)
    offset = np.ascontiguousarray(offset.transpose(0, 2, 1)) if turned else offset
    found = torch.from_numpy(np.where(seen, offset, 0)).to(cube.dtype)
    return Destriped(cube - found, found, name if bool(found.any()) else None, slope)


def _tilt(values: Array, seen: NDArray[np.bool_]) -> tuple[float, float]:
    """Return how much of a cube (B, h, w) is constant along its columns, beyond chance, and the columns' slope."""
    height = values.shape[1]
    vectors, noise = _spectra(values, seen, 0.0)
    inside: Mask = np.any(seen, axis=0)
    weight = seen[:, inside].T.astype(np.float64)
    left = np.zeros_like(values)
    left[:, inside] = ((values[:, inside].T - _projected(values[:, inside].T, weight, vectors, noise)) * weight).T
    both = seen[:, :, 1:] & seen[:, :, :-1]
    whole: Mask = np.any(both, axis=0)
    if whole.sum() < 8 or height < 8:
        return 0.0, 0.0
    steps = np.where(both, np.diff(left, axis=2), 0)  # (B, h, w - 1): across the lines
    sigma = 1.4826 * np.median(np.abs(steps[:, whole]), axis=1) + 1e-12
    steps = np.clip(steps / sigma[:, None, None], -CLIP, CLIP)
    starts = np.arange(0, height, BLOCK)  # no line moves half a column within a block of rows
    size = np.add.reduceat(whole.astype(np.float32), starts, axis=0)
    blocks = np.add.reduceat(steps, starts, axis=1)[:, size > 0].T.astype(np.float32)  # (n, B)

    def score(slope: float) -> float:
        """Return how many squared standard errors the means of the lines are away from 0, beyond chance, in all bands."""
        lines = Lines(size > 0, BLOCK * slope)
        z2 = (lines.sum @ blocks) ** 2 / np.maximum(lines.sum @ size[size > 0], 1)[:, None]
        return float(np.maximum(z2 - SURE**2, 0).sum())

    slopes = np.linspace(-STEEPEST, STEEPEST, 2 * int(np.ceil(STEEPEST * height)) + 1)
    slopes = slopes[np.argsort(np.abs(slopes), kind="stable")]
    upright = score(0.0)
    if upright > 5 * max(score(float(s)) for s in slopes[1 :: max(1, len(slopes) // 8)]):
        return upright, 0.0
    scores = [upright, *(score(float(s)) for s in slopes[1:])]
    best = int(np.argmax(scores))
    return (scores[best], float(slopes[best])) if scores[best] > TILTED * upright else (upright, 0.0)


def _offsets(values: Array, seen: NDArray[np.bool_], slope: float) -> Array:
    """Return the offsets (B, h, w) of the columns, tilted by `slope`, of a cube."""
    inside: Mask = np.any(seen, axis=0)
    lines = Lines(inside, slope)
    pixels, weight = values[:, inside].T, seen[:, inside].T.astype(np.float64)
    vectors, noise = _spectra(values, seen, slope)  # (B, r), (B,)
    means, size = lines.mean(pixels, weight)  # (lines, B)
    offset = _regress(means, size, vectors, noise)
    used = size.max(1) >= LEAST
    offset[used] -= median_filter(offset[used], (WIDE, 1), mode="mirror")  # what is that wide is the scene
    offset = offset * (size >= LEAST)
    clean = _projected(pixels - lines.expand(offset), weight, vectors, noise)
    offset *= _sure(lines, (pixels - clean) * weight, weight, offset)
    if vectors.shape[1]:  # what all bands share, in the scene's own spectra
        scores = ((pixels - lines.expand(offset)) * weight / noise) @ vectors
        offset = offset + _steps(lines, inside, scores, 2 * SURE) @ vectors.T * noise
    else:
        offset = _steps(lines, inside, pixels, SURE)
    out = np.zeros_like(values)
    out[:, inside] = _applied(lines, offset, pixels, weight, vectors, noise).T
    return out


def _applied(lines: Lines, offset: Array, pixels: Array, weight: Array, vectors: Array, noise: Array) -> Array:
    """Return the offsets at the pixels (n, B). In bands where stripes go with brightness (unequal gains), dark pixels have less."""
    level = lines.expand(offset)
    clean = _projected(pixels - level, weight, vectors, noise)
    mean, _ = lines.mean(clean, weight)
    usual = np.maximum(lines.expand(mean), 1e-12)
    relative = np.where(usual > 1e-6, np.clip(clean / usual, 0, 4), 1) - 1
    residual = (pixels - clean - level) * weight
    varied = level * relative * weight
    power = (varied**2).sum(0)
    share = np.clip((residual * varied).sum(0) / np.maximum(power, 1e-300), 0, 1)
    share[share < 0.25], share[share > 0.5] = 0, 1
    applied = level * (1 + share * relative)
    # Water and other dark areas have the offset only if they show it.
    dark = (relative < DARK) * weight
    shown = ((pixels - clean) * applied * dark).sum(0) > 0.5 * (applied**2 * dark).sum(0)
    return np.where((dark > 0) & ~shown, 0, applied)


def _spectra(values: Array, seen: NDArray[np.bool_], slope: float) -> tuple[Array, Array]:
    """Return the scene's spectra (B, r), bands divided by their noise, and that noise (B,): from differences along the lines."""
    most = min(12, values.shape[1] // 3)
    step = min(range(max(1, most // 2), most + 1), key=lambda n: abs(slope * n - round(slope * n)))
    shift = round(slope * step)
    low, high = max(0, -shift), values.shape[2] - max(0, shift)
    both = seen[:, :-step, low:high] & seen[:, step:, low + shift : high + shift]
    steps = np.where(both, values[:, step:, low + shift : high + shift] - values[:, :-step, low:high], 0)
    flat = steps[:, both.any(0)]
    bands, count = flat.shape
    covariance = flat @ flat.T / max(count, 1)
    scale = np.sqrt(np.diag(covariance))
    if bands < 3 or count <= 2 * bands:
        return np.zeros((bands, 0)), np.maximum(scale, 1e-7)
    noise = np.maximum(unpredicted(torch.from_numpy(covariance)).numpy(), 1e-4 * scale.max() + 1e-12)
    variances, vectors = principal(torch.from_numpy(flat / noise[:, None]))
    edge = EDGE * (1 + np.sqrt(bands / count)) ** 2
    rank = max(1, min(MOST_SPECTRA, bands // 3))
    return vectors[:, :rank][:, variances[:rank] > edge].numpy(), noise


def _projected(pixels: Array, weight: Array, vectors: Array, noise: Array) -> Array:
    """Return pixels (n, B) as mixes of the spectra, about their mean."""
    mean = (pixels * weight).sum(0) / np.maximum(weight.sum(0), 1)
    projected: Array = mean + ((pixels - mean) * weight / noise) @ vectors @ vectors.T * noise
    return projected


def _steps(lines: Lines, inside: NDArray[np.bool_], maps: Array, sure: float) -> Array:
    """Return the offsets (lines, n) of maps (pixels, n), each by itself: steps between neighbouring lines that all parts agree on.

    The step of a part is the median of its pixels' differences to their neighbours: an edge of the scene is not as long.
    """
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(int(inside.sum()))
    both = inside[:, 1:] & inside[:, :-1]
    here, beside = number[:, 1:][both], number[:, :-1][both]
    line, part = np.rint(lines.at[here]).astype(int), lines.part[here]
    group = line * PARTS + part
    size = np.bincount(group, minlength=lines.count * PARTS)
    at = np.minimum(np.cumsum(size) - size + size // 2, max(len(group) - 1, 0))
    offsets = np.zeros((lines.count, maps.shape[1]))
    there = (size >= 4).reshape(-1, PARTS)
    count = np.maximum(there.sum(1), 1)
    for k in range(maps.shape[1]):
        difference = maps[here, k] - maps[beside, k]
        if not len(difference):
            continue
        median = np.where(there, difference[np.lexsort((difference, group))][at].reshape(-1, PARTS), 0)
        middle = median.sum(1) / count
        error = np.sqrt((np.where(there, median - middle[:, None], 0) ** 2).sum(1) / np.maximum(count - 1, 1) / count)
        error = np.maximum(
            error, 0.5 * np.median(error[count >= PARTS // 2]) if (count >= PARTS // 2).any() else np.inf
        )
        step = np.where((count >= PARTS // 2) & (np.abs(middle) > sure * error), middle, 0)
        if step.any():
            profile = np.cumsum(step)
            offsets[:, k] = profile - median_filter(profile, BROAD, mode="mirror")
    return offsets


def _sure(lines: Lines, residual: Array, weight: Array, offset: Array) -> Array:
    """Return how much of each offset (lines, B) is to be taken off, 0 to 1.

    All of it where the residual (n, B) shows it in all parts of a line alike, far beyond their scatter. In a band where the lines
    in their majority have offsets beyond that scatter, each is taken as far as it is not the scatter's (Wiener).
    """
    parts = [lines.mean(residual * own, weight * own) for own in lines.parts()]
    there = np.stack([size >= 2 for _, size in parts])
    used = there.any((0, 2))
    means = np.stack([mean for mean, _ in parts])
    means[:, used] -= median_filter(means[:, used], (1, WIDE, 1), mode="mirror")
    means = np.where(there, means, 0)
    count = np.maximum(there.sum(0), 1)
    middle = means.sum(0) / count
    error = (np.where(there, means - middle, 0) ** 2).sum(0) / np.maximum(count - 1, 1) / count
    enough = count >= PARTS // 2
    usual = np.array([np.median(e[k]) if k.any() else np.inf for e, k in zip(error.T, enough.T, strict=True)])
    error = np.maximum(error, 0.04 * usual)
    single = np.minimum(np.abs(offset), np.abs(middle)) > SURE * np.sqrt(error)
    variance = np.array(
        [np.median(o[k] ** 2) / 0.455 if k.any() else 0 for o, k in zip(offset.T, enough.T, strict=True)]
    )
    dense = np.where(variance > MANY * usual, 1 - usual / np.maximum(variance, 1e-300), 0)
    sure: Array = np.where(single, 1.0, dense) * enough
    return sure


def _regress(means: Array, size: Array, vectors: Array, noise: Array) -> Array:
    """Return the offsets (lines, B) of the lines' means (lines, B): bisquare regression of each line on the spectra.

    A line with many stripes has wrong answers that are stable too. So it starts from equal weights, from little trust in what
    is far from its neighbours in a band, and from its neighbours' answers; what leaves most bands alone is taken.
    """
    used = size.max(1) >= LEAST
    z = means / noise
    level = np.median(z[used], axis=0) if used.any() else np.zeros(z.shape[1])
    beside = np.zeros_like(z)
    beside[used] = np.abs(z[used] - median_filter(z[used], (NEAR, 1), mode="mirror"))
    trust = 1 / (1 + (beside / (np.median(beside, axis=1, keepdims=True) + 1e-9)) ** 2)
    best, score = np.full(len(z), np.inf), np.zeros((len(z), vectors.shape[1]))
    unit: Array = np.zeros((0, 1))
    for start in ("equal", "trusted", "beside", "beside"):
        if start == "beside":
            weight = _bisquare(z - level - median_filter(score, (5, 1)) @ vectors.T)
        else:
            weight = trust if start == "trusted" else np.ones_like(z)
        trial = score
        for _ in range(ROUNDS):
            trial = _weighted(z - level, weight * (size > 0), vectors)
            left = z - level - trial @ vectors.T
            weight = _bisquare(left)
        unit = unit if len(unit) else np.full((len(z), 1), np.median(np.abs(left)) + 1e-9)
        cost = np.log1p((left / unit) ** 2).sum(1)
        better = cost < best
        best[better], score[better] = cost[better], trial[better]
        if used.any():
            level = level + np.median((z - level - score @ vectors.T)[used], axis=0)
    offsets: Array = (z - level - score @ vectors.T) * noise
    return offsets


def _weighted(z: Array, weight: Array, vectors: Array) -> Array:
    """Return the scores (lines, r) of lines (lines, B) by least squares with `weight` (lines, B)."""
    rank = vectors.shape[1]
    products = (vectors[:, :, None] * vectors[:, None, :]).reshape(len(vectors), rank**2)
    gram = (weight @ products).reshape(len(z), rank, rank) + 1e-9 * np.eye(rank)
    scores = np.linalg.solve(gram, ((weight * z) @ vectors)[..., None])[..., 0]
    return np.asarray(scores, np.float64)


def _bisquare(left: Array) -> Array:
    """Return Tukey's weights of residuals (lines, B), scaled line by line."""
    sigma = 1.4826 * np.median(np.abs(left), axis=1, keepdims=True) + 1e-9
    weight: Array = np.clip(1 - (left / (TUKEY * sigma)) ** 2, 0, None) ** 2 + 1e-6
    return weight
