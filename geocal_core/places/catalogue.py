"""The catalogue of areas: the nation, each state followed by its districts, then cities. 488 areas, in a fixed order.

Partition keys, file names and filters come from here and from nowhere else. The District of Columbia is a calibration
district too, but as a file it would repeat its state's, so the catalogue has 435 districts. A user's own areas (``area_lists``)
follow the 488, in the order of the file that ``GEOCAL_AREAS`` names.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from geocal_core.errors import ConfigError
from geocal_core.places.area import CONGRESS, Area
from geocal_core.places.area_lists import SHIPPED, read_areas
from geocal_core.places.states import STATES, State

__all__ = [
    "AREAS",
    "AREAS_VARIABLE",
    "AREA_KEYS",
    "CONGRESS",
    "Area",
    "area",
    "area_keys",
    "area_keys_matching",
    "areas_in",
    "catalogue",
]

AREAS_VARIABLE = "GEOCAL_AREAS"
"""Environment variable that names the list of a user's own areas."""


def _of_state(state: State) -> list[Area]:
    areas = [Area(state.code, "state", state.name, state.code, state.districts, validation="state")]
    for district in state.districts[: state.seats]:
        number = district % 100
        name = f"{state.name}, district {number}" if state.seats > 1 else f"{state.name}, at large"
        areas.append(Area(f"{state.code}-{number:02d}", "district", name, state.code, (district,), validation="district"))
    return areas


_NATION = Area("US", "national", "United States", None, tuple(d for state in STATES for d in state.districts))
_OF_DISTRICTS = (_NATION, *(area for state in STATES for area in _of_state(state)))

AREAS: tuple[Area, ...] = (*_OF_DISTRICTS, *read_areas(SHIPPED, [area.key for area in _OF_DISTRICTS]))
"""The 488 areas that geocal ships."""

AREA_KEYS: tuple[str, ...] = tuple(area.key for area in AREAS)


def catalogue() -> tuple[Area, ...]:
    """All areas: the 488, then the user's own.

    Raises
    ------
    ConfigError
        If ``GEOCAL_AREAS`` names a file that is missing, or a line of it is malformed.
    """
    own = os.environ.get(AREAS_VARIABLE, "")
    return AREAS + _own_areas(own) if own else AREAS


@cache
def _own_areas(path: str) -> tuple[Area, ...]:
    return read_areas(Path(path).expanduser(), AREA_KEYS)


def area_keys() -> tuple[str, ...]:
    """Keys of all areas, in catalogue order."""
    return tuple(one.key for one in catalogue())


def area(key: str) -> Area:
    """The area of a key; an unknown key is an error that names the nearest ones."""
    for one in catalogue():
        if one.key == key:
            return one
    near = get_close_matches(key.upper(), area_keys(), n=3, cutoff=0.5)
    raise ConfigError(f"there is no area {key!r}", f"did you mean {', '.join(near)}?" if near else None)


def areas_in(states: tuple[str, ...]) -> tuple[Area, ...]:
    """The areas that lie in these states, with the nation first; what is known to reach into other states is left out."""
    return tuple(one for one in catalogue() if one.states <= set(states))


def area_keys_matching(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that match any of the patterns, in catalogue order: a key, or ``CA*`` for a state and its districts."""
    keys = area_keys()
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern.endswith("*"):
            found = [key for key in keys if key == pattern[:-1] or key.startswith(pattern[:-1] + "-")]
            if not found:
                raise ConfigError(f"no area matches {pattern!r}", "a pattern is a postal code and *, such as CA*")
            chosen.update(found)
        else:
            chosen.add(area(pattern).key)
    return tuple(key for key in keys if key in chosen)
