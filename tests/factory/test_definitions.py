"""The definitions as a whole: they mirror the registry, load fast, and change only on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from geocal_core.errors import ConfigError, InputError
from geocal_core.profiles import profile
from geocal_core.settings import as_config
from geocal_core.stages import STAGES
from geocal_core.targets.registry import published_files
from geocal_dagster.config import config_class
from geocal_dagster.definitions import build_defs, defs
from geocal_dagster.tags import GPU_OP_TAGS, GPU_POOL

REPOSITORY = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).parent / "data" / "asset_specs.json"
GRAPH = defs.resolve_asset_graph()


def test_definitions_can_be_loaded_and_resolved() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_graph_is_the_registry() -> None:
    edges = {
        key.to_user_string(): {p.to_user_string() for p in GRAPH.get(key).parent_keys} for key in GRAPH.get_all_asset_keys()
    }
    published = {
        f"raw_{agency}": {f"agency/{agency}/{file.key}" for file in files}
        for agency, files in published_files().items()
        if files
    }
    assert edges == {
        **{stage.name: {*stage.inputs, *published.get(stage.name, ())} for stage in STAGES.values()},
        **{key: set() for keys in published.values() for key in keys},
    }
    checks = {(key.asset_key.to_user_string(), key.name) for key in GRAPH.asset_check_keys}
    assert checks == {(stage.name, check) for stage in STAGES.values() for check in stage.checks}
    partitioned = {spec.key.to_user_string() for spec in stage_specs() if spec.partitions_def is not None}
    assert partitioned == {stage.name for stage in STAGES.values() if stage.partitioned} == {"area_h5"}


def stage_specs() -> list[dg.AssetSpec]:
    return [spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() in STAGES]


def test_every_file_of_an_agency_is_observable_and_described() -> None:
    found = {spec.key: spec for spec in defs.resolve_all_asset_specs() if spec.key.path[0] == "agency"}
    assert len(found) == sum(map(len, published_files().values())), "two files of an agency have the same key"
    for key, spec in found.items():
        assert GRAPH.get(key).is_observable
        assert not GRAPH.get(key).is_materializable
        assert spec.group_name == "agencies"
        assert spec.description
        assert len(spec.kinds) == 1
        assert str(spec.metadata["published"].value).startswith("https://")
        assert spec.automation_condition is not None


def test_every_asset_is_described_for_the_catalogue() -> None:
    for spec in stage_specs():
        assert spec.group_name not in (None, "default")
        assert spec.description is not None
        assert spec.owners == ["team:geocal"]
        assert 1 <= len(spec.kinds) <= 3
        assert spec.code_version


def test_every_check_blocks_what_lies_downstream() -> None:
    specs = [spec for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition) for spec in asset.check_specs]
    assert len(specs) == 13
    assert all(spec.blocking for spec in specs)


def test_specs_are_those_of_the_snapshot() -> None:
    """A key, a group or a dependency changes on purpose or not at all.

    To accept a change: ``GEOCAL_UPDATE_SNAPSHOTS=1 python -m pytest tests/factory/test_definitions.py``, then read the diff.
    """
    found = {spec.key.to_user_string(): described(spec) for spec in defs.resolve_all_asset_specs()}
    if os.environ.get("GEOCAL_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    expected = json.loads(SNAPSHOT.read_text())
    changed = [
        f"{name}.{what}: snapshot {expected.get(name, {}).get(what)!r}, now {found.get(name, {}).get(what)!r}"
        for name in sorted(expected.keys() | found.keys())
        for what in sorted(expected.get(name, {}).keys() | found.get(name, {}).keys())
        if expected.get(name, {}).get(what) != found.get(name, {}).get(what)
    ]
    assert not changed, "\n".join(["asset specs changed; if on purpose, set GEOCAL_UPDATE_SNAPSHOTS=1", *changed])


def described(spec: dg.AssetSpec) -> dict[str, Any]:
    """What a snapshot keeps of a spec: all but the version of the code, which changes with every commit."""
    return {
        "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
        "group": spec.group_name,
        "kinds": sorted(spec.kinds),
        "owners": list(spec.owners),
        "tags": {key: value for key, value in spec.tags.items() if not key.startswith("dagster/kind/")},
        "artifact": spec.metadata.get("artifact"),
        "description": spec.description,
        "partitions": len(spec.partitions_def.get_partition_keys()) if spec.partitions_def else 0,
        "automation": spec.automation_condition.get_label() if spec.automation_condition else None,
        "checks": sorted(key.name for key in GRAPH.get_check_keys_for_assets({spec.key})),
    }


def test_only_the_fits_ask_for_a_gpu() -> None:
    asking = {}
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and "dagster-k8s/config" in asset.op.tags:
            asking[asset.key.to_user_string()] = (json.loads(asset.op.tags["dagster-k8s/config"]), asset.op.pool)
    assert asking == dict.fromkeys(("weights", "national_weights"), (GPU_OP_TAGS["dagster-k8s/config"], GPU_POOL))


def test_gpu_tags_have_the_structure_of_a_pod() -> None:
    """The names are those of the Kubernetes API in snake case, as its Python client and dagster-k8s write them."""
    (config,) = GPU_OP_TAGS.values()
    assert set(config) == {"container_config", "pod_spec_config"}
    resources = config["container_config"]["resources"]
    assert int(resources["limits"]["nvidia.com/gpu"]) == 1
    assert all(isinstance(value, str) for part in resources.values() for value in part.values()), "quantities are text"
    pod = config["pod_spec_config"]
    assert set(pod) == {"node_selector", "tolerations"}
    assert {t["key"] for t in pod["tolerations"]} == {"nvidia.com/gpu"}


def test_import_is_light() -> None:
    """Under 1.5 s, without science. Seconds of the processor, best of five, so that a busy machine does not fail it."""
    code = (
        "import sys, time; start = time.process_time(); import geocal_dagster.definitions; "
        "print(time.process_time() - start, *sorted(sys.modules))"
    )
    seconds: list[float] = []
    while len(seconds) < 5 and min(seconds, default=2.0) >= 1.5:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
        first, *modules = done.stdout.split()
        seconds.append(float(first))
        assert not done.stderr, "importing the definitions warns"
        heavy = {"torch", "pandas", "scipy", "h5py", "sklearn", "openpyxl", "xlrd", "policyengine_us", "policyengine_core"}
        heavy |= {"dagster_gcp", "sqlalchemy"}
        assert not heavy & set(modules)
    assert min(seconds) < 1.5


def test_workspace_and_dg_name_the_same_code_location() -> None:
    (load,) = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert load["python_module"]["location_name"] == project["code_location_name"]
    assert load["python_module"]["module_name"] == project["code_location_target_module"]


@pytest.mark.parametrize("name", ["tiny", "demo", "full"])
def test_launch_forms_offer_the_settings_of_the_profile(name: str) -> None:
    for stage in STAGES.values():
        settings = profile(name).stages[stage.name]
        assert config_class(stage, settings)().model_dump() == as_config(settings)


def test_fields_of_a_launch_form_are_described() -> None:
    form = config_class(STAGES["geography"], profile("demo").stages["geography"])
    assert form.model_fields["clones"].description == "Copies of each household."
    described = form.model_fields["top_agi_share"].description
    assert described is not None
    assert "\n" not in described


def test_profile_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOCAL_PROFILE", "tiny")
    assert form_default("blocks", "states") == ["DE", "NY", "WY"]
    monkeypatch.delenv("GEOCAL_PROFILE")
    assert len(form_default("blocks", "states")) == 51
    monkeypatch.setenv("GEOCAL_PROFILE", "huge")
    with pytest.raises(ConfigError, match="there is no profile 'huge'; the profiles are tiny, demo and full"):
        build_defs()


def test_one_variable_says_where_the_targets_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For launch forms, which is what is read, and for observations, which is what is looked at."""
    monkeypatch.setenv("GEOCAL_SOURCES", str(tmp_path))
    assert form_default("raw_usda", "origin") == "folder"
    assert form_default("raw_usda", "folder") == str(tmp_path.resolve())
    assert "usda_snap" in form_default("target_db", "without")
    monkeypatch.setenv("GEOCAL_SOURCES", "publisher")
    assert (form_default("raw_usda", "origin"), form_default("raw_usda", "folder")) == ("publisher", "")
    assert "usda_snap" not in form_default("target_db", "without")
    monkeypatch.setenv("GEOCAL_SOURCES", str(tmp_path / "no"))
    with pytest.raises(InputError, match="does not exist"):
        build_defs()


def form_default(stage: str, name: str) -> Any:
    job: Any = build_defs().resolve_implicit_global_asset_job_def()
    return job.get_node_named(stage).definition.config_schema.config_type.fields[name].default_value


@pytest.mark.parametrize(
    ("name", "choice"), [("preset", "national"), ("device", "cuda"), ("scale", "reference"), ("method", "pps")]
)
def test_a_choice_that_does_not_exist_is_refused_before_anything_starts(name: str, choice: str) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    dg.validate_run_config(job, {"ops": {"weights": {"config": {name: choice}}}})
    with pytest.raises(dg.DagsterInvalidConfigError, match="globale"):
        dg.validate_run_config(job, {"ops": {"weights": {"config": {name: "globale"}}}})


def test_a_setting_that_does_not_exist_is_refused_before_anything_starts() -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.DagsterInvalidConfigError, match="epoch"):
        dg.validate_run_config(job, {"ops": {"weights": {"config": {"epoch": 5}}}})


def test_nothing_starts_by_itself_in_a_fresh_clone() -> None:
    repository = defs.get_repository_def()
    assert [sensor.default_status for sensor in repository.sensor_defs] == [dg.DefaultSensorStatus.STOPPED]
    assert [schedule.default_status for schedule in repository.schedule_defs] == [dg.DefaultScheduleStatus.STOPPED]


def test_jobs_leave_the_areas_to_backfills() -> None:
    jobs = {name: set(defs.resolve_job_def(name).nodes_in_topological_order) for name in ("calibrate", "refresh_targets")}
    names = {name: {node.name for node in nodes} for name, nodes in jobs.items()}
    assert names["calibrate"] == set(STAGES) - {"area_h5"}
    assert names["refresh_targets"] == {"target_db", *STAGES["target_db"].inputs}
