"""The IRA tables: the real workbooks, a moved one of another year, and damaged ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from geocal_core.errors import InputError
from geocal_core.targets.agencies.irs import retirement
from geocal_core.targets.figures import Figure
from geocal_core.targets.files import RawFiles
from tests.targets.irs_tables import (
    WHOLE,
    Spoil,
    Written,
    find,
    text,
    values,
    write,
)

TRADITIONAL, ROTH = retirement.TABLES
AGES = ("No age information", "Under 15", "15 under 50", "50 or over")


@pytest.mark.raw
@pytest.mark.parametrize(
    ("table", "variable", "persons", "dollars", "figures"),
    [
        (TRADITIONAL, "traditional_ira_contributions", 5_101_648, 23_034_199_000, 26),
        (ROTH, "roth_ira_contributions", 10_036_960, 34_951_077_000, 28),
    ],
)
def test_the_real_tables_are_met_to_the_dollar(
    raw_folder: Path, table: Any, variable: str, persons: int, dollars: int, figures: int
) -> None:
    found = table.read(RawFiles(raw_folder), WHOLE)
    assert len(found) == figures
    assert {figure.period for figure in found} == {2022}
    by_key = values(found)
    assert by_key["person_count", f"{variable}>0"] == persons
    assert by_key[variable, f"{variable}>0"] == dollars
    name = next(
        path
        for path in (raw_folder / "irs").iterdir()
        if re.fullmatch(r"22in0[56]ira.xlsx", path.name) and table is (TRADITIONAL if "05" in path.name else ROTH)
    )
    sheet = openpyxl.load_workbook(name).active
    assert sheet is not None
    for label, number, amount in sheet.iter_rows(min_row=10, max_col=3, values_only=True):
        ages = [int(age) for age in re.findall(r"\d+", str(label))]
        if not str(label).startswith("   ") or not ages:
            continue
        bounds = {
            "under": (f"age<{ages[0]}",) if len(ages) == 1 else (f"age>={ages[0]}", f"age<{ages[1]}"),
            "over": (f"age>={ages[0]}",),
        }
        domain = " ".join((f"{variable}>0", *bounds["over" if "over" in str(label) else "under"]))
        # Ages under 20 are combined with others in the table of traditional IRAs.
        combined = table is TRADITIONAL and ages[0] <= 15
        assert by_key["person_count", domain] == (None if combined else number)
        assert by_key[variable, domain] == (None if combined else 1000 * float(str(amount)))


def small(folder: Path, *, year: int = 2022, spoil: Spoil | None = None, down: int = 0, right: int = 0) -> Written:
    kinds = ("Total", "Under $6,000")
    columns = [
        f"Contributions to Roth IRA plans by size of contribution / {kind} / {what}"
        for kind in kinds
        for what in ("Number of taxpayers", "Amount")
    ]
    title = f"Table 6. Taxpayers with Roth Individual Retirement Arrangement (IRA) Plan Contributions, Tax Year {year}"
    path = folder / f"{year % 100:02d}in06ira.xlsx"
    return write(path, title, "Age of taxpayer", columns, AGES, total="All taxpayers", down=down, right=right, spoil=spoil)


def read(folder: Path, year: int = 2024) -> list[Figure]:
    return ROTH.read(RawFiles(folder), replace(WHOLE, year=year))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, 4)])
def test_a_moved_table_of_another_year_gives_its_ages(tmp_path: Path, down: int, right: int) -> None:
    written = small(tmp_path, year=2019, down=down, right=right)
    persons, amount = list(written.numbers.values())[:2]
    found = values(read(tmp_path))
    below = "roth_ira_contributions>0"
    ages = ("", None, " age<15", " age>=15 age<50", " age>=50")
    assert found == {
        (variable, below + age): number * unit
        for variable, numbers, unit in (("person_count", persons, 1), ("roth_ira_contributions", amount, 1000))
        for age, number in zip(ages, numbers, strict=True)
        if age is not None
    }


def put(value: Any) -> Spoil:
    def spoil(sheet: Worksheet) -> None:
        sheet.cell(find(sheet, "15 under").row, find(sheet, "Number of").column).value = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put(1), "its rows add up to"),
        (put("d"), "holds 'd', which is not a number"),
        (put("12 [1]"), "row 10, column Contributions .* holds '12 \\[1\\]', which is not a number"),
        (text("15 under", "16 under 50"), "'16 under 50' does not follow"),
        (text("15 under", "15-50"), "'15-50' is no range of age"),
        (text("50 or", "50 under 60"), "is no range of age"),
        (text("No age", "Unknown"), "'Unknown' is no range of age"),
        (text("All taxpayers", "Everyone"), "has no row 'All taxpayers'"),
        (text("Contributions", "Contributions to SEP plans"), "has no column Contributions to Roth IRA plans"),
        (text("Table 6", "Table 6. Roth, Tax Year 2021"), "name says tax year 2022, its title 2021"),
        (text("Table 6", "Table 5. Traditional, Tax Year 2022"), "has no title that begins with 'Table 6.'"),
        (text("(All", "All figures are in dollars"), "it says nothing"),
        (lambda sheet: sheet.delete_rows(find(sheet, "15 under").row), "does not follow"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, spoil: Spoil, message: str) -> None:
    small(tmp_path, spoil=spoil)
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_figure_deleted_to_avoid_disclosure_is_withheld(tmp_path: Path) -> None:
    def spoil(sheet: Worksheet) -> None:
        put("d")(sheet)
        find(sheet, "[1] Not").value = "d Data deleted to avoid disclosure of information for specific taxpayers."

    small(tmp_path, spoil=spoil)
    withheld = [figure for figure in read(tmp_path) if figure.value is None]
    assert [figure.variable for figure in withheld] == ["person_count"]
    assert withheld[0].notes is not None
    assert withheld[0].notes.startswith("withheld: 'd' in 22in06ira.xlsx, sheet Sheet, row 10 (15 under 50)")


def test_a_missing_year_is_told(tmp_path: Path) -> None:
    small(tmp_path)
    with pytest.raises(InputError, match="of 2021 or before is wanted below .*, and there is 22in06ira.xlsx"):
        read(tmp_path, year=2021)
