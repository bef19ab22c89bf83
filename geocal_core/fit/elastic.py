"""What it costs to miss targets, the conjugate of that, and the gap between the two.

A miss r, in units of the target's scale, has an excess e = max(|r| - margin, 0) and costs ``price * e^2``, or from a bound b on
``price * b * (2 e - b)``: the loss of ``objective`` at a price. The conjugate, at a multiplier m, is
``m^2 / (4 price) + margin * |m|`` while |m| <= 2 price b, and infinite beyond. Nothing here knows of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geocal_core.matrix.factored import Floats


@dataclass(frozen=True)
class Elastic:
    """Prices and margins of targets.

    Attributes
    ----------
    price : ndarray of float64, shape (n_targets,)
        Above 0.
    margin : ndarray of float64, shape (n_targets,)
        At least 0: misses up to it are free.
    bound : float
        Excess from which the cost is linear; above 0.
    """

    price: Floats
    margin: Floats
    bound: float = math.inf

    def _excess(self, miss: Floats) -> tuple[Floats, Floats]:
        excess = np.maximum(np.abs(miss) - self.margin, 0.0)
        return excess, np.minimum(excess, self.bound)

    def cost(self, miss: Floats) -> Floats:
        """What each miss costs."""
        excess, inside = self._excess(miss)
        return np.asarray(self.price * inside * (2 * excess - inside))

    def conjugate(self, multipliers: Floats) -> Floats:
        """max over r of (multiplier * r - cost(r)), for each target, of multipliers that are within their limits."""
        return multipliers**2 / (4 * self.price) + self.margin * np.abs(multipliers)

    def gap(self, miss: Floats, multipliers: Floats) -> Floats:
        """cost(r) + conjugate(m) - m r, for each target, as a sum of terms none of which is negative."""
        size = np.abs(multipliers)
        along = np.where(multipliers < 0, -miss, miss)  # the miss in the direction of its multiplier
        excess, inside = self._excess(miss)
        # Of sizes within the limit 2 price bound the second term is not negative, and it is 0 below the bound.
        beyond = self.price * (inside - size / (2 * self.price)) ** 2 + (2 * self.price * inside - size) * (excess - inside)
        apart = self.cost(miss) + size**2 / (4 * self.price) + size * (self.margin - along)
        return np.where(along >= self.margin, beyond, apart)

    def ridge(self) -> Floats:
        """Curvature of the conjugate, where it has one."""
        return np.asarray(1 / (2 * self.price))

    @property
    def limit(self) -> Floats:
        """Greatest size of each multiplier."""
        return 2 * self.price * self.bound
