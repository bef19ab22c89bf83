"""Elastic generalised raking, solved in its dual by damped Newton steps.

With N the sum of starting weights w0, v = w / N, v0 = w0 / N, rows x_i of X and scales s_i, the primal is::

    min over w   sum_j v0_j phi(w_j / w0_j) + sum_i cost_i((y_i - x_i w) / s_i)

phi a distance (``distances``), cost_i the price of missing target i (``elastic``). With Z = N diag(1 / s) X and z = y / s the
miss is r = z - Z v, and the dual, in one multiplier m_i for each target, is::

    max over m   D(m) = m z - sum_j v0_j phi*(u_j) - sum_i cost_i*(m_i),   u = Z' m

It is concave, w = w0 F(u) belongs to each m, and where targets have no margin it is smooth with

    gradient   z - Z v - m / (2 price),        Hessian   -(Z diag(v0 F'(u)) Z' + diag(1 / (2 price))).

The last term, the slack's, makes it strictly concave, so that contradictory and repeated targets have one solution as well. A
margin adds a kink at m_i = 0: steps then stay within the orthant of the steepest ascent, and a multiplier that would leave it
becomes 0. Where a cost turns linear, its multiplier has a limit and stays within it (projected Newton: Bertsekas 1982, SIAM
Journal on Control and Optimization 20; Andrew and Gao 2007, ICML).

w(m) is feasible in the primal, with the slack that it has, so that primal minus dual bounds how far it is from the optimum:
sum_i (cost_i(r_i) + cost_i*(m_i) - m_i r_i), no term of which is negative.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from geocal_core.fit.arrow import System, system
from geocal_core.fit.device import Device
from geocal_core.fit.distances import Distance
from geocal_core.fit.elastic import Elastic
from geocal_core.fit.products import Products
from geocal_core.matrix.factored import FactoredMatrix, Floats

_SUFFICIENT = 1e-4  # share of the rise that the slope promises
_FLAT = 0.3  # share of the slope that may be left along a shortened step
_ENOUGH = 8
_TRIALS = 40
_EASED = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # shares of the price, in turn
_EASED_GAP = 0.02
_ROUNDING = 64 * float(np.finfo(float).eps)
_LEAST_PRIMAL = 1e-12


@dataclass(frozen=True)
class Point:
    """What some multipliers amount to.

    Attributes
    ----------
    multipliers : ndarray of float64, shape (n_targets,)
    ratio : ndarray of float64, shape (n_columns,)
        w / w0, in the inner order.
    miss : ndarray of float64, shape (n_targets,)
        (y - X w) / scale.
    dual : float
        Value of the dual; -inf where it is not finite.
    rounding : float
        What rounding can do to it.
    distance, cost, gap : float
        Of the primal: its two sums, and how much they are above the dual.
    """

    multipliers: Floats
    ratio: Floats
    miss: Floats
    dual: float
    rounding: float
    distance: float
    cost: float
    gap: float

    @property
    def primal(self) -> float:
        return self.distance + self.cost

    @property
    def relative_gap(self) -> float:
        """Gap as a share of the primal value; 0 where both are 0."""
        return self.gap / max(self.primal, _LEAST_PRIMAL)


class Dual:
    """The dual of a raking problem.

    Parameters
    ----------
    matrix : FactoredMatrix, shape (n_targets, n_columns)
    target, scale : ndarray of float64, shape (n_targets,)
        Scales are above 0.
    start : ndarray of float64, shape (n_columns,)
        Starting weights, above 0.
    distance : Distance
    elastic : Elastic
    device : Device
        At work, on the CPU.
    """

    def __init__(
        self,
        matrix: FactoredMatrix,
        target: Floats,
        scale: Floats,
        start: Floats,
        distance: Distance,
        elastic: Elastic,
        device: Device,
    ) -> None:
        self.elastic = elastic
        self.distance = distance
        self.seconds = 0.0
        total = float(np.sum(start))
        self._start = start[matrix.order] / total
        self._scale = total / scale
        self._wanted = target / scale
        self._device = device
        self._products = Products(matrix, device, dtype="float64")
        self.system: System = system(matrix, self._scale, self._products, device)

    def at(self, multipliers: Floats) -> Point:
        """Values, ratios and misses of some multipliers."""
        began = time.perf_counter()
        coefficients = self._products.coefficients(self._scale * multipliers)
        ratio, share = np.empty_like(self._start), np.empty_like(self._start)

        def fill(block: tuple[int, int]) -> tuple[float, float]:
            here = slice(*block)
            with np.errstate(over="ignore", invalid="ignore"):  # a step too far: its value is not finite, and it is refused
                u = self._products.backward(block, coefficients)
                ratio[here], conjugate = self.distance.dual(u)
                share[here] = self._start[here] * ratio[here]
                distance = u * ratio[here] - conjugate
                start = self._start[here]
                return float(np.einsum("i,i", start, conjugate)), float(np.einsum("i,i", start, distance))

        parts = self._device.each(fill, self._products.blocks)
        conjugate, distance = (math.fsum(part) for part in zip(*parts, strict=True)) if _finite(parts) else (math.inf,) * 2
        slack = self.elastic.conjugate(multipliers)
        gain = multipliers * self._wanted
        dual = float(np.sum(gain)) - conjugate - float(np.sum(slack))
        if not math.isfinite(dual):
            return Point(multipliers, ratio, self._wanted, -math.inf, 0.0, math.inf, math.inf, math.inf)
        miss = self._wanted - self._scale * self._products.forward(share)
        rounding = _ROUNDING * (1.0 + float(np.sum(np.abs(gain))) + abs(conjugate) + float(np.sum(slack)))
        with np.errstate(over="ignore"):  # far away the primal may not be finite where the dual is
            cost, gap = float(np.sum(self.elastic.cost(miss))), float(np.sum(self.elastic.gap(miss, multipliers)))
        self.seconds += time.perf_counter() - began
        return Point(multipliers, ratio, miss, dual, rounding, max(distance, 0.0), cost, gap)

    def ahead(self, point: Point) -> tuple[Point, float, int]:
        """One damped Newton step: the next point, the length of the step and how many were tried.

        A whole step is taken if the dual rises by a share of what its slope promises. Otherwise shorter ones are tried, until
        one rises so and the slope along it has flattened, or a few have been tried; the highest is taken. Short enough, one
        rises, as the direction ascends. When rounding alone decides, the point itself comes back, with a length of 0.
        """
        slope, sign, free = self.elastic.ascent(point.miss, point.multipliers)
        curvature = self._start * self.distance.slope(point.ratio)
        direction = self.system.solve(curvature, self.elastic.ridge(), slope, free)
        steep = float(np.sum(slope * direction))
        best, taken = point, 0.0
        low, high, length = 0.0, 1.0, 1.0  # the top is between two lengths
        for trial in range(1, _TRIALS + 1):
            tried = self.at(self.elastic.projected(point.multipliers + length * direction, sign))
            promised = float(np.sum(slope * (tried.multipliers - point.multipliers)))
            risen = tried.dual - point.dual
            shortfall = promised - risen
            if (risen >= _SUFFICIENT * promised and promised > 0) or (abs(risen) <= point.rounding and tried.gap < point.gap):
                if taken == 0 or tried.dual > best.dual:
                    best, taken = tried, length
                along = float(np.sum(self.elastic.ascent(tried.miss, tried.multipliers)[0] * direction))
                if length == 1 or abs(along) <= _FLAT * steep:
                    break
                low, high = (length, high) if along > 0 else (low, length)
            else:
                high = length
            if taken > 0 and trial >= _ENOUGH:
                break
            if low > 0:
                length = math.sqrt(low * high)
            else:  # where the parabola through what is known has its top, between a tenth and a half of the length
                length = high * (float(np.clip(promised / (2 * shortfall), 0.1, 0.5)) if shortfall > 0 else 0.5)
        return best, taken, trial


def _finite(parts: list[tuple[float, float]]) -> bool:
    return all(math.isfinite(value) for part in parts for value in part)


@dataclass(frozen=True)
class Solution:
    """Where Newton's method came to.

    Attributes
    ----------
    point : Point
    history : DataFrame
        A row per iteration, the start first: iteration, price (a share of what it is to be; what follows is at that price),
        primal, dual, gap (relative), distance, cost, step, trials, and seconds of the assembly of the Hessian, its elimination,
        and the products.
    """

    point: Point
    history: pd.DataFrame


def newton(
    dual: Dual, multipliers: Floats, gap: float, iterations: int, tell: Callable[[int, Point, float], None] | None = None
) -> Solution:
    """Steps until the relative gap is small enough, there are too many, or rounding ends them.

    From multipliers of 0 the price of misses rises by decades to what it is: targets that bounds put out of reach would
    otherwise make the dual nearly piecewise linear, and steps short. Other multipliers are taken to be near the solution.
    """
    elastic = dual.elastic
    eased = _EASED if not multipliers.any() else (1.0,)
    rows: list[dict[str, Any]] = []
    spent = _seconds(dual)
    step, trials = 1.0, 1
    dual.elastic = elastic.priced(eased[0])
    point = dual.at(dual.elastic.within(multipliers))

    def note(share: float) -> None:
        now = _seconds(dual)
        seconds = {f"seconds_{name}": now[name] - spent[name] for name in now}
        values = {"price": share, "primal": point.primal, "dual": point.dual, "gap": point.relative_gap}
        parts = {"distance": point.distance, "cost": point.cost, "step": step, "trials": trials}
        rows.append({"iteration": len(rows), **values, **parts, **seconds})
        if tell is not None:
            tell(len(rows) - 1, point, step)

    note(eased[0])
    for before, share in zip((eased[0], *eased), eased, strict=False):
        if share > before:  # misses that stay what they were have multipliers that rise with the price
            dual.elastic = elastic.priced(share)
            starts = [dual.at(dual.elastic.within(factor * point.multipliers)) for factor in (1.0, share / before)]
            point = max(starts, key=lambda start: start.dual)
        while point.relative_gap > (gap if share == 1 else _EASED_GAP) and len(rows) <= iterations:
            spent = _seconds(dual)
            point, step, trials = dual.ahead(point)
            if step == 0:
                break
            note(share)
    if rows[-1]["price"] != 1:  # where the steps ended earlier, at the price that was asked for
        spent, step, trials = _seconds(dual), 0.0, 0
        note(1.0)
    return Solution(point, pd.DataFrame(rows))


def _seconds(dual: Dual) -> dict[str, float]:
    return {**dual.system.seconds, "products": dual.seconds}
