"""The calibration problem: a sparse matrix, its targets, their scales and the starting weights, checked before any epoch.

Rows without a non-zero cannot be reached by any weights: they are left out of the loss here and listed by whoever reports.
Rows that are held out lie in a matrix of their own, which nothing that moves weights ever sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError

Floats = NDArray[np.float64]

_NONZEROS_AT_ONCE = 1 << 22


def estimates(matrix: Any, weights: Floats) -> Floats:
    """The product of a sparse matrix (float32, shape (targets, columns)) with weights, summed in float64 by groups of rows.

    The matrix may be memory-mapped: at most some million non-zeros are brought to float64 at a time.
    """
    result = np.zeros(matrix.shape[0])
    for first, last in row_groups(matrix.indptr, _NONZEROS_AT_ONCE):
        begin, end = int(matrix.indptr[first]), int(matrix.indptr[last])
        values = np.asarray(matrix.data[begin:end], dtype=np.float64) * weights[matrix.indices[begin:end]]
        filled = np.diff(matrix.indptr[first : last + 1]) > 0
        starts = np.asarray(matrix.indptr[first:last])[filled] - begin
        if filled.any():
            result[first:last][filled] = np.add.reduceat(values, starts)
    return result


def row_groups(indptr: NDArray[Any], nonzeros: int) -> list[tuple[int, int]]:
    """Consecutive ranges of rows with about ``nonzeros`` stored values each; a longer row is a group of its own."""
    n_rows = len(indptr) - 1
    groups = []
    first = 0
    while first < n_rows:
        last = int(np.searchsorted(indptr, indptr[first] + nonzeros, side="right")) - 1
        last = min(max(last, first + 1), n_rows)
        groups.append((first, last))
        first = last
    return groups


@dataclass(frozen=True)
class Problem:
    """Weights w >= 0 are wanted for which X w is near y, in the sense of sum(((y - X w) / scale)^2).

    Attributes
    ----------
    matrix : scipy CSR, float32, shape (n_fitted, n_columns)
        The rows to fit: those with support that are not held out; int32 column indices.
    target : ndarray of float64, shape (n_fitted,)
    scale : ndarray of float64, shape (n_fitted,)
        |y| + 1, and for y = 0 what the starting weights give the row, plus 1.
    initial_weights : ndarray of float64, shape (n_columns,)
    held_matrix : scipy CSR, float32, shape (n_held, n_columns)
        The rows with support that are held out.
    supported, held_out : ndarray of bool, shape (n_targets,)
        Which of the rows given have a non-zero, and which are scored and never fitted.
    names : tuple of str
        Names of all rows given.
    all_targets : ndarray of float64, shape (n_targets,)
    """

    matrix: Any
    target: Floats
    scale: Floats
    initial_weights: Floats
    held_matrix: Any
    supported: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    names: tuple[str, ...]
    all_targets: Floats

    @property
    def n_columns(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which of the rows given are fitted, shape (n_targets,)."""
        return self.supported & ~self.held_out

    def loss(self, estimate: Floats) -> float:
        """Sum of squared relative errors of estimates of the fitted rows."""
        return float(np.sum(((estimate - self.target) / self.scale) ** 2))

    def all_estimates(self, weights: Floats) -> Floats:
        """Estimates of all rows given, held out or not: 0 where there is no support."""
        full = np.zeros(len(self.supported))
        full[self.fitted] = estimates(self.matrix, weights)
        full[self.supported & self.held_out] = estimates(self.held_matrix, weights)
        return full

    def digest(self) -> str:
        """sha256 of both matrices, targets, names and starting weights."""
        running = hashlib.sha256(f"{self.matrix.shape}".encode())
        for matrix in (self.matrix, self.held_matrix):
            for part in (matrix.indptr.astype(np.int64), matrix.indices, matrix.data):
                running.update(np.ascontiguousarray(part).data)
        for part in (self.all_targets, self.supported, self.held_out, self.initial_weights):
            running.update(np.ascontiguousarray(part).data)
        running.update("\n".join(self.names).encode())
        return running.hexdigest()


def problem(
    matrix: Any,
    targets: ArrayLike | pd.DataFrame,
    initial_weights: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    held_out: ArrayLike | None = None,
) -> Problem:
    """Check the inputs of a fit and set it up.

    Parameters
    ----------
    matrix : scipy sparse matrix or 2-d array, shape (n_targets, n_columns)
        What one unit of weight on a column adds to each target.
    targets : array_like or DataFrame, shape (n_targets,)
        Wanted totals; of a table, the column ``value`` (and ``name`` for the names, ``held_out`` for what is held out).
    initial_weights : array_like, shape (n_columns,), optional
        Starting weights, not negative; 1 for every column where nothing is given.
    names : sequence of str, optional
        Names of the targets for messages and logs.
    held_out : array_like of bool, shape (n_targets,), optional
        Rows that are scored and never fitted; none where nothing is given.

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
    csr = _csr(matrix)
    n_targets, n_columns = csr.shape
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
    _refuse_bad_numbers(csr, y, start, labels)
    supported = _supported_rows(csr)
    fitted = supported & ~held
    if not fitted.any():
        which = "that is not held out " if held.any() else ""
        raise ArtifactError(
            f"no target {which}has a record with a non-zero value", "check that matrix and records belong together"
        )
    kept = csr if fitted.all() else csr[fitted]
    scale = np.abs(y[fitted]) + 1.0
    zero = y[fitted] == 0
    if zero.any():
        rows = kept[zero]
        scale[zero] = 1.0 + estimates(abs(rows), start)
    return Problem(kept, y[fitted], scale, start, csr[supported & held], supported, held, labels, y)


def _csr(matrix: Any) -> Any:
    csr = matrix.tocsr() if sparse.issparse(matrix) else sparse.csr_matrix(np.asarray(matrix))
    if csr.shape[1] > np.iinfo(np.int32).max:
        raise ArtifactError(f"the matrix has {csr.shape[1]} columns", "a fit handles at most 2^31 - 1 columns")
    narrow = (csr.data.astype(np.float32, copy=False), csr.indices.astype(np.int32, copy=False), csr.indptr)
    return sparse.csr_matrix(narrow, shape=csr.shape, copy=False)


def _supported_rows(csr: Any) -> NDArray[np.bool_]:
    """Rows with a stored value other than 0."""
    stored = np.diff(csr.indptr) > 0
    if np.count_nonzero(csr.data) < csr.nnz:
        stored[stored] = np.maximum.reduceat(csr.data != 0, csr.indptr[:-1][stored])
    return np.asarray(stored)


def _refuse_bad_numbers(csr: Any, y: Floats, start: Floats, names: Sequence[str]) -> None:
    if not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise ArtifactError(f"target {names[row]} (row {row}) is {y[row]}", "every target must be a finite number")
    if not np.isfinite(csr.data).all():
        place = int(np.flatnonzero(~np.isfinite(csr.data))[0])
        row = int(np.searchsorted(csr.indptr, place, side="right")) - 1
        raise ArtifactError(
            f"the matrix has {csr.data[place]} in row {row} ({names[row]}), column {int(csr.indices[place])}",
            "every value must be a finite number",
        )
    bad = ~np.isfinite(start) | (start < 0)
    if bad.any():
        column = int(np.flatnonzero(bad)[0])
        raise ArtifactError(
            f"the starting weight of column {column} is {start[column]}", "weights must be finite and not negative"
        )
    if not (start > 0).any():
        raise ArtifactError("all starting weights are 0", "at least one must be above 0")
