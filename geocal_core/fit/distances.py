"""How far weights are from where they started: distances phi(w / w0) of generalised raking, and what their conjugates give.

A distance is 0 at a ratio of 1, where its curvature is 1, and convex. The dual of a raking problem needs its convex conjugate
and the derivative of that, F, which turns the sum u of a column's multipliers into the ratio of its weight to the starting one
(Deville and Sarndal 1992, Journal of the American Statistical Association 87, cases 2 and 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geocal_core.errors import ConfigError
from geocal_core.matrix.factored import Floats


class Distance(Protocol):
    """A convex distance of ratios from 1."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest ratio."""

    def dual(self, u: Floats) -> tuple[Floats, Floats]:
        """F(u), the ratios, and the conjugate, of which F is the derivative; both of the shape of u."""

    def slope(self, ratio: Floats) -> Floats:
        """F' at the u that gave these ratios: one over the curvature of phi."""

    def primal(self, ratio: Floats) -> tuple[Floats, Floats]:
        """phi and its derivative, of ratios strictly within the bounds."""


@dataclass(frozen=True)
class Entropy:
    """phi(x) = x ln x - x + 1: raking. Ratios stay above 0 and have no upper bound. F(u) = exp(u)."""

    bounds: tuple[float, float] = (0.0, math.inf)

    def dual(self, u: Floats) -> tuple[Floats, Floats]:
        conjugate = np.expm1(u)
        return conjugate + 1.0, conjugate

    def slope(self, ratio: Floats) -> Floats:
        return ratio

    def primal(self, ratio: Floats) -> tuple[Floats, Floats]:
        logarithm = np.log(ratio)
        return ratio * logarithm - ratio + 1.0, logarithm


@dataclass(frozen=True)
class Logit:
    """The bounded distance whose F is a logistic curve between two bounds, L < 1 < U.

    phi(x) = ((x - L) ln((x - L) / (1 - L)) + (U - x) ln((U - x) / (U - 1))) / A with A = (U - L) / ((1 - L) (U - 1));
    F(u) = L + (U - L) sigmoid(A u + ln((1 - L) / (U - 1))).
    """

    bounds: tuple[float, float]

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not 0 <= low < 1 < high < math.inf:
            raise ConfigError(
                f"the bounds of weights are {low:g} and {high:g} times their start",
                "the lower one must be in [0, 1), the upper one above 1 and finite",
            )

    @property
    def _steepness(self) -> float:
        low, high = self.bounds
        return (high - low) / ((1 - low) * (high - 1))

    def dual(self, u: Floats) -> tuple[Floats, Floats]:
        low, high = self.bounds
        origin = math.log((1 - low) / (high - 1))
        odds = self._steepness * u + origin
        small = np.exp(-np.abs(odds))
        ratio = low + (high - low) * np.where(odds >= 0, 1.0, small) / (1.0 + small)
        softplus = np.maximum(odds, 0.0) + np.log1p(small)
        return ratio, low * u + (1 - low) * (high - 1) * (softplus - math.log1p(math.exp(origin)))

    def slope(self, ratio: Floats) -> Floats:
        low, high = self.bounds
        return (ratio - low) * (high - ratio) / ((1 - low) * (high - 1))

    def primal(self, ratio: Floats) -> tuple[Floats, Floats]:
        low, high = self.bounds
        above, below = (np.log(part) for part in ((ratio - low) / (1 - low), (high - ratio) / (high - 1)))
        return ((ratio - low) * above + (high - ratio) * below) / self._steepness, (above - below) / self._steepness


def distance_within(bounds: tuple[float, float] | None) -> Distance:
    """Logit within bounds on w / w0, entropy where there are none."""
    return Entropy() if bounds is None else Logit((float(bounds[0]), float(bounds[1])))
