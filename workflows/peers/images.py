"""All methods for images and cubes with missing entries or noise, by the names that tables have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.published import Problem

if TYPE_CHECKING:
    from torch import Tensor

FIELDS = ("TV", "TVlp", "TGV", "HOTV")
TENSORS = ("TNN-FFT", "TNN-DCT", "CTV", "t-CTV")
LOW_RANK = ("LRTV", "LRTDTV", "FastHyDe-like")
PRIORS = ("DIP", "S2DIP")
"""Networks: what they draw is best somewhere on the way, and only the truth knows where."""
BY_KIND = {
    "entries": ("HaLRTC", *TENSORS, *FIELDS, *PRIORS),
    "lines": ("HaLRTC", *TENSORS, *FIELDS, *PRIORS),
    "clouds": ("HaLRTC", *TENSORS, *FIELDS, *PRIORS),
    "mixed": (*TENSORS, *LOW_RANK, *PRIORS),
    "gaussian": (*TENSORS, *FIELDS, *LOW_RANK, *PRIORS),
}
"""What suits each kind of problem."""
STEPS = 3000
"""Of the networks, unless others are asked for."""
SPARSE = 0.1
"""Weight of the sparse residual of S2DIP."""


def restored(problem: Problem, method: str, steps: int | None, device: str | None) -> Iterator[np.ndarray]:
    """Yield the images (channel, y, x) that a method makes of a problem: the last is its result, of networks all on the way."""
    import torch

    known = torch.from_numpy(problem.observed).to(device)
    data = torch.where(known, torch.from_numpy(problem.seen).to(device), 0)
    for image in _images(problem, data, known, method, steps or STEPS):
        yield image.double().cpu().numpy()


def _images(problem: Problem, data: Tensor, known: Tensor, method: str, steps: int) -> Iterator[Tensor]:
    import torch

    from . import models, prior
    from .fasthyde import fasthyde_like

    gaps = problem.kind not in ("mixed", "gaussian", "video")
    if method in PRIORS:
        single = data.float()
        images = (
            prior.drawn(prior.towards(single, known.float()), single, steps)
            if method == "DIP"
            else prior.with_variation(single, known, steps, sparse=SPARSE if problem.kind == "mixed" else None)
        )
        for image in images:
            yield torch.where(known, single, image) if gaps else image
    elif gaps:
        yield models.completed(data, known, method)
    else:
        deviation = None if problem.kind == "mixed" else _noise(data)
        if method == "FastHyDe-like":
            level = None if deviation is None else deviation.cpu().numpy()
            yield torch.from_numpy(fasthyde_like(data.cpu().numpy(), level))
        else:
            yield models.denoised(data, method, deviation)


def _noise(data: Tensor) -> Tensor:
    """Return the noise of each channel: what the others do not predict, or of few channels what neighbouring pixels do not."""
    import torch

    from ngr_geo.guides.subspace import noise_level

    return noise_level(data, torch.ones_like(data, dtype=torch.bool), data.flatten(1))
