"""The CPS ASEC as persons and units with the engine's inputs (stage ``cps``).

Narrow: tax units are those of the Census Bureau (``TAX_ID``, checked to lie within a household; head, spouse and dependents
told from family relationship, spouse pointers and age), incomes are the main ones, and what the supplement does not ask
(rent, assets, tips, immigration) is left to donated variables. Reported TANF and SNAP are left out: the engine computes
them. The surveyed state is kept; no county is given. Amounts map by data (``data/cps_variables.csv``); what is not a sum of
shares of columns is here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.context import StageContext
from geocal_core.errors import InputError
from geocal_core.places.states import STATES
from geocal_core.population import Population, write_h5
from geocal_core.population.population import Column
from geocal_core.progress import Value
from geocal_core.settings import CpsSettings
from geocal_core.surveys import entities, social_security
from geocal_core.surveys.asec import Asec, read_asec
from geocal_core.surveys.retirement import desired_contributions

_TABLE = Path(__file__).parent / "data" / "cps_variables.csv"

# Columns that the rules of this module read beside those of the table.
_PERSON_COLUMNS = (
    "TAX_ID", "SPM_ID", "A_LINENO", "A_SPOUSE", "A_FAMREL", "A_AGE", "A_HSCOL", "A_FTPT", "PEPAR1", "PEPAR2", "HRSWK",
    "WKSWORK", "WSAL_VAL", "SEMP_VAL", "FRSE_VAL", "SS_VAL", "RESNSS1", "RESNSS2", "RETCB_VAL", "SPM_TENMORTSTATUS",
    "SPM_CAPHOUSESUB",
)  # fmt: skip
_HOUSEHOLD_COLUMNS = ("HSUP_WGT", "GESTFIPS", "H_TENURE")

_SPM_TENURE = {1: "OWNER_WITH_MORTGAGE", 2: "OWNER_WITHOUT_MORTGAGE", 3: "RENTER"}


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``cps``: read the zip, write ``cps_<year>.h5``.

    Raises
    ------
    InputError
        If the zip or a record in it is not usable (``read_asec``).
    """
    settings: CpsSettings = context.settings
    rules = pd.read_csv(_TABLE, keep_default_na=False)
    wanted = [*_PERSON_COLUMNS, *rules["column"], *(name for name in rules["where"] if name)]
    context.reporter.progress("reading the CPS ASEC")
    asec = read_asec(context.inputs["raw_census_asec"], settings.year, wanted, _HOUSEHOLD_COLUMNS)
    population = cps_population(asec, settings.year, rules)
    write_h5(population, context.output, {"source": "CPS ASEC", "tax_units": "TAX_ID of the Census Bureau"})
    size = np.bincount(population.household_of("person"))
    return {
        "households": population.count("household"),
        "persons": population.count("person"),
        "tax_units": population.count("tax_unit"),
        "weighted_households": float(population.weights.sum()),
        "weighted_persons": float(population.weights @ size),
        "households_without_interview": asec.empty_households,
    }


def cps_population(asec: Asec, year: int, rules: pd.DataFrame) -> Population:
    """The supplement as a population of the engine's inputs.

    Parameters
    ----------
    asec : Asec
    year : int
        Income year.
    rules : DataFrame
        Columns variable, entity, kind (amount, count or flag), column, share, where, codes.
    """
    persons, households = asec.persons, asec.households
    household = np.searchsorted(households["H_SEQ"], persons["PH_SEQ"]).astype(np.int64)
    person_id = persons["PH_SEQ"].to_numpy(np.int64) * 100 + persons["P_SEQ"].to_numpy(np.int64)
    age = ages(persons["A_AGE"].to_numpy(), person_id)
    line = persons["A_LINENO"].to_numpy(np.int64)
    partner = entities.spouse_positions(household, line, persons["A_SPOUSE"].to_numpy(np.int64))
    tax_id = persons["TAX_ID"].to_numpy(np.int64)
    if (tax_id <= 0).any():
        raise InputError(
            f"person {person_id[tax_id <= 0][0]} of the ASEC has no TAX_ID", "a supplement with tax units is needed"
        )
    groups = {
        "household": household,
        "tax_unit": entities.group_positions(household, tax_id, "TAX_ID"),
        "spm_unit": entities.group_positions(household, persons["SPM_ID"], "SPM_ID"),
        "family": entities.group_positions(household, persons["PH_SEQ"] * 1000 + persons["PF_SEQ"], "family"),
        "marital_unit": entities.group_positions(household, entities.couple_keys(partner), "couple"),
    }
    reference = persons["A_FAMREL"].to_numpy() == 1
    person = {
        "age": age,
        "tax_unit_role_input": entities.tax_unit_roles(groups["tax_unit"], partner, reference, age),
        "own_children_in_household": children_in_household(household, line, persons),
        "is_full_time_college_student": ((persons["A_HSCOL"] == 2) & (persons["A_FTPT"] == 1)).to_numpy(),
        "weekly_hours_worked_before_lsr": (persons["HRSWK"].clip(0) * persons["WKSWORK"].clip(0) / 52).to_numpy(np.float64),
        **map_columns(persons, rules[rules["entity"] == "person"]),
        **social_security.by_reason(
            persons["SS_VAL"].to_numpy(np.float64), persons["RESNSS1"].to_numpy(), persons["RESNSS2"].to_numpy(), age
        ),
        **desired_contributions(
            reported=persons["RETCB_VAL"].to_numpy(np.float64),
            wages=persons["WSAL_VAL"].to_numpy(np.float64),
            self_employment=(persons["SEMP_VAL"] + persons["FRSE_VAL"]).to_numpy(np.float64),
            year=year,
        ),
    }
    first_of_spm = np.unique(groups["spm_unit"], return_index=True)[1]
    spm_records = persons.iloc[first_of_spm]
    first_of_household = np.unique(household, return_index=True)[1]
    tenure_status = persons["SPM_TENMORTSTATUS"].to_numpy(np.int64)
    spm_unit = {
        "spm_unit_tenure_type": _named(tenure_status[first_of_spm], _SPM_TENURE, "SPM_TENMORTSTATUS"),
        "receives_housing_assistance": spm_records["SPM_CAPHOUSESUB"].to_numpy() > 0,
        **map_columns(spm_records, rules[rules["entity"] == "spm_unit"]),
    }
    return entities.assemble(
        year,
        person_id,
        households["H_SEQ"],
        groups,
        {
            "person": person,
            "spm_unit": spm_unit,
            "household": household_variables(households, tenure_status[first_of_household]),
        },
    )


def ages(code: NDArray[np.int64], person_id: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ages in years; the code 80 stands for 80 to 84 and is drawn evenly from them, 85 for 85 and over and is kept."""
    if (code < 0).any() or (code > 85).any():
        raise InputError(f"A_AGE holds the code {code[(code < 0) | (code > 85)][0]}", "codes are 0 to 80 and 85")
    drawn = 80 + np.floor(5 * seeds.uniform("age 80 to 84", person_id))
    return np.where(code == 80, drawn, code).astype(np.float64)


def children_in_household(household: NDArray[np.int64], line: NDArray[np.int64], persons: pd.DataFrame) -> Column:
    """Number of persons of the household who name this one as a parent, int32."""
    own = pd.MultiIndex.from_arrays([household, line])
    count = np.zeros(len(line), dtype=np.int32)
    for pointer in ("PEPAR1", "PEPAR2"):
        parent = persons[pointer].to_numpy(np.int64)
        child = parent > 0
        found = own.get_indexer(pd.MultiIndex.from_arrays([household[child], parent[child]]))
        if (found < 0).any():
            raise InputError(f"{pointer} names the line {parent[child][found < 0][0]}, which its household lacks")
        np.add.at(count, found, 1)
    return count


def map_columns(records: pd.DataFrame, rules: pd.DataFrame) -> dict[str, Column]:
    """Variables that are sums of shares of columns, counts or flags, each row of a rule restricted to its codes.

    Parameters
    ----------
    records : DataFrame
        One row for each unit.
    rules : DataFrame
        Columns variable, kind, column, share, where (a column or empty), codes (those of ``where`` that count).
    """
    values: dict[str, Column] = {}
    for name, parts in rules.groupby("variable", sort=False):
        kinds = set(parts["kind"])
        total = np.zeros(len(records))
        for part in parts.itertuples(index=False):
            counts = np.ones(len(records), dtype=bool)
            if part.where:
                counts = records[part.where].isin([int(code) for code in str(part.codes).split()]).to_numpy()
            if part.kind == "flag":
                total += counts
            else:
                total += np.where(counts, records[part.column].to_numpy(np.float64) * float(part.share), 0.0)
        if kinds == {"flag"}:
            values[str(name)] = total > 0
        elif kinds == {"count"}:  # -1 is "not in universe": nothing to count
            values[str(name)] = np.maximum(total, 0).astype(np.int32)
        else:
            values[str(name)] = total
    return values


def household_variables(households: pd.DataFrame, tenure_status: NDArray[np.int64]) -> dict[str, Column]:
    """Weight (two implied decimals), state and tenure; who owns does so with a mortgage unless the SPM record denies it."""
    fips = households["GESTFIPS"].to_numpy(np.int64)
    unknown = ~np.isin(fips, [state.fips for state in STATES])
    if unknown.any():
        raise InputError(f"GESTFIPS holds the code {fips[unknown][0]}, which is no state")
    weight = households["HSUP_WGT"].to_numpy(np.float64) / 100
    if (weight <= 0).any():
        lost = households["H_SEQ"].to_numpy()[weight <= 0][0]
        raise InputError(f"household H_SEQ {lost} has persons but no weight HSUP_WGT")
    owned = np.where(tenure_status == 2, "OWNED_OUTRIGHT", "OWNED_WITH_MORTGAGE")
    code = households["H_TENURE"].to_numpy(np.int64)
    tenure = np.select([code == 1, code == 2], [owned, "RENTED"], "NONE")
    return {"household_weight": weight, "state_fips": fips.astype(np.int32), "tenure_type": tenure}


def _named(codes: NDArray[np.int64], names: dict[int, str], column: str) -> NDArray[np.str_]:
    unknown = ~np.isin(codes, list(names))
    if unknown.any():
        raise InputError(f"{column} holds the code {codes[unknown][0]}", f"its codes are {sorted(names)}")
    return pd.Series(codes).map(names).to_numpy(dtype=str)
