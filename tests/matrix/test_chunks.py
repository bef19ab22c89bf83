"""Chunks, processes and the cache, with a cheap stand-in for the engine: same result however the work is cut, and resumed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geocal_core.engine.copies import BASELINE, Answer, Copies, Question
from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix import chunks as chunks_module
from geocal_core.matrix.cache import World
from geocal_core.matrix.chunks import InexactError, Work, plan, simulate_chunks, wanted_variables
from geocal_core.matrix.quantity import Quantity
from geocal_core.population import Population
from geocal_core.progress import Silent
from geocal_core.targets.constraints import Constraint
from tests.engine.households import make_population
from tests.engine.placing import copies_in

BASE = make_population(20, seed=2)
CLONES = 6
EVERYONE = copies_in((10, 36, 56), 20, CLONES, seed=1)
QUANTITIES = (
    Quantity("income"),
    Quantity("person_count", (Constraint("age", "<", "18"),)),
    Quantity("salt_deduction", (), "salt_deduction"),
    Quantity("spm_unit_count", (Constraint("income", ">", "40000"),)),
)
ENTITY_OF = {"income": "tax_unit", "income_tax": "tax_unit", "age": "person"}
FACTS = {"seed": 3}

Simulate = Callable[[Population], dict[str, np.ndarray]]


def stand_in(population: Population) -> dict[str, np.ndarray]:
    """Values that depend on state and take-up, as the engine's do."""
    person = population["employment_income_before_lsr"] * (1 + population["takes_up_ssi_if_eligible"])
    income = np.bincount(population.group_of_person("tax_unit"), person, population.count("tax_unit"))
    income += population["state_fips"][population.household_of("tax_unit")]
    return {"income": income.astype(np.float32), "income_tax": (income / 10).astype(np.float32), "age": population["age"]}


class Engine:
    """In place of the question and of the layers, which give the same."""

    def __init__(self, question: Question, simulate: Simulate, plain: Simulate | None = None) -> None:
        self.question, self.simulate, self.plain = question, simulate, plain or simulate

    def answer(self, copies: Copies) -> Answer:
        return self._answer(copies, self.simulate)

    def answer_plainly(self, copies: Copies) -> Answer:
        return self._answer(copies, self.plain)

    def _answer(self, copies: Copies, simulate: Simulate) -> Answer:
        population = self.question.populate(copies)
        values = simulate(population)
        return Answer(population, {BASELINE: values, "salt_deduction": {"income_tax": values["income_tax"] + 5}})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the stand-in, or another one, to the chunks."""
    monkeypatch.setattr(chunks_module, "check_outputs", lambda variables: None)
    monkeypatch.setattr(chunks_module, "entity_of", ENTITY_OF.__getitem__)
    monkeypatch.setattr(chunks_module, "nation_layer", lambda question, copies: question)

    def give(simulate: Simulate = stand_in, plain: Simulate | None = None) -> None:
        monkeypatch.setattr(chunks_module, "state_layer", lambda nation, copies: Engine(nation, simulate))
        monkeypatch.setattr(Question, "answer", lambda self, copies: Engine(self, simulate, plain).answer_plainly(copies))

    give()
    return give


def world_of(folder: Path, most: int) -> World:
    chunks = plan(EVERYONE.places.state, 20, most)
    return World.open(folder, FACTS, {chunk.name: chunk.columns for chunk in chunks})


def simulated(folder: Path, most: int, workers: int, checked: int = 4, quantities: tuple[Quantity, ...] = QUANTITIES) -> int:
    """Simulate what is missing; the number of columns that were checked."""
    batch = world_of(folder, most).missing(quantities)
    if batch is None:
        return -1
    question = Question(BASE, TakeUp.of(BASE, 3), wanted_variables(batch.quantities))
    return simulate_chunks(Work(question, EVERYONE, batch, checked), plan(EVERYONE.places.state, 20, most), workers, Silent())


def values(folder: Path, most: int, workers: int) -> np.ndarray:
    simulated(folder, most, workers)
    return world_of(folder, most).collect(QUANTITIES, 20, CLONES).to_csr().toarray()


@given(st.lists(st.sampled_from([1, 6, 36, 56]), min_size=1, max_size=30), st.integers(1, 7), st.integers(1, 60))
def test_a_plan_covers_every_column_once_by_state(states: list[int], clones: int, most: int) -> None:
    state = np.resize(np.array(states, dtype=np.int32), len(states) * clones)
    chunks = plan(state, len(states), most)
    assert sorted(np.concatenate([chunk.columns for chunk in chunks]).tolist()) == list(range(len(state)))
    for chunk in chunks:
        assert 0 < len(chunk.columns) <= most + 2 * clones
        assert (state[chunk.columns] == chunk.state).all()
        assert (np.diff(chunk.columns % len(states)) >= 0).all()
    where = {(chunk.state, int(household)): chunk.name for chunk in chunks for household in chunk.columns % len(states)}
    assert all(where[chunk.state, int(h)] == chunk.name for chunk in chunks for h in chunk.columns % len(states))
    assert len({chunk.name for chunk in chunks}) == len(chunks)


@pytest.mark.usefixtures("engine")
def test_values_are_those_of_each_column_alone(tmp_path: Path) -> None:
    """Column by column, household by household, with plain loops."""
    found = values(tmp_path / "all", 10_000, 1)
    question = Question(BASE, TakeUp.of(BASE, 3), {})
    for column in range(0, 20 * CLONES, 7):
        copy = question.populate(EVERYONE.take([column]))
        alone = stand_in(copy)
        units = copy.group_of_person("tax_unit")
        rich = {spm for spm, unit in zip(copy.group_of_person("spm_unit"), units, strict=True) if alone["income"][unit] > 40000}
        expected = [sum(alone["income"]), sum(age < 18 for age in alone["age"]), 5 * copy.count("tax_unit"), len(rich)]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-3)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("most", "workers"), [(1, 1), (7, 2), (10_000, 2), (13, 3)])
def test_the_result_does_not_depend_on_how_the_work_is_cut(tmp_path: Path, most: int, workers: int) -> None:
    whole = values(tmp_path / "whole", 10_000, 1)
    assert (values(tmp_path / "cut", most, workers) == whole).all()


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path, engine: Callable[..., None]) -> None:
    whole = values(tmp_path / "whole", 7, 1)
    marks = tmp_path / "marks"
    marks.mkdir()

    def dying(population: Population) -> dict[str, np.ndarray]:
        (marks / f"{len(list(marks.iterdir()))}").touch()
        if len(list(marks.iterdir())) == 5:
            os._exit(9)
        return stand_in(population)

    engine(dying)
    with pytest.raises(ArtifactError, match="was killed; free memory"):
        simulated(tmp_path / "killed", 7, 1, checked=0)
    there = sorted((tmp_path / "killed").rglob("*.npz"))
    assert len(there) == 4
    before = {path: path.stat().st_mtime_ns for path in there}
    engine()
    again = values(tmp_path / "killed", 7, 2)
    assert {path: path.stat().st_mtime_ns for path in there} == before
    assert (again == whole).all()


def test_a_full_disk_leaves_whole_chunks_only(
    tmp_path: Path, engine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    del engine
    whole = values(tmp_path / "whole", 7, 1)
    save = np.savez

    def full(stream: BinaryIO, **parts: np.ndarray) -> None:
        if len(list((tmp_path / "full").rglob("*.npz"))) == 4:  # three whole ones and this
            stream.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(stream, **parts)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        simulated(tmp_path / "full", 7, 1, checked=0)
    assert len(list((tmp_path / "full").rglob("*.npz"))) == 3
    assert not list((tmp_path / "full").rglob(".*"))
    monkeypatch.setattr(np, "savez", save)
    assert (values(tmp_path / "full", 7, 1) == whole).all()


def test_only_what_is_missing_is_simulated(tmp_path: Path, engine: Callable[..., None]) -> None:
    values(tmp_path / "world", 13, 1)

    def forbidden(population: Population) -> dict[str, np.ndarray]:
        raise AssertionError("nothing is missing")

    engine(forbidden)
    assert simulated(tmp_path / "world", 13, 1) == -1
    assert simulated(tmp_path / "world", 13, 1, quantities=QUANTITIES[:2]) == -1
    new = Quantity("household_count", (Constraint("age", ">", "80"), Constraint("income", ">", "5")))
    batch = world_of(tmp_path / "world", 13).missing((*QUANTITIES, new))
    assert batch is not None
    assert batch.quantities == (new,)
    engine()
    simulated(tmp_path / "world", 13, 1, quantities=(*QUANTITIES, new))
    world = world_of(tmp_path / "world", 13)
    assert world.collect((new,), 20, CLONES).n_quantities == 1
    both = sorted((*QUANTITIES, new))
    assert world.collect(both, 20, CLONES).n_quantities == 5
    world.keep_only((new,))
    assert world.missing((new,)) is None
    left = world_of(tmp_path / "world", 13).missing(QUANTITIES)
    assert left is not None
    assert sorted(left.quantities) == sorted(QUANTITIES)


@pytest.mark.usefixtures("engine")
def test_another_world_knows_nothing_and_is_removed(tmp_path: Path) -> None:
    values(tmp_path / "worlds", 13, 1)
    chunks = {chunk.name: chunk.columns for chunk in plan(EVERYONE.places.state, 20, 13)}
    other = World.open(tmp_path / "worlds", {"seed": 4}, chunks)
    assert other.missing(QUANTITIES) is not None
    with pytest.raises(ArtifactError, match="the values of income have not been simulated"):
        other.collect(QUANTITIES, 20, CLONES)
    world_of(tmp_path / "worlds", 13).keep_only(QUANTITIES)
    assert not other.folder.exists()
    assert simulated(tmp_path / "worlds", 13, 1) == -1


def test_columns_that_come_out_otherwise_are_told(tmp_path: Path, engine: Callable[..., None]) -> None:
    assert simulated(tmp_path / "right", 13, 1) == 4 * 3

    def otherwise(population: Population) -> dict[str, np.ndarray]:
        return {name: column + (name == "income") for name, column in stand_in(population).items()}

    engine(stand_in, otherwise)
    with pytest.raises(InexactError, match=r"income of column \d+ is .* in layers and .* plainly \(12 of 48 values"):
        simulated(tmp_path / "wrong", 13, 1)


def test_an_error_of_a_process_reaches_the_user_as_it_is(tmp_path: Path, engine: Callable[..., None]) -> None:
    def failing(population: Population) -> dict[str, np.ndarray]:
        raise ConfigError("the population has no state_fips", "set it")

    engine(failing)
    with pytest.raises(ConfigError, match="the population has no state_fips; set it"):
        simulated(tmp_path / "failed", 7, 2)
    assert list((tmp_path / "failed").rglob("*.npz")) == []


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("damage", ["truncated", "of other columns"])
def test_a_damaged_chunk_is_named_and_made_again(tmp_path: Path, damage: str) -> None:
    whole = values(tmp_path / "chunks", 7, 1)
    first, second, *_ = sorted((tmp_path / "chunks").rglob("*.npz"))
    if damage == "truncated":
        first.write_bytes(first.read_bytes()[:50])
    else:
        smallest = min((tmp_path / "chunks").rglob("*.npz"), key=lambda path: path.stat().st_size)
        first, second = second, smallest
        first.write_bytes(second.read_bytes())
    with pytest.raises(ArtifactError, match=f"{first.name} (was not whole|did not fit).* removed; run again"):
        values(tmp_path / "chunks", 7, 1)
    assert (values(tmp_path / "chunks", 7, 1) == whole).all()
