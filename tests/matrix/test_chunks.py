"""Chunks, processes and rows, with a cheap stand-in for the engine: same result however the work is cut, and resumed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix import chunks as chunks_module
from geocal_core.matrix.builder import places_of, target_rows
from geocal_core.matrix.chunks import Work, plan, simulate_columns
from geocal_core.matrix.quantities import Quantity
from geocal_core.places.assignment import Geography
from geocal_core.population import Population
from geocal_core.progress import Silent
from geocal_core.targets.constraints import Constraint
from tests.engine.households import make_population

BASE = make_population(20, seed=2)
CLONES = 6
DISTRICTS = np.array([1001, 3601, 3602, 5601], dtype=np.int32)
QUANTITIES = (
    Quantity("income"),
    Quantity("person_count", (Constraint("age", "<", "18"),)),
    Quantity("spm_unit_count", (Constraint("income", ">", "40000"),)),
)
ENTITY_OF = {"income": "tax_unit", "age": "person"}


def geography(n_records: int = 20, n_clones: int = CLONES, seed: int = 0) -> Geography:
    district = np.random.default_rng(seed).choice(DISTRICTS, n_records * n_clones).astype(np.int32)
    block = np.array([f"{code // 100:02d}00100010{code:05d}" for code in district], dtype="S15")
    return Geography(block, district, district // 100, n_records, n_clones)


def stand_in(population: Population, variables: tuple[str, ...], year: int) -> dict[str, np.ndarray]:
    """Values that depend on state and take-up, as the engine's do."""
    assert set(variables) == {"income", "age"}
    assert len(np.unique(population["state_fips"])) == 1
    person = population["employment_income_before_lsr"] * (1 + population["takes_up_ssi_if_eligible"])
    income = np.bincount(population.group_of_person("tax_unit"), person, population.count("tax_unit"))
    income += population["state_fips"][population.household_of("tax_unit")]
    return {"income": income.astype(np.float32), "age": population["age"]}


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "simulate", stand_in)
    monkeypatch.setattr(chunks_module, "check_outputs", lambda variables: None)
    monkeypatch.setattr(chunks_module, "entity_of", ENTITY_OF.__getitem__)


def work(folder: Path) -> Work:
    return Work(BASE, geography(), QUANTITIES, 3, folder)


def values(folder: Path, most: int, workers: int) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    job = work(folder)
    matrix = simulate_columns(job, plan(job.geography.state, most), workers, Silent())
    assert matrix.has_sorted_indices
    assert np.count_nonzero(matrix.data) == matrix.nnz
    return matrix.toarray()


@given(st.lists(st.sampled_from([1, 6, 36, 56]), min_size=1, max_size=200), st.integers(1, 60))
def test_a_plan_covers_every_column_once_by_state(states: list[int], most: int) -> None:
    state = np.array(states, dtype=np.int32)
    chunks = plan(state, most)
    assert sorted(np.concatenate([chunk.columns for chunk in chunks]).tolist()) == list(range(len(state)))
    for chunk in chunks:
        assert 0 < len(chunk.columns) <= most
        assert (state[chunk.columns] == chunk.state).all()
        assert (np.diff(chunk.columns) > 0).all()
    assert len({chunk.file(Path()) for chunk in chunks}) == len(chunks)


def test_values_are_those_of_each_column_alone(tmp_path: Path) -> None:
    """Column by column, household by household, with plain loops."""
    found = values(tmp_path / "all", 10_000, 1)
    places = geography()
    for column in range(0, 20 * CLONES, 7):
        household, clone = column % 20, column // 20
        copy = chunks_module.at_place(BASE, [household], [clone], int(places.state[column]), 3)
        simulated = stand_in(copy, ("income", "age"), 2024)
        units = copy.group_of_person("tax_unit")
        rich = {
            spm for spm, unit in zip(copy.group_of_person("spm_unit"), units, strict=True) if simulated["income"][unit] > 40000
        }
        expected = [sum(simulated["income"]), sum(age < 18 for age in simulated["age"]), len(rich)]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-6)


@pytest.mark.parametrize(("most", "workers"), [(1, 1), (7, 2), (10_000, 2), (13, 3)])
def test_the_result_does_not_depend_on_how_the_work_is_cut(tmp_path: Path, most: int, workers: int) -> None:
    whole = values(tmp_path / "whole", 10_000, 1)
    assert (values(tmp_path / "cut", most, workers) == whole).all()


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = values(tmp_path / "whole", 7, 1)
    marks = tmp_path / "marks"
    marks.mkdir()

    def dying(population: Population, variables: tuple[str, ...], year: int) -> dict[str, np.ndarray]:
        (marks / f"{len(list(marks.iterdir()))}").touch()
        if len(list(marks.iterdir())) == 5:
            os._exit(9)
        return stand_in(population, variables, year)

    monkeypatch.setattr(chunks_module, "simulate", dying)
    with pytest.raises(ArtifactError, match="was killed; free memory"):
        values(tmp_path / "killed", 7, 1)
    there = sorted((tmp_path / "killed").iterdir())
    assert [path.suffix for path in there] == [".npz"] * 4
    before = {path: path.stat().st_mtime_ns for path in there}
    monkeypatch.setattr(chunks_module, "simulate", stand_in)
    job = work(tmp_path / "killed")
    reporter = Silent()
    again = simulate_columns(job, plan(job.geography.state, 7), 2, reporter)
    assert reporter.messages[0].startswith("4 of ")
    assert {path: path.stat().st_mtime_ns for path in there} == before
    assert (again.toarray() == whole).all()


def test_an_error_of_a_process_reaches_the_user_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(population: Population, variables: tuple[str, ...], year: int) -> dict[str, np.ndarray]:
        raise ConfigError("the population has no state_fips", "set it")

    monkeypatch.setattr(chunks_module, "simulate", failing)
    with pytest.raises(ConfigError, match="the population has no state_fips; set it"):
        values(tmp_path / "failed", 7, 2)
    assert list((tmp_path / "failed").iterdir()) == []


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    values(tmp_path / "chunks", 7, 1)
    damaged = sorted((tmp_path / "chunks").iterdir())[2]
    damaged.write_bytes(damaged.read_bytes()[:50])
    with pytest.raises(ArtifactError, match=f"{damaged.name} is not a whole chunk"):
        values(tmp_path / "chunks", 7, 1)


@settings(deadline=None)
@given(st.data())
def test_rows_are_quantities_in_the_columns_of_their_places(data: st.DataObject) -> None:
    places = geography(n_records=9, n_clones=3, seed=data.draw(st.integers(0, 99)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dense = (rng.integers(0, 3, (4, 27)) * rng.random((4, 27))).astype(np.float32)
    place = st.sampled_from([0, 10, 36, 56, 6, 1001, 3601, 3602, 601])
    rows = data.draw(st.lists(st.tuples(st.integers(0, 3), place), min_size=1, max_size=30))
    quantity, where = (np.array(part, dtype=np.int64) for part in zip(*rows, strict=True))
    found = target_rows(sparse.csr_matrix(dense), quantity, where, places)
    assert found.has_canonical_format
    assert found.dtype == np.float32
    for i, (q, p) in enumerate(rows):
        inside = [p in (0, places.state[c], places.district[c]) for c in range(27)]
        assert found.toarray()[i].tolist() == np.where(inside, dense[q], 0).tolist()


def test_places_of_targets() -> None:
    rows = pd.DataFrame({"geo_level": ["national", "state", "district"], "geographic_id": ["US", "6", "601"]})
    assert places_of(rows).tolist() == [0, 6, 601]
    with pytest.raises(ConfigError, match="level 'county'"):
        places_of(pd.DataFrame({"geo_level": ["county"], "geographic_id": ["06037"]}))
