"""A folder of small agency files, and the database that is built from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geocal_core.progress import Silent
from geocal_core.settings import TargetSettings
from geocal_core.targets.build import build_database
from geocal_core.targets.registry import tables
from tests.targets import agency_files

NOT_WRITTEN = tuple(name for name in tables() if name not in agency_files.TABLES)
SETTINGS = TargetSettings(states=agency_files.CODES, without=NOT_WRITTEN)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file, written once: workbooks carry the time of their writing."""
    return agency_files.write_all(tmp_path_factory.mktemp("small") / "agencies")


@pytest.fixture
def agencies(written: Path, tmp_path: Path) -> Path:
    """A folder of its own with every file, to spoil."""
    return Path(shutil.copytree(written, tmp_path / "agencies"))


@pytest.fixture(scope="session")
def small_db(written: Path) -> Path:
    """The database of the small nation; not to be written to."""
    build_database(written, written.with_name("policy_data.db"), SETTINGS, Silent())
    return written.with_name("policy_data.db")


@pytest.fixture(scope="session")
def published_db(raw_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the real agency files; not to be written to."""
    path = tmp_path_factory.mktemp("published") / "policy_data.db"
    build_database(raw_folder, path, TargetSettings(without=("irs_soi_district", "cdc_births")), Silent())
    return path
