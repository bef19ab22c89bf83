"""The stage ``target_db``: what it tells of the database that it built, and of the one that was there before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from geocal_core.context import StageContext
from geocal_core.progress import Silent
from geocal_core.store import Store, digest_path
from geocal_core.targets import stage
from geocal_core.targets.consistency import Contradiction
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
    assert facts["left_out"] == ", ".join(SETTINGS.without)
    assert facts["changes"] == "There was no database before."


def test_tells_the_contradictions_of_a_quantity_in_one_line(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(place: str, value: float) -> Contradiction:
        return Contradiction(
            "sources", "snap and snap [snap>0]", place, value, 100.0, "A", "B", "A", "trust 2 against 1", False
        )

    monkeypatch.setattr(stage, "find_contradictions", lambda database, year: [of("10", 200.0), of("1001", 150.0)])
    *_, row = str(build(context)["contradictions"]).splitlines()
    assert row == "| open | sources | snap and snap [snap>0] | 2 | DE | 200 | 100 | A |"
    monkeypatch.setattr(stage, "find_contradictions", lambda database, year: [])
    context.output.unlink()
    assert build(context)["contradictions"] == "none"


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
