"""CMS, advance premium tax credits (APTC): persons and dollars by state of the latest full year, and their growth from then on.

Dollars are persons times their average credit a month times twelve, scaled to no other total: what was paid in advance, before
tax returns settle it. The growth is that of effectuated enrolment where the workbook has both years. Where it ends before the
year wanted, that year's enrolment is CMS's as tabulated by KFF, and the share with credit and the average credit are those of
the plan selections of its open enrolment (shares of 2024 so taken are on average 1 point away from the full year 2023).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from math import fsum
from pathlib import Path

from geocal_core.errors import InputError
from geocal_core.places.states import STATES
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.cms import open_enrollment
from geocal_core.targets.agencies.cms.effectuated import TABLE, Market, full_years, markets
from geocal_core.targets.agencies.cms.sheets import AGAIN
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, PlaceGrowth, Scope, Table
from geocal_core.targets.files import RawFiles, Row
from geocal_core.targets.workbooks import Sheet

_SOURCE = "CMS Marketplace"
_RECEIVES = (Constraint("aca_ptc", ">", "0"), Constraint("is_aca_ptc_eligible", "==", "True"))
_MONTHS = 12
_COUNT, _AMOUNT = "aca_ptc_count", "aca_ptc"
# Returns are published two years late, so totals of that year and of the one between are to be brought to the year wanted.
_LAGS = (2, 1)

_PAGE = "full-year-average-marketplace-effectuated-enrollment.html"
_PAGE_DATA = '"gdocsObject":'
_PAGE_HEADER = [["", "Total Effectuated Marketplace Enrollment"], ["", "Number"]]
_PAGE_NATION = "United States"


def _read(raw: RawFiles, scope: Scope) -> list[Figure]:
    sheets = full_years(raw)
    year = _latest(sheets, scope)
    by_place = markets(sheets[year], year, scope)
    return [*_figures("person_count", by_place, year), *_figures("aca_ptc", by_place, year)]


def _latest(sheets: Mapping[int, Sheet], scope: Scope) -> int:
    usable = [year for year in sheets if year <= scope.year]
    if not usable:
        raise InputError(f"{sheets[min(sheets)].where} is the first full year, after {scope.year}", "choose a later year")
    return max(usable)


def _figures(variable: str, by_state: Mapping[int, Market], year: int) -> Iterator[Figure]:
    amount = variable == "aca_ptc"
    what = f"APTC Enrollment x Average APTC per Month x {_MONTHS}" if amount else "APTC Enrollment"
    values = {fips: m.monthly_credits * _MONTHS if amount else m.with_credit for fips, m in by_state.items()}
    domain = () if amount else (_RECEIVES,)
    yield Figure(variable, fsum(values.values()), year, NATION, _SOURCE, domain, notes=f"{what}, sum of the states")
    for fips, value in values.items():
        yield Figure(variable, value, year, fips, _SOURCE, domain, notes=what)


def _growth(raw: RawFiles, scope: Scope) -> list[PlaceGrowth]:
    sheets = full_years(raw)
    bases = {scope.year - lag for lag in _LAGS} | {_latest(sheets, scope)}
    before = {year: markets(sheets[year], year, scope) for year in sorted(bases & set(sheets)) if year < scope.year}
    if not before:
        return []
    after = markets(sheets[scope.year], scope.year, scope) if scope.year in sheets else _beyond(raw, scope, before)
    return [row for year, base in before.items() for row in _factors(base, after, year, scope.year)]


def _factors(before: Mapping[int, Market], after: Mapping[int, Market], start: int, end: int) -> Iterator[PlaceGrowth]:
    for place in (NATION, *before):
        here = list(before) if place == NATION else [place]
        persons = fsum(after[s].with_credit for s in here) / fsum(before[s].with_credit for s in here)
        dollars = fsum(after[s].monthly_credits for s in here) / fsum(before[s].monthly_credits for s in here)
        yield PlaceGrowth(_COUNT, place, start, end, persons, _SOURCE)
        yield PlaceGrowth(_AMOUNT, place, start, end, dollars, _SOURCE)


def _beyond(raw: RawFiles, scope: Scope, before: Mapping[int, Mapping[int, Market]]) -> Mapping[int, Market]:
    """Marketplaces of a year after the workbook's last: enrolment as tabulated by KFF, credits as of open enrolment."""
    path = raw.named(_PAGE, r"full-year-average-marketplace-effectuated-enrollment.*\.html")
    tabulated = _tabulated(path)
    if scope.year not in tabulated:
        raise InputError(
            f"{path.name} has no {scope.year}", f"get a later one, or leave the table {TABLE} out (setting without)"
        )
    for year, by_state in before.items():
        for fips, market in by_state.items():
            if year in tabulated and tabulated[year][fips] != market.enrolled:
                raise InputError(f"{path.name} has {tabulated[year][fips]} enrolled in {year}, unlike {market.where}", AGAIN)
    selections = open_enrollment.selections(raw, scope.year, scope)
    found: dict[int, Market] = {}
    for fips, chosen in selections.items():
        enrolled = tabulated[scope.year][fips]
        if chosen.with_credit is None or chosen.credit is None:
            raise InputError(
                f"{chosen.where}: APTC is withheld, so its growth is not known", "leave the table out (setting without)"
            )
        with_credit = enrolled * chosen.with_credit / chosen.consumers
        found[fips] = Market(enrolled, with_credit, chosen.credit, chosen.where)
    return found


class _Scripts(HTMLParser):
    """Texts of the scripts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = False
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._inside = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts.append(data)


def _tabulated(path: Path) -> Mapping[int, Mapping[int, int]]:
    """Persons enrolled by year and state, from the data that the page carries in a script."""
    tables = _page_data(path)
    found = {int(name): _page_year(table, f"{path.name}, {name}") for name, table in tables if str(name).isdecimal()}
    if not found:
        raise InputError(f"{path.name} has no table of a year", AGAIN)
    return found


def _page_data(path: Path) -> list[tuple[str, list[list[str]]]]:
    scripts = _Scripts()
    try:
        scripts.feed(path.read_text(encoding="utf-8"))
        text = next(text for text in scripts.texts if _PAGE_DATA in text)
        data, _ = json.JSONDecoder().raw_decode(text.split(_PAGE_DATA, 1)[1])
        return [(name, table) for name, table in data]
    except (UnicodeDecodeError, StopIteration, ValueError, TypeError, AssertionError, RecursionError) as error:
        raise InputError(
            f"{path.name} is not the page with a table by state ({_PAGE_DATA} is not in it, or not whole)", AGAIN
        ) from error


def _page_year(table: list[list[str]], where: str) -> Mapping[int, int]:
    if not isinstance(table, list) or table[:2] != _PAGE_HEADER:
        raise InputError(f"{where}: the table is not headed {_PAGE_HEADER[0][1]}, {_PAGE_HEADER[1][1]}", AGAIN)
    by_name: dict[str, int] = {}
    for cells in table[2:]:
        if not isinstance(cells, list) or len(cells) != 2 or cells[0] in by_name:
            raise InputError(f"{where}: {cells!r} is no row of a state and a number, or the state is there twice", AGAIN)
        row = Row(f"{where}, {cells[0]}", {"Number": cells[1]})
        by_name[cells[0]] = row.whole("Number")
    if set(by_name) != {_PAGE_NATION, *(state.name for state in STATES)}:
        raise InputError(f"{where}: the rows are not those of the nation and its 51 states", AGAIN)
    nation = by_name.pop(_PAGE_NATION)
    if sum(by_name.values()) != nation:
        raise InputError(f"{where}: the states add up to {sum(by_name.values())}, {_PAGE_NATION} has {nation}", AGAIN)
    return {state.fips: by_name[state.name] for state in STATES}


SOURCES = (
    PublishedFile(
        _PAGE,
        "CMS effectuated enrolment by state and year, as tabulated by KFF",
        "https://www.kff.org/affordable-care-act/state-indicator/full-year-average-marketplace-effectuated-enrollment/",
        tables=(TABLE,),
    ),
)
TABLES = (Table(TABLE, ("national", "state"), _read, growth=_growth),)
