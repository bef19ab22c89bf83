"""CMS, Marketplace open enrolment: persons who chose a plan with advance premium tax credit, and a bronze one, by state.

Consumers are persons, not tax units, and are counted as persons. They are plan selections at the end of open enrolment, more
than those who then pay (``effectuated``). The first table is the state-level public use file, a zip with a workbook. Credits
within a metal level are in another file, for the states on HealthCare.gov only and to a percent; it is held to the workbook.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from geocal_core.errors import InputError
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.cms import effectuated
from geocal_core.targets.agencies.cms.sheets import AGAIN, HEALTHCARE_GOV, StateRows, fips_of, published, state_rows
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_csv
from geocal_core.targets.workbooks import Sheet, open_workbook

_TABLE, _BRONZE_TABLE = "cms_open_enrollment", "cms_bronze"
_SOURCE = "CMS OEP state-level PUF"
_ZIP = r"(\d{4})-oep-state-level-public-use-file\.zip"
_MEMBER = "{year} OEP State-Level Public Use File"
_METAL = r"aca_marketplace_state_metal_selection_(\d{4})\.csv"

_STATE = "State Abbr."
_CONSUMERS, _WITH_CREDIT = "Number of Consumers with a Marketplace Plan Selection", "Consumers with APTC"
_CREDIT, _BRONZE = "Average APTC among Consumers Receiving APTC", "Bronze"
# The same columns in the csv file that lies beside the workbook in the zip.
_CSV_STATE, _CSV_PLATFORM = "STATE_ABRVTN", "PLTFRM"
_CSV = {_CONSUMERS: "CNSMR", _WITH_CREDIT: "APTC_CNSMR", _CREDIT: "APTC_CNSMR_AVG_APTC", _BRONZE: "BRNZ"}

_METAL_COLUMNS = (
    *("YEAR", "STATE_CODE", "PLATFORM", "METAL_LEVEL", "ENROLLMENT_STATUS"),
    *("CONSUMERS", "APTC_CONSUMERS", "APTC_SHARE"),
)

_USES = (Constraint("used_aca_ptc", ">", "0"), Constraint("is_aca_ptc_eligible", "==", "True"))
# A bronze plan costs less than the benchmark, the second cheapest silver plan; so does the cheapest silver plan.
_CHEAPER = (Constraint("selected_marketplace_plan_benchmark_ratio", "<", "1.0"),)


@dataclass(frozen=True)
class Selections:
    """Plan selections in a state.

    Attributes
    ----------
    platform : str
        ``HC.gov`` or ``SBM``.
    consumers : int
        Persons with a plan.
    with_credit, credit : float or None
        Those of them with an advance premium tax credit, and its average a month in dollars; None where withheld.
    bronze : int or None
        Persons with a bronze plan; None where withheld.
    where : str
        File, sheet and row.
    notes : str or None
        Which mark stands where, if ``with_credit`` is withheld.
    """

    platform: str
    consumers: int
    with_credit: int | None
    credit: float | None
    bronze: int | None
    where: str
    notes: str | None


def selections(raw: RawFiles, year: int, scope: Scope) -> Mapping[int, Selections]:
    """Plan selections of the open enrolment for a year, by FIPS code of the state."""
    return _selections(raw.named(f"{year}-oep-state-level-public-use-file.zip", _ZIP), year, scope)


def _selections(path: Path, year: int, scope: Scope) -> Mapping[int, Selections]:
    member = _MEMBER.format(year=year)
    sheets = open_workbook(path, f"{member}.xlsx")
    assisted = state_rows(_sheet(sheets, _WITH_CREDIT, path), _STATE, (_CONSUMERS, _WITH_CREDIT, _CREDIT))
    metal = state_rows(_sheet(sheets, _BRONZE, path), _STATE, (_CONSUMERS, _BRONZE))
    for rows, columns in ((assisted, (_CONSUMERS, _WITH_CREDIT)), (metal, (_CONSUMERS, _BRONZE))):
        scope.check_states(set(rows.states), rows.where)
        for column in columns:
            rows.check_sum(column)
    _check_csv(read_csv(path, (_CSV_STATE, _CSV_PLATFORM, *_CSV.values()), f"{member}.csv"), assisted, metal)
    return {fips: _of_state(fips, assisted, metal) for fips in sorted(assisted.states)}


def _sheet(sheets: Mapping[str, Sheet], text: str, path: Path) -> Sheet:
    """The sheet whose header has a text."""
    for sheet in sheets.values():
        if any(sheet.text(row, column) == text for row in range(len(sheet.cells)) for column in range(len(sheet.cells[row]))):
            return sheet
    raise InputError(f"{path.name}: no sheet has a column {text}", AGAIN)


def _check_csv(rows: list[Row], assisted: StateRows, metal: StateRows) -> None:
    """Refuse a zip whose workbook and csv file differ in a figure that is read."""
    by_state = {fips_of(row, _CSV_STATE): row for row in rows if row.text(_CSV_STATE) != "Total"}
    for sheet, columns in ((assisted, (_CONSUMERS, _WITH_CREDIT, _CREDIT)), (metal, (_BRONZE,))):
        for fips, row in sheet.states.items():
            if fips not in by_state:
                raise InputError(f"the csv file lacks the state of {row.where}", AGAIN)
            other = by_state[fips]
            same = other.text(_CSV_PLATFORM) == sheet.platform(fips)
            for column in columns:
                same = same and _plain(other.cell(_CSV[column])) == _plain(row.cell(column))
            if not same:
                raise InputError(f"{other.where} and {row.where} differ in {', '.join(columns)} or the platform", AGAIN)


def _plain(cell: object) -> str:
    """A cell without what the csv file writes around a number."""
    return str(cell).strip().lstrip("$").replace(",", "")


def _of_state(fips: int, assisted: StateRows, metal: StateRows) -> Selections:
    row, other = assisted.states[fips], metal.states[fips]
    consumers = row.whole(_CONSUMERS)
    if (consumers, assisted.platform(fips)) != (other.whole(_CONSUMERS), metal.platform(fips)):
        raise InputError(f"{row.where} has another platform or number of consumers than {other.where}", AGAIN)
    with_credit, notes = published(row, _WITH_CREDIT)
    credit = None if with_credit is None else row.number(_CREDIT)
    if with_credit is not None and not 0 < with_credit <= consumers:
        raise InputError(f"{row.where}: {_WITH_CREDIT} is 0 or exceeds {_CONSUMERS}", AGAIN)
    return Selections(assisted.platform(fips), consumers, with_credit, credit, published(other, _BRONZE)[0], row.where, notes)


def _read(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_ZIP, scope.year, _TABLE)
    return list(_credit_figures(_selections(path, year, scope), year))


def _credit_figures(by_state: Mapping[int, Selections], year: int) -> Iterator[Figure]:
    known = [chosen.with_credit for chosen in by_state.values()]
    lacking = [chosen.notes for chosen in by_state.values() if chosen.notes]
    total = None if lacking else sum(persons for persons in known if persons is not None)
    notes = lacking[0] if lacking else f"{_WITH_CREDIT}, plan selections, sum of the states"
    yield Figure("person_count", total, year, NATION, _SOURCE, (_USES,), notes=notes)
    for fips, chosen in by_state.items():
        notes = chosen.notes or f"{_WITH_CREDIT}, plan selections"
        yield Figure("person_count", chosen.with_credit, year, fips, _SOURCE, (_USES,), notes=notes)


def _read_bronze(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_METAL, scope.year, _BRONZE_TABLE)
    by_state = selections(raw, year, scope)
    rows: dict[int, Row] = {}
    for row in read_csv(path, _METAL_COLUMNS):
        if row.whole("YEAR") != year:
            raise InputError(f"{row.where} is not of {year}", AGAIN)
        if (row.text("METAL_LEVEL"), row.text("ENROLLMENT_STATUS")) != ("B", "All"):
            continue
        fips = fips_of(row, "STATE_CODE")
        if rows.setdefault(fips, row) is not row:
            raise InputError(f"{row.where}: the bronze plans of {row.text('STATE_CODE')} are there twice", AGAIN)
    scope.check_states(set(rows), f"{path.name}, metal level B,")
    return [_bronze(row, by_state[fips], fips, year) for fips, row in sorted(rows.items()) if _on_platform(row, by_state[fips])]


def _on_platform(row: Row, chosen: Selections) -> bool:
    """Whether the state is on HealthCare.gov; other states' credits by metal level are not published."""
    if row.text("PLATFORM") != chosen.platform or row.number("CONSUMERS") != chosen.bronze:
        raise InputError(
            f"{row.where} has another platform or number of consumers with bronze plans than {chosen.where}", AGAIN
        )
    return chosen.platform == HEALTHCARE_GOV


def _bronze(row: Row, chosen: Selections, fips: int, year: int) -> Figure:
    consumers, share, persons = row.number("CONSUMERS"), row.number("APTC_SHARE"), row.number("APTC_CONSUMERS")
    if share > 1 or abs(persons - consumers * share) > 0.01:
        raise InputError(f"{row.where}: APTC_CONSUMERS is not CONSUMERS times APTC_SHARE", AGAIN)
    notes = f"bronze plans, {consumers:.0f} consumers x {share:g} with APTC (share to a percent)"
    return Figure("person_count", persons, year, fips, _SOURCE, (_USES, _CHEAPER), notes=notes)


SOURCES = (
    PublishedFile(
        "????-oep-state-level-public-use-file.zip",
        "Marketplace open enrolment, state-level public use file",
        "https://www.cms.gov/files/zip/2024-oep-state-level-public-use-file.zip",
        columns=(_STATE, *_CSV),
        tables=(_TABLE, _BRONZE_TABLE, effectuated.TABLE),
    ),
    PublishedFile(
        "aca_marketplace_state_metal_selection_????.csv",
        "Marketplace open enrolment by state, metal level and enrolment status, from CMS's public use file of that name",
        "https://www.cms.gov/data-research/statistics-trends-reports/marketplace-products/"
        "2024-marketplace-open-enrollment-period-public-use-files",
        columns=_METAL_COLUMNS,
        tables=(_BRONZE_TABLE,),
    ),
)
TABLES = (
    Table(_TABLE, ("national", "state"), _read),
    Table(_BRONZE_TABLE, ("state",), _read_bronze, complete=False),
)
