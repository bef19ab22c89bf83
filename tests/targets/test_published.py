"""The real agency files: what the database holds against sums made straight from the files with other means."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from geocal_core.errors import InputError
from geocal_core.places.states import DISTRICTS, STATES
from geocal_core.progress import Silent
from geocal_core.settings import ALL_STATES, TargetSettings
from geocal_core.store import digest_path
from geocal_core.targets.build import build_database
from geocal_core.targets.figures import NATION, Scope
from geocal_core.targets.files import RawFiles
from geocal_core.targets.registry import tables
from geocal_core.targets.select import load_targets

pytestmark = pytest.mark.raw

SETTINGS = TargetSettings(without=("irs_soi_district", "cdc_births"))
POPULATION = 340_110_990


def all_but(table: str) -> tuple[str, ...]:
    """The other tables, to leave out."""
    return tuple(name for name in tables() if name != table)


def _query(db: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(query).fetchall()


def test_ages(published_db: Path, raw_folder: Path) -> None:
    ages = _query(
        published_db,
        "SELECT geo_level, COUNT(*), SUM(value) FROM target_overview "
        "WHERE domain_variable = 'age' GROUP BY geo_level ORDER BY geo_level",
    )
    assert ages == [("district", 436 * 18, POPULATION), ("national", 18, POPULATION), ("state", 51 * 18, POPULATION)]
    header, *rows = json.loads((raw_folder / "census" / "acs_S0101_district_2024.json").read_text())
    table = pd.DataFrame(rows, columns=header)
    table = table[table["state"] != "72"]
    columns = [f"S0101_C01_{index:03d}E" for index in range(2, 20)]
    number = table["congressional district"].astype(int).where(lambda n: ~n.isin((0, 98)), 1)
    wanted = table[columns].astype(int).set_axis((table["state"].astype(int) * 100 + number).astype(str), axis=0)
    targets, _ = load_targets(published_db, 2024)
    at_district = targets[(targets["geo_level"] == "district") & (targets["domain_variable"] == "age")]
    low = at_district["name"].str.extract(r"age>(-?\d+)\]")[0].astype(int)
    found = at_district.assign(column=((low + 1) // 5 + 2).map("S0101_C01_{:03d}E".format)).pivot(
        index="geographic_id", columns="column", values="value"
    )
    pd.testing.assert_frame_equal(found, wanted.loc[found.index], check_dtype=False, check_names=False)
    assert set(found.index) == {str(district) for district in DISTRICTS}


def test_snap(published_db: Path, raw_folder: Path) -> None:
    targets, _ = load_targets(published_db, 2024)
    snap = targets[targets["source"] == "USDA FNS SNAP"].set_index(["geo_level", "variable"])["value"]
    assert round(snap["state", "household_count"].sum()) == round(snap["national", "household_count"].sum()) == 22_177_091
    assert round(snap["state", "snap"].sum() / 1e6) == round(snap["national", "snap"].sum() / 1e6) == 93_658
    survey = targets[targets["source"] == "Census ACS S2201"]
    assert (len(survey), survey["original_value"].sum()) == (436, 15_632_675)
    with zipfile.ZipFile(raw_folder / "usda" / "snap-zip-fy69tocurrent-6.zip") as archive:
        book = openpyxl.load_workbook(io.BytesIO(archive.read("FY24.xlsx")), data_only=True)
    by_name: dict[str, tuple[float, float]] = {}
    for sheet in book.worksheets:
        name = ""
        for label, households, _, cost, *_ in sheet.iter_rows(values_only=True):
            if households is None:
                name = label
            elif label == "Total":
                by_name[name] = (households, cost)
    for state in STATES:
        rows = targets[(targets["source"] == "USDA FNS SNAP") & (targets["geographic_id"] == str(state.fips))]
        assert tuple(rows.sort_values("variable")["value"]) == by_name[state.name]


def test_returns_and_income(published_db: Path, raw_folder: Path) -> None:
    table = pd.read_csv(raw_folder / "irs" / "22in55cmcsv.csv", thousands=",")
    table = table[~table["STATE"].isin(("OA", "PR"))]
    targets, _ = load_targets(published_db, 2022)
    soi = targets[targets["source"] == "IRS SOI"]
    assert set(soi["period"]) == {2022}
    code = {str(state.fips): state.code for state in STATES}
    totals = table[table["AGI_STUB"] == 0].set_index("STATE")
    at_state = soi[soi["geo_level"] == "state"].assign(code=lambda frame: frame["geographic_id"].map(code))
    assert len(at_state) == 51 * 135
    for variable, domain, column, unit in (
        ("adjusted_gross_income", "", "A00100", 1000),
        ("tax_unit_count", "", "N1", 1),
        ("eitc", "eitc,eitc_child_count", "A59660", 1000),
        ("tax_unit_count", "eitc,eitc_child_count", "N59660", 1),
        ("tax_unit_count", "adjusted_gross_income", "N1", 1),
    ):
        mine = at_state[(at_state["variable"] == variable) & (at_state["domain_variable"] == domain)]
        found = mine.groupby("code")["original_value"].sum()
        wanted = totals[column].drop("US").loc[found.index] * unit
        assert (found - wanted).abs().max() <= (60 if unit == 1 else 4000), column
    income = at_state[(at_state["variable"] == "adjusted_gross_income") & (at_state["domain_variable"] == "")]
    assert income["original_value"].sum() == 14_675_623_299_000


def test_uprated_income_is_near_the_projection(published_db: Path) -> None:
    """Of the residents' AGI in 2024: 16.69 trillion less the share of Puerto Rico and other areas, under one percent."""
    targets, _ = load_targets(published_db, 2024)
    agi = targets[(targets["variable"] == "adjusted_gross_income") & (targets["domain_variable"] == "")]
    agi = agi[agi["geo_level"] == "state"].sum(numeric_only=True)
    assert 0.985 < agi["value"] / 16_685.9e9 < 1


def test_the_same_bytes_again(published_db: Path, raw_folder: Path, tmp_path: Path) -> None:
    numbers = build_database(raw_folder, tmp_path / "again.db", SETTINGS, Silent())
    assert digest_path(tmp_path / "again.db") == digest_path(published_db)
    assert int(numbers["targets"]) >= 13_000
    assert numbers["persons"] == POPULATION


def test_other_years_and_scopes_are_refused(raw_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"acs_S0101_national_2023\.json is not below .* \(there is acs_S0101_national_2024\.json"
    ):
        build_database(raw_folder, tmp_path / "x.db", TargetSettings(year=2023, without=all_but("census_acs_s0101")), Silent())
    for table in ("census_acs_s0101", "usda_snap", "irs_soi_state"):
        few = TargetSettings(states=("DE", "NY", "WY"), without=all_but(table))
        with pytest.raises(InputError, match="covers Alabama, Alaska, Arizona and 45 more beyond the states in scope"):
            build_database(raw_folder, tmp_path / "x.db", few, Silent())
    with pytest.raises(InputError, match=r"incd\.csv of 2024 or before"):
        build_database(raw_folder, tmp_path / "x.db", TargetSettings(without=all_but("irs_soi_district")), Silent())


@pytest.mark.parametrize(
    ("year", "dollars"),
    [
        *((1989, 11.670e9), (2000, 14.983e9), (2013, 76.066e9), (2019, 55.622e9)),
        *((2020, 74.157e9), (2022, 113.973e9), (2023, 106.998e9)),
    ],
)
def test_the_workbooks_of_other_years_are_read(raw_folder: Path, year: int, dollars: float) -> None:
    """In three layouts and two formats; FNS's own totals (SNAP participation and costs) have Guam and the Virgin Islands."""
    figures = tables()["usda_snap"].read(RawFiles(raw_folder / "usda"), Scope.of(year, ALL_STATES))
    assert len(figures) == 2 * 52
    assert {figure.period for figure in figures} == {year}
    (found,) = (f.value for f in figures if (f.place, f.variable) == (NATION, "snap"))
    assert found is not None
    assert 0.995 < found / dollars < 1


def test_a_year_that_is_not_complete_is_refused(raw_folder: Path, tmp_path: Path) -> None:
    others = all_but("usda_snap")
    with pytest.raises(InputError, match=r"FY25\.xlsx, sheet NERO, row 15, column Household holds '--'"):
        build_database(raw_folder, tmp_path / "x.db", TargetSettings(year=2025, without=others), Silent())
    with pytest.raises(InputError, match=r"has no FY26\.xlsx"):
        build_database(raw_folder, tmp_path / "x.db", TargetSettings(year=2026, without=others), Silent())
