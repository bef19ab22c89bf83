"""Copies of households in their places: what they keep, what they lose, and how they are numbered."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.engine import place as place_module
from geocal_core.engine.place import NO_ZIP_CODE, PLACE_INPUTS, Places, at_place, in_state
from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ConfigError
from geocal_core.population import ENTITIES, GROUPS, IMPUTED, Population, id_name, link_name
from tests.engine.households import make_population
from tests.engine.placing import copies_in, places_in

BASE = make_population(40, seed=3)
TAKEUP = TakeUp.of(BASE, seed=5)
EVERYONE = copies_in((6, 48, 36), 40, 6, seed=1)


def placed(at: np.ndarray) -> Population:
    some = EVERYONE.take(at)
    return at_place(BASE, some.households, some.clones, some.places, TAKEUP)


def of_household(population: Population, position: int) -> dict[str, list[object]]:
    """All that a population holds of a household."""
    found = {}
    for entity in ENTITIES:
        mine = population.household_of(entity) == position
        found |= {name: column[mine].tolist() for name, column in population.tables[entity].items()}
    return found


@given(st.lists(st.integers(0, 239), min_size=1, max_size=12, unique=True))
@settings(deadline=None, max_examples=30)
def test_a_copy_does_not_depend_on_the_others(at: list[int]) -> None:
    together = placed(np.array(at))
    together.validate()
    for position, column in enumerate(at):
        assert of_household(together, position) == of_household(placed(np.array([column])), 0)


def test_copies_are_numbered_by_clone_and_position_in_every_file() -> None:
    everyone = placed(np.arange(240))
    assert everyone.ids("household").tolist() == list(range(240))
    for entity in ENTITIES:
        assert sorted(everyone.ids(entity).tolist()) == list(range(6 * BASE.count(entity)))
    for group in GROUPS:
        links = everyone.tables["person"][link_name(group)]
        inside = BASE.group_of_person(group)
        expected = np.concatenate([inside + clone * BASE.count(group) for clone in range(6)])
        assert links.tolist() == expected.tolist()


def test_the_place_of_the_survey_is_left_behind() -> None:
    surveyed = BASE.with_variables("household", {name: np.full(40, "x") for name in PLACE_INPUTS if name != "state_fips"})
    surveyed = surveyed.with_variables("household", {IMPUTED: np.arange(40) % 2 == 0})
    copies = at_place(surveyed, [0, 1], [0, 0], places_in([48, 2]), TakeUp.of(surveyed))
    assert set(copies.tables["household"]) & set(PLACE_INPUTS) == {
        "state_fips",
        "county_fips",
        "congressional_district_geoid",
        "block_geoid",
        "place_fips",
        "zip_code",
    }
    assert copies["state_fips"].tolist() == [48, 2]
    assert IMPUTED not in copies
    assert IMPUTED not in in_state(surveyed, 48)


def test_a_zip_code_is_told_in_los_angeles_county_alone() -> None:
    blocks = [f"{county}0001001000" for county in ("06037", "06075", "06037", "48201")]
    places = Places.of([634, 611, 634, 4802], blocks, ["44000", "67000", "", ""], ["90012", "94103", "", "77002"])
    assert places.inputs["zip_code"].tolist() == ["90012", NO_ZIP_CODE, NO_ZIP_CODE, NO_ZIP_CODE]
    assert places.inputs["county_fips"].tolist() == ["06037", "06075", "06037", "48201"]
    assert places.inputs["place_fips"].tolist() == ["44000", "67000", "", ""]
    assert places.state.tolist() == [6, 6, 6, 48]
    assert places.take([3, 0]).district.tolist() == [4802, 634]
    once = places.take([1, 1, 3]).each_once()
    assert sorted(once.inputs["county_fips"].tolist()) == ["06075", "48201"]


def test_what_the_engine_would_misplace_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="does not know the county 09110; blocks carry the counties"):
        Places.of([901], ["091100001001000"])
    with pytest.raises(ConfigError, match="household positions lie between 0 and 39"):
        at_place(BASE, [40], [0], places_in([6]), TAKEUP)
    with pytest.raises(ConfigError, match="clone 99999999 of .* cannot be numbered"):
        at_place(BASE, [0], [99_999_999], places_in([6]), TAKEUP)
    monkeypatch.setattr(place_module.importlib.util, "find_spec", lambda name: None)
    place_module.known_counties.cache_clear()
    with pytest.raises(ConfigError, match="the engine is not installed"):
        place_module.known_counties()
    place_module.known_counties.cache_clear()


def test_placing_does_not_import_the_engine() -> None:
    code = (
        "import sys; import tests.engine.test_place as t, numpy as np; t.placed(np.arange(3)); "
        "sys.exit('policyengine_us' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_identifiers_link_every_table() -> None:
    copies = placed(np.array([7, 100, 200]))
    for group in GROUPS:
        assert set(copies.tables["person"][link_name(group)].tolist()) == set(copies.tables[group][id_name(group)].tolist())
