"""Samples without replacement, with chances proportional to a size, and the systematic draw (Madow 1949) that has them.

Systematic sampling along an order keeps the sample's make-up close to the population's in whatever the order sorts by. Quick
for millions of sizes, many of them 0. Balanced samples are in ``fit.cube``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ConfigError

_CERTAIN = 1 - 1e-9  # nearer to 1 is rounding, or might as well be


def inclusion_probabilities(sizes: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Chances of being taken: min(1, c size) with the c for which they add up to ``n``.

    Parameters
    ----------
    sizes : ndarray of float64, shape (n_units,)
        Not negative; of size 0 are units that are never taken.
    n : int
        Units wanted, 0 to the number of those of a size above 0.

    Returns
    -------
    ndarray of float64, shape (n_units,)
        Exactly 1 for those that are certain; 0 where the size is 0, and for all others once the certain are ``n``.

    Raises
    ------
    ConfigError
        If more are wanted than there are.
    """
    if not 0 <= n <= np.count_nonzero(sizes):
        raise ConfigError(f"{n} units are wanted of {np.count_nonzero(sizes)}")
    certain = np.zeros(len(sizes), dtype=bool)
    while True:
        left = n - int(certain.sum())
        rest = float(sizes[~certain].sum())
        chances = np.where(certain, 1.0, sizes * (left / rest) if rest > 0 else 0.0)
        over = (chances > _CERTAIN) & ~certain
        if not over.any():
            return chances
        certain |= over


def systematic_sample(chances: NDArray[np.float64], start: float) -> NDArray[np.int64]:
    """Positions of the units taken, ascending, each at most once.

    Parameters
    ----------
    chances : ndarray of float64, shape (n_units,)
        Chances that add up to a whole number (``inclusion_probabilities``).
    start : float
        Uniform in [0, 1).
    """
    certain = chances > _CERTAIN
    open_to_chance = np.flatnonzero(~certain)
    n = round(float(chances[open_to_chance].sum()))
    taken = np.flatnonzero(certain)
    if n > 0:
        steps = np.cumsum(chances[open_to_chance])
        steps *= n / steps[-1]
        last = np.searchsorted(steps, steps[-1])  # a start next to 1 may round up beyond it
        found = np.minimum(np.searchsorted(steps, start + np.arange(n), side="right"), last)
        taken = np.sort(np.concatenate([taken, open_to_chance[found]]))
    return taken.astype(np.int64)
