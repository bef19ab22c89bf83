"""Social Security Administration: benefits by kind, SSI by state, and the population of the Trustees' projections.

Three files, each of the latest year not after the year wanted: totals of the Annual Statistical Supplement in dollars (tables
4.A5, 4.A6 and 7.B1); SSI recipients and payments by state and eligibility category in thousands (Table 7.B1); persons by
single year of age, sex and marital status (Trustees Report). SSI is what the Administration pays, so supplements of states
that it administers are in it. The Trustees count territories, members of the armed forces and others abroad, so their persons
exceed the Census Bureau's and are there to be compared with, not to be followed.
"""

from __future__ import annotations

from collections.abc import Mapping

from geocal_core.errors import ConfigError, InputError
from geocal_core.places.states import state_of_fips
from geocal_core.published import PublishedFile
from geocal_core.targets.agencies.census.subject_tables import AGES, age_constraints
from geocal_core.targets.constraints import Constraint
from geocal_core.targets.figures import NATION, TERRITORIES, Domain, Figure, Scope, Table
from geocal_core.targets.files import RawFiles, Row, read_csv

_BENEFITS_FILE, _BENEFITS_TABLE = r"ssa_oasdi_ssi_(\d{4})\.csv", "ssa_benefits"
_BENEFITS_COLUMNS = ("VARIABLE", "PERIOD", "VALUE", "UNIT", "SOURCE_TABLE")
_WHOLE = "social_security"
_KINDS = tuple(f"{_WHOLE}_{kind}" for kind in ("retirement", "survivors", "disability", "dependents"))
_SSI = "ssi"
_PUBLISHED_AS = {f"{name}_benefits": name for name in (_WHOLE, *_KINDS)} | {"ssi_payments": _SSI}

_SSI_FILE, _SSI_TABLE = r"ssi_table_7b1_(\d{4})\.csv", "ssa_ssi"
_SSI_COLUMNS = ("GEOGRAPHY_ID", "GEOGRAPHY_LEVEL", "AREA_NAME", "SSI_CATEGORY", "RECIPIENT_COUNT", "PAYMENT_THOUSANDS")
_TOTAL = "total"
_CATEGORIES = ("aged", "blind", "disabled")
_NATION_ID, _STATE_ID = "0100000US", "0400000US"
_THOUSAND = 1000.0
_RECEIVES: Domain = ((Constraint(_SSI, ">", "0"),),)
# All areas less the Northern Mariana Islands: far below one percent.
_ELSEWHERE = 0.001

_POPULATION_FILE, _POPULATION_TABLE = r"SSPopJul_TR(\d{4})\.csv", "ssa_population"
_SEXES = {"M TOT": ("M SIN", "M MAR", "M WID", "M DIV"), "F TOT": ("F SIN", "F MAR", "F WID", "F DIV")}
_POPULATION_COLUMNS = ("YEAR", "AGE", "TOTAL", *_SEXES, *(status for parts in _SEXES.values() for status in parts))
_OLDEST = 100
_AGAIN = "get the file again from SSA"


def _read_benefits(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, year = raw.latest(_BENEFITS_FILE, scope.year, _BENEFITS_TABLE)
    found: dict[str, Figure] = {}
    for row in read_csv(path, _BENEFITS_COLUMNS):
        name = row.text("VARIABLE")
        if name not in _PUBLISHED_AS or row.text("UNIT") != "dollars" or row.whole("PERIOD") != year:
            raise InputError(
                f"{row.where} is {name}, {row.text('UNIT')} of {row.text('PERIOD')}, not dollars of {year}", _AGAIN
            )
        variable = _PUBLISHED_AS[name]
        if variable in found:
            raise InputError(f"{row.where}: {name} is there twice", _AGAIN)
        notes = row.text("SOURCE_TABLE")
        found[variable] = Figure(variable, row.whole("VALUE"), year, NATION, "SSA Statistical Supplement", notes=notes)
    lacking = [name for name, variable in _PUBLISHED_AS.items() if variable not in found]
    if lacking:
        raise InputError(f"{path.name} has no row {lacking[0]}", _AGAIN)
    added = sum(found[kind].value or 0.0 for kind in _KINDS)
    if added != found[_WHOLE].value:
        raise InputError(f"{path.name}: the kinds of benefit add up to {added:.15g}, all to {found[_WHOLE].value:.15g}", _AGAIN)
    return list(found.values())


def _read_ssi(raw: RawFiles, scope: Scope) -> list[Figure]:
    """Recipients and payments of the nation, and of the states if these add up to it.

    States that together have more than all areas, or less by more than the Northern Mariana Islands can have, are not of the
    table that the nation is of. Their figures are withheld then.
    """
    path, year = raw.latest(_SSI_FILE, scope.year, _SSI_TABLE)
    by_place = _ssi_by_place(path.name, read_csv(path, _SSI_COLUMNS))
    if NATION not in by_place:
        raise InputError(f"{path.name} has no row of all areas ({_NATION_ID})", _AGAIN)
    scope.check_states(set(by_place) - {NATION}, path.name)
    figures = []
    for variable, column, unit, domain in (
        ("person_count", "RECIPIENT_COUNT", 1.0, _RECEIVES),
        (_SSI, "PAYMENT_THOUSANDS", _THOUSAND, ()),
    ):
        doubt = _doubt({place: row.whole(column) for place, row in by_place.items()}, column)
        for place, row in sorted(by_place.items()):
            value = row.whole(column) * unit
            where = f"{path.name}, {row.text('AREA_NAME')}, {column.lower()}"
            withheld = bool(doubt) and place != NATION
            figures.append(
                Figure(
                    variable,
                    None if withheld else value,
                    year,
                    place,
                    "SSA SSI by state",
                    domain,
                    notes=f"withheld: {value:,.0f} in {where}, but {doubt}" if withheld else where,
                )
            )
    return figures


def _ssi_by_place(file: str, rows: list[Row]) -> dict[int, Row]:
    """The row of all categories of each place, whose categories must add up to it (payments within their rounding)."""
    by_key: dict[tuple[int, str], Row] = {}
    for row in rows:
        category = row.text("SSI_CATEGORY")
        place = _place(row)
        if place in TERRITORIES:
            continue
        if category not in (_TOTAL, *_CATEGORIES) or (place, category) in by_key:
            raise InputError(f"{row.where}: the category {category!r} is unknown or there twice", _AGAIN)
        by_key[place, category] = row
    places = {place for place, _ in by_key}
    for place in places:
        lacking = [category for category in (_TOTAL, *_CATEGORIES) if (place, category) not in by_key]
        if lacking:
            raise InputError(f"{file} lacks the category {lacking[0]} of {_called(place)}", _AGAIN)
        for column, slack in (("RECIPIENT_COUNT", 0), ("PAYMENT_THOUSANDS", len(_CATEGORIES))):
            whole = by_key[place, _TOTAL].whole(column)
            added = sum(by_key[place, category].whole(column) for category in _CATEGORIES)
            if abs(added - whole) > slack:
                raise InputError(
                    f"{file}: {column.lower()} of the categories of {_called(place)} is {added:,} in all, the total {whole:,}",
                    _AGAIN,
                )
    return {place: by_key[place, _TOTAL] for place in places}


def _place(row: Row) -> int:
    code = row.text("GEOGRAPHY_ID")
    if code == _NATION_ID:
        return NATION
    number = code.removeprefix(_STATE_ID)
    if code == number or not number.isdecimal():
        raise InputError(f"{row.where}, column geography_id holds {code!r}, which is no state and not {_NATION_ID}", _AGAIN)
    if int(number) in TERRITORIES:
        return int(number)
    try:
        state = state_of_fips(int(number))
    except ConfigError as error:
        raise InputError(f"{row.where}, column geography_id holds {code!r}, which is no state", _AGAIN) from error
    if row.text("AREA_NAME") != state.name:
        raise InputError(f"{row.where} is {row.text('AREA_NAME')!r}, but {code} is {state.name}", _AGAIN)
    return state.fips


def _doubt(values: Mapping[int, int], column: str) -> str:
    """Why the states cannot be of one table with the nation; empty if they can."""
    whole, added, rounding = values[NATION], sum(values.values()) - values[NATION], len(values)
    if whole * (1 - _ELSEWHERE) - rounding <= added <= whole + rounding:
        return ""
    return f"the states add up to {added:,} and all areas have {whole:,} {column.lower()}"


def _called(place: int) -> str:
    return "all areas" if place == NATION else state_of_fips(place).name


def _read_population(raw: RawFiles, scope: Scope) -> list[Figure]:
    path, _ = raw.latest(_POPULATION_FILE, scope.year, _POPULATION_TABLE)
    by_age: dict[int, int] = {}
    for row in read_csv(path, _POPULATION_COLUMNS):
        if row.whole("YEAR") != scope.year:
            continue
        age = row.whole("AGE")
        if age in by_age:
            raise InputError(f"{row.where}: age {age} of {scope.year} is there twice", _AGAIN)
        by_age[age] = _persons(row)
    if set(by_age) != set(range(_OLDEST + 1)):
        raise InputError(f"{path.name} has not the ages 0 to {_OLDEST} of {scope.year}", _AGAIN)
    return [
        Figure(
            "person_count",
            sum(persons for age, persons in by_age.items() if low <= age <= high),
            scope.year,
            NATION,
            "SSA Trustees Report",
            (age_constraints(low, high),),
            notes=f"{path.name}, July {scope.year}, ages {low} to {min(high, _OLDEST)}, with territories and persons abroad",
        )
        for low, high in AGES
    ]


def _persons(row: Row) -> int:
    """Persons of an age; sexes add up to them, and marital statuses to each sex."""
    total = row.whole("TOTAL")
    if sum(row.whole(sex) for sex in _SEXES) != total or any(
        sum(row.whole(status) for status in statuses) != row.whole(sex) for sex, statuses in _SEXES.items()
    ):
        raise InputError(f"{row.where}: sexes or marital statuses do not add up", _AGAIN)
    return total


SOURCES = (
    PublishedFile(
        "ssa_oasdi_ssi_2024.csv",
        "SSA Annual Statistical Supplement 2025, totals of OASDI benefits and SSI payments",
        "https://www.ssa.gov/policy/docs/statcomps/supplement/2025/4a.html",
        lookalike="ssa_oasdi_ssi_????.csv",
        needed=False,
        columns=_BENEFITS_COLUMNS,
        tables=(_BENEFITS_TABLE,),
    ),
    PublishedFile(
        "ssi_table_7b1_2024.csv",
        "SSA Annual Statistical Supplement 2025, Table 7.B1: SSI recipients and payments by state and category",
        "https://www.ssa.gov/policy/docs/statcomps/supplement/2025/7b.html",
        lookalike="ssi_table_7b1_????.csv",
        needed=False,
        columns=_SSI_COLUMNS,
        tables=(_SSI_TABLE,),
    ),
    PublishedFile(
        "SSPopJul_TR2024.csv",
        "SSA Trustees Report, Social Security area population in July by age, sex and marital status",
        "https://www.ssa.gov/OACT/HistEst/Population/2024/Population2024.html",
        lookalike="SSPopJul_TR????.csv",
        needed=False,
        columns=_POPULATION_COLUMNS,
        tables=(_POPULATION_TABLE,),
    ),
)
TABLES = (
    Table(_BENEFITS_TABLE, ("national",), _read_benefits, dollar_rounding=1e6, whole_nation=True),
    Table(_SSI_TABLE, ("national", "state"), _read_ssi, dollar_rounding=_THOUSAND, unplaced=_ELSEWHERE, whole_nation=True),
    Table(_POPULATION_TABLE, ("national",), _read_population, whole_nation=True),
)
