"""Names of counties against the figures of the census of 2020."""

from __future__ import annotations

from collections import Counter

from geocal_core.places.counties import county_names
from geocal_core.places.states import STATES


def test_every_county_of_every_state_has_a_name() -> None:
    names = county_names()
    by_state = Counter(int(code[:2]) for code in names)
    assert set(by_state) == {state.fips for state in STATES}
    assert len(names) == 3143 + 9  # and Connecticut's planning regions
    assert (by_state[48], by_state[10], by_state[9]) == (254, 3, 8 + 9)
    assert all(len(code) == 5 and name for code, name in names.items())
    assert names["06037"] == "Los Angeles County"
    assert names["22001"] == "Acadia Parish"
    assert names["35013"] == "Doña Ana County"
    assert names["09110"] == "Capitol Planning Region"
