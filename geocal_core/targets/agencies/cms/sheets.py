"""Sheets in which CMS tabulates the Marketplaces: a row per state with its platform, and totals of the platforms.

The platform is HealthCare.gov (``HC.gov``) or the state's own (``SBM``). Columns are found by their header texts; rows without
a platform are footnotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.states import state_of_code
from geocal_core.targets.files import Row
from geocal_core.targets.workbooks import Sheet, column_named

AGAIN = "get the file again from CMS"
HEALTHCARE_GOV = "HC.gov"
_OWN = "SBM"
_ALL = "All"
_PLATFORM = "Platform"

# What CMS writes where it publishes no figure: fewer than 11 persons, not reported by the state, not applicable there.
_MARKS = {"*": "suppressed", "NR": "not reported", "+": "not applicable"}


@dataclass(frozen=True)
class StateRows:
    """Rows of a sheet: of the states by FIPS code, and totals by platform, ``All`` among them."""

    where: str
    states: Mapping[int, Row]
    totals: Mapping[str, Row]

    @property
    def nation(self) -> Row:
        """The row of all states."""
        return self.totals[_ALL]

    def platform(self, fips: int) -> str:
        """``HC.gov`` or ``SBM``."""
        return self.states[fips].text(_PLATFORM)

    def check_sum(self, column: str) -> None:
        """Refuse a column of counts whose states do not add up to the totals; withheld figures may make up what lacks."""
        for platform, total in self.totals.items():
            parts = [published(r, column)[0] for fips, r in self.states.items() if platform in (_ALL, self.platform(fips))]
            whole, _ = published(total, column)
            if whole is None:
                continue
            added = sum(part for part in parts if part is not None)
            if added > whole or (added < whole and None not in parts):
                raise InputError(
                    f"{total.where}, column {column}: states ({platform}) add up to {added:.15g}, the total is {whole:.15g}",
                    AGAIN,
                )


def state_rows(sheet: Sheet, state_column: str, columns: Sequence[str]) -> StateRows:
    """Rows of a sheet by state.

    Parameters
    ----------
    sheet : Sheet
    state_column : str
        Header text of the column with postal codes.
    columns : sequence of str
        Header texts of the columns wanted.

    Raises
    ------
    InputError
        If a column is missing, a row is of no state or no platform, or a state or total is there twice or (the total) not.
    """
    header = sheet.row_with(state_column, _PLATFORM)
    headed = sheet.headed(header, header)
    positions = {text: column_named(headed, sheet.where, text) for text in (state_column, _PLATFORM, *columns)}
    states: dict[int, Row] = {}
    totals: dict[str, Row] = {}
    for row in sheet.rows(header + 1, positions):
        if row.cell(_PLATFORM) is None:
            continue
        code, platform = row.text(state_column), row.text(_PLATFORM)
        if platform not in (HEALTHCARE_GOV, _OWN, _ALL) or (platform == _ALL and code.upper() != "TOTAL"):
            raise InputError(f"{row.where}, column {_PLATFORM} holds {platform!r}, which is no platform", AGAIN)
        twice = (
            states.setdefault(fips_of(row, state_column), row) if code.upper() != "TOTAL" else totals.setdefault(platform, row)
        )
        if twice is not row:
            raise InputError(f"{row.where}: {code} ({platform}) is there twice", AGAIN)
    if _ALL not in totals:
        raise InputError(f"{sheet.where} has no row of the total of all platforms", AGAIN)
    return StateRows(sheet.where, states, totals)


def fips_of(row: Row, column: str) -> int:
    """FIPS code of the state whose postal code a cell holds."""
    code = row.text(column)
    try:
        return state_of_code(code).fips
    except ConfigError as error:
        raise InputError(f"{row.where}, column {column} holds {code!r}, which is no state", AGAIN) from error


def published(row: Row, column: str) -> tuple[int | None, str | None]:
    """A count, or none where CMS withholds it, with a note that says which mark stands where."""
    cell = row.cell(column)
    mark = cell.strip() if isinstance(cell, str) else ""
    if mark in _MARKS:
        return None, f"withheld ({_MARKS[mark]}): {mark!r} in {row.where}, column {column}"
    return row.whole(column), None
