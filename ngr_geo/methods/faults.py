"""What the spectral verbs are: for each a guide, what NGR makes of it, and hidden data that stops and judges.

`solve` is called for every tile of a cube (B, h, w) of one date, scaled to about [0, 1]. Tensors only: rasters and units stay
in `spectra.py`. Two forms of NGR, both refining the guide in the subspace of its own leading spectra:

- *Noise and stripes* go through the solver's loop (`iterate`): the residual E is Gaussian or striped, the network sees the
  guide and predicts the correction to its gradients. A few entries are hidden (`Masked`), and it stops when they are met best.
- *Gaps* have a guide that meets the observed entries, so there its error has nothing to teach. The network learns from
  entries that were hidden from its guide, and is then applied to a guide made of all of them; what is observed is held.

How far a result may be off, a second look says (`trust`). For gaps these are entries hidden from all of this, shaped like the
gaps. Noise has no truth to hide: there the estimate is made noisy again, and what is then made of it compared with it. What the
estimate itself lost cannot show there; it shows in the residual, where neighbouring bands have in common what noise has not.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..guides import images, mixed, posterior, stripes, subspace, through
from ..guides.base import Estimate
from ..raster import deadlines
from ..raster.cube import SPECTRAL_BANDS
from ..solver.paper import Case
from ..tiling.threads import threads
from .base import Kind, Task
from .calibration import MOST_PIXELS, Calibration, calibrate, features
from .filling import solve_as_published
from .probes import judged
from .problem import Judgement, Settings, unjudged
from .refine import refine_gaps, refine_noise
from .spectral import FAR, Answer, CubeGuide, Errors, Filler, Refined

IMPULSIVE = 2e-3
"""Share of residuals beyond `FAR` standard deviations that separates mixed noise from Gaussian, which has 7e-6 there."""
PILED = 0.01
"""Share of entries that stand alone at the end of their band's range, a sign of impulses or censoring."""
FEW = 5
"""Hidden entries of a band that count as much as what all bands together say of it."""


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
        settings = settings.placed()
        part, seen = cube[active].to(settings.device), observed[active].to(settings.device)
        kind, estimate = (task.kind, None) if task.kind else _noise_of(part, seen)
        if settings.method == "paper":
            inner = _published(kind, task, part, seen, settings)
        else:
            inner = _guided(kind, task, part, seen, estimate, settings)
        image, noise = cube.clone(), torch.full((len(cube),), float("nan"))
        image[active], noise[active] = inner.image.to(cube), inner.noise.to(noise)
        deviation = torch.zeros_like(cube)
        deviation[active] = inner.deviation.to(cube)
        return Answer(image, noise, deviation, inner.judgement.for_all(active.numpy()), kind)


def _guided(
    kind: Kind, task: Task, cube: Tensor, observed: Tensor, estimate: Estimate | None, settings: Settings
) -> Answer:
    """Return the guide, which may be known already, or what NGR makes of it where that meets hidden data better."""
    if kind == "gaps":
        image, fill = fill_gaps(cube, observed)
        estimate = Estimate(image, cube, cube.new_zeros(len(cube)))
        refined = refine_gaps(fill, cube, observed, estimate, settings)
    else:
        guide = _guide(kind, task)
        estimate = estimate or guide(cube, observed)
        refined = refine_noise(kind, guide, cube, observed, estimate, settings)
    image = estimate.image if refined.image is None else refined.image
    there = refined._replace(guide=refined.guide.cpu(), ngr=refined.ngr.cpu() if refined.ngr else None)
    judgement, deviation = trust(there, image.cpu(), estimate.image.cpu(), observed.cpu(), settings)
    return Answer(image, estimate.noise, deviation, judgement)


def _guide(kind: Kind, task: Task) -> CubeGuide:
    """Return the guide of a kind of fault, but gaps."""
    if kind == "gaussian":
        return subspace.denoise
    if kind == "mixed":
        return lambda cube, observed: mixed.restore(cube, observed, dead_lines(cube, observed))
    return partial(stripes.remove, direction=task.direction)


def dead_lines(cube: Tensor, observed: Tensor) -> Tensor:
    """Return where a cube (B, h, w) has dead lines; found on the CPU, wherever the cube is, in .4 ms a band of 150 x 150 pixels."""
    return torch.from_numpy(deadlines.find(cube.cpu().numpy(), observed.cpu().numpy()).mask).to(cube.device)


class Chosen(NamedTuple):
    """How the gaps of a cube of many bands are filled: those of some bands, and how far (B,) those of all; None: not chosen yet."""

    entries: posterior.Chosen | None = None
    lines: Tensor | None = None


def fill_gaps(cube: Tensor, observed: Tensor) -> tuple[Tensor, Filler]:
    """Return a cube (B, h, w) with its gaps filled, and what fills other gaps of it, by what was chosen for these."""
    if len(cube) < SPECTRAL_BANDS:
        again = partial(images.complete, chosen=images.choose(cube, observed))
        return again(cube, observed), again
    image, chosen = _filled(cube, observed, Chosen())
    return image, lambda cube, observed: _filled(cube, observed, chosen)[0]


def _filled(cube: Tensor, observed: Tensor, chosen: Chosen) -> tuple[Tensor, Chosen]:
    """Return a cube (B, h, w) of many bands with its gaps filled, and how.

    Entries of pixels that some band shows are filled by `posterior`, then pixels that none shows, as in dead lines, by `through`.
    """
    shown, (partly, followed) = observed.any(dim=0), chosen
    image = cube
    if not bool((observed == shown).all()):
        image, partly = posterior.complete(cube, observed, chosen=partly)
    if not shown.all():
        through_all, followed = through.fill(image, shown.expand_as(observed), followed=followed)
        image = torch.where(observed, cube, through_all)
    return image, Chosen(partly, followed)


def _noise_of(cube: Tensor, observed: Tensor) -> tuple[Kind, Estimate | None]:
    """Return which noise a cube has, and the estimate by which this was found where it is the guide.

    Mixed noise piles up values, scattered, at the ends of the range, or leaves the tails of impulses in a Gaussian fit's residual.
    """
    if mixed.scattered_at_limits(cube, observed) > PILED:
        return "mixed", None
    estimate = _guide("gaussian", Task(""))(cube, observed)
    far = (estimate.clean - estimate.image).abs() > FAR * estimate.noise.clamp(min=1e-6)[:, None, None]
    share = float((far & observed).sum()) / max(float(observed.sum()), 1.0)
    return ("mixed", None) if share > IMPULSIVE else ("gaussian", estimate)


def _published(kind: Kind, task: Task, cube: Tensor, observed: Tensor, settings: Settings) -> Answer:
    """Return what the published algorithm makes of a cube; stripes are to it a kind of mixed noise."""
    case: Case = "inpaint" if kind == "gaps" else "gaussian" if kind == "gaussian" else "mixed"
    arrays = cube[None].cpu().numpy(), observed[None].cpu().numpy()
    published = solve_as_published(*arrays, settings, case, clouds=task.verb == "decloud")
    image = torch.from_numpy(published[0])
    noise = torch.full((len(cube),), float("nan"))
    return Answer(image, noise, torch.zeros_like(cube), unjudged("paper", len(cube)))


def trust(
    refined: Refined, image: Tensor, guide: Tensor, observed: Tensor, settings: Settings
) -> tuple[Judgement, Tensor]:
    """Return what is kept and the errors to be expected, and the deviation (B, h, w) of the image made from a guide."""
    method = "guide" if refined.image is None else "ngr"
    kept = refined.guide if refined.image is None or refined.ngr is None else refined.ngr
    found = {name: errors for name, errors in (("guide", refined.guide), ("ngr", refined.ngr)) if errors}
    levels = {name: _levels(errors, observed) for name, errors in found.items()}
    level = _levels(kept, observed)
    unit = torch.from_numpy(level).float().nan_to_num(nan=1).clamp(min=1e-9)
    calibration = _calibrated(kept, unit)
    log_sd = float("nan") if calibration is None else float(calibration.log_sd[0])
    judgement = judged({name: float(name == method) for name in found}, refined.table, len(image))._replace(
        method=method,
        weights={method: 1.0},
        rmse=tuple(level.tolist()),
        bias=tuple(_biases(kept, observed).tolist()),
        log_sd=(log_sd,) * len(image),
    )
    if refined.table is None:  # of noise and stripes the trial hides no blocks
        judgement = judgement._replace(hidden={name: tuple(errors.tolist()) for name, errors in levels.items()})
    if not settings.uncertainty:
        return judgement, torch.zeros_like(image)
    if calibration is None:
        return judgement, torch.full_like(image, torch.nan)
    scales = _unit(kept.image)
    deviation = torch.empty_like(image)
    for band in range(len(image)):
        columns_here = _features(observed, band, image[band] / scales[band], guide[band] / scales[band])
        deviation[band] = (calibration.scale(columns_here[None]) * float(calibration.deviation[0])).reshape(
            image[band].shape
        )
    unseen = ~observed.any(0)
    if unseen.any() and not (kept.where & ~kept.seen.any(0)).any():
        deviation[:, unseen] = torch.nan  # no such pixel was hidden: nothing tells
    return judgement, deviation * unit[:, None, None]


def _counted(errors: Errors, observed: Tensor) -> Tensor:
    """Return how much each hidden entry counts, (B, h·w): pixels that other bands show, and those that none shows, as in the gaps.

    Of these all are hidden that can be, of scattered entries a part. The sum of a band is the number of its hidden entries.
    """
    counts = errors.where.double()
    if observed.all():
        return counts.flatten(1)
    shown, seen = observed.any(0), errors.seen.any(0)
    for gaps, hidden in ((~observed & shown, errors.where & seen), (~observed & ~shown, errors.where & ~seen)):
        share = gaps.sum((1, 2)) / hidden.sum((1, 2)).clamp(min=1)
        counts = torch.where(hidden, share[:, None, None], counts)
    total, number = counts.sum((1, 2)), errors.where.sum((1, 2))
    counts = torch.where((total > 0)[:, None, None], counts * (number / total)[:, None, None], errors.where.double())
    return counts.flatten(1)


def _levels(errors: Errors, observed: Tensor) -> NDArray[np.float64]:
    """Return the RMSE of each band (B,), of bands with few hidden entries partly that of the others; NaN without any."""
    where = _counted(errors, observed)
    count = where.sum(1).numpy()
    if not count.any():
        return np.full(len(where), np.nan)
    square = (where * errors.error.flatten(1).double().square()).sum(1).numpy()
    unit = _unit(errors.image).double().numpy() ** 2
    some = count >= 3 if (count >= 3).any() else count > 0
    usual = float(np.median(square[some] / count[some] / unit[some]))
    level: NDArray[np.float64] = np.sqrt((square + FEW * usual * unit) / (count + FEW))
    return level


def _biases(errors: Errors, observed: Tensor) -> NDArray[np.float64]:
    """Return the mean error of each band (B,), drawn to 0 where few entries were hidden."""
    where = _counted(errors, observed)
    total = (where * errors.error.flatten(1).double()).sum(1)
    bias: NDArray[np.float64] = (total / (where.sum(1) + FEW)).numpy()
    return bias if where.any() else np.full(len(where), np.nan)


def _unit(image: Tensor) -> Tensor:
    """Return the deviation of each band (B,): what separates busy from quiet is measured in it."""
    deviation = image.flatten(1).double().std(1)
    return deviation.clamp(min=1e-3 * float(deviation.max()) + 1e-9).float()


def _features(seen: Tensor, band: int, image: Tensor, guide: Tensor) -> Tensor:
    """Return what the error of one band (h, w) depends on, (FEATURES, h·w): see `calibration.features`.

    Its references are the other bands: whether any shows a pixel that this one misses, and how many do.
    """
    support = torch.stack([seen.any(0).to(image), seen.to(image).mean(0)])
    return features(seen[band], support, image[None], guide[None])[0].flatten(1)


def _calibrated(errors: Errors, unit: Tensor) -> Calibration | None:
    """Return how errors, in each band's `unit` (B,), depend on their place; the quarters of the window are its probes."""
    scales = _unit(errors.image)
    columns, values, quarters = [], [], []
    height, width = errors.where.shape[1:]
    quarter = 2 * (torch.arange(height) * 2 // max(height, 1))[:, None] + torch.arange(width) * 2 // max(width, 1)
    share = min(1.0, 4 * MOST_PIXELS / max(float(errors.where.sum()), 1))
    generator = torch.Generator().manual_seed(0)
    for band, where in enumerate(errors.where):
        where = where & (torch.rand(where.shape, generator=generator) < share)
        if where.any():
            image, guide = (a[band] / scales[band] for a in (errors.image, errors.guide))
            columns.append(_features(errors.seen, band, image, guide)[:, where.flatten()])
            values.append(errors.error[band][where] / unit[band])
            quarters.append(quarter[where])
    if not columns:
        return None
    error = torch.cat(values)[None]
    return calibrate(error, torch.cat(columns, 1)[None], torch.zeros_like(error[0]), torch.cat(quarters))
