"""The draw of blocks: shares between and within districts, routing of the rich, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geocal_core.errors import ArtifactError, ConfigError, InputError
from geocal_core.places.assignment import Geography, assign, read_geography, write_geography


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
def test_districts_counties_and_blocks_get_their_shares(seed: int, n_households: int, n_clones: int) -> None:
    table = blocks(seed)
    columns = n_households * n_clones
    people = table.groupby("district")["population"].sum()
    if columns * people.min() < people.sum():
        return
    geography = assign(table, np.zeros(n_households, dtype=bool), agi_of(table, [1.0] * 4), n_clones, seed)
    counts = pd.Series(geography.district).value_counts().reindex(people.index).fillna(0)
    assert (np.abs(counts - people / people.sum() * columns) < 1).all()
    # Within a district, whatever its number of columns is, a block's share of them is its share of the district's people.
    drawn = pd.Series(block_names(geography)).value_counts()
    within = table.set_index("block_geoid")
    wished = within["population"] / within["district"].map(people) * within["district"].map(counts)
    assert (np.abs(drawn.reindex(wished.index).fillna(0) - wished) < 1).all()
    part = within.index.str[:5] + within["district"].astype(str)  # of a county in a district
    found = pd.Series(block_names(geography)).map(pd.Series(part, within.index)).value_counts()
    wished = wished.groupby(part).sum()
    assert (np.abs(found.reindex(wished.index).fillna(0) - wished) < 1).all()


def test_every_populated_block_is_reached_in_proportion_over_seeds() -> None:
    """Two thousand draws of twelve columns: how often the first clone of the first household lives in each block."""
    table = blocks(3)
    draws = [assign(table, np.zeros(3, dtype=bool), agi_of(table, [1.0] * 4), 4, seed) for seed in range(2_000)]
    found = pd.Series([block_names(one)[0] for one in draws]).value_counts(normalize=True)
    wished = table.set_index("block_geoid")["population"] / table["population"].sum()
    reached = {name for one in draws for name in block_names(one)}
    assert reached == set(table["block_geoid"])
    # Five standard errors of a share of two thousand.
    error = np.sqrt(wished * (1 - wished) / len(draws))
    assert ((found.reindex(wished.index).fillna(0) - wished).abs() < 5 * error).all()


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


def test_an_inconsistent_file_is_refused(tmp_path: Path) -> None:
    table = blocks()
    geography = assign(table, np.zeros(5, dtype=bool), agi_of(table, [1.0] * 4), 4, 0)
    path = tmp_path / "g.npz"
    write_geography(path, geography)
    assert (read_geography(path).block == geography.block).all()
    write_geography(path, replace(geography, state=geography.state + 1))
    with pytest.raises(ArtifactError, match="disagree"):
        read_geography(path)
    write_geography(path, replace(geography, n_clones=5))
    with pytest.raises(ArtifactError, match="20 columns for 5 households x 5 clones"):
        read_geography(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ArtifactError, match="not a whole geography"):
        read_geography(path)


def test_the_file_has_the_names_of_the_reference_and_the_same_bytes_twice(tmp_path: Path) -> None:
    table = blocks()
    geography = assign(table, np.zeros(50, dtype=bool), agi_of(table, [1.0] * 4), 40, 0)
    for name in ("one", "two"):
        write_geography(tmp_path / name, geography)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with np.load(tmp_path / "one", allow_pickle=False) as parts:
        assert parts.files == ["block_geoid", "cd_geoid", "county_fips", "state_fips", "n_records", "n_clones"]
        assert (parts["block_geoid"].dtype, parts["county_fips"].dtype) == ("S15", "S5")
        assert (parts["cd_geoid"] == geography.district).all()
        assert (parts["n_records"].tolist(), parts["n_clones"].tolist()) == ([50], [40])
    (tmp_path / "short").write_bytes((tmp_path / "one").read_bytes()[:-200])
    with pytest.raises(ArtifactError, match="not a whole geography"):
        read_geography(tmp_path / "short")


def test_no_clones_and_no_agi_are_refused() -> None:
    table = blocks()
    with pytest.raises(ConfigError, match="0 clones"):
        assign(table, np.zeros(5, dtype=bool), agi_of(table, [1.0] * 4), 0, 0)
    with pytest.raises(ArtifactError, match="no AGI target"):
        assign(table, np.zeros(5, dtype=bool), pd.Series({601: 1.0}), 2, 0)


def test_too_few_clones_a_district_without_people_and_a_state_without_clones_are_refused() -> None:
    table = blocks()
    with pytest.raises(ConfigError, match=r"1 clones of 2 households are too few: district \d+ can expect 0\.\d+"):
        assign(table, np.zeros(2, dtype=bool), agi_of(table, [1.0] * 4), 1, 0)
    empty = table.assign(population=table["population"].where(table["district"] != 602, 0))
    with pytest.raises(ArtifactError, match="nobody lives in district 602"):
        assign(empty, np.zeros(50, dtype=bool), agi_of(table, [1.0] * 4), 40, 0)
    with pytest.raises(ArtifactError, match="no clone of any household lives in WY; its districts have no AGI"):
        assign(table, np.ones(50, dtype=bool), agi_of(table, [1.0, 1.0, 1.0, -4.0]), 40, 0)
    with pytest.raises(InputError, match="has not 15 digits"):
        assign(
            table.assign(block_geoid=table["block_geoid"].str[1:]), np.zeros(50, dtype=bool), agi_of(table, [1.0] * 4), 40, 0
        )
