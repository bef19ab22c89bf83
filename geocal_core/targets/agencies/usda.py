"""USDA Food and Nutrition Service: households with SNAP and SNAP benefits by state, a fiscal year's workbook at a time.

The workbooks lie in one zip; each has a sheet per region with a block of months and a ``Total`` row per state, and a summary
of the United States. Header rows, blocks and totals are found by their text. Narrow in one thing: a year that is
not complete is refused. Guam and the Virgin Islands, which the summary includes, are left out of the nation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

from geocal_core.errors import InputError
from geocal_core.places.states import STATES
from geocal_core.published import PublishedFile
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, names_in_zip
from geocal_core.targets.workbooks import Sheet, open_workbook

_ARCHIVE = r"snap-?zip.*\.zip"
_SUMMARY = "US Summary"
_FIPS = {state.name: state.fips for state in STATES}
_TERRITORIES = frozenset(
    {
        *("American Samoa", "Commonwealth of Northern Mariana Islands", "Guam", "Puerto Rico", "Virgin Islands"),
        "Outlying Areas",  # until 2014
    }
)
_FOOTERS = ("Footnotes:", "1. FNS-388 data")  # the second until 2014
_NONE = "--"
_NO_DATA = "No data found."  # below the name of a territory that runs another program, until 2019
_MONTHS = ("Oct", "Nov", "Dec", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep")
_HOUSEHOLDS, _BENEFITS = "Household", "Cost"
_FOOTNOTE_MARK = re.compile(r"\s*(\d+/|/\d+)$")
_AGAIN = "get the zip again from FNS"


@dataclass(frozen=True)
class _Block:
    """One state's, territory's or region's part of a sheet: monthly rows and the row of the year."""

    name: str
    months: tuple[Row, ...]
    total: Row

    @property
    def empty(self) -> bool:
        """Whether the program does not run there: dashes throughout."""
        return all(row.cell(column) == _NONE for row in (*self.months, self.total) for column in (_HOUSEHOLDS, _BENEFITS))


def _read_snap(raw: RawFiles, scope: Scope) -> list[Figure]:
    path = _archive(raw)
    name, sheets = _workbook(path, scope.year)
    where = f"{path.name}, {name}"
    states: dict[str, _Block] = {}
    summary: _Block | None = None
    for title, sheet in ((title.strip(), sheet) for title, sheet in sheets.items()):
        for block in _blocks(sheet, f"{where}, sheet {title}", scope.year):
            if block.name == _SUMMARY and title == _SUMMARY:
                summary = block
            elif block.name != title:  # a region's own total repeats its states
                _add(states, block)
    if summary is None:
        raise InputError(f"{where} has no sheet {_SUMMARY}", _AGAIN)
    totals = {block_name: _year(block) for block_name, block in [*states.items(), (_SUMMARY, summary)] if not block.empty}
    scope.check_states({_FIPS[state] for state in totals if state in _FIPS}, where)
    _check_summary(totals, where)
    return list(_figures(totals, scope, name))


def _archive(raw: RawFiles) -> Path:
    found = raw.matching(_ARCHIVE)
    if len(found) != 1:
        there = ", ".join(found) or "none"
        raise InputError(
            f"one snap-zip-fy69tocurrent-*.zip is wanted below {raw.place}, and there is {there}",
            "keep the latest one from FNS, or leave the table usda_snap out (setting without)",
        )
    return raw.use(next(iter(found.values())))


def _workbook(path: Path, year: int) -> tuple[str, Mapping[str, Sheet]]:
    """The workbook of a fiscal year, in the format of its time: its name in the zip, and its sheets."""
    there = names_in_zip(path)
    stem = f"FY{year % 100:02d}"
    names = [name for name in (f"{stem}.xlsx", f"{stem}.xls") if name in there]
    if not names:
        years = ", ".join(there)
        raise InputError(f"{path.name} has no {stem}.xlsx", f"get a zip that has this fiscal year; this one has {years}")
    return names[0], open_workbook(path, names[0])


def _blocks(sheet: Sheet, where: str, year: int) -> Iterator[_Block]:
    """Blocks of a sheet, between the header and the footnotes."""
    rows = [[_plain(cell) for cell in row] for row in sheet.cells]
    if not any(f"Fiscal Year {year}" in str(cell) for row in rows[:10] for cell in row):
        raise InputError(f"{where} does not say that it is of fiscal year {year}", "get the workbook of that year")
    start, columns = _header(rows, where)
    name = ""
    months: list[Row] = []
    for number, cells in enumerate(rows[start:], start=start + 1):
        label = cells[0]
        if label is not None and label.startswith(_FOOTERS):
            break
        row = Row(f"{where}, row {number}", {column: cells[position] for column, position in columns.items()})
        if label is None:
            continue
        if label == "Total":
            yield _Block(name, tuple(months), row)
            name, months = "", []
        elif label[:3] in _MONTHS and label[3:] == f" {_calendar_year(label, year)}":
            months.append(row)
        elif label == _NO_DATA and name in _TERRITORIES:
            name = ""
        elif not name and all(cell is None for cell in cells[1:]):
            name = label
        else:
            raise InputError(f"{row.where}, column A holds {label!r} where a month or Total is wanted", _AGAIN)
    if name:
        raise InputError(f"{where}: the block of {name} has no row Total", _AGAIN)


def _calendar_year(label: str, fiscal_year: int) -> int:
    return fiscal_year - 1 if label[:3] in _MONTHS[:3] else fiscal_year


def _plain(cell: Any) -> Any:
    """A cell without footnote marks and blanks; blank text is an empty cell."""
    return (_FOOTNOTE_MARK.sub("", cell).strip() or None) if isinstance(cell, str) else cell


def _header(rows: list[list[Any]], where: str) -> tuple[int, Mapping[str, int]]:
    """Index of the first row below the header, and where households and benefits stand.

    The header is two rows: ``Participation`` above, ``Household`` and ``Persons`` below, ``Cost`` above (below until 2014).
    ``Household`` stands once below ``Participation`` and once below ``Cost Per``.
    """
    for index in range(1, len(rows)):
        above, below = rows[index - 1], rows[index]
        costs = [row.index(_BENEFITS) for row in (above, below) if _BENEFITS in row]
        if "Participation" in above and costs and _HOUSEHOLDS in below:
            households = above.index("Participation")
            if below[households] != _HOUSEHOLDS:
                raise InputError(f"{where}, row {index + 1}: the first column below Participation is not Household", _AGAIN)
            return index + 1, {_HOUSEHOLDS: households, _BENEFITS: costs[0]}
    raise InputError(f"{where} has no header with Participation, Cost and Household", _AGAIN)


def _add(states: dict[str, _Block], block: _Block) -> None:
    if block.name not in _FIPS and block.name not in _TERRITORIES:
        raise InputError(f"{block.total.where}: {block.name!r} is no state and no territory", _AGAIN)
    if block.name in states:
        raise InputError(f"{block.total.where}: {block.name} is there twice", _AGAIN)
    states[block.name] = block


def _year(block: _Block) -> tuple[float, float]:
    """Average monthly households and benefits in dollars of a year, which must agree with its twelve months."""
    if len(block.months) != len(_MONTHS):
        raise InputError(f"{block.total.where}: {block.name} has {len(block.months)} months instead of 12", _AGAIN)
    households, benefits = block.total.number(_HOUSEHOLDS), block.total.number(_BENEFITS)
    average = sum(row.number(_HOUSEHOLDS) for row in block.months) / len(_MONTHS)
    paid = sum(row.number(_BENEFITS, signed=True) for row in block.months)  # corrections of earlier months may outweigh one
    # Averages are rounded to four decimals; months of benefits to whole dollars.
    if abs(households - average) > 0.01 or abs(benefits - paid) > len(_MONTHS):
        raise InputError(f"{block.total.where}: the Total of {block.name} does not agree with its months", _AGAIN)
    return households, benefits


def _check_summary(totals: Mapping[str, tuple[float, float]], where: str) -> None:
    parts = [total for name, total in totals.items() if name != _SUMMARY]
    for index, what in enumerate(("households", "benefits")):
        whole, added = totals[_SUMMARY][index], sum(part[index] for part in parts)
        if abs(whole - added) > len(parts):
            raise InputError(
                f"{where}: {what} of states and territories add up to {added:.15g}, but {_SUMMARY} has {whole:.15g}", _AGAIN
            )


def _figures(totals: Mapping[str, tuple[float, float]], scope: Scope, name: str) -> Iterator[Figure]:
    receives = (Constraint("snap", ">", "0"),)
    by_place = {state.fips: totals[state.name] for state in scope.states}
    by_place[NATION] = (fsum(t[0] for t in by_place.values()), fsum(t[1] for t in by_place.values()))
    for place in sorted(by_place):
        notes = f"{name}, the states and the District" if place == NATION else f"{name}, Total"
        for variable, value in zip(("household_count", "snap"), by_place[place], strict=True):
            yield Figure(variable, value, scope.year, place, "USDA FNS SNAP", (receives,), notes=notes)


SOURCES = (
    PublishedFile(
        "snap-zip-fy69tocurrent-6.zip",
        "USDA FNS workbooks of SNAP by state and month",
        "https://www.fns.usda.gov/sites/default/files/resource-files/snap-zip-fy69tocurrent-6.zip",
        lookalike="snap-zip-fy69tocurrent*.zip",
    ),
)
TABLES = (Table("usda_snap", ("national", "state"), _read_snap, count_rounding=1.0, dollar_rounding=1.0),)
