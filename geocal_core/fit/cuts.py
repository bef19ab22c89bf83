"""How a factored matrix is taken apart for its products: long rows, usual values, differences, rows that are nearly full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocal_core.fit.device import Device
from geocal_core.matrix.factored import FactoredMatrix, Tile
from geocal_core.matrix.usual import Usual

_SEGMENT = 512
_WORTH = 0.7
"""Share of the time of all stored values that usual ones and differences may take together, to take their place."""
_FULL = 1 / 12
"""Share of a district's columns from which a row is kept zeros and all: a full value takes far less time."""


def segments(indptr: NDArray[Any]) -> NDArray[Any]:
    """Bounds of rows, with more bounds inside the rows that are longer than a segment: float32 sums of few terms each."""
    long = np.flatnonzero(np.diff(indptr) > _SEGMENT)
    inner = [np.arange(indptr[row] + _SEGMENT, indptr[row + 1], _SEGMENT) for row in long]
    return np.unique(np.concatenate([indptr, *inner])).astype(indptr.dtype)


def differences(matrix: FactoredMatrix, cost: float, device: Device, dtype: str) -> tuple[Usual | None, Sequence[Tile]]:
    """What is usual and the tiles of what is different, where that is worth while; else None and the tiles as they are.

    Parameters
    ----------
    matrix : FactoredMatrix
    cost : float
        Time that the usual part takes, in units of a stored value's.
    device : Device
        Its threads share the tiles.
    dtype : str
        Of the differences.
    """
    usual, n_leaves, most = matrix.usual, matrix.sums.shape[1], _WORTH * matrix.atoms
    if usual is None or cost >= most:
        return None, matrix.tiles
    every = np.arange(n_leaves, dtype=np.int64)

    def different(tile: Tile) -> Tile:
        return Tile.of(tile.begin, every, usual.differences(tile.begin, tile.rows, tile.matrix, n_leaves, dtype))

    tiles = device.each(different, matrix.tiles)
    return (usual, tiles) if cost + sum(tile.matrix.nnz for tile in tiles) < most else (None, matrix.tiles)


def full_rows(tile: Tile, usual: Usual) -> tuple[Tile, list[tuple[NDArray[np.int64], int, NDArray[Any]]]]:
    """A tile without the rows that have values in many columns of their district; and these, by district.

    Returns
    -------
    tile : Tile
    full : list of (rows, begin, values)
        Leaves, their first column, and their values in the district's columns of the tile, zeros and all.
    """
    kept = np.ones(len(tile.rows), dtype=np.bool_)
    full = []
    for district, low, high in usual.districts(tile.begin, tile.end):
        mine = np.isin(tile.rows, usual.leaf[district])
        mine &= np.diff(tile.matrix.indptr) >= _FULL * (high - low)
        if mine.any():
            kept &= ~mine
            values = tile.matrix[mine][:, low - tile.begin : high - tile.begin].toarray()
            full.append((tile.rows[mine], low, values))
    return Tile(tile.begin, tile.end, tile.rows[kept], tile.matrix[kept]), full
