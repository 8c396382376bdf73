"""The errors expected of a result, and the figures that guide or NGR was kept by, as rows of its record hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import rows as records

Errors = dict[str, NDArray[np.float64]]
""""rmse", "bias" and, of what was kept, "doubt", per band (B,); NaN where not known."""


def choice(judgement: Any, asked: str) -> dict[str, Any]:
    """Return the figures that guide or NGR was kept by, as JSON can hold them; {} where nothing was measured on blocks.

    RMSE on the hidden blocks, geometric mean of the bands, since their gains in dB are averaged.

    Args:
        judgement: in the raster's units.
        asked: the method that the user asked for.
    """
    figures = {}
    for member in ("guide", "ngr"):
        rmse = np.asarray(getattr(judgement, f"{member}_hidden"), float)
        rmse = rmse[np.isfinite(rmse) & (rmse > 0)]
        if rmse.size:
            figures[member] = float(f"{np.exp(np.log(rmse).mean()):.5g}")
    return records.choice({**figures, "blocks": int(np.nanmax(judgement.blocks))}, asked)


def of_judgement(judgement: Any, peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return the errors expected by a judgement in the raster's units."""
    tables = {k: np.asarray(getattr(judgement, k)) for k in judgement._fields[1:]}
    errors = {m: {k: tables[f"{m}_{k}"] for k in ("rmse", "bias")} for m in ("guide", "ngr")}
    return expectation(errors, errors[judgement.method] | {"doubt": tables["doubt"]}, peak, bands)


def expectation(errors: dict[str, Errors], kept: Errors, peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return the errors that are expected, as JSON can hold them.

    Args:
        errors: of "guide" and "ngr".
        kept: of the method that was kept.
        peak: the range of values for PSNR.
        bands: their names.
    """
    rmse = {m: table["rmse"] for m, table in errors.items()}
    row: dict[str, Any] = {f"{m}_rmse": float(np.nanmean(e)) if np.isfinite(e).any() else None for m, e in rmse.items()}
    if row["guide_rmse"] and row["ngr_rmse"]:
        row["gain_db"] = round(float(np.nanmean(20 * np.log10(rmse["guide"] / rmse["ngr"]))), 3)
    for name, table in {**errors, "expected": kept}.items():
        if np.isfinite(table["rmse"]).any():
            described = {**table, "psnr": 20 * np.log10(peak / np.maximum(table["rmse"], 1e-12))}
            row[name] = {k: _by_band(described[k], bands) for k in ("rmse", "bias", "psnr", "doubt") if k in described}
    return row


def of_scene(rows: Sequence[dict[str, Any]], peak: float, bands: Sequence[str]) -> dict[str, Any]:
    """Return what is expected of a whole scene, for "guide", "ngr" and what was kept ("expected"), from the rows of its dates.

    Dates count by how much of them was filled, if anything was.
    """
    found = {}
    for name in ("guide", "ngr", "expected"):
        known = [row for row in rows if name in row]
        weights = np.array([row.get("filled") or 0.0 for row in known])
        weights = weights if weights.any() else np.ones(len(known))
        if not known:
            continue
        tables = {
            k: np.array([[np.nan if (v := row[name][k][b]) is None else v for b in bands] for row in known], float)
            for k in ("rmse", "bias")
        }
        used = np.where(np.isfinite(tables["rmse"]), weights[:, None], 0)
        with np.errstate(invalid="ignore"):  # bands that took no part
            mean = {
                k: (np.nan_to_num(t**p) * used).sum(0) / used.sum(0)
                for (k, t), p in zip(tables.items(), (2, 1), strict=True)
            }
        rmse = np.sqrt(mean["rmse"])
        described = {"rmse": rmse, "bias": mean["bias"], "psnr": 20 * np.log10(peak / np.maximum(rmse, 1e-12))}
        found[name] = {k: _by_band(v, bands) for k, v in described.items()}
    return found


def _by_band(values: NDArray[np.float64], bands: Sequence[str]) -> dict[str, float | None]:
    """Return numbers by the names of bands, as JSON can hold them."""
    wide = np.broadcast_to(values, len(bands))
    return {b: float(f"{v:.4g}") if np.isfinite(v) else None for b, v in zip(bands, wide, strict=True)}
