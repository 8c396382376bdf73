"""The same bits on one class of device, and how far two classes may differ: GPUs, CPUs, CPUs with other instructions.

An estimate differs by rounding. A network's training makes more of it, up to another step at which it is stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from small_cube import clean_cube, raster

import ngr_geo

GUIDE, NGR = 1e-3, 0.1
"""Standard deviations of a band: the largest difference of a guide, and the root mean square difference of NGR where it filled."""
BANDS = ("B02", "B03", "B04", "B08")
OTHER = {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}
Results = dict[str, NDArray[Any]]


def results(device: str) -> Results:
    """What is computed on a device: values (band, ...) by method."""
    torch.manual_seed(0)
    sample = ngr_geo.sample("slovenia").isel(time=slice(-3, None), y=slice(0, 64), x=slice(0, 64))
    stack: xr.Dataset = sample.assign({name: sample[name].astype("float32") for name in BANDS})
    cube = clean_cube()[:10, :32, :32] + 0.05 * np.random.default_rng(0).standard_normal((10, 32, 32))
    filled = {
        "guide": stack.ngr.decloud(method="guide", device=device),
        "ngr": stack.ngr.decloud(method="ngr", steps=20, tune=1, device=device),
    }
    found = {name: np.stack([result[band].values for band in BANDS]) for name, result in filled.items()}
    for method, how in (("guide", {}), ("ngr", {"steps": 5}), ("paper", {"steps": 3})):
        options: dict[str, Any] = {"method": method, "device": device, **how}
        found[f"cube, {method}"] = raster(cube).ngr.denoise(noise="gaussian", **options).values
    return found


def check(one: Results, two: Results) -> None:
    """Two classes of device agree within the tolerance that is stated."""
    for name, a in one.items():
        b = two[name].astype(float)
        scale = b.std(axis=tuple(range(1, b.ndim)), keepdims=True)
        error = np.abs(a - b) / scale
        if name.endswith("guide"):
            assert error.max() < GUIDE, name
        elif error.any():
            assert float(np.sqrt((error[error > 0] ** 2).mean())) < NGR, name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_same_bits_again_and_those_of_a_cpu_within_the_tolerance() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision()
    once, again = results("cuda"), results("cuda")
    for name, values in once.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)
    check(once, results("cpu"))
    after = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision()
    assert after == before


def test_cpus_of_two_classes_agree_within_the_tolerance(tmp_path: Path) -> None:
    """This one, and this one without most of its instructions: other kernels, other sums."""
    code = f"import sys, numpy; sys.path[:0] = {sys.path!r}; import test_classes as t; "
    code += "numpy.savez(sys.argv[1], **t.results('cpu'))"
    folder = Path(__file__).parent
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "other.npz")],
        check=True,
        cwd=folder,
        env=os.environ | OTHER,
    )
    with np.load(tmp_path / "other.npz") as other:
        check(results("cpu"), dict(other))
