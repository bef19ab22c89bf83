"""Small populations that look like the CPS and the PUF of this project, and a stage's context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from geocal_core.population import Population
from geocal_core.population.population import Column
from geocal_core.progress import Silent
from geocal_core.surveys import entities

INCOMES = (
    "employment_income_before_lsr",
    "self_employment_income_before_lsr",
    "taxable_interest_income",
    "long_term_capital_gains_before_response",
    "taxable_private_pension_income",
    "social_security_retirement",
    "social_security_disability",
)


def survey(n_households: int, seed: int, *, more: Mapping[str, float] | None = None) -> Population:
    """Households of one to five persons: a head, perhaps a spouse, children, and sometimes a lodger with a unit of her own.

    ``more`` names further person amounts and the share of heads that has them.
    """
    rng = np.random.default_rng(seed)
    couple = rng.integers(0, 2, n_households)
    children = rng.integers(0, 3, n_households)
    lodger = rng.random(n_households) < 0.1
    household, role, unit, n_units = [], [], [], 0
    for number in range(n_households):
        roles = [entities.HEAD] + [entities.SPOUSE] * couple[number] + [entities.DEPENDENT] * children[number]
        units = [n_units] * len(roles)
        n_units += 1
        if lodger[number]:
            roles.append(entities.HEAD)
            units.append(n_units)
            n_units += 1
        household += [number] * len(roles)
        role += roles
        unit += units
    places, roles_of = np.array(household), np.array(role)
    n = len(places)
    adult = roles_of != entities.DEPENDENT
    head = roles_of == entities.HEAD
    age = np.where(adult, rng.integers(20, 86, n), rng.integers(0, 18, n)).astype(float)
    old = age >= 66
    person: dict[str, Column] = {
        "age": age,
        "is_female": rng.random(n) < 0.5,
        "tax_unit_role_input": roles_of,
        "employment_income_before_lsr": np.where(adult & ~old, rng.lognormal(10.5, 0.8, n), 0) * (rng.random(n) < 0.8),
        "self_employment_income_before_lsr": rng.normal(9_000, 20_000, n) * (adult & (rng.random(n) < 0.1)),
        "taxable_interest_income": rng.lognormal(5, 2, n) * (adult & (rng.random(n) < 0.4)),
        "long_term_capital_gains_before_response": rng.normal(2_000, 9_000, n) * (head & (rng.random(n) < 0.1)),
        "taxable_private_pension_income": rng.lognormal(9, 1, n) * (old & (rng.random(n) < 0.5)),
        "social_security_retirement": rng.uniform(6_000, 40_000, n) * (old & (rng.random(n) < 0.8)),
        "social_security_disability": rng.uniform(6_000, 20_000, n) * (adult & ~old & (rng.random(n) < 0.03)),
        "weeks_unemployed": np.zeros(n, dtype=np.int32),
    }
    for name, share in (more or {}).items():
        person[name] = rng.lognormal(8, 1, n) * (head & (rng.random(n) < share))
    whole = dict.fromkeys(("household", "spm_unit", "family", "marital_unit"), places)
    groups = whole | {"tax_unit": np.array(unit), "marital_unit": np.arange(n)}
    weights = rng.uniform(200, 3_000, n_households)
    ids = 10 + 3 * np.arange(n_households)
    return entities.assemble(
        2024,
        np.arange(n),
        ids,
        groups,
        {"person": person, "household": {"household_weight": weights, "state_fips": rng.choice([6, 10, 36], n_households)}},
    )


@pytest.fixture
def stage_context(tmp_path: Path) -> Callable[..., Any]:
    """The part of a ``StageContext`` that the stages here use."""

    def make(settings: object, inputs: Mapping[str, Path], output: str = "output") -> Any:
        return SimpleNamespace(settings=settings, inputs=dict(inputs), output=tmp_path / output, reporter=Silent())

    return make
