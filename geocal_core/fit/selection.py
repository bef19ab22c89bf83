"""Selection to an exact size: which columns to keep, by one of several methods behind one interface.

A selection is never the end: a polish of the kept columns starts from its design weights. Here: the checks, the methods and
what a polish needs. How a balanced sample is drawn is in ``cube``, plain chances are in ``sampling``, which totals of a package
are worth balancing is in ``balance``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.cube import Floats, Integers, Rows, cube_sample
from geocal_core.fit.problem import Problem
from geocal_core.sampling import inclusion_probabilities, systematic_sample
from geocal_core.seeds import generator, uniform

METHODS = ("cube", "pps", "top")


@dataclass(frozen=True)
class Selection:
    """Columns that are kept.

    Attributes
    ----------
    kept : ndarray of int64, shape (records,)
        Their numbers, ascending.
    design_weights : ndarray of float64, shape (records,)
        Weights under which they stand for all columns, where a polish starts: weight over chance (Horvitz and Thompson 1952);
        of ``top`` the weights as they were.
    chances : ndarray of float64, shape (n_columns,)
        Chance of each column to be kept; of ``top`` 0 or 1.
    """

    kept: Integers
    design_weights: Floats
    chances: Floats

    def weights(self) -> Floats:
        """Design weights of all columns, shape (n_columns,): 0 for those that are not kept."""
        full = np.zeros(len(self.chances))
        full[self.kept] = self.design_weights
        return full


def select(
    weights: ArrayLike,
    records: int,
    method: str = "cube",
    *,
    sizes: ArrayLike | None = None,
    balance: Rows | Any = None,
    strata: NDArray[np.integer] | Sequence[NDArray[np.integer]] | None = None,
    seed: int = 0,
) -> Selection:
    """Keep exactly ``records`` of the columns.

    Parameters
    ----------
    weights : array_like of float, shape (n_columns,)
        Weights of a dense fit, or of a gated one; not negative. A column of weight 0 is never kept.
    records : int
        From 1 to the number of weights above 0.
    method : str
        ``cube`` (balanced, by chances proportional to sizes), ``pps`` (such chances alone) or ``top`` (the largest sizes; the
        first of equals: for the survivors of gates).
    sizes : array_like of float, shape (n_columns,), optional
        What chances are proportional to, above 0 where the weight is and 0 elsewhere, such as weight times ``influence``; the
        weights where nothing is given.
    balance : callable, array or sparse matrix of shape (n_rows, n_columns), optional
        For ``cube``: rows whose totals in every stratum should not change by the selection, for example those of
        ``balance.balancing_rows``; or what gives the numbers of some columns, shape (len(columns), n_rows). Without it sizes
        alone are balanced.
    strata : array_like of int, shape (n_columns,), or a sequence of such, optional
        For ``cube``: strata such as districts, or from the finest to the coarsest, such as districts and states. They walk
        together, so that without them a million columns take a minute; the square of the number of the finest must fit into
        memory.
    seed : int
        The same seed keeps the same columns.

    Raises
    ------
    ConfigError
        If the method is unknown, or ``records`` is out of its range.
    ArtifactError
        If weights are negative, not finite or all 0, or lengths differ.
    """
    w = np.asarray(weights, dtype=np.float64)
    _check(w, records, method)
    s = w if sizes is None else _sizes(np.asarray(sizes, dtype=np.float64), w)
    if method == "top":
        chances = np.zeros(len(w))
        chances[np.argsort(-s, kind="stable")[:records]] = 1.0
    else:
        chances = inclusion_probabilities(s, records)
    if method == "cube":
        labels = _labels(strata, len(w))
        rows = _weighted(_rows(balance, len(w)), w, chances)
        taken = cube_sample(chances, rows, labels, seed)
    else:
        taken = _in_random_order(chances, seed)
    kept = np.flatnonzero(taken)
    return Selection(kept, w[kept] / chances[kept], chances)


def _in_random_order(chances: Floats, seed: int) -> NDArray[np.bool_]:
    """Columns of a systematic sample along a random order of those that are not certain."""
    taken = chances == 1.0
    open_ = np.flatnonzero((chances > 0) & ~taken)
    order = open_[np.argsort(uniform("fit.pps.order", open_, seed=seed), kind="stable")]
    taken[order[systematic_sample(chances[order], generator("fit.pps.start", seed).random())]] = True
    return taken


def _check(weights: Floats, records: int, method: str) -> None:
    if method not in METHODS:
        raise ConfigError(f"there is no method of selection {method!r}", f"the methods are {', '.join(METHODS)}")
    if weights.ndim != 1:
        raise ArtifactError(f"the weights have {weights.ndim} dimensions", "give one weight for each column")
    bad = ~np.isfinite(weights) | (weights < 0)
    if bad.any():
        column = int(np.flatnonzero(bad)[0])
        raise ArtifactError(f"the weight of column {column} is {weights[column]}", "weights must be finite and not negative")
    positive = int(np.count_nonzero(weights))
    if not positive:
        raise ArtifactError("all weights are 0: there is nothing to select from", "give the weights of a fit")
    if isinstance(records, bool) or not isinstance(records, int | np.integer) or not 1 <= records <= positive:
        raise ConfigError(
            f"records is {records} and {positive:,} of {len(weights):,} columns have a weight above 0",
            f"ask for 1 to {positive:,}",
        )


def _sizes(sizes: Floats, weights: Floats) -> Floats:
    if sizes.shape != weights.shape or not np.isfinite(sizes).all() or ((sizes > 0) != (weights > 0)).any():
        raise ArtifactError(
            f"sizes of shape {sizes.shape} do not fit weights of shape {weights.shape}",
            "give a finite size for each column, above 0 where its weight is and 0 elsewhere",
        )
    return sizes


def influence(problem: Problem) -> Floats:
    """How much one unit of weight of each column matters to the loss, shape (n_columns,).

    hypot(g_j, median of g), where g_j is the square root of the sum over fitted targets of importance * (x_ij / scale_i)^2.
    With chances proportional to w g the expected loss of the design weights, the sum over i and j of
    importance_i * (x_ij w_j / scale_i)^2 * (1 / chance_j - 1), is the least that a sample of its size can have (Neyman's
    allocation, 1934, for all targets at once). With weights alone as sizes, small targets lose the few columns that they depend
    on. The median keeps design weights from growing where g is near 0: they stay about as large as those by weights alone.
    """
    loss = problem.objective
    g = np.sqrt(problem.matrix.rmatvec(loss.importance / loss.scale**2, np.square))
    return np.hypot(g, np.median(g[g > 0])) if g.any() else np.ones_like(g)


def _labels(strata: Any, n_columns: int) -> list[Integers]:
    """Strata as a list of arrays, from the finest to the coarsest."""
    if strata is None:
        return [np.zeros(n_columns, dtype=np.int64)]
    several = isinstance(strata, list | tuple) and len(strata) > 0 and not np.isscalar(strata[0])
    labels = [np.asarray(one) for one in (strata if several else [strata])]
    for one in labels:
        if one.shape != (n_columns,) or one.dtype.kind not in "iu":
            raise ArtifactError(
                f"strata are {one.dtype} of shape {one.shape} for {n_columns} columns", "give a whole number for each column"
            )
    for fine, coarse in pairwise(labels):
        _, first, place = np.unique(fine, return_index=True, return_inverse=True)
        if (coarse[first][place] != coarse).any():
            raise ArtifactError("a stratum lies in two of the coarser strata", "give strata from the finest to the coarsest")
    return [one.astype(np.int64) for one in labels]


def _rows(balance: Rows | Any, n_columns: int) -> Rows:
    """What gives the numbers of some columns."""
    if balance is None:
        return lambda columns: np.zeros((len(columns), 0))
    if callable(balance):
        return balance
    by_column = sparse.csc_matrix(balance).astype(np.float64)
    if by_column.shape[1] != n_columns:
        raise ArtifactError(f"rows to balance have {by_column.shape[1]} columns and there are {n_columns} weights")
    if not np.isfinite(by_column.data).all():
        raise ArtifactError("rows to balance hold values that are not finite", "every value must be a finite number")
    return lambda columns: by_column[:, columns].T.toarray()


def _weighted(rows: Rows, weights: Floats, chances: Floats) -> Rows:
    """What columns add to the totals if they are kept."""

    def of(columns: Integers) -> NDArray[np.float32]:
        factor = (weights[columns] / chances[columns]).astype(np.float32)
        return np.asarray(rows(columns), dtype=np.float32) * factor[:, None]

    return of
