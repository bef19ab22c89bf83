"""Samples without replacement, with chances proportional to a size and a systematic draw.

Systematic sampling along an order keeps the sample's make-up close to the population's in whatever the order sorts by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ConfigError

_CERTAIN = 1 - 1e-9


def inclusion_probabilities(sizes: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Chances of being taken that add up to ``n``, proportional to size but at most 1.

    Parameters
    ----------
    sizes : ndarray of float64, shape (n_units,)
        Positive.
    n : int
        Units wanted, 0 to ``n_units``.

    Raises
    ------
    ConfigError
        If more are wanted than there are.
    """
    if not 0 <= n <= len(sizes):
        raise ConfigError(f"{n} units are wanted of {len(sizes)}")
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
        chosen = open_to_chance[np.searchsorted(steps, start + np.arange(n), side="right")]
        taken = np.sort(np.concatenate([taken, chosen]))
    return taken.astype(np.int64)
