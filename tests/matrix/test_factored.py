"""The factored matrix against the explicit one, built by brute force: the same values, the same products, whatever is asked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError
from geocal_core.matrix import factored
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.variants import Variants
from tests.matrix.test_variants import random_groups, random_values

DISTRICTS = np.array([1001, 1098, 3601, 3602, 3603, 5600])


@dataclass
class Case:
    """A random problem: targets of three levels, some repeated, of places that no column lies in, or of nothing."""

    variants: Variants
    quantity: NDArray[np.int64]
    place: NDArray[np.int64]
    district: NDArray[np.int64]

    @property
    def matrix(self) -> FactoredMatrix:
        return self.in_tiles(32_768)

    def in_tiles(self, most: int) -> FactoredMatrix:
        return FactoredMatrix.of_variants(self.variants, self.quantity, self.place, self.district, most)

    def brute(self) -> NDArray[np.float32]:
        """The explicit matrix, target by target."""
        dense = self.variants.to_csr().toarray()
        rows = []
        for quantity, place in zip(self.quantity, self.place, strict=True):
            inside = (place == 0) | (self.district == place) | (self.district // 100 == place)
            rows.append(np.where(inside, dense[quantity], np.float32(0)))
        return np.array(rows, dtype=np.float32)


def random_case(seed: int, n_targets: int = 25) -> Case:
    rng = np.random.default_rng(seed)
    n_quantities, n_records, n_clones = (int(n) for n in rng.integers(1, [9, 12, 12]))
    values = random_values(n_quantities, n_records, n_clones, rng)
    variants = Variants.from_values(values, random_groups(n_quantities, rng), n_records, n_clones)
    known = rng.choice(DISTRICTS, int(rng.integers(1, 7)), replace=False)
    places = np.concatenate([[0], DISTRICTS // 100, DISTRICTS, [2, 201]])
    # Some quantities are wanted at one level only.
    of_level = [np.array([0]), DISTRICTS // 100, DISTRICTS, places, places]
    quantity = rng.integers(0, n_quantities, n_targets)
    allowed = rng.integers(0, 5, n_quantities)
    place = np.array([rng.choice(of_level[allowed[q]]) for q in quantity])
    return Case(variants, quantity, place, rng.choice(known, n_records * n_clones))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 10, 32_768]))
def test_it_is_the_explicit_matrix(seed: int, most: int) -> None:
    case = random_case(seed)
    matrix, brute = case.in_tiles(most), case.brute()
    explicit = matrix.tocsr()
    assert explicit.dtype == np.float32
    assert explicit.has_sorted_indices
    assert explicit.nnz == np.count_nonzero(brute) == matrix.nnz
    assert np.array_equal(explicit.toarray(), brute)
    assert matrix.row_nonzeros.tolist() == np.count_nonzero(brute, axis=1).tolist()
    assert matrix.shape == brute.shape
    # No more atoms than quantities have non-zeros in columns, whatever the number of levels and of repeated rows.
    assert matrix.atoms <= case.variants.to_csr().nnz


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_products_are_exact_and_adjoint(seed: int) -> None:
    case = random_case(seed)
    matrix, brute = case.matrix, case.brute().astype(np.float64)
    rng = np.random.default_rng(seed)
    weights, values = rng.lognormal(0, 2, brute.shape[1]), rng.normal(size=brute.shape[0])
    forward, backward = matrix.matvec(weights), matrix.rmatvec(values)
    assert (np.abs(forward - brute @ weights) <= 1e-12 * (np.abs(brute) @ weights)).all()
    assert (np.abs(backward - brute.T @ values) <= 1e-12 * (np.abs(brute).T @ np.abs(values))).all()
    size = np.abs(values) @ np.abs(brute) @ weights
    assert abs(forward @ values - weights @ backward) <= 1e-12 * size
    assert np.allclose(matrix.estimates(weights, np.abs), np.abs(brute) @ weights, rtol=1e-12)
    assert np.allclose(matrix.rmatvec(np.abs(values), np.square), (brute**2).T @ np.abs(values), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([6, 32_768]))
def test_rows_and_columns_of_it_are_those_of_the_explicit_matrix(seed: int, most: int) -> None:
    case = random_case(seed)
    matrix, brute = case.in_tiles(most), case.brute()
    rng = np.random.default_rng(seed)
    mask = rng.random(len(brute)) < 0.4
    numbers = rng.integers(0, len(brute), 7)
    kept = rng.random(brute.shape[1]) < 0.6
    assert np.array_equal(matrix.rows(mask).tocsr().toarray(), brute[mask])
    assert np.array_equal(matrix.rows(numbers).tocsr().toarray(), brute[numbers])
    narrow, both = matrix.columns(kept, most), matrix.rows(mask).columns(kept, most)
    assert np.array_equal(narrow.tocsr().toarray(), brute[:, kept])
    widths = [tile.end - tile.begin for tile in narrow.tiles]
    assert sum(widths) == kept.sum()
    assert all(left + right > most for left, right in itertools.pairwise(widths)) or kept.all(), "small tiles are joined"
    assert all(width <= most for width in widths)
    assert np.array_equal(both.tocsr().toarray(), brute[mask][:, kept])
    assert both.atoms <= matrix.rows(mask).atoms <= matrix.atoms
    weights = rng.random(int(kept.sum()))
    assert np.allclose(both.estimates(weights), brute[mask][:, kept].astype(np.float64) @ weights, rtol=1e-12, atol=1e-9)


def test_leaves_that_no_row_needs_are_dropped() -> None:
    case = random_case(4)
    matrix = case.matrix
    one = matrix.rows(np.array([int(np.argmax(matrix.row_nonzeros))]))
    assert 0 < one.atoms == one.nnz < matrix.atoms
    assert matrix.rows(np.zeros(matrix.shape[0], dtype=bool)).atoms == 0
    same = matrix.rows(np.arange(matrix.shape[0]))
    assert all(left.matrix is right.matrix for left, right in zip(same.tiles, matrix.tiles, strict=True)), "nothing is copied"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 4, 1000]))
def test_an_explicit_matrix_goes_in_and_comes_out(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    dense = (rng.normal(size=(6, 23)) * (rng.random((6, 23)) < 0.4)).astype(np.float32)
    dense[2] = 0
    matrix = FactoredMatrix.of(sparse.csr_matrix(dense), most)
    assert np.array_equal(matrix.tocsr().toarray(), dense)
    assert np.array_equal(matrix.order, np.arange(23))
    kept = rng.random(23) < 0.5
    assert np.array_equal(matrix.columns(kept).tocsr().toarray(), dense[:, kept])
    assert np.allclose(matrix.rmatvec(np.ones(6)), dense.sum(0, dtype=np.float64), atol=1e-12)


def test_stored_zeros_and_duplicates_of_an_explicit_matrix_are_brought_into_order() -> None:
    given_ = sparse.csr_matrix((np.array([0.0, 2.0, 3.0, -3.0, 3.0]), [0, 1, 1, 0, 0], [0, 3, 5]), shape=(2, 2))
    matrix = FactoredMatrix.of(given_)
    assert matrix.tocsr().toarray().tolist() == [[0.0, 5.0], [0.0, 0.0]]
    assert matrix.row_nonzeros.tolist() == [1, 0]
    assert given_.nnz == 5, "the caller's matrix is left as it is"


def test_the_number_of_workers_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(9)
    found = []
    for workers in ("1", "3"):
        monkeypatch.setenv("GEOCAL_WORKERS", workers)
        found.append([part.tobytes() for part in case.in_tiles(5).parts()])
    assert found[0] == found[1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=12), st.integers(1, 25))
def test_tiles_cover_all_columns_once_and_cut_only_what_does_not_fit(counts: list[int], most: int) -> None:
    bounds = factored._tile_bounds(np.array(counts), most)
    assert [column for begin, end in bounds for column in range(begin, end)] == list(range(sum(counts)))
    assert all(0 < end - begin <= most for begin, end in bounds)
    if max(counts) <= most:
        assert {begin for begin, _ in bounds} <= {0, *np.cumsum(counts).tolist()}


def test_a_value_that_is_not_finite_is_found() -> None:
    case = random_case(4)
    matrix = case.matrix
    assert matrix.not_finite() is None
    tile = next(tile for tile in matrix.tiles if tile.matrix.nnz)
    tile.matrix.data[-1] = np.inf
    target, column, value = matrix.not_finite() or (-1, -1, 0.0)
    assert value == np.inf
    assert matrix.tocsr()[target, column] == np.inf


def test_districts_that_do_not_fit_are_refused() -> None:
    case = random_case(4)
    with pytest.raises(ArtifactError, match="districts of at most five digits"):
        FactoredMatrix.of_variants(case.variants, case.quantity, case.place, case.district[:-1])
    with pytest.raises(ArtifactError, match="districts of at most five digits"):
        FactoredMatrix.of_variants(case.variants, case.quantity, case.place, case.district + 100_000)
