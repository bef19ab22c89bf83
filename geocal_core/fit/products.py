"""The two products of a fit, X w and the transpose of X times r, over the tiles of a factored matrix.

Both take their vectors over columns in the matrix's inner order. On the CPU a tile is one piece of work, whose slice of w and
few leaves stay in cache. In float32, where a product is wanted thousands of times, its values are kept twice, by rows for the
one product and by columns for the other, so that MKL serves both; in float64 once, for half of the memory. Rows of a tile are
cut into segments; these, leaves and targets are added in float64, because a national row has millions of float32 terms. On a
GPU the tiles are laid side by side. Where the cuts are depends on the matrix alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.device import Device
from geocal_core.matrix.factored import FactoredMatrix, Floats, Tile

_SEGMENT = 512
_COLUMNS_OF_A_BLOCK = 65_536
_MKL: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]


class _Values:
    """Memory for the values and indices of all tiles, end to end.

    numpy asks for huge pages for arrays of some megabytes and more. On pages of 4 kB, those of arrays of a tile's size, both
    products take twice the time.
    """

    def __init__(self, size: int, dtype: str) -> None:
        self._data = np.empty(size, dtype)
        self._indices = np.empty(size, np.int32)

    def put(self, begin: int, matrix: Any) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Copies of the values and indices of a sparse matrix, from a place on."""
        here = slice(begin, begin + matrix.nnz)
        self._data[here] = matrix.data
        self._indices[here] = matrix.indices
        return self._data[here], self._indices[here]


class _TileProducts:
    """A tile ready for both products, with values of one dtype, from a place on in the memory of all tiles."""

    def __init__(self, tile: Tile, begin: int, by_rows: _Values, by_columns: _Values | None) -> None:
        matrix = tile.matrix
        self.columns = slice(tile.begin, tile.end)
        self.rows = tile.rows
        indptr = matrix.indptr.astype(np.int32, copy=False)
        data, indices = by_rows.put(begin, matrix)
        cuts = _segments(indptr)
        self._first = np.searchsorted(cuts, indptr[:-1])
        shape = (len(cuts) - 1, tile.end - tile.begin)
        self._by_rows: Any = _tensor(cuts, indices, data, shape) if _MKL else sparse.csr_matrix((data, indices, cuts), shape)
        self._by_columns: Any
        if by_columns is not None:
            # The columns of a CSC matrix are the rows of its transpose.
            csc = matrix.tocsc()
            data, indices = by_columns.put(begin, csc)
            self._by_columns = _tensor(csc.indptr.astype(np.int32, copy=False), indices, data, matrix.shape[::-1])
        else:
            self._by_columns = sparse.csc_matrix((data, indices, indptr), shape=matrix.shape[::-1], copy=False)

    def forward(self, weights: NDArray[Any]) -> Floats:
        """Sums of its rows under a vector over its columns."""
        if not len(self.rows):
            return np.zeros(0)
        mkl = isinstance(self._by_rows, torch.Tensor)
        sums = (self._by_rows @ torch.from_numpy(weights)).numpy() if mkl else self._by_rows @ weights
        return np.add.reduceat(sums.astype(np.float64), self._first)

    def backward(self, coefficients: NDArray[Any], out: NDArray[Any]) -> None:
        """Sums of its columns under a vector over leaves."""
        mine = coefficients[self.rows]
        if not len(mine):
            out[:] = 0.0
        elif isinstance(self._by_columns, torch.Tensor):
            result = torch.from_numpy(out)
            torch.addmv(result, self._by_columns, torch.from_numpy(mine), beta=0.0, out=result)
        else:
            out[:] = self._by_columns @ mine


class _CudaRows:
    """Rows of a CSR matrix on a GPU."""

    def __init__(self, matrix: sparse.csr_matrix, indptr: NDArray[Any], device: Device, dtype: str) -> None:
        self._starts = device.put(indptr, "int64")
        self._indices = device.put(matrix.indices, "int32")
        self._data = device.put(matrix.data, dtype)

    def times(self, vector: Any) -> Any:
        # Segment sums in a fixed order; cuSPARSE's default product adds in an order of its own in each run.
        return torch.segment_reduce(self._data * vector[self._indices], "sum", offsets=self._starts)


class Products:
    """X w and X' r, with vectors over columns in the matrix's inner order.

    Parameters
    ----------
    matrix : FactoredMatrix, shape (n_targets, n_columns)
    device : Device
    dtype : str
        ``float32`` or ``float64``: of the stored values and of the vectors.

    Attributes
    ----------
    blocks : list of (begin, end)
        Columns in one piece of work: on the CPU those of a few tiles, so that what is done to a block's vectors is worth its
        calls.
    """

    def __init__(self, matrix: FactoredMatrix, device: Device, dtype: str = "float32") -> None:
        self._device = device
        self._dtype = dtype
        self._spread = matrix.sums.T.tocsr()  # from targets to leaves
        self._tiles: dict[tuple[int, int], list[_TileProducts]] = {}
        if device.xp is np:
            by_rows = _Values(matrix.atoms, dtype)
            by_columns = _Values(matrix.atoms, dtype) if _MKL and dtype == "float32" else None
            begins = np.cumsum([0, *(tile.matrix.nnz for tile in matrix.tiles)]).tolist()
            tiles = device.each(
                lambda place: _TileProducts(place[0], place[1], by_rows, by_columns),
                list(zip(matrix.tiles, begins[:-1], strict=True)),
            )
            for group in _groups(tiles):
                self._tiles[group[0].columns.start, group[-1].columns.stop] = group
            self.blocks = list(self._tiles)
            self._collect = matrix.sums[:, np.concatenate([tile.rows for tile in tiles])]
        else:
            leaves = matrix.leaves()
            self.blocks = [(0, matrix.shape[1])]
            cuts = _segments(leaves.indptr)
            self._filled = np.diff(leaves.indptr) > 0
            self._first = np.searchsorted(cuts, leaves.indptr[:-1])[self._filled]
            self._collect = matrix.sums
            self._forward = _CudaRows(leaves, cuts, device, dtype)
            transpose = leaves.T.tocsr()
            self._backward = _CudaRows(transpose, transpose.indptr, device, dtype)

    def forward(self, weights: Any) -> Floats:
        """X w as a numpy array of float64, shape (n_targets,)."""
        return self.total(self._device.each(lambda block: self.part(block, weights[slice(*block)]), self.blocks))

    def part(self, block: tuple[int, int], weights: Any) -> Any:
        """What one of the blocks, of whose columns the weights are given, adds to the sums that ``total`` takes."""
        if not self._tiles:
            return self._forward.times(weights)
        first = block[0]
        return np.concatenate(
            [tile.forward(weights[tile.columns.start - first : tile.columns.stop - first]) for tile in self._tiles[block]]
        )

    def total(self, parts: Sequence[Any]) -> Floats:
        """X w, shape (n_targets,), from the parts of all blocks in their order."""
        if self._tiles:
            return np.asarray(self._collect @ np.concatenate(parts))
        leaves = np.zeros(self._collect.shape[1])
        segments = self._device.get(parts[0]).astype(np.float64)
        if len(segments):
            leaves[self._filled] = np.add.reduceat(segments, self._first)
        return np.asarray(self._collect @ leaves)

    def coefficients(self, values: Floats) -> Any:
        """A vector over targets, brought to the leaves, as an array of the device."""
        return self._device.put(self._spread @ values, self._dtype)

    def backward(self, block: tuple[int, int], coefficients: Any, out: Any = None) -> Any:
        """X' r for one of the blocks of columns, in ``out`` if it is given; ``coefficients`` is what that method made of r."""
        if not self._tiles:
            return self._backward.times(coefficients)
        result = np.empty(block[1] - block[0], self._dtype) if out is None else out
        for tile in self._tiles[block]:
            tile.backward(coefficients, result[tile.columns.start - block[0] : tile.columns.stop - block[0]])
        return result


def _groups(tiles: Sequence[_TileProducts]) -> list[list[_TileProducts]]:
    """Consecutive tiles, as many as have ``_COLUMNS_OF_A_BLOCK`` columns together, at least one."""
    groups: list[list[_TileProducts]] = []
    for tile in tiles:
        if groups and tile.columns.stop - groups[-1][0].columns.start <= _COLUMNS_OF_A_BLOCK:
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


def _segments(indptr: NDArray[Any]) -> NDArray[Any]:
    """Bounds of rows, with more bounds inside the rows that are longer than a segment."""
    long = np.flatnonzero(np.diff(indptr) > _SEGMENT)
    inner = [np.arange(indptr[row] + _SEGMENT, indptr[row + 1], _SEGMENT) for row in long]
    return np.unique(np.concatenate([indptr, *inner])).astype(indptr.dtype)
