"""Who lives in a household of the demo nation: householder, spouse or partner, children, parents, people unrelated.

A household is drawn into a fixed row of slots, of which some stay empty; the full slots, read row by row, are the persons in
canonical order. Probabilities by the householder's age are in ``data/householders.csv``. No money here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from geocal_core.demo.districts import Districts, Floats, Integers, rows_of

Booleans = NDArray[np.bool_]

REFERENCE, SPOUSE, PARTNER, CHILD, ADULT_CHILD, PARENT, ROOMMATE = range(7)
_SLOTS = np.array([REFERENCE, SPOUSE, PARTNER, *[CHILD] * 5, *[ADULT_CHILD] * 2, PARENT, *[ROOMMATE] * 2])
_OLDEST = 99


@dataclass(frozen=True)
class People:
    """Persons in the order of their households.

    Attributes
    ----------
    household : ndarray of int64
        Position of each person's household.
    role : ndarray of int64
        ``REFERENCE`` … ``ROOMMATE``.
    age : ndarray of int64
        0 to 99.
    female, student, disabled : ndarray of bool
        ``student``: full-time in college.
    race : ndarray of int64
        Column of ``Districts.race``.
    dependent : ndarray of bool
        Claimed on the householder's tax return.
    """

    household: Integers
    role: Integers
    age: Integers
    female: Booleans
    student: Booleans
    disabled: Booleans
    race: Integers
    dependent: Booleans

    def with_role(self, *roles: int) -> Booleans:
        """Which persons have one of these roles."""
        return np.isin(self.role, roles)

    def any_in_household(self, persons: Booleans) -> Booleans:
        """For each person: whether any person of the household is among ``persons``."""
        found = np.bincount(self.household, weights=persons) > 0
        marked: Booleans = found[self.household]
        return marked


@cache
def _table() -> dict[str, Floats]:
    rows = rows_of("householders.csv")
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def draw_people(districts: Districts, home: Integers, fortune: Floats, rng: np.random.Generator) -> People:
    """Draw the persons of households.

    Parameters
    ----------
    districts : Districts
    home : ndarray of int64, shape (households,)
        Position of each household's district in ``districts``.
    fortune : ndarray of float64, shape (households,)
        The household's standing, standard normal in the nation; the fortunate marry more and are disabled less.
    rng : numpy.random.Generator

    Returns
    -------
    People
    """
    n = len(home)
    group, age = _householders(districts.youth[home], rng)
    table = _table()
    married = rng.random(n) < np.clip(table["married"][group] * np.exp(0.18 * fortune), 0, 0.93)
    partner = ~married & (rng.random(n) < table["partner"][group])
    female = rng.random(n) < np.where(married, 0.46, np.where(age >= 65, 0.66, 0.54))
    fertility = _children_rate(group, married | partner, female) * np.exp(0.16 * districts.children[home] - 0.20 * fortune)
    children = np.minimum(rng.poisson(fertility), 5)
    adult_children = _adult_children(age, table["adult_child"][group], rng)
    roommates = ~married & (rng.random(n) < table["roommate"][group])
    present = np.column_stack(
        [
            np.ones(n, dtype=bool),
            married,
            partner,
            np.arange(5) < children[:, None],
            np.arange(2) < adult_children[:, None],
            rng.random(n) < table["parent"][group],
            roommates,
            roommates & (rng.random(n) < 0.3),
        ]
    )
    ages = np.column_stack(
        [
            age,
            np.clip(np.rint(age[:, None] + rng.normal(0, 3.5, (n, 2))), 18, _OLDEST),
            _ages_of_children(age, rng),
            _ages_of_adult_children(age, rng),
            np.clip(np.rint(age + rng.normal(27, 4, n)), 52, _OLDEST),
            np.clip(np.rint(rng.normal(29, 8, (n, 2))), 18, 64),
        ]
    ).astype(np.int64)
    females = rng.random(present.shape) < np.array([0, 0, 0, *[0.488] * 5, 0.45, 0.45, 0.66, 0.46, 0.46])
    females[:, 0] = female
    females[:, 1:3] = np.where(rng.random((n, 2)) < 0.985, ~female[:, None], female[:, None])
    household, slot = np.nonzero(present)
    return _with_traits(districts, home, fortune, household, _SLOTS[slot], ages[present], females[present], rng)


def _householders(youth: Floats, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Age group and age of each householder; young districts have younger ones."""
    table = _table()
    middle = (table["age_low"] + np.minimum(table["age_high"], 90)) / 2
    weights = table["householders"] * np.exp(-0.16 * youth[:, None] * (middle - 52) / 18)
    bounds = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    group = np.minimum((rng.random(len(youth))[:, None] > bounds).sum(axis=1), len(middle) - 1)
    low, high = table["age_low"][group], table["age_high"][group]
    age = np.floor(low + rng.random(len(youth)) * (high - low + 1))
    old = np.minimum(np.floor(low + rng.exponential(7.0, len(youth))), _OLDEST)
    return group, np.where(low >= 75, old, age).astype(np.int64)


def _children_rate(group: Integers, couple: Booleans, female: Booleans) -> Floats:
    """Mean number of the householder's children below 18 at home."""
    table = _table()
    alone = np.where(female, table["children_mother"][group], table["children_father"][group])
    return np.where(couple, table["children_married"][group], alone)


def _adult_children(age: Integers, rate: Floats, rng: np.random.Generator) -> Integers:
    """Number, 0 to 2, of sons and daughters from 18 on who live at home."""
    first = (rng.random(len(age)) < rate) & (age >= 38)
    return first.astype(np.int64) + (first & (rng.random(len(age)) < 0.28))


def _ages_of_children(age: Integers, rng: np.random.Generator) -> Floats:
    """Ages below 18 of five children of parents who were about 28 at their birth."""
    wanted = age[:, None] - rng.normal(28, 6.0, (len(age), 5))
    youngest = np.zeros(len(age))
    oldest = np.clip(age - 16, 1, 18)
    redrawn = rng.uniform(youngest[:, None], oldest[:, None], wanted.shape)
    inside = (wanted >= 0) & (wanted < oldest[:, None])
    ages: Floats = np.floor(np.where(inside, wanted, redrawn))
    return ages


def _ages_of_adult_children(age: Integers, rng: np.random.Generator) -> Floats:
    """Ages from 18 on of two sons or daughters at home: mostly those who have not left yet."""
    wanted = np.floor(18 + rng.exponential(5.5, (len(age), 2)) + np.maximum(age - 62, 0)[:, None] * 0.9)
    return np.clip(wanted, 18, np.maximum(age - 17, 18)[:, None])


def _with_traits(
    districts: Districts,
    home: Integers,
    fortune: Floats,
    household: Integers,
    role: Integers,
    age: Integers,
    female: Booleans,
    rng: np.random.Generator,
) -> People:
    """Race, study, disability and dependency of persons."""
    n = len(household)
    bounds = np.cumsum(districts.race[home[household]], axis=1)
    own_race = np.minimum((rng.random(n)[:, None] > bounds).sum(axis=1), bounds.shape[1] - 1)
    leads = np.searchsorted(household, np.arange(len(home)))
    race = np.where(rng.random(n) < np.where(role == ROOMMATE, 0.3, 0.92), own_race[leads][household], own_race)
    grown_up_at_home = role == ADULT_CHILD
    studies = np.select([grown_up_at_home & (age < 23), (age >= 18) & (age < 24)], [0.55, 0.25], 0.0)
    student = rng.random(n) < studies
    hardship = districts.hardship[home[household]]
    odds = -3.1 + 0.028 * (age - 35) * (age >= 18) - 0.75 * fortune[household] + 0.15 * hardship
    disabled = rng.random(n) < np.where(age < 5, 0.007, 1 / (1 + np.exp(-odds)))
    dependent = (role == CHILD) | (grown_up_at_home & ((age < 19) | (student & (age < 24))))
    return People(household, role, age, female, student, disabled, race, dependent)
