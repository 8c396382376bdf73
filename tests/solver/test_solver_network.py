"""The networks: any size, reproducible, and what the small one promises."""

import pytest
import torch

from ngr_geo.solver import HourGlass, Small, paper_network, seeded

SIZES = [(1, 1), (1, 2), (2, 1), (3, 3), (1, 40), (17, 5), (33, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_hour_glass_takes_any_size(size: tuple[int, int], upsampling: str) -> None:
    """Forward and backward, finite."""
    with seeded(0):
        network = HourGlass(4, 6, upsampling, width=8)  # type: ignore[arg-type]
    answer = network(torch.rand(1, 4, *size))
    answer.square().sum().backward()
    assert answer.shape == (1, 6, *size)
    assert answer.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("size", SIZES)
def test_small_takes_any_size(size: tuple[int, int]) -> None:
    """A batch of two; zero at the start, and yet it learns."""
    network = Small(5, 4, width=8)
    answer = network(torch.rand(2, 5, *size))
    assert answer.shape == (2, 4, *size)
    assert not answer.any()
    (answer - 1).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.head.parameters())


def test_paper_network_is_the_published_one() -> None:
    """Three networks of 5 scales, 128 channels, 4 skip channels."""
    network = paper_network(5, "nearest", seed=0)
    assert network(torch.rand(1, 5, 32, 32)).shape == (1, 3, 5, 32, 32)
    hour_glass = network.networks[0]
    assert isinstance(hour_glass, HourGlass)
    assert len(hour_glass.downs) == 5
    assert hour_glass.head.in_channels == 128
    # per scale 3x3 (down twice, up once), 1x1 (up, skip); each with a bias and two numbers of BatchNorm per channel
    inputs = [5, 128, 128, 128, 128]
    layers = (
        [(c * 9, 128) for c in inputs] + [(128 * 9, 128), (132 * 9, 128), (128, 128)] * 5 + [(c, 4) for c in inputs]
    )
    count = sum((fan_in + 3) * out for fan_in, out in layers) + 5 * 2 * 132 + (128 + 1) * 5
    assert sum(p.numel() for p in hour_glass.parameters()) == count


def test_same_seed_same_weights_and_no_trace() -> None:
    """Construction depends on the seed only, and leaves the global generator alone."""
    before = torch.random.get_rng_state()
    one, same, other = (Small(3, 3, width=8, seed=s).state_dict() for s in (1, 1, 2))
    paper, again = (paper_network(2, "nearest", seed=3).state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)
    assert all(torch.equal(paper[k], again[k]) for k in paper)


def test_small_says_the_same_on_a_window_as_on_the_scene() -> None:
    """Away from the window's edge, for a window that starts at a multiple of 8."""
    network = Small(3, 2, width=8, seed=0)
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(0))
    scene = torch.rand(1, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole, window = network(scene), network(scene[..., 16:144, 16:144])
    assert torch.allclose(whole[..., 64:96, 64:96], window[..., 48:80, 48:80], rtol=0, atol=1e-5)
