"""A launcher that starts nothing, and definitions that use it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from geocal_core.profiles import profile
from geocal_core.stages import STAGES
from geocal_dagster.compute.report import Check, StageFailure, StageReport, StageRequest
from geocal_dagster.definitions import build_defs
from geocal_dagster.resources import ArtifactStore, StageLauncher

FAKE_COMMAND = [sys.executable, str(Path(__file__).with_name("fake_stage.py"))]


@dataclass
class Script:
    """What the stages of a test are to do, and what they were asked."""

    requests: list[StageRequest] = field(default_factory=list)
    failures: dict[str, StageFailure] = field(default_factory=dict)
    failed_checks: set[str] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    meanwhile: dict[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        return [request.stage for request in self.requests]


_script = Script()


class ScriptedLauncher(StageLauncher):
    """Answers at once, as the script says."""

    def run(self, context: dg.AssetExecutionContext, request: StageRequest) -> StageReport:
        _script.requests.append(request)
        if request.stage in _script.meanwhile:
            _script.meanwhile.pop(request.stage)()
        if request.stage in _script.failures:
            raise _script.failures[request.stage]
        reused = request.stage in _script.reused
        checks = () if reused else STAGES[request.stage].checks
        return StageReport(
            digest=_script.digests.get(request.stage, "d0"),
            reused=reused,
            metadata={"rows": 7, "loss": 0.25, "seconds": 2.0, "peak_mb": 100.0},
            checks={name: Check(name, name not in _script.failed_checks, {"bad": 3}) for name in checks},
            partitions={key: {"households": 10 * len(key)} for key in request.areas},
        )


@pytest.fixture
def script() -> Iterator[Script]:
    global _script
    _script = Script()
    yield _script
    _script = Script()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a store in which nothing is ever written."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def definitions(root: Path) -> dg.Definitions:
    resources = {"store": ArtifactStore(root=str(root)), "launcher": ScriptedLauncher()}
    return build_defs(profile=profile("tiny"), resources=resources)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


Materialise = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def materialise(definitions: dg.Definitions, instance: dg.DagsterInstance, script: Script) -> Materialise:
    """Materialise the named assets in process, as the script says; by default all that have no partitions."""
    del script

    def run(
        *names: str, tags: dict[str, str] | None = None, config: dict[str, object] | None = None
    ) -> dg.ExecuteInProcessResult:
        wanted = names or tuple(stage.name for stage in STAGES.values() if not stage.partitioned)
        job = definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            run_config=config,
            instance=instance,
            asset_selection=[dg.AssetKey(name) for name in wanted],
            tags=tags,
            raise_on_error=False,
        )

    return run
