"""The published algorithm's trajectories, to 1e-10, from the one loop."""

from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ngr_geo.solver import Published, ThreeNetworks, iterate, published
from ngr_geo.solver.paper import Case

STEPS = (1, 2, 5, 20, 40)


@cache
def reference() -> dict[str, Tensor]:
    """Return the arrays of the reference file, float64 or bool."""
    with np.load(Path(__file__).parents[1] / "data" / "ngr_trajectories.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def toy_network() -> ThreeNetworks:
    """Return the three small networks of the reference, with their initial weights."""
    networks = []
    for k in range(3):
        layers = nn.Conv2d(5, 8, 3, padding=1), nn.LeakyReLU(0.01), nn.Conv2d(8, 5, 3, padding=1)
        network = nn.Sequential(*layers).double()
        prefix = f"weights/nets.{k}."
        network.load_state_dict({n.removeprefix(prefix): v for n, v in reference().items() if n.startswith(prefix)})
        networks.append(network)
    return ThreeNetworks(networks)


def toy_case(case: Case) -> tuple[Tensor, Published]:
    """Return the observation and the published case for it, without input noise."""
    data = reference()
    observation, observed = data["observed"], None
    if case == "inpaint":
        observed = ~data["missing"]
        observation = observation * observed  # the published code writes 0 where it has nothing
    task = published(case, observation, observed)
    return observation, replace(task, settings=replace(task.settings, input_noise=0.0))


@pytest.mark.parametrize("case", ["inpaint", "mixed", "gaussian"])
def test_start_is_the_published_one(case: Case) -> None:
    """Γ₀ = Y/‖Y‖₂ and μ₀ follow from the observation; so does X₀, except where the paper draws it."""
    data = reference()
    observation, task = toy_case(case)
    assert torch.allclose(task.start.multiplier, data[f"{case}/multiplier/0"], rtol=0, atol=1e-12)
    assert task.start.penalty == pytest.approx(float(data[f"{case}/penalty/0"]), rel=1e-12)
    known = observation != 0
    assert torch.equal(task.start.image[known], data[f"{case}/image/0"][known])


@pytest.mark.parametrize("case", ["inpaint", "mixed", "gaussian"])
def test_trajectory_is_the_published_one(case: Case) -> None:
    """X, E, Γ and μ after 1, 2, 5, 20 and 40 steps."""
    data = reference()
    observation, task = toy_case(case)
    start = replace(task.start, image=data[f"{case}/image/0"])
    states = iterate(observation, toy_network(), data["network_input"], task.fidelity, task.settings, start=start)
    compared = 0
    for state in islice(states, max(STEPS) + 1):
        if state.step in STEPS:
            for name, value in (("image", state.image), ("residual", state.residual), ("multiplier", state.multiplier)):
                expected = data[f"{case}/{name}/{state.step}"]
                assert (value - expected).abs().max() < 1e-10, (name, state.step)
            assert state.penalty == pytest.approx(float(data[f"{case}/penalty/{state.step}"]), abs=1e-10)
            compared += 1
    assert compared == len(STEPS)
