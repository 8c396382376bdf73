"""Low-rank completion of stacks: HaLRTC, tensor nuclear norm under a cosine transform, tensor correlated total variation.

All see the stack as a tensor (channel, y, x) with the dates of a band side by side, each band divided by its standard deviation,
and start from 0 at missing entries. The methods are in `models`.
"""

from __future__ import annotations

import numpy as np

from .case import Case
from .dates import spread_per_band

SINGLE_PRECISION = 256**2
"""Pixels above which single precision is used."""


def halrtc(case: Case) -> np.ndarray:
    """Return the stack completed by HaLRTC."""
    return _completed(case, "HaLRTC")


def tnn_dct(case: Case) -> np.ndarray:
    """Return the stack completed with the tensor nuclear norm under the discrete cosine transform."""
    return _completed(case, "TNN-DCT")


def tctv(case: Case) -> np.ndarray:
    """Return the stack completed with tensor correlated total variation."""
    return _completed(case, "t-CTV")


def _completed(case: Case, method: str) -> np.ndarray:
    import torch  # after the number of threads is set

    from .models import completed

    dates, bands, *shape = case.stack.shape
    order = np.argsort(case.days, kind="stable")
    spread = spread_per_band(case)
    scaled = np.where(case.observed[:, None], case.stack / spread, 0)[order].swapaxes(0, 1)  # (B, T, y, x)
    kind = torch.float64 if shape[0] * shape[1] <= SINGLE_PRECISION else torch.float32
    known = torch.from_numpy(np.tile(case.observed[order], (bands, 1, 1)))
    found = completed(torch.from_numpy(scaled.reshape(-1, *shape)).to(kind), known, method).double().numpy()
    out = np.empty(case.stack.shape)
    out[order] = found.reshape(bands, dates, *shape).swapaxes(0, 1) * spread
    return out
