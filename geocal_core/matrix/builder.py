"""The calibration matrix: a row per target, a column per (household, clone), and the package that holds it.

The plain and exact way: every column is simulated in its own state with its own take-up (``chunks``), each distinct quantity
once, and a target's row is its quantity in the columns of its place. Narrow: rules below the level of the state are not
simulated (``engine.place``), changes under a reform are refused (``quantities``), and the explicit matrix is built in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.chunks import Work, plan, simulate_columns
from geocal_core.matrix.package import Package, write_package
from geocal_core.matrix.quantities import quantities_of
from geocal_core.places.assignment import Geography, read_geography
from geocal_core.population import Population, read_h5
from geocal_core.stages import engine_version, stage_named
from geocal_core.targets.select import load_targets
from geocal_core.targets.selection import read_selection, selected
from geocal_core.workers import worker_count

if TYPE_CHECKING:
    from geocal_core.context import StageContext
    from geocal_core.progress import Value

LEAST_SUPPORT = 0.9
"""Share of targets that weights must be able to reach: below it the file is too small or not of the targets' places."""


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``calibration_package``: simulate, assemble and write the package."""
    settings = context.settings
    base = read_h5(context.inputs["stratified_cps"])
    geography = read_geography(context.inputs["geography"])
    _check_same_file(base, geography, settings.year)
    every, constraints = load_targets(context.inputs["target_db"], settings.year)
    selection = read_selection(settings.targets)
    targets = selected(selection, every, context.reporter.progress).reset_index(drop=True)
    quantities, row_quantity = quantities_of(targets, constraints)
    chunks = plan(geography.state)
    context.scratch.mkdir(parents=True, exist_ok=True)
    context.reporter.progress(
        f"{len(targets):,} of {len(every):,} targets ({int(targets['held_out'].sum()):,} held out) by {selection.name}, of "
        f"{len(quantities)} quantities, {len(geography.state):,} columns in {len(chunks)} chunks"
    )
    work = Work(base, geography, quantities, settings.seed, context.scratch)
    values = simulate_columns(work, chunks, worker_count(), context.reporter)
    matrix = target_rows(values, row_quantity, places_of(targets), geography)
    write_package(
        context.output,
        matrix,
        targets,
        initial_weights=base.weights[geography.household] / geography.n_clones,
        district=geography.district,
        state=geography.state,
        household_id=base.ids("household"),
        n_clones=geography.n_clones,
        facts={
            "year": settings.year,
            "seed": settings.seed,
            "targets": settings.targets,
            "engine": engine_version(stage_named("calibration_package")),
            "inputs": dict(context.input_digests),
        },
    )
    return _checked(context, len(quantities))


def _check_same_file(base: Population, geography: Geography, year: int) -> None:
    if base.count("household") != geography.n_records:
        raise ArtifactError(
            f"the geography places {geography.n_records} households, the stratified file has {base.count('household')}",
            "materialise geography again",
        )
    if base.period != year:
        raise ConfigError(f"the stratified file speaks of {base.period}, the package is to be of {year}")


def places_of(targets: pd.DataFrame) -> NDArray[np.int64]:
    """The place of each target: 0 for the nation, the FIPS code of a state, or the code of a district (100 and more)."""
    unknown = sorted(set(targets["geo_level"]) - {"national", "state", "district"})
    if unknown:
        raise ConfigError(f"a target is of the level {unknown[0]!r}", "levels are national, state and district")
    national = (targets["geo_level"] == "national").to_numpy()
    return np.where(national, 0, targets["geographic_id"].where(~national, "0").astype(int).to_numpy()).astype(np.int64)


def target_rows(
    values: sparse.csr_matrix, row_quantity: NDArray[np.int64], row_place: NDArray[np.int64], geography: Geography
) -> sparse.csr_matrix:
    """A row per target: its quantity in the columns of its place, and nothing elsewhere.

    Parameters
    ----------
    values : csr_matrix of float32, shape (quantities, columns)
        Sorted columns.
    row_quantity, row_place : ndarray of int64, shape (targets,)
        Quantity and place (see ``places_of``) of each target.
    geography : Geography

    Returns
    -------
    csr_matrix of float32, shape (targets, columns)
    """
    rows = [_in_places(values, quantity, row_quantity, row_place, geography) for quantity in range(values.shape[0])]
    entries = {row: part for of_quantity in rows for row, part in of_quantity.items()}
    n_targets = len(row_quantity)
    indptr = np.concatenate([[0], np.cumsum([len(entries[row]) for row in range(n_targets)])]).astype(np.int64)
    indices = np.empty(indptr[-1], dtype=np.int32)
    data = np.empty(indptr[-1], dtype=np.float32)
    for row in range(n_targets):
        inside = slice(indptr[row], indptr[row + 1])
        indices[inside] = values.indices[entries[row]]
        data[inside] = values.data[entries[row]]
    return sparse.csr_matrix((data, indices, indptr), shape=(n_targets, values.shape[1]), copy=False)


def _in_places(
    values: sparse.csr_matrix,
    quantity: int,
    row_quantity: NDArray[np.int64],
    row_place: NDArray[np.int64],
    geography: Geography,
) -> dict[int, NDArray[np.int64]]:
    """For each target of a quantity, the positions of its entries among the stored values."""
    first, last = int(values.indptr[quantity]), int(values.indptr[quantity + 1])
    columns = values.indices[first:last]
    keys = {
        "national": np.zeros(len(columns), dtype=np.int64),
        "state": geography.state[columns].astype(np.int64),
        "district": geography.district[columns].astype(np.int64),
    }
    found: dict[int, NDArray[np.int64]] = {}
    for level, lowest, highest in (("national", 0, 0), ("state", 1, 99), ("district", 100, np.iinfo(np.int64).max)):
        rows = np.flatnonzero((row_quantity == quantity) & (row_place >= lowest) & (row_place <= highest))
        order = np.argsort(keys[level], kind="stable")
        sorted_keys = keys[level][order]
        starts = np.searchsorted(sorted_keys, row_place[rows], side="left")
        ends = np.searchsorted(sorted_keys, row_place[rows], side="right")
        for row, start, end in zip(rows.tolist(), starts, ends, strict=True):
            found[row] = first + order[start:end]
    return found


def _checked(context: StageContext, n_quantities: int) -> dict[str, Value]:
    """Open what was written, report the checks, and refuse a package that fails one."""
    package = Package.open(context.output)
    empty = package.targets[~package.supported]
    unsupported = empty.loc[empty["value"] != 0, "name"].tolist()  # a total of 0 is met by having nobody
    sound = bool(
        np.isfinite(package.matrix.data).all()
        and np.isfinite(package.initial_weights).all()
        and (package.initial_weights >= 0).all()
        and (package.district // 100 == package.state).all()
    )
    facts: dict[str, Value] = {
        "rows": len(package.targets),
        "rows_held_out": int(package.targets["held_out"].sum()),
        "columns": len(package.state),
        "nonzeros": int(package.matrix.nnz),
        "quantities": n_quantities,
        "rows_without_support": len(empty),
        "rows_out_of_reach": len(unsupported),
    }
    context.reporter.check("package_valid", sound, facts)
    enough = len(unsupported) <= (1 - LEAST_SUPPORT) * len(package.targets)
    listed: dict[str, Value] = {"rows_out_of_reach": len(unsupported), "first": ", ".join(unsupported[:10])}
    context.reporter.check("package_supported", enough, listed)
    if not sound:
        raise ArtifactError("the calibration package holds values that are not finite, or negative starting weights")
    if not enough:
        raise ArtifactError(
            f"{len(unsupported)} of {len(package.targets)} targets have no household in the file, such as {unsupported[0]}",
            "build geography with more clones, or targets of the same places",
        )
    return facts
