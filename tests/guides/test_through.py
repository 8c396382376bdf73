"""The patch posterior for gaps through all bands: the Gaussian mean it claims to be, and better than the fill it starts from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_cube import BANDS, SIZE, clean_cube, tensor

from ngr_geo.guides import lines, through

COLUMNS = ((6, 1), (15, 2), (29, 3), (44, 1), (55, 2))


def dead(columns: tuple[tuple[int, int], ...] = COLUMNS) -> np.ndarray:
    observed = np.ones((BANDS, SIZE, SIZE), bool)
    for first, size in columns:
        observed[:, :, first : first + size] = False
    return observed


def holes(observed: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return tensor(np.where(observed, clean_cube(), 0)), torch.from_numpy(observed)


def error(image: torch.Tensor, observed: np.ndarray) -> float:
    return float(-10 * np.log10(((image.numpy() - clean_cube())[~observed] ** 2).mean()))


def test_a_patch_is_the_mean_of_the_dense_gaussian_posterior() -> None:
    """Prior: the weighted covariance of the group; data: the known pixels, with a share of the group's variance as noise."""
    generator = torch.Generator().manual_seed(0)
    pixels, rank, side2, count = 40, 3, 4, 6
    maps = torch.randn(pixels, rank, generator=generator, dtype=torch.float64)
    known = (torch.rand(pixels, generator=generator) < 0.6).double()
    members = torch.stack([torch.randperm(pixels, generator=generator)[: side2 * count] for _ in range(3)])
    members = members.view(3, side2, count)
    weights = torch.rand(3, count, generator=generator, dtype=torch.float64)
    weights[:, 0] = 0
    weights /= weights.sum(1, keepdim=True)
    found, _ = through.patch_means(maps, known, members, weights)
    for group, weight, mean in zip(members, weights, found, strict=True):
        samples = maps[group].transpose(0, 1).flatten(1)  # (K, side² r)
        middle = weight @ samples
        centred = (samples - middle) * weight.sqrt()[:, None]
        prior = centred.T @ centred
        noise = through.NOISE * centred.square().sum(0).view(side2, rank).mean(0).repeat(side2)
        use = known[group[:, 0]].repeat_interleave(rank) > 0
        gain = prior[:, use] @ torch.linalg.inv(prior[use][:, use] + torch.diag(noise[use]))
        torch.testing.assert_close(mean.flatten(), middle + gain @ (samples[0] - middle)[use])


@pytest.mark.parametrize("turned", [False, True])
def test_dead_lines_are_filled_better_than_from_their_sides(turned: bool) -> None:
    observed = dead()
    cube, seen = (a.transpose(1, 2).contiguous() if turned else a for a in holes(observed))
    image, start = through.fill(cube, seen)[0], lines.fill(cube, seen)
    assert torch.equal(image[seen], cube[seen])
    image, start = (a.transpose(1, 2) if turned else a for a in (image, start))
    assert error(image, observed) > error(start, observed) + 0.2


def test_one_line_and_wide_holes_do_no_harm() -> None:
    hole = dead(())
    hole[:, 20:36, 24:42] = False
    for observed in (dead(((30, 1),)), hole):
        cube, seen = holes(observed)
        image, start = through.fill(cube, seen)[0], lines.fill(cube, seen)
        assert torch.equal(image[seen], cube[seen])
        assert error(image, observed) > error(start, observed) - 0.1


def test_without_gaps_or_with_hardly_anything_known_nothing_is_tried() -> None:
    cube, seen = holes(dead(()))
    assert torch.equal(through.fill(cube, seen)[0], cube)
    for size in (3, 4):
        few, known = cube[:, :size, :size].contiguous(), seen[:, :size, :size].clone()
        known[:, :, 1] = False
        assert torch.equal(through.fill(few, known)[0], lines.fill(few, known))


def test_how_much_is_in_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cube, seen = (a[:, :, :40].contiguous() for a in holes(dead()))
    whole = through.fill(cube, seen)[0]
    assert torch.equal(whole, through.fill(cube, seen)[0])
    monkeypatch.setattr(through, "BLOCK", through.BLOCK // 16)
    torch.testing.assert_close(through.fill(cube, seen)[0], whole, rtol=0, atol=1e-5)


def test_a_nodata_frame_beside_the_lines_does_not_decide() -> None:
    """Lines like those to be filled are hidden, not the frame, which a patch does not reach across."""
    observed = dead()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frame = rows + columns < 40
    observed[:, frame] = False
    cube, seen = holes(observed)
    scored = observed | frame  # what is no line
    assert error(through.fill(cube, seen)[0], scored) > error(lines.fill(cube, seen), scored)
