"""Running a stage: made once, reused while nothing changes, refused when an input is not what it claims."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from geocal_core import stages
from geocal_core.context import StageContext
from geocal_core.demo.sources import TABLES, WRITERS
from geocal_core.errors import ArtifactError, ConfigError, InputError
from geocal_core.profiles import profile
from geocal_core.progress import Silent, Value
from geocal_core.running import run_stage
from geocal_core.settings import FitSettings, RawSettings, TargetSettings, as_config, from_config
from geocal_core.sources import left_out
from geocal_core.stages import STAGES, Stage, code_version
from geocal_core.store import Store
from geocal_core.targets.registry import published_files, tables

RUNS: list[str] = []


@dataclass(frozen=True)
class Word:
    """Settings of the stages of this test."""

    word: str = "a"


def write(context: StageContext) -> dict[str, Value]:
    RUNS.append(context.name)
    text = context.settings.word + "".join(path.read_text() for path in context.inputs.values())
    if context.settings.word == "bad":
        context.output.write_text("half")
        raise InputError("the word is bad", "use another")
    if context.settings.word == "killed":
        context.output.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    context.output.write_text(text)
    return {"letters": len(text)}


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    common = {"settings": Word, "run": "tests.test_stages:write", "group": "g", "description": "d"}
    first = Stage(name="first", output="x/first", inputs=(), **common)
    second = Stage(name="second", output="x/second", inputs=("first",), **common)
    third = Stage(name="third", output="x/third", inputs=("first", "second"), **common)
    monkeypatch.setattr(stages, "STAGES", {"first": first, "second": second, "third": third})
    code_version.cache_clear()
    RUNS.clear()
    yield
    code_version.cache_clear()


@pytest.mark.usefixtures("graph")
def test_a_stage_runs_again_only_when_something_changed(tmp_path: Path) -> None:
    store, reporter = Store(tmp_path), Silent()
    assert not run_stage("first", Word("a"), store, reporter).reused
    assert not run_stage("second", Word("b"), store, reporter).reused
    assert run_stage("first", Word("a"), store, reporter).reused
    made = run_stage("second", Word("b"), store, reporter)
    assert made.reused
    assert made.metadata["letters"] == 2
    assert RUNS == ["first", "second"]
    assert not run_stage("first", Word("c"), store, reporter).reused
    assert not run_stage("second", Word("b"), store, reporter).reused
    assert store.path("x/second").read_text() == "bc"
    assert RUNS == ["first", "second", "first", "second"]


@pytest.mark.usefixtures("graph")
def test_inputs_of_two_histories_are_refused(tmp_path: Path) -> None:
    store, reporter = Store(tmp_path), Silent()
    for name in ("first", "second", "third"):
        run_stage(name, Word("a"), store, reporter)
    run_stage("first", Word("b"), store, reporter)
    with pytest.raises(ArtifactError, match="second was made from another first .*; materialise second again"):
        run_stage("third", Word("a"), store, reporter)
    run_stage("second", Word("a"), store, reporter)
    assert not run_stage("third", Word("a"), store, reporter).reused
    assert store.path("x/third").read_text() == "abab"


def test_new_figures_in_an_old_folder_are_read_again(tmp_path: Path) -> None:
    """The settings of a raw source name a folder, not what is in it."""
    folder, store = tmp_path / "published", Store(tmp_path / "store")
    folder.mkdir()
    table = folder / "22in55cmcsv.csv"
    table.write_text("STATE,AGI_STUB\nWY,0\n")
    settings = profile("demo").with_folder(str(folder)).stages["raw_irs"]
    first = run_stage("raw_irs", settings, store, Silent())
    (folder / "of_another_agency.txt").write_text("not read here")
    assert run_stage("raw_irs", settings, store, Silent()).reused
    table.write_text("STATE,AGI_STUB\nWY,1\n")
    second = run_stage("raw_irs", settings, store, Silent())
    assert not second.reused
    assert second.digest != first.digest
    assert (store.path("raw/irs") / table.name).read_text() == table.read_text()


@pytest.mark.usefixtures("graph")
def test_a_damaged_output_is_made_again_and_a_damaged_input_refused(tmp_path: Path) -> None:
    store, reporter = Store(tmp_path), Silent()
    run_stage("first", Word("a"), store, reporter)
    store.path("x/first").write_text("tampered")
    with pytest.raises(ArtifactError, match="x/first is not what its manifest claims"):
        run_stage("second", Word("b"), store, reporter)
    assert not run_stage("first", Word("a"), store, reporter).reused
    assert not run_stage("second", Word("b"), store, reporter).reused


@pytest.mark.usefixtures("graph")
def test_a_missing_input_names_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="x/first is not in the store .*; materialise the stage that makes it"):
        run_stage("second", Word(), Store(tmp_path), Silent())


@pytest.mark.usefixtures("graph")
def test_a_refusal_leaves_the_old_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_stage("first", Word("a"), store, Silent())
    with pytest.raises(InputError, match="the word is bad; use another"):
        run_stage("first", Word("bad"), store, Silent())
    assert store.verified("x/first")[0].read_text() == "a"
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["first"]


def test_a_killed_stage_leaves_nothing_and_the_next_run_carries_on(tmp_path: Path) -> None:
    script = f"""
import tests.test_stages as t
from pathlib import Path
from geocal_core import stages
from geocal_core.progress import Silent
from geocal_core.running import run_stage
from geocal_core.store import Store
common = dict(settings=t.Word, run="tests.test_stages:write", group="g", description="d")
stages.STAGES = {{"first": stages.Stage(name="first", output="x/first", inputs=(), **common)}}
run_stage("first", t.Word("killed"), Store({str(tmp_path)!r}), Silent())
"""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=root)
    assert done.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert store.manifest("x/first") is None
    assert not store.path("x/first").exists()


def test_every_profile_sets_every_stage() -> None:
    for name in ("tiny", "demo", "full"):
        assert list(profile(name).stages) == list(STAGES)
        for stage, settings in profile(name).stages.items():
            assert isinstance(settings, STAGES[stage].settings)
            assert from_config(STAGES[stage].settings, as_config(settings)) == settings
    with pytest.raises(ConfigError, match="no profile 'huge'"):
        profile("huge")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match="FitSettings has no setting 'epoch'"):
        from_config(FitSettings, {"epoch": 3})


def test_the_graph_is_closed_and_in_order() -> None:
    seen: set[str] = set()
    for name, stage in STAGES.items():
        assert set(stage.inputs) <= seen
        seen.add(name)
    assert len({stage.output for stage in STAGES.values()}) == len(STAGES)


def test_targets_from_a_folder_change_only_the_targets(tmp_path: Path) -> None:
    before, after = profile("demo"), profile("demo").with_folder(str(tmp_path))
    changed = {name for name in STAGES if before.stages[name] != after.stages[name]}
    assert changed == {*STAGES["target_db"].inputs, "target_db", "geography"}


def test_files_that_a_folder_lacks_are_left_out_by_name_with_their_tables(tmp_path: Path) -> None:
    """One file of each agency is missing: it and the tables that need it, and nothing else."""
    for agency, files in published_files().items():
        for file in files:
            (tmp_path / agency).mkdir(exist_ok=True)
            (tmp_path / agency / file.name.replace("?", "2").replace("*", "x")).write_text("1")
    assert settings_of(tmp_path).without == ()
    (tmp_path / "irs" / "22incd.csv").unlink()
    assert settings_of(tmp_path).without == ("irs_soi_district",)
    chosen = profile("demo").with_folder(str(tmp_path)).stages
    assert chosen["raw_irs"] == RawSettings(origin="folder", folder=str(tmp_path), without=("??incd.csv",))
    assert as_config(chosen["geography"])["agi_level"] == "state"
    assert [(one.source, one.file.name) for one in left_out(chosen["raw_irs"])] == [("irs", "??incd.csv")]


def settings_of(folder: Path) -> TargetSettings:
    found = profile("demo").with_folder(str(folder)).stages["target_db"]
    assert isinstance(found, TargetSettings)
    return found


def test_targets_from_their_publishers_leave_out_what_is_on_pages_for_people() -> None:
    chosen = profile("tiny").with_publisher("cache").stages
    for agency, files in published_files().items():
        if files:
            by_hand = tuple(file.name for file in files if not file.remote_name)
            settings = RawSettings(origin="publisher", folder="cache", states=("DE", "NY", "WY"), without=by_hand)
            assert chosen[f"raw_{agency}"] == settings


def test_the_demo_leaves_out_what_it_does_not_publish() -> None:
    settings = profile("tiny").stages["target_db"]
    assert isinstance(settings, TargetSettings)
    assert set(settings.without) == set(tables()) - set(TABLES)
    assert set(WRITERS) <= {name.removeprefix("raw_") for name in STAGES}


def test_the_code_version_sees_the_modules_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    version = code_version("blocks")
    code_version.cache_clear()
    monkeypatch.setitem(stages.STAGES, "blocks", replace(STAGES["blocks"], modules=("fit",)))  # type: ignore[attr-defined]
    assert code_version("blocks") != version
    code_version.cache_clear()
