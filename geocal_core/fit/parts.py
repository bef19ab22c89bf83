"""The parts that the products of a block of columns are made of on the CPU: sparse and usual values.

A part knows the leaves that its sums belong to. In float32, where a product is wanted thousands of times, sparse values are
kept twice, by rows for the one product and by columns for the other, so that MKL serves both; in float64 once, for half of the
memory. Long rows are cut into segments, which are added in float64.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.cuts import segments
from geocal_core.matrix.factored import Floats, Tile
from geocal_core.matrix.usual import Usual

MKL: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
_LANES = 8  # districts that a vector register holds; MKL is twice as slow on other numbers of them
_SCATTERED = 2  # values of a column below which MKL's product with the transpose spends most of its time between rows


class Part(Protocol):
    """Some of the values of a block of columns.

    Attributes
    ----------
    leaves : ndarray of int64
        The leaf that each of the sums of ``forward`` is a part of; -1 for none.
    """

    leaves: NDArray[np.int64]

    def forward(self, weights: torch.Tensor) -> Floats:
        """Sums of its leaves under a vector over the columns of the block."""

    def backward(self, coefficients: torch.Tensor, out: torch.Tensor) -> None:
        """Add to ``out`` the sums of the block's columns under a vector over leaves and a last 0, that of leaf -1."""


class Values:
    """Memory for the values and indices of all tiles, end to end.

    numpy asks for huge pages for arrays of some megabytes and more. On pages of 4 kB, those of arrays of a tile's size, both
    products take twice the time.
    """

    def __init__(self, size: int, dtype: str) -> None:
        self._data = np.empty(size, dtype)
        self._indices = np.empty(size, np.int32)

    def __len__(self) -> int:
        return len(self._data)

    def put(self, begin: int, matrix: Any) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Copies of the values and indices of a sparse matrix, from a place on."""
        data = self._data[begin : begin + matrix.nnz]
        data[:] = matrix.data
        return data, self.put_indices(begin, matrix.indices)

    def put_indices(self, begin: int, indices: NDArray[Any]) -> NDArray[np.int32]:
        """A copy of indices alone, from a place on."""
        here = self._indices[begin : begin + len(indices)]
        here[:] = indices
        return here


class SparsePart:
    """The values of a tile, from a place on in the memory of all tiles."""

    def __init__(self, tile: Tile, first: int, begin: int, by_rows: Values, by_columns: Values | None) -> None:
        matrix = tile.matrix
        self.leaves = tile.rows
        self._rows = torch.from_numpy(tile.rows)
        self._inside = slice(tile.begin - first, tile.end - first)
        indptr = matrix.indptr.astype(np.int32, copy=False)
        data, indices = by_rows.put(begin, matrix)
        cuts = segments(indptr)
        self._first = np.searchsorted(cuts, indptr[:-1])
        shape = (len(cuts) - 1, matrix.shape[1])
        self._by_rows: Any = _tensor(cuts, indices, data, shape) if MKL else sparse.csr_matrix((data, indices, cuts), shape)
        self._by_columns: Any
        if by_columns is None:
            self._by_columns = sparse.csc_matrix((data, indices, indptr), shape=matrix.shape[::-1], copy=False)
            return
        csc = matrix.tocsc()
        data, indices = by_columns.put(begin, csc)
        if matrix.nnz < _SCATTERED * matrix.shape[1]:
            column = np.repeat(np.arange(matrix.shape[1], dtype=np.int32), np.diff(csc.indptr))
            self._by_columns = tuple(torch.from_numpy(part) for part in (indices, column, data))
        else:
            # The columns of a CSC matrix are the rows of its transpose.
            self._by_columns = _tensor(csc.indptr.astype(np.int32, copy=False), indices, data, matrix.shape[::-1])

    def forward(self, weights: torch.Tensor) -> Floats:
        """``Part.forward``."""
        if not len(self.leaves):
            return np.zeros(0)
        inside = weights[self._inside]
        sums = (self._by_rows @ inside).numpy() if isinstance(self._by_rows, torch.Tensor) else self._by_rows @ inside.numpy()
        return np.add.reduceat(sums.astype(np.float64), self._first)

    def backward(self, coefficients: torch.Tensor, out: torch.Tensor) -> None:
        """``Part.backward``."""
        if not len(self.leaves):
            return
        inside, mine = out[self._inside], coefficients.index_select(0, self._rows)
        if isinstance(self._by_columns, tuple):
            row, column, values = self._by_columns
            inside.index_add_(0, column, mine.index_select(0, row).mul_(values))
        elif isinstance(self._by_columns, torch.Tensor):
            torch.addmv(inside, self._by_columns, mine, out=inside)
        else:
            inside += torch.from_numpy(self._by_columns @ mine.numpy())


class UsualTable:
    """The table of usual values, by quantities in segments and by households, as MKL reads it."""

    def __init__(self, usual: Usual, dtype: str) -> None:
        by_household = usual.table.astype(dtype)
        by_quantity = by_household.T.tocsr()
        self.usual = usual
        cuts = segments(by_quantity.indptr)
        self.first = np.searchsorted(cuts, by_quantity.indptr[:-1])
        # reduceat would give a quantity without values the next one's sum.
        self.filled = np.diff(by_quantity.indptr) > 0
        shape = (len(cuts) - 1, by_household.shape[0])
        self.by_quantity = _tensor(cuts.astype(np.int32), by_quantity.indices, by_quantity.data, shape)
        self.by_household = _tensor(
            by_household.indptr.astype(np.int32), by_household.indices, by_household.data, by_household.shape
        )


class UsualPart:
    """What columns would add if all were as usual: a grid of households by the columns' districts."""

    def __init__(self, table: UsualTable, begin: int, end: int) -> None:
        usual = table.usual
        places = list(usual.districts(begin, end))
        self._table = table
        self._grid = (usual.table.shape[0], _LANES * registers(len(places)))
        cell = usual.household[begin:end] * np.int32(self._grid[1])
        leaf = np.full((usual.table.shape[1], self._grid[1]), -1, dtype=np.int64)
        for lane, (district, low, high) in enumerate(places):
            cell[low - begin : high - begin] += np.int32(lane)
            leaf[:, lane] = usual.leaf[district]
        self._cell = torch.from_numpy(cell)
        self.leaves = leaf[table.filled].ravel()
        # torch knows no index from the end.
        self._leaf = torch.from_numpy(np.where(leaf < 0, int(usual.leaf.max()) + 1, leaf).ravel())

    def forward(self, weights: torch.Tensor) -> Floats:
        """``Part.forward``."""
        grid = torch.zeros(self._grid[0] * self._grid[1], dtype=weights.dtype).index_add_(0, self._cell, weights)
        sums = torch.mm(self._table.by_quantity, grid.view(self._grid)).numpy().astype(np.float64)
        return np.add.reduceat(sums, self._table.first[self._table.filled]).ravel()

    def backward(self, coefficients: torch.Tensor, out: torch.Tensor) -> None:
        """``Part.backward``, but what ``out`` held is lost."""
        of_leaves = coefficients.index_select(0, self._leaf).view(-1, self._grid[1])
        torch.index_select(torch.mm(self._table.by_household, of_leaves).view(-1), 0, self._cell, out=out)


def registers(districts: int) -> int:
    """Registers that a household's weights in so many districts fill."""
    return -(-districts // _LANES)


def _tensor(indptr: NDArray[Any], indices: NDArray[Any], data: NDArray[Any], shape: tuple[int, int]) -> torch.Tensor:
    """The same memory read by torch, whose product (by MKL) is faster than scipy's and lets other threads run meanwhile."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        parts = (torch.from_numpy(indptr), torch.from_numpy(indices), torch.from_numpy(data))
        return torch.sparse_csr_tensor(*parts, size=shape, check_invariants=False)
