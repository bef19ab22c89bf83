"""The shipped aggregates of the hidden population, and one state of them made again by the engine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geocal_core.demo import truth
from geocal_core.demo.districts import districts_of, published_totals
from geocal_core.places.states import DISTRICTS, state_of_code
from geocal_core.settings import ALL_STATES


def test_every_district_has_every_age() -> None:
    table = truth.people()
    assert sorted(table.index) == sorted(DISTRICTS)
    assert (table[list(truth.AGES)] > 1_000).all(axis=None)
    persons = districts_of(ALL_STATES).persons
    assert np.allclose(table[list(truth.AGES)].sum(axis=1), persons, atol=10)
    assert table[list(truth.AGES)].sum(axis=None) == pytest.approx(published_totals()["population_2024"], abs=200)


def test_every_district_has_returns_and_credits() -> None:
    table = truth.returns()
    assert len(table) == len(DISTRICTS) * truth.STUBS
    by_district = table.groupby("district").sum()
    assert (by_district["N1"] > 150_000).all()
    assert (table["N1"].xs(10, level="stub") > 0).all()
    credited = by_district[[f"N{line}" for line in truth.CHILDREN_LINES]]
    assert ((credited > 0).sum() >= len(DISTRICTS) - 1).all()
    assert (by_district["N1"] == table.groupby("district")["N1"].sum()).all()
    assert (table["MARS1"] + table["MARS2"] + table["MARS4"] <= table["N1"] + 30).all()


def test_totals_are_near_those_of_the_united_states() -> None:
    """Published: USDA FY2024, IRS SOI 2022 (EITC) and 2023, CBO 2024 (AGI); the engine counts fewer filers than the IRS."""
    people, returns = truth.people().sum(), truth.returns().sum()
    assert people["households"] == pytest.approx(133e6, rel=0.05)
    assert people["snap_dollars"] == pytest.approx(93.7e9, rel=0.2)
    assert people["snap_households"] == pytest.approx(22.2e6, rel=0.5)
    assert 1_000 * returns["A00100"] == pytest.approx(16.0e12, rel=0.08)
    assert 1_000 * returns["A00200"] == pytest.approx(10.6e12, rel=0.08)
    assert returns["N1"] == pytest.approx(160.6e6, rel=0.2)
    credits = returns[[f"N{line}" for line in truth.CHILDREN_LINES]].sum()
    assert credits == pytest.approx(23.7e6, rel=0.25)
    assert 1_000 * returns[[f"A{line}" for line in truth.CHILDREN_LINES]].sum() == pytest.approx(59e9, rel=0.25)
    top = truth.returns().xs(10, level="stub").sum()
    assert top["N1"] == pytest.approx(0.8e6, rel=0.3)
    assert 1_000 * top["A00100"] == pytest.approx(2.5e12, rel=0.35)


def test_districts_differ_in_need_and_income() -> None:
    people, returns = truth.people(), truth.returns().groupby("district").sum()
    snap = people["snap_households"] / people["households"]
    income = returns["A00100"] / returns["N1"]
    assert snap.std() > 0.03
    assert income.quantile(0.9) / income.quantile(0.1) > 1.4
    assert np.corrcoef(snap, np.log(income))[0, 1] < -0.4


@pytest.mark.engine
def test_one_state_can_be_made_again() -> None:
    """Amounts pass through single precision, so another processor may round a unit differently."""
    state = state_of_code("WY")
    people, returns, programs = truth.state_tables(state)
    districts = list(state.districts)
    shipped = truth.people().loc[districts].reset_index()
    pd.testing.assert_frame_equal(people, shipped, check_dtype=False, rtol=1e-6, atol=1)
    shipped = truth.programs().loc[[state.fips]].reset_index()
    pd.testing.assert_frame_equal(programs, shipped, check_dtype=False, rtol=1e-6, atol=1)
    shipped = truth.returns().loc[districts].reset_index()
    pd.testing.assert_frame_equal(returns, shipped[returns.columns], check_dtype=False, check_names=False, rtol=1e-6, atol=10)
