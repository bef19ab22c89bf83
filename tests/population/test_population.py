"""Populations: closed under taking, cloning and stacking; the same after writing and reading."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.population import ENTITIES, GROUPS, Population, id_name, link_name, read_h5, stack, write_h5
from tests.population.conftest import random_population


def frames(population: Population) -> pd.DataFrame:
    """One row a person with all of its groups' values: the brute-force view of a population."""
    table = pd.DataFrame(dict(population.tables["person"]))
    for group in GROUPS:
        right = pd.DataFrame(dict(population.tables[group])).rename(columns={id_name(group): link_name(group)})
        table = table.merge(right, on=link_name(group), how="left", validate="many_to_one")
    return table


@given(st.integers(0, 10_000), st.integers(1, 12), st.lists(st.integers(0, 11), min_size=1, max_size=20))
@settings(deadline=None, max_examples=40)
def test_take_equals_a_merge(seed: int, n: int, wanted: list[int]) -> None:
    population = random_population(seed, n)
    households = np.array([h % n for h in wanted])
    taken = population.take(households)
    taken.validate()
    assert taken.count("household") == len(households)
    before, after = frames(population), frames(taken)
    ids = population.ids("household")
    values = ["age", *(f"{group}_value" for group in GROUPS)]
    expected = pd.concat([before[before["person_household_id"] == ids[h]][values] for h in households], ignore_index=True)
    pd.testing.assert_frame_equal(after[values].reset_index(drop=True), expected)
    for entity in ENTITIES:
        assert (taken.ids(entity) == np.arange(taken.count(entity))).all()


@given(st.integers(0, 1000), st.integers(1, 8))
@settings(deadline=None, max_examples=20)
def test_sums_to_households_equal_a_groupby(seed: int, n: int) -> None:
    population = random_population(seed, n)
    for entity in ENTITIES:
        values = np.random.default_rng(seed).random(population.count(entity))
        owner = population.household_of(entity)
        expected = pd.Series(values).groupby(owner).sum().reindex(range(n), fill_value=0).to_numpy()
        np.testing.assert_allclose(population.to_household(values, entity), expected)
        ordinals = pd.Series(owner).groupby(owner).cumcount().to_numpy()
        assert (population.ordinal_in_household(entity) == ordinals).all()


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_stack_keeps_everything(seed: int) -> None:
    parts = [random_population(seed, 3), random_population(seed + 1, 4)]
    whole = stack(parts)
    whole.validate()
    values = ["age", *(f"{group}_value" for group in GROUPS)]
    expected = pd.concat([frames(part)[values] for part in parts], ignore_index=True)
    pd.testing.assert_frame_equal(frames(whole)[values], expected)


def test_h5_round_trip_and_same_bytes(tmp_path: Path) -> None:
    population = random_population(1, 200)
    for name in ("one.h5", "two.h5"):
        write_h5(population, tmp_path / name, {"area": "XX"})
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    back = read_h5(tmp_path / "one.h5")
    back.validate()
    assert back.period == 2024
    for entity in ENTITIES:
        assert set(back.tables[entity]) == set(population.tables[entity])
        for name, column in population.tables[entity].items():
            stored = back.tables[entity][name]
            if column.dtype.kind == "U":
                assert (stored == column).all()
            else:
                np.testing.assert_allclose(stored, column, rtol=1e-6)
    with h5py.File(tmp_path / "one.h5") as file:
        assert file["household_weight/2024"].dtype == np.float32
        assert file["person_id/2024"].dtype == np.int32


def test_a_truncated_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_h5(random_population(1, 50), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ArtifactError, match="not a whole H5 file"):
        read_h5(path)
    with pytest.raises(ArtifactError, match="does not exist"):
        read_h5(tmp_path / "absent.h5")


def with_table(population: Population, entity: str, name: str, values: np.ndarray) -> Population:
    return Population(population.period, {**population.tables, entity: {**population.tables[entity], name: values}})


def test_broken_populations_are_refused() -> None:
    population = random_population(3, 20)
    population.validate()
    person, household = population.tables["person"], population.tables["household"]
    repeated = np.array(person["person_id"])
    repeated[0] = repeated[1]
    foreign = np.array(person["person_tax_unit_id"])
    foreign[0] = 10**6
    backwards = np.array(person["person_household_id"])[::-1]
    negative = np.array(household["household_weight"]) - 10
    for entity, name, values, message in (
        ("person", "person_id", repeated, "not unique"),
        ("person", "person_tax_unit_id", foreign, "not in the tax_unit table"),
        ("person", "person_household_id", backwards, "order of its households|spans two households"),
        ("household", "household_weight", negative, "negative"),
        ("household", "place", np.array(["A"]), "has 20 units"),
    ):
        with pytest.raises(ArtifactError, match=message):
            with_table(population, entity, name, values).validate()
    with pytest.raises(ConfigError, match="no variable 'x'"):
        population["x"]
    with pytest.raises(ConfigError, match="1 values for 20 units"):
        population.with_variables("household", {"x": np.zeros(1)})
