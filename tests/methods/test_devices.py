"""Tiles on a device: nothing meets another device, only what is filled comes back, and a device that is full is made do without."""

from __future__ import annotations

import json
import warnings
from inspect import getsource
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from fake_device import FakeDevice, fake_device
from small_cube import clean_cube, raster

import ngr_geo
from ngr_geo import rows as records
from ngr_geo.methods import filling
from ngr_geo.methods.checkpoint import load
from ngr_geo.solver import train

VERBS: dict[str, dict[str, Any]] = {
    "denoise": {"noise": "mixed"},
    "destripe": {"direction": "columns"},
    "fill_deadlines": {"lines": [20]},
    "inpaint": {},
}
SITES = 4
"""Lines of the package at which a device is full in turn, evenly over all that want memory there."""


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of the sample, 48 x 48 pixels."""
    return ngr_geo.sample("slovenia").isel(time=slice(-3, None), y=slice(60, 108), x=slice(60, 108))


def cube(verb: str) -> xr.DataArray:
    """A small cube with the fault of a verb."""
    values = clean_cube()[:10, :24, :24].copy()
    random = np.random.default_rng(0)
    if verb == "denoise":
        values += 0.05 * random.standard_normal(values.shape)
        values[random.random(values.shape) < 0.05] = 1
    elif verb == "destripe":
        values += 0.1 * random.standard_normal((10, 1, 24)) * (random.random((10, 1, 24)) < 0.1)
    elif verb == "inpaint":
        values[random.random(values.shape) < 0.5] = np.nan
    return raster(values)


def same(a: Any, b: Any, error: float = 0.0) -> None:
    """Both results hold the same values, but for an error in the raster's units."""
    for one, two in zip(*([r] if isinstance(r, xr.DataArray) else r.data_vars.values() for r in (a, b)), strict=True):
        np.testing.assert_allclose(one.astype(float), two.astype(float), rtol=0, atol=error)


@pytest.mark.parametrize(
    ("device", "how"),
    [
        ("cuda:0", {"method": "guide", "uncertainty": True}),
        ("cuda", {"method": "ngr", "steps": 2, "tune": 1, "uncertainty": True}),
        ("cuda", {"method": "paper", "steps": 1}),
    ],
)
def test_a_stack_is_filled_on_its_device(stack: xr.Dataset, device: str, how: dict[str, Any]) -> None:
    if how["method"] == "paper":
        stack = stack.isel(y=slice(24), x=slice(24))
    with fake_device():
        found = stack.ngr.decloud(device=device, **how)
    same(found, stack.ngr.decloud(device="cpu", **how))


@pytest.mark.parametrize(
    ("verb", "method"), [*((verb, "ngr") for verb in VERBS), ("denoise", "guide"), ("denoise", "paper")]
)
def test_a_cube_is_restored_on_its_device(verb: str, method: str) -> None:
    """NGR starts with the guide of its verb and judges both."""
    how = VERBS[verb] | {"method": method, "uncertainty": method != "paper"}
    how |= {} if method == "guide" else {"steps": 1}
    with fake_device():
        found = getattr(cube(verb).ngr, verb)(device="cuda", **how)
    same(found, getattr(cube(verb).ngr, verb)(device="cpu", **how))


def test_networks_learnt_elsewhere_are_used_on_the_device(stack: xr.Dataset) -> None:
    prior = stack.ngr.prior(steps=1, device="cpu")
    with fake_device():
        found = stack.ngr.decloud(prior=prior, method="ngr", device="cuda")
        assert all(not p.is_cuda for n in prior.networks for p in n.parameters())  # nobody's networks are moved
    same(found, stack.ngr.decloud(prior=prior, method="ngr", device="cpu"))


def test_a_device_is_not_mixed_with_another() -> None:
    """The fake device finds what it is for."""
    with fake_device():
        there = torch.zeros(3, device="cuda")
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (there + 1).device == torch.device("cuda", 0)


def test_only_what_is_filled_comes_back(stack: xr.Dataset) -> None:
    with fake_device() as device:
        found = stack.ngr.decloud(method="guide", device="cuda")
    rows = json.loads(found.attrs["ngr_dates"])
    pixels = round(sum(row["filled"] for row in rows) * 48 * 48)
    down = {line: count for (file, line), count in device.downloaded.items() if file == "methods/filling.py"}
    assert down
    assert max(down.values()) == pixels * 4 * 4  # four bands of float32


def short(device: FakeDevice, stack: xr.Dataset, **how: Any) -> xr.Dataset:
    """The result where the device is out of memory, and what it warns of is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found: xr.Dataset = stack.ngr.decloud(device="cuda", **how)
    assert device.times == 0, "the line was not reached"
    return found


def test_out_of_memory_anywhere_is_made_do_without(stack: xr.Dataset) -> None:
    """Once, at one line after another: the tile is computed in smaller parts or on the CPU, and says so."""
    how: dict[str, Any] = {"method": "ngr", "steps": 1, "uncertainty": True}
    stack = stack.isel(time=slice(2), y=slice(24), x=slice(24))
    with fake_device() as whole:
        expected = stack.ngr.decloud(device="cuda", **how)
    sites = sorted(whole.sites)
    for site in sites[:: max(1, len(sites) // SITES)]:
        if site[0] == "keywords.py" or site[0] == "settings.py":  # where the device is tried
            continue
        with fake_device(failing=site) as device:
            found = short(device, stack, **how)
        same(found, expected, error=1.0)


def test_a_device_too_small_for_a_tile_computes_parts_of_it(stack: xr.Dataset) -> None:
    how: dict[str, Any] = {"method": "guide"}
    with fake_device():
        expected = stack.ngr.decloud(device="cuda", **how)
    assert "short_of_memory" not in json.loads(expected.attrs["ngr_tiles"])
    with (
        fake_device(failing=("methods/filling.py", _line_of("found = torch.stack")), times=2),
        pytest.warns(UserWarning, match="in four parts"),
    ):
        found = stack.ngr.decloud(device="cuda", **how)
    assert json.loads(found.attrs["ngr_tiles"])["short_of_memory"] == {"cuda, in four parts": 1}
    for name in ("B02", "B08"):
        difference = found[name].astype(float) - expected[name].astype(float)
        assert float(np.sqrt((difference**2).mean())) < 0.1 * float(expected[name].std())


def test_a_lazy_result_records_it_too(stack: xr.Dataset) -> None:
    """As flags, which are computed with it."""
    lazy = stack.isel(y=slice(28), x=slice(28)).chunk(y=14)
    site = "methods/filling.py", _line_of("found = torch.stack")
    with dask.config.set(scheduler="synchronous"):
        with fake_device():
            well = lazy.ngr.decloud(method="guide", device="cuda").compute()
        with fake_device(failing=site, times=2), pytest.warns(UserWarning, match="in four parts"):
            short = lazy.ngr.decloud(method="guide", device="cuda").compute()
    assert int(well.ngr_short_of_memory) == 0
    assert records.decoded(short.ngr_short_of_memory.values, short.ngr_short_of_memory.attrs) == ["in_four_parts"]
    assert "ngr_short_of_memory" not in lazy.ngr.decloud(method="guide", device="cpu").coords


@pytest.mark.parametrize(
    ("times", "place"), [(1, "cuda, one network at a time"), (10**9, "cpu, as cuda was out of memory")]
)
def test_learning_halves_its_memory_before_it_goes_to_the_cpu(stack: xr.Dataset, times: int, place: str) -> None:
    """The two networks are trained one after the other, with the same bits."""
    how: dict[str, Any] = {"method": "ngr", "steps": 2}
    stack = stack.isel(y=slice(28), x=slice(28))
    site = "solver/train.py", _line_of("potential = network(example", train)
    with fake_device():
        expected = stack.ngr.decloud(device="cuda", **how)
    with fake_device(failing=site, times=times), pytest.warns(UserWarning, match=f"learnt on {place}"):
        found = stack.ngr.decloud(device="cuda", **how)
    assert json.loads(found.attrs["ngr_tiles"])["learnt"] == place
    same(found, expected)


def test_a_checkpoint_says_where_it_was_learnt(stack: xr.Dataset, tmp_path: Path) -> None:
    with fake_device(failing=("solver/train.py", _line_of("potential = network(example", train))):
        prior = stack.isel(y=slice(28), x=slice(28)).ngr.prior(steps=1, device="cuda")
    prior.save(tmp_path / "prior.safetensors")
    assert load(tmp_path / "prior.safetensors").place == prior.place == "cuda, one network at a time"


def _line_of(text: str, module: Any = filling) -> int:
    """The number of the line of a module that holds a text."""
    return next(number for number, line in enumerate(getsource(module).splitlines(), 1) if text in line)
