"""Contradictions that were planted are named, and prices tell what giving way buys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ConfigError
from geocal_core.fit.conflicts import conflicts, wholes
from geocal_core.fit.problem import Problem, problem
from geocal_core.fit.raking import rake
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.variants import Variants
from tests.fit.test_arrow import nation
from tests.fit.test_raking import eased, random_problem

PLACES = [0, 10, 20, 1001, 1002, 2001, 2002, 2003]
NAMES = ["US", "DE", "FL", "DE-01", "DE-02", "FL-01", "FL-02", "FL-03"]
SOUND = [250.0, 100.0, 150.0, 50.0, 50.0, 50.0, 50.0, 50.0]
UNSOUND = [270.0, 110.0, 165.0, 50.0, 60.0, 50.0, 52.0, 50.0]


def people(target: list[float]) -> Problem:
    """One quantity of the nation, two states and their five districts, 50 columns of weight 1 each."""
    values = sparse.csr_matrix(np.ones((1, 250), dtype=np.float32))
    variants = Variants.from_values(values, [[0]], 25, 10)
    district = np.repeat(PLACES[3:], 50)
    matrix = FactoredMatrix.of_variants(variants, np.zeros(8, dtype=np.int64), np.array(PLACES), district)
    return problem(matrix, target, np.ones(250), names=NAMES)


def test_wholes_are_the_sums_of_the_next_level() -> None:
    made = people(SOUND)
    assert wholes(made.matrix) == [(0, [1, 2]), (1, [3, 4]), (2, [5, 6, 7])]


def test_without_a_state_the_nation_is_the_sum_of_its_districts_too() -> None:
    made = people(SOUND)
    assert wholes(made.matrix.rows(np.array([0, 1, 5, 6, 7]))) == [(0, [1, 2, 3, 4])]
    assert wholes(made.matrix.rows(np.array([0, 1, 5, 6]))) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_wholes_are_sums_in_the_explicit_matrix(seed: int) -> None:
    matrix = nation(seed)
    dense = matrix.tocsr().toarray()
    for whole, parts in wholes(matrix):
        np.testing.assert_allclose(dense[parts].sum(axis=0), dense[whole])


def test_a_state_that_contradicts_its_districts_is_named() -> None:
    made = people(UNSOUND)
    found = conflicts(made, rake(made, gap=1e-8))
    assert found.sums["whole"].tolist() == ["FL", "US"]
    row = found.sums.set_index("whole").loc["FL"]
    assert row["parts"] == 3
    assert row["gap"] == pytest.approx(-13.0)
    assert row["relative"] == pytest.approx(-13.0 / 165)
    assert found.targets["target"].iloc[0] == "FL"
    assert set(found.targets["target"]) == set(NAMES)
    assert (found.targets["pull"].diff().dropna() <= 0).all()
    lines = found.lines()
    assert lines[0].startswith("FL is 15")
    assert "where 165 is wanted (-" in lines[0]
    assert "when solved again" in lines[2]
    assert "when solved again" not in lines[3]
    assert any(line.startswith("FL is to be 165 and its 3 parts 152 (-7.88%): no weights meet both") for line in lines)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_first_order_is_never_too_low_and_near_the_truth_for_a_small_step(seed: int) -> None:
    made = random_problem(seed)
    raked = rake(made, gap=1e-9)
    found = conflicts(made, raked, solved=2)
    told = found.targets.dropna(subset="gain")
    assert len(told) == 2
    assert (told["gain"] >= -1e-7 * raked.primal).all()
    assert (told["gain"] <= told["gain_first_order"] + 1e-7 * raked.primal).all()
    row = made.names.index(told["target"].iloc[0])
    small = 1e-4
    room = np.zeros(len(made.target))
    room[row] = small
    bought = raked.primal - rake(eased(made, tolerance=room), gap=1e-12, start=raked.multipliers).primal
    assert bought == pytest.approx(small / 0.01 * told["gain_first_order"].iloc[0], rel=0.05, abs=1e-7 * raked.primal)


def test_nothing_fights_where_everything_is_met() -> None:
    made = people(SOUND)
    found = conflicts(made, rake(made))
    assert found.lines() == ["no target is missed at a cost"]
    assert len(found.sums) == 0


def test_bad_arguments_are_refused() -> None:
    made = people(UNSOUND)
    raked = rake(made)
    with pytest.raises(ConfigError, match="most is -1"):
        conflicts(made, raked, most=-1)
    with pytest.raises(ConfigError, match="the solution is of 8 targets and the problem has 6"):
        conflicts(random_problem(0), raked)
