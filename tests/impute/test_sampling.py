"""Samples by size: chances that add up, no unit twice, and frequencies that are the chances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.impute.sampling import inclusion_probabilities, systematic_sample

SIZES = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(SIZES, st.floats(0, 1, exclude_max=True), st.data())
def test_takes_as_many_as_wanted_and_none_twice(sizes: list[float], start: float, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(sizes)))
    chances = inclusion_probabilities(np.array(sizes), n)
    assert chances.sum() == pytest.approx(n)
    assert chances.max() <= 1
    taken = systematic_sample(chances, start)
    assert len(taken) == n
    assert (np.diff(taken) > 0).all()
    assert set(np.flatnonzero(chances == 1)) <= set(taken)


def test_chances_are_proportional_below_one() -> None:
    assert inclusion_probabilities(np.array([1.0, 2, 3, 100]), 2) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 1])


def test_frequencies_over_all_starts_are_the_chances() -> None:
    chances = inclusion_probabilities(np.array([5.0, 1, 1, 2, 8, 3, 40]), 3)
    starts = (np.arange(2_000) + 0.5) / 2_000
    counts = sum(np.isin(np.arange(7), systematic_sample(chances, start)) for start in starts)
    assert np.asarray(counts) / 2_000 == pytest.approx(chances, abs=1e-3)


def test_refuses_more_than_there_are() -> None:
    with pytest.raises(ConfigError, match="4 units are wanted of 3"):
        inclusion_probabilities(np.ones(3), 4)
