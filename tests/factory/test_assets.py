"""Assets in process: what a stage is asked, what the catalogue is told, and what a failure stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geocal_core.places.catalogue import AREA_KEYS
from geocal_core.profiles import profile
from geocal_core.settings import as_config
from geocal_core.stages import STAGES
from geocal_dagster.compute.report import StageFailure
from geocal_dagster.partitions import range_tags

from .conftest import Materialise, Script


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {f"{e.asset_key.to_user_string()}.{e.check_name}": e.passed for e in result.get_asset_check_evaluations()}


def failed_step(result: dg.ExecuteInProcessResult) -> str | None:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_key


def failure(result: dg.ExecuteInProcessResult) -> Any:
    """What the one failed step of a run gives as its reason."""
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    reason = event.step_failure_data.user_failure_data
    assert reason is not None
    return reason


def test_stages_run_once_each_after_their_inputs_with_the_settings_of_the_profile(
    materialise: Materialise, script: Script, root: Path
) -> None:
    assert materialise().success
    assert sorted(script.order) == sorted(set(STAGES) - {"area_h5"})
    for request in script.requests:
        inputs = STAGES[request.stage].inputs
        assert all(script.order.index(name) < script.order.index(request.stage) for name in inputs)
        assert request.settings == as_config(profile("tiny").stages[request.stage])
        assert request.root == str(root)
        assert request.areas == ()


def test_settings_of_the_launch_form_reach_the_stage(materialise: Materialise, script: Script) -> None:
    config: dict[str, object] = {"ops": {"weights": {"config": {"epochs": 5, "lambda_l0": 0.5, "group_weights": ["snap=2"]}}}}
    assert materialise("weights", config=config).success
    settings = script.requests[0].settings
    assert (settings["epochs"], settings["lambda_l0"], settings["group_weights"], settings["beta"]) == (
        5,
        0.5,
        ["snap=2"],
        None,
    )


def test_numbers_paths_and_digest_reach_the_catalogue(materialise: Materialise, script: Script, root: Path) -> None:
    script.digests["target_db"] = "abc"
    (event,) = materialise("target_db").asset_materializations_for_node("target_db")
    facts = {key: value.value for key, value in event.metadata.items()}
    path = root / "targets/policy_data.db"
    assert facts == {
        "rows": 7,
        "loss": 0.25,
        "seconds": 2.0,
        "peak_mb": 100.0,
        "reused": False,
        "path": str(path),
        "dagster/uri": path.as_uri(),
    }
    assert isinstance(event.metadata["rows"], dg.IntMetadataValue)
    assert isinstance(event.metadata["loss"], dg.FloatMetadataValue)
    assert isinstance(event.metadata["reused"], dg.BoolMetadataValue)
    assert (event.tags or {})["dagster/data_version"] == "abc"


def test_a_failing_stage_fails_the_run_and_stops_what_lies_downstream(materialise: Materialise, script: Script) -> None:
    script.failures["calibration_package"] = StageFailure("the package has no rows", allow_retries=False)
    result = materialise()
    assert not result.success
    assert failed_step(result) == "calibration_package"
    assert failure(result).description == "the package has no rows"
    assert not {"weights", "national_weights", "report"} & set(script.order)
    assert script.order.count("calibration_package") == 1, "a refusal is not tried again"


def test_a_failed_check_stops_what_lies_downstream(materialise: Materialise, script: Script) -> None:
    script.failed_checks.add("package_valid")
    result = materialise()
    assert not result.success
    assert "calibration_package" in script.order
    assert not {"weights", "national_weights", "report"} & set(script.order)
    found = evaluations(result)
    assert found["calibration_package.package_valid"] is False
    assert found["calibration_package.package_supported"] is True


def test_a_reused_artifact_has_passed_its_checks(materialise: Materialise, script: Script) -> None:
    script.reused.add("weights")
    result = materialise("weights")
    assert result.success
    assert evaluations(result) == {"weights.weights_valid": True, "weights.fit_improved": True}


def test_a_state_and_its_districts_are_one_stage_and_one_run(
    materialise: Materialise, script: Script, instance: dg.DagsterInstance, root: Path
) -> None:
    result = materialise("area_h5", tags=range_tags("CA", "CA-52"))
    assert result.success
    (request,) = script.requests
    assert request.areas == ("CA", *(f"CA-{number:02d}" for number in range(1, 53)))
    assert evaluations(result) == {"area_h5.areas_valid": True}
    events = {
        record.partition_key: record.asset_materialization.metadata
        for record in instance.fetch_materializations(dg.AssetKey("area_h5"), limit=500).records
        if record.asset_materialization is not None
    }
    assert set(events) == set(request.areas)
    assert len(instance.get_run_records()) == 1
    assert events["CA"]["households"].value == 20
    assert events["CA-12"]["households"].value == 50
    assert events["CA-12"]["path"].value == str(root / "areas/119/districts/CA-12.h5")
    assert events["CA-12"]["batch_seconds"].value == 2.0
    assert "seconds" not in events["CA-12"], "the cost of the batch is not that of an area"


def test_all_488_areas_are_one_run(materialise: Materialise, script: Script, instance: dg.DagsterInstance) -> None:
    assert materialise("area_h5", tags=range_tags("US", "NYC")).success
    assert [request.areas for request in script.requests] == [AREA_KEYS]
    assert instance.get_materialized_partitions(dg.AssetKey("area_h5")) == set(AREA_KEYS)


def test_a_single_area_can_be_built(materialise: Materialise, script: Script) -> None:
    assert materialise("area_h5", tags={"dagster/partition": "NYC"}).success
    assert [request.areas for request in script.requests] == [("NYC",)]


@pytest.mark.parametrize("reported", [("weights_valid",), ()])
def test_a_stage_that_keeps_a_check_to_itself_fails(
    materialise: Materialise, script: Script, monkeypatch: pytest.MonkeyPatch, reported: tuple[str, ...]
) -> None:
    from . import conftest

    genuine = conftest.ScriptedLauncher.run

    def forgetful(self: conftest.ScriptedLauncher, context: dg.AssetExecutionContext, request: object) -> object:
        report = genuine(self, context, request)  # type: ignore[arg-type]
        object.__setattr__(report, "checks", {name: report.checks[name] for name in reported})
        return report

    monkeypatch.setattr(conftest.ScriptedLauncher, "run", forgetful)
    result = materialise("weights")
    assert "ended without reporting its check" in str(failure(result).description)
    assert script.order == ["weights"]
