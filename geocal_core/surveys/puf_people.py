"""Who is on a tax return: filer, spouse and dependents, with ages and sexes drawn inside the coded ranges.

Draws are functions of the return's number and the person alone. Codes and their ranges are data (``data/puf_codes.json``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.errors import InputError
from geocal_core.surveys import entities

DEMOGRAPHICS = ("AGERANGE", "GENDER", "EARNSPLIT", "AGEDP1", "AGEDP2", "AGEDP3")
MOST_DEPENDENTS = 3
_JOINT = 2
_CODES = json.loads((Path(__file__).parent / "data" / "puf_codes.json").read_text())


@dataclass(frozen=True)
class People:
    """Persons of returns, return by return: filer, spouse, dependents.

    Attributes
    ----------
    unit : ndarray of int64
        Position of the return.
    number : ndarray of int64
        1 for the filer, 2 for the spouse, 3 to 5 for dependents.
    role : ndarray of str
        HEAD, SPOUSE or DEPENDENT.
    age : ndarray of float64
        Whole years.
    is_female : ndarray of bool
    earnings_share : ndarray of float64
        Share of the return's earnings; adds up to 1 on each return.
    """

    unit: NDArray[np.int64]
    number: NDArray[np.int64]
    role: NDArray[np.str_]
    age: NDArray[np.float64]
    is_female: NDArray[np.bool_]
    earnings_share: NDArray[np.float64]


def dependents(returns: pd.DataFrame) -> NDArray[np.int64]:
    """Number of dependents on each return, at most three: exemptions beyond those of the filer and the spouse."""
    adults = 1 + (returns["MARS"].to_numpy() == _JOINT)
    return np.clip(returns["XTOT"].to_numpy(np.int64) - adults, 0, MOST_DEPENDENTS)


def complete_demographics(returns: pd.DataFrame) -> pd.DataFrame:
    """Returns whose age or sex is not told take the supplement of a donor like them.

    A donor is drawn by weight among returns of the same filing status, number of dependents, and presence of Social
    Security and of wages; where there is none, the last conditions are dropped one after another.

    Parameters
    ----------
    returns : DataFrame
        One row for each return; missing demographics or the code 0 mean not told.

    Raises
    ------
    InputError
        If no return of a filing status tells the age of its filer.
    """
    told = (returns["AGERANGE"].fillna(0) > 0) & (returns["GENDER"].fillna(0) > 0)
    traits = pd.DataFrame(
        {
            "status": returns["MARS"],
            "dependents": dependents(returns),
            "social_security": returns["E02400"] > 0,
            "wages": returns["E00200"] > 0,
        }
    )
    donor = np.where(told, np.arange(len(returns)), -1)
    draw = seeds.uniform("PUF demographics", returns["RECID"].to_numpy(np.int64))
    weight = returns["S006"].to_numpy(np.float64)
    for width in range(traits.shape[1], 0, -1):
        cells = traits.groupby(list(traits.columns[:width]), sort=True).ngroup().to_numpy()
        for cell in np.unique(cells[donor < 0]):
            givers = np.flatnonzero((cells == cell) & told)
            takers = np.flatnonzero((cells == cell) & (donor < 0))
            if len(givers) and weight[givers].sum() > 0:
                steps = np.cumsum(weight[givers])
                donor[takers] = givers[np.searchsorted(steps, draw[takers] * steps[-1], side="right")]
    if (donor < 0).any():
        status = returns["MARS"].to_numpy()[donor < 0][0]
        raise InputError(f"demographics_2015.csv tells the filer's age of no return with MARS {status}")
    completed = returns.copy()
    for column in DEMOGRAPHICS:
        completed[column] = returns[column].fillna(0).to_numpy(np.int64)[donor]
    return completed


def people_of(returns: pd.DataFrame) -> People:
    """The persons of returns whose demographics are complete.

    Raises
    ------
    InputError
        If a demographic code is not known.
    """
    record = returns["RECID"].to_numpy(np.int64)
    joint = returns["MARS"].to_numpy() == _JOINT
    n_dependents = dependents(returns)
    present = np.column_stack(
        [np.ones(len(record), dtype=bool), joint, *(n_dependents > order for order in range(MOST_DEPENDENTS))]
    )
    male = returns["GENDER"].to_numpy() == 1
    opposite = seeds.uniform("PUF spouse of the other sex", record) < _CODES["opposite_sex_share"]
    age = [_ages(returns, "AGERANGE", "filer_age", number) for number in (1, 2)]
    female = [~male, np.where(opposite, male, ~male)]
    for order in range(1, MOST_DEPENDENTS + 1):
        age.append(_ages(_with_usual_age(returns, order, n_dependents), f"AGEDP{order}", "dependent_age", order + 2))
        female.append(seeds.uniform("PUF sex of dependent", record, order) < 0.5)
    filer_share = np.where(joint, _filer_share(returns), 1.0)
    nothing = np.zeros(len(record))
    shares = np.column_stack([filer_share, 1 - filer_share, *[nothing] * MOST_DEPENDENTS])
    unit, column = np.nonzero(present)
    roles = np.array([entities.HEAD, entities.SPOUSE, *[entities.DEPENDENT] * MOST_DEPENDENTS])
    return People(
        unit=unit.astype(np.int64),
        number=column.astype(np.int64) + 1,
        role=roles[column],
        age=np.column_stack(age)[unit, column],
        is_female=np.column_stack(female)[unit, column],
        earnings_share=shares[unit, column],
    )


def _with_usual_age(returns: pd.DataFrame, order: int, n_dependents: NDArray[np.int64]) -> pd.DataFrame:
    """Dependents without an age code (0) take one drawn by weight from the codes of the dependents who have one."""
    name = f"AGEDP{order}"
    codes = returns[name].to_numpy(np.int64)
    unknown = (codes == 0) & (n_dependents >= order)
    weights = np.zeros(max(map(int, _CODES["dependent_age"])) + 1)
    for column in (f"AGEDP{number}" for number in range(1, MOST_DEPENDENTS + 1)):
        known = returns[column].to_numpy(np.int64)
        inside = (known > 0) & (known < len(weights))
        np.add.at(weights, known[inside], returns["S006"].to_numpy(np.float64)[inside])
    if unknown.any() and weights.sum() == 0:
        raise InputError(
            f"demographics_2015.csv tells the age of no dependent, but return {returns['RECID'][unknown].iloc[0]} has one"
        )
    steps = np.cumsum(weights)
    draw = seeds.uniform("PUF usual age of dependent", returns["RECID"].to_numpy(np.int64), order)
    drawn = np.searchsorted(steps, draw * steps[-1], side="right")
    return returns.assign(**{name: np.where(unknown, drawn, codes)})


def _ages(returns: pd.DataFrame, column: str, ranges: str, number: int) -> NDArray[np.float64]:
    """Ages drawn evenly inside the range of a code, a draw for each (return, person); the code 0 gives 0."""
    low, high = _range_of(returns, column, ranges)
    draw = seeds.uniform("PUF age", returns["RECID"].to_numpy(np.int64), number)
    return np.floor(low + draw * (high - low))


def _filer_share(returns: pd.DataFrame) -> NDArray[np.float64]:
    """The filer's share of a couple's earnings, drawn inside the range of the code; all of them where no split is told."""
    low, high = _range_of(returns, "EARNSPLIT", "filer_share_of_earnings")
    draw = seeds.uniform("PUF split of earnings", returns["RECID"].to_numpy(np.int64))
    return np.where(returns["EARNSPLIT"].to_numpy() == 0, 1.0, low + draw * (high - low))


def _range_of(returns: pd.DataFrame, column: str, ranges: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    bounds = {0: (0.0, 0.0)} | {int(code): (float(low), float(high)) for code, (low, high) in _CODES[ranges].items()}
    codes = returns[column].to_numpy(np.int64)
    unknown = ~np.isin(codes, list(bounds))
    if unknown.any():
        raise InputError(
            f"demographics_2015.csv has the code {codes[unknown][0]} in {column}", f"its codes are {sorted(bounds)}"
        )
    pairs = np.array([bounds[int(code)] for code in codes])
    return pairs[:, 0], pairs[:, 1]
