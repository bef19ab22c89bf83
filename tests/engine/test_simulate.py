"""Simulation against the engine used plainly: its own Microsimulation on a file. One import, few and small simulations."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.context import StageContext
from geocal_core.engine import household_agi as household_agi_module
from geocal_core.engine.household_agi import build, household_agi
from geocal_core.engine.place import PLACE_INPUTS, Places, at_place, in_state
from geocal_core.engine.simulate import _InMemory, simulate
from geocal_core.engine.takeup import TakeUp, rates
from geocal_core.engine.variables import entity_of, enum_names, is_input, nonlocal_variables, tax_benefit_system, value_kind
from geocal_core.errors import ConfigError
from geocal_core.population import ENTITIES, IMPUTED, Population, write_h5
from geocal_core.progress import Silent
from geocal_core.settings import HouseholdAgiSettings
from geocal_core.store import Store
from tests.engine.households import OTHER_INCOMES, YEAR, make_population
from tests.engine.placing import places_in

pytestmark = pytest.mark.engine

VARIABLES = (
    "adjusted_gross_income",
    "age",
    "aca_ptc",
    "chip",
    "eitc",
    "eitc_child_count",
    "employment_income",
    "head_start",
    "household_net_income",
    "income_tax",
    "medicaid_enrolled",
    "person_count",
    "refundable_ctc",
    "salt_deduction",
    "snap",
    "ssi",
    "state_code",
    "state_income_tax",
    "takes_up_snap_if_eligible",
    "tanf",
    "tax_unit_is_filer",
    "tax_unit_itemizes",
    "tenure_type",
    "wic",
)
STATES = (6, 48, 2)
BASE = make_population(48, seed=1)
TAKEUP = TakeUp.of(BASE, seed=4)
TURN = np.arange(48) % 3


def copies(households: np.ndarray, clone: int, states: int | np.ndarray) -> Population:
    """Copies of households in states, each in a county of its own choice."""
    fips = np.broadcast_to(states, households.shape)
    everywhere = {state: places_in(np.full(48, state), seed=state) for state in set(fips.tolist())}
    chosen = [everywhere[state].take([household]).inputs for household, state in zip(households, fips.tolist(), strict=True)]
    joined = {name: np.concatenate([one[name] for one in chosen]) for name in chosen[0]}
    places = Places.of(joined["congressional_district_geoid"], joined["block_geoid"], joined["place_fips"])
    return at_place(BASE, households, clone, places, TAKEUP)


@pytest.fixture(scope="module")
def placed() -> Population:
    """Copies of households in three states, by turns."""
    return copies(np.arange(48), 3, np.array(STATES)[TURN])


@pytest.fixture(scope="module")
def by_state(placed: Population) -> dict[int, dict[str, np.ndarray]]:
    """Values of the households of each state, simulated without the others."""
    return {
        state: simulate(copies(np.flatnonzero(turn == TURN), 3, state), VARIABLES, YEAR) for turn, state in enumerate(STATES)
    }


def test_values_are_those_of_a_microsimulation_of_the_file(placed: Population, by_state: dict, tmp_path: Path) -> None:
    """Written to a file, loaded and computed by the engine alone, all states mixed: the same, household by household.

    What the file tells of its records, and the engine does not know, does not keep it from loading the file.
    """
    from policyengine_us import Microsimulation

    write_h5(placed.with_variables("household", {IMPUTED: TURN == 0}), tmp_path / "placed.h5")
    simulation = Microsimulation(dataset=str(tmp_path / "placed.h5"))
    varied = 0
    for variable in VARIABLES:
        mixed = np.asarray(simulation.calculate(variable, YEAR))
        fips = placed["state_fips"][placed.household_of(entity_of(variable))]
        for state in STATES:
            alone = by_state[state][variable]
            if alone.dtype.kind == "f":
                np.testing.assert_allclose(alone, mixed[fips == state], rtol=1e-6, atol=1e-3, err_msg=f"{variable} in {state}")
            else:
                assert alone.tolist() == mixed[fips == state].tolist(), f"{variable} in {state}"
        varied += len(np.unique(mixed)) > 1
    assert varied >= len(VARIABLES) - 2


@pytest.mark.slow
def test_new_york_twice_is_new_york_once() -> None:
    """The clone of the system that New York's child credit needs serves a second simulation, with the same values."""
    from policyengine_core.simulations import Simulation
    from policyengine_us import Microsimulation

    households = copies(np.arange(48), 0, 36)
    wanted = ("state_income_tax", "salt_deduction", "income_tax")
    first = simulate(households, wanted, YEAR)
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Simulation)]
    again = simulate(copies(np.arange(1, 48), 0, 36), wanted, YEAR)
    plain = Microsimulation(dataset=_InMemory(households))
    inside = households.household_of("tax_unit") > 0
    for variable in wanted:
        np.testing.assert_array_equal(np.asarray(plain.calculate(variable, YEAR)), first[variable])
        np.testing.assert_array_equal(first[variable][inside], again[variable])
    assert (first["state_income_tax"] != 0).any()


def test_types_are_those_of_the_variables(by_state: dict) -> None:
    kinds = {"age": "f", "eitc_child_count": "i", "tax_unit_is_filer": "b", "tenure_type": "U", "state_code": "U", "snap": "f"}
    for variable, kind in kinds.items():
        assert by_state[48][variable].dtype.kind == kind
    assert set(by_state[2]["state_code"]) == {"AK"}
    assert set(by_state[6]["tenure_type"]) <= set(enum_names("tenure_type"))
    assert (value_kind("tenure_type"), value_kind("is_female"), enum_names("age")) == (str, bool, ())


def test_a_monthly_flow_is_its_sum_over_the_year(by_state: dict) -> None:
    from policyengine_us import Simulation

    alaska = copies(np.flatnonzero(TURN == 2), 3, 2)
    simulation = Simulation(dataset=_InMemory(alaska))
    months = sum(np.asarray(simulation.calculate("snap", f"{YEAR}-{month:02d}"), dtype=float) for month in range(1, 13))
    assert months.sum() > 0
    np.testing.assert_allclose(by_state[2]["snap"], months, rtol=1e-5)


def test_no_simulation_outlives_its_call() -> None:
    from policyengine_core.simulations import Simulation

    simulate(in_state(BASE.take(np.arange(3)), 48), ("adjusted_gross_income",), YEAR)
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Simulation)]


def test_take_up_changes_what_is_received(by_state: dict, placed: Population) -> None:
    units = placed["state_fips"][placed.household_of("spm_unit")]
    for state in STATES:
        refused = ~by_state[state]["takes_up_snap_if_eligible"]
        assert refused.any()
        assert (by_state[state]["snap"][refused] == 0).all()
        assert (by_state[state]["takes_up_snap_if_eligible"] == placed["takes_up_snap_if_eligible"][units == state]).all()


def test_the_lists_of_names_fit_the_engine() -> None:
    for program in rates():
        assert entity_of(program.variable) == program.entity
        assert is_input(program.variable)
        assert value_kind(program.variable) is bool
    assert all(is_input(name) and entity_of(name) == "household" for name in PLACE_INPUTS)
    known = tax_benefit_system().variables
    assert set(nonlocal_variables()) <= set(known)
    written = {name for entity in ENTITIES for name in BASE.tables[entity] if not name.endswith("_id")}
    assert all(is_input(name) for name in written)


def with_column(name: str, values: object, entity: str = "household") -> Population:
    return BASE.with_variables(entity, {name: np.full(BASE.count(entity), values)})


@pytest.mark.parametrize(
    ("population", "variables", "message"),
    [
        (BASE, ["snapp"], "no variable 'snapp'; the nearest are snap"),
        (BASE, ["medicaid"], "medicaid of a household depends on the other households"),
        (BASE, ["household_income_decile"], "a rank among all households"),
        (with_column("favourite_colour", 1), ["snap"], "no variable 'favourite_colour'"),
        (with_column("employment_income", 1.0, "person"), ["snap"], "employment_income is computed by the engine"),
        (with_column("tenure_type", "CASTLE"), ["snap"], "tenure_type holds 'CASTLE'; its values are .*RENTED"),
        (with_column("rent_to_nobody", 1).without(["rent_to_nobody", "state_fips"]), ["snap"], "place it in California"),
        (
            with_column("takes_up_eitc", True),
            ["snap"],
            "takes_up_eitc stands in the household table, but it belongs to tax_unit",
        ),
        (Population(2023, BASE.tables), ["snap"], "speaks of 2023, not of 2024"),
        (BASE, ["spm_unit_is_in_spm_poverty"], "cannot compute spm_unit_is_in_spm_poverty.*county"),
    ],
)
def test_what_the_engine_would_misread_is_refused(population: Population, variables: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(population, variables, YEAR)


def test_household_agi_is_the_sum_of_the_tax_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts as at once, by identifier, and the wages where there is nothing else."""
    turned = BASE.take(np.arange(47, -1, -1))
    identifier = np.arange(148, 100, -1)
    turned = turned.with_variables("person", {"person_household_id": identifier[turned.household_of("person")]})
    turned = turned.with_variables("household", {"household_id": identifier, IMPUTED: np.arange(48) < 24})
    write_h5(turned, tmp_path / "extended.h5")
    context = StageContext(
        name="household_agi",
        inputs={"extended_cps": tmp_path / "extended.h5"},
        input_digests={},
        output=tmp_path / "agi.parquet",
        scratch=tmp_path / "scratch",
        settings=HouseholdAgiSettings(),
        reporter=Silent(),
        store=Store(tmp_path),
        fingerprint="",
    )
    monkeypatch.setattr(household_agi_module, "AT_ONCE", 30)
    facts = build(context)
    table = pd.read_parquet(tmp_path / "agi.parquet")
    assert table["household_id"].tolist() == list(range(148, 100, -1))
    assert table["adjusted_gross_income"].dtype == np.float64
    monkeypatch.undo()
    at_once = household_agi(BASE, YEAR)
    np.testing.assert_allclose(table["adjusted_gross_income"].to_numpy()[::-1], at_once, rtol=1e-6)
    assert facts["households"] == 48
    assert facts["agi_dollars"] == pytest.approx(at_once @ BASE.weights, rel=1e-6)
    wages = BASE.to_household(BASE["employment_income_before_lsr"], "person")
    others = sum(BASE.to_household(BASE[name], "person") for name in OTHER_INCOMES)
    only_wages = others == 0
    assert only_wages.sum() > 2
    np.testing.assert_allclose(at_once[only_wages], wages[only_wages], rtol=1e-6)
