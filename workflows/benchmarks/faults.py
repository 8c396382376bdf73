"""Simulated faults on clean AVIRIS cubes.

Mixed noise is Gaussian noise of a standard deviation that differs from band to band, impulses, dead lines and stripes of
U(-0.25, 0.25): 35 of either in a band that has any. `MIXED` says how much of each `weak`, `strong` and `harsh` noise has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.io

from .common import DATA

CUBES = ("reno", "jasper")
TASKS = ("gaussian", "weak", "strong", "harsh", "entries10", "entries5", "dead", "stripes")
MIXED = {"weak": (0.1, 0.2, 0.2), "strong": (0.1, 0.25, 0.5), "harsh": (0.25, 0.5, 0.5)}
"""Share of impulses, of bands with dead lines, and of bands with stripes."""


class Fault(NamedTuple):
    """A clean cube (B, h, w), what is seen of it, and which entries are seen."""

    clean: np.ndarray
    seen: np.ndarray
    observed: np.ndarray


def load(name: str) -> np.ndarray:
    """Return Reno (100, 150, 150) or Jasper Ridge (198, 100, 100), divided by its 99.9 % quantile and clipped to [0, 1]."""
    if name == "reno":
        cube = scipy.io.loadmat(DATA / "hsi" / "reno.mat")["C"].astype(float).transpose(2, 0, 1)
    else:
        flat = scipy.io.loadmat(DATA / "hsi" / "jasper_ridge.mat")["Y"].astype(float)
        cube = flat.reshape(198, 100, 100).transpose(0, 2, 1)
    return np.clip(cube / np.quantile(cube, 0.999), 0, 1)


def simulate(clean: np.ndarray, task: str, seed: int) -> Fault:
    """Return a clean cube with the faults of a task."""
    rng = np.random.default_rng(seed)
    everything = np.ones(clean.shape, bool)
    if task == "gaussian":
        return Fault(clean, clean + 0.1 * rng.standard_normal(clean.shape), everything)
    if task in MIXED:
        return Fault(clean, _mixed(clean, *MIXED[task], rng), everything)
    if task.startswith("entries"):
        observed = rng.random(clean.shape) < int(task.removeprefix("entries")) / 100
        return Fault(clean, np.where(observed, clean, np.nan), observed)
    if task == "dead":
        observed = np.broadcast_to(~_dead_lines(clean.shape[2], rng), clean.shape)
        return Fault(clean, np.where(observed, clean, 0), observed)
    seen = clean.copy()
    _add_stripes(seen, 0.5, round(0.4 * clean.shape[2]), rng)
    return Fault(clean, seen, everything)


def _mixed(clean: np.ndarray, impulses: float, dead: float, striped: float, rng: np.random.Generator) -> np.ndarray:
    bands, _, width = clean.shape
    sigma = rng.uniform(0.1, 0.4, (bands, 1, 1))
    seen: np.ndarray = clean + sigma * rng.standard_normal(clean.shape)
    _add_stripes(seen, striped, 35, rng)
    hit = rng.random(clean.shape) < impulses
    seen = np.where(hit, (rng.random(clean.shape) < 0.5).astype(float), seen)
    for band in rng.choice(bands, int(dead * bands), replace=False):
        seen[band][:, rng.choice(width, 35, replace=False)] = 0
    return np.clip(seen, 0, 1)


def _add_stripes(seen: np.ndarray, share: float, count: int, rng: np.random.Generator) -> None:
    """Add so many stripes to a share of the bands, in place."""
    bands, _, width = seen.shape
    for band in rng.choice(bands, int(share * bands), replace=False):
        seen[band][:, rng.choice(width, count, replace=False)] += rng.uniform(-0.25, 0.25, count)


def _dead_lines(width: int, rng: np.random.Generator) -> np.ndarray:
    """Return which columns are dead in all bands: 23 of 150, in groups of one to three that do not touch."""
    count, lines = round(23 * width / 150), np.zeros(width, bool)
    while lines.sum() < count:
        first, size = int(rng.integers(1, width - 4)), min(int(rng.integers(1, 4)), count - int(lines.sum()))
        if not lines[first - 1 : first + size + 1].any():
            lines[first : first + size] = True
    return lines
