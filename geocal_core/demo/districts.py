"""The congressional districts of the demo nation: their people of 2024, their counties, and what makes them differ.

Populations and counties are published facts (``data/county_district_population.csv``). Everything else about a district is a
latent feature drawn once and for all: the features belong to the nation, not to a sample of it, so no setting changes them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.places.states import DISTRICTS, State, state_of_code

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_STREAM = "demo.districts"


@dataclass(frozen=True)
class CountyParts:
    """The parts of counties that make up the districts, sorted by district and county.

    Attributes
    ----------
    district : ndarray of int64
        ``100 * state FIPS + number``.
    county : ndarray of str
        Five-digit FIPS code, counties as of 2020.
    population : ndarray of int64
        Residents of 2020.
    """

    district: Integers
    county: NDArray[np.str_]
    population: Integers


@dataclass(frozen=True)
class Districts:
    """Some districts of the nation with their features.

    Attributes
    ----------
    code : ndarray of int64
        Ascending district codes.
    persons : ndarray of float64
        Residents of 2024: those of 2020, grown as the nation grew.
    urban, prosperity, hardship, youth, children, owners : ndarray of float64
        Latent features of mean 0 and standard deviation 1 over the whole nation.
    race : ndarray of float64, shape (districts, 6)
        Shares of Hispanic, white, black, Native, Asian and multiracial people; rows add up to 1.
    """

    code: Integers
    persons: Floats
    urban: Floats
    prosperity: Floats
    hardship: Floats
    youth: Floats
    children: Floats
    owners: Floats
    race: Floats

    @property
    def state(self) -> Integers:
        """State FIPS code of each district."""
        return self.code // 100


def rows_of(name: str) -> list[dict[str, str]]:
    """The rows of one of this package's csv files, lines of comment left out."""
    text = files("geocal_core.demo").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def sums(position: Integers, values: Floats | Integers | NDArray[np.bool_], n: int) -> Floats:
    """Sums of values by position, 0 to n - 1."""
    total: Floats = np.bincount(position, weights=values, minlength=n).astype(np.float64)
    return total


@cache
def published_totals() -> dict[str, float]:
    """The national figures of ``data/totals.csv`` by name."""
    return {row["name"]: float(row["value"]) for row in rows_of("totals.csv")}


@cache
def county_parts() -> CountyParts:
    """The counties of every district of the nation."""
    rows = rows_of("county_district_population.csv")
    return CountyParts(
        district=np.array([int(row["district"]) for row in rows]),
        county=np.array([row["county_fips"] for row in rows]),
        population=np.array([int(row["population"]) for row in rows]),
    )


def districts_of(states: Iterable[str]) -> Districts:
    """The districts of states, in ascending order of their codes.

    Parameters
    ----------
    states : iterable of str
        Postal codes.

    Raises
    ------
    ConfigError
        If a code is unknown.
    """
    wanted = sorted(code for state in set(states) for code in state_of_code(state).districts)
    nation = _nation()
    at = np.searchsorted(nation.code, wanted)
    return Districts(**{name: values[at] for name, values in vars(nation).items()})


@cache
def _nation() -> Districts:
    code = np.array(sorted(DISTRICTS), dtype=np.int64)
    totals = published_totals()
    parts = county_parts()
    position = np.searchsorted(code, parts.district)
    people = sums(position, parts.population, len(code))
    urban = _standard(sums(position, parts.population * _log_county_size(parts), len(code)) / people)
    prosperity = _standard(0.35 * urban + 0.5 * _state_noise("prosperity", code) + 0.8 * _noise("prosperity", code))
    race = _race_shares(code, urban, prosperity)
    return Districts(
        code=code,
        persons=people * totals["population_2024"] / people.sum(),
        urban=urban,
        prosperity=prosperity,
        hardship=_standard(-0.6 * prosperity + 0.8 * _noise("hardship", code)),
        youth=_standard(0.4 * urban + 0.4 * _state_noise("youth", code) + 0.8 * _noise("youth", code)),
        children=_standard(0.5 * _state_noise("children", code) + _noise("children", code)),
        owners=_standard(-0.6 * urban + 0.3 * prosperity + 0.7 * _noise("owners", code)),
        race=race,
    )


def _log_county_size(parts: CountyParts) -> Floats:
    """Logarithm of the whole population of each part's county, in whatever districts it lies."""
    _, inverse = np.unique(parts.county, return_inverse=True)
    size = np.bincount(inverse, weights=parts.population)
    logarithm: Floats = np.log(size[inverse])
    return logarithm


def _race_shares(code: Integers, urban: Floats, prosperity: Floats) -> Floats:
    """Softmax of one score per race; white is the reference."""
    scores = np.column_stack(
        [
            -1.60 + 0.7 * _state_noise("hispanic", code) + 0.7 * _noise("hispanic", code) + 0.45 * urban,
            np.zeros(len(code)),
            -2.10 + 0.6 * _state_noise("black", code) + 0.8 * _noise("black", code) + 0.40 * urban,
            -4.90 + 0.8 * _state_noise("native", code) + 0.6 * _noise("native", code) - 0.30 * urban,
            -3.10 + 0.4 * _state_noise("asian", code) + 0.7 * _noise("asian", code) + 0.55 * urban + 0.3 * prosperity,
            -3.00 + 0.3 * _noise("multiracial", code),
        ]
    )
    exponentials = np.exp(scores)
    shares: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return shares


def _noise(name: str, code: Integers) -> Floats:
    return _normal(f"{_STREAM}.{name}", code)


def _state_noise(name: str, code: Integers) -> Floats:
    return _normal(f"{_STREAM}.{name}.state", code // 100)


def _normal(stream: str, key: Integers) -> Floats:
    """A standard normal draw for each key: Box and Muller's transform of two uniforms."""
    radius = np.sqrt(-2.0 * np.log1p(-seeds.uniform(stream, key, np.int64(0))))
    angle = 2.0 * np.pi * seeds.uniform(stream, key, np.int64(1))
    draw: Floats = radius * np.cos(angle)
    return draw


def _standard(values: Floats) -> Floats:
    """Centred and scaled to a standard deviation of 1."""
    centred = values - values.mean()
    scaled: Floats = centred / centred.std()
    return scaled


def undistricted_state(states: Iterable[str]) -> State:
    """The state in whose waters some blocks lie in no district (``ZZ`` in the Bureau's files).

    Connecticut, Illinois or New Hampshire, where this is so in the 119th Congress; without them the first of ``states`` with
    several districts, and without such the first.
    """

    def order(state: State) -> tuple[bool, bool, int]:
        return state.code not in ("CT", "IL", "NH"), state.seats < 2, state.fips

    return min((state_of_code(code) for code in states), key=order)
