"""The patch posterior for missing entries: the Gaussian mean it claims to be, and no worse than its guide on any kind of gap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_cube import BANDS, SIZE, clean_cube, tensor

from ngr_geo.guides import entries, posterior


def on_missing(image: torch.Tensor, observed: np.ndarray) -> float:
    """PSNR of the entries that are missing in pixels of which something is observed."""
    where = ~observed & observed.any(0)
    return float(-10 * np.log10(((image.numpy() - clean_cube())[where] ** 2).mean()))


def holes(observed: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return tensor(np.where(observed, clean_cube(), 0)), torch.from_numpy(observed)


def scattered(share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(clean_cube().shape) < share


def test_a_patch_is_the_mean_of_the_dense_gaussian_posterior() -> None:
    """Prior: the group's covariance and a unit variance of each pixel's own; data: what is observed, with its noise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    bands, pixels, rank, side2, count = 7, 30, 3, 4, 5
    fit = posterior.Fit(draw(bands), draw(bands, rank), draw(bands).square() + 0.1)
    cube, maps = draw(bands, pixels), draw(pixels, rank)
    observed = draw(bands, pixels) > 0.3
    observed[:, 2] = False  # a pixel of which nothing is known
    members = torch.stack([torch.randperm(pixels, generator=generator)[: side2 * count] for _ in range(3)])
    members = members.view(3, side2, count)
    members[0, 0, 0] = 2
    found = posterior.patch_means(cube, observed, maps, members, fit)
    for group, mean in zip(members, found, strict=True):
        samples = maps[group].transpose(0, 1).flatten(1)  # (K, side² r)
        centred = samples - samples.mean(0)
        prior = torch.linalg.inv(centred.T @ centred / count + torch.eye(side2 * rank).double())
        system, right = prior.clone(), prior @ samples.mean(0)
        for k, pixel in enumerate(group[:, 0]):
            some, part = observed[:, pixel], slice(k * rank, (k + 1) * rank)
            weighted = fit.spectra[some].T / fit.noise[some]
            system[part, part] += weighted @ fit.spectra[some]
            right[part] += weighted @ (cube[some, pixel] - fit.mean[some])
        torch.testing.assert_close(mean.flatten(), torch.linalg.solve(system, right))


def test_entries_known_far_better_than_a_pixel_varies_are_no_evidence_of_what_none_of_them_shows() -> None:
    """Noise 10^-8 of the signal in a few bands, in float32: the mean is that of float64."""
    generator = torch.Generator().manual_seed(1)
    bands, pixels, rank, count = 20, 900, 12, 60
    spectra = torch.randn(bands, rank, generator=generator)
    fit = posterior.Fit(torch.zeros(bands), spectra, torch.full((bands,), 1e-7))
    maps = 30 * torch.randn(pixels, rank, generator=generator)
    cube, observed = spectra @ maps.T, torch.rand(bands, pixels, generator=generator) > 0.7
    members = torch.randint(pixels, (20, 9, count), generator=generator)
    found = posterior.patch_means(cube, observed, maps, members, fit)
    wide = posterior.Fit(*(part.double() for part in fit))
    expected = posterior.patch_means(cube.double(), observed, maps.double(), members, wide)
    torch.testing.assert_close(found, expected.float(), atol=0.3, rtol=0)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.97])
def test_scattered_entries_are_met_better_than_by_the_guide(share: float) -> None:
    observed = scattered(share)
    cube, seen = holes(observed)
    image, guide = posterior.complete(cube, seen)[0], entries.complete(cube, seen).image
    assert torch.equal(image[seen], cube[seen])
    assert on_missing(image, observed) > on_missing(guide, observed) + 0.3


def blobs(observed: np.ndarray) -> None:
    observed[:, 20:32, 30:44] = False


def frame(observed: np.ndarray) -> None:
    observed[:, :12] = False
    observed[:, :, -9:] = False


def block_of_bands(observed: np.ndarray) -> None:
    observed[:] = True
    observed[10:16, 20:40, 20:40] = False


@pytest.mark.parametrize("gaps", [blobs, frame, block_of_bands])
def test_other_gaps_beside_them_do_no_harm(gaps: Callable[[np.ndarray], None]) -> None:
    observed = scattered(0.15)
    gaps(observed)
    cube, seen = holes(observed)
    image, guide = posterior.complete(cube, seen)[0], entries.complete(cube, seen).image
    assert torch.equal(image[seen], cube[seen])
    assert image.isfinite().all()
    assert on_missing(image, observed) > on_missing(guide, observed)
    blind = ~observed.any(0)
    if blind.any():
        error, before = (((a.numpy() - clean_cube())[:, blind] ** 2).mean() for a in (image, guide))
        assert error < 1.1 * before


def test_a_whole_cube_is_not_touched_and_a_missing_band_does_not_stop_it() -> None:
    cube = tensor(clean_cube())
    assert posterior.complete(cube, torch.ones(cube.shape, dtype=torch.bool))[0] is cube
    observed = scattered(0.2)
    observed[7] = False
    image = posterior.complete(*holes(observed))[0]
    assert image.isfinite().all()


@pytest.mark.parametrize("shape", [(BANDS, 3, 3), (BANDS, 4, 9), (2, SIZE, SIZE), (5, 20, 20)])
def test_small_images_and_few_bands_are_filled(shape: tuple[int, int, int]) -> None:
    observed = np.random.default_rng(2).random(shape) < 0.6
    truth = clean_cube()[tuple(slice(n) for n in shape)]
    cube, seen = tensor(np.where(observed, truth, 0)), torch.from_numpy(observed)
    image = posterior.complete(cube, seen)[0]
    assert image.isfinite().all()
    assert torch.equal(image[seen], cube[seen])


def test_how_much_is_in_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cube, seen = (a[:, :32, :32].contiguous() for a in holes(scattered(0.1)))
    whole = posterior.complete(cube, seen)[0]
    assert torch.equal(whole, posterior.complete(cube, seen)[0])
    monkeypatch.setattr(posterior, "BLOCK", posterior.BLOCK // 16)
    torch.testing.assert_close(posterior.complete(cube, seen)[0], whole, rtol=0, atol=1e-5)


def test_other_gaps_of_a_cube_are_filled_as_was_chosen_for_the_first() -> None:
    def crop(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        cube, seen = holes(scattered(0.1, seed))
        return cube[:, :40, :40], seen[:, :40, :40]

    _, chosen = posterior.complete(*crop(0))
    assert chosen is not None and chosen.factors is not None and chosen.choice is not None
    cube, seen = crop(1)
    image, again = posterior.complete(cube, seen, chosen=chosen)
    guide = entries.complete(cube, seen, chosen=chosen.factors).image
    assert again is not None and again.choice is chosen.choice
    assert torch.equal(image[seen], cube[seen])
    truth, missing = tensor(clean_cube())[:, :40, :40], ~seen & seen.any(0)
    assert (image - truth)[missing].square().mean() < (guide - truth)[missing].square().mean()
    stay = posterior.Choice(1, 1.0, 1, torch.zeros(BANDS))
    assert torch.equal(posterior.complete(cube, seen, chosen=chosen._replace(choice=stay))[0], guide)
