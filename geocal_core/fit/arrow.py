"""Newton systems over a factored matrix: (X diag(d) X' + diag(ridge)) s = b, solved along the arrow that places give it.

Leaves lie in blocks of columns, the districts, that no two blocks share. So the Gram matrix of the leaves is one small dense
matrix a block, whatever levels the targets are of, and S adds it up to targets. Rows of one block are eliminated there, rows
that join some blocks (states) after them, rows that join most (the nation) last, each by a dense Cholesky factor. A matrix
without places is one block, and so one dense Cholesky. Where a factor would be too large, conjugate gradients take over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg

from geocal_core.fit.device import Device
from geocal_core.fit.products import Products
from geocal_core.matrix.factored import FactoredMatrix, Floats

Ints = NDArray[np.int64]
MOST_ROWS_OF_A_FACTOR = 4_000
"""A dense factor of so many rows takes a second or two and 128 MB."""
_JITTER = 1e-12  # of a diagonal: far above what rounding takes from it, far below what matters
_DENSE_VALUES = 1 << 21  # 16 MB: what a block is spread out into at once
_ROWS_AT_ONCE = 24
_RARE = 1 / 32  # share of its block's columns that a rare leaf has at most
_FEW_LEAVES = 96  # in a block of so few, telling them apart takes more time than it saves
_CG_ITERATIONS = 500
_CG_RESIDUAL = 1e-4  # relative, at most


@dataclass(frozen=True)
class Piece:
    """Values of a block's leaves in consecutive columns.

    Attributes
    ----------
    begin, end : int
        The columns, in the inner order.
    common, rare : csr_matrix of float32, shapes (n_common, end - begin) and (n_rare, end - begin)
        Leaves that many columns have, and leaves that few have.
    """

    begin: int
    end: int
    common: sparse.csr_matrix
    rare: sparse.csr_matrix


@dataclass(frozen=True)
class Front:
    """Rows that are eliminated together, and the later rows that they are coupled to."""

    own: Ints
    outer: Ints

    @property
    def rows(self) -> Ints:
        return np.concatenate([self.own, self.outer])


@dataclass(frozen=True)
class Block(Front):
    """A front at the bottom: a block of columns.

    Attributes
    ----------
    pieces : tuple of Piece
    sums : csr_matrix of float64, shape (len(rows), n_common + n_rare)
        Scaled rows of S.
    """

    pieces: tuple[Piece, ...]
    sums: sparse.csr_matrix


@dataclass(frozen=True)
class Group(Front):
    """A front above some blocks."""

    blocks: tuple[Block, ...]


class System(Protocol):
    """Solves Newton systems of one matrix."""

    method: str
    seconds: dict[str, float]

    def solve(self, curvature: Floats, ridge: Floats, right: Floats) -> Floats:
        """s of (X diag(curvature) X' + diag(ridge)) s = right.

        Parameters
        ----------
        curvature : ndarray of float64, shape (n_columns,)
            In the inner order; not negative.
        ridge, right : ndarray of float64, shape (n_targets,)
            The ridge is above 0.
        """


def system(
    matrix: FactoredMatrix, scale: Floats, products: Products, device: Device, most: int = MOST_ROWS_OF_A_FACTOR
) -> System:
    """The way to solve Newton systems that suits a matrix, whose rows are multiplied by ``scale``."""
    groups, top = _fronts(matrix, scale)
    fronts: list[Front] = [*groups, *(block for group in groups for block in group.blocks)]
    if max(len(top), *(len(front.own) for front in fronts), 0) > most:
        return ConjugateGradients(matrix, scale, products, device)
    return Arrow(groups, top, matrix.shape[0], device)


class Arrow:
    """Block elimination: blocks, groups of blocks, and the rest."""

    def __init__(self, groups: list[Group], top: Ints, n_rows: int, device: Device) -> None:
        self.seconds = {"assembly": 0.0, "elimination": 0.0}
        self.groups = groups
        self.top = top
        self.method = "arrow" if sum(len(group.blocks) for group in groups) > 1 else "dense"
        self._n_rows = n_rows
        self._device = device

    def solve(self, curvature: Floats, ridge: Floats, right: Floats) -> Floats:
        root = torch.from_numpy(np.diag(ridge[self.top]))
        place = np.full(self._n_rows, -1)
        place[self.top] = np.arange(len(self.top))
        eliminated = self._device.each(lambda group: _Group(group, curvature, ridge, self._n_rows), self.groups)
        for part in eliminated:  # in the order of the groups, whatever thread made them
            _add(root, place[part.front.outer], part.left)
        started = time.perf_counter()
        result = right.copy()
        for part in eliminated:
            part.forward(result)
        factor = _Factor(Front(self.top, np.zeros(0, dtype=np.int64)), root)
        factor.forward(result)
        factor.backward(result)
        for part in reversed(eliminated):
            part.backward(result)
        spent = time.perf_counter() - started
        share = 1 / min(self._device.threads, max(len(eliminated), 1))
        self.seconds["assembly"] += share * sum(part.assembly for part in eliminated)
        self.seconds["elimination"] += spent + share * sum(part.elimination for part in eliminated)
        return result


class _Factor:
    """A front, eliminated."""

    def __init__(self, front: Front, matrix: torch.Tensor) -> None:
        self.front = front
        count = len(front.own)
        matrix.diagonal()[:count].mul_(1 + _JITTER)
        self._pivot = torch.linalg.cholesky(matrix[:count, :count])
        self._coupling = torch.linalg.solve_triangular(self._pivot, matrix[:count, count:], upper=False)
        self.left = matrix[count:, count:] - self._coupling.T @ self._coupling

    def forward(self, right: Floats) -> None:
        """Solve for its own rows and take them out of the later ones, in place."""
        own = torch.linalg.solve_triangular(self._pivot, torch.from_numpy(right[self.front.own])[:, None], upper=False)
        right[self.front.own] = own[:, 0].numpy()
        right[self.front.outer] -= (self._coupling.T @ own)[:, 0].numpy()

    def backward(self, right: Floats) -> None:
        """Once the later rows are known, its own, in place."""
        rest = torch.from_numpy(right[self.front.own] - (self._coupling @ torch.from_numpy(right[self.front.outer])).numpy())
        right[self.front.own] = torch.linalg.solve_triangular(self._pivot.T, rest[:, None], upper=True)[:, 0].numpy()


class _Group(_Factor):
    """The blocks of a group and then its own rows, eliminated."""

    def __init__(self, group: Group, curvature: Floats, ridge: Floats, n_rows: int) -> None:
        self.assembly = 0.0
        self._blocks: list[_Factor] = []
        began = time.perf_counter()
        place = np.full(n_rows, -1)
        place[group.rows] = np.arange(len(group.rows))
        whole = torch.zeros((len(group.rows), len(group.rows)), dtype=torch.float64)
        whole.diagonal()[: len(group.own)] += torch.from_numpy(ridge[group.own])
        for block in group.blocks:
            started = time.perf_counter()
            leaves = gram(block, curvature)
            self.assembly += time.perf_counter() - started
            of_rows = block.sums @ (block.sums @ leaves).T
            own = np.arange(len(block.own))
            of_rows[own, own] += ridge[block.own]
            factor = _Factor(block, torch.from_numpy(of_rows))
            _add(whole, place[block.outer], factor.left)
            self._blocks.append(factor)
        super().__init__(group, whole)
        self.elimination = time.perf_counter() - began - self.assembly

    def forward(self, right: Floats) -> None:
        for block in self._blocks:
            block.forward(right)
        super().forward(right)

    def backward(self, right: Floats) -> None:
        super().backward(right)
        for block in self._blocks:
            block.backward(right)


def _add(matrix: torch.Tensor, place: Ints, part: torch.Tensor) -> None:
    """Add a part to the rows and columns of some places, in place."""
    flat = (place[:, None] * matrix.shape[1] + place[None, :]).ravel()
    matrix.view(-1).index_add_(0, torch.from_numpy(flat), part.reshape(-1))


def gram(block: Block, curvature: Floats) -> Floats:
    """A diag(curvature) A' of the leaves of a block, shape (leaves, leaves), common leaves first.

    Common leaves are spread out into a dense matrix: where one value in thirty is there, its product is as quick as a
    sparse one.
    """
    common, rare = block.pieces[0].common.shape[0], block.pieces[0].rare.shape[0]
    upper = torch.zeros((common, common), dtype=torch.float64)
    across, below = np.zeros((rare, common)), np.zeros((rare, rare))
    for piece in block.pieces:
        root = np.sqrt(curvature[piece.begin : piece.end])
        dense = _spread(piece.common, root)
        for first in range(0, common, _ROWS_AT_ONCE):
            last = min(first + _ROWS_AT_ONCE, common)
            upper[first:last, first:] += dense[:, first:last].T @ dense[:, first:]
        if rare:
            of_rare = piece.rare
            scaled = sparse.csr_matrix((of_rare.data * root[of_rare.indices], of_rare.indices, of_rare.indptr), of_rare.shape)
            across += scaled @ dense.numpy()
            below += (scaled @ scaled.T).toarray()
    # Rows of a strip are whole from its own first column on: what is above the diagonal is there, what is below may not be.
    strict = upper.triu(1)
    among = (strict + strict.T + torch.diag(upper.diagonal())).numpy()
    return np.block([[among, across.T], [across, below]])


def _spread(matrix: sparse.csr_matrix, factor: Floats) -> torch.Tensor:
    """The transpose of a matrix, its columns multiplied by a factor, as a dense one; torch lets other threads run meanwhile."""
    size, width = matrix.shape
    data, column = torch.from_numpy(matrix.data), torch.from_numpy(matrix.indices)
    values = data.to(torch.float64) * torch.index_select(torch.from_numpy(factor), 0, column)
    row = torch.repeat_interleave(torch.arange(size), torch.from_numpy(np.diff(matrix.indptr)).to(torch.int64))
    dense = torch.zeros(width * size, dtype=torch.float64)
    dense.index_copy_(0, column.to(torch.int64) * size + row, values)
    return dense.view(width, size)


class ConjugateGradients:
    """Products with the Gram matrix instead of its elements, preconditioned by its diagonal."""

    method = "conjugate gradients"

    def __init__(self, matrix: FactoredMatrix, scale: Floats, products: Products, device: Device) -> None:
        self.seconds = {"assembly": 0.0, "elimination": 0.0}
        self._matrix = matrix
        self._scale = scale
        self._products = products
        self._device = device

    def solve(self, curvature: Floats, ridge: Floats, right: Floats) -> Floats:
        """As ``System``; to a relative residual that shrinks with the right-hand side."""
        started = time.perf_counter()
        own_order = np.empty(len(curvature))
        own_order[self._matrix.order] = curvature
        squares = self._scale**2 * self._matrix.estimates(own_order, np.square)

        def times(vector: Floats) -> Floats:
            coefficients = self._products.coefficients(self._scale * vector)
            moved = np.empty(len(curvature))

            def fill(block: tuple[int, int]) -> None:
                here = slice(*block)
                moved[here] = curvature[here] * self._products.backward(block, coefficients)

            self._device.each(fill, self._products.blocks)
            return self._scale * self._products.forward(moved) + ridge * vector

        shape = (len(right), len(right))
        diagonal = squares + ridge
        result, _ = cg(
            LinearOperator(shape, matvec=times, dtype=np.float64),
            right,
            rtol=min(_CG_RESIDUAL, float(np.linalg.norm(right))),
            maxiter=_CG_ITERATIONS,
            M=LinearOperator(shape, matvec=lambda vector: vector / diagonal, dtype=np.float64),
        )
        self.seconds["elimination"] += time.perf_counter() - started
        return np.asarray(result)


def _fronts(matrix: FactoredMatrix, scale: Floats) -> tuple[list[Group], Ints]:
    """Groups of blocks, and the rows that are eliminated last."""
    block_of, leaves_of, pieces = _blocks(matrix)
    n_blocks = len(leaves_of)
    sums = matrix.sums.tocoo()
    seen = block_of[sums.col] >= 0
    touches = sparse.csr_matrix((np.ones(seen.sum()), (sums.row[seen], block_of[sums.col[seen]])), (matrix.shape[0], n_blocks))
    touches.sum_duplicates()
    count = np.diff(touches.indptr)
    # By the leaves that a row may have, not those with values: a rare quantity of the nation must not join states.
    middle = (count > 1) & (np.diff(matrix.sums.indptr) <= n_blocks / 2)
    top = np.flatnonzero((count == 0) | ((count > 1) & ~middle))
    joins = touches[middle]
    n_groups, group_of = connected_components(joins.T @ joins, directed=False)
    rows_of = touches.tocsc()
    level = np.where(middle, 1, np.where(count == 1, 0, 2))
    scaled = sparse.diags(scale) @ matrix.sums
    members: list[list[Block]] = [[] for _ in range(n_groups)]
    for block in range(n_blocks):
        rows = np.sort(rows_of.indices[rows_of.indptr[block] : rows_of.indptr[block + 1]]).astype(np.int64)
        own, outer = rows[level[rows] == 0], rows[level[rows] > 0]
        order = np.concatenate([own, outer])
        of_block = sparse.csr_matrix(scaled[order][:, leaves_of[block]])
        members[group_of[block]].append(Block(own, outer, tuple(pieces[block]), of_block))
    groups = []
    for blocks in members:
        rows = np.unique(np.concatenate([block.outer for block in blocks]))
        groups.append(Group(rows[level[rows] == 1], rows[level[rows] == 2], tuple(blocks)))
    return groups, top.astype(np.int64)


def _blocks(matrix: FactoredMatrix) -> tuple[Ints, list[Ints], list[list[Piece]]]:
    """The block of each leaf, -1 for a leaf without values; the leaves of each block; their values.

    Leaves whose columns interleave are of one block.
    """
    n_leaves, n_columns = matrix.sums.shape[1], matrix.shape[1]
    first, last, values = np.full(n_leaves, n_columns), np.full(n_leaves, -1), np.zeros(n_leaves, dtype=np.int64)
    for tile in matrix.tiles:
        if len(tile.rows):
            starts = tile.matrix.indptr[:-1]
            first[tile.rows] = np.minimum(first[tile.rows], tile.begin + np.minimum.reduceat(tile.matrix.indices, starts))
            last[tile.rows] = np.maximum(last[tile.rows], tile.begin + np.maximum.reduceat(tile.matrix.indices, starts))
            values[tile.rows] += np.diff(tile.matrix.indptr)
    order = np.argsort(first, kind="stable")
    order = order[last[order] >= 0]
    begins = first[order][1:] > np.maximum.accumulate(last[order])[:-1]
    block_of = np.full(n_leaves, -1)
    position = np.zeros(n_leaves, dtype=np.int64)
    leaves_of, n_common = [], []
    for block, leaves in enumerate(np.split(order, np.flatnonzero(begins) + 1)):
        width = last[leaves].max() - first[leaves].min() + 1
        rare = (values[leaves] <= _RARE * width) & (len(leaves) > _FEW_LEAVES)
        mine = np.concatenate([np.sort(leaves[~rare]), np.sort(leaves[rare])])
        block_of[mine], position[mine] = block, np.arange(len(mine))
        leaves_of.append(mine)
        n_common.append(int(np.count_nonzero(~rare)))
    pieces: list[list[Piece]] = [[] for _ in leaves_of]
    for tile in matrix.tiles:
        of_rows = block_of[tile.rows]
        for block in np.unique(of_rows).tolist():
            mine = np.flatnonzero(of_rows == block)
            mine = mine[np.argsort(position[tile.rows[mine]])]
            length = np.zeros(len(leaves_of[block]), dtype=np.int64)
            length[position[tile.rows[mine]]] = np.diff(tile.matrix.indptr)[mine]
            part = tile.matrix[mine]
            indptr = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
            whole = sparse.csr_matrix((part.data, part.indices, indptr), shape=(len(length), part.shape[1]))
            pieces[block] += _cut(whole, tile.begin, n_common[block])
    return block_of, leaves_of, pieces


def _cut(matrix: sparse.csr_matrix, begin: int, n_common: int) -> list[Piece]:
    """The columns with values, so many at once as may be spread out."""
    low, high = int(matrix.indices.min()), int(matrix.indices.max()) + 1
    width = max(_DENSE_VALUES // max(n_common, 1), 256)
    pieces = []
    for left in range(low, high, width):
        right = min(left + width, high)
        pieces.append(Piece(begin + left, begin + right, matrix[:n_common, left:right], matrix[n_common:, left:right]))
    return pieces
