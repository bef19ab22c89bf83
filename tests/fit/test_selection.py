"""Selection to an exact size: sizes, chances, balance, strata, seeds, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.fit.balance import balancing_quantities, balancing_rows
from geocal_core.fit.selection import METHODS, select
from geocal_core.matrix.package import Package
from geocal_core.sampling import inclusion_probabilities
from tests.matrix.small import matrix_of, write_small

WEIGHTS = st.lists(st.sampled_from([0.0, 1.0, 1.0, 2.5, 40.0, 1e-5]), min_size=1, max_size=30).filter(any)


@settings(max_examples=80, deadline=None)
@given(WEIGHTS, st.sampled_from(METHODS), st.integers(0, 1000), st.data())
def test_the_size_is_exact_and_zero_weights_are_never_kept(
    weights: list[float], method: str, seed: int, data: st.DataObject
) -> None:
    w = np.array(weights)
    positive = int(np.count_nonzero(w))
    records = data.draw(st.sampled_from(sorted({1, positive, (1 + positive) // 2})))
    found = select(w, records, method, strata=np.arange(len(w)) % 3, seed=seed)
    assert len(found.kept) == records == len(np.unique(found.kept))
    assert (w[found.kept] > 0).all()
    assert (np.diff(found.kept) > 0).all()
    assert found.weights().sum() == pytest.approx(found.design_weights.sum())
    if records == positive:
        assert found.design_weights == pytest.approx(w[w > 0])


def _large(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, rows and districts of 3,000 columns."""
    rng = np.random.default_rng(seed)
    size = rng.choice([1, 2, 3, 4, 5], 3000)
    income = rng.lognormal(10, 1, 3000)
    rows = np.stack([size, income, income < 15_000, size * (income < 30_000), rng.random(3000) < 0.3]).astype(float)
    return rng.lognormal(3, 0.8, 3000), rows, rng.integers(0, 6, 3000)


def _errors(rows: np.ndarray, weights: np.ndarray, estimate: np.ndarray, district: np.ndarray) -> np.ndarray:
    inside = (district == np.arange(6)[:, None]).astype(float)
    return np.abs((inside * estimate) @ rows.T / ((inside * weights) @ rows.T) - 1)


def test_a_balanced_sample_keeps_totals_far_better_than_chances_alone() -> None:
    weights, rows, district = _large()
    errors: dict[str, list[np.ndarray]] = {"cube": [], "pps": []}
    for seed in range(8):
        for method, found in errors.items():
            kept = select(weights, 600, method, balance=sparse.csr_matrix(rows), strata=district, seed=seed)
            found.append(_errors(rows, weights, kept.weights(), district))
    assert np.mean(errors["cube"]) < 0.3 * np.mean(errors["pps"])


def test_districts_keep_their_number() -> None:
    weights, rows, district = _large(1)
    found = select(weights, 500, "cube", balance=rows, strata=[district, district // 2], seed=3)
    expected = np.bincount(district, found.chances)
    assert np.abs(np.bincount(district[found.kept]) - expected).max() < 1


@pytest.mark.parametrize("method", ["cube", "pps"])
def test_design_weights_are_unbiased_for_rows_that_nobody_balanced(method: str) -> None:
    weights, rows, district = _large(2)
    weights, rows, district = weights[:60], rows[:, :60], district[:60] % 2
    other = np.random.default_rng(5).random(60)
    n = 600
    totals = np.array(
        [select(weights, 15, method, balance=rows[:2], strata=district, seed=seed).weights() @ other for seed in range(n)]
    )
    assert abs(totals.mean() - weights @ other) <= 4.5 * totals.std() / np.sqrt(n)


def test_the_same_seed_keeps_the_same_columns_and_another_does_not() -> None:
    weights, rows, district = _large(3)
    for method in ("cube", "pps"):
        kept = [select(weights, 100, method, balance=rows, strata=district, seed=seed).kept for seed in (1, 1, 2)]
        assert (kept[0] == kept[1]).all()
        assert (kept[0] != kept[2]).any()


def test_plain_chances_take_columns_as_often_as_they_say() -> None:
    w = np.array([0.0, 1, 2, 3, 4, 5, 40])
    n = 4000
    often = sum(select(w, 3, "pps", seed=seed).weights() > 0 for seed in range(n)) / n
    assert np.abs(often - inclusion_probabilities(w, 3)).max() <= 4.5 * np.sqrt(0.25 / n)


def test_plain_chances_keep_what_they_kept_before() -> None:
    """A seed names a sample for good."""
    w = np.array([0.0, 3.0, 1.0, 0.5, 8.0, 2.0, 2.0, 0.0, 40.0, 1.5, 0.25, 5.0])
    kept = [select(w, 5, "pps", seed=seed).kept.tolist() for seed in range(4)]
    assert kept == [[2, 4, 6, 8, 11], [1, 4, 5, 8, 11], [1, 4, 6, 8, 11], [2, 3, 4, 8, 11]]


def test_top_keeps_the_largest_and_the_first_of_equals_as_they_were() -> None:
    found = select([3.0, 0.0, 5.0, 3.0, 3.0, 9.0], 4, "top")
    assert found.kept.tolist() == [0, 2, 3, 5]
    assert found.design_weights.tolist() == [3, 5, 3, 9]


@pytest.mark.parametrize("method", ["cube", "pps"])
def test_sizes_of_their_own_make_chances_and_weights_stay_unbiased(method: str) -> None:
    rng = np.random.default_rng(8)
    weights, sizes = rng.lognormal(0, 1, (2, 200))
    chances = inclusion_probabilities(sizes, 40)
    totals = []
    for seed in range(200):
        found = select(weights, 40, method, sizes=sizes, seed=seed)
        np.testing.assert_allclose(found.chances, chances)
        np.testing.assert_allclose(found.design_weights, weights[found.kept] / chances[found.kept])
        totals.append(found.design_weights.sum())
    assert abs(np.mean(totals) - weights.sum()) <= 4 * np.std(totals) / np.sqrt(len(totals))
    assert select(weights, 3, "top", sizes=sizes).kept.tolist() == sorted(np.argsort(-sizes)[:3].tolist())


@pytest.fixture
def package(tmp_path: Path) -> tuple[Package, dict[str, Any]]:
    parts = write_small(tmp_path / "package")
    return Package.open(tmp_path / "package"), parts


def test_rows_of_a_package_are_its_values(package: tuple[Package, dict[str, Any]]) -> None:
    opened, parts = package
    explicit = parts["variants"].to_csr().toarray()
    columns = np.array([3, 149, 0, 77])
    assert (balancing_rows(opened, [4, 0, 2])(columns) == explicit[[4, 0, 2]][:, columns].T).all()
    assert balancing_rows(opened, [])(columns).shape == (4, 0)


def test_quantities_are_those_that_a_sample_would_miss_most(package: tuple[Package, dict[str, Any]]) -> None:
    opened, parts = package
    w, records = opened.initial_weights, 60
    chances = inclusion_probabilities(w, records)
    matrix, targets = matrix_of(parts), opened.targets
    score: dict[int, list[float]] = {}
    sampled: dict[int, list[float]] = {}
    for row, target in enumerate(targets.itertuples()):
        if target.place >= 100 and not target.held_out and matrix[row] @ w:
            variance = np.sum(matrix[row] ** 2 * w**2 * (1 - chances) / chances)
            score.setdefault(target.quantity, []).append(variance / (matrix[row] @ w) ** 2)
            sampled.setdefault(target.quantity, []).append(chances[matrix[row] != 0].sum())
    wanted = sorted((q for q in score if np.mean(sampled[q]) >= 3), key=lambda q: -np.mean(score[q]))
    assert len(wanted) >= 3
    assert balancing_quantities(opened, w, records) == wanted
    assert balancing_quantities(opened, w, records, most=2) == wanted[:2]
    found = select(w, records, balance=balancing_rows(opened, wanted), strata=[opened.district, opened.state])
    assert len(found.kept) == records
    with pytest.raises(ConfigError, match="-1 quantities"):
        balancing_quantities(opened, w, records, most=-1)


ONES = np.ones(5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: select(ONES, 6), ConfigError, "records is 6 and 5 of 5 columns have a weight above 0; ask for 1 to 5"),
        (lambda: select(ONES, 0), ConfigError, "records is 0"),
        (lambda: select(ONES, 2.5), ConfigError, "records is 2.5"),
        (lambda: select([1.0, 0.0], 2), ConfigError, "records is 2 and 1 of 2"),
        (lambda: select(np.zeros(3), 1), ArtifactError, "all weights are 0"),
        (lambda: select([1.0, np.nan], 1), ArtifactError, "the weight of column 1 is nan"),
        (lambda: select([1.0, np.inf], 1), ArtifactError, "the weight of column 1 is inf"),
        (lambda: select([-1.0, 1.0], 1), ArtifactError, "the weight of column 0 is -1"),
        (lambda: select(np.ones((2, 2)), 1), ArtifactError, "2 dimensions"),
        (lambda: select(ONES, 1, "best"), ConfigError, "no method of selection 'best'; the methods are cube, pps, top"),
        (lambda: select(ONES, 1, sizes=np.ones(4)), ArtifactError, "sizes of shape"),
        (lambda: select(ONES, 1, sizes=np.arange(5)), ArtifactError, "above 0 where its weight is and 0 elsewhere"),
        (lambda: select(ONES, 1, sizes=np.full(5, np.inf)), ArtifactError, "a finite size for each column"),
        (lambda: select(ONES, 1, strata=np.arange(4)), ArtifactError, "strata are int64 of shape"),
        (lambda: select(ONES, 1, strata=[]), ArtifactError, "strata are float64 of shape"),
        (lambda: select(ONES, 1, strata=[np.arange(5) // 4, np.arange(5)]), ArtifactError, "lies in two of the coarser"),
        (lambda: select(ONES, 1, balance=np.ones((2, 4))), ArtifactError, "rows to balance have 4 columns"),
        (lambda: select(ONES, 1, balance=np.full((1, 5), np.nan)), ArtifactError, "not finite"),
    ],
)
def test_bad_input_gets_one_clear_line(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
