"""Tax returns of the demo nation in the columns of the IRS public use file, at amounts of 2024.

Who files is decided by a few rules on income, not by the engine: a sample of returns has no need to be the engine's filers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geocal_core.demo.districts import Floats, Integers, sums
from geocal_core.demo.nation import Nation
from geocal_core.demo.structure import SPOUSE

SINGLE, JOINT, SEPARATE, HEAD = 1, 2, 3, 4
_FROM_INCOME = {SINGLE: 14_600, JOINT: 29_200, SEPARATE: 5, HEAD: 21_900}
_FROM_OWN_BUSINESS = 400
_FLOOR_OF_MEDICAL = 0.075


@dataclass(frozen=True)
class Returns:
    """Returns of tax units.

    Attributes
    ----------
    tax_unit : ndarray of int64
        Position of each return's tax unit in the nation.
    status : ndarray of int64
        ``SINGLE`` to ``HEAD``.
    weight : ndarray of float64
        Returns that each stands for.
    amounts : mapping of str to ndarray of float64
        Dollars of 2024 by column; E00600 and E01500 hold only the part beyond E00650 and E01700.
    """

    tax_unit: Integers
    status: Integers
    weight: Floats
    amounts: dict[str, Floats]

    def filer_share(self, nation: Nation) -> Floats:
        """Share of the filer in what the filer and the spouse earn; 1 where nobody earns."""
        unit = nation.population.group_of_person("tax_unit")
        n = nation.population.count("tax_unit")
        earned = np.maximum(_person(nation, "employment_income_before_lsr"), 0)
        earned = earned + np.maximum(_person(nation, "self_employment_income_before_lsr"), 0)
        spouse = sums(unit, earned * nation.people.with_role(SPOUSE), n)[self.tax_unit]
        total = sums(unit, earned * ~nation.people.dependent, n)[self.tax_unit]
        share: Floats = np.where(total > 0, 1 - spouse / np.where(total > 0, total, 1), 1.0)
        return share


def file_returns(nation: Nation, rng: np.random.Generator) -> Returns:
    """The returns of all tax units that file."""
    people, population = nation.people, nation.population
    unit = population.group_of_person("tax_unit")
    n = population.count("tax_unit")
    joint = sums(unit, people.with_role(SPOUSE), n) > 0
    has_dependents = sums(unit, people.dependent, n) > 0
    separate = ~joint & (rng.random(n) < 0.025)
    status = np.select([joint, separate, has_dependents], [JOINT, SEPARATE, HEAD], SINGLE)
    amounts = _amounts(nation, status, rng)
    lines = ("E00200", "E00300", "E00600", "E00650", "P23250", "E00900", "E01400", "E01700", "E02300", "E25850", "E26270")
    gross = np.sum([np.maximum(amounts[line], 0) for line in lines], axis=0)
    floor = np.array([0, *(_FROM_INCOME[code] for code in (SINGLE, JOINT, SEPARATE, HEAD))])[status]
    files = (gross >= floor) | (amounts["E00900"] >= _FROM_OWN_BUSINESS) | (amounts["E00200"] > 0) | (rng.random(n) < 0.08)
    at = np.flatnonzero(files)
    return Returns(
        tax_unit=at.astype(np.int64),
        status=status[at],
        weight=population.weights[population.household_of("tax_unit")][at],
        amounts={name: values[at] for name, values in amounts.items()},
    )


def _person(nation: Nation, name: str) -> NDArray[np.float64]:
    return np.asarray(nation.population[name], dtype=np.float64)


def _amounts(nation: Nation, status: Integers, rng: np.random.Generator) -> dict[str, Floats]:
    """Amounts of every tax unit."""
    population = nation.population
    unit = population.group_of_person("tax_unit")
    n = population.count("tax_unit")

    def total(*names: str) -> Floats:
        return sums(unit, np.sum([_person(nation, name) for name in names], axis=0), n)

    rent, estate = total("rental_income"), total("estate_income")
    zero = np.zeros(n)
    care = np.asarray(population["spm_unit_pre_subsidy_childcare_expenses"], dtype=np.float64)
    leads = np.unique(population.household_of("tax_unit"), return_index=True)[1]
    childcare = np.zeros(n)
    childcare[leads] = sums(population.household_of("spm_unit"), care, population.count("household"))
    amounts = {
        "E00200": total("employment_income_before_lsr") - total("traditional_401k_contributions_desired"),
        "E00300": total("taxable_interest_income"),
        "E00400": total("tax_exempt_interest_income"),
        "E00600": total("non_qualified_dividend_income"),
        "E00650": total("qualified_dividend_income"),
        "E00800": total("alimony_income"),
        "E00900": total("self_employment_income_before_lsr"),
        "E01200": total("miscellaneous_income"),
        "E01400": total("taxable_ira_distributions"),
        "E01500": total("tax_exempt_private_pension_income"),
        "E01700": total("taxable_private_pension_income"),
        "E02100": total("farm_income"),
        "E02300": total("unemployment_compensation"),
        "E02400": total(*(f"social_security_{kind}" for kind in ("retirement", "disability", "survivors", "dependents"))),
        "E03210": total("student_loan_interest"),
        "E18500": total("real_estate_taxes"),
        "E19200": total("home_mortgage_interest"),
        "E19800": total("charitable_cash_donations"),
        "E20100": total("charitable_non_cash_donations"),
        "E25850": np.maximum(rent, 0),
        "E25860": np.maximum(-rent, 0),
        "E26270": total("partnership_income", "s_corp_income"),
        "E26390": np.maximum(estate, 0),
        "E26400": np.maximum(-estate, 0),
        "E32800": np.minimum(childcare, 6_000),
        "P22250": total("short_term_capital_gains"),
        "P23250": total("long_term_capital_gains_before_response"),
    }
    amounts |= _lesser_items(amounts, total("other_medical_expenses"), rng)
    amounts |= dict.fromkeys(("E03240", "E09900", "E11200", "E24518", "E58990", "E62900", "E87530", "P08000"), zero)
    amounts["E02500"] = _taxable_social_security(amounts, status)
    amounts["E00100"] = _income(amounts) + amounts["E02500"] - amounts["E03150"] - amounts["E03270"] - amounts["E03300"]
    return amounts


def _lesser_items(amounts: dict[str, Floats], medical: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Items that the nation does not carry and that follow from larger ones with some chance."""
    income = np.maximum(_income(amounts), 0)
    n = len(income)

    def some(chance: float, amount: Floats) -> Floats:
        return np.where(rng.random(n) < chance, np.rint(amount), 0.0)

    business = np.maximum(amounts["E00900"], 0)
    return {
        "E00700": some(0.12, 0.006 * income),
        "E01100": some(0.05, 0.4 * amounts["E00650"]),
        "E03150": some(0.02, np.minimum(0.05 * income, 6_500)),
        "E03270": some(0.2, np.minimum(0.12 * business, 14_000)),
        "E03290": some(0.02, np.minimum(0.03 * income, 4_150)),
        "E03300": some(0.05, np.minimum(0.2 * business, 69_000)),
        "E03500": some(0.004, 0.08 * income),
        "E07300": some(0.15, 0.02 * amounts["E00650"]),
        "E17500": np.maximum(medical - _FLOOR_OF_MEDICAL * income, 0),
        "E18400": np.rint(0.042 * income),
        "E20400": some(0.05, 0.02 * income),
        "E24515": some(0.03, 0.1 * np.maximum(amounts["P23250"], 0)),
        "E27200": some(0.004, np.full(n, 9_000.0)),
        "T27800": some(0.003, np.maximum(amounts["E02100"], 0)),
    }


def _income(amounts: dict[str, Floats]) -> Floats:
    """Gross income on the first page of the return, Social Security left out."""
    lines = ("E00200", "E00300", "E00600", "E00650", "E00800", "E00900", "E01200", "E01400", "E01700", "E02100", "E02300")
    plain = np.sum([amounts[line] for line in (*lines, "E25850", "E26270", "E26390")], axis=0)
    gains = np.maximum(amounts["P22250"] + amounts["P23250"], -3_000)
    income: Floats = plain + gains - amounts["E25860"] - amounts["E26400"]
    return income


def _taxable_social_security(amounts: dict[str, Floats], status: Integers) -> Floats:
    """Internal Revenue Code, section 86: half of the benefits above the base amount, 85 percent above the adjusted one."""
    benefits = amounts["E02400"]
    joint = status == JOINT
    base, adjusted = np.where(joint, 32_000, 25_000), np.where(joint, 44_000, 34_000)
    provisional = _income(amounts) + amounts["E00400"] + 0.5 * benefits
    lower = np.minimum(0.5 * benefits, 0.5 * np.clip(provisional - base, 0, adjusted - base))
    taxable: Floats = np.minimum(0.85 * benefits, 0.85 * np.maximum(provisional - adjusted, 0) + lower)
    return np.rint(taxable)
