"""IRS study of Individual Retirement Arrangements: persons who contribute to traditional and Roth IRAs, and how much, by age.

Tables 5 and 6 of the study, a workbook each (``{yy}in05ira``, ``{yy}in06ira``). Only their total over all sizes of contribution
is read: sizes are relative to the limit of the year. Contributions are all that go in, deducted or not; the deduction is in
Publication 1304. Persons whose age is not known are in the total and in no age.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.irs.historic import FILER
from geocal_core.targets.agencies.irs.statistical_table import (
    THOUSAND,
    StatisticalTable,
    check_sum,
    latest,
    ranges,
    read_table,
)
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Domain, Figure, Scope, Table
from geocal_core.targets.files import RawFiles

_SOURCE = "IRS SOI IRA"
_STUB = "Age of taxpayer"
_TOTAL, _NO_AGE = "All taxpayers", "No age information"


@dataclass(frozen=True)
class _Study:
    """A table of the study, which has one kind of IRA."""

    suffix: str
    title: str
    kind: str
    variable: str

    @property
    def table(self) -> str:
        """Name of the table of targets."""
        return f"irs_{self.variable}"

    def path(self, what: str) -> str:
        """Header texts of a column of the total over all sizes of contribution."""
        return f"Contributions to {self.kind} IRA plans by size of contribution / Total / {what}"


_STUDIES = (
    _Study("in05ira", "Table 5.", "Traditional", "traditional_ira_contributions"),
    _Study("in06ira", "Table 6.", "Roth", "roth_ira_contributions"),
)


def _read(study: _Study, raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = latest(raw, scope.year, study.suffix)
    table = read_table(path, study.title, year, _STUB)
    persons, amount = study.path("Number of taxpayers"), study.path("Amount")
    total, ages, unknown = ranges(table, _TOTAL, "age", apart=_NO_AGE)
    for column in (persons, amount):
        check_sum(table, column, total, [*ages, *unknown])
    contributes = (Constraint(study.variable, ">", "0"),)
    rows: dict[int, Domain] = {total: (FILER, contributes)}
    rows |= {row: (FILER, contributes, age) for row, age in ages.items()}
    return list(_figures(table, rows, study.variable, persons, amount))


def _figures(table: StatisticalTable, rows: dict[int, Domain], variable: str, persons: str, amount: str) -> Iterator[Figure]:
    for row, domain in rows.items():
        for counted, column, unit in (("person_count", persons, 1.0), (variable, amount, THOUSAND)):
            cell = table.cell(row, column)
            value = None if cell.value is None else cell.value * unit
            yield Figure(counted, value, table.year, NATION, _SOURCE, domain, notes=cell.note)


SOURCES = tuple(
    PublishedFile(
        f"??{study.suffix}.xls*",
        f"IRS SOI {study.kind} IRA contributions by age of taxpayer",
        f"https://www.irs.gov/pub/irs-soi/22{study.suffix}.xlsx",
        lookalike=f"*{study.suffix}*",
        needed=False,
        columns=(study.path("Number of taxpayers"), study.path("Amount")),
        tables=(study.table,),
    )
    for study in _STUDIES
)
TABLES = tuple(Table(study.table, ("national",), partial(_read, study), 1.0, THOUSAND, whole_nation=True) for study in _STUDIES)
