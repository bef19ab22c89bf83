"""Agency files of a nation of three states: one at large, the District, one of two districts. Small enough to spoil."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import openpyxl

from geocal_core.targets.vocabulary import data_rows

CODES = ("DE", "DC", "ID")
TABLES = ("census_acs_s0101", "census_acs_s2201_district", "irs_soi_state", "irs_soi_district", "usda_snap")
"""The tables that are written here; builds of this nation leave out the others."""
NAMES = {10: "Delaware", 11: "District of Columbia", 16: "Idaho"}
POSTAL = {10: "DE", 11: "DC", 16: "ID"}
DISTRICTS = {10: [("00", 1001)], 11: [("98", 1101)], 16: [("01", 1601), ("02", 1602)]}
MONTHS = ("Oct", "Nov", "Dec", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep")
STATE_STUBS, DISTRICT_STUBS = 10, 9
TARGETS = 1208


def age(district: int, index: int) -> int:
    """Persons of a district in one of the 18 bins."""
    return 1000 + 7 * index + district % 97


def snap_households(fips: int) -> float:
    return 5000.0 + 11 * fips


def snap_dollars(fips: int) -> int:
    return 12 * 1_000_000 + 12 * fips


def returns(district: int, stub: int) -> int:
    return 100 * stub + 10 * (district % 7)


def income(district: int, stub: int) -> int:
    """Thousands of dollars; below zero in the first stub."""
    return -50 if stub == 1 else 1000 * stub + district


def credits(district: int, children: int) -> tuple[int, int]:
    """Returns, and thousands of dollars."""
    return 10 * (children + 1), 500 * (children + 1) + district % 13


def write_all(folder: Path, *, year: int = 2024, in_dollars: bool = True) -> Path:
    """Write every file; ``in_dollars`` is the unit of the district file's A59664."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in ("national", "state", "district"):
        write_api(folder / f"acs_S0101_{level}_{year}.json", age_rows(level))
    write_api(folder / f"acs_S2201_district_{year}.json", snap_rows())
    write_workbook(folder / "snap-zip-fy69tocurrent-6.zip", year)
    write_csv(folder / f"{year % 100}in55cmcsv.csv", state_rows())
    write_csv(folder / f"{year % 100}incd.csv", district_rows(in_dollars))
    return folder


def write_api(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps([list(rows[0]), *[list(row.values()) for row in rows]], indent=0))


def read_api(path: Path) -> list[dict[str, Any]]:
    header, *rows = json.loads(path.read_text())
    return [dict(zip(header, row, strict=True)) for row in rows]


def age_rows(level: str) -> list[dict[str, Any]]:
    if level == "national":
        return [_age_row("0100000US", "United States", [d for of in DISTRICTS.values() for _, d in of], {"us": "1"})]
    rows = []
    for fips, districts in DISTRICTS.items():
        if level == "state":
            rows.append(_age_row(f"0400000US{fips}", NAMES[fips], [d for _, d in districts], {"state": str(fips)}))
            continue
        for number, district in districts:
            name = f"Congressional District {number} (119th Congress), {NAMES[fips]}"
            place = {"state": str(fips), "congressional district": number}
            rows.append(_age_row(f"5001900US{fips}{number}", name, [district], place))
    if level == "state":
        rows.append(_age_row("0400000US72", "Puerto Rico", [9999], {"state": "72"}))
    if level == "district":
        rows.append(_age_row("5001900US7298", "Resident Commissioner", [9999], {"state": "72", "congressional district": "98"}))
        rows.append(_age_row("5001900US16ZZ", "Not defined, Idaho", [], {"state": "16", "congressional district": "ZZ"}))
    return rows


def _age_row(geo_id: str, name: str, districts: list[int], place: dict[str, str]) -> dict[str, Any]:
    bins = [sum(age(d, index) for d in districts) for index in range(18)]
    row: dict[str, Any] = {"GEO_ID": geo_id, "NAME": name, "S0101_C01_001E": str(sum(bins)), "S0101_C01_001M": "-555555555"}
    for index, value in enumerate(bins, start=2):
        row[f"S0101_C01_{index:03d}E"] = str(value)
        row[f"S0101_C01_{index:03d}M"] = "-555555555" if index == 2 else "-222222222" if index == 3 else str(value // 10)
    return row | place


def snap_rows() -> list[dict[str, Any]]:
    return [
        {
            "GEO_ID": f"5001900US{fips}{number}",
            "NAME": f"Congressional District {number} (119th Congress), {NAMES[fips]}",
            "S2201_C01_001E": "7000",
            "S2201_C03_001E": str(900 + district % 10),
            "S2201_C03_001M": "55",
            "state": str(fips),
            "congressional district": number,
        }
        for fips, districts in DISTRICTS.items()
        for number, district in districts
    ]


def workbook(year: int) -> openpyxl.Workbook:
    """A workbook in the layout of FNS: two regions, a territory without the program and one with it, a summary."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    east = {"Delaware": 10, "District of Columbia": 11, "Puerto Rico": None}
    west = {"Guam": 66, "Idaho": 16}
    for title, states in (("MARO", east), ("WRO", west)):
        sheet = _sheet(book, title, year)
        for name, fips in states.items():
            _block(sheet, name, None if fips is None else [fips], year)
        _block(sheet, title, [fips for fips in states.values() if fips is not None], year)
        sheet.append(["Footnotes:"])
        sheet.append(["1. Participation excludes replacements."])
    _block(_sheet(book, "US Summary", year), "US Summary", [10, 11, 16, 66], year)
    return book


def _sheet(book: openpyxl.Workbook, title: str, year: int) -> Any:
    sheet = book.create_sheet(title)
    sheet.append(["National Data Bank"])
    sheet.append([f"SNAP Monthly State Participation and Benefit Summary, Fiscal Year {year}"])
    sheet.append([" "])
    sheet.append([" ", "Total 1/"])
    sheet.append(["Fiscal Year and Month", "Participation 1/", None, "Cost", "Cost Per", None])
    sheet.append([None, "Household", "Persons", None, "Household", "Persons"])
    return sheet


def _block(sheet: Any, name: str, places: list[int] | None, year: int) -> None:
    sheet.append([name])
    for index, month in enumerate(MONTHS):
        label = f"{month} {year - 1 if index < 3 else year}"
        if places is None:
            sheet.append([label, *["--"] * 5])
            continue
        households = sum(snap_households(place) + index - 5.5 for place in places)
        dollars = sum(snap_dollars(place) // 12 for place in places)
        sheet.append([label, households, 2 * households, dollars, dollars / households, dollars / households / 2])
    if places is None:
        sheet.append(["Total", *["--"] * 5])
    else:
        households, dollars = sum(map(snap_households, places)), sum(map(snap_dollars, places))
        sheet.append(["Total", households, 2 * households, dollars, None, None])
    sheet.append([])


def write_workbook(path: Path, year: int, book: openpyxl.Workbook | None = None) -> None:
    content = io.BytesIO()
    (book or workbook(year)).save(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"FY{year % 100:02d}.xlsx", content.getvalue())


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [",".join(rows[0])]
    lines += [",".join(f'"{value:,}"' if isinstance(value, int) else value for value in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def state_rows() -> list[dict[str, Any]]:
    """The nation, which includes Puerto Rico and other areas, the states and those two."""
    groups = {POSTAL[fips]: [district for _, district in of] for fips, of in DISTRICTS.items()}
    groups |= {"OA": [9301], "PR": [9302]}
    rows = []
    for code, districts in ({"US": [d for of in groups.values() for d in of]} | groups).items():
        rows += _soi_rows({"STATE": code}, districts, STATE_STUBS, 1)
    return rows


def district_rows(in_dollars: bool) -> list[dict[str, Any]]:
    """Districts, each state's total with district 0; for a state of one district there is nothing but 0."""
    unit = 1000 if in_dollars else 1
    rows = []
    for fips, of in DISTRICTS.items():
        groups = {"0": [district for _, district in of]}
        if len(of) > 1:
            groups |= {str(int(number)): [district] for number, district in of}
        for number, districts in groups.items():
            head = {"STATEFIPS": str(fips), "STATE": POSTAL[fips], "CONG_DISTRICT": number}
            rows += _soi_rows(head, districts, DISTRICT_STUBS, unit)
    return rows


def _soi_rows(head: dict[str, str], districts: list[int], stubs: int, unit: int) -> list[dict[str, Any]]:
    rows = []
    for stub in range(stubs + 1):
        within = range(1, STATE_STUBS + 1) if stub == 0 else (stub, 10) if stub == stubs == DISTRICT_STUBS else (stub,)
        row: dict[str, Any] = {**head, "agi_stub": str(stub)}
        row["N1"] = sum(returns(d, s) for d in districts for s in within)
        row["A00100"] = sum(income(d, s) for d in districts for s in within)
        of_children = [tuple(map(sum, zip(*[credits(d, k) for d in districts], strict=True))) for k in range(4)]
        share = 1 if stub in (0, STUB_OF_CREDITS) else 0
        row["N59660"] = share * sum(n for n, _ in of_children)
        row["A59660"] = share * sum(a for _, a in of_children)
        for k, (number, amount) in enumerate(of_children):
            row[f"N5966{k + 1}"] = share * number
            row[f"A5966{k + 1}"] = share * amount * (unit if k == 3 else 1)
        for column in SOI_COLUMNS:
            if column not in row:
                row[column] = sum(line(column, d, s) for d in districts for s in within)
        rows.append(row)
    return rows


STUB_OF_CREDITS = 3
NET = ("A00900", "A01000", "A26270", "A25870")
SOI_COLUMNS = tuple(dict.fromkeys(c for row in data_rows("soi_lines.csv") for c in row["columns"].split("+")))


def line(column: str, district: int, stub: int) -> int:
    """A cell of any other line: returns, or thousands of dollars, of which net incomes are losses in the first stub."""
    key = sum(map(ord, column))
    if column.startswith("N"):
        return 10 * (key % 5 + stub + district % 3)
    return (-1 if stub == 1 and column in NET else 1) * (key + 37 * stub + district % 11)
