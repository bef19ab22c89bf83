"""Incomes of the persons of the demo's ASEC in its value and source columns.

A survey sees less than the tax returns do: partnerships and S corporations are not asked for, interest and pensions come in one
sum, few report help in cash, and values stop at the widths of their fields.
"""

from __future__ import annotations

import numpy as np

from geocal_core.demo.asec_people import code
from geocal_core.demo.districts import Floats, Integers
from geocal_core.demo.nation import Nation
from geocal_core.demo.structure import CHILD, PARTNER, REFERENCE, SPOUSE

_WIDEST = 2_099_999
_WIDE = 999_999
_YEARS_OF_OWN_ACCOUNT = 58
_SSI_MONTHLY = 943  # federal benefit rate of 2024, Social Security Administration, 88 FR 72803
_REGULAR_IRA, _401K = 4, 1
_ALIMONY, _OTHER = 20, 19


def incomes(nation: Nation, rng: np.random.Generator) -> dict[str, Integers]:
    """Value columns (dollars a year) and the source columns beside them."""
    people = nation.people
    n = len(people.age)

    def value(*names: str, widest: int = _WIDE) -> Integers:
        total = np.sum([np.asarray(nation.population[name], dtype=np.float64) for name in names], axis=0)
        rounded: Integers = np.rint(np.clip(total, -9_999, widest)).astype(np.int64)
        return rounded

    pension = value("taxable_private_pension_income", "tax_exempt_private_pension_income")
    annuity = (pension > 0) & (rng.random(n) < 0.08)
    withdrawn = value("taxable_ira_distributions")
    older = people.age >= _YEARS_OF_OWN_ACCOUNT
    account = np.where(rng.random(n) < 0.65, _REGULAR_IRA, _401K)
    alimony, other = value("alimony_income"), np.maximum(value("miscellaneous_income"), 0)
    security, reason = _social_security(nation)
    supplement = _supplemental_security(nation, rng)
    columns = {
        "WSAL_VAL": value("employment_income_before_lsr", widest=_WIDEST),
        "SEMP_VAL": value("self_employment_income_before_lsr", widest=_WIDEST),
        "FRSE_VAL": value("farm_income"),
        "INT_VAL": value("taxable_interest_income", "tax_exempt_interest_income"),
        "DIV_VAL": value("qualified_dividend_income", "non_qualified_dividend_income"),
        "CAP_VAL": np.maximum(value("long_term_capital_gains_before_response", "short_term_capital_gains"), 0),
        "RNT_VAL": value("rental_income"),
        "SS_VAL": security,
        "UC_VAL": value("unemployment_compensation"),
        "WC_VAL": value("workers_compensation"),
        "VET_VAL": value("veterans_benefits"),
        "CSP_VAL": value("child_support_received"),
        "CHSP_VAL": value("child_support_expense"),
        "ANN_VAL": np.where(annuity, pension, 0),
        "PNSN_VAL": np.where(annuity, 0, pension),
        "PEN_SC1": np.where((pension > 0) & ~annuity, np.where(rng.random(n) < 0.7, 1, 3), 0),
        "PEN_SC2": np.zeros(n, dtype=np.int64),
        "DST_VAL1": np.where(older, withdrawn, 0),
        "DST_SC1": np.where(older & (withdrawn > 0), account, 0),
        "DST_VAL1_YNG": np.where(older, 0, withdrawn),
        "DST_SC1_YNG": np.where(~older & (withdrawn > 0), account, 0),
        "OI_VAL": np.where(alimony > 0, alimony, other),
        "OI_OFF": np.select([alimony > 0, other > 0], [_ALIMONY, _OTHER], 0),
        "PAW_VAL": _assistance(nation, rng),
        "SSI_VAL": supplement,
        "RETCB_VAL": value("traditional_401k_contributions_desired"),
        "SS_YN": code(security > 0, people.age >= 15),
        "SSI_YN": code(supplement > 0, people.age >= 15),
        "RESNSS1": reason,
        "RESNSS2": np.zeros(n, dtype=np.int64),
        "RESNSSI1": np.where(supplement > 0, np.where(people.disabled, 2, 3), 0),
        "RESNSSI2": np.zeros(n, dtype=np.int64),
        "WICYN": _wic(nation, rng),
    }
    empty = ("DIS_VAL1", "DIS_VAL2", "DIS_SC1", "DIS_SC2", "DST_VAL2", "DST_SC2", "DST_VAL2_YNG", "DST_SC2_YNG")
    columns |= {name: np.zeros(n, dtype=np.int64) for name in empty}
    columns["PTOTVAL"] = total_income(columns)
    return columns


_COUNTED = (
    *("WSAL_VAL", "SEMP_VAL", "FRSE_VAL", "INT_VAL", "DIV_VAL", "RNT_VAL", "SS_VAL", "UC_VAL", "WC_VAL", "VET_VAL", "CSP_VAL"),
    *("ANN_VAL", "PNSN_VAL", "DST_VAL1", "DST_VAL1_YNG", "OI_VAL", "PAW_VAL", "SSI_VAL"),
)


def total_income(columns: dict[str, Integers]) -> Integers:
    """Total money income: capital gains do not count in the CPS."""
    total: Integers = np.sum([columns[name] for name in _COUNTED], axis=0)
    return total


def _social_security(nation: Nation) -> tuple[Integers, Integers]:
    """SS_VAL and RESNSS1: 1 retired, 2 disabled, 3 widowed, 5 surviving child, 6 dependent child."""
    kinds = ("retirement", "disability", "survivors", "dependents")
    parts = [np.asarray(nation.population[f"social_security_{kind}"], dtype=np.float64) for kind in kinds]
    total = np.rint(np.sum(parts, axis=0)).astype(np.int64)
    survivor = np.where(nation.people.age < 20, 5, 3)
    return total, np.select([parts[0] > 0, parts[1] > 0, parts[2] > 0, parts[3] > 0], [1, 2, survivor, 6], 0)


def _means(nation: Nation) -> Floats:
    """Income of each person's household relative to a rough poverty line, which rises by half a line for every two persons."""
    size = np.bincount(nation.people.household)
    means: Floats = (nation.income / (9_700 + 5_400 * size))[nation.people.household]
    return means


def _supplemental_security(nation: Nation, rng: np.random.Generator) -> Integers:
    """SSI as reported: by disabled and old people of small means."""
    people = nation.people
    entitled = (people.disabled | (people.age >= 65)) & (people.age >= 15) & (_means(nation) < 1.1)
    reports = entitled & (rng.random(len(people.age)) < np.where(people.disabled, 0.45, 0.10))
    return np.where(reports, rng.integers(4, 13, len(people.age)) * _SSI_MONTHLY, 0)


def _assistance(nation: Nation, rng: np.random.Generator) -> Integers:
    """Public assistance as reported: by some poor householders with children and without a partner."""
    people = nation.people
    alone = ~people.any_in_household(people.with_role(SPOUSE, PARTNER)) & people.any_in_household(people.with_role(CHILD))
    reports = people.with_role(REFERENCE) & alone & (_means(nation) < 0.8) & (rng.random(len(people.age)) < 0.16)
    return np.where(reports, 12 * rng.integers(120, 520, len(people.age)), 0)


def _wic(nation: Nation, rng: np.random.Generator) -> Integers:
    """WICYN: asked of women from 15 to 45."""
    people = nation.people
    asked = people.female & (people.age >= 15) & (people.age <= 45)
    with_infant = people.any_in_household(people.with_role(CHILD) & (people.age < 5))
    return code(asked & with_infant & (_means(nation) < 1.85) & (rng.random(len(people.age)) < 0.45), asked)
