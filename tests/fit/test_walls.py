"""Walls against one variable that can be solved by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.fit.walls import Walls

PLACES = np.array([-0.9, 0.0, 0.5])


@pytest.mark.parametrize("high", [1.0, math.inf])
def test_around_makes_all_products_the_same(high: float) -> None:
    walls = Walls.around(PLACES.copy(), -1.0, high, 0.25)
    np.testing.assert_allclose(walls.products(), 0.25 * len(walls.walls), rtol=1e-12)
    force = -0.25 / (PLACES + 1) + (0.25 / (1 - PLACES) if high == 1 else 0)
    np.testing.assert_allclose(walls.wanted(0.25), force, rtol=1e-12)


def test_nothing_is_felt_without_walls() -> None:
    walls = Walls.around(PLACES.copy(), -np.full(3, math.inf), np.full(3, math.inf), 1.0)
    assert not walls.walls
    assert walls.stiffness().tolist() == walls.wanted(1.0).tolist() == walls.products().tolist() == [0, 0, 0]
    assert walls.length(np.full(3, 1e9)) == 1


@given(st.floats(-0.99, 0.99), st.floats(-50, 50), st.floats(1e-6, 10), st.floats(1e-6, 10))
def test_a_step_of_its_length_keeps_distances_and_forces_above_0(
    place: float, change: float, before: float, product: float
) -> None:
    walls = Walls.around(np.array([place]), -1.0, 1.0, before)
    moves = np.array([change])
    length = walls.length(moves)
    assert 0 < length <= 1
    walls.move(moves, product, length)
    assert -1 < walls.place[0] < 1
    assert all((force > 0).all() for _, _, force in walls.walls)


@pytest.mark.parametrize("target", [-3.0, 0.2, 5.0])
def test_newton_steps_end_at_the_nearest_place_between_walls(target: float) -> None:
    """min (y - target)^2 / 2: its derivative plus the force is 0."""
    walls, product = Walls.around(np.zeros(1), -1.0, 1.0, 1.0), 1.0
    for _ in range(40):
        product *= 0.5
        change = (target - walls.place - walls.wanted(product)) / (1 + walls.stiffness())
        walls.move(change, product, walls.length(change))
    assert walls.place[0] == pytest.approx(np.clip(target, -1, 1), abs=1e-8)
    force = sum(sign * size for sign, _, size in walls.walls)
    assert force == pytest.approx(target - walls.place, abs=1e-8)


def test_a_part_moves_the_whole() -> None:
    walls = Walls.around(PLACES.copy(), -1.0, 1.0, 0.1)
    walls.part(slice(1, 2)).move(np.array([0.3]), 0.1, 1.0)
    assert walls.place.tolist() == [-0.9, 0.3, 0.5]
