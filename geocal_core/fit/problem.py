"""The calibration problem: a factored matrix, its targets, their loss and the starting weights, checked before any epoch.

Rows without a non-zero cannot be reached by any weights, and a row that repeats another with the same target says nothing new:
they are left out of the loss here and listed by whoever reports.
Rows that are held out lie in a matrix of their own, which nothing that moves weights ever sees.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.fit.objective import LossSettings, Objective
from geocal_core.matrix.factored import FactoredMatrix, Floats
from geocal_core.seeds import generator


@dataclass(frozen=True)
class Problem:
    """Weights w >= 0 are wanted for which X w is near y, in the sense of the objective's loss.

    Attributes
    ----------
    matrix : FactoredMatrix, shape (n_fitted, n_columns)
        The rows to fit: those with support that are neither held out nor repeated.
    objective : Objective
        The loss of the rows to fit.
    initial_weights : ndarray of float64, shape (n_columns,)
    held_matrix : FactoredMatrix, shape (n_held, n_columns)
        The rows with support that are held out.
    held_objective : Objective
        The loss of these.
    supported, held_out : ndarray of bool, shape (n_targets,)
        Which of the rows given have a non-zero, and which are scored and never fitted.
    repeats : ndarray of int64, shape (n_targets,)
        For a row that repeats a fitted one, with the same target, that row; -1 for all others.
    names : tuple of str
        Names of all rows given.
    all_targets : ndarray of float64, shape (n_targets,)
    """

    matrix: FactoredMatrix
    objective: Objective
    initial_weights: Floats
    held_matrix: FactoredMatrix
    held_objective: Objective
    supported: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    repeats: NDArray[np.int64]
    names: tuple[str, ...]
    all_targets: Floats

    @property
    def n_columns(self) -> int:
        return self.matrix.shape[1]

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which of the rows given are fitted, shape (n_targets,)."""
        return self.supported & ~self.held_out & (self.repeats < 0)

    @property
    def target(self) -> Floats:
        """Targets of the fitted rows, shape (n_fitted,)."""
        return self.objective.target

    @property
    def scale(self) -> Floats:
        """Scales of the fitted rows' errors, shape (n_fitted,)."""
        return self.objective.scale

    @property
    def nothing(self) -> float:
        """The loss of no weights at all."""
        return self.loss(np.zeros_like(self.target))

    def loss(self, estimate: Floats) -> float:
        """The loss of estimates of the fitted rows."""
        return float(self.objective.loss(estimate))

    def held_loss(self, weights: Floats) -> float:
        """The loss of weights over the rows that are held out: 0 where there are none."""
        return self.held_objective.loss(self.held_matrix.estimates(weights))

    def all_estimates(self, weights: Floats) -> Floats:
        """Estimates of all rows given, held out or not: 0 where there is no support."""
        full = np.zeros(len(self.supported))
        full[self.fitted] = self.matrix.estimates(weights)
        full[self.supported & self.held_out] = self.held_matrix.estimates(weights)
        again = self.repeats >= 0
        full[again] = full[self.repeats[again]]
        return full

    def of_columns(self, kept: NDArray[np.integer], weights: Floats) -> Problem:
        """The problem of some columns alone, numbered anew, from weights of their own; kept numbers ascend."""
        mask = np.zeros(self.n_columns, dtype=np.bool_)
        mask[kept] = True
        return replace(
            self, matrix=self.matrix.columns(mask), held_matrix=self.held_matrix.columns(mask), initial_weights=weights
        )

    def digests(self) -> dict[str, str]:
        """sha256 of the matrix, of the targets with their loss and names, and of the starting weights."""
        loss = self.objective
        targets = (self.all_targets, self.supported, self.held_out, loss.scale, loss.tolerance, loss.importance, [loss.bound])
        return {
            "matrix": _digest(*self.matrix.parts(), *self.held_matrix.parts()),
            "targets": _digest(*targets, np.frombuffer("\n".join(self.names).encode(), np.uint8)),
            "starting weights": _digest(self.initial_weights),
        }


def _digest(*parts: ArrayLike) -> str:
    running = hashlib.sha256()
    for part in parts:
        running.update(np.ascontiguousarray(part).data)
    return running.hexdigest()


def problem(
    matrix: Any,
    targets: ArrayLike | pd.DataFrame,
    initial_weights: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    held_out: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    importance: ArrayLike | None = None,
    loss: LossSettings | None = None,
) -> Problem:
    """Check the inputs of a fit and set it up.

    Parameters
    ----------
    matrix : FactoredMatrix, scipy sparse matrix or 2-d array, shape (n_targets, n_columns)
        What one unit of weight on a column adds to each target.
    targets : array_like or DataFrame, shape (n_targets,)
        Wanted totals; of a table, the column ``value`` (and ``name`` for the names, ``held_out`` for what is held out).
    initial_weights : array_like, shape (n_columns,), optional
        Starting weights, not negative; 1 for every column where nothing is given.
    names : sequence of str, optional
        Names of the targets for messages and logs.
    held_out : array_like of bool, shape (n_targets,), optional
        Rows that are scored and never fitted; none where nothing is given.
    tolerance : array_like, shape (n_targets,), optional
        Distance from each target, in its own unit, that costs nothing; NaN stands for 0.
    importance : array_like, shape (n_targets,), optional
        Factor of each target in the loss (``objective.importance_of_groups``); 1 where nothing is given. Of repeated rows the
        largest counts.
    loss : LossSettings, optional

    Raises
    ------
    ArtifactError
        If lengths differ, a value is not a finite number, a starting weight is negative, or no row that is to be fitted has
        support.
    """
    if isinstance(targets, pd.DataFrame):
        if "value" not in targets:
            raise ArtifactError("the table of targets has no column 'value'", f"its columns are {list(targets.columns)}")
        names = targets["name"].astype(str).tolist() if names is None and "name" in targets else names
        held_out = targets["held_out"].to_numpy() if held_out is None and "held_out" in targets else held_out
        targets = targets["value"].to_numpy()
    y = np.array(targets, dtype=np.float64)
    factored = matrix if isinstance(matrix, FactoredMatrix) else _factored(matrix)
    n_targets, n_columns = factored.shape
    if y.shape != (n_targets,):
        raise ArtifactError(f"the matrix has {n_targets} rows and there are {y.size} targets", "give one target for each row")
    labels = tuple(names) if names is not None else tuple(f"target_{row}" for row in range(n_targets))
    if len(labels) != n_targets:
        raise ArtifactError(f"there are {n_targets} targets and {len(labels)} names", "give one name for each target")
    start = np.ones(n_columns) if initial_weights is None else np.array(initial_weights, dtype=np.float64)
    if start.shape != (n_columns,):
        raise ArtifactError(
            f"the matrix has {n_columns} columns and there are {start.size} starting weights", "give one weight for each column"
        )
    held = np.zeros(n_targets, dtype=np.bool_) if held_out is None else np.array(held_out)
    if held.shape != (n_targets,) or held.dtype != np.bool_:
        raise ArtifactError(
            f"held_out is {held.dtype} of shape {held.shape}", f"give a truth value for each of {n_targets} targets"
        )
    _refuse_bad_numbers(factored, y, start, labels)
    supported = factored.row_nonzeros > 0
    fitted = supported & ~held
    if not fitted.any():
        which = "that is not held out " if held.any() else ""
        raise ArtifactError(
            f"no target {which}has a record with a non-zero value", "check that matrix and records belong together"
        )
    repeats = _repeats(factored, y, fitted)
    fitted &= repeats < 0
    factor = _of_targets("importance", importance, 1.0, labels)
    again = np.flatnonzero(repeats >= 0)
    np.maximum.at(factor, repeats[again], factor[again])  # so that a row of a group that counts is not lost to its twin's
    loss = loss or LossSettings()
    margin = np.nan_to_num(_of_targets("tolerance", tolerance, 0.0, labels, nan=True))

    def part(which: NDArray[np.bool_]) -> tuple[FactoredMatrix, Objective]:
        """Matrix and loss of some rows."""
        rows = factored.rows(which)
        size = np.abs(y[which])
        zero = size == 0
        if zero.any():
            size[zero] = rows.rows(zero).estimates(start, np.abs)
        scale = loss.scales(size)
        bound = math.inf if loss.huber is None else loss.huber
        return rows, Objective(y[which], scale, margin[which] / scale, factor[which], bound)

    return Problem(*part(fitted), start, *part(supported & held), supported, held, repeats, labels, y)


def _repeats(matrix: FactoredMatrix, y: Floats, fitted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For a fitted row that equals an earlier one in values and target, that row; else -1.

    Rows are told apart by their products with two vectors of random numbers, which no two rows share but by being equal.
    """
    rng = generator("fit.repeats")
    keys = [y, *(matrix.estimates(rng.uniform(1.0, 2.0, matrix.shape[1])) for _ in range(2))]
    rows = np.flatnonzero(fitted)
    _, first, member = np.unique(np.array(keys)[:, rows], axis=1, return_index=True, return_inverse=True)
    earliest = rows[first[member.ravel()]]
    repeats = np.full(len(y), -1, dtype=np.int64)
    repeats[rows] = np.where(earliest == rows, -1, earliest)
    return repeats


def _of_targets(name: str, values: ArrayLike | None, absent: float, names: Sequence[str], nan: bool = False) -> Floats:
    """A number of at least 0 for each target."""
    array = np.full(len(names), absent) if values is None else np.array(values, dtype=np.float64)
    if array.shape != (len(names),):
        raise ArtifactError(f"there are {len(names)} targets and {array.size} values of {name}", "give one for each target")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)) & ~(nan & np.isnan(array)))
    if len(bad):
        row = int(bad[0])
        raise ArtifactError(
            f"the {name} of target {names[row]} (row {row}) is {array[row]}", "it must be finite and at least 0"
        )
    return array


def _factored(matrix: Any) -> FactoredMatrix:
    csr = matrix.tocsr() if sparse.issparse(matrix) else sparse.csr_matrix(np.asarray(matrix))
    if csr.shape[1] > np.iinfo(np.int32).max:
        raise ArtifactError(f"the matrix has {csr.shape[1]} columns", "a fit handles at most 2^31 - 1 columns")
    return FactoredMatrix.of(csr)


def _refuse_bad_numbers(matrix: FactoredMatrix, y: Floats, start: Floats, names: Sequence[str]) -> None:
    if not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise ArtifactError(f"target {names[row]} (row {row}) is {y[row]}", "every target must be a finite number")
    found = matrix.not_finite()
    if found is not None:
        row, column, value = found
        raise ArtifactError(
            f"the matrix has {value} in row {row} ({names[row]}), column {column}", "every value must be a finite number"
        )
    bad = ~np.isfinite(start) | (start < 0)
    if bad.any():
        column = int(np.flatnonzero(bad)[0])
        raise ArtifactError(
            f"the starting weight of column {column} is {start[column]}", "weights must be finite and not negative"
        )
    if not (start > 0).any():
        raise ArtifactError("all starting weights are 0", "at least one must be above 0")
