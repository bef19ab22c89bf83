"""The polish: weights of the columns that were kept, moved within bounds to where their estimates meet the targets.

The problem of ``raking`` once more, over few columns and from their design weights::

    min over w   sum_j v0_j phi(w_j / w0_j) + price * loss(X w),   v0 = w0 / sum(w0)

Where every column is kept, the targets are few against the columns and the dual is small. Here they are about as many as the
columns, hundreds of them out of reach, so that Newton's method in the dual takes as many steps of a second each as L-BFGS takes
of a hundredth in the primal. It moves u, of which w = w0 F(u) (``distances``): any u gives weights within the bounds. How far
it is from the optimum is told by the dual value of the multipliers that its misses give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.device import Device, open_device
from geocal_core.fit.distances import Distance, distance_within
from geocal_core.fit.elastic import Elastic
from geocal_core.fit.lbfgs import Lbfgs
from geocal_core.fit.problem import Problem
from geocal_core.fit.products import open_products
from geocal_core.fit.raking import PRICE
from geocal_core.matrix.factored import Floats

POLISH_BOUNDS = (0.1, 10.0)
"""A kept weight may become a tenth or ten times its design weight; a choice, not a published bound."""
ITERATIONS = 600
_WINDOW = 10
_LEAST_GAIN = 1e-6
_TOLD = 50


@dataclass(frozen=True)
class Polished:
    """Weights and how good they are.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_columns,)
        Within the bounds.
    multipliers : ndarray of float64, shape (n_fitted,)
        Of the dual, as in ``raking.Raked``: a start for a problem of the same targets and other columns.
    primal, dual, gap : float
        Values of both, and their difference as a share of the first.
    distance, loss : float
        Mean distance of w / w0 from 1, and the loss of the problem.
    iterations : int
    at_lower, at_upper : int
        Columns whose weight is within a hundredth of the way of a bound.
    price, bounds
        What was asked for.
    """

    weights: Floats
    multipliers: Floats
    primal: float
    dual: float
    gap: float
    distance: float
    loss: float
    iterations: int
    at_lower: int
    at_upper: int
    price: float
    bounds: tuple[float, float] | None


def polish(
    problem: Problem,
    *,
    bounds: tuple[float, float] | None = POLISH_BOUNDS,
    price: float = PRICE,
    iterations: int = ITERATIONS,
    start: ArrayLike | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Polished:
    """Move weights within bounds to where the loss, at a price, and their distance from where they started are least.

    Parameters
    ----------
    problem : Problem
        Of the kept columns alone (``Problem.of_columns``); its starting weights are the design weights, above 0.
    bounds : pair of float, optional
        Least and greatest w / w0, around 1; None for no bounds.
    price : float
        Of a loss of 1, in units of a mean distance of 1; above 0.
    iterations : int
        At most; fewer when ten of them lower the primal by less than a millionth.
    start : array_like, shape (n_fitted,), optional
        Multipliers to start from.
    threads : int, optional
        They never change a byte of the result.
    tell : callable, optional
        Given a line every fifty iterations.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    ArtifactError
        If a starting weight is 0.
    """
    if not 0 < price < math.inf:
        raise ConfigError(f"the price of the polish is {price}", "it must be a finite number above 0")
    if iterations < 0:
        raise ConfigError(f"the polish is to take {iterations} iterations", "it must be at least 0")
    if not (problem.initial_weights > 0).all():
        raise ArtifactError("a column to polish has a weight of 0", "polish the kept columns alone")
    device, distance = open_device("cpu", threads), distance_within(bounds)
    with device.at_work():
        state = _Polish(problem, distance, price, device, start)
        values = [state.search.value]
        while state.search.iteration < iterations and not state.search.done:
            state.search.advance()
            values = [*values[-_WINDOW:], state.search.value]
            done = state.search.iteration
            if tell is not None and done % _TOLD == 0:
                tell(f"polish {done} of {iterations}: primal {values[-1]:.6g}")
            if len(values) > _WINDOW and values[0] - values[-1] <= _LEAST_GAIN * values[0]:
                break
        return state.result(bounds)


class _Polish:
    """The primal as a function of u, one number for each column, in the inner order of the matrix."""

    def __init__(
        self, problem: Problem, distance: Distance, price: float, device: Device, multipliers: ArrayLike | None
    ) -> None:
        self._problem, self._distance, self._price, self._device = problem, distance, price, device
        self._order = problem.matrix.order
        self._start = problem.initial_weights[self._order]
        self._total = float(np.sum(self._start))
        self._products = open_products(problem.matrix, device, dtype="float64")
        first = np.zeros(len(self._order))
        if multipliers is not None:
            given = np.array(multipliers, dtype=np.float64)
            if given.shape != problem.target.shape or not np.isfinite(given).all():
                raise ConfigError(
                    f"start is of shape {given.shape}", f"give a finite multiplier for each of {len(problem.target)} targets"
                )
            first = self._tilt(given)
        self.search = Lbfgs(self._evaluate, first, device)

    def _tilt(self, multipliers: Floats) -> Floats:
        """u of multipliers."""
        return self._by_column(self._total * multipliers / self._problem.scale)

    def _by_column(self, values: Floats) -> Floats:
        coefficients = self._products.coefficients(values)
        result = np.empty(len(self._order))

        def fill(block: tuple[int, int]) -> None:
            result[slice(*block)] = self._products.backward(block, coefficients)

        self._device.each(fill, self._products.blocks)
        return result

    def _evaluate(self, u: Floats) -> tuple[float, Any]:
        """The primal over the price and its derivatives by u."""
        ratio, conjugate = self._distance.dual(u)
        estimate = self._products.forward(self._start * ratio)
        share = self._start / (self._total * self._price)
        value = self._problem.loss(estimate) + self._device.dot(share, u * ratio - conjugate)
        by_ratio = self._start * self._by_column(self._problem.objective.slope(estimate)) + share * u
        return value, self._distance.slope(ratio) * by_ratio

    def result(self, bounds: tuple[float, float] | None) -> Polished:
        """Weights with their certificate."""
        problem, loss = self._problem, self._problem.objective
        u = self.search.point
        ratio, conjugate = self._distance.dual(u)
        share = self._start / self._total
        distance = self._device.dot(share, u * ratio - conjugate)
        weights = np.zeros(len(self._order))
        weights[self._order] = self._start * ratio
        estimate = self._products.forward(self._start * ratio)
        multipliers = -self._price * problem.scale * loss.slope(estimate)
        counted = loss.importance > 0
        elastic = Elastic(self._price * loss.importance[counted], loss.tolerance[counted], loss.bound)
        of_dual = self._device.dot(share, self._distance.dual(self._tilt(multipliers))[1])
        gain = float(np.sum(multipliers * problem.target / problem.scale))
        dual = gain - of_dual - float(np.sum(elastic.conjugate(multipliers[counted])))
        primal = distance + self._price * problem.loss(estimate)
        low, high = self._distance.bounds
        return Polished(
            weights=weights,
            multipliers=multipliers,
            primal=primal,
            dual=dual,
            gap=max(primal - dual, 0.0) / max(primal, np.finfo(float).tiny),
            distance=distance,
            loss=problem.loss(estimate),
            iterations=self.search.iteration,
            at_lower=int(np.count_nonzero(ratio <= low + 0.01 * (1 - low))),
            at_upper=int(np.count_nonzero(ratio >= high - 0.01 * (high - 1))) if high < math.inf else 0,
            price=self._price,
            bounds=bounds,
        )
