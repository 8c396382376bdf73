"""The guided form of the solver: one small network for a whole scene, trained on windows drawn over it.

In the loop of `admm.py` the network (Θ) and the image (X) are stepped in turn, because X is known only through Y = X + E.
Where the fidelity is exact and the observed pixels are *held* (`poisson.hold`), DX equals DY on every observed pair from
the first step on and never changes. On these pairs the Θ steps can run by themselves, on windows of any part of the scene;
one X step follows when they have ended. (Training on the pairs inside gaps too, where X only repeats what the network said
last, was measured and gained nothing.)

The network does not predict the three fields freely but their potential: F = D(guide + s·V), V = network(input). Free fields
need not be integrable, and in a wide gap the part that is not only adds error: 50.2 dB against 50.7 dB on the mean of eight
Sentinel-2 cases, and best after 40 steps where the potential keeps improving to 80. At the start V = 0: step 0 is the guide.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from .adam import Adam, joined
from .gradient import Neumann

Net = TypeVar("Net", bound=nn.Module)
"""Maps (1, C_in, h, w) to the potential (1, B, h, w)."""


class Example(NamedTuple):
    """A window to learn from: `inputs` (C_in, h, w), `residual` (B, h, w) = (Y - guide) / s, `observed` (h, w) or (B, h, w)."""

    inputs: Tensor
    residual: Tensor
    observed: Tensor
    weight: float = 1.0
    """How often windows are drawn from this example."""


@dataclass(frozen=True)
class Training:
    """How the network is trained; every default was chosen on hidden pixels of the Romanian and Slovenian stacks.

    Attributes:
        rate: of AdamW.
        decay: weight decay of AdamW; with 0.1 the answer is flat from 40 to 100 steps instead of overfitting from 60 on.
        value: weight η of the residual itself beside its gradient. It gives wide gaps their level.
        crop: side of the training windows, pixels.
        average: exponential average of the weights, which is what is used.
    """

    rate: float = 3e-3
    decay: float = 0.1
    value: float = 0.5
    crop: int = 96
    average: float = 0.95


def misfit(potential: Tensor, residual: Tensor, observed: Tensor, value: float) -> Tensor:
    """Return the Θ step's loss:  mean ‖D(V - R)‖² over observed pairs + η mean ‖V - R‖² over observed pixels.

    Args:
        potential: V, (B, h, w).
        residual: R, (B, h, w); anything finite where not observed.
        observed: (h, w) or (B, h, w).
        value: η.
    """
    boundary = Neumann()
    seen = observed.to(potential.dtype).expand_as(potential)
    error = (potential - residual) * seen
    total = value * error.square().sum() / seen.sum().clamp(min=1)
    for axis, pairs in ((-2, seen[:, 1:] * seen[:, :-1]), (-1, seen[:, :, 1:] * seen[:, :, :-1])):
        step = boundary.difference(error, axis).narrow(axis, 0, error.shape[axis] - 1)
        total = total + (step.square() * pairs).sum() / pairs.sum().clamp(min=1)
    return total


def train(network: Net, examples: Sequence[Example], settings: Training, seed: int) -> Iterator[Net]:
    """Yield, after each Adam step on one random window, the network with averaged weights (the same object every time)."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = Adam(network, settings.rate, decay=settings.decay)
    averaged = deepcopy(network).requires_grad_(requires_grad=False)
    mean = joined(averaged)
    share = torch.tensor([e.weight for e in examples])
    step = 0
    while True:
        step += 1
        example = examples[int(torch.multinomial(share, 1, generator=generator))]
        rows, columns = (_place(size, settings.crop, generator) for size in example.observed.shape[-2:])
        potential = network(example.inputs[None, :, rows, columns])[0]
        loss = misfit(
            potential, example.residual[:, rows, columns], example.observed[..., rows, columns], settings.value
        )
        loss.backward()  # type: ignore[no-untyped-call]  # missing in torch's stubs
        optimiser.step()
        keep = min(settings.average, step / (step + 9))  # a plain mean at first
        mean.lerp_(optimiser.weights, 1 - keep)
        yield averaged


def _place(size: int, crop: int, generator: torch.Generator) -> slice:
    """Return a random window along an axis; its ends are as likely as its middle, since windows may hang over."""
    if size <= crop:
        return slice(0, size)
    start = int(torch.randint(-crop // 2, size - crop // 2 + 1, (1,), generator=generator))
    start = min(max(start, 0), size - crop)
    return slice(start, start + crop)
