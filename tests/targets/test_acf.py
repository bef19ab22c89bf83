"""TANF: the real workbooks against their totals and against openpyxl, other years, damaged and moved workbooks."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocal_core.errors import GeocalError, InputError
from geocal_core.places.states import STATES
from geocal_core.targets.agencies import acf
from geocal_core.targets.figures import NATION, Figure, Scope
from geocal_core.targets.files import RawFiles

CASELOAD, FINANCIAL = "tanf_caseload_{year}.xlsx", "fy-{year}-tanf-moe-financial-data.xlsx"
FUNDS = ("Federal Funds", "State MOE in TANF and Separate State Programs", "All Funds", "Percent of Total Funds Used")
REST = "Relative Foster Care Maintenance Payments and Adoption and Guardianship Subsidies"
FEW = Scope.of(2024, ("DE", "DC", "ID"))
NAMES = ("Delaware", "District of Columbia", "Idaho", "Guam")
Rows = list[list[Any]]

pytestmark = pytest.mark.filterwarnings("ignore:Cannot parse header")


def read(folder: Path, table: int, scope: Scope = FEW) -> list[Figure]:
    return acf.TABLES[table].read(RawFiles(folder), scope)


def values(figures: list[Figure]) -> dict[int, float | None]:
    return {figure.place: figure.value for figure in figures}


def families(index: int, month: int) -> int:
    return 1000 + 100 * index + month


def caseload(year: int = 2024, *, texts: bool = False) -> Rows:
    months = [datetime.datetime(year - (m > 9), m, 1) for m in (10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    heads: list[Any] = [f"{month:%b-%y}" for month in months] if texts else list(months)
    parts = [[families(index, month) for month in range(12)] for index in range(len(NAMES))]
    whole = [sum(column) for column in zip(*parts, strict=True)]
    rows = [["U.S. Totals", *whole, sum(whole) / 12], *([n, *p, sum(p) / 12] for n, p in zip(NAMES, parts, strict=True))]
    return [
        ["TANF:  Total Number of Families"],
        [f"Fiscal Year {year}"],
        ["State", *heads, f"Average\nFY {year}"],
        *rows,
        [None],
        ["Notes: "],
    ]


def financial(name: str, index: int, year: int = 2024) -> Rows:
    federal, of_state, rest = 100.25 * index, 50.5 * index, 7.0 * index
    return [
        [f"{name}: Federal TANF and State MOE Expenditures Summary by ACF-196R Spending Category, FY {year}"],
        ["Spending Category", *FUNDS],
        ["Basic Assistance", federal + rest, of_state, federal + of_state + rest, 0.2],
        [f"Basic Assistance (excluding {REST})", federal, of_state, federal + of_state, 0.2],
        [REST, rest, 0, rest, 0.1],
        ["Foster Care Payments", 5, None, 5, 0.1],
    ]


def save(path: Path, sheets: dict[str, Rows]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def all_sheets(year: int = 2024) -> dict[str, Rows]:
    return {
        "Reader's Guide": [["Guide"]],
        "A.1 Fed & State by Category": financial("A.1.", 6, year),
        "Delaware": financial("Delaware", 1, year),
        "DC": financial("District of Columbia", 2, year),
        "Idaho": financial("Idaho", 3, year),
    }


def write(folder: Path, year: int = 2024) -> Path:
    save(folder / CASELOAD.format(year=year), {"List of Tables": [["x"]], "TFam": caseload(year)})
    save(folder / FINANCIAL.format(year=year), all_sheets(year))
    return folder


@pytest.mark.raw
def test_the_real_workbooks(raw_folder: Path) -> None:
    scope = Scope(2024, STATES)
    counted, paid = values(read(raw_folder, 0, scope)), values(read(raw_folder, 1, scope))
    assert len(counted) == len(paid) == 52
    assert paid[NATION] == pytest.approx(7_788_317_474.55, abs=0.005)
    assert sum(value or 0.0 for place, value in paid.items() if place) == pytest.approx(7_788_317_474.55, abs=0.01)
    sheet = openpyxl.load_workbook(raw_folder / "acf" / "tanf_caseload_2024.xlsx", data_only=True)["TFam"]
    averages = {row[0]: row[13] for row in sheet.iter_rows(values_only=True) if isinstance(row[13], int | float)}
    assert averages["U.S. Totals"] == pytest.approx(841_208.67, abs=0.005)
    beyond = sum(averages[name] for name in ("Guam", "Puerto Rico", "Virgin Islands"))
    assert counted[NATION] == pytest.approx(averages["U.S. Totals"] - beyond) == pytest.approx(838_584.75)
    assert {state.fips: averages[state.name] for state in STATES} == {p: v for p, v in counted.items() if p}
    book = openpyxl.load_workbook(raw_folder / "acf" / "fy-2024-tanf-moe-financial-data.xlsx", data_only=True)
    for state in STATES:
        rows = book["DC" if state.code == "DC" else state.name].iter_rows(values_only=True)
        assert [row[3] for row in rows if str(row[0]).startswith("Basic Assistance (ex")] == [paid[state.fips]]


def test_the_small_workbooks(tmp_path: Path) -> None:
    write(tmp_path)
    counted, paid = read(tmp_path, 0), read(tmp_path, 1)
    average = [sum(families(index, month) for month in range(12)) / 12 for index in range(4)]
    assert values(counted) == {0: sum(average[:3]), 10: average[0], 11: average[1], 16: average[2]}
    assert values(paid) == {0: 6 * 150.75, 10: 150.75, 11: 301.5, 16: 452.25}
    assert counted[0].notes is not None
    assert "less Guam" in counted[0].notes
    assert {f.variable for f in (*counted, *paid)} == {"spm_unit_count", "tanf"}


def test_another_year_with_everything_moved(tmp_path: Path) -> None:
    """Two years later: months written as texts, rows above, a column between, sheets in another order, footnote marks."""
    rows = caseload(2026, texts=True)
    header = next(index for index, row in enumerate(rows) if row[0] == "State")
    moved = [[*row[:5], None, *row[5:]] if index >= header else row for index, row in enumerate(rows)]
    moved[header + 2][0] = "Delaware *"
    moved[header + 3][0] = "District of Columbia 1/"
    save(tmp_path / CASELOAD.format(year=2026), {"Notes": [["x"]], "TFam": [["as of May"], *moved]})
    sheets = {
        title: [row if index < 1 else [row[0], "x", *row[1:]] for index, row in enumerate(rows)]
        for title, rows in all_sheets(2026).items()
    }
    for rows in sheets.values():
        rows.insert(1, [None])
    save(tmp_path / FINANCIAL.format(year=2026), dict(reversed(list(sheets.items()))))
    write(tmp_path / "before")
    later = Scope.of(2027, ("DE", "DC", "ID"))
    for table in (0, 1):
        found, before = read(tmp_path, table, later), read(tmp_path / "before", table)
        assert values(found) == values(before)
        assert {figure.period for figure in found} == {2026}


Change = Callable[[Rows], None]


def cell(row: int, column: int, value: Any) -> Change:
    def change(rows: Rows) -> None:
        rows[row][column] = value

    return change


def drop(row: int) -> Change:
    return lambda rows: rows.pop(row) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cell(5, 3, "5,916 [a]"), r"TFam, row 6, column 2023-12 holds '5,916 \[a\]'"),
        (cell(5, 3, "*"), r"row 6, column 2023-12 holds '\*'"),
        (cell(5, 3, None), "row 6, column 2023-12 holds None"),
        (cell(5, 3, 4000), r"row 6: the average .* is not that of its months"),
        (cell(5, 13, 1200), r"row 6: the average 1200 is not that of its months"),
        (cell(4, 0, "Delawhere"), "row 5, column State holds 'Delawhere'"),
        (cell(5, 0, "Delaware"), "row 6: Delaware is there twice"),
        (cell(3, 0, "Total"), "row 4, column State holds 'Total'"),
        (cell(1, 0, "Fiscal Year 2023"), "does not say that it is of fiscal year 2024"),
        (cell(2, 3, "families"), r"row 3 has not one column for each month of fiscal year 2024 .*see 12/2023"),
        (cell(2, 13, "Average FY 2023"), "row 3 has not one column"),
        (cell(2, 0, "Place"), "has no row with 'State'"),
        (drop(3), "has no row U.S. Totals"),
        (drop(4), "TFam lacks Delaware"),
        (drop(7), "states and territories add up to"),
    ],
)
def test_a_spoilt_caseload(tmp_path: Path, change: Change, words: str) -> None:
    rows = caseload()
    change(rows)
    save(tmp_path / CASELOAD.format(year=2024), {"TFam": rows})
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, 0)
    assert "tanf_caseload_2024.xlsx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sheet", "change", "words"),
    [
        ("Idaho", cell(3, 3, "452.25 1/"), r"sheet Idaho, row 4, column All Funds holds '452.25 1/'"),
        ("Idaho", cell(3, 3, 452), "row 4: Federal Funds and State MOE .* do not add up to All Funds"),
        ("Idaho", cell(2, 3, 999), "row 3: Federal Funds and State MOE"),
        ("Idaho", cell(4, 1, None), "row 5, column Federal Funds holds None"),
        ("Idaho", cell(3, 0, "Assistance"), r"no line 'Basic Assistance \(excluding'"),
        ("Idaho", cell(5, 0, "Basic Assistance"), "row 6: the line 'Basic Assistance' is there twice"),
        ("Idaho", cell(1, 3, "Funds"), "no row with 'Spending Category'"),
        ("Idaho", lambda rows: rows.__setitem__(0, financial("Idaho", 3, 2023)[0]), "is of fiscal year 2023, not 2024"),
        ("Idaho", lambda rows: rows.__setitem__(0, ["Idaho"]), "lacks Idaho"),
        ("Idaho", lambda rows: rows.__setitem__(0, financial("Delaware", 3)[0]), "Delaware is there twice"),
        ("Idaho", lambda rows: rows.__setitem__(slice(None), financial("Idaho", 4)), "the states add up to"),
        ("A.1 Fed & State by Category", lambda rows: rows.__setitem__(0, ["A.1"]), "no sheet A.1 of the nation"),
    ],
)
def test_a_spoilt_financial_workbook(tmp_path: Path, sheet: str, change: Change, words: str) -> None:
    sheets = all_sheets()
    change(sheets[sheet])
    save(tmp_path / FINANCIAL.format(year=2024), sheets)
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, 1)
    assert "fy-2024-tanf" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [0, 1])
@pytest.mark.parametrize("content", [b"", b"<html><body>Not found</body></html>", b"PK\x03\x04 cut", b"State,Oct\n"])
def test_no_workbook(tmp_path: Path, table: int, content: bytes) -> None:
    name = (CASELOAD, FINANCIAL)[table].format(year=2024)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read(tmp_path, table)


@pytest.mark.parametrize("table", [0, 1])
def test_missing_truncated_and_later(tmp_path: Path, table: int) -> None:
    write(tmp_path, 2025)
    with pytest.raises(InputError, match=r"of 2024 or before is wanted .* there is .*2025"):
        read(tmp_path, table)
    path = tmp_path / (CASELOAD, FINANCIAL)[table].format(year=2025)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=path.name):
        read(tmp_path, table, Scope.of(2025, ("DE", "DC", "ID")))


def test_the_names_under_which_they_are_published(tmp_path: Path) -> None:
    write(tmp_path)
    before = [values(read(tmp_path, table)) for table in (0, 1)]
    (tmp_path / CASELOAD.format(year=2024)).rename(tmp_path / "fy2024_tanf_caseload.xlsx")
    old = tmp_path / FINANCIAL.format(year=2024)
    old.rename(tmp_path / "fy2024_tanf_and_moe_financial_data_table-final.xlsx")
    assert [values(read(tmp_path, table)) for table in (0, 1)] == before
    save(tmp_path / CASELOAD.format(year=2024), {"TFam": [["x"]]})
    with pytest.raises(InputError, match=r"fy2024_tanf_caseload\.xlsx and .*tanf_caseload_2024\.xlsx are of the same year"):
        read(tmp_path, 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("acf"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.sampled_from([0, 1]),
    where=st.tuples(st.integers(0, 4), st.integers(0, 8), st.integers(0, 13)),
    value=st.sampled_from([None, "", "d", "X", "--", -5, 0, 7, 1e9, "1,234", "12 a", True, "Idaho", 0.3]),
)
def test_one_damaged_cell_gives_no_other_number(
    small: Path, tmp_path_factory: pytest.TempPathFactory, table: int, where: tuple[int, int, int], value: object
) -> None:
    """The figures stay as they are, or the file is refused."""
    folder = tmp_path_factory.mktemp("fuzz")
    name = (CASELOAD, FINANCIAL)[table].format(year=2024)
    shutil.copy(small / name, folder / name)
    book = openpyxl.load_workbook(folder / name)
    sheet = book.worksheets[where[0] % len(book.worksheets)]
    sheet.cell(where[1] + 1, where[2] + 1).value = value
    book.save(folder / name)
    try:
        found = values(read(folder, table))
    except GeocalError:
        return
    assert found == values(read(small, table))
