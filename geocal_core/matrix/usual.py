"""What households usually add: the value of each quantity that most copies of a household show, wherever they live.

Nearly all values of a matrix are usual ones, so the sums over a district are those of its households' weights under one small
table that all districts share, and of the few differences from it. Here: the table, where the columns of a factored matrix
stand among households and districts, and the differences. That products are faster so is the affair of ``fit.products``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.matrix.variants import Variants


@dataclass(frozen=True)
class Usual:
    """Columns in an inner order, by district, of which each is a copy of a household.

    Attributes
    ----------
    table : csr_matrix of float32, shape (n_households, n_quantities)
        What each household usually adds; no stored zeros.
    household : ndarray of int32, shape (n_columns,)
        Household of each column.
    bounds : ndarray of int64, shape (n_districts + 1,)
        The columns of district d are those from ``bounds[d]`` to ``bounds[d + 1]``.
    leaf : ndarray of int64, shape (n_districts, n_quantities)
        The leaf that a quantity of a district is added to, -1 where no target wants it.
    """

    table: sparse.csr_matrix
    household: NDArray[np.int32]
    bounds: NDArray[np.int64]
    leaf: NDArray[np.int64]

    def rows(self, number: NDArray[np.int64]) -> Usual:
        """The same for fewer leaves, numbered anew; -1 for those that are gone."""
        return replace(self, leaf=np.append(number, -1)[self.leaf])

    def columns(self, inside: NDArray[np.bool_]) -> Usual:
        """The same for the columns of a mask over the inner order."""
        return replace(self, household=self.household[inside], bounds=np.append(0, np.cumsum(inside))[self.bounds])

    def districts(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The districts that have columns from ``begin`` to ``end``, each with the first and the last but one of them."""
        first = int(np.searchsorted(self.bounds, begin, side="right")) - 1
        for district in range(first, len(self.bounds) - 1):
            low, high = max(begin, int(self.bounds[district])), min(end, int(self.bounds[district + 1]))
            if low >= end:
                return
            if low < high:
                yield district, low, high

    def of_columns(self, begin: int, end: int, n_leaves: int) -> sparse.csr_matrix:
        """What the columns from ``begin`` to ``end`` would add if all were as usual, shape (n_leaves, end - begin)."""
        values = self.table[self.household[begin:end]]
        leaf = np.empty(values.nnz, dtype=np.int64)
        for district, low, high in self.districts(begin, end):
            inside = slice(int(values.indptr[low - begin]), int(values.indptr[high - begin]))
            leaf[inside] = self.leaf[district][values.indices[inside]]
        wanted = leaf >= 0
        indptr = np.append(0, np.cumsum(wanted))[values.indptr]
        parts = (values.data[wanted], leaf[wanted], indptr)
        return sparse.csc_matrix(parts, shape=(n_leaves, end - begin), copy=False).tocsr()

    def differences(
        self, begin: int, rows: NDArray[np.int64], matrix: sparse.csr_matrix, n_leaves: int, dtype: str = "float32"
    ) -> sparse.csr_matrix:
        """Actual less usual values of consecutive columns.

        Parameters
        ----------
        begin : int
            Number of the first column.
        rows : ndarray of int64
            The leaves that have a value, ascending.
        matrix : csr_matrix, shape (len(rows), any number)
            Their values in the columns.
        n_leaves : int
        dtype : str
            In which they are subtracted: ``float32``, or ``float64``, in which nothing is rounded.

        Returns
        -------
        csr_matrix, shape (n_leaves, the same number)
            Sorted columns, no stored zeros.
        """
        length = np.zeros(n_leaves, dtype=np.int64)
        length[rows] = np.diff(matrix.indptr)
        parts = (matrix.data.astype(dtype), matrix.indices, np.append(0, np.cumsum(length)))
        actual = sparse.csr_matrix(parts, shape=(n_leaves, matrix.shape[1]), copy=False)
        different = (actual - self.of_columns(begin, begin + matrix.shape[1], n_leaves).astype(dtype)).tocsr()
        different.eliminate_zeros()
        different.sort_indices()
        return different

    @classmethod
    def of(cls, variants: Variants, order: NDArray[np.int32], bounds: NDArray[Any], leaf: NDArray[np.int64]) -> Usual:
        """The usual values of the households of variants.

        Parameters
        ----------
        variants : Variants
        order : ndarray of int32, shape (n_columns,)
            The column, as ``variants`` numbers them, of each place in the inner order.
        bounds, leaf
            As the attributes.
        """
        household = (order % np.int32(variants.n_records)).astype(np.int32)
        return cls(_usual_values(variants), household, np.asarray(bounds, dtype=np.int64), leaf)


def _usual_values(variants: Variants) -> sparse.csr_matrix:
    """Of each household and quantity the value that most columns show; among equally frequent ones 0 last, else the least."""
    shown = np.zeros(variants.n_variants, dtype=np.int64)
    household = np.zeros(variants.n_variants, dtype=np.int64)
    for group in range(len(variants.groups)):
        first = variants.first[group]
        shown += np.bincount(variants.variant_of_column(group), minlength=variants.n_variants)
        household[first[0] : first[-1]] = np.repeat(np.arange(variants.n_records), np.diff(first))
    row = np.repeat(np.arange(variants.n_variants), np.diff(variants.indptr))
    cell = household[row] * variants.n_quantities + variants.indices
    columns = shown[row]
    by_value = np.lexsort((variants.data, cell))
    cell, value, columns = cell[by_value], variants.data[by_value], columns[by_value]
    starts = np.flatnonzero(np.append(True, (cell[1:] != cell[:-1]) | (value[1:] != value[:-1]))[: len(cell)])
    if not len(starts):
        return sparse.csr_matrix((variants.n_records, variants.n_quantities), dtype=np.float32)
    cell, value, columns = cell[starts], value[starts], np.add.reduceat(columns, starts)
    cells = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    zeros = variants.n_clones - np.add.reduceat(columns, cells)
    best = np.lexsort((value, -columns, cell))[cells]  # cells keep their places in the sorted order
    usual = best[columns[best] >= zeros]
    place = np.divmod(cell[usual], variants.n_quantities)
    table = sparse.csr_matrix((value[usual], place), shape=(variants.n_records, variants.n_quantities), dtype=np.float32)
    table.sort_indices()
    return table
