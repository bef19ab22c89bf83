"""The deployment files, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import dagster as dg
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def test_dagster_accepts_the_instance(tmp_path: Path) -> None:
    """All but the history database, whose package is in the images only."""
    settings = yaml.safe_load((DOCKER / "dagster.yaml").read_text())
    assert set(settings.pop("storage")) == {"postgres"}
    settings["compute_logs"]["config"]["base_dir"] = str(tmp_path / "logs")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 1


def test_containers_name_the_same_code_location_as_dg() -> None:
    (load,) = yaml.safe_load((DOCKER / "workspace.yaml").read_text())["load_from"]
    server = load["grpc_server"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    assert server["location_name"] == project["code_location_name"]
    assert server["host"] in COMPOSE["services"]
    assert f'"--port", "{server["port"]}", "--module-name", "{project["code_location_target_module"]}"' in DOCKERFILE


def test_services_are_built_from_targets_that_exist_and_wait_for_services_that_exist() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE))
    services = COMPOSE["services"]
    assert {s["build"]["target"] for s in services.values() if "build" in s} <= targets
    assert {"control", "worker", "factory"} <= targets
    built = {s["image"] for s in services.values() if "build" in s}
    assert services["daemon"]["image"] in built
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"])


def test_extras_that_the_images_install_exist() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = {name for group in re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE) for name in group.split(",")}
    assert installed == {"dagster", "gcp", "k8s", "simulate"}
    assert installed <= set(extras)


def test_every_variable_of_the_instance_is_given_to_every_container_that_has_it() -> None:
    wanted = set(re.findall(r"env: (\w+)", (DOCKER / "dagster.yaml").read_text()))
    assert len(wanted) == 4
    for name in ("code", "webserver", "daemon"):
        assert wanted <= set(COMPOSE["services"][name]["environment"])
