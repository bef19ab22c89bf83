"""The population of an area: the calibrated copies of households whose block lies in it.

A column of the calibration matrix with a positive weight becomes a household of its own, with the values that the matrix was
simulated from (``engine.place.at_place`` makes both) and with its weight, block, tract, county and district.

Narrow for now: the engine is given no county, because the matrix is simulated without county rules. The county is written as
``county_geoid``, a name that policyengine-us does not know and passes over with a warning; block and tract carry it too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocal_core.engine.place import at_place
from geocal_core.errors import ArtifactError
from geocal_core.places.assignment import Geography
from geocal_core.places.catalogue import Area
from geocal_core.population import Population

_FIRST_DIGITS = {"tract_geoid": 11, "county_geoid": 5}


def columns_of(area: Area, geography: Geography) -> NDArray[np.bool_]:
    """Which columns of the calibration matrix lie in an area, shape (n_columns,)."""
    if area.level == "national":
        return np.ones(len(geography.block), dtype=bool)
    if area.counties:
        return np.isin(geography.county, np.array(area.counties, dtype="S5"))
    return np.isin(geography.district, np.array(area.districts, dtype=np.int32))


def active_columns(area: Area, geography: Geography, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Columns of an area with a positive weight, ascending.

    Raises
    ------
    ArtifactError
        If there is none: an empty dataset would look like an answer.
    """
    columns = np.flatnonzero(columns_of(area, geography) & (weights > 0))
    if not len(columns):
        raise ArtifactError(f"no household of the calibrated file lies in {area.key}", "fit with more clones or records")
    return columns


def assemble(
    base: Population, geography: Geography, weights: NDArray[np.float64], columns: NDArray[np.int64], seed: int
) -> Population:
    """The population of some columns, renumbered from 0.

    Parameters
    ----------
    base : Population
        The stratified file.
    geography : Geography
    weights : ndarray of float64, shape (n_columns,)
    columns : ndarray of int64
        The columns to take, in the order of the households of the result.
    seed : int
        Seed of the take-up draws, that of the calibration package.
    """
    households, clones = geography.household[columns], geography.clone[columns]
    population = at_place(base, households, clones, geography.state[columns], seed)
    block = np.char.decode(geography.block[columns], "ascii")
    places = {"block_geoid": block} | {name: block.astype(f"U{digits}") for name, digits in _FIRST_DIGITS.items()}
    return population.with_variables(
        "household",
        {
            "household_weight": weights[columns].astype(np.float32),
            "congressional_district_geoid": geography.district[columns].astype(np.int32),
            **places,
        },
    )
