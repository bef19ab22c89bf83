"""The calibration package built: targets chosen, every column valued in its own place, and all of it written.

What a target measures is a quantity (``quantities``); a quantity is valued for every (household, clone) in its place with its
take-up (``chunks``, kept in ``cache``); a target's row is its quantity in the columns of its place (``factored``). What a build
needs of memory and disk is said, and refused, before it starts (``needs``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.engine.copies import Copies, Question
from geocal_core.engine.place import places_of_columns
from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.cache import World
from geocal_core.matrix.chunks import CHUNK_COLUMNS, InexactError, Work, plan, simulate_chunks, wanted_variables
from geocal_core.matrix.factored import FactoredMatrix
from geocal_core.matrix.initial_weights import initial_weights
from geocal_core.matrix.needs import check_needs
from geocal_core.matrix.package import Package, write_package
from geocal_core.matrix.quantities import quantities_of
from geocal_core.matrix.quantity import Quantity, groups_of, quantity_table
from geocal_core.matrix.variants import Variants
from geocal_core.places.assignment import Geography, read_geography
from geocal_core.places.crosswalk import ColumnPlaces, Crosswalk
from geocal_core.places.states import state_of_fips
from geocal_core.population import IMPUTED, Population, read_h5
from geocal_core.stages import code_version, engine_version, stage_named
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
    targets = targets.assign(quantity=row_quantity, place=places_of(targets))
    _check_inhabited(targets, geography)
    context.reporter.progress(
        f"{len(targets):,} of {len(every):,} targets ({int(targets['held_out'].sum()):,} held out) by {selection.name}, of "
        f"{len(quantities)} quantities, {len(geography.state):,} columns"
    )
    crosswalk = Crosswalk.open(context.inputs["blocks"])
    takeup = TakeUp.of(base, settings.seed, settings.takeup)
    simulated, checked = _values(context, base, geography, crosswalk, takeup, quantities)
    people = pd.Series(crosswalk.population).groupby(crosswalk.district).sum()

    def matrix() -> FactoredMatrix:
        return FactoredMatrix.of_variants(
            simulated, targets["quantity"].to_numpy(), targets["place"].to_numpy(), geography.district
        )

    start = initial_weights(settings.initial_weights, base.weights, geography.district, people, matrix, targets)
    counties, county = np.unique(geography.county, return_inverse=True)
    write_package(
        context.output,
        simulated,
        targets,
        quantity_table(quantities),
        start,
        geography.district,
        (county, counties),
        base.ids("household"),
        facts={
            "year": settings.year,
            "seed": settings.seed,
            "takeup": settings.takeup,
            "reported": {program: round(share, 6) for program, share in takeup.reported.items()},
            "targets": settings.targets,
            "initial_weights": settings.initial_weights,
            "engine": engine_version(stage_named("calibration_package")),
            "code": code_version("calibration_package"),
            "inputs": dict(context.input_digests),
        },
        imputed=np.asarray(base[IMPUTED], dtype=np.bool_) if IMPUTED in base else None,
    )
    facts = {f"reported_{program}": share for program, share in takeup.reported.items()}
    return _checked(context) | facts | {"quantities": len(quantities), "columns_simulated_twice": checked}


def _values(
    context: StageContext,
    base: Population,
    geography: Geography,
    crosswalk: Crosswalk,
    takeup: TakeUp,
    quantities: tuple[Quantity, ...],
) -> tuple[Variants, int]:
    """The values of all quantities in all columns, simulated where no earlier build has, and how many were checked."""
    settings = context.settings
    chunks = plan(geography.state, geography.n_records)
    facts = {
        **{name: context.input_digests[name] for name in ("stratified_cps", "geography", "blocks")},
        "year": settings.year,
        "seed": settings.seed,
        "takeup": settings.takeup,
        "code": code_version("calibration_package"),
        "engine": engine_version(stage_named("calibration_package")),
        "chunk": CHUNK_COLUMNS,
    }
    world = World.open(context.store.path("cache/values"), facts, {chunk.name: chunk.columns for chunk in chunks})
    batch = world.missing(quantities)
    workers = worker_count()
    check_needs(len(geography.state), len(groups_of(quantities)), workers if batch else 0, context.store.root)
    checked = 0
    if batch is None:
        context.reporter.progress("every quantity is known from an earlier build")
    else:
        context.reporter.progress(
            f"{len(batch.quantities)} of {len(quantities)} quantities to simulate in {len(chunks)} chunks"
        )
        places = places_of_columns(ColumnPlaces.of(crosswalk, geography.block))
        question = Question(base, takeup, wanted_variables(batch.quantities))
        work = Work(question, Copies(geography.household, geography.clone, places), batch, settings.checked_columns)
        try:
            checked = simulate_chunks(work, chunks, workers, context.reporter)
        except InexactError as error:
            context.reporter.check("values_exact", False, {"first": error.what})
            raise
    context.reporter.check("values_exact", True, {"columns_simulated_twice": checked})
    found = world.collect(quantities, geography.n_records, geography.n_clones)
    world.keep_only(quantities)
    return found, checked


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


def _check_inhabited(targets: pd.DataFrame, geography: Geography) -> None:
    """Refuse targets of a state in which no clone lives: no weights could meet them."""
    place = targets["place"].to_numpy()
    wanted = set(np.where(place >= 100, place // 100, place).tolist()) - {0}
    empty = sorted(wanted - set(np.unique(geography.state).tolist()))
    if empty:
        raise ArtifactError(
            f"no clone lives in {state_of_fips(empty[0]).name}, and {int((place // 100 == empty[0]).sum())} districts' and "
            f"{int((place == empty[0]).sum())} state's targets speak of it",
            "build target_db, blocks and geography for the same states",
        )


def _checked(context: StageContext) -> dict[str, Value]:
    """Open what was written, report the checks, and refuse a package that fails one."""
    package = Package.open(context.output)
    empty = package.targets[~package.supported]
    unsupported = empty.loc[empty["value"] != 0, "name"].tolist()  # a total of 0 is met by having nobody
    variants = package.variants
    sound = bool(
        np.isfinite(variants.data).all() and np.isfinite(package.initial_weights).all() and (package.initial_weights >= 0).all()
    )
    facts: dict[str, Value] = {
        "rows": len(package.targets),
        "rows_held_out": int(package.targets["held_out"].sum()),
        "columns": package.n_columns,
        "atoms": package.matrix.atoms,
        "nonzeros": package.matrix.nnz,
        "stored_values": len(variants.data),
        "groups": len(variants.groups),
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
