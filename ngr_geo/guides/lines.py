"""Gaps that reach through all bands (dead lines, holes): the leading spectra's coefficient images, predicted from both sides.

A pixel of a dead line is predicted by a ridge regression on the known columns around it, fitted wherever the same columns and
their middle are known: kriging with the image's own covariances, across coefficients too. Then what is missing is denoised again
and again with a falling threshold, so that edges and textures grow into the gap from the whole of their patches; wider holes
have this alone. Ref.: Cressie 1993 (kriging), Guleryuz 2006 and Cai, Chan & Shen 2008 (iterated shrinkage).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .covariance import principal
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


def fill(cube: Tensor, observed: Tensor) -> Tensor:
    """Return a cube (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was."""
    start = interpolate(cube, observed)
    whole = observed.all(0)
    if int(whole.sum()) < 2 * len(cube):
        return start
    pixels = start[:, whole].double()
    mean = pixels.mean(1)
    unit = pixels.std(1).clamp(min=1e-9)
    centred = (pixels - mean[:, None]) / unit[:, None]
    vectors = principal(centred)[1][:, :SPECTRA].float()
    mean, unit = mean.float()[:, None, None], unit.float()[:, None, None]
    standard = (start - mean) / unit
    target = torch.einsum("br,bhw->rhw", vectors, standard)
    rest = standard - torch.einsum("br,rhw->bhw", vectors, target)
    predicted, reached = _from_sides(target.numpy().astype(np.float64), whole.numpy())
    maps = torch.from_numpy(predicted).float()
    deviation = target[:, whole].std(1).clamp(min=1e-9)
    parts = _around(~whole.numpy())
    for level in np.geomspace(NEAR if reached.all() else WIDE, LAST, SWEEPS):
        sigma = float(level) / 2.6 * deviation
        for part in parts:
            shrunk = shrink(maps[..., *part].contiguous(), sigma, PATCH, wiener=False)
            maps[..., *part] = torch.where(whole[part], target[..., *part], shrunk)
    image = mean + unit * (torch.einsum("br,rhw->bhw", vectors, maps) + rest)
    return torch.where(observed, cube, image)


def _around(gap: NDArray[np.bool_]) -> list[tuple[slice, slice]]:
    """Return windows apart from each other that hold all gaps (h, w), and all patches that reach into them."""
    runs = []
    for axis in (0, 1):
        near = np.convolve(gap.any(1 - axis), np.ones(2 * PATCH - 1))[PATCH - 1 : -PATCH + 1] > 0
        ends = np.flatnonzero(np.diff(np.pad(near, 1).astype(np.int8)))
        runs.append([slice(int(a), int(b)) for a, b in ends.reshape(-1, 2)])
    return [(rows, columns) for rows in runs[0] for columns in runs[1] if gap[rows, columns].any()]


def _from_sides(maps: NDArray[np.float64], known: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return maps (r, h, w) predicted where not `known` (h, w), and where they are known or were reached.

    Across the shorter way: along rows where the gap is narrower from left to right, else along columns.
    """
    across, down = _span(known), _span(known.T).T
    predicted, reached = maps.copy(), known.copy()
    for turned in (False, True):
        want = ~known & ((down < across) if turned else (across <= down))
        if turned:
            out, got = _columns(maps.transpose(0, 2, 1), known.T, want.T)
            out, got = out.transpose(0, 2, 1), got.T
        else:
            out, got = _columns(maps, known, want)
        predicted[:, got] = out[:, got]
        reached |= got
    return predicted, reached


def _columns(
    maps: NDArray[np.float64], known: NDArray[np.bool_], want: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return maps (r, h, w) predicted from the known columns to either side where `want` (h, w), and where that was possible."""
    count, height, width = maps.shape
    padded = np.pad(maps, ((0, 0), (ROWS, ROWS), (REACH, REACH)), mode="edge")
    clear = np.pad(known, ((0, 0), (REACH, REACH)))
    offsets = [d for d in range(-REACH, REACH + 1) if d]
    code = np.zeros(known.shape, np.int64)
    for bit, d in enumerate(offsets):
        code |= clear[:, REACH + d : REACH + d + width].astype(np.int64) << bit
    out, got = maps.copy(), np.zeros(known.shape, bool)
    for pattern in np.unique(code[want]).tolist():
        chosen = [d for bit, d in enumerate(offsets) if pattern >> bit & 1]
        if not any(d < 0 for d in chosen) or not any(d > 0 for d in chosen):
            continue
        sides = (max(d for d in chosen if d < 0), min(d for d in chosen if d > 0))
        own = [(dy, d) for d in chosen for dy in range(-ROWS, ROWS + 1)]
        other = [(dy, d) for d in sides for dy in (-1, 0, 1)]
        learn, use = known & (code & pattern == pattern), want & (code == pattern)
        if learn.sum() < 2 * (len(own) + len(other) * CROSSED):
            continue
        thin = np.flatnonzero(learn)
        learn = np.zeros(known.shape, bool)
        learn.flat[thin[:: max(1, len(thin) // LEARN)]] = True

        def take(number: int, where: NDArray[np.bool_], places: list[tuple[int, int]]) -> NDArray[np.float64]:
            views = [
                padded[number, ROWS + dy : ROWS + dy + height, REACH + d : REACH + d + width][where] for dy, d in places
            ]
            return np.stack(views)

        beside = [(take(k, learn, other), take(k, use, other)) for k in range(min(CROSSED, count))]
        for number in range(count):
            others = [pair for k, pair in enumerate(beside) if k != number]
            design = np.concatenate([take(number, learn, own), *(a for a, _ in others)])
            apply = np.concatenate([take(number, use, own), *(b for _, b in others)])
            gram = design @ design.T
            gram[np.diag_indices_from(gram)] *= 1 + RIDGE
            gram[np.diag_indices_from(gram)] += 1e-9 * max(gram.diagonal().max(), 1e-30)
            out[number][use] = np.linalg.solve(gram, design @ maps[number][learn]) @ apply
        got |= use
    return out, got


def _span(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how far apart the nearest known pixels to the left and to the right are (h, w); the width and more at an edge."""
    width = known.shape[1]
    index = np.arange(width)[None]
    left = np.maximum.accumulate(np.where(known, index, -width), axis=1)
    right = np.minimum.accumulate(np.where(known, index, 2 * width)[:, ::-1], axis=1)[:, ::-1]
    span: NDArray[np.int64] = right - left
    return span


def interpolate(cube: Tensor, observed: Tensor) -> Tensor:
    """Return a cube (B, h, w) with each gap interpolated linearly across its shorter extent, band by band.

    Along a row the nearest observed values left and right, along a column those above and below, weighted by one over the
    distance between the two: a dead column is filled from its sides. Where a band has nothing in row or column, its mean.
    """
    image = cube.clone()
    for band, seen in enumerate(observed.numpy()):
        if not seen.all():
            filled = _interpolate(cube[band].numpy().astype(np.float64), seen)
            image[band] = torch.where(observed[band], cube[band], torch.from_numpy(filled).to(cube.dtype))
    return image


def _interpolate(values: NDArray[np.float64], have: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return one band (h, w) interpolated."""
    total, weight = np.zeros_like(values), np.zeros_like(values)
    for axis in (0, 1):
        size = values.shape[axis]
        index = np.arange(size).reshape((-1, 1) if axis == 0 else (1, -1))
        before = np.maximum.accumulate(np.where(have, index, -1), axis=axis)
        after = np.flip(np.minimum.accumulate(np.flip(np.where(have, index, size), axis), axis=axis), axis)
        low, high = before >= 0, after < size
        a = np.take_along_axis(values, np.maximum(before, 0), axis)
        b = np.take_along_axis(values, np.minimum(after, size - 1), axis)
        span = np.maximum(after - before, 1)
        share = np.where(low & high, (index - before) / span, np.where(low, 0.0, 1.0))
        found = low | high
        gain = np.where(low & high, 1.0 / span**2, np.where(found, 1e-3 / size**2, 0))
        total += gain * (a * (1 - share) + b * share)
        weight += gain
    mean = float(values[have].mean()) if have.any() else 0.0
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), mean)
