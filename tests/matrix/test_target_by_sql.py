"""A target that somebody writes into the database with SQL, and nothing else, becomes a row that a fit meets."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from geocal_core.fit import fit
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.quantities import groups_of, household_values, quantities_of, variables_of
from geocal_core.matrix.variants import Variants
from geocal_core.targets.schema import create
from geocal_core.targets.select import load_targets
from tests.engine.households import YEAR, make_population

HOUSEHOLDS, CLONES = 40, 3
BASE = make_population(HOUSEHOLDS, seed=4)
DISTRICT = np.random.default_rng(2).choice([1001, 5601], HOUSEHOLDS * CLONES)
ENTITY_OF = {"age": "person", "snap": "spm_unit", "tax_unit_is_filer": "tax_unit"}
GEOGRAPHY = [(1, None, []), (2, 1, [("state_fips", "==", "10")]), (3, 2, [("congressional_district_geoid", "==", "1001")])]
FED = [("congressional_district_geoid", "==", "1001"), ("snap", ">", "0")]
CHILDREN = [
    ("congressional_district_geoid", "==", "1001"),
    ("age", "<", "18"),
    ("snap", ">", "0"),
    ("tax_unit_is_filer", "==", "1"),
]
MEASURED = (("spm_unit_count", 4, 21.5), ("snap", 4, 52_000.0), ("person_count", 5, 14.25), ("tax_unit_count", 5, 9.0))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database of places, into which two strata and four targets are inserted."""
    path = tmp_path / "policy_data.db"
    create(path).dispose()
    with closing(sqlite3.connect(path)) as connection:
        for stratum, parent, constraints in [*GEOGRAPHY, (4, 3, FED), (5, 3, CHILDREN)]:
            identity = hashlib.sha256(repr((parent, constraints)).encode()).hexdigest()
            connection.execute("INSERT INTO strata VALUES (?, ?, ?, NULL)", (stratum, identity, parent))
            for constraint in constraints:
                connection.execute("INSERT INTO stratum_constraints VALUES (?, ?, ?, ?, NULL)", (stratum, *constraint))
        for variable, stratum, value in MEASURED:
            connection.execute(
                "INSERT INTO targets (variable, period, stratum_id, value) VALUES (?, ?, ?, ?)",
                (variable, YEAR, stratum, value),
            )
        connection.commit()
    return path


def test_it_is_a_row_and_a_fit_meets_it(db: Path) -> None:
    targets, rules = load_targets(db, YEAR)
    assert set(targets["geo_level"]) == {"district"}
    quantities, row_quantity = quantities_of(targets, rules)
    assert variables_of(quantities) == ("age", "snap", "tax_unit_is_filer")

    copies = BASE.take(np.tile(np.arange(HOUSEHOLDS), CLONES))
    rng = np.random.default_rng(8)
    values = {
        "age": copies["age"],
        "snap": np.where(rng.random(copies.count("spm_unit")) < 0.4, rng.uniform(300, 9_000, copies.count("spm_unit")), 0.0),
        "tax_unit_is_filer": rng.random(copies.count("tax_unit")) < 0.7,
    }
    found = household_values(copies, quantities, values, ENTITY_OF.__getitem__)
    variants = Variants.from_values(sparse.csr_matrix(found), groups_of(quantities), HOUSEHOLDS, CLONES)
    matrix = FactoredMatrix.of_variants(variants, row_quantity, targets["geographic_id"].astype(int).to_numpy(), DISTRICT)

    persons = pd.DataFrame({"age": copies["age"], "household": copies.group_of_person("household")})
    for variable, entity in (("snap", "spm_unit"), ("tax_unit_is_filer", "tax_unit")):
        persons[entity] = copies.group_of_person(entity)
        persons[variable] = values[variable][persons[entity]]
    persons = persons[DISTRICT[persons["household"]] == 1001]
    fed = persons[persons["snap"] > 0]
    children = fed[(fed["age"] < 18) & fed["tax_unit_is_filer"]]
    expected = {
        "cd_1001/spm_unit_count/[snap>0]": _by_household(fed.drop_duplicates("spm_unit").assign(one=1.0), "one"),
        "cd_1001/snap/[snap>0]": _by_household(fed.drop_duplicates("spm_unit"), "snap"),
        "cd_1001/person_count/[age<18,snap>0,tax_unit_is_filer==1]": _by_household(children.assign(one=1.0), "one"),
        "cd_1001/tax_unit_count/[age<18,snap>0,tax_unit_is_filer==1]": _by_household(
            children.drop_duplicates("tax_unit").assign(one=1.0), "one"
        ),
    }
    assert set(targets["name"]) == set(expected)
    explicit = matrix.tocsr().toarray()
    for row, name in enumerate(targets["name"]):
        assert (expected[name] > 0).sum() > 5
        np.testing.assert_allclose(explicit[row], expected[name], rtol=1e-6, err_msg=name)

    result = fit(matrix.tocsr(), targets["value"].to_numpy(), lambda_l0=0.0, lambda_l2=0.0, epochs=300)
    np.testing.assert_allclose(matrix.estimates(result.weights), targets["value"], rtol=1e-4)


@pytest.mark.engine
def test_the_engine_values_it(db: Path) -> None:
    from geocal_core.engine.simulate import simulate
    from geocal_core.engine.variables import entity_of

    quantities, _ = quantities_of(*load_targets(db, YEAR))
    values = simulate(BASE, variables_of(quantities), YEAR)
    found = household_values(BASE, quantities, values, entity_of)
    by_name = {str(quantity): found[i] for i, quantity in enumerate(quantities)}
    np.testing.assert_allclose(by_name["snap[snap>0]"].sum(), np.asarray(values["snap"], dtype=np.float64).sum(), rtol=1e-5)
    assert by_name["spm_unit_count[snap>0]"].sum() == np.count_nonzero(values["snap"]) > 0
    young = by_name["person_count[age<18,snap>0,tax_unit_is_filer==1]"]
    assert 0 < young.sum() <= np.count_nonzero(BASE["age"] < 18)


def _by_household(rows: pd.DataFrame, amount: str) -> np.ndarray:
    return np.bincount(rows["household"], rows[amount], HOUSEHOLDS * CLONES)
