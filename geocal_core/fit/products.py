"""The two products of a fit, X w and the transpose of X times r, over a factored matrix.

Both take their vectors over columns in the matrix's inner order. How they are done is in ``tiles`` for the CPU and in ``cuda``
for a GPU. Where sums are cut depends on the matrix alone, never on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from geocal_core.fit.cuda import CudaProducts
from geocal_core.fit.device import Device
from geocal_core.fit.tiles import TiledProducts
from geocal_core.matrix.factored import FactoredMatrix


class Products(Protocol):
    """X w and X' r; all arrays are of the device, those over columns of one dtype, those over targets of float64.

    Attributes
    ----------
    blocks : list of (begin, end)
        Columns in one piece of work.
    """

    blocks: list[tuple[int, int]]

    def forward(self, weights: Any) -> Any:
        """X w, shape (n_targets,)."""

    def part(self, block: tuple[int, int], weights: Any) -> Any:
        """What one of the blocks, of whose columns the weights are given, adds to the sums that ``total`` takes."""

    def total(self, parts: Sequence[Any]) -> Any:
        """X w, shape (n_targets,), from the parts of all blocks in their order."""

    def coefficients(self, values: Any) -> Any:
        """A vector over targets, as ``backward`` takes it."""

    def backward(self, block: tuple[int, int], coefficients: Any, out: Any = None) -> Any:
        """X' r for one of the blocks, on the CPU in ``out`` if it is given; ``coefficients`` is made of r."""


def open_products(matrix: FactoredMatrix, device: Device, dtype: str = "float32") -> Products:
    """The products of a matrix on a device.

    Parameters
    ----------
    matrix : FactoredMatrix, shape (n_targets, n_columns)
    device : Device
    dtype : str
        ``float32`` or ``float64``: of the stored values and of the vectors over columns.
    """
    return (TiledProducts if device.xp is np else CudaProducts)(matrix, device, dtype)
