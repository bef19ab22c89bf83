"""Stages as processes: a command that behaves, refuses, breaks down, is killed, or is told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from geocal_core.profiles import profile
from geocal_core.stages import STAGES
from geocal_dagster.assets.stage import stage_asset
from geocal_dagster.partitions import range_tags
from geocal_dagster.resources import ArtifactStore, StageLauncher

from .conftest import FAKE_COMMAND
from .test_assets import evaluations, failure

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings(
    "ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning", "ignore::DeprecationWarning"
)


Launch = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Materialise one asset with the fake command, without a pause between tries."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def run(name: str, behaviour: str = "work", tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
        monkeypatch.setenv("FAKE_STAGE", json.dumps({name: behaviour}))
        asset = stage_asset(STAGES[name], profile("tiny").stages[name], dg.RetryPolicy(max_retries=2))
        resources = {"store": ArtifactStore(root=str(tmp_path)), "launcher": StageLauncher(command=FAKE_COMMAND)}
        return dg.materialize([asset], resources=resources, raise_on_error=False, tags=tags)

    return run


def refusal(result: dg.ExecuteInProcessResult) -> str:
    return str(failure(result).description)


def tries(result: dg.ExecuteInProcessResult) -> int:
    return 1 + len([event for event in result.all_events if event.is_step_restarted])


def test_a_stage_reports_its_result_and_finds_itself_current_the_second_time(launch: Launch, tmp_path: Path) -> None:
    first, second = launch("weights"), launch("weights")
    metadata = [r.asset_materializations_for_node("weights")[0].metadata for r in (first, second)]
    assert [m["reused"].value for m in metadata] == [False, True]
    assert metadata[0]["loss"].value == 0.25
    assert evaluations(first) == evaluations(second) == {"weights.weights_valid": True, "weights.fit_improved": True}
    assert (tmp_path / "calibration/local").exists()


def test_a_range_of_areas_is_one_process(launch: Launch, tmp_path: Path) -> None:
    result = launch("area_h5", tags=range_tags("DE", "DE-01"))
    assert result.success
    found = {m.partition: m.metadata["households"].value for m in result.asset_materializations_for_node("area_h5")}
    assert found == {"DE": 20, "DE-01": 50}
    assert (tmp_path / "areas/119/districts/DE-01.h5").exists()


def test_the_error_line_of_a_stage_is_the_failure_and_is_not_retried(launch: Launch, capfd: pytest.CaptureFixture[str]) -> None:
    result = launch("cps", "refuse")
    assert refusal(result) == "raw/file.csv has no column 'AGE'; fetch it again"
    assert tries(result) == 1
    assert "a warning of some library" in capfd.readouterr().err


def test_the_check_for_which_a_stage_gave_up_is_shown_as_failed(launch: Launch) -> None:
    result = launch("calibration_package", "refuse_after_check")
    assert refusal(result) == "3 rows of the package are empty; build it again"
    assert evaluations(result) == {"calibration_package.package_valid": False}


def test_a_stage_that_broke_down_is_tried_again_and_says_why(launch: Launch) -> None:
    result = launch("cps", "crash")
    assert refusal(result) == "stage cps broke down with exit code 1: ZeroDivisionError: division by zero"
    assert tries(result) == 3
    assert "Traceback" in str(failure(result).metadata["last_lines"].value)


def test_a_killed_stage_is_tried_again_and_carries_on(launch: Launch, tmp_path: Path) -> None:
    result = launch("cps", "kill_once")
    assert result.success
    assert tries(result) == 2
    assert (tmp_path / "microdata/cps_2024.h5").exists()


def test_a_stage_that_is_killed_every_time_says_what_to_do(launch: Launch) -> None:
    result = launch("cps", "kill")
    assert refusal(result) == "stage cps was killed by SIGKILL (out of memory?); run it again: it carries on"


def test_a_stage_that_ends_well_without_a_result_fails(launch: Launch) -> None:
    assert refusal(launch("cps", "no_result")) == "stage cps ended without reporting a result"


def test_a_failed_check_that_the_stage_let_pass_still_blocks(launch: Launch) -> None:
    result = launch("weights", "fail_check")
    assert not result.success
    assert evaluations(result)["weights.weights_valid"] is False


def test_a_place_to_compute_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = stage_asset(STAGES["cps"], profile("tiny").stages["cps"])
    resources = {"store": ArtifactStore(root=str(tmp_path)), "launcher": StageLauncher(compute=dg.EnvVar("GEOCAL_COMPUTE"))}
    monkeypatch.setenv("GEOCAL_COMPUTE", "k8s")
    result = dg.materialize([asset], resources=resources, raise_on_error=False)
    assert refusal(result).startswith(
        "GEOCAL_COMPUTE is 'k8s': this version of geocal launches stages on the same machine only"
    )
    assert tries(result) == 1


@pytest.fixture
def genuine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Materialise one asset with geocal's own command."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def run(name: str, **settings: object) -> dg.ExecuteInProcessResult:
        asset = stage_asset(STAGES[name], profile("tiny").stages[name])
        resources = {"store": ArtifactStore(root=str(tmp_path / "store")), "launcher": StageLauncher()}
        config = {"ops": {name: {"config": settings}}}
        return dg.materialize([asset], resources=resources, run_config=config, raise_on_error=False)

    return run


def test_the_genuine_command_speaks_the_same_protocol(genuine: Launch, tmp_path: Path) -> None:
    published = tmp_path / "published" / "fns"
    published.mkdir(parents=True)
    (published / "snap-zip-fy69tocurrent-6.zip").write_bytes(b"workbooks")
    results = [genuine("raw_usda", origin="folder", folder=str(tmp_path / "published")) for _ in range(2)]
    assert all(result.success for result in results)
    events = [result.asset_materializations_for_node("raw_usda")[0] for result in results]
    assert [event.metadata["reused"].value for event in events] == [False, True]
    assert len({(event.tags or {})["dagster/data_version"] for event in events}) == 1
    assert (tmp_path / "store/raw/usda/snap-zip-fy69tocurrent-6.zip").read_bytes() == b"workbooks"


def test_the_genuine_command_refuses_in_one_line(genuine: Launch, tmp_path: Path) -> None:
    result = genuine("weights")
    assert refusal(result) == (
        f"calibration/package is not in the store {tmp_path / 'store'}; materialise the stage that makes it"
    )
    assert tries(result) == 1


PROGRAM = """
import sys
from pathlib import Path
from geocal_core.profiles import profile
from geocal_dagster import demo
from geocal_dagster.resources import StageLauncher

launcher = StageLauncher(command=sys.argv[2:])
genuine = demo.run
demo.run = lambda chosen, root: genuine(chosen, root, {"launcher": launcher})
sys.exit(demo.main(["--profile", "tiny", "--root", sys.argv[1]]))
"""


def test_interrupting_the_factory_ends_the_stage(launch: Launch, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *FAKE_COMMAND],
        env=os.environ | {"FAKE_STAGE": '{"raw_census_asec": "sleep"}', "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    )
    marker = tmp_path / "pid"
    deadline = time.monotonic() + 30
    while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    stage = int(marker.read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "geocal: interrupted; run the same command again to carry on"
    with pytest.raises(ProcessLookupError):
        os.kill(stage, 0)
