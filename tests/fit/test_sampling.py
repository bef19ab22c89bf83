"""Chances by size: the closed form, sums, and a systematic sample that has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from geocal_core.fit.sampling import inclusion_probabilities, systematic_sample

WEIGHTS = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=60).filter(any)


@settings(max_examples=200, deadline=None)
@given(WEIGHTS, st.data())
def test_chances_are_the_root_of_the_equation_that_defines_them(weights: list[float], data: st.DataObject) -> None:
    w = np.array(weights)
    records = data.draw(st.integers(1, np.count_nonzero(w)))
    chances = inclusion_probabilities(w, records)
    assert chances.sum() == pytest.approx(records, rel=1e-8)
    assert ((chances > 0) == (w > 0)).all()
    if records < np.count_nonzero(w):
        most = 1.1 * records / w[w > 0].min()
        c = brentq(lambda c: np.minimum(1, c * w).sum() - records, 0, most, xtol=1e-300, rtol=1e-14, maxiter=10_000)
        assert chances == pytest.approx(np.minimum(1, c * w), rel=1e-8, abs=2e-9)
    else:
        assert (chances == (w > 0)).all()


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, st.integers(0, 2**31), st.data())
def test_a_systematic_sample_has_its_size_and_its_certain_columns(weights: list[float], seed: int, data: st.DataObject) -> None:
    w = np.array(weights)
    records = data.draw(st.integers(1, np.count_nonzero(w)))
    chances = inclusion_probabilities(w, records)
    taken = systematic_sample(chances, seed)
    assert taken.sum() == records
    assert taken[chances == 1].all()
    assert not taken[w == 0].any()


def test_columns_are_taken_as_often_as_their_chances_say() -> None:
    w = np.array([0.0, 1, 2, 3, 4, 5, 40])
    chances = inclusion_probabilities(w, 3)
    n = 4000
    often = sum(systematic_sample(chances, seed) for seed in range(n)) / n
    assert np.abs(often - chances).max() <= 4.5 * np.sqrt(0.25 / n)
