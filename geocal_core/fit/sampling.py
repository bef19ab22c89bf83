"""Chances proportional to weights, and the systematic sample (Madow 1949) that has them: plain PPS without replacement.

Written for millions of weights, many of them 0. Balanced samples are in ``cube``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocal_core.seeds import generator, uniform

Floats = NDArray[np.float64]

_CERTAIN = 1 - 1e-9  # nearer to 1 is rounding, or might as well be


def inclusion_probabilities(weights: Floats, records: int) -> Floats:
    """min(1, c w) with the c for which they add up to ``records``.

    Parameters
    ----------
    weights : ndarray of float64, shape (n_columns,)
        Not negative; at least ``records`` of them above 0.
    records : int
        At least 1.

    Returns
    -------
    ndarray of float64, shape (n_columns,)
        0 where the weight is 0, and exactly 1 for those that are certain: the largest m, where m is the least number for
        which the next one gets no more than 1 of the ``records`` - m that are left.
    """
    largest = np.sort(weights)[::-1]
    rest = np.cumsum(largest[::-1])[::-1][:records]  # from the smallest, so that a long tail is not lost in rounding
    left = records - np.arange(records)
    certain = int(np.argmax(left * largest[:records] <= rest))
    chances = weights * (left[certain] / rest[certain])
    chances[chances > _CERTAIN] = 1.0
    return chances


def systematic_sample(chances: Floats, seed: int) -> NDArray[np.bool_]:
    """Columns of a systematic sample in random order; as many as the chances add up to.

    Parameters
    ----------
    chances : ndarray of float64, shape (n_columns,)
        In [0, 1], of a whole sum. A column is taken with its chance; the same seed takes the same columns.
    seed : int
    """
    taken = chances == 1.0
    open_ = np.flatnonzero((chances > 0) & ~taken)
    wanted = round(float(chances[open_].sum()))
    if wanted:
        open_ = open_[np.argsort(uniform("fit.pps.order", open_, seed=seed), kind="stable")]
        steps = np.cumsum(chances[open_])
        steps *= wanted / steps[-1]
        start = generator("fit.pps.start", seed).random()
        taken[open_[np.searchsorted(steps, start + np.arange(wanted), side="right")]] = True
    return taken
