"""The products of a fit on the CPU: blocks of a few tiles, one piece of work each, whose slices of vectors stay in cache.

Where a matrix knows what its households usually add, and it pays, its tiles hold no more than the differences from that. The
rest is a product of the small table of usual values with a grid of weights, households by districts: a tenth of the bytes, and
eight districts at a time in one vector register. Its rounding is that of float32 relative to usual values, not to actual ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.fit.cuts import differences
from geocal_core.fit.device import Device
from geocal_core.fit.parts import MKL, Part, SparsePart, UsualPart, UsualTable, Values, registers
from geocal_core.matrix.factored import FactoredMatrix, Floats, Tile

_COLUMNS_OF_A_BLOCK = 196_608
"""So many that threads seldom meet at the interpreter's lock: half of them would lose a fifth of the time of two."""
_BLOCKS = 6  # at least, where there are so many tiles: threads share them


class _Block:
    """Consecutive tiles as one piece of work."""

    def __init__(self, usual: UsualPart | None, parts: Sequence[SparsePart]) -> None:
        self._usual = usual
        self._parts = parts
        self.leaves = np.concatenate([part.leaves for part in self._all()])

    def _all(self) -> Iterator[Part]:
        if self._usual is not None:
            yield self._usual
        yield from self._parts

    def forward(self, weights: NDArray[Any]) -> Floats:
        """Parts of the sums of ``leaves`` under a vector over its columns."""
        vector = torch.from_numpy(weights)
        return np.concatenate([part.forward(vector) for part in self._all()])

    def backward(self, coefficients: torch.Tensor, out: NDArray[Any]) -> None:
        """Set ``out`` to the sums of its columns under a vector over leaves and a last 0."""
        result = torch.from_numpy(out)
        if self._usual is None:
            result.zero_()
        else:
            self._usual.backward(coefficients, result)
        for part in self._parts:
            part.backward(coefficients, result)


class TiledProducts:
    """``products.Products`` on the CPU; blocks are those of a few tiles, so that what is done to a block is worth its calls."""

    def __init__(self, matrix: FactoredMatrix, device: Device, dtype: str = "float32") -> None:
        self._device = device
        self._dtype = dtype
        self._spread = matrix.sums.T.tocsr()  # from targets to leaves
        self.blocks = _blocks(matrix.tiles)
        usual, tiles = (
            differences(matrix, self.blocks, _cost(matrix, self.blocks), device, dtype) if MKL else (None, matrix.tiles)
        )
        table = None if usual is None else UsualTable(usual, dtype)
        places = np.cumsum([0, *(tile.matrix.nnz for tile in tiles)]).tolist()
        by_rows = Values(places[-1], dtype)
        by_columns = Values(places[-1], dtype) if MKL and dtype == "float32" else None

        def block(bounds: tuple[int, int]) -> _Block:
            begin, end = bounds
            inside = [place for place, tile in enumerate(tiles) if begin <= tile.begin < end]
            parts = [SparsePart(tiles[place], begin, places[place], by_rows, by_columns) for place in inside]
            return _Block(None if table is None else UsualPart(table, begin, end), parts)

        self._of_block = dict(zip(self.blocks, device.each(block, self.blocks), strict=True))
        wider = sparse.hstack([matrix.sums, sparse.csr_matrix((matrix.shape[0], 1))], format="csc")  # leaf -1 is none
        self._collect = wider[:, np.concatenate([self._of_block[bounds].leaves for bounds in self.blocks])].tocsr()

    def forward(self, weights: NDArray[Any]) -> Floats:
        """X w."""
        return self.total(self._device.each(lambda block: self.part(block, weights[slice(*block)]), self.blocks))

    def part(self, block: tuple[int, int], weights: NDArray[Any]) -> Floats:
        """What one of the blocks adds to the sums that ``total`` takes."""
        return self._of_block[block].forward(weights)

    def total(self, parts: Sequence[Floats]) -> Floats:
        """X w from the parts of all blocks in their order."""
        return np.asarray(self._collect @ np.concatenate(parts))

    def coefficients(self, values: Floats) -> torch.Tensor:
        """A vector over targets, brought to the leaves and a last one that is none."""
        return torch.from_numpy(np.append(self._spread @ values, 0.0).astype(self._dtype))

    def backward(self, block: tuple[int, int], coefficients: torch.Tensor, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """X' r for one of the blocks."""
        result = np.empty(block[1] - block[0], self._dtype) if out is None else out
        self._of_block[block].backward(coefficients, result)
        return result


def _cost(matrix: FactoredMatrix, blocks: Sequence[tuple[int, int]]) -> float:
    """Time of the usual part, in units of a stored value's.

    A value of the table in eight districts takes about as long as one of a tile, and so does a column's way by the grid.
    """
    usual = matrix.usual
    if usual is None:
        return 0.0
    rows = sum(registers(sum(1 for _ in usual.districts(*block))) for block in blocks)
    return usual.table.nnz * rows + matrix.shape[1]


def _blocks(tiles: Sequence[Tile]) -> list[tuple[int, int]]:
    """Columns of consecutive tiles, of as many as have no more together than suits the threads, at least one."""
    most = min(_COLUMNS_OF_A_BLOCK, tiles[-1].end // _BLOCKS)
    blocks: list[tuple[int, int]] = []
    for tile in tiles:
        if blocks and tile.end - blocks[-1][0] <= most:
            blocks[-1] = (blocks[-1][0], tile.end)
        else:
            blocks.append((tile.begin, tile.end))
    return blocks
