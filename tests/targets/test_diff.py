"""Two databases compared: nothing against itself, mirrored the other way round, and the greatest effect first."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError
from geocal_core.progress import Silent
from geocal_core.targets.build import build_database
from geocal_core.targets.diff import compare, compare_files, counts, markdown
from geocal_core.targets.select import load_targets
from tests.targets.conftest import SETTINGS


def changed(db: Path, path: Path, *statements: str) -> Path:
    """A copy of a database after some statements."""
    shutil.copy(db, path)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def test_a_database_does_not_differ_from_itself(small_db: Path) -> None:
    assert compare(small_db, small_db, 2024).empty
    assert compare_files(small_db, small_db) == []
    assert markdown(small_db, small_db, 2024) == "No target of 2024 changed."


def test_what_changed_and_by_how_much(small_db: Path, tmp_path: Path) -> None:
    """Idaho's SNAP up by half, the District's gone, a district's households new: each weighed against the nation's."""
    snap = "variable = 'snap' AND stratum_id IN (SELECT stratum_id FROM target_overview WHERE geographic_id = '{}')"
    new = changed(
        small_db,
        tmp_path / "new.db",
        f"UPDATE targets SET value = value * 1.5 WHERE {snap.format(16)}",
        f"UPDATE targets SET active = 0 WHERE {snap.format(11)}",
        "INSERT INTO targets (variable, period, stratum_id, value, source) "
        "SELECT 'household_count', 2024, stratum_id, 7.0, 'IRS SOI' FROM target_overview "
        "WHERE variable = 'adjusted_gross_income' AND geographic_id = '1601' AND domain_variable IS NULL",
    )
    table = compare(small_db, new, 2024)
    before, _ = load_targets(small_db, 2024)
    value = before.set_index("name")["value"]
    nation, largest = value["national/snap/[snap>0]"], value[before.set_index("name")["variable"] == "household_count"].max()
    rows = table.set_index("name")
    assert counts(table) == {"added": 1, "removed": 1, "changed": 1}
    idaho = rows.loc["state_16/snap/[snap>0]"]
    assert (idaho["change"], idaho["relative"]) == ("changed", pytest.approx(0.5))
    assert idaho["effect"] == pytest.approx(0.5 * value["state_16/snap/[snap>0]"] / nation)
    district = rows.loc["state_11/snap/[snap>0]"]
    assert (district["change"], district["effect"]) == (
        "removed",
        pytest.approx(value["state_11/snap/[snap>0]"] / nation),
    )
    added = rows.loc["cd_1601/household_count/[tax_unit_is_filer==1]"]
    assert (added["new"], added["new_source"], added["old_source"]) == (7.0, "IRS SOI", "")
    assert added["effect"] == pytest.approx(7 / largest)
    assert table["effect"].is_monotonic_decreasing
    text = markdown(small_db, new, 2024, top=1)
    assert text.splitlines()[0] == "1 added, 1 removed, 1 changed (targets of 2024)"
    assert text.splitlines()[-1] == "… and 2 more"
    assert "| `state_11/snap/[snap>0]` | removed |" in text


def test_another_source_of_the_same_value_is_told_last(small_db: Path, tmp_path: Path) -> None:
    new = changed(small_db, tmp_path / "new.db", "UPDATE targets SET source = 'IRS SOI' WHERE variable = 'snap'")
    table = compare(small_db, new, 2024)
    assert set(table["change"]) == {"changed"}
    assert set(table["effect"]) == {0.0}
    assert set(zip(table["old_source"], table["new_source"], strict=True)) == {("USDA FNS SNAP", "IRS SOI")}


def test_files_of_another_content(small_db: Path, agencies: Path, tmp_path: Path) -> None:
    (agencies / "snap-zip-fy69tocurrent-6.zip").rename(agencies / "snap-zip-fy69tocurrent-7.zip")
    path = agencies / "acs_S2201_district_2024.json"
    path.write_text(path.read_text() + "\n")
    new = tmp_path / "new.db"
    build_database(agencies, new, replace(SETTINGS, without=(*SETTINGS.without, "irs_soi_district")), Silent())
    changes = {(one.file, one.change) for one in compare_files(small_db, new)}
    assert changes == {
        ("snap-zip-fy69tocurrent-6.zip", "removed"),
        ("snap-zip-fy69tocurrent-7.zip", "added"),
        ("24incd.csv", "removed"),
        ("acs_S2201_district_2024.json", "changed"),
    }
    assert "- changed: acs_S2201_district_2024.json (Census ACS S2201)" in markdown(small_db, new, 2024)


@settings(max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.integers(1, 180), st.sampled_from((0.0, -3.0, 1e-300, 12345.678, 1e15, None)), min_size=1, max_size=8)
)
def test_the_other_way_round_is_the_mirror(small_db: Path, tmp_path: Path, values: dict[int, float | None]) -> None:
    statements = [
        f"UPDATE targets SET active = 0 WHERE target_id = {target}"
        if value is None
        else f"UPDATE targets SET value = {value!r} WHERE target_id = {target}"
        for target, value in values.items()
    ]
    other = changed(small_db, tmp_path / "other.db", *statements)
    there, back = compare(small_db, other, 2024), compare(other, small_db, 2024)
    mirror = {"added": "removed", "removed": "added", "changed": "changed"}
    assert there["name"].tolist() == back["name"].tolist()
    assert there["change"].map(mirror).tolist() == back["change"].tolist()
    for column, opposite in (("old", "new"), ("new", "old"), ("effect", "effect")):
        np.testing.assert_array_equal(there[column], back[opposite])
    assert there["old_source"].tolist() == back["new_source"].tolist()
    assert there["effect"].between(0, 2).all()  # 2: from the largest to its negative


def test_what_is_no_database_is_refused(small_db: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no target database"):
        compare(small_db, tmp_path / "absent.db", 2024)
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(ArtifactError, match="not a whole target database"):
        compare_files(tmp_path / "text.db", small_db)


@pytest.mark.raw
def test_the_published_database_against_a_change_of_one_state(published_db: Path, tmp_path: Path) -> None:
    new = changed(published_db, tmp_path / "new.db", "UPDATE targets SET value = 0 WHERE target_id = 5000")
    table = compare(published_db, new, 2024)
    assert table["own"].sum() == 1
    assert table["own"].iloc[0], "the change itself weighs more than what reconciliation makes of it"
    assert table["relative"].iloc[0] == -1.0
    assert compare(published_db, published_db, 2024).empty
