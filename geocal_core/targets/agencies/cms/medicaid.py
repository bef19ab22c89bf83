"""CMS, monthly reports of Medicaid and CHIP (data.medicaid.gov): persons in Medicaid by state in December.

The file has each month twice, as first reported (``Final Report`` N) and final (Y); the final report of the latest December not
after the year wanted is read. Narrow in one thing: a state that could not report that month, which CMS writes as 0 with a
footnote, gets no figure, and the nation none either: a sum of the others, as a target of all, would leave nobody to that
state. No other month stands in for it.
"""

from __future__ import annotations

import re
from pathlib import Path

from geocal_core.errors import InputError
from geocal_core.places.states import state_of_fips
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.cms.sheets import AGAIN, fips_of
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_csv

_TABLE = "cms_medicaid"
_SOURCE = "CMS Medicaid"
_FILES = r"medicaid_enrollment_\d{4}\.csv"
_STATE, _MONTH, _FINAL = "STATE ABBREVIATION", "REPORTING PERIOD", "FINAL REPORT"
_MEDICAID, _CHIP, _BOTH = "TOTAL MEDICAID ENROLLMENT", "TOTAL CHIP ENROLLMENT", "TOTAL MEDICAID AND CHIP ENROLLMENT"
_FOOTNOTE = f"{_MEDICAID} - FOOTNOTES"
_COLUMNS = (_STATE, _MONTH, _FINAL, _MEDICAID, _CHIP, _BOTH, _FOOTNOTE)
_NOT_REPORTED = "unable to provide data"
_ENROLLED = (Constraint("medicaid_enrolled", "==", "True"),)


def _read(raw: RawFiles, scope: Scope) -> list[Figure]:
    path = _file(raw)
    rows = read_csv(path, _COLUMNS)
    year = _year(rows, scope.year, path)
    month = f"{year}12"
    by_state: dict[int, Row] = {}
    for row in rows:
        if row.text(_MONTH) == month and _is_final(row) and by_state.setdefault(fips_of(row, _STATE), row) is not row:
            raise InputError(f"{row.where}: the final report of {row.text(_STATE)} for {month} is there twice", AGAIN)
    scope.check_states(set(by_state), f"{path.name}, final reports for {month},")
    figures = [_figure(by_state[state.fips], state.fips, year) for state in scope.states]
    return [_nation(figures, year), *figures]


def _file(raw: RawFiles) -> Path:
    """The newest file: each release has all months."""
    found = raw.matching(_FILES)
    if not found:
        raise InputError(
            f"a file medicaid_enrollment_{{year}}.csv is wanted below {raw.place}, and there is none",
            f"get it from data.medicaid.gov, or leave the table {_TABLE} out (setting without)",
        )
    return raw.use(found[max(found)])


def _year(rows: list[Row], wanted: int, path: Path) -> int:
    """The latest year not after the one wanted whose December has final reports."""
    years = [int(month[:4]) for row in rows if re.fullmatch(r"\d{4}12", month := row.text(_MONTH)) and _is_final(row)]
    usable = [year for year in years if year <= wanted]
    if not usable:
        raise InputError(f"{path.name} has no final report for a December of {wanted} or before", "get a later release")
    return max(usable)


def _is_final(row: Row) -> bool:
    mark = row.text(_FINAL)
    if mark not in ("Y", "N"):
        raise InputError(f"{row.where}, column {_FINAL} holds {mark!r} instead of Y or N", AGAIN)
    return mark == "Y"


def _figure(row: Row, place: int, year: int) -> Figure:
    persons, footnote = row.whole(_MEDICAID), str(row.cell(_FOOTNOTE)).strip()
    if persons + row.whole(_CHIP) != row.whole(_BOTH):
        raise InputError(f"{row.where}: {_MEDICAID} and {_CHIP} do not add up to {_BOTH}", AGAIN)
    reported = persons > 0
    if not reported and not footnote.lower().startswith(_NOT_REPORTED):
        raise InputError(f"{row.where}, column {_MEDICAID} holds 0, and no footnote says why", AGAIN)
    notes = f"December {year}, final report" + (f": {footnote}" if footnote else "")
    if not reported:
        notes = f"withheld: 0 in {row.where}, column {_MEDICAID}, with the footnote {footnote!r}"
    return Figure("person_count", persons if reported else None, year, place, _SOURCE, (_ENROLLED,), notes=notes)


def _nation(states: list[Figure], year: int) -> Figure:
    lacking = ", ".join(state_of_fips(figure.place).name for figure in states if figure.value is None)
    persons = sum(figure.value for figure in states if figure.value is not None)
    notes = f"December {year}, sum of the final reports"
    if lacking:
        notes = f"withheld: {notes} is {persons:,.0f} without {lacking}, not reported"
    return Figure("person_count", None if lacking else persons, year, NATION, _SOURCE, (_ENROLLED,), notes=notes)


SOURCES = (
    PublishedFile(
        "medicaid_enrollment_????.csv",
        "State Medicaid and CHIP applications, eligibility determinations and enrolment, every month",
        "https://data.medicaid.gov/dataset/6165f45b-ca93-5bb5-9d06-db29c692a360",
        columns=_COLUMNS,
        tables=(_TABLE,),
    ),
)
TABLES = (Table(_TABLE, ("national", "state"), _read),)
