"""Samples by size: chances by their definition, sizes of samples, no unit twice, and frequencies that are the chances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from geocal_core.errors import ConfigError
from geocal_core.sampling import inclusion_probabilities, systematic_sample

SIZES = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=60).filter(any)
POSITIVE = np.array([3.0, 1.0, 0.5, 8.0, 2.0, 2.0, 40.0, 1.5, 0.25, 5.0])


@settings(max_examples=200, deadline=None)
@given(SIZES, st.data())
def test_chances_are_the_root_of_the_equation_that_defines_them(sizes: list[float], data: st.DataObject) -> None:
    size = np.array(sizes)
    n = data.draw(st.integers(1, np.count_nonzero(size)))
    chances = inclusion_probabilities(size, n)
    assert chances.sum() == pytest.approx(n)
    assert not chances[size == 0].any()
    if n < np.count_nonzero(size):
        most = 1.1 * n / size[size > 0].min()
        c = brentq(lambda c: np.minimum(1, c * size).sum() - n, 0, most, xtol=1e-300, rtol=1e-14, maxiter=10_000)
        assert chances == pytest.approx(np.minimum(1, c * size), rel=1e-8, abs=2e-9)
    else:
        assert (chances == (size > 0)).all()


@settings(max_examples=200, deadline=None)
@given(SIZES, st.floats(0, 1, exclude_max=True), st.data())
@example([2.0, 1.0, 2.0, 0.0], 1 - 2**-53, None)
def test_takes_as_many_as_wanted_and_none_twice(sizes: list[float], start: float, data: st.DataObject | None) -> None:
    size = np.array(sizes)
    n = data.draw(st.integers(0, np.count_nonzero(size))) if data else 2
    chances = inclusion_probabilities(size, n)
    taken = systematic_sample(chances, start)
    assert len(taken) == n
    assert (np.diff(taken) > 0).all()
    assert set(np.flatnonzero(chances == 1)) <= set(taken)
    assert (size[taken] > 0).all()


def test_chances_are_proportional_below_one() -> None:
    assert inclusion_probabilities(np.array([1.0, 2, 0, 3, 100]), 2) == pytest.approx([1 / 6, 2 / 6, 0, 3 / 6, 1])


def test_frequencies_over_all_starts_are_the_chances() -> None:
    chances = inclusion_probabilities(np.array([5.0, 1, 1, 2, 0, 8, 3, 40]), 3)
    starts = (np.arange(2_000) + 0.5) / 2_000
    counts = sum(np.isin(np.arange(8), systematic_sample(chances, start)) for start in starts)
    assert np.asarray(counts) / 2_000 == pytest.approx(chances, abs=1e-3)


def test_a_start_names_a_sample_for_good() -> None:
    chances = inclusion_probabilities(POSITIVE, 5)
    assert chances.tolist()[:3] == [0.5901639344262295, 0.19672131147540983, 0.09836065573770492]
    taken = [systematic_sample(chances, start).tolist() for start in (0.1, 0.5, 0.9)]
    assert taken == [[0, 3, 4, 6, 9], [0, 3, 5, 6, 9], [3, 4, 6, 7, 9]]


@pytest.mark.parametrize("sizes", [np.ones(3), np.array([0.0, 1.0, 2.0, 3.0])])
def test_refuses_more_than_there_are(sizes: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="4 units are wanted of 3"):
        inclusion_probabilities(sizes, 4)
