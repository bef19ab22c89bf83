"""The catalogue of areas: the nation, each state followed by its districts, then cities. 488 areas, in a fixed order.

Partition keys, file names and filters come from here and from nowhere else. The District of Columbia is a calibration
district too, but as a file it would repeat its state's, so the catalogue has 435 districts.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES, State

CONGRESS = 119

NYC_COUNTIES = ("36005", "36047", "36061", "36081", "36085")


@dataclass(frozen=True)
class Area:
    """An area that gets a dataset of its own.

    Attributes
    ----------
    key : str
        ``US``, ``CA``, ``CA-12`` or ``NYC``.
    level : str
        ``national``, ``state``, ``district`` or ``city``.
    name : str
    state : str or None
        Postal code of the state it lies in, None for the nation.
    districts : tuple of int
        Codes of the districts it consists of; empty for a city.
    counties : tuple of str
        Five-digit codes of the counties it consists of; only for a city.
    """

    key: str
    level: str
    name: str
    state: str | None
    districts: tuple[int, ...] = ()
    counties: tuple[str, ...] = ()

    @property
    def artifact(self) -> str:
        """Path of its file below the store's root."""
        folder = {"national": "", "state": "states/", "district": "districts/", "city": "cities/"}[self.level]
        return f"areas/{CONGRESS}/{folder}{self.key}.h5"


def _of_state(state: State) -> list[Area]:
    areas = [Area(state.code, "state", state.name, state.code, state.districts)]
    for district in state.districts[: state.seats]:
        number = district % 100
        name = f"{state.name}, district {number}" if state.seats > 1 else f"{state.name}, at large"
        areas.append(Area(f"{state.code}-{number:02d}", "district", name, state.code, (district,)))
    return areas


_NATION = Area("US", "national", "United States", None, tuple(d for state in STATES for d in state.districts))
_CITIES = (Area("NYC", "city", "New York City", "NY", counties=NYC_COUNTIES),)

AREAS: tuple[Area, ...] = (_NATION, *(area for state in STATES for area in _of_state(state)), *_CITIES)
AREA_KEYS: tuple[str, ...] = tuple(area.key for area in AREAS)
_BY_KEY = {area.key: area for area in AREAS}


def area(key: str) -> Area:
    """The area of a key; an unknown key is an error that names the nearest ones."""
    if key not in _BY_KEY:
        near = get_close_matches(key.upper(), AREA_KEYS, n=3, cutoff=0.5)
        raise ConfigError(f"there is no area {key!r}", f"did you mean {', '.join(near)}?" if near else None)
    return _BY_KEY[key]


def areas_in(states: tuple[str, ...]) -> tuple[Area, ...]:
    """The areas that lie in these states, with the nation first; cities of other states are left out."""
    wanted = set(states)
    return tuple(a for a in AREAS if a.state is None or a.state in wanted)


def area_keys_matching(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that match any of the patterns, in catalogue order: a key, or ``CA*`` for a state and its districts."""
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern.endswith("*"):
            found = [key for key in AREA_KEYS if key == pattern[:-1] or key.startswith(pattern[:-1] + "-")]
            if not found:
                raise ConfigError(f"no area matches {pattern!r}", "a pattern is a postal code and *, such as CA*")
            chosen.update(found)
        else:
            chosen.add(area(pattern).key)
    return tuple(key for key in AREA_KEYS if key in chosen)
