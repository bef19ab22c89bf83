"""How a stage is run: found current, or made whole and committed with a manifest of all that decided its content."""

from __future__ import annotations

import importlib
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geocal_core import settings as s
from geocal_core import stages
from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError
from geocal_core.progress import Reporter, Value
from geocal_core.stages import Stage, code_version, engine_version, stage_named
from geocal_core.store import Manifest, Store, atomic, digest_path, fingerprint, remove, size_of


@dataclass(frozen=True)
class StageResult:
    """What a run of a stage amounts to: digest of the artifact, whether it was reused, and numbers to report."""

    digest: str
    reused: bool
    metadata: Mapping[str, Value] = field(default_factory=dict)


def run_stage(name: str, settings: Any, store: Store, reporter: Reporter, areas: tuple[str, ...] = ()) -> StageResult:
    """Run a stage, or find that its artifact is current.

    The artifact is current when its content is what its manifest claims and its fingerprint (stage, settings, code, engine,
    digests of the inputs and of what is read from outside the store) is the wanted one.

    Raises
    ------
    GeocalError
        If an input is missing, damaged or made from another version of a second input, or the stage refuses it.
    """
    stage = stage_named(name)
    started = time.monotonic()
    verified = {source: store.verified(stages.STAGES[source].output) for source in stage.inputs}
    digests = {source: digest for source, (_, digest) in verified.items()}
    _check_lineage(stage, store, digests)
    config = s.as_config(settings)
    engine = engine_version(stage)
    made_of = {"stage": name, "config": config, "code": code_version(name), "engine": engine, "inputs": digests}
    if outside := _outside(stage, settings):
        made_of["outside"] = outside
    wanted = fingerprint(made_of)
    context = StageContext(
        name=name,
        inputs={source: path for source, (path, _) in verified.items()},
        input_digests=digests,
        output=store.path(stage.output),
        scratch=store.root / "scratch" / f"{name}-{wanted[:16]}",
        settings=settings,
        reporter=reporter,
        store=store,
        fingerprint=wanted,
        areas=areas,
    )
    if stage.partitioned:
        metadata = dict(_function(stage.run)(context))
        return StageResult(str(metadata.pop("digest")), bool(metadata.pop("reused")), metadata | _cost(started))
    if store.is_current(stage.output, wanted):
        manifest = store.manifest(stage.output)
        assert manifest is not None
        return StageResult(manifest.digest, True, dict(manifest.metadata) | _cost(started))
    with atomic(store.path(stage.output)) as temporary:
        context.output = temporary
        metadata = dict(_function(stage.run)(context))
    path = store.path(stage.output)
    manifest = Manifest(
        artifact=stage.output,
        digest=digest_path(path),
        fingerprint=wanted,
        inputs=digests,
        code_version=code_version(name),
        engine_version=engine,
        config=config,
        metadata=metadata | {"bytes": size_of(path)},
    )
    store.commit(manifest)
    remove(context.scratch)
    return StageResult(manifest.digest, False, dict(manifest.metadata) | _cost(started))


def _check_lineage(stage: Stage, store: Store, digests: Mapping[str, str]) -> None:
    """Refuse an input that was made from another version of a second input: each may be whole, and yet they do not belong."""
    for source in stage.inputs:
        manifest = store.manifest(stages.STAGES[source].output)
        for ancestor, digest in (manifest.inputs if manifest else {}).items():
            if digests.get(ancestor, digest) != digest:
                raise ArtifactError(
                    f"{source} was made from another {ancestor} (sha256 {digest[:12]}) than the one in the store "
                    f"({digests[ancestor][:12]})",
                    f"materialise {source} again",
                )


def _outside(stage: Stage, settings: Any) -> str:
    """Digest of what a stage reads from outside the store, empty if it reads nothing there."""
    return str(_function(stage.outside)(stage.name.removeprefix("raw_"), settings)) if stage.outside else ""


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _cost(started: float) -> dict[str, Value]:
    """Seconds and peak memory of the largest process (not part of the manifest: they would differ from run to run)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_mb = max(_own_peak_kb(), children) / 1024
    return {"seconds": round(time.monotonic() - started, 2), "peak_mb": round(peak_mb, 1)}


def _own_peak_kb() -> int:
    """Peak resident memory of this process; Linux's own account, because ``getrusage`` counts what the parent had, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])  # type: ignore[index]  # always there on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
