"""Quantities of all columns, simulated in chunks: each (household, clone) in its own state with its own take-up.

A chunk lies in one state, so that only that state's formulas run, and is small enough for bounded memory. Chunks are worked
off by forked processes, each result is a file of its own, and a killed build goes on from the files that are there. What a
file holds does not depend on the size of chunks or on the number of processes.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.engine.place import at_place
from geocal_core.engine.simulate import simulate
from geocal_core.engine.variables import check_outputs, entity_of
from geocal_core.errors import ArtifactError
from geocal_core.matrix.quantities import Quantity, household_values, variables_of
from geocal_core.places.assignment import Geography
from geocal_core.places.states import state_of_fips
from geocal_core.population import Population
from geocal_core.progress import Reporter
from geocal_core.store import atomic

CHUNK_COLUMNS = 8_000
NEW_YORK = 36


@dataclass(frozen=True)
class Chunk:
    """Columns that are simulated together.

    Attributes
    ----------
    state : int
        FIPS code of the state that all of them lie in.
    number : int
        0, 1, 2 … within the state.
    columns : ndarray of int64
        Ascending.
    """

    state: int
    number: int
    columns: NDArray[np.int64]

    def file(self, folder: Path) -> Path:
        """Where its result lies."""
        return folder / f"{self.state:02d}-{self.number:05d}.npz"


@dataclass(frozen=True)
class Work:
    """What every chunk is simulated from."""

    base: Population
    geography: Geography
    quantities: tuple[Quantity, ...]
    seed: int
    folder: Path


def plan(state: NDArray[np.int32], most: int = CHUNK_COLUMNS) -> tuple[Chunk, ...]:
    """Chunks of nearly equal size, at most ``most`` columns each, that cover all columns once; states ascending."""
    chunks: list[Chunk] = []
    for fips in np.unique(state).tolist():
        columns = np.flatnonzero(state == fips)
        parts = np.array_split(columns, -(-len(columns) // most))
        chunks += [Chunk(fips, number, part) for number, part in enumerate(parts)]
    return tuple(chunks)


def simulate_columns(work: Work, chunks: Sequence[Chunk], workers: int, reporter: Reporter) -> sparse.csr_matrix:
    """Values of every quantity in every column.

    Parameters
    ----------
    work : Work
    chunks : sequence of Chunk
    workers : int
        Processes to use at most.
    reporter : Reporter
        Gets a line whenever a chunk is done.

    Returns
    -------
    csr_matrix of float32, shape (quantities, columns)
        Sorted columns, no stored zeros.

    Raises
    ------
    ConfigError
        If a variable is unknown to the engine or not local.
    ArtifactError
        If a process is killed.
    """
    missing = [chunk for chunk in chunks if not chunk.file(work.folder).exists()]
    if len(missing) < len(chunks):
        reporter.progress(f"{len(chunks) - len(missing)} of {len(chunks)} chunks are there from an earlier run")
    if missing:
        check_outputs(variables_of(work.quantities))
        _run(work, missing, workers, reporter)
    return _collect(work, chunks)


def _run(work: Work, chunks: Sequence[Chunk], workers: int, reporter: Reporter) -> None:
    """Work off chunks in forked processes, which inherit the imported engine and the population."""
    total, done = sum(len(chunk.columns) for chunk in chunks), 0
    started = time.monotonic()
    pool = ProcessPoolExecutor(
        min(workers, len(chunks)), mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(work,)
    )
    try:
        pending = {pool.submit(_simulate_chunks, task): task for task in _tasks(chunks)}
        for future in as_completed(pending):
            task, seconds = pending[future], future.result()
            columns = sum(len(chunk.columns) for chunk in task)
            done += columns
            reporter.progress(
                f"{state_of_fips(task[0].state).code}: {columns:,} columns simulated in {seconds:.1f} s; "
                f"{done:,} of {total:,} after {time.monotonic() - started:.0f} s"
            )
    except BrokenProcessPool as error:
        raise ArtifactError(
            "a process that simulates households was killed", "free memory or set GEOCAL_WORKERS=1 and run again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _tasks(chunks: Sequence[Chunk]) -> list[tuple[Chunk, ...]]:
    """Chunks for one process at a time, the longest first, so that the processes end together.

    New York's chunks stay together: the first of them makes the engine clone its whole system (5 s, 0.8 GB for as long as
    the process lives), so only one process should ever do it.
    """
    others = sorted((chunk for chunk in chunks if chunk.state != NEW_YORK), key=lambda chunk: -len(chunk.columns))
    tasks: list[tuple[Chunk, ...]] = [(chunk,) for chunk in others]
    new_york = tuple(chunk for chunk in chunks if chunk.state == NEW_YORK)
    return [new_york, *tasks] if new_york else tasks


_WORK: list[Work] = []


def _begin(work: Work) -> None:
    """Start of a process: keep what it inherited, and leave the garbage collector to the end of each simulation."""
    _WORK[:] = [work]
    gc.disable()


def _simulate_chunks(chunks: tuple[Chunk, ...]) -> float:
    """Simulate chunks one after another and write their results; seconds that it took."""
    started = time.monotonic()
    for chunk in chunks:
        write_chunk(_WORK[0], chunk)
        gc.freeze()  # what is left are the engine's caches, which the next collection need not walk again
    return time.monotonic() - started


def write_chunk(work: Work, chunk: Chunk) -> None:
    """Simulate one chunk in this process and write its result to its file."""
    households, clones = work.geography.household[chunk.columns], work.geography.clone[chunk.columns]
    population = at_place(work.base, households, clones, chunk.state, work.seed)
    values = simulate(population, variables_of(work.quantities), population.period)
    found = household_values(population, work.quantities, values, entity_of)
    quantity, position = np.nonzero(found)
    with atomic(chunk.file(work.folder)) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            quantity=quantity.astype(np.int32),
            column=chunk.columns[position].astype(np.int32),
            value=found[quantity, position],
        )


def _collect(work: Work, chunks: Sequence[Chunk]) -> sparse.csr_matrix:
    quantity, column, value = [], [], []
    for chunk in chunks:
        path = chunk.file(work.folder)
        try:
            with np.load(path, allow_pickle=False) as parts:
                quantity.append(parts["quantity"])
                column.append(parts["column"])
                value.append(parts["value"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{path} is not a whole chunk ({error})", "delete it and run again") from error
    shape = (len(work.quantities), len(work.geography.state))
    entries = (np.concatenate(value), (np.concatenate(quantity), np.concatenate(column)))
    matrix = sparse.coo_matrix(entries, shape=shape).tocsr()
    matrix.sort_indices()
    return matrix
