"""CMS's files of a small nation (DE, DC, ID), written as tables that a test may spoil cell by cell before they are files."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openpyxl

from geocal_core.places.states import STATES
from geocal_core.targets.figures import Scope

YEAR = 2024
SCOPE = Scope.of(YEAR, ("DE", "DC", "ID"))
PLATFORM = {"DE": "HC.gov", "DC": "SBM", "ID": "HC.gov"}

MEDICAID = "medicaid_enrollment_2024.csv"
FULL_YEAR = "full-year-effectuated-enrollment.xlsx"
ZIP = "2024-oep-state-level-public-use-file.zip"
METAL = "aca_marketplace_state_metal_selection_2024.csv"
PAGE = "full-year-average-marketplace-effectuated-enrollment.html"
CSV_MEMBER, BOOK_MEMBER = ("2024 OEP State-Level Public Use File" + suffix for suffix in (".csv", ".xlsx"))

# (Full year, state): persons enrolled, with credit, average credit, average premium.
MARKETS = {
    (2022, "DE"): (30_000, 27_000, 600.0, 700.0),
    (2022, "DC"): (14_000, 2_100, 340.25, 520.5),
    (2022, "ID"): (69_000, 58_000, 442.42, 510.0),
    (2023, "DE"): (35_000, 32_000, 590.0, 690.0),
    (2023, "DC"): (12_000, 2_400, 360.0, 600.0),
    (2023, "ID"): (80_000, 70_000, 430.0, 500.0),
}
ENROLLED = {"DE": 43_000, "DC": 11_500, "ID": 102_000}
# Consumers, with credit, average credit, bronze plans, share of those with credit.
CHOSEN = {
    "DE": (44_000, 40_000, 585, 11_000, 0.78),
    "DC": (15_000, 3_000, 561, 4_600, 0.1),
    "ID": (104_000, 90_000, 395, 54_000, 0.85),
}
PERSONS = {"DE": 240_000, "DC": 250_000, "ID": 310_000}

Table = list[list[Any]]


def tables() -> dict[tuple[str, str], Table]:
    """Every table, by file and sheet (or member of the zip)."""
    return {
        (MEDICAID, ""): _medicaid(),
        **{(FULL_YEAR, f"Full Year {year}"): _full_year(year) for year in (2022, 2023)},
        (ZIP, "(5) by Premium and FA"): _assisted(),
        (ZIP, "(7) by Metal Level"): _metal_levels(),
        (ZIP, CSV_MEMBER): _csv(),
        (METAL, ""): _metal(),
        (PAGE, ""): _page(),
    }


def write(folder: Path, content: Mapping[tuple[str, str], Table]) -> Path:
    """The files of these tables, below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (MEDICAID, METAL):
        (folder / name).write_text(_csv_text(content[name, ""]), encoding="utf-8")
    (folder / FULL_YEAR).write_bytes(_book({sheet: table for (file, sheet), table in content.items() if file == FULL_YEAR}))
    with zipfile.ZipFile(folder / ZIP, "w") as archive:
        archive.writestr(CSV_MEMBER, _csv_text(content[ZIP, CSV_MEMBER]))
        archive.writestr(
            BOOK_MEMBER,
            _book({sheet: table for (file, sheet), table in content.items() if file == ZIP and sheet.startswith("(")}),
        )
    data = [["Notes", []], ["2024", content[PAGE, ""]]]
    script = f'var data = {{"base":"x","gdocsObject":{json.dumps(data)}}};'
    (folder / PAGE).write_text(f"<!DOCTYPE html><html><body><script>{script}</script></body></html>", encoding="utf-8")
    return folder


def _csv_text(table: Table) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(["" if cell is None else cell for cell in row] for row in table)
    return text.getvalue()


def _book(sheets: Mapping[str, Table]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, table in sheets.items():
        sheet = book.create_sheet(name)
        for row in table:
            sheet.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _medicaid() -> Table:
    rows: Table = [
        [
            *("State Abbreviation", "State Name", "Reporting Period", "Preliminary or Updated", "Final Report"),
            *("Total Medicaid and CHIP Enrollment", "Total Medicaid Enrollment", "Total Medicaid Enrollment - footnotes"),
            "Total CHIP Enrollment",
        ]
    ]
    for code, persons in PERSONS.items():
        for month, change in (("202312", 9_000), ("202411", 1_000), ("202412", 0)):
            for status, final, less in (("P", "N", 500), ("U", "Y", 0)):
                medicaid = persons + change - less
                rows.append([code, "x", month, status, final, f"{medicaid + 7}.0", f"{medicaid}.0", "", "7.0"])
    return rows


def _full_year(year: int) -> Table:
    header = [
        *("State", "Platform", "Total \nEnrollment", "APTC \nEnrollment", "Percentage of \nEnrollment with APTC "),
        *("Average Total\nPremium per \nMonth", "Average APTC per \nMonth (for \nConsumers \nreceiving APTC) "),
        "Average Premium after APTC per Month",
    ]
    rows: Table = []
    for (of, code), (enrolled, with_credit, credit, premium) in MARKETS.items():
        if of == year:
            after = round(premium - credit * with_credit / enrolled, 2)
            share = round(with_credit / enrolled, 2)
            rows.append([code, PLATFORM[code], enrolled, with_credit, share, premium, credit, after])
    return [[f"Full Year {year} Effectuated Enrollment"], header, *_totals(rows, 0, 1, (2, 3)), *rows]


def _totals(rows: Table, label: int, platform: int, columns: tuple[int, ...]) -> Table:
    """Rows of the three totals, with the other columns at 1."""
    found: Table = []
    for name in ("All", "HC.gov", "SBM"):
        of_name = [row for row in rows if name in ("All", row[platform])]
        total: list[Any] = [1] * len(rows[0])
        total[:platform] = ["Total"] * platform
        total[label], total[platform] = "Total", name
        for column in columns:
            total[column] = sum(row[column] for row in of_name)
        found.append(total)
    return found


def _assisted() -> Table:
    header = [
        *("State Name", "State Abbr.", "Platform", "Number of Consumers with a Marketplace Plan Selection"),
        *("Average Premium  ", "Consumers with APTC", "Average APTC among Consumers Receiving APTC"),
    ]
    rows = [["x", code, PLATFORM[code], c, 600, with_credit, credit] for code, (c, with_credit, credit, _, _) in CHOSEN.items()]
    return [header, *rows, *_totals(rows, 1, 2, (3, 5))]


def _metal_levels() -> Table:
    header = [
        "State Name",
        "State Abbr.",
        "Platform",
        "Number of Consumers with a Marketplace Plan Selection",
        "Bronze",
        "Silver ",
    ]
    rows = [["x", code, PLATFORM[code], c, bronze, c - bronze] for code, (c, _, _, bronze, _) in CHOSEN.items()]
    return [header, *rows, *_totals(rows, 1, 2, (3, 4, 5)), ['"+" indicates that there are none']]


def _csv() -> Table:
    header = ["State_Abrvtn", "Pltfrm", "Cnsmr", "APTC_Cnsmr", "APTC_Cnsmr_Avg_APTC", "Brnz"]
    rows = [
        [code, PLATFORM[code], f"{c:,}", f"{w:,}", f"${credit} ", f"{b:,}"] for code, (c, w, credit, b, _) in CHOSEN.items()
    ]
    return [header, *rows, ["Total", "All", "1", "1", "$1 ", "1"]]


def _metal() -> Table:
    header = [
        *("year", "source", "state_code", "platform", "metal_level", "enrollment_status"),
        *("consumers", "aptc_consumers", "aptc_share"),
    ]
    rows: Table = []
    for code, (consumers, _, _, bronze, share) in CHOSEN.items():
        known = PLATFORM[code] == "HC.gov"
        rows.append([2024, "x", code, PLATFORM[code], "All", "01-atv", f"{consumers}.0", None, None])
        rows.append(
            [2024, "x", code, PLATFORM[code], "B", "All", f"{bronze}.0", *((bronze * share, share) if known else (None, None))]
        )
    return [header, *rows]


def _page() -> Table:
    enrolled = {state.name: ENROLLED.get(state.code, 1000 + state.fips) for state in STATES}
    header = [["", "Total Effectuated Marketplace Enrollment"], ["", "Number"]]
    return [*header, ["United States", str(sum(enrolled.values()))], *([name, str(n)] for name, n in enrolled.items())]
