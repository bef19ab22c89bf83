"""Stage ``area_h5``: write the dataset of each wanted area.

One H5 file an area, each made by one worker process and committed by its own manifest, so that a killed run has lost only
the files that were being written. An area is made again when its fingerprint changes: its columns, their weights, blocks
and geographies, the stratified file, the settings, the code or the engine's version. Weights of another geography, stratified
file or seed than those given are refused: the files would hold other households than the ones that were calibrated.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geocal_core.areas.assembly import active_columns, assemble
from geocal_core.context import StageContext
from geocal_core.engine.place import Places, places_of_columns
from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.assignment import Geography, read_geography
from geocal_core.places.catalogue import Area, area, area_keys
from geocal_core.places.crosswalk import ColumnPlaces, Crosswalk
from geocal_core.places.states import STATES
from geocal_core.population import Population, read_h5, write_h5
from geocal_core.settings import as_config
from geocal_core.stages import code_version, engine_version, stage_named
from geocal_core.store import Manifest, Store, atomic, digest_bytes, digest_path, fingerprint, size_of
from geocal_core.workers import worker_count

if TYPE_CHECKING:
    from geocal_core.progress import Value

_REPORT_EVERY = 25
_LEVEL_TOLERANCE = 1e-6


@dataclass(frozen=True)
class _Workshop:
    """All that is needed to make any area; forked into the workers, never pickled."""

    store: Store
    base: Population
    geography: Geography
    places: ColumnPlaces
    where: Places
    takeup: TakeUp
    weights: NDArray[np.float64]
    manifest: Manifest


_workshop: _Workshop | None = None


def build(context: StageContext) -> dict[str, Value]:
    """Write the wanted areas (all of them if none is named) and check that they add up."""
    areas = [area(key) for key in context.areas or area_keys()]
    workshop = _open(context)
    for one in areas:
        if one.field:  # a code that no block has is refused before anything is made
            workshop.places.crosswalk.holding(one.field, one.values, one.state)
    done: list[tuple[Area, Manifest, bool]] = []
    for one, manifest, reused in _make_all(workshop, areas):
        done.append((one, manifest, reused))
        facts: dict[str, Value] = {key: value for key, value in manifest.metadata.items() if isinstance(value, int | float)}
        context.reporter.partition(one.key, facts | {"reused": reused, "digest": manifest.digest, "path": manifest.artifact})
        if len(done) % _REPORT_EVERY == 0 or len(done) == len(areas):
            context.reporter.progress(f"{len(done)} of {len(areas)} areas, {sum(r for *_, r in done)} of them unchanged")
    _check_levels(context, workshop.geography)
    digests = sorted((manifest.artifact, manifest.digest) for _, manifest, _ in done)
    return {
        "digest": fingerprint(digests),
        "reused": all(reused for *_, reused in done),
        "areas": len(done),
        "areas_reused": sum(reused for *_, reused in done),
        "households": sum(int(manifest.metadata["households"]) for _, manifest, _ in done),
        "bytes": sum(int(manifest.metadata["bytes"]) for _, manifest, _ in done),
    }


def _open(context: StageContext) -> _Workshop:
    base = read_h5(context.inputs["stratified_cps"])
    geography = read_geography(context.inputs["geography"])
    weights = read_weights(context, geography)
    if geography.n_records != base.count("household"):
        raise ArtifactError(
            f"the geography is of {geography.n_records} households, the stratified file of {base.count('household')}",
            "materialise geography again",
        )
    stage = stage_named(context.name)
    common = Manifest(
        artifact="",
        digest="",
        fingerprint="",
        inputs=dict(context.input_digests),
        code_version=code_version(stage.name),
        engine_version=engine_version(stage),
        config=as_config(context.settings),
    )
    places = ColumnPlaces.of(Crosswalk.open(context.inputs["blocks"]), geography.block)
    if (places.crosswalk.district[places.row] != geography.district).any():
        raise ArtifactError("blocks of the geography lie in other districts by the crosswalk", "materialise geography again")
    takeup = TakeUp.of(base, context.settings.seed, context.settings.takeup)
    return _Workshop(context.store, base, geography, places, places_of_columns(places), takeup, weights, common)


def read_weights(context: StageContext, geography: Geography) -> NDArray[np.float64]:
    """The calibrated weights, checked against the households, the geography and the seed that they belong to."""
    _check_calibrated(context)
    path = context.inputs["weights"] / "calibration_weights.npy"
    try:
        weights = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is not a whole weights file ({error})", "fit again") from error
    if weights.shape != (len(geography.block),):
        raise ArtifactError(
            f"{path} has {weights.size} weights for {len(geography.block)} columns of the geography",
            "fit the package that was built from this geography",
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ArtifactError(f"{path} holds a weight that is negative or not finite", "fit again")
    return weights


def _check_calibrated(context: StageContext) -> None:
    """Refuse weights that were fitted to columns other than those that the files would be made of."""
    path = context.inputs["weights"] / "unified_run_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        inputs, drawn = config["package_inputs"], (config["package_seed"], config["package_takeup"])
        calibrated = {source: inputs[source] for source in ("stratified_cps", "geography", "blocks")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ArtifactError(f"{path} does not say what was calibrated ({error!r})", "materialise weights again") from error
    for source, digest in calibrated.items():
        if digest != context.input_digests[source]:
            raise ArtifactError(
                f"{path.parent} holds the weights of another {source} (sha256 {digest[:12]}, "
                f"here is {context.input_digests[source][:12]})",
                "materialise calibration_package and weights again",
            )
    wanted = (context.settings.seed, context.settings.takeup)
    if drawn != wanted:
        raise ConfigError(
            f"the weights were fitted to take-up drawn with seed {drawn[0]} and scheme {drawn[1]!r}, the area files are to be "
            f"drawn with seed {wanted[0]} and scheme {wanted[1]!r}",
            "give area_h5 the seed and the scheme of calibration_package",
        )


def _make_all(workshop: _Workshop, areas: list[Area]) -> Iterator[tuple[Area, Manifest, bool]]:
    """Make the areas in worker processes, the largest first."""
    global _workshop
    workers = worker_count()
    _workshop = workshop
    try:
        if workers == 1:
            for one in areas:
                yield (one, *_make(one))
            return
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(workers, mp_context=fork) as pool:
            largest_first = sorted(areas, key=lambda one: -len(one.districts))
            running = {pool.submit(_make, one): one for one in largest_first}
            for future in as_completed(running):
                yield (running[future], *future.result())
    finally:
        _workshop = None


def _make(one: Area) -> tuple[Manifest, bool]:
    """Make one area unless it is current; says whether it was."""
    workshop = _workshop
    if workshop is None:
        raise RuntimeError("an area is made only while a workshop is open")
    columns = active_columns(one, workshop.geography, workshop.places, workshop.weights)
    wanted = _fingerprint(workshop, columns)
    if workshop.store.is_current(one.artifact, wanted):
        manifest = workshop.store.manifest(one.artifact)
        if manifest is not None:
            manifest = replace(manifest, inputs=workshop.manifest.inputs)
            workshop.store.commit(manifest)
            return manifest, True
    population = assemble(
        workshop.base, workshop.geography, workshop.places, workshop.where, workshop.takeup, workshop.weights, columns
    )
    population.validate()
    path = workshop.store.path(one.artifact)
    with atomic(path) as temporary:
        write_h5(population, temporary, {"area": one.key, "fingerprint": wanted})
    manifest = Manifest(
        artifact=one.artifact,
        digest=digest_path(path),
        fingerprint=wanted,
        inputs=workshop.manifest.inputs,
        code_version=workshop.manifest.code_version,
        engine_version=workshop.manifest.engine_version,
        config=workshop.manifest.config,
        metadata={
            "households": population.count("household"),
            "persons": population.count("person"),
            "weighted_households": float(workshop.weights[columns].sum()),
            "bytes": size_of(path),
        },
    )
    workshop.store.commit(manifest)
    return manifest, False


def _fingerprint(workshop: _Workshop, columns: NDArray[np.int64]) -> str:
    common = workshop.manifest
    return fingerprint(
        {
            "code": common.code_version,
            "engine": common.engine_version,
            "config": common.config,
            "stratified_cps": common.inputs["stratified_cps"],
            "clones": workshop.geography.n_clones,
            "columns": digest_bytes(columns.tobytes()),
            "weights": digest_bytes(workshop.weights[columns].tobytes()),
            "blocks": digest_bytes(workshop.geography.block[columns].tobytes()),
            "geographies": _digest_of_geographies(workshop, columns),
            "districts": digest_bytes(workshop.geography.district[columns].tobytes()),
        }
    )


def _digest_of_geographies(workshop: _Workshop, columns: NDArray[np.int64]) -> str:
    """Digest of all codes of the columns' blocks: a block that comes to lie in another place changes the files that hold it."""
    digests = {}
    for field, (codes, texts) in workshop.places.crosswalk.codes.items():
        mine = codes[workshop.places.row[columns]]
        used = np.bincount(mine, minlength=len(texts)) > 0
        rank = np.cumsum(used, dtype=np.int32)[mine]  # a number that codes of other areas do not change
        digests[field] = [digest_bytes(rank.tobytes()), *texts[used].tolist()]
    return fingerprint(digests)


def _check_levels(context: StageContext, geography: Geography) -> None:
    """Wherever a state and all of its districts are in the store, of these weights, they must add up; so must the nation."""
    inhabited = [state for state in STATES if (geography.state == state.fips).any()]

    def total(key: str) -> float | None:
        manifest = context.store.manifest(area(key).artifact)
        if manifest is None or manifest.inputs.get("weights") != context.input_digests["weights"]:
            return None
        return float(manifest.metadata["weighted_households"])

    groups = {state.code: [f"{state.code}-{d % 100:02d}" for d in state.districts] for state in inhabited if state.seats}
    groups["US"] = [state.code for state in inhabited]
    worst, compared = 0.0, 0
    for whole, parts in groups.items():
        expected, found = total(whole), [value for value in map(total, parts) if value is not None]
        if expected is not None and len(found) == len(parts):
            worst, compared = max(worst, abs(sum(found) / expected - 1)), compared + 1
    adds_up = worst <= _LEVEL_TOLERANCE
    context.reporter.check("areas_valid", adds_up, {"levels_compared": compared, "worst_level_difference": worst})
    if not adds_up:
        raise ArtifactError(f"the areas of a level differ from their whole by {worst:.1e}", "materialise all of them again")
