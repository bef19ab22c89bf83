"""Usual values and differences, against the columns themselves: the most frequent value, and nothing is lost or added."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.usual import Usual
from tests.matrix.test_factored import random_case


def _usual(matrix: FactoredMatrix) -> Usual:
    assert matrix.usual is not None
    return matrix.usual


def _leaves(matrix: FactoredMatrix) -> NDArray[np.float32]:
    """A, dense, its columns in the inner order."""
    return matrix.leaves().toarray()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_the_usual_value_is_the_most_frequent_one(seed: int) -> None:
    case = random_case(seed)
    variants = case.variants
    values = variants.to_csr().toarray().reshape(variants.n_quantities, variants.n_clones, variants.n_records)
    found = _usual(case.matrix).table.toarray()
    for household in range(variants.n_records):
        for quantity in range(variants.n_quantities):
            counts = Counter(values[quantity, :, household].tolist())
            most = max(counts.values())
            equally = [value for value, count in counts.items() if count == most]
            wanted = min((value for value in equally if value), default=0.0)
            assert found[household, quantity] == wanted


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 10, 32_768]), st.booleans())
def test_usual_values_and_differences_are_the_matrix(seed: int, most: int, narrowed: bool) -> None:
    case = random_case(seed)
    matrix = case.in_tiles(most)
    if narrowed:
        rng = np.random.default_rng(seed)
        matrix = matrix.rows(rng.random(matrix.shape[0]) < 0.5).columns(rng.random(matrix.shape[1]) < 0.6, most)
    usual, n_leaves, actual = _usual(matrix), matrix.sums.shape[1], _leaves(matrix)
    for tile in matrix.tiles:
        expected = usual.of_columns(tile.begin, tile.end, n_leaves).toarray()
        different = usual.differences(tile.begin, tile.rows, tile.matrix, n_leaves)
        here = actual[:, tile.begin : tile.end]
        assert np.array_equal(different.toarray(), here - expected)
        assert different.nnz == np.count_nonzero(here != expected)
        assert different.has_sorted_indices
        for place, column in enumerate(range(tile.begin, tile.end)):
            household = usual.household[column]
            (district,) = [d for d, low, high in usual.districts(column, column + 1)]
            wanted = np.zeros(n_leaves, dtype=np.float32)
            known = usual.leaf[district] >= 0
            wanted[usual.leaf[district][known]] = usual.table.toarray()[household][known]
            assert np.array_equal(expected[:, place], wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_columns_know_their_households_and_districts(seed: int) -> None:
    case = random_case(seed)
    rng = np.random.default_rng(seed)
    kept = rng.random(case.matrix.shape[1]) < 0.5
    codes = np.unique(case.district)
    for matrix, numbers in ((case.matrix, np.arange(len(kept))), (case.matrix.columns(kept), np.flatnonzero(kept))):
        usual = _usual(matrix)
        columns = numbers[matrix.order]
        assert np.array_equal(usual.household, columns % case.variants.n_records)
        found = np.repeat(codes, np.diff(usual.bounds))
        assert np.array_equal(found, case.district[columns])
        spans = list(usual.districts(0, len(columns)))
        assert [column for _, low, high in spans for column in range(low, high)] == list(range(len(columns)))
        assert all(low < high for _, low, high in spans)


def test_an_explicit_matrix_knows_nothing_of_households() -> None:
    matrix = random_case(4).matrix
    assert FactoredMatrix.of(matrix.tocsr()).usual is None


def test_rows_that_are_gone_have_no_leaf() -> None:
    matrix = random_case(4).matrix
    none = matrix.rows(np.zeros(matrix.shape[0], dtype=bool))
    assert (_usual(none).leaf == -1).all()
    with pytest.raises(IndexError):
        _usual(matrix).rows(np.zeros(0, dtype=np.int64))
