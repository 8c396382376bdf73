"""The published cases as data (their numbers are tested by the trajectories in test_parity)."""

from itertools import islice
from typing import get_args

import pytest
import torch

from ngr_geo.solver import (
    Backbone,
    Masked,
    images_as_published,
    iterate,
    paper_network,
    published,
    spectral_norm,
    uniform,
)
from ngr_geo.solver.paper import Case


@pytest.mark.parametrize("case", ["inpaint", "mixed", "gaussian", "video"])
@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 1, 1), (4, 1, 12)])
def test_runs_on_any_cube_and_mask(case: Case, shape: tuple[int, int, int]) -> None:
    """Two steps with the paper's own network, finite."""
    observed = uniform(torch.zeros(shape), seed=1) < 0.6
    observation = uniform(torch.zeros(shape), seed=2) * observed
    task = published(case, observation, observed)
    network = paper_network(shape[0], task.upsampling, seed=0, bounded=task.bounded)
    network_input = 0.1 * uniform(observation, seed=3)[None]
    states = iterate(observation, network, network_input, task.fidelity, task.settings, start=task.start)
    *_, last = islice(states, 3)
    assert last.step == 2
    assert last.image.isfinite().all()


@pytest.mark.parametrize("backbone", get_args(Backbone))
def test_any_backbone_and_the_weights_of_another_image(backbone: Backbone) -> None:
    """Finite, observed entries kept; a module that was trained on one image goes on from there on the next."""
    cube = uniform(torch.zeros(2, 11, 9), seed=0)
    observed = cube > 0.3
    *_, image = images_as_published(cube * observed, observed, "inpaint", steps=2, backbone=backbone)
    assert image.isfinite().all()
    assert torch.equal(image[observed], cube[observed])
    network = paper_network(2, "nearest", seed=0, backbone=backbone)
    before = next(network.parameters()).clone()
    *_, same = images_as_published(cube * observed, observed, "inpaint", steps=2, backbone=network)
    assert torch.equal(same, image)
    assert not torch.equal(before, next(network.parameters()))
    *_, other = images_as_published(cube * observed, observed, "inpaint", steps=2, backbone=network)
    assert not torch.equal(other, image)


def test_an_unknown_backbone_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected one of hour-glass, u-net, resnet, plain"):
        paper_network(2, "nearest", 0, backbone="vit")  # type: ignore[arg-type]


def test_cases() -> None:
    """Steps, average and coupling; a mask reaches the fidelity."""
    cube = uniform(torch.zeros(5, 4, 4), seed=0)
    observed = cube > 0.2
    inpaint, mixed = published("inpaint", cube, observed), published("mixed", cube)
    assert (inpaint.steps, inpaint.average, inpaint.upsampling) == (15_000, 0.0, "nearest")
    assert (mixed.steps, mixed.average, mixed.upsampling) == (4_000, 0.99, "bilinear")
    assert isinstance(inpaint.fidelity, Masked)
    assert not isinstance(mixed.fidelity, Masked)
    video, gaussian = published("video", cube), published("gaussian", cube)
    assert (video.bounded, gaussian.bounded) == (True, False)
    assert video.start.penalty == pytest.approx(0.02 * gaussian.start.penalty)
    assert video.start.weights == pytest.approx([0.02 * weight for weight in gaussian.start.weights])
    assert torch.equal(video.start.multiplier, gaussian.start.multiplier)
    assert inpaint.settings.weights == (1.0, 1.0, 5.0)
    assert published("inpaint", cube[:3], observed[:3]).settings.weights == (1.0, 1.0, 0.5)
    assert torch.equal(inpaint.start.image[observed], cube[observed])


def test_errors() -> None:
    """Each says what to do."""
    cube = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"published\('inpaint', observation, observed\)"):
        published("inpaint", cube)
    with pytest.raises(ValueError, match='"inpaint", "mixed", "gaussian" or "video"'):
        published("poisson", cube)  # type: ignore[arg-type]


def test_an_empty_cube_has_settings() -> None:
    """All zeros: no division by the norm."""
    task = published("inpaint", torch.zeros(2, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool))
    assert 0 < task.settings.penalty <= task.settings.penalty_cap
    assert spectral_norm(torch.zeros(2, 3, 3)) == 0
