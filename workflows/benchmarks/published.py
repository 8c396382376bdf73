"""The problems that the paper's tables pose, and its scores.

What is known of them: Table I and the mixed noise from the paper; the kinds of problems, the share of entries and the noise of its
examples, and the scores from the code that the authors publish. Its text was not at hand, so the numbers of Tables II to VI are
taken in the order in which that code lists its examples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .cases import protocol_r
from .common import DATA
from .faults import CUBES, MIXED, Fault, load, simulate

Kind = Literal["entries", "lines", "clouds", "mixed", "gaussian", "video"]
PICTURES = (".png", ".jpg", ".jpeg")
LINES = 35
"""Dead lines, and stripes, of a band that has any."""
BRIGHT = 0.999
"""Quantile that cubes and stacks are divided by."""


@dataclass(frozen=True)
class Problem:
    """What a method is given, and the truth.

    Attributes:
        kind: of what is wrong; Gaussian noise of a file is that of a video, for which the paper has settings of its own.
        truth: (channel, y, x) in [0, 1].
        seen: the same with noise, 0 where not observed.
        observed: which entries are.
        days: of the dates whose bands are the channels, the one with clouds first; one date unless these are clouds.
    """

    kind: Kind
    truth: np.ndarray
    seen: np.ndarray
    observed: np.ndarray
    days: tuple[float, ...] = (0.0,)

    @property
    def scored(self) -> int:
        """How many channels are scored, the first ones: those of the date with clouds."""
        return len(self.truth) // len(self.days)


@dataclass(frozen=True)
class Table:
    """A table: what it is about, the kind of its problems, their levels, and the images that are at hand for it."""

    about: str
    kind: Kind
    levels: tuple[str, ...]
    images: tuple[str, ...]


SET5 = ("baby", "bird", "butterfly", "head", "woman", "148089", "291000")
TABLES = {
    "table1": Table("random entries of colour photographs", "entries", ("0.5", "0.3", "0.1"), SET5),
    "table2": Table("random entries of videos and cubes", "entries", ("0.15",), CUBES),
    "table3": Table("dead lines of cubes", "lines", ("dead",), CUBES),
    "table4": Table("clouds in stacks of dates", "clouds", ("clouds",), tuple(f"R{number}" for number in range(8))),
    "table5": Table("mixed noise of cubes", "mixed", ("weak", "harsh"), CUBES),
    "table6": Table("Gaussian noise of videos and cubes", "gaussian", ("0.15",), CUBES),
}


def fits(table: Table, level: str) -> bool:
    """Return whether a table's problems have such a level."""
    if table.kind in ("entries", "gaussian"):
        try:
            number = float(level)
        except ValueError:
            return False
        return 0 < number < (1 if table.kind == "entries" else np.inf)
    return level in (MIXED if table.kind == "mixed" else table.levels)


def posed(kind: Kind, level: str, image: str, data: Path | None, crop: int | None, channels: int | None) -> Problem:
    """Return a problem: an image by its name, at hand or of a folder, cut to its middle and to channels that are evenly spread."""
    if kind == "clouds":
        case = next(case for case in protocol_r() if case.name == image)
        truth = case.stack / np.quantile(case.stack, BRIGHT)
        observed = np.broadcast_to(case.observed[:, None], truth.shape)
        truth, observed = (a.reshape(-1, *a.shape[2:]) for a in (np.clip(truth, 0, 1).astype(float), observed))
        problem = Problem(kind, truth, np.where(observed, truth, 0), observed, tuple(case.days.tolist()))
        return _cut(problem, crop)
    truth = _spread(_middle(read(image, data), crop), channels)
    random = np.random.default_rng(0)
    if kind == "entries":
        seen = np.zeros(truth.size, bool)
        seen[random.permutation(truth.size)[: round(float(level) * truth.size)]] = True
        observed = seen.reshape(truth.shape)
        return Problem(kind, truth, np.where(observed, truth, 0), observed)
    if kind == "gaussian":
        noisy = truth + float(level) * random.standard_normal(truth.shape)
        return Problem("gaussian" if image in CUBES else "video", truth, noisy, np.ones(truth.shape, bool))
    if kind == "mixed" and truth.shape[2] < LINES:
        message = f"found an image of {truth.shape[2]} columns, expected {LINES} dead lines to fit: pass --crop {LINES} or more"
        raise ValueError(message)
    fault = simulate(truth, level, 0)
    return Problem(kind, truth, fault.seen, np.array(fault.observed))


def read(name: str, data: Path | None) -> np.ndarray:
    """Return an image (channel, y, x) in [0, 1]: a clean cube at hand, or a file of a folder.

    PNG and JPEG are photographs. Of a MAT file the variable `gt` (y, x, channel), which is the authors' layout, and of an NPY file
    the array (channel, y, x) are divided by their 99.9 % quantile and clipped where values exceed 1.
    """
    if data is None and name in CUBES:
        return load(name)
    path = files(data or DATA / "rgb")[name]
    if path.suffix.lower() in PICTURES:
        from PIL import Image

        return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) / 255
    if path.suffix == ".npy":
        values = np.load(path).astype(float)
    else:
        import scipy.io

        values = scipy.io.loadmat(path)["gt"].astype(float).transpose(2, 0, 1)
    return np.clip(values / np.quantile(values, BRIGHT), 0, 1) if values.max() > 1 else values


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that hold images, by their names without ending."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in (*PICTURES, ".npy", ".mat")}


def _middle(image: np.ndarray, crop: int | None) -> np.ndarray:
    for axis in (-2, -1) if crop else ():
        size = image.shape[axis]
        first = max(0, (size - (crop or size)) // 2)
        image = image.take(np.arange(first, min(size, first + (crop or size))), axis)
    return image


def _spread(image: np.ndarray, channels: int | None) -> np.ndarray:
    return (
        image
        if channels is None
        else image[np.linspace(0, len(image) - 1, min(channels, len(image))).round().astype(int)]
    )


def _cut(problem: Problem, crop: int | None) -> Problem:
    parts: dict[str, Any] = {name: _middle(getattr(problem, name), crop) for name in ("truth", "seen", "observed")}
    return replace(problem, **parts)


def score(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return PSNR, SSIM, SAM in degrees and ERGAS as the authors' code takes them: of the whole image, held in [0, 1].

    PSNR and SSIM of images rounded to 8 bits, means over the bands; SAM and ERGAS of what is not rounded.
    """
    from skimage.metrics import structural_similarity

    found = np.clip(found, 0, 1)
    bytes_ = [
        (np.round(a * 255).astype(np.uint8), np.round(b * 255).astype(np.uint8))
        for a, b in zip(found, truth, strict=True)
    ]
    lengths = np.sqrt(((found**2).sum(0) + 1e-6) * ((truth**2).sum(0) + 1e-6))
    error = ((found - truth) ** 2).mean((1, 2))
    return {
        "psnr": psnr(found, truth),
        "ssim": float(np.mean([structural_similarity(a, b) for a, b in bytes_])),
        "sam": float(np.degrees(np.arccos(np.clip((found * truth).sum(0) / lengths, 0, 1))).mean()),
        "ergas": float(100 * np.sqrt((error / (truth.mean((1, 2)) ** 2 + np.finfo(float).eps)).mean())),
    }


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the PSNR of images rounded to 8 bits, the mean over the bands."""
    error = np.square(np.round(np.clip(found, 0, 1) * 255) - np.round(truth * 255)).mean((1, 2))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(error, 1e-12))))


def as_fault(problem: Problem) -> Fault:
    """Return a problem of a cube as the benchmark of cubes has it: NaN where entries are missing, 0 where lines are dead."""
    seen = np.where(problem.observed, problem.seen, np.nan if problem.kind == "entries" else 0)
    return Fault(problem.truth, seen, problem.observed)
