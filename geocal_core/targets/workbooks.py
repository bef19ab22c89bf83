"""Workbooks as agencies publish them: sheets of ``.xls`` and ``.xlsx`` files as grids, and columns found by their header texts.

A header is several rows of merged cells; a column is named by the texts above it from the top down, such as
``("Taxable interest", "Amount")``, never by its letter. A mark that a publisher draws before a number by its number format
(``"** "#,##0``) is kept, since the number alone does not tell it. What cells and marks mean is the business of the agency's
module.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from geocal_core.errors import InputError
from geocal_core.targets.files import Row, read_member, refuse_page

_AGAIN = "get the file again from its publisher"
_FOOTNOTE = re.compile(r"\s*(\[\d+\]|\d+/)\s*")
_BLANK = re.compile(r"\s+")
# In a number format a bare asterisk fills the cell; a mark is quoted or escaped.
_FORMAT_MARK = re.compile(r'"\s*(\*+)\s*"|((?:\\\*)+)')


@dataclass(frozen=True)
class Sheet:
    """One sheet.

    Attributes
    ----------
    where : str
        File and sheet, for messages.
    cells : tuple of tuples
        Rows of cells as they were read: text, numbers, dates, None where empty. All rows are of one width.
    merged : tuple of (row, last row, column, last column)
        Merged ranges by index, both ends in them. Their value stands in the first cell.
    marks : mapping of (row, column) to str
        Asterisks that number formats draw before a number, by index.
    """

    where: str
    cells: tuple[tuple[Any, ...], ...]
    merged: tuple[tuple[int, int, int, int], ...]
    marks: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def text(self, row: int, column: int) -> str:
        """A cell as text without footnote marks, line ends and double blanks; empty if there is none."""
        return plain(self.cells[row][column])

    def row_with(self, *texts: str, column: int | None = None) -> int:
        """Index of the first row that holds all these texts, each as a whole cell (in any column, or in the given one).

        Raises
        ------
        InputError
            If there is none.
        """
        for index in range(len(self.cells)):
            row = [self.text(index, c) for c in range(len(self.cells[index]))]
            if all(text in (row if column is None else row[column : column + 1]) for text in texts):
                return index
        raise InputError(f"{self.where} has no row with {' and '.join(repr(text) for text in texts)}", _AGAIN)

    def headed(self, first: int, last: int) -> Mapping[tuple[str, ...], int]:
        """Columns by their header texts, from rows ``first`` to ``last`` (indices, both in it).

        The texts of a column are those of the cells above it, top down, merged cells counted wherever they reach, without
        empty ones and repetitions. Two columns of the same texts are an error only when one of them is asked for, so such
        names are left out here.
        """
        above = self._spread(first, last)
        found: dict[tuple[str, ...], int] = {}
        twice: set[tuple[str, ...]] = set()
        for column in range(len(self.cells[first])):
            texts = [above[row][column] for row in range(last - first + 1)]
            name = tuple(text for i, text in enumerate(texts) if text and text not in texts[:i])
            if not name:
                continue
            if name in found:
                twice.add(name)
            found[name] = column
        return {name: column for name, column in found.items() if name not in twice}

    def _spread(self, first: int, last: int) -> list[list[str]]:
        above = [[self.text(row, column) for column in range(len(self.cells[row]))] for row in range(first, last + 1)]
        for top, bottom, left, right in self.merged:
            if bottom < first or top > last:
                continue
            text = self.text(top, left)
            for row in range(max(top, first), min(bottom, last) + 1):
                for column in range(left, min(right + 1, len(above[0]))):
                    above[row - first][column] = text
        return above

    def rows(self, first: int, columns: Mapping[str, int], last: int | None = None) -> Iterator[Row]:
        """Rows from index ``first`` on, with the wanted columns under the given names.

        ``Row.where`` names file, sheet and row as a spreadsheet counts it.
        """
        for index in range(first, len(self.cells) if last is None else last + 1):
            cells = {name: self.cells[index][column] for name, column in columns.items()}
            yield Row(f"{self.where}, row {index + 1}", cells)


def column_named(headed: Mapping[tuple[str, ...], int], where: str, *texts: str) -> int:
    """The column of these header texts (all of them, top down); none, or a header that moved, is an error."""
    if texts not in headed:
        near = [" / ".join(name) for name in headed if name[-1:] == texts[-1:] or name[:1] == texts[:1]][:3]
        raise InputError(
            f"{where} has no column {' / '.join(texts)}" + (f" (it has {'; '.join(near)})" if near else ""), _AGAIN
        )
    return headed[texts]


def plain(cell: Any) -> str:
    """Text of a cell without footnote marks (``[2]``, ``1/``), line ends and double blanks."""
    if cell is None:
        return ""
    return _BLANK.sub(" ", _FOOTNOTE.sub(" ", str(cell))).strip()


def open_workbook(path: Path, member: str = "") -> Mapping[str, Sheet]:
    """Sheets of a workbook by name; with ``member``, of a workbook inside a zip.

    Raises
    ------
    InputError
        If the file is no whole workbook, is a web page, or the zip has no such member.
    """
    where = f"{path.name}, {member}" if member else path.name
    content = read_member(path, member) if member else path.read_bytes()
    refuse_page(content, where, "workbook")
    try:
        sheets = _read_xls(content) if content[:8] == _OLE else _read_xlsx(content)
    except Exception as error:  # both libraries raise whatever a damaged byte leads to
        raise InputError(f"{where} is not a whole workbook ({_line(error)})", _AGAIN) from error
    return {name: Sheet(f"{where}, sheet {name}", *grid) for name, grid in sheets.items()}


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_Grid = tuple[tuple[tuple[Any, ...], ...], tuple[tuple[int, int, int, int], ...], Mapping[tuple[int, int], str]]


def _read_xls(content: bytes) -> dict[str, _Grid]:
    import xlrd

    with xlrd.open_workbook(file_contents=content, formatting_info=True, logfile=io.StringIO()) as book:
        formats = [_format_mark(book.format_map[xf.format_key].format_str) for xf in book.xf_list]
        return {sheet.name: _xls_grid(sheet, book.datemode, formats) for sheet in book.sheets()}


def _xls_grid(sheet: Any, datemode: int, formats: list[str]) -> _Grid:
    rows = [sheet.row(row) for row in range(sheet.nrows)]
    cells = [tuple(_xls_value(cell, datemode) for cell in row) for row in rows]
    width = max((len(row) for row in cells), default=0)
    merged = tuple((top, bottom - 1, left, right - 1) for top, bottom, left, right in sorted(sheet.merged_cells))
    marks = {
        (r, c): formats[cell.xf_index]
        for r, row in enumerate(rows)
        for c, cell in enumerate(row)
        if formats[cell.xf_index] and isinstance(cells[r][c], float)
    }
    return tuple(row + (None,) * (width - len(row)) for row in cells), merged, marks


def _xls_value(cell: Any, datemode: int) -> Any:
    import xlrd

    if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) or cell.value == "":
        return None
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return xlrd.error_text_from_code.get(cell.value, "#ERROR")
    if cell.ctype == xlrd.XL_CELL_DATE:
        return xlrd.xldate_as_datetime(cell.value, datemode)
    return bool(cell.value) if cell.ctype == xlrd.XL_CELL_BOOLEAN else cell.value


def _read_xlsx(content: bytes) -> dict[str, _Grid]:
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        if (damaged := parts.testzip()) is not None:  # openpyxl passes over a sheet whose part it does not find
            raise ValueError(f"its part {damaged!r} is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts that are not read: page headers, validation, styles
        book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    return {sheet.title: _xlsx_grid(sheet) for sheet in book.worksheets}


def _xlsx_grid(sheet: Any) -> _Grid:
    rows = tuple(sheet.iter_rows())
    merged = tuple(sorted((r.min_row - 1, r.max_row - 1, r.min_col - 1, r.max_col - 1) for r in sheet.merged_cells.ranges))
    marks = {
        (r, c): mark
        for r, row in enumerate(rows)
        for c, cell in enumerate(row)
        if isinstance(cell.value, int | float) and (mark := _format_mark(cell.number_format))
    }
    return tuple(tuple(cell.value for cell in row) for row in rows), merged, marks


@cache
def _format_mark(number_format: str) -> str:
    """Asterisks that a number format draws before a number, if any."""
    found = _FORMAT_MARK.match(number_format)
    return (found[1] or found[2].replace("\\", "")) if found else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
