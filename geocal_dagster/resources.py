"""What the assets are given: the store of artifacts, and the launcher of stages.

Both take their values from the environment when a run starts, so the definitions load on a machine where nothing is set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
from pydantic import Field

from geocal_core.store import Store
from geocal_dagster.compute.local import run_locally
from geocal_dagster.compute.report import StageFailure, StageReport, StageRequest

Launch = Callable[[dg.AssetExecutionContext, list[str], StageRequest], StageReport]

_LAUNCHERS: Mapping[str, Launch] = {"local": run_locally}


class ArtifactStore(dg.ConfigurableResource):  # type: ignore[type-arg]  # the resource is its own value
    """The folder below which all artifacts lie."""

    root: str = Field(description="Root of the store; a relative path is below the folder that Dagster was started in.")

    def path(self, artifact: str) -> Path:
        """Where an artifact lies."""
        return Store(self.root).path(artifact)

    @property
    def absolute_root(self) -> str:
        """The root for a stage process, wherever that is started."""
        return str(Store(self.root).root)


class StageLauncher(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Starts a stage's command and hands back what it reports.

    Only the same machine is a place to compute in this version; launchers for others have their room in ``compute/``.
    """

    compute: str = Field(default="local", description="Where stages run: local.")
    command: list[str] = Field(
        default=[sys.executable, "-m", "geocal_core.cli"],
        description="The command that `stage NAME --config JSON` is added to.",
    )

    def run(self, context: dg.AssetExecutionContext, request: StageRequest) -> StageReport:
        """Run a stage and wait for it.

        Raises
        ------
        StageFailure
            If the stage refuses (no retry), breaks down or is killed, or if ``compute`` names no launcher.
        """
        if self.compute not in _LAUNCHERS:
            raise StageFailure(
                f"GEOCAL_COMPUTE is {self.compute!r}: this version of geocal launches stages on the same machine only;"
                " unset it or set it to local",
                allow_retries=False,
            )
        return _LAUNCHERS[self.compute](context, self.command, request)
