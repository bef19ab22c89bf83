"""The table of dependences against experiments and against what the engine reads."""

from __future__ import annotations

import numpy as np
import pytest

from geocal_core.engine.copies import BASELINE, Question
from geocal_core.engine.dependence import Dependence, dependence_of, dependences, dependences_in, table
from geocal_core.engine.layers import reads_of
from geocal_core.engine.place import Places, at_place
from geocal_core.engine.reads import Reads
from geocal_core.engine.simulate import simulate
from geocal_core.engine.takeup import TakeUp
from geocal_core.engine.variables import tax_benefit_system
from geocal_core.population import Population
from tests.engine.households import YEAR, make_population
from tests.engine.placing import copies_in, places_in

BASE = make_population(150, seed=21)
MEASURED = (
    "aca_ptc",
    "adjusted_gross_income",
    "age",
    "charitable_deduction",
    "chip",
    "eitc",
    "employment_income",
    "household_net_income",
    "income_tax",
    "income_tax_before_credits",
    "irs_employment_income",
    "medicaid_enrolled",
    "medical_expense_deduction",
    "qualified_business_income_deduction",
    "real_estate_taxes",
    "refundable_ctc",
    "rent",
    "salt_deduction",
    "snap",
    "social_security",
    "spm_unit_capped_housing_subsidy",
    "ssi",
    "state_income_tax",
    "tanf",
    "tax_unit_is_filer",
    "taxable_income",
    "taxable_interest_income",
    "unemployment_compensation",
    "used_aca_ptc",
    "wic",
)


def placed(places: Places, seed: int = 0, clone: int = 0) -> Population:
    return at_place(BASE, np.arange(150), clone, places, TakeUp.of(BASE, seed))


def in_county(district: int, county: str) -> Places:
    return Places.of(np.full(150, district), np.full(150, f"{county}0001001000"))


def changed(one: Population, other: Population) -> set[str]:
    first, second = (simulate(population, MEASURED, YEAR) for population in (one, other))
    return {name for name in MEASURED if (first[name] != second[name]).any()}


def flagged(kind: str) -> set[str]:
    return {name for name in MEASURED if getattr(dependences().get(name, Dependence()), kind)}


@pytest.mark.engine
def test_what_changes_in_experiments_is_in_the_table() -> None:
    """States, counties and draws one at a time: nothing changes that the table does not say, and much does that it says."""
    texas, alaska = placed(places_in(np.full(150, 48), 1)), placed(places_in(np.full(150, 2), 1))
    by_state = changed(texas, alaska)
    angeles = placed(in_county(634, "06037"))
    francisco = placed(in_county(611, "06075"))
    by_place = changed(angeles, francisco)
    by_draw = changed(angeles, placed(in_county(634, "06037"), seed=1))
    assert by_state <= flagged("state")
    assert by_place <= flagged("place")
    assert by_draw <= flagged("takeup")
    assert {"adjusted_gross_income", "snap", "taxable_income"} <= by_state  # AGI: Alaska's dividend
    assert "state_income_tax" in changed(texas, angeles)
    assert {"aca_ptc", "rent", "snap"} <= by_place
    assert {"snap", "ssi", "eitc", "medicaid_enrolled", "tax_unit_is_filer"} <= by_draw
    assert changed(angeles, placed(in_county(629, "06037"))) == set()  # the district alone


@pytest.mark.engine
def test_what_the_engine_reads_is_in_the_table() -> None:
    """California's households, which the table was not made from."""
    question = Question(BASE, TakeUp.of(BASE), {BASELINE: MEASURED})
    found = dependences_in(reads_of(question, copies_in((6,), 150, 1)))
    assert len(found) > 500
    for name, one in found.items():
        assert dependences()[name] | one == dependences()[name], name


@pytest.mark.engine
def test_the_table_names_variables_of_the_engine() -> None:
    assert set(dependences()) <= set(tax_benefit_system().variables)


def test_dependences_of_graphs_add_up() -> None:
    reads = Reads()
    reads.of = {
        ("tax", "2024"): {("state_fips", "2024"), ("itemizes", "2024")},
        ("itemizes", "2024"): {("takes_up_eitc", "2024")},
        ("credit", "2024"): {("county_fips", "2024")},
        ("age", "2024"): set(),
        ("state_fips", "2024"): set(),
        ("county_fips", "2024"): set(),
        ("takes_up_eitc", "2024"): set(),
    }
    reads.replaced = {"itemizes"}
    found = dependences_in(reads)
    assert found["tax"] == Dependence(state=True, takeup=True, compared=True)
    assert found["credit"] == Dependence(place=True)
    assert found["credit"].local
    assert not Dependence(state=True).local
    assert "age" not in found
    assert table(found, "an engine").splitlines()[3:6] == ["county_fips,0,1,0,0", "credit,0,1,0,0", "itemizes,0,0,1,1"]
    assert dependence_of(("age", "employment_income")) == Dependence()
    assert dependence_of(("adjusted_gross_income",)).state
    assert not dependence_of(("adjusted_gross_income",)).local
    assert dependence_of(("age", "snap")).local
