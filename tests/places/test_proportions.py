"""The check of a draw, against counts by pandas, and that it sees a draw which is out of proportion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geocal_core.places.assignment import Geography, assign
from geocal_core.places.crosswalk import Crosswalk
from geocal_core.places.proportions import proportions
from tests.places.test_assignment import agi_of, block_names, blocks

ROUTED = np.arange(200) < 40
CLONES = 30


@pytest.fixture
def table() -> pd.DataFrame:
    return blocks(per_district=12)


@pytest.fixture
def crosswalk(tmp_path: Path, table: pd.DataFrame) -> Crosswalk:
    places = np.where(np.arange(len(table)) % 3 == 0, "", "1").astype(str)
    table.assign(place_fips=pd.Categorical(places)).to_parquet(tmp_path / "blocks.parquet", index=False)
    return Crosswalk.open(tmp_path / "blocks.parquet")


@pytest.fixture
def drawn(table: pd.DataFrame) -> Geography:
    return assign(table, ROUTED, agi_of(table, [5.0, 1.0, 1.0, 2.0]), CLONES, 4)


def test_a_draw_is_in_proportion_and_described(table: pd.DataFrame, crosswalk: Crosswalk, drawn: Geography) -> None:
    found = proportions(drawn, crosswalk, ROUTED, agi_of(table, [5.0, 1.0, 1.0, 2.0]))
    assert found.passed
    assert not found.reason
    facts = found.facts
    plain = np.tile(~ROUTED, CLONES)
    names = pd.Series(block_names(drawn))
    for unit, head in (("district", None), ("county", 5), ("tract", 11)):
        key = table["district"] if head is None else table["block_geoid"].str[:head]
        people = table.groupby(key)["population"].sum()
        expected = people / people.sum() * plain.sum()
        mine = pd.Series(drawn.district) if head is None else names.str[:head]
        counts = mine[plain].value_counts().reindex(expected.index).fillna(0)
        assert facts[f"{unit}_chi_square"] == pytest.approx(((counts - expected) ** 2 / expected).sum())
        assert facts[f"{unit}_degrees_of_freedom"] == len(expected) - 1
        ratio = (counts / expected)[expected >= 5]
        assert facts[f"worst_{unit}_ratio"] == pytest.approx(ratio.iloc[np.argmax(np.abs(np.log(ratio)))])
    assert facts["counties"] == table["block_geoid"].str[:5].nunique()
    assert facts["places"] == 2  # place 1 of California and place 1 of Wyoming
    assert (facts["places_never_drawn"], facts["counties_never_drawn"], facts["needless_repeats"]) == (0, 0, 0)


def test_units_without_any_column_are_counted(table: pd.DataFrame, crosswalk: Crosswalk, drawn: Geography) -> None:
    lonely = replace(drawn, block=np.full(len(drawn.block), table["block_geoid"][0].encode(), dtype="S15"))
    facts = proportions(lonely, crosswalk, ROUTED, agi_of(table, [1.0] * 4)).facts
    assert (facts["counties"], facts["counties_never_drawn"]) == (1, table["block_geoid"].str[:5].nunique() - 1)
    assert (facts["places"], facts["places_never_drawn"]) == (0, 2)


def test_a_district_with_more_than_its_share_is_refused(table: pd.DataFrame, crosswalk: Crosswalk, drawn: Geography) -> None:
    agi = agi_of(table, [5.0, 1.0, 1.0, 2.0])
    moved = np.flatnonzero((drawn.district == 601) & np.tile(~ROUTED, CLONES))[:2]
    block, district, state = drawn.block.copy(), drawn.district.copy(), drawn.state.copy()
    target = table[table["district"] == 5601].iloc[0]
    block[moved], district[moved], state[moved] = target["block_geoid"].encode(), 5601, 56
    found = proportions(Geography(block, district, state, 200, CLONES), crosswalk, ROUTED, agi)
    assert not found.passed
    assert "columns more or less than its share" in found.reason


def test_a_needless_repeat_is_refused(table: pd.DataFrame, crosswalk: Crosswalk, drawn: Geography) -> None:
    """Two households that swap homes leave every district its columns, and meet districts oftener than they must."""
    agi = agi_of(table, [5.0, 1.0, 1.0, 2.0])
    order = np.arange(len(drawn.block)).reshape(CLONES, 200)
    one, two = 100, 101
    here = np.flatnonzero(drawn.district.reshape(CLONES, 200)[:, one] == 601)[:2]
    there = np.flatnonzero(drawn.district.reshape(CLONES, 200)[:, two] == 5601)[:2]
    order[here, one], order[there, two] = order[there, two], order[here, one].copy()
    swap = order.ravel()
    swapped = Geography(drawn.block[swap], drawn.district[swap], drawn.state[swap], 200, CLONES)
    found = proportions(swapped, crosswalk, ROUTED, agi)
    assert not found.passed
    assert "times a household meets a district oftener or less often than it must" in found.reason
    assert isinstance(found.facts["needless_repeats"], int)
    assert found.facts["needless_repeats"] >= 2
