"""Census Bureau, Annual Survey of State Government Tax Collections: individual income tax (item T40) by state.

The flat file of a fiscal year has a row per item, a column per state and one of the nation, in thousands of dollars. A fiscal
year is that of the states, mostly July to June, and bears the number of the year in which it ends; the latest one not after
the year wanted is read. ``X`` is the Bureau's mark for an item that does not apply: a state without the tax gets a withheld
figure, not a target of 0 dollars. The Bureau's nation is the 50 states; the District, which has its own column, is added here.
"""

from __future__ import annotations

from geocal_core.errors import InputError
from geocal_core.places.states import STATES
from geocal_core.published import PublishedFile
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_csv

_FILE = r"FY(\d{4})-Flat-File\.txt"
_TABLE = "census_state_income_tax"
_SOURCE = "Census STC"
_VARIABLE = "state_income_tax"
_ITEM = "T40"
_NATION, _DISTRICT = "US", "DC"
_NOT_APPLICABLE = "X"
_THOUSAND = 1000.0
_COLUMNS = ("ITEM", _NATION, *(state.code for state in STATES))

# States that tax no wages and yet collect something under this item (Bureau's classification manual, T40).
_PARTIAL = {
    "NH": "tax on interest and dividends only",
    "TN": "remainders of the tax on interest and dividends that ended with 2020",
    "WA": "excise on capital gains only",
}


def _read(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_FILE, scope.year, _TABLE)
    rows = [row for row in read_csv(path, _COLUMNS) if row.text("ITEM") == _ITEM]
    if len(rows) != 1:
        raise InputError(f"{path.name} has {len(rows)} rows of the item {_ITEM} instead of one", "get the file again")
    row = rows[0]
    states = [_figure(row, state.code, state.fips, path.name, year) for state in STATES]
    collected = {state.code: figure.value for state, figure in zip(STATES, states, strict=True)}
    added = sum(value for code, value in collected.items() if value is not None and code != _DISTRICT)
    whole = row.whole(_NATION) * _THOUSAND
    if added != whole:
        raise InputError(
            f"{row.where}: the 50 states add up to {added:.15g} dollars, but column {_NATION} has {whole:.15g}",
            "get the file again",
        )
    notes = f"{path.name}, item {_ITEM}, columns {_NATION} and {_DISTRICT}"
    nation = Figure(_VARIABLE, whole + (collected[_DISTRICT] or 0.0), year, NATION, _SOURCE, notes=notes)
    return [nation, *states]


def _figure(row: Row, code: str, place: int, file: str, year: int) -> Figure:
    where = f"{file}, item {_ITEM}, column {code}"
    if row.text(code) == _NOT_APPLICABLE:
        notes = f"withheld: {_NOT_APPLICABLE!r} in {where}: the state has no such tax"
        return Figure(_VARIABLE, None, year, place, _SOURCE, notes=notes)
    notes = f"{where}: {_PARTIAL[code]}" if code in _PARTIAL else where
    return Figure(_VARIABLE, row.whole(code) * _THOUSAND, year, place, _SOURCE, notes=notes)


SOURCES = (
    PublishedFile(
        "FY????-Flat-File.txt",
        "State Government Tax Collections of a fiscal year, by item and state",
        "https://www2.census.gov/programs-surveys/stc/datasets/2023/FY2023-Flat-File.txt",
        columns=_COLUMNS,
        tables=(_TABLE,),
    ),
)
TABLES = (Table(_TABLE, ("national", "state"), _read, dollar_rounding=_THOUSAND, whole_nation=True),)
