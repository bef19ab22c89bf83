"""The price of misses and its conjugate against a search over a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.fit.elastic import Elastic

GRID = np.linspace(-60, 60, 240_001)


def one(price: float, margin: float) -> Elastic:
    return Elastic(np.array([price]), np.array([margin]))


@settings(max_examples=60, deadline=None)
@given(st.floats(0.1, 100), st.sampled_from([0.0, 0.3, 2.0]), st.floats(-8, 8))
def test_the_conjugate_is_the_greatest_of_its_lines(price: float, margin: float, multiplier: float) -> None:
    wanted = np.max(multiplier * GRID - price * np.maximum(np.abs(GRID) - margin, 0) ** 2)
    found = one(price, margin).conjugate(np.array([multiplier]))[0]
    assert abs(found - wanted) < 1e-4 * price + 1e-9


@settings(max_examples=100, deadline=None)
@given(st.floats(0.1, 100), st.sampled_from([0.0, 0.3, 2.0]), st.floats(-5, 5), st.floats(-8, 8))
def test_the_gap_is_its_definition_and_never_negative(price: float, margin: float, miss: float, multiplier: float) -> None:
    elastic, r, m = one(price, margin), np.array([miss]), np.array([multiplier])
    gap = elastic.gap(r, m)[0]
    assert gap >= 0
    np.testing.assert_allclose(gap, (elastic.cost(r) + elastic.conjugate(m) - m * r)[0], rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.1, 100), st.sampled_from([0.0, 0.3]), st.floats(-5, 5), st.sampled_from([-2.0, -0.01, 0.0, 0.01, 2.0]))
def test_the_ascent_rises_and_is_0_only_at_the_top(price: float, margin: float, miss: float, multiplier: float) -> None:
    elastic, r, m = one(price, margin), np.array([miss]), np.array([multiplier])
    slope, sign = elastic.ascent(r, m)

    def value(at: np.ndarray) -> float:
        return float((at * r - elastic.conjugate(at))[0])

    assert elastic.free(sign)[0] or slope[0] == 0
    step = 1e-3
    if slope[0] == 0:
        assert value(m + step) <= value(m)
        assert value(m - step) <= value(m)
    else:
        moved = elastic.projected(m + step * np.sign(slope), sign)
        assert value(moved) - value(m) == pytest.approx(step * abs(slope[0]) - step**2 / (4 * price), abs=1e-12)


def test_a_multiplier_with_a_margin_stops_at_0() -> None:
    elastic = Elastic(np.ones(4), np.array([0.5, 0.5, 0.5, 0.0]))
    sign = np.array([1.0, 1.0, -1.0, 0.0])
    assert elastic.projected(np.array([2.0, -1.0, 3.0, -4.0]), sign).tolist() == [2.0, 0.0, 0.0, -4.0]
