"""HHS Administration for Children and Families: families on TANF and what is paid to them, by state and fiscal year.

The caseload workbook counts families (sheet ``TFam``: a column per month and their average), the financial workbook dollars
(sheet ``A.1`` of the nation, one sheet per state; line of basic assistance without foster care, column of all funds). Both
are read for the latest fiscal year not after the year wanted. Guam, Puerto Rico and the Virgin Islands are in the caseload's
U.S. total, not in the financial nation: the nation here is the 50 states and the District in both.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from typing import Any

from geocal_core.errors import InputError
from geocal_core.places.states import STATES
from geocal_core.published import PublishedFile
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row
from geocal_core.targets.workbooks import Sheet, column_named, open_workbook, plain

# Published as fy2024_tanf_caseload.xlsx; also kept as tanf_caseload_2024.xlsx.
_CASELOAD_FILE = r"(?:fy|tanf_caseload_)(\d{4})(?:_tanf_caseload)?\.xlsx"
_CASELOAD_TABLE = "acf_tanf_caseload"
_CASELOAD_SHEET = "TFam"
_US = "U.S. Totals"
_TERRITORIES = frozenset({"Guam", "Puerto Rico", "Virgin Islands"})

_FINANCIAL_FILE = r"fy-?(\d{4})[-_]tanf[-_](?:and_)?moe[-_]financial[-_]data.*\.xlsx"
_FINANCIAL_TABLE = "acf_tanf_financial"
_TITLE = re.compile(r"(.+?)\.?: Federal TANF and State MOE Expenditures Summary by ACF-196R Spending Category, FY (\d{4})")
_NATION_SHEET = "A.1"
_CATEGORY, _FEDERAL, _ALL = "Spending Category", "Federal Funds", "All Funds"
_STATE_FUNDS = "State MOE in TANF and Separate State Programs"
_FUNDS = (_FEDERAL, _STATE_FUNDS, _ALL)
_WHOLE = "Basic Assistance"
_LINE = "Basic Assistance (excluding"
_REST = "Relative Foster Care Maintenance Payments"

_FIPS = {state.name: state.fips for state in STATES}
_RECEIVES = ((Constraint("tanf", ">", "0"),),)
_CENT = 0.011
_DATE_IN_TEXT = re.compile(r"([A-Z][a-z]{2})[a-z]*\.?[ -]*(?:20)?(\d\d)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MARKS = re.compile(r"[\s*†‡\d]+$")
_AGAIN = "get the workbook again from ACF"


def _read_caseload(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_CASELOAD_FILE, scope.year, _CASELOAD_TABLE, called="tanf_caseload_{year}.xlsx")
    sheet = _sheet(open_workbook(path), _CASELOAD_SHEET, path.name)
    if not any(sheet.text(index, 0) == f"Fiscal Year {year}" for index in range(min(10, len(sheet.cells)))):
        raise InputError(f"{sheet.where} does not say that it is of fiscal year {year}", "get the workbook of that year")
    families = _families(sheet, year)
    if _US not in families:
        raise InputError(f"{sheet.where} has no row {_US}", _AGAIN)
    scope.check_states({_FIPS[name] for name in families if name in _FIPS}, sheet.where)
    _check_total(families, sheet.where)
    by_place = {state.fips: families[state.name].average for state in scope.states}
    beyond = [name for name in families if name in _TERRITORIES]
    by_place[NATION] = fsum(by_place.values())
    nation = f"{_US} {families[_US].average:,.2f} less {', '.join(beyond)}" if beyond else _US
    return [
        Figure(
            "spm_unit_count",
            value,
            year,
            place,
            "HHS ACF TANF Caseload",
            _RECEIVES,
            notes=f"{path.name}, {_CASELOAD_SHEET}, Average FY {year}" + (f", {nation}" if place == NATION else ""),
        )
        for place, value in sorted(by_place.items())
    ]


@dataclass(frozen=True)
class _Families:
    """Families of one row of the caseload: each month of the fiscal year, and their average."""

    months: tuple[float, ...]
    average: float


def _families(sheet: Sheet, year: int) -> Mapping[str, _Families]:
    header = sheet.row_with("State", column=0)
    columns = _caseload_columns(sheet, header, year)
    found: dict[str, _Families] = {}
    for row in sheet.rows(header + 1, columns):
        if row.cell("State") is None:
            break
        name = _name(row, "State")
        if name not in _FIPS and name not in _TERRITORIES and name != _US:
            raise InputError(f"{row.where}, column State holds {name!r}, which is no state and no territory", _AGAIN)
        if name in found:
            raise InputError(f"{row.where}: {name} is there twice", _AGAIN)
        months = tuple(row.number(column) for column in columns if column not in ("State", "Average"))
        average, mean = row.number("Average"), fsum(months) / len(months)
        if abs(average - mean) > 1e-4 and average != round(mean):
            raise InputError(f"{row.where}: the average {average:.15g} is not that of its months ({mean:.15g})", _AGAIN)
        found[name] = _Families(months, average)
    return found


def _caseload_columns(sheet: Sheet, header: int, year: int) -> Mapping[str, int]:
    """Columns of the state, of the twelve months of the fiscal year (October to September), and of their average."""
    cells = sheet.cells[header]
    months = {month: index for index, cell in enumerate(cells) if (month := _month(cell)) is not None}
    wanted = [(year - 1, month) for month in (10, 11, 12)] + [(year, month) for month in range(1, 10)]
    lacking = [f"{month}/{of}" for of, month in wanted if (of, month) not in months]
    averages = [index for index, cell in enumerate(cells) if re.fullmatch(rf"Average (FY )?{year}", plain(cell))]
    if lacking or len(months) != len(wanted) or len(averages) != 1:
        raise InputError(
            f"{sheet.where}, row {header + 1} has not one column for each month of fiscal year {year} and one Average FY {year}"
            + (f" (see {lacking[0]})" if lacking else ""),
            _AGAIN,
        )
    return {"State": 0, **{f"{of}-{month:02d}": months[of, month] for of, month in wanted}, "Average": averages[0]}


def _month(cell: Any) -> tuple[int, int] | None:
    """Year and month of a header cell, which is a date or a text such as ``Oct-23``; None for any other cell."""
    if isinstance(cell, datetime.datetime):
        return cell.year, cell.month
    match = _DATE_IN_TEXT.fullmatch(plain(cell))
    return (2000 + int(match[2]), _MONTHS.index(match[1]) + 1) if match and match[1] in _MONTHS else None


def _check_total(families: Mapping[str, _Families], where: str) -> None:
    parts = [row for name, row in families.items() if name != _US]
    for index, whole in enumerate(families[_US].months):
        added = fsum(part.months[index] for part in parts)
        if added != whole:
            raise InputError(
                f"{where}: states and territories add up to {added:.15g} in month {index + 1} of the fiscal year, "
                f"but {_US} has {whole:.15g}",
                _AGAIN,
            )


def _read_financial(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_FINANCIAL_FILE, scope.year, _FINANCIAL_TABLE, called="fy-{year}-tanf-moe-financial-data.xlsx")
    paid: dict[str, float] = {}
    for sheet in open_workbook(path).values():
        title = _TITLE.fullmatch(sheet.text(0, 0)) if sheet.cells and sheet.cells[0] else None
        if title is None:
            continue
        if int(title[2]) != year:
            raise InputError(f"{sheet.where} is of fiscal year {title[2]}, not {year}", "get the workbook of that year")
        if title[1] in paid:
            raise InputError(f"{sheet.where}: {title[1]} is there twice", _AGAIN)
        paid[title[1]] = _basic_assistance(sheet)
    if _NATION_SHEET not in paid:
        raise InputError(f"{path.name} has no sheet {_NATION_SHEET} of the nation by spending category", _AGAIN)
    scope.check_states({_FIPS[name] for name in paid if name in _FIPS}, path.name)
    by_place = {state.fips: paid[state.name] for state in scope.states}
    by_place[NATION] = paid[_NATION_SHEET]
    added = fsum(value for place, value in by_place.items() if place != NATION)
    if abs(added - by_place[NATION]) > _CENT * len(by_place):
        raise InputError(
            f"{path.name}: the states add up to {added:.2f} dollars of {_LINE} ...), but {_NATION_SHEET} has "
            f"{by_place[NATION]:.2f}",
            _AGAIN,
        )
    return [
        Figure("tanf", value, year, place, "HHS ACF TANF Financial", _RECEIVES, notes=f"{path.name}, {_LINE} ...), {_ALL}")
        for place, value in sorted(by_place.items())
    ]


def _basic_assistance(sheet: Sheet) -> float:
    """Dollars of basic assistance without foster care and adoption, of all funds; the parts must add up both ways."""
    header = sheet.row_with(_CATEGORY, *_FUNDS)
    headed = sheet.headed(header, header)
    columns = {name: column_named(headed, sheet.where, name) for name in (_CATEGORY, *_FUNDS)}
    lines: dict[str, Row] = {}
    for row in sheet.rows(header + 1, columns):
        label = plain(row.cell(_CATEGORY))
        for line in (_LINE, _REST, _WHOLE):
            if (label == line) if line == _WHOLE else label.startswith(line):
                if line in lines:
                    raise InputError(f"{row.where}: the line {label!r} is there twice", _AGAIN)
                lines[line] = row
                break
    for line in (_LINE, _REST, _WHOLE):
        if line not in lines:
            raise InputError(f"{sheet.where} has no line {line!r}", _AGAIN)
    for row in lines.values():
        federal, of_state, total = (row.number(column, signed=True) for column in _FUNDS)
        if abs(federal + of_state - total) > _CENT:
            raise InputError(f"{row.where}: {_FEDERAL} and {_STATE_FUNDS} do not add up to {_ALL}", _AGAIN)
    paid, rest, whole = (lines[line].number(_ALL, signed=line == _REST) for line in (_LINE, _REST, _WHOLE))
    if abs(paid + rest - whole) > _CENT:
        raise InputError(f"{sheet.where}: the two parts of {_WHOLE} do not add up to it", _AGAIN)
    return paid


def _sheet(sheets: Mapping[str, Sheet], name: str, file: str) -> Sheet:
    if name not in sheets:
        raise InputError(f"{file} has no sheet {name}", _AGAIN)
    return sheets[name]


def _name(row: Row, column: str) -> str:
    """A place's name without footnote marks behind it."""
    return _MARKS.sub("", plain(row.text(column)))


def _sources() -> Iterator[PublishedFile]:
    yield PublishedFile(
        "*tanf_caseload*.xlsx",
        "TANF caseload of a fiscal year: families by state and month",
        "https://acf.gov/sites/default/files/documents/ofa/fy2024_tanf_caseload.xlsx",
        columns=("State", "Average FY 2024"),
        tables=(_CASELOAD_TABLE,),
    )
    yield PublishedFile(
        "fy*tanf*moe*financial*data*.xlsx",
        "TANF and MOE expenditures of a fiscal year by spending category and state",
        "https://acf.gov/sites/default/files/documents/ofa/fy-2024-tanf-moe-financial-data.xlsx",
        columns=(_CATEGORY, *_FUNDS),
        tables=(_FINANCIAL_TABLE,),
    )


SOURCES = tuple(_sources())
TABLES = (
    Table(_CASELOAD_TABLE, ("national", "state"), _read_caseload, count_rounding=1.0),
    Table(_FINANCIAL_TABLE, ("national", "state"), _read_financial, dollar_rounding=1.0),
)
