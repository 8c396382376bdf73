"""Gaussian noise: the cube in the spectral subspace that stands out of the noise, its coefficient images shrunk.

Bands are divided by their noise (whitened), so that the eigenvalues of pure noise lie below a known edge. What noise cannot
explain is put back: directions that only smooth maps reveal (plumes, narrow features), and single pixels (targets).

Ref.: Bioucas-Dias & Nascimento 2008 (HySime: noise by regression between bands), Marchenko & Pastur 1967 (the edge), Zhuang &
Bioucas-Dias 2018 (FastHyDe: denoising of the coefficient images).
"""

import torch
from torch import Tensor
from torch.nn import functional

from . import badlines, joint, shrinkage
from .base import Estimate
from .covariance import in_few_spectra, moments, precise, principal, unpredicted
from .filters import box_sum, nearest

EDGE = 1.05
"""Margin over the largest eigenvalue of noise."""
SMOOTH = 5
"""Side of the box that the residual is averaged over when smooth maps are looked for."""
LEAST_EXTRA, MOST_EXTRA = 3, 8
"""Directions of smooth maps that are taken; of rare pixels at most as many."""
RARE = 4.5
"""Standard deviations that noise passes once in 150 000 values."""
FEW_BANDS = 6
"""With fewer bands than this, noise is estimated from neighbouring pixels and not from other bands."""
GAP_SWEEPS = 4


def denoise(
    cube: Tensor, observed: Tensor, sigma: Tensor | None = None, rare: bool = True, groups: bool = True
) -> Estimate:
    """Return a cube less its Gaussian noise; `clean` is the cube with bad lines as repaired.

    Args:
        cube: (B, h, w), finite.
        observed: (B, h, w). Every band has observed entries. What is missing is completed on the way.
        sigma: (B,), the noise if it is known; else bad lines are found, too: as if they were missing.
        rare: put back what noise cannot explain: targets, narrow features. Not where impulses are left.
        groups: shrink groups of similar patches, too. Ten times as fast without.
    """
    region = _Region(observed.any(0))
    pixels, seen = region.pixels(cube), region.pixels(observed)
    if not bool(seen.all()):
        pixels = _complete(pixels, seen)
    bad = torch.zeros_like(observed)
    if sigma is None:
        bad, mended = badlines.mend(region.image(pixels, cube), observed, region.inside, _tell(pixels))
        if bad.any():
            observed = observed & ~bad
            region = _Region(observed.any(0))
            pixels, seen = region.pixels(mended), region.pixels(observed)
        del mended
    gaps = not bool(seen.all())
    level = noise_level(cube, observed, pixels) if sigma is None else precise(sigma)
    moving = level > 1e-7  # a constant band, or one without any noise, comes back as it is
    noise = level.to(cube)
    clean = pixels.clone()
    for left in reversed(range(GAP_SWEEPS if gaps else 1)):
        if not moving.any():
            break
        clean[moving] = _project(pixels[moving], region, noise[moving], rare and not left, groups and not left)
        if gaps:
            pixels = torch.where(seen, pixels, clean)
    image = region.image(clean, cube)
    return Estimate(image, torch.where(bad, image, cube), noise)


class _Region:
    """The pixels (n) of an image (h, w) that something is known of."""

    def __init__(self, inside: Tensor) -> None:
        """Take where they are, (h, w)."""
        self.inside = inside
        self.whole = bool(inside.all())
        self.near = None if self.whole or not inside.any() else nearest(inside)

    def pixels(self, maps: Tensor) -> Tensor:
        """Return the pixels (k, n) of maps (k, h, w)."""
        return maps.flatten(1) if self.whole else maps[:, self.inside]

    def image(self, pixels: Tensor, rest: Tensor) -> Tensor:
        """Return maps (k, h, w) of pixels (k, n), and of the `rest` (k, h, w) beside them."""
        if self.whole:
            return pixels.reshape(-1, *self.inside.shape)
        maps = rest.clone()
        maps[:, self.inside] = pixels
        return maps

    def extend(self, pixels: Tensor) -> Tensor:
        """Return maps (k, h, w) of pixels (k, n), in which each other pixel repeats the nearest one: no edge is seen there."""
        maps = self.image(pixels, pixels.new_zeros(len(pixels), *self.inside.shape))
        return maps if self.near is None else maps[:, *self.near]


def _tell(pixels: Tensor) -> bool:
    """Return whether bands (B, n) are so many, and pixels enough, that bands tell what noise is in another."""
    bands, count = pixels.shape
    return bands >= FEW_BANDS and count > 5 * bands


def noise_level(cube: Tensor, observed: Tensor, pixels: Tensor) -> Tensor:
    """Return the standard deviation of each band's noise (B,), `precise`.

    The part of a band that no linear mix of the others predicts; with few bands, or fewer pixels than that needs, what a
    second difference over rows and columns leaves (Immerkær 1996, with the median for the mean).
    """
    bands, count = pixels.shape
    if _tell(pixels):
        centred = pixels - pixels.mean(1, keepdim=True)
        covariance = moments(centred)
        found = unpredicted(covariance) * (count / (count - bands)) ** 0.5
        return torch.where(covariance.diagonal() > 1e-18, found, 0)
    return spatial_level(cube, observed)


def spatial_level(cube: Tensor, observed: Tensor) -> Tensor:
    """Return the noise of each band (B,) estimated from its own neighbouring pixels."""
    line = cube.new_tensor([1.0, -2, 1])
    kernel = (torch.outer(line, line) / 6)[None, None]
    result = cube.new_zeros(len(cube))
    if min(cube.shape[1:]) < 3:
        return precise(result)
    for band in range(len(cube)):
        left = functional.conv2d(cube[band][None, None], kernel)[0, 0]
        whole = functional.max_pool2d((~observed[band]).to(cube)[None, None], 3, 1)[0, 0] == 0
        if whole.any():
            result[band] = 1.4826 * left[whole].abs().median()
    return precise(result)


def _project(pixels: Tensor, region: _Region, sigma: Tensor, rare: bool, groups: bool) -> Tensor:
    """Return pixels (B, n) of a region denoised."""
    bands, count = pixels.shape
    mean = pixels.mean(1, keepdim=True)
    white = (pixels - mean) / sigma[:, None]
    values, vectors = principal(white)
    edge = EDGE * (1 + (bands / count) ** 0.5) ** 2
    vectors = vectors[:, values > edge].to(white)
    if rare or groups:
        vectors = _with_smooth(
            vectors, white, region, LEAST_EXTRA if groups else 0, MOST_EXTRA if rare else LEAST_EXTRA
        )
    if rare:
        vectors = _with_rare(vectors, white)
    rank = vectors.shape[1]
    scores = vectors.T @ white
    maps = region.extend(scores)
    found = shrinkage.shrink(maps, sigma.new_ones(rank))
    if groups:
        found = joint.shrink(maps, found, None if region.whole else region.inside)
    shrunk = region.pixels(found)
    if rare and rank:
        lost = scores - shrunk
        energy = lost.square().sum(0)
        scale = (energy.median() / max(rank - 2 / 3, 0.3)).clamp(min=1)
        back = (lost.abs() > RARE).any(0) | (energy > _chi2_edge(rank) * scale)
        shrunk = torch.where(back, scores, shrunk)
    return torch.addcmul(mean, sigma[:, None], vectors @ shrunk)


def _chi2_edge(degrees: int) -> float:
    """Return about the 1 - 3e-6 quantile of chi² (Wilson & Hilferty 1931)."""
    if degrees == 0:
        return float("inf")
    variance = 2 / (9 * degrees)
    return float(degrees * (1 - variance + RARE * variance**0.5) ** 3)


def _with_smooth(vectors: Tensor, white: Tensor, region: _Region, least: int, most: int) -> Tensor:
    """Return the subspace (B, r) with what its residual still holds of smooth maps: `least` to `most` directions.

    Those that stand out of smoothed noise, and the leading ones anyway: groups of similar patches find signal in them, too, and
    keep little where there is none.
    """
    free = len(white) - vectors.shape[1]
    residual = white - vectors @ (vectors.T @ white)
    maps = region.image(residual, residual.new_zeros(len(white), *region.inside.shape))
    size = region.pixels(box_sum(region.inside.to(maps)[None], SMOOTH))
    count = max(residual.shape[1] / SMOOTH**2, 1)
    edge = 1.2 * EDGE * (1 + (free / count) ** 0.5) ** 2 / SMOOTH**2
    return _joined(vectors, region.pixels(box_sum(maps, SMOOTH)) / size, edge, least, most)


def _with_rare(vectors: Tensor, white: Tensor) -> Tensor:
    """Return the subspace (B, r) with what its residual still holds of pixels too bright for noise."""
    free = len(white) - vectors.shape[1]
    residual = white - vectors @ (vectors.T @ white)
    energy = residual.square().sum(0)
    scale = (energy.median().clamp(min=1e-12) / max(free - 2 / 3, 0.3)).clamp(min=1)
    rare = energy > _chi2_edge(free) * scale
    if not rare.any() or float(rare.float().mean()) > 0.02:
        return vectors
    edge = EDGE * (1 + (free / int(rare.sum())) ** 0.5) ** 2 * float(scale)
    return _joined(vectors, residual[:, rare], edge, 0, MOST_EXTRA)


def _joined(vectors: Tensor, part: Tensor, edge: float, least: int, most: int) -> Tensor:
    """Return the subspace (B, r) with the directions of a part (B, n) of its residual whose variance is above an edge."""
    values, extra = principal(part)
    number = min(max(int((values > edge).sum()), least), most, len(vectors) - vectors.shape[1])
    if number < 1:
        return vectors
    return torch.linalg.qr(torch.cat([precise(vectors), extra[:, :number]], dim=1))[0].to(vectors)


def _complete(pixels: Tensor, seen: Tensor) -> Tensor:
    """Return pixels (B, n) with what is not `seen` at its band's mean, then predicted from the leading spectra."""
    count = seen.sum(1).clamp(min=1)
    mean = (pixels * seen).sum(1) / count
    filled = torch.where(seen, pixels, mean[:, None])
    for _ in range(2 * GAP_SWEEPS):
        filled = torch.where(seen, filled, in_few_spectra(filled, min(8, max(1, len(pixels) // 3))))
    return filled
