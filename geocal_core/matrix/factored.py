"""The calibration matrix in factors: X = S · A.

A holds a row for each leaf, a quantity in one district, and each of its values once: the atoms. S, of zeros and ones, adds
leaves up to targets: a district's row is one leaf, a state's the sum of its districts' leaves, the nation's that of all. So
rows of three levels over the same quantity cost the memory of one. The columns of A stand in an inner order, by district,
household and clone, and A is cut into tiles of columns, whose few leaves and whose slices of a vector stay in a core's cache.

The products here are in float64, for estimates and reports; those that a fit takes thousands of are in ``fit.products``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix.usual import Usual
from geocal_core.matrix.variants import Variants, columns_of
from geocal_core.workers import worker_count

Floats = NDArray[np.float64]

COLUMNS_OF_A_TILE = 32_768
"""The few float32 vectors that a step of a fit works on stay in a core's second-level cache."""


@dataclass(frozen=True)
class Tile:
    """Consecutive columns of A, in the inner order.

    Attributes
    ----------
    begin, end : int
        Its columns.
    rows : ndarray of int64
        The leaves that have a value in it, ascending.
    matrix : csr_matrix of float32, shape (len(rows), end - begin)
        Their values: sorted columns, no stored zeros.
    """

    begin: int
    end: int
    rows: NDArray[np.int64]
    matrix: sparse.csr_matrix

    @classmethod
    def of(cls, begin: int, rows: NDArray[np.int64], matrix: sparse.csr_matrix) -> Tile:
        """A tile of the rows that have a value."""
        filled = np.diff(matrix.indptr) > 0
        indptr = np.concatenate([matrix.indptr[:1], matrix.indptr[1:][filled]]).astype(np.int32)
        parts = (matrix.data, matrix.indices.astype(np.int32, copy=False), indptr)
        compact = sparse.csr_matrix(parts, shape=(len(indptr) - 1, matrix.shape[1]), copy=False)
        return cls(begin, begin + matrix.shape[1], rows[filled], compact)

    def doubled(self, change: Callable[[Any], Any] | None = None) -> sparse.csr_matrix:
        """Its matrix in float64, each value changed first."""
        data = self.matrix.data if change is None else change(self.matrix.data)
        parts = (data.astype(np.float64), self.matrix.indices, self.matrix.indptr)
        return sparse.csr_matrix(parts, shape=self.matrix.shape, copy=False)


@dataclass(frozen=True)
class FactoredMatrix:
    """A matrix of shape (n_targets, n_columns), kept as S and the tiles of A.

    Attributes
    ----------
    sums : csr_matrix of float64, shape (n_targets, n_leaves)
        S: ones.
    tiles : tuple of Tile
        They cover the columns in their inner order.
    order : ndarray of int32, shape (n_columns,)
        The column, as everybody else numbers them, of each place in the inner order.
    usual : Usual or None
        What the columns have in common, where it is known; it holds nothing that the tiles do not.
    """

    sums: sparse.csr_matrix
    tiles: tuple[Tile, ...]
    order: NDArray[np.int32]
    usual: Usual | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Targets and columns."""
        return int(self.sums.shape[0]), len(self.order)

    @property
    def atoms(self) -> int:
        """Stored values."""
        return sum(int(tile.matrix.nnz) for tile in self.tiles)

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        matrices = [self.sums, *(tile.matrix for tile in self.tiles)]
        parts = [part for matrix in matrices for part in (matrix.data, matrix.indices, matrix.indptr)]
        return int(sum(part.nbytes for part in (*parts, *(tile.rows for tile in self.tiles), self.order)))

    @property
    def row_nonzeros(self) -> NDArray[np.int64]:
        """Columns that add something to each target, shape (n_targets,)."""
        leaves = np.zeros(self.sums.shape[1])
        for tile in self.tiles:
            leaves[tile.rows] += np.diff(tile.matrix.indptr)
        return np.asarray(self.sums @ leaves).astype(np.int64)

    @property
    def nnz(self) -> int:
        """Non-zeros of the explicit matrix."""
        return int(self.row_nonzeros.sum())

    def estimates(self, weights: Floats, change: Callable[[Any], Any] | None = None) -> Floats:
        """The product with weights, summed in float64, shape (n_targets,).

        Parameters
        ----------
        weights : ndarray of float64, shape (n_columns,)
        change : callable, optional
            Applied to an array of stored values before they are multiplied, such as ``numpy.abs``; it must keep 0.
        """
        inner = np.asarray(weights, dtype=np.float64)[self.order]
        leaves = np.zeros(self.sums.shape[1])
        for tile in self.tiles:
            leaves[tile.rows] += tile.doubled(change) @ inner[tile.begin : tile.end]
        return np.asarray(self.sums @ leaves)

    def matvec(self, weights: Floats) -> Floats:
        """X w in float64, shape (n_targets,)."""
        return self.estimates(weights)

    def rmatvec(self, values: Floats, change: Callable[[Any], Any] | None = None) -> Floats:
        """The transpose of X times a vector over targets, in float64, shape (n_columns,); ``change`` as in ``estimates``."""
        leaves = self.sums.T @ np.asarray(values, dtype=np.float64)
        result = np.zeros(len(self.order))
        for tile in self.tiles:
            result[self.order[tile.begin : tile.end]] = tile.doubled(change).T @ leaves[tile.rows]
        return result

    def rows(self, which: NDArray[Any]) -> FactoredMatrix:
        """Some of its rows, by a mask or by numbers, which may repeat; leaves that they do not need are dropped."""
        sums = self.sums[which]
        used = np.zeros(sums.shape[1], dtype=np.bool_)
        used[sums.indices] = True
        number = np.cumsum(used) - 1
        parts = (sums.data, number[sums.indices].astype(np.int32), sums.indptr)
        narrow = sparse.csr_matrix(parts, shape=(sums.shape[0], int(used.sum())), copy=False)
        tiles = []
        for tile in self.tiles:
            kept = used[tile.rows]
            matrix = tile.matrix if kept.all() else tile.matrix[kept]
            tiles.append(Tile(tile.begin, tile.end, number[tile.rows[kept]], matrix))
        usual = self.usual and self.usual.rows(np.where(used, number, -1))
        return FactoredMatrix(narrow, tuple(tiles), self.order, usual)

    def columns(self, kept: NDArray[np.bool_], most: int = COLUMNS_OF_A_TILE) -> FactoredMatrix:
        """The matrix of the columns of a mask, numbered anew; tiles are joined while they have ``most`` columns at most."""
        if kept.all():
            return self
        inside = kept[self.order]
        number = (np.cumsum(kept) - 1).astype(np.int32)
        tiles: list[Tile] = []
        waiting: list[tuple[NDArray[np.int64], sparse.csr_matrix]] = []
        begin = 0
        for tile in self.tiles:
            part = tile.matrix[:, inside[tile.begin : tile.end]]
            if waiting and sum(matrix.shape[1] for _, matrix in waiting) + part.shape[1] > most:
                tiles.append(_joined(begin, waiting))
                begin, waiting = tiles[-1].end, []
            waiting.append((tile.rows, part))
        tiles.append(_joined(begin, waiting))
        return FactoredMatrix(self.sums, tuple(tiles), number[self.order[inside]], self.usual and self.usual.columns(inside))

    def leaves(self) -> sparse.csr_matrix:
        """A as one matrix of float32, shape (n_leaves, n_columns), columns in the inner order."""
        row = np.concatenate([np.repeat(tile.rows.astype(np.int32), np.diff(tile.matrix.indptr)) for tile in self.tiles])
        column = np.concatenate([tile.matrix.indices + np.int32(tile.begin) for tile in self.tiles])
        data = np.concatenate([tile.matrix.data for tile in self.tiles])
        return sparse.csr_matrix((data, (row, column)), shape=(self.sums.shape[1], len(self.order)))

    def tocsr(self) -> sparse.csr_matrix:
        """The explicit matrix: float32, shape (n_targets, n_columns), sorted columns."""
        inner = self.leaves()
        parts = (inner.data, self.order[inner.indices], inner.indptr)
        by_column = sparse.csr_matrix(parts, shape=inner.shape, copy=False).T.tocsr()
        del inner, parts
        # A column at a time: its few leaves, their few targets. Transposed back, the columns of every row ascend.
        return (by_column @ self.sums.T.tocsr().astype(np.float32)).T.tocsr()

    def not_finite(self) -> tuple[int, int, float] | None:
        """Target, column and value of a stored value that is not finite, if there is one."""
        for tile in self.tiles:
            bad = np.flatnonzero(~np.isfinite(tile.matrix.data))
            if len(bad):
                place = int(bad[0])
                leaf = tile.rows[np.searchsorted(tile.matrix.indptr, place, side="right") - 1]
                target = int(np.flatnonzero(self.sums[:, [leaf]].toarray())[0])
                return target, int(self.order[tile.begin + tile.matrix.indices[place]]), float(tile.matrix.data[place])
        return None

    def parts(self) -> Iterator[NDArray[Any]]:
        """Every array that it is made of, in one order: two matrices with equal parts are the same."""
        yield self.order
        for matrix in (self.sums, *(tile.matrix for tile in self.tiles)):
            yield np.asarray(matrix.shape, dtype=np.int64)
            yield from (matrix.indptr, matrix.indices, matrix.data)
        yield from (tile.rows for tile in self.tiles)

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, most: int = COLUMNS_OF_A_TILE) -> FactoredMatrix:
        """An explicit matrix, each of whose rows is a leaf; ``most`` columns at most make a tile."""
        csc = matrix.tocsc().astype(np.float32)  # in the order of columns, so that each tile is a slice; a copy
        csc.sum_duplicates()
        csc.eliminate_zeros()
        n_rows, n_columns = csc.shape
        every = np.arange(n_rows, dtype=np.int64)
        tiles = [Tile.of(begin, every, csc[:, begin : begin + most].tocsr()) for begin in range(0, n_columns, most)]
        sums = sparse.identity(n_rows, dtype=np.float64, format="csr")
        return cls(sums, tuple(tiles), np.arange(n_columns, dtype=np.int32))

    @classmethod
    def of_variants(
        cls,
        variants: Variants,
        row_quantity: NDArray[np.integer],
        row_place: NDArray[np.integer],
        district: NDArray[np.integer],
        most: int = COLUMNS_OF_A_TILE,
    ) -> FactoredMatrix:
        """The matrix of targets: of each, its quantity in the columns of its place.

        Parameters
        ----------
        variants : Variants
        row_quantity : ndarray of int, shape (n_targets,)
            Quantity of each target.
        row_place : ndarray of int, shape (n_targets,)
            0 for the nation, the FIPS code of a state, or a district (100 * FIPS + number).
        district : ndarray of int, shape (n_columns,)
            District of each column.
        most : int
            Columns of a tile at most.
        """
        if len(district) != variants.n_columns or district.max(initial=0) > np.iinfo(np.uint16).max:
            raise ArtifactError(f"there are {variants.n_columns} columns and {len(district)} districts of at most five digits")
        codes, count = np.unique(district, return_counts=True)
        sums, leaf = _leaves(
            np.asarray(row_quantity, dtype=np.int64), np.asarray(row_place, dtype=np.int64), codes, variants.n_quantities
        )
        order = _inner_order(district, variants.n_records, variants.n_clones)
        bounds = _tile_bounds(count, most)
        table = variants.table()
        place = np.repeat(np.arange(len(codes)), count)

        def tile(bound: tuple[int, int]) -> Tile:
            begin, end = bound
            return _tile(begin, columns_of(table, variants.rows_of(order[begin:end])), leaf, place[begin:end])

        with ThreadPoolExecutor(worker_count()) as pool:
            tiles = tuple(pool.map(tile, bounds))
        return cls(sums, tiles, order, Usual.of(variants, order, np.append(0, np.cumsum(count)), leaf))


def _leaves(
    quantity: NDArray[Any], place: NDArray[Any], codes: NDArray[Any], n_quantities: int
) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """S, and the leaf of each district and quantity, -1 where no target wants it: shape (districts, quantities)."""
    lowest = np.where(place == 0, 0, np.where(place < 100, 100 * place, place))
    highest = np.where(place == 0, np.iinfo(np.int64).max, np.where(place < 100, 100 * place + 99, place))
    first = np.searchsorted(codes, lowest, side="left")
    last = np.searchsorted(codes, highest, side="right")
    length = last - first
    indptr = np.concatenate([[0], np.cumsum(length)])
    district = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - first, length)
    wanted = np.zeros((len(codes), n_quantities), dtype=np.bool_)
    wanted[district, np.repeat(quantity, length)] = True
    leaf = np.where(wanted, np.cumsum(wanted).reshape(wanted.shape) - 1, -1)
    indices = leaf[district, np.repeat(quantity, length)].astype(np.int32)
    shape = (len(quantity), int(wanted.sum()))
    return sparse.csr_matrix((np.ones(len(indices)), indices, indptr.astype(np.int32)), shape=shape, copy=False), leaf


def _inner_order(district: NDArray[Any], n_records: int, n_clones: int) -> NDArray[np.int32]:
    """Columns by district, household and clone."""
    by_household = np.arange(n_records * n_clones, dtype=np.int32).reshape(n_clones, n_records).T.ravel()
    # Sorting numbers of 16 bits is a radix sort, and stable.
    return by_household[np.argsort(district.astype(np.uint16)[by_household], kind="stable")]


def _tile_bounds(counts: NDArray[np.integer], most: int) -> list[tuple[int, int]]:
    """Bounds of tiles: whole districts, as many as fit; a district that does not fit is cut."""
    bounds: list[tuple[int, int]] = []
    begin = end = 0
    for count in counts.tolist():
        if end > begin and end - begin + count > most:
            bounds.append((begin, end))
            begin = end
        end += count
        while end - begin > most:
            bounds.append((begin, begin + most))
            begin += most
    return [*bounds, (begin, end)] if end > begin else bounds


def _tile(begin: int, values: sparse.csr_matrix, leaf: NDArray[np.int64], place: NDArray[np.integer]) -> Tile:
    """A tile from the values of its columns (columns by quantities), of which each has its place among the districts."""
    n_columns = values.shape[0]
    length = np.diff(values.indptr)
    row = leaf[np.repeat(place, length), values.indices]
    wanted = row >= 0
    data, indptr = values.data, values.indptr
    if not wanted.all():
        kept = np.concatenate([[0], np.cumsum(wanted)])
        row, data, indptr = row[wanted], data[wanted], kept[indptr]
    low = int(row.min(initial=np.iinfo(np.int32).max))
    high = int(row.max(initial=low - 1)) + 1
    parts = (data, (row - low).astype(np.int32), indptr.astype(np.int32))
    return Tile.of(begin, np.arange(low, high), sparse.csc_matrix(parts, shape=(high - low, n_columns), copy=False).tocsr())


def _joined(begin: int, parts: Sequence[tuple[NDArray[np.int64], sparse.csr_matrix]]) -> Tile:
    """One tile of consecutive columns from several: their leaves, and their columns side by side."""
    rows = np.unique(np.concatenate([of_part for of_part, _ in parts]))
    aligned = [_aligned(np.searchsorted(rows, of_part), matrix, len(rows)) for of_part, matrix in parts]
    return Tile.of(begin, rows, sparse.hstack(aligned, format="csr", dtype=np.float32))


def _aligned(place: NDArray[np.integer], matrix: sparse.csr_matrix, n_rows: int) -> sparse.csr_matrix:
    """Rows of a matrix at ascending places among ``n_rows``."""
    length = np.zeros(n_rows, dtype=np.int64)
    length[place] = np.diff(matrix.indptr)
    indptr = np.concatenate([[0], np.cumsum(length)])
    return sparse.csr_matrix((matrix.data, matrix.indices, indptr), shape=(n_rows, matrix.shape[1]), copy=False)
