"""Who the persons of the demo's ASEC are, in codes of the CPS data dictionary: relations, traits, work, health insurance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geocal_core.demo.districts import Integers
from geocal_core.demo.nation import HISPANIC, Nation
from geocal_core.demo.spending import covered_at_home
from geocal_core.demo.structure import (
    ADULT_CHILD,
    CHILD,
    PARENT,
    PARTNER,
    REFERENCE,
    ROOMMATE,
    SPOUSE,
    Booleans,
)
from geocal_core.population import link_name

_DISABILITIES = ("PEDISDRS", "PEDISEAR", "PEDISEYE", "PEDISOUT", "PEDISPHY", "PEDISREM")
_PRIVATE_INDUSTRY, _GOVERNMENT = 4, 3


@dataclass(frozen=True)
class Lines:
    """Where each person stands in the household's list.

    Attributes
    ----------
    sequence : ndarray of int64
        ``PH_SEQ``: household number from 1.
    line : ndarray of int64
        ``A_LINENO``: line number in the household from 1.
    family : ndarray of int64
        ``PF_SEQ``: family number in the household from 1.
    """

    sequence: Integers
    line: Integers
    family: Integers


def lines_of(nation: Nation) -> Lines:
    """Household, line and family numbers of the persons of a nation."""
    population = nation.population
    household = nation.people.household
    return Lines(
        sequence=household + 1,
        line=population.ordinal_in_household("person") + 1,
        family=population.ordinal_in_household("family")[population.group_of_person("family")] + 1,
    )


def code(marked: Booleans, universe: Booleans | None = None, outside: int = 0) -> Integers:
    """1 for yes, 2 for no, and ``outside`` for persons to whom the question is not put."""
    answer = np.where(marked, 1, 2)
    return answer if universe is None else np.where(universe, answer, outside)


def topcoded(age: Integers) -> Integers:
    """Ages as told: 80 stands for 80 to 84, 85 for all above."""
    return np.select([age >= 85, age >= 80], [85, 80], age)


def identity(nation: Nation, lines: Lines) -> dict[str, Integers]:
    """Identifiers, relations and weights of persons."""
    people, table = nation.people, nation.population.tables["person"]
    reference = _line_of_role(nation, lines, REFERENCE)
    spouse = _line_of_role(nation, lines, SPOUSE)
    partner = _line_of_role(nation, lines, PARTNER)
    parent = _line_of_role(nation, lines, PARENT)
    is_reference, is_child = people.with_role(REFERENCE), people.with_role(CHILD, ADULT_CHILD)
    first_of_tax_unit = _first_line(table[link_name("tax_unit")], lines.line)
    first_of_spm_unit = _first_line(table[link_name("spm_unit")], lines.line)
    weight = np.rint(100 * nation.population.weights).astype(np.int64)[people.household]
    none = np.full(len(people.age), -1)
    return {
        "PH_SEQ": lines.sequence,
        "P_SEQ": lines.line,
        "A_LINENO": lines.line,
        "PF_SEQ": lines.family,
        "PHF_SEQ": lines.family,
        "TAX_ID": 100 * lines.sequence + first_of_tax_unit,
        "SPM_ID": 1000 * lines.sequence + first_of_spm_unit,
        "A_FNLWGT": weight,
        "MARSUPWT": weight,
        "A_SPOUSE": np.select([is_reference, people.with_role(SPOUSE)], [np.maximum(spouse, 0), reference], 0),
        "PECOHAB": np.select([is_reference, people.with_role(PARTNER)], [partner, reference], -1),
        "PEPAR1": np.select([is_child, is_reference], [reference, parent], none),
        "PEPAR2": np.where(is_child, spouse, none),
        "DEP_STAT": np.where(people.dependent, reference, 0),
        "A_EXPRRP": _relationship(nation),
        "A_FAMREL": np.select(
            [people.with_role(PARTNER, ROOMMATE), is_reference, people.with_role(SPOUSE), is_child], [0, 1, 2, 3], 4
        ),
        "A_FAMTYP": np.select([people.with_role(PARTNER, ROOMMATE), _has_relatives(nation)], [5, 1], 2),
    }


def _line_of_role(nation: Nation, lines: Lines, role: int) -> Integers:
    """Line of the household's first person with a role, for every person; -1 where there is none."""
    people = nation.people
    line = np.full(nation.population.count("household"), 99, dtype=np.int64)
    chosen = people.role == role
    np.minimum.at(line, people.household[chosen], lines.line[chosen])
    return np.where(line == 99, -1, line)[people.household]


def _first_line(unit: np.ndarray, line: Integers) -> Integers:
    first = np.unique(unit, return_index=True)[1]
    return line[first][np.asarray(unit, dtype=np.int64)]


def _has_relatives(nation: Nation) -> Booleans:
    people = nation.people
    return people.any_in_household(people.with_role(SPOUSE, CHILD, ADULT_CHILD, PARENT))


def _relationship(nation: Nation) -> Integers:
    """A_EXPRRP: 1, 2 reference person with, without relatives; 3 husband; 4 wife; 5 child; 8 parent; 13 partner or roommate."""
    people = nation.people
    return np.select(
        [
            people.with_role(REFERENCE) & _has_relatives(nation),
            people.with_role(REFERENCE),
            people.with_role(SPOUSE) & ~people.female,
            people.with_role(SPOUSE),
            people.with_role(CHILD, ADULT_CHILD),
            people.with_role(PARENT),
        ],
        [1, 2, 3, 4, 5, 8],
        13,
    )


def traits(nation: Nation, rng: np.random.Generator) -> dict[str, Integers]:
    """Age, sex, race, origin, marriage, schooling, disability and service of persons."""
    people = nation.people
    age, n = people.age, len(people.age)
    hispanic = people.race == HISPANIC
    asks_school = (age >= 16) & (age <= 54)
    in_high_school = asks_school & (age < 19) & ~people.student
    enrolled = asks_school & (in_high_school | people.student)
    born_abroad = rng.random(n) < np.where(hispanic, 0.33, np.where(nation.population["cps_race"] == 4, 0.58, 0.06)) * (
        age >= 5
    )
    citizen = ~born_abroad | (rng.random(n) < 0.52)
    married = people.with_role(SPOUSE) | (people.with_role(REFERENCE) & people.any_in_household(people.with_role(SPOUSE)))
    once = np.select([age >= 72, age >= 38], [4, np.where(rng.random(n) < 0.55, 5, 7)], 7)
    served = np.asarray(nation.population["veterans_benefits"], dtype=np.float64) > 0
    columns = {
        "A_AGE": topcoded(age),
        "A_SEX": np.where(people.female, 2, 1),
        "PRDTRACE": np.asarray(nation.population["cps_race"], dtype=np.int64),
        "PRDTHSP": np.where(hispanic, np.where(rng.random(n) < 0.62, 1, 2), 0),
        "A_MARITL": np.where(married, 1, np.where(age < 15, 7, once)),
        "A_ENRLW": code(enrolled, asks_school),
        "A_HSCOL": np.select([in_high_school, enrolled], [1, 2], 0),
        "A_FTPT": np.where(enrolled, 1, 0),
        "PRCITSHP": np.select([~born_abroad, citizen], [1, 4], 5),
        "PEINUSYR": np.where(born_abroad, rng.integers(6, 28, n), 0),
        "PENATVTY": np.where(born_abroad, np.where(hispanic, 303, 210), 57),
        "PEAFEVER": code(served, age >= 17, -1),
    }
    main = rng.integers(0, len(_DISABILITIES), n)
    for place, name in enumerate(_DISABILITIES):
        has = people.disabled & ((main == place) | (rng.random(n) < 0.15))
        columns[name] = code(has, age >= 15, -1) if name != "PEDISEYE" else code(has)
    return columns


def work(nation: Nation, rng: np.random.Generator) -> dict[str, Integers]:
    """Hours, weeks, class of worker and occupation of persons."""
    work, n = nation.work, len(nation.people.age)
    worked = work.weeks > 0
    kind = np.select([work.skill > 0.8, work.skill > 0.2, work.skill > -0.3, work.skill > -0.8], [1, 2, 5, 4], 3)
    own = np.asarray(nation.population["self_employment_income_before_lsr"], dtype=np.float64) > 0
    employer = np.where(rng.random(n) < 0.15, _GOVERNMENT, _PRIVATE_INDUSTRY)
    return {
        "HRSWK": work.hours,
        "A_HRS1": np.where(worked & (work.weeks_unemployed < 30), work.hours, -1),
        "WKSWORK": work.weeks,
        "LKWEEKS": np.where(nation.people.age >= 15, work.weeks_unemployed, -1),
        "A_MJOCC": np.where(worked, kind, 0),
        "POCCU2": np.where(worked, 10 * kind + rng.integers(0, 9, n) % 10, 0),
        "PEIOOCC": np.where(worked, 1000 * kind + 10 * rng.integers(1, 90, n), -1),
        "PEIO1COW": np.select([worked & own & (work.wages == 0), worked], [7, employer], -1),
        "I_ERNVAL": np.zeros(n, dtype=np.int64),
        "I_SEVAL": np.zeros(n, dtype=np.int64),
    }


def coverage(nation: Nation, rng: np.random.Generator) -> dict[str, Integers]:
    """Health insurance at the interview (NOW_) and during the year, with premiums and payments out of pocket."""
    people, population = nation.people, nation.population
    age, n = people.age, len(people.age)
    premium = np.asarray(population["health_insurance_premiums_without_medicare_part_b"], dtype=np.float64)
    size = np.bincount(people.household)[people.household]
    poor = nation.income[people.household] < 15_500 + 7_500 * size
    medicare = (age >= 65) | (np.asarray(population["social_security_disability"], dtype=np.float64) > 0)
    group = np.asarray(population["has_esi"], dtype=bool)
    direct = covered_at_home(people, premium) & ~group & ~medicare
    medicaid = ~group & poor & (rng.random(n) < np.where(age < 19, 0.85, 0.55))
    subsidised = direct & (rng.random(n) < 0.7)
    market = direct & (subsidised | (rng.random(n) < 0.25))
    veterans = np.asarray(population["veterans_benefits"], dtype=np.float64) > 0
    native = (np.asarray(population["cps_race"]) == 3) & (rng.random(n) < 0.4)
    chip = medicaid & (age < 19) & (rng.random(n) < 0.15)
    service = (rng.random(n) < 0.012) & ~medicaid
    private = group | direct
    public = medicare | medicaid | veterans
    nobody = np.zeros(n, dtype=bool)
    flags = {
        "NOW_COV": private | public | native,
        "NOW_DIR": direct,
        "NOW_MRK": market,
        "NOW_MRKS": market & subsidised,
        "NOW_MRKUN": market & ~subsidised,
        "NOW_NONM": direct & ~market,
        "NOW_PRIV": private,
        "NOW_PUB": public,
        "NOW_GRP": group,
        "NOW_CAID": medicaid & ~chip,
        "NOW_MCAID": medicaid,
        "NOW_PCHIP": chip,
        "NOW_OTHMT": nobody,
        "NOW_MCARE": medicare,
        "NOW_MIL": service,
        "NOW_CHAMPVA": nobody,
        "NOW_VACARE": veterans,
        "NOW_IHSFLG": native,
        "MCARE": medicare,
        "CAID": medicaid,
        "CHAMPVA": nobody,
        "IHSFLG": native,
        "MIL": service,
    }
    other = np.rint(np.asarray(population["other_medical_expenses"], dtype=np.float64)).astype(np.int64)
    counter = np.rint(np.asarray(population["over_the_counter_health_expenses"], dtype=np.float64)).astype(np.int64)
    paid = np.rint(premium).astype(np.int64)
    return {name: code(marked) for name, marked in flags.items()} | {
        "PHIP_VAL": paid,
        "PMED_VAL": other,
        "POTC_VAL": counter,
        "PEMCPREM": np.where(medicare, 2_096, 0),
        "MOOP": paid + other + counter,
    }
