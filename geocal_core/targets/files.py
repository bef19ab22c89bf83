"""Files as the agencies publish them: found by name in any sub-folder, opened and read cell by cell.

Whatever is wrong with one is an ``InputError`` of one line that names the file, the row and the column. What the cells mean
is the business of the agency's module.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geocal_core.errors import InputError
from geocal_core.store import digest_path

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?", re.ASCII)
_AGAIN = "get the file again from its publisher"


class RawFiles:
    """The files below some folders."""

    def __init__(self, *folders: Path) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"there is no folder {folder}", "name the folder that holds the agencies' files")
        self.folders = folders
        self._files = sorted({p for folder in folders for p in folder.rglob("*") if p.is_file()})
        self._used: list[Path] = []

    @property
    def place(self) -> str:
        """The folders, for messages."""
        return " or ".join(str(folder) for folder in self.folders)

    def matching(self, pattern: str) -> dict[str, Path]:
        """Files whose whole name matches a regular expression, by name.

        The same name twice with the same content is one file; with different content it is an error.
        """
        found: dict[str, Path] = {}
        for path in self._files:
            if not re.fullmatch(pattern, path.name):
                continue
            other = found.setdefault(path.name, path)
            if other != path and digest_path(other) != digest_path(path):
                raise InputError(
                    f"{path.name} is there twice, with different content ({other} and {path})", "remove one of them"
                )
        return found

    def use(self, path: Path) -> Path:
        """Note that a file is read, so that it is recorded as a source; gives it back."""
        self._used.append(path)
        return path

    def take_used(self) -> list[Path]:
        """Files noted since the last call, each once, by name."""
        used, self._used = sorted(set(self._used), key=lambda path: path.name), []
        return used

    def named(self, name: str, alike: str) -> Path:
        """The file of a name, noted as used; if it is missing, the error lists those that match the pattern ``alike``."""
        found = self.matching(re.escape(name))
        if found:
            return self.use(found[name])
        others = ", ".join(self.matching(alike))
        raise InputError(
            f"{name} is not below {self.place}" + (f" (there is {others}, of another year)" if others else ""),
            "get it from its publisher, or leave its table out (setting without)",
        )

    def latest(self, pattern: str, year: int, table: str, *, called: str = "") -> tuple[Path, int]:
        """The file of the latest year not after the year wanted, noted as used, and that year.

        Parameters
        ----------
        pattern : str
            Regular expression of the whole name; its one group is the year, in four digits.
        year : int
            The year wanted.
        table : str
            The table that needs it, for the message.
        called : str
            The name for the message where the pattern is no name, with ``{year}`` in it.
        """
        found = self.matching(pattern)
        by_year: dict[int, Path] = {}
        for name, path in found.items():
            match = re.fullmatch(pattern, name)
            other = by_year.setdefault(int(match[1]) if match else 0, path)
            if digest_path(other) != digest_path(path):
                raise InputError(f"{other} and {path} are of the same year, with different content", "remove one of them")
        usable = [of for of in by_year if of <= year]
        if usable:
            chosen = by_year[max(usable)]
            refuse_copies(chosen, by_year.values())
            return self.use(chosen), max(usable)
        called = called or re.sub(r"\\(?=\.)", "", pattern).replace(r"(\d{4})", "{year}")
        raise InputError(
            f"a file {called} of {year} or before is wanted below {self.place}, and there is {', '.join(found) or 'none'}",
            f"get it from its publisher, or leave the table {table} out (setting without)",
        )


def refuse_copies(chosen: Path, of_years: Iterable[Path]) -> None:
    """Refuse a file with the very content of one of another year: tables that do not name their year cannot tell it."""
    for path in of_years:
        if path != chosen and digest_path(path) == digest_path(chosen):
            raise InputError(f"{chosen} has the content of {path.name}, which is of another year", _AGAIN)


@dataclass(frozen=True)
class Row:
    """One row of a published table: its cells by column, and where it stands, for messages."""

    where: str
    cells: Mapping[str, Any]

    def cell(self, column: str) -> Any:
        """A cell as it was read; a missing column is an error."""
        if column not in self.cells:
            raise InputError(f"{self.where} has no column {column}", _AGAIN)
        return self.cells[column]

    def text(self, column: str) -> str:
        """A cell that holds text."""
        value = self.cell(column)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{self.where}, column {column} holds {value!r} instead of text", _AGAIN)
        return value.strip()

    def number(self, column: str, *, signed: bool = False) -> float:
        """A cell that holds a number, with or without thousands separators; below zero only if ``signed``.

        Marks of suppression or of a figure that does not apply (``X``, ``**``, ``-888888888``) are errors.
        """
        value = self.cell(column)
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value.strip().replace(",", ""))
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{self.where}, column {column} holds {value!r}, which is not a number", _AGAIN)
        if value < 0 and not signed:
            raise InputError(
                f"{self.where}, column {column} holds {value:.15g}: below zero, or the publisher's mark for no figure", _AGAIN
            )
        return float(value)

    def whole(self, column: str) -> int:
        """A cell that holds a whole number, not below zero."""
        value = self.number(column)
        if value != int(value):
            raise InputError(f"{self.where}, column {column} holds {value:.15g}, which is not a whole number", _AGAIN)
        return int(value)


def names_in_zip(path: Path) -> list[str]:
    """Names of the files in a zip, sorted, without their folders; a damaged zip is an error."""
    with _opened_zip(path) as archive:
        return sorted(Path(name).name for name in archive.namelist())


def read_member(path: Path, member: str) -> bytes:
    """A file in a zip, in whatever folder there; a damaged zip, or one that has no such file, is an error."""
    with _opened_zip(path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        if member not in names:
            there = ", ".join(sorted(names))
            raise InputError(f"{path.name} has no {member}", f"get a zip that has it; this one has {there}")
        return archive.read(names[member])


@contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    refuse_page(path.read_bytes(), path.name, "zip")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds on damaged archives
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path.name} is not a whole zip ({reason})", _AGAIN) from error


def refuse_page(start: bytes, where: str, wanted: str = "data") -> None:
    """Refuse a file that is empty, or a web page such as a publisher's server gives in place of what it has not."""
    start = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        raise InputError(f"{where} is empty", _AGAIN)
    if start[:1] == b"<":
        raise InputError(f"{where} is a web page, not the {wanted}", _AGAIN)


def read_text(path: Path, member: str = "") -> str:
    """Text of a file (UTF-8, with or without a byte order mark); an empty file or a web page is an error.

    With ``member``, of a file in a zip.
    """
    where = _called(path, member)
    content = read_member(path, member) if member else path.read_bytes()
    refuse_page(content, where)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not text in UTF-8 (byte {error.start})", _AGAIN) from error


def _called(path: Path, member: str) -> str:
    return f"{path.name}, {member}" if member else path.name


def read_api_table(path: Path, name_column: str) -> list[Row]:
    """Rows of an answer of the Census Bureau's API: a JSON list whose first row is the header."""
    try:
        table = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path.name} is not whole JSON ({error})", _AGAIN) from error
    if not isinstance(table, list) or len(table) < 2 or not all(isinstance(row, list) for row in table):
        raise InputError(f"{path.name} is not a list of a header and rows", _AGAIN)
    header = [str(cell) for cell in table[0]]
    _check_header(path.name, header)
    rows = []
    for index, cells in enumerate(table[1:], start=1):
        where = f"{path.name}, row {index}"
        if len(cells) != len(header):
            raise InputError(f"{where} has {len(cells)} cells where the header has {len(header)}", _AGAIN)
        row = Row(where, dict(zip(header, cells, strict=True)))
        rows.append(Row(f"{where} ({row.text(name_column)})", row.cells))
    return rows


def read_csv(path: Path, columns: Sequence[str], member: str = "") -> list[Row]:
    """Rows of a csv file with these columns, whose names are in capitals whatever the file writes.

    With ``member``, of a csv file in a zip.
    """
    where = _called(path, member)
    reader = csv.reader(io.StringIO(read_text(path, member), newline=""), strict=True)
    try:
        header = [cell.strip().upper() for cell in next(reader)]
        _check_header(where, header)
        lacking = [column for column in columns if column not in header]
        if lacking:
            raise InputError(f"{where} has no column {lacking[0]}", _AGAIN)
        positions = {column: header.index(column) for column in columns}
        return list(_csv_rows(where, reader, len(header), positions))
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num} cannot be read as csv ({error})", _AGAIN) from error


def _csv_rows(name: str, reader: Any, width: int, positions: Mapping[str, int]) -> Iterable[Row]:
    for cells in reader:
        if not cells:
            continue
        where = f"{name}, line {reader.line_num}"
        if len(cells) != width:
            raise InputError(f"{where} has {len(cells)} cells where the header has {width}", _AGAIN)
        yield Row(where, {column: cells[position] for column, position in positions.items()})


def _check_header(name: str, header: list[str]) -> None:
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise InputError(f"{name} has the column {twice[0]} twice", _AGAIN)
