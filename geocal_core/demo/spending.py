"""What households of the demo nation spend on what taxes and benefits look at: homes, children's care, health, giving, saving.

Names are those of the engine's inputs, with the entity that holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocal_core.demo.districts import Districts, Floats, Integers, sums
from geocal_core.demo.earnings import Work
from geocal_core.demo.structure import CHILD, PARTNER, REFERENCE, ROOMMATE, SPOUSE, Booleans, People

_MEDIAN_RENT = 15_600.0
_MEDIAN_HOME = 335_000.0
_CONTRIBUTION_LIMIT = 23_000.0


@dataclass(frozen=True)
class Spending:
    """Expenses of persons and homes of households.

    Attributes
    ----------
    person : mapping of str to ndarray
        Dollars a year by the engine's name; what belongs to a home stands with the householder.
    has_esi : ndarray of bool, shape (persons,)
        Whether insured through an employer: the family of a household that pays premiums and in which someone works full
        time, below 66.
    tenure : ndarray of str, shape (households,)
        ``RENTED``, ``OWNED_WITH_MORTGAGE`` or ``OWNED_OUTRIGHT``.
    home_value, mortgage : ndarray of float64, shape (households,)
        Dollars; 0 where there is none.
    mortgage_year : ndarray of int64, shape (households,)
        Year in which the mortgage was taken out; 0 without one.
    childcare : ndarray of float64, shape (households,)
        Dollars a year for the children of the householder.
    """

    person: dict[str, Floats]
    has_esi: Booleans
    tenure: NDArray[np.str_]
    home_value: Floats
    mortgage: Floats
    mortgage_year: Integers
    childcare: Floats


def draw_spending(
    districts: Districts, home: Integers, income: Floats, people: People, work: Work, rng: np.random.Generator
) -> Spending:
    """Draw expenses.

    Parameters
    ----------
    districts : Districts
    home : ndarray of int64, shape (households,)
        Position of each household's district.
    income : ndarray of float64, shape (households,)
        Dollars a year of the whole household.
    people : People
    work : Work
    rng : numpy.random.Generator
    """
    n = len(home)
    reference = people.with_role(REFERENCE)
    age = people.age[reference]
    married = sums(people.household, people.with_role(SPOUSE), n) > 0
    standing = np.log(np.maximum(income, 8_000) / 75_000)
    odds = 0.05 + 0.042 * (age - 42) + 0.75 * standing + 0.75 * married + 0.35 * districts.owners[home]
    owns = rng.random(n) < 1 / (1 + np.exp(-odds))
    price = np.exp(0.30 * districts.prosperity[home] + 0.14 * districts.urban[home])
    value = _MEDIAN_HOME * price * np.exp(0.42 * standing + rng.normal(0, 0.45, n))
    value = np.where(owns, np.minimum(value, 6e6), 0.0)
    mortgaged = owns & (rng.random(n) < np.interp(age, [30, 45, 60, 70, 82], [0.93, 0.86, 0.58, 0.36, 0.16]))
    years = np.where(mortgaged, rng.integers(1, 22, n), 0)
    balance = np.where(mortgaged, 0.78 * value * (1 - years / 30) * rng.uniform(0.6, 1.1, n), 0.0)
    size = np.bincount(people.household, minlength=n)
    rent = _MEDIAN_RENT * price * np.exp(0.30 * standing + rng.normal(0, 0.30, n)) * (1 + 0.06 * np.minimum(size - 1, 4))
    rent = np.where(owns, 0.0, np.maximum(rent * (rng.random(n) > 0.05), 0.0))
    person = {
        "pre_subsidy_rent": _of_householder(reference, rent),
        "real_estate_taxes": _of_householder(reference, value * rng.uniform(0.005, 0.017, n)),
        "home_mortgage_interest": _of_householder(reference, balance * rng.uniform(0.029, 0.062, n)),
    }
    person |= _giving(reference, income, rng)
    person |= _health(people, rng)
    person |= _saving_and_study(people, work, rng)
    whole = {name: np.rint(values) for name, values in person.items()}
    insured = covered_at_home(people, whole["health_insurance_premiums_without_medicare_part_b"])
    return Spending(
        person=whole,
        has_esi=(people.age < 66) & insured & people.any_in_household(work.hours >= 35),
        tenure=np.select([mortgaged, owns], ["OWNED_WITH_MORTGAGE", "OWNED_OUTRIGHT"], "RENTED"),
        home_value=np.rint(value),
        mortgage=np.rint(balance),
        mortgage_year=np.where(mortgaged, 2024 - years, 0).astype(np.int64),
        childcare=np.rint(_childcare(people, work, n, rng)),
    )


def _of_householder(reference: Booleans, values: Floats) -> Floats:
    """A value of each household, set down with its householder."""
    person: Floats = np.zeros(len(reference))
    person[reference] = values
    return person


def _giving(reference: Booleans, income: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Gifts to charity: rarer and smaller shares of income where income is small."""
    n = len(income)
    positive = np.maximum(income, 0.0)
    gives = rng.random(n) < np.interp(positive, [0, 5e4, 1e5, 2.5e5, 1e6], [0.12, 0.28, 0.42, 0.68, 0.88])
    share = np.minimum(np.exp(rng.normal(-4.0, 1.1, n)), 0.35)
    goods = gives & (rng.random(n) < 0.4)
    return {
        "charitable_cash_donations": _of_householder(reference, np.where(gives, share * positive, 0.0)),
        "charitable_non_cash_donations": _of_householder(reference, np.where(goods, 0.2 * share * positive + 250, 0.0)),
    }


def covered_at_home(people: People, premium: Floats) -> Booleans:
    """Whose household pays premiums (dollars a year, by person) for its family."""
    paid = people.any_in_household((premium > 0) & people.with_role(REFERENCE, SPOUSE))
    return paid & ~people.with_role(PARTNER, ROOMMATE)


def _health(people: People, rng: np.random.Generator) -> dict[str, Floats]:
    """Premiums and payments out of pocket."""
    n = len(people.age)
    adult = people.age >= 19
    insured = adult & (rng.random(n) < np.interp(people.age, [19, 26, 64, 65], [0.25, 0.58, 0.66, 0.55]))
    medians = np.interp(people.age, [0, 18, 30, 60, 85], [140, 180, 330, 760, 1_050])
    care = medians * np.exp(rng.normal(0, 1.25, n)) * (rng.random(n) < 0.82)
    return {
        "health_insurance_premiums_without_medicare_part_b": np.where(insured, np.exp(rng.normal(7.45, 0.8, n)), 0.0),
        "other_medical_expenses": np.minimum(care, 60_000),
        "over_the_counter_health_expenses": np.exp(rng.normal(4.1, 0.9, n)) * (rng.random(n) < 0.7),
    }


def _saving_and_study(people: People, work: Work, rng: np.random.Generator) -> dict[str, Floats]:
    """Contributions to the employer's retirement plan and interest on student loans."""
    n = len(people.age)
    plan = (
        (work.hours >= 35)
        & (work.wages > 18_000)
        & (rng.random(n) < np.interp(work.wages, [2e4, 6e4, 1.5e5], [0.22, 0.50, 0.72]))
    )
    share = rng.choice([0.02, 0.03, 0.05, 0.06, 0.08, 0.10, 0.15], n, p=[0.12, 0.2, 0.22, 0.2, 0.12, 0.1, 0.04])
    owes = (people.age >= 22) & (people.age < 52) & (work.weeks > 0) & (rng.random(n) < 0.14)
    return {
        "traditional_401k_contributions_desired": np.where(plan, np.minimum(share * work.wages, _CONTRIBUTION_LIMIT), 0.0),
        "student_loan_interest": np.where(owes, np.minimum(np.exp(rng.normal(6.6, 0.8, n)), 2_500), 0.0),
    }


def _childcare(people: People, work: Work, households: int, rng: np.random.Generator) -> Floats:
    """Care of children below 13 that lets their parents work, by household."""
    child = people.with_role(CHILD) & (people.age < 13)
    cost = np.where(people.age < 5, 6_800.0, 2_600.0) * np.exp(rng.normal(0, 0.7, len(people.age)))
    total = sums(people.household, np.where(child, cost, 0.0), households)
    parents = people.with_role(REFERENCE, SPOUSE, PARTNER)
    idle = sums(people.household, parents & (work.weeks == 0), households) > 0
    earned = sums(people.household, np.where(parents, work.wages, 0.0), households)
    pays = ~idle & (rng.random(households) < np.interp(earned, [1e4, 5e4, 1.2e5], [0.22, 0.40, 0.62]))
    paid: Floats = np.where(pays, np.minimum(total, 0.3 * earned), 0.0)
    return paid
