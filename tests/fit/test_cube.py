"""The cube method: what a flight keeps, how a sample is distributed, and that it balances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.fit.cube import cube_sample, fly


def _open(chances: np.ndarray) -> np.ndarray:
    return (chances > 1e-9) & (chances < 1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 3), st.integers(1, 8), st.booleans())
def test_a_flight_keeps_totals_and_leaves_few_open(seed: int, units: int, strata: int, rows: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers have ties and rows that depend on each other.
    values = rng.integers(-1, 3, (units, strata, rows)).astype(float) if whole else rng.normal(size=(units, strata, rows))
    chances = rng.integers(0, 5, (units, strata)) / 4 if whole else rng.random((units, strata))
    after = fly(values, chances, rng.random((units, strata)))
    assert after.min() >= 0
    assert after.max() <= 1
    assert (after[chances == 0] == 0).all()
    assert (after[chances == 1] == 1).all()
    assert np.einsum("usr,us->sr", values, after - chances) == pytest.approx(0, abs=1e-6 * units)
    for stratum in range(strata):
        rank = np.linalg.matrix_rank(values[:, stratum])
        assert _open(after)[:, stratum].sum() <= rank


def test_strata_fly_as_they_would_alone() -> None:
    rng = np.random.default_rng(1)
    values, chances, draws = rng.normal(size=(50, 3, 4)), rng.random((50, 3)), rng.random((50, 3))
    together = fly(values, chances, draws)
    for stratum in range(3):
        alone = fly(values[:, [stratum]], chances[:, [stratum]], draws[:, [stratum]])
        assert together[:, [stratum]] == pytest.approx(alone, abs=1e-9)


def test_a_long_flight_does_not_drift() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([np.ones((3000, 1, 1)), rng.lognormal(0, 2, (3000, 1, 9))], axis=2)
    chances = np.full((3000, 1), 0.3)
    after = fly(values, chances, rng.random((3000, 1)))
    before = np.einsum("usr,us->r", values, chances)
    assert np.einsum("usr,us->r", values, after) == pytest.approx(before, rel=1e-9)
    assert _open(after).sum() == 10


def _problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chances that add up to 60, rows, and strata, for 600 units."""
    rng = np.random.default_rng(seed)
    chances = rng.uniform(0.5, 1.5, 600)
    return chances * 60 / chances.sum(), rng.lognormal(0, 0.5, (600, 4)), rng.integers(0, 3, 600)


def test_a_sample_has_its_size_in_the_whole_and_in_every_stratum() -> None:
    chances, rows, strata = _problem(0)
    for seed in range(5):
        taken = cube_sample(chances, lambda units: rows[units], [strata, strata // 2], seed)
        assert taken.sum() == 60
        for stratum in range(3):
            assert abs(taken[strata == stratum].sum() - chances[strata == stratum].sum()) < 1


def test_units_are_taken_as_often_as_their_chances_say() -> None:
    rng = np.random.default_rng(3)
    chances = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9, 0.5, 0.5])
    rows, strata, n = rng.normal(size=(12, 2)), np.arange(12) % 2, 1500
    often = sum(cube_sample(chances, lambda units: rows[units], [strata], seed) for seed in range(n)) / n
    assert np.abs(often - chances).max() <= 4.5 * np.sqrt(0.25 / n)


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chances, rows, strata = _problem(4)
    samples = []
    for workers in ("1", "2"):
        monkeypatch.setenv("GEOCAL_WORKERS", workers)
        samples.append(cube_sample(chances, lambda units: rows[units], [strata], 7))
    assert (samples[0] == samples[1]).all()


def test_whole_chances_are_a_sample_already() -> None:
    chances = np.array([1.0, 0.0, 1.0, 1.0])
    taken = cube_sample(chances, lambda units: np.ones((len(units), 1)), [np.zeros(4, dtype=int)], 0)
    assert taken.tolist() == [True, False, True, True]
