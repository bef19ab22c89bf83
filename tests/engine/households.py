"""A small made-up population for tests of the engine and the matrix: only inputs of the engine, seeded, no file."""

from __future__ import annotations

import numpy as np

from geocal_core.population import GROUPS, Population, id_name, link_name
from geocal_core.seeds import generator

YEAR = 2024
OTHER_INCOMES = (
    "self_employment_income_before_lsr",
    "social_security_retirement",
    "taxable_interest_income",
    "qualified_dividend_income",
    "long_term_capital_gains_before_response",
    "taxable_private_pension_income",
    "unemployment_compensation",
)
"""Every income besides wages."""


def make_population(households: int, seed: int = 0, states: tuple[int, ...] = (10,)) -> Population:
    """Households of one to six persons with one or two tax units, in the given states by turns."""
    rng = generator("test households", seed)
    adults = rng.integers(1, 4, households)
    children = rng.integers(0, 4, households) * (rng.random(households) < 0.5)
    size = adults + children
    household = np.repeat(np.arange(households), size)
    n = len(household)
    place = np.arange(n) - np.repeat(np.cumsum(size) - size, size)
    is_adult = place < adults[household]
    age = np.where(is_adult, rng.integers(18, 90, n), rng.integers(0, 18, n)).astype(np.float32)
    # The third adult of a household files alone and is a marital unit and an SPM unit of their own.
    apart = is_adult & (place == 2)
    unit = _dense(household * 2 + apart)
    couple = np.where(is_adult & (place < 2), 0, place)
    marital = _dense(household * 8 + couple)
    links = {"household": household, "tax_unit": unit, "spm_unit": unit, "family": household.copy(), "marital_unit": marital}
    poor = rng.random(households)[household] < 0.4
    wage = np.where(is_adult & (rng.random(n) < 0.7), rng.lognormal(np.where(poor, 9.2, 10.8), 0.9), 0.0)
    person = {
        "person_id": np.arange(n, dtype=np.int64),
        "age": age,
        "is_female": rng.random(n) < 0.5,
        "is_disabled": rng.random(n) < 0.1,
        "employment_income_before_lsr": wage.astype(np.float32),
        "self_employment_income_before_lsr": _rare(rng, is_adult, 0.08, 30_000),
        "social_security_retirement": _rare(rng, age >= 66, 0.8, 20_000),
        "taxable_interest_income": _rare(rng, is_adult, 0.3, 900),
        "qualified_dividend_income": _rare(rng, is_adult, 0.1, 4_000),
        "long_term_capital_gains_before_response": _rare(rng, is_adult, 0.06, 20_000),
        "taxable_private_pension_income": _rare(rng, age >= 60, 0.4, 15_000),
        "unemployment_compensation": _rare(rng, is_adult, 0.03, 6_000),
        "real_estate_taxes": _rare(rng, place == 0, 0.6, 4_000),
        "charitable_cash_donations": _rare(rng, is_adult, 0.3, 3_000),
        "pre_subsidy_rent": _rare(rng, place == 0, 0.35, 15_000),
    }
    tables = {"person": person}
    for group in GROUPS:
        tables[group] = {id_name(group): np.arange(int(links[group].max()) + 1, dtype=np.int64)}
        person[link_name(group)] = links[group].astype(np.int64)
    tables["household"]["household_weight"] = rng.uniform(50, 150, households)
    tables["household"]["state_fips"] = np.asarray(states, dtype=np.int32)[np.arange(households) % len(states)]
    tables["household"]["tenure_type"] = np.where(rng.random(households) < 0.6, "OWNED_WITH_MORTGAGE", "RENTED")
    population = Population(YEAR, tables)
    population.validate()
    return population


def _dense(key: np.ndarray) -> np.ndarray:
    return np.unique(key, return_inverse=True)[1]


def _rare(rng: np.random.Generator, who: np.ndarray, share: float, scale: float) -> np.ndarray:
    some = who & (rng.random(len(who)) < share)
    return np.where(some, rng.lognormal(np.log(scale), 1.0, len(who)), 0.0).astype(np.float32)
