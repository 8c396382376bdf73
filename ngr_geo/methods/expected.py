"""The errors expected of a result, and the figures that a member or a blend was kept by, as rows of its record hold them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import rows as records


def choice(judgement: Any, asked: str) -> dict[str, Any]:
    """Return the figures that members were kept or weighted by, as JSON can hold them; {} where nothing was hidden.

    RMSE on the hidden blocks, geometric mean of the bands, since their gains in dB are averaged.

    Args:
        judgement: in the raster's units.
        asked: the method that the user asked for.
    """
    figures = {}
    for member, errors in judgement.hidden.items():
        rmse = np.asarray(errors, float)
        rmse = rmse[np.isfinite(rmse) & (rmse > 0)]
        if rmse.size:
            figures[member] = float(f"{np.exp(np.log(rmse).mean()):.5g}")
    weights = {name: round(weight, 4) for name, weight in judgement.weights.items()}
    return records.choice({**figures, "blocks": int(np.nanmax([0, *judgement.blocks]))}, weights, asked)


def of_judgement(judgement: Any, peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return the errors expected by a judgement in the raster's units, as JSON can hold them; {} where none is known.

    Args:
        judgement: in the raster's units.
        peak: the range of values for PSNR.
        bands: their names.
    """
    rmse, bias, log_sd = (np.asarray(getattr(judgement, name), float) for name in ("rmse", "bias", "log_sd"))
    if not np.isfinite(rmse).any():
        return {}
    described = {"rmse": rmse, "bias": bias, "psnr": 20 * np.log10(peak / np.maximum(rmse, 1e-12)), "log_sd": log_sd}
    return {"expected": {name: _by_band(values, bands) for name, values in described.items()}}


def of_scene(rows: Sequence[dict[str, Any]], peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return what is expected of a whole scene, from the rows of its dates; {} where nothing is.

    Dates count by how much of them was filled, if anything was.
    """
    known = [row for row in rows if "expected" in row]
    weights = np.array([row.get("filled") or 0.0 for row in known])
    weights = weights if weights.any() else np.ones(len(known))
    if not known:
        return {}
    tables = {
        k: np.array([[np.nan if (v := row["expected"][k][b]) is None else v for b in bands] for row in known], float)
        for k in ("rmse", "bias")
    }
    rmse, bias = mean(tables["rmse"], weights[:, None], 2), mean(tables["bias"], weights[:, None])
    described = {"rmse": rmse, "bias": bias, "psnr": 20 * np.log10(peak / np.maximum(rmse, 1e-12))}
    return {name: _by_band(values, bands) for name, values in described.items()}


def mean(values: Any, weights: NDArray[np.float64], power: int = 1) -> NDArray[np.float64]:
    """Return the power mean of the rows of a table (n, B) that are known, with weights that broadcast to it; NaN without any."""
    table = np.array(values, float) ** power
    used = np.isfinite(table) * weights
    with np.errstate(invalid="ignore"):  # bands that took no part
        average: NDArray[np.float64] = (np.nan_to_num(table) * used).sum(0) / used.sum(0)
    return average ** (1 / power)


def _by_band(values: NDArray[np.float64], bands: Sequence[str]) -> dict[str, float | None]:
    """Return numbers by the names of bands, as JSON can hold them."""
    wide = np.broadcast_to(values, len(bands))
    return {b: float(f"{v:.4g}") if np.isfinite(v) else None for b, v in zip(bands, wide, strict=True)}
