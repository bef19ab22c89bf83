"""What targets measure, valued for each household of a population.

A quantity is valued at its own entity. A unit counts, or its amount does, when any one of its members satisfies all the
constraints at once; every constraint is brought to persons first, whatever entity its variable belongs to. A change under a
reform is valued at the tax unit, which pays the income tax that changes. What the engine cannot value is refused before
anything is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.engine.place import PLACE_INPUTS, known_counties
from geocal_core.engine.variables import enum_names, nonlocal_variables
from geocal_core.errors import ConfigError
from geocal_core.matrix.quantity import TAX, Quantity, groups_of, variables_of
from geocal_core.population import ENTITIES, Population
from geocal_core.targets.constraints import DISTRICT, STATE, Constraint, satisfied
from geocal_core.targets.selection import Rule
from geocal_core.targets.vocabulary import DOLLAR, variables

__all__ = ["KNOWN_PLACES", "Quantity", "groups_of", "household_values", "quantities_of", "variables_of"]

Values = Mapping[str, NDArray[Any]]

COUNTY = "county_fips"
KNOWN_PLACES = (STATE, COUNTY, DISTRICT)
"""What a constraint may ask of a household's place: no more of it is told to the engine."""

_TEXT = "text"


def quantities_of(
    targets: pd.DataFrame, constraints: Mapping[int, Sequence[Constraint]]
) -> tuple[tuple[Quantity, ...], NDArray[np.int64]]:
    """The distinct quantities of targets, sorted, and the one of each target.

    Parameters
    ----------
    targets : DataFrame
        With columns ``stratum_id``, ``variable``, ``reform_id``, ``geo_level``, ``domain_variable`` and ``name``.
    constraints : mapping of int to constraints
        Of each stratum, without those that name a place.

    Returns
    -------
    quantities : tuple of Quantity
    row_quantity : ndarray of int64, shape (targets,)
        Position of each target's quantity.

    Raises
    ------
    ConfigError
        If the engine cannot value a target: the message names the target and a rule that excludes it.
    """
    measured = [
        Quantity(str(variable), tuple(sorted(constraints.get(int(stratum), ()))), str(variable) if reform > 0 else "")
        for variable, stratum, reform in zip(targets["variable"], targets["stratum_id"], targets["reform_id"], strict=True)
    ]
    obstacles = {quantity: _obstacle(quantity) for quantity in set(measured)}
    for target, quantity in zip(targets.itertuples(), measured, strict=True):
        if reason := obstacles[quantity]:
            reform = int(target.reform_id) or None
            rule = Rule(quantity.variable, target.geo_level, target.domain_variable, reform_id=reform)
            raise ConfigError(f"{target.name} cannot be valued: {reason}", f"exclude it by the rule {rule}")
    distinct = tuple(sorted(obstacles))
    position = {quantity: i for i, quantity in enumerate(distinct)}
    return distinct, np.array([position[quantity] for quantity in measured], dtype=np.int64)


def _obstacle(quantity: Quantity) -> str:
    """Why the engine cannot value a quantity; empty if it can."""
    for variable in sorted({quantity.variable, *quantity.needs}):
        if reason := _unknown(variable):
            return reason
    for constraint in quantity.constraints:
        if reason := _undecidable(constraint):
            return reason
    unit = variables()[quantity.variable].unit
    if quantity.neutralised and unit != DOLLAR:
        return f"{quantity.variable} ({unit}) cannot be neutralised, only an amount in dollars can"
    if not quantity.counted and unit in (_TEXT, "code"):
        return f"{quantity.variable} ({unit}) cannot be added up"
    return ""


def _unknown(variable: str) -> str:
    """Why the engine gives no values of a variable; empty if it does."""
    if variable in KNOWN_PLACES:
        return ""
    if variable in PLACE_INPUTS:
        return f"it looks at {variable}, and of a place the engine is told {', '.join(KNOWN_PLACES)} only"
    if variable not in variables():
        near = ", ".join(get_close_matches(variable, variables(), n=3))
        entity = variable.removesuffix("_count")
        counts = f" and no entity {entity!r} to count (entities are {', '.join(ENTITIES)})" if entity != variable else ""
        return f"policyengine-us has no variable {variable!r}{counts}{f', near it are {near}' if near else ''}"
    if reason := nonlocal_variables().get(variable):
        local = ", use medicaid_enrolled" if variable == "medicaid" else ""
        return f"{variable} of a household depends on the other households in the file ({reason}){local}"
    return ""


def _undecidable(constraint: Constraint) -> str:
    """Why a constraint cannot be compared with its variable's values; empty if it can. Asks the engine of text alone."""
    variable, value = constraint.variable, constraint.value
    if variables()[variable].unit != _TEXT:
        compared = constraint.number is not None or value in ("True", "False")
        return "" if compared else f"{constraint} compares a {variables()[variable].unit} with {value!r}"
    if constraint.operation not in ("==", "!="):
        return f"{constraint} orders text"
    known = known_counties() if variable == COUNTY else enum_names(variable)
    if not known or value in known:
        return ""
    near = ", ".join(get_close_matches(value, known, n=3, cutoff=0.3))
    return f"{variable} is never {value!r}{f', near it are {near}' if near else ''}"


def household_values(
    population: Population,
    quantities: Sequence[Quantity],
    values: Values,
    entity_of: Callable[[str], str],
    neutralised: Mapping[str, Values] | None = None,
) -> NDArray[np.float32]:
    """Each quantity of each household.

    Parameters
    ----------
    population : Population
    quantities : sequence of Quantity
    values : mapping of str to ndarray
        Variables that the quantities need, each for the units of its entity in the order of the population.
    entity_of : callable
        Entity of a variable (``engine.variables.entity_of``).
    neutralised : mapping of str to mapping of str to ndarray, optional
        Of each variable that a quantity neutralises: ``income_tax`` of the same tax units without it.

    Returns
    -------
    ndarray of float32, shape (quantities, households)
        Units or dollars of the year.

    Raises
    ------
    ConfigError
        If an amount is text, or a constraint cannot be compared with its variable.
    """
    people = _People(population, values, entity_of)
    result = np.empty((len(quantities), population.count("household")), dtype=np.float32)
    for i, quantity in enumerate(quantities):
        entity = quantity.counted or entity_of(quantity.amount or "")
        inside = people.units_satisfying(quantity.constraints, entity)
        result[i] = people.household_sum(np.where(inside, _amounts(quantity, values, neutralised or {}), 0.0), entity)
    return result


def _amounts(quantity: Quantity, values: Values, neutralised: Mapping[str, Values]) -> NDArray[np.float64] | float:
    """What each unit adds: 1 in a count, its amount, or the change of its income tax."""
    if quantity.amount is None:
        return 1.0
    amounts = values[quantity.amount]
    if amounts.dtype.kind not in "biuf":
        raise ConfigError(f"a target sums {quantity.amount}, which is text", "use it in a constraint, or target an amount")
    if not quantity.neutralised:
        return amounts.astype(np.float64)
    return neutralised[quantity.neutralised][TAX].astype(np.float64) - amounts.astype(np.float64)


class _People:
    """Links of a population and constraints already brought to its persons, kept while many quantities are valued."""

    def __init__(self, population: Population, values: Values, entity_of: Callable[[str], str]) -> None:
        self._population = population
        self._values = values
        self._entity_of = entity_of
        self._unit_of_person: dict[str, NDArray[np.int64]] = {"person": np.arange(population.count("person"), dtype=np.int64)}
        self._household_of: dict[str, NDArray[np.int64]] = {}
        self._satisfied: dict[Constraint, NDArray[np.bool_]] = {}

    def units_satisfying(self, constraints: Sequence[Constraint], entity: str) -> NDArray[np.bool_]:
        """Units of an entity with a member who satisfies all the constraints."""
        if not constraints:
            return np.ones(self._population.count(entity), dtype=np.bool_)
        persons = np.logical_and.reduce([self._persons_satisfying(constraint) for constraint in constraints])
        units = np.zeros(self._population.count(entity), dtype=np.bool_)
        units[self._links(entity)[persons]] = True
        return units

    def household_sum(self, amounts: NDArray[np.float64], entity: str) -> NDArray[np.float64]:
        """Sum over the units of each household."""
        if entity not in self._household_of:
            self._household_of[entity] = self._population.household_of(entity)
        totals: NDArray[np.float64] = np.zeros(self._population.count("household"))
        np.add.at(totals, self._household_of[entity], amounts)
        return totals

    def _persons_satisfying(self, constraint: Constraint) -> NDArray[np.bool_]:
        if constraint not in self._satisfied:
            units = satisfied(self._values[constraint.variable], constraint)
            self._satisfied[constraint] = units[self._links(self._entity_of(constraint.variable))]
        return self._satisfied[constraint]

    def _links(self, entity: str) -> NDArray[np.int64]:
        if entity not in self._unit_of_person:
            self._unit_of_person[entity] = self._population.group_of_person(entity)
        return self._unit_of_person[entity]
