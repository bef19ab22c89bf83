"""Who takes up which program: seeded draws, each a function of variable, household, clone and unit alone.

Rates are data (``data/takeup.csv``, each with its source): one for the nation, one for each state (Medicaid), or by number of
children (EITC). Narrow in two ways. Reported receipt does not anchor a draw: a household that reported Medicaid may be drawn
not to take it up. And the children who decide on the EITC rate are counted from ages (members of the tax unit under 19 beside
at least one older member), because the engine's own count would need a simulation first. Programs without a rate in the table
keep the engine's default, which is full take-up. Does not import the engine.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocal_core import seeds
from geocal_core.errors import ConfigError
from geocal_core.places.states import STATES, state_of_code, state_of_fips
from geocal_core.population import Population

EITC_CHILD_AGE_LIMIT = 19  # 26 U.S.C. 152(c)(3)(A)(i); students and the disabled, who qualify longer, are left out


@dataclass(frozen=True)
class Rates:
    """Take-up rates of one program.

    Attributes
    ----------
    variable, entity : str
        The engine's input variable and the entity that it belongs to.
    by : str
        What the rate depends on: ``nation`` (nothing), ``state`` or ``children``.
    values : ndarray of float64
        One rate; a rate at each FIPS code (NaN where no state has it); or a rate at each number of children, the last one
        for all greater numbers too.
    """

    variable: str
    entity: str
    by: str
    values: NDArray[np.float64]


@cache
def rates() -> tuple[Rates, ...]:
    """The programs of ``data/takeup.csv`` with their rates, in the order of the file."""
    text = resources.files("geocal_core.engine").joinpath("data/takeup.csv").read_text(encoding="utf-8")
    programs: dict[str, list[Mapping[str, str]]] = {}
    for row in csv.DictReader(text.splitlines()):
        programs.setdefault(row["variable"], []).append(row)
    return tuple(_program(variable, rows) for variable, rows in programs.items())


def _program(variable: str, rows: list[Mapping[str, str]]) -> Rates:
    entity = rows[0]["entity"]
    if rows[0]["state"]:
        values = np.full(1 + max(state.fips for state in STATES), np.nan)
        values[[state_of_code(row["state"]).fips for row in rows]] = [float(row["rate"]) for row in rows]
        return Rates(variable, entity, "state", values)
    ordered = sorted(rows, key=lambda row: row["children"])
    by = "children" if rows[0]["children"] else "nation"
    return Rates(variable, entity, by, np.array([float(row["rate"]) for row in ordered]))


def draw_takeup(
    population: Population, household_id: ArrayLike, clone: ArrayLike, state_fips: ArrayLike, seed: int
) -> Population:
    """The same population with every take-up variable drawn.

    Parameters
    ----------
    population : Population
        Its households are copies of others.
    household_id, clone : array_like of int, shape (households,) or scalar
        Identifier of each copy's original household and the number of the copy: the draw of a unit is a function of these,
        of the variable and of the unit's ordinal in the household.
    state_fips : array_like of int, shape (households,) or scalar
        Where each copy lives: decides the rate, not the draw.
    seed : int

    Returns
    -------
    Population
        With one boolean variable for each program of ``rates()``.
    """
    count = population.count("household")
    identifier, number, state = (np.broadcast_to(np.asarray(keys), (count,)) for keys in (household_id, clone, state_fips))
    for fips in np.unique(state).tolist():
        state_of_fips(fips)
    for program in rates():
        owner = population.household_of(program.entity)
        ordinal = population.ordinal_in_household(program.entity)
        draws = seeds.uniform(program.variable, identifier[owner], number[owner], ordinal, seed=seed)
        taken = draws < _RATE_OF_UNITS[program.by](program, population, state[owner])
        population = population.with_variables(program.entity, {program.variable: taken})
    return population


def _national(program: Rates, population: Population, state: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.broadcast_to(program.values, state.shape)


def _of_state(program: Rates, population: Population, state: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = program.values[state]
    return found


def _of_children(program: Rates, population: Population, state: NDArray[np.int64]) -> NDArray[np.float64]:
    children = np.minimum(_children(population, program.entity), len(program.values) - 1)
    found: NDArray[np.float64] = program.values[children]
    return found


_RATE_OF_UNITS: Mapping[str, Callable[[Rates, Population, NDArray[np.int64]], NDArray[np.float64]]] = {
    "nation": _national,
    "state": _of_state,
    "children": _of_children,
}


def _children(population: Population, entity: str) -> NDArray[np.int64]:
    """Members under 19 of each unit; where nobody is older, the unit's filer is one of them and all but one count."""
    if "age" not in population.tables["person"]:
        raise ConfigError("the population has no age, on which the take-up of the EITC depends")
    member = population.group_of_person(entity)
    young = np.asarray(population.tables["person"]["age"], dtype=np.float64) < EITC_CHILD_AGE_LIMIT
    units = population.count(entity)
    children = np.bincount(member[young], minlength=units)
    older = np.bincount(member[~young], minlength=units)
    return np.where(older > 0, children, np.maximum(children - 1, 0))
