"""Elastic generalised raking, solved with its dual by an interior-point method.

With N the sum of starting weights w0, v = w / N, v0 = w0 / N, rows x_i of X and scales s_i, the primal is::

    min over w   sum_j v0_j phi(w_j / w0_j) + sum_i cost_i((y_i - x_i w) / s_i)

phi a distance (``distances``), cost_i the price of missing target i (``elastic``). With Z = N diag(1 / s) X and z = y / s the
miss is r = z - Z v, and the dual, in one multiplier m_i for each target, is::

    max over m   D(m) = m z - sum_j v0_j phi*(u_j) - sum_i cost_i*(m_i),   u = Z' m

Any weights within their bounds are feasible, with the slack that they have, and so are any multipliers within their limits:
primal minus dual bounds how far both are from the optimum. It is a sum of terms none of which is negative.

Newton's method on the dual alone stops short where it is hardly smooth: a margin makes a kink at m_i = 0, a cost that turns
linear ends m_i, and targets that bounds put out of reach leave it nearly piecewise linear. So ratios x = w / w0 and multipliers
move together, each between walls whose forces f fade (``walls``). At the solution, where forces times distances are 0::

    phi'(x) + f(x) = u,    r = m / (2 price) + t + f(m),    m = f(t)    with t between minus and plus the margin

A Newton step on these equations, with products of force and distance that are to be a tenth or less of what they are, takes one
system Z diag(v0 d) Z' + diag(e) over the targets, of d = 1 / (phi''(x) + stiffness(x)) and the ridge e that price, limits and
kinks leave. Steps are cut where a wall is near; no value is ever searched for along them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from geocal_core.fit.arrow import System, system
from geocal_core.fit.device import Device
from geocal_core.fit.distances import Distance
from geocal_core.fit.elastic import Elastic
from geocal_core.fit.products import open_products
from geocal_core.fit.walls import Walls
from geocal_core.matrix.factored import FactoredMatrix, Floats

_CLEAR_OF_WALLS = 0.99  # share of a block's columns that go the whole step, all others as far as their walls allow
_NEAR = 1e-3  # share of the gap without multipliers, from which on those given are a start
_FIRST = 0.1  # products at the start, as a share of the gap
_LEAST_SHARE, _GREATEST_SHARE = 0.01, 0.5  # of products, wanted after a step
_ROUNDING = 1e-17  # products, as a share of the primal value, below which nothing is left to gain
_INSIDE = 1e-9  # what a start keeps from walls, as a share of their distance
_GREATEST = 1e12  # ratio of a start without bounds
_LEAST_PRIMAL = 1e-12
_LEAST_PRODUCT = 1e-30


@dataclass(frozen=True)
class Point:
    """Weights and multipliers, and what they prove.

    Attributes
    ----------
    multipliers : ndarray of float64, shape (n_targets,)
    ratio : ndarray of float64, shape (n_columns,)
        w / w0, in the inner order.
    distance, cost : float
        The sums of the primal.
    gap : float
        How much the primal is above the dual; infinite where the dual is not finite.
    """

    multipliers: Floats
    ratio: Floats
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
    """A raking problem and its dual.

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
        self.device = device
        total = float(np.sum(start))
        self.start = start[matrix.order] / total
        self.scale = total / scale
        self.wanted = target / scale
        self.products = open_products(matrix, device, dtype="float64")
        self.system: System = system(matrix, self.scale, self.products, device)

    def inside(self, multipliers: Floats) -> Floats:
        """Multipliers, those at their limits moved a little from there."""
        limit = (1 - _INSIDE) * self.elastic.limit
        return np.clip(multipliers, -limit, limit)

    def gap_at_start(self) -> float:
        """The gap of the starting weights and multipliers of 0, whose dual is 0."""
        return float(np.sum(self.elastic.cost(self.wanted - self.scale * self.products.forward(self.start))))

    def ratios(self, multipliers: Floats) -> Floats:
        """The w / w0 that belong to multipliers, those at their bounds moved a little from there."""
        low, high = self.distance.bounds
        coefficients = self.products.coefficients(self.scale * multipliers)
        ratio = np.empty_like(self.start)

        def fill(block: tuple[int, int]) -> None:
            with np.errstate(over="ignore"):
                there = self.distance.dual(self.products.backward(block, coefficients))[0]
            top = high - _INSIDE * (high - 1) if high < math.inf else _GREATEST
            np.clip(there, low + _INSIDE * (1 - low), top, out=ratio[slice(*block)])

        self.device.each(fill, self.products.blocks)
        return ratio


class _Iterate:
    """Weights and multipliers on their way, and the walls around them.

    Attributes
    ----------
    columns, limits, kinks : Walls
        Around ratios, multipliers, and the t of targets with a margin.
    """

    def __init__(self, dual: Dual, multipliers: Floats, ratio: Floats, product: float) -> None:
        self._dual = dual
        elastic = dual.elastic
        n = len(multipliers)
        self._share = 1 / n  # of a target's products
        self.kinked = np.flatnonzero(elastic.margin > 0)
        margin = elastic.margin[self.kinked]
        low, high = dual.distance.bounds
        self.columns = Walls.around(ratio, low, high, product)
        # Without it, no step from the starting weights would be at the centre between their walls, however strong the forces.
        self._centre = float(Walls.around(np.ones(1), low, high, 1.0).wanted(1.0)[0])
        self.limits = Walls.around(multipliers.copy(), -elastic.limit, elastic.limit, self._share * product)
        # Where the forces at products as given are the multipliers.
        pull, barrier = multipliers[self.kinked], self._share * product
        between = pull * margin**2 / (barrier + np.sqrt(barrier**2 + (pull * margin) ** 2))
        self.kinks = Walls.around(between, -margin, margin, barrier)
        self._counts = len(self.columns.walls) + (len(self.kinked) * 2 + n * len(self.limits.walls)) / n
        self._lag = np.empty_like(dual.start)
        self._curvature = np.empty_like(dual.start)

    @property
    def multipliers(self) -> Floats:
        return self.limits.place

    def products(self) -> float:
        """Mean product of force and distance, those of columns weighted by their start."""
        dual = self._dual

        def of(block: tuple[int, int]) -> float:
            here = slice(*block)
            return float(np.einsum("i,i", dual.start[here], self.columns.part(here).products()))

        of_columns = math.fsum(dual.device.each(of, dual.products.blocks))
        return (of_columns + float(np.sum(self.kinks.products())) + float(np.sum(self.limits.products()))) / self._counts

    def look(self, product: float) -> tuple[Point, Floats]:
        """The point, with the ratios that move; and what the targets' equations lack, for products as given."""
        dual, elastic = self._dual, self._dual.elastic
        multipliers = self.multipliers
        coefficients = dual.products.coefficients(dual.scale * multipliers)

        def fill(block: tuple[int, int]) -> tuple[float, float, Any, Any]:
            here = slice(*block)
            columns, start = self.columns.part(here), dual.start[here]
            ratio = columns.place
            u = dual.products.backward(block, coefficients)
            value, pull = dual.distance.primal(ratio)
            with np.errstate(over="ignore"):
                apart = value + dual.distance.dual(u)[1] - ratio * u
            curvature = start / (1 / dual.distance.slope(ratio) + columns.stiffness())
            lag = curvature * (u - pull - columns.wanted(product) + product * self._centre)
            self._curvature[here], self._lag[here] = curvature, lag
            distance, gap = (float(np.einsum("i,i", start, np.maximum(part, 0.0))) for part in (value, apart))
            return distance, gap, dual.products.part(block, start * ratio), dual.products.part(block, lag)

        distance, gap, weights, lags = zip(*dual.device.each(fill, dual.products.blocks), strict=True)
        miss = dual.wanted - dual.scale * dual.products.total(weights)
        between = math.fsum(gap) if all(map(math.isfinite, gap)) else math.inf
        point = Point(
            multipliers.copy(),
            self.columns.place,
            math.fsum(distance),
            float(np.sum(elastic.cost(miss))),
            between + float(np.sum(elastic.gap(miss, multipliers))),
        )
        lacking = miss - dual.scale * dual.products.total(lags) - multipliers * elastic.ridge()
        return point, lacking

    def step(self, product: float, lacking: Floats) -> float:
        """Move towards products as given; the length of the step, of which a few columns of each block may fall short."""
        dual, kinked = self._dual, self.kinked
        barrier = self._share * product
        ridge = dual.elastic.ridge() + self.limits.stiffness()
        right = lacking - self.limits.wanted(barrier)
        stiffness, behind = self.kinks.stiffness(), self.multipliers[kinked] - self.kinks.wanted(barrier)
        ridge[kinked] += 1 / stiffness
        right[kinked] -= self.kinks.place + behind / stiffness
        change = dual.system.solve(self._curvature, ridge, right)
        of_kinks = (behind + change[kinked]) / stiffness
        coefficients = dual.products.coefficients(dual.scale * change)

        def fill(block: tuple[int, int]) -> float:
            here = slice(*block)
            moved = self._lag[here]
            moved += self._curvature[here] * dual.products.backward(block, coefficients)
            moved /= dual.start[here]
            return self.columns.part(here).length(moved, _CLEAR_OF_WALLS)

        lengths = dual.device.each(fill, dual.products.blocks)
        length = min(*lengths, self.limits.length(change), self.kinks.length(of_kinks))

        def move(block: tuple[int, int]) -> None:
            here = slice(*block)
            self.columns.part(here).move(self._lag[here], product, length)

        dual.device.each(move, dual.products.blocks)
        self.limits.move(change, barrier, length)
        self.kinks.move(of_kinks, barrier, length)
        return length


@dataclass(frozen=True)
class Solution:
    """Where the method came to.

    Attributes
    ----------
    point : Point
        The best.
    history : DataFrame
        A row per iteration, the start first: iteration, primal, dual, gap (relative), distance, cost, step (length of the one
        to it), product (mean of force times distance), and seconds of the step from it: assembly of the Hessian, its
        elimination, the rest.
    """

    point: Point
    history: pd.DataFrame


def interior_point(
    dual: Dual, multipliers: Floats, gap: float, iterations: int, tell: Callable[[int, Point, float], None] | None = None
) -> Solution:
    """Steps until the relative gap is small enough, there are too many, or rounding ends them.

    Multipliers whose own gap is not much smaller than that of 0 are left for 0: steps from the middle between walls are longer.
    """
    iterate = _begin(dual, multipliers)
    best: Point | None = None
    rows: list[dict[str, Any]] = []
    length = 1.0
    while True:
        before, began = dict(dual.system.seconds), time.perf_counter()
        product = iterate.products()
        wanted = min(max((1 - length) ** 2, _LEAST_SHARE), _GREATEST_SHARE) * product
        point, lacking = iterate.look(wanted)
        if best is None or point.relative_gap < best.relative_gap:
            best = replace(point, ratio=point.ratio.copy())
        values = {"primal": point.primal, "dual": point.primal - point.gap, "gap": point.relative_gap}
        parts = {"distance": point.distance, "cost": point.cost, "step": length, "product": product}
        rows.append({"iteration": len(rows), **values, **parts})
        if tell is not None:
            tell(len(rows) - 1, point, length)
        if best.relative_gap <= gap or len(rows) > iterations or product <= _ROUNDING * max(point.primal, _LEAST_PRIMAL):
            break
        try:
            length = iterate.step(wanted, lacking)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # so near the solution that rounding makes the system singular
            break
        finally:
            solving = {name: dual.system.seconds[name] - before[name] for name in before}
            rest = time.perf_counter() - began - sum(solving.values())
            rows[-1] |= {f"seconds_{name}": seconds for name, seconds in {**solving, "rest": rest}.items()}
    return Solution(best, pd.DataFrame(rows).fillna(0.0))


def _begin(dual: Dual, multipliers: Floats) -> _Iterate:
    """Multipliers, the weights that belong to them, and walls whose products suit the gap between the two."""
    inside, ratio = dual.inside(multipliers), dual.ratios(multipliers)
    gap = _Iterate(dual, inside, ratio, 1.0).look(1.0)[0].gap
    if multipliers.any() and not gap < _NEAR * dual.gap_at_start():
        return _begin(dual, np.zeros_like(multipliers))
    return _Iterate(dual, inside, ratio, max(_FIRST * gap, _LEAST_PRODUCT))
