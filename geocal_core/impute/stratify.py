"""A stratified sample of the extended CPS that still adds up to the population (stage ``stratified_cps``).

Strata are brackets of household AGI: five above half a million dollars, where every household counts and the sample is
dense (``data/top_brackets.csv``, scaled to the size wanted), and ten below, with equal numbers of weighted households. Within
a stratum households are drawn systematically, with chances by weight, along number of persons and AGI. Weights are divided
by the chances and then tilted by one number for all, so that each stratum keeps its households exactly and the file
its households and persons. AGI is simulated in a stage before this one: no engine here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

from geocal_core import seeds
from geocal_core.context import StageContext
from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.population import Population, link_name, read_h5, write_h5
from geocal_core.progress import Value
from geocal_core.sampling import inclusion_probabilities, systematic_sample
from geocal_core.settings import StratifiedCpsSettings

_TABLE = Path(__file__).parent / "data" / "top_brackets.csv"
_TABLE_SIZE = 12_000
LOWER_STRATA = 10
# A tilt beyond this would multiply the weight of a household by e^3 for each person more than the mean.
_MOST_TILT = 3.0

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``stratified_cps``: write the sample; households keep the ids of the extended file.

    Raises
    ------
    ArtifactError
        If AGI is not given for exactly the households of the extended file, or the sample cannot carry the population.
    ConfigError
        If more households are wanted than there are, or fewer than there are strata.
    """
    settings: StratifiedCpsSettings = context.settings
    extended = read_h5(context.inputs["extended_cps"])
    agi = read_agi(context.inputs["household_agi"], extended)
    sample, weights = stratified_sample(extended, agi, settings)
    stratified = with_original_ids(extended, sample, weights)
    write_h5(stratified, context.output, {"source": "stratified sample of the extended CPS"})
    persons = np.bincount(stratified.household_of("person"))
    top = pd.read_csv(_TABLE)["lower"].min()
    return {
        "households": len(sample),
        "households_at_high_agi": int((agi[sample] >= top).sum()),
        "weighted_households": float(weights.sum()),
        "weighted_persons": float(weights @ persons),
        "effective_households": float(weights.sum() ** 2 / (weights**2).sum()),
        "largest_weight": float(weights.max()),
    }


def read_agi(path: Path, extended: Population) -> Vector:
    """AGI of each household of the extended file, in its order, in dollars.

    Raises
    ------
    ArtifactError
        If a household has none, has two, or is not of the file, or an AGI is missing.
    """
    table = pd.read_parquet(path).set_index("household_id")["adjusted_gross_income"]
    ids = extended.ids("household")
    if len(table) != len(ids) or not table.index.is_unique or not np.isin(ids, table.index).all():
        raise ArtifactError("household_agi is not that of the households of extended_cps", "materialise household_agi again")
    agi = table.loc[ids].to_numpy(np.float64)
    if not np.isfinite(agi).all():
        raise ArtifactError(f"household_agi of household {ids[~np.isfinite(agi)][0]} is missing", "materialise it again")
    return agi


def stratified_sample(extended: Population, agi: Vector, settings: StratifiedCpsSettings) -> tuple[Counts, Vector]:
    """Positions of the households taken, ascending, and their weights.

    Parameters
    ----------
    extended : Population
    agi : ndarray of float64, shape (n_households,)
    settings : StratifiedCpsSettings
    """
    weights = extended.weights
    candidates = np.flatnonzero(weights > 0)
    if settings.households > len(candidates):
        raise ConfigError(
            f"stratified_cps wants {settings.households} households, but the extended CPS has {len(candidates)}",
            "lower its setting households",
        )
    persons = np.bincount(extended.household_of("person"), minlength=len(weights)).astype(np.float64)
    stratum = strata(agi, weights)
    wanted = allocation(stratum[candidates], weights[candidates], settings.households)
    starts = seeds.uniform("stratified CPS", np.arange(len(wanted)), seed=settings.seed)
    taken: list[Counts] = []
    raw: list[Vector] = []
    for number in np.flatnonzero(wanted):
        members = candidates[stratum[candidates] == number]
        members = members[np.lexsort((agi[members], persons[members]))]
        chances = inclusion_probabilities(weights[members], int(wanted[number]))
        chosen = systematic_sample(chances, float(starts[number]))
        taken.append(members[chosen])
        raw.append(weights[members[chosen]] / chances[chosen])
    sample = np.concatenate(taken)
    order = np.argsort(sample)
    sample = sample[order]
    households = np.bincount(stratum, weights=weights).astype(np.float64)
    return sample, tilt(np.concatenate(raw)[order], stratum[sample], persons[sample], households, float(weights @ persons))


def strata(agi: Vector, weights: Vector) -> Counts:
    """Stratum of each household: 0 to 9 below the top brackets, by tenths of the weighted households, then the brackets."""
    top = pd.read_csv(_TABLE)["lower"].to_numpy(np.float64)
    below = agi < top[0]
    order = np.lexsort((np.arange(len(agi)), agi))
    lower = order[below[order]]
    steps = np.cumsum(weights[lower])
    middle = (steps - weights[lower] / 2) / steps[-1] if len(lower) else steps
    stratum = LOWER_STRATA - 1 + np.searchsorted(top, agi, side="right")
    stratum[lower] = np.minimum((middle * LOWER_STRATA).astype(np.int64), LOWER_STRATA - 1)
    return stratum.astype(np.int64)


def allocation(stratum: Counts, weights: Vector, n: int) -> Counts:
    """Households to take from each stratum, ``n`` in all.

    The top brackets get their share of the table, scaled to ``n``, as far as they go, and at least one if they hold any; the
    rest is divided among the lower strata by weight. What these cannot fill goes back to the top.
    """
    table = pd.read_csv(_TABLE)["households_of_12000"].to_numpy(np.float64)
    n_strata = LOWER_STRATA + len(table)
    available = np.bincount(stratum, minlength=n_strata)
    mass = np.bincount(stratum, weights=weights, minlength=n_strata).astype(np.float64)
    if n < (available > 0).sum():
        raise ConfigError(f"{n} households cannot cover {(available > 0).sum()} strata of income", "want more households")
    wanted = np.zeros(n_strata, dtype=np.int64)
    share = np.maximum(np.round(table * n / _TABLE_SIZE), 1).astype(np.int64)
    wanted[LOWER_STRATA:] = np.minimum(available[LOWER_STRATA:], share)
    lower = available[:LOWER_STRATA]
    wanted[:LOWER_STRATA] = apportion(n - int(wanted.sum()), mass[:LOWER_STRATA], lower)
    left = available - wanted
    return wanted + apportion(n - int(wanted.sum()), left.astype(np.float64), left, least=0)


def apportion(n: int, shares: Vector, available: Counts, least: int = 1) -> Counts:
    """Whole numbers that add up to ``n`` (or to all that there is), by shares, no more than available.

    Every part that holds anything gets at least ``least``; then seats are given one after another to the part that is
    furthest below its share (highest averages, Webster's divisors).
    """
    given = np.minimum(available, least)
    n = min(n, int(available.sum()))
    while given.sum() < n:
        claims = np.where(given < available, shares / (given + 0.5), -1.0)
        given[int(np.argmax(claims))] += 1
    return given


def tilt(weights: Vector, stratum: Counts, persons: Vector, households: Vector, population: float) -> Vector:
    """Weights scaled in each stratum to its households and tilted by persons per household to the persons of the whole.

    The weight of a household of p persons is multiplied by exp(t p) and by a factor of its stratum, with one t for all
    (calibration to totals with the exponential distance; Deville and Särndal 1992, Calibration Estimators in Survey Sampling).

    Parameters
    ----------
    weights, stratum, persons : ndarray, shape (n_sample,)
    households : ndarray of float64, shape (n_strata,)
        Weighted households of each stratum; every stratum that has some has households in the sample.
    population : float
        Weighted persons of all strata.

    Raises
    ------
    ArtifactError
        If no tilt up to the largest allowed gives the persons.
    """

    def tilted(t: float) -> Vector:
        raised = weights * np.exp(t * (persons - persons.mean()))
        return raised * (households / np.bincount(stratum, weights=raised, minlength=len(households)).clip(1e-300))[stratum]

    def excess(t: float) -> float:
        return float(tilted(t) @ persons) / population - 1

    if abs(excess(0.0)) < 1e-12:
        return tilted(0.0)
    if excess(-_MOST_TILT) > 0 or excess(_MOST_TILT) < 0:
        raise ArtifactError(
            f"{len(weights)} households cannot carry {population:.0f} persons in their strata", "want more households"
        )
    return tilted(float(brentq(excess, -_MOST_TILT, _MOST_TILT, xtol=1e-14, rtol=1e-14)))


def with_original_ids(extended: Population, sample: Counts, weights: Vector) -> Population:
    """The sampled households with their new weights and the household ids of the extended file."""
    ids = extended.ids("household")[sample]
    stratified = extended.take(sample)
    links = ids[stratified.group_of_person("household")]
    stratified = stratified.with_variables("household", {"household_id": ids, "household_weight": weights})
    stratified = stratified.with_variables("person", {link_name("household"): links})
    stratified.validate()
    return stratified
