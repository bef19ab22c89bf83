"""Targets of one's own: given back as they were added, by the rules for all, and never half a database."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.store import Manifest, Store, digest_path
from geocal_core.targets.addition import Addition, add_target
from geocal_core.targets.constraints import Constraint, constraint_of
from geocal_core.targets.diff import compare
from geocal_core.targets.dossier import dossier
from geocal_core.targets.figures import level_of
from geocal_core.targets.inventory import source_files, stored_targets
from geocal_core.targets.listing import Filter, targets_listed
from geocal_core.targets.select import load_targets, target_name
from geocal_core.targets.uprating import series_of
from geocal_core.targets.vocabulary import variables

ADULTS = (Constraint("age", ">=", "18"),)
FILER = Constraint("tax_unit_is_filer", "==", "1")
RENT = Addition("rent", 5e9, 2024, 16, "IRS SOI", ADULTS)


@pytest.fixture
def db(small_db: Path, tmp_path: Path) -> Path:
    """A database to add to."""
    return Path(shutil.copy(small_db, tmp_path / "own.db"))


def strata(db: Path) -> dict[int, tuple[int | None, str]]:
    with closing(sqlite3.connect(db)) as connection:
        found = connection.execute("SELECT stratum_id, parent_stratum_id, COALESCE(notes, '') FROM strata").fetchall()
    return {stratum: (parent, notes) for stratum, parent, notes in found}


def test_it_is_handed_out(db: Path) -> None:
    target_id = add_target(db, db, replace(RENT, tolerance=1e6, notes="page 3"), 2024)
    targets, constraints = load_targets(db, 2024)
    row = targets[targets["target_id"] == target_id].iloc[0]
    assert (row["name"], row["value"], row["tolerance"]) == ("state_16/rent/[age>=18]", 5e9, 1e6)
    assert constraints[row["stratum_id"]] == ADULTS
    parent, notes = strata(db)[row["stratum_id"]]
    assert notes == "Idaho [age>=18]"
    assert strata(db)[parent][1] == "Idaho"


def test_a_new_stratum_hangs_on_what_is_there(db: Path) -> None:
    """Below those who file, below a domain; and a stratum that means the same is used, however it is written."""
    before = strata(db)
    eitc = (Constraint("eitc", ">", "0"), Constraint("eitc_child_count", "==", "1"))
    written_otherwise = (Constraint("tax_unit_is_filer", "==", "True"), *eitc[:1], Constraint("eitc_child_count", "==", "1.0"))
    add_target(db, db, Addition("rent", 1.0, 2024, 16, "IRS SOI", written_otherwise), 2024)
    assert strata(db) == before
    add_target(db, db, Addition("rent", 2.0, 2024, 16, "IRS SOI", (FILER, *eitc, *ADULTS)), 2024)
    (new,) = set(strata(db)) - set(before)
    with_one_child = before[strata(db)[new][0] or 0][1]
    assert with_one_child == "Idaho [eitc>0,eitc_child_count==1,tax_unit_is_filer==1]"


def test_those_who_file_become_a_stratum_of_their_own(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("DELETE FROM alternative_figures")
        connection.execute("DELETE FROM targets WHERE source = 'IRS SOI'")
        connection.execute(
            "DELETE FROM stratum_constraints WHERE stratum_id IN "
            "(SELECT stratum_id FROM stratum_constraints WHERE constraint_variable = 'tax_unit_is_filer')"
        )
        connection.execute(
            "DELETE FROM strata WHERE parent_stratum_id IS NOT NULL "
            "AND stratum_id NOT IN (SELECT stratum_id FROM stratum_constraints)"
        )
        connection.commit()
    before = strata(db)
    add_target(db, db, Addition("rent", 2.0, 2024, 16, "IRS SOI", (*ADULTS, FILER)), 2024)
    filers, adults = sorted(set(strata(db)) - set(before))
    assert strata(db)[filers][1] == "Idaho [tax_unit_is_filer==1]"
    assert strata(db)[adults] == (filers, "Idaho [age>=18,tax_unit_is_filer==1]")


def test_the_same_input_gives_the_same_bytes(small_db: Path, tmp_path: Path) -> None:
    before = digest_path(small_db)
    for name in ("a.db", "b.db"):
        add_target(small_db, tmp_path / name, RENT, 2024)
    assert digest_path(tmp_path / "a.db") == digest_path(tmp_path / "b.db")
    assert digest_path(small_db) == before


def test_a_second_one_is_refused_or_replaces(db: Path) -> None:
    first = add_target(db, db, RENT, 2024)
    before = digest_path(db)
    with pytest.raises(ConfigError, match=r"has rent in dollars .* in Idaho of 2024 already: 5000000000.0 .*give --replace"):
        add_target(db, db, replace(RENT, value=6e9), 2024)
    assert digest_path(db) == before
    assert add_target(db, db, replace(RENT, value=6e9, source="USDA FNS SNAP"), 2024, replace=True) == first
    targets, _ = stored_targets(db)
    assert targets.set_index("target_id").loc[first, ["value", "source"]].tolist() == [6e9, "USDA FNS SNAP"]
    with closing(sqlite3.connect(db)) as connection:
        rows = connection.execute("SELECT target_id, value, source FROM alternative_figures WHERE target_id = ?", (first,))
        assert rows.fetchall() == [(first, 5e9, "IRS SOI")]
    assert "5,000,000,000  IRS SOI" in dossier(db, str(first), 2024)
    assert add_target(db, db, RENT, 2024, replace=True) == first
    with closing(sqlite3.connect(db)) as connection:
        rows = connection.execute("SELECT value, source FROM alternative_figures WHERE target_id = ?", (first,))
        assert rows.fetchall() == [(6e9, "USDA FNS SNAP")]


def test_a_new_source_is_made_known_by_its_address(db: Path) -> None:
    with pytest.raises(ConfigError, match="knows no source 'State of Idaho'; give its --url"):
        add_target(db, db, replace(RENT, source="State of Idaho"), 2024)
    with pytest.raises(ConfigError, match=r"no source 'IRS SOl'; give its --url to make it known; near it are IRS SOI"):
        add_target(db, db, replace(RENT, source="IRS SOl"), 2024)
    with pytest.raises(ConfigError, match="is known already; leave out --url"):
        add_target(db, db, replace(RENT, url="https://www.irs.gov"), 2024)
    url = "https://tax.idaho.gov/reports"
    target_id = add_target(db, db, replace(RENT, source="State of Idaho", url=url), 2024)
    rows = source_files(db)
    row = rows[rows["source"] == "State of Idaho"].iloc[0]
    assert (row["agency"], row["url"], row["file"], row["digest"], row["vintage"]) == ("tax.idaho.gov", url, "", "", 2024)
    assert f"State of Idaho (added by hand)\n  vintage 2024\n    {url}" in dossier(db, str(target_id), 2024)
    add_target(db, db, replace(RENT, source="State of Idaho", place=10), 2024)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"variable": "rnet"}, "'rnet' is no variable of the engine; near it are .*rent"),
        ({"variable": "is_female"}, "cannot be added up: it is a truth"),
        ({"value": float("nan")}, "is no figure"),
        ({"value": float("inf")}, "is no figure"),
        ({"variable": "person_count", "value": -1.0}, "is no figure"),
        ({"tolerance": -1.0}, "is no margin of error"),
        ({"period": 1999}, "periods are 2015 to 2035"),
        ({"reform_id": -1}, "a reform is above 0"),
        ({"variable": "person_count", "reform_id": 1}, "neutralises a variable in dollars"),
        ({"source": " "}, "the source has no name"),
        ({"url": "ftp://x"}, "is no web address"),
        ({"rules": (Constraint("agee", ">", "5"),)}, "'agee' is no variable of the engine; near it are"),
        ({"rules": (Constraint("state_fips", "==", "6"),)}, "names a place; give places with --place"),
        ({"rules": (Constraint("person_count", ">", "6"),)}, "looks at a count"),
        ({"rules": (Constraint("is_female", "==", "yes"),)}, "is true or false"),
        ({"rules": (Constraint("is_female", ">", "0"),)}, "is true or false"),
        ({"rules": (Constraint("filing_status", ">", "0"),)}, "filing_status is text"),
        ({"rules": (Constraint("age", "==", "True"),)}, "age is a number"),
        ({"rules": (Constraint("age", ">", "5"), Constraint("age", "<", "5"))}, "nothing satisfies"),
        ({"rules": (*ADULTS, *ADULTS)}, "given twice"),
    ],
)
def test_what_can_be_no_target(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(RENT, **change)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("age>=18", Constraint("age", ">=", "18")),
        (" age < 5 ", Constraint("age", "<", "5")),
        ("filing_status==HEAD OF HOUSE", Constraint("filing_status", "==", "HEAD OF HOUSE")),
        ("rent>-1e3", Constraint("rent", ">", "-1e3")),
    ],
)
def test_constraints_as_one_writes_them(text: str, rule: Constraint) -> None:
    assert constraint_of(text) == rule


@pytest.mark.parametrize("text", ["age", "age=18", "age>", ">=18", "age=>18", "", "18<age", "age<>18"])
def test_no_constraint(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no constraint|not a number"):
        constraint_of(text)


def test_a_place_out_of_scope_and_a_year_out_of_reach(db: Path) -> None:
    before = digest_path(db)
    with pytest.raises(ConfigError, match="has no stratum of CA"):
        add_target(db, db, replace(RENT, place=6), 2024)
    fixed = next(name for name, v in variables().items() if v.unit == "dollar" and not series_of(name))
    with pytest.raises(ConfigError, match=f"{fixed} of 2020 cannot be uprated to 2024: no series"):
        add_target(db, db, replace(RENT, variable=fixed, period=2020), 2024)
    assert digest_path(db) == before


def test_files_that_are_no_database(db: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no target database"):
        add_target(tmp_path / "absent.db", tmp_path / "absent.db", RENT, 2024)
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(ArtifactError, match="not a whole target database"):
        add_target(tmp_path / "text.db", tmp_path / "text.db", RENT, 2024)
    with pytest.raises(ConfigError, match="is there already"):
        add_target(db, tmp_path / "text.db", RENT, 2024)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.db", "text.db"]


def test_the_artifact_of_a_store_is_left_alone(small_db: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    artifact = store.path("targets/policy_data.db")
    artifact.parent.mkdir(parents=True)
    shutil.copy(small_db, artifact)
    store.commit(Manifest("targets/policy_data.db", digest_path(artifact), "x"))
    with pytest.raises(ArtifactError, match=r"is an artifact of the store .*root, which refuses .*; give --output NEWFILE"):
        add_target(artifact, artifact, RENT, 2024)
    add_target(artifact, tmp_path / "mine.db", RENT, 2024)
    assert store.verified("targets/policy_data.db")


@pytest.mark.parametrize("moment", ["geocal_core.store.os.replace", "geocal_core.targets.addition.load_targets"])
def test_a_kill_leaves_the_old_database_whole(db: Path, moment: str) -> None:
    before = digest_path(db)
    module, name = moment.rsplit(".", 1)
    owner = module if module.endswith("addition") else "os"
    script = (
        f"import os, signal, {owner} as owner\n"
        "from pathlib import Path\n"
        "from geocal_core.targets.addition import Addition, add_target\n"
        f"owner.{name} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"path = Path({str(db)!r})\n"
        "add_target(path, path, Addition('rent', 5e9, 2024, 16, 'IRS SOI'), 2024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert digest_path(db) == before
    add_target(db, db, RENT, 2024)
    assert [path.name for path in db.parent.iterdir()] == [db.name]


def test_two_additions_at_once_are_both_kept(db: Path) -> None:
    places = (0, 10, 11, 16, 1001, 1101, 1601, 1602)
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda place: add_target(db, db, replace(RENT, place=place), 2024), places))
    assert len(set(ids)) == len(places)
    targets, _ = stored_targets(db)
    assert sorted(targets.loc[targets["variable"] == "rent", "place"]) == sorted(places)


CONDITIONS = (
    *ADULTS,
    FILER,
    Constraint("is_female", "==", "True"),
    Constraint("snap", ">", "0"),
    Constraint("filing_status", "==", "JOINT"),
    Constraint("eitc_child_count", "!=", "2"),
)


@settings(max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    variable=st.sampled_from(("person_count", "tax_unit_count", "snap", "rent", "employment_income")),
    value=st.floats(0, 1e13, allow_subnormal=False),
    place=st.sampled_from((0, 10, 11, 16, 1001, 1101, 1601, 1602)),
    rules=st.sets(st.sampled_from(CONDITIONS), min_size=1),
    tolerance=st.none() | st.floats(0, 1e6),
)
def test_what_is_added_is_given_back(
    small_db: Path,
    tmp_path: Path,
    variable: str,
    value: float,
    place: int,
    rules: set[Constraint],
    tolerance: float | None,
) -> None:
    addition = Addition(variable, value, 2024, place, "IRS SOI", tuple(rules), tolerance=tolerance, notes="by hand")
    new = tmp_path / "new.db"
    new.unlink(missing_ok=True)
    level, code = level_of(place), "US" if place == 0 else str(place)
    if target_name(level, code, variable, 0, rules) in set(stored_targets(small_db)[0]["name"]):
        with pytest.raises(ConfigError, match="already.*give --replace"):
            add_target(small_db, new, addition, 2024)
        return
    target_id = add_target(small_db, new, addition, 2024)
    (listed,) = (row for row in targets_listed(new, Filter())[0] if row["target_id"] == target_id)
    assert (listed["variable"], listed["value"], listed["source"], listed["notes"]) == (variable, value, "IRS SOI", "by hand")
    assert listed["tolerance"] == tolerance if tolerance is not None else np.isnan(listed["tolerance"])
    added = compare(small_db, new, 2024)
    own = added[added["own"]]
    assert own["name"].tolist() == [listed["name"]]
    assert own["change"].tolist() == ["added"]
    told = dossier(new, listed["name"], 2024)
    assert told.splitlines()[0] == f"target {target_id}  {listed['name']}"
    assert addition.words in told
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
