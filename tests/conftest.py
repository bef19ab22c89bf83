"""Fixtures that several packages share: the real agency files and one demo, materialised once for the whole run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def raw_folder() -> Path:
    """Folder of real agency files: GEOCAL_RAW, or shared/raw beside the repository; tests that need it are skipped without."""
    folder = Path(os.environ.get("GEOCAL_RAW", REPOSITORY.parent / "shared" / "raw"))
    if not folder.is_dir():
        pytest.skip("no folder of published agency files; set GEOCAL_RAW to run this test")
    return folder
