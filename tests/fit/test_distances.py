"""Distances against numerical integration, their own definition and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy

from geocal_core.errors import ConfigError
from geocal_core.fit.distances import Distance, Entropy, Logit, distance_within
from geocal_core.matrix.factored import Floats

DISTANCES: list[Distance] = [Entropy(), Logit((0.0, 100.0)), Logit((0.4, 3.0)), Logit((0.9, 1.1))]
U = np.linspace(-3, 3, 601)


def phi(distance: Distance, x: Floats) -> Floats:
    """The distance as Deville and Sarndal define it."""
    low, high = distance.bounds
    if high == math.inf:
        return xlogy(x, x) - x + 1
    a = (high - low) / ((1 - low) * (high - 1))
    return (xlogy(x - low, (x - low) / (1 - low)) + xlogy(high - x, (high - x) / (high - 1))) / a


@pytest.mark.parametrize("distance", DISTANCES)
def test_ratio_is_the_derivative_of_the_conjugate_and_slope_that_of_the_ratio(distance: Distance) -> None:
    step = 1e-5
    ratio, _ = distance.dual(U)
    ahead, behind = distance.dual(U + step), distance.dual(U - step)
    np.testing.assert_allclose((ahead[1] - behind[1]) / (2 * step), ratio, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose((ahead[0] - behind[0]) / (2 * step), distance.slope(ratio), rtol=1e-6, atol=1e-8)
    at_0 = distance.dual(np.zeros(1))
    assert at_0[0] == pytest.approx(1)
    assert at_0[1] == pytest.approx(0, abs=1e-14)
    assert distance.slope(np.ones(1)) == pytest.approx(1)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_conjugate_is_that_of_the_published_distance(distance: Distance) -> None:
    u = U[np.abs(U) < 1.5]
    ratio, conjugate = distance.dual(u)
    np.testing.assert_allclose(phi(distance, ratio) + conjugate, u * ratio, atol=1e-10)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_distance_is_the_published_one_and_its_derivative_turns_ratios_back(distance: Distance) -> None:
    u = U[np.abs(U) < 0.7]  # beyond that ratios of narrow bounds are as good as at them
    ratio, _ = distance.dual(u)
    value, pull = distance.primal(ratio)
    np.testing.assert_allclose(value, phi(distance, ratio), atol=1e-12)
    np.testing.assert_allclose(pull, u, rtol=1e-6, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.99), st.floats(1.01, 1e4), st.floats(-1e6, 1e6))
def test_ratios_stay_within_their_bounds_whatever_the_multipliers(low: float, high: float, u: float) -> None:
    ratio, conjugate = Logit((low, high)).dual(np.array([u]))
    assert low <= ratio[0] <= high * (1 + 1e-15)
    assert np.isfinite(conjugate[0])
    assert Logit((low, high)).slope(np.clip(ratio, low, high))[0] >= 0


def test_wide_bounds_are_nearly_entropy() -> None:
    u = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(Logit((0.0, 1e9)).dual(u)[0], Entropy().dual(u)[0], rtol=1e-6)


@pytest.mark.parametrize("bounds", [(-0.1, 2), (1, 2), (0, 1), (0.5, 0.9), (0, math.inf), (math.nan, 2), (0, math.nan)])
def test_bounds_that_do_not_hold_1_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"the bounds of weights are .* times their start; the lower one must be in \[0, 1\)"):
        distance_within(bounds)


def test_no_bounds_mean_entropy() -> None:
    assert distance_within(None) == Entropy()
    assert distance_within((0, 5)) == Logit((0.0, 5.0))
