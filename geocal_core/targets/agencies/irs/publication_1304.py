"""IRS Publication 1304: returns, incomes, deductions and taxes of the nation by fine sizes of adjusted gross income.

Four of its tables, a workbook each: sources of income (1.4), filing status (1.2), itemized deductions (2.1) and the earned
income credit by number of children (2.5). What is read is data: ``publication_1304.csv`` has a line for each quantity. The
nation is all returns, also those from Puerto Rico and abroad, half a percent that Historic Table 2 leaves out. Tables are held
against each other, and against table 1.1 where it is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from geocal_core.errors import InputError
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.irs.historic import FILER
from geocal_core.targets.agencies.irs.statistical_table import (
    AGAIN,
    THOUSAND,
    Cell,
    Range,
    StatisticalTable,
    check_sum,
    latest,
    ranges,
    read_table,
)
from geocal_core.targets.constraints import Constraint, constraint_of
from geocal_core.targets.figures import NATION, Domain, Figure, Scope, Table
from geocal_core.targets.files import RawFiles
from geocal_core.targets.vocabulary import data_rows

_SOURCE = "IRS SOI Publication 1304"
_URL = "https://www.irs.gov/pub/irs-soi/23"
_STUB = r"Size( and accumulated size)? of adjusted gross income"
_NO_INCOME = (Constraint("adjusted_gross_income", "<", "1"),)
_RETURNS, _INCOME = "Number of returns", "Adjusted gross income less deficit"


@dataclass(frozen=True)
class _Layout:
    """Where a table is found: how its file's name ends, and its row of all returns."""

    suffix: str
    total: str = "All returns, total"


_LAYOUTS = {
    "1.1": _Layout("in11si", "All returns"),
    "1.2": _Layout("in12ms"),
    "1.4": _Layout("in14ar"),
    "2.1": _Layout("in21id"),
    "2.5": _Layout("in25ic", "Total"),
}
# Bounds of sizes of income of Historic Table 2 that are finer here: returns and adjusted gross income are given in those too,
# so that the nation is of one year and source in all of them.
_COARSE = (("1", "10000"), ("10000", "25000"), ("25000", "50000"), ("1000000", ""))
# Tables whose first group of columns is what the other groups add up to.
_GROUPED = ("1.2", "2.5")
# Columns of other tables that repeat one of table 1.4. Not all have its sizes of income, but all have its total.
_REPEATED = (
    ("1.1", f"All returns / {_RETURNS}", _RETURNS),
    ("1.1", f"All returns / {_INCOME} / Amount", _INCOME),
    ("1.2", f"All returns / {_RETURNS}", _RETURNS),
    ("1.2", f"All returns / {_INCOME}", _INCOME),
    ("1.2", "All returns / Taxable income / Amount", "Taxable income / Amount"),
    ("2.1", _RETURNS, f"Total itemized deductions / {_RETURNS}"),
    ("2.1", "Itemized deductions / Total", "Total itemized deductions / Amount"),
)


@dataclass(frozen=True)
class _Term:
    """A column that is added (sign 1) or subtracted (-1)."""

    sign: int
    path: str


@dataclass(frozen=True)
class _Quantity:
    """A line of ``publication_1304.csv``."""

    variable: str
    domain: tuple[Constraint, ...]
    returns: tuple[_Term, ...]
    amount: tuple[_Term, ...]
    rows: str

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(term.path for term in (*self.returns, *self.amount))


@cache
def _quantities(table: str) -> tuple[_Quantity, ...]:
    return tuple(
        _Quantity(
            row["variable"],
            tuple(constraint_of(text) for text in row["domain"].split()),
            _terms(row["returns"]),
            _terms(row["amount"]),
            row["rows"],
        )
        for row in data_rows("publication_1304.csv")
        if row["table"] == table
    )


def _terms(text: str) -> tuple[_Term, ...]:
    """Columns of ``A / B + C / D - E / F``."""
    if not text:
        return ()
    signed = text if text.startswith("- ") else f"+ {text}"
    parts = re.split(r"(?:^| )([+-]) ", signed)[1:]
    return tuple(_Term(1 if sign == "+" else -1, path) for sign, path in zip(parts[::2], parts[1::2], strict=True))


@dataclass(frozen=True)
class _Block:
    """The block of all returns of a table: the row of the total, and the constraints of each size of income by row."""

    table: StatisticalTable
    total: int
    sizes: Mapping[int, Range]

    def check(self, paths: Sequence[str]) -> None:
        """Refuse columns whose sizes of income do not add up to the total."""
        for path in dict.fromkeys(paths):
            check_sum(self.table, path, self.total, list(self.sizes))


def _read(name: str, raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = latest(raw, scope.year, _LAYOUTS[name].suffix)
    block = _block(name, read_table(path, f"Table {name}.", year, _STUB))
    quantities = _quantities(name)
    block.check([path for quantity in quantities for path in quantity.paths])
    if name in _GROUPED:
        _check_groups(block)
    if name == "1.4":
        _check_repeated(block, raw)
    return [figure for quantity in quantities for figure in _figures(block, quantity)]


def _block(name: str, table: StatisticalTable) -> _Block:
    total, sizes, _ = ranges(table, _LAYOUTS[name].total, "adjusted_gross_income")
    return _Block(table, total, sizes)


def _figures(block: _Block, quantity: _Quantity) -> Iterator[Figure]:
    domain: Domain = (FILER, quantity.domain) if quantity.domain else (FILER,)
    wanted: list[tuple[tuple[int, ...], Domain]] = [] if quantity.rows == "positive" else [((block.total,), domain)]
    sizes = [] if quantity.rows == "total" else block.sizes.items()
    wanted += [((row,), (*domain, size)) for row, size in sizes if quantity.rows == "all" or size != _NO_INCOME]
    if not quantity.domain:
        wanted += [(rows, (*domain, size)) for size, rows in _merged(block)]
    for rows, below in wanted:
        for variable, terms, unit in (
            ("tax_unit_count", quantity.returns, 1.0),
            (quantity.variable, quantity.amount, THOUSAND),
        ):
            if terms:
                cell = _added(block.table, rows, terms)
                value = None if cell.value is None else cell.value * unit
                yield Figure(variable, value, block.table.year, NATION, _SOURCE, below, notes=cell.note)


def _merged(block: _Block) -> Iterator[tuple[Range, tuple[int, ...]]]:
    """Sizes of income of Historic Table 2 that several of this table make up, with their rows."""
    starts = {size[0]: row for row, size in block.sizes.items()}
    ends = {size[-1]: row for row, size in block.sizes.items()}
    for low, high in _COARSE:
        size: Range = (Constraint("adjusted_gross_income", ">=", low),)
        size += (Constraint("adjusted_gross_income", "<", high),) if high else ()
        first, last = starts.get(size[0]), ends.get(size[-1]) if high else max(block.sizes)
        if first is not None and last is not None and first < last:
            yield size, tuple(range(first, last + 1))


def _added(table: StatisticalTable, rows: Sequence[int], terms: Sequence[_Term]) -> Cell:
    """A sum of columns and rows, withheld if one of the cells is; its note tells the first cell and names the others."""
    cells = [(term, table.cell(row, term.path)) for row in rows for term in terms]
    withheld = next((cell for _, cell in cells if cell.value is None), None)
    if withheld:
        return withheld
    more = "".join(f" {'+' if term.sign > 0 else '-'} {term.path}" for term in terms[1:])
    below = f", to row {rows[-1] + 1} ({table.label(rows[-1])})" if len(rows) > 1 else ""
    first = "-" if terms[0].sign < 0 else ""
    value = sum(term.sign * cell.value for term, cell in cells if cell.value is not None)
    return Cell(value, f"{first}{cells[0][1].note}{more}{below}")


def _check_groups(block: _Block) -> None:
    """Refuse a table whose groups of returns do not add up to all returns, cell by cell."""
    table = block.table
    paths = [path for path in table.columns if len(path) > 1]
    whole = next(path[0] for path in paths if path[0].startswith("All returns"))
    groups = list(dict.fromkeys(path[0] for path in paths if path[0] != whole))
    for tail in [path[1:] for path in paths if path[0] == whole]:
        for row in (block.total, *block.sizes):
            cells = [table.cell(row, " / ".join((group, *tail))).value for group in (whole, *groups)]
            numbers = [number for number in cells if number is not None]
            if len(numbers) == len(cells) and abs(sum(numbers[1:]) - numbers[0]) > len(cells) / 2:
                raise InputError(
                    f"{table.sheet.where}, row {row + 1}: {' / '.join(tail)} of the groups of returns adds up to "
                    f"{sum(numbers[1:]):.15g}, and all returns have {numbers[0]:.15g}",
                    AGAIN,
                )


def _check_repeated(block: _Block, raw: RawFiles) -> None:
    """Refuse table 1.4 if a table of the same year repeats one of its columns otherwise."""
    others: dict[str, _Block] = {}
    for name in dict.fromkeys(name for name, _, _ in _REPEATED):
        year = block.table.year
        for file in raw.matching(rf"{year % 100:02d}{_LAYOUTS[name].suffix}\.xlsx?").values():
            others[name] = _block(name, read_table(raw.use(file), f"Table {name}.", year, _STUB))
    for name, path, own in _REPEATED:
        if name not in others:
            continue
        other = others[name]
        rows = [(block.total, other.total)]
        if list(block.sizes.values()) == list(other.sizes.values()):
            rows += zip(block.sizes, other.sizes, strict=True)
        for row, other_row in rows:
            here, there = block.table.printed(row, own), other.table.printed(other_row, path)
            if here is not None and there is not None and abs(here - there) > 1:
                raise InputError(
                    f"{block.table.sheet.where}, row {row + 1}, column {own} has {here:.15g}, and {other.table.sheet.where}, "
                    f"row {other_row + 1} has {there:.15g}",
                    "get all tables of one release from IRS SOI",
                )


_TARGETS = {
    "1.4": "irs_publication_1304_income",
    "1.2": "irs_publication_1304_status",
    "2.1": "irs_publication_1304_itemized",
    "2.5": "irs_publication_1304_eitc",
}


def _published(name: str, what: str, table: str) -> PublishedFile:
    suffix = _LAYOUTS[name].suffix
    return PublishedFile(
        f"??{suffix}.xls*",
        f"IRS SOI Publication 1304, table {name}: {what}",
        f"{_URL}{suffix}.xls",
        lookalike=f"*{suffix}*",
        needed=False,
        columns=tuple(dict.fromkeys(path for quantity in _quantities(name) for path in quantity.paths)),
        tables=(table,),
    )


SOURCES = (
    _published("1.4", "sources of income, adjustments and tax items by size of income", _TARGETS["1.4"]),
    _published("1.2", "deductions and tax items by size of income and filing status", _TARGETS["1.2"]),
    _published("2.1", "itemized deductions by size of income", _TARGETS["2.1"]),
    _published("2.5", "earned income credit by size of income and number of children", _TARGETS["2.5"]),
    _published("1.1", "income and tax by size of income, which checks table 1.4", _TARGETS["1.4"]),
)
TABLES = tuple(
    Table(table, ("national",), partial(_read, name), 1.0, THOUSAND, whole_nation=True) for name, table in _TARGETS.items()
)
