"""One table of IRS Statistics of Income as a workbook: its tax year, its columns by their header texts, its cells with marks.

Everything is found by text: the title with the tax year, the line that says that money is in thousands of dollars, the header,
the footnotes. A mark stands for no figure only where a footnote of the same table explains it: ``d``, ``N/A`` and
``**`` (data combined with other cells). ``*`` (few sample returns, use with caution) goes before a figure. SOI draws asterisks
by the cell's number format, so that ``**`` stands before a number that is not the cell's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geocal_core.errors import InputError
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.files import RawFiles, Row
from geocal_core.targets.workbooks import Sheet, column_named, open_workbook, plain

THOUSAND = 1000.0
AGAIN = "get the file again from IRS SOI"

_CENTURY = 70  # files are named by two digits of the tax year; the oldest workbooks are of the 1990s
_YEAR = re.compile(r"\bTax Year (\d{4})\b")
_UNIT = re.compile(r"money amounts are in (.+?) of dollars")
_COLUMN_NUMBER = re.compile(r"\(\d+\)")
_MARKED = re.compile(r"(\*{1,2})(?!\*)\s*(.*)")
_COMBINED = "**"
_FOOTNOTE = re.compile(r"(\*{1,2}|d|N/A)(?=\s)")
_LOWEST = re.compile(r"No adjusted gross income( \(includes deficits\))?")
_UNDER = re.compile(r"Under \$?([\d,]+)")
_BETWEEN = re.compile(r"\$?([\d,]+) under \$?([\d,]+)")
_OVER = re.compile(r"\$?([\d,]+) (?:and|or) (?:more|over)")

Range = tuple[Constraint, ...]


@dataclass(frozen=True)
class Cell:
    """A figure of a table as published, None if withheld; ``note`` says where it stands and which mark is on it."""

    value: float | None
    note: str


@dataclass(frozen=True)
class StatisticalTable:
    """A table of SOI.

    Attributes
    ----------
    sheet : Sheet
    year : int
        Tax year.
    stub : int
        Index of the column with the rows' labels.
    columns : mapping
        Index of each column by its header texts, top down.
    body : int
        Index of the first row below the header.
    footnotes : frozenset of str
        Marks that a footnote explains.
    """

    sheet: Sheet
    year: int
    stub: int
    columns: Mapping[tuple[str, ...], int]
    body: int
    footnotes: frozenset[str]

    def label(self, row: int) -> str:
        """Label of a row."""
        return self.sheet.text(row, self.stub)

    def cell(self, row: int, path: str) -> Cell:
        """The cell of a row in the column of these header texts, written ``Pensions and annuities / Taxable / Amount``."""
        column = column_named(self.columns, self.sheet.where, *path.split(" / "))
        content = self.sheet.cells[row][column]
        mark = self.sheet.marks.get((row, column), "")
        if isinstance(content, str):
            content = content.strip()
            if marked := _MARKED.fullmatch(content):
                mark, content = marked[1], marked[2]
        where = f"{self.sheet.where}, row {row + 1}"
        if mark and mark not in self.footnotes:
            raise InputError(f"{where}, column {path} has the mark {mark!r}, which no footnote explains", AGAIN)
        note = f"{where} ({self.label(row)}), {path}"
        if mark == _COMBINED or (isinstance(content, str) and content in self.footnotes):
            return Cell(None, f"withheld: {mark or content!r} in {note}")
        value = Row(where, {path: content}).number(path, signed=True)
        return Cell(value, f"{note}, marked {mark}: few sample returns" if mark else note)

    def printed(self, row: int, path: str) -> float | None:
        """The number in a cell whatever its mark, None if there is none: combined data are not the cell's, yet add up."""
        column = column_named(self.columns, self.sheet.where, *path.split(" / "))
        content = self.sheet.cells[row][column]
        return float(content) if isinstance(content, int | float) else self.cell(row, path).value


def read_table(path: Path, title: str, year: int, stub: str) -> StatisticalTable:
    """Read the only table of a workbook.

    Parameters
    ----------
    path : Path
    title : str
        What its title begins with, such as ``Table 1.4.``.
    year : int
        Tax year that the file's name says.
    stub : str
        Regular expression of the text above the rows' labels.

    Raises
    ------
    InputError
        If it is another table or of another year, if it does not say that money is in thousands of dollars, or has no header.
    """
    filled = [sheet for sheet in open_workbook(path).values() if any(any(row) for row in sheet.cells)]
    if len(filled) != 1:
        raise InputError(f"{path.name} has {len(filled)} sheets with data instead of one", AGAIN)
    sheet = filled[0]
    head, label = _stub(sheet, stub)
    above = [plain(cell) for row in sheet.cells[:head] for cell in row if cell is not None]
    if not any(text.startswith(title) for text in above):
        raise InputError(f"{sheet.where} has no title that begins with {title!r}", "get the table of that number from IRS SOI")
    years = {int(found) for text in above for found in _YEAR.findall(text)}
    if years != {year}:
        there = " and ".join(map(str, sorted(years))) or "none"
        raise InputError(f"{sheet.where}: the file's name says tax year {year}, its title {there}", AGAIN)
    units = {found for text in above for found in _UNIT.findall(text)}
    if units != {"thousands"}:
        there = " and ".join(sorted(units)) or "nothing"
        raise InputError(f"{sheet.where} should say that money amounts are in thousands of dollars; it says {there}", AGAIN)
    numbered = next((row for row in range(head, len(sheet.cells)) if _has_numbers(sheet.cells[row], label)), None)
    if numbered is None:
        raise InputError(f"{sheet.where} has no row with numbers below its header", AGAIN)
    # The first row of numbers numbers the columns; a table without one begins with its total.
    body = numbered if sheet.text(numbered, label) else numbered + 1
    marks = (_FOOTNOTE.match(str(row[label] or "").strip()) for row in sheet.cells[body:])
    footnotes = frozenset(found[1] for found in marks if found)
    return StatisticalTable(sheet, year, label, sheet.headed(head, numbered - 1), body, footnotes)


def _stub(sheet: Sheet, pattern: str) -> tuple[int, int]:
    for row in range(len(sheet.cells)):
        for column in range(len(sheet.cells[row])):
            if re.fullmatch(pattern, sheet.text(row, column)):
                return row, column
    raise InputError(f"{sheet.where} has no header {pattern!r}", AGAIN)


def _has_numbers(cells: Sequence[Any], stub: int) -> bool:
    beside = cells[stub + 1 :]
    return any(isinstance(c, int | float) or (isinstance(c, str) and _COLUMN_NUMBER.fullmatch(c.strip())) for c in beside)


def latest(raw: RawFiles, year: int, suffix: str) -> tuple[Path, int]:
    """The workbook ``{yy}suffix`` of the latest tax year not after a year, and that tax year.

    Parameters
    ----------
    suffix : str
        What follows the two digits of the year, without ``.xls`` or ``.xlsx``.
    """
    by_year: dict[int, list[Path]] = {}
    for name, path in raw.matching(rf"\d\d{re.escape(suffix)}\.xlsx?").items():
        digits = int(name[:2])
        by_year.setdefault(digits + (1900 if digits >= _CENTURY else 2000), []).append(path)
    usable = [found for found in by_year if found <= year]
    if not usable:
        there = ", ".join(path.name for paths in by_year.values() for path in paths)
        raise InputError(
            f"{{yy}}{suffix}.xls of {year} or before is wanted below {raw.place}, and there is {there or 'none'}",
            "get it from IRS SOI, or leave its table out (setting without)",
        )
    paths = by_year[max(usable)]
    if len(paths) > 1:
        raise InputError(f"{' and '.join(path.name for path in paths)} are one table", "keep one of the two")
    return raw.use(paths[0]), max(usable)


def ranges(table: StatisticalTable, total: str, variable: str, apart: str = "") -> tuple[int, dict[int, Range], list[int]]:
    """Rows of a table's first block: its total, and below it the ranges of a variable.

    Ranges must follow each other without gap, from one without a lower to one without an upper bound, where the block ends. No
    adjusted gross income is what lies below one dollar.

    Parameters
    ----------
    table : StatisticalTable
    total : str
        Label of the row of the total.
    variable : str
        What is divided into ranges, such as ``age``.
    apart : str
        Label of a row that is in the total and in no range; empty if there is none.

    Returns
    -------
    total : int
        Index of its row.
    ranges : dict
        Constraints of each range by index of its row.
    apart : list of int
        Indices of the rows apart.
    """
    rows = range(table.body, len(table.sheet.cells))
    start = next((row for row in rows if table.label(row) == total), None)
    if start is None:
        raise InputError(f"{table.sheet.where} has no row {total!r}", AGAIN)
    found: dict[int, Range] = {}
    others: list[int] = []
    reached: int | None = None
    for row in range(start + 1, len(table.sheet.cells)):
        label = table.label(row)
        if apart and label == apart and not others:
            others.append(row)
            continue
        low, high = _bounds(label, f"{table.sheet.where}, row {row + 1}", variable)
        if low != reached:
            raise InputError(f"{table.sheet.where}, row {row + 1}: {label!r} does not follow the row above it", AGAIN)
        above = () if low is None else (Constraint(variable, ">=", str(low)),)
        below = () if high is None else (Constraint(variable, "<", str(high)),)
        found[row] = (*above, *below)
        if high is None:
            return start, found, others
        reached = high
    raise InputError(f"{table.sheet.where} has no last row without an upper bound", AGAIN)


def _bounds(label: str, where: str, variable: str) -> tuple[int | None, int | None]:
    if _LOWEST.fullmatch(label):
        return None, 1
    if match := _UNDER.fullmatch(label):
        return None, _whole(match[1])
    if match := _BETWEEN.fullmatch(label):
        return _whole(match[1]), _whole(match[2])
    if match := _OVER.fullmatch(label):
        return _whole(match[1]), None
    raise InputError(f"{where}: {label!r} is no range of {variable}", AGAIN)


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


def check_sum(table: StatisticalTable, path: str, total: int, parts: Sequence[int]) -> None:
    """Refuse a column whose rows do not add up to their total within rounding; not where a part has no number at all."""
    values = [table.printed(row, path) for row in parts]
    whole = table.printed(total, path)
    numbers = [value for value in values if value is not None]
    if whole is None or len(numbers) < len(values):
        return
    if abs(sum(numbers) - whole) > (len(values) + 1) / 2:
        raise InputError(
            f"{table.sheet.where}, row {total + 1}, column {path} has {whole:.15g}, and its rows add up to {sum(numbers):.15g}",
            AGAIN,
        )
