"""Quantities of households against a brute-force count in pandas, row by row."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.matrix.quantities import Quantity, groups_of, household_values, quantities_of, variables_of
from geocal_core.population import ENTITIES, Population
from geocal_core.targets.constraints import Constraint
from tests.engine.households import make_population

KINDS = ("whole", "money", "truth", "text")
TAX = "income_tax"
ENTITY_OF = {f"{entity}_{kind}": entity for entity in ENTITIES for kind in KINDS} | {TAX: "tax_unit"}


class Nation:
    """A random population with random values, and its persons as rows, each with every variable of each of its units."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.population = make_population(12, seed=seed)
        self.values: dict[str, np.ndarray] = {}
        for entity in ENTITIES:
            n = self.population.count(entity)
            self.values[f"{entity}_whole"] = rng.integers(0, 4, n).astype(np.int32)
            self.values[f"{entity}_money"] = (rng.integers(-2, 5, n) * 100.5).astype(np.float32)
            self.values[f"{entity}_truth"] = rng.random(n) < 0.5
            self.values[f"{entity}_text"] = rng.choice(["LOW", "HIGH"], n)
        n = self.population.count("tax_unit")
        self.values[TAX] = (rng.integers(-5, 50, n) * 99.25).astype(np.float32)
        self.without = {
            name: {TAX: self.values[TAX] + (rng.random(n) < 0.5) * np.float32(7.5)}
            for name in ENTITY_OF
            if name.endswith("_money")
        }
        self.persons_of = {key: of_one.to_dict("records") for key, of_one in self._persons().groupby("household")}

    def _persons(self) -> pd.DataFrame:
        persons = pd.DataFrame({"person": self.population.ids("person")})
        for entity in ENTITIES:
            if entity != "person":
                persons[entity] = self.population.tables["person"][f"person_{entity}_id"]
            table = pd.DataFrame({name: column for name, column in self.values.items() if ENTITY_OF[name] == entity})
            if entity == "tax_unit":
                for name, without in self.without.items():
                    table[f"without_{name}"] = without[TAX]
            table[entity] = self.population.ids(entity)
            persons = persons.merge(table, on=entity, how="left")
        return persons

    def valued(self, wanted: list[Quantity]) -> np.ndarray:
        return household_values(self.population, wanted, self.values, ENTITY_OF.__getitem__, self.without)

    def by_brute_force(self, quantity: Quantity) -> list[float]:
        """One household at a time, one person at a time."""
        entity = ENTITY_OF.get(quantity.variable, quantity.variable.removesuffix("_count"))
        if quantity.neutralised:
            entity = "tax_unit"
        totals = []
        for household in self.population.ids("household"):
            counted = {}
            for person in self.persons_of[household]:
                if all(holds(person[c.variable], c) for c in quantity.constraints):
                    counted[person[entity]] = adds(person, quantity)
            totals.append(sum(counted.values()))
        return totals


@cache
def nation(seed: int) -> Nation:
    return Nation(seed)


def adds(person: dict[str, Any], quantity: Quantity) -> float:
    """What the unit that a person belongs to adds."""
    if quantity.neutralised:
        return float(person[f"without_{quantity.neutralised}"]) - float(person[TAX])
    return 1.0 if quantity.variable.endswith("_count") else float(person[quantity.variable])


THRESHOLDS = {"whole": ["0", "1", "2", "3"], "money": ["-100.5", "0", "100.5", "250"], "truth": ["True", "False", "1"]}
COMPARE = {"==": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@st.composite
def constraints(draw: st.DrawFn) -> Constraint:
    kind = draw(st.sampled_from(KINDS))
    variable = f"{draw(st.sampled_from(ENTITIES))}_{kind}"
    if kind == "text":
        return Constraint(variable, draw(st.sampled_from(["==", "!="])), draw(st.sampled_from(["LOW", "HIGH"])))
    operation = draw(st.sampled_from(["==", "!="] if kind == "truth" else sorted(COMPARE)))
    return Constraint(variable, operation, draw(st.sampled_from(THRESHOLDS[kind])))


@st.composite
def quantities(draw: st.DrawFn) -> Quantity:
    entity = draw(st.sampled_from(ENTITIES))
    under = tuple(sorted(draw(st.lists(constraints(), max_size=3))))
    if draw(st.integers(0, 4)) == 0:
        return Quantity(f"{entity}_money", under, f"{entity}_money")
    return Quantity(draw(st.sampled_from([f"{entity}_{what}" for what in ("count", "money", "whole", "truth")])), under)


def holds(value: object, constraint: Constraint) -> bool:
    if isinstance(value, str):
        return COMPARE[constraint.operation](value, constraint.value)
    wanted = {"True": 1.0, "False": 0.0}.get(constraint.value)
    return COMPARE[constraint.operation](float(value), float(constraint.value) if wanted is None else wanted)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 15), st.lists(quantities(), min_size=1, max_size=4))
def test_values_are_those_of_brute_force(seed: int, wanted: list[Quantity]) -> None:
    found = nation(seed).valued(wanted)
    assert found.dtype == np.float32
    for i, quantity in enumerate(wanted):
        np.testing.assert_allclose(found[i], nation(seed).by_brute_force(quantity), rtol=1e-6, err_msg=str(quantity))


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("operation", sorted(COMPARE))
def test_every_operator_at_every_entity(entity: str, operation: str) -> None:
    """Counts and amounts of each entity under a constraint of each entity: some units satisfy it and some do not."""
    some = nation(3)
    under = [(Constraint(f"{other}_whole", operation, "2"),) for other in ENTITIES]
    wanted = [Quantity(f"{entity}_{what}", rule) for rule in under for what in ("count", "money")]
    found = some.valued(wanted)
    for i, quantity in enumerate(wanted):
        np.testing.assert_allclose(found[i], some.by_brute_force(quantity), rtol=1e-6, err_msg=str(quantity))
    assert (found[::2].sum(axis=1) > 0).all()
    assert (found[::2].sum(axis=1) < some.population.count(entity)).any()


def test_units_of_one_household_are_judged_apart() -> None:
    """Of two tax units of a household only the one with an earner counts, and only its amount is added."""
    person = {"person_id": [0, 1, 2], **{f"person_{group}_id": [0, 0, 0] for group in ENTITIES[1:]}}
    person["person_tax_unit_id"] = person["person_spm_unit_id"] = [0, 0, 1]
    tables = {"person": {name: np.array(ids) for name, ids in person.items()}}
    tables |= {group: {f"{group}_id": np.array([0])} for group in ENTITIES[1:]}
    tables["tax_unit"] = {"tax_unit_id": np.array([0, 1])}
    tables["spm_unit"] = {"spm_unit_id": np.array([0, 1])}
    values = {"wage": np.array([0.0, 0.0, 50.0]), TAX: np.array([3.0, 40.0]), "rent": np.array([11.0])}
    without = {"salt": {TAX: np.array([5.0, 47.0])}}
    earns = (Constraint("wage", ">", "0"),)
    wanted = [
        Quantity("tax_unit_count", earns),
        Quantity("person_count", earns),
        Quantity("household_count", earns),
        Quantity(TAX, earns),
        Quantity("rent", earns),
        Quantity("salt", earns, "salt"),
        Quantity("salt", (), "salt"),
    ]
    entity_of = {"wage": "person", TAX: "tax_unit", "rent": "household"}.__getitem__
    found = household_values(Population(2024, tables), wanted, values, entity_of, without)
    assert found[:, 0].tolist() == [1, 1, 1, 40, 11, 7, 9]


def test_a_unit_counts_once_and_needs_one_member_who_satisfies_all() -> None:
    """Two persons who satisfy one constraint each do not make a unit that satisfies both."""
    person = {"person_id": [0, 1, 2], **{f"person_{group}_id": [0, 0, 0] for group in ENTITIES[1:]}}
    tables = {"person": {name: np.array(ids) for name, ids in person.items()}}
    tables |= {group: {f"{group}_id": np.array([0])} for group in ENTITIES[1:]}
    population = Population(2024, tables)
    values = {"age": np.array([30.0, 30.0, 70.0]), "wage": np.array([0.0, 10.0, 20.0]), "tax": np.array([7.0])}
    entity_of = {"age": "person", "wage": "person", "tax": "tax_unit"}.__getitem__
    young, earns = Constraint("age", "<", "65"), Constraint("wage", ">", "10")
    wanted = [
        Quantity("tax_unit_count", (young,)),
        Quantity("tax_unit_count", (young, earns)),
        Quantity("tax", (young,)),
        Quantity("tax", (young, earns)),
        Quantity("wage", (young,)),
        Quantity("person_count", (Constraint("tax", "==", "7"),)),
    ]
    assert household_values(population, wanted, values, entity_of)[:, 0].tolist() == [1, 0, 7, 0, 10, 3]


def targets(rows: list[tuple[int, str, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["stratum_id", "variable", "reform_id"])
    return frame.assign(name=[f"target {i}" for i in range(len(frame))], geo_level="state", domain_variable="age")


def test_targets_that_differ_in_place_alone_share_a_quantity() -> None:
    young = Constraint("age", "<", "5")
    rules = {1: (young,), 2: (young,), 3: (), 4: (Constraint("age", ">", "64"), young)}
    rows = targets([(1, "person_count", 0), (2, "person_count", 0), (3, "person_count", 0), (1, "snap", 0), (4, "snap", 0)])
    distinct, row = quantities_of(rows, rules)
    assert len(distinct) == 4
    assert row[0] == row[1]
    assert [distinct[i].variable for i in row] == rows["variable"].tolist()
    assert [set(distinct[i].constraints) for i in row] == [set(rules[s]) for s in rows["stratum_id"]]
    assert variables_of(distinct) == ("age", "snap")


def test_eitc_child_count_is_an_amount() -> None:
    assert Quantity("eitc_child_count").counted is None
    assert Quantity("marital_unit_count").counted == "marital_unit"


def test_a_change_under_a_reform_needs_income_tax_and_a_group_of_its_own() -> None:
    filer = Constraint("tax_unit_is_filer", "==", "1")
    rows = targets([(1, "salt_deduction", 2), (2, "salt_deduction", 2), (1, "salt_deduction", 0), (1, "income_tax", 0)])
    distinct, row = quantities_of(rows.assign(geo_level="national"), {1: (), 2: (filer,)})
    assert [str(distinct[i]) for i in row] == [
        "salt_deduction_expenditure",
        "salt_deduction_expenditure[tax_unit_is_filer==1]",
        "salt_deduction",
        "income_tax",
    ]
    whole, filers = distinct[row[0]], distinct[row[1]]
    assert (whole.variable, whole.neutralised, whole.counted) == ("salt_deduction", "salt_deduction", None)
    assert (whole.needs, filers.needs) == ({"income_tax"}, {"income_tax", "tax_unit_is_filer"})
    assert len(groups_of(distinct)) == 4
    assert variables_of(distinct) == ("income_tax", "salt_deduction", "tax_unit_is_filer")


def test_groups_are_of_the_same_variables_and_reform() -> None:
    young, old, poor = Constraint("age", "<", "5"), Constraint("age", ">", "64"), Constraint("snap", ">", "0")
    quantities = (
        Quantity("household_count", (poor,)),
        Quantity("income_tax"),
        Quantity("person_count", (young,)),
        Quantity("snap"),
        Quantity("person_count", (old,)),
        Quantity("eitc", (), "eitc"),
        Quantity("salt_deduction", (), "salt_deduction"),
        Quantity("snap", (young,)),
        Quantity("person_count"),
    )
    assert groups_of(quantities) == ((0, 3), (1,), (2, 4), (5,), (6,), (7,), (8,))
    assert groups_of(()) == ()


@pytest.mark.parametrize(
    ("variable", "reform", "rules", "words"),
    [
        (
            "salt_deductoin",
            3,
            (),
            r"policyengine-us has no variable 'salt_deductoin', near it are salt_deduction.* reform_id: 3\}",
        ),
        ("tenure_type", 3, (), r"tenure_type \(text\) cannot be neutralised, only an amount in dollars can"),
        ("is_disabled", 3, (), r"is_disabled \(truth\) cannot be neutralised, only an amount in dollars can"),
        ("person_count", 3, (), r"person_count \(count\) cannot be neutralised, only an amount in dollars can"),
        (
            "snap",
            0,
            (Constraint("puma", "==", "0603701"),),
            "it looks at puma, and of a place the engine is told state_fips, county_fips, congressional_district_geoid only",
        ),
        ("snpa", 0, (), "policyengine-us has no variable 'snpa', near it are snap"),
        (
            "spmunit_count",
            0,
            (),
            r"policyengine-us has no variable 'spmunit_count' and no entity 'spmunit' to count \(entities are .*near it are ",
        ),
        ("state_fips", 0, (), r"state_fips \(code\) cannot be added up"),
        ("person_count", 0, (Constraint("aeg", "<", "5"),), "policyengine-us has no variable 'aeg'"),
        ("person_count", 0, (Constraint("age", "==", "old"),), "age==old compares a number with 'old'"),
        ("person_count", 0, (Constraint("ssn_card_type", ">", "1"),), "ssn_card_type>1 orders text"),
        ("medicaid", 0, (), "medicaid of a household depends on the other households .*, use medicaid_enrolled"),
        ("state_code", 0, (), r"state_code \(text\) cannot be added up"),
    ],
)
def test_a_target_that_the_engine_cannot_value_is_named_with_its_rule(
    variable: str, reform: int, rules: tuple[Constraint, ...], words: str
) -> None:
    rows = targets([(1, "snap", 0), (2, variable, reform)])
    with pytest.raises(ConfigError, match=f"target 1 cannot be valued: {words}") as caught:
        quantities_of(rows, {1: (), 2: rules})
    assert f"exclude it by the rule {{variable: '{variable}', geo_level: 'state', domain_variable: 'age'" in str(caught.value)


@pytest.mark.engine
def test_text_is_held_to_the_names_that_the_engine_knows() -> None:
    rows = targets([(1, "snap", 0), (2, "person_count", 0)])
    rules = {1: (Constraint("county_fips", "!=", "06037"),), 2: (Constraint("ssn_card_type", "==", "NONE"),)}
    distinct, _ = quantities_of(rows, rules)
    assert {str(quantity) for quantity in distinct} == {"snap[county_fips!=06037]", "person_count[ssn_card_type==NONE]"}
    with pytest.raises(ConfigError, match="target 0 cannot be valued: county_fips is never '6037'"):
        quantities_of(rows, rules | {1: (Constraint("county_fips", "==", "6037"),)})
    with pytest.raises(ConfigError, match="target 1 cannot be valued: ssn_card_type is never 'NOEN', near it are NONE"):
        quantities_of(rows, rules | {2: (Constraint("ssn_card_type", "==", "NOEN"),)})


def test_values_that_cannot_be_compared_or_added_up_are_refused() -> None:
    with pytest.raises(ConfigError, match="person_text, which is text"):
        nation(0).valued([Quantity("person_text")])
    impossible = Quantity("person_count", (Constraint("person_money", "==", "LOW"),))
    with pytest.raises(ConfigError, match="person_money"):
        nation(0).valued([impossible])
