"""An area that gets a dataset of its own: what it is called, where its file lies, which blocks it consists of.

The nation, states and districts consist of congressional districts; every other area is a line of data (``area_lists``) that
names a field of the blocks and the values it has there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from geocal_core.places.states import state_of_fips

CONGRESS = 119

FOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "national": "",
        "state": "states/",
        "district": "districts/",
        "city": "cities/",
        "county": "counties/",
        "metro": "metros/",
        "state_senate": "state_senate_districts/",
        "state_house": "state_house_districts/",
        "puma": "pumas/",
        "zcta": "zctas/",
        "region": "regions/",
    }
)
"""Folder of an area's file by its level."""

STATE_IN_CODE = ("county_fips", "tract_geoid", "planning_region")
"""Fields whose codes begin with that of the state."""


@dataclass(frozen=True)
class Area:
    """An area.

    Attributes
    ----------
    key : str
        ``US``, ``CA``, ``CA-12``, ``NYC``.
    level : str
        One of ``FOLDERS``.
    name : str
    state : str or None
        Postal code of the state it lies in; None for the nation and for what crosses states.
    districts : tuple of int
        Codes of the districts that the nation, a state or a district consists of; empty for every other area.
    field : str
        Field of the blocks that decides, such as ``place_fips``; empty where ``districts`` decide.
    values : tuple of str
        Codes that blocks of the area have there.
    validation : str
        The rows of the calibration matrix that the file is held to besides the nation's: ``national`` (no others), ``state``
        (those of its state) or ``district`` (those of its district), each for the part of them that lies in the area.
    """

    key: str
    level: str
    name: str
    state: str | None
    districts: tuple[int, ...] = ()
    field: str = ""
    values: tuple[str, ...] = ()
    validation: str = "national"

    @property
    def artifact(self) -> str:
        """Path of its file below the store's root."""
        return f"areas/{CONGRESS}/{FOLDERS[self.level]}{self.key}.h5"

    @property
    def states(self) -> frozenset[str]:
        """Postal codes of the states that it is known to lie in; none for the nation, nor where its codes do not say."""
        if self.state is not None:
            return frozenset({self.state})
        if self.field in STATE_IN_CODE:
            return frozenset(state_of_fips(int(value[:2])).code for value in self.values)
        return frozenset()
