"""CDC, provisional counts of live births by state (VSRR, dataset hmz2-vwda): persons who are pregnant.

The file is an answer of data.cdc.gov: a list of rows with state, year, month, period, indicator and the count as text. A
year's births are the twelve months that end in December. At any time 39/52 of a year's births are of women pregnant, since a
pregnancy lasts 39 weeks; losses are not counted. The nation is the sum of the states: the published one is rounded, and
Puerto Rico is left out. Births of the latest year not after the year wanted are held against the women of the Census Bureau.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterator, Mapping
from math import fsum
from pathlib import Path

from geocal_core.errors import InputError
from geocal_core.places.states import STATES, state_of_fips
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.census.women import women_of_15_to_44
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_text

_FILE = r"cdc_vsrr_births_(\d{4})\.json"
_TABLE = "cdc_births"
_VALUE = "data_value"  # left out of a row where there is none
_COLUMNS = ("state", "year", "month", "period", "indicator")
_INDICATOR = "Number of Live Births"
_YEAR_ENDING, _MONTHLY = "12 Month-ending", "Monthly"
_LAST_MONTH = "December"
_MONTHS = frozenset(calendar.month_name[1:])
_US = "united states"
_TERRITORIES = frozenset({"puerto rico", "guam", "virgin islands", "american samoa", "northern marianas"})
_FIPS = {state.name.casefold(): state.fips for state in STATES}

_WEEKS_PREGNANT, _WEEKS = 39, 52
_LEAST, _MOST = 0.02, 0.10
# The nation is published in thousands, a state's months are revised apart from its year.
_REVISION = 0.02
_AGAIN = "get the file again from data.cdc.gov"

_PREGNANT = ((Constraint("is_pregnant", "==", "True"),),)


def _read(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_FILE, scope.year, _TABLE)
    births = _births(path, year)
    states = {fips: count for fips, count in births.items() if fips != NATION}
    scope.check_states(set(states), path.name)
    _check_nation(births, path.name)
    _check_women(states, raw, scope, path.name)
    by_place = {**states, NATION: fsum(states.values())}
    return [
        Figure(
            "person_count",
            count * _WEEKS_PREGNANT / _WEEKS,
            year,
            place,
            "CDC VSRR Natality",
            _PREGNANT,
            notes=f"{path.name}, {count:,.0f} births x {_WEEKS_PREGNANT}/{_WEEKS}"
            + (", the states and the District" if place == NATION else ""),
        )
        for place, count in sorted(by_place.items())
    ]


def _births(path: Path, year: int) -> dict[int, int]:
    """Births of a year by place; the nation only where the file has it."""
    whole: dict[int, int] = {}
    months: dict[int, dict[str, int]] = {}
    for row in _rows(path):
        place = _place(row)
        if place is None or row.text("indicator") != _INDICATOR or row.whole("year") != year:
            continue
        period, month = row.text("period"), row.text("month")
        if month not in _MONTHS or period not in (_MONTHLY, _YEAR_ENDING):
            raise InputError(f"{row.where} has the month {month!r} and the period {period!r}", _AGAIN)
        if period == _YEAR_ENDING and month != _LAST_MONTH:
            continue
        count = row.whole(_VALUE)
        if period == _MONTHLY:
            twice = month in months.setdefault(place, {})
            months[place][month] = count
        else:
            twice = place in whole
            whole[place] = count
        if twice:
            raise InputError(f"{row.where} is there twice", _AGAIN)
    if not whole:
        raise InputError(
            f"{path.name} has no row of {year} with the period {_YEAR_ENDING}, month {_LAST_MONTH} and indicator {_INDICATOR}",
            "get the whole year from data.cdc.gov",
        )
    for place, of_place in months.items():
        added = sum(of_place.values())
        if set(of_place) == _MONTHS and place in whole and abs(added - whole[place]) > _REVISION * whole[place]:
            raise InputError(
                f"{path.name}: the months of {_called(place)} in {year} are {added:,} births, the year has {whole[place]:,}",
                _AGAIN,
            )
    return whole


def _rows(path: Path) -> Iterator[Row]:
    try:
        table = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path.name} is not whole JSON ({error})", _AGAIN) from error
    if not isinstance(table, list) or not table or not all(isinstance(row, dict) for row in table):
        raise InputError(f"{path.name} is not a list of rows", _AGAIN)
    for index, cells in enumerate(table, start=1):
        row = Row(f"{path.name}, row {index}", cells)
        lacking = [column for column in _COLUMNS if column not in cells]
        if lacking:
            raise InputError(f"{row.where} has no {lacking[0]}", _AGAIN)
        yield Row(f"{row.where} ({row.text('state')}, {row.text('month')} {row.text('year')})", cells)


def _place(row: Row) -> int | None:
    """Code of the row's place; None for a territory."""
    name = row.text("state").casefold()
    if name == _US:
        return NATION
    if name in _TERRITORIES:
        return None
    if name not in _FIPS:
        raise InputError(f"{row.where}: {row.text('state')!r} is no state and no territory", _AGAIN)
    return _FIPS[name]


def _check_nation(births: Mapping[int, int], file: str) -> None:
    if NATION not in births:
        return
    added = sum(count for place, count in births.items() if place != NATION)
    if abs(added - births[NATION]) > _REVISION * births[NATION]:
        raise InputError(f"{file}: the states add up to {added:,} births, the United States have {births[NATION]:,}", _AGAIN)


def _check_women(births: Mapping[int, int], raw: RawFiles, scope: Scope, file: str) -> None:
    women, women_file = women_of_15_to_44(raw, scope)
    for fips, count in births.items():
        share = count / women[fips] if women[fips] else float("inf")
        if not _LEAST <= share <= _MOST:
            raise InputError(
                f"{file}: {_called(fips)} has {count:,} births to {women[fips]:,} women of 15 to 44 ({women_file}), "
                f"which is {share:.1%}, not between {_LEAST:.0%} and {_MOST:.0%}",
                "see which of the two files is of another place or unit",
            )


def _called(place: int) -> str:
    return "the United States" if place == NATION else state_of_fips(place).name


SOURCES = (
    PublishedFile(
        "cdc_vsrr_births_2024.json",
        "CDC provisional counts of live births of a year, by state and month",
        "https://data.cdc.gov/resource/hmz2-vwda.json"
        "?$where=year='2024' AND indicator='Number of Live Births'&$limit=50000".replace(" ", "%20"),
        lookalike="cdc_vsrr_births_????.json",
        needed=False,
        columns=(*_COLUMNS, _VALUE),
        tables=(_TABLE,),
    ),
)
TABLES = (Table(_TABLE, ("national", "state"), _read),)
