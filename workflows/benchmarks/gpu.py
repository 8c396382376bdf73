"""What a GPU gains: tiles a second, share of its peak, memory, beside the CPU of the same machine in the same run.

`tiles` solves a mosaic of the Slovenian stack with tiles of several sides, by the guide and by NGR; `cubes` restores spectral
cubes; `paper` runs the published algorithm in full on one tile. Each is also computed on the CPU (of `paper` a few steps, and
their seconds are multiplied), and the two results are compared.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import scale
from .common import SLOVENIA_SIZE, Row, psnr, show
from .faults import CUBES, load, simulate
from .hyperspectral import restored

PARTS = ("tiles", "cubes", "paper")
METHODS = ("guide", "ngr")
TASKS = ("gaussian", "mixed", "lines")
CPU_STEPS = 5
"""Steps of the published algorithm that are timed on the CPU."""
COLUMNS = {"what": "34", "device": "8", "learn_s": "8.2f", "solve_s": "8.2f", "tiles_s": "8.2f", "peak": "7.1%"}
COLUMNS |= {"memory_gb": "9.2f", "faster": "7.1f", "rms": "9.1e", "psnr": "6.2f"}
NONE = (
    "Found no GPU that torch can use here (torch.cuda.is_available() is False), expected one: install a torch that is built for it "
    "(https://pytorch.org/get-started), or measure the CPU with: python workflows/benchmark.py scale"
)


def check() -> None:
    """Raise SystemExit where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(NONE)


def run(parts: Sequence[str], size: int, sides: Sequence[int], steps: int | None) -> None:
    """Print what is asked for.

    Args:
        parts: names in `PARTS`.
        size: rows and columns of the mosaic.
        sides: of its tiles.
        steps: of the published algorithm; None: its own 15 000.
    """
    import torch

    device = torch.cuda.get_device_properties(0)
    peak = rate("cuda")
    print(
        f"{device.name}, {device.total_memory / 1e9:.0f} GB, torch {torch.__version__}; {peak / 1e12:.1f} TFLOP/s in float32"
    )
    rows: list[Row] = []
    for part in parts:
        measure: dict[str, Callable[[], list[Row]]] = {
            "tiles": lambda: tiles("cuda", size, sides, peak),
            "cubes": lambda: cubes("cuda"),
            "paper": lambda: paper("cuda", min(sides), steps),
        }
        found = measure[part]()
        show(found, COLUMNS, head=not rows)
        rows += found


def rate(device: str, size: int = 8192) -> float:
    """Return the operations a second of a product of matrices in float32, without TF32: what `peak` is a share of."""
    import torch

    from ngr_geo.tiling.precision import same_bits

    with same_bits():
        a = torch.rand(size, size, device=device)
        _ = float((a @ a).sum())
        begun = time.perf_counter()
        _ = float(sum((a @ a).sum() for _ in range(5)))
        return 5 * 2 * size**3 / (time.perf_counter() - begun)


def tiles(device: str, size: int, sides: Sequence[int], peak: float) -> list[Row]:
    """Return rows of a mosaic, solved on a device and on the CPU."""
    raster, cloud = scale.in_memory(scale.source(), size)
    rows = []
    for method in METHODS:
        for side in sides:
            what = f"{size} x {size}, {method}, tiles of {side}"
            how = {"method": method, "tile": side, "dates": scale.DAYS[scale.CLOUDY], "dilate": 0}
            operations = _operations(raster, cloud, method, side)
            pair = [_timed(raster, cloud, one, how) for one in (device, device, "cpu")][1:]  # the first one warms up
            (there, values), (here, expected) = pair
            for row in (there, here):
                row["what"] = what
            there["peak"] = there["tiles_s"] * operations / peak
            there["faster"] = here["solve_s"] / there["solve_s"]
            there["rms"] = _difference(values, expected)
            rows += [there, here]
    return rows


def _timed(raster: Any, cloud: Any, device: str, how: dict[str, Any]) -> tuple[Row, NDArray[np.float64]]:
    """Return a row of one call, with the seconds until the first tile begins, and from then to the last; and its values."""
    begun, first, last, count = time.perf_counter(), 0.0, 0.0, 0

    def note(stage: str, done: int, total: int) -> None:
        nonlocal first, last, count
        if stage == "tiles":
            last, count = time.perf_counter(), total
            first = last if done == 0 else first

    _forget(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = raster.ngr.decloud(cloud, device=device, progress=note, **how)
    seconds = max(last - first, 1e-9)
    row: Row = {"device": device, "learn_s": first - begun, "solve_s": seconds, "tiles_s": count / seconds}
    return row | _memory(device), found.values[scale.CLOUDY].astype(float)


def _operations(raster: Any, cloud: Any, method: str, side: int) -> float:
    """Return the operations of products and convolutions of one tile, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ngr_geo.methods.base import Part
    from ngr_geo.methods.problem import Settings
    from ngr_geo.methods.stacks import Stack
    from ngr_geo.tiling import tiles as pieces

    part, mask = raster.isel(y=slice(side), x=slice(side)), cloud.isel(y=slice(side), x=slice(side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = part.ngr.prior(mask, method=method, steps=None if method == "guide" else 1, device="cpu", dilate=0)
    settings: Any = Settings(method, device="cpu")  # type: ignore[arg-type]
    days = np.arange(part.sizes["time"], dtype=float)
    method_of = Stack(settings, (scale.CLOUDY,), scale.DAYS, scale.BANDS, days, True)
    seen = np.broadcast_to(~mask.values[:, None], part.shape) & (part.values != 0)
    gaps = ~seen & (np.arange(len(days)) == scale.CLOUDY)[:, None, None, None]
    (tile,) = pieces.grid((side, side), side, 0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        method_of.solve(model, Part(part.values, seen, gaps, None), tile)
    return float(counter.get_total_flops())


def cubes(device: str, names: Sequence[str] = CUBES, tasks: Sequence[str] = TASKS) -> list[Row]:
    """Return rows of spectral cubes, restored by `auto` on a device and on the CPU."""
    rows = []
    for name in names:
        clean = load(name)
        for task in tasks:
            fault = simulate(clean, task, 0)
            found: dict[str, tuple[NDArray[Any], Row]] = {}
            for one in (device, device, "cpu"):
                _forget(one)
                begun = time.perf_counter()
                values = restored(fault, task, method="auto", device=one).values
                found[one] = values, {"device": one, "solve_s": time.perf_counter() - begun} | _memory(one)
            for values, row in found.values():
                row |= {"what": f"{name}, {task}", "psnr": psnr(((values - clean) ** 2).mean((1, 2)))}
            there, here = found[device][1], found["cpu"][1]
            there["faster"] = here["solve_s"] / there["solve_s"]
            there["rms"] = _difference(found[device][0], found["cpu"][0])
            rows += [there, here]
    return rows


def paper(device: str, side: int, steps: int | None) -> list[Row]:
    """Return rows of the published algorithm where there is most to fill: all steps on a device, of the CPU a few, multiplied."""
    source = scale.source()
    whole = np.arange(max(side, SLOVENIA_SIZE))
    raster, cloud = scale.in_memory(source, len(whole))
    truth, hidden = scale.scored(source, whole, whole)
    corners = itertools.product(range(0, len(whole) - side + 1, max(side // 2, 1)), repeat=2)
    windows = [(slice(y, y + side), slice(x, x + side)) for y, x in corners]
    busiest = max(windows, key=lambda window: int(hidden[window].sum()))
    truth, hidden = truth[:, *busiest], hidden[busiest]
    raster, cloud = (data.isel(y=busiest[0], x=busiest[1]) for data in (raster, cloud))
    how = {"method": "paper", "tile": side, "dates": scale.DAYS[scale.CLOUDY], "dilate": 0}
    there, values = _timed(raster, cloud, device, how | {"steps": steps})
    few = [_timed(raster, cloud, "cpu", how | {"steps": count})[0]["solve_s"] for count in (1, 1 + CPU_STEPS)]
    here: Row = {
        "what": "the same, from a few steps",
        "device": "cpu",
        "solve_s": (few[1] - few[0]) / CPU_STEPS * (steps or 15_000),
    }
    error = ((values - truth) * 1e-4)[:, hidden]
    there |= {"what": f"paper, {side} x {side}, {steps or 15_000} steps", "psnr": psnr((error**2).mean(1))}
    there["faster"] = here["solve_s"] / there["solve_s"]
    return [there, here]


def _difference(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Return the root mean square difference of what differs, in standard deviations of each band."""
    error = (one - two) / two.std(axis=(1, 2), keepdims=True)
    return float(np.sqrt((error[error != 0] ** 2).mean())) if error.any() else 0.0


def _forget(device: str) -> None:
    """Begin to look for the peak of a GPU's memory anew."""
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def _memory(device: str) -> Row:
    """Return the peak of a GPU's memory since then."""
    import torch

    return {} if device == "cpu" else {"memory_gb": torch.cuda.max_memory_allocated() / 1e9}
