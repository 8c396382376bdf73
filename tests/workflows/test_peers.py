"""Methods that ours are compared with recover what they must, keep what is observed, and cope with gaps in every date."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from peers import boosted, histogram, poisson, table
from peers.case import Case
from peers.prior import deep_image_prior

SIZE, GAP = 24, (slice(8, 14), slice(9, 17))
DAYS = np.array([2.0, 0.0, 4.0, 5.0])

ALLOWED = {
    "copy nearest": 0.35,  # the brightness of the nearest date
    "linear in time": 1e-5,
    "median": 0.35,
    "pixelwise regression": 0.01,
    "local regression": 0.01,
    "ridge 3x3": 0.01,
    "histogram + Poisson": 1e-3,
    "Whittaker": 1e-3,
    "VPint2-like": 1e-4,
    "boosted trees 3x3": 0.25,
    "DINEOF": 0.02,
    "HaLRTC": 0.02,
    "TNN-DCT": 0.1,
    "t-CTV": 0.1,
    "deep image prior": 0.5,
}
"""RMSE in the gap beside the standard deviation of the hidden values."""


@pytest.fixture(scope="module")
def stack() -> Case:
    """Return a stack of rank one that grows brighter linearly in time; its first date has a gap."""
    y, x = np.meshgrid(np.linspace(0, 3, SIZE), np.linspace(0, 4, SIZE), indexing="ij")
    pattern = (1.5 + np.sin(2 * y)) * (1.5 + np.cos(2 * x))
    gains = np.array([0.02, 0.03, 0.025, 0.08]) * (1 + 0.05 * DAYS[:, None])
    values = (gains[..., None, None] * pattern).astype(np.float32)
    observed = np.ones((4, SIZE, SIZE), bool)
    observed[0][GAP] = False
    return Case("synthetic", values, observed, ~observed, DAYS, (0,))


@pytest.mark.parametrize("method", ALLOWED)
def test_a_stack_of_rank_one_is_recovered(method: str, stack: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosted, "MOST_TREES", 40)
    if method == "deep image prior":
        found = np.where(stack.observed[:, None], stack.stack, deep_image_prior(stack.seen(), 60, 8))
    else:
        found = table.fill(stack, method)
    error, hidden = (image[0][:, stack.score[0]] for image in (found - stack.stack, stack.stack))
    share = np.sqrt((error**2).mean(1)) / hidden.std(1)
    assert share.max() < ALLOWED[method], share


def test_every_method_is_tried_here() -> None:
    assert set(ALLOWED) | set(table.SPATIAL) == set(table.METHODS)


@pytest.mark.parametrize("method", [name for name in table.METHODS if name != "deep image prior"])
def test_gaps_in_every_date_and_a_pixel_that_no_date_has(
    method: str, stack: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosted, "MOST_TREES", 3)
    observed = stack.observed.copy()
    observed[1, :9] = observed[2, :, :10] = observed[3, 10:, 10:] = False
    observed[:, 3:5, 3:5] = False  # on no date
    observed[0, 18:, :5] = False
    case = replace(stack, observed=observed, score=~observed, targets=(0, 3))
    found = table.fill(case, method)
    for date in range(4):
        seen = observed[date]
        np.testing.assert_array_equal(found[date][:, seen], stack.stack[date][:, seen])
    for date in case.targets:
        assert np.isfinite(found[date]).all()
    other = replace(case, stack=np.where(observed[:, None], case.stack, 9.0).astype(np.float32))
    again = table.fill(other, method)
    for date in case.targets:  # what is not observed is not looked at
        np.testing.assert_array_equal(found[date], again[date])


def test_fill_of_one_date_alone_between_its_neighbours(stack: Case) -> None:
    alone = replace(stack, stack=stack.stack[:1], observed=stack.observed[:1], score=stack.score[:1], days=DAYS[:1])
    for method in ("fillnodata", "biharmonic", "HaLRTC", "TNN-DCT", "t-CTV"):
        error = table.fill(alone, method)[0] - stack.stack[0]
        assert np.sqrt((error[:, stack.score[0]] ** 2).mean()) < 0.6 * stack.stack[0].std(), method


def test_histograms_are_moved_and_values_beyond_them_by_the_same_step() -> None:
    source = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, 101)
    both = np.ones((1, 101), bool)
    both[:, :10] = both[:, -10:] = False
    matched = histogram.match(source, 2 * source + 0.1, both)
    np.testing.assert_allclose(matched[0][both], (2 * source + 0.1)[0][both], atol=2e-3)
    np.testing.assert_allclose(matched[0, 0, [0, -1]], [0.2, 2.0], atol=3e-3)  # 0.1 -> 0.3 and 0.9 -> 1.9


def test_the_poisson_equation_gives_back_an_image_from_its_differences() -> None:
    image = np.random.default_rng(0).random((2, 9, 11))
    known = np.ones((9, 11), bool)
    known[2:7, 3:9] = False
    start = np.where(known, image, 0)
    np.testing.assert_allclose(poisson.solve(start, known, poisson.differences(image)), image, atol=1e-5)
    weight = tuple(1 + np.random.default_rng(1).random(part.shape) for part in poisson.differences(image))
    found = poisson.solve(start, known, poisson.differences(image), (weight[0], weight[1]))
    np.testing.assert_allclose(found, image, atol=1e-5)
    still = poisson.solve(start, known, poisson.differences(np.zeros_like(image)))
    mean = (still[:, 2, 4] + still[:, 4, 4] + still[:, 3, 3] + still[:, 3, 5]) / 4
    np.testing.assert_allclose(still[:, 3, 4], mean, atol=1e-5)  # without a gradient: the mean of the neighbours
