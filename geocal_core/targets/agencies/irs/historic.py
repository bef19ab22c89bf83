"""IRS Statistics of Income, Historic Table 2: returns, adjusted gross income and earned income credit by state and district.

``{yy}in55cmcsv.csv`` has the United States and the states by size of income, ``{yy}incd.csv`` the districts; ``yy`` is the tax
year, and the latest one not after the year wanted is read. The nation is the United States less Puerto Rico and other areas
(military and foreign addresses), so that states add up to it. Narrow in one thing: a district file of a tax year before 2024
has the districts of an earlier congress and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.catalogue import CONGRESS
from geocal_core.places.states import State, state_of_code
from geocal_core.published import PublishedFile
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_csv

_SOURCE = "IRS SOI"
_AGAIN = "get the file again from IRS SOI"
_US = "US"
_OUTSIDE = ("OA", "PR")
_FIRST_YEAR_OF_CONGRESS = 2024

# Bounds of the sizes of adjusted gross income, in dollars; stub 1 lies below the first. The district file ends with
# 500,000 or more (stub 9), the state file divides that at 1,000,000 (stubs 9 and 10).
_DISTRICT_BOUNDS = (1, 10_000, 25_000, 50_000, 75_000, 100_000, 200_000, 500_000)
_STATE_BOUNDS = (*_DISTRICT_BOUNDS, 1_000_000)

_RETURNS, _AGI = "N1", "A00100"
_EITC_RETURNS, _EITC = "N59660", "A59660"
_CHILDREN: tuple[tuple[str, Constraint], ...] = (
    ("59661", Constraint("eitc_child_count", "==", "0")),
    ("59662", Constraint("eitc_child_count", "==", "1")),
    ("59663", Constraint("eitc_child_count", "==", "2")),
    ("59664", Constraint("eitc_child_count", ">", "2")),
)
_COUNTS = (_RETURNS, _EITC_RETURNS, *(f"N{line}" for line, _ in _CHILDREN))
_AMOUNTS = (_AGI, _EITC, *(f"A{line}" for line, _ in _CHILDREN))
_THOUSAND = 1000.0
_COUNT_ROUNDING, _DOLLAR_ROUNDING = 10.0, 1000.0
# Returns whose ZIP code is missing or lies in another state are in the state file but in no district.
_UNPLACED = 0.02
# Credits with three or more children, in thousands of dollars or in dollars: see _three_children_unit.
_UNSURE = "A59664"

FILER = (Constraint("tax_unit_is_filer", "==", "1"),)


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
    def columns(self) -> tuple[str, ...]:
        return ("STATE", "AGI_STUB", *(("CONG_DISTRICT",) if self.by_district else ()), *_COUNTS, *_AMOUNTS)


_STATES = _Layout("in55cmcsv.csv", _STATE_BOUNDS, False, "irs_soi_state")
_DISTRICTS = _Layout("incd.csv", _DISTRICT_BOUNDS, True, "irs_soi_district")


@dataclass(frozen=True)
class _Place:
    """Figures of one row group of a file, in returns and dollars: totals (stub 0) by column, and returns by stub."""

    where: str
    total: Mapping[str, float]
    returns: tuple[float, ...]


def _read_states(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = _latest(raw, scope, _STATES)
    groups = _groups(path, _STATES)
    places = {code: place for (code, _), place in groups.items()}
    scope.check_states({_state(code, path).fips for code in places if code not in (_US, *_OUTSIDE)}, path.name)
    if _US not in places:
        raise InputError(f"{path.name} has no row of the United States (STATE US)", _AGAIN)
    nation = _less(places[_US], [places[code] for code in _OUTSIDE if code in places])
    return list(_figures({NATION: nation} | {state.fips: places[state.code] for state in scope.states}, year, _STATES, path))


def _read_districts(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = _latest(raw, scope, _DISTRICTS)
    if year < _FIRST_YEAR_OF_CONGRESS:
        raise InputError(
            f"{path.name} has districts of a congress before the {CONGRESS}th",
            "leave its table out (setting without: irs_soi_district), or get the file of tax year 2024",
        )
    by_state: dict[str, dict[int, _Place]] = {}
    for (code, number), place in _groups(path, _DISTRICTS).items():
        if code not in (_US, *_OUTSIDE):
            by_state.setdefault(code, {})[number] = place
    scope.check_states({_state(code, path).fips for code in by_state}, path.name)
    places: dict[int, _Place] = {}
    for state in scope.states:
        places |= _districts_of(state, by_state[state.code], path)
    return list(_figures(places, year, _DISTRICTS, path))


def _latest(raw: RawFiles, scope: Scope, layout: _Layout) -> tuple[Path, int]:
    """The file of the latest tax year not after the year wanted, and that tax year."""
    found = raw.matching(rf"\d\d{re.escape(layout.suffix)}")
    by_year = {2000 + int(name[:2]): path for name, path in found.items()}
    usable = [year for year in by_year if year <= scope.year]
    if not usable:
        there = f"there is {', '.join(found)}" if found else "there is none"
        raise InputError(
            f"a file {{yy}}{layout.suffix} of {scope.year} or before is wanted below {raw.place}, and {there}",
            f"get it from IRS SOI, or leave the table {layout.table} out (setting without)",
        )
    return raw.use(by_year[max(usable)]), max(usable)


def _groups(path: Path, layout: _Layout) -> dict[tuple[str, int], _Place]:
    """Figures of a file by (STATE, CONG_DISTRICT); the second is 0 in the state file."""
    rows = read_csv(path, layout.columns)
    by_key: dict[tuple[str, int], dict[int, Row]] = {}
    for row in rows:
        key = (row.text("STATE").upper(), row.whole("CONG_DISTRICT") if layout.by_district else 0)
        stub = row.whole("AGI_STUB")
        if stub in by_key.setdefault(key, {}):
            raise InputError(f"{row.where}: AGI_STUB {stub} of {_called(key)} is there twice", _AGAIN)
        by_key[key][stub] = row
    unit = _three_children_unit(path, [stubs[0] for stubs in by_key.values() if 0 in stubs])
    return {key: _place(f"{path.name}, {_called(key)}", stubs, layout, unit) for key, stubs in by_key.items()}


def _called(key: tuple[str, int]) -> str:
    return f"{key[0]} district {key[1]}" if key[1] else key[0]


def _three_children_unit(path: Path, totals: list[Row]) -> float:
    """Dollars in a unit of column A59664.

    Publications disagree: it is in thousands of dollars like every other amount, or in dollars. The credits by number of
    children add up to column A59660 in one of the two units only; if they do in neither, the file is refused.
    """
    two_or_fewer = sum(row.number(f"A{line}") for row in totals for line, _ in _CHILDREN[:-1])
    whole = sum(row.number(_EITC) for row in totals)
    three_or_more = sum(row.number(_UNSURE) for row in totals)
    allowed = 0.01 * whole + len(totals)
    for unit in (_THOUSAND, 1.0):
        if abs(two_or_fewer + three_or_more * unit / _THOUSAND - whole) <= allowed:
            return unit
    raise InputError(
        f"{path.name}: credits by number of children (A59661 to A59664) add up to column {_EITC} neither in dollars nor in "
        "thousands of dollars",
        _AGAIN,
    )


def _place(where: str, stubs: Mapping[int, Row], layout: _Layout, unit: float) -> _Place:
    lacking = sorted(set(range(layout.stubs + 1)) ^ set(stubs))
    if lacking:
        raise InputError(f"{where} has not AGI_STUB 0 to {layout.stubs} (see {lacking[0]})", _AGAIN)
    total = {column: float(stubs[0].whole(column)) for column in _COUNTS}
    for column in _AMOUNTS:
        in_thousands = stubs[0].number(column, signed=column == _AGI)
        total[column] = in_thousands * (unit if column == _UNSURE else _THOUSAND)
    returns = tuple(float(stubs[stub].whole(_RETURNS)) for stub in range(1, layout.stubs + 1))
    income = sum(stubs[stub].number(_AGI, signed=True) for stub in range(1, layout.stubs + 1)) * _THOUSAND
    parts = layout.stubs + 1
    for column, added in ((_RETURNS, sum(returns)), (_AGI, income)):
        if abs(added - total[column]) > _rounding(column) * parts:
            raise InputError(f"{where}: column {column} of the AGI_STUBs does not add up to AGI_STUB 0", _AGAIN)
    children = sum(total[f"N{line}"] for line, _ in _CHILDREN)
    if abs(children - total[_EITC_RETURNS]) > _rounding(_RETURNS) * parts:
        raise InputError(f"{where}: columns N59661 to N59664 do not add up to {_EITC_RETURNS}", _AGAIN)
    return _Place(where, total, returns)


def _rounding(column: str) -> float:
    """Unit to which a column is rounded: returns to tens, dollars to thousands."""
    return _COUNT_ROUNDING if column.startswith("N") else _DOLLAR_ROUNDING


def _less(whole: _Place, parts: list[_Place]) -> _Place:
    """A place without some of its parts."""
    total = {column: value - sum(part.total[column] for part in parts) for column, value in whole.total.items()}
    returns = tuple(value - sum(part.returns[i] for part in parts) for i, value in enumerate(whole.returns))
    return _Place(whole.where, total, returns)


def _state(code: str, path: Path) -> State:
    try:
        return state_of_code(code)
    except ConfigError as error:
        raise InputError(f"{path.name}, column STATE holds {code!r}, which is no state", _AGAIN) from error


def _districts_of(state: State, by_number: Mapping[int, _Place], path: Path) -> dict[int, _Place]:
    """A state's districts by their codes.

    Number 0 is the state as a whole, and for a state of one district may be all there is of it; the District of Columbia
    is numbered 0, 1 or 98.
    """
    numbers = {number: place for number, place in by_number.items() if number != 0}
    if len(state.districts) == 1:
        only = numbers or dict(by_number)
        allowed = {0, 1, 98} if state.seats == 0 else {0, 1}
        if len(only) == 1 and set(only) <= allowed:
            return {state.districts[0]: next(iter(only.values()))}
        raise InputError(f"{path.name}: {state.name} has the districts {sorted(only)} instead of one", _AGAIN)
    by_code = {100 * state.fips + number: place for number, place in sorted(numbers.items())}
    wrong = sorted(set(by_code) ^ set(state.districts))
    if wrong:
        amiss = "lacks" if wrong[0] in state.districts else f"is not of the {CONGRESS}th Congress: it has"
        raise InputError(f"{path.name} {amiss} {state.name} district {wrong[0] % 100}", _AGAIN)
    return by_code


def _figures(places: Mapping[int, _Place], year: int, layout: _Layout, path: Path) -> Iterator[Figure]:
    for place, group in sorted(places.items()):
        where = f"{path.name}, US less OA and PR" if place == NATION else path.name

        def figure(variable: str, column: str, value: float, *below: Constraint, at: int = place, where: str = where) -> Figure:
            domain = (FILER, below) if below else (FILER,)
            return Figure(variable, value, year, at, _SOURCE, domain, notes=f"{where}, {column}")

        yield figure("adjusted_gross_income", _AGI, group.total[_AGI])
        yield figure("tax_unit_count", _RETURNS, group.total[_RETURNS])
        for stub, (bounds, returns) in enumerate(zip(_stub_constraints(layout.bounds), group.returns, strict=True), start=1):
            yield figure("tax_unit_count", f"{_RETURNS}, AGI_STUB {stub}", returns, *bounds)
        for line, children in _CHILDREN:
            receives = (Constraint("eitc", ">", "0"), children)
            yield figure("tax_unit_count", f"N{line}", group.total[f"N{line}"], *receives)
            yield figure("eitc", f"A{line}", group.total[f"A{line}"], *receives)


def _stub_constraints(bounds: tuple[int, ...]) -> Iterator[tuple[Constraint, ...]]:
    """Constraints of the sizes of income: below the first bound, between each two, from the last up."""
    lower = [Constraint("adjusted_gross_income", ">=", str(bound)) for bound in bounds]
    upper = [Constraint("adjusted_gross_income", "<", str(bound)) for bound in bounds]
    yield (upper[0],)
    yield from zip(lower[:-1], upper[1:], strict=True)
    yield (lower[-1],)


SOURCES = (
    PublishedFile(
        "??in55cmcsv.csv",
        "IRS SOI historic table 2 by state",
        "https://www.irs.gov/statistics/soi-tax-stats-historic-table-2",
        lookalike="??in5*csv*.csv",
        columns=_STATES.columns,
    ),
    PublishedFile(
        "??incd.csv",
        "IRS SOI individual income tax data by congressional district",
        "https://www.irs.gov/statistics/soi-tax-stats-data-by-congressional-district",
        lookalike="??incd*.csv",
        needed=False,
        columns=_DISTRICTS.columns,
    ),
)
TABLES = (
    Table("irs_soi_state", ("national", "state"), _read_states, _COUNT_ROUNDING, _DOLLAR_ROUNDING),
    Table("irs_soi_district", ("district",), _read_districts, _COUNT_ROUNDING, _DOLLAR_ROUNDING, _UNPLACED),
)
