"""Published regularisers of images and cubes, from their equations: what each asks of an image, and how its loop goes.

Total variation and its kin know pixels and their neighbours, the low-rank models know channels. What the papers leave open here is
the same for all images: nothing is chosen with the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ngr_geo.solver.fidelity import Exact, Fidelity, Masked, Sparse

from .prox import (
    Ball,
    adjoint,
    cosines,
    difference,
    folded,
    powered,
    shortened,
    shrink,
    thresholded,
    tubal,
    tubal_fourier,
    tucker,
    unfolded,
)
from .splitting import Course, Term, minimised, settled

ROWS, COLUMNS, CHANNELS = -2, -1, -3
SPATIAL, ALL = (ROWS, COLUMNS), (ROWS, COLUMNS, CHANNELS)


@dataclass(frozen=True)
class Model:
    """A regulariser.

    Attributes:
        terms: of an observation (channel, y, x).
        course: of the loop.
        unknowns: the image and what the model has beside it.
        axes: that its operators act along.
        sparse: the weight of |E|_1 against impulses, stripes and dead lines; None where the method has no such form.
    """

    terms: Callable[[Tensor], Sequence[Term]]
    course: Course
    unknowns: int = 1
    axes: Sequence[int] = SPATIAL
    sparse: Callable[[Sequence[int]], float] | None = None

    def solve(self, observation: Tensor, fidelity: Fidelity) -> Tensor:
        """Return the restored image (channel, y, x)."""
        return minimised(observation, self.terms(observation), fidelity, self.course, self.unknowns, self.axes)


def fields_of(axes: Sequence[int]) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the differences of the image along axes, fields (axis, channel, y, x) of U (1, channel, y, x), and their adjoint."""

    def forward(unknown: Tensor) -> Tensor:
        return torch.cat([difference(unknown, axis) for axis in axes])

    def back(fields: Tensor) -> Tensor:
        total = torch.zeros_like(fields[:1])
        for field, axis in zip(fields.split(1), axes, strict=True):
            total = total + adjoint(field, axis)
        return total

    return forward, back


def total_variation(observation: Tensor) -> list[Term]:
    """Return isotropic total variation of each channel: Rudin, Osher and Fatemi, Physica D 60, 1992."""
    return [Term(lambda fields, penalty: shortened(fields, 1 / penalty), *fields_of(SPATIAL))]


def power_variation(observation: Tensor, power: float = 0.5) -> list[Term]:
    """Return the sum of |D X|^p, p = 1/2, which is not convex: Hintermueller and Wu, SIAM J. Imaging Sciences 6, 2013."""
    return [Term(lambda fields, penalty: powered(fields, 1 / penalty, power), *fields_of(SPATIAL))]


def second_variation(observation: Tensor) -> list[Term]:
    """Return the sum of |D^2 X|_2 with the Hessian's Frobenius norm, no first differences.

    Lysaker, Lundervold and Tai, IEEE TIP 12, 2003.
    """
    forward, back = fields_of(SPATIAL)

    def hessian(unknown: Tensor) -> Tensor:
        rows, columns = forward(unknown).split(1)
        parts = adjoint(rows, ROWS), adjoint(columns, COLUMNS), adjoint(rows, COLUMNS), adjoint(columns, ROWS)
        return torch.cat(parts)

    def transposed(fields: Tensor) -> Tensor:
        a, b, c, d = fields.split(1)
        return back(
            torch.cat([difference(a, ROWS) + difference(c, COLUMNS), difference(b, COLUMNS) + difference(d, ROWS)])
        )

    return [Term(lambda fields, penalty: shortened(fields, 1 / penalty), hessian, transposed)]


def generalised_variation(observation: Tensor, ratio: float = 2.0) -> list[Term]:
    """Return second-order total generalised variation: the least over fields W of |D X - W| + 2 |symmetrised D W|.

    Bredies, Kunisch and Pock, SIAM J. Imaging Sciences 3, 2010, with the ratio of weights that is usual for images. U is (X, W).
    """
    half = 0.5**0.5

    def first(unknown: Tensor) -> Tensor:
        image, rows, columns = unknown.split(1)
        return torch.cat([difference(image, ROWS) - rows, difference(image, COLUMNS) - columns])

    def first_adjoint(fields: Tensor) -> Tensor:
        rows, columns = fields.split(1)
        return torch.cat([adjoint(rows, ROWS) + adjoint(columns, COLUMNS), -rows, -columns])

    def second(unknown: Tensor) -> Tensor:
        _, rows, columns = unknown.split(1)
        mixed = half * (adjoint(rows, COLUMNS) + adjoint(columns, ROWS))  # twice the mean, once in the norm
        return torch.cat([adjoint(rows, ROWS), adjoint(columns, COLUMNS), mixed])

    def second_adjoint(fields: Tensor) -> Tensor:
        a, b, c = fields.split(1)
        rows = difference(a, ROWS) + half * difference(c, COLUMNS)
        columns = difference(b, COLUMNS) + half * difference(c, ROWS)
        return torch.cat([torch.zeros_like(a), rows, columns])

    return [
        Term(lambda fields, penalty: shortened(fields, 1 / penalty), first, first_adjoint),
        Term(lambda fields, penalty: shortened(fields, ratio / penalty), second, second_adjoint),
    ]


def correlated_variation(observation: Tensor) -> list[Term]:
    """Return the sum of the nuclear norms of the differences along rows, columns and channels, each a matrix (channel, pixel).

    CTV: Peng, Wang, Zhang, Wang and Meng, IEEE Trans. Cybernetics 53, 2023 ("Exact decomposition of joint low rankness and local
    smoothness plus sparse matrices"). Their penalties stand as 4 to 1 for the residual and the differences; they grow by 25 % a
    sweep, here by 10 %, which comes nearer to the minimum.
    """

    def prox(fields: Tensor, penalty: float) -> Tensor:
        return thresholded(fields.flatten(2), 1 / penalty).reshape(fields.shape)

    return [Term(prox, *fields_of([axis]), share=0.25) for axis in ALL]


def tensor_correlated_variation(observation: Tensor) -> list[Term]:
    """Return the mean of the tensor nuclear norms of the differences along all modes, under a cosine transform of the channels.

    t-CTV: Wang, Peng, Qin, Wang and Meng, IEEE TPAMI 45, 2023. Of one channel along rows and columns.
    """
    axes = (CHANNELS, ROWS, COLUMNS) if len(observation) > 1 else SPATIAL
    transform = cosines(len(observation), observation)

    def prox(fields: Tensor, penalty: float) -> Tensor:
        return tubal(fields[0], 1 / (len(axes) * penalty), transform)[None]

    return [Term(prox, *fields_of([axis])) for axis in axes]


def low_rank_variation(observation: Tensor, weight: float = 0.01) -> list[Term]:
    """Return |X|_* of a rank of 10 at most, as a matrix (channel, pixel), plus 0.01 of the total variation of each channel.

    LRTV: He, Zhang, Zhang and Shen, IEEE TGRS 54, 2016, with the weight that the authors recommend. They solve for the variation
    within each sweep; here it is one more term of the splitting.
    """

    def low_rank(images: Tensor, penalty: float) -> Tensor:
        return folded(thresholded(unfolded(images[0], 0), 1 / penalty, rank=10), 0, images.shape[1:])[None]

    smooth = Term(lambda fields, penalty: shortened(fields, weight / penalty), *fields_of(SPATIAL))
    return [Term(low_rank), smooth]


def tucker_variation(observation: Tensor) -> list[Term]:
    """Return Tucker ranks of 80 % of the sides and 10 of the channels, plus the sum of |D_k X|_1, half of it along channels.

    LRTDTV: Wang, Peng, Zhao, Leung, Zhao and Meng, IEEE JSTARS 11, 2018.
    """
    channels, height, width = observation.shape
    ranks = min(10, channels), -(-4 * height // 5), -(-4 * width // 5)
    weights = observation.new_tensor([1.0, 1.0, 0.5])[:, None, None, None]
    forward, back = fields_of(ALL)
    smooth = Term(
        lambda fields, penalty: shrink(fields, 1 / penalty),
        lambda unknown: weights * forward(unknown),
        lambda fields: back(weights * fields),
    )
    return [Term(lambda images, penalty: tucker(images[0], ranks)[None]), smooth]


def tensor_nuclear(observation: Tensor) -> list[Term]:
    """Return the tensor nuclear norm under the Fourier transform of the channels.

    TNN-FFT: Zhang, Ely, Aeron, Hao and Kilmer, CVPR 2014; robust to sparse errors: Lu, Feng, Chen, Liu, Lin and Yan, IEEE TPAMI 42,
    2020.
    """
    return [Term(lambda images, penalty: tubal_fourier(images[0], 1 / penalty)[None])]


def tensor_nuclear_cosine(observation: Tensor) -> list[Term]:
    """Return the tensor nuclear norm under an orthonormal cosine transform of the channels: Lu, Peng and Wei, CVPR 2019."""
    transform = cosines(len(observation), observation)
    return [Term(lambda images, penalty: tubal(images[0], 1 / penalty, transform)[None])]


def _side(factor: float) -> Callable[[Sequence[int]], float]:
    return lambda shape: factor / prod(shape[1:]) ** 0.5


SMOOTH = Course(penalty=10.0, most=400)
"""Differences of images in [0, 1] are some tenths at edges: fields below 1 / penalty are taken for flat at first."""
TENSORS = Course(penalty=1e-4, growth=1.1)
"""The authors' own, of TNN and t-CTV."""
WHITTLED = Course(penalty=1e-2, growth=1.5, cap=1e6, most=40)
"""The authors' own, of LRTV and LRTDTV."""

MODELS: dict[str, Model] = {
    "TV": Model(total_variation, SMOOTH),
    "TVlp": Model(power_variation, Course(penalty=1.0, growth=1.02, cap=1e3, most=400)),
    "TGV": Model(generalised_variation, SMOOTH, unknowns=3),
    "HOTV": Model(second_variation, SMOOTH),
    "TNN-FFT": Model(tensor_nuclear, TENSORS, sparse=lambda s: 1 / (max(s[1:]) * s[0]) ** 0.5),
    "TNN-DCT": Model(tensor_nuclear_cosine, TENSORS, sparse=lambda s: 1 / max(s[1:]) ** 0.5),
    "t-CTV": Model(tensor_correlated_variation, TENSORS, axes=ALL, sparse=lambda s: 1 / max(s[1:]) ** 0.5),
    "CTV": Model(correlated_variation, Course(penalty=1e-3, growth=1.1), axes=ALL, sparse=_side(3)),
    "LRTV": Model(low_rank_variation, WHITTLED, sparse=_side(10)),
    "LRTDTV": Model(tucker_variation, WHITTLED, axes=ALL, sparse=lambda s: 10.0),
}


def completed(data: Tensor, known: Tensor, name: str) -> Tensor:
    """Return an image (channel, y, x), 0 where not `known`, with these entries filled in by one of `GAPS`."""
    if name in COMPLETIONS:
        return COMPLETIONS[name](data, known)
    return torch.where(known, data, MODELS[name].solve(data, Masked(Exact(), known)))


def denoised(data: Tensor, name: str, deviation: Tensor | None) -> Tensor:
    """Return an image (channel, y, x) less its noise: Gaussian of these deviations (channel,), or mixed where there are none."""
    model, pixels = MODELS[name], prod(data.shape[1:])
    if deviation is not None:
        return model.solve(data, Ball(deviation * pixels**0.5))
    if model.sparse is None:
        message = f"{name} has no form for mixed noise: choose one of {', '.join(ROBUST)}"
        raise ValueError(message)
    return model.solve(data, Sparse(model.sparse(data.shape)))


def halrtc(data: Tensor, known: Tensor) -> Tensor:
    """Return a tensor completed by HaLRTC.

    Liu, Musialski, Wonka and Ye, IEEE TPAMI 35, 2013, algorithm 4: the sum of the nuclear norms of the three unfoldings, with
    equal weights, under X = T where observed, by the alternating direction method with a penalty that grows by 5 % a sweep.
    """
    image, penalty = data.clone(), 1 / float(torch.linalg.norm(data))
    multipliers = [torch.zeros_like(data) for _ in range(3)]
    for _ in range(TENSORS.most):
        parts = [
            folded(thresholded(unfolded(image + y / penalty, mode), 1 / (3 * penalty)), mode, data.shape)
            for mode, y in enumerate(multipliers)
        ]
        mean = sum((part - y / penalty for part, y in zip(parts, multipliers, strict=True)), torch.zeros_like(data)) / 3
        before, image = image, torch.where(known, data, mean)
        multipliers = [y - penalty * (part - image) for part, y in zip(parts, multipliers, strict=True)]
        penalty *= 1.05
        apart = sum((part - image for part in parts), torch.zeros_like(data)) / 3
        if settled(image, before, apart, TENSORS.tolerance):
            break
    return image


def tensor_completion(data: Tensor, known: Tensor, transform: Tensor | None) -> Tensor:
    """Return a tensor completed with the tensor nuclear norm under a transform, the Fourier transform where there is none.

    Lu, Peng and Wei, CVPR 2019 (TNN-DCT) and Zhang, Ely, Aeron, Hao and Kilmer, CVPR 2014 (TNN-FFT): the observed entries are set
    in each sweep.
    """
    image, multiplier, penalty = data.clone(), torch.zeros_like(data), TENSORS.penalty
    for _ in range(TENSORS.most):
        value = image + multiplier / penalty
        smooth = tubal_fourier(value, 1 / penalty) if transform is None else tubal(value, 1 / penalty, transform)
        before, image = image, torch.where(known, data, smooth - multiplier / penalty)
        multiplier = multiplier + penalty * (image - smooth)
        penalty *= TENSORS.growth
        if settled(image, before, image - smooth, TENSORS.tolerance):
            break
    return image


COMPLETIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "HaLRTC": halrtc,
    "TNN-FFT": lambda data, known: tensor_completion(data, known, None),
    "TNN-DCT": lambda data, known: tensor_completion(data, known, cosines(len(data), data)),
}
"""Algorithms of the authors' own for missing entries."""
GAPS = ("TV", "TVlp", "TGV", "HOTV", "HaLRTC", "TNN-FFT", "TNN-DCT", "CTV", "t-CTV")
"""What fills missing entries. LRTV and LRTDTV are for noise."""
ROBUST = tuple(name for name, model in MODELS.items() if model.sparse is not None)
"""Models with a form for mixed noise."""
