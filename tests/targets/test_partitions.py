"""Totals that take the sum of their parts: closed forms, properties on made-up states, and the real database."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from geocal_core.targets.consistency import find_contradictions
from geocal_core.targets.constraints import Constraint, brackets
from geocal_core.targets.partitions import close, settle
from geocal_core.targets.reconcile import largest_gap, reconcile
from geocal_core.targets.select import load_targets

PLACES = frozenset({0, 10, 16})
WHOLE = "IRS SOI Publication 1304"
PART = "IRS SOI"
INCOME = "adjusted_gross_income"
RULES = {
    0: (),
    1: (Constraint(INCOME, "<", "1"),),
    2: (Constraint(INCOME, "<", "100"), Constraint(INCOME, ">=", "1")),
    3: (Constraint(INCOME, ">=", "100"),),
}
Cells = dict[tuple[int, int], float]


def _targets(cells: Cells, source: dict[tuple[int, int], str] | None = None) -> pd.DataFrame:
    """Targets by place and stratum: the total is stratum 0, its parts are 1, 2 and 3."""
    rows = [
        {
            "value": float(value),
            "reform_id": 0,
            "variable": INCOME,
            "stratum_id": stratum,
            "name": f"{place}/{INCOME}/{brackets(RULES[stratum])}",
            "geographic_id": "US" if place == 0 else str(place),
            "source": (source or {}).get((place, stratum), WHOLE if place == 0 else PART),
            "period": 2023 if place == 0 else 2022,
        }
        for (place, stratum), value in cells.items()
    ]
    return pd.DataFrame(rows)


# The nation's parts are -10, 60 and 50; those of the states -5, 40 and 25 together, and their totals 60.
CELLS: Cells = {
    (0, 0): 100,
    (0, 1): -10,
    (0, 2): 60,
    (0, 3): 50,
    (10, 0): 20,
    (10, 1): -2,
    (10, 2): 22,
    (10, 3): 0,
    (16, 0): 40,
    (16, 1): -3,
    (16, 2): 18,
    (16, 3): 25,
}


def test_a_total_takes_the_sum_of_its_parts() -> None:
    """Closed form: parts times 2, 1.5 and 2; state 10 has all its income in the middle."""
    done = settle(_targets(CELLS), RULES, PLACES)
    assert done["value"].tolist() == pytest.approx([100, -10, 60, 50, 29, -4, 33, 0, 71, -6, 27, 50])
    assert done.loc[[4, 8], "hierarchy_factor"].tolist() == pytest.approx([29 / 20, 71 / 40])
    assert done["hierarchy_follows"].tolist() == [""] * 4 + [WHOLE] * 3 + [""] + [WHOLE] * 4


@pytest.mark.parametrize(
    ("change", "source"),
    [
        ({(16, 3): None}, {}),  # a part is missing in a state
        ({(0, 3): None}, {}),  # or in the nation
        ({(0, 0): None}, {}),  # the nation has no total
        ({(0, 3): 51}, {}),  # the nation does not add up
        ({}, {(10, 0): WHOLE}),  # the total is another's
        ({(10, 0): 0.1, (16, 0): 59.9}, {}),  # hundreds of times as much is not the same quantity
    ],
)
def test_left_alone(change: dict[tuple[int, int], float | None], source: dict[tuple[int, int], str]) -> None:
    cells = {key: value for key, value in {**CELLS, **change}.items() if value is not None}
    leveled = reconcile(_targets(cells, source), PLACES)
    assert_frame_equal(close(leveled, RULES, PLACES), leveled)


_VALUE = st.floats(1, 1e6)


@given(
    st.lists(st.tuples(_VALUE, _VALUE, _VALUE), min_size=2, max_size=2), st.tuples(_VALUE, _VALUE, _VALUE), st.floats(0.7, 1.4)
)
@settings(deadline=None, max_examples=60)
def test_levels_and_parts_agree_after_it(
    states: list[tuple[float, float, float]], nation: tuple[float, float, float], off: float
) -> None:
    """Where the nation adds up: all add up, at every place and between the levels, the nation stays, and it is idempotent."""
    parts = {
        (place, k + 1): value for place, of in zip((0, 10, 16), (nation, *states), strict=True) for k, value in enumerate(of)
    }
    totals = {(0, 0): sum(nation), (10, 0): off * sum(states[0]), (16, 0): sum(states[1])}
    targets = _targets({**totals, **parts})
    leveled = reconcile(targets, PLACES)
    done = close(leveled, RULES, PLACES)
    assert largest_gap(done, PLACES) < 1e-9
    np.testing.assert_allclose(done["value"], targets["value"] * done["hierarchy_factor"])
    of_nation = done["geographic_id"] == "US"
    assert (done.loc[of_nation, "value"] == targets.loc[of_nation, "value"]).all()
    assert (done.loc[done["hierarchy_factor"] != 1, "hierarchy_follows"] != "").all()
    table = done.pivot_table("value", "geographic_id", "stratum_id")
    if not done["value"].equals(leveled["value"]):
        np.testing.assert_allclose(table[[1, 2, 3]].sum(axis=1), table[0], rtol=1e-9)
    again = close(done, RULES, PLACES)
    np.testing.assert_allclose(again["value"], done["value"], rtol=1e-9)


@pytest.mark.raw
def test_income_of_the_states(published_db: Path) -> None:
    """Returns, people and income add up in each state by ten sizes of income; where gains are large, by another factor."""
    targets, _ = load_targets(published_db, 2024)
    states = targets[(targets["geo_level"] == "state") & (targets["source"] == PART)]
    for variable in ("tax_unit_count", "person_count", INCOME):
        of_one = states[states["variable"] == variable]
        sizes = of_one[of_one["domain_variable"] == INCOME].groupby("geographic_id")["value"].agg(["sum", "size"])
        total = of_one[of_one["name"].str.endswith(f"/{variable}/[tax_unit_is_filer==1]")].set_index("geographic_id")
        assert set(sizes["size"]) == {10}
        np.testing.assert_allclose(sizes["sum"], total["value"][sizes.index], rtol=1e-7)
        if variable == INCOME:
            factors = total["hierarchy_factor"]
            assert factors.idxmin() == "56"  # Wyoming
            assert 0.99 < factors.min() < factors.max() < 1.03
    seen = [one for one in find_contradictions(published_db, 2024) if "takes the sum of its parts, which" in one.why]
    assert len(seen) > 51
    assert all(one.reconciled and one.effect < 0.02 for one in seen)
