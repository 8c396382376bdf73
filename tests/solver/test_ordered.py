"""Margin and enlargement: torch's own forward, and its gradients, but for rounding, from sums in one order."""

from __future__ import annotations

import pytest
import torch

from ngr_geo.solver import ordered

SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (1, 40), (17, 5), (32, 48)]
KINDS = [(ordered._Margin, ordered._margin), (ordered._Doubled, ordered._doubled)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("ours", "torchs"), KINDS)
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_torch(ours, torchs, size: tuple[int, int], form: torch.memory_format) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64).contiguous(memory_format=form)
    one, two = (image.clone().requires_grad_() for _ in range(2))
    here, there = ours.apply(one), torchs(two)
    assert torch.equal(here, there)
    weight = torch.randn(here.shape, generator=generator, dtype=torch.float64)
    (here * weight).sum().backward()
    (there * weight).sum().backward()
    assert one.grad is not None
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-12, atol=1e-12)
