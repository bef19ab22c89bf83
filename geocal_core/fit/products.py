"""The two products of a fit, X w and the transpose of X times r, over CSR of the matrix and CSR of its transpose.

Long rows are cut into segments, which are added in float64: a national row has millions of float32 terms and would lose
digits, and one long row would hold up all others. Both matrices are cut into pieces for the threads at places that depend
on the matrix alone.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.device import Device
from geocal_core.fit.problem import row_groups

_SEGMENT = 512
_PIECE = 1 << 18
_MKL: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]


class _Rows:
    """Some consecutive rows of a CSR matrix, ready to be multiplied with a vector of the same device and dtype."""

    def __init__(self, indptr: NDArray[Any], indices: NDArray[np.int32], data: NDArray[Any], n: int, device: Device) -> None:
        self._device = device
        bounds = indptr - indptr[0]
        inside = slice(int(indptr[0]), int(indptr[-1]))
        shape = (len(indptr) - 1, n)
        if device.xp is torch:
            self._starts = device.put(bounds, "int64")
            self._indices = device.put(indices[inside], "int32")
            self._data = device.put(data[inside], str(data.dtype))
        elif _MKL:
            self._tensor = _tensor(bounds.astype(np.int32), indices[inside], data[inside], shape)
        else:
            self._scipy = sparse.csr_matrix((data[inside], indices[inside], bounds), shape=shape, copy=False)

    def times(self, vector: Any) -> Any:
        if self._device.xp is torch:
            # Segment sums in a fixed order; cuSPARSE's default product adds in an order of its own in each run.
            return torch.segment_reduce(self._data * vector[self._indices], "sum", offsets=self._starts)
        if _MKL:
            return (self._tensor @ torch.from_numpy(vector)).numpy()
        return self._scipy @ vector


def _tensor(bounds: NDArray[np.int32], indices: NDArray[np.int32], data: NDArray[Any], shape: tuple[int, int]) -> torch.Tensor:
    """The same memory read by torch, whose product (by MKL) is faster than scipy's and lets other threads run meanwhile."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        parts = (torch.from_numpy(bounds), torch.from_numpy(indices), torch.from_numpy(data))
        return torch.sparse_csr_tensor(*parts, size=shape, check_invariants=False)


class Products:
    """X w and X' r.

    Parameters
    ----------
    matrix : scipy CSR, shape (n_rows, n_columns)
    device : Device
    dtype : str
        ``float32`` or ``float64``: of the stored values and of the vectors.
    """

    def __init__(self, matrix: Any, device: Device, dtype: str = "float32") -> None:
        self.shape: tuple[int, int] = matrix.shape
        self._device = device
        self._dtype = dtype
        data = np.ascontiguousarray(matrix.data, dtype=dtype)
        indices = np.ascontiguousarray(matrix.indices, dtype=np.int32)
        if not (data.flags.writeable and indices.flags.writeable):  # torch reads only what could be written
            data, indices = data.copy(), indices.copy()
        indptr = np.asarray(matrix.indptr, dtype=np.int64)
        cuts = _segments(indptr)
        self._first_segment = np.searchsorted(cuts, indptr[:-1])
        self._filled = np.diff(indptr) > 0
        groups = row_groups(cuts, _PIECE) if device.block else [(0, len(cuts) - 1)]
        n_rows, n_columns = self.shape
        self._forward = [_Rows(cuts[a : b + 1], indices, data, n_columns, device) for a, b in groups]
        transpose = sparse.csr_matrix((data, indices, indptr), shape=matrix.shape, copy=False).T.tocsr()
        ends = transpose.indptr.astype(np.int64)
        columns = transpose.indices.astype(np.int32, copy=False)
        self._backward = {
            block: _Rows(ends[block[0] : block[1] + 1], columns, transpose.data, n_rows, device)
            for block in device.blocks(n_columns)
        }

    def forward(self, weights: Any) -> NDArray[np.float64]:
        """X w as a numpy array of float64, shape (n_rows,)."""
        parts = self._device.each(lambda rows: rows.times(weights), self._forward)
        segments = np.concatenate([self._device.get(part) for part in parts]).astype(np.float64)
        result = np.zeros(self.shape[0])
        if len(segments):
            result[self._filled] = np.add.reduceat(segments, self._first_segment[self._filled])
        return result

    def coefficients(self, values: NDArray[np.float64]) -> Any:
        """A vector over rows as an array of the device."""
        return self._device.put(values, self._dtype)

    def backward(self, block: tuple[int, int], coefficients: Any) -> Any:
        """X' r for one of the device's blocks of columns; ``coefficients`` is r on the device."""
        return self._backward[block].times(coefficients)


def _segments(indptr: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bounds of rows, with more bounds inside the rows that are longer than a segment."""
    lengths = np.diff(indptr)
    long = np.flatnonzero(lengths > _SEGMENT)
    inner = [np.arange(indptr[row] + _SEGMENT, indptr[row + 1], _SEGMENT) for row in long]
    return np.unique(np.concatenate([indptr, *inner]))
