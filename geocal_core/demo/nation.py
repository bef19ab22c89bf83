"""The demo nation: a seeded synthetic population of the United States with the engine's six entities and its inputs.

Households differ over the congressional districts in age, family, income, tenure, race, work and expenses. A sample of any size
can be drawn from the one process; fortunate households may be drawn more often than others, at correspondingly smaller weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from geocal_core import seeds
from geocal_core.demo.districts import Districts, Floats, Integers, sums
from geocal_core.demo.earnings import Work, draw_work
from geocal_core.demo.incomes import draw_incomes, household_income
from geocal_core.demo.spending import Spending, draw_spending
from geocal_core.demo.structure import ADULT_CHILD, CHILD, PARENT, PARTNER, REFERENCE, ROOMMATE, SPOUSE, People, draw_people
from geocal_core.errors import ConfigError
from geocal_core.population import GROUPS, Population, id_name, link_name
from geocal_core.population.population import Column

YEAR = 2024
HISPANIC = 0  # column of Districts.race

# Codes of the CPS (PRDTRACE) by column of Districts.race: 1 white, 2 black, 3 American Indian or Alaska Native, 4 Asian,
# 7 white and American Indian.
_CPS_RACE = np.array([1, 1, 2, 3, 4, 7])
_SPM_TENURE = {"RENTED": "RENTER", "OWNED_WITH_MORTGAGE": "OWNER_WITH_MORTGAGE", "OWNED_OUTRIGHT": "OWNER_WITHOUT_MORTGAGE"}


@dataclass(frozen=True)
class Nation:
    """A sample of households of the demo nation.

    Attributes
    ----------
    population : Population
        Inputs of the engine; weights add up to the residents of 2024 of the districts, counted by person.
    district : ndarray of int64, shape (households,)
        ``100 * state FIPS + number``.
    people : People
    work : Work
    spending : Spending
    income : ndarray of float64, shape (households,)
        Dollars a year.
    """

    population: Population
    district: Integers
    people: People
    work: Work
    spending: Spending
    income: Floats


def share_out(households: int, districts: Districts) -> Integers:
    """Households for each district: at least one, else in proportion to its people (largest remainders)."""
    n = len(districts.code)
    if households < n:
        raise ConfigError(f"{households} households cannot cover {n} districts", f"ask for {n} or more")
    wish = (households - n) * districts.persons / districts.persons.sum()
    whole = np.floor(wish).astype(np.int64)
    rest = households - n - whole.sum()
    order = np.lexsort((districts.code, whole - wish))
    whole[order[:rest]] += 1
    counts: Integers = whole + 1
    return counts


def draw_nation(districts: Districts, counts: Integers, *, stream: str, seed: int, lean: float, control: str) -> Nation:
    """Draw a sample of households.

    Parameters
    ----------
    districts : Districts
    counts : ndarray of int64
        Households of each district.
    stream : str
        Name of the sample: other names give other households.
    seed : int
    lean : float
        1 draws all households alike; the larger, the more often the fortunate are drawn.
    control : str
        ``district`` or ``state``: where weights add up to the number of residents.

    Returns
    -------
    Nation
        Households in the order of their districts.
    """
    rng = seeds.generator(f"demo.nation.{stream}", seed)
    home = np.repeat(np.arange(len(counts)), counts)
    fortune, weight = _fortunes(counts, lean, rng)
    people = draw_people(districts, home, fortune, rng)
    work = draw_work(districts, home, fortune, people, rng)
    incomes = draw_incomes(fortune, districts.prosperity[home[people.household]], people, work, rng)
    income = household_income(incomes, people.household, len(home))
    spending = draw_spending(districts, home, income, people, work, rng)
    area = districts.code if control == "district" else districts.state
    weight = weight * (districts.persons / counts)[home]
    population = _population(people, work, incomes, spending, districts.state[home])
    scaled = _controlled(weight, people, area, home, districts.persons)
    population = population.with_variables("household", {"household_weight": scaled})
    return Nation(population, districts.code[home], people, work, spending, income)


def _fortunes(counts: Integers, lean: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Fortune of each household and the weight that makes up for how often it is drawn.

    With v uniform, 1 - v**lean is the rank of the fortune; v is stratified within each district.
    """
    n = counts.sum()
    district = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((rng.random(n), district))
    position = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    stratum = np.empty(n, dtype=np.int64)
    stratum[order] = position
    v = (stratum + rng.random(n)) / counts[district]
    rank = 1 - v**lean
    return ndtri(np.clip(rank, 1e-9, 1 - 1e-9)), lean * v ** (lean - 1)


def _controlled(weight: Floats, people: People, area: Integers, home: Integers, persons: Floats) -> Floats:
    """Weights scaled so that those of an area's persons add up to its residents."""
    codes, place = np.unique(area, return_inverse=True)
    residents = sums(place, persons, len(codes))
    size = np.bincount(people.household, minlength=len(home))
    sampled = sums(place[home], weight * size, len(codes))
    scaled: Floats = weight * (residents / sampled)[place[home]]
    return scaled


def _population(people: People, work: Work, incomes: dict[str, Floats], spending: Spending, state: Integers) -> Population:
    links = {group: _units(people, group) for group in GROUPS}
    tax_unit = links["tax_unit"]
    leaders = _first_of(tax_unit)
    of_householder = people.role[leaders] == REFERENCE
    household_of_tax_unit = people.household[leaders]
    person: dict[str, Column] = {
        id_name("person"): np.arange(len(people.age)),
        **{link_name(group): links[group] for group in GROUPS},
        "age": people.age.astype(np.int32),
        "is_female": people.female,
        "cps_race": _CPS_RACE[people.race].astype(np.int32),
        "is_hispanic": people.race == HISPANIC,
        "is_disabled": people.disabled,
        "is_full_time_college_student": people.student,
        "tax_unit_role_input": _tax_roles(people),
        "weekly_hours_worked_before_lsr": work.hours.astype(np.float64),
        "weeks_unemployed": work.weeks_unemployed.astype(np.float64),
        **incomes,
        **spending.person,
        "has_esi": spending.has_esi,
    }
    spm_leaders = _first_of(links["spm_unit"])
    leads_home = people.role[spm_leaders] == REFERENCE
    household_of_spm_unit = people.household[spm_leaders]
    tenure = np.array([_SPM_TENURE[kind] for kind in spending.tenure])
    tables: dict[str, dict[str, Column]] = {
        "person": person,
        "household": {
            id_name("household"): np.arange(len(state)),
            "state_fips": state.astype(np.int32),
            "tenure_type": spending.tenure,
        },
        "tax_unit": {
            id_name("tax_unit"): np.arange(len(leaders)),
            "first_home_mortgage_balance": np.where(of_householder, spending.mortgage[household_of_tax_unit], 0.0),
            "first_home_mortgage_origination_year": np.where(
                of_householder, spending.mortgage_year[household_of_tax_unit], 0
            ).astype(np.int32),
        },
        "spm_unit": {
            id_name("spm_unit"): np.arange(len(spm_leaders)),
            "spm_unit_pre_subsidy_childcare_expenses": np.where(leads_home, spending.childcare[household_of_spm_unit], 0.0),
            "spm_unit_tenure_type": np.where(leads_home, tenure[household_of_spm_unit], "RENTER"),
        },
        "family": {id_name("family"): np.arange(links["family"].max() + 1)},
        "marital_unit": {id_name("marital_unit"): np.arange(links["marital_unit"].max() + 1)},
    }
    return Population(YEAR, tables)


_SHARED_BY = {
    "household": (REFERENCE, SPOUSE, PARTNER, CHILD, ADULT_CHILD, PARENT, ROOMMATE),
    "spm_unit": (REFERENCE, SPOUSE, PARTNER, CHILD, ADULT_CHILD, PARENT),
    "family": (REFERENCE, SPOUSE, CHILD, ADULT_CHILD, PARENT),
    "marital_unit": (REFERENCE, SPOUSE),
}


def _units(people: People, group: str) -> Integers:
    """Position of each person's unit: the householder's, or one of the person's own."""
    if group == "tax_unit":
        shares = people.with_role(REFERENCE, SPOUSE) | people.dependent
    else:
        shares = people.with_role(*_SHARED_BY[group])
    n = len(shares)
    first = np.searchsorted(people.household, people.household)
    key = np.where(shares, first, np.arange(n))
    _, unit = np.unique(key, return_inverse=True)
    return unit.astype(np.int64)


def _first_of(unit: Integers) -> Integers:
    """The first person of each unit."""
    _, first = np.unique(unit, return_index=True)
    return first.astype(np.int64)


def _tax_roles(people: People) -> Column:
    return np.select([people.with_role(SPOUSE), people.dependent], ["SPOUSE", "DEPENDENT"], "HEAD")
