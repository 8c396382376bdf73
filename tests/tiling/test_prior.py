"""What was learnt of a scene as a file, and used again: the same bits, on another scene, on every tile, or a clear error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ngr_geo.errors import InputError
from ngr_geo.methods.checkpoint import load
from ngr_geo.samples import sample


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """Three dates of 96 x 80 pixels."""
    return sample("slovenia").isel(time=slice(2, 5), y=slice(60, 156), x=slice(50, 130))


def assert_same(one: xr.Dataset, two: xr.Dataset) -> None:
    """The same bits, everywhere."""
    for name in (*one.data_vars, "filled"):
        np.testing.assert_array_equal(one[name].values, two[name].values)


@pytest.fixture(scope="module")
def window(stack: xr.Dataset) -> xr.Dataset:
    """A part of the stack, for what does not depend on its size."""
    return stack.isel(y=slice(0, 64), x=slice(0, 64))


@pytest.fixture(scope="module")
def prior(window: xr.Dataset) -> Any:
    """Networks trained on the part for three steps."""
    return window.ngr.prior(method="ngr", steps=3, seed=1)


def test_a_prior_comes_back_from_its_file_and_gives_the_same_bits(
    window: xr.Dataset, prior: Any, tmp_path: Path
) -> None:
    prior.save(tmp_path / "prior.safetensors")
    again = load(tmp_path / "prior.safetensors")
    keywords: dict[str, Any] = {"method": "ngr", "tile": 200, "seed": 1}
    one, two = (window.ngr.decloud(prior=p, **keywords) for p in (prior, tmp_path / "prior.safetensors"))
    assert_same(one, two)
    assert_same(one, window.ngr.decloud(steps=3, **keywords))  # trained here, as long: the same networks
    assert again.guide is not None
    assert prior.guide is not None
    assert again.judgement == prior.judgement
    for a, b in zip(again.networks, prior.networks, strict=True):
        assert all((x == y).all() for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_prior_goes_to_another_scene(prior: Any) -> None:
    elsewhere = sample("slovenia").isel(time=slice(0, 3), y=slice(0, 60), x=slice(150, 220))
    result = elsewhere.ngr.decloud(prior=prior, method="ngr")
    assert not result.identical(elsewhere.ngr.decloud(method="guide"))
    with pytest.raises(InputError, match="2 reference dates, expected one for 4 bands and 4"):
        sample("slovenia").isel(y=slice(0, 40), x=slice(0, 40)).ngr.decloud(prior=prior)


def test_networks_are_tuned_on_every_tile(window: xr.Dataset, prior: Any, tmp_path: Path) -> None:
    keywords: dict[str, Any] = {"method": "ngr", "prior": prior, "tile": 200}
    plain, tuned = (window.ngr.decloud(tune=tune, **keywords) for tune in (0, 2))
    cloudy = plain.filled
    assert any((plain[b] != tuned[b]).where(cloudy).any() for b in ("B02", "B03", "B04", "B08"))
    assert all((tuned[b] == window[b]).where(~cloudy, True).all() for b in ("B02", "B03", "B04", "B08"))
    assert_same(tuned, window.ngr.decloud(tune=2, work=tmp_path / "work", **keywords))
    assert prior.networks[0].head.weight.requires_grad is False  # the prior itself is as it was
    with pytest.raises(InputError, match="tune -1"):
        window.ngr.decloud(tune=-1)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04K\x01.", b"PK\x03\x04", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_prior_is_a_clear_error(stack: xr.Dataset, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prior.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="prior"):
        stack.ngr.decloud(prior=path)
