"""What it costs to miss targets, the conjugate of that, and the gap between the two.

A miss r, in units of the target's scale, has an excess e = max(|r| - margin, 0) and costs ``price * e^2``, or from a bound b on
``price * b * (2 e - b)``: the loss of ``objective`` at a price. The conjugate, at a multiplier m, is
``m^2 / (4 price) + margin * |m|`` while |m| <= 2 price b, and infinite beyond. Nothing here knows of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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

    def priced(self, factor: float) -> Elastic:
        """The same at other prices."""
        return replace(self, price=factor * self.price)

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

    def ascent(self, miss: Floats, multipliers: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Steepest ascent of ``multipliers * miss - conjugate(multipliers)``, and where it holds.

        At a multiplier of 0 with a margin the conjugate has a kink: the derivative is 0 while the miss is within the margin.

        Returns
        -------
        slope : ndarray of float64, shape (n_targets,)
        sign : ndarray of float64, shape (n_targets,)
            -1 or 1 where a multiplier must not change its sign within a step, 0 where it may or must stay 0.
        free : ndarray of bool, shape (n_targets,)
            Which multipliers may move: those that neither rest at 0 nor push against their limit.
        """
        smooth = miss - multipliers / (2 * self.price)
        kinked = self.margin > 0
        leaving = np.where(np.abs(smooth) > self.margin, np.sign(smooth), 0.0)
        sign = np.where(kinked, np.where(multipliers != 0, np.sign(multipliers), leaving), 0.0)
        slope = np.where(kinked & (sign == 0), 0.0, smooth - self.margin * sign)
        blocked = (np.abs(multipliers) >= 2 * self.price * self.bound) & (slope * multipliers > 0)
        return slope, sign, (~kinked | (sign != 0)) & ~blocked

    def within(self, multipliers: Floats) -> Floats:
        """Multipliers, those beyond their limits put there."""
        limit = 2 * self.price * self.bound
        return np.clip(multipliers, -limit, limit)

    def projected(self, multipliers: Floats, sign: Floats) -> Floats:
        """Multipliers within their limits, those with a margin that left their orthant put to 0."""
        return np.where((self.margin > 0) & (multipliers * sign <= 0), 0.0, self.within(multipliers))
