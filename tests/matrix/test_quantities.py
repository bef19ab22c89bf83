"""Quantities of households against a brute-force count in pandas, row by row."""

from __future__ import annotations

import operator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError
from geocal_core.matrix.quantities import Quantity, household_values, quantities_of, variables_of
from geocal_core.population import ENTITIES, Population
from geocal_core.targets.constraints import Constraint
from tests.engine.households import make_population

POPULATION = make_population(25, seed=11)
RNG = np.random.default_rng(0)
KINDS = ("whole", "money", "truth", "text")
VALUES: dict[str, np.ndarray] = {}
ENTITY_OF: dict[str, str] = {}
for _entity in ENTITIES:
    _n = POPULATION.count(_entity)
    for _name, _column in (
        (f"{_entity}_whole", RNG.integers(0, 4, _n).astype(np.int32)),
        (f"{_entity}_money", (RNG.integers(-2, 5, _n) * 100.5).astype(np.float32)),
        (f"{_entity}_truth", RNG.random(_n) < 0.5),
        (f"{_entity}_text", RNG.choice(["LOW", "HIGH"], _n)),
    ):
        VALUES[_name] = _column
        ENTITY_OF[_name] = _entity

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
    variable = draw(st.sampled_from([f"{entity}_count", f"{entity}_money", f"{entity}_whole", f"{entity}_truth"]))
    return Quantity(variable, tuple(sorted(draw(st.lists(constraints(), max_size=3)))))


def frame_of_persons(population: Population) -> pd.DataFrame:
    """A row per person with the identifier of each of its units and every variable of each of them."""
    persons = pd.DataFrame({"person": population.ids("person")})
    for entity in ENTITIES:
        if entity != "person":
            persons[entity] = population.tables["person"][f"person_{entity}_id"]
        table = pd.DataFrame({name: column for name, column in VALUES.items() if ENTITY_OF[name] == entity})
        table[entity] = population.ids(entity)
        persons = persons.merge(table, on=entity, how="left")
    return persons


PERSONS_OF = {key: of_one.to_dict("records") for key, of_one in frame_of_persons(POPULATION).groupby("household")}


def by_brute_force(quantity: Quantity) -> list[float]:
    """One household at a time, one person at a time."""
    entity = ENTITY_OF.get(quantity.variable, quantity.variable.removesuffix("_count"))
    totals = []
    for household in POPULATION.ids("household"):
        counted = {}
        for person in PERSONS_OF[household]:
            if all(holds(person[c.variable], c) for c in quantity.constraints):
                counted[person[entity]] = 1.0 if quantity.variable.endswith("_count") else float(person[quantity.variable])
        totals.append(sum(counted.values()))
    return totals


def holds(value: object, constraint: Constraint) -> bool:
    if isinstance(value, str):
        return COMPARE[constraint.operation](value, constraint.value)
    wanted = {"True": 1.0, "False": 0.0}.get(constraint.value)
    return COMPARE[constraint.operation](float(value), float(constraint.value) if wanted is None else wanted)


@settings(deadline=None, max_examples=120)
@given(st.lists(quantities(), min_size=1, max_size=4))
def test_values_are_those_of_brute_force(wanted: list[Quantity]) -> None:
    found = household_values(POPULATION, wanted, VALUES, ENTITY_OF.__getitem__)
    assert found.dtype == np.float32
    for i, quantity in enumerate(wanted):
        np.testing.assert_allclose(found[i], by_brute_force(quantity), rtol=1e-6, err_msg=str(quantity))


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


@pytest.mark.parametrize(
    ("variable", "reform", "rules", "words"),
    [
        ("salt_deduction", 3, (), r"it is the change under a reform, which is not simulated yet; exclude .* reform_id: 3\}"),
        ("snap", 0, (Constraint("county_fips", "==", "06037"),), "it looks at county_fips, and the engine is told of no place"),
        ("snpa", 0, (), "policyengine-us has no variable 'snpa'"),
        ("person_count", 0, (Constraint("aeg", "<", "5"),), "policyengine-us has no variable 'aeg'"),
        ("medicaid", 0, (), r"medicaid of a household depends on the other households in the file \("),
        ("state_code", 0, (), "state_code is text and cannot be added up"),
    ],
)
def test_a_target_that_the_engine_cannot_value_is_named_with_its_rule(
    variable: str, reform: int, rules: tuple[Constraint, ...], words: str
) -> None:
    rows = targets([(1, "snap", 0), (2, variable, reform)])
    with pytest.raises(ConfigError, match=f"target 1 cannot be valued: {words}") as caught:
        quantities_of(rows, {1: (), 2: rules})
    assert f"exclude it by the rule {{variable: '{variable}', geo_level: 'state', domain_variable: 'age'" in str(caught.value)


def test_values_that_cannot_be_compared_or_added_up_are_refused() -> None:
    with pytest.raises(ConfigError, match="person_text, which is text"):
        household_values(POPULATION, [Quantity("person_text")], VALUES, ENTITY_OF.__getitem__)
    impossible = Quantity("person_count", (Constraint("person_money", "==", "LOW"),))
    with pytest.raises(ConfigError, match="person_money"):
        household_values(POPULATION, [impossible], VALUES, ENTITY_OF.__getitem__)
