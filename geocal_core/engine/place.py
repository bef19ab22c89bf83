"""Households put in a place: the one function by which the matrix and the area files make a (household, clone) copy.

A copy is the surveyed household with the state it now lives in and its own take-up draws. Everything about the place where it
was surveyed is dropped. Narrow: the state is all that the engine is told. County, district and ZIP code are kept from it, so
rules below the level of the state (rating areas, New York City's tax, local rents) are the same all over a state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ConfigError
from geocal_core.population import Population

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


def in_state(population: Population, state_fips: ArrayLike) -> Population:
    """The same households living in a state (a scalar, or one for each household), and no longer where they were."""
    fips = np.broadcast_to(np.asarray(state_fips, dtype=np.int32), (population.count("household"),))
    return population.without(PLACE_INPUTS).with_variables("household", {"state_fips": fips.copy()})


def at_place(base: Population, households: ArrayLike, clones: ArrayLike, state_fips: ArrayLike, seed: int) -> Population:
    """Copies of households, each in its state and with its own take-up.

    Parameters
    ----------
    base : Population
        The surveyed households; their identifiers key the draws.
    households : array_like of int, shape (n,)
        Position in ``base`` of each copy's household.
    clones : array_like of int, shape (n,) or scalar
        Number of each copy.
    state_fips : array_like of int, shape (n,) or scalar
        State that each copy lives in.
    seed : int
        Seed of the take-up draws.

    Returns
    -------
    Population
        ``n`` households, renumbered from 0 in the order given. What it holds of a (household, clone) does not depend on which
        others are asked for.
    """
    positions = np.asarray(households, dtype=np.int64)
    if len(positions) and not 0 <= positions.min() <= positions.max() < base.count("household"):
        raise ConfigError(f"household positions lie between 0 and {base.count('household') - 1}")
    moved = in_state(base.take(positions), state_fips)
    return TakeUp.of(base, seed).draw(moved, positions, clones, state_fips)
