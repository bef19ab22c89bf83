"""Social Security: the real files against their totals and plain sums, another year, damaged files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocal_core.errors import GeocalError, InputError
from geocal_core.places.states import STATES
from geocal_core.targets.agencies import ssa
from geocal_core.targets.figures import NATION, Figure, Scope
from geocal_core.targets.files import RawFiles

BENEFITS, SSI, POPULATION = range(3)
NAMES = ("ssa_oasdi_ssi_{}.csv", "ssi_table_7b1_{}.csv", "SSPopJul_TR{}.csv")
KINDS = {"retirement": 1_111_728, "survivors": 161_218, "disability": 147_174, "dependents": 51_075}
Lines = list[list[str]]


def read(folder: Path, table: int, year: int = 2024) -> list[Figure]:
    return ssa.TABLES[table].read(RawFiles(folder), Scope(year, STATES))


def values(figures: list[Figure]) -> dict[tuple[str, int, str], float | None]:
    return {(f.variable, f.place, "".join(map(str, f.domain[0] if f.domain else ()))): f.value for f in figures}


def lines(table: int, year: int = 2024) -> Lines:
    return (benefits, ssi, population)[table](year)


def benefits(year: int) -> Lines:
    rows = [[f"social_security_{kind}_benefits", str(1000 * index)] for index, kind in enumerate(KINDS, start=1)]
    rows += [["social_security_benefits", "10000"], ["ssi_payments", "77"]]
    header = ["variable", "period", "value", "unit", "source_table", "source_url", "notes"]
    return [header, *([name, str(year), value, "dollars", "Table 4.A5", "https://x", "n"] for name, value in rows)]


def ssi(_year: int) -> Lines:
    """Recipients 30, 10 and 100 times the FIPS code; payments twice that, off by one where they are rounded."""
    header = ["area_id", "area_name", "geography_id", "geography_level", "geography_name", "ssi_category"]
    rows = []
    whole = sum(state.fips for state in STATES)
    places = [("All areas", "0100000US", "country", whole), ("Northern Mariana Islands", "0400000US69", "state", 1)]
    places += [(state.name, f"0400000US{state.fips:02d}", "state", state.fips) for state in STATES]
    for name, code, level, scale in places:
        for category, times in (("total", 140), ("aged", 30), ("blind", 10), ("disabled", 100)):
            paid = 2 * times * scale + (category == "total" and name == "Utah")
            rows.append(["x", name, code, level, name, category, str(times * scale), str(paid)])
    return [[*header, "recipient_count", "payment_thousands"], *rows]


def population(year: int) -> Lines:
    header = ["Year", "Age", "Total", "M Tot", "M Sin", "M Mar", "M Wid", "M Div", "F Tot", "F Sin", "F Mar", "F Wid", "F Div"]
    rows = [
        [str(of), str(age), *map(str, (20 + 8 * age, 10 + 4 * age, 10 + age, *[age] * 3, 10 + 4 * age, 10 + age, *[age] * 3))]
        for of in (year - 1, year, year + 1)
        for age in range(101)
    ]
    return [header, *rows]


def write(folder: Path, table: int, rows: Lines, year: int = 2024) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / NAMES[table].format(year)).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.mark.raw
def test_real_benefits(raw_folder: Path) -> None:
    figures = read(raw_folder, BENEFITS)
    found = {figure.variable: figure.value for figure in figures}
    assert found == {
        "social_security": 1_471_195e6,
        **{f"social_security_{kind}": millions * 1e6 for kind, millions in KINDS.items()},
        "ssi": 63_079_493_000,
    }
    assert all(figure.notes and figure.notes.startswith("SSA Annual Statistical Supplement 2025 Table") for figure in figures)


@pytest.mark.raw
def test_real_ssi(raw_folder: Path) -> None:
    """All areas to the dollar. The file's states are not of the same table, as plain sums show: they are withheld."""
    figures = read(raw_folder, SSI)
    nation = {figure.variable: figure.value for figure in figures if figure.place == NATION}
    assert nation == {"person_count": 7_404_820, "ssi": 63_079_493_000}
    table = pd.read_csv(raw_folder / "ssa" / "ssi_table_7b1_2024.csv")
    states = table[(table["geography_level"] == "state") & (table["ssi_category"] == "total")]
    assert states["payment_thousands"].sum() == 63_915_823 > 63_079_493
    assert states["recipient_count"].sum() == 7_332_400
    of_states = [figure for figure in figures if figure.place != NATION]
    assert len(of_states) == 2 * 51
    assert all(figure.value is None for figure in of_states)
    alabama = next(figure.notes for figure in of_states if figure.place == 1)
    assert alabama is not None
    assert alabama.startswith("withheld: 129,972 in ssi_table_7b1_2024.csv, Alabama, recipient_count, but the states add up to")


@pytest.mark.raw
@pytest.mark.parametrize("year", [2022, 2024])
def test_real_population(raw_folder: Path, tmp_path: Path, year: int) -> None:
    name = NAMES[POPULATION].format(2024)
    (tmp_path / NAMES[POPULATION].format(2022)).write_bytes((raw_folder / "ssa" / name).read_bytes())
    figures = read(tmp_path, POPULATION, year)
    table = pd.read_csv(raw_folder / "ssa" / name)
    of_year = table[table["Year"] == year]
    by_bin = of_year.groupby(of_year["Age"].clip(upper=85) // 5)["Total"].sum()
    assert [figure.value for figure in figures] == by_bin.tolist()
    assert len(figures) == 18
    if year == 2024:
        assert sum(figure.value or 0.0 for figure in figures) == 344_270_814


def test_states_that_add_up_are_followed(tmp_path: Path) -> None:
    """The Northern Mariana Islands are in all areas only by what rounding and one in a thousand allow."""
    found = values(read(write(tmp_path, SSI, lines(SSI)), SSI))
    assert len(found) == 2 * 52
    assert found["person_count", 49, "ssi>0"] == 140 * 49
    assert found["ssi", 49, ""] == (280 * 49 + 1) * 1000
    assert None not in found.values()


def test_states_that_do_not_add_up_are_withheld_one_by_one(tmp_path: Path) -> None:
    """Payments only: recipients still add up."""
    rows = lines(SSI)
    for row in rows[1:5]:
        row[7] = str(2 * int(row[7]))
    found = values(read(write(tmp_path, SSI, rows), SSI))
    assert found["person_count", 49, "ssi>0"] == 140 * 49
    assert {found["ssi", state.fips, ""] for state in STATES} == {None}


@pytest.mark.parametrize("table", [BENEFITS, SSI, POPULATION])
def test_another_year_with_rows_and_columns_moved(tmp_path: Path, table: int) -> None:
    before = read(write(tmp_path, table, lines(table)), table)
    header, *rows = lines(table, 2026)
    moved = [header, *rows[::-1]]
    write(tmp_path / "later", table, [[*reversed(row), "0"] for row in [[*header], *moved[1:]]], 2026)
    path = tmp_path / "later" / NAMES[table].format(2026)
    path.write_text(path.read_text().replace(header[0] + ",0", header[0] + ",more", 1))
    after = read(tmp_path / "later", table, 2026)
    assert values(after) == values(before)
    assert {figure.period for figure in after} == {2026}


def cell(row: int, column: int, value: str) -> Callable[[Lines], None]:
    def change(rows: Lines) -> None:
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        (BENEFITS, cell(1, 2, "1000 a"), "line 2, column VALUE holds '1000 a'"),
        (BENEFITS, cell(1, 2, "1001"), "the kinds of benefit add up to 10001, all to 10000"),
        (BENEFITS, cell(1, 1, "2023"), "of 2023, not dollars of 2024"),
        (BENEFITS, cell(1, 3, "millions"), "millions of 2024, not dollars"),
        (BENEFITS, cell(1, 0, "social_security_lump_sum"), "is social_security_lump_sum"),
        (BENEFITS, cell(1, 0, "ssi_payments"), "ssi_payments is there twice"),
        (BENEFITS, lambda rows: rows.pop() and None, "has no row ssi_payments"),
        (BENEFITS, cell(0, 2, "amount"), "has no column VALUE"),
        (SSI, cell(9, 6, "X"), "line 10, column RECIPIENT_COUNT holds 'X'"),
        (SSI, cell(9, 6, "5"), "recipient_count of the categories of Alabama is 140 in all, the total 5"),
        (SSI, cell(10, 7, "999"), "payment_thousands of the categories of Alabama"),
        (SSI, cell(9, 2, "0400000US02"), "is 'Alabama', but 0400000US02 is Alaska"),
        (SSI, cell(9, 2, "0400000US03"), "holds '0400000US03', which is no state"),
        (SSI, cell(9, 2, "AL"), "holds 'AL', which is no state and not 0100000US"),
        (SSI, cell(9, 5, "aged"), "the category 'aged' is unknown or there twice"),
        (SSI, cell(9, 5, "all"), "the category 'all' is unknown"),
        (SSI, lambda rows: rows.pop(9) and None, "lacks the category total of Alabama"),
        (SSI, lambda rows: rows.__delitem__(slice(1, 5)), "has no row of all areas"),
        (SSI, lambda rows: rows.__delitem__(slice(9, 13)), "lacks Alabama"),
        (SSI, cell(0, 7, "payments"), "has no column PAYMENT_THOUSANDS"),
        (POPULATION, cell(102, 2, "21"), "line 103: sexes or marital statuses do not add up"),
        (POPULATION, cell(102, 5, "d"), "line 103, column M MAR holds 'd'"),
        (POPULATION, cell(102, 1, "1"), "age 1 of 2024 is there twice"),
        (POPULATION, cell(102, 0, "2020"), "has not the ages 0 to 100 of 2024"),
        (POPULATION, cell(0, 3, "Men"), "has no column M TOT"),
        *(
            (table, lambda rows: rows.__setitem__(slice(None), [["<html><body>Not found</body></html>"]]), "is a web page")
            for table in (BENEFITS, SSI, POPULATION)
        ),
        *((table, lambda rows: rows[-1].pop() and None, "cells where the header has") for table in (BENEFITS, SSI, POPULATION)),
    ],
)
def test_a_spoilt_file(tmp_path: Path, table: int, change: Callable[[Lines], None], words: str) -> None:
    rows = lines(table)
    change(rows)
    with pytest.raises(InputError, match=words) as caught:
        read(write(tmp_path, table, rows), table)
    assert str(caught.value).startswith(NAMES[table].format(2024))


@pytest.mark.parametrize("table", [BENEFITS, SSI, POPULATION])
def test_missing_or_of_a_later_year(tmp_path: Path, table: int) -> None:
    write(tmp_path, table, lines(table), 2025)
    with pytest.raises(InputError, match="of 2024 or before is wanted .* there is .*2025.csv"):
        read(tmp_path, table)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.sampled_from([BENEFITS, SSI, POPULATION]),
    row=st.integers(0, 10_000),
    column=st.integers(0, 12),
    value=st.sampled_from(["", "X", "(a)", "-1", "0", "7", "1,234", "99999999", "Idaho", "total", "0400000US16", "2024"]),
)
def test_one_damaged_cell_gives_no_other_number(
    tmp_path_factory: pytest.TempPathFactory, table: int, row: int, column: int, value: str
) -> None:
    """The figures stay as they are, are withheld, or the file is refused. SSI payments of all beneficiaries stand in no sum."""
    rows = lines(table)
    damaged = rows[row % len(rows)]
    if damaged[0] == "ssi_payments":
        return
    damaged[column % len(damaged)] = value
    whole = values(read(write(tmp_path_factory.mktemp("whole"), table, lines(table)), table))
    try:
        found = values(read(write(tmp_path_factory.mktemp("fuzz"), table, rows), table))
    except GeocalError:
        return
    assert {key: whole[key] for key, value in found.items() if value is not None}.items() <= found.items()
    assert found.keys() == whole.keys()
