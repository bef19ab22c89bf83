"""IRS Statistics of Income, Historic Table 2: returns, incomes, deductions, taxes and credits by state and district.

``{yy}in55cmcsv.csv`` has the United States and the states by size of income, ``{yy}incd.csv`` the districts; ``yy`` is the tax
year, and the latest one not after the year wanted is read. What is read is data: ``soi_lines.csv`` has a line for each target.
The nation is the United States less Puerto Rico and other areas (military and foreign addresses), so that states add up to it.
Districts of an earlier Congress (``soi_congress.csv``) are carried over to those in force by population.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.catalogue import CONGRESS
from geocal_core.places.states import State, state_of_code
from geocal_core.published import PublishedFile
from geocal_core.targets.constraints import Constraint, constraint_of
from geocal_core.targets.figures import NATION, Domain, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_csv, refuse_copies
from geocal_core.targets.redistricting import Crosswalk, find_crosswalk
from geocal_core.targets.vocabulary import data_rows

Floats = NDArray[np.float64]

_SOURCE = "IRS SOI"
_AGAIN = "get the file again from IRS SOI"
_US = "US"
_OUTSIDE = ("OA", "PR")

# Bounds of the sizes of adjusted gross income, in dollars; stub 1 lies below the first. The district file ends with
# 500,000 or more (stub 9), the state file divides that at 1,000,000 (stubs 9 and 10).
_DISTRICT_BOUNDS = (1, 10_000, 25_000, 50_000, 75_000, 100_000, 200_000, 500_000)
_STATE_BOUNDS = (*_DISTRICT_BOUNDS, 1_000_000)

_THOUSAND = 1000.0
_COUNT_ROUNDING, _DOLLAR_ROUNDING = 10.0, 1000.0
# Returns whose ZIP code is missing or lies in another state are in the state file but in no district: up to 2.5 percent of the
# returns of a state in tax year 2022, and more of the incomes that few returns have (of Montana's income 5 percent).
_UNPLACED = 0.15
# Districts against the rows of states and of the United States in their own file.
_OWN_TOTAL = 1e-3
# Returns and credits by number of children, which make up a column; the last in thousands of dollars or in dollars: see
# _three_children_unit.
_CHILDREN, _ALL_CHILDREN = ("59661", "59662", "59663", "59664"), "59660"
_UNSURE = f"A{_CHILDREN[-1]}"

FILER = (Constraint("tax_unit_is_filer", "==", "1"),)


@dataclass(frozen=True)
class _Line:
    """One target of Historic Table 2: a line of ``data/soi_lines.csv``."""

    variable: str
    columns: tuple[str, ...]
    domain: Domain
    by_income: bool
    net: bool
    since: int


@cache
def _lines() -> tuple[_Line, ...]:
    return tuple(
        _Line(
            row["variable"],
            tuple(row["columns"].split("+")),
            (FILER, *((constraints,) if (constraints := tuple(map(constraint_of, row["domain"].split()))) else ())),
            row["by_income"] == "yes",
            row["net"] == "yes",
            int(row["since"] or 0),
        )
        for row in data_rows("soi_lines.csv")
    )


def _columns(year: int) -> tuple[str, ...]:
    """Columns that the files of a tax year have and that are read or checked, each once."""
    found = [column for line in _lines() if line.since <= year for column in line.columns]
    if _UNSURE in found:
        found += [f"{kind}{_ALL_CHILDREN}" for kind in ("N", "A")]
    return tuple(dict.fromkeys(found))


@cache
def _signed() -> frozenset[str]:
    """Columns in which profits and losses are set off."""
    return frozenset(column for line in _lines() if line.net for column in line.columns)


@dataclass(frozen=True)
class _Layout:
    """What tells the two files apart."""

    suffix: str
    bounds: tuple[int, ...]
    by_district: bool
    table: str

    @property
    def stubs(self) -> int:
        return len(self.bounds) + 1

    @property
    def keys(self) -> tuple[str, ...]:
        return ("STATE", "AGI_STUB", *(("CONG_DISTRICT",) if self.by_district else ()))


_STATES = _Layout("in55cmcsv.csv", _STATE_BOUNDS, False, "irs_soi_state")
_DISTRICTS = _Layout("incd.csv", _DISTRICT_BOUNDS, True, "irs_soi_district")


@dataclass(frozen=True)
class _File:
    """What stands in a file of one tax year.

    Attributes
    ----------
    path, year, layout :
    columns : tuple of str
    places : mapping of (str, int) to ndarray of shape (stubs + 1, columns)
        By STATE and CONG_DISTRICT (0 in the state file): returns and dollars by AGI_STUB, of which 0 is the total.
    empty : frozenset of str
        Columns that are 0 in every row: the file does not fill them.
    """

    path: Path
    year: int
    layout: _Layout
    columns: tuple[str, ...]
    places: Mapping[tuple[str, int], Floats]
    empty: frozenset[str]

    def half_units(self) -> Floats:
        """How much rounding may change a cell of each column: returns are in tens, dollars in thousands."""
        return np.array([(_COUNT_ROUNDING if c.startswith("N") else _DOLLAR_ROUNDING) / 2 for c in self.columns])


def _read_states(raw: RawFiles, scope: Scope) -> list[Figure]:
    file = _read(raw, scope, _STATES)
    places = {code: table for (code, _), table in file.places.items()}
    scope.check_states({_state(code, file.path).fips for code in places if code not in (_US, *_OUTSIDE)}, file.path.name)
    if _US not in places:
        raise InputError(f"{file.path.name} has no row of the United States (STATE US)", _AGAIN)
    nation = places[_US] - np.sum([places[code] for code in _OUTSIDE if code in places], axis=0)
    return list(_figures({NATION: nation} | {state.fips: places[state.code] for state in scope.states}, file, ""))


def _read_districts(raw: RawFiles, scope: Scope) -> list[Figure]:
    file = _read(raw, scope, _DISTRICTS)
    congress = _congress(file)
    by_state: dict[str, dict[int, Floats]] = {}
    for (code, number), table in file.places.items():
        if code not in (_US, *_OUTSIDE):
            by_state.setdefault(code, {})[number] = table
    scope.check_states({_state(code, file.path).fips for code in by_state}, file.path.name)
    crosswalk = _crosswalk(raw, scope, congress)
    places: dict[int, Floats] = {}
    for state in scope.states:
        codes = tuple(code for code in crosswalk.old if code // 100 == state.fips)
        places |= _districts_of(state, codes, by_state[state.code], file, congress)
    if (_US, 0) in file.places:
        _check_own_total(list(places.values()), file.places[_US, 0], file, _US)
    if congress == CONGRESS:
        return list(_figures(places, file, ""))
    carried = crosswalk.through(np.stack([places[code].ravel() for code in crosswalk.old]))
    shape = next(iter(places.values())).shape
    return list(
        _figures(
            {code: row.reshape(shape) for code, row in zip(crosswalk.new, carried, strict=True)},
            file,
            f", districts of the {congress}th Congress shared out by population ({crosswalk.source})",
        )
    )


def _congress(file: _File) -> int:
    """The Congress whose districts a file has, by its tax year."""
    known = {int(row["tax_year"]): int(row["congress"]) for row in data_rows("soi_congress.csv")}
    if file.year not in known:
        raise InputError(
            f"{file.path.name}: the Congress whose districts a file of tax year {file.year} has is not known",
            f"leave the table {file.layout.table} out (setting without), or add the year to data/soi_congress.csv",
        )
    return known[file.year]


def _crosswalk(raw: RawFiles, scope: Scope, congress: int) -> Crosswalk:
    if congress == CONGRESS:
        return Crosswalk.identity(CONGRESS, (code for state in scope.states for code in state.districts))
    return find_crosswalk(raw, congress, [state.code for state in scope.states])


def _read(raw: RawFiles, scope: Scope, layout: _Layout) -> _File:
    """The file of the latest tax year not after the year wanted; what does not add up in it is an error."""
    found = raw.matching(rf"\d\d{re.escape(layout.suffix)}")
    by_year = {2000 + int(name[:2]): path for name, path in found.items()}
    usable = [year for year in by_year if year <= scope.year]
    if not usable:
        there = f"there is {', '.join(found)}" if found else "there is none"
        raise InputError(
            f"a file {{yy}}{layout.suffix} of {scope.year} or before is wanted below {raw.place}, and {there}",
            f"get it from IRS SOI, or leave the table {layout.table} out (setting without)",
        )
    year = max(usable)
    refuse_copies(by_year[year], by_year.values())
    path, columns = raw.use(by_year[year]), _columns(year)
    by_key: dict[tuple[str, int], dict[int, Row]] = {}
    for row in read_csv(path, (*layout.keys, *columns)):
        key = (row.text("STATE").upper(), row.whole("CONG_DISTRICT") if layout.by_district else 0)
        stub = row.whole("AGI_STUB")
        if stub in by_key.setdefault(key, {}):
            raise InputError(f"{row.where}: AGI_STUB {stub} of {_called(key)} is there twice", _AGAIN)
        by_key[key][stub] = row
    places = {key: _cells(f"{path.name}, {_called(key)}", rows, layout, columns) for key, rows in by_key.items()}
    if _UNSURE in columns:
        unit = _three_children_unit(path, columns, [table[0] for table in places.values()])
        for table in places.values():
            table[:, columns.index(_UNSURE)] *= unit / _THOUSAND
    filled = np.any([(table != 0).any(axis=0) for table in places.values()], axis=0)
    empty = frozenset(column for column, any_filled in zip(columns, filled, strict=True) if not any_filled)
    file = _File(path, year, layout, columns, places, empty)
    for key, table in places.items():
        _check_place(f"{path.name}, {_called(key)}", table, file)
    return file


def _called(key: tuple[str, int]) -> str:
    return f"{key[0]} district {key[1]}" if key[1] else key[0]


def _cells(where: str, rows: Mapping[int, Row], layout: _Layout, columns: Sequence[str]) -> Floats:
    """Returns and dollars of one place by AGI_STUB and column, all amounts taken to be in thousands."""
    lacking = sorted(set(range(layout.stubs + 1)) ^ set(rows))
    if lacking:
        raise InputError(f"{where} has not AGI_STUB 0 to {layout.stubs} (see {lacking[0]})", _AGAIN)
    return np.array([[_cell(rows[stub], column) for column in columns] for stub in range(layout.stubs + 1)])


def _cell(row: Row, column: str) -> float:
    return row.whole(column) if column.startswith("N") else _THOUSAND * row.number(column, signed=column in _signed())


def _three_children_unit(path: Path, columns: Sequence[str], totals: Sequence[Floats]) -> float:
    """Dollars in a unit of column A59664.

    Publications disagree: it is in thousands of dollars like every other amount, or in dollars. The credits by number of
    children add up to column A59660 in one of the two units only; if they do in neither, the file is refused.
    """
    added = dict(zip(columns, np.sum(totals, axis=0), strict=True))
    whole, unsure = added[f"A{_ALL_CHILDREN}"], added[_UNSURE]
    others = sum(added[f"A{line}"] for line in _CHILDREN[:-1])
    allowed = 0.01 * whole + _THOUSAND * len(totals)
    for unit in (_THOUSAND, 1.0):
        if abs(others + unsure * unit / _THOUSAND - whole) <= allowed:
            return unit
    raise InputError(
        f"{path.name}: credits by number of children (A59661 to {_UNSURE}) add up to column A{_ALL_CHILDREN} neither in "
        "dollars nor in thousands of dollars",
        _AGAIN,
    )


def _check_place(where: str, table: Floats, file: _File) -> None:
    """Refuse a place whose AGI_STUBs do not add up to AGI_STUB 0, or its parts of the earned income credit to the whole."""
    half = file.half_units()
    wrong = np.flatnonzero(np.abs(table[1:].sum(axis=0) - table[0]) > half * len(table))
    if len(wrong):
        raise InputError(f"{where}: column {file.columns[wrong[0]]} of the AGI_STUBs does not add up to AGI_STUB 0", _AGAIN)
    if _UNSURE not in file.columns:
        return
    for kind in ("N", "A"):
        parts = [file.columns.index(f"{kind}{line}") for line in _CHILDREN]
        whole = file.columns.index(f"{kind}{_ALL_CHILDREN}")
        # A total is itself the sum of sizes of income that were rounded one by one.
        if abs(table[0, parts].sum() - table[0, whole]) > 2 * half[whole] * len(table):
            called = f"{kind}{_CHILDREN[0]} to {kind}{_CHILDREN[-1]}"
            raise InputError(f"{where}: columns {called} do not add up to {kind}{_ALL_CHILDREN}", _AGAIN)


def _check_own_total(parts: Sequence[Floats], whole: Floats, file: _File, called: str) -> None:
    """Refuse districts that do not add up to the row of their state, or of the United States, in the same file."""
    off = np.abs(np.sum(parts, axis=0) - whole)
    wrong = np.argwhere(off > file.half_units() * (len(parts) + 1) + _OWN_TOTAL * np.sum(np.abs(parts), axis=0))
    if len(wrong):
        stub, column = wrong[0]
        raise InputError(
            f"{file.path.name}: column {file.columns[column]}, AGI_STUB {stub} of the districts does not add up to {called}",
            _AGAIN,
        )


def _state(code: str, path: Path) -> State:
    try:
        return state_of_code(code)
    except ConfigError as error:
        raise InputError(f"{path.name}, column STATE holds {code!r}, which is no state", _AGAIN) from error


def _districts_of(
    state: State, codes: Sequence[int], by_number: Mapping[int, Floats], file: _File, congress: int
) -> dict[int, Floats]:
    """A state's districts by their codes, which must be those of the Congress.

    Number 0 is the state as a whole, and for a state of one district may be all there is of it; the District of Columbia
    is numbered 0, 1 or 98.
    """
    numbers = {number: table for number, table in by_number.items() if number != 0}
    if len(codes) == 1:
        only = numbers or dict(by_number)
        allowed = {0, 1, 98} if state.seats == 0 else {0, 1}
        if len(only) == 1 and set(only) <= allowed:
            return {codes[0]: next(iter(only.values()))}
        raise InputError(
            f"{file.path.name}: {state.name} has the districts {sorted(only)} instead of the one of the {congress}th Congress",
            _AGAIN,
        )
    by_code = {100 * state.fips + number: table for number, table in sorted(numbers.items())}
    wrong = sorted(set(by_code) ^ set(codes))
    if wrong:
        amiss = "lacks" if wrong[0] in codes else f"is not of the {congress}th Congress: it has"
        raise InputError(f"{file.path.name} {amiss} {state.name} district {wrong[0] % 100}", _AGAIN)
    if 0 in by_number:
        _check_own_total(list(by_code.values()), by_number[0], file, state.name)
    return by_code


def _figures(places: Mapping[int, Floats], file: _File, through: str) -> Iterator[Figure]:
    """A figure for each place, line and, where it is wanted, size of income.

    A line whose columns are 0 in every row is withheld: the file does not fill it.
    """
    sizes = list(_stub_constraints(file.layout.bounds))
    position = {column: index for index, column in enumerate(file.columns)}
    for place, table in sorted(places.items()):
        where = f"{file.path.name}, US less OA and PR" if place == NATION else file.path.name
        for line in _lines():
            if line.since > file.year:
                continue
            column = " + ".join(line.columns)
            withheld = file.empty.issuperset(line.columns)
            values = table[:, [position[c] for c in line.columns]].sum(axis=1)
            for stub in range(len(table) if line.by_income else 1):
                notes = f"{where}, {column}{f', AGI_STUB {stub}' if stub else ''}{through}"
                yield Figure(
                    line.variable,
                    None if withheld else float(values[stub]),
                    file.year,
                    place,
                    _SOURCE,
                    (*line.domain, sizes[stub - 1]) if stub else line.domain,
                    notes=f"withheld: column {column} is 0 in every row of {file.path.name}" if withheld else notes,
                )


def _stub_constraints(bounds: tuple[int, ...]) -> Iterator[tuple[Constraint, ...]]:
    """Constraints of the sizes of income: below the first bound, between each two, from the last up."""
    lower = [Constraint("adjusted_gross_income", ">=", str(bound)) for bound in bounds]
    upper = [Constraint("adjusted_gross_income", "<", str(bound)) for bound in bounds]
    yield (upper[0],)
    yield from zip(lower[:-1], upper[1:], strict=True)
    yield (lower[-1],)


_EARLIEST = min(int(row["tax_year"]) for row in data_rows("soi_congress.csv"))
_NET = frozenset(line.variable for line in _lines() if line.net and len(line.domain) > 1)

SOURCES = (
    PublishedFile(
        "??in55cmcsv.csv",
        "IRS SOI historic table 2 by state",
        "https://www.irs.gov/pub/irs-soi/22in55cmcsv.csv",
        lookalike="??in5*csv*.csv",
        tables=("irs_soi_state",),
        columns=(*_STATES.keys, *_columns(_EARLIEST)),
    ),
    PublishedFile(
        "??incd.csv",
        "IRS SOI individual income tax data by congressional district",
        "https://www.irs.gov/pub/irs-soi/22incd.csv",
        lookalike="??incd*.csv",
        tables=("irs_soi_district",),
        needed=False,
        columns=(*_DISTRICTS.keys, *_columns(_EARLIEST)),
    ),
)
TABLES = (
    Table("irs_soi_state", ("national", "state"), _read_states, _COUNT_ROUNDING, _DOLLAR_ROUNDING),
    Table("irs_soi_district", ("district",), _read_districts, _COUNT_ROUNDING, _DOLLAR_ROUNDING, _UNPLACED, net=_NET),
)
