"""An asset for a stage: its command launched with the run's settings, its numbers reported. The same few lines for every stage.

What differs between assets (name, inputs, group, checks, settings) is in the registry and the profile; what only the factory
knows (pools, GPU tags, partitions) is in the tables below.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of an asset's function; one of them is made below.

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from geocal_core.places.catalogue import area
from geocal_core.progress import Value
from geocal_core.settings import Settings
from geocal_core.stages import Stage, code_version
from geocal_dagster.assets.source import source_keys
from geocal_dagster.automation import REBUILD
from geocal_dagster.compute.report import Check, StageFailure, StageReport, StageRequest
from geocal_dagster.config import config_class
from geocal_dagster.partitions import AREA_PARTITIONS
from geocal_dagster.resources import ArtifactStore, StageLauncher
from geocal_dagster.tags import AREA_POOL, GPU_OP_TAGS, GPU_POOL

OWNERS = ["team:geocal"]

# For a stage that was killed or broke down: it finds its scratch again and carries on. A stage that refuses is not retried.
RETRY = dg.RetryPolicy(max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)

_POOLS: Mapping[str, str] = {"weights": GPU_POOL, "national_weights": GPU_POOL, "area_h5": AREA_POOL}
_OP_TAGS: Mapping[str, dict[str, Any]] = {"weights": GPU_OP_TAGS, "national_weights": GPU_OP_TAGS}


def stage_asset(stage: Stage, defaults: Settings, retry_policy: dg.RetryPolicy | None = RETRY) -> dg.AssetsDefinition:
    """The asset of a stage, whose launch form offers the given settings."""
    sources = source_keys(stage)
    form: Any = config_class(stage, defaults)  # a class, made here: the annotation of `config` below

    @dg.asset(
        name=stage.name,
        deps=[*stage.inputs, *sources],
        group_name=stage.group,
        kinds=set(stage.kinds),
        owners=OWNERS,
        tags={"geocal/engine": "policyengine-us" if stage.engine else "none"},
        description=stage.description,
        metadata={"artifact": stage.output},
        code_version=code_version(stage.name),
        check_specs=[dg.AssetCheckSpec(check, asset=stage.name, blocking=True) for check in stage.checks],
        partitions_def=AREA_PARTITIONS if stage.partitioned else None,
        backfill_policy=dg.BackfillPolicy.single_run() if stage.partitioned else None,
        automation_condition=REBUILD if stage.inputs or sources else None,
        retry_policy=retry_policy,
        op_tags=_OP_TAGS.get(stage.name),
        pool=_POOLS.get(stage.name),
    )
    def materialise(
        context: dg.AssetExecutionContext,
        config: form,
        store: ArtifactStore,
        launcher: StageLauncher,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        request = StageRequest(
            stage=stage.name,
            root=store.absolute_root,
            settings=config.model_dump(),
            areas=tuple(context.partition_keys) if stage.partitioned else (),
        )
        context.log.info(f"started{_extent(request.areas)}")
        try:
            report = launcher.run(context, request)
        except StageFailure as failure:
            context.log.error(failure.description)  # now, and not when the rest of the run has ended
            yield from (_check_result(check) for check in failure.checks if check.name in stage.checks)
            raise
        checks = [_reported(stage, name, report) for name in stage.checks]
        for key in request.areas:
            facts = report.partitions.get(key, {})
            context.add_asset_metadata(_metadata(store, area(key).artifact, facts), partition_key=key)
        context.log.info(_summary(report))
        yield dg.MaterializeResult(
            metadata=_batch(report) if stage.partitioned else _metadata(store, stage.output, _numbers(report)),
            check_results=[_check_result(check) for check in checks],
            data_version=dg.DataVersion(report.digest),
        )
        failed = [check.name for check in checks if not check.passed]
        if failed:  # Dagster would see to it, but only after the retries, and a check does not pass by being repeated
            raise dg.Failure(f"stage {stage.name} failed its check {', '.join(failed)}", allow_retries=False)

    return materialise


def _extent(areas: tuple[str, ...]) -> str:
    if not areas:
        return ""
    return f" for {areas[0]}" if len(areas) == 1 else f" for the {len(areas)} areas {areas[0]} to {areas[-1]}"


def _numbers(report: StageReport) -> dict[str, Value]:
    return {**report.metadata, "reused": report.reused}


def _batch(report: StageReport) -> dict[str, Value]:
    """Numbers of the whole run, named apart from those of each area: they stand on every partition of the run."""
    return {f"batch_{name}": value for name, value in _numbers(report).items()}


def _metadata(store: ArtifactStore, artifact: str, facts: Mapping[str, Value]) -> dict[str, Any]:
    """Facts for the UI; a text of several lines is Markdown."""
    path = store.path(artifact)
    shown = {name: dg.MetadataValue.md(text) if "\n" in (text := str(value)) else value for name, value in facts.items()}
    return {**shown, "path": dg.MetadataValue.path(path), "dagster/uri": path.as_uri()}


def _reported(stage: Stage, name: str, report: StageReport) -> Check:
    """A declared check as the stage reported it; an artifact that is reused passed its checks when it was made."""
    if name in report.checks:
        return report.checks[name]
    if report.reused:
        return Check(name, True, {"reused": True})
    raise dg.Failure(f"stage {stage.name} ended without reporting its check {name!r}", allow_retries=False)


def _check_result(check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(check_name=check.name, passed=check.passed, metadata=dict(check.metadata))


def _summary(report: StageReport) -> str:
    seconds, peak = report.metadata.get("seconds"), report.metadata.get("peak_mb")
    cost = f" in {seconds} s, {peak} MB" if seconds is not None and peak is not None else ""
    return ("nothing to do: reused" if report.reused else "built") + cost
