"""Spoilt agency files: one line that names the file and the place, never a wrong number in silence."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocal_core.errors import ConfigError, GeocalError, InputError
from geocal_core.progress import Silent
from geocal_core.targets.build import build_database
from geocal_core.targets.files import RawFiles, read_member
from geocal_core.targets.select import load_targets
from tests.targets import agency_files as files
from tests.targets.conftest import SETTINGS

NATION, STATE, DISTRICT = (f"acs_S0101_{level}_2024.json" for level in ("national", "state", "district"))
SNAP = "acs_S2201_district_2024.json"
ZIP = "snap-zip-fy69tocurrent-6.zip"
SOI, SOI_DISTRICT = "24in55cmcsv.csv", "24incd.csv"
BIN = "S0101_C01_007E"


def _refused(folder: Path, tmp_path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        build_database(folder, tmp_path / "x.db", SETTINGS, Silent())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize("name", [NATION, STATE, DISTRICT, SNAP, ZIP, SOI, SOI_DISTRICT])
def test_missing(agencies: Path, tmp_path: Path, name: str) -> None:
    (agencies / name).unlink()
    words = {ZIP: "snap-zip", SOI: r"in55cmcsv\.csv", SOI_DISTRICT: r"incd\.csv"}.get(name, re.escape(name))
    _refused(agencies, tmp_path, words)


@pytest.mark.parametrize("name", [NATION, STATE, DISTRICT, SNAP, ZIP, SOI, SOI_DISTRICT])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"  \n",
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b"\xef\xbb\xbf<html></html>",
        b"\xff\xfe\x00\x01binary",
        b"null",
        b"[[]]",
        b'[["GEO_ID"], ["x", "y"]]',
        b'STATE,"AGI_STUB\n',
        b"PK\x03\x04 cut",
    ],
)
def test_something_else_in_its_place(agencies: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (agencies / name).write_bytes(content)
    _refused(agencies, tmp_path, re.escape(name))


@pytest.mark.parametrize("name", [NATION, STATE, DISTRICT, SNAP, ZIP])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated(agencies: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (agencies / name).read_bytes()
    (agencies / name).write_bytes(content[: int(len(content) * share)])
    _refused(agencies, tmp_path, re.escape(name))


@pytest.mark.parametrize("name", [SOI, SOI_DISTRICT])
@pytest.mark.parametrize("lost", [1, 5, 20])
def test_truncated_table(agencies: Path, tmp_path: Path, name: str, lost: int) -> None:
    """Whole lines lost at the end of a csv file, and half a line."""
    lines = (agencies / name).read_text(encoding="utf-8").splitlines(keepends=True)
    (agencies / name).write_text("".join(lines[:-lost]), encoding="utf-8")
    _refused(agencies, tmp_path, re.escape(name) if name != SOI or lost < 12 else "24in")
    (agencies / name).write_text("".join(lines[:-lost]) + lines[-lost][:9], encoding="utf-8")
    _refused(agencies, tmp_path, re.escape(name))


def _in_api(name: str, row: int, column: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = files.read_api(folder / name)
        rows[row][column] = value
        files.write_api(folder / name, rows)

    return change


def _api_rows(name: str, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Callable[[Path], None]:
    return lambda folder: files.write_api(folder / name, edit(files.read_api(folder / name)))


def _without(column: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [{key: value for key, value in row.items() if key != column} for row in rows]


@pytest.mark.parametrize(
    "mark", ["-888888888", "-666666666", "X", "(X)", "**", "N", "", None, "1,2", "12.5", "1e3", "１２", True, [1]]
)
@pytest.mark.parametrize(("name", "row", "column", "where"), [(STATE, 1, BIN, "row 2"), (SNAP, 2, "S2201_C03_001E", "row 3")])
def test_marks_in_place_of_numbers(
    agencies: Path, tmp_path: Path, name: str, row: int, column: str, where: str, mark: Any
) -> None:
    _in_api(name, row, column, mark)(agencies)
    _refused(agencies, tmp_path, rf"{re.escape(name)}, {where} \(.*\), column {column} holds")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_api_rows(STATE, _without(BIN)), rf"{STATE}, row 1 \(Delaware\) has no column {BIN}"),
        (_api_rows(STATE, _without("S0101_C01_007M")), f"{STATE}.*has no column S0101_C01_007M"),
        (_api_rows(STATE, _without("state")), f"{STATE}.*has no column state"),
        (_api_rows(NATION, _without("GEO_ID")), f"{NATION}.*has no column GEO_ID"),
        (_api_rows(NATION, _without("NAME")), f"{NATION}, row 1 has no column NAME"),
        (_api_rows(DISTRICT, _without("congressional district")), f"{DISTRICT}.*has no column congressional district"),
        (_api_rows(SNAP, _without("S2201_C01_001E")), f"{SNAP}.*has no column S2201_C01_001E"),
        (_api_rows(STATE, lambda rows: [*rows, rows[0]]), rf"{STATE}, row 5 \(Delaware\) is there twice"),
        (_api_rows(STATE, lambda rows: rows[1:]), f"{STATE} lacks Delaware"),
        (_api_rows(DISTRICT, lambda rows: [r for r in rows if r["congressional district"] != "02"]), "lacks the district 1602"),
        (_api_rows(NATION, lambda rows: rows * 2), "is there twice"),
        (_in_api(STATE, 0, "state", "03"), "column state holds 3, which is no state"),
        (_in_api(STATE, 0, "GEO_ID", "5001900US1000"), "which is no state"),
        (_in_api(DISTRICT, 0, "GEO_ID", "5001800US1000"), "which is no district of the 119th Congress"),
        (_in_api(DISTRICT, 3, "congressional district", "03"), "'03', which the 119th Congress has not"),
        (_in_api(DISTRICT, 3, "congressional district", "00"), "'00', which the 119th Congress has not"),
        (_in_api(DISTRICT, 0, "congressional district", "98"), "'98', which the 119th Congress has not"),
        (_in_api(STATE, 1, BIN, "999999"), "the 18 age bins do not add up to the total"),
        (_in_api(STATE, 1, "S0101_C01_001E", "5"), "the 18 age bins do not add up to the total"),
        (_in_api(SNAP, 1, "S2201_C03_001E", "7001"), "exceeds all households"),
    ],
)
def test_spoilt_census_tables(agencies: Path, tmp_path: Path, change: Callable[[Path], None], words: str) -> None:
    change(agencies)
    _refused(agencies, tmp_path, words)


def test_levels_of_different_releases(agencies: Path, tmp_path: Path) -> None:
    """A district whose bins add up to its total, but not with its neighbour to the state."""
    rows = files.read_api(agencies / DISTRICT)
    for column in (BIN, "S0101_C01_001E"):
        rows[2][column] = str(int(rows[2][column]) + 1)
    files.write_api(agencies / DISTRICT, rows)
    _refused(
        agencies, tmp_path, r"Census ACS S0101: person_count \[age<30,age>24\] of 2024 adds up to .* over the parts of state 16"
    )


def test_a_table_of_returns_under_two_years(agencies: Path, tmp_path: Path) -> None:
    (agencies / "23in55cmcsv.csv").write_bytes((agencies / SOI).read_bytes())
    _refused(agencies, tmp_path, "24in55cmcsv.csv has the content of 23in55cmcsv.csv, which is of another year")


def test_two_files_of_one_name(agencies: Path, tmp_path: Path) -> None:
    (agencies / "old").mkdir()
    (agencies / "old" / STATE).write_text("[]")
    _refused(agencies, tmp_path, f"{STATE} is there twice, with different content")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        build_database(tmp_path / "absent", tmp_path / "x.db", SETTINGS, Silent())


def _sheet(edit: Callable[[openpyxl.Workbook], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        book = files.workbook(2024)
        edit(book)
        files.write_workbook(folder / ZIP, 2024, book)

    return change


def _cell(sheet: str, label: str, column: int, value: Any, *, nth: int = 0) -> Callable[[openpyxl.Workbook], None]:
    def edit(book: openpyxl.Workbook) -> None:
        rows = [row for row in book[sheet].iter_rows() if row[0].value == label]
        rows[nth][column].value = value

    return edit


def _drop(sheet: str, label: str, nth: int = 0) -> Callable[[openpyxl.Workbook], None]:
    def edit(book: openpyxl.Workbook) -> None:
        rows = [row[0].row for row in book[sheet].iter_rows() if row[0].value == label]
        book[sheet].delete_rows(rows[nth])

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda book: book.remove(book["US Summary"]), "FY24.xlsx has no sheet US Summary"),
        (lambda book: book.remove(book["WRO"]), "FY24.xlsx lacks Idaho"),
        (_cell("WRO", "Total", 1, 99.0, nth=1), r"FY24.xlsx, sheet WRO, row 35: the Total of Idaho does not agree"),
        (_cell("WRO", "Total", 3, 99.0, nth=1), "the Total of Idaho does not agree"),
        (_cell("WRO", "Jan 2024", 3, "X", nth=1), "sheet WRO, row 26, column Cost holds 'X', which is not a number"),
        (_cell("WRO", "Jan 2024", 1, -5, nth=1), "sheet WRO, row 26, column Household holds -5: below zero"),
        (_cell("WRO", "Jan 2024", 1, "--", nth=1), "column Household holds '--'"),
        (_cell("WRO", "Jan 2024", 0, "Jan 2023", nth=1), "row 26, column A holds 'Jan 2023'"),
        (_cell("WRO", "Idaho", 0, "Idahoe"), "'Idahoe' is no state and no territory"),
        (_cell("WRO", "Idaho", 0, "Delaware"), "Delaware is there twice"),
        (_cell("WRO", "Idaho", 0, None), r"row 35: .*is no state and no territory"),
        (_drop("WRO", "Mar 2024", 1), "Idaho has 11 months instead of 12"),
        (_drop("WRO", "Total", 1), "column A holds 'WRO'"),
        (_drop("WRO", "Total", 2), "the block of WRO has no row Total"),
        (_cell("WRO", "Fiscal Year and Month", 3, "Costs"), "sheet WRO has no header"),
        (_cell("WRO", None, 1, "Persons"), "sheet WRO has no header|first column below Participation"),
        (_cell("US Summary", "Total", 1, 99.0), "the Total of US Summary does not agree"),
    ],
)
def test_spoilt_workbook(agencies: Path, tmp_path: Path, edit: Callable[[openpyxl.Workbook], None], words: str) -> None:
    _sheet(edit)(agencies)
    _refused(agencies, tmp_path, words)


def test_summary_of_another_release(agencies: Path, tmp_path: Path) -> None:
    """Months and total of the summary agree with each other, but not with the states."""

    def edit(book: openpyxl.Workbook) -> None:
        for row in book["US Summary"].iter_rows(min_row=8):
            if isinstance(row[1].value, float):
                row[1].value += 100

    _sheet(edit)(agencies)
    _refused(agencies, tmp_path, "households of states and territories add up to")


def test_workbook_of_another_year(agencies: Path, tmp_path: Path) -> None:
    files.write_workbook(agencies / ZIP, 2023)
    _refused(agencies, tmp_path, r"has no FY24\.xlsx; .*this one has FY23\.xlsx")
    files.write_workbook(agencies / ZIP, 2024, files.workbook(2023))
    _refused(agencies, tmp_path, "does not say that it is of fiscal year 2024")


@pytest.mark.parametrize("content", [b"", b"not a workbook", b"PK\x03\x04"])
def test_member_that_is_no_workbook(agencies: Path, tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(agencies / ZIP, "w") as archive:
        archive.writestr("FY24.xlsx", content)
    _refused(agencies, tmp_path, ZIP)


def test_two_zips(agencies: Path, tmp_path: Path) -> None:
    files.write_workbook(agencies / "snap-zip-fy69tocurrent-5.zip", 2024)
    _refused(agencies, tmp_path, "one snap-zip.* is wanted")


def _in_csv(name: str, line: int, column: str, value: str) -> Callable[[Path], None]:
    """Change a cell; the header is line 0."""

    def change(folder: Path) -> None:
        frame = _lines(folder / name)
        frame[line][[cell.upper() for cell in frame[0]].index(column)] = value
        text = "\n".join(",".join(f'"{cell}"' for cell in cells) for cells in frame)
        (folder / name).write_text(text + "\n")

    return change


def _lines(path: Path) -> list[list[str]]:
    import csv

    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("mark", ["X", "**", "[d]", "", "-10", "1,00", "12.5", "nan", "inf"])
@pytest.mark.parametrize(("name", "line"), [(SOI, 13), (SOI_DISTRICT, 3)])
def test_marks_in_tables_of_returns(agencies: Path, tmp_path: Path, name: str, line: int, mark: str) -> None:
    _in_csv(name, line, "N1", mark)(agencies)
    _refused(agencies, tmp_path, rf"{re.escape(name)}, line {line + 1}, column N1 holds")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_in_csv(SOI, 0, "A00100", "A00101"), "24in55cmcsv.csv has no column A00100"),
        (_in_csv(SOI, 0, "A59660", "A00100"), "has the column A00100 twice"),
        (_in_csv(SOI_DISTRICT, 0, "CONG_DISTRICT", "CD"), "24incd.csv has no column CONG_DISTRICT"),
        (_in_csv(SOI, 13, "STATE", "XX"), "DE has not AGI_STUB 0 to 10"),
        (_in_csv(SOI, 13, "AGI_STUB", "3"), "AGI_STUB 3 of DE is there twice"),
        (_in_csv(SOI, 13, "AGI_STUB", "11"), "DE has not AGI_STUB 0 to 10"),
        (_in_csv(SOI, 13, "N1", "999,990"), "DE: column N1 of the AGI_STUBs does not add up"),
        (_in_csv(SOI, 13, "A00100", "999,990"), "DE: column A00100 of the AGI_STUBs does not add up"),
        (_in_csv(SOI, 12, "N59662", "999,990"), "DE: column N59662 of the AGI_STUBs does not add up"),
        (_in_csv(SOI, 14, "A18460", "99,999"), "DE: column A18460 of the AGI_STUBs does not add up"),
        (_in_csv(SOI, 14, "N85770", "12.5"), "24in55cmcsv.csv, line 15, column N85770 holds 12.5, which is not a whole number"),
        (_in_csv(SOI, 14, "N02300", "**"), r"line 15, column N02300 holds '\*\*', which is not a number"),
        (_in_csv(SOI, 14, "A02300", "-5"), "line 15, column A02300 holds -5: below zero"),
        (_in_csv(SOI, 12, "A59662", "999,990"), r"column A59660 neither in dollars nor in thousands"),
        (_in_csv(SOI, 12, "A59662", "-5"), "column A59662 holds -5: below zero"),
        (_in_csv(SOI_DISTRICT, 21, "CONG_DISTRICT", "3"), "24incd.csv"),
    ],
)
def test_spoilt_tables_of_returns(agencies: Path, tmp_path: Path, change: Callable[[Path], None], words: str) -> None:
    change(agencies)
    _refused(agencies, tmp_path, words)


@pytest.mark.parametrize(
    ("code", "old", "new", "words"),
    [
        ("ID", "2", "3", "lacks Idaho district 2"),
        ("DE", "0", "2", r"Delaware has the districts \[2\] instead of the one of the 119th Congress"),
        ("DC", "0", "97", r"District of Columbia has the districts \[97\] instead of the one of the 119th Congress"),
    ],
)
def test_districts_of_another_congress(agencies: Path, tmp_path: Path, code: str, old: str, new: str, words: str) -> None:
    rows = files.district_rows(True)
    for row in rows:
        if (row["STATE"], row["CONG_DISTRICT"]) == (code, old):
            row["CONG_DISTRICT"] = new
    files.write_csv(agencies / SOI_DISTRICT, rows)
    _refused(agencies, tmp_path, words)


def test_a_district_too_many(agencies: Path, tmp_path: Path) -> None:
    rows = files.district_rows(True)
    rows += [{**row, "CONG_DISTRICT": "3"} for row in rows if (row["STATE"], row["CONG_DISTRICT"]) == ("ID", "2")]
    files.write_csv(agencies / SOI_DISTRICT, rows)
    _refused(agencies, tmp_path, "is not of the 119th Congress: it has Idaho district 3")


def test_district_file_of_an_earlier_congress(agencies: Path, tmp_path: Path) -> None:
    (agencies / SOI_DISTRICT).rename(agencies / "22incd.csv")
    _refused(agencies, tmp_path, "no crosswalk from the 117th to the 119th Congress is below")
    (agencies / "22incd.csv").rename(agencies / "23incd.csv")
    _refused(agencies, tmp_path, "23incd.csv: the Congress whose districts a file of tax year 2023 has is not known")


def test_district_and_state_tables_of_different_releases(agencies: Path, tmp_path: Path) -> None:
    rows = files.state_rows()
    for row in rows:
        if row["STATE"] in ("US", "DE"):
            factor = 5000
            row["N1"] += factor * (10 if row["agi_stub"] == "0" else 1)
    files.write_csv(agencies / SOI, rows)
    _refused(agencies, tmp_path, "IRS SOI: tax_unit_count .* adds up to .* over the parts of state 10")


def test_returns_without_a_district_may_be_left_out(agencies: Path, tmp_path: Path) -> None:
    """One percent of Delaware's returns is in the state file and in no district."""
    rows = files.state_rows()
    for row in rows:
        if row["STATE"] in ("US", "DE"):
            row["N1"] += {"0": 60, "7": 30, "8": 30}.get(row["agi_stub"], 0)
    files.write_csv(agencies / SOI, rows)
    build_database(agencies, tmp_path / "x.db", SETTINGS, Silent())


def test_the_same_content_under_two_years(tmp_path: Path) -> None:
    """A table that says nowhere of which year it is, fetched twice: one of the two names is wrong."""
    for year in (2022, 2023):
        (tmp_path / f"table_{year}.csv").write_text("the same")
    with pytest.raises(InputError, match=r"table_2023\.csv has the content of table_2022\.csv, which is of another year"):
        RawFiles(tmp_path).latest(r"table_(\d{4})\.csv", 2024, "a_table")
    (tmp_path / "table_2022.csv").write_text("another")
    assert RawFiles(tmp_path).latest(r"table_(\d{4})\.csv", 2024, "a_table")[1] == 2023


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "x.zip is empty"), (b" \n", "x.zip is empty"), (b"\xef\xbb\xbf\n<html>", "x.zip is a web page, not the zip")],
)
def test_no_zip(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_member(tmp_path / "x.zip", "member")


def test_a_selection_is_read_before_the_files(agencies: Path, tmp_path: Path) -> None:
    told = Silent()
    with pytest.raises(ConfigError, match="no selection of targets 'nonsense'"):
        build_database(agencies, tmp_path / "x.db", replace(SETTINGS, selection="nonsense"), told)
    assert told.messages == []


def test_later_and_earlier_years(agencies: Path, tmp_path: Path) -> None:
    """Of several years, the latest not after the wanted one is read; a later one alone is refused."""
    rows = files.state_rows()
    files.write_csv(agencies / "25in55cmcsv.csv", rows[:-1])
    (agencies / "23in55cmcsv.csv").write_text("spoilt, but not read")
    build_database(agencies, tmp_path / "y.db", SETTINGS, Silent())
    targets, _ = load_targets(tmp_path / "y.db", 2024)
    assert set(targets["period"]) == {2024}
    (agencies / SOI).unlink()
    (agencies / "23in55cmcsv.csv").unlink()
    _refused(agencies, tmp_path, "there is 25in55cmcsv.csv")


@dataclass(frozen=True, repr=False)
class Whole:
    """The small nation's files, and the numbers that they give."""

    folder: Path
    contents: dict[str, bytes]
    numbers: dict[str, float]


def _numbers(folder: Path, database: Path) -> dict[str, float]:
    build_database(folder, database, SETTINGS, Silent())
    targets, _ = load_targets(database, 2024)
    return dict(zip(targets["name"], targets["value"], strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = files.write_all(tmp_path_factory.mktemp("fuzz") / "agencies")
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    return Whole(folder, contents, _numbers(folder, folder.parent / "whole.db"))


def _unseen(name: str) -> float:
    """What a damaged digit may do unseen: hidden by the publisher's rounding, or in a survey that has no second source."""
    variable = name.split("/")[1]
    if "tax_unit_is_filer" in name:
        return 130.0 if variable.endswith("_count") else 2_000_000.0 if variable == "eitc" else 13_000.0
    return 7000.0 if variable == "household_count" else 0.0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_change_a_number_unseen(whole: Whole, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes overwritten, removed or doubled in any file: refused, or the same numbers but for what rounding hides."""
    name = data.draw(st.sampled_from(sorted(whole.contents)))
    content = whole.contents[name]
    start = data.draw(st.integers(0, len(content) - 1))
    length = data.draw(st.sampled_from((1, 2, 7, 100)))
    put = data.draw(
        st.one_of(st.binary(max_size=8), st.sampled_from((b"0", b"9")), st.just(content[start : start + length] * 2))
    )
    (whole.folder / name).write_bytes(content[:start] + put + content[start + length :])
    message, found = "", whole.numbers
    try:
        found = _numbers(whole.folder, tmp_path / "fuzz.db")
    except GeocalError as error:
        message = str(error)
    finally:
        (whole.folder / name).write_bytes(content)
    assert "\n" not in message
    assert set(found) == set(whole.numbers)
    for key, value in found.items():
        assert abs(value - whole.numbers[key]) <= _unseen(key), key


def test_numbers_in_json_may_be_numbers(agencies: Path, tmp_path: Path) -> None:
    rows = json.loads((agencies / NATION).read_text())
    rows[1] = [int(cell) if isinstance(cell, str) and re.fullmatch(r"-?\d+", cell) else cell for cell in rows[1]]
    (agencies / NATION).write_text(json.dumps(rows))
    assert build_database(agencies, tmp_path / "x.db", SETTINGS, Silent())["targets"] == files.TARGETS
