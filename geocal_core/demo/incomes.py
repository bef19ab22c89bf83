"""Incomes of persons in the demo nation other than wages: capital, business, pensions, benefits of insurance, support.

Names are those of the engine's inputs. What the engine computes (SNAP, SSI, TANF, credits, taxes) is never drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import ndtr

from geocal_core.demo.districts import Floats, Integers, rows_of, sums
from geocal_core.demo.earnings import Work, heavy_tailed
from geocal_core.demo.structure import ADULT_CHILD, CHILD, PARENT, PARTNER, REFERENCE, ROOMMATE, SPOUSE, People

_KNEE = 0.95
_LARGEST = 3e8


@dataclass(frozen=True)
class _Source:
    """A row of ``data/income_sources.csv``."""

    variable: str
    intercept: float
    wealth: float
    age: float
    median: float
    sigma: float
    alpha: float
    rho: float
    loss: float
    loss_scale: float
    smallest: float


@cache
def _sources() -> tuple[_Source, ...]:
    rows = rows_of("income_sources.csv")
    numbers = [{k: float(v or "-inf") for k, v in row.items() if k != "variable"} for row in rows]
    return tuple(_Source(row["variable"], **number) for row, number in zip(rows, numbers, strict=True))


def draw_incomes(
    fortune: Floats, prosperity: Floats, people: People, work: Work, rng: np.random.Generator
) -> dict[str, Floats]:
    """Incomes of persons by the engine's names, in dollars a year.

    Parameters
    ----------
    fortune : ndarray of float64, shape (households,)
    prosperity : ndarray of float64, shape (persons,)
        That of the district of each person.
    people : People
    work : Work
    rng : numpy.random.Generator
    """
    wealth = _wealth(fortune, prosperity, people, rng)
    incomes = {source.variable: _draw(source, wealth, people, rng) for source in _sources()}
    incomes["employment_income_before_lsr"] = work.wages
    incomes |= _retirement(wealth, people, work, rng)
    incomes |= _social_security(people, work, rng)
    incomes |= _support(people, work, rng)
    return {name: np.rint(np.clip(values, -_LARGEST, _LARGEST)) for name, values in incomes.items()}


def _wealth(fortune: Floats, prosperity: Floats, people: People, rng: np.random.Generator) -> Floats:
    """Standing by wealth, about standard normal among householders, who own most of what a couple owns."""
    chance = rng.normal(size=len(people.age))
    own = 0.90 * fortune[people.household] + 0.40 * chance + 0.15 * prosperity
    shift = np.select(
        [people.with_role(REFERENCE), people.with_role(SPOUSE), people.with_role(PARTNER, PARENT, ROOMMATE, ADULT_CHILD)],
        [0.0, -0.85, -0.7],
        -9.0,
    )
    alone = np.select([people.with_role(PARTNER, ROOMMATE, PARENT), people.with_role(ADULT_CHILD)], [0.9, 0.6], 0.0)
    mixed: Floats = np.where(alone > 0, alone * chance + shift, own + shift)
    return mixed


def _draw(source: _Source, wealth: Floats, people: People, rng: np.random.Generator) -> Floats:
    n = len(wealth)
    adult = people.age >= 18
    has = adult & (rng.random(n) < ndtr(source.intercept + source.wealth * wealth + source.age * (people.age - 50) / 15))
    latent = source.rho * wealth + np.sqrt(1 - source.rho**2) * rng.normal(size=n)
    amount = heavy_tailed(ndtr(latent), source.median, source.sigma, _KNEE, source.alpha)
    losing = rng.random(n) < source.loss
    loss = -amount * source.loss_scale if source.loss_scale else np.full(n, source.smallest)
    amount = np.maximum(np.where(losing, loss, amount), source.smallest)
    return np.where(has, amount, 0.0)


def _retirement(wealth: Floats, people: People, work: Work, rng: np.random.Generator) -> dict[str, Floats]:
    """Pensions and withdrawals from retirement accounts."""
    n = len(wealth)
    retired = work.weeks == 0
    odds = (
        np.interp(people.age, [50, 57, 62, 66, 75, 90], [-4.0, -2.4, -1.4, -0.55, -0.25, -0.2]) + 0.35 * wealth + 0.4 * retired
    )
    pension = rng.random(n) < ndtr(odds)
    amount = heavy_tailed(ndtr(0.5 * wealth + 0.87 * rng.normal(size=n)), 28_500, 0.95, 0.985, 2.6)
    exempt = rng.random(n) < 0.45
    account = rng.random(n) < ndtr(
        np.interp(people.age, [54, 60, 66, 72, 76], [-3.5, -2.0, -1.35, -0.6, -0.35]) + 0.45 * wealth
    )
    withdrawal = heavy_tailed(ndtr(0.7 * wealth + 0.71 * rng.normal(size=n)), 10_500, 1.15, 0.985, 2.2)
    return {
        "taxable_private_pension_income": np.where(pension, amount * np.where(exempt, 0.2, 1.0), 0.0),
        "tax_exempt_private_pension_income": np.where(pension & exempt, amount * 0.8, 0.0),
        "taxable_ira_distributions": np.where(account, withdrawal, 0.0),
    }


def _social_security(people: People, work: Work, rng: np.random.Generator) -> dict[str, Floats]:
    """Benefits by kind: of retirement, of disability before the age of 66, of survivors and of dependents."""
    n = len(people.age)
    claims = np.interp(people.age, [61, 61.9, 62, 64, 66, 67, 70], [0.0, 0.0, 0.22, 0.32, 0.55, 0.76, 0.89])
    retirement = (rng.random(n) < claims) & ~(people.disabled & (people.age < 66) & (rng.random(n) < 0.5))
    benefit = np.clip(19_600 * np.exp(0.30 * work.skill + rng.normal(0, 0.22, n)), 4_000, 58_400)
    benefit = np.where(people.female, 0.86, 1.08) * benefit
    of_age = (people.age >= 22) & (people.age < 66)
    disability = (
        of_age & people.disabled & ~retirement & (rng.random(n) < np.interp(people.age, [22, 40, 60], [0.35, 0.62, 0.80]))
    )
    widowed = (people.age >= 60) & ~retirement & ~disability & people.female & (rng.random(n) < 0.03)
    by_disability = people.any_in_household(disability & people.with_role(REFERENCE, SPOUSE))
    orphan = people.with_role(CHILD) & (rng.random(n) < 0.016)
    return {
        "social_security_retirement": np.where(retirement, benefit, 0.0),
        "social_security_disability": np.where(disability, np.clip(0.95 * benefit, 3_600, 43_000), 0.0),
        "social_security_survivors": np.where(widowed, 0.75 * benefit, np.where(orphan, 0.45 * benefit, 0.0)),
        "social_security_dependents": np.where(
            people.with_role(CHILD) & by_disability & ~orphan & (rng.random(n) < 0.6), 0.22 * benefit, 0.0
        ),
    }


def _support(people: People, work: Work, rng: np.random.Generator) -> dict[str, Floats]:
    """Unemployment insurance, workers' compensation, veterans' benefits and child support."""
    n = len(people.age)
    insured = (work.weeks_unemployed > 2) & (work.wages > 3_000) & (rng.random(n) < 0.40)
    rate = np.clip(0.45 * work.wages / np.maximum(work.weeks, 1), 120, 560)
    hurt = (work.weeks > 0) & (rng.random(n) < 0.008)
    veteran = (people.age >= 20) & (
        rng.random(n) < np.where(people.female, 0.006, np.interp(people.age, [20, 50, 75], [0.02, 0.035, 0.06]))
    )
    alone = ~people.any_in_household(people.with_role(SPOUSE, PARTNER))
    with_children = people.any_in_household(people.with_role(CHILD))
    receives = people.with_role(REFERENCE) & alone & with_children & (rng.random(n) < np.where(people.female, 0.30, 0.12))
    apart = ~people.female & (people.age >= 24) & (people.age < 58) & ~with_children & alone
    pays = apart & (work.wages > 12_000) & (rng.random(n) < 0.16)
    return {
        "unemployment_compensation": np.where(insured, np.minimum(work.weeks_unemployed, 26) * rate, 0.0),
        "workers_compensation": np.where(hurt, np.exp(rng.normal(8.6, 0.9, n)), 0.0),
        "veterans_benefits": np.where(veteran, np.exp(rng.normal(9.5, 0.75, n)), 0.0),
        "child_support_received": np.where(receives, np.exp(rng.normal(8.5, 0.65, n)), 0.0),
        "child_support_expense": np.where(pays, np.minimum(np.exp(rng.normal(8.5, 0.55, n)), 0.3 * work.wages), 0.0),
    }


def household_income(incomes: dict[str, Floats], household: Integers, households: int) -> Floats:
    """All incomes of each household added up, losses included."""
    received = [values for name, values in incomes.items() if not name.endswith("_expense")]
    return sums(household, np.sum(received, axis=0), households)
