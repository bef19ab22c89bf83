"""How a factored matrix is taken apart for its products: long rows into segments, values into usual ones and differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.device import Device
from geocal_core.matrix.factored import FactoredMatrix, Tile
from geocal_core.matrix.usual import Usual

_SEGMENT = 512
_WORTH = 0.7
"""Share of the time of all stored values that usual ones and differences may take together, to take their place."""


def segments(indptr: NDArray[Any]) -> NDArray[Any]:
    """Bounds of rows, with more bounds inside the rows that are longer than a segment: float32 sums of few terms each."""
    long = np.flatnonzero(np.diff(indptr) > _SEGMENT)
    inner = [np.arange(indptr[row] + _SEGMENT, indptr[row + 1], _SEGMENT) for row in long]
    return np.unique(np.concatenate([indptr, *inner])).astype(indptr.dtype)


def differences(
    matrix: FactoredMatrix, blocks: Sequence[tuple[int, int]], cost: float, device: Device, dtype: str
) -> tuple[Usual | None, Sequence[Tile]]:
    """What is usual, and a tile of what is different for each block, where that pays; else None and the tiles as they are.

    Parameters
    ----------
    matrix : FactoredMatrix
    blocks : sequence of (begin, end)
        Columns of consecutive tiles.
    cost : float
        Time that the usual part takes, in units of a stored value's.
    device : Device
        Its threads share the blocks.
    dtype : str
        Of the differences.
    """
    usual, n_leaves, most = matrix.usual, matrix.sums.shape[1], _WORTH * matrix.atoms
    if usual is None or cost >= most:
        return None, matrix.tiles
    every = np.arange(n_leaves, dtype=np.int64)

    def different(block: tuple[int, int]) -> Tile:
        inside = [tile for tile in matrix.tiles if block[0] <= tile.begin < block[1]]
        parts = [usual.differences(tile.begin, tile.rows, tile.matrix, n_leaves, dtype) for tile in inside]
        return Tile.of(block[0], every, sparse.hstack(parts, format="csr"))

    tiles = device.each(different, blocks)
    return (usual, tiles) if cost + sum(tile.matrix.nnz for tile in tiles) < most else (None, matrix.tiles)
