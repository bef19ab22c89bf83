"""Raking: the weights nearest to their start that meet targets, or miss them at a price, with a certificate of how near.

The dense reference of a fit. It is convex: one solution, whatever the seed, found by ``dual`` to a gap that is computed and not
hoped for. No record is left out here but those whose starting weight is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.device import open_device
from geocal_core.fit.distances import distance_within
from geocal_core.fit.dual import Dual, Point, newton
from geocal_core.fit.elastic import Elastic
from geocal_core.fit.problem import Problem
from geocal_core.matrix.factored import Floats

PRICE = 100.0
"""Missing one target by a tenth of its scale costs as much as a mean distance of 1; a choice, not a published figure."""
BOUNDS = (0.0, 100.0)
"""A weight may become a hundred times its start, as in ``matrix.achievable``; a choice, not a published bound."""
_NEAR_A_BOUND = 0.01  # of the way from 1 to the bound


@dataclass(frozen=True)
class Raked:
    """Weights and what they prove.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_columns,)
        Within the bounds; 0 where the starting weight is.
    multipliers : ndarray of float64, shape (n_fitted,)
        Of the dual, a row for each fitted target: what the primal value rises by when a target rises by its scale.
    primal, dual, gap : float
        Values of both, the first never below the second; and their difference as a share of the first. No weights within the
        bounds have a primal value below ``dual``.
    distance, cost : float
        Parts of the primal: mean distance of w / w0 from 1, and priced misses.
    iterations : int
    converged : bool
        Whether the gap is as small as was asked for.
    method : str
        How Newton systems were solved: ``arrow``, ``dense`` or ``conjugate gradients``.
    at_lower, at_upper : int
        Columns whose weight is within a hundredth of the way of a bound.
    targets : DataFrame
        A row for each fitted target: target (name), value, estimate, residual (value - estimate), shadow_price (what one more
        unit of the value adds to the primal) and cost.
    history : DataFrame
        ``dual.Solution.history``.
    price, tolerance : ndarray of float64, shape (n_fitted,)
        What was asked for, of the fitted targets.
    bounds : pair of float, optional
        What was asked for.
    """

    weights: Floats
    multipliers: Floats
    primal: float
    dual: float
    gap: float
    distance: float
    cost: float
    iterations: int
    converged: bool
    method: str
    at_lower: int
    at_upper: int
    targets: pd.DataFrame
    history: pd.DataFrame
    price: Floats
    tolerance: Floats
    bounds: tuple[float, float] | None


def rake(
    problem: Problem,
    *,
    price: ArrayLike = PRICE,
    bounds: tuple[float, float] | None = BOUNDS,
    tolerance: ArrayLike | None = None,
    gap: float = 1e-4,
    iterations: int = 100,
    start: ArrayLike | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Raked:
    """Minimise the mean distance of weights from their start plus the price of squared relative errors.

    Parameters
    ----------
    problem : Problem
        Its fitted rows, their scales and the starting weights.
    price : float or array_like, shape (n_targets,)
        Of a squared error, as a share of the scale, of each target of the problem; above 0. High prices mean small errors.
    bounds : pair of float, optional
        Least and greatest w / w0, around 1: the distance is the bounded logit one. None for entropy, without bounds.
    tolerance : array_like, shape (n_targets,), optional
        Errors that cost nothing, in units of each target, such as a publisher's margin of error.
    gap : float
        Relative duality gap to stop at.
    iterations : int
        Newton steps at most.
    start : array_like, shape (n_fitted,), optional
        Multipliers to start from, such as those of a problem with nearly the same targets.
    threads : int, optional
        They never change a byte of the result.
    tell : callable, optional
        Given a line for each iteration.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    ArtifactError
        If no fitted target has a record whose starting weight is above 0.
    """
    if not 0 < gap < math.inf:
        raise ConfigError(f"gap is {gap}", "it must be above 0: the share of the objective that may be left to gain")
    if iterations < 1:
        raise ConfigError(f"iterations is {iterations}", "it must be at least 1")
    margin = np.zeros(1) if tolerance is None else _per_target("tolerance", tolerance, problem)
    elastic = Elastic(_per_target("price", price, problem), np.broadcast_to(margin / problem.scale, problem.scale.shape))
    if not (elastic.price > 0).all():
        raise ConfigError("a price is not above 0", "leave out targets that do not matter (held_out)")
    if (elastic.margin < 0).any():
        raise ConfigError("a tolerance is below 0", "it is the error that costs nothing")
    first = np.zeros(len(problem.target)) if start is None else np.array(start, dtype=np.float64)
    if first.shape != problem.target.shape or not np.isfinite(first).all():
        raise ConfigError(
            f"start is of shape {first.shape}", f"give a finite multiplier for each of {len(problem.target)} fitted targets"
        )
    moving = problem.initial_weights > 0
    matrix = problem.matrix.columns(moving)
    if matrix.atoms == 0:
        raise ArtifactError(
            "no target has a record whose starting weight is above 0", "raking keeps weights of 0: start from others"
        )
    device = open_device("cpu", threads)
    limits = distance_within(bounds)

    def line(iteration: int, point: Point, step: float) -> None:
        if tell is not None:
            tell(
                f"iteration {iteration}: gap {point.relative_gap:.1e}, mean distance {point.distance:.5g}, "
                f"misses cost {point.cost:.5g}, step {step:.3g}"
            )

    with device.at_work():
        dual = Dual(matrix, problem.target, problem.scale, problem.initial_weights[moving], limits, elastic, device)
        solution = newton(dual, first, gap, iterations, line)
    point = solution.point
    low, high = limits.bounds
    residual = point.miss * problem.scale
    weights = np.zeros(problem.n_columns)
    weights[np.flatnonzero(moving)[matrix.order]] = point.ratio
    weights *= problem.initial_weights
    return Raked(
        weights=weights,
        multipliers=point.multipliers,
        primal=point.primal,
        dual=point.primal - point.gap,
        gap=point.relative_gap,
        distance=point.distance,
        cost=point.cost,
        iterations=len(solution.history) - 1,
        converged=point.relative_gap <= gap,
        method=dual.system.method,
        at_lower=int(np.count_nonzero(point.ratio <= low + _NEAR_A_BOUND * (1 - low))),
        at_upper=int(np.count_nonzero(point.ratio >= high - _NEAR_A_BOUND * (high - 1))) if high < math.inf else 0,
        targets=pd.DataFrame(
            {
                "target": np.array(problem.names, dtype=object)[problem.fitted],
                "value": problem.target,
                "estimate": problem.target - residual,
                "residual": residual,
                "shadow_price": point.multipliers / problem.scale,
                "cost": elastic.cost(point.miss),
            }
        ),
        history=solution.history,
        price=elastic.price,
        tolerance=elastic.margin * problem.scale,
        bounds=bounds,
    )


def _per_target(name: str, values: ArrayLike, problem: Problem) -> Floats:
    """A number for each target of a problem, of the fitted ones."""
    given = np.array(values, dtype=np.float64)
    if given.ndim and given.shape != problem.fitted.shape:
        raise ConfigError(
            f"{name} is of shape {given.shape}", f"give one number, or one for each of {len(problem.fitted)} targets"
        )
    if not np.isfinite(given).all():
        raise ConfigError(f"a {name} is no finite number", "give one number, or one for each target")
    return np.broadcast_to(given, problem.fitted.shape)[problem.fitted]
