"""Values in layers against plain simulations of the same copies, value for value."""

from __future__ import annotations

import numpy as np
import pytest

from geocal_core.engine import layers
from geocal_core.engine.copies import BASELINE, Answer, Copies, Question
from geocal_core.engine.dependence import Dependence
from geocal_core.engine.layers import Nation, nation_layer, state_layer
from geocal_core.engine.simulate import simulate
from geocal_core.engine.takeup import TakeUp
from tests.engine.households import YEAR, make_population
from tests.engine.placing import copies_in, places_in

pytestmark = pytest.mark.engine

BASE = make_population(60, seed=11)
VARIABLES = (
    "aca_ptc",
    "adjusted_gross_income",
    "age",
    "chip",
    "eitc",
    "eitc_child_count",
    "head_start",
    "household_net_income",
    "income_tax",
    "medicaid_enrolled",
    "refundable_ctc",
    "rent",
    "salt_deduction",
    "snap",
    "spm_unit_capped_housing_subsidy",
    "spm_unit_is_in_spm_poverty",
    "ssi",
    "state_income_tax",
    "tanf",
    "taxable_interest_income",
    "tax_unit_is_filer",
    "tax_unit_itemizes",
    "tenure_type",
    "used_aca_ptc",
    "wic",
)
NEUTRALISED = {"salt_deduction": ("income_tax",), "charitable_deduction": ("income_tax",)}
QUESTION = Question(BASE, TakeUp.of(BASE, seed=2), {BASELINE: VARIABLES, **NEUTRALISED})
EVERYONE = copies_in((2, 6, 48), 60, 9, seed=4)


def nation() -> Nation:
    households = np.arange(60)
    return nation_layer(QUESTION, Copies(households, np.zeros(60, dtype=np.int64), places_in(np.full(60, 48))))


@pytest.fixture(scope="module")
def of_nation() -> Nation:
    return nation()


@pytest.fixture(autouse=True)
def _layers_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were many copies."""
    monkeypatch.setattr(layers, "COST_OF_A_LAYER", (0, 0))


def of_state(fips: int) -> Copies:
    return EVERYONE.take(np.flatnonzero(EVERYONE.places.state == fips))


def assert_same(found: Answer, expected: Answer) -> None:
    assert found.values.keys() == expected.values.keys()
    for rules, values in expected.values.items():
        for name, plain in values.items():
            np.testing.assert_array_equal(found.values[rules][name], plain, err_msg=f"{name} under {rules or 'the rules'}")


@pytest.mark.parametrize("fips", [2, 6, 48])
def test_layers_give_the_values_of_plain_simulations(of_nation: Nation, fips: int) -> None:
    copies = of_state(fips)
    state = state_layer(of_nation, copies)
    plain = QUESTION.answer(copies)
    assert_same(state.answer(copies), plain)
    some = copies.take(np.arange(len(copies))[::7][::-1])
    assert_same(state.answer(some), QUESTION.answer(some))
    assert len(of_nation.known) > 500
    assert len(state.known) > 500
    assert any(name == "slcsp_age_0" for name, _ in state.known_of_place)
    varied = [name for name, values in plain.values[BASELINE].items() if len(np.unique(values)) > 1]
    assert len(varied) >= len(VARIABLES) - 5


def test_few_copies_take_over_from_the_nation_alone(of_nation: Nation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    few = of_state(2)
    state = state_layer(of_nation, few)
    assert state.known is of_nation.known
    assert_same(state.answer(few), QUESTION.answer(few))


@pytest.mark.slow
def test_layers_of_new_york(of_nation: Nation) -> None:
    """With the law of another year, for which the engine clones its system, and a city tax."""
    copies = copies_in((36,), 60, 3, seed=8)
    assert_same(state_layer(of_nation, copies).answer(copies), QUESTION.answer(copies))


def test_a_dependence_that_is_not_known_of_would_be_seen(of_nation: Nation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is able to fail: take what is drawn for a copy as the same for all of them."""
    copies = of_state(6)
    for name in ("dependences_in", "dependences"):
        monkeypatch.setattr(layers, name, lambda *_: {"snap": Dependence(state=True)})
    wrong = state_layer(of_nation, copies).answer(copies)
    with pytest.raises(AssertionError):
        assert_same(wrong, QUESTION.answer(copies))


def test_setting_a_variable_aside_is_the_engines_own_neutralisation() -> None:
    from policyengine_core.reforms import Reform
    from policyengine_us import Microsimulation

    from geocal_core.engine.simulate import _InMemory

    class WithoutCharity(Reform):  # type: ignore[misc]
        def apply(self) -> None:
            self.neutralize_variable("charitable_deduction")

    copies = of_state(6)
    population = QUESTION.populate(copies)
    reformed = Microsimulation(dataset=_InMemory(population), reform=WithoutCharity)
    expected = np.asarray(reformed.calculate("income_tax", YEAR))
    found = QUESTION.answer(copies)
    np.testing.assert_allclose(found.values["charitable_deduction"]["income_tax"], expected, rtol=1e-6, atol=1e-2)
    assert (found.values["charitable_deduction"]["income_tax"] > found.values[BASELINE]["income_tax"]).any()


def test_interactions_and_counties_are_in_the_values() -> None:
    """Taking up SSI changes SNAP, the county changes the premium credit: the product of a value with a draw would miss it."""
    copies = of_state(6)
    population = QUESTION.populate(copies)
    everybody = population.with_variables(
        "person", {"takes_up_ssi_if_eligible": np.ones(population.count("person"), dtype=bool)}
    )
    drawn, full = (simulate(one, ("snap", "takes_up_snap_if_eligible"), YEAR) for one in (population, everybody))
    assert (drawn["takes_up_snap_if_eligible"] == full["takes_up_snap_if_eligible"]).all()
    assert (drawn["snap"] != full["snap"]).any()
    moved = population.with_variables("household", {"county_fips": np.full(len(copies), "06075")})
    here, there = (simulate(one, ("aca_ptc", "rent"), YEAR) for one in (population, moved))
    elsewhere = population["county_fips"][population.household_of("tax_unit")] != "06075"
    assert (here["aca_ptc"] != there["aca_ptc"])[elsewhere].any()
    assert (here["aca_ptc"] == there["aca_ptc"])[~elsewhere].all()
