"""What targets measure: a variable under constraints, valued for each household of a population.

A quantity knows no place: the same one is measured for the nation, a state and a district. It is valued at its own entity. A
unit counts, or its amount does, when any one of its members satisfies all the constraints at once; every constraint is
brought to persons first, whatever entity its variable belongs to. Changes under a reform (``reform_id`` above 0) are refused,
and so is whatever else the engine cannot value, before anything is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.engine.place import PLACE_INPUTS
from geocal_core.engine.variables import nonlocal_variables
from geocal_core.errors import ConfigError
from geocal_core.population import ENTITIES, Population
from geocal_core.targets.constraints import Constraint, brackets, satisfied
from geocal_core.targets.selection import Rule
from geocal_core.targets.vocabulary import variables

_COUNTS = {f"{entity}_count": entity for entity in ENTITIES}


@dataclass(frozen=True, order=True)
class Quantity:
    """A variable under constraints.

    Attributes
    ----------
    variable : str
        ``<entity>_count`` for the number of units of an entity, else an amount of the engine.
    constraints : tuple of Constraint
        Sorted, without any that names a place.
    """

    variable: str
    constraints: tuple[Constraint, ...] = ()

    @property
    def counted(self) -> str | None:
        """The entity whose units are counted, None for an amount."""
        return _COUNTS.get(self.variable)

    @property
    def needs(self) -> frozenset[str]:
        """Variables of the engine that it is computed from."""
        amount = () if self.counted else (self.variable,)
        return frozenset((*amount, *(constraint.variable for constraint in self.constraints)))

    def __str__(self) -> str:
        return f"{self.variable}{brackets(self.constraints)}" if self.constraints else self.variable


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
        Quantity(str(variable), tuple(sorted(constraints.get(int(stratum), ()))))
        for variable, stratum in zip(targets["variable"], targets["stratum_id"], strict=True)
    ]
    for target, quantity in zip(targets.itertuples(), measured, strict=True):
        reform = int(target.reform_id)
        if reason := _obstacle(quantity, reform):
            rule = Rule(quantity.variable, target.geo_level, target.domain_variable, reform_id=reform or None)
            raise ConfigError(f"{target.name} cannot be valued: {reason}", f"exclude it by the rule {rule}")
    distinct = tuple(sorted(set(measured)))
    position = {quantity: i for i, quantity in enumerate(distinct)}
    return distinct, np.array([position[quantity] for quantity in measured], dtype=np.int64)


def _obstacle(quantity: Quantity, reform_id: int) -> str:
    """Why the engine cannot value a target; empty if it can."""
    if reform_id:
        return "it is the change under a reform, which is not simulated yet"
    for variable in sorted(quantity.needs):
        if variable in PLACE_INPUTS:
            return f"it looks at {variable}, and the engine is told of no place but the state"
        if variable not in variables():
            return f"policyengine-us has no variable {variable!r}"
        if reason := nonlocal_variables().get(variable):
            return f"{variable} of a household depends on the other households in the file ({reason})"
    if not quantity.counted and variables()[quantity.variable].unit == "text":
        return f"{quantity.variable} is text and cannot be added up"
    return ""


def variables_of(quantities: Sequence[Quantity]) -> tuple[str, ...]:
    """All variables of the engine that quantities are computed from, sorted."""
    return tuple(sorted(frozenset[str]().union(*(quantity.needs for quantity in quantities))))


def household_values(
    population: Population,
    quantities: Sequence[Quantity],
    values: Mapping[str, NDArray[np.generic]],
    entity_of: Callable[[str], str],
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
        entity = quantity.counted or entity_of(quantity.variable)
        inside = people.units_satisfying(quantity.constraints, entity)
        amounts = inside.astype(np.float64) if quantity.counted else np.where(inside, people.amount(quantity.variable), 0.0)
        result[i] = people.household_sum(amounts, entity)
    return result


class _People:
    """Links of a population and constraints already brought to its persons, kept while many quantities are valued."""

    def __init__(self, population: Population, values: Mapping[str, NDArray[Any]], entity_of: Callable[[str], str]) -> None:
        self._population = population
        self._values = values
        self._entity_of = entity_of
        self._unit_of_person: dict[str, NDArray[np.int64]] = {"person": np.arange(population.count("person"), dtype=np.int64)}
        self._household_of: dict[str, NDArray[np.int64]] = {}
        self._satisfied: dict[Constraint, NDArray[np.bool_]] = {}

    def amount(self, variable: str) -> NDArray[np.float64]:
        """A variable at its own entity."""
        values = self._values[variable]
        if values.dtype.kind not in "biuf":
            raise ConfigError(f"a target sums {variable}, which is text", "use it in a constraint, or target an amount")
        return values.astype(np.float64)

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
