"""Quantile regression forests that draw from the conditional distribution of one variable after another.

A forest gives every donor a weight at a receiver's predictors: the mean over trees of its share of the leaf that the receiver
falls into (Meinshausen 2006, Quantile Regression Forests, Journal of Machine Learning Research 7). A draw from those weights
needs no quantile grid: one uniform picks a tree and, with what is left of it, a donor in the leaf. So the whole conditional
distribution is reached, tails and zeros included, and the draws of two variables share nothing but what they condition on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import RandomForestRegressor

from geocal_core import seeds
from geocal_core.errors import ArtifactError, ConfigError

# A leaf of five donors is small enough to be local and large enough to hold a distribution.
_LEAF = 5
_FEATURES = 0.5

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Forest:
    """A fitted forest.

    Attributes
    ----------
    trees : list
        Fitted sklearn trees.
    predictors : ndarray of float32, shape (n_donors, n_predictors)
    values, weights : ndarray of float64, shape (n_donors,)
        The donors' values of the variable and their positive weights.
    """

    trees: list[object]
    predictors: NDArray[np.float32]
    values: Vector
    weights: Vector

    def draw(self, predictors: Matrix, uniforms: Vector) -> Vector:
        """Values of donors drawn from the conditional distribution at each receiver's predictors.

        Parameters
        ----------
        predictors : ndarray of float64, shape (n_receivers, n_predictors)
        uniforms : ndarray of float64, shape (n_receivers,)
            In [0, 1), one for each receiver.
        """
        points = np.asarray(predictors, dtype=np.float32)
        scaled = np.asarray(uniforms) * len(self.trees)
        chosen = np.minimum(scaled.astype(np.int64), len(self.trees) - 1)
        drawn = np.empty(len(points))
        for number, tree in enumerate(self.trees):
            rows = np.flatnonzero(chosen == number)
            if len(rows):
                drawn[rows] = self._draw_in_leaves(tree, points[rows], scaled[rows] - number)
        return drawn

    def _draw_in_leaves(self, tree: object, points: NDArray[np.float32], uniforms: Vector) -> Vector:
        """In each point's leaf of one tree, the donor at a weighted quantile."""
        apply = tree.tree_.apply  # type: ignore[attr-defined]
        leaf_of_donor = apply(self.predictors)
        order = np.lexsort((self.values, leaf_of_donor))
        steps = np.concatenate([[0.0], np.cumsum(self.weights[order])])
        leaves = leaf_of_donor[order]
        wanted = apply(points)
        first = np.searchsorted(leaves, wanted, side="left")
        last = np.searchsorted(leaves, wanted, side="right") - 1
        height = steps[first] + uniforms * (steps[last + 1] - steps[first])
        found = np.searchsorted(steps, height, side="right") - 1
        return self.values[order[np.clip(found, first, last)]]


def fit_forest(
    predictors: Matrix, values: ArrayLike, weights: ArrayLike, *, trees: int, name: str, seed: int, workers: int = 1
) -> Forest:
    """Grow a forest on weighted donors.

    Splits are sought on the inverse hyperbolic sine of the values, so that a few very large ones do not decide them all.

    Parameters
    ----------
    predictors : ndarray of float64, shape (n_donors, n_predictors)
    values, weights : array_like, shape (n_donors,)
        Weights are positive.
    trees : int
    name : str
        Name of the random stream.
    seed : int
    workers : int
        Threads; the forest does not depend on their number.

    Raises
    ------
    ArtifactError
        If a predictor, value or weight is missing or infinite, or a weight is not positive.
    ConfigError
        If there is no tree or no donor.
    """
    target = np.asarray(values, dtype=np.float64)
    mass = np.asarray(weights, dtype=np.float64)
    if trees < 1 or len(target) == 0:
        raise ConfigError(f"{name} is imputed with {trees} trees from {len(target)} donors", "both must be at least 1")
    _require_finite(np.asarray(predictors, dtype=np.float64), f"the predictors of {name}")
    _require_finite(target, name)
    _require_finite(mass, f"the weights of {name}")
    if (mass <= 0).any():
        raise ArtifactError(f"a donor of {name} has a weight of 0 or less")
    points = np.asarray(predictors, dtype=np.float32)
    forest = RandomForestRegressor(
        n_estimators=trees,
        min_samples_leaf=_LEAF,
        max_features=_FEATURES,
        random_state=seeds.stream_key(f"forest {name}", seed) % 2**32,
        n_jobs=workers,
    )
    forest.fit(points, np.arcsinh(target), sample_weight=mass / mass.mean())
    return Forest(list(forest.estimators_), points, target, mass)


def impute_in_sequence(
    donors: Mapping[str, ArrayLike],
    weights: ArrayLike,
    receivers: Mapping[str, ArrayLike],
    variables: Sequence[str],
    keys: ArrayLike,
    *,
    trees: int,
    seed: int,
    workers: int = 1,
) -> dict[str, Vector]:
    """Draw variables for receivers one after another, each given the predictors and the variables before it.

    Parameters
    ----------
    donors : mapping of str to array_like, shape (n_donors,)
        Predictors and variables.
    weights : array_like, shape (n_donors,)
    receivers : mapping of str to array_like, shape (n_receivers,)
        Predictors, under the donors' names and in the order in which they are used.
    variables : sequence of str
        In the order in which they are drawn.
    keys : array_like of int, shape (n_receivers,)
        Identifiers of the receivers: a draw is a function of the variable, this key and the seed alone.
    trees, seed, workers : int
        As in ``fit_forest``.

    Raises
    ------
    ArtifactError
        If a value is missing or infinite.
    """
    names = list(receivers)
    given = np.column_stack([np.asarray(donors[name], dtype=np.float64) for name in names])
    wanted = np.column_stack([np.asarray(receivers[name], dtype=np.float64) for name in names])
    _require_finite(wanted, "the predictors of the receivers")
    drawn: dict[str, Vector] = {}
    for variable in variables:
        forest = fit_forest(given, donors[variable], weights, trees=trees, name=variable, seed=seed, workers=workers)
        drawn[variable] = forest.draw(wanted, seeds.uniform(f"impute {variable}", keys, seed=seed))
        given = np.column_stack([given, forest.values])
        wanted = np.column_stack([wanted, drawn[variable]])
    return drawn


def _require_finite(values: NDArray[np.float64], label: str) -> None:
    if not np.isfinite(values).all():
        raise ArtifactError(f"{label} hold a value that is missing or infinite", "imputation needs complete records")
