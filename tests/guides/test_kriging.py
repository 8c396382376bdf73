"""Members that learn from the window alone: exact against textbook formulas, silent where they can say nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ngr_geo import rows
from ngr_geo.guides import kriging
from ngr_geo.guides.members import MEMBERS


def window(seed: int, side: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    """Return references (4, h, w), values (2, h, w) that curve and drift with them, and a gap (h, w)."""
    generator = torch.Generator().manual_seed(seed)
    references = torch.randn(4, side, side, generator=generator)
    drift = torch.linspace(-1, 1, side)
    values = torch.stack([references[0] + references[1].tanh(), references[2] * 0.5 + drift.expand(side, side)])
    gap = torch.zeros(side, side, dtype=torch.bool)
    gap[14:30, 10:34] = True
    return references, values, gap


def dense(references: Tensor, values: Tensor, known: Tensor, where: Tensor) -> Tensor:
    """Return what kriging is, pixel by pixel from its formula in float64."""
    side = references.shape[-1]
    padded = torch.nn.functional.pad(references[None], (2, 2, 2, 2), mode="replicate")[0].double()

    def described(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        places = mask.nonzero()
        near = torch.stack([padded[:, r : r + 5, c : c + 5].flatten() for r, c in places.tolist()])
        return near, references[:, mask].T.double(), places.double()

    def kernel(a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        (x, z, s), (y, w, t) = a, b
        r, apart = torch.cdist(s, t), torch.cdist(z, w)
        smooth = 10 + 20 / x.shape[1] * x @ y.T + 0.5 * torch.exp(-(apart**2) / (2 * z.shape[1]))
        return smooth + torch.exp(-(r**2) / 800) * (0.02 + 0.05 / z.shape[1] * z @ w.T) + 0.05 * torch.exp(-r / 5)

    assert side * side - int(where.sum()) <= kriging.POINTS + 1000
    given, asked = described(known), described(where)
    target = values[:, known].T.double()
    mean = target.mean(0)
    weights = torch.linalg.solve(
        kernel(given, given) + 0.05 * torch.eye(len(target), dtype=torch.float64), target - mean
    )
    return (kernel(asked, given) @ weights + mean).T


def test_kriging_is_the_conditional_mean_of_its_kernel() -> None:
    references, values, gap = window(0, 40)
    found = kriging.kriging(references, values, ~gap, gap)
    assert found is not None
    torch.testing.assert_close(found[:, gap].double(), dense(references, values, ~gap, gap), atol=2e-3, rtol=0)


def test_members_are_those_that_a_user_can_choose() -> None:
    assert tuple(MEMBERS) == rows.OF_STACKS


@pytest.mark.parametrize("name", list(MEMBERS))
def test_a_member_predicts_what_curves_and_drifts(name: str) -> None:
    references, values, gap = window(1)
    found = MEMBERS[name](references, torch.where(gap, 0, values), ~gap, gap)
    assert found is not None
    left = (found - values)[:, gap].square().mean() / values[:, gap].var()
    assert float(left) < 0.1
    assert torch.equal(found[:, ~gap], values[:, ~gap])


@pytest.mark.parametrize("name", list(MEMBERS))
def test_a_member_never_looks_into_the_gap(name: str) -> None:
    references, values, gap = window(2)
    first, second = (MEMBERS[name](references, torch.where(gap, fill, values), ~gap, gap) for fill in (0.0, 7.0))
    assert first is not None and second is not None
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", list(MEMBERS))
def test_a_member_has_nothing_to_say_without_references_or_known_pixels(name: str) -> None:
    references, values, gap = window(3)
    few = torch.zeros_like(gap)
    few[:10, :10] = True
    assert MEMBERS[name](references[:0], values, ~gap, gap) is None
    assert MEMBERS[name](references, values, few, gap) is None
