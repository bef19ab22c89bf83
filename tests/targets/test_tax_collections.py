"""State income taxes: the real flat file against its own columns, other years, damaged files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocal_core.errors import GeocalError, InputError
from geocal_core.places.states import STATES, state_of_code
from geocal_core.targets.agencies.census import tax_collections
from geocal_core.targets.figures import NATION, Figure, Scope
from geocal_core.targets.files import RawFiles

(TABLE,) = tax_collections.TABLES
NAME = "FY2023-Flat-File.txt"
WITHOUT = ("AK", "FL", "NV", "SD", "TX", "WY")
Lines = list[list[str]]


def read(folder: Path, year: int = 2024) -> list[Figure]:
    return TABLE.read(RawFiles(folder), Scope(year, STATES))


def values(figures: list[Figure]) -> dict[int, float | None]:
    return {figure.place: figure.value for figure in figures}


def lines() -> Lines:
    """Thousands of dollars: the FIPS code times 10, ``X`` where there is no tax; the nation is without the District."""
    taxes = {state.code: "X" if state.code in WITHOUT else str(10 * state.fips) for state in STATES}
    nation = sum(int(tax) for code, tax in taxes.items() if tax != "X" and code != "DC")
    return [
        ["ITEM", "US", *taxes],
        ["T01", "51", *("1" for _ in taxes)],
        ["T40", str(nation), *taxes.values()],
        ["T99", "X", *("X" for _ in taxes)],
    ]


def write(folder: Path, rows: Lines, name: str = NAME) -> Path:
    (folder / name).write_text("\r\n".join(",".join(row) for row in rows) + "\r\n", encoding="utf-8")
    return folder


@pytest.mark.raw
def test_the_real_file(raw_folder: Path) -> None:
    figures = read(raw_folder)
    found = values(figures)
    with (raw_folder / "census" / NAME).open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["ITEM"] == "T40")
    for state in STATES:
        tax = row[state.code]
        assert found[state.fips] == (None if tax == "X" else int(tax) * 1000)
    assert found[NATION] == (461_729_077 + 3_048_229) * 1000 == sum(value or 0 for place, value in found.items() if place)
    assert found[6] == 96_379_294_000
    withheld = {figure.place: figure.notes or "" for figure in figures if figure.value is None}
    assert set(withheld) == {state_of_code(code).fips for code in WITHOUT}
    assert all(notes.startswith("withheld: 'X' in FY2023-Flat-File.txt, item T40, column ") for notes in withheld.values())
    notes = {figure.place: figure.notes or "" for figure in figures}
    assert (found[53], found[33], found[47]) == (846_835_000, 149_485_000, 2_926_000)
    assert "capital gains" in notes[53]
    assert "interest and dividends" in notes[33]
    assert {figure.period for figure in figures} == {2023}


def test_another_year_with_rows_and_columns_moved(tmp_path: Path) -> None:
    rows = lines()
    before = values(read(write(tmp_path, rows)))
    moved = [list(reversed(row)) for row in (rows[0], rows[3], rows[2], rows[1])]
    write(tmp_path, moved, "FY2024-Flat-File.txt")
    after = read(tmp_path)
    assert values(after) == before
    assert {figure.period for figure in after} == {2024}
    assert {figure.period for figure in read(tmp_path, 2023)} == {2023}


def cell(row: int, column: int, value: str) -> Callable[[Lines], None]:
    def change(rows: Lines) -> None:
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cell(2, 2, "10 (a)"), r"line 3, column AL holds '10 \(a\)'"),
        (cell(2, 2, "x"), "line 3, column AL holds 'x'"),
        (cell(2, 2, ""), "line 3, column AL holds '' instead of text"),
        (cell(2, 2, "-5"), "line 3, column AL holds -5: below zero"),
        (cell(2, 2, "10.5"), "which is not a whole number"),
        (cell(2, 2, "X"), "the 50 states add up to"),
        (cell(2, 3, "7"), "the 50 states add up to"),
        (cell(2, 1, "7"), "column US has 7000"),
        (cell(2, 1, "X"), "column US holds 'X'"),
        (cell(2, 0, "T41"), "has 0 rows of the item T40"),
        (cell(1, 0, "T40"), "has 2 rows of the item T40"),
        (cell(0, 5, "PR"), "has no column AR"),
        (cell(0, 5, "AL"), "has the column AL twice"),
        (cell(0, 1, "USA"), "has no column US"),
        (lambda rows: rows[2].pop() and None, "line 3 has 52 cells where the header has 53"),
        (lambda rows: rows.__setitem__(slice(None), [["<html><body>Not found</body></html>"]]), "is a web page"),
        (lambda rows: rows.clear(), "is empty"),
    ],
)
def test_a_spoilt_file(tmp_path: Path, change: Callable[[Lines], None], words: str) -> None:
    rows = lines()
    change(rows)
    with pytest.raises(InputError, match=words) as caught:
        read(write(tmp_path, rows))
    assert str(caught.value).startswith(NAME)


def test_missing_or_of_a_later_year(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"FY\{year\}-Flat-File.txt of 2024 or before is wanted .* there is none"):
        read(tmp_path)
    write(tmp_path, lines(), "FY2025-Flat-File.txt")
    with pytest.raises(InputError, match="there is FY2025-Flat-File.txt"):
        read(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10_000), byte=st.binary(min_size=0, max_size=2))
def test_damage_gives_no_other_number(tmp_path_factory: pytest.TempPathFactory, position: int, byte: bytes) -> None:
    """Bytes put in place of one: the same figures or none. The District alone is in no sum of the file."""
    content = "\n".join(",".join(row) for row in lines()).encode()
    at = position % len(content)
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / NAME).write_bytes(content[:at] + byte + content[at + 1 :])
    try:
        found = values(read(folder))
    except GeocalError:
        return
    whole = values(read(write(tmp_path_factory.mktemp("whole"), lines())))
    for place in (11, NATION):
        found.pop(place), whole.pop(place)
    assert found == whole
