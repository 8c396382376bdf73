"""Pictures of the gallery's pages: maps side by side with one range, one colour bar, a scale bar, and a legend for masks."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

plt.rcParams.update({"figure.dpi": 110, "font.size": 9, "axes.titlesize": 9, "savefig.bbox": "tight"})

BRIGHT = 2000  # number of a Sentinel-2 band at which the true colours are full: reflectance 0.2
MISSING = "#f3c6a5"  # what has no number
MASK = ListedColormap(["#e4e4e4", "#c2410c"])


def colour(date: xr.Dataset) -> xr.DataArray:
    """Return one date of Sentinel-2 in true colours, (y, x, 3) in [0, 1], with the same stretch in every picture."""
    bands = date[["B04", "B03", "B02"]].to_dataarray("rgb").transpose("y", "x", "rgb")
    return (bands.astype(float) / BRIGHT).clip(0, 1) ** 0.7


def maps(
    panels: Mapping[str, xr.DataArray],
    unit: str = "",
    *,
    limits: tuple[float, float] | None = None,
    cmap: str = "gray",
    mask: str = "filled",
    pixel: float | None = 120.0,
) -> None:
    """Draw maps side by side: true colours, masks in red, numbers with one range for all, what is NaN in pale orange.

    Args:
        panels: of each map its title.
        unit: of the numbers, beside the colour bar.
        limits: of the numbers; None: without the outermost 2 % of the first panel of numbers.
        cmap: of the numbers.
        mask: what True means in a panel of booleans.
        pixel: width of a pixel in metres, for the scale bar; None: no scale bar.
    """
    numbers = [panel for panel in panels.values() if panel.ndim == 2 and panel.dtype != bool]
    if numbers and limits is None:
        limits = tuple(np.nanquantile(numbers[0], [0.02, 0.98]))
    height, width = next(iter(panels.values())).shape[:2]
    across = 8.6 / len(panels)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(8.6, min(across * height / width, 4.2) + 0.5), layout="constrained", squeeze=False
    )
    for axis, (title, panel) in zip(axes[0], panels.items(), strict=True):
        axis.set_title(title)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_facecolor(MISSING)
        if panel.dtype == bool:
            axis.imshow(panel, cmap=MASK, vmin=0, vmax=1, interpolation="nearest")
            axis.legend(handles=[Patch(color=MASK(1), label=mask)], loc="upper right", framealpha=0.9)
        elif panel.ndim == 3:
            axis.imshow(panel, interpolation="nearest")
        else:
            image = axis.imshow(panel, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    if numbers:
        figure.colorbar(
            image, ax=axes[0].tolist(), label=unit, shrink=0.85, aspect=25, extend="both" if limits[0] else "max"
        )
    if pixel is not None:
        _scale(axes[0][0], width, height, pixel)


def _scale(axis: Axes, width: int, height: int, pixel: float) -> None:
    """Draw a scale bar of a fifth to a third of the width, a round number of metres or kilometres."""
    wanted = width * pixel / 3
    size = 10 ** np.floor(np.log10(wanted))
    metres = max(step * size for step in (1, 2, 5) if step * size <= wanted)
    label = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    left, low, bar = 0.05 * width, 0.94 * height, metres / pixel
    axis.add_patch(
        plt.Rectangle((left - 0.02 * width, low - 0.09 * height), bar + 0.04 * width, 0.12 * height, color="w")
    )
    axis.plot([left, left + bar], [low, low], color="k", linewidth=2, solid_capstyle="butt")
    axis.text(left + bar / 2, low - 0.015 * height, label, ha="center", va="bottom", fontsize=8)
