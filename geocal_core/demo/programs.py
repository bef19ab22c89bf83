"""The demo nation as agencies publish programs and taxes by state: Medicaid (CMS), SSI (SSA), income tax (Census Bureau).

Medicaid is the monthly csv of data.medicaid.gov with December 2024, preliminary and updated; SSI the table 7.B1 of the
Statistical Supplement in long form; the tax is item T40 of a State Tax Collections flat file. Columns and items that
calibration does not read are left empty or out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from geocal_core.demo import truth
from geocal_core.demo.districts import rows_of
from geocal_core.places.states import STATES, State, state_of_code
from geocal_core.settings import RawSettings

MEDICAID_FILE, SSI_FILE, TAX_FILE = "medicaid_enrollment_2024.csv", "ssi_table_7b1_2024.csv", "FY2024-Flat-File.txt"
_THOUSAND = 1000.0
# CHIP children beside every hundred in Medicaid, and what the first count of a month lacks of the updated one.
_CHIP, _FIRST_COUNT = 0.09, 0.995
# SSI by category, in the shares of 2024 (SSA, Statistical Supplement 2025, table 7.B1); the disabled are the rest.
_SSI_CATEGORIES = {"aged": 0.157, "blind": 0.009}


def write_medicaid(settings: RawSettings, folder: Path) -> None:
    """Write December 2024 of every state, first as preliminary, then as updated and final."""
    columns = [row["column"] for row in rows_of("medicaid_columns.csv")]
    lines = []
    for state in _states(settings):
        updated = int(truth.programs().loc[state.fips, "medicaid_persons"])
        for status, final, persons in (("P", "N", round(_FIRST_COUNT * updated)), ("U", "Y", updated)):
            chip = round(_CHIP * persons)
            filled: dict[str, str | float] = {
                "State Abbreviation": state.code,
                "State Name": state.name,
                "Reporting Period": "202412",
                "Preliminary or Updated": status,
                "Final Report": final,
                "Total Medicaid and CHIP Enrollment": float(persons + chip),
                "Total Medicaid Enrollment": float(persons),
                "Total CHIP Enrollment": float(chip),
            }
            lines.append([filled.get(column, "") for column in columns])
    (folder / MEDICAID_FILE).write_text(_csv([columns, *lines]), encoding="utf-8")


def write_ssi(settings: RawSettings, folder: Path) -> None:
    """Write recipients and payments (thousands of dollars) of the nation and the states, in total and by category."""
    header = ["area_id", "area_name", "geography_id", "geography_level", "geography_name"]
    lines: list[list[str | int]] = [[*header, "ssi_category", "recipient_count", "payment_thousands"]]
    by_state = {state: _ssi(state) for state in _states(settings)}
    nation = {
        category: (sum(of[category][0] for of in by_state.values()), sum(of[category][1] for of in by_state.values()))
        for category in ("total", *_SSI_CATEGORIES, "disabled")
    }
    areas = [(["all_areas", "All areas", "0100000US", "country", "United States"], nation)]
    for state, of_state in by_state.items():
        key = state.name.lower().replace(" ", "_")
        areas.append(([key, state.name, f"0400000US{state.fips:02d}", "state", state.name], of_state))
    lines += [[*area, category, *values] for area, of_area in areas for category, values in of_area.items()]
    (folder / SSI_FILE).write_text(_csv(lines), encoding="utf-8")


def write_tax_collections(settings: RawSettings, folder: Path) -> None:
    """Write item T40 in thousands of dollars: ``X`` for states without the tax and for those that are not in the nation.

    The District of Columbia has a column of its own and is not in the column of the United States.
    """
    dollars = truth.programs()["state_income_tax_dollars"]
    thousands = {state.code: round(dollars[state.fips] / _THOUSAND) for state in _states(settings)}
    levied = {code: value for code, value in thousands.items() if value > 0}
    whole = sum(value for code, value in levied.items() if code != "DC")
    row = ["T40", whole, *(levied.get(state.code, "X") for state in STATES)]
    (folder / TAX_FILE).write_text(_csv([["ITEM", "US", *(state.code for state in STATES)], row]), encoding="utf-8")


def _ssi(state: State) -> dict[str, tuple[int, int]]:
    """Recipients and thousands of dollars by category."""
    row = truth.programs().loc[state.fips]
    total = (int(row["ssi_persons"]), round(row["ssi_dollars"] / _THOUSAND))
    parts = {name: (round(share * total[0]), round(share * total[1])) for name, share in _SSI_CATEGORIES.items()}
    rest = tuple(total[i] - sum(part[i] for part in parts.values()) for i in (0, 1))
    return {"total": total, **parts, "disabled": (rest[0], rest[1])}


def _states(settings: RawSettings) -> list[State]:
    return sorted((state_of_code(code) for code in settings.states), key=lambda state: state.name)


def _csv(rows: Iterable[Iterable[str | float | int]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
