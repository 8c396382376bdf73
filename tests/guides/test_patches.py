"""Groups of similar patches: found exactly, within reach, itself first; means of estimates are what a loop over patches gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngr_geo.guides import patches


@given(
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    step=st.integers(1, 4),
    reach=st.integers(0, 4),
    count=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_the_most_similar_patches_are_found(
    height: int, width: int, step: int, reach: int, count: int, seed: int
) -> None:
    """By all distances between all patches within reach, whose order is that of the groups."""
    side = 3
    images = torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))
    found = patches.similar(images, side, step, reach, count)
    rows, columns = patches.count_of(images.shape, side)
    all_of_them = patches.windows(images, side)
    grid = [
        y * columns + x
        for y in sorted({*range(0, rows, step), rows - 1})
        for x in sorted({*range(0, columns, step), columns - 1})
    ]
    assert found[:, 0].tolist() == grid
    for at, group in zip(grid, found, strict=True):
        y, x = divmod(at, columns)
        near = torch.tensor(
            [
                v * columns + u
                for v in range(max(0, y - reach), min(rows, y + reach + 1))
                for u in range(max(0, x - reach), min(columns, x + reach + 1))
            ]
        )
        expected = (all_of_them[near] - all_of_them[at]).square().sum(1).sort().values[: found.shape[1]]
        assert torch.isin(group, near).all()
        assert len(set(group.tolist())) == len(group)
        torch.testing.assert_close((all_of_them[group] - all_of_them[at]).square().sum(1), expected)


def test_patches_that_hold_other_pixels_take_no_part() -> None:
    """Groups are those of the patches within; they end with -1 where there are too few."""
    images = torch.randn(2, 14, 12, generator=torch.Generator().manual_seed(4))
    inside = torch.ones(14, 12, dtype=torch.bool)
    inside[:6, 5:] = False
    found = patches.similar(images, 3, 2, 20, 100, inside)
    usable = patches.windows(inside.float()[None], 3).all(1)
    assert usable[found[found >= 0]].all()
    assert (found < 0).any() and not (found[:, 0] < 0).any()
    assert (found[:, 1:][found[:, :-1] < 0] < 0).all()
    everything = patches.similar(images, 3, 2, 20, 120)
    kept = [[int(i) for i in group if usable[i]] for group in everything if usable[group[0]]]
    assert [[int(i) for i in group if i >= 0] for group in found] == kept


def test_memory_at_a_time_does_not_change_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some rows of the grid after the others are the same as all at once."""
    images = torch.randn(3, 40, 31, generator=torch.Generator().manual_seed(0))
    whole = patches.similar(images, 3, 2, 5, 20)
    monkeypatch.setattr(patches, "BLOCK", 3 * 11**2 * 15)
    assert torch.equal(patches.similar(images, 3, 2, 5, 20), whole)


def test_a_mean_of_estimates_is_that_of_a_loop() -> None:
    """Each pixel is the weighted mean of the patches that hold it; where there are none it is 0 with weight 0."""
    images = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    side, columns = 3, 6
    places = torch.tensor([[0, 3], [3, 20]])
    estimates = torch.randn(2, 2, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = torch.tensor([[1.0, 2.0], [0.5, 3.0]], dtype=torch.float64)
    total, weight = torch.zeros_like(images), torch.zeros(9, 8, dtype=torch.float64)
    for place, estimate, w in zip(places.flatten().tolist(), estimates.reshape(4, -1), weights.flatten(), strict=True):
        y, x = divmod(place, columns)
        total[:, y : y + side, x : x + side] += w * estimate.reshape(2, side, side)
        weight[y : y + side, x : x + side] += w
    mean = patches.Mean(images, side)
    mean.add(places, estimates, weights)
    found, sum_of_weights = mean.images()
    torch.testing.assert_close(sum_of_weights, weight)
    torch.testing.assert_close(found, torch.where(weight > 0, total / weight.clamp(min=1e-9), 0))


def test_all_patches_give_the_images_back() -> None:
    """The mean of every patch as it is, whatever the weights, is the image."""
    images = torch.randn(2, 10, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean = patches.Mean(images, 4)
    every = patches.windows(images, 4)
    mean.add(torch.arange(len(every)), every, torch.rand(len(every), dtype=torch.float64) + 0.1)
    torch.testing.assert_close(mean.images()[0], images)
