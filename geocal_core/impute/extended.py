"""The doubled CPS (stage ``extended_cps``): the survey as it is, and a copy whose tax returns carry incomes of the PUF.

Each household stands twice, with half its weight each time, so that the file adds up to the population; a copy of weight 0
would count for nothing in any sum, and the stages after this one would not know what it stands for. In the copy, each tax
unit that files (by its reported income; the PUF is made of returns) gets the main amounts of a return, drawn one after
another by quantile forests from the returns of people like it. A return, not a person, is what is imputed: that is what
the PUF observes, and it keeps what a couple has together. Earnings are then divided by an imputed share of the spouse,
benefits as the survey tells; dependents keep what they reported.

Narrow: what the PUF does not hold (hours, weeks, transfers) stays as reported in both halves. What is imputed is data
(``data/imputed_variables.csv``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError
from geocal_core.impute.forest import impute_in_sequence
from geocal_core.population import IMPUTED, Population, link_name, read_h5, stack, write_h5
from geocal_core.population.population import Column
from geocal_core.progress import Value
from geocal_core.sampling import inclusion_probabilities, systematic_sample
from geocal_core.settings import ExtendedCpsSettings
from geocal_core.surveys.social_security import DISABILITY, EARLIEST_RETIREMENT, KINDS, RETIREMENT
from geocal_core.workers import worker_count

_RULES = pd.read_csv(Path(__file__).parent / "data" / "imputed_variables.csv")
_THRESHOLDS = Path(__file__).parent / "data" / "filing_thresholds.json"

_SHARE = "spouse_share_of_earnings"

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Returns:
    """Tax units seen as returns.

    Attributes
    ----------
    head, spouse : ndarray of int64, shape (n_tax_units,)
        Position of the head and of the spouse (-1 for none) in the person table.
    traits : dict of str to ndarray
        Predictors: age and sex of the head, age of the spouse (0 for none), joint, number of dependents.
    """

    head: NDArray[np.int64]
    spouse: NDArray[np.int64]
    traits: dict[str, Vector]

    def total(self, values: Column) -> Vector:
        """Sum of a person variable over head and spouse."""
        amounts = np.asarray(values, dtype=np.float64)
        return amounts[self.head] + np.where(self.spouse >= 0, amounts[self.spouse], 0.0)


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``extended_cps``: write the doubled file.

    Raises
    ------
    ArtifactError
        If an input lacks a variable or holds missing values.
    """
    settings: ExtendedCpsSettings = context.settings
    cps, puf = read_h5(context.inputs["cps"]), read_h5(context.inputs["puf"])
    context.reporter.progress(f"imputing tax returns from {puf.count('tax_unit')} returns of the PUF")
    cps = with_zeros(cps, _RULES.loc[_RULES["asked"] == "no", "variable"])
    puf = with_zeros(puf, KINDS)
    copy, imputed = impute_returns(cps, puf, settings, worker_count())
    extended = double(cps, copy, imputed)
    write_h5(extended, context.output, {"source": "CPS ASEC and IRS PUF", "halves": "survey, survey with imputed returns"})
    wages = "employment_income_before_lsr"
    return {
        "households": extended.count("household"),
        "persons": extended.count("person"),
        "returns_imputed": int(imputed.sum()),
        "households_imputed": int(np.count_nonzero(extended[IMPUTED])),
        "weighted_returns_imputed": float(cps.weights[cps.household_of("tax_unit")] @ imputed),
        "weighted_households": float(extended.weights.sum()),
        "wages_survey_half": _weighted_total(cps, wages),
        "wages_imputed_half": _weighted_total(copy, wages),
    }


def double(cps: Population, copy: Population, imputed: NDArray[np.bool_]) -> Population:
    """Survey and copy in one file: weights halved, household ids of the copy raised above those of the survey.

    ``has_imputed_return`` tells the households of the copy with an imputed return from all others; in a household of the copy
    that files none, nothing is imputed.

    Parameters
    ----------
    cps, copy : Population
        The same households and variables, in the same order.
    imputed : ndarray of bool, shape (n_tax_units,)
        Which returns of the copy are imputed.
    """
    in_copy = cps.to_household(imputed, "tax_unit") > 0
    halves = ((cps, np.zeros_like(in_copy)), (copy, in_copy))
    extended = stack(
        [half.with_variables("household", {"household_weight": half.weights / 2, IMPUTED: told}) for half, told in halves]
    )
    ids = cps.ids("household")
    both = np.concatenate([ids, ids + int(ids.max()) + 1])
    links = both[extended.group_of_person("household")]
    extended = extended.with_variables("household", {"household_id": both})
    extended = extended.with_variables("person", {link_name("household"): links})
    extended.validate()
    return extended


def impute_returns(
    cps: Population, puf: Population, settings: ExtendedCpsSettings, workers: int
) -> tuple[Population, NDArray[np.bool_]]:
    """The survey with the amounts of its tax returns drawn from those of the PUF, and which tax units these are.

    Raises
    ------
    ArtifactError
        If a variable is missing from the survey or the PUF, or a value of it is.
    """
    drawn_rules = _RULES[_RULES["treatment"] == "impute"]
    stored = [name for name in drawn_rules["variable"] if name != "social_security"]
    _require(cps, [*_RULES.loc[_RULES["holder"] != "benefits", "variable"], *KINDS], "cps")
    _require(puf, [*stored, *KINDS], "puf")
    survey, returns = returns_of(cps), returns_of(puf)
    files = files_return(cps, survey, _RULES.loc[_RULES["taxable"] == "yes", "variable"].tolist())
    benefits = np.sum([returns.total(puf[kind]) for kind in KINDS], axis=0)
    amounts = {name: returns.total(puf[name]) for name in stored} | {"social_security": benefits}
    earned = drawn_rules.loc[drawn_rules["holder"] == "earners", "variable"].tolist()
    donors = returns.traits | amounts | {_SHARE: spouse_share(puf, returns, earned)}
    dollars = np.sum(np.abs(list(amounts.values())), axis=0)
    chosen, weights = training_sample(puf.weights[puf.household_of("tax_unit")], dollars, settings)
    drawn = impute_in_sequence(
        {name: values[chosen] for name, values in donors.items()},
        weights,
        {name: values[files] for name, values in survey.traits.items()},
        [*drawn_rules["variable"], _SHARE],
        cps.ids("tax_unit")[files],
        trees=settings.trees,
        seed=settings.seed,
        workers=workers,
    )
    values = assign(cps, survey, files, drawn)
    return cps.with_variables("person", values), files


def returns_of(population: Population) -> Returns:
    """Heads, spouses and traits of all tax units.

    Raises
    ------
    ArtifactError
        If a tax unit has not exactly one head or more than one spouse.
    """
    role = np.asarray(population["tax_unit_role_input"], dtype=str)
    unit = population.group_of_person("tax_unit")
    n = population.count("tax_unit")
    is_head, is_spouse = role == "HEAD", role == "SPOUSE"
    if (np.bincount(unit[is_head], minlength=n) != 1).any() or (np.bincount(unit[is_spouse], minlength=n) > 1).any():
        raise ArtifactError("a tax unit has not exactly one head and at most one spouse", "build the population again")
    head, spouse = np.empty(n, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    head[unit[is_head]] = np.flatnonzero(is_head)
    spouse[unit[is_spouse]] = np.flatnonzero(is_spouse)
    age = np.asarray(population["age"], dtype=np.float64)
    female = np.asarray(population["is_female"], dtype=bool)
    joint = spouse >= 0
    traits = {
        "head_age": age[head],
        "head_is_male": (~female[head]).astype(np.float64),
        "spouse_age": np.where(joint, age[spouse], 0.0),
        "joint": joint.astype(np.float64),
        "dependents": np.bincount(unit[~is_head & ~is_spouse], minlength=n).astype(np.float64),
    }
    # The public use file tells of at most three dependents.
    traits["dependents"] = np.minimum(traits["dependents"], 3.0)
    return Returns(head, spouse, traits)


def files_return(cps: Population, survey: Returns, taxable: list[str]) -> NDArray[np.bool_]:
    """Which tax units of the survey file a return: who must by gross income, and who has wages, for tax was withheld.

    Parameters
    ----------
    cps : Population
    survey : Returns
    taxable : list of str
        Person variables whose gains are gross income.
    """
    limits = json.loads(_THRESHOLDS.read_text())
    gross = np.sum([survey.total(np.maximum(cps[name], 0)) for name in taxable], axis=0)
    joint = survey.traits["joint"] > 0
    seniors = (survey.traits["head_age"] >= 65).astype(int) + (survey.traits["spouse_age"] >= 65)
    unmarried = np.where(survey.traits["dependents"] > 0, limits["head_of_household"], limits["single"])
    base = np.where(joint, limits["joint"], unmarried)
    addition = np.where(joint, limits["addition_at_65_joint"], limits["addition_at_65_unmarried"])
    business = survey.total(cps["self_employment_income_before_lsr"]) >= limits["self_employment"]
    wages = survey.total(cps["employment_income_before_lsr"]) > 0
    return (gross >= base + seniors * addition) | business | wages


def spouse_share(population: Population, returns: Returns, earned: list[str]) -> Vector:
    """The spouse's share of what a couple earns, by size; 0 without a spouse or earnings."""
    size = np.sum([np.abs(population[name]) for name in earned], axis=0)
    own = np.where(returns.spouse >= 0, size[returns.spouse], 0.0)
    both = returns.total(size)
    return np.divide(own, both, out=np.zeros_like(own), where=both > 0)


def training_sample(weights: Vector, dollars: Vector, settings: ExtendedCpsSettings) -> tuple[NDArray[np.int64], Vector]:
    """Donors to train on and their weights; all of positive weight if they are no more than wanted.

    Else a sample with chances by weight, and twice: as heads and as dollars. So the few returns that hold much of the
    income stay in, and dividing weights by the chances keeps the sample true to the whole.
    """
    useful = np.flatnonzero(weights > 0)
    if len(useful) <= settings.training_records:
        return useful, weights[useful]
    mass = weights[useful]
    sizes = mass * (1 + dollars[useful] / np.average(dollars[useful], weights=mass))
    chances = inclusion_probabilities(sizes, settings.training_records)
    start = float(seeds.uniform("extended CPS training sample", np.array([0]), seed=settings.seed)[0])
    taken = systematic_sample(chances, start)
    return useful[taken], mass[taken] / chances[taken]


def assign(cps: Population, survey: Returns, files: NDArray[np.bool_], drawn: Mapping[str, Vector]) -> dict[str, Column]:
    """Person values of the copy: each return's amounts laid on its head and spouse, all else as reported."""
    head, spouse = survey.head[files], survey.spouse[files]
    couple = spouse >= 0
    share = np.where(couple, drawn[_SHARE], 0.0)
    values: dict[str, Column] = {}
    for rule in _RULES.itertuples(index=False):
        if rule.holder == "benefits":
            continue
        amounts = np.asarray(cps[rule.variable], dtype=np.float64).copy()
        total = drawn[rule.variable] if rule.treatment == "impute" else np.zeros(len(head))
        with_spouse = share * total if rule.holder == "earners" else np.zeros(len(head))
        amounts[spouse[couple]] = with_spouse[couple]
        amounts[head] = total - with_spouse
        values[rule.variable] = amounts
    return values | reconcile_benefits(cps, head, spouse, drawn["social_security"])


def reconcile_benefits(cps: Population, head: NDArray[np.int64], spouse: NDArray[np.int64], total: Vector) -> dict[str, Column]:
    """Divide each return's benefits among head, spouse and the four kinds so that the parts add up to the total.

    In the proportions that the couple reported. If it reported none, all goes to the head, or to a spouse who has reached the
    earliest age of retirement when the head has not; for retirement from that age on, else for disability.
    """
    members = np.column_stack([head, np.where(spouse >= 0, spouse, head)])
    alone = spouse < 0
    age = np.asarray(cps["age"], dtype=np.float64)[members]
    reported = np.stack([np.asarray(cps[kind], dtype=np.float64)[members] for kind in KINDS], axis=2)
    reported[alone, 1] = 0.0
    everything = reported.sum(axis=(1, 2))
    proportions = np.divide(
        reported, everything[:, None, None], out=np.zeros_like(reported), where=everything[:, None, None] > 0
    )
    guessed = everything <= 0
    retired = age >= EARLIEST_RETIREMENT
    who = np.where(~retired[:, 0] & retired[:, 1], 1, 0)
    rows = np.flatnonzero(guessed)
    kind = np.where(retired[rows, who[rows]], KINDS.index(RETIREMENT), KINDS.index(DISABILITY))
    proportions[rows, who[rows], kind] = 1.0
    values: dict[str, Column] = {}
    for number, name in enumerate(KINDS):
        amounts = np.asarray(cps[name], dtype=np.float64).copy()
        amounts[spouse[~alone]] = (proportions[:, 1, number] * total)[~alone]
        amounts[head] = proportions[:, 0, number] * total
        values[name] = amounts
    return values


def with_zeros(population: Population, names: Iterable[str]) -> Population:
    """The population with zeros for those of the named person variables that its survey does not tell."""
    absent = [name for name in names if name not in population.tables["person"]]
    return population.with_variables("person", {name: np.zeros(population.count("person")) for name in absent})


def _require(population: Population, names: Iterable[str], stage: str) -> None:
    missing = [name for name in names if name not in population.tables["person"]]
    if missing:
        raise ArtifactError(f"{stage} holds no variable {missing[0]}", f"materialise {stage} again")


def _weighted_total(population: Population, name: str) -> float:
    return float(population.to_household(population[name], "person") @ population.weights)
