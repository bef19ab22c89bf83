"""CMS, full-year effectuated enrolment: persons whose Marketplace premium is paid, with and without advance credit, by state.

The workbook has a sheet ``Full Year {year}`` for every year since 2016, of averages over its twelve months. Totals of the
platforms, and the premiums before and after credit, hold its counts and averages to each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from geocal_core.errors import InputError
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.cms.sheets import AGAIN, state_rows
from geocal_core.targets.figures import Scope
from geocal_core.targets.files import RawFiles, Row
from geocal_core.targets.workbooks import Sheet, open_workbook

TABLE = "cms_effectuated"
_FILE = "full-year-effectuated-enrollment.xlsx"
_SHEET = re.compile(r"Full Year (\d{4})")
_TITLE = "Full Year {year} Effectuated Enrollment"
_ENROLLED, _WITH_CREDIT = "Total Enrollment", "APTC Enrollment"
_CREDIT = "Average APTC per Month (for Consumers receiving APTC)"
_PREMIUM, _AFTER = "Average Total Premium per Month", "Average Premium after APTC per Month"
_COLUMNS = (_ENROLLED, _WITH_CREDIT, _CREDIT, _PREMIUM, _AFTER)
# Averages are rounded to cents, in some states less exactly: the largest gap of 2016 to 2023 is 3.7 cents.
_AVERAGE_ROUNDING = 0.05


@dataclass(frozen=True)
class Market:
    """A state's Marketplace in an average month.

    Attributes
    ----------
    enrolled, with_credit : float
        Persons with paid coverage, and those of them with an advance premium tax credit.
    credit : float
        Average advance credit a month of the latter, in dollars.
    where : str
        File, sheet and row.
    """

    enrolled: float
    with_credit: float
    credit: float
    where: str

    @property
    def monthly_credits(self) -> float:
        """Advance credits of a month, in dollars."""
        return self.with_credit * self.credit


def full_years(raw: RawFiles) -> Mapping[int, Sheet]:
    """Sheets of full years, by year."""
    sheets = open_workbook(raw.named(_FILE, r"full-year-effectuated-enrollment.*\.xlsx"))
    found = {int(match[1]): sheet for name, sheet in sheets.items() if (match := _SHEET.fullmatch(name.strip()))}
    if not found:
        raise InputError(f"{_FILE} has no sheet called Full Year and a year", AGAIN)
    return found


def markets(sheet: Sheet, year: int, scope: Scope) -> Mapping[int, Market]:
    """Every state's Marketplace in a full year, by FIPS code.

    Raises
    ------
    InputError
        If the sheet is of another year, a state is missing or there twice, or the figures do not fit each other.
    """
    sheet.row_with(_TITLE.format(year=year))
    rows = state_rows(sheet, "State", _COLUMNS)
    scope.check_states(set(rows.states), sheet.where)
    rows.check_sum(_ENROLLED)
    rows.check_sum(_WITH_CREDIT)
    return {fips: _market(row) for fips, row in sorted(rows.states.items())}


def _market(row: Row) -> Market:
    market = Market(row.whole(_ENROLLED), row.whole(_WITH_CREDIT), row.number(_CREDIT), row.where)
    if not 0 < market.with_credit <= market.enrolled:
        raise InputError(f"{row.where}: {_WITH_CREDIT} is 0 or exceeds {_ENROLLED}", AGAIN)
    after = row.number(_PREMIUM) - market.monthly_credits / market.enrolled
    if abs(after - row.number(_AFTER)) > _AVERAGE_ROUNDING:
        raise InputError(f"{row.where}: {_PREMIUM} less {_CREDIT} is {after:.2f} a person, not {_AFTER}", AGAIN)
    return market


SOURCES = (
    PublishedFile(
        _FILE,
        "Effectuated enrolment of the Marketplaces by state, full years since 2016",
        "https://www.cms.gov/files/document/full-year-effectuated-enrollment.xlsx",
        columns=_COLUMNS,
        tables=(TABLE,),
    ),
)
