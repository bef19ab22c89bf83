"""A folder of small agency files, and the database that is built from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from geocal_core.progress import Silent
from geocal_core.settings import TargetSettings
from geocal_core.targets.build import build_database
from tests.targets import agency_files

SETTINGS = TargetSettings(states=agency_files.CODES)


@pytest.fixture
def agencies(tmp_path: Path) -> Path:
    """A folder of its own with every file, to spoil."""
    return agency_files.write_all(tmp_path / "agencies")


@pytest.fixture(scope="session")
def small_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the small nation; not to be written to."""
    folder = tmp_path_factory.mktemp("small")
    build_database(agency_files.write_all(folder / "agencies"), folder / "policy_data.db", SETTINGS, Silent())
    return folder / "policy_data.db"


@pytest.fixture(scope="session")
def published_db(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the real agency files; not to be written to."""
    path = tmp_path_factory.mktemp("published") / "policy_data.db"
    build_database(raw_folder, path, TargetSettings(without=("irs_soi_district",)), Silent())
    return path
