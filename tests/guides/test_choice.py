"""A date is predicted from those that together predict it best: the picks, their bounds, and what more dates give."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ngr_geo.guides import dates as guide
from ngr_geo.guides.base import Window
from ngr_geo.guides.choice import EXTRAS, REFERENCES, Choice, Pixels, carried_over, choose, weights_of

ROMANIA = Path(os.environ.get("NGR_GEO_DATA", "")) / "romania"


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _patches(images: Tensor) -> Tensor:
    """Return pixels (T, n) as patches (T, 1, 9, n) whose neighbours are noise."""
    patches = _noise(len(images), 1, 9, images.shape[1], seed=9)
    patches[:, 0, 4] = images
    return patches


def test_the_second_date_adds_to_the_first_however_little_it_says_alone() -> None:
    first, second = _noise(2, 2000, seed=0)
    target = first + 0.5 * second
    copies = first + 0.3 * _noise(6, 2000, seed=1)
    alone = 0.6 * second + 0.8 * _noise(2000, seed=2)
    picked = choose(_patches(torch.cat([copies, alone[None]])), target[None], range(7), [1.0] * 7)
    assert np.corrcoef(alone, target)[0, 1] < min(np.corrcoef(c, target)[0, 1] for c in copies)
    assert picked.references.index(6) == 1


def test_a_date_that_is_cloudy_in_the_gaps_counts_for_little() -> None:
    clear = torch.ones(100, 4, dtype=torch.bool)
    clear[:40, 0] = False
    clear[:40, 1] = False
    clear[40:80, 2] = False
    weights = weights_of(clear, 0, (1, 2, 3))
    assert weights == pytest.approx([0.001, 1.001, 1.001])
    target = _noise(1000, seed=3)
    images = target + torch.tensor([0.0, 0.3, 0.4, 0.6])[:, None] * _noise(4, 1000, seed=4)
    assert choose(_patches(images[1:]), target[None], (0, 1, 2), weights).references == (1, 2, 0)
    assert weights_of(clear[40:], 0, (1, 2)) == pytest.approx([1.001, 1.001])  # without gaps all count the same


def test_the_cost_is_bounded_and_nothing_is_picked_twice() -> None:
    patches, target = _noise(40, 2, 9, 500, seed=5), _noise(2, 500, seed=6)
    references, extras = choose(patches, target, range(1, 40), [1.0] * 39)
    assert (len(references), len(extras)) == (REFERENCES, EXTRAS)
    assert len({*references, *extras}) == REFERENCES + EXTRAS
    assert choose(patches, target, (3, 1), [1.0, 1.0]).extras == ()


def test_dates_near_in_time_are_kept_where_those_picked_do_not_carry_over() -> None:
    """Far dates show the forest outside the gap best, and tell nothing of the meadow in it."""

    def pixels(seed: int, share: float) -> Pixels:
        scene = _noise(1000, seed=seed)
        images = scene + 0.3 * _noise(10, 1000, seed=seed + 1)
        images[5:] = share * scene + (0.05 + (1 - share)) * _noise(5, 1000, seed=seed + 2)
        return Pixels(_patches(images), images[:, None], torch.ones(10, 1000, dtype=torch.bool))

    forest, meadow, dates = pixels(0, 1.0), pixels(10, 0.0), range(1, 10)
    found = choose(forest.patches, forest.values[0], dates, [1.0] * 9)
    assert set(found.references) & set(range(5, 10))
    assert carried_over(found, dates, forest, meadow) == Choice((1, 2, 3, 4), ())
    assert carried_over(found, dates, forest, pixels(20, 1.0)) == found
    hidden = meadow._replace(observed=torch.zeros_like(meadow.observed))
    assert carried_over(found, dates, forest, hidden) == found  # nothing tells


def _error(stack: np.ndarray, cloud: np.ndarray) -> float:
    """Return the error of the guide where the first date of a stack (T, B, h, w) has gaps (h, w), in decibels."""
    values = torch.from_numpy(stack.copy())
    values = (values - values.mean((2, 3), keepdim=True)) / values.std((2, 3), keepdim=True)
    observed = torch.ones(len(values), *cloud.shape, dtype=torch.bool)
    observed[0] = torch.from_numpy(~cloud)
    window = Window(values * observed[:, None], observed)
    fitted = guide.fit([window], [window], [0], list(range(len(values))))
    image = guide.predict(fitted, window, window, 0).image
    return float(10 * torch.log10((image - values[0])[:, ~observed[0]].square().mean()))


@pytest.mark.skipif(not ROMANIA.is_dir(), reason="NGR_GEO_DATA names no folder with the stack romania")
def test_more_dates_do_not_hurt() -> None:
    """Mean over three dates of a changing forest: 20 and 36 references do better than 3."""
    archive = np.load(ROMANIA / "clear.npz")
    stack, masks = archive["data"].astype(np.float32), np.load(ROMANIA / "masks_100.npz")["masks"].astype(bool)
    days = archive["dates"].astype("datetime64[D]").astype(float)
    few, more, most = list[float](), list[float](), list[float]()
    for number, target in enumerate((9, 16, 24)):
        order = np.argsort(np.abs(days - days[target]), kind="stable")
        order = np.concatenate([[target], order[order != target]])
        cloud = masks[np.argsort(np.abs(masks.mean((1, 2)) - 0.4))[number]]
        for found, count in ((few, 3), (more, 20), (most, 36)):
            found.append(_error(stack[order[: count + 1]], cloud))
    assert np.mean(more) < np.mean(few) - 0.3
    assert np.mean(most) < np.mean(more) + 0.1
