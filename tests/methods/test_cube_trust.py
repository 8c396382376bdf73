"""How sure the gaps of a cube are filled: pixels that no band shows are another matter than those that some do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_cube import clean_cube, raster

from ngr_geo.methods import faults
from ngr_geo.methods.base import Task
from ngr_geo.methods.faults import trust
from ngr_geo.methods.problem import Settings
from ngr_geo.methods.spectral import Errors, Refined


@pytest.mark.parametrize("fault", ["some bands", "entries"])
def test_pixels_that_no_band_shows_are_less_sure_than_those_that_some_do(fault: str) -> None:
    """Dead columns of some bands beside those of all, and scattered entries beside a hole: each is as sure as it says."""
    clean = clean_cube()[:24, :48, :48].astype(np.float32)
    partly, wholly = np.zeros(clean.shape, bool), np.zeros(clean.shape, bool)
    if fault == "some bands":
        partly[5:15, :, 12] = True
        wholly[:, :, [25, 39]] = True
    else:
        wholly[:, 20:24, 30:34] = wholly[:, 35:38, 10:14] = True
        partly = (np.random.default_rng(0).random(clean.shape) < 0.7) & ~wholly
    result = raster(np.where(partly | wholly, np.nan, clean)).ngr.inpaint(method="guide", uncertainty=True)
    error, deviation = np.abs(result.values - clean), result.uncertainty.values
    for gaps in (partly, wholly):
        assert 0.75 < (error[gaps] <= 1.6449 * deviation[gaps]).mean()
        ratio = np.sqrt((deviation[gaps] ** 2).mean() / (error[gaps] ** 2).mean())
        assert 0.4 < ratio < 2.5, ratio
    assert np.median(deviation[wholly]) > 3 * np.median(deviation[partly])


def test_what_was_never_tried_has_no_uncertainty() -> None:
    """Where no pixel that all bands miss could be hidden, nothing is said of those that there are."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(6, 24, 24, generator=generator)
    observed = torch.rand(image.shape, generator=generator) < 0.7
    observed[0] |= ~observed.any(0)
    hidden = observed & (torch.rand(image.shape, generator=generator) < 0.1)
    seen = observed & ~hidden
    seen[1] |= ~seen.any(0)
    errors = Errors(0.01 * torch.randn(image.shape, generator=generator), hidden & ~seen, image, image, seen)
    settings = Settings(method="guide", uncertainty=True)
    refined = Refined(None, errors, None)
    assert trust(refined, image, image, observed, settings)[1].isfinite().all()
    observed[:, 4:6, 4:6] = False
    unknown = trust(refined, image, image, observed, settings)[1].isnan()
    assert unknown[:, 4:6, 4:6].all() and unknown.sum() == 6 * 4


@pytest.mark.parametrize("steps", [None, 25])
def test_where_ngr_is_asked_for_and_does_worse_the_errors_are_its_own(steps: int | None) -> None:
    """A guide that no step of training betters on what stops it: NGR is the answer all the same, after all of the steps."""
    cube = torch.from_numpy(clean_cube()[:8, :40, :40]).float()
    seen = torch.rand(cube.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    method = Settings("ngr", steps=steps)
    judgement = faults.solve(Task("inpaint", "gaps"), torch.where(seen, cube, 0), seen, method).judgement
    assert judgement.method == "ngr"
    assert set(judgement.hidden) == {"guide", "ngr"}
