"""What the spectral verbs are: for each a guide, what NGR makes of it, and hidden data that stops and judges.

`solve` is called for every tile of a cube (B, h, w) of one date, scaled to about [0, 1]. Tensors only: rasters and units stay
in `spectra.py`. Two forms of NGR, both refining the guide in the subspace of its own leading spectra:

- *Noise and stripes* go through the solver's loop (`iterate`): the residual E is Gaussian or striped, the network sees the
  guide and predicts the correction to its gradients. A few entries are hidden (`Masked`), and it stops when they are met best.
- *Gaps* have a guide that meets the observed entries, so there its error has nothing to teach. The network learns from
  entries that were hidden from its guide, and is then applied to a guide made of all of them; what is observed is held.

How far a result may be off, a second look says (`trust.trust`). For gaps these are entries hidden from all of this, shaped like the
gaps. Noise has no truth to hide: there the estimate is made noisy again, and what is then made of it compared with it. What the
estimate itself lost cannot show there; it shows in the residual, where neighbouring bands have in common what noise has not.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..guides import entries, lines, mixed, stripes, subspace
from ..solver.paper import Case
from ..tiling.threads import threads
from .filling import solve_as_published
from .noise import refine_noise
from .problem import Judgement, Settings
from .spectral import FAR, Answer, CubeGuide, Estimate, Kind, Task, unjudged
from .spectral_gaps import refine_gaps
from .trust import trust

IMPULSIVE = 2e-3
"""Share of residuals beyond `FAR` standard deviations that separates mixed noise from Gaussian, which has 7e-6 there."""
PILED = 0.01
"""Share of entries that stand alone at the end of their band's range, a sign of impulses or censoring."""


def solve(task: Task, cube: Tensor, observed: Tensor, settings: Settings) -> Answer:
    """Return a cube restored.

    Args:
        task: what to do.
        cube: (B, h, w), finite everywhere, 0 where not observed.
        observed: (B, h, w). Bands without any observed entry take no part and come back as they are.
        settings: method, steps, seed, device.
    """
    with threads(1):
        active = observed.flatten(1).any(1)
        if not active.any():
            nothing = torch.zeros_like(cube)
            return Answer(cube, torch.zeros(len(cube)), nothing, unjudged("none", len(cube)))
        part, seen = cube[active], observed[active]
        kind, estimate = (task.kind, None) if task.kind else _noise_of(part, seen)
        if settings.method == "paper":
            inner = _published(kind, part, seen, settings)
        else:
            inner = _guided(kind, task, part, seen, estimate, settings)
        image, noise = cube.clone(), torch.full((len(cube),), float("nan"))
        image[active], noise[active] = inner.image, inner.noise
        deviation = torch.zeros_like(cube)
        deviation[active] = inner.deviation
        tables = np.full((len(Judgement._fields) - 1, len(cube)), np.nan)
        for row, values in zip(tables, inner.judgement[1:], strict=True):
            row[active.numpy()] = values
        judgement = Judgement(inner.judgement.method, *map(tuple, tables.tolist()))
        return Answer(image, noise, deviation, judgement, kind)


def _guided(
    kind: Kind, task: Task, cube: Tensor, observed: Tensor, estimate: Estimate | None, settings: Settings
) -> Answer:
    """Return the guide, which may be known already, or what NGR makes of it where that meets hidden data better."""
    guide = _guide(kind, task)
    estimate = estimate or guide(cube, observed)
    refine = refine_gaps if kind == "gaps" else refine_noise
    refined = refine(kind, guide, cube, observed, estimate, settings)
    image = estimate.image if refined.image is None else refined.image
    judgement, deviation = trust(refined, image, estimate.image, observed, settings)
    return Answer(image, estimate.noise, deviation, judgement)


def _guide(kind: Kind, task: Task) -> CubeGuide:
    """Return the guide of a kind of fault."""

    def gaussian(cube: Tensor, observed: Tensor) -> Estimate:
        found = subspace.denoise(cube, observed)
        return Estimate(found.image, cube, found.sigma)

    def impulses(cube: Tensor, observed: Tensor) -> Estimate:
        found = mixed.restore(cube, observed)
        return Estimate(found.image, found.clean, found.sigma)

    def striped(cube: Tensor, observed: Tensor) -> Estimate:
        found = stripes.remove(cube, observed, task.direction)
        axis = -1 if found.direction == "rows" else -2
        return Estimate(found.image, cube, torch.zeros(len(cube)), axis)

    def gaps(cube: Tensor, observed: Tensor) -> Estimate:
        return Estimate(fill(cube, observed), cube, torch.zeros(len(cube)))

    return {"gaussian": gaussian, "mixed": impulses, "stripes": striped, "gaps": gaps}[kind]


def fill(cube: Tensor, observed: Tensor) -> Tensor:
    """Return a cube (B, h, w) with its gaps filled: by `lines` where most of them reach through all bands, else by `entries`."""
    through = ~observed.any(dim=0)
    gaps = int((~observed).sum())
    whole = int(through.sum()) * len(cube)
    return (lines.fill if 2 * whole > gaps else entries.complete)(cube, observed)


def _noise_of(cube: Tensor, observed: Tensor) -> tuple[Kind, Estimate | None]:
    """Return which noise a cube has, and the estimate by which this was found where it is the guide.

    Mixed noise piles up values, scattered, at the ends of the range, or leaves the tails of impulses in a Gaussian fit's residual.
    """
    if mixed.scattered_at_limits(cube, observed) > PILED:
        return "mixed", None
    estimate = _guide("gaussian", Task(""))(cube, observed)
    far = (cube - estimate.image).abs() > FAR * estimate.noise.clamp(min=1e-6)[:, None, None]
    share = float((far & observed).sum()) / max(float(observed.sum()), 1.0)
    return ("mixed", None) if share > IMPULSIVE else ("gaussian", estimate)


def _published(kind: Kind, cube: Tensor, observed: Tensor, settings: Settings) -> Answer:
    """Return what the published algorithm makes of a cube; stripes are to it a kind of mixed noise."""
    case: Case = "inpaint" if kind == "gaps" else "gaussian" if kind == "gaussian" else "mixed"
    image = torch.from_numpy(solve_as_published(cube[None].numpy(), observed[None].numpy(), settings, case)[0])
    noise = torch.full((len(cube),), float("nan"))
    return Answer(image, noise, torch.zeros_like(cube), unjudged("paper", len(cube)))
