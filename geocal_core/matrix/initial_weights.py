"""The weights at which a fit starts: the survey's weights spread over the clones, or the reference system's people per column.

Spread by place shares, a household keeps its survey weight exactly: its columns share it in proportion to what their
districts lack. A district of many people and few columns gives each of them more, so districts start near their share of the
population, and every state and the nation near theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.matrix.factored import FactoredMatrix, Floats

SCHEMES = ("survey", "reference")
REFERENCE_DEFAULT = 100.0
"""Weight of every column of a district for which the reference system has no targets by age."""


def initial_weights(
    scheme: str,
    survey_weights: Floats,
    district: NDArray[np.integer],
    population: pd.Series,
    matrix: Callable[[], FactoredMatrix],
    targets: pd.DataFrame,
) -> Floats:
    """Starting weights by the scheme ``survey`` or ``reference``; shape (n_columns,).

    Parameters
    ----------
    scheme : str
        One of ``SCHEMES``.
    survey_weights, district, population
        As for ``spread_survey_weights``.
    matrix : callable
        Gives the matrix for ``people_per_column``; called only where the scheme needs one.
    targets : DataFrame
        As for ``people_per_column``.

    Raises
    ------
    ConfigError
        If there is no such scheme.
    """
    if scheme == "survey":
        return spread_survey_weights(survey_weights, district, population)
    if scheme == "reference":
        return people_per_column(matrix(), targets, district)
    raise ConfigError(f"there is no scheme {scheme!r} of initial weights", f"the schemes are {', '.join(SCHEMES)}")


def spread_survey_weights(survey_weights: Floats, district: NDArray[np.integer], population: pd.Series) -> Floats:
    """w = W of the household * r / (sum of r over the household's columns), r = population share / share of all columns.

    Parameters
    ----------
    survey_weights : ndarray of float, shape (n_records,)
        Weight of each household in the survey, not negative.
    district : ndarray of int, shape (n_clones * n_records,)
        District (100 * FIPS + number) of each column; column = clone * n_records + household.
    population : Series
        People of each district, by its code; above 0.

    Returns
    -------
    ndarray of float64, shape (n_columns,)
        The columns of a household add up to its survey weight.

    Raises
    ------
    ArtifactError
        If a weight is negative or not finite, a district has no population, or the columns are no whole number of clones.
    """
    survey = np.asarray(survey_weights, dtype=np.float64)
    if not (np.isfinite(survey).all() and (survey >= 0).all()):
        household = int(np.flatnonzero(~(np.isfinite(survey) & (survey >= 0)))[0])
        raise ArtifactError(f"household {household} has the survey weight {survey[household]}", "it must be 0 or more")
    if not len(survey) or len(district) % len(survey):
        raise ArtifactError(f"{len(district)} columns are no whole number of clones of {len(survey)} households")
    codes, place, columns = np.unique(district, return_inverse=True, return_counts=True)
    people = population.reindex(codes).to_numpy(dtype=np.float64)
    if not (people > 0).all():
        code = int(codes[~(people > 0)][0])
        raise ArtifactError(f"district {code} has columns and no population", "give the population of every district")
    share = (people / people.sum()) / (columns / columns.sum())
    lacking = share[place].reshape(-1, len(survey))
    return (lacking * (survey / lacking.sum(axis=0))).ravel()


def people_per_column(matrix: FactoredMatrix, targets: pd.DataFrame, district: NDArray[np.integer]) -> Floats:
    """The reference system's weights: people of a district by its targets / columns that add to any of these.

    The targets are those of a district for ``person_count`` by ``age``. A column that adds to none of them gets the same weight
    as the others of its district; a district without such targets, or to which nobody adds, gets 100 a column.

    Parameters
    ----------
    matrix : FactoredMatrix, shape (n_targets, n_columns)
    targets : DataFrame
        Columns variable, geo_level, domain_variable, geographic_id, reform_id (optional) and value.
    district : ndarray of int, shape (n_columns,)
    """
    by_age = (
        (targets["variable"] == "person_count") & (targets["geo_level"] == "district") & (targets["domain_variable"] == "age")
    ).to_numpy(dtype=np.bool_)
    rows = np.flatnonzero(by_age)
    codes = targets["geographic_id"].iloc[rows].astype(np.int64).to_numpy()
    people = pd.Series(targets["value"].to_numpy(dtype=np.float64)[rows]).groupby(codes).sum()
    there = matrix.rows(rows).rmatvec(np.ones(len(rows))) > 0  # counts are never negative, so nothing cancels
    columns = pd.Series(there).groupby(np.asarray(district)).sum()
    found = people / columns.reindex(people.index)
    weight = found.where(np.isfinite(found), REFERENCE_DEFAULT)
    places, place = np.unique(district, return_inverse=True)
    return weight.reindex(places).fillna(REFERENCE_DEFAULT).to_numpy(dtype=np.float64)[place]
