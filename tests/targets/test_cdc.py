"""Births: files in the form of data.cdc.gov, against the real women of the Census Bureau; damaged files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geocal_core.errors import GeocalError, InputError
from geocal_core.places.states import STATES
from geocal_core.targets.agencies import cdc
from geocal_core.targets.agencies.census.women import COLUMNS, women_of_15_to_44
from geocal_core.targets.figures import NATION, Figure, Scope
from geocal_core.targets.files import RawFiles

(TABLE,) = cdc.TABLES
NAME, WOMEN = "cdc_vsrr_births_2023.json", "census_b01001_female_15_44_2023.json"
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
CODES = ("DE", "DC", "ID")
BIRTHS = {"DELAWARE": 10_400, "DISTRICT OF COLUMBIA": 7_800, "IDAHO": 15_600}
LIVE = "Number of Live Births"
Table = list[dict[str, Any]]


def row(state: str, month: str, period: str, value: int | None, *, indicator: str = LIVE, year: int = 2023) -> dict[str, Any]:
    cells = {"state": state, "year": str(year), "month": month, "period": period, "indicator": indicator}
    return cells if value is None else {**cells, "data_value": str(value), "footnote": "x"}


def births(year: int = 2023) -> Table:
    """Months and years of three states, of the nation in thousands and of Puerto Rico; deaths; a row without a value."""
    rows = []
    places = {**BIRTHS, "UNITED STATES": 34_000, "PUERTO RICO": 19_000}
    for state, count in places.items():
        for index, month in enumerate(MONTHS):
            rows.append(row(state, month, "Monthly", count // 12 + (count % 12 if index == 0 else 0), year=year))
            rows.append(row(state, month, "12 Month-ending", count + 11 - index, year=year))
        rows.append(row(state, "December", "12 Month-ending", 3, indicator="Number of Deaths", year=year))
        rows.append(row(state, "December", "12 Month-ending", None, indicator="Number of Infant Deaths", year=year))
        rows.append(row(state, "December", "12 Month-ending", 1, year=year - 1))
    return rows


def women(scale: int = 20_000) -> list[list[str]]:
    return [[*COLUMNS, "state"], *([*[str(scale)] * 9, fips] for fips in ("10", "11", "16", "72"))]


def write(folder: Path, rows: Any, name: str = NAME, of_women: Any = None) -> Path:
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")
    (folder / WOMEN).write_text(json.dumps(of_women or women()), encoding="utf-8")
    return folder


def read(folder: Path, year: int = 2024) -> list[Figure]:
    return TABLE.read(RawFiles(folder), Scope.of(year, CODES))


def values(figures: list[Figure]) -> dict[int, float | None]:
    return {figure.place: figure.value for figure in figures}


WANTED = {0: 33_800 * 0.75, 10: 7800.0, 11: 5850.0, 16: 11700.0}


def test_births_become_pregnancies(tmp_path: Path) -> None:
    figures = read(write(tmp_path, births()))
    assert values(figures) == WANTED
    assert {(f.variable, f.period, str(f.domain[0][0])) for f in figures} == {("person_count", 2023, "is_pregnant==True")}
    assert figures[1].notes == f"{NAME}, 10,400 births x 39/52"


def test_another_year_with_rows_in_another_order(tmp_path: Path) -> None:
    rows = [dict(reversed(list(cells.items()))) for cells in reversed(births(2024))]
    for cells in rows:
        cells["state"] = cells["state"].title().replace(" Of ", " of ")
    figures = read(write(tmp_path, rows, "cdc_vsrr_births_2024.json"))
    assert values(figures) == WANTED
    assert {figure.period for figure in figures} == {2024}


def test_the_years_alone_are_enough(tmp_path: Path) -> None:
    rows = [cells for cells in births() if cells["period"] != "Monthly" and cells["state"] != "UNITED STATES"]
    assert values(read(write(tmp_path, rows))) == WANTED


@pytest.mark.raw
def test_the_real_women(raw_folder: Path, tmp_path: Path) -> None:
    """Women of the real file by other means; national births of 2023 (3,596,017) shared out by them are plausible."""
    scope = Scope(2024, STATES)
    found, name = women_of_15_to_44(RawFiles(raw_folder), scope)
    header, *rows = json.loads((raw_folder / "census" / WOMEN).read_text())
    assert header == [*COLUMNS, "state"]
    assert found == {int(r[-1]): sum(map(int, r[:-1])) for r in rows if r[-1] != "72"}
    assert (len(found), name) == (51, WOMEN)
    whole = sum(found.values())
    assert 64e6 < whole < 68e6
    shutil.copy(raw_folder / "census" / WOMEN, tmp_path)
    shares = [
        row(state.name.upper(), "December", "12 Month-ending", 3_596_017 * found[state.fips] // whole) for state in STATES
    ]
    (tmp_path / NAME).write_text(json.dumps(shares))
    figures = TABLE.read(RawFiles(tmp_path), scope)
    assert len(figures) == 52
    assert values(figures)[NATION] == pytest.approx(3_596_017 * 39 / 52, abs=51)


def change_of(**changes: Any) -> Callable[[Table], None]:
    """Changes the year of Delaware; ``place`` names another state."""

    def change(rows: Table) -> None:
        changed = dict(changes)
        place = changed.pop("place", "DELAWARE")
        found = next(
            cells
            for cells in rows
            if (cells["state"], cells["month"], cells["period"], cells["indicator"], cells["year"])
            == (place, "December", "12 Month-ending", LIVE, "2023")
        )
        for column, value in changed.items():
            if value is None:
                del found[column]
            else:
                found[column] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_of(data_value="10,400 a"), r"\(DELAWARE, December 2023\), column data_value holds '10,400 a'"),
        (change_of(data_value=None), "has no column data_value"),
        (change_of(data_value="X"), "column data_value holds 'X'"),
        (change_of(data_value="104"), "the months of Delaware in 2023 are 10,400 births, the year has 104"),
        (change_of(place="IDAHO", data_value="30000"), "the months of Idaho"),
        (change_of(place="UNITED STATES", data_value="20000"), "the months of the United States"),
        (change_of(state="DELAWHERE"), "'DELAWHERE' is no state and no territory"),
        (change_of(state="IDAHO"), "is there twice"),
        (change_of(period="Quarterly"), "has the month 'December' and the period 'Quarterly'"),
        (change_of(month="Dec"), "has the month 'Dec'"),
        (change_of(year="2022"), "lacks Delaware"),
        (change_of(indicator=None), "has no indicator"),
        (lambda rows: rows.append(row("TEXAS", "December", "12 Month-ending", 380_000)), "covers Texas"),
        (lambda rows: [c.update(year="2019") for c in rows] and None, "no row of 2023"),
        (lambda rows: [rows.remove(c) for c in list(rows) if c["state"] == "IDAHO"] and None, "lacks Idaho"),
    ],
)
def test_spoilt_births(tmp_path: Path, change: Callable[[Table], None], words: str) -> None:
    rows = births()
    change(rows)
    with pytest.raises(InputError, match=words) as caught:
        read(write(tmp_path, rows))
    assert NAME in str(caught.value)


def test_a_nation_that_is_not_its_states(tmp_path: Path) -> None:
    rows = [cells for cells in births() if cells["period"] != "Monthly"]
    change_of(place="UNITED STATES", data_value="20000")(rows)
    with pytest.raises(InputError, match="the states add up to 33,800 births, the United States have 20,000"):
        read(write(tmp_path, rows))


@pytest.mark.parametrize(("scale", "share"), [(200, "577.8%"), (2_000_000, "0.1%")])
def test_births_that_the_women_cannot_have(tmp_path: Path, scale: int, share: str) -> None:
    with pytest.raises(InputError, match=f"Delaware has 10,400 births to .* women .*which is {share}, not between 2% and 10%"):
        read(write(tmp_path, births(), of_women=women(scale)))


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ([[*COLUMNS, "state"], *[[*["9"] * 9, "10"]] * 2], "is there twice"),
        ([[*COLUMNS[:8], "state"], [*["9"] * 8, "10"]], "has no column B01001_038E"),
        ([[*COLUMNS, "state"], [*["9"] * 8, None, "10"]], "column B01001_038E holds None"),
        ([[*COLUMNS, "state"], [*["9"] * 8, "-888888888", "10"]], "below zero, or the publisher's mark"),
        (women()[:-2], "lacks Idaho"),
    ],
)
def test_spoilt_women(tmp_path: Path, spoilt: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(write(tmp_path, births(), of_women=spoilt))
    assert WOMEN in str(caught.value)


@pytest.mark.parametrize("content", ["", "<html>", "[", "{}", "[]", "[1]", '[{"state": "IDAHO"}]', "null"])
def test_no_births(tmp_path: Path, content: str) -> None:
    write(tmp_path, births())
    (tmp_path / NAME).write_text(content)
    with pytest.raises(InputError, match=NAME):
        read(tmp_path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cdc_vsrr_births_\{year\}\.json of 2024 or before .*leave the table cdc_births out"):
        read(tmp_path)
    write(tmp_path, births())
    (tmp_path / WOMEN).unlink()
    with pytest.raises(InputError, match=r"census_b01001_female_15_44_\{year\}\.json of 2024 or before"):
        read(tmp_path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    index=st.integers(0, 10_000),
    column=st.sampled_from(["state", "year", "month", "period", "indicator", "data_value"]),
    value=st.sampled_from([None, "", "X", "-1", "1,000", "10000000", "IDAHO", "2024", "Monthly", "May", LIVE, 5, [1], "*"]),
)
def test_one_damaged_cell_gives_no_other_number(
    tmp_path_factory: pytest.TempPathFactory, index: int, column: str, value: object
) -> None:
    """The same figures within what revisions allow, or none."""
    rows = births()
    rows[index % len(rows)][column] = value
    try:
        found = values(read(write(tmp_path_factory.mktemp("fuzz"), rows)))
    except GeocalError:
        return
    assert found == WANTED
