"""Columns of the demo's ASEC that repeat a unit's values on each of its persons: modelled taxes (tax unit) and the SPM unit.

The Bureau's tax model is imitated by the rates of one year without phase-outs; it only has to look like the published columns,
nothing downstream may rely on it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from geocal_core.demo.asec_people import topcoded
from geocal_core.demo.districts import Floats, Integers, rows_of, sums
from geocal_core.demo.nation import HISPANIC, Nation
from geocal_core.demo.structure import PARTNER, SPOUSE, Booleans
from geocal_core.population import link_name

_CHILD_CREDIT = 2_000  # Internal Revenue Code, section 24(h)
_PAYROLL_RATE = 0.0765  # Internal Revenue Code, section 3101
_STATE_RATE = 0.04
_SNAP_MONTHLY = {1: 180, 2: 330, 3: 470, 4: 590}


def modelled_taxes(nation: Nation, money: dict[str, Integers]) -> dict[str, Integers]:
    """The columns of the Census Bureau's tax model, equal for all persons of a tax unit."""
    people, population = nation.people, nation.population
    unit = np.asarray(population.tables["person"][link_name("tax_unit")], dtype=np.int64)
    n = population.count("tax_unit")
    names = (
        "WSAL_VAL",
        "SEMP_VAL",
        "FRSE_VAL",
        "INT_VAL",
        "DIV_VAL",
        "CAP_VAL",
        "RNT_VAL",
        "UC_VAL",
        "ANN_VAL",
        "PNSN_VAL",
        "DST_VAL1",
    )
    agi = sums(unit, np.sum([money[name] for name in names], axis=0), n)
    joint = sums(unit, people.with_role(SPOUSE), n) > 0
    children = sums(unit, people.dependent & (people.age < 17), n)
    status = np.select([joint, sums(unit, people.dependent, n) > 0], [1, 2], 0)
    taxable = np.maximum(agi - _schedule()[0, status], 0)
    tax, rate = _tax(taxable, status)
    credit = np.minimum(_CHILD_CREDIT * children, tax)
    refundable = np.minimum(_CHILD_CREDIT * children - credit, 1_700 * children)
    earned = sums(unit, np.maximum(money["WSAL_VAL"] + money["SEMP_VAL"], 0), n)
    eitc = _earned_income_credit(earned, np.maximum(agi, earned), children)
    state = _STATE_RATE * taxable
    values = {
        "AGI": agi,
        "TAX_INC": taxable,
        "FEDTAX_BC": tax,
        "CTC_CRD": credit,
        "ACTC_CRD": refundable,
        "EIT_CRED": eitc,
        "FEDTAX_AC": tax - credit - refundable - eitc,
        "MARG_TAX": rate,
        "STATETAX_B": state,
        "STATETAX_A": state,
    }
    return {name: np.rint(column).astype(np.int64)[unit] for name, column in values.items()}


@cache
def _schedule() -> Floats:
    """Standard deduction and lower bounds of the brackets: rows of the csv; columns single, joint, head."""
    return np.array([[float(row[status]) for status in ("single", "joint", "head")] for row in rows_of("federal_tax_2024.csv")])


def _tax(taxable: Floats, status: Integers) -> tuple[Floats, Floats]:
    """Tax before credits and the marginal rate in percent."""
    rates = np.array([int(row["name"].removeprefix("rate_")) for row in rows_of("federal_tax_2024.csv")[1:]])
    bounds = _schedule()[1:, status]
    steps = np.diff(rates, prepend=0)[:, None]
    tax: Floats = (np.maximum(taxable - bounds, 0) * steps).sum(axis=0) / 100
    marginal: Floats = np.where(taxable > 0, rates[(taxable > bounds).sum(axis=0) - 1], 0.0)
    return tax, marginal


def _earned_income_credit(earned: Floats, income: Floats, children: Floats) -> Floats:
    """A trapezium in income by number of children, after section 32 of the Internal Revenue Code for 2024."""
    kind = np.minimum(children, 3).astype(np.int64)
    phase_in = np.array([0.0765, 0.34, 0.40, 0.45])[kind]
    most = np.array([632, 4_213, 6_960, 7_830])[kind]
    phase_out = np.array([0.0765, 0.1598, 0.2106, 0.2106])[kind]
    start = np.array([10_330, 22_720, 22_720, 22_720])[kind]
    credit: Floats = np.clip(np.minimum(earned * phase_in, most) - np.maximum(income - start, 0) * phase_out, 0, None)
    return credit


def spm_columns(
    nation: Nation, money: dict[str, Integers], taxes: dict[str, Integers], rng: np.random.Generator
) -> dict[str, Integers]:
    """The SPM_ columns, equal for all persons of an SPM unit; dollars a year, scales and shares with implied decimals."""
    people, population = nation.people, nation.population
    person = population.tables["person"]
    unit = np.asarray(person[link_name("spm_unit")], dtype=np.int64)
    n = population.count("spm_unit")
    household = population.household_of("spm_unit")
    head = np.unique(unit, return_index=True)[1]

    def total(values: Floats | Integers | Booleans) -> Floats:
        return sums(unit, values, n)

    tax_unit = np.asarray(person[link_name("tax_unit")], dtype=np.int64)
    leads_tax_unit = np.zeros(len(unit), dtype=bool)
    leads_tax_unit[np.unique(tax_unit, return_index=True)[1]] = True
    kids, size = total(people.age < 18), np.bincount(unit, minlength=n)
    adults = size - kids
    income = total(money["PTOTVAL"])
    tenure = nation.spending.tenure[household]
    scale = _equivalence(adults, kids)
    geography: Floats = np.exp(0.20 * np.log(np.maximum(nation.spending.home_value[household], 150_000) / 335_000))
    threshold = _base(tenure) * scale * geography
    snap = _reported_snap(income, size, threshold, rng)
    childcare = np.asarray(population["spm_unit_pre_subsidy_childcare_expenses"], dtype=np.float64)
    work_cost = 45.0 * total(nation.work.weeks)
    payroll = _PAYROLL_RATE * total(np.minimum(np.maximum(money["WSAL_VAL"] + money["SEMP_VAL"], 0), 168_600))
    medical, support = total(money["MOOP"]), total(money["CHSP_VAL"])
    federal = total(taxes["FEDTAX_AC"] * leads_tax_unit)
    state = total(taxes["STATETAX_A"] * leads_tax_unit)
    lunch = np.where(income < 1.85 * threshold, 820.0, 90.0) * total((people.age >= 5) & (people.age < 18))
    wic = total((money["WICYN"] == 1) * 620.0)
    capped = np.minimum(childcare + work_cost, np.maximum(total(money["WSAL_VAL"]), 0))
    resources = income + snap + lunch + wic - federal - state - payroll - capped - medical - support
    zero = np.zeros(n)
    couple = total(people.with_role(SPOUSE)) > 0
    values: dict[str, Floats | Integers | Booleans] = {
        "NUMPER": size,
        "NUMADULTS": adults,
        "NUMKIDS": kids,
        "TOTVAL": income,
        "SNAPSUB": snap,
        "SCHLUNCH": lunch,
        "WICVAL": wic,
        "ENGVAL": np.where(snap > 0, 380.0 * (rng.random(n) < 0.18), 0.0),
        "CAPHOUSESUB": zero,
        "BBSUBVAL": zero,
        "CHILDCAREXPNS": childcare,
        "WKXPNS": work_cost,
        "CAPWKCCXPNS": capped,
        "CHILDSUPPD": support,
        "MEDXPNS": medical,
        "FICA": payroll,
        "FEDTAX": federal,
        "FEDTAXBC": total(taxes["FEDTAX_BC"] * leads_tax_unit),
        "EITC": total(taxes["EIT_CRED"] * leads_tax_unit),
        "ACTC": total(taxes["ACTC_CRD"] * leads_tax_unit),
        "STTAX": state,
        "RESOURCES": resources,
        "POVTHRESHOLD": threshold,
        "POOR": resources < threshold,
        "EQUIVSCALE": 1000 * scale,
        "GEOADJ": 1000 * geography,
        "TENMORTSTATUS": _tenure_code(tenure),
        "WEIGHT": 100 * population.weights[household],
        "HAGE": topcoded(people.age)[head],
        "HHISP": people.race[head] == HISPANIC,
        "HRACE": np.minimum(np.asarray(person["cps_race"], dtype=np.int64)[head], 4),
        "HMARITALSTATUS": np.where(couple, 1, 5),
        "FAMTYPE": np.select([couple, size > 1], [1, 2], 3),
        "WCOHABIT": total(people.with_role(PARTNER)) > 0,
        "WFOSTER22": zero,
        "WNEWHEAD": zero,
        "WNEWPARENT": zero,
        "WUI_LT15": zero,
    }
    return {
        f"SPM_{name}": np.rint(np.asarray(column, dtype=np.float64)).astype(np.int64)[unit] for name, column in values.items()
    }


@cache
def _thresholds() -> dict[str, tuple[int, float]]:
    return {row["tenure"]: (int(row["code"]), float(row["threshold"])) for row in rows_of("spm_thresholds_2024.csv")}


def _base(tenure: np.ndarray) -> Floats:
    return np.array([_thresholds()[kind][1] for kind in tenure])


def _tenure_code(tenure: np.ndarray) -> Integers:
    return np.array([_thresholds()[kind][0] for kind in tenure])


def _equivalence(adults: Floats, kids: Floats) -> Floats:
    """Three-parameter scale of the SPM relative to two adults with two children (Census Bureau, P60-287, appendix)."""
    couple = np.where(adults <= 1, 1.0, 1.41)
    single_parent = (adults + 0.8 + 0.5 * np.maximum(kids - 1, 0)) ** 0.7
    family = (adults + 0.5 * kids) ** 0.7
    scale = np.select([kids == 0, adults == 1], [np.where(adults > 2, adults**0.7, couple), single_parent], family)
    relative: Floats = scale / 3.0**0.7
    return relative


def _reported_snap(income: Floats, size: Integers, threshold: Floats, rng: np.random.Generator) -> Floats:
    """SNAP as reported: by about half of the units of small income."""
    monthly = np.array([_SNAP_MONTHLY[k] for k in range(1, 5)])[np.minimum(size, 4) - 1]
    chance = np.interp(income / threshold, [0.3, 1.0, 1.6], [0.55, 0.38, 0.0])
    return np.where(rng.random(len(size)) < chance, 12.0 * monthly, 0.0)
