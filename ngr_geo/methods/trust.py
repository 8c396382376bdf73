"""How far a spectral result may be off, learnt from errors at hidden data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .calibration import MOST_PIXELS, Calibration, calibrate, features
from .probes import judged
from .problem import Judgement, Settings
from .spectral import Errors, Refined

FEW = 5
"""Hidden entries of a band that count as much as what all bands together say of it."""


def trust(
    refined: Refined, image: Tensor, guide: Tensor, observed: Tensor, settings: Settings
) -> tuple[Judgement, Tensor]:
    """Return what is kept and the errors to be expected, and the deviation (B, h, w) of the image made from a guide."""
    method = "guide" if refined.image is None else "ngr"
    kept = refined.guide if refined.image is None or refined.ngr is None else refined.ngr
    tables = []
    for errors in (refined.guide, refined.ngr):
        level = _levels(errors) if errors else np.full(len(image), np.nan)
        bias = _biases(errors) if errors else np.full(len(image), np.nan)
        tables.append((level, bias))
    unit = torch.from_numpy(tables[kept is refined.ngr][0]).float().nan_to_num(nan=1).clamp(min=1e-9)
    calibration = _calibrated(kept, unit)
    doubt = float("nan") if calibration is None else float(calibration.doubt[0])
    columns = (tables[0][0], tables[1][0], tables[0][1], tables[1][1], np.full(len(image), doubt))
    names = ("guide_rmse", "ngr_rmse", "guide_bias", "ngr_bias", "doubt")
    expected: dict[str, Any] = {n: tuple(c.tolist()) for n, c in zip(names, columns, strict=True)}
    judgement = judged(method, refined.table)._replace(**expected)
    if not settings.uncertainty:
        return judgement, torch.zeros_like(image)
    if calibration is None:
        return judgement, torch.full_like(image, torch.nan)
    scales = _unit(kept.image)
    deviation = torch.empty_like(image)
    for band in range(len(image)):
        columns_here = _features(observed[band], image[band] / scales[band], guide[band] / scales[band])
        deviation[band] = (calibration.scale(columns_here[None]) * float(calibration.deviation[0])).reshape(
            image[band].shape
        )
    return judgement, deviation * unit[:, None, None]


def _levels(errors: Errors) -> NDArray[np.float64]:
    """Return the RMSE of each band (B,), of bands with few hidden entries partly that of the others; NaN without any."""
    where = errors.where.flatten(1)
    count = where.sum(1).double().numpy()
    if not count.any():
        return np.full(len(where), np.nan)
    square = torch.where(where, errors.error.flatten(1).double().square(), 0).sum(1).numpy()
    unit = _unit(errors.image).double().numpy() ** 2
    some = count >= 3 if (count >= 3).any() else count > 0
    usual = float(np.median(square[some] / count[some] / unit[some]))
    level: NDArray[np.float64] = np.sqrt((square + FEW * usual * unit) / (count + FEW))
    return level


def _biases(errors: Errors) -> NDArray[np.float64]:
    """Return the mean error of each band (B,), drawn to 0 where few entries were hidden."""
    where = errors.where.flatten(1)
    total = torch.where(where, errors.error.flatten(1).double(), 0).sum(1)
    bias: NDArray[np.float64] = (total / (where.sum(1) + FEW)).numpy()
    return bias if where.any() else np.full(len(where), np.nan)


def _unit(image: Tensor) -> Tensor:
    """Return the deviation of each band (B,): what separates busy from quiet is measured in it."""
    deviation = image.flatten(1).double().std(1)
    return deviation.clamp(min=1e-3 * float(deviation.max()) + 1e-9).float()


def _features(seen: Tensor, image: Tensor, guide: Tensor) -> Tensor:
    """Return what the error of one band depends on, (FEATURES, h·w): see `calibration.features`. There are no references."""
    clear = torch.ones(2, *seen.shape)
    return features(seen, clear, image[None], guide[None])[0].flatten(1)


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
            columns.append(_features(errors.seen[band], image, guide)[:, where.flatten()])
            values.append(errors.error[band][where] / unit[band])
            quarters.append(quarter[where])
    if not columns:
        return None
    error = torch.cat(values)[None]
    return calibrate(error, torch.cat(columns, 1)[None], torch.zeros_like(error[0]), torch.cat(quarters))
