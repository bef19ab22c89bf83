"""The whole graph without a server, with stages that answer at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from geocal_core.errors import GeocalError
from geocal_core.places.catalogue import areas_in
from geocal_core.profiles import Profile, profile
from geocal_core.settings import TargetSettings
from geocal_core.stages import STAGES
from geocal_dagster import demo
from geocal_dagster.compute.report import StageFailure

from .conftest import Script, ScriptedLauncher


def run(root: Path) -> None:
    demo.run(profile("tiny"), root, {"launcher": ScriptedLauncher()})


def test_every_stage_runs_and_exactly_the_areas_of_the_profile_are_built(
    tmp_path: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path)
    assert set(script.order) == set(STAGES)
    assert script.order[-4:] == ["area_h5"] * 4
    built = [key for request in script.requests for key in request.areas]
    assert built == [area.key for area in areas_in(("DE", "NY", "WY"))]
    assert len(built) == 1 + 3 + 28 + 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 * len(script.requests), "a line at the start of each stage and one at its end"
    assert lines[0].split()[1:] == ["s", script.order[0], "started"]
    assert lines[-1].split()[1:] == ["s", "area_h5", "built", "in", "2.0", "s,", "100.0", "MB"]


def test_the_demo_profile_builds_all_areas_as_one_run(tmp_path: Path, script: Script) -> None:
    demo.run(profile("demo"), tmp_path, {"launcher": ScriptedLauncher()})
    assert [len(request.areas) for request in script.requests if request.stage == "area_h5"] == [488]


def test_costs_are_kept_from_the_run_that_built(tmp_path: Path, script: Script) -> None:
    run(tmp_path)
    timings = tmp_path / "logs/timings.json"
    first = json.loads(timings.read_text())
    assert set(first) == set(STAGES)
    assert first["weights"] == {"seconds": 2.0, "peak_mb": 100.0, "reused": False}
    assert first["area_h5"]["seconds"] == 8.0, "four ranges"
    script.reused.update(STAGES)
    run(tmp_path)
    assert json.loads(timings.read_text()) == first


def test_a_failure_is_one_error_that_names_the_stage(tmp_path: Path, script: Script) -> None:
    script.failures["target_db"] = StageFailure("acs_S0101_state_2024.json has no column GEO_ID; fetch it again")
    with pytest.raises(GeocalError, match="^target_db: acs_S0101_state_2024.json has no column GEO_ID; fetch it again$"):
        run(tmp_path)
    assert "area_h5" not in script.order
    assert script.order.count("target_db") == 1, "nobody waits for retries at a terminal"


def test_a_failed_check_is_an_error_that_names_the_stage(tmp_path: Path, script: Script) -> None:
    script.failed_checks.add("weights_valid")
    with pytest.raises(GeocalError, match="weights: stage (national_)?weights failed its check weights_valid$"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["--profile", "huge"], {}, "geocal: error: there is no profile 'huge'; the profiles are tiny, demo and full"),
        ([], {"GEOCAL_COMPUTE": "k8s"}, r"geocal: error: raw_\w+: GEOCAL_COMPUTE is 'k8s': this version"),
    ],
)
def test_the_command_ends_with_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    line: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert demo.main(["--root", str(tmp_path), *arguments]) == 2
    assert re.match(line, capsys.readouterr().err.splitlines()[-1])


def test_a_root_that_is_no_folder_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    for root in (str(tmp_path / "file"), str(tmp_path / "file" / "below"), "~nobody-of-this-name/x"):
        assert demo.main(["--profile", "tiny", "--root", root]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("geocal: error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_published_targets_replace_those_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(demo, "run", lambda chosen, root: seen.append((chosen, root)))
    assert demo.main(["--profile", "tiny", "--root", str(tmp_path / "store"), "--targets-from", str(tmp_path)]) == 0
    ((chosen, root),) = seen
    assert chosen == profile("tiny").with_folder(str(tmp_path))
    assert root == tmp_path / "store"
    assert "0 area files" in capsys.readouterr().out


def test_it_says_which_tables_are_left_out_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used: list[Profile] = []
    monkeypatch.setattr(demo, "run", lambda chosen, root: used.append(chosen))
    assert demo.main(["--profile", "tiny", "--root", str(tmp_path / "root"), "--targets-from", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert f"(USDA FNS workbooks of SNAP by state and month) is not in {tmp_path}; left out: usda_snap\n" in said
    settings = used[0].stages["target_db"]
    assert isinstance(settings, TargetSettings)
    assert all(name in said for name in settings.without)
