"""What it costs to miss targets: a price for squared errors beyond a margin, its conjugate, and the gap between the two.

A miss r, in units of the target's scale, costs ``price * max(|r| - margin, 0)^2``. The conjugate, at a multiplier m, is
``m^2 / (4 price) + margin * |m|``. Nothing here knows of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    price: Floats
    margin: Floats

    def cost(self, miss: Floats) -> Floats:
        """What each miss costs."""
        return np.asarray(self.price * np.maximum(np.abs(miss) - self.margin, 0.0) ** 2)

    def conjugate(self, multipliers: Floats) -> Floats:
        """max over r of (multiplier * r - cost(r)), for each target."""
        return multipliers**2 / (4 * self.price) + self.margin * np.abs(multipliers)

    def gap(self, miss: Floats, multipliers: Floats) -> Floats:
        """cost(r) + conjugate(m) - m r, for each target, as a sum of terms none of which is negative."""
        size = np.abs(multipliers)
        along = np.where(multipliers < 0, -miss, miss)  # the miss in the direction of its multiplier
        beyond = self.price * (along - self.margin - size / (2 * self.price)) ** 2
        apart = self.cost(miss) + size**2 / (4 * self.price) + size * (self.margin - along)
        return np.where((along > self.margin) | (self.margin == 0), beyond, apart)

    def ridge(self) -> Floats:
        """Curvature of the conjugate, where it has one."""
        return np.asarray(1 / (2 * self.price))

    def ascent(self, miss: Floats, multipliers: Floats) -> tuple[Floats, Floats]:
        """Steepest ascent of ``multipliers * miss - conjugate(multipliers)``, and the orthant in which it holds.

        At a multiplier of 0 with a margin the conjugate has a kink: the derivative is 0 while the miss is within the margin.

        Returns
        -------
        slope : ndarray of float64, shape (n_targets,)
        sign : ndarray of float64, shape (n_targets,)
            -1 or 1 where a multiplier must not change its sign within a step, 0 where it may or must stay 0.
        """
        smooth = miss - multipliers / (2 * self.price)
        sign = np.where(multipliers != 0, np.sign(multipliers), np.where(np.abs(smooth) > self.margin, np.sign(smooth), 0.0))
        slope = np.where((self.margin > 0) & (sign == 0), 0.0, smooth - self.margin * sign)
        return slope, np.where(self.margin > 0, sign, 0.0)

    def free(self, sign: Floats) -> NDArray[np.bool_]:
        """Which multipliers may move: all without a margin, and those that are in an orthant."""
        return (self.margin == 0) | (sign != 0)

    def projected(self, multipliers: Floats, sign: Floats) -> Floats:
        """Multipliers with a margin that left their orthant, put to 0."""
        return np.where((self.margin > 0) & (multipliers * sign <= 0), 0.0, multipliers)
