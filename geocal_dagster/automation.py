"""Rebuilding when the data changes: conditions on sources and on what is made of them, and the sensor that acts on them.

The sensor is stopped by default: cloning the repository must never start a fit on a GPU. Whoever runs the factory for good
turns it on in the UI.
"""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg

_AC = dg.AutomationCondition

_changed = _AC.any_deps_match(_AC.data_version_changed()) | _AC.code_version_changed()

# A reason to build is latched until a run is *requested*, not until one ends: targets published while a fit of hours is going
# would otherwise be lost the moment that fit succeeds (as they are by `AutomationCondition.eager()`). A change in the very tick
# after a request is a new reason too, hence `& ~_changed`. Data versions are digests of content, so a parent that was rebuilt
# to the same bytes changes nothing.
_due = _changed.since(_AC.initial_evaluation() | (_AC.newly_requested() & ~_changed)) | _AC.newly_missing().since(
    _AC.newly_requested()
)

# Nothing is requested while what it would read is missing, being made, or has failed a check: the reason waits.
REBUILD: dg.AutomationCondition[Any] = (
    _due & _AC.all_deps_blocking_checks_passed() & ~_AC.any_deps_missing() & ~_AC.any_deps_in_progress() & ~_AC.in_progress()
).with_label("rebuild_on_change")

# Agencies publish on working days; at this hour a file of the day before is there.
LOOK: dg.AutomationCondition[Any] = _AC.on_cron("0 6 * * *", "America/New_York").with_label("look_every_day")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # sources in a selection are beta; the tests look whether they are in it
    _EVERYTHING = dg.AssetSelection.all(include_sources=True)

REBUILD_SENSOR = dg.AutomationConditionSensorDefinition(
    "geocal_rebuild",
    target=_EVERYTHING,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=60,
    description="Looks at the agencies' files every day, and rebuilds what lies downstream of changed data, and only that.",
)
