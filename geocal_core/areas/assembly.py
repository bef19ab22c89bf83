"""The population of an area: the calibrated copies of households whose block lies in it.

A column of the calibration matrix with a positive weight becomes a household of its own, with the values that the matrix was
simulated from (``engine.place.at_place`` makes both), with its weight and with all the geographies that its block lies in and
policyengine-us has a name for. What ``at_place`` has said of the place stays, but for the block, of which it names one of the
place's and the file the household's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geocal_core.engine.place import Places, at_place
from geocal_core.engine.takeup import TakeUp
from geocal_core.errors import ArtifactError
from geocal_core.places.assignment import Geography
from geocal_core.places.catalogue import Area
from geocal_core.places.crosswalk import ColumnPlaces
from geocal_core.population import Population

_GEOGRAPHIES = ("tract_geoid", "cbsa_code", "sldu", "sldl", "vtd", "puma", "zcta")


def columns_of(area: Area, geography: Geography, places: ColumnPlaces) -> NDArray[np.bool_]:
    """Which columns of the calibration matrix lie in an area, shape (n_columns,).

    Raises
    ------
    ConfigError
        If one of the codes that the area consists of is that of no block.
    """
    if area.level == "national":
        return np.ones(len(geography.block), dtype=bool)
    if area.field:
        return places.inside(area.field, area.values, area.state)
    return np.isin(geography.district, np.array(area.districts, dtype=np.int32))


def active_columns(area: Area, geography: Geography, places: ColumnPlaces, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Columns of an area with a positive weight, ascending.

    Raises
    ------
    ArtifactError
        If there is none: an empty dataset would look like an answer.
    """
    columns = np.flatnonzero(columns_of(area, geography, places) & (weights > 0))
    if not len(columns):
        raise ArtifactError(f"no household of the calibrated file lies in {area.key}", "fit with more clones or records")
    return columns


def assemble(
    base: Population,
    geography: Geography,
    places: ColumnPlaces,
    where: Places,
    takeup: TakeUp,
    weights: NDArray[np.float64],
    columns: NDArray[np.int64],
) -> Population:
    """The population of some columns; a household is numbered by its column, so it has one number in every file.

    Parameters
    ----------
    base : Population
        The stratified file.
    geography : Geography
    places : ColumnPlaces
        The geographies of its columns.
    where : Places
        What the engine is told of the places of its columns.
    takeup : TakeUp
        That of ``base``, as the calibration package drew it.
    weights : ndarray of float64, shape (n_columns,)
    columns : ndarray of int64
        The columns to take, in the order of the households of the result.
    """
    households, clones = geography.household[columns], geography.clone[columns]
    population = at_place(base, households, clones, where.take(columns), takeup)
    unsaid = {field: places.values(field, columns) for field in _GEOGRAPHIES if field not in population}
    block = np.char.decode(geography.block[columns], "ascii")
    weight = weights[columns].astype(np.float32)
    return population.with_variables("household", {"household_weight": weight, **unsaid, "block_geoid": block})
