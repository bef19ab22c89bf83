"""The agencies' files as observable sources: content that changes is rebuilt downstream, a touched file is not."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from geocal_core.profiles import profile
from geocal_core.stages import STAGES
from geocal_core.store import digest_path
from geocal_core.targets.registry import published_files
from geocal_dagster.definitions import build_defs
from geocal_dagster.resources import ArtifactStore

from .conftest import Script, ScriptedLauncher

FILE = "snap-zip-fy69tocurrent-6.zip"
KEY = dg.AssetKey(["agency", "usda", "snap_zip_fy69tocurrent_6_zip"])


@dataclass
class Factory:
    """Definitions that take the targets from a folder, an instance, and what the sensor would ask for."""

    folder: Path
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    cursor: dg.AssetDaemonCursor | None = field(default=None)

    def run(self, *keys: dg.AssetKey | str) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(key) if isinstance(key, str) else key for key in keys],
            raise_on_error=False,
        )

    def look(self) -> dg.AssetObservation:
        """Observe the file of USDA."""
        result = self.run(KEY)
        assert result.success
        (observation,) = result.get_asset_observation_events()
        seen = observation.asset_observation_data.asset_observation
        assert isinstance(seen, dg.AssetObservation)
        return seen

    def tick(self) -> set[str]:
        """Stages that the sensor asks for now, all at once."""
        result = dg.evaluate_automation_conditions(
            defs=self.definitions,
            instance=self.instance,
            asset_selection=dg.AssetSelection.assets(*STAGES),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return {name for name in STAGES if result.get_num_requested(dg.AssetKey(name))}


@pytest.fixture
def factory(tmp_path: Path, instance: dg.DagsterInstance, script: Script) -> Factory:
    """Everything observed and built once, so that nothing is due."""
    del script
    for agency, files in published_files().items():
        for file in files:
            path = tmp_path / "published" / agency / file.name.replace("?", "2").replace("*", "x")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"content of {path.name}")
    resources = {"store": ArtifactStore(root=str(tmp_path / "store")), "launcher": ScriptedLauncher()}
    folder = tmp_path / "published"
    made = Factory(folder, build_defs(profile=profile("tiny").with_folder(str(folder)), resources=resources), instance)
    keys = [spec.key for spec in made.definitions.resolve_all_asset_specs() if spec.partitions_def is None]
    assert made.run(*keys).success
    assert made.tick() == {"area_h5"}, "which alone is not built yet"
    return made


def change(folder: Path, text: str) -> None:
    (folder / "usda" / FILE).write_text(text)


def test_what_an_observation_tells(factory: Factory) -> None:
    path = factory.folder / "usda" / FILE
    seen = factory.look()
    assert (seen.tags or {})["dagster/data_version"] == digest_path(path)
    assert seen.metadata["sha256"].value == digest_path(path)
    assert seen.metadata["bytes"].value == path.stat().st_size
    assert seen.metadata["path"].value == str(path)


def test_a_file_that_is_touched_moves_nothing(factory: Factory) -> None:
    os.utime(factory.folder / "usda" / FILE, (1, 1))
    factory.look()
    assert [factory.tick(), factory.tick()] == [set(), set()]


def test_content_that_changes_is_rebuilt_downstream(factory: Factory, script: Script) -> None:
    change(factory.folder, "new figures")
    factory.look()
    assert factory.tick() == {"raw_usda"}
    script.digests["raw_usda"] = "d1"
    assert factory.run("raw_usda").success
    assert factory.tick() == {"target_db"}
    script.digests["target_db"] = "d1"
    assert factory.run("target_db").success
    assert factory.tick() == {"geography", "calibration_package"}, "one run, in this order"
    script.digests["calibration_package"] = "d1"
    assert factory.run("geography", "calibration_package").success, "the geography to the same bytes"
    assert factory.tick() == {"weights", "national_weights", "report"}


def test_a_target_database_of_the_same_bytes_moves_nothing_downstream(factory: Factory, script: Script) -> None:
    change(factory.folder, "another wording of the same figures")
    factory.look()
    assert factory.tick() == {"raw_usda"}
    script.digests["raw_usda"] = "d1"
    assert factory.run("raw_usda").success
    assert factory.tick() == {"target_db"}
    assert factory.run("target_db").success
    assert [factory.tick(), factory.tick()] == [set(), set()]


def test_content_that_comes_back_while_the_first_change_is_read_is_not_lost(factory: Factory, script: Script) -> None:
    change(factory.folder, "new figures")
    factory.look()
    assert factory.tick() == {"raw_usda"}

    def changes_again() -> None:
        change(factory.folder, "newer figures")
        factory.look()
        assert "raw_usda" not in factory.tick(), "it is being read"

    script.meanwhile["raw_usda"] = changes_again
    assert factory.run("raw_usda").success
    assert factory.tick() == {"raw_usda"}


def test_a_file_that_has_gone_fails_its_observation_in_one_line(factory: Factory) -> None:
    (factory.folder / "usda" / FILE).unlink()
    result = factory.run(KEY)
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.description is not None
    assert f"holds no {FILE}" in failure.description
    assert factory.tick() == set()


def test_the_sensor_sees_the_sources_too(factory: Factory) -> None:
    repository = factory.definitions.get_repository_def()
    (sensor,) = repository.sensor_defs
    assert KEY in sensor.asset_selection.resolve(repository.asset_graph)  # type: ignore[union-attr]
