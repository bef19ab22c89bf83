"""Variants: what goes in comes out, bit for bit; each household's vectors are stored once; misfits are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix import variants as module
from geocal_core.matrix.variants import Variants


def random_groups(n_quantities: int, rng: np.random.Generator) -> list[list[int]]:
    """A random partition of the quantities, in a random order."""
    group = rng.integers(0, max(1, n_quantities // 2), n_quantities)
    parts = [np.flatnonzero(group == g).tolist() for g in np.unique(group)]
    return [parts[i] for i in rng.permutation(len(parts))]


def random_values(
    n_quantities: int, n_records: int, n_clones: int, rng: np.random.Generator, kinds: int = 3
) -> sparse.csr_matrix:
    """Values of which each household has at most ``kinds`` vectors; some households have nothing at all."""
    pool = rng.integers(-3, 9, (kinds, n_quantities, n_records)).clip(0) * rng.choice([1.0, 0.1, 1e9], (1, n_quantities, 1))
    pool *= rng.random((1, 1, n_records)) < 0.8
    shown = rng.integers(0, kinds, (n_clones, n_records))
    values = pool[shown, :, np.arange(n_records)[None, :]]  # clone, household, quantity
    return sparse.csr_matrix(values.reshape(-1, n_quantities).T.astype(np.float32))


def made(seed: int = 0, kinds: int = 3) -> tuple[sparse.csr_matrix, Variants]:
    rng = np.random.default_rng(seed)
    values = random_values(5, 7, 6, rng, kinds)
    return values, Variants.from_values(values, [[0, 3], [1, 2], [4]], 7, 6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 8), st.integers(1, 7), st.integers(1, 4))
def test_values_come_back_bit_for_bit(seed: int, n_quantities: int, n_records: int, n_clones: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    values = random_values(n_quantities, n_records, n_clones, rng, kinds)
    groups = random_groups(n_quantities, rng)
    found = Variants.from_values(values, groups, n_records, n_clones)
    again = found.to_csr()
    assert again.dtype == np.float32
    assert np.array_equal(again.indptr, values.indptr)
    assert np.array_equal(again.indices, values.indices)
    assert np.array_equal(again.data, values.data)
    dense = values.toarray()
    for g, members in enumerate(groups):
        for h in range(n_records):
            vectors = [tuple(dense[sorted(members), c * n_records + h]) for c in range(n_clones)]
            distinct = list(dict.fromkeys(vectors))
            assert found.first[g, h + 1] - found.first[g, h] == len(distinct)
            rows = [int(found.variant_of_column(g)[c * n_records + h] - found.first[g, h]) for c in range(n_clones)]
            assert rows == [distinct.index(vector) for vector in vectors]  # numbered in the order of the clones
    for quantity in range(n_quantities):
        assert np.array_equal(found.quantity(quantity), dense[quantity])
    for column in range(n_records * n_clones):
        assert np.array_equal(found.column(column), dense[:, column])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_tables_give_what_values_give(seed: int) -> None:
    """Tables with repeated rows, rows that nobody shows and rows that several households share."""
    rng = np.random.default_rng(seed)
    n_quantities, n_records, n_clones = int(rng.integers(1, 8)), int(rng.integers(1, 6)), int(rng.integers(1, 6))
    groups = random_groups(n_quantities, rng)
    tables, rows, dense = [], [], np.zeros((n_quantities, n_records * n_clones), dtype=np.float32)
    for members in groups:
        table = np.zeros((6, n_quantities), dtype=np.float32)
        table[:, members] = rng.integers(0, 2, (6, len(members)))
        row = rng.integers(0, 6, n_records * n_clones)
        dense += table[row].T
        tables.append(sparse.csr_matrix(table))
        rows.append(row)
    one = Variants.from_tables(tables, rows, groups, n_records, n_clones)
    other = Variants.from_values(sparse.csr_matrix(dense), groups, n_records, n_clones)
    assert one.groups == other.groups
    for name in ("first", "indptr", "indices", "data"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    for left, right in zip(one.ordinal, other.ordinal, strict=True):
        assert (left is None and right is None) or np.array_equal(left, right)


def test_what_never_varies_has_no_ordinals() -> None:
    values, found = made(kinds=1)
    assert found.ordinal == (None, None, None)
    assert found.n_variants == 3 * 7
    assert np.array_equal(found.to_csr().toarray(), values.toarray())


def test_more_than_256_variants_take_two_bytes() -> None:
    values = sparse.csr_matrix(np.arange(1, 601, dtype=np.float32)[None, :])
    found = Variants.from_values(values, [[0]], 1, 600)
    assert found.ordinal[0].dtype == np.uint16
    assert np.array_equal(found.to_csr().toarray(), values.toarray())


def test_stored_zeros_and_duplicates_are_brought_into_order() -> None:
    values = sparse.csr_matrix((np.array([0.0, 2.0, 3.0, 4.0], np.float32), [0, 1, 1, 0], [0, 4]), shape=(1, 2))
    assert Variants.from_values(values, [[0]], 1, 2).to_csr().toarray().tolist() == [[4.0, 5.0]]
    assert values.nnz == 4, "the caller's matrix is left as it is"


@pytest.mark.parametrize(
    "make",
    [
        lambda values: Variants.from_values(values, [[0]], 1, 2),
        lambda values: Variants.from_tables([values.T.tocsr()], [np.array([0, 1])], [[0]], 1, 2),
    ],
    ids=["values", "tables"],
)
def test_vectors_that_share_a_hash_are_not_taken_for_one(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_hash", lambda quantity, values: np.ones(len(values), dtype=np.uint64))
    with pytest.raises(ArtifactError, match="two different vectors of values have one 64-bit hash"):
        make(sparse.csr_matrix(np.array([[1.0, 2.0]], dtype=np.float32)))


def test_too_many_are_refused() -> None:
    with pytest.raises(ArtifactError, match="there are 65,536 quantities; at most 65,535"):
        Variants.from_values(sparse.csr_matrix((65_536, 1)), [[0]], 1, 1)
    with pytest.raises(ArtifactError, match="a household has 65,536 variants of group 0; at most 65,535"):
        Variants.from_values(sparse.csr_matrix(np.arange(1, 65_537, dtype=np.float32)[None, :]), [[0]], 1, 65_536)


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2, 3, 4]], [[0, 1, 2, 3]], [[0, 1, 2, 3, 5]], [[0, 1, 2, 3, 4], []]])
def test_groups_that_do_not_part_the_quantities_are_refused(groups: list[list[int]]) -> None:
    with pytest.raises(ArtifactError, match="groups"):
        Variants.from_values(made()[0], groups, 7, 6)


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"values are of shape \(5, 42\), wanted \(5, 49\)"):
        Variants.from_values(made()[0], [[0, 1, 2, 3, 4]], 7, 7)


@pytest.mark.parametrize(
    ("tables", "rows", "words"),
    [
        ([[[1.0, 2.0]], [[0.0, 1.0]]], [[0, 0], [0, 0]], "holds a quantity of another group"),
        ([[[1.0, 0.0]], [[0.0, 1.0]]], [[0, 1], [0, 0]], "do not point into its table of 1"),
        ([[[1.0, 0.0]], [[0.0, 1.0]]], [[0], [0, 0]], "do not point into its table of 1"),
        ([[[1.0, 0.0]]], [[0, 0]], "2 groups have 1 tables"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables: list[Any], rows: list[list[int]], words: str) -> None:
    csrs = [sparse.csr_matrix(np.array(table, dtype=np.float32)) for table in tables]
    with pytest.raises(ArtifactError, match=words):
        Variants.from_tables(csrs, [np.array(row) for row in rows], [[0], [1]], 1, 2)


def _with(array: Any, position: Any, value: Any) -> Any:
    changed = array.copy()
    changed[position] = value
    return changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: {"first": v.first[:, :-1]}, r"first is of shape \(3, 7\)"),
        (lambda v: {"first": _with(v.first, (0, 1), 0)}, "first does not give each household its rows"),
        (lambda v: {"first": v.first + 1}, "first does not give each household its rows"),
        (lambda v: {"indptr": v.indptr[:-1]}, "first does not give each household its rows"),
        (lambda v: {"indptr": _with(v.indptr, 0, 1)}, "indptr does not rise from 0"),
        (lambda v: {"indices": v.indices[:-1]}, "indices has length"),
        (lambda v: {"data": v.data[:-1]}, "data has length"),
        (lambda v: {"data": _with(v.data, 0, 0)}, "data holds zeros"),
        (lambda v: {"indices": v.indices + 5}, "indices name a quantity that there is not"),
        (lambda v: {"indices": _with(v.indices, -1, 3)}, "indices name a quantity of another group"),
        (lambda v: {"groups": ((1, 2), (0, 3), (4,))}, "indices name a quantity of another group"),
        (lambda v: {"groups": ((3, 0), (1, 2), (4,))}, "groups are empty or do not ascend"),
        (lambda v: {"ordinal": v.ordinal[:-1]}, "ordinal is of 2 groups, wanted 3"),
        (lambda v: {"ordinal": (None, *v.ordinal[1:])}, "ordinal_0 is wanted"),
        (lambda v: {"ordinal": (v.ordinal[0][:-1], *v.ordinal[1:])}, "ordinal_0 has length 41, wanted 42"),
        (lambda v: {"ordinal": (v.ordinal[0], v.ordinal[1] + 9, v.ordinal[2])}, "ordinal_1 names a variant that its household"),
    ],
)
def test_parts_that_do_not_fit_are_named(change: Any, words: str) -> None:
    found = made()[1]
    with pytest.raises(ArtifactError, match=words):
        replace(found, **change(found))


def test_falling_indices_are_refused() -> None:
    found = Variants.from_values(sparse.csr_matrix(np.ones((2, 1), np.float32)), [[0, 1]], 1, 1)
    with pytest.raises(ArtifactError, match="indices do not ascend within each variant"):
        replace(found, indices=found.indices[::-1])
