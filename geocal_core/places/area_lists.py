"""Lists of areas beyond the nation, its states and its districts: a line of csv for each, read and checked.

The shipped list is ``data/areas.csv``; a user's own has the same columns. Whether a code is that of any block is found out
where there are blocks (``crosswalk``); here only whether the line makes sense.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path

from geocal_core.errors import ConfigError, GeocalError
from geocal_core.places.area import FOLDERS, STATE_IN_CODE, Area
from geocal_core.places.states import state_of_code, state_of_fips

SHIPPED = Path(__file__).parent / "data" / "areas.csv"

COLUMNS = ("key", "level", "name", "state", "field", "values", "validation", "source")
VALIDATION_LEVELS = ("national", "state")

_FIVE = r"[0-9]{5}"
_LEGISLATIVE = r"[0-9A-Z-]{1,3}"

# Fields with the form of their codes: those that mean the same in every state, and those that mean something else in each.
_OF_THE_NATION = dict.fromkeys(("county_fips", "cbsa_code", "zcta", "planning_region"), _FIVE) | {"tract_geoid": r"[0-9]{11}"}
_OF_A_STATE = {"place_fips": _FIVE, "puma": _FIVE, "sldu": _LEGISLATIVE, "sldl": _LEGISLATIVE}
_FIELDS = _OF_THE_NATION | _OF_A_STATE
_LEVELS = tuple(level for level in FOLDERS if level not in ("national", "state", "district"))

# No comma, dot or slash, which Dagster's ranges and file names use, and no hyphen, which stands before a district's number.
_KEY = re.compile(r"[A-Z][A-Za-z0-9_]{1,39}")


def read_areas(path: Path, taken: Collection[str]) -> tuple[Area, ...]:
    """The areas of a list, in its order.

    Parameters
    ----------
    path : Path
        UTF-8; lines that begin with ``#`` are comments.
    taken : collection of str
        Keys of other areas.

    Raises
    ------
    ConfigError
        If the file is missing or has other columns, or a line is malformed: unknown level, field or state, a key that is used
        twice or has a character that it may not have, a code of another form. The message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise ConfigError(f"the list of areas {path} {reason}", "name a csv file of areas, or unset GEOCAL_AREAS") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
    if not numbered or tuple(_cells(numbered[0][1])) != COLUMNS:
        raise ConfigError(f"the list of areas {path} has other columns", f"its first line is {','.join(COLUMNS)}")
    used = {key.casefold() for key in taken}
    areas: list[Area] = []
    for number, line in numbered[1:]:
        try:
            area = _area(_cells(line))
            if area.key.casefold() in used:  # on many disks, files whose names differ in case only are one
                raise ConfigError(f"the key {area.key!r} is used twice", "give another one")
        except GeocalError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
        used.add(area.key.casefold())
        areas.append(area)
    return tuple(areas)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line]))]


def _area(cells: list[str]) -> Area:
    if len(cells) != len(COLUMNS):
        raise ConfigError(f"{len(cells)} cells for {len(COLUMNS)} columns", f"give {','.join(COLUMNS)}")
    row = dict(zip(COLUMNS, cells, strict=True))
    for column in ("name", "values", "source"):
        if not row[column]:
            raise ConfigError(f"{column} is empty", "every area has a name, codes and the source that says what it consists of")
    if not _KEY.fullmatch(row["key"]):
        raise ConfigError(f"{row['key']!r} is no key", "begin with a capital; letters, digits and underscores, 2 to 40 of them")
    for column, known in (("level", _LEVELS), ("field", tuple(_FIELDS)), ("validation", VALIDATION_LEVELS)):
        if row[column] not in known:
            raise ConfigError(f"there is no {column} {row[column]!r}", f"use one of {', '.join(known)}")
    field, state, values = row["field"], row["state"] or None, tuple(row["values"].split())
    if state is not None:
        state_of_code(state)
    elif field in _OF_A_STATE or row["validation"] == "state":
        what = f"codes of {field} are" if field in _OF_A_STATE else "validation by state is"
        raise ConfigError(f"{what} those of one state, and none is named", "fill in the column state")
    wrong = [value for value in values if not re.fullmatch(_FIELDS[field], value)]
    if wrong or len(set(values)) != len(values):
        raise ConfigError(
            f"{wrong[0]!r} is no {field}" if wrong else f"a {field} is there twice",
            "separate codes by spaces, with leading zeros",
        )
    if state is not None and field in STATE_IN_CODE and any(int(value[:2]) != state_of_code(state).fips for value in values):
        raise ConfigError(f"a {field} is not of {state}", "leave the column state empty for an area that crosses states")
    if field in STATE_IN_CODE:
        for value in values:
            state_of_fips(int(value[:2]))
    return Area(row["key"], row["level"], row["name"], state, (), field, values, row["validation"])
