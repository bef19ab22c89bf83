"""Incomes by which the richest are placed: which target counts, and what is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.incomes import district_agi, household_agi
from tests.places.test_assignment import blocks


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The one view of the target database that the draw reads."""
    path = tmp_path / "policy_data.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE target_overview (geographic_id TEXT, period INTEGER, value REAL, variable TEXT, active INTEGER, "
            "reform_id INTEGER, domain_variable TEXT, geo_level TEXT)"
        )
        rows = [
            ("6", 2022, 300.0, None, "state"),
            ("56", 2022, 100.0, None, "state"),
            ("6", 2020, 1.0, None, "state"),
            ("6", 2023, 9.0, "eitc", "state"),
            ("601", 2024, 5.0, None, "district"),
        ]
        connection.executemany("INSERT INTO target_overview VALUES (?, ?, ?, 'adjusted_gross_income', 1, 0, ?, ?)", rows)
    return path


def test_state_agi_is_shared_out_by_population(database: Path) -> None:
    table = blocks()
    agi = district_agi(database, "state", 2024, table)
    population = table.groupby("district")["population"].sum()
    assert agi[5601] == pytest.approx(100)
    assert agi[601] == pytest.approx(300 * population[601] / population[[601, 602, 603]].sum())


def test_a_missing_district_figure_is_refused_with_a_way_out(database: Path) -> None:
    with pytest.raises(ArtifactError, match="no AGI total for district 602; set agi_level of geography to state"):
        district_agi(database, "district", 2024, blocks())
    with pytest.raises(ConfigError, match="agi_level is 'county'"):
        district_agi(database, "county", 2024, blocks())


def test_a_household_without_income_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agi.parquet"
    pd.DataFrame({"household_id": [3, 5], "adjusted_gross_income": [10.0, -2.0]}).to_parquet(path)
    assert household_agi(path, np.array([5, 3])).tolist() == [-2.0, 10.0]
    with pytest.raises(ArtifactError, match="lacks households"):
        household_agi(path, np.array([5, 4]))
