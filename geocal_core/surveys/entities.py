"""From keys on person records to a ``Population``: groups in canonical order, couples and roles in a tax unit.

Shared by the readers of surveys whose records are persons of households. What a variable means does not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geocal_core.errors import InputError
from geocal_core.population import GROUPS, Population, id_name, link_name
from geocal_core.population.population import Column

HEAD, SPOUSE, DEPENDENT = "HEAD", "SPOUSE", "DEPENDENT"
Positions = NDArray[np.int64]


def group_positions(household: Positions, key: ArrayLike, label: str) -> Positions:
    """Position of each person's group, groups counted household by household.

    Parameters
    ----------
    household : ndarray of int64, shape (n_persons,)
        Position of each person's household, ascending.
    key : array_like of integers, shape (n_persons,)
        Identifier of the group, unique in the whole file.
    label : str
        Name of the identifier, for the message.

    Raises
    ------
    InputError
        If a group spans two households.
    """
    keys = np.asarray(key, dtype=np.int64)
    names, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    astray = household != household[first][inverse]
    if astray.any():
        raise InputError(
            f"{label} {keys[astray][0]} belongs to persons of two households", "the survey file is damaged; fetch it again"
        )
    order = np.lexsort((names, household[first]))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(rank[inverse], dtype=np.int64)


def spouse_positions(household: Positions, line: Positions, spouse_line: Positions) -> Positions:
    """Position of each person's spouse in the person table, -1 for none.

    Parameters
    ----------
    household, line, spouse_line : ndarray of int64, shape (n_persons,)
        Position of the household; line number in it; line number of the spouse, 0 or less for none.

    Raises
    ------
    InputError
        If a line number is repeated, or two persons do not name each other.
    """
    width = int(max(line.max(), spouse_line.max())) + 1
    own = household * width + line
    order = np.argsort(own, kind="stable")
    repeated = np.diff(own[order]) == 0
    if repeated.any():
        raise InputError(f"line number {line[order][1:][repeated][0]} stands twice in a household")
    married = spouse_line > 0
    wanted = (household * width + spouse_line)[married]
    found = order[np.minimum(np.searchsorted(own, wanted, sorter=order), len(own) - 1)]
    partner = np.full(len(line), -1, dtype=np.int64)
    partner[married] = np.where(own[found] == wanted, found, -1)
    mutual = (partner >= 0) & (partner[partner] == np.arange(len(line)))
    if (mutual != married).any():
        lost = int(np.argmax(mutual != married))
        raise InputError(
            f"the person of line {line[lost]} names line {spouse_line[lost]} as spouse, who is not there or names another",
            "the survey file is damaged; fetch it again",
        )
    return partner


def couple_keys(partner: Positions) -> Positions:
    """An identifier for each marital unit: the position of its first person."""
    own = np.arange(len(partner), dtype=np.int64)
    return np.where(partner >= 0, np.minimum(own, partner), own)


def tax_unit_roles(tax_unit: Positions, partner: Positions, reference: NDArray[np.bool_], age: ArrayLike) -> NDArray[np.str_]:
    """Role of each person in the tax unit: one head each, the head's spouse if in the unit, else dependents.

    The head is the family's reference person; where there is none or there are several, a person with a spouse in the
    unit; then the oldest; then the first.

    Parameters
    ----------
    tax_unit, partner : ndarray of int64, shape (n_persons,)
        Position of the tax unit; position of the spouse or -1.
    reference : ndarray of bool, shape (n_persons,)
        Whether the person is the reference person of a family.
    age : array_like, shape (n_persons,)
        Years.
    """
    own = np.arange(len(tax_unit), dtype=np.int64)
    together = (partner >= 0) & (tax_unit[partner] == tax_unit)
    order = np.lexsort((own, -np.asarray(age), ~together, ~reference, tax_unit))
    head = order[np.unique(tax_unit[order], return_index=True)[1]]
    roles = np.full(len(tax_unit), DEPENDENT, dtype="U9")
    roles[head] = HEAD
    roles[partner[head][together[head]]] = SPOUSE
    return roles


def assemble(
    period: int,
    person_id: ArrayLike,
    household_id: ArrayLike,
    groups: Mapping[str, Positions],
    variables: Mapping[str, Mapping[str, Column]],
) -> Population:
    """A validated population from positions of groups and variables of each entity.

    Parameters
    ----------
    period : int
    person_id, household_id : array_like of int
        Identifiers as the survey gives them.
    groups : mapping of str to ndarray of int64
        For each of the five groups, the position of each person's group. Groups but the household are numbered by it.
    variables : mapping of str to mapping of str to ndarray
        Entity to variable to values.
    """
    tables: dict[str, dict[str, Column]] = {entity: dict(variables.get(entity, {})) for entity in ("person", *GROUPS)}
    tables["person"]["person_id"] = np.asarray(person_id, dtype=np.int64)
    for group in GROUPS:
        positions = groups[group]
        ids = np.arange(int(positions.max()) + 1, dtype=np.int64)
        if group == "household":
            ids = np.asarray(household_id, dtype=np.int64)
        tables[group][id_name(group)] = ids
        tables["person"][link_name(group)] = ids[positions]
    population = Population(period, tables)
    population.validate()
    return population
