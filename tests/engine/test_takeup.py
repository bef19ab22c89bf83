"""Take-up draws and the placing of households: local, by the published rates, without the engine."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.engine.place import PLACE_INPUTS, at_place
from geocal_core.engine.takeup import Rates, draw_takeup, rates
from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES
from geocal_core.population import ENTITIES, Population
from tests.engine.households import make_population

BASE = make_population(40, seed=3)
DRAWN = [program.variable for program in rates()]


def of_household(population: Population, household: int) -> dict[str, list[object]]:
    """Every value that a household's units hold, identifiers and links apart."""
    held: dict[str, list[object]] = {}
    for entity in ENTITIES:
        inside = population.household_of(entity) == household
        for name, column in population.tables[entity].items():
            if not name.endswith("_id"):
                held[name] = column[inside].tolist()
    return held


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_what_a_copy_holds_does_not_depend_on_the_others(data: st.DataObject) -> None:
    copies = data.draw(
        st.lists(st.tuples(st.integers(0, 39), st.integers(0, 429), st.sampled_from(STATES)), min_size=1, max_size=12)
    )
    households, clones, states = zip(*((h, c, s.fips) for h, c, s in copies), strict=True)
    together = at_place(BASE, households, clones, states, seed=5)
    together.validate()
    for position in range(len(copies)):
        alone = at_place(BASE, households[position : position + 1], clones[position], states[position], seed=5)
        assert of_household(together, position) == of_household(alone, 0)


def test_draws_follow_the_identifier_and_not_the_position() -> None:
    some = np.array([7, 21, 33])
    part = BASE.take(some).with_variables("household", {"household_id": BASE.ids("household")[some]})
    person = {"person_household_id": part.ids("household")[part.tables["person"]["person_household_id"]]}
    part = part.with_variables("person", person)
    assert of_household(at_place(part, [1], 4, 48, seed=0), 0) == of_household(at_place(BASE, [21], 4, 48, seed=0), 0)


def test_clones_seeds_and_programs_have_draws_of_their_own() -> None:
    everyone = np.arange(BASE.count("household"))
    one, other = at_place(BASE, everyone, 1, 6, seed=0), at_place(BASE, everyone, 2, 6, seed=0)
    reseeded = at_place(BASE, everyone, 1, 6, seed=1)
    for again in (other, reseeded):
        assert (one["takes_up_medicaid_if_eligible"] != again["takes_up_medicaid_if_eligible"]).any()
    assert (one["takes_up_ssi_if_eligible"] != one["takes_up_head_start_if_eligible"]).any()


def test_the_state_moves_the_threshold_and_not_the_draw() -> None:
    everyone = np.arange(BASE.count("household"))
    by_state = {state.code: at_place(BASE, everyone, 9, state.fips, seed=2) for state in STATES}
    utah, indiana = (by_state[code]["takes_up_medicaid_if_eligible"] for code in ("UT", "IN"))
    assert (indiana >= utah).all()
    assert indiana.mean() > utah.mean()
    for name in set(DRAWN) - {"takes_up_medicaid_if_eligible"}:
        assert (by_state["UT"][name] == by_state["IN"][name]).all()


@pytest.mark.parametrize("program", rates(), ids=lambda program: program.variable)
def test_shares_are_the_rates(program: Rates) -> None:
    copies = 500
    households = np.tile(np.arange(BASE.count("household")), copies)
    clones = np.repeat(np.arange(copies), BASE.count("household"))
    placed = at_place(BASE, households, clones, 48, seed=0)
    taken = placed[program.variable]
    if program.by == "children":
        groups = children_by_brute_force(placed, program.entity)
        expected = dict(enumerate(program.values))
    else:
        groups = np.zeros(len(taken), dtype=int)
        expected = {0: program.values[48] if program.by == "state" else program.values[0]}
    for group, rate in expected.items():
        inside = taken[np.minimum(groups, max(expected)) == group]
        assert len(inside) > 500
        assert abs(inside.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / len(inside))


def children_by_brute_force(population: Population, entity: str) -> np.ndarray:
    ages, young = population["age"], np.zeros(population.count(entity), dtype=int)
    size = np.zeros(population.count(entity), dtype=int)
    for person, unit in enumerate(population.group_of_person(entity).tolist()):
        young[unit] += ages[person] < 19
        size[unit] += 1
    return np.where(young < size, young, young - 1)


def test_rates_are_published_ones() -> None:
    known = {program.variable: program for program in rates()}
    assert len(known) == 10
    medicaid = known["takes_up_medicaid_if_eligible"].values
    assert np.isfinite(medicaid[[state.fips for state in STATES]]).all()
    assert medicaid[49] == 0.53
    assert (medicaid[[8, 11, 18]] == 0.99).all()
    assert known["takes_up_eitc"].values.tolist() == [0.65, 0.86, 0.85, 0.85]
    single = {name: program.values.tolist() for name, program in known.items() if program.by == "nation"}
    assert single == {
        "takes_up_snap_if_eligible": [0.82],
        "takes_up_aca_if_eligible": [0.672],
        "takes_up_dc_ptc": [0.32],
        "takes_up_head_start_if_eligible": [0.30],
        "takes_up_early_head_start_if_eligible": [0.09],
        "takes_up_ssi_if_eligible": [0.50],
        "would_file_taxes_voluntarily": [0.05],
        "takes_up_tanf_if_eligible": [0.22],
    }


def test_the_place_of_the_survey_is_left_behind() -> None:
    count = BASE.count("household")
    surveyed = BASE.with_variables(
        "household",
        {"county_fips": np.full(count, "06037"), "zip_code": np.full(count, "90001"), "state_fips": np.full(count, 6)},
    )
    moved = at_place(surveyed, [0, 1], [0, 0], [48, 2], seed=0)
    assert [name for name in PLACE_INPUTS if name in moved] == ["state_fips"]
    assert moved["state_fips"].tolist() == [48, 2]
    assert surveyed["state_fips"].tolist() == [6] * count


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(ConfigError, match="no state with FIPS code 3"):
        at_place(BASE, [0], [0], 3, seed=0)
    with pytest.raises(ConfigError, match="between 0 and 39"):
        at_place(BASE, [40], [0], 6, seed=0)
    with pytest.raises(ConfigError, match="no age"):
        draw_takeup(BASE.without(["age"]), BASE.ids("household"), 0, 6, seed=0)


def test_drawing_takes_no_engine() -> None:
    code = (
        "import sys; from geocal_core.engine.place import at_place; from tests.engine.households import make_population; "
        "at_place(make_population(3), [0, 1], 0, 6, seed=0); "
        "sys.exit('policyengine_us' in sys.modules or 'policyengine_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
