"""``Population``: six entity tables, their links and their weights, in one canonical order.

Canonical order: the units of a household stand together, in the order of the households, in every table. So the members of
any set of households are found by slices, and subsetting, cloning and renumbering are a few vectorised lines.
Ids are kept as given until ``renumbered``. What belongs here: structure. What does not: meaning of variables, files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError

GROUPS = ("household", "tax_unit", "spm_unit", "family", "marital_unit")
ENTITIES = ("person", *GROUPS)

IMPUTED = "has_imputed_return"
"""Household variable: whether any tax return of the household is imputed. A fact on the record, no input of the engine."""

Column = NDArray[np.generic]
Positions = NDArray[np.int64]


def id_name(entity: str) -> str:
    """Name of the identifier of an entity: ``person_id``, ``household_id`` and so on."""
    return f"{entity}_id"


def link_name(group: str) -> str:
    """Name of the person variable that holds the identifier of a person's group."""
    return f"person_{group}_id"


@dataclass(frozen=True)
class Population:
    """Persons and the five kinds of groups they belong to.

    Attributes
    ----------
    period : int
        The year that the values speak of.
    tables : mapping of str to mapping of str to ndarray
        Entity to variable to values. Every table holds its ``<entity>_id`` (int64); the person table holds
        ``person_<group>_id`` for each of the five groups; the household table may hold ``household_weight``.
    """

    period: int
    tables: Mapping[str, Mapping[str, Column]]

    def count(self, entity: str) -> int:
        """Number of units of an entity."""
        return len(self.tables[entity][id_name(entity)])

    def ids(self, entity: str) -> NDArray[np.int64]:
        """Identifiers of an entity, int64."""
        return np.asarray(self.tables[entity][id_name(entity)], dtype=np.int64)

    def entity_of(self, variable: str) -> str:
        """The entity whose table holds a variable."""
        for entity in ENTITIES:
            if variable in self.tables[entity]:
                return entity
        raise ConfigError(f"the population holds no variable {variable!r}")

    def __getitem__(self, variable: str) -> Column:
        return self.tables[self.entity_of(variable)][variable]

    def __contains__(self, variable: object) -> bool:
        return any(variable in table for table in self.tables.values())

    @property
    def weights(self) -> NDArray[np.float64]:
        """Household weights, float64."""
        return np.asarray(self.tables["household"]["household_weight"], dtype=np.float64)

    def group_of_person(self, group: str) -> Positions:
        """Position of each person's unit of ``group`` in that table."""
        wanted = np.asarray(self.tables["person"][link_name(group)], dtype=np.int64)
        return _positions(self.ids(group), wanted, group)

    def household_of(self, entity: str) -> Positions:
        """Position of the household of each unit of ``entity``."""
        if entity == "household":
            return np.arange(self.count("household"), dtype=np.int64)
        household = self.group_of_person("household")
        if entity == "person":
            return household
        owner = np.full(self.count(entity), -1, dtype=np.int64)
        owner[self.group_of_person(entity)] = household
        return owner

    def ordinal_in_household(self, entity: str) -> Positions:
        """0, 1, 2 … for the units of each household, in their order."""
        owner = self.household_of(entity)
        first = np.searchsorted(owner, np.arange(self.count("household")))
        return np.arange(len(owner), dtype=np.int64) - first[owner]

    def with_variables(self, entity: str, values: Mapping[str, Column]) -> Population:
        """The same population with variables of one entity added or replaced."""
        for name, column in values.items():
            if len(column) != self.count(entity):
                raise ConfigError(f"{name} has {len(column)} values for {self.count(entity)} units of {entity}")
        tables = {**self.tables, entity: {**self.tables[entity], **values}}
        return Population(self.period, tables)

    def numbered(self, ids: Mapping[str, NDArray[np.int64]]) -> Population:
        """The same population under other identifiers, given for every entity in the order of its table."""
        persons = {link_name(group): ids[group][self.group_of_person(group)] for group in GROUPS}
        tables = {entity: {**table, id_name(entity): ids[entity]} for entity, table in self.tables.items()}
        tables["person"] |= persons
        return Population(self.period, tables)

    def without(self, names: Iterable[str]) -> Population:
        """The same population without the named variables."""
        drop = set(names)
        tables = {e: {k: v for k, v in table.items() if k not in drop} for e, table in self.tables.items()}
        return Population(self.period, tables)

    def take(self, households: Positions) -> Population:
        """The households at these positions, in this order, repeats allowed, renumbered from 0.

        Every table is renumbered, because a household that is taken twice would otherwise repeat its identifiers.
        """
        households = np.asarray(households, dtype=np.int64)
        tables: dict[str, dict[str, Column]] = {}
        rows = self.rows_of(households)
        for entity in ENTITIES:
            tables[entity] = {name: column[rows[entity]] for name, column in self.tables[entity].items()}
            tables[entity][id_name(entity)] = np.arange(len(rows[entity]), dtype=np.int64)
        for group in GROUPS:
            tables["person"][link_name(group)] = self._links_after_take(group, rows, households)
        return Population(self.period, tables)

    def rows_of(self, households: Positions) -> dict[str, Positions]:
        """Positions of the units of each entity that the households at these positions consist of, in the order of ``take``."""
        number = self.count("household")
        return {entity: _members(self.household_of(entity), number, households) for entity in ENTITIES}

    def _links_after_take(self, group: str, rows: Mapping[str, Positions], households: Positions) -> Positions:
        """Where the unit of each taken person stands: the copy's first unit plus the ordinal of the unit in it."""
        owner = self.household_of(group)
        sizes = np.bincount(owner, minlength=self.count("household"))[households]
        first = np.cumsum(sizes) - sizes
        persons_per_copy = np.bincount(self.household_of("person"), minlength=self.count("household"))[households]
        copy_of_person = np.repeat(np.arange(len(households)), persons_per_copy)
        ordinal = self.ordinal_in_household(group)[self.group_of_person(group)][rows["person"]]
        return first[copy_of_person] + ordinal

    def to_household(self, values: Column, entity: str) -> NDArray[np.float64]:
        """Sum the values of an entity over each household, float64."""
        amounts = np.asarray(values, dtype=np.float64)
        totals: NDArray[np.float64] = np.zeros(self.count("household"))
        np.add.at(totals, self.household_of(entity), amounts)
        return totals

    def validate(self) -> None:
        """Refuse a population that is not closed, unique, in canonical order and of finite non-negative weight."""
        for entity in ENTITIES:
            lengths = {name: len(column) for name, column in self.tables[entity].items()}
            wrong = {name: n for name, n in lengths.items() if n != self.count(entity)}
            if wrong:
                raise ArtifactError(f"{entity} has {self.count(entity)} units, but {wrong}")
            if len(np.unique(self.ids(entity))) != self.count(entity):
                raise ArtifactError(f"{id_name(entity)} is not unique")
            owner = self.household_of(entity)
            if (owner < 0).any():
                raise ArtifactError(f"a {entity} has no person")
            if (np.diff(owner) < 0).any():
                raise ArtifactError(f"the {entity} table is not in the order of its households")
        if len(np.unique(self.household_of("person"))) != self.count("household"):
            raise ArtifactError("a household has no person")
        for group in GROUPS[1:]:
            of_group = self.household_of(group)[self.group_of_person(group)]
            if (of_group != self.household_of("person")).any():
                raise ArtifactError(f"a {group} spans two households")
        if "household_weight" in self.tables["household"]:
            weights = self.weights
            if not np.isfinite(weights).all() or (weights < 0).any():
                raise ArtifactError("household_weight is negative or not finite")


def stack(populations: list[Population]) -> Population:
    """Populations one after another, renumbered from 0; all must hold the same variables."""
    first = populations[0]
    for other in populations[1:]:
        for entity in ENTITIES:
            if set(other.tables[entity]) != set(first.tables[entity]):
                odd = sorted(set(other.tables[entity]) ^ set(first.tables[entity]))
                raise ArtifactError(f"populations to stack differ in {entity} variables {odd}")
    tables: dict[str, dict[str, Column]] = {}
    for entity in ENTITIES:
        tables[entity] = {name: np.concatenate([p.tables[entity][name] for p in populations]) for name in first.tables[entity]}
        tables[entity][id_name(entity)] = np.arange(sum(p.count(entity) for p in populations), dtype=np.int64)
    for group in GROUPS:
        offsets = np.cumsum([0] + [p.count(group) for p in populations[:-1]])
        tables["person"][link_name(group)] = np.concatenate(
            [p.group_of_person(group) + offset for p, offset in zip(populations, offsets, strict=True)]
        )
    return Population(first.period, tables)


def _positions(ids: NDArray[np.int64], wanted: NDArray[np.int64], group: str) -> Positions:
    order = np.argsort(ids, kind="stable")
    found = np.searchsorted(ids, wanted, sorter=order)
    inside = found < len(ids)
    if not inside.all() or (ids[order[found]] != wanted).any():
        raise ArtifactError(f"a person belongs to a {group} that is not in the {group} table")
    positions: Positions = np.take(order, found)
    return positions


def _members(owner: Positions, n_households: int, households: Positions) -> Positions:
    """Rows of the units of the households, household by household (``owner`` is sorted)."""
    sizes = np.bincount(owner, minlength=n_households)
    first = np.cumsum(sizes) - sizes
    taken = sizes[households]
    ends = np.cumsum(taken)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - taken, taken)
    return np.repeat(first[households], taken) + within
