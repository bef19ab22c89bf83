"""The products of a fit on the CPU, tile by tile.

A tile is a piece of work whose slice of w and few leaves stay in cache. In float32, where a product is wanted thousands of
times, its values are kept twice, by rows for the one product and by columns for the other, so that MKL serves both; in float64
once, for half of the memory. What tiles and leaves add up to is summed in float64.

Where a matrix knows what its households usually add, and it pays, the tiles hold no more than the differences from that. The
rest is a product of the small table of usual values with a grid of weights, households by districts: a tenth of the bytes, and
eight districts at a time in one vector register. Its rounding is that of float32 relative to usual values, not to actual ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.cuts import differences, segments
from geocal_core.fit.device import Device
from geocal_core.matrix.factored import FactoredMatrix, Floats, Tile
from geocal_core.matrix.usual import Usual

_COLUMNS_OF_A_BLOCK = 98_304
_LANES = 8  # districts that a vector register holds; MKL is twice as slow on other numbers of them
_SCATTERED = 2  # values of a column below which MKL's product with the transpose spends most of its time between rows
_MKL: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]


class _Values:
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


class _TileProducts:
    """A tile ready for both products, with values of one dtype, from a place on in the memory of all tiles."""

    def __init__(self, tile: Tile, begin: int, by_rows: _Values, by_columns: _Values | None) -> None:
        matrix = tile.matrix
        self.columns = slice(tile.begin, tile.end)
        self.rows = tile.rows
        indptr = matrix.indptr.astype(np.int32, copy=False)
        data, indices = by_rows.put(begin, matrix)
        cuts = segments(indptr)
        self._first = np.searchsorted(cuts, indptr[:-1])
        shape = (len(cuts) - 1, tile.end - tile.begin)
        self._by_rows: Any = _tensor(cuts, indices, data, shape) if _MKL else sparse.csr_matrix((data, indices, cuts), shape)
        self._by_columns: Any
        if by_columns is None:
            self._by_columns = sparse.csc_matrix((data, indices, indptr), shape=matrix.shape[::-1], copy=False)
        elif matrix.nnz < _SCATTERED * shape[1]:
            row = by_columns.put_indices(begin, np.repeat(np.arange(len(tile.rows), dtype=np.int32), np.diff(indptr)))
            self._by_columns = tuple(torch.from_numpy(part) for part in (row, indices, data))
        else:
            # The columns of a CSC matrix are the rows of its transpose.
            csc = matrix.tocsc()
            data, indices = by_columns.put(begin, csc)
            self._by_columns = _tensor(csc.indptr.astype(np.int32, copy=False), indices, data, matrix.shape[::-1])

    def forward(self, weights: NDArray[Any]) -> Floats:
        """Sums of its rows under a vector over its columns."""
        if not len(self.rows):
            return np.zeros(0)
        mkl = isinstance(self._by_rows, torch.Tensor)
        sums = (self._by_rows @ torch.from_numpy(weights)).numpy() if mkl else self._by_rows @ weights
        return np.add.reduceat(sums.astype(np.float64), self._first)

    def backward(self, coefficients: NDArray[Any], out: NDArray[Any]) -> None:
        """Add to ``out`` the sums of its columns under a vector over leaves."""
        mine = coefficients[self.rows]
        if not len(mine):
            return
        result, vector = torch.from_numpy(out), torch.from_numpy(mine)
        if isinstance(self._by_columns, tuple):
            row, column, data = self._by_columns
            result.index_add_(0, column, vector.index_select(0, row).mul_(data))
        elif isinstance(self._by_columns, torch.Tensor):
            torch.addmv(result, self._by_columns, vector, out=result)
        else:
            out += self._by_columns @ mine


class _UsualTable:
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


class _UsualProducts:
    """What consecutive columns would add if all were as usual: a grid of households by the columns' districts."""

    def __init__(self, table: _UsualTable, begin: int, end: int) -> None:
        usual = table.usual
        places = list(usual.districts(begin, end))
        self._lanes = _lanes(len(places))
        self._table = table
        cell = usual.household[begin:end] * np.int32(self._lanes)
        leaf = np.full((usual.table.shape[1], self._lanes), -1, dtype=np.int64)
        for lane, (district, low, high) in enumerate(places):
            cell[low - begin : high - begin] += np.int32(lane)
            leaf[:, lane] = usual.leaf[district]
        self._cell = torch.from_numpy(cell)
        self.leaf = leaf[table.filled]
        self._leaf = leaf

    def forward(self, weights: NDArray[Any]) -> Floats:
        """Sums of its leaves, in the order of ``leaf``."""
        vector = torch.from_numpy(weights)
        grid = torch.zeros(self._table.usual.table.shape[0] * self._lanes, dtype=vector.dtype).index_add_(0, self._cell, vector)
        sums = torch.mm(self._table.by_quantity, grid.view(-1, self._lanes)).numpy().astype(np.float64)
        return np.add.reduceat(sums, self._table.first[self._table.filled])

    def backward(self, coefficients: NDArray[Any], out: NDArray[Any]) -> None:
        """Set ``out`` to the sums of its columns under a vector over leaves, whose last entry, 0, is that of no leaf."""
        grid = torch.mm(self._table.by_household, torch.from_numpy(coefficients[self._leaf]))
        torch.index_select(grid.view(-1), 0, self._cell, out=torch.from_numpy(out))


def _lanes(districts: int) -> int:
    """Districts of a grid, with those that are empty to fill its registers."""
    return -(-districts // _LANES) * _LANES


class _Block:
    """Consecutive tiles in one piece of work, with their usual part if there is one.

    Attributes
    ----------
    leaves : ndarray of int64
        The leaf that each of the sums of ``forward`` is a part of; -1 for none.
    """

    def __init__(self, tiles: Sequence[_TileProducts], usual: _UsualProducts | None) -> None:
        self._tiles, self._usual = tiles, usual
        self._begin = tiles[0].columns.start
        rows = [tile.rows for tile in tiles]
        self.leaves = np.concatenate([*rows, usual.leaf.ravel()] if usual else rows)

    def _inside(self, tile: _TileProducts) -> slice:
        return slice(tile.columns.start - self._begin, tile.columns.stop - self._begin)

    def forward(self, weights: NDArray[Any]) -> Floats:
        """Parts of the sums of leaves under a vector over its columns."""
        parts = [tile.forward(weights[self._inside(tile)]) for tile in self._tiles]
        return np.concatenate([*parts, self._usual.forward(weights).ravel()] if self._usual else parts)

    def backward(self, coefficients: NDArray[Any], out: NDArray[Any]) -> None:
        """Set ``out`` to the sums of its columns under a vector over leaves and a last 0."""
        if self._usual is None:
            out[:] = 0
        else:
            self._usual.backward(coefficients, out)
        for tile in self._tiles:
            tile.backward(coefficients, out[self._inside(tile)])


class TiledProducts:
    """``products.Products`` on the CPU; blocks are those of a few tiles, so that what is done to a block is worth its calls."""

    def __init__(self, matrix: FactoredMatrix, device: Device, dtype: str = "float32") -> None:
        self._device = device
        self._dtype = dtype
        self._spread = matrix.sums.T.tocsr()  # from targets to leaves
        groups = _groups(matrix.tiles)
        usual, tiles = differences(matrix, _cost(matrix, groups), device, dtype) if _MKL else (None, matrix.tiles)
        by_rows = _Values(sum(tile.matrix.nnz for tile in tiles), dtype)
        by_columns = _Values(len(by_rows), dtype) if _MKL and dtype == "float32" else None
        begins = np.cumsum([0, *(tile.matrix.nnz for tile in tiles)]).tolist()
        ready = device.each(
            lambda place: _TileProducts(place[0], place[1], by_rows, by_columns), list(zip(tiles, begins, strict=False))
        )
        table = None if usual is None else _UsualTable(usual, dtype)
        self._of_block: dict[tuple[int, int], _Block] = {}
        for group in groups:
            begin, end = group[0].begin, group[-1].end
            mine = [tile for tile in ready if begin <= tile.columns.start < end]
            self._of_block[begin, end] = _Block(mine, None if table is None else _UsualProducts(table, begin, end))
        self.blocks = list(self._of_block)
        wider = sparse.hstack([matrix.sums, sparse.csr_matrix((matrix.shape[0], 1))], format="csc")  # leaf -1 is none
        self._collect = wider[:, np.concatenate([block.leaves for block in self._of_block.values()])].tocsr()

    def forward(self, weights: NDArray[Any]) -> Floats:
        """X w."""
        return self.total(self._device.each(lambda block: self.part(block, weights[slice(*block)]), self.blocks))

    def part(self, block: tuple[int, int], weights: NDArray[Any]) -> Floats:
        """What one of the blocks adds to the sums that ``total`` takes."""
        return self._of_block[block].forward(weights)

    def total(self, parts: Sequence[Floats]) -> Floats:
        """X w from the parts of all blocks in their order."""
        return np.asarray(self._collect @ np.concatenate(parts))

    def coefficients(self, values: Floats) -> NDArray[Any]:
        """A vector over targets, brought to the leaves and a last one that is none."""
        return np.append(self._spread @ values, 0.0).astype(self._dtype)

    def backward(self, block: tuple[int, int], coefficients: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """X' r for one of the blocks."""
        result = np.empty(block[1] - block[0], self._dtype) if out is None else out
        self._of_block[block].backward(coefficients, result)
        return result


def _cost(matrix: FactoredMatrix, groups: Sequence[Sequence[Tile]]) -> float:
    """Time of the usual part, in units of a stored value's.

    A value of the table in eight districts takes about as long as one of a tile, and so does a column's way by the grid.
    """
    usual = matrix.usual
    if usual is None:
        return 0.0
    lanes = sum(_lanes(sum(1 for _ in usual.districts(group[0].begin, group[-1].end))) for group in groups)
    return usual.table.nnz * lanes / _LANES + matrix.shape[1]


def _groups(tiles: Sequence[Tile]) -> list[list[Tile]]:
    """Consecutive tiles, as many as have ``_COLUMNS_OF_A_BLOCK`` columns together, at least one."""
    groups: list[list[Tile]] = []
    for tile in tiles:
        if groups and tile.end - groups[-1][0].begin <= _COLUMNS_OF_A_BLOCK:
            groups[-1].append(tile)
        else:
            groups.append([tile])
    return groups


def _tensor(indptr: NDArray[Any], indices: NDArray[Any], data: NDArray[Any], shape: tuple[int, int]) -> torch.Tensor:
    """The same memory read by torch, whose product (by MKL) is faster than scipy's and lets other threads run meanwhile."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        parts = (torch.from_numpy(indptr), torch.from_numpy(indices), torch.from_numpy(data))
        return torch.sparse_csr_tensor(*parts, size=shape, check_invariants=False)
