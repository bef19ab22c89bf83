"""Census Bureau, American Community Survey 1-year subject tables: persons by age (S0101), households with SNAP (S2201).

Files are answers of the Bureau's API, one per table, level and year. Narrow in one thing: districts are those of the 119th
Congress and of no other, so another congress in a file is refused. Puerto Rico and rows of no district (``ZZ``) are dropped.
"""

from __future__ import annotations

from pathlib import Path

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.catalogue import CONGRESS
from geocal_core.places.states import state_of_fips
from geocal_core.published import PublishedFile
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, TERRITORIES, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_api_table

# S0101_C01_002E to _019E: eighteen bins of five years, the last open at the top (its bound is far above any age).
AGES: tuple[tuple[int, int], ...] = (*((low, low + 4) for low in range(0, 85, 5)), (85, 999))
_TOTAL = "S0101_C01_001"
_SNAP = "S2201_C03_001"
_NO_DISTRICT = "ZZ"
_GEO_ID = {"national": "0100000US", "state": "0400000US", "district": f"500{CONGRESS - 100:02d}00US"}

# The margin's mark for an estimate controlled to a population estimate: no sampling error (ACS API notes).
_CONTROLLED = -555555555.0


def age_constraints(low: int, high: int) -> tuple[Constraint, ...]:
    """The constraints of an age bin whose ends, in whole years, both belong to it."""
    return (Constraint("age", ">", str(low - 1)), Constraint("age", "<", str(high + 1)))


def _read_age(raw: RawFiles, scope: Scope) -> list[Figure]:
    return [figure for level in _GEO_ID for figure in _read_age_level(raw, scope, level)]


def _read_age_level(raw: RawFiles, scope: Scope, level: str) -> list[Figure]:
    figures = []
    for place, row in _places(raw, scope, "S0101", level).items():
        total = row.whole(f"{_TOTAL}E")
        of_place = []
        for index, (low, high) in enumerate(AGES, start=2):
            column = f"S0101_C01_{index:03d}"
            of_place.append(_figure(row, column, "person_count", place, scope, age_constraints(low, high), "Census ACS S0101"))
        if sum(row.whole(f"S0101_C01_{index:03d}E") for index in range(2, len(AGES) + 2)) != total:
            raise InputError(
                f"{row.where}: the 18 age bins do not add up to the total in column {_TOTAL}E", "get the file again"
            )
        figures += of_place
    return figures


def _read_snap(raw: RawFiles, scope: Scope) -> list[Figure]:
    receives = (Constraint("snap", ">", "0"),)
    figures = []
    for place, row in _places(raw, scope, "S2201", "district").items():
        figure = _figure(row, _SNAP, "household_count", place, scope, receives, "Census ACS S2201")
        if row.whole(f"{_SNAP}E") > row.whole("S2201_C01_001E"):
            raise InputError(f"{row.where}: column {_SNAP}E exceeds all households in S2201_C01_001E", "get the file again")
        figures.append(figure)
    return figures


def _figure(
    row: Row, column: str, variable: str, place: int, scope: Scope, constraints: tuple[Constraint, ...], source: str
) -> Figure:
    return Figure(
        variable=variable,
        value=row.whole(f"{column}E"),
        period=scope.year,
        place=place,
        source=source,
        domain=(constraints,),
        tolerance=_margin(row, f"{column}M"),
        notes=f"{column}E",
    )


def _margin(row: Row, column: str) -> float | None:
    """Margin of error: 0 where the estimate is controlled, None where the Bureau gives none (other negative marks)."""
    if row.cell(column) is None:
        return None
    margin = row.number(column, signed=True)
    if margin == _CONTROLLED:
        return 0.0
    return margin if margin >= 0 else None


def _places(raw: RawFiles, scope: Scope, table: str, level: str) -> dict[int, Row]:
    """Rows of a file by place, for the places in scope and no others."""
    path = raw.named(f"acs_{table}_{level}_{scope.year}.json", rf"acs_{table}_{level}_\d{{4}}\.json")
    found: dict[int, Row] = {}
    for row in read_api_table(path, "NAME"):
        place = _place(row, level)
        if place is None:
            continue
        if place in found:
            raise InputError(f"{row.where} is there twice", "get the file again from its publisher")
        found[place] = row
    _check_places(found, scope, level, path)
    return found


def _place(row: Row, level: str) -> int | None:
    """Code of the row's place, None if it is outside of what is calibrated."""
    geo_id = row.text("GEO_ID")
    if not geo_id.startswith(_GEO_ID[level]):
        expected = f"{level} of the {CONGRESS}th Congress" if level == "district" else level
        raise InputError(f"{row.where}, column GEO_ID holds {geo_id!r}, which is no {expected}", "get the file for this level")
    if level == "national":
        return NATION
    fips = row.whole("state")
    if fips in TERRITORIES:
        return None
    if level == "state":
        return _known(row, fips)
    return _district(row, _known(row, fips))


def _known(row: Row, fips: int) -> int:
    try:
        return state_of_fips(fips).fips
    except ConfigError as error:
        raise InputError(f"{row.where}, column state holds {fips}, which is no state", "get the file again") from error


def _district(row: Row, fips: int) -> int | None:
    """A district's code; the Bureau numbers a state's only district 00 and the District of Columbia 98."""
    number = row.text("congressional district")
    if number == _NO_DISTRICT:
        return None
    state = state_of_fips(fips)
    only = {1: "00", 0: "98"}.get(state.seats)
    code = state.districts[0] if number == only else 100 * fips + row.whole("congressional district")
    if code not in state.districts:
        raise InputError(
            f"{row.where}, column congressional district holds {number!r}, which the {CONGRESS}th Congress has not",
            "get the file for this congress",
        )
    return code


def _check_places(found: dict[int, Row], scope: Scope, level: str, path: Path) -> None:
    if level == "national":
        if len(found) != 1:
            raise InputError(f"{path.name} has no row of the nation", "get the file again from its publisher")
        return
    scope.check_states({place if place < 100 else place // 100 for place in found}, path.name)
    lacking = sorted(scope.at(level) - set(found))
    if lacking:
        raise InputError(f"{path.name} lacks the district {lacking[0]}", "get the whole file from its publisher")


_API = "https://api.census.gov/data/2024/acs/acs1/subject?get=group({table})&for={places}"
_PLACES = {"national": "us:*", "state": "state:*", "district": "congressional+district:*&in=state:*"}

SOURCES = tuple(
    PublishedFile(
        f"acs_{table}_{level}_2024.json",
        f"ACS 1-year subject table {table} ({about}), {level}",
        _API.format(table=table, places=_PLACES[level]),
        lookalike=f"acs_{table}_{level}_????.json",
        tables=(read,),
    )
    for table, about, levels, read in (
        ("S0101", "age", tuple(_PLACES), "census_acs_s0101"),
        ("S2201", "SNAP", ("district",), "census_acs_s2201_district"),
    )
    for level in levels
)
TABLES = (
    Table("census_acs_s0101", ("national", "state", "district"), _read_age),
    Table("census_acs_s2201_district", ("district",), _read_snap),
)
