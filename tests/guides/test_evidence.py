"""The regression of a date: exact where it can be, cautious where few pixels teach it; and what the low-rank model expects."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ngr_geo import sample
from ngr_geo.guides import dates as guide
from ngr_geo.guides import lowrank, regression
from ngr_geo.guides.base import Window


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _predicted(filled: Tensor, observed: Tensor, target: Tensor, use: Tensor, extras: tuple[int, ...] = ()) -> Tensor:
    """Return the regression of the last date of a stack (T, B, h, w) on the others."""
    references = tuple(d for d in range(len(filled) - 1) if d not in extras)
    landmarks = filled[list(references)].flatten(0, 1).flatten(1).T[:: 1 + target[0].numel() // regression.LANDMARKS]
    case = regression.problem(filled, observed, len(filled) - 1, references, extras, landmarks)
    moments = regression.Moments(references, extras, landmarks, target)
    moments.add(case, target, use)
    return regression.predict(moments.solve(), case)


def _beside(image: Tensor) -> Tensor:
    """Return an image moved by one pixel: what only neighbourhoods can tell."""
    return torch.roll(image, 1, -1)


@pytest.mark.parametrize("side", [12, 40, 90])
def test_what_the_references_determine_is_found_from_few_pixels_and_many(side: int) -> None:
    filled, observed = _noise(3, 2, 90, 90, seed=0), torch.ones(3, 90, 90, dtype=torch.bool)
    filled[2] = 0  # nothing is expected of it
    target = 0.7 * filled[0] - 0.4 * filled[1] + 0.2
    use = torch.zeros(90, 90, dtype=torch.bool)
    use[:side, :side] = True
    error = (_predicted(filled, observed, target, use) - target).square().mean()
    assert error < (2e-2 if side == 12 else 1e-3)


def test_neighbours_are_used_where_there_is_evidence() -> None:
    filled, observed = _noise(3, 2, 60, 60, seed=1), torch.ones(3, 60, 60, dtype=torch.bool)
    target, use = _beside(filled[0]), torch.zeros(60, 60, dtype=torch.bool)
    use[:30, :30] = True
    error = (_predicted(filled, observed, target, use) - target)[:, :, 1:].square().mean()
    assert error < 0.02


@pytest.mark.parametrize("pixels", [(1, 1), (5, 6), (9, 9), (14, 14), (25, 25)])
def test_pixels_that_teach_nothing_leave_the_mean(pixels: tuple[int, int]) -> None:
    """There is nothing to predict: 144 features fitted to 30 or 196 pixels would be far off, the mean is not."""
    filled, observed = _noise(5, 4, 60, 60, seed=2), torch.ones(5, 60, 60, dtype=torch.bool)
    filled[4] = 0
    target, use = _noise(4, 60, 60, seed=3), torch.zeros(60, 60, dtype=torch.bool)
    use[: pixels[0], : pixels[1]] = True
    error = (_predicted(filled, observed, target, use) - target)[:, ~use].square().mean()
    assert error < (3.5 if use.sum() == 1 else 1.6)


def test_a_rare_pattern_is_no_worse_than_without_its_references() -> None:
    filled, observed = _noise(3, 2, 80, 80, seed=4), torch.ones(3, 80, 80, dtype=torch.bool)
    filled[2] = 0
    target = filled[0] + 0.1 * _noise(2, 80, 80, seed=5)
    observed[1] = False
    observed[1, :4, :40] = True  # both are clear in 160 pixels only
    use = torch.ones(80, 80, dtype=torch.bool)
    use[:4, 20:40] = False
    error = (_predicted(filled, observed, target, use) - target)[:, :4, 20:40].square().mean()
    assert error < 0.015


def test_an_extra_is_used_by_its_pixel() -> None:
    filled, observed = _noise(3, 2, 80, 80, seed=6), torch.ones(3, 80, 80, dtype=torch.bool)
    filled[2] = 0
    use = torch.rand(80, 80, generator=torch.Generator().manual_seed(0)) < 0.9
    target = filled[0] - filled[1]
    assert (_predicted(filled, observed, target, use, (1,)) - target).square().mean() < 1e-3
    target = filled[0] - _beside(filled[1])
    assert (_predicted(filled, observed, target, use, (1,)) - target).square().mean() > 0.5


def _pixelwise(window: Window, truth: Tensor, gap: Tensor) -> float:
    """Return the squared error of a plain regression on the pixels of the other dates, completed by their means."""
    others = (window.values[1:] * window.observed[1:, None]).flatten(0, 1).flatten(1)
    columns = torch.cat([others, torch.ones_like(others[:1])]).double()
    known = window.observed[0].flatten()
    gram = columns[:, known] @ columns[:, known].T
    gram += 1e-3 * known.sum() * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram, columns[:, known] @ window.values[0].flatten(1)[:, known].double().T)
    return float(((weights.T @ columns).reshape(truth.shape) - truth)[:, gap].square().mean())


def test_small_stacks_are_not_worse_than_a_pixelwise_regression() -> None:
    """32 x 32 pixels of a real scene, 3 in 4 of them hidden: never more than .3 dB behind, and ahead in the mean."""
    stack = sample("slovenia").isel(time=[1, 2, 4])
    values = torch.from_numpy(stack[["B02", "B03", "B04", "B08"]].to_array().values.astype("float32")).transpose(0, 1)
    behind = []
    for number in range(12):
        corner = torch.randint(0, min(values.shape[2:]) - 32, (2,), generator=torch.Generator().manual_seed(number))
        crop = values[:, :, corner[0] : corner[0] + 32, corner[1] : corner[1] + 32]
        crop = (crop - crop.mean((2, 3), keepdim=True)) / crop.std((2, 3), keepdim=True)
        observed = torch.ones(3, 32, 32, dtype=torch.bool)
        observed[0] = False
        observed[0, 8 * (number % 3) : 8 * (number % 3) + 16, : 16 + number % 4] = True
        window = Window(crop * observed[:, None], observed)
        fitted = guide.fit([window], [window], [0], [0.0, 3.0, 7.0])
        error = (guide.predict(fitted, window, window, 0).image - crop[0])[:, ~observed[0]].square().mean()
        behind.append(float(10 * torch.log10(error / _pixelwise(window, crop[0], ~observed[0]))))
    assert max(behind) < 0.3
    assert sum(behind) < 0


def test_completion_is_the_conditional_mean_of_the_model() -> None:
    """E[z_m | z_o] = m_m + Σ_mo Σ_oo⁻¹ (z_o - m_o) with  Σ = W Wᵀ + Ψ,  for any pattern."""
    loading, mean, noise = _noise(4, 2, 3, seed=7), _noise(4, 2, seed=8), 0.1 + _noise(4, 2, seed=9).square()
    model = lowrank.Factors(loading.double(), mean.double(), noise.double(), torch.ones(4, dtype=torch.bool))
    values, observed = _noise(4, 2, 6, 7, seed=10), _noise(4, 6, 7, seed=11) > 0
    found = lowrank.complete(model, values, observed)
    flat = loading.flatten(0, 1).double()
    covariance = flat @ flat.T + torch.diag(noise.flatten().double())
    for row, column in ((0, 0), (2, 3), (5, 6)):
        seen, here = observed[:, row, column].repeat_interleave(2), values[..., row, column].flatten().double()
        apart = here[seen] - mean.flatten()[seen]
        expected = here.clone()
        weights = torch.linalg.solve(covariance[seen][:, seen], covariance[seen][:, ~seen]).T
        expected[~seen] = mean.flatten()[~seen] + weights @ apart
        torch.testing.assert_close(found[..., row, column].flatten(), expected.float(), rtol=1e-4, atol=1e-4)


def test_the_fit_recovers_a_low_rank_stack_under_clouds() -> None:
    scores, loading = _noise(3000, 3, seed=12), _noise(6 * 2, 3, seed=13)
    values = (scores @ loading.T + 0.05 * _noise(3000, 12, seed=14)).reshape(3000, 6, 2)
    observed = _noise(3000, 6, seed=15) > -0.5
    model = lowrank.fit(values * observed[..., None], observed, 3)
    stack = (values * observed[..., None]).permute(1, 2, 0)[..., None]
    found = lowrank.complete(model, stack, observed.T[..., None])
    enough = observed.sum(1) >= 3
    error = (found[..., 0].permute(2, 0, 1) - values)[~observed & enough[:, None]]
    assert error.square().mean() < 0.02 * values.square().mean()
