"""Boosted trees on neighbourhoods of the other dates."""

from __future__ import annotations

import numpy as np

from .case import Case
from .dates import others, shifted

MOST_PIXELS = 100_000
MOST_TREES = 500


def boosted_trees(case: Case, target: int) -> np.ndarray:
    """Return gradient boosting of each band on the 3x3 neighbourhoods of the four nearest dates.

    Friedman, Annals of Statistics 29, 2001, algorithm 1, in the histogram form of LightGBM (Ke et al., NeurIPS 2017) that
    scikit-learn has. Values that a date lacks are missing to the trees, which learn where these go. Up to 500 trees of 31 leaves,
    rate 0.05, stopped when the error on a tenth of the training pixels has not fallen for 20 trees.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    dates = [np.where(case.observed[date], case.stack[date], np.nan) for date in others(case, target)[:4]]
    features = shifted(np.concatenate(dates)).reshape(-1, case.observed[target].size).T
    seen = case.observed[target].ravel()
    picked = np.flatnonzero(seen)
    if len(picked) > MOST_PIXELS:
        picked = np.random.default_rng(0).choice(picked, MOST_PIXELS, replace=False)
    out = case.stack[target].reshape(len(case.stack[target]), -1).copy()
    for band in out:
        trees = HistGradientBoostingRegressor(
            max_iter=MOST_TREES, learning_rate=0.05, early_stopping=True, n_iter_no_change=20, random_state=0
        )
        trees.fit(features[picked], band[picked])
        band[~seen] = trees.predict(features[~seen])
    return out.reshape(case.stack[target].shape)
