"""The code location: everything that Dagster shows and runs, assembled in one explicit place.

Importing it does no work beyond that: no agency's file is opened and no science is imported. Where ``GEOCAL_SOURCES`` names a
folder, the names of the files in it are read, to know which tables to leave out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import dagster as dg

from geocal_core.profiles import Profile
from geocal_core.stages import STAGES
from geocal_dagster.assets.source import source_assets
from geocal_dagster.assets.stage import RETRY, stage_asset
from geocal_dagster.automation import REBUILD_SENSOR
from geocal_dagster.config import chosen_profile, env
from geocal_dagster.jobs import CALIBRATE, REFRESH_SCHEDULE, REFRESH_TARGETS
from geocal_dagster.resources import ArtifactStore, StageLauncher


def build_defs(
    *,
    profile: Profile | None = None,
    resources: Mapping[str, object] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
    retry_policy: dg.RetryPolicy | None = RETRY,
) -> dg.Definitions:
    """The definitions of the factory.

    Parameters
    ----------
    profile : Profile, optional
        Whose settings the launch forms offer; by default the one that ``GEOCAL_PROFILE`` names.
    resources : mapping, optional
        Resources to put in the place of the usual ones.
    loggers : mapping, optional
        Loggers in the place of Dagster's own.
    retry_policy : RetryPolicy, optional
        What to do after a stage broke down or was killed; None gives up at once.
    """
    settings = (profile or chosen_profile()).stages
    with warnings.catch_warnings():
        # Backfill policies and observable sources are beta; pyproject.toml pins the minor version, and the tests try both.
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets = [stage_asset(stage, settings[stage.name], retry_policy) for stage in STAGES.values()]
        sources = source_assets(settings)
    return dg.Definitions(
        assets=[*sources, *assets],
        jobs=[CALIBRATE, REFRESH_TARGETS],
        schedules=[REFRESH_SCHEDULE],
        sensors=[REBUILD_SENSOR],
        resources={
            "store": ArtifactStore(root=env("GEOCAL_ROOT", "artifacts")),
            "launcher": StageLauncher(compute=env("GEOCAL_COMPUTE", "local")),
            **(resources or {}),
        },
        # Stages are processes of their own and use all cores; one after the other they also keep within the memory of a laptop.
        executor=dg.in_process_executor,
        loggers=loggers,
    )


defs = build_defs()
