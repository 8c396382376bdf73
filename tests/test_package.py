"""Importing is cheap, the sample is there, and hidden pixels are what they should be."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import ngr_geo
from ngr_geo import InputError
from ngr_geo.accessor import DataArrayVerbs
from ngr_geo.guides.hidden import thickness
from ngr_geo.methods import hiding
from ngr_geo.record import VERBS


def test_import_needs_no_torch() -> None:
    code = "import sys, ngr_geo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sample() -> None:
    sample = ngr_geo.sample("slovenia")
    assert list(sample.data_vars) == ["B02", "B03", "B04", "B08", "SCL"]
    assert dict(sample.sizes) == {"time": 5, "y": 240, "x": 240}
    assert sample.rio.crs.to_epsg() == 32633
    assert sample.B02.rio.nodata == 0
    cloud = sample.SCL.isin([3, 8, 9, 10]).mean(("y", "x")).values
    assert cloud.max() > 0.4
    assert sum(f.stat().st_size for f in ngr_geo.sample_path().iterdir()) < 3e6
    assert "Copernicus Sentinel data 2023" in (ngr_geo.sample_path() / "NOTICE.txt").read_text()
    with pytest.raises(InputError, match="slovenia"):
        ngr_geo.sample("atlantis")


def test_hidden_sets_are_disjoint_observed_and_blobs() -> None:
    observed = np.random.default_rng(0).random((200, 200)) < 0.9
    stop, score = hiding.draw(observed, width=20, seed=1)
    again, _ = hiding.draw(observed, width=20, seed=1)
    np.testing.assert_array_equal(stop, again)
    assert not (stop & score).any()
    assert not ((stop | score) & ~observed).any()
    for hidden in (stop, score):
        assert hidden.sum() / observed.sum() == pytest.approx(hiding.SHARE, rel=0.05)
    full, _ = hiding.draw(np.ones((200, 200), bool), width=20, seed=1)
    assert 8 < thickness(torch.from_numpy(full)) < 20  # the window caps it
    assert not hiding.draw(np.zeros((5, 5), bool), 3, 0)[0].any()
    assert thickness(torch.zeros(5, 5, dtype=torch.bool)) == 0


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_a_verb_describes_each_of_its_arguments_once(name: str) -> None:
    verb = getattr(DataArrayVerbs, name)
    text = inspect.getdoc(verb) or ""
    arguments = text.partition("Args:")[2].partition("Returns:")[0]
    assert re.findall(r"^ {4}(\w+):", arguments, re.MULTILINE) == list(inspect.signature(verb).parameters)[1:]


def test_keywords_are_shared_and_defaults_are_a_verbs_own() -> None:
    decloud, destripe = (
        inspect.signature(verb).parameters for verb in (DataArrayVerbs.decloud, DataArrayVerbs.destripe)
    )
    assert (decloud["tile"].default, destripe["tile"].default) == (256, 512)
    assert {"prior", "tune"} <= set(decloud) - set(destripe)
    with pytest.raises(TypeError, match="tiel"):
        ngr_geo.sample().ngr.decloud(tiel=64)


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_warning_points_at_the_line_of_the_caller(lazy: bool) -> None:
    part = ngr_geo.sample("slovenia").isel(time=[1], y=slice(0, 40), x=slice(0, 40))
    part.B02[0, 10:14, 10:14] = 0
    with pytest.warns(UserWarning, match="only one date") as met:
        (part.chunk(y=10) if lazy else part).ngr.decloud(method="guide")
    assert {warning.filename for warning in met if "only one date" in str(warning.message)} == {__file__}
