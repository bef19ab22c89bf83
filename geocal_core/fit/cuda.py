"""The products of a fit as torch tensors, for a GPU: one block of all columns, nothing of it ever on the host.

Every sum is a segment sum or a dense product in a fixed order: cuSPARSE's default product and atomic additions take an order of
their own in each run. The arithmetic of bytes is in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import sparse

from geocal_core.fit.cuts import differences, segments
from geocal_core.fit.device import Device
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.usual import Usual


class _Rows:
    """Rows of a CSR matrix; of ones, where no dtype is given."""

    def __init__(self, matrix: sparse.csr_matrix, device: Device, dtype: str | None = None) -> None:
        self._starts = device.put(matrix.indptr, "int64")
        self._indices = device.put(matrix.indices, "int32")
        self._values = None if dtype is None else device.put(matrix.data, dtype)

    def times(self, vector: Any) -> Any:
        """The product with a vector."""
        terms = vector.index_select(0, self._indices)
        return _sums(terms if self._values is None else terms.mul_(self._values), self._starts)


def _sums(terms: Any, starts: Any) -> Any:
    """Sums of consecutive terms, 0 of none."""
    return torch.segment_reduce(terms, "sum", offsets=starts, initial=0)


class _Grid:
    """The usual part: weights summed by district and household, times the table of usual values."""

    def __init__(self, usual: Usual, n_leaves: int, device: Device, dtype: str) -> None:
        n_households = usual.table.shape[0]
        district = np.repeat(np.arange(len(usual.bounds) - 1), np.diff(usual.bounds))
        cell = district * n_households + usual.household  # never falls: columns stand by district and household
        size = (len(usual.bounds) - 1) * n_households
        self._n_households = n_households
        self._starts = device.put(np.append(0, np.cumsum(np.bincount(cell, minlength=size))), "int64")
        self._cell = device.put(cell, "int64")
        self._table = device.put(usual.table.toarray(), dtype)
        self._leaf = device.put(np.where(usual.leaf < 0, n_leaves, usual.leaf), "int64")
        place = np.zeros(n_leaves, dtype=np.int64)
        wanted = usual.leaf.ravel() >= 0
        place[usual.leaf.ravel()[wanted]] = np.flatnonzero(wanted)
        self._place = device.put(place, "int64")

    def forward(self, weights: Any) -> Any:
        """Sums of leaves, shape (n_leaves,)."""
        grid = _sums(weights, self._starts).view(-1, self._n_households)
        return (grid @ self._table).view(-1).index_select(0, self._place)

    def backward(self, coefficients: Any) -> Any:
        """Sums of columns under a vector over leaves and a last 0."""
        of_district = coefficients.index_select(0, self._leaf.view(-1)).view(self._leaf.shape)
        return (of_district @ self._table.T).view(-1).index_select(0, self._cell)


class CudaProducts:
    """``products.Products`` on tensors."""

    def __init__(self, matrix: FactoredMatrix, device: Device, dtype: str = "float32") -> None:
        self._none = device.zeros(1, dtype)
        n_leaves = matrix.sums.shape[1]
        self.blocks = [(0, matrix.shape[1])]
        usual, tiles = differences(matrix, self.blocks, _cost(matrix), device, dtype)
        leaves = replace(matrix, tiles=tuple(tiles)).leaves()
        cuts = segments(leaves.indptr)
        cut = sparse.csr_matrix((leaves.data, leaves.indices, cuts), shape=(len(cuts) - 1, leaves.shape[1]), copy=False)
        self._grid = None if usual is None else _Grid(usual, n_leaves, device, dtype)
        self._segments = _Rows(cut, device, dtype)
        self._first = device.put(np.searchsorted(cuts, leaves.indptr), "int64")
        self._columns = _Rows(leaves.T.tocsr(), device, dtype)
        self._collect = _Rows(matrix.sums, device)
        self._spread = _Rows(matrix.sums.T.tocsr(), device)

    def forward(self, weights: Any) -> Any:
        """X w."""
        return self.total([self.part(self.blocks[0], weights)])

    def part(self, block: tuple[int, int], weights: Any) -> Any:
        """The leaves, in float64."""
        del block  # there is one
        leaves = _sums(self._segments.times(weights).double(), self._first)
        return leaves if self._grid is None else leaves.add_(self._grid.forward(weights))

    def total(self, parts: Sequence[Any]) -> Any:
        """X w from the leaves."""
        return self._collect.times(parts[0])

    def coefficients(self, values: Any) -> Any:
        """A vector over targets, brought to the leaves and a last one that is none."""
        return torch.cat([self._spread.times(values).to(self._none.dtype), self._none])

    def backward(self, block: tuple[int, int], coefficients: Any, out: Any = None) -> Any:
        """X' r for all columns."""
        del block, out
        found = self._columns.times(coefficients)
        return found if self._grid is None else found.add_(self._grid.backward(coefficients))


def _cost(matrix: FactoredMatrix) -> float:
    """Time of the usual part, in units of a stored value's: by the bytes of a cell of the grid and of a column."""
    usual = matrix.usual
    return 0.0 if usual is None else 0.4 * (len(usual.bounds) - 1) * usual.table.shape[0] + matrix.shape[1]
