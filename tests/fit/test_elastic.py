"""The price of misses and its conjugate against a search over a grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.fit.elastic import Elastic

GRID = np.linspace(-60, 60, 240_001)


BOUNDS = st.sampled_from([math.inf, 0.7])
MARGINS = st.sampled_from([0.0, 0.3, 2.0])


def one(price: float, margin: float, bound: float) -> Elastic:
    return Elastic(np.array([price]), np.array([margin]), bound)


def cost(elastic: Elastic, miss: np.ndarray) -> np.ndarray:
    """By its definition: squared up to the bound, then straight on."""
    excess = np.maximum(np.abs(miss) - elastic.margin, 0)
    beyond = 2 * elastic.bound * excess - elastic.bound**2 if elastic.bound < math.inf else excess**2
    return elastic.price * np.where(excess <= elastic.bound, excess**2, beyond)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 100), MARGINS, BOUNDS, st.floats(-1, 1))
def test_the_conjugate_is_the_greatest_of_its_lines(price: float, margin: float, bound: float, share: float) -> None:
    elastic = one(price, margin, bound)
    multiplier = share * min(8.0, 2 * price * bound)
    wanted = np.max(multiplier * GRID - cost(elastic, GRID))
    assert abs(elastic.conjugate(np.array([multiplier]))[0] - wanted) < 1e-4 * price + 1e-9


@settings(max_examples=200, deadline=None)
@given(st.floats(0.1, 100), MARGINS, BOUNDS, st.floats(-5, 5), st.floats(-1, 1))
def test_the_gap_is_its_definition_and_never_negative(
    price: float, margin: float, bound: float, miss: float, share: float
) -> None:
    elastic, r = one(price, margin, bound), np.array([miss])
    m = elastic.within(np.array([share * min(8.0, 2 * price * bound)]))
    np.testing.assert_allclose(elastic.cost(r), cost(elastic, r), rtol=1e-12)
    gap = elastic.gap(r, m)[0]
    assert gap >= 0
    np.testing.assert_allclose(gap, (elastic.cost(r) + elastic.conjugate(m) - m * r)[0], rtol=1e-9, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.1, 100), MARGINS, BOUNDS, st.floats(-5, 5), st.sampled_from([-1.0, -0.3, -0.01, 0.0, 0.01, 0.3, 1.0]))
def test_the_ascent_rises_and_is_0_only_at_the_top(
    price: float, margin: float, bound: float, miss: float, share: float
) -> None:
    elastic, r = one(price, margin, bound), np.array([miss])
    limit = min(8.0, 2 * price * bound)
    m = np.array([share * limit])
    slope, sign, free = elastic.ascent(r, m)
    step = 1e-3 * limit

    def value(at: np.ndarray) -> float:
        return float((at * r - elastic.conjugate(at))[0])

    if free[0] and slope[0] != 0:
        moved = elastic.projected(m + step * np.sign(slope), sign)
        assert value(moved) - value(m) == pytest.approx(step * abs(slope[0]) - step**2 / (4 * price), abs=1e-12)
    else:
        for there in (elastic.within(m + step), elastic.within(m - step)):
            assert value(there) <= value(m)


def test_a_multiplier_with_a_margin_stops_at_0() -> None:
    elastic = Elastic(np.ones(4), np.array([0.5, 0.5, 0.5, 0.0]))
    sign = np.array([1.0, 1.0, -1.0, 0.0])
    assert elastic.projected(np.array([2.0, -1.0, 3.0, -4.0]), sign).tolist() == [2.0, 0.0, 0.0, -4.0]


def test_a_multiplier_stops_at_its_limit_and_comes_back() -> None:
    elastic = Elastic(np.full(3, 2.0), np.zeros(3), 0.5)
    assert elastic.within(np.array([5.0, -5.0, 1.0])).tolist() == [2.0, -2.0, 1.0]
    free = elastic.ascent(np.array([9.0, -9.0, 0.1]), np.array([2.0, -2.0, 2.0]))[2]
    assert free.tolist() == [False, False, True]
