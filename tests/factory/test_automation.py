"""A change of data rebuilds what lies downstream, once, and is never lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import dagster as dg
import pytest

from geocal_dagster.compute.report import StageFailure

from .conftest import Materialise, Script

WEIGHTS = dg.AssetKey("weights")


@dataclass
class Watch:
    """Evaluates the condition of ``weights`` tick by tick."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    cursor: dg.AssetDaemonCursor | None = field(default=None)

    def tick(self) -> int:
        """Runs of ``weights`` that this evaluation asks for."""
        result = dg.evaluate_automation_conditions(
            defs=self.definitions,
            instance=self.instance,
            asset_selection=dg.AssetSelection.assets(WEIGHTS),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return int(result.get_num_requested(WEIGHTS))


@pytest.fixture
def watch(definitions: dg.Definitions, instance: dg.DagsterInstance, materialise: Materialise) -> Watch:
    """A graph that is complete and whose condition has settled."""
    assert materialise().success
    watch = Watch(definitions, instance)
    assert watch.tick() == 0, "nothing is missing and nothing has changed"
    return watch


def test_the_same_bytes_rebuild_nothing(watch: Watch, materialise: Materialise) -> None:
    assert materialise("calibration_package").success
    assert watch.tick() == 0


def test_a_change_is_rebuilt_once(watch: Watch, materialise: Materialise, script: Script) -> None:
    script.digests["calibration_package"] = "d1"
    assert materialise("calibration_package").success
    assert watch.tick() == 1
    assert watch.tick() == 0
    assert materialise("weights").success
    assert [watch.tick(), watch.tick()] == [0, 0]


@pytest.mark.parametrize("idle_ticks", [0, 2])
def test_a_change_that_comes_while_the_fit_is_running_is_not_lost(
    watch: Watch, materialise: Materialise, script: Script, idle_ticks: int
) -> None:
    """Whether it comes right after the fit was asked for or later."""
    script.digests["calibration_package"] = "d1"
    assert materialise("calibration_package").success
    assert watch.tick() == 1
    assert [watch.tick() for _ in range(idle_ticks)] == [0] * idle_ticks
    asked_while_running: list[int] = []

    def package_changes() -> None:
        script.digests["calibration_package"] = "d2"
        assert materialise("calibration_package").success
        asked_while_running.append(watch.tick())

    script.meanwhile["weights"] = package_changes
    assert materialise("weights").success
    assert asked_while_running == [0], "never two fits at once"
    assert watch.tick() == 1, "the second change is still to be dealt with"
    assert materialise("weights").success
    assert [watch.tick(), watch.tick()] == [0, 0]


def test_a_package_that_failed_its_checks_is_not_fitted(watch: Watch, materialise: Materialise, script: Script) -> None:
    script.digests["calibration_package"] = "d1"
    script.failed_checks.add("package_valid")
    assert not materialise("calibration_package").success
    assert watch.tick() == 0
    script.failed_checks.clear()
    assert materialise("calibration_package").success
    assert watch.tick() == 1


def test_a_fit_that_fails_is_not_asked_for_again_and_again(watch: Watch, materialise: Materialise, script: Script) -> None:
    script.digests["calibration_package"] = "d1"
    assert materialise("calibration_package").success
    assert watch.tick() == 1
    script.failures["weights"] = StageFailure("no GPU", allow_retries=False)
    assert not materialise("weights").success
    assert [watch.tick() for _ in range(3)] == [0, 0, 0]


def test_weights_that_are_missing_when_the_sensor_starts_are_made_once(
    definitions: dg.Definitions, instance: dg.DagsterInstance, materialise: Materialise
) -> None:
    assert materialise("calibration_package").success
    watch = Watch(definitions, instance)
    assert [watch.tick() for _ in range(3)] == [1, 0, 0]


def test_weights_that_are_missing_are_made_when_their_package_comes(
    definitions: dg.Definitions, instance: dg.DagsterInstance, materialise: Materialise
) -> None:
    watch = Watch(definitions, instance)
    assert watch.tick() == 0, "there is no package yet"
    assert materialise("calibration_package").success
    assert watch.tick() == 1
