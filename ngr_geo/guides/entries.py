"""Missing entries, different ones in each band: low-rank factors whose coefficient images are smooth but for edges.

The cube is  X = U C  with few spectra U (B, r) and coefficient images C (r, h, w). In turn U is fitted band by band and C pixel
by pixel, coupled to its neighbours with weights that fall with the step between them (IRLS of total variation); the rank grows
by one each time. How many spectra, and how smooth their images: what predicts hidden entries best.

Ref.: Haldar & Hernando 2009 (rank continuation), Daubechies et al. 2010 (IRLS), Rudin, Osher & Fatemi 1992 (total variation).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .covariance import principal
from .lines import interpolate

HIDDEN = 0.02
"""Share of the observed entries that is hidden to choose by."""
MOST_RANK = 14
COUPLINGS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""Candidates for the squared misfit that a step of one standard deviation between neighbours costs; the cube's range is 1."""
START = 3e-5
EDGE = 0.1
"""Steps between neighbours, in standard deviations, from which they count as edges."""
INNER = 6
"""Red-black sweeps over the pixels between two fits of the spectra."""
LAST = 5
BOX = 5


def complete(cube: Tensor, observed: Tensor, seed: int = 0) -> Tensor:
    """Return a cube (B, h, w) with what is not `observed` (B, h, w) filled; the rest as it was. The range is about 1."""
    bands = len(cube)
    used = observed & (torch.rand(observed.shape, generator=torch.Generator().manual_seed(seed)) > HIDDEN)
    hidden = observed & ~used
    if bands < 2 or min(cube.shape[1:]) < 2 or int(used.sum()) < 20 * bands or not used.flatten(1).any(1).all():
        return interpolate(cube, observed)
    known = cube * used
    # Rank: grow it with some entries hidden, keep what predicts them best.
    path = []
    spectra, maps = _first(known, used)
    for rank in range(1, min(MOST_RANK, bands - 1) + 1):
        if rank > 1:
            spectra, maps = _grown(known, used, spectra, maps)
        spectra, maps = _sweep(known, used, spectra, maps, START)
        path.append((_misfit(cube, hidden, spectra, maps), spectra, maps))
    misfit, spectra, maps = min(path, key=lambda p: p[0])
    # Smoothness: from there up and down, as long as it helps.
    coupling = START
    for candidates in (COUPLINGS[COUPLINGS.index(START) + 1 :], COUPLINGS[: COUPLINGS.index(START)][::-1]):
        for candidate in candidates:
            trial = spectra, maps
            for _ in range(LAST):
                trial = _sweep(known, used, *trial, candidate)
            error = _misfit(cube, hidden, *trial)
            if error >= misfit:
                break
            misfit, coupling = error, candidate
        if coupling != START:
            break
    for _ in range(LAST):
        spectra, maps = _sweep(cube * observed, observed, spectra, maps, coupling)
    return torch.where(observed, cube, _image(spectra, maps))


def _image(spectra: Tensor, maps: Tensor) -> Tensor:
    return torch.einsum("br,rhw->bhw", spectra, maps)


def _misfit(cube: Tensor, where: Tensor, spectra: Tensor, maps: Tensor) -> float:
    """Return the mean log RMSE of the bands on hidden entries."""
    error = ((_image(spectra, maps) - cube) ** 2 * where).sum((1, 2)).double()
    count = where.sum((1, 2))
    return float((error[count > 0] / count[count > 0] + 1e-12).log().mean())


def _first(cube: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return one spectrum (B, 1), the mean, and its smooth image (1, h, w)."""
    spectrum = cube.sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)
    top, bottom = (cube * spectrum[:, None, None]).sum(0), (observed * spectrum[:, None, None] ** 2).sum(0)
    both = functional.pad(torch.stack([top, bottom])[None], (BOX // 2,) * 4, mode="replicate")
    top, bottom = functional.avg_pool2d(both, BOX, 1)[0]
    usual = float(top.sum() / bottom.sum().clamp(min=1e-12))
    return spectrum[:, None], torch.where(bottom > 1e-9, top / bottom.clamp(min=1e-9), usual)[None]


def _grown(cube: Tensor, observed: Tensor, spectra: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors with one more: the leading spectrum of the smoothed residual."""
    residual = (cube - _image(spectra, maps)) * observed
    smooth = functional.avg_pool2d(residual[None], BOX, 1, BOX // 2, count_include_pad=False)[0]
    share = functional.avg_pool2d(observed.to(cube)[None], BOX, 1, BOX // 2, count_include_pad=False)[0]
    flat = (smooth / share.clamp(min=1 / BOX**2)).flatten(1)
    new = principal(flat.double())[1][:, :1].to(cube)
    return torch.cat([spectra, new], 1), torch.cat([maps, (new.T @ flat).reshape(1, *maps.shape[1:])])


def _sweep(cube: Tensor, observed: Tensor, spectra: Tensor, maps: Tensor, coupling: float) -> tuple[Tensor, Tensor]:
    """Return the factors after one fit of the images and one of the spectra; spectra orthonormal, images uncorrelated."""
    maps = _fit_maps(cube, observed, spectra, maps, coupling)
    spectra = _fit_spectra(cube, observed, maps)
    q, r = torch.linalg.qr(spectra.double())
    left, values, right = torch.linalg.svd(r @ maps.flatten(1).double(), full_matrices=False)
    return (q @ left).float(), (values[:, None] * right).reshape(maps.shape).float()


def _fit_maps(cube: Tensor, observed: Tensor, spectra: Tensor, maps: Tensor, coupling: float) -> Tensor:
    """Return the images (r, h, w): red-black Gauss-Seidel sweeps on the pixels' normal equations and their couplings."""
    bands, height, width = cube.shape
    rank = spectra.shape[1]
    left = ((cube - _image(spectra, maps)) * observed).square().sum((1, 2)) / observed.sum((1, 2)).clamp(min=1)
    left = left.clamp(min=1e-3 * float(left.mean()) + 1e-12)
    weight = (left.median() / left).sqrt().clamp(0.05, 20)  # bands that fit badly count less
    unit = maps.std((1, 2)).clamp(min=1e-6)
    scaled = maps / unit[:, None, None]
    down, right = (1 / (torch.diff(scaled, dim=d).square().mean(0) + EDGE**2).sqrt() for d in (1, 2))
    degree = torch.zeros(height, width)
    degree[:-1] += down
    degree[1:] += down
    degree[:, :-1] += right
    degree[:, 1:] += right
    penalty = coupling / unit**2
    products = (spectra[:, :, None] * spectra[:, None, :]).reshape(bands, rank**2)
    gram = (observed.to(cube).flatten(1).T @ (weight[:, None] * products)).reshape(height, width, rank, rank)
    gram += (degree[..., None] * penalty + 1e-2 * penalty)[..., None] * torch.eye(rank)
    inverse = torch.linalg.inv(gram)
    fixed = (cube.flatten(1).T @ (weight[:, None] * spectra)).reshape(height, width, rank)
    image = maps.permute(1, 2, 0).contiguous()
    odd = (torch.arange(height)[:, None] + torch.arange(width)[None]) % 2 == 1
    parts = [(where, inverse[where]) for where in (odd, ~odd)]
    for _ in range(INNER):
        for where, inner in parts:
            near = torch.zeros_like(image)
            near[:-1] += down[..., None] * image[1:]
            near[1:] += down[..., None] * image[:-1]
            near[:, :-1] += right[..., None] * image[:, 1:]
            near[:, 1:] += right[..., None] * image[:, :-1]
            wanted = fixed + penalty * near
            image[where] = (inner @ wanted[where][..., None])[..., 0]
    return image.permute(2, 0, 1).contiguous()


def _fit_spectra(cube: Tensor, observed: Tensor, maps: Tensor) -> Tensor:
    """Return the spectra (B, r): each band regressed on the images where it is observed."""
    rank = len(maps)
    flat = maps.flatten(1)
    products = (flat[:, None] * flat[None]).reshape(rank**2, -1)
    gram = (observed.to(cube).flatten(1) @ products.T).reshape(-1, rank, rank).double()
    right = (cube.flatten(1) @ flat.T).double()
    gram += torch.diag_embed(1e-4 * gram.diagonal(dim1=1, dim2=2) + 1e-8)
    return torch.linalg.solve(gram, right).float()
