"""The values of all quantities in all columns, each distinct vector of a household stored once.

The clones of a household repeat its values, but for what its place and its take-up change. Quantities that are computed from
the same variables of the engine change together: they form a group, and a household shows few distinct vectors of a group's
values, its variants. Here: the table of variants, and which of them each column shows. No place, no target, no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError

MOST_QUANTITIES = 65_535
MOST_VARIANTS = 65_535
_GOLDEN = 0x9E3779B97F4A7C15
_ODD = 0xD1342543DE82EF95

Ordinals = NDArray[np.uint8] | NDArray[np.uint16] | None


@dataclass(frozen=True)
class Variants:
    """Values of ``n_quantities`` quantities in n_clones * n_records columns; column = clone * n_records + household.

    Attributes
    ----------
    groups : tuple of tuples of int
        Positions of the quantities of each group, ascending; every quantity is in one group.
    first : ndarray of int64, shape (n_groups, n_records + 1)
        The variants of household h in group g are the rows ``first[g, h]`` to ``first[g, h + 1]`` of the table.
    ordinal : tuple of (ndarray of uint8 or uint16, shape (n_columns,), or None)
        For each group, which of its household's variants each column shows; None where no household has more than one.
    indptr : ndarray of int64, shape (n_variants + 1,)
        Bounds of the rows of the table.
    indices : ndarray of uint16
        Quantity of each stored value, ascending within a row.
    data : ndarray of float32
        Units or dollars; no stored zeros.
    n_records, n_clones, n_quantities : int

    Raises
    ------
    ArtifactError
        If the parts do not fit together; the message begins with the part.
    """

    groups: tuple[tuple[int, ...], ...]
    first: NDArray[np.int64]
    ordinal: tuple[Ordinals, ...]
    indptr: NDArray[np.int64]
    indices: NDArray[np.uint16]
    data: NDArray[np.float32]
    n_records: int
    n_clones: int
    n_quantities: int

    def __post_init__(self) -> None:
        _check_groups(self.groups, self.n_quantities)
        _check_table(self)
        for group, ordinal in enumerate(self.ordinal):
            _check_ordinal(group, ordinal, np.diff(self.first[group]), self.n_clones)

    @property
    def n_columns(self) -> int:
        """Columns: clones times households."""
        return self.n_records * self.n_clones

    @property
    def n_variants(self) -> int:
        """Rows of the table."""
        return len(self.indptr) - 1

    @property
    def group_of_quantity(self) -> NDArray[np.int64]:
        """Group of each quantity, shape (n_quantities,)."""
        found = np.empty(self.n_quantities, dtype=np.int64)
        for group, members in enumerate(self.groups):
            found[list(members)] = group
        return found

    def variant_of_column(self, group: int) -> NDArray[np.int64]:
        """Row of the table that each column shows in a group, shape (n_columns,)."""
        row = np.tile(self.first[group, :-1], self.n_clones)
        ordinal = self.ordinal[group]
        return row if ordinal is None else row + ordinal

    def rows_of(self, columns: NDArray[np.integer]) -> NDArray[np.int64]:
        """Rows of the table that some columns show, shape (len(columns), n_groups)."""
        rows = self.first[:, columns % self.n_records]
        for group, ordinal in enumerate(self.ordinal):
            if ordinal is not None:
                rows[group] += ordinal[columns]
        return np.ascontiguousarray(rows.T)

    def table(self) -> sparse.csr_matrix:
        """The table of variants in memory: float32, shape (n_variants, n_quantities)."""
        parts = (np.array(self.data), self.indices.astype(np.int32), np.array(self.indptr))
        return sparse.csr_matrix(parts, shape=(self.n_variants, self.n_quantities), copy=False)

    def column(self, column: int) -> NDArray[np.float32]:
        """All quantities of one column, shape (n_quantities,)."""
        values = np.zeros(self.n_quantities, dtype=np.float32)
        for row in self.rows_of(np.array([column]))[0].tolist():
            inside = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
            values[self.indices[inside]] = self.data[inside]
        return values

    def quantity(self, quantity: int) -> NDArray[np.float32]:
        """One quantity of all columns, shape (n_columns,)."""
        group = int(self.group_of_quantity[quantity])
        begin, end = int(self.first[group, 0]), int(self.first[group, -1])
        inside = slice(int(self.indptr[begin]), int(self.indptr[end]))
        row = np.repeat(np.arange(end - begin), np.diff(self.indptr[begin : end + 1]))
        mine = self.indices[inside] == quantity
        values = np.zeros(end - begin, dtype=np.float32)
        values[row[mine]] = self.data[inside][mine]
        return values[self.variant_of_column(group) - begin]

    def to_csr(self) -> sparse.csr_matrix:
        """The explicit matrix of float32, shape (n_quantities, n_columns): for small problems."""
        return columns_of(self.table(), self.rows_of(np.arange(self.n_columns))).T.tocsr()

    @classmethod
    def from_values(cls, values: sparse.csr_matrix, groups: Sequence[Sequence[int]], n_records: int, n_clones: int) -> Variants:
        """The variants of an explicit matrix.

        Parameters
        ----------
        values : csr_matrix, shape (n_quantities, n_records * n_clones)
        groups : sequence of sequences of int
            Quantities of each group.
        n_records, n_clones : int
        """
        csr = _canonical(values, (values.shape[0], n_records * n_clones))
        members = _sorted_groups(groups, csr.shape[0])

        def hashes(group: int) -> NDArray[np.uint64]:
            found = np.zeros(csr.shape[1], dtype=np.uint64)
            for quantity in members[group]:
                inside = slice(csr.indptr[quantity], csr.indptr[quantity + 1])
                found[csr.indices[inside]] += _hash(np.uint64(quantity), csr.data[inside])
            return found

        def table(group: int, shown: NDArray[np.int64], like: NDArray[np.int64]) -> sparse.csr_matrix:
            """Values of the columns ``shown``, and the proof that each column has those of the one that it is ``like``."""
            parts, dense = [], np.zeros(csr.shape[1], dtype=np.float32)
            for quantity in members[group]:
                inside = slice(csr.indptr[quantity], csr.indptr[quantity + 1])
                dense[csr.indices[inside]] = csr.data[inside]
                bits = dense.view(np.uint32)
                _prove(bool((bits == bits[like]).all()))
                parts.append(sparse.csr_matrix(dense[shown]))
                dense[csr.indices[inside]] = 0
            return _placed(sparse.vstack(parts).T.tocsr(), members[group], csr.shape[0])

        return _assembled(members, hashes, table, (n_records, n_clones, csr.shape[0]))

    @classmethod
    def from_tables(
        cls,
        tables: Sequence[sparse.csr_matrix],
        row_of_column: Sequence[NDArray[np.integer]],
        groups: Sequence[Sequence[int]],
        n_records: int,
        n_clones: int,
    ) -> Variants:
        """The variants of tables of vectors that columns point into.

        Equal rows of a table are one variant, rows that no column shows are dropped, and rows may serve several households: the
        result is that of ``from_values`` for the same values.

        Parameters
        ----------
        tables : sequence of csr_matrix, each of shape (any number, n_quantities)
            For each group, vectors of its quantities' values.
        row_of_column : sequence of ndarray of int, each of shape (n_columns,)
            For each group, the row of its table that each column shows.
        groups : sequence of sequences of int
            Quantities of each group.
        n_records, n_clones : int

        Raises
        ------
        ArtifactError
            If a table holds a quantity of another group, or a column points outside.
        """
        n_quantities = int(tables[0].shape[1]) if tables else 0
        members = _sorted_groups(groups, n_quantities)
        if not len(tables) == len(row_of_column) == len(members):
            raise ArtifactError(f"{len(members)} groups have {len(tables)} tables and {len(row_of_column)} columns' rows")
        csrs = [_canonical(table, (table.shape[0], n_quantities)) for table in tables]
        rows = [np.asarray(row) for row in row_of_column]
        for group, (csr, row) in enumerate(zip(csrs, rows, strict=True)):
            if row.shape != (n_records * n_clones,) or row.min(initial=0) < 0 or row.max(initial=-1) >= csr.shape[0]:
                raise ArtifactError(f"the columns' rows of group {group} do not point into its table of {csr.shape[0]}")
            if not np.isin(csr.indices, members[group]).all():
                raise ArtifactError(f"the table of group {group} holds a quantity of another group")

        def keys(group: int) -> NDArray[np.integer]:
            return _numbers_of_rows(csrs[group])[rows[group]]

        def table(group: int, shown: NDArray[np.int64], like: NDArray[np.int64]) -> sparse.csr_matrix:
            del like  # equal keys are proven to be of equal rows
            return csrs[group][rows[group][shown]]

        return _assembled(members, keys, table, (n_records, n_clones, n_quantities))


def columns_of(table: sparse.csr_matrix, rows: NDArray[np.int64]) -> sparse.csr_matrix:
    """Values of columns that show ``rows`` of the table, shape (columns, groups): a matrix of shape (columns, quantities)."""
    n_columns, n_groups = rows.shape
    found = table[rows.ravel()]
    parts = (found.data, found.indices, found.indptr[::n_groups])
    return sparse.csr_matrix(parts, shape=(n_columns, table.shape[1]), copy=False)


def _assembled(
    groups: tuple[tuple[int, ...], ...],
    keys: Callable[[int], NDArray[Any]],
    table: Callable[[int, NDArray[np.int64], NDArray[np.int64]], sparse.csr_matrix],
    sizes: tuple[int, int, int],
) -> Variants:
    """Variants from a key of each column's vector, group by group; variants are numbered in the order of the clones."""
    n_records, n_clones, n_quantities = sizes
    columns = np.arange(n_records * n_clones, dtype=np.int64)
    first = np.zeros((len(groups), n_records + 1), dtype=np.int64)
    ordinals: list[Ordinals] = []
    parts: list[sparse.csr_matrix] = []
    begin = 0
    for group in range(len(groups)):
        ordinal, shown, counts = _numbered(keys(group).reshape(n_clones, n_records))
        first[group] = begin + np.concatenate([[0], np.cumsum(counts)])
        row = first[group, columns % n_records] - begin + ordinal.ravel()
        parts.append(table(group, shown, shown[row]))
        begin += len(shown)
        most = int(counts.max(initial=1))
        if most > MOST_VARIANTS:
            raise ArtifactError(f"a household has {most:,} variants of group {group}", f"at most {MOST_VARIANTS:,} are stored")
        ordinals.append(_narrow(ordinal.ravel(), most))
    whole = sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, n_quantities), dtype=np.float32)
    whole.sort_indices()
    return Variants(
        groups,
        first,
        tuple(ordinals),
        whole.indptr.astype(np.int64),
        whole.indices.astype(np.uint16),
        whole.data.astype(np.float32, copy=False),
        n_records,
        n_clones,
        n_quantities,
    )


def _narrow(ordinal: NDArray[np.int64], most: int) -> Ordinals:
    """Ordinals of households with at most ``most`` variants in as few bytes as they need."""
    if most == 1:
        return None
    return ordinal.astype(np.uint8) if most <= 256 else ordinal.astype(np.uint16)


def _numbered(keys: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ordinals of the distinct keys of each household, in the order of the clones.

    Parameters
    ----------
    keys : ndarray of integers, shape (n_clones, n_records)

    Returns
    -------
    ordinal : ndarray of int64, shape (n_clones, n_records)
    shown : ndarray of int64
        A column that shows each variant, by household and ordinal: the first.
    counts : ndarray of int64, shape (n_records,)
    """
    n_records = keys.shape[1]
    ordinal = np.zeros(keys.shape, dtype=np.int64)
    counts = np.ones(n_records, dtype=np.int64)
    several = np.flatnonzero((keys != keys[:1]).any(axis=0))
    if not len(several):
        return ordinal, np.arange(n_records, dtype=np.int64), counts
    mine = np.ascontiguousarray(keys[:, several].T)
    order = np.argsort(mine, axis=1)
    ranked = np.take_along_axis(mine, order, axis=1)
    begins = np.ones(mine.shape, dtype=np.bool_)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    counts[several] = begins.sum(axis=1)
    run = np.cumsum(begins.ravel()) - 1  # runs of equal keys, numbered over all households
    household = np.nonzero(begins)[0]
    clone = np.minimum.reduceat(order.ravel(), np.flatnonzero(begins))
    rank = np.lexsort((clone, household))
    within = np.arange(len(rank)) - np.repeat(np.cumsum(counts[several]) - counts[several], counts[several])
    number = np.empty(len(rank), dtype=np.int64)
    number[rank] = within
    numbers = np.empty(mine.shape, dtype=np.int64)
    np.put_along_axis(numbers, order, number[run].reshape(mine.shape), axis=1)
    ordinal[:, several] = numbers.T
    first = np.cumsum(counts) - counts
    shown = np.repeat(np.arange(n_records, dtype=np.int64), counts)
    shown[first[several[household[rank]]] + within] += clone[rank] * n_records
    return ordinal, shown, counts


def _hash(quantity: Any, values: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A word for each (quantity, value), to be summed over a vector: the finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        state = values.view(np.uint32).astype(np.uint64) * np.uint64(_ODD) + (quantity + np.uint64(1)) * np.uint64(_GOLDEN)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(state ^ (state >> np.uint64(31)))


def _numbers_of_rows(table: sparse.csr_matrix) -> NDArray[np.int32]:
    """A number for each row of a table, the same for equal rows."""
    running = np.zeros(table.nnz + 1, dtype=np.uint64)
    np.cumsum(_hash(table.indices.astype(np.uint64), table.data), out=running[1:])
    _, like, number = np.unique(running[table.indptr[1:]] - running[table.indptr[:-1]], return_index=True, return_inverse=True)
    other = table[like[number]]
    same = np.array_equal(table.indptr, other.indptr) and np.array_equal(table.indices, other.indices)
    _prove(same and np.array_equal(table.data.view(np.uint32), other.data.view(np.uint32)))
    return number.astype(np.int32)


def _prove(same: bool) -> None:
    if not same:
        raise ArtifactError("two different vectors of values have one 64-bit hash", "report this with the package's inputs")


def _canonical(values: sparse.csr_matrix, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Values as CSR of float32, sorted, without duplicates and zeros; no copy where it is so already."""
    if values.shape != shape:
        raise ArtifactError(f"values are of shape {values.shape}, wanted {shape}")
    csr = sparse.csr_matrix(values, dtype=np.float32, copy=False)
    if not csr.has_canonical_format or (csr.data == 0).any():
        csr = csr.copy()
        csr.sum_duplicates()
        csr.eliminate_zeros()
    return csr


def _placed(local: sparse.csr_matrix, members: tuple[int, ...], n_quantities: int) -> sparse.csr_matrix:
    """A table of a group's quantities as one of all quantities."""
    indices = np.array(members, dtype=np.int32)[local.indices]
    return sparse.csr_matrix((local.data, indices, local.indptr), shape=(local.shape[0], n_quantities), copy=False)


def _sorted_groups(groups: Sequence[Sequence[int]], n_quantities: int) -> tuple[tuple[int, ...], ...]:
    found = tuple(tuple(sorted(int(quantity) for quantity in group)) for group in groups)
    _check_groups(found, n_quantities)
    return found


def _check_groups(groups: tuple[tuple[int, ...], ...], n_quantities: int) -> None:
    if n_quantities > MOST_QUANTITIES:
        raise ArtifactError(f"there are {n_quantities:,} quantities", f"at most {MOST_QUANTITIES:,} are stored")
    if sorted(quantity for group in groups for quantity in group) != list(range(n_quantities)):
        raise ArtifactError(f"groups do not hold each of {n_quantities} quantities once")
    if any(not group or list(group) != sorted(group) for group in groups):
        raise ArtifactError("groups are empty or do not ascend")


def _check_table(variants: Variants) -> None:
    """The table is sound, and every household has a place in it."""
    first, indptr, indices = variants.first, variants.indptr, variants.indices
    n_groups = len(variants.groups)
    if first.shape != (n_groups, variants.n_records + 1):
        raise ArtifactError(f"first is of shape {first.shape}, wanted {(n_groups, variants.n_records + 1)}")
    if len(variants.ordinal) != n_groups:
        raise ArtifactError(f"ordinal is of {len(variants.ordinal)} groups, wanted {n_groups}")
    if len(indptr) < 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ArtifactError("indptr does not rise from 0")
    ends = [0, *(int(row[-1]) for row in first)]
    starts = [int(row[0]) for row in first]
    if starts != ends[:-1] or ends[-1] != len(indptr) - 1 or (np.diff(first, axis=1) < 1).any():
        raise ArtifactError("first does not give each household its rows of the table")
    if len(indices) != indptr[-1]:
        raise ArtifactError(f"indices has length {len(indices)} where the table has {int(indptr[-1])} values")
    if len(variants.data) != len(indices):
        raise ArtifactError(f"data has length {len(variants.data)} where the table has {len(indices)} values")
    falls = np.zeros(len(indices) + 1, dtype=np.bool_)
    falls[1:-1] = indices[1:] <= indices[:-1]
    falls[indptr] = False
    if falls.any():
        raise ArtifactError("indices do not ascend within each variant")
    group_of = variants.group_of_quantity
    if len(indices) and int(indices.max()) >= variants.n_quantities:
        raise ArtifactError("indices name a quantity that there is not")
    for group, (begin, end) in enumerate(zip(starts, ends[1:], strict=True)):
        if (group_of[indices[int(indptr[begin]) : int(indptr[end])]] != group).any():
            raise ArtifactError(f"indices name a quantity of another group among the variants of group {group}")
    if (variants.data == 0).any():
        raise ArtifactError("data holds zeros")


def _check_ordinal(group: int, ordinal: Ordinals, counts: NDArray[np.int64], n_clones: int) -> None:
    most = int(counts.max(initial=1))
    if ordinal is None:
        if most > 1:
            raise ArtifactError(f"ordinal_{group} is wanted: a household has {most} variants of that group")
        return
    if ordinal.shape != (n_clones * len(counts),):
        raise ArtifactError(f"ordinal_{group} has length {len(ordinal)}, wanted {n_clones * len(counts)}")
    if (ordinal.reshape(n_clones, len(counts)).max(axis=0, initial=0) >= counts).any():
        raise ArtifactError(f"ordinal_{group} names a variant that its household has not")
