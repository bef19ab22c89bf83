"""CMS's real files: totals to the person and the dollar, against plain readings of them and against digests of others."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from geocal_core.places.states import STATES
from geocal_core.targets.agencies import cms
from geocal_core.targets.checks import check_complete, check_sums
from geocal_core.targets.figures import NATION, Figure, PlaceGrowth, Scope, Table
from geocal_core.targets.files import RawFiles

pytestmark = pytest.mark.raw

SCOPE = Scope(2024, STATES)
FIPS = {state.code: state.fips for state in STATES}
NAMED = {state.name: state.fips for state in STATES}


@pytest.fixture(scope="module")
def raw(raw_folder: Path) -> RawFiles:
    return RawFiles(raw_folder / "cms")


@pytest.fixture(scope="module")
def workbook(raw_folder: Path) -> dict[int, pd.DataFrame]:
    """Sheets of full years by FIPS code, cells taken where they stand (the totals under 0)."""
    book = openpyxl.load_workbook(raw_folder / "cms" / "full-year-effectuated-enrollment.xlsx", data_only=True)
    found = {}
    for year in range(2016, 2024):
        cells = [row[:10] for row in book[f"Full Year {year}"].iter_rows(min_row=3, values_only=True) if row[0]]
        kept = [(FIPS.get(row[0], 0), *row) for row in cells if row[1] == "All" or row[0] in FIPS]
        found[year] = pd.DataFrame(kept).set_index(0)[[3, 4, 9]].set_axis(["enrolled", "with_credit", "credit"], axis=1)
    return found


@pytest.fixture(scope="module")
def public_use(raw_folder: Path) -> pd.DataFrame:
    """The csv file in the zip of open enrolment, by FIPS code (the total under 0)."""
    with zipfile.ZipFile(raw_folder / "cms" / "2024-oep-state-level-public-use-file.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".csv"))
        table = pd.read_csv(io.BytesIO(archive.read(name)), dtype=str)
    table = table[(table["State_Abrvtn"] != "Total") | (table["Pltfrm"] == "All")]
    columns = ["Cnsmr", "APTC_Cnsmr", "Cnsmr_Wth_APTC_CSR", "APTC_Cnsmr_Avg_APTC", "Brnz"]
    numbers = table[columns].apply(lambda column: column.str.replace(r"[$, ]", "", regex=True).astype(float))
    return numbers.assign(platform=table["Pltfrm"]).set_axis(table["State_Abrvtn"].map(FIPS).fillna(0).astype(int), axis=0)


def table(name: str) -> Table:
    return next(table for table in cms.TABLES if table.name == name)


def by_place(figures: list[Figure], variable: str = "person_count") -> dict[int, float | None]:
    return {figure.place: figure.value for figure in figures if figure.variable == variable}


def growth(raw: RawFiles, year: int) -> dict[tuple[str, int, int], float]:
    rows: list[PlaceGrowth] = table("cms_effectuated").growth(raw, Scope(year, STATES))  # type: ignore[misc]
    assert {row.to_period for row in rows} == {year}
    return {(row.series, row.place, row.from_period): row.factor for row in rows}


def test_whole_and_consistent(raw: RawFiles) -> None:
    figures = {of: of.read(raw, SCOPE) for of in cms.TABLES}
    for of, its in figures.items():
        check_complete(of, its, SCOPE)
    check_sums(figures)
    assert [len(its) for its in figures.values()] == [52, 104, 52, 32]


def test_medicaid(raw: RawFiles) -> None:
    """The known total is that of 50 states: Rhode Island did not report December 2024, so it is no figure of the nation."""
    figures = table("cms_medicaid").read(raw, SCOPE)
    found = by_place(figures)
    assert found.pop(NATION) is None
    assert [place for place, value in found.items() if value is None] == [44]
    assert sum(value for value in found.values() if value is not None) == 71_841_081
    assert "is 71,841,081 without Rhode Island" in str(figures[0].notes)
    notes = next(figure.notes for figure in figures if figure.place == 44)
    assert notes is not None
    assert "line 8062, column TOTAL MEDICAID ENROLLMENT" in notes


@pytest.mark.parametrize("year", range(2017, 2026))
def test_medicaid_of_other_years(raw: RawFiles, raw_folder: Path, year: int) -> None:
    """Every December of the file, state by state; 2025 has no final December, so that of 2024 is read."""
    month = f"{min(year, 2024)}12"
    with (raw_folder / "cms" / "medicaid_enrollment_2024.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Reporting Period"] == month and row["Final Report"] == "Y"]
    wanted = {FIPS[row["State Abbreviation"]]: float(row["Total Medicaid Enrollment"]) or None for row in rows}
    figures = table("cms_medicaid").read(raw, Scope(year, STATES))
    assert {figure.period for figure in figures} == {min(year, 2024)}
    found = by_place(figures)
    reported = [value for value in wanted.values() if value is not None]
    assert found.pop(NATION) == (sum(reported) if len(reported) == len(STATES) else None)
    assert found == wanted


@pytest.mark.parametrize("year", range(2016, 2024))
def test_effectuated(raw: RawFiles, workbook: dict[int, pd.DataFrame], year: int) -> None:
    figures = table("cms_effectuated").read(raw, Scope(year, STATES))
    assert {figure.period for figure in figures} == {year}
    persons, dollars, sheet = by_place(figures), by_place(figures, "aca_ptc"), workbook[year]
    assert persons == pytest.approx(sheet["with_credit"].to_dict(), abs=0)
    states = sheet.drop(NATION)
    assert {p: v for p, v in dollars.items() if p} == pytest.approx((states["with_credit"] * states["credit"] * 12).to_dict())
    nation = sheet["with_credit"][NATION] * sheet["credit"][NATION] * 12
    assert dollars[NATION] == pytest.approx(nation, rel=2e-5)  # its average is rounded to cents


def test_effectuated_totals(raw: RawFiles) -> None:
    figures = table("cms_effectuated").read(raw, SCOPE)
    assert {figure.period for figure in figures} == {2023}
    assert by_place(figures)[NATION] == 14_793_073
    assert by_place(figures, "aca_ptc")[NATION] == pytest.approx(92_230_987_505.04, abs=0.01)


@pytest.mark.parametrize("year", range(2017, 2024))
def test_growth_within_the_workbook(raw: RawFiles, workbook: dict[int, pd.DataFrame], year: int) -> None:
    found = growth(raw, year)
    for base in (max(year - 2, 2016), year - 1):
        before, after = workbook[base].drop(NATION), workbook[year].drop(NATION)
        persons = after["with_credit"] / before["with_credit"]
        dollars = persons * after["credit"] / before["credit"]
        assert {fips: found["aca_ptc_count", fips, base] for fips in persons.index} == pytest.approx(persons.to_dict())
        assert {fips: found["aca_ptc", fips, base] for fips in persons.index} == pytest.approx(dollars.to_dict())


def test_growth_to_2024(raw: RawFiles, raw_folder: Path, workbook: dict[int, pd.DataFrame], public_use: pd.DataFrame) -> None:
    """Against the digest of multipliers: the same enrolment, to which the growth of the share with credit is added here.

    The digest lets persons with credit grow like all who are enrolled, and takes the average credit of 2022 from elsewhere.
    """
    digest = pd.read_csv(raw_folder / "cms" / "aca_ptc_multipliers_2022_2024.csv")
    digest = digest.set_axis(digest["state"].map(NAMED), axis=0).sort_index()
    base, chosen = workbook[2022].drop(NATION).sort_index(), public_use.drop(NATION).sort_index()
    assert digest["enroll_2022"].to_dict() == base["enrolled"].to_dict()
    found = growth(raw, 2024)
    share = chosen["APTC_Cnsmr"] / chosen["Cnsmr"] / (base["with_credit"] / base["enrolled"])
    persons = pd.Series({fips: found["aca_ptc_count", fips, 2022] for fips in base.index})
    assert persons.to_dict() == pytest.approx((digest["vol_mult"] * share).to_dict())
    dollars = pd.Series({fips: found["aca_ptc", fips, 2022] for fips in base.index})
    assert digest["aptc_2024"].to_dict() == chosen["APTC_Cnsmr_Avg_APTC"].to_dict()
    assert (dollars / persons).to_dict() == pytest.approx((digest["aptc_2024"] / base["credit"]).to_dict())
    ratio = dollars / (digest["vol_mult"] * digest["val_mult"])
    assert ratio.median() == pytest.approx(1.03, abs=0.01)
    assert found["aca_ptc_count", NATION, 2022] == pytest.approx(1.589075, abs=1e-6)
    assert found["aca_ptc", NATION, 2023] == pytest.approx(1.348224, abs=1e-6)


def test_open_enrollment(raw: RawFiles, public_use: pd.DataFrame) -> None:
    found = by_place(table("cms_open_enrollment").read(raw, SCOPE))
    assert found == public_use["APTC_Cnsmr"].to_dict()
    assert found[NATION] == 19_743_689


def test_digest_of_spending(raw_folder: Path, public_use: pd.DataFrame) -> None:
    """The digest called spending and enrolment is the same release, with a column that counts more than those with credit.

    Its ``enrollment`` is consumers with credit or cost-sharing reductions, its monthly ``spending`` is that times the average
    credit of those with credit. So it is no second source of either, and no table reads it.
    """
    digest = pd.read_csv(raw_folder / "cms" / "aca_spending_and_enrollment_2024.csv")
    digest = digest.set_axis(digest["state"].map(FIPS), axis=0).sort_index()
    chosen = public_use.drop(NATION).sort_index()
    assert digest["enrollment"].to_dict() == chosen["Cnsmr_Wth_APTC_CSR"].to_dict()
    assert digest["spending"].to_dict() == (chosen["Cnsmr_Wth_APTC_CSR"] * chosen["APTC_Cnsmr_Avg_APTC"]).to_dict()
    assert (digest["enrollment"].sum(), chosen["APTC_Cnsmr"].sum()) == (19_771_819, 19_743_689)


def test_bronze(raw: RawFiles, raw_folder: Path, public_use: pd.DataFrame) -> None:
    """The states on HealthCare.gov, with shares to a percent; the consumers are those of the other file."""
    found = by_place(table("cms_bronze").read(raw, SCOPE))
    digest = pd.read_csv(raw_folder / "cms" / "aca_marketplace_state_metal_selection_2024.csv")
    bronze = digest[(digest["metal_level"] == "B") & (digest["platform"] == "HC.gov")]
    bronze = bronze.set_axis(bronze["state_code"].map(FIPS), axis=0)
    assert found == pytest.approx(bronze["aptc_consumers"].to_dict())
    assert set(found) == set(public_use.index[public_use["platform"] == "HC.gov"])
    assert len(found) == 32
    assert bronze["consumers"].to_dict() == public_use.loc[bronze.index, "Brnz"].to_dict()
    assert (bronze["aptc_consumers"] < public_use.loc[bronze.index, "APTC_Cnsmr"]).all()
