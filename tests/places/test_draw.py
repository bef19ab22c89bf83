"""The systematic draw: floors and ceilings for every household, district and block, whatever the masses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.places.draw import draw_blocks

masses = st.lists(st.one_of(st.just(0.0), st.floats(0.01, 50.0)), min_size=1, max_size=12).filter(
    lambda values: sum(values) > 0
)


def places(mass: list[float], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the blocks of each district begin, their masses, and the district of each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, len(mass))
    first = np.concatenate([[0], np.cumsum(sizes)])
    return first, rng.random(first[-1]) + 1e-6, np.repeat(np.arange(len(mass)), sizes)


@given(masses, st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000))
@settings(deadline=None, max_examples=200)
def test_counts_are_expectations_rounded_down_or_up(mass: list[float], n_households: int, n_clones: int, seed: int) -> None:
    first, block_mass, district_of = places(mass, seed)
    share = np.array(mass) / np.sum(mass)
    drawn = draw_blocks(np.array(mass), first, block_mass, n_households, n_clones, np.random.default_rng(seed))
    assert drawn.shape == (n_clones, n_households)
    district = district_of[drawn]

    def near(count: int, expected: float) -> bool:
        return np.floor(expected - 1e-9) <= count <= np.ceil(expected + 1e-9)

    for d, mass_share in enumerate(share):
        columns = int((district == d).sum())
        assert near(columns, mass_share * drawn.size)
        for household in range(n_households):
            assert near(int((district[:, household] == d).sum()), mass_share * n_clones)
        inside = np.arange(first[d], first[d + 1])
        for block in inside:
            assert near(int((drawn == block).sum()), columns * block_mass[block] / block_mass[inside].sum())
    # So do neighbouring districts together, such as those of a state.
    for end in range(1, len(share) + 1):
        state = (district < end).sum(axis=0)
        assert all(near(int(count), share[:end].sum() * n_clones) for count in state)


def test_no_household_meets_a_district_twice_when_there_are_enough_of_them() -> None:
    """The shares of 436 districts, none above one of 430 clones: nobody lives in one of them twice."""
    share = np.random.default_rng(0).uniform(0.9, 1.0, 436)
    first = np.arange(0, 437 * 10, 10)
    drawn = draw_blocks(share, first, np.ones(4360), 300, 410, np.random.default_rng(1)) // 10
    for household in range(300):
        assert len(np.unique(drawn[:, household])) == 410


def test_clones_and_households_say_nothing_about_the_place() -> None:
    """Each clone's and each household's mean position on the line is that of a uniform sample."""
    first = np.arange(0, 101, 10)
    drawn = draw_blocks(np.ones(10), first, np.ones(100), 400, 30, np.random.default_rng(2))
    spread = 100 / np.sqrt(12)
    assert np.abs(drawn.mean(axis=1) - 49.5).max() < 5 * spread / np.sqrt(400)
    assert np.abs(drawn.mean(axis=0) - 49.5).max() < 5 * spread / np.sqrt(30)


def test_the_sample_of_one_county_says_nothing_about_that_of_another() -> None:
    """Of two halves of two districts, which households live in one half is no help to know who lives in the other's."""
    drawn = draw_blocks(np.ones(2), np.array([0, 2, 4]), np.ones(4), 4000, 2, np.random.default_rng(3))
    first = (drawn == 0).any(axis=0)
    second = (drawn == 2).any(axis=0)
    assert first.sum() == pytest.approx(2000, abs=1)
    assert (first & second).sum() == pytest.approx(1000, abs=5 * np.sqrt(4000 / 16))


def test_nobody_to_draw_for() -> None:
    assert draw_blocks(np.ones(2), np.array([0, 1, 2]), np.ones(2), 0, 7, np.random.default_rng(0)).shape == (7, 0)
