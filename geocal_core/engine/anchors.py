"""Who reported a program in the survey, and how likely the others take it up, so that the published rate holds for all.

Who reports coverage takes it up for certain, wherever a copy of the household lives, if it is eligible there. Of those who
could be eligible a share r reports it (by weight, over the whole base file, once); the others take it up at
(rate - r) / (1 - r), not below 0. A rate is one of eligible people, so r is a share of people who could be eligible and not
of everybody: a tenth of all people on a program may be half of the eligible. Eligibility itself depends on the place and
needs a simulation; who could be eligible is told from the file by the conditions in ``data/takeup_anchors.csv``. Who reports
the program without meeting them is no part of the share, being hardly one of the eligible that the rate speaks of.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from geocal_core.errors import ConfigError
from geocal_core.population import Population

INCOMES = (
    "employment_income_before_lsr",
    "self_employment_income_before_lsr",
    "farm_operations_income",
    "farm_rent_income",
    "partnership_income",
    "s_corp_income",
    "estate_income",
    "rental_income",
    "taxable_interest_income",
    "tax_exempt_interest_income",
    "qualified_dividend_income",
    "non_qualified_dividend_income",
    "long_term_capital_gains_before_response",
    "short_term_capital_gains",
    "taxable_private_pension_income",
    "taxable_401k_distributions",
    "taxable_403b_distributions",
    "taxable_sep_distributions",
    "taxable_ira_distributions",
    "keogh_distributions",
    "social_security_retirement",
    "social_security_disability",
    "social_security_survivors",
    "social_security_dependents",
    "unemployment_compensation",
    "alimony_income",
)
"""What counts as income (42 U.S.C. 1396a(e)(14) and 26 U.S.C. 36B(d)(2)(B)), as far as it is an input; those that a file lacks
are none of its incomes, but wages must be there."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Anchor:
    """A program whose receipt is reported.

    Attributes
    ----------
    variable, report : str
        The take-up variable and the person variable that tells who reports the program.
    poverty_from, poverty_to : float
        Income of the tax unit, in poverty guidelines, of people who could be eligible.
    below_age : float
        Age under which people could be eligible, years.
    ruled_out_by : tuple of str
        Person variables that rule the program out where they are true.
    """

    variable: str
    report: str
    poverty_from: float
    poverty_to: float
    below_age: float
    ruled_out_by: tuple[str, ...]


@cache
def anchors() -> Mapping[str, Anchor]:
    """The anchors of ``data/takeup_anchors.csv`` by take-up variable."""
    return {
        row["variable"]: Anchor(
            row["variable"],
            row["report"],
            float(row["poverty_from"] or -np.inf),
            float(row["poverty_to"] or np.inf),
            float(row["below_age"] or np.inf),
            tuple(row["ruled_out_by"].split()),
        )
        for row in _rows("takeup_anchors.csv")
    }


def without_reports(population: Population) -> Population:
    """The population without the reports that anchor draws, as copies of its households are simulated.

    Reports tell of the place of the survey. In another one the engine would take them for coverage there, which rules other
    programs out; in a copy, coverage is what take-up and eligibility in its place make it.
    """
    return population.without(anchor.report for anchor in anchors().values())


def reporters(population: Population, anchor: Anchor, entity: str) -> Flags:
    """Units of which a member reports the program, shape (units,)."""
    return _any_member(population, entity, np.asarray(_required(population, anchor.report, anchor), dtype=bool))


def could_be_eligible(population: Population, anchor: Anchor, entity: str) -> Flags:
    """Units of which a member meets the conditions of a program, shape (units,)."""
    ratio = poverty_ratio(population)[population.group_of_person("tax_unit")]
    meets: Flags = (ratio >= anchor.poverty_from) & (ratio <= anchor.poverty_to)
    if np.isfinite(anchor.below_age):
        meets &= np.asarray(_required(population, "age", anchor), dtype=np.float64) < anchor.below_age
    for name in anchor.ruled_out_by:
        meets &= ~np.asarray(_required(population, name, anchor), dtype=bool)
    return _any_member(population, entity, meets)


def share_of_reporters(population: Population, anchor: Anchor, entity: str) -> float:
    """Weighted share of the units that report the program among those that could be eligible; 0 if there are none.

    Raises
    ------
    ConfigError
        If the population lacks weights, wages, age or another variable that the conditions ask for, or the poverty guideline of
        its year is not known.
    """
    could, reported = could_be_eligible(population, anchor, entity), reporters(population, anchor, entity)
    if "household_weight" not in population.tables["household"]:
        raise ConfigError(f"the population has no household_weight, by which reporters of {anchor.variable} are counted")
    weights = population.weights[population.household_of(entity)]
    total = float(weights[could].sum())
    return float(weights[could & reported].sum()) / total if total > 0 else 0.0


def adjusted(rates: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Probabilities of those who do not report a program, given the share of those who do: the rate of all is kept.

    Where more report than the rate allows, nobody else takes the program up, and the rate of all is the share.
    """
    if share >= 1:
        return np.zeros_like(rates)
    remaining: NDArray[np.float64] = np.maximum(rates - share, 0.0) / (1.0 - share)
    return remaining


def poverty_ratio(population: Population) -> NDArray[np.float64]:
    """Income of each tax unit's members in poverty guidelines of its size, shape (tax units,)."""
    guideline = {int(row["year"]): row for row in _rows("poverty_guidelines.csv")}.get(population.period)
    if guideline is None:
        raise ConfigError(
            f"no poverty guideline of {population.period} is known", "add the year to engine/data/poverty_guidelines.csv"
        )
    person = population.tables["person"]
    if INCOMES[0] not in person:
        raise ConfigError(f"the population has no {INCOMES[0]}, by which people who could be eligible are told")
    income = np.sum([np.asarray(person[name], dtype=np.float64) for name in INCOMES if name in person], axis=0)
    unit = population.group_of_person("tax_unit")
    size = np.bincount(unit)
    line = float(guideline["first_person"]) + float(guideline["additional_person"]) * (size - 1)
    ratio: NDArray[np.float64] = np.bincount(unit, weights=income) / line
    return ratio


def _required(population: Population, name: str, anchor: Anchor) -> NDArray[np.generic]:
    person = population.tables["person"]
    if name not in person:
        raise ConfigError(f"the population has no {name}, on which the take-up of {anchor.variable} depends")
    return person[name]


def _any_member(population: Population, entity: str, flags: Flags) -> Flags:
    if entity == "person":
        return flags
    return np.bincount(population.group_of_person(entity)[flags], minlength=population.count(entity)) > 0


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("geocal_core.engine").joinpath(f"data/{name}").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
