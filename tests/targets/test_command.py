"""``geocal targets`` as its user types it: what it prints, what it refuses in one line, and that nothing is left half done."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from geocal_core.cli import main
from geocal_core.store import digest_path
from geocal_core.targets.consistency import find_contradictions
from geocal_core.targets.inventory import stored_targets
from geocal_core.targets.layout import LIMIT, WIDTH, Column, figure, laid_out, share, short
from geocal_core.targets.registry import tables
from geocal_core.targets.select import load_targets

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: object, status: int = 0) -> str:
    """What ``geocal targets`` prints."""
    assert main(["targets", *map(str, arguments)]) == status
    return capsys.readouterr().out.rstrip("\n")


def refused(capsys: Capture, *arguments: object) -> str:
    assert main(["targets", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    progress, error, message = captured.err.strip().rpartition("geocal: error: ")
    assert error
    assert progress == "" or progress.endswith("\n")
    return message


@pytest.fixture
def db(small_db: Path, tmp_path: Path) -> Path:
    """A database to write to."""
    return Path(shutil.copy(small_db, tmp_path / "own.db"))


def execute(db: Path, *statements: str) -> None:
    with closing(sqlite3.connect(db)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("action", ["", "build", "list", "show", "add", "check", "diff"])
def test_every_action_has_help(capsys: Capture, action: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["targets", *filter(None, [action]), "--help"])
    assert capsys.readouterr().out.startswith("usage: geocal targets")


def test_a_build_without_files_names_every_table(capsys: Capture, tmp_path: Path) -> None:
    """And what is pasted from the message would leave all of them out."""
    (tmp_path / "raw").mkdir()
    output = tmp_path / "policy_data.db"
    output.write_text("the old one")
    message = refused(capsys, "build", "--raw", tmp_path / "raw", "--output", output)
    first, *each = message.splitlines()
    pasted = first.split("--without ")[1].split()
    assert [line.split(":")[0].strip() for line in each] == pasted
    assert any("acs_S0101_national_2024.json is not below" in line for line in each)
    assert set(pasted) <= set(tables())
    assert {"census_acs_s0101", "irs_soi_district", "usda_snap"} <= set(pasted)
    assert f"{len(pasted)} tables cannot be built" in message
    assert output.read_text() == "the old one"
    left = refused(capsys, "build", "--raw", tmp_path / "raw", "--output", output, "--without", *tables())
    assert "every table is left out" in left
    assert "no table 'nonsense'" in refused(
        capsys, "build", "--raw", tmp_path / "raw", "--output", output, "--without", "nonsense"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy_data.db", "raw"]


def test_a_list_is_aligned_and_short(capsys: Capture, small_db: Path) -> None:
    lines = run(capsys, "list", small_db).splitlines()
    assert len(lines) == LIMIT + 2
    assert max(map(len, lines)) <= WIDTH
    targets, _ = load_targets(small_db, 2024)
    assert lines[-1] == f"… and {len(targets) - LIMIT:,} more"
    assert len(run(capsys, "list", small_db, "--limit", 0).splitlines()) == len(targets) + 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--variable", "snap"), lambda t: t["variable"] == "snap"),
        (("--level", "district"), lambda t: t["geo_level"] == "district"),
        (("--place", "ID-02"), lambda t: t["geographic_id"] == "1602"),
        (("--place", "16", "--source", "IRS SOI"), lambda t: (t["geographic_id"] == "16") & (t["source"] == "IRS SOI")),
        (("--domain", "eitc_child_count,eitc"), lambda t: t["domain_variable"] == "eitc,eitc_child_count"),
        (("--domain", ""), lambda t: t["domain_variable"] == ""),
    ],
)
def test_filters(capsys: Capture, small_db: Path, options: tuple[str, ...], expected: object) -> None:
    targets, _ = stored_targets(small_db)
    wanted = targets[expected(targets)]  # type: ignore[operator]
    rows = json.loads(run(capsys, "list", small_db, *options, "--format", "json"))
    assert len(rows) > 0
    assert [row["target_id"] for row in rows] == wanted["target_id"].tolist()
    assert [row["name"] for row in rows] == wanted["name"].tolist()
    table = list(csv.DictReader(io.StringIO(run(capsys, "list", small_db, *options, "--format", "csv"))))
    assert [float(row["value"]) for row in table] == wanted["value"].tolist()


def test_a_year_shows_what_a_calibration_takes(capsys: Capture, small_db: Path) -> None:
    taken, _ = load_targets(small_db, 2025)
    rows = json.loads(run(capsys, "list", small_db, "--year", "2025", "--format", "json"))
    assert {row["name"]: row["value"] for row in rows} == dict(zip(taken["name"], taken["value"], strict=True))
    assert {row["uprating_series"] for row in rows} == set(taken["uprating_series"])


def test_what_is_withheld_and_what_is_inactive(capsys: Capture, db: Path) -> None:
    assert run(capsys, "list", db, "--withheld") == "no target matches"
    execute(
        db,
        "UPDATE targets SET active = 0, value = NULL, notes = 'withheld: ''d'' in file' WHERE target_id = 3",
        "UPDATE targets SET active = 0 WHERE target_id = 4",
    )
    (row,) = json.loads(run(capsys, "list", db, "--withheld", "--format", "json"))
    assert (row["target_id"], row["value"], row["active"]) == (3, None, False)
    assert "withheld: 'd' in file" in run(capsys, "list", db, "--withheld")
    inactive = json.loads(run(capsys, "list", db, "--inactive", "--format", "json"))
    assert [row["target_id"] for row in inactive] == [3, 4]
    assert "inactive: the publisher gives no figure" in run(capsys, "show", db, 3)
    assert "inactive: it is left out of calibration" in run(capsys, "show", db, 4)


def test_counts_and_families_add_up(capsys: Capture, small_db: Path) -> None:
    targets, _ = stored_targets(small_db)
    total, *rows = json.loads(run(capsys, "list", small_db, "--counts", "--format", "json"))
    for level in ("national", "state", "district"):
        assert sum(row[level] for row in rows) == total[level] == (targets["geo_level"] == level).sum()
    assert total["total"] == len(targets)
    families = json.loads(run(capsys, "list", small_db, "--family", "--format", "json"))
    snap = next(row for row in families if row["variable"] == "snap")
    of_state = targets[(targets["variable"] == "snap") & (targets["geo_level"] == "state")]["value"]
    assert (snap["state_targets"], snap["state_sum"]) == (len(of_state), pytest.approx(of_state.sum()))
    assert sum(row[f"{level}_targets"] for row in families for level in ("national", "state", "district")) == len(targets)
    for how in ("--counts", "--family"):
        assert max(map(len, run(capsys, "list", small_db, how).splitlines())) <= WIDTH


def test_a_reader_may_stop_early(small_db: Path) -> None:
    command = [sys.executable, "-m", "geocal_core.cli", "targets", "list", str(small_db), "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "[\n"
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, "")


def test_names_that_are_not_there(capsys: Capture, small_db: Path, tmp_path: Path) -> None:
    assert "no target has the variable 'snapp'; near it are snap" in refused(capsys, "list", small_db, "--variable", "snapp")
    assert "near it are IRS SOI" in refused(capsys, "list", small_db, "--source", "IRS")
    assert "no state 'XX'" in refused(capsys, "list", small_db, "--place", "XX")
    assert "has no target 99999999; ids are 1 to" in refused(capsys, "show", small_db, "99999999")
    message = refused(capsys, "show", small_db, "state_16/snap/[snap>1]")
    assert "near it are state_16/snap/[snap>0]" in message
    assert "no target database" in refused(capsys, "list", tmp_path / "absent.db")
    assert "leave out --year" in refused(capsys, "list", small_db, "--counts", "--year", "2024")
    for action in (("list",), ("check",), ("show", "1"), ("diff", str(small_db))):
        (tmp_path / "text.db").write_text("not a database" * 100)
        name, *rest = action
        assert "is not a whole target database" in refused(capsys, name, tmp_path / "text.db", *rest)
    assert "cannot be uprated to 1990" in refused(capsys, "diff", small_db, small_db, "--year", 1990)


def test_show_tells_all(capsys: Capture, small_db: Path) -> None:
    told = run(capsys, "show", small_db, "ID-02/person_count/[age<5,age>-1]")
    assert told == run(capsys, "show", small_db, "cd_1602/person_count/[age<5,age>-1]")
    targets, _ = load_targets(small_db, 2024)
    values = targets.set_index("name")["value"]
    value, state = (values[f"{place}/person_count/[age<5,age>-1]"] for place in ("cd_1602", "state_16"))
    for words in (
        "persons aged 0 to 4 (age > -1 and age < 5) in Idaho's 2nd district",
        f"{value:,.0f} (margin of error 0, 0.0%) as published for 2024",
        "acs_S0101_district_2024.json  sha256 ",
        "Idaho's 2nd district: all",
        f"ID      {state:,.0f}, of which this is {value / state:.3%}",
    ):
        assert words in told, told
    state_told = run(capsys, "show", small_db, "state_16/person_count/[age<5,age>-1]")
    assert f"sum     {state:,.0f} over 2 districts of Idaho, equal to this" in state_told


def test_show_history(capsys: Capture, db: Path) -> None:
    run(
        capsys, "add", db, "--variable", "snap", "--value", 7, "--period", 2022, "--place", "ID",
        "--where", "snap>0", "--source", "IRS SOI",
    )  # fmt: skip
    told = run(capsys, "show", db, "ID/snap/[snap>0]")
    assert "as published for 2024" in told
    assert "history\n  2022                     7  target " in told
    older = next(row["target_id"] for row in json.loads(run(capsys, "list", db, "--format", "json")) if row["period"] == 2022)
    assert "not used for 2024: target " in run(capsys, "show", db, older)


def test_add_prints_what_it_added(capsys: Capture, db: Path, tmp_path: Path) -> None:
    options = ("--variable", "rent", "--value", "5e9", "--period", 2024, "--place", "ID", "--where", "age>=18", "age<65")
    told = run(capsys, "add", db, *options, "--source", "Idaho", "--url", "https://idaho.gov", "--output", tmp_path / "new.db")
    assert "rent in dollars of persons aged 18 to 64" in told or "rent in dollars of" in told
    assert told.splitlines()[-1] == f"written to {tmp_path / 'new.db'}"
    names = set(load_targets(tmp_path / "new.db", 2024)[0]["name"]) - set(load_targets(db, 2024)[0]["name"])
    assert names == {"state_16/rent/[age<65,age>=18]"}
    diff = run(capsys, "diff", db, tmp_path / "new.db")
    assert "file added: none (Idaho)" in diff
    assert "1 added, 0 removed, 0 changed (targets of 2024)" in diff


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--variable", "rnet"), "near it are"),
        (("--value", "nan"), "no figure"),
        (("--value", "1e308"), "no figure; give a number up to 1e15"),
        (("--tolerance", "1e308"), "no margin of error"),
        (("--where", "age=18"), "no constraint"),
        (("--where", "agee>18"), "'agee' is no variable"),
        (("--place", "XX"), "no state"),
        (("--place", "CA"), "no stratum of CA"),
        (("--source", "x"), "knows no source 'x'"),
        (("--period", "1066"), "periods are"),
        (("--place", "-6"), "no place '-6'"),
        (("--reform", str(10**20)), "a reform is above 0, at most"),
        (("--url", "http://["), "no web address"),
        (("--url", "https:///x"), "no web address"),
        (("--url", "https://a b"), "no web address"),
        (("--source", "two\nlines"), "not one line of text"),
        (("--notes", "two\nlines"), "not one line of text"),
    ],
)
def test_add_refuses(capsys: Capture, db: Path, options: tuple[str, ...], words: str) -> None:
    before = digest_path(db)
    given = {"--variable": "rent", "--value": "5", "--period": "2024", "--place": "ID", "--source": "IRS SOI"}
    given |= dict([options])
    assert words in refused(capsys, "add", db, *(f"{name}={value}" for name, value in given.items()))
    assert digest_path(db) == before
    assert [path.name for path in db.parent.iterdir()] == [db.name]


def test_check_prints_what_is_found(capsys: Capture, db: Path, tmp_path: Path) -> None:
    execute(db, "UPDATE targets SET value = value * 9 WHERE variable = 'snap' AND stratum_id IN "
                "(SELECT stratum_id FROM target_overview WHERE geo_level = 'national')")  # fmt: skip
    found = find_contradictions(db, 2024)
    assert any(not one.reconciled for one in found)
    rows = json.loads(run(capsys, "check", db, "--format", "json"))
    assert [(row["kind"], row["quantity"], row["reconciled"]) for row in rows] == [
        (one.kind, one.quantity, one.reconciled) for one in found
    ]
    of_levels = json.loads(run(capsys, "check", db, "--kind", "levels", "--format", "json"))
    assert of_levels == [row for row in rows if row["kind"] == "levels"]
    shown = run(capsys, "check", db)
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert found[0].quantity.split(":")[0] in shown
    table = run(capsys, "check", db, "--strict", status=1)
    assert "not reconciled)" in table.splitlines()[-1]
    output = tmp_path / "report.md"
    told = run(capsys, "check", db, "--format", "md", "--output", output, "--limit", 0)
    assert told.splitlines()[-1] == f"written to {output}"
    assert output.read_text().count("\n| ") == len(found)


def test_strict_passes_where_all_is_reconciled(capsys: Capture, small_db: Path) -> None:
    remaining = [one for one in find_contradictions(small_db, 2024) if not one.reconciled]
    run(capsys, "check", small_db, "--strict", status=1 if remaining else 0)


def test_diff_prints_the_same_in_every_form(capsys: Capture, small_db: Path, db: Path) -> None:
    execute(db, "UPDATE targets SET value = 2 * value WHERE variable = 'adjusted_gross_income'")
    rows = json.loads(run(capsys, "diff", small_db, db, "--format", "json"))
    table = run(capsys, "diff", small_db, db)
    assert max(map(len, table.splitlines())) <= WIDTH
    assert table.splitlines()[0].startswith(f"0 added, 0 removed, {len(rows)} changed")
    assert "+100.00%" in table
    assert run(capsys, "diff", small_db, db, "--format", "md", "--top", 1).splitlines()[-1] == f"… and {len(rows) - 1} more"
    assert run(capsys, "diff", small_db, small_db) == "0 added, 0 removed, 0 changed (targets of 2024)\nno target changed"


def test_a_table_cuts_the_middle_of_what_is_too_wide() -> None:
    row = {"name": "1<=adjusted_gross_income<10000, " * 4 + "end", "value": 1234567.0}
    columns = [Column("name", "name", shrinks=True), Column("value", "value", figure, right=True)]
    head, line = laid_out([row], columns, "table").splitlines()
    assert len(line) == WIDTH
    assert line.startswith("1<=adjusted")
    assert line.endswith("end  1,234,567")
    assert head.endswith("    value")
    assert laid_out([], columns, "csv") == ""
    assert laid_out([], columns, "json") == "[]"


@pytest.mark.parametrize("width", [60, 100, 200])
def test_what_tells_rows_apart_is_never_cut(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    quantities = [f"eitc and eitc [adjusted_gross_income>={n},eitc>0,tax_unit_is_filer==1]: sum of its states" for n in (1, 2)]
    rows = [{"quantity": quantity, "source": "a" * 300, "value": 5.0} for quantity in quantities]
    columns = [
        Column("quantity", "quantity", below=True),
        Column("source", "source", shrinks=True),
        Column("value", "value", figure, right=True),
    ]
    lines = laid_out(rows, columns, "table").splitlines()
    assert max(map(len, lines)) == width
    assert lines[0].split() == ["source", "value"]
    told = "".join(line.replace(" ", "") for line in lines)
    assert all(quantity.replace(" ", "") in told for quantity in quantities)


def test_wrong_files_in_place_of_a_database(capsys: Capture, db: Path, tmp_path: Path) -> None:
    folder, empty, other, older = (tmp_path / name for name in ("folder", "empty.db", "other.db", "older.db"))
    folder.mkdir()
    empty.touch()
    execute(other, "CREATE TABLE x (a)")
    shutil.copy(db, older)
    execute(older, "DROP TABLE sources", "DROP TABLE place_uprating")
    wrong = {folder: "is a folder", empty: "none of its tables", other: "none of its tables"}
    wrong[older] = "older.db is of another version of geocal: it lacks place_uprating, sources; build it again"
    added = ("--variable", "rent", "--value", 1, "--period", 2024, "--source", "IRS SOI")
    for path, words in wrong.items():
        for arguments in (("list", path), ("show", path, 1), ("check", path), ("diff", db, path), ("add", path, *added)):
            message = refused(capsys, *arguments)
            assert words in message
            assert str(path) in message


def test_a_report_never_replaces_a_folder_or_a_database(capsys: Capture, db: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_text("precious")
    before = digest_path(db)
    for output in (tmp_path / "home", db):
        assert "give --output another file" in refused(capsys, "check", db, "--output", output)
    assert (tmp_path / "home" / "file").read_text() == "precious"
    assert digest_path(db) == before


def test_a_terminal_without_unicode(small_db: Path) -> None:
    command = [sys.executable, "-m", "geocal_core.cli", "targets", "list", str(small_db), "--limit", "1"]
    told = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert told.stdout.splitlines()[-1].startswith(b"\\u2026 and ")


def test_numbers_as_they_are_shown() -> None:
    assert [figure(value) for value in (None, float("nan"), 0.0, 3.0, 0.12344, 99.5, 1e12)] == [
        *("-", "-", "0", "3", "0.1234", "99.5", "1,000,000,000,000"),
    ]
    assert [short(value) for value in (None, 12.0, 22_177_091.0, 93.6579e9, -2e12)] == [
        *("-", "12", "22.177M", "93.658B", "-2.000T"),
    ]
    assert [share(value) for value in (float("nan"), 0.5, -1.0)] == ["-", "+50.00%", "-100.00%"]


@pytest.mark.raw
def test_the_published_database(capsys: Capture, published_db: Path) -> None:
    told = run(capsys, "show", published_db, "CA-12/person_count/[age<5,age>-1]")
    assert "persons aged 0 to 4 (age > -1 and age < 5) in California's 12th district" in told
    families = json.loads(run(capsys, "list", published_db, "--family", "--domain", "age", "--format", "json"))
    ages = [row for row in families if row["variable"] == "person_count"]
    assert sum(row["national_sum"] for row in ages) == 340_110_990
    assert {row["district_targets"] for row in ages} == {436}
    checked = json.loads(run(capsys, "check", published_db, "--kind", "levels", "--format", "json"))
    california = next(row for row in checked if row["place"] == "CA" and row["quantity"].startswith("household_count [snap>0]"))
    assert california["follows"] == "USDA FNS SNAP"
    assert california["reconciled"]
