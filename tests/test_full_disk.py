"""A disk that fills up while a stage writes: one clear line, nothing half-written, and the next run carries on."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from geocal_core.profiles import profile
from geocal_core.settings import as_config
from geocal_core.stages import STAGES
from geocal_core.store import Store

# One stage for each kind of file: H5, SQLite, parquet, npz, the package (of values kept before), the folders of the fit and of
# the report, and the areas of worker processes.
LIMITS = {
    "cps": 60_000,
    "target_db": 60_000,
    "blocks": 4_000,
    "geography": 20_000,
    "calibration_package": 20_000,
    "weights": 60_000,
    "report": 20_000,
    "area_h5": 40_000,
}


def run(store: Store, stage: str, limit: int | None) -> subprocess.CompletedProcess[str]:
    """Run a stage in a process that may not write a file beyond ``limit`` bytes, as on a disk that is almost full."""

    def almost_full() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    areas = ["DE", "NY", "WY"] if STAGES[stage].partitioned else []
    config = {"root": str(store.root), "settings": as_config(profile("tiny").stages[stage]), "areas": areas}
    return subprocess.run(
        [sys.executable, "-m", "geocal_core.cli", "stage", stage, "--config", json.dumps(config)],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=almost_full,
        cwd=Path(__file__).resolve().parents[1],
    )


@pytest.mark.parametrize("stage", LIMITS)
def test_a_full_disk_loses_nothing(tiny: Store, tmp_path: Path, stage: str) -> None:
    shutil.copytree(tiny.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    output = store.path(STAGES[stage].output)
    manifests = (store.root / "manifests" / STAGES[stage].output).with_suffix("")
    for path in (store.manifest_path(STAGES[stage].output), manifests, output):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    full = run(store, stage, LIMITS[stage])
    assert full.returncode == 2, full.stderr
    assert "Traceback" not in full.stderr
    assert full.stderr.splitlines()[-1].startswith("geocal: error: ")
    assert not list(store.root.rglob(".*")), "something half-written is left"
    if not STAGES[stage].partitioned:
        assert not output.exists()
        assert store.manifest(STAGES[stage].output) is None

    again = run(store, stage, None)
    assert again.returncode == 0, again.stderr
    made = (
        [STAGES[stage].output]
        if output.is_file() or not STAGES[stage].partitioned
        else [f"areas/119/states/{k}.h5" for k in ("DE", "NY", "WY")]
    )
    for artifact in made:
        assert store.verified(artifact)[1] == tiny.verified(artifact)[1]
