"""The draw of blocks: shares between and within districts, routing of the rich, refusals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError
from geocal_core.places.assignment import Geography, _district_agi, assign, read_geography


def blocks(seed: int = 0, per_district: int = 7, districts: tuple[int, ...] = (601, 602, 603, 5601)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (f"{district // 100:02d}{1 + n % 3:03d}{n:06d}{district % 100:04d}", district, int(rng.integers(1, 3000)))
        for district in districts
        for n in range(per_district)
    ]
    table = pd.DataFrame(rows, columns=["block_geoid", "district", "population"]).sort_values("block_geoid", ignore_index=True)
    return table.astype({"district": "int32"})


def block_names(geography: Geography) -> np.ndarray:
    return np.char.decode(geography.block, "ascii")


def agi_of(table: pd.DataFrame, values: list[float]) -> pd.Series:
    return pd.Series(values, index=sorted(table["district"].unique()))


@given(st.integers(0, 50), st.integers(1, 40), st.integers(1, 20))
@settings(deadline=None, max_examples=30)
def test_every_block_gets_its_share_to_within_one(seed: int, n_households: int, n_clones: int) -> None:
    table = blocks(seed)
    geography = assign(table, np.zeros(n_households, dtype=bool), agi_of(table, [1.0] * 4), n_clones, seed)
    for drawn, wished in (
        (block_names(geography), table.groupby("block_geoid")["population"].sum()),
        (geography.district, table.groupby("district")["population"].sum()),
    ):
        counts = pd.Series(drawn).value_counts().reindex(wished.index).fillna(0)
        # A systematic sample's count of an interval differs from its expectation by less than the two cells at its ends.
        assert (np.abs(counts - wished / wished.sum() * n_households * n_clones) < 2).all()


def test_clones_of_a_household_spread_over_the_nation() -> None:
    table = blocks(per_district=50)
    geography = assign(table, np.zeros(30, dtype=bool), agi_of(table, [1.0] * 4), 40, 1)
    share = table.groupby("district")["population"].sum() / table["population"].sum()
    by_household = pd.crosstab(geography.household, geography.district)
    assert (by_household - 40 * share).abs().to_numpy().max() < 3
    # a clone's number says nothing about its place: the first clones of the households lie in every district
    assert set(geography.district[geography.clone == 0]) == set(share.index)


def test_rich_households_follow_agi_between_and_population_within_districts() -> None:
    table = blocks(per_district=20)
    routed = np.arange(200) < 60
    agi = agi_of(table, [7e9, 1e9, -5.0, 2e9])
    geography = assign(table, routed, agi, 50, 3)
    rich = np.tile(routed, 50)
    share = pd.Series(geography.district[rich]).value_counts(normalize=True)
    assert share.get(603) is None
    assert share[601] == pytest.approx(0.7, abs=2e-3)
    assert share[5601] == pytest.approx(0.2, abs=2e-3)
    inside = pd.Series(block_names(geography)[rich & (geography.district == 601)]).value_counts(normalize=True)
    wished = table[table["district"] == 601].set_index("block_geoid")["population"]
    assert (inside.reindex(wished.index).fillna(0) - wished / wished.sum()).abs().max() < 2e-3


def test_the_draw_is_seeded_and_consistent() -> None:
    table = blocks()
    one, same, other = (assign(table, np.arange(20) < 2, agi_of(table, [1.0] * 4), 9, seed) for seed in (5, 5, 6))
    assert (one.block == same.block).all()
    assert (one.block != other.block).any()
    assert (one.district // 100 == one.state).all()
    assert (one.county == one.block.astype("S5")).all()
    assert (one.household == np.tile(np.arange(20), 9)).all()
    assert (one.clone == np.repeat(np.arange(9), 20)).all()


def write(path: Path, geography: Geography, **changes: np.ndarray) -> None:
    parts = {
        "block_geoid": geography.block,
        "cd_geoid": geography.district,
        "county_fips": geography.county,
        "state_fips": geography.state,
        "n_records": np.array([geography.n_records]),
        "n_clones": np.array([geography.n_clones]),
    }
    np.savez(path, **{**parts, **changes})


def test_an_inconsistent_file_is_refused(tmp_path: Path) -> None:
    table = blocks()
    geography = assign(table, np.zeros(5, dtype=bool), agi_of(table, [1.0] * 4), 4, 0)
    path = tmp_path / "g.npz"
    write(path, geography)
    assert (read_geography(path).block == geography.block).all()
    write(path, geography, state_fips=geography.state + 1)
    with pytest.raises(ArtifactError, match="disagree"):
        read_geography(path)
    write(path, geography, n_clones=np.array([5]))
    with pytest.raises(ArtifactError, match="20 columns for 5 households x 5 clones"):
        read_geography(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ArtifactError, match="not a whole geography"):
        read_geography(path)


def test_no_clones_and_no_agi_are_refused() -> None:
    table = blocks()
    with pytest.raises(ConfigError, match="0 clones"):
        assign(table, np.zeros(5, dtype=bool), agi_of(table, [1.0] * 4), 0, 0)
    with pytest.raises(ArtifactError, match="no AGI target"):
        assign(table, np.zeros(5, dtype=bool), pd.Series({601: 1.0}), 2, 0)


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
    agi = _district_agi(database, "state", 2024, table)
    population = table.groupby("district")["population"].sum()
    assert agi[5601] == pytest.approx(100)
    assert agi[601] == pytest.approx(300 * population[601] / population[[601, 602, 603]].sum())


def test_a_missing_district_figure_is_refused_with_a_way_out(database: Path) -> None:
    with pytest.raises(ArtifactError, match="no AGI total for district 602; set agi_level of geography to state"):
        _district_agi(database, "district", 2024, blocks())
    with pytest.raises(ConfigError, match="agi_level is 'county'"):
        _district_agi(database, "county", 2024, blocks())
