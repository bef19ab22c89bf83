"""Work and wages in the demo nation, and the standing of persons from which the other incomes follow.

Each household has a fortune, standard normal in the nation. A person's skill mixes it with chance; wages rise with skill, age
and the prosperity of the district, and have a Pareto tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from geocal_core.demo.districts import Districts, Floats, Integers
from geocal_core.demo.structure import ADULT_CHILD, CHILD, PARENT, REFERENCE, SPOUSE, Booleans, People

_LARGEST_RANK = 1.0 - 1e-9
_MEDIAN_FULL_TIME = 65_000.0
_WAGE_SIGMA = 0.59
_WAGE_KNEE = 0.975
_WAGE_TAIL = 2.05


@dataclass(frozen=True)
class Work:
    """Work of persons in the year.

    Attributes
    ----------
    skill : ndarray of float64
        Standing in the labour market, standard normal among adults of the nation.
    wages : ndarray of float64
        Dollars a year, not negative.
    hours : ndarray of int64
        Usual hours a week, 0 without work.
    weeks : ndarray of int64
        Weeks worked, 0 to 52.
    weeks_unemployed : ndarray of int64
    """

    skill: Floats
    wages: Floats
    hours: Integers
    weeks: Integers
    weeks_unemployed: Integers


def heavy_tailed(rank: Floats, median: float, sigma: float, knee: float, alpha: float) -> Floats:
    """Quantiles of a lognormal distribution whose part above the quantile ``knee`` is Pareto with index ``alpha``.

    Parameters
    ----------
    rank : ndarray of float64
        In [0, 1).
    median, sigma : float
        Of the lognormal part.
    knee : float
        In (0, 1).
    alpha : float
        Above 1, so that the mean exists.
    """
    rank = np.minimum(rank, _LARGEST_RANK)
    body = median * np.exp(sigma * ndtri(np.clip(np.minimum(rank, knee), 1e-9, None)))
    tail: Floats = np.where(rank > knee, ((1 - knee) / (1 - rank)) ** (1 / alpha), 1.0)
    amount: Floats = body * tail
    return amount


def draw_work(districts: Districts, home: Integers, fortune: Floats, people: People, rng: np.random.Generator) -> Work:
    """Draw work and wages of persons; ``home`` and ``fortune`` are by household, as in ``structure.draw_people``."""
    n = len(people.age)
    prosperity = districts.prosperity[home[people.household]]
    hardship = districts.hardship[home[people.household]]
    close = people.with_role(REFERENCE)
    share = np.select([close, people.with_role(SPOUSE), people.with_role(ADULT_CHILD, PARENT)], [0.93, 0.62, 0.30], 0.15)
    skill = share * fortune[people.household] + np.sqrt(1 - share**2) * rng.normal(size=n)
    mothers = people.female & people.with_role(REFERENCE, SPOUSE) & _with_small_children(people)
    works = rng.random(n) < _participation(people, skill, mothers, hardship)
    full_time = works & (rng.random(n) < _full_time_share(people, skill))
    standing = (skill + 0.28 * prosperity) / np.sqrt(1 + 0.28**2)
    wages = heavy_tailed(ndtr(standing), _MEDIAN_FULL_TIME, _WAGE_SIGMA, _WAGE_KNEE, _WAGE_TAIL)
    wages *= _age_profile(people.age) * np.where(people.female, 0.90, 1.06) * np.exp(rng.normal(0, 0.12, n))
    laid_off = works & (rng.random(n) < np.clip(0.085 * np.exp(0.25 * hardship - 0.25 * skill), 0, 0.4))
    weeks_unemployed = np.where(laid_off, rng.integers(2, 40, n), 0)
    weeks = np.where(works, 52 - weeks_unemployed, 0)
    part = np.where(full_time, 1.0, rng.beta(1.6, 2.4, n) * np.where(people.age < 19, 0.35, 0.9))
    hours = np.where(full_time, 40 + 5 * rng.integers(0, 4, n) * (rng.random(n) < 0.3), np.rint(6 + 28 * part))
    return Work(
        skill=skill,
        wages=np.rint(np.where(works, wages * part * weeks / 52, 0.0)),
        hours=np.where(works, hours, 0).astype(np.int64),
        weeks=weeks.astype(np.int64),
        weeks_unemployed=weeks_unemployed.astype(np.int64),
    )


def _with_small_children(people: People) -> Booleans:
    return people.any_in_household(people.with_role(CHILD) & (people.age < 6))


def _participation(people: People, skill: Floats, mothers: Booleans, hardship: Floats) -> Floats:
    """Probability of working at some time of the year."""
    ages = [0, 15.4, 16, 18, 22, 27, 50, 58, 62, 66, 70, 76, 90]
    odds = [-9, -9, -1.2, 0.5, 2.0, 2.75, 2.5, 1.65, 0.60, -0.70, -1.5, -2.5, -5.0]
    base = np.interp(people.age, ages, odds)
    base = base + 0.42 * skill - 0.08 * hardship - 0.5 * mothers - 3.0 * people.disabled - 0.9 * people.student
    base = base - np.where(people.female, 0.15, 0.0)
    chance: Floats = np.where(people.age < 16, 0.0, 1 / (1 + np.exp(-base)))
    return chance


def _full_time_share(people: People, skill: Floats) -> Floats:
    """Probability that a worker works full time."""
    odds = np.interp(people.age, [16, 18, 22, 27, 58, 66, 75], [-3.5, -1.2, 0.5, 1.7, 1.5, 0.1, -0.6])
    odds = odds + 0.35 * skill - 1.4 * people.student - 0.5 * people.female
    chance: Floats = 1 / (1 + np.exp(-odds))
    return chance


def _age_profile(age: Integers) -> Floats:
    """Wages by age, relative to those at 45."""
    profile: Floats = np.interp(
        age, [16, 20, 25, 32, 40, 48, 58, 66, 80], [0.42, 0.52, 0.72, 0.92, 1.04, 1.10, 1.06, 0.90, 0.6]
    )
    return profile
