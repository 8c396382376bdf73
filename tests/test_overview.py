"""What `raster.ngr` shows of a raster."""

from __future__ import annotations

import numpy as np
import xarray as xr

import ngr_geo


def test_a_stack_is_shown_with_its_roles_mask_and_verbs_and_nothing_is_computed() -> None:
    stack = ngr_geo.sample("slovenia")
    stack.B04[2, :, :120] = 0
    shown = repr(stack.ngr)
    for words in (
        "B08 (near infrared)",
        "SCL (found by decloud)",
        "EPSG:32633, pixels of 120 x 120 m",
        "up to 12% (2023-08-15)",
    ):
        assert words in shown
    assert "decloud         yes" in shown
    assert "denoise         no   made for cubes of many bands (8 at least), and there are 4" in shown

    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError

    lazy = stack.chunk(y=60).map(
        lambda part: part.copy(data=part.data.map_blocks(refuse, dtype=part.dtype, meta=np.empty(0)))
    )
    assert "not counted: the raster is lazy" in repr(lazy.ngr)


def test_what_cannot_be_worked_with_says_why_and_names_are_escaped() -> None:
    flat = xr.DataArray(np.zeros((3, 4)), dims=("a", "b"))
    assert "expected two named y and x" in repr(flat.ngr)
    named = xr.Dataset({"<script>": (("y", "x"), np.zeros((3, 4)))})
    shown = named.ngr._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
