"""The IRS public use file of 2015 as tax returns of persons, brought to a later year (stage ``puf``).

Narrow: a return is a household of its filer, the spouse of a joint return and at most three dependents; the file names no
state, so none is stored. Amounts grow by published totals per return (``data/puf_growth.csv``) and weights by the number of
returns, to 2024 alone. The four aggregate records (RECID 999996 to 999999, sums over returns too rare to be
published singly) are no returns and are left out; what they weigh is reported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.context import StageContext
from geocal_core.errors import ConfigError, InputError
from geocal_core.population import Population, write_h5
from geocal_core.population.population import Column
from geocal_core.progress import Value
from geocal_core.settings import PufSettings
from geocal_core.surveys import entities, social_security
from geocal_core.surveys.columns import read_columns
from geocal_core.surveys.puf_people import DEMOGRAPHICS, People, complete_demographics, people_of

_DATA = Path(__file__).parent / "data"
_AGGREGATES = range(999_996, 1_000_000)
_CODES = ("RECID", "MARS", "XTOT", "S006", "E00100")
_GROWN_TO = 2024
_SEPARATE, _STATUSES = 3, (1, 2, 3, 4)


def build(context: StageContext) -> dict[str, Value]:
    """Stage ``puf``: read the two files, write ``puf_<year>.h5``.

    Raises
    ------
    ConfigError
        If a year is wanted for which there is no growth.
    InputError
        If a file is missing, cut off, lacks a column, or holds a code that is not known.
    """
    settings: PufSettings = context.settings
    if settings.year != _GROWN_TO:
        raise ConfigError(f"there is no growth of tax returns to {settings.year}", f"year is {_GROWN_TO}")
    rules = pd.read_csv(_DATA / "puf_variables.csv", keep_default_na=False)
    context.reporter.progress("reading the public use file")
    records = read_puf(context.inputs["raw_irs_puf"], list(rules["column"]))
    aggregate = records["RECID"].isin(list(_AGGREGATES)).to_numpy()
    returns = records[~aggregate].reset_index(drop=True)
    check_returns(returns)
    population = puf_population(complete_demographics(returns), rules, growth_per_return())
    write_h5(
        population, context.output, {"source": "IRS public use file 2015", "left_out": "aggregate records 999996 to 999999"}
    )
    left_out = records[aggregate]
    return {
        "returns": population.count("tax_unit"),
        "persons": population.count("person"),
        "weighted_returns": float(population.weights.sum()),
        "aggregate_records_left_out": int(aggregate.sum()),
        "aggregate_returns_left_out": float(left_out["S006"].sum() / 100),
        "aggregate_agi_left_out": float((left_out["S006"] / 100 * left_out["E00100"]).sum()),
        "share_of_agi_left_out": float(
            (left_out["S006"] * left_out["E00100"]).sum() / (records["S006"] * records["E00100"]).sum()
        ),
        "returns_with_donated_demographics": int(returns["AGERANGE"].isna().sum()),
    }


def read_puf(folder: Path, columns: list[str]) -> pd.DataFrame:
    """Returns with their demographic supplement, sorted by ``RECID``; a return without one has missing values there.

    Parameters
    ----------
    folder : Path
        Folder with ``puf_2015.csv`` and ``demographics_2015.csv``.
    columns : list of str
        Amounts wanted.
    """
    returns = _table(folder, "puf_2015.csv", [*_CODES, *columns])
    supplement = _table(folder, "demographics_2015.csv", ["RECID", *DEMOGRAPHICS])
    lost = ~supplement["RECID"].isin(returns["RECID"])
    if lost.any():
        raise InputError(f"demographics_2015.csv has RECID {supplement.loc[lost.idxmax(), 'RECID']}, which puf_2015.csv lacks")
    return returns.merge(supplement, on="RECID", how="left").sort_values("RECID", ignore_index=True)


def _table(folder: Path, name: str, columns: list[str]) -> pd.DataFrame:
    path = folder / name
    if not path.exists():
        raise InputError(f"{folder.name} holds no {name}", "put the public use file of 2015 with its supplement there")
    table = read_columns(lambda: path.open("rb"), name, columns)
    repeated = table["RECID"].duplicated()
    if repeated.any():
        raise InputError(f"{name} holds RECID {table.loc[repeated.idxmax(), 'RECID']} twice")
    return table


def check_returns(returns: pd.DataFrame) -> None:
    """Refuse a filing status that is not known and a negative weight."""
    unknown = returns[~returns["MARS"].isin(_STATUSES)]
    if len(unknown):
        wrong = unknown.iloc[0]
        raise InputError(f"puf_2015.csv has MARS {wrong['MARS']:g} in return {wrong['RECID']:g}", f"its codes are {_STATUSES}")
    negative = returns[returns["S006"] < 0]
    if len(negative):
        raise InputError(f"puf_2015.csv has a negative weight S006 in return {negative.iloc[0]['RECID']:g}")


def growth_per_return() -> dict[str, float]:
    """Factor of each series from 2015 to 2024, per return; the series ``returns`` itself is the growth of their number."""
    table = pd.read_csv(_DATA / "puf_growth.csv").set_index("series")
    factor = table["value_2023"] / table["value_2015"] * table["link_2024"] / table["link_2023"]
    returns = float(factor["returns"])
    return {str(name): returns if name == "returns" else float(value) / returns for name, value in factor.items()}


def puf_population(returns: pd.DataFrame, rules: pd.DataFrame, growth: dict[str, float]) -> Population:
    """Returns as households of persons with the engine's inputs.

    Parameters
    ----------
    returns : DataFrame
        One row for each return, demographics complete.
    rules : DataFrame
        Columns variable, column, part (all, gain or loss), share, series, holder (filer or earners).
    growth : dict of str to float
        Series to factor (``growth_per_return``).
    """
    status = returns["MARS"].to_numpy()
    weight = returns["S006"].to_numpy(np.float64) / 100 * growth["returns"]
    people = people_of(returns)
    filer, spouse = people.role == entities.HEAD, people.role == entities.SPOUSE
    unit = people.unit
    couple = np.where(spouse, np.flatnonzero(filer)[unit], np.arange(len(unit)))
    amounts = return_amounts(returns, rules, growth)
    amounts |= social_security.by_age(amounts.pop("social_security"), people.age[filer])
    earned = set(rules.loc[rules["holder"] == "earners", "variable"])
    person: dict[str, Column] = {
        "age": people.age,
        "is_female": people.is_female,
        "tax_unit_role_input": people.role,
        "is_separated": filer & (status[unit] == _SEPARATE),
        **{name: amount[unit] * _held(name in earned, people, filer) for name, amount in amounts.items()},
    }
    groups = dict.fromkeys(("household", "tax_unit", "spm_unit", "family"), unit)
    groups["marital_unit"] = entities.group_positions(unit, couple, "couple")
    record = returns["RECID"].to_numpy(np.int64)
    person_id = record[unit] * 10 + people.number
    return entities.assemble(
        _GROWN_TO, person_id, record, groups, {"person": person, "household": {"household_weight": weight}}
    )


def return_amounts(returns: pd.DataFrame, rules: pd.DataFrame, growth: dict[str, float]) -> dict[str, NDArray[np.float64]]:
    """Each variable's amount on each return: shares of columns or of their positive or negative part, grown."""
    totals: dict[str, NDArray[np.float64]] = {}
    for rule in rules.itertuples(index=False):
        amount = returns[rule.column].to_numpy(np.float64)
        part = {"all": amount, "gain": np.maximum(amount, 0), "loss": np.minimum(amount, 0)}[rule.part]
        grown = part * float(rule.share) * growth[rule.series]
        totals[rule.variable] = totals.get(rule.variable, 0.0) + grown
    return totals


def _held(by_earners: bool, people: People, filer: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the return's amount that each person holds: earnings as the couple splits them, the rest with the filer."""
    return people.earnings_share if by_earners else filer.astype(np.float64)
