"""The published cases, as data: what the paper sets for inpainting, mixed and Gaussian noise, and Gaussian noise of videos."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from .admm import LoopSettings, State, begin, iterate
from .fidelity import Exact, Fidelity, Gaussian, Masked, Sparse
from .gradient import Periodic
from .network import Backbone, Upsampling, paper_network

Case = Literal["inpaint", "mixed", "gaussian", "video"]


@dataclass(frozen=True)
class Published:
    """One published case for one observation: give `iterate` the settings, the fidelity and the start."""

    settings: LoopSettings
    fidelity: Fidelity
    start: State
    steps: int
    """How many the paper takes."""
    average: float
    """Decay of the exponential average of the images that is the result; 0 for the last image itself."""
    upsampling: Upsampling
    """Of the three hour-glass networks."""
    bounded: bool = False
    """Whether the networks end in a hyperbolic tangent, as they do for videos."""


def published(case: Case, observation: Tensor, observed: Tensor | None = None, seed: int = 0) -> Published:
    """Return what the paper does with an observation Y, (C, H, W), about [0, 1], 0 where not `observed`.

    `observed` is boolean (C, H, W). Inpainting needs it; the denoising cases take it to leave the other pixels free.
    The seed is that of the start, which is random where not observed, and of the input noise. The paper adds no such
    noise for cloud removal: `dataclasses.replace(settings, input_noise=0.0)`.
    """
    if case == "inpaint" and observed is None:
        msg = "inpainting needs to know the observed pixels: published('inpaint', observation, observed)"
        raise ValueError(msg)
    norm = max(spectral_norm(observation), 1e-12)
    fidelity: Fidelity
    match case:
        case "inpaint":
            settings, fidelity = _inpaint(norm, channels=observation.shape[0], seed=seed), Exact()
        case "mixed":
            settings, fidelity = _denoise(norm, (2.0, 2.0, 150.0), (0.16, 0.16, 0.6), 1.2, seed), Sparse(3.0)
        case "gaussian":
            settings, fidelity = _denoise(norm, (150.0, 150.0, 150.0), (0.16, 0.16, 0.4), 1.05, seed), Gaussian(4.0)
        case "video":
            settings, fidelity = (
                _denoise(norm, (150.0, 150.0, 150.0), (0.16, 0.16, 0.34), 1.05, seed, 0.02),
                Gaussian(2.0),
            )
        case _:
            msg = f'no published case {case!r}: choose "inpaint", "mixed", "gaussian" or "video"'
            raise ValueError(msg)
    image = observation
    if observed is not None:
        fidelity = Masked(fidelity, observed)
        image = torch.where(observed, observation, uniform(observation, seed))
    start = begin(observation, settings, image)
    if case == "inpaint":
        return Published(settings, fidelity, start, steps=15_000, average=0.0, upsampling="nearest")
    bounded = case == "video"
    return Published(settings, fidelity, start, steps=4_000, average=0.99, upsampling="bilinear", bounded=bounded)


def images_as_published(
    observation: Tensor,
    observed: Tensor,
    case: Case,
    *,
    clouds: bool = False,
    seed: int = 0,
    steps: int | None = None,
    backbone: Backbone | nn.Module = "hour-glass",
    upsampling: Upsampling | None = None,
) -> Iterator[Tensor]:
    """Yield the image (C, H, W) after each step of the published algorithm.

    Observed entries come back as they are, and for noise the images are exponential averages from the first output on. Nothing
    is stopped or chosen: the last image is the result.

    Args:
        observation: (C, H, W), about [0, 1], 0 where not `observed`.
        observed: boolean (C, H, W).
        case: of the settings.
        clouds: whether the gaps are clouds, where the paper adds no noise to the input.
        seed: of the start, the input, its noise and the initial weights.
        steps: in place of the paper's 15 000, or 4 000 for noise.
        backbone: what predicts the fields, by its name, or a module (1, C, H, W) -> (1, 3, C, H, W), on the device of the
            observation. A module is trained as it is: pass one that was trained on another image to start from its weights.
        upsampling: of the hour-glass, "nearest" or "bilinear". None: the paper's, nearest for gaps and bilinear for noise.
    """
    task = published(case, observation, observed, seed)
    if isinstance(backbone, nn.Module):
        network = backbone
    else:
        channels, up = len(observation), upsampling or task.upsampling
        network = paper_network(channels, up, seed, task.bounded, backbone).to(observation.device)
    start = 0.1 * uniform(observation, seed)[None]
    loop = replace(task.settings, input_noise=0.0) if case == "inpaint" and clouds else task.settings
    last = steps or task.steps
    image = task.start.image
    for state in iterate(observation, network, start, task.fidelity, loop, start=task.start):
        image = torch.lerp(state.image, image, task.average) if state.step > 1 else state.image
        yield torch.where(observed, observation, image) if case == "inpaint" else image
        if state.step == last:
            break


def _inpaint(norm: float, channels: int, seed: int) -> LoopSettings:
    """Return the settings for missing pixels; norm is ‖Y‖₂. The channels of a colour photograph are coupled less."""
    weights = (1.0, 1.0, 0.5 if channels == 3 else 5.0)
    return LoopSettings(
        weights=weights,
        weight_caps=weights,
        penalty=min(0.1 / norm, 50.0),
        penalty_cap=50.0,
        growth=1.2,
        multiplier=1 / norm,
        input_noise=0.03,
        seed=seed,
        boundary=Periodic(),
    )


def _denoise(
    norm: float,
    ratios: tuple[float, float, float],
    caps: tuple[float, float, float],
    growth: float,
    seed: int,
    penalty: float = 1.0,
) -> LoopSettings:
    """Return the settings for noise; norm is ‖Y‖₂, the ratios are those of wₖ to μ at the start, μ is `penalty` / ‖Y‖₂ there."""
    rows, columns, channels = (penalty * ratio for ratio in ratios)
    return LoopSettings(
        weights=(rows / norm, columns / norm, channels / norm),
        weight_caps=caps,
        penalty=penalty / norm,
        penalty_cap=0.16,
        growth=growth,
        multiplier=1 / norm,
        update_field_multipliers=True,
        data_weight=1.0,
        weight_decay=5.0,
        input_noise=0.03,
        seed=seed,
        boundary=Periodic(),
    )


def spectral_norm(observation: Tensor) -> float:
    """Return ‖Y‖₂, the largest singular value of Y (C, H, W) as a matrix of one row per channel."""
    return float(torch.linalg.matrix_norm(observation.flatten(1), 2))


def uniform(like: Tensor, seed: int) -> Tensor:
    """Return numbers drawn from [0, 1), in the shape of `like`, the same on any device. Times 0.1 they are the published input."""
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype).to(like.device)
