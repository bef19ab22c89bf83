"""Incomes that decide where the richest households live: theirs, and the districts' totals among the targets.

Reading only; how the draw uses them is said in ``assignment``.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.states import state_of_fips


def household_agi(path: Path, household_ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """AGI of each household of the stratified file, dollars."""
    table = pd.read_parquet(path).set_index("household_id")["adjusted_gross_income"]
    agi = table.reindex(household_ids).to_numpy(dtype=np.float64)
    if np.isnan(agi).any():
        raise ArtifactError(f"{path} lacks households of the stratified file", "materialise household_agi again")
    return agi


def district_agi(database: Path, level: str, year: int, blocks: pd.DataFrame) -> pd.Series[float]:
    """AGI of each district: its own target, or its state's shared out by population (``level`` says which).

    Only the proportions matter, so targets are taken as published, the latest not after ``year``.
    """
    if level not in ("district", "state"):
        raise ConfigError(f"agi_level is {level!r}", "it is district or state")
    query = (
        "SELECT geographic_id, period, value FROM target_overview WHERE variable = 'adjusted_gross_income' AND active = 1 "
        "AND reform_id = 0 AND domain_variable IS NULL AND geo_level = ? AND period <= ? ORDER BY period"
    )
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        found: list[tuple[Any, ...]] = connection.execute(query, (level, year)).fetchall()
    targets = pd.Series({int(place): float(value) for place, _, value in found}, dtype=float)
    population = blocks.groupby("district")["population"].sum()
    if level == "district":
        agi = targets.reindex(population.index)
    else:
        state = population.index.to_numpy() // 100
        share = population / population.groupby(state).transform("sum")
        agi = share * targets.reindex(state).to_numpy()
    missing = agi.index[agi.isna()]
    if len(missing):
        place = int(missing[0]) if level == "district" else state_of_fips(int(missing[0]) // 100).code
        raise ArtifactError(
            f"the target database has no AGI total for {level} {place}",
            "set agi_level of geography to state, or add the IRS district table to the targets",
        )
    return agi
