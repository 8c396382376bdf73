"""A cloud guide is one module of four functions: any other takes its place, checkpoint and work folder included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngr_geo import sample
from ngr_geo.guides.base import Guide, Prediction, Window


class Mean:
    """The mean of the other dates where they are observed, plus an offset that is fitted to the scene."""

    def fit(
        self, windows: Sequence[Window], seen: Sequence[Window], dates: Sequence[int], days: Sequence[float]
    ) -> Any:
        return torch.stack([w.values.mean((0, 2, 3)) for w in windows]).mean(0)  # (B,)

    def predict(self, fitted: Any, window: Window, seen: Window, date: int) -> Prediction:
        others = [d for d in range(len(window.values)) if d != date]
        known = window.observed[others].to(window.values)[:, None]
        image = (window.values[others] * known).sum(0) / known.sum(0).clamp(min=1) + 0 * fitted[:, None, None]
        return Prediction(image, known[:, 0], seen.observed[date], tuple(others), window.values[others].flatten(0, 1))

    def packed(self, fitted: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"mean": fitted}, {"name": "mean"}

    def unpacked(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> Any:
        assert notes["name"] == "mean"
        return tensors["mean"]


def test_another_guide_takes_the_place_of_the_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = sample("slovenia").isel(time=slice(1, 4), y=slice(20, 68), x=slice(10, 58))
    keywords: dict[str, Any] = {"method": "guide", "dates": "2023-08-15", "tile": 48, "overlap": 8}
    usual = stack.ngr.decloud(**keywords)
    other: Guide = Mean()
    for module in ("guides.members", "methods.problem", "methods.filling"):
        monkeypatch.setattr(f"ngr_geo.{module}.GUIDE", other)
    here, kept = stack.ngr.decloud(**keywords), stack.ngr.decloud(work=tmp_path, **keywords)
    filled = here.filled.values
    assert not np.array_equal(here.B02.values[filled], usual.B02.values[filled])
    np.testing.assert_array_equal(here.B02.values, kept.B02.values)
    np.testing.assert_array_equal(here.B02.values[~filled], stack.B02.values[~filled])
