"""Tables of IRS Statistics of Income, written small: the columns that are read, with figures that add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.worksheet.worksheet import Worksheet

from geocal_core.places.states import STATES
from geocal_core.targets.figures import Figure, Scope
from geocal_core.targets.workbooks import Sheet

WHOLE = Scope(2024, STATES)
SIZES = ("No adjusted gross income", "$1 under $5,000", "$5,000 under $1,000,000", "$1,000,000 or more")
FOOTNOTES = (
    "* Estimate should be used with caution because of the small number of sample returns on which it is based.",
    "** Data combined to prevent disclosure of specific taxpayer information.",
    "[1] Not included in total income.",
)
UNIT = "(All figures are estimates based on samples—money amounts are in thousands of dollars)"
Spoil = Callable[[Worksheet], None]


@dataclass(frozen=True)
class Written:
    """A table as it was written: the numbers of each column by its header texts, the total first."""

    path: Path
    numbers: Mapping[str, tuple[int, ...]]


def write(
    path: Path,
    title: str,
    stub: str,
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    down: int = 0,
    right: int = 0,
    total: str = "All returns, total",
    spoil: Spoil | None = None,
) -> Written:
    """Write a table, moved down and to the right; ``groups`` has the columns that make up another."""
    numbers: dict[str, tuple[int, ...]] = {}
    for index, column in enumerate(columns):
        parts = [100 * (index + 1) + 7 * row for row in range(1, len(rows) + 1)]
        numbers[column] = (sum(parts), *parts)
    for column, of_groups in (groups or {}).items():
        numbers[column] = tuple(sum(cells) for cells in zip(*(numbers[part] for part in of_groups), strict=True))
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.cell(1 + down, 1, title)
    sheet.cell(2 + down, 1, UNIT)
    depth = max(len(column.split(" / ")) for column in numbers)
    head, left = 3 + down, 1 + right
    sheet.cell(head, left, stub)
    _write_header(sheet, [column.split(" / ") for column in numbers], head, left + 1)
    for index, column in enumerate(numbers):
        sheet.cell(head + depth, left + 1 + index, index + 1)
        for row, number in enumerate(numbers[column], start=head + depth + 1):
            sheet.cell(row, left + 1 + index, number)
    for row, label in enumerate((total, *rows, "Taxable returns, total", *FOOTNOTES), start=head + depth + 1):
        sheet.cell(row, left, label)
    if spoil:
        spoil(sheet)
    book.save(path)
    return Written(path, numbers)


def _write_header(sheet: Worksheet, columns: list[list[str]], head: int, left: int) -> None:
    """Header texts, one row to a level; neighbours below the same texts share a merged cell."""
    for index, texts in enumerate(columns):
        for level, text in enumerate(texts):
            before = columns[index - 1] if index else []
            if before[: level + 1] == texts[: level + 1] and level + 1 < len(texts):
                continue
            sheet.cell(head + level, left + index, text.replace(" ", "\n", 1) + " [1]")
            last = index
            while last + 1 < len(columns) and columns[last + 1][: level + 1] == texts[: level + 1]:
                last += 1
            if last > index:
                sheet.merge_cells(
                    start_row=head + level, end_row=head + level, start_column=left + index, end_column=left + last
                )


def find(sheet: Worksheet, text: str) -> Any:
    """The first cell whose text begins so, line ends and footnote marks aside."""
    cells = (cell for row in sheet.iter_rows() for cell in row if cell.value is not None)
    return next(cell for cell in cells if " ".join(str(cell.value).split()).startswith(text))


def text(old: str, new: str) -> Spoil:
    """Replace the text of the cell that holds another."""

    def spoil(sheet: Worksheet) -> None:
        find(sheet, old).value = new

    return spoil


def moved(path: Path, sheet: Sheet, year: int, title_year: int, down: int, right: int, rows: int) -> Path:
    """Write the first rows of a sheet as another workbook, moved, with its merged cells and marks, of another tax year."""
    book = openpyxl.Workbook()
    copy = book.active
    assert copy is not None
    for r, cells in enumerate(sheet.cells[:rows]):
        for c, value in enumerate(cells):
            if value is None:
                continue
            if isinstance(value, str):
                value = value.replace(f"Tax Year {title_year}", f"Tax Year {year}")
            cell = copy.cell(r + 1 + down, c + 1 + right, value)
            if mark := sheet.marks.get((r, c)):
                cell.number_format = f'"{mark} "#,##0'
    for top, bottom, left, last in sheet.merged:
        if bottom < rows:
            copy.merge_cells(
                start_row=top + 1 + down, end_row=bottom + 1 + down, start_column=left + 1 + right, end_column=last + 1 + right
            )
    book.save(path)
    return path


def values(figures: Sequence[Figure]) -> dict[tuple[str, str], float | None]:
    """Values by variable and constraints below filers."""
    return {(f.variable, " ".join(str(c) for constraints in f.domain[1:] for c in constraints)): f.value for f in figures}
