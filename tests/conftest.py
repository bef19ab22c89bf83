"""Fixtures that several packages share: the real agency files and one demo, materialised once for the whole run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geocal_core.store import Store

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def raw_folder() -> Path:
    """Folder of real agency files: GEOCAL_RAW, or shared/raw beside the repository; tests that need it are skipped without."""
    folder = Path(os.environ.get("GEOCAL_RAW", REPOSITORY.parent / "shared" / "raw"))
    if not folder.is_dir():
        pytest.skip("no folder of published agency files; set GEOCAL_RAW to run this test")
    return folder


def materialise_tiny(root: Path, *extra: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``geocal demo --profile tiny`` as its user would."""
    command = [sys.executable, "-m", "geocal_core.cli", "demo", "--profile", "tiny", "--root", str(root), *extra]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=REPOSITORY, env={**os.environ, **environment}
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The whole graph of the tiny profile, materialised once for all tests.

    With GEOCAL_TEST_ROOT set to a folder it is kept there, and the next run of the tests makes only what changed.
    """
    kept = os.environ.get("GEOCAL_TEST_ROOT")
    root = Path(kept) if kept else tmp_path_factory.mktemp("tiny")
    done = materialise_tiny(root)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return Store(root)
