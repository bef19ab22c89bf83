"""A stage command without science, for tests: it speaks the protocol of ``geocal stage`` and writes a small file.

``FAKE_STAGE`` in the environment tells a stage to misbehave, as JSON: ``{"weights": "refuse"}``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from dagster_pipes import PipesContext, open_dagster_pipes

from geocal_core.places.catalogue import area
from geocal_core.stages import stage_named
from geocal_core.store import digest_bytes


def main() -> None:
    _, command, name, flag, text = sys.argv
    assert (command, flag) == ("stage", "--config")
    config = json.loads(text)
    behaviour = json.loads(os.environ.get("FAKE_STAGE", "{}")).get(name, "work")
    with open_dagster_pipes() as pipes:
        pipes.log.info(f"{behaviour} at {config['settings']}")
        misbehave(behaviour, pipes, config)
        work(name, config, pipes, passed=behaviour != "fail_check", silent=behaviour == "no_result")


def misbehave(behaviour: str, pipes: PipesContext, config: dict[str, object]) -> None:
    if behaviour == "refuse":
        print("a warning of some library", file=sys.stderr)
        print("geocal: error: raw/file.csv has no column 'AGE'; fetch it again", file=sys.stderr, flush=True)
        os._exit(2)
    if behaviour == "refuse_after_check":
        pipes.report_custom_message({"check": "package_valid", "passed": False, "metadata": {"bad_rows": 3}})
        print("geocal: error: 3 rows of the package are empty; build it again", file=sys.stderr, flush=True)
        pipes.close()
        os._exit(2)
    if behaviour == "crash":
        raise ZeroDivisionError("division by zero")
    if behaviour == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "kill_once":
        marker = Path(str(config["root"])) / "killed_once"
        if not marker.exists():
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "sleep":
        Path(str(config["root"])).mkdir(parents=True, exist_ok=True)
        (Path(str(config["root"])) / "pid").write_text(str(os.getpid()))
        time.sleep(60)


def work(name: str, config: dict[str, object], pipes: PipesContext, *, passed: bool, silent: bool) -> None:
    stage = stage_named(name)
    root = Path(str(config["root"]))
    content = json.dumps([name, config["settings"]]).encode()
    areas = config["areas"]
    assert isinstance(areas, list)
    assert stage.partitioned or not areas
    artifacts = [area(key).artifact for key in areas] if stage.partitioned else [stage.output]
    reused = all((root / artifact).exists() and (root / artifact).read_bytes() == content for artifact in artifacts)
    for key, artifact in zip(areas if stage.partitioned else [name], artifacts, strict=True):
        path = root / artifact
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if stage.partitioned:
            pipes.report_custom_message({"partition": key, "metadata": {"households": 10 * len(key), "reused": reused}})
    if not reused or stage.partitioned:
        for check in stage.checks:
            pipes.report_custom_message({"check": check, "passed": passed, "metadata": {"rows": 7}})
    if not silent:
        facts = {"rows": 7, "loss": 0.25, "converged": True, "seconds": 0.5, "peak_mb": 50.0}
        pipes.report_custom_message({"result": {"digest": digest_bytes(content), "reused": reused, "metadata": facts}})


if __name__ == "__main__":
    main()
