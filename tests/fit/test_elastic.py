"""The price of misses and its conjugate against a search over a grid."""

from __future__ import annotations

import math

import numpy as np
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
    m = np.array([share * min(8.0, elastic.limit[0])])
    np.testing.assert_allclose(elastic.cost(r), cost(elastic, r), rtol=1e-12, atol=1e-300)
    gap = elastic.gap(r, m)[0]
    assert gap >= 0
    np.testing.assert_allclose(gap, (elastic.cost(r) + elastic.conjugate(m) - m * r)[0], rtol=1e-9, atol=1e-9)
