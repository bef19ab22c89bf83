"""Take-up: local, by the published rates, anchored on reports, without the engine."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from geocal_core.engine.anchors import INCOMES, anchors, reporters
from geocal_core.engine.draws import SCHEMES
from geocal_core.engine.takeup import Program, TakeUp, programs, programs_of, rates
from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES
from geocal_core.population import ENTITIES, Population
from tests.engine.households import make_population

BASE = make_population(40, seed=3)
DRAWN = [program.variable for program in rates()]


def drawn(base: Population, households: ArrayLike, clones: ArrayLike, states: ArrayLike, seed: int = 0) -> Population:
    """Copies of households with their take-up in states."""
    return TakeUp.of(base, seed).draw(base.take(np.asarray(households)), households, clones, states)


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
    together = drawn(BASE, households, clones, states, seed=5)
    together.validate()
    for position in range(len(copies)):
        alone = drawn(BASE, households[position : position + 1], clones[position], states[position], seed=5)
        assert of_household(together, position) == of_household(alone, 0)


def test_draws_follow_the_identifier_and_not_the_position() -> None:
    some = np.array([7, 21, 33])
    part = BASE.take(some).with_variables("household", {"household_id": BASE.ids("household")[some]})
    person = {"person_household_id": part.ids("household")[part.tables["person"]["person_household_id"]]}
    part = part.with_variables("person", person)
    assert of_household(drawn(part, [1], 4, 48, seed=0), 0) == of_household(drawn(BASE, [21], 4, 48, seed=0), 0)


def test_clones_seeds_and_programs_have_draws_of_their_own() -> None:
    everyone = np.arange(BASE.count("household"))
    one, other = drawn(BASE, everyone, 1, 6, seed=0), drawn(BASE, everyone, 2, 6, seed=0)
    reseeded = drawn(BASE, everyone, 1, 6, seed=1)
    for again in (other, reseeded):
        assert (one["takes_up_medicaid_if_eligible"] != again["takes_up_medicaid_if_eligible"]).any()
    assert (one["takes_up_ssi_if_eligible"] != one["takes_up_head_start_if_eligible"]).any()


def test_the_state_moves_the_threshold_and_not_the_draw() -> None:
    everyone = np.arange(BASE.count("household"))
    by_state = {state.code: drawn(BASE, everyone, 9, state.fips, seed=2) for state in STATES}
    utah, indiana = (by_state[code]["takes_up_medicaid_if_eligible"] for code in ("UT", "IN"))
    assert (indiana >= utah).all()
    assert indiana.mean() > utah.mean()
    for name in set(DRAWN) - {"takes_up_medicaid_if_eligible"}:
        assert (by_state["UT"][name] == by_state["IN"][name]).all()


@pytest.mark.parametrize("program", rates(), ids=lambda program: program.variable)
def test_shares_are_the_rates(program: Program) -> None:
    copies = 500
    households = np.tile(np.arange(BASE.count("household")), copies)
    clones = np.repeat(np.arange(copies), BASE.count("household"))
    placed = drawn(BASE, households, clones, 48, seed=0)
    governing = programs().get(program.by, program)
    if governing.by == "children":
        groups = children_by_brute_force(placed, program.entity)
    elif governing.by == "wic_category":
        groups = np.digitize(placed["age"], [1, 5]) * np.array([1, 1, 2])[np.digitize(placed["age"], [1, 5])]
    else:
        groups = np.zeros(placed.count(program.entity), dtype=int)
    column = 48 if governing.by == "state" else 0
    for group in np.unique(groups):
        rate = governing.values[min(group, len(governing.values) - 1), column]
        inside = placed[program.variable][groups == group]
        assert len(inside) > 100
        assert abs(inside.mean() - rate) < 4.5 * np.sqrt(rate * (1 - rate) / len(inside))


def children_by_brute_force(population: Population, entity: str) -> np.ndarray:
    ages, young = population["age"], np.zeros(population.count(entity), dtype=int)
    size = np.zeros(population.count(entity), dtype=int)
    for person, unit in enumerate(population.group_of_person(entity).tolist()):
        young[unit] += ages[person] < 19
        size[unit] += 1
    return np.where(young < size, young, young - 1)


def test_rates_are_published_ones() -> None:
    known = {program.variable: program for program in rates()}
    medicaid = known["takes_up_medicaid_if_eligible"].values[0]
    assert np.isfinite(medicaid[[state.fips for state in STATES]]).all()
    assert medicaid[49] == 0.53
    assert (medicaid[[8, 11, 18]] == 0.99).all()
    assert known["takes_up_eitc"].values.tolist() == [[0.65], [0.86], [0.85], [0.85]]
    assert known["takes_up_wic_if_eligible"].values.tolist() == [[0.784], [0.46], [0.456], [0.663], [0.689]]
    single = {name: program.values.tolist() for name, program in known.items() if program.by == "nation"}
    assert single == {
        "takes_up_snap_if_eligible": [[0.82]],
        "takes_up_aca_if_eligible": [[0.672]],
        "takes_up_dc_ptc": [[0.32]],
        "takes_up_head_start_if_eligible": [[0.30]],
        "takes_up_early_head_start_if_eligible": [[0.09]],
        "takes_up_ssi_if_eligible": [[0.50]],
        "would_file_taxes_voluntarily": [[0.05]],
        "takes_up_tanf_if_eligible": [[0.22]],
        "takes_up_medicare_part_d_if_eligible": [[0.777]],
    }


def test_every_program_has_a_source_or_a_reason() -> None:
    assert all(len(program.source) > 20 for program in programs().values())
    named = {program.by for program in programs().values()}
    assert named == {"nation", "state", "children", "wic_category", "default", "takes_up_aca_if_eligible"}
    assert all(program.default for program in programs().values() if program.by == "default")


def line(by: str, rate: str = "") -> dict[str, str]:
    return {"variable": "x", "entity": "person", "default": "true", "by": by, "rate": rate, "source": "a table"}


def of_groups(rates_by_group: dict[str, str]) -> list[dict[str, str]]:
    return [{"variable": "x", "group": group, "rate": rate} for group, rate in rates_by_group.items()]


@pytest.mark.parametrize(
    ("row", "groups", "message"),
    [
        (line("nation", "1.2"), {}, "'1.2' is no take-up rate of x"),
        (line("nation", "nan"), {}, "'nan' is no take-up rate"),
        (line("nation", "many"), {}, "'many' is no take-up rate"),
        (line("nation"), {}, "'' is no take-up rate"),
        (line("county", "0.5"), {}, "depends on 'county'.*nation, state, children, wic_category"),
        (line("children"), {}, "lack or do not know '0'"),
        (line("children"), {"0": "0.5", "2": "0.5"}, "lack or do not know '1'"),
        (line("children"), {"0": "-0.1"}, "'-0.1' is no take-up rate"),
        (line("state"), {state.code: "0.5" for state in STATES if state.code != "UT"}, "lack or do not know 'UT'"),
        (line("state"), {state.code: "0.5" for state in STATES} | {"PR": "0.5"}, "lack or do not know 'PR'"),
        (line("wic_category"), {"INFANT": "0.5"}, "lack or do not know 'BREASTFEEDING'"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(row: dict[str, str], groups: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        programs_of([row], of_groups(groups))


def test_a_program_goes_with_a_drawn_program_of_its_entity() -> None:
    other = line("nation", "0.3") | {"variable": "y"}
    assert programs_of([line("y"), other], [])["x"].by == "y"
    for wrong in (other | {"entity": "tax_unit"}, other | {"by": "default"}, other | {"by": "x"}):
        with pytest.raises(ConfigError, match="depends on"):
            programs_of([line("y"), wrong], [])


@pytest.mark.engine
def test_the_table_lists_every_take_up_input_of_the_engine() -> None:
    from geocal_core.engine.variables import tax_benefit_system

    about_take_up = re.compile(r"^takes_up_|^would_(file|claim)|take.?up|takes up", re.IGNORECASE)
    known = {
        name: (variable.entity.key, bool(variable.default_value))
        for name, variable in tax_benefit_system().variables.items()
        if variable.is_input_variable()
        and variable.value_type is bool
        and (about_take_up.search(name) or about_take_up.search(variable.label or ""))
    }
    assert {program.variable: (program.entity, program.default) for program in programs().values()} == known


RECEIPTS = {
    "takes_up_snap_if_eligible": "snap",
    "takes_up_tanf_if_eligible": "tanf",
    "takes_up_aca_if_eligible": "assigned_aca_ptc",
    "takes_up_eitc": "eitc",
    "takes_up_ssi_if_eligible": "ssi",
    "takes_up_medicaid_if_eligible": "medicaid_enrolled",
    "takes_up_medicare_part_d_if_eligible": "medicare_part_d_enrolled",
    "takes_up_head_start_if_eligible": "head_start",
    "takes_up_early_head_start_if_eligible": "early_head_start",
    "takes_up_wic_if_eligible": "wic",
}


@pytest.mark.engine
def test_the_engine_pays_no_program_that_is_not_taken_up() -> None:
    """By the year, though the engine asks for some of the inputs by the month."""
    from geocal_core.engine.simulate import simulate

    base = make_population(400, seed=2)
    wages = (base["employment_income_before_lsr"] / 3).astype(np.float32)
    base = base.with_variables("person", {"employment_income_before_lsr": wages})
    placed = drawn(with_reports(base), np.arange(400), 0, 6).with_variables("household", {"state_fips": np.full(400, 6)})
    values = simulate(placed, list(RECEIPTS.values()), placed.period)
    for variable, receipt in RECEIPTS.items():
        taken = placed[variable]
        assert not values[receipt][~taken].any(), variable
        assert values[receipt][taken].any(), variable


def with_reports(population: Population, share: float = 0.3) -> Population:
    """The population with coverage reported by some persons at random."""
    rng = np.random.default_rng(11)
    count = population.count("person")
    covered = rng.random((3, count)) < np.array([[share], [share / 2], [0.3]])
    names = ("has_medicaid_health_coverage_at_interview", "has_marketplace_health_coverage_at_interview", "has_esi")
    return population.with_variables("person", dict(zip(names, covered, strict=True)))


REPORTED = with_reports(make_population(300, seed=8))
EVERYONE = np.arange(REPORTED.count("household"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_who_reports_coverage_takes_it_up_in_every_place_and_copy(scheme: str) -> None:
    takeup = TakeUp.of(REPORTED, scheme=scheme)
    households, clones = np.tile(EVERYONE, 20), np.repeat(np.arange(20), len(EVERYONE))
    copies = REPORTED.take(households)
    states = np.resize([state.fips for state in STATES], len(households))
    placed = takeup.draw(copies, households, clones, states)
    for variable, anchor in anchors().items():
        certain = reporters(copies, anchor, placed.entity_of(variable))
        assert certain.any()
        assert placed[variable][certain].all()
        assert not placed[variable][~certain].all()
        assert anchor.report not in placed


@pytest.mark.parametrize("variable", anchors())
@pytest.mark.parametrize("state", ["UT", "TX", "CO"])
def test_the_rate_of_all_who_could_be_eligible_is_the_published_one(variable: str, state: str) -> None:
    program, anchor = programs()[variable], anchors()[variable]
    (fips,) = (place.fips for place in STATES if place.code == state)
    takeup = TakeUp.of(REPORTED)
    rate = program.values[0, fips if program.by == "state" else 0]
    weights = REPORTED.weights[REPORTED.household_of(program.entity)]
    probability, certain = takeup.probability(variable, fips), reporters(REPORTED, anchor, program.entity)
    assert (probability[certain] == 1).all()
    assert len(np.unique(probability[~certain])) == 1
    could = could_be_eligible_one_by_one(variable)
    share = weights[could & certain].sum() / weights[could].sum()
    assert takeup.reported[variable] == pytest.approx(share)
    assert 0.1 < share < rate
    assert weights[could] @ probability[could] / weights[could].sum() == pytest.approx(rate)


def could_be_eligible_one_by_one(variable: str) -> np.ndarray:
    """Units that could be eligible, told person by person."""
    income = np.sum([REPORTED[name] for name in REPORTED.tables["person"] if name in INCOMES], axis=0)
    unit, entity = REPORTED.group_of_person("tax_unit"), programs()[variable].entity
    could = np.zeros(REPORTED.count(entity), dtype=bool)
    for person in range(len(unit)):
        members = np.flatnonzero(unit == unit[person])
        ratio = income[members].sum() / (15_060 + 5_380 * (len(members) - 1))
        if entity == "person":
            could[person] = ratio <= 1.38
        elif ratio >= 1 and REPORTED["age"][person] < 65:
            other = REPORTED["has_esi"][person] or REPORTED["has_medicaid_health_coverage_at_interview"][person]
            could[unit[person]] |= not other
    return could


def test_shares_of_draws_are_the_probabilities() -> None:
    takeup = TakeUp.of(REPORTED, seed=4)
    households, clones = np.tile(EVERYONE, 200), np.repeat(np.arange(200), len(EVERYONE))
    for variable in anchors():
        taken = takeup.units(variable, households, clones, 48).reshape(200, -1)
        expected = takeup.probability(variable, 48)
        assert abs(taken.mean() - expected.mean()) < 4.5 * 0.5 / np.sqrt(taken.size)
        assert np.abs(taken.mean(axis=0) - expected).max() < 6 * 0.5 / np.sqrt(200)


@settings(deadline=None, max_examples=30)
@given(st.data(), st.sampled_from(sorted(SCHEMES)))
def test_drawing_any_copies_in_any_order_is_drawing_all(data: st.DataObject, scheme: str) -> None:
    takeup = TakeUp.of(REPORTED, scheme=scheme)
    some = data.draw(st.lists(st.tuples(st.integers(0, 299), st.integers(0, 5)), min_size=1, max_size=20))
    households, clones = (np.array(column) for column in zip(*some, strict=True))
    for program in rates():
        owner = REPORTED.household_of(program.entity)
        everything = {clone: takeup.units(program.variable, EVERYONE, clone, 6) for clone in range(6)}
        expected = np.concatenate([everything[clone][owner == household] for household, clone in some])
        assert takeup.units(program.variable, households, clones, 6).tolist() == expected.tolist()


@pytest.mark.parametrize("copies", [0, 1, 7, 8_192, 8_193, 20_000])
def test_blocks_leave_no_trace(copies: int) -> None:
    takeup = TakeUp.of(REPORTED)
    households, clones = np.arange(copies) % 300, np.arange(copies) // 300
    states = np.resize([6, 48, 36, 11], copies)
    for variable in ("takes_up_medicaid_if_eligible", "takes_up_eitc"):
        whole = takeup.units(variable, households, clones, states)
        parts = np.array_split(np.arange(copies), 3)
        pieces = [takeup.units(variable, households[part], clones[part], states[part]) for part in parts]
        assert whole.tobytes() == np.concatenate(pieces).tobytes()
        assert len(whole) == REPORTED.take(households).count(programs()[variable].entity)


def test_shares_of_reporters_are_those_of_the_whole_file_whatever_is_drawn() -> None:
    takeup = TakeUp.of(REPORTED)
    alone = takeup.draw(REPORTED.take(np.array([5])), [5], 2, 48)
    among = takeup.draw(REPORTED.take(EVERYONE), EVERYONE, 2, 48)
    for program in rates():
        own = among[program.variable][REPORTED.household_of(program.entity) == 5]
        assert alone[program.variable].tolist() == own.tolist()


def test_more_take_up_where_the_rate_is_higher() -> None:
    takeup = TakeUp.of(REPORTED)
    medicaid = programs()["takes_up_medicaid_if_eligible"].values[0]
    ordered = sorted((state.fips for state in STATES), key=lambda fips: medicaid[fips])
    taken = [takeup.units("takes_up_medicaid_if_eligible", EVERYONE, 3, fips) for fips in ordered]
    assert all((fewer <= more).all() for fewer, more in itertools.pairwise(taken))
    assert taken[0].sum() < taken[-1].sum()


def test_state_subsidies_go_with_the_marketplace_credit() -> None:
    placed = drawn(REPORTED, EVERYONE, 1, 6, seed=0)
    credit = placed["takes_up_aca_if_eligible"]
    assert 0 < credit.mean() < 1
    for state in ("ca", "co", "nm"):
        (subsidy,) = (name for name in DRAWN if name.startswith(f"takes_up_{state}_premium"))
        assert (placed[subsidy] == credit).all()


def test_pregnant_and_breastfeeding_women_have_rates_of_their_own() -> None:
    count = BASE.count("person")
    women = {"is_pregnant": np.arange(count) % 3 == 0, "is_breastfeeding": np.arange(count) % 2 == 0}
    probability = TakeUp.of(BASE.with_variables("person", women)).probability("takes_up_wic_if_eligible", 6)
    adult, place = BASE["age"] >= 5, np.arange(count)
    assert set(probability[adult & (place % 3 == 0)]) == {0.456}
    assert set(probability[adult & (place % 3 != 0) & (place % 2 == 0)]) == {0.663}
    assert set(probability[adult & (place % 3 != 0) & (place % 2 == 1)]) == {0.689}


def test_without_a_report_there_is_no_anchor() -> None:
    assert dict(TakeUp.of(BASE).reported) == {}
    assert set(TakeUp.of(REPORTED).reported) == set(anchors())


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match="no state with FIPS code 3"):
        drawn(BASE, [0], [0], 3)
    with pytest.raises(ConfigError, match="no age"):
        TakeUp.of(BASE.without(["age"]))
    with pytest.raises(ConfigError, match="no take-up scheme"):
        TakeUp.of(BASE, scheme="random")
    takeup = TakeUp.of(BASE)
    with pytest.raises(ConfigError, match="no state with FIPS code 3"):
        takeup.units("takes_up_eitc", [0, 1], 0, [6, 3])
    with pytest.raises(ConfigError, match="no state with FIPS code 3"):
        takeup.probability("takes_up_eitc", 3)
    with pytest.raises(ConfigError, match="no take-up variable"):
        takeup.units("takes_up_lunch", [0], 0, 6)
    with pytest.raises(ConfigError, match="keeps the engine's default"):
        takeup.units("takes_up_chip_if_eligible", [0], 0, 6)
    with pytest.raises(ConfigError, match="between 0 and 39"):
        takeup.units("takes_up_eitc", [-1], 0, 6)


def test_drawing_takes_no_engine() -> None:
    code = (
        "import sys; from geocal_core.engine.takeup import TakeUp; from tests.engine.households import make_population; "
        "TakeUp.of(make_population(3)).units('takes_up_eitc', [0, 1], 0, 6); "
        "sys.exit('policyengine_us' in sys.modules or 'policyengine_core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
