"""Households put in a place: the one function by which the matrix and the area files make a (household, clone) copy.

A copy is the surveyed household with the state, county, city and district it now lives in and its own take-up draws.
Everything about the place where it was surveyed is dropped. Rules by ZIP code are followed in Los Angeles County only, which
the Affordable Care Act's premiums split by ZIP code; elsewhere the engine is told none.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ConfigError
from geocal_core.places.crosswalk import ColumnPlaces
from geocal_core.population import ENTITIES, IMPUTED, Population

PLACE_INPUTS = (
    "block_geoid",
    "cbsa_code",
    "congressional_district_geoid",
    "county_fips",
    "place_fips",
    "puma",
    "sldl",
    "sldu",
    "state_fips",
    "tract_geoid",
    "vtd",
    "zcta",
    "zip_code",
)
"""The engine's inputs that say where a household lives."""

_LEFT_BEHIND = (*PLACE_INPUTS, IMPUTED)

LOCAL_INPUTS = ("block_geoid", "congressional_district_geoid", "county_fips", "place_fips", "zip_code")
"""Those of them that a copy is given and that may differ within a state."""

LOS_ANGELES = "06037"
NO_ZIP_CODE = "UNKNOWN"  # the engine's own default
_LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Places:
    """Where copies of households live, as far as the engine's rules ask: a number for each copy in a list of distinct places.

    Attributes
    ----------
    number : ndarray of int32, shape (n,)
        Position of each copy's place in the list.
    districts : ndarray of int32, shape (places,)
        Congressional district, 100 * FIPS + number.
    blocks : ndarray of str, shape (places,)
        One of the place's census blocks, 15 digits: the engine asks for no more of a block than its county.
    cities : ndarray of str, shape (places,)
        Five-digit code of the incorporated or census designated place, empty outside of all; sales taxes differ by it.
    zip_codes : ndarray of str, shape (places,)
        ZIP code in Los Angeles County, else ``NO_ZIP_CODE``.
    """

    number: NDArray[np.int32]
    districts: NDArray[np.int32]
    blocks: NDArray[np.str_]
    cities: NDArray[np.str_]
    zip_codes: NDArray[np.str_]

    @classmethod
    def of(cls, district: ArrayLike, block: ArrayLike, city: ArrayLike | None = None, zcta: ArrayLike | None = None) -> Places:
        """Places from the codes of districts, blocks, cities and ZIP code tabulation areas (empty where there is none).

        Raises
        ------
        ConfigError
            If the engine does not know a county: it would put the household in the first county of the state.
        """
        district, block = np.asarray(district, dtype=np.int32), np.asarray(block, dtype="U15")
        county = block.astype("U5")
        cities = np.zeros(block.shape, dtype="U5") if city is None else np.asarray(city, dtype="U5")
        zctas = np.zeros(block.shape, dtype="U7") if zcta is None else np.asarray(zcta, dtype="U7")
        zips = np.where((county == LOS_ANGELES) & (zctas != ""), zctas, NO_ZIP_CODE)
        keys = district.astype(np.int64)
        for code in (county, cities, zips):
            named, rank = np.unique(code, return_inverse=True)
            keys = keys * len(named) + rank
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        unknown = sorted(set(county[first].tolist()) - known_counties())
        if unknown:
            raise ConfigError(
                f"policyengine-us does not know the county {unknown[0]}", "blocks carry the counties of the census of 2020"
            )
        return cls(number.astype(np.int32), district[first], block[first], cities[first], zips[first])

    def __len__(self) -> int:
        return len(self.number)

    @property
    def district(self) -> NDArray[np.int32]:
        """District of each copy."""
        return self.districts[self.number]

    @property
    def state(self) -> NDArray[np.int32]:
        """FIPS code of each copy's state."""
        return (self.districts // 100)[self.number]

    def take(self, positions: ArrayLike) -> Places:
        """Where some of the copies live."""
        return replace(self, number=self.number[np.asarray(positions)])

    def each_once(self) -> Places:
        """Every place of these copies once, in the order of the list."""
        return replace(self, number=np.unique(self.number))

    @property
    def inputs(self) -> dict[str, NDArray[np.generic]]:
        """The engine's inputs, by name."""
        return {
            "state_fips": self.state,
            "county_fips": self.blocks.astype("U5")[self.number],
            "congressional_district_geoid": self.district,
            "block_geoid": self.blocks[self.number],
            "place_fips": self.cities[self.number],
            "zip_code": self.zip_codes[self.number],
        }


def places_of_columns(columns: ColumnPlaces) -> Places:
    """Where the columns of the calibration matrix lie."""
    crosswalk = columns.crosswalk
    used, number = np.unique(columns.row, return_inverse=True)
    cities, zctas = crosswalk.values("place_fips", used), crosswalk.values("zcta", used)
    return Places.of(crosswalk.district[used], crosswalk.geoid(used), cities, zctas).take(number)


@cache
def known_counties() -> frozenset[str]:
    """Five-digit codes of the counties that the engine can tell apart.

    Read from its file without importing it, which takes half a minute that the area files need not wait for.
    """
    package = importlib.util.find_spec("policyengine_us")
    if package is None or package.origin is None:
        raise ConfigError("the engine is not installed", "pip install 'geocal[simulate]'")
    with gzip.open(Path(package.origin).parent / "data" / "county_fips_2020.csv.gz", "rt", encoding="utf-8") as stream:
        return frozenset(row["county_fips"] for row in csv.DictReader(stream))


def in_state(population: Population, state_fips: ArrayLike) -> Population:
    """The same households living in a state (a scalar, or one for each household), and no longer where they were.

    What the file tells of the records themselves is left out, in copies too: the engine has no such inputs.
    """
    fips = np.broadcast_to(np.asarray(state_fips, dtype=np.int32), (population.count("household"),))
    return population.without(_LEFT_BEHIND).with_variables("household", {"state_fips": fips.copy()})


def at_place(base: Population, households: ArrayLike, clones: ArrayLike, places: Places, takeup: TakeUp) -> Population:
    """Copies of households, each in its place and with its own take-up.

    Parameters
    ----------
    base : Population
        The surveyed households.
    households : array_like of int, shape (n,)
        Position in ``base`` of each copy's household.
    clones : array_like of int, shape (n,) or scalar
        Number of each copy.
    places : Places
        Where each copy lives; ``n`` of them.
    takeup : TakeUp
        That of ``base``.

    Returns
    -------
    Population
        ``n`` households in the order given. What it holds of a (household, clone) does not depend on which others are asked
        for, identifiers included: a unit of clone c is numbered ``c * units of the base file + position in it``. The engine
        draws by them, such as the months in which somebody is unemployed.

    Raises
    ------
    ConfigError
        If a position is not of the base file, or a number would not fit into the engine's 31 bits.
    """
    positions = np.asarray(households, dtype=np.int64)
    number = np.broadcast_to(np.asarray(clones, dtype=np.int64), positions.shape)
    if len(positions) and not 0 <= positions.min() <= positions.max() < base.count("household"):
        raise ConfigError(f"household positions lie between 0 and {base.count('household') - 1}")
    if len(number) and (int(number.max()) + 1) * base.count("person") > _LARGEST_NUMBER:
        raise ConfigError(
            f"clone {int(number.max())} of {base.count('person'):,} persons cannot be numbered for the engine",
            "use fewer clones, or a smaller stratified file",
        )
    copies = base.take(positions).without(_LEFT_BEHIND).with_variables("household", places.inputs)
    rows = base.rows_of(positions)
    ids = {entity: number[copies.household_of(entity)] * base.count(entity) + rows[entity] for entity in ENTITIES}
    return takeup.draw(copies.numbered(ids), positions, number, places.state)
