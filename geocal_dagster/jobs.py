"""Jobs and the schedule. Areas have none: they are built by backfills of ``area_h5``, each of which is one run.

(A partitioned job would start a run for every area, whatever the backfill policy of its asset.)
"""

from __future__ import annotations

import dagster as dg

from geocal_core.stages import STAGES

CALIBRATE = dg.define_asset_job(
    "calibrate",
    selection=[stage.name for stage in STAGES.values() if not stage.partitioned],
    description="Everything from the raw files to the weights and the report of errors; all but the area files.",
)

REFRESH_TARGETS = dg.define_asset_job(
    "refresh_targets",
    selection=dg.AssetSelection.assets("target_db").upstream(),
    description="Reads the agencies' tables again and rebuilds the target database.",
)

REFRESH_SCHEDULE = dg.ScheduleDefinition(
    name="refresh_targets_monthly",
    job=REFRESH_TARGETS,
    cron_schedule="0 6 1 * *",
    execution_timezone="America/New_York",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Looks for new targets each month. The sensor geocal_rebuild then rebuilds what they change.",
)
