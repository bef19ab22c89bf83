"""Rebuilding when the data changes: a condition on every derived asset, and the sensor that acts on it, stopped by default.

Cloning the repository must never start a fit on a GPU; whoever runs the factory for good turns the sensor on in the UI.
"""

from __future__ import annotations

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
REBUILD: dg.AutomationCondition[dg.AssetKey] = (
    _due & _AC.all_deps_blocking_checks_passed() & ~_AC.any_deps_missing() & ~_AC.any_deps_in_progress() & ~_AC.in_progress()
).with_label("rebuild_on_change")

REBUILD_SENSOR = dg.AutomationConditionSensorDefinition(
    "geocal_rebuild",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=60,
    description="Rebuilds what lies downstream of changed data, and only that. Off until it is turned on.",
)
