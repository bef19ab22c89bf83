"""Reconciliation: closed forms, brute force, properties on made-up hierarchies, and SNAP of the real database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from geocal_core.targets.reconcile import BOUNDS, PLACES, compare_levels, largest_gap, reconcile
from geocal_core.targets.select import load_targets, uprated_targets
from geocal_core.targets.vocabulary import sources

PLACES_HERE = (0, 10, 16, 1001, 1601, 1602)
SURVEY, OFFICIAL, TAX = "Census ACS S2201", "USDA FNS SNAP", "IRS SOI"


def _targets(
    values: Mapping[int, float], source: str | dict[int, str] = TAX, period: int | dict[int, int] = 2024
) -> pd.DataFrame:
    """Targets of one quantity by place."""
    by_place = [
        {
            "value": float(value),
            "reform_id": 0,
            "name": f"{'national' if place == 0 else place}/snap/[snap>0]",
            "geographic_id": "US" if place == 0 else str(place),
            "source": source if isinstance(source, str) else source[place],
            "period": period if isinstance(period, int) else period[place],
        }
        for place, value in values.items()
    ]
    return pd.DataFrame(by_place)


def _reconciled(targets: pd.DataFrame) -> dict[int, float]:
    done = reconcile(targets, PLACES_HERE)
    return dict(zip(done["geographic_id"].replace("US", "0").astype(int), done["value"], strict=True))


def _by_level(national: str, state: str, district: str) -> dict[int, str]:
    return {place: national if place == 0 else state if place < 100 else district for place in PLACES_HERE}


def test_the_hierarchy_is_the_country() -> None:
    assert len(PLACES) == 1 + 51 + 436


def test_a_survey_follows_the_administration() -> None:
    """Closed form: districts times state over sum of districts; nation and states stay."""
    targets = _targets({0: 100, 10: 40, 16: 60, 1001: 20, 1601: 10, 1602: 30}, _by_level(OFFICIAL, OFFICIAL, SURVEY))
    done = reconcile(targets, PLACES_HERE)
    assert done["value"].tolist() == [100, 40, 60, 40, 15, 45]
    assert done["hierarchy_factor"].tolist() == [1, 1, 1, 2, 1.5, 1.5]
    assert done["hierarchy_follows"].tolist() == ["", "", "", OFFICIAL, OFFICIAL, OFFICIAL]
    assert_frame_equal(done[targets.columns.drop("value").tolist()], targets.drop(columns="value"))


def test_a_whole_follows_more_trusted_parts() -> None:
    targets = _targets({0: 90, 10: 40, 16: 60}, {0: SURVEY, 10: OFFICIAL, 16: OFFICIAL})
    done = reconcile(targets, PLACES_HERE)
    assert done["value"].tolist() == [100, 40, 60]
    assert done["hierarchy_follows"].tolist() == [OFFICIAL, "", ""]


def test_the_nation_decides_over_states_that_follow_their_districts() -> None:
    """State 16 takes the sum of its districts (60 to 50), and then all follow the nation (90 to 180)."""
    trust = {name: source.trust for name, source in sources().items()}
    assert trust[OFFICIAL] > trust[TAX] > trust[SURVEY]
    values = {0: 180, 10: 40, 16: 60, 1001: 40, 1601: 10, 1602: 40}
    done = reconcile(_targets(values, _by_level(OFFICIAL, SURVEY, TAX)), PLACES_HERE)
    assert done["value"].tolist() == pytest.approx([180, 80, 100, 80, 20, 80])
    assert set(done["hierarchy_follows"]) == {"", OFFICIAL}
    assert done.loc[0, "hierarchy_follows"] == ""


def test_of_equal_trust_the_newer_vintage_is_followed_else_the_whole() -> None:
    values = {0: 100, 10: 50, 16: 60}
    assert _reconciled(_targets(values))[0] == 100
    assert _reconciled(_targets(values, period={0: 2022, 10: 2023, 16: 2023}))[0] == pytest.approx(110)
    assert _reconciled(_targets(values, period={0: 2023, 10: 2022, 16: 2022}))[0] == 100
    assert _reconciled(_targets(values, period={0: 2023, 10: 2024, 16: 2022}))[0] == 100  # the oldest part counts


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({0: 100, 10: 50}, True),  # a state is missing
        ({0: 100, 10: 10, 16: 10}, True),  # five times as much is not the same quantity
        ({0: 100, 10: 200, 16: 200}, True),
        ({0: 100, 10: -60, 16: -60}, True),  # opposite signs
        ({0: 100, 10: 0, 16: 0}, True),
        ({0: 0, 10: 1, 16: 1}, True),
        ({0: 0, 10: 1, 16: -1}, True),  # agrees
        ({0: 0, 10: 0, 16: 0}, True),
        ({0: -100, 10: -60, 16: -60}, False),  # losses
        ({0: 100, 10: -20, 16: 70}, False),  # a loss among gains
        ({0: 100, 10: 0, 16: 50}, False),
    ],
)
def test_what_is_scaled(values: Mapping[int, float], same: bool) -> None:
    done = _reconciled(_targets(values))
    assert (done == values) is same
    if not same:
        assert done[0] == values[0]
        assert done[10] + done[16] == pytest.approx(values[0])
        assert np.sign(done[10]) == np.sign(values[10])


def test_bounds_belong_to_what_is_scaled() -> None:
    whole = BOUNDS[1] * 20
    assert _reconciled(_targets({0: whole, 10: 10, 16: 10}))[10] == pytest.approx(30)
    assert _reconciled(_targets({0: whole * 1.01, 10: 10, 16: 10}))[10] == 10


def test_quantities_do_not_mix() -> None:
    first, second = _targets({0: 100, 10: 50, 16: 60}), _targets({0: 7, 10: 3, 16: 3})
    second["name"] = second["name"].str.replace("snap>0", "snap>1")
    reform = _targets({0: 7, 10: 4, 16: 4}).assign(reform_id=1)
    together = pd.concat([first, second, reform], ignore_index=True)
    alone = [reconcile(of_one, PLACES_HERE) for of_one in (first, second, reform)]
    assert_frame_equal(reconcile(together, PLACES_HERE), pd.concat(alone, ignore_index=True))


def test_what_was_compared() -> None:
    values = {0: 100, 10: 40, 16: 61, 1001: 20, 1601: 1, 1602: 2}
    compared = compare_levels(_targets(values, _by_level(SURVEY, OFFICIAL, TAX)), PLACES_HERE)
    assert compared[["place", "level", "whole", "parts", "follows_parts", "reconciled"]].values.tolist() == [
        ["10", "district", 40, 20, False, True],
        ["16", "district", 61, 3, False, False],
        ["US", "state", 100, 101, True, True],
    ]


_VALUE = st.one_of(st.just(0.0), st.floats(1, 1e9), st.floats(-1e9, -1))
_SOURCE = st.sampled_from((SURVEY, OFFICIAL, TAX))


@given(
    st.dictionaries(st.sampled_from(PLACES_HERE), _VALUE, min_size=1),
    st.fixed_dictionaries(dict.fromkeys(PLACES_HERE, _SOURCE)),
    st.fixed_dictionaries({place: st.integers(2021, 2024) for place in PLACES_HERE}),
)
@settings(deadline=None, max_examples=60)
def test_nothing_is_scaled_beyond_bounds_or_without_a_reason(
    values: dict[int, float], source: dict[int, str], period: dict[int, int]
) -> None:
    targets = _targets(values, source, period)
    done = reconcile(targets, PLACES_HERE)
    scaled = (done["hierarchy_follows"] != "").to_numpy()
    assert (done.loc[~scaled, "hierarchy_factor"] == 1).all()
    assert (done["value"] == targets["value"] * done["hierarchy_factor"]).all()
    assert (done["hierarchy_factor"] > 0).all()
    again = compare_levels(done, PLACES_HERE)
    alike = again["ratio"].between(*BOUNDS)
    np.testing.assert_allclose(again.loc[alike & again["reconciled"], "ratio"], 1, rtol=1e-9)


@given(
    st.fixed_dictionaries({place: st.floats(10, 13) for place in (1001, 1601, 1602)}),
    st.floats(0.7, 1.4),
    st.floats(0.7, 1.4),
    st.floats(0.7, 1.4),
    st.fixed_dictionaries(dict.fromkeys(PLACES_HERE, _SOURCE)),
)
@settings(deadline=None, max_examples=60)
def test_levels_agree_after_it(
    districts: dict[int, float], of_10: float, of_16: float, of_nation: float, source: dict[int, str]
) -> None:
    """Whatever is trusted: nation = states = districts, and shares among districts of a state stay."""
    states = {10: of_10 * districts[1001], 16: of_16 * (districts[1601] + districts[1602])}
    targets = _targets({0: of_nation * sum(states.values()), **states, **districts}, source)
    done = _reconciled(targets)
    assert done[10] + done[16] == pytest.approx(done[0])
    assert done[1001] == pytest.approx(done[10])
    assert done[1601] + done[1602] == pytest.approx(done[16])
    assert done[1601] / done[1602] == pytest.approx(districts[1601] / districts[1602])
    assert largest_gap(reconcile(targets, PLACES_HERE), PLACES_HERE) < 1e-9


def test_more_trust_always_wins() -> None:
    """The most trusted level keeps its values, whichever it is."""
    values = {0: 130, 10: 40, 16: 60, 1001: 50, 1601: 10, 1602: 30}
    of_level = {0: (0,), 1: (10, 16), 2: (1001, 1601, 1602)}
    for best, places in of_level.items():
        levels = [OFFICIAL if level == best else SURVEY for level in range(3)]
        done = _reconciled(_targets(values, _by_level(*levels)))
        assert {place: done[place] for place in places} == {place: values[place] for place in places}


@pytest.mark.raw
def test_snap_of_the_states(published_db: Path) -> None:
    """The survey's 15,632,675 households in districts become the administration's 22,177,091, state by state."""
    targets, _ = load_targets(published_db, 2024)
    snap = targets[(targets["variable"] == "household_count") & (targets["domain_variable"] == "snap")]
    districts, states = (snap[snap["geo_level"] == level] for level in ("district", "state"))
    assert districts["original_value"].sum() == 15_632_675
    assert round(districts["value"].sum()) == round(states["value"].sum()) == 22_177_091
    survey = districts.groupby(districts["geographic_id"].str[:-2])["original_value"].sum()
    official = states.set_index("geographic_id")["original_value"]
    factors = districts.groupby(districts["geographic_id"].str[:-2])["hierarchy_factor"].agg(["min", "max"])
    np.testing.assert_allclose(factors["min"], official[factors.index] / survey[factors.index])
    np.testing.assert_allclose(factors["min"], factors["max"], rtol=1e-12)
    assert factors.loc["32", "min"] == pytest.approx(269_676 / 146_825)
    assert set(districts["hierarchy_follows"]) == {"USDA FNS SNAP"}
    assert (states["hierarchy_factor"] == 1).all()


@pytest.mark.raw
@pytest.mark.parametrize("year", [2022, 2025])
def test_levels_agree_in_the_real_database(published_db: Path, year: int) -> None:
    """Brute force in pandas over every quantity that is whole."""
    uprated, _, places = uprated_targets(published_db, year)
    compared = compare_levels(uprated, places)
    assert compared["reconciled"].all()
    targets, _ = load_targets(published_db, year)
    targets["quantity"] = targets["name"].str.split("/", n=1).str[1] + targets["reform_id"].astype(str)
    by_level = {
        level: of_level.pivot_table("value", "quantity", "geographic_id", aggfunc="sum", dropna=False)
        for level, of_level in targets.groupby("geo_level")
    }
    national, state, district = (by_level[level] for level in ("national", "state", "district"))
    whole = state.dropna().index.intersection(national.index)
    assert len(whole) > 50
    np.testing.assert_allclose(state.loc[whole].sum(axis=1), national.loc[whole, "US"], rtol=1e-9, atol=1e-6)
    for fips in state.columns:
        parts = district[[place for place in district if place[:-2] == fips]].dropna()
        shared = parts.index.intersection(state[fips].dropna().index)
        assert len(shared) >= 19
        np.testing.assert_allclose(parts.loc[shared].sum(axis=1), state.loc[shared, fips], rtol=1e-9)
    np.testing.assert_allclose(
        targets["value"], targets["original_value"] * targets["uprating_factor"] * targets["hierarchy_factor"], rtol=1e-12
    )
