"""The demo nation as the USDA's Food and Nutrition Service publishes SNAP: a workbook of a fiscal year, a sheet per region.

Months vary around the year's mean so that the ``Total`` rows are the hidden truth: households a month, benefits a year.
Agencies of the Pacific and Puerto Rico that run another program carry dashes; Guam and the Virgin Islands are made up.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import openpyxl
from openpyxl.worksheet.worksheet import Worksheet

from geocal_core import seeds
from geocal_core.demo import truth
from geocal_core.demo.archives import write_zip
from geocal_core.demo.districts import Integers, rows_of
from geocal_core.places.states import STATES, state_of_code
from geocal_core.settings import RawSettings

ARCHIVE, MEMBER = "snap-zip-fy69tocurrent-6.zip", "FY24.xlsx"
_MONTHS = (
    *("Oct 2023", "Nov 2023", "Dec 2023", "Jan 2024", "Feb 2024", "Mar 2024"),
    *("Apr 2024", "May 2024", "Jun 2024", "Jul 2024", "Aug 2024", "Sep 2024"),
)
_TITLE = "National Data Bank Version 8.2 PUBLIC - Supplemental Nutrition Assistance Program"
_SUBTITLE = "SNAP Monthly State Participation and Benefit Summary P-EBT/Other Excluded - Public Data, Fiscal Year 2024"
_FOOTNOTE = (
    '1. "Total Participation" (Households and Persons) excludes the counts of participation for Disaster Supplements and '
    "Replacements."
)
_AS_OF = datetime(2025, 6, 13)
_WITHOUT_PROGRAM = ("American Samoa", "Commonwealth of Northern Mariana Islands", "Puerto Rico")
_SMALL = {"Guam": (11_600, 31_700, 118_000_000), "Virgin Islands": (10_800, 21_500, 70_000_000)}
_SUMMARY = "US Summary"
_MERGED = ("A1:E1", "A2:E2", "B5:F5", "A6:A7", "B6:C6", "D6:D7", "E6:F6")
_ROW = tuple[str, float | str, float | str, float | str, float | str, float | str]


@dataclass(frozen=True)
class _Agency:
    """Twelve months of an agency, or None for one that does not run the program."""

    name: str
    months: Integers | None

    def rows(self) -> list[_ROW]:
        """The twelve months and the Total: means of households and persons, the sum of benefits."""
        if self.months is None:
            return [(label, "--", "--", "--", "--", "--") for label in (*_MONTHS, "Total")]
        rows = [_row(month, *map(int, values)) for month, values in zip(_MONTHS, self.months, strict=True)]
        households, persons, cost = self.months.sum(axis=0).tolist()
        per_month = (round(households / 12, 4), round(persons / 12, 4), cost)
        return [*rows, ("Total", *per_month, round(cost / households, 4), round(cost / persons, 4))]


def _row(label: str, households: int, persons: int, cost: int) -> _ROW:
    return (label, households, persons, cost, round(cost / households, 4), round(cost / persons, 4))


def write(settings: RawSettings, folder: Path) -> None:
    """Write the zip with the workbook of fiscal year 2024; only ``settings.states`` have blocks."""
    rng = seeds.generator("demo.usda", settings.seed)
    scope = {state_of_code(code).name for code in settings.states}
    year = _year_by_agency()
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    everything: list[Integers] = []
    for row in rows_of("usda_regions.csv"):
        agencies: list[_Agency] = []
        for name in row["agencies"].split("|"):
            months = None if name in _WITHOUT_PROGRAM else _months(*year[name], rng)
            if name in scope or name not in {state.name for state in STATES}:
                agencies.append(_Agency(name, months))
        running = [agency.months for agency in agencies if agency.months is not None]
        everything += running
        region = _Agency(row["sheet"], np.sum(running, axis=0) if running else None)
        _write_sheet(workbook.create_sheet(row["sheet"]), [*agencies, region])
    _write_sheet(workbook.create_sheet(_SUMMARY), [_Agency(_SUMMARY, np.sum(everything, axis=0))])
    write_zip(folder / ARCHIVE, {MEMBER: _bytes_of(workbook)})


def _year_by_agency() -> dict[str, tuple[int, int, int]]:
    """Households and persons a month and benefits a year by agency."""
    table = truth.people()
    by_agency = dict(_SMALL)
    for state in STATES:
        rows = table.loc[list(state.districts)]
        by_agency[state.name] = (
            int(rows["snap_households"].sum()),
            int(rows["snap_persons"].sum()),
            int(rows["snap_dollars"].sum()),
        )
    return by_agency


def _months(households: int, persons: int, cost: int, rng: np.random.Generator) -> Integers:
    """Twelve rows of households, persons and benefits around the year's means, with exactly these means and sum."""
    drift = np.outer(np.linspace(-0.01, 0.01, 12), np.ones(3)) + rng.normal(0, 0.004, (12, 3))
    wanted = np.array([households, persons, cost / 12]) * (1 + drift)
    months: Integers = np.rint(wanted).astype(np.int64)
    months[-1] += np.array([12 * households, 12 * persons, cost]) - months.sum(axis=0)
    return months


def _write_sheet(sheet: Worksheet, agencies: list[_Agency]) -> None:
    """A sheet as published: five lines of head, two of column names, a block of 13 lines per agency, footnotes."""
    sheet["A1"], sheet["F1"], sheet["A2"], sheet["A3"] = _TITLE, _AS_OF, _SUBTITLE, " "
    sheet["A5"], sheet["B5"] = " ", "Total 1/"
    sheet["A6"], sheet["B6"], sheet["D6"], sheet["E6"] = "Fiscal Year and Month", "Participation 1/", "Cost", "Cost Per"
    sheet["B7"], sheet["C7"], sheet["E7"], sheet["F7"] = "Household", "Persons", "Household", "Persons"
    for span in _MERGED:
        sheet.merge_cells(span)
    sheet["F1"].number_format = "mm-dd-yy"
    line = 8
    for agency in agencies:
        sheet.cell(line, 1, agency.name)
        for offset, row in enumerate(agency.rows(), start=1):
            for column, value in enumerate(row, start=1):
                cell = sheet.cell(line + offset, column, value)
                cell.number_format = "#,##0" if column < 5 else "#,##0.00"
        line += 15
    for offset, text in enumerate(("Footnotes:", "ALL DATA SUBJECT TO REVISION", _FOOTNOTE)):
        sheet.cell(line + offset, 1, text)


def _bytes_of(workbook: openpyxl.Workbook) -> bytes:
    """The workbook without the times at which it was made and saved."""
    saved, fixed = io.BytesIO(), io.BytesIO()
    workbook.save(saved)
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    stamp = f"{_AS_OF:%Y-%m-%dT%H:%M:%SZ}".encode()
    core = "docProps/core.xml"
    members[core] = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp, members[core])
    write_zip(fixed, members)
    return fixed.getvalue()
