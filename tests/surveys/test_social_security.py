"""Social Security by reason and by age: nothing is lost, and the stronger reason counts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.surveys import social_security
from tests.surveys.conftest import bits

PERSONS = st.lists(
    st.tuples(st.floats(0, 60_000), st.integers(0, 8), st.integers(0, 8), st.integers(0, 85)), min_size=1, max_size=30
)


@settings(max_examples=100, deadline=None)
@given(PERSONS)
def test_kinds_add_up_to_the_amount_and_no_person_has_two(persons: list[tuple[float, int, int, int]]) -> None:
    amount, first, second, age = map(np.array, zip(*persons, strict=True))
    values = social_security.by_reason(amount.astype(float), first, second, age.astype(float))
    assert tuple(values) == social_security.KINDS
    parts = np.array(list(values.values()))
    assert (parts.sum(axis=0) == amount).all()
    assert ((parts > 0).sum(axis=0) <= 1).all()


def test_stronger_reason_counts_whichever_comes_first() -> None:
    ones, age = np.ones(6), np.array([30.0, 30, 30, 30, 62, 61])
    values = social_security.by_reason(ones, np.array([3, 1, 7, 2, 8, 0]), np.array([1, 3, 0, 7, 0, 8]), age)
    assert bits(values["social_security_retirement"]) == [1, 1, 0, 0, 1, 0]
    assert bits(values["social_security_disability"]) == [0, 0, 0, 1, 0, 1]
    assert bits(values["social_security_survivors"]) == [0] * 6
    assert bits(values["social_security_dependents"]) == [0, 0, 1, 0, 0, 0]
