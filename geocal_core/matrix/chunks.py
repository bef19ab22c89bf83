"""Values of all columns, simulated in chunks: each (household, clone) in its own place with its own take-up.

A chunk lies in one state, so that only that state's formulas run, holds all copies of a range of households, and is small
enough for bounded memory. A state's chunks share the layers below them (``engine.layers``) and are worked off by one forked
process; each result is a file of its own (``cache``). What comes out depends neither on the size of chunks nor on the number of
processes. Some columns of every state are simulated a second time, plainly and all states together, and must come out the same.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocal_core.engine.copies import BASELINE, Answer, Copies, Question
from geocal_core.engine.layers import Nation, nation_layer, state_layer
from geocal_core.engine.variables import check_outputs, entity_of
from geocal_core.errors import ArtifactError
from geocal_core.matrix.cache import Batch
from geocal_core.matrix.quantities import household_values
from geocal_core.matrix.quantity import TAX, Quantity, variables_of
from geocal_core.places.states import state_of_fips
from geocal_core.progress import Reporter
from geocal_core.seeds import generator

CHUNK_COLUMNS = 32_000
NEW_YORK = 36
OF_NEW_YORK = 20_000
"""Columns of a chunk of New York, whose law of another year takes a process half as much memory again."""


class InexactError(ArtifactError):
    """A column came out otherwise when it was simulated plainly."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Columns that are simulated together.

    Attributes
    ----------
    state : int
        FIPS code of the state that all of them lie in.
    number : int
        0, 1, 2 … within the state.
    columns : ndarray of int64
        By household, then clone.
    """

    state: int
    number: int
    columns: NDArray[np.int64]

    @property
    def name(self) -> str:
        """Its name among all chunks."""
        return f"{self.state:02d}-{self.number:05d}"


@dataclass(frozen=True)
class Work:
    """What every chunk is simulated from.

    Attributes
    ----------
    question : Question
    copies : Copies
        All columns.
    batch : Batch
        The quantities to value, and where their values go.
    checked : int
        Columns of each state that are simulated a second time.
    """

    question: Question
    copies: Copies
    batch: Batch
    checked: int


def plan(state: NDArray[np.int32], n_records: int, most: int = CHUNK_COLUMNS) -> tuple[Chunk, ...]:
    """Chunks of nearly equal size, about ``most`` columns each, that cover all columns once; states ascending.

    Parameters
    ----------
    state : ndarray of int32, shape (columns,)
        State of each column; column = clone * n_records + household.
    n_records : int
    most : int
        A chunk has more only if one household has.
    """
    chunks: list[Chunk] = []
    by_household = np.arange(len(state)).reshape(-1, n_records).T.ravel()
    state_of = state[by_household]
    for fips in np.unique(state).tolist():
        columns = by_household[state_of == fips]
        household = columns % n_records
        starts = np.flatnonzero(np.diff(household, prepend=-1))
        parts = -(-len(columns) // (min(most, OF_NEW_YORK) if fips == NEW_YORK else most))
        wanted = np.arange(1, parts) * len(columns) / parts
        cuts = np.unique(starts[np.searchsorted(starts, wanted, side="left").clip(max=len(starts) - 1)])
        pieces = [piece for piece in np.split(columns, cuts) if len(piece)]
        chunks += [Chunk(fips, number, piece) for number, piece in enumerate(pieces)]
    return tuple(chunks)


def wanted_variables(quantities: Sequence[Quantity]) -> dict[str, tuple[str, ...]]:
    """Variables that quantities need under each set of rules (see ``Question.wanted``)."""
    neutralised = sorted({quantity.neutralised for quantity in quantities} - {""})
    return {BASELINE: variables_of(quantities), **dict.fromkeys(neutralised, (TAX,))}


def values_of(quantities: Sequence[Quantity], answer: Answer) -> NDArray[np.float32]:
    """Each quantity of each copy, shape (quantities, copies)."""
    neutralised = {rules: values for rules, values in answer.values.items() if rules != BASELINE}
    return household_values(answer.population, quantities, answer.values[BASELINE], entity_of, neutralised)


def simulate_chunks(work: Work, chunks: Sequence[Chunk], workers: int, reporter: Reporter) -> int:
    """Value the batch's quantities in the chunks whose files are not there yet.

    Parameters
    ----------
    work : Work
    chunks : sequence of Chunk
    workers : int
        Processes to use at most.
    reporter : Reporter
        Gets a line whenever a state is done.

    Returns
    -------
    int
        Columns that were simulated a second time.

    Raises
    ------
    ConfigError
        If a variable is unknown to the engine or not local.
    ArtifactError
        If a process is killed; an ``InexactError`` if a column that is simulated a second time comes out otherwise.
    """
    missing = [chunk for chunk in chunks if not work.batch.has(chunk.name)]
    if len(missing) < len(chunks):
        reporter.progress(f"{len(chunks) - len(missing)} of {len(chunks)} chunks are there from an earlier run")
    if not missing:
        return 0
    check_outputs(work.question.variables)
    nation = _nation(work, reporter)
    total, done = sum(len(chunk.columns) for chunk in missing), 0
    started = time.monotonic()
    tasks = _tasks(missing)
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(work, nation)
    )
    try:
        some = _some(work, missing)
        again = np.concatenate([chunk.columns[at] for chunk, at in some.items()]) if some else np.zeros(0, dtype=np.int64)
        pending = {pool.submit(_simulate_state, tasks[0]): tasks[0]}
        plain = pool.submit(_simulate_plainly, again) if len(again) else None  # early: nothing is to wait for it
        pending |= {pool.submit(_simulate_state, task): task for task in tasks[1:]}
        for future in as_completed(pending):
            task, seconds = pending[future], future.result()
            columns = sum(len(chunk.columns) for chunk in task)
            done += columns
            reporter.progress(
                f"{state_of_fips(task[0].state).code}: {columns:,} columns simulated in {seconds:.1f} s; "
                f"{done:,} of {total:,} after {time.monotonic() - started:.0f} s"
            )
        if plain is not None:
            _compare(work, some, plain.result())
    except BrokenProcessPool as error:
        raise ArtifactError(
            "a process that simulates households was killed", "free memory or set GEOCAL_WORKERS=1 and run again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return len(again)


def _nation(work: Work, reporter: Reporter) -> Nation:
    """The layer of the nation: every household once, in the state that most columns lie in."""
    states, counts = np.unique(work.copies.places.state, return_counts=True)
    fips = int(states[np.argmax(np.where(states == NEW_YORK, 0, counts))])
    inside = np.flatnonzero(work.copies.places.state == fips)
    households = np.arange(work.question.base.count("household"))
    place = work.copies.places.take(inside[households % len(inside)])
    reporter.progress(f"{len(households):,} households, each once, for what is the same in all places")
    return nation_layer(work.question, Copies(households, np.zeros(len(households), dtype=np.int64), place))


def _tasks(chunks: Sequence[Chunk]) -> list[tuple[Chunk, ...]]:
    """The chunks of each state, for one process at a time: the longest first, so that the processes end together.

    New York begins: the first simulation of it makes the engine clone its whole system (5 s, 0.8 GB for as long as the process
    lives), so only one process should ever do it.
    """
    by_state: dict[int, list[Chunk]] = {}
    for chunk in chunks:
        by_state.setdefault(chunk.state, []).append(chunk)
    tasks = [tuple(of_state) for of_state in by_state.values()]
    return sorted(tasks, key=lambda task: (task[0].state != NEW_YORK, -sum(len(chunk.columns) for chunk in task)))


_WORK: list[tuple[Work, Nation]] = []


def _begin(work: Work, nation: Nation) -> None:
    """Start of a process: keep what it inherited, and leave the garbage collector to the end of each simulation."""
    _WORK[:] = [(work, nation)]
    gc.disable()


def _simulate_state(chunks: tuple[Chunk, ...]) -> float:
    """Simulate chunks of a state and write their results; seconds that it took."""
    started = time.monotonic()
    work, nation = _WORK[0]
    quantities = work.batch.quantities
    state = state_layer(nation, work.copies.take(np.flatnonzero(work.copies.places.state == chunks[0].state)))
    gc.freeze()  # what is left are the engine's caches, which the next collection need not walk again
    for chunk in chunks:
        work.batch.write(chunk.name, values_of(quantities, state.answer(work.copies.take(chunk.columns))))
    return time.monotonic() - started


def _simulate_plainly(columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """The values of some columns of all states, without layers."""
    work, _ = _WORK[0]
    return values_of(work.batch.quantities, work.question.answer(work.copies.take(columns)))


def _some(work: Work, chunks: Sequence[Chunk]) -> dict[Chunk, NDArray[np.int64]]:
    """Positions of columns to simulate a second time, in the first chunk of each state."""
    first = {chunk.state: chunk for chunk in reversed(chunks)}
    found = {}
    for chunk in first.values() if work.checked else ():
        number = min(work.checked, len(chunk.columns))
        found[chunk] = np.sort(generator(f"checked {chunk.name}").choice(len(chunk.columns), number, replace=False))
    return found


def _compare(work: Work, some: Mapping[Chunk, NDArray[np.int64]], plain: NDArray[np.float32]) -> None:
    """Refuse values that came out otherwise when they were simulated plainly."""
    kept = [work.batch.read(chunk.name, at) for chunk, at in some.items()]
    columns = np.concatenate([chunk.columns[at] for chunk, at in some.items()])
    values = np.concatenate(kept, axis=1)
    different = np.argwhere(plain != values)
    if len(different):
        quantity, position = different[0].tolist()
        raise InexactError(
            f"{work.batch.quantities[quantity]} of column {int(columns[position])} is {values[quantity, position]!r} in layers "
            f"and {plain[quantity, position]!r} when simulated plainly ({len(different)} of {plain.size} values differ)",
            "the engine reads what geocal does not know of: run benchmarks/dependence.py",
        )
