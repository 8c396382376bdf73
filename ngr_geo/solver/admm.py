"""The Neural Gradient Regularizer (Xu et al., arXiv 2308.16612) as one loop for every task. Start reading here.

The observation is Y = X + E: the image wanted plus a residual. An untrained network with parameters Θ predicts the
three gradient fields F = (F₁, F₂, F₃) of X, and X is made to have these gradients:

    minimise  φ(E)   subject to   Y = X + E,   DₖX = Fₖ = network(input; Θ)ₖ,   k = rows, columns, channels

The augmented Lagrangian has a multiplier Γ and a penalty μ for the first constraint, Γₖ and wₖ for the others; the
denoising tasks add a term that keeps the fields near the observed gradients:

    φ(E) + <Γ, Y - X - E> + μ/2 ‖Y - X - E‖²  +  Σₖ <Γₖ, DₖX - Fₖ> + wₖ/2 ‖DₖX - Fₖ‖²  +  a Σₖ ‖Fₖ - DₖY‖²

Each step of `iterate` minimises it over Θ (`misfit`, one step of Adam), then `advance` minimises it over X and over E
and moves the multipliers. What a task may choose is its fidelity φ and its `Settings`.

It is used in two ways. As published (`published.py`), the network's input is random and it predicts the gradients.
*Guided*, the input and a first estimate come from a `guide`, the network predicts the correction to the guide's
gradients, and the X step holds the observed pixels exactly (`Settings.hold_steps`), so that Γ stays 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .constraint import hold
from .fidelity import Exact, Fidelity, Masked
from .gradient import Boundary, Neumann, Weights, column

UNLIMITED = float("inf")


@dataclass(frozen=True)
class Settings:
    """What a task may choose beside its fidelity. The defaults are for the guided solver: nothing grows, Y is held."""

    weights: Weights = (1.0, 1.0, 0.03)
    """w₁, w₂, w₃ >= 0 at the start: how strongly row, column and channel differences follow the fields."""
    weight_caps: Weights = (UNLIMITED, UNLIMITED, UNLIMITED)
    """What each w may grow to; the starting weight itself for a constant one."""
    penalty: float = 1.0
    """μ > 0 at the start. Without effect where the observed pixels are held."""
    penalty_cap: float = UNLIMITED
    """What μ may grow to."""
    growth: float = 1.0
    """What μ and wₖ are multiplied with after each step, >= 1 (rho in the paper)."""
    multiplier: float = 0.0
    """Γ starts as this number times Y."""
    update_field_multipliers: bool = False
    """True: Γₖ starts equal to Γ and is updated. False: it stays 0."""
    data_weight: float = 0.0
    """a >= 0."""
    learning_rate: float = 0.01
    """Of Adam."""
    weight_decay: float = 0.0
    """Of Adam, added to the gradient (the L2 kind, not the decoupled one)."""
    input_noise: float = 0.0
    """Standard deviation of the normal noise added to the network's input, drawn anew at each step."""
    seed: int = 0
    """Of that noise."""
    boundary: Boundary = field(default_factory=Neumann)
    """What differences do at the rim."""
    hold_steps: int = 4
    """n > 0: X = Y exactly where observed, by n conjugate-gradient steps per X step. 0: by Γ and μ, as published."""
    tether: float = 1e-6
    """ε of `hold`."""


@dataclass(frozen=True)
class State:
    """Everything the loop knows after `step` steps, except the network's parameters. Tensors are detached."""

    step: int
    """0 for the start."""
    image: Tensor
    """X, (C, H, W)."""
    residual: Tensor
    """E, (C, H, W)."""
    multiplier: Tensor
    """Γ, (C, H, W)."""
    fields: Tensor
    """F, (3, C, H, W): the fields that `image` was made from."""
    field_multipliers: Tensor
    """Γ₁, Γ₂, Γ₃, (3, C, H, W)."""
    penalty: float
    """μ, for the next step."""
    weights: Weights
    """w₁, w₂, w₃, for the next step."""


def begin(observation: Tensor, settings: Settings, image: Tensor | None = None) -> State:
    """Return the state before the first step: X = image, or Y if None; E = 0; Γ = multiplier · Y. All (C, H, W)."""
    image = observation if image is None else image
    multiplier = settings.multiplier * observation
    copied = multiplier if settings.update_field_multipliers else torch.zeros_like(multiplier)
    return State(
        step=0,
        image=image,
        residual=torch.zeros_like(observation),
        multiplier=multiplier,
        fields=settings.boundary.gradient(image),
        field_multipliers=torch.stack([copied, copied, copied]),
        penalty=settings.penalty,
        weights=settings.weights,
    )


def iterate(
    observation: Tensor,
    network: nn.Module,
    network_input: Tensor,
    fidelity: Fidelity,
    settings: Settings,
    *,
    guide: Tensor | None = None,
    loss_weight: Tensor | None = None,
    start: State | None = None,
) -> Iterator[State]:
    """Yield the start, then the state after each step, for as long as it is asked. The network is trained in place.

    Stopping, averaging and progress are the caller's own loop. The published exponential average, for example:

        for state in islice(iterate(...), steps + 1):
            average = torch.lerp(state.image, average, 0.99) if state.step else state.image

    Args:
        observation: Y, (C, H, W), float32 or float64, finite everywhere: write any number where nothing is observed.
        network: maps (1, C_in, H, W) to (1, 3, C, H, W).
        network_input: (1, C_in, H, W).
        fidelity: what the residual may be; `Masked(Exact(), observed)` to fill missing pixels.
        settings: the rest of the task.
        guide: (C, H, W), a first estimate of every pixel, the observed ones too: from where it is wrong about those the
            network learns. The fields are then its gradients plus what the network says.
        loss_weight: >= 0, broadcastable to (3, C, H, W): how much each gradient counts in the training of the network.
        start: the state to begin at; by default that of `begin` for the guide, with held pixels already in place.

    Raises:
        ValueError: `hold_steps` > 0 with a fidelity other than `Masked(Exact(), observed)`, or a network whose answer
            has another shape.
    """
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    generator = torch.Generator(observation.device).manual_seed(settings.seed)
    observed_gradient = settings.boundary.gradient(observation)
    guide_gradient = observation.new_zeros(()) if guide is None else settings.boundary.gradient(guide)

    state = start or begin(observation, settings, _combined(observation, guide, fidelity, settings))
    yield state
    while True:
        with torch.enable_grad():
            predicted = network(disturbed(network_input, settings.input_noise, generator))
            fields = guide_gradient + _single(predicted, observed_gradient)
            loss = misfit(fields, state, observed_gradient, settings, loss_weight)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()  # the fields below are still those from before this step, as published
        state = advance(state, fields.detach(), observation, fidelity, settings, guide)
        yield state


def misfit(
    fields: Tensor, state: State, observed_gradient: Tensor, settings: Settings, loss_weight: Tensor | None = None
) -> Tensor:
    """Return the part of the Lagrangian that depends on the network, a scalar; with `loss_weight` inside the sums.

    Σₖ <Γₖ, DₖX - Fₖ> + wₖ/2 ‖DₖX - Fₖ‖² + a Σₖ ‖Fₖ - DₖY‖². Up to a constant the first two terms are
    wₖ/2 ‖DₖX - Fₖ + Γₖ/wₖ‖², as the paper has it, but without the division, so that wₖ may be 0.
    """
    gap = settings.boundary.gradient(state.image) - fields  # (3, C, H, W)
    terms = state.field_multipliers * gap + column(state.weights, gap) / 2 * gap.square()
    if settings.data_weight:
        terms = terms + settings.data_weight * (fields - observed_gradient).square()
    return (terms if loss_weight is None else loss_weight * terms).sum()


@torch.no_grad()
def advance(
    state: State,
    fields: Tensor,
    observation: Tensor,
    fidelity: Fidelity,
    settings: Settings,
    guide: Tensor | None = None,
) -> State:
    """Return the next state, for the fields F (3, C, H, W) that the network has just predicted."""
    boundary, penalty, w = settings.boundary, state.penalty, column(state.weights, fields)

    # X: (μI + Σₖ wₖ DₖᵀDₖ) X = μ(Y - E) + Γ + Σₖ Dₖᵀ(wₖFₖ - Γₖ); or X = Y where observed, and the rest follows F
    if settings.hold_steps:
        observed = _observed(fidelity)
        image = torch.where(observed, observation, state.image)
        image = hold(image, fields, observed, state.weights, boundary, settings.hold_steps, guide, settings.tether)
    else:
        pull = penalty * (observation - state.residual) + state.multiplier
        pull = pull + boundary.adjoint(w * fields - state.field_multipliers)
        image = boundary.solve(pull, state.weights, penalty)

    # E: minimise φ(E) + μ/2 ‖E - (Y - X + Γ/μ)‖²
    residual = fidelity.prox(observation - image + state.multiplier / penalty, penalty)

    # Γ += μ(Y - X - E),  Γₖ += wₖ(DₖX - Fₖ)
    multiplier = state.multiplier + penalty * (observation - image - residual)
    field_multipliers = state.field_multipliers
    if settings.update_field_multipliers:
        field_multipliers = field_multipliers + w * (boundary.gradient(image) - fields)

    return State(
        step=state.step + 1,
        image=image,
        residual=residual,
        multiplier=multiplier,
        fields=fields,
        field_multipliers=field_multipliers,
        penalty=min(settings.growth * penalty, settings.penalty_cap),
        weights=grown(state.weights, settings),
    )


def grown(weights: Weights, settings: Settings) -> Weights:
    """Return the weights for the next step: each times the growth, at most its cap."""
    rows, columns, channels = (
        min(settings.growth * w, cap) for w, cap in zip(weights, settings.weight_caps, strict=True)
    )
    return rows, columns, channels


def disturbed(network_input: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return the input plus normal noise of this standard deviation."""
    if not deviation:
        return network_input
    noise = torch.empty_like(network_input).normal_(generator=generator)
    return network_input + deviation * noise


def _single(predicted: Tensor, like: Tensor) -> Tensor:
    """Return the one cube of fields in a network's answer; any other shape would broadcast in silence."""
    if predicted.shape != (1, *like.shape):
        msg = f"the network must answer with fields of shape {(1, *like.shape)}, not {tuple(predicted.shape)}"
        raise ValueError(msg)
    return predicted[0]


def _combined(observation: Tensor, guide: Tensor | None, fidelity: Fidelity, settings: Settings) -> Tensor | None:
    """Return the guide, with the observation in the pixels that are held."""
    if guide is None or not settings.hold_steps:
        return guide
    return torch.where(_observed(fidelity), observation, guide)


def _observed(fidelity: Fidelity) -> Tensor:
    """Return the mask of `Masked(Exact(), observed)`: the only fidelity whose observed pixels can be held."""
    if not (isinstance(fidelity, Masked) and isinstance(fidelity.fidelity, Exact)):
        msg = f"pixels can be held only for the fidelity Masked(Exact(), observed), not {fidelity!r}: set hold_steps=0"
        raise ValueError(msg)
    return fidelity.observed
