"""Newton systems along the arrow against numpy on the explicit matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.fit.arrow import Arrow, ConjugateGradients, System, system
from geocal_core.fit.device import open_device
from geocal_core.fit.products import open_products
from geocal_core.matrix.factored import FactoredMatrix, Floats
from geocal_core.matrix.variants import Variants

DISTRICTS = np.array([1001, 2001, 2002, 2003, 3001, 3002, 4001, 4002, 4003, 4004])
PLACES = [0, 10, 20, 30, 40, *DISTRICTS.tolist()]


def nation(seed: int, n_quantities: int = 3, n_records: int = 9, n_clones: int = 8) -> FactoredMatrix:
    """Targets of four states with ten districts; some quantities are not asked for everywhere, one place is empty."""
    rng = np.random.default_rng(seed)
    n = n_records * n_clones
    values = rng.lognormal(0, 1, (n_quantities, n)) * (rng.random((n_quantities, n)) < 0.6)
    variants = Variants.from_values(
        sparse.csr_matrix(values.astype(np.float32)), [[q] for q in range(n_quantities)], n_records, n_clones
    )
    rows = [(q, place) for q in range(n_quantities) for place in PLACES if rng.random() < 0.8]
    rows.append(rows[0])  # the same row twice
    district = DISTRICTS[rng.integers(0, len(DISTRICTS), n)]
    quantity, place = np.array(rows).T
    return FactoredMatrix.of_variants(variants, quantity, place, district, most=int(rng.integers(5, 40)))


@dataclass
class Case:
    matrix: FactoredMatrix
    curvature: Floats
    ridge: Floats
    right: Floats
    scale: Floats

    @classmethod
    def of(cls, matrix: FactoredMatrix, seed: int) -> Case:
        rng = np.random.default_rng(seed)
        m, n = matrix.shape
        return cls(
            matrix,
            rng.lognormal(0, 1, n),
            rng.lognormal(-2, 1, m),
            rng.normal(size=m),
            rng.lognormal(0, 1, m),
        )

    def wanted(self) -> Floats:
        dense = self.scale[:, None] * self.matrix.tocsr().toarray().astype(np.float64)[:, self.matrix.order]
        hessian = dense @ (self.curvature[:, None] * dense.T) + np.diag(self.ridge)
        return np.asarray(np.linalg.solve(hessian, self.right))

    def found(self, threads: int = 1, **settings: int) -> tuple[System, Floats]:
        device = open_device("cpu", threads)
        with device.at_work():
            products = open_products(self.matrix, device, dtype="float64")
            way = system(self.matrix, self.scale, products, device, **settings)
            return way, way.solve(self.curvature, self.ridge, self.right)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_arrow_solves_what_the_explicit_matrix_does(seed: int) -> None:
    case = Case.of(nation(seed), seed)
    way, found = case.found()
    assert way.method == "arrow"
    np.testing.assert_allclose(found, case.wanted(), rtol=1e-5, atol=1e-7)


def test_states_and_nation_are_eliminated_after_districts() -> None:
    case = Case.of(nation(3), 3)
    way, _ = case.found()
    assert isinstance(way, Arrow)
    blocks = [block for group in way.groups for block in group.blocks]
    assert len(blocks) == len(DISTRICTS)
    rows = [way.top, *(group.own for group in way.groups), *(block.own for block in blocks)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(case.matrix.shape[0]))
    assert max(len(group.blocks) for group in way.groups) == 4
    assert 0 < len(way.top) < 8


@pytest.mark.parametrize("seed", range(5))
def test_a_matrix_without_places_is_one_dense_block(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 90)) * (rng.random((30, 90)) < 0.5)
    matrix = FactoredMatrix.of(sparse.csr_matrix(values.astype(np.float32)), most=17)
    case = Case.of(matrix, seed)
    way, found = case.found()
    assert way.method == "dense"
    np.testing.assert_allclose(found, case.wanted(), rtol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_conjugate_gradients_take_over_where_a_factor_would_be_too_large(seed: int) -> None:
    case = Case.of(nation(seed), seed)
    case.right *= 1e-9  # the smaller the slope, the closer the solution
    way, found = case.found(most=2)
    assert isinstance(way, ConjugateGradients)
    np.testing.assert_allclose(found, case.wanted(), rtol=1e-5, atol=1e-13)


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    case = Case.of(nation(11, n_records=40, n_clones=20), 11)
    one, two, four = (case.found(threads)[1].tobytes() for threads in (1, 2, 4))
    assert one == two == four


def test_a_block_wider_than_what_is_spread_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geocal_core.fit.arrow._DENSE_VALUES", 1)
    monkeypatch.setattr("geocal_core.fit.arrow._ROWS_AT_ONCE", 2)
    rng = np.random.default_rng(0)
    matrix = FactoredMatrix.of(sparse.csr_matrix((rng.random((7, 1000)) * (rng.random((7, 1000)) < 0.2)).astype(np.float32)))
    case = Case.of(matrix, 0)
    np.testing.assert_allclose(case.found()[1], case.wanted(), rtol=1e-8)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rare_leaves_are_multiplied_apart(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr("geocal_core.fit.arrow._FEW_LEAVES", 0)
    monkeypatch.setattr("geocal_core.fit.arrow._RARE", share)
    monkeypatch.setattr("geocal_core.fit.arrow._DENSE_VALUES", 1)
    rng = np.random.default_rng(1)
    values = rng.random((12, 700)) * (rng.random((12, 700)) < np.linspace(0.01, 1, 12)[rng.permutation(12), None])
    for matrix in (FactoredMatrix.of(sparse.csr_matrix(values.astype(np.float32)), most=150), nation(2)):
        case = Case.of(matrix, 1)
        way, found = case.found()
        assert isinstance(way, Arrow)
        n_rare = [piece.rare.shape[0] for group in way.groups for block in group.blocks for piece in block.pieces]
        n_common = [piece.common.shape[0] for group in way.groups for block in group.blocks for piece in block.pieces]
        assert (max(n_rare) > 0) == (share > 0)
        assert (max(n_common) > 0) == (share < 1)
        np.testing.assert_allclose(found, case.wanted(), rtol=1e-5, atol=1e-7)
