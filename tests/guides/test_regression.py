"""The scene regression: what a linear map cannot say, its radial functions do; both alike for any way the pixels are added."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ngr_geo.guides import regression


def case(seed: int, side: int = 72) -> tuple[Tensor, Tensor, Tensor]:
    """Return a stack (3, 2, h, w) whose first date is a curved function of the two others, landmarks, and all observed."""
    generator = torch.Generator().manual_seed(seed)
    stack = torch.randn(3, 2, side, side, generator=generator)
    stack[0] = torch.tanh(2 * stack[1]) + 0.5 * stack[1].flip(0) * stack[2]
    landmarks = stack[1:].flatten(0, 1).flatten(1).T[: regression.LANDMARKS].contiguous()
    return stack, landmarks, torch.ones(3, side, side, dtype=torch.bool)


def fitted(stack: Tensor, landmarks: Tensor, observed: Tensor, parts: int = 1) -> tuple[regression.Regression, Tensor]:
    """Return the regression of the first date on the others, learnt from the upper half, and what it predicts of the lower."""
    bare = stack.clone()
    bare[0] = 0  # what the low-rank model expects: nothing
    problem = regression.problem(bare, observed, 0, (1, 2), (), landmarks)
    use = torch.zeros_like(observed[0])
    use[: len(use) // 2] = True
    moments = regression.Moments((1, 2), (), landmarks, stack[0])
    for part in range(parts):
        mine = use & (torch.arange(len(use)) % parts == part)[:, None]
        moments.add(problem, stack[0], mine)
    model = moments.solve()
    return model, regression.predict(model, problem)


def error(predicted: Tensor, truth: Tensor) -> float:
    """Return the share of the variance in the lower half that is not predicted."""
    low = slice(truth.shape[1] // 2, None)
    return float((predicted - truth)[:, low].square().mean() / truth[:, low].var())


def test_radial_functions_predict_what_a_linear_map_cannot() -> None:
    stack, landmarks, observed = case(0)
    curved = error(fitted(stack, landmarks, observed)[1], stack[0])
    straight = error(fitted(stack, landmarks[:0], observed)[1], stack[0])
    assert straight > 0.15
    assert curved < straight / 3


def test_pixels_can_be_added_in_any_number_of_parts() -> None:
    stack, landmarks, observed = case(1)
    whole, parts = (fitted(stack, landmarks, observed, n)[0].coefficients for n in (1, 5))
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-3)


def test_far_from_all_landmarks_the_regression_is_linear() -> None:
    _, landmarks, _ = case(2)
    far = torch.full((4, 1), 100.0)
    assert float(regression.radial(far, landmarks).abs().max()) == 0
    near = regression.radial(landmarks.T, landmarks)
    torch.testing.assert_close(near, near.T)
    torch.testing.assert_close(near.diagonal(), torch.ones(len(landmarks)), atol=1e-4, rtol=0)
    pair = landmarks[:2]
    expected = math.exp(-0.5 * float((pair[0] - pair[1]).square().sum()) / 4)
    assert abs(float(near[0, 1]) - expected) < 1e-5


def test_what_few_pixels_show_is_not_carried_far_by_the_local_correction() -> None:
    use = torch.zeros(100, 100, dtype=torch.bool)
    use[:5, :5] = True
    correction = regression.local(torch.zeros(1, 100, 100), torch.ones(1, 100, 100), use)[0]
    assert correction[:5, :5].min() > 0.4
    assert correction[30:, 30:].max() < 0.2
