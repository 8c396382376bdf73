"""The Neural Gradient Regularizer (Xu et al., arXiv 2308.16612) as one loop for every task. Start reading here.

The paper states the model as equation (7), derives the updates as (10) to (17) and lists them as Algorithm 1. The letters
are those of this module: each line of the loop names the one that it carries out.

(a) the model: the observation is the image and a residual, and an untrained network with parameters Θ predicts the
    gradients of the image
        minimise  φ(E)   subject to   Y = X + E,   DₖX = Fₖ = network(input; Θ)ₖ,   k = rows, columns, channels
(b) its augmented Lagrangian; the denoising tasks add the last term, which keeps the fields near the observed gradients
        φ(E) + <Γ, Y - X - E> + μ/2 ‖Y - X - E‖²  +  Σₖ <Γₖ, DₖX - Fₖ> + wₖ/2 ‖DₖX - Fₖ‖²  +  a Σₖ ‖Fₖ - DₖY‖²
(c) Θ: one step of Adam on  Σₖ wₖ/2 ‖DₖX - Fₖ + Γₖ/wₖ‖² + a Σₖ ‖Fₖ - DₖY‖²
(d) X: (μI + Σₖ wₖ DₖᵀDₖ) X = μ(Y - E) + Γ + Σₖ Dₖᵀ(wₖFₖ - Γₖ), by one division under the FFT (periodic) or the DCT
(e) E: the proximal operator of φ/μ at Y - X + Γ/μ, in closed form for each fidelity (`fidelity.py`)
(f) Γ ← Γ + μ(Y - X - E)
(g) Γₖ ← Γₖ + wₖ(DₖX - Fₖ); inpainting keeps Γₖ = 0
(h) μ ← min(growth · μ, cap),  wₖ ← min(growth · wₖ, cap)

Algorithm 1 repeats them in this order: the network predicts F, Θ takes its step (c), and (d) to (h) use the F from before
that step.

| paper | here           | in the code                    |   | paper | here    | in the code                |
|-------|----------------|--------------------------------|---|-------|---------|----------------------------|
| Y, X  | Y, X           | `observation`, `State.image`   |   | λᵢ    | wₖ      | `State.weights`            |
| K     | E              | `State.residual`               |   | μ     | μ       | `State.penalty`            |
| Λ     | Γ              | `State.multiplier`             |   | ∇     | D, Dₖ   | `Boundary.gradient`        |

What the verbs run:

- `method="paper"`, all verbs: this loop, with the settings of `paper.py` (random input, three hour-glass networks).
- `denoise` and `destripe` with "ngr" or "auto": this loop with a `guide`. The fields are F = D·guide + network(guide), and
  X, Y and the guide are coefficients of the leading spectra; μ = 1 and wₖ do not grow, and Γₖ = 0 (`methods/faults.py`).
- `decloud`, `inpaint` and `fill_deadlines` with "ngr" or "auto": not this loop. Where the observed pixels are exact, the Θ
  steps can run without the X steps: `train.py` trains one network for the scene, and `poisson.hold` then solves for X once.
  `docs/method.md` derives this form from (b), and says what it changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .adam import Adam
from .fidelity import Fidelity
from .gradient import Boundary, Neumann, Weights, column

UNLIMITED = float("inf")


@dataclass(frozen=True)
class LoopSettings:
    """What a task may choose beside its fidelity. With the defaults nothing grows, and every Γₖ stays 0."""

    weights: Weights = (1.0, 1.0, 0.03)
    """w₁, w₂, w₃ >= 0 at the start: how strongly row, column and channel differences follow the fields."""
    weight_caps: Weights = (UNLIMITED, UNLIMITED, UNLIMITED)
    """What each w may grow to; the starting weight itself for a constant one."""
    penalty: float = 1.0
    """μ > 0 at the start."""
    penalty_cap: float = UNLIMITED
    """What μ may grow to."""
    growth: float = 1.0
    """What μ and wₖ are multiplied by after each step, >= 1 (rho in the paper)."""
    multiplier: float = 0.0
    """Γ starts as this number times Y."""
    update_field_multipliers: bool = False
    """True: Γₖ starts equal to Γ and is updated. False: it stays 0."""
    data_weight: float = 0.0
    """a >= 0: how strongly the fields are kept near the observed gradients."""
    learning_rate: float = 0.01
    """Of Adam."""
    weight_decay: float = 0.0
    """Of Adam, added to the gradient (the L2 kind, not the decoupled one)."""
    input_noise: float = 0.0
    """Standard deviation of the normal noise added to the network's input, drawn anew at each step."""
    seed: int = 0
    """Of that noise."""
    boundary: Boundary = field(default_factory=Neumann)
    """What differences do at the edge of the image."""


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


def begin(observation: Tensor, settings: LoopSettings, image: Tensor | None = None) -> State:
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
    settings: LoopSettings,
    *,
    guide: Tensor | None = None,
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
        guide: (C, H, W), a first estimate of every pixel: the fields are then its gradients plus what the network says.
        start: the state to begin at; by default that of `begin` for the guide.

    Raises:
        ValueError: the network's answer has another shape.
    """
    optimizer = Adam(network, settings.learning_rate, penalty=settings.weight_decay)
    generator = torch.Generator(observation.device).manual_seed(settings.seed)
    observed_gradient = settings.boundary.gradient(observation)
    guide_gradient = observation.new_zeros(()) if guide is None else settings.boundary.gradient(guide)

    state = start or begin(observation, settings, guide)
    yield state
    while True:
        with torch.enable_grad():
            noisy = network_input
            if settings.input_noise:
                noisy = noisy + settings.input_noise * torch.empty_like(noisy).normal_(generator=generator)
            predicted = network(noisy)
            fields = guide_gradient + _single(predicted, observed_gradient)  # F
            loss = misfit(fields, state, observed_gradient, settings)  # (c)
            loss.backward()
        optimizer.step()  # (c); the fields below are still those from before this step, as published
        state = advance(state, fields.detach(), observation, fidelity, settings)  # (d) to (h)
        yield state


def misfit(fields: Tensor, state: State, observed_gradient: Tensor, settings: LoopSettings) -> Tensor:
    """Return (c), the part of the Lagrangian (b) that depends on the network, a scalar.

    It is written as in (b): up to a constant the square in (c), but without a division by wₖ, so that wₖ may be 0.
    """
    gap = settings.boundary.gradient(state.image) - fields  # DX - F, (3, C, H, W)
    terms = state.field_multipliers * gap + column(state.weights, gap) / 2 * gap.square()
    if settings.data_weight:
        terms = terms + settings.data_weight * (fields - observed_gradient).square()
    return terms.sum()


@torch.no_grad()
def advance(state: State, fields: Tensor, observation: Tensor, fidelity: Fidelity, settings: LoopSettings) -> State:
    """Return the next state, by (d) to (h), for the fields F (3, C, H, W) that the network has just predicted."""
    boundary, penalty, w = settings.boundary, state.penalty, column(state.weights, fields)

    # (d)  X = (μI + Σₖ wₖ DₖᵀDₖ)⁻¹ [μ(Y - E) + Γ + Σₖ Dₖᵀ(wₖFₖ - Γₖ)]
    pull = penalty * (observation - state.residual) + state.multiplier
    pull = pull + boundary.adjoint(w * fields - state.field_multipliers)
    image = boundary.solve(pull, state.weights, penalty)

    # (e)  E = argmin φ(E) + μ/2 ‖E - (Y - X + Γ/μ)‖²
    residual = fidelity.prox(observation - image + state.multiplier / penalty, penalty)

    # (f)  Γ += μ(Y - X - E)
    multiplier = state.multiplier + penalty * (observation - image - residual)

    # (g)  Γₖ += wₖ(DₖX - Fₖ)
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
        penalty=min(settings.growth * penalty, settings.penalty_cap),  # (h)
        weights=grown(state.weights, settings),  # (h)
    )


def grown(weights: Weights, settings: LoopSettings) -> Weights:
    """Return the weights for the next step, by (h): each times the growth, at most its cap."""
    rows, columns, channels = (
        min(settings.growth * w, cap) for w, cap in zip(weights, settings.weight_caps, strict=True)
    )
    return rows, columns, channels


def _single(predicted: Tensor, like: Tensor) -> Tensor:
    """Return the one cube of fields in a network's answer; any other shape would broadcast in silence."""
    if predicted.shape != (1, *like.shape):
        msg = f"the network must answer with fields of shape {(1, *like.shape)}, not {tuple(predicted.shape)}"
        raise ValueError(msg)
    return predicted[0]
