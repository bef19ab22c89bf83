"""The stage ``target_db``: what it tells of the database that it built, and of the one that was there before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geocal_core.context import StageContext
from geocal_core.progress import Silent
from geocal_core.store import Store, digest_path
from geocal_core.targets.stage import build
from tests.targets.conftest import SETTINGS


@pytest.fixture
def context(written: Path, tmp_path: Path) -> StageContext:
    return StageContext(
        name="target_db",
        inputs={"raw_all": written},
        input_digests={},
        output=tmp_path / "new.db",
        scratch=tmp_path / "scratch",
        settings=SETTINGS,
        reporter=Silent(),
        store=Store(tmp_path / "store"),
        fingerprint="",
    )


def test_tells_counts_contradictions_and_what_is_left_out(context: StageContext) -> None:
    facts = build(context)
    header, _, *rows = str(facts["counts"]).splitlines()
    assert header == "| variable | domain | source | year | national | state | district | total |"
    (total,) = ([cell.strip() for cell in row.split("|")] for row in rows if row.startswith("| all |"))
    assert int(total[-2].replace(",", "")) == facts["active"]
    assert facts["contradictions"] == "none" or str(facts["contradictions"]).startswith("| state | kind | place |")
    assert facts["left_out"] == ", ".join(SETTINGS.without)
    assert facts["changes"] == "There was no database before."


def test_tells_what_changed_since_the_database_before(context: StageContext, small_db: Path) -> None:
    before = context.store.path("targets/policy_data.db")
    before.parent.mkdir(parents=True)
    shutil.copy(small_db, before)
    assert build(context)["changes"] == "No target of 2024 changed."
    assert digest_path(context.output) == digest_path(small_db)


def test_says_so_where_the_database_before_cannot_be_read(context: StageContext, small_db: Path) -> None:
    before = context.store.path("targets/policy_data.db")
    before.parent.mkdir(parents=True)
    before.write_bytes(small_db.read_bytes()[:10_000])
    changes = str(build(context)["changes"])
    assert changes.startswith("The database before cannot be compared with this one: ")
    assert "\n" not in changes
    assert digest_path(context.output) == digest_path(small_db), "what was before decides nothing"
