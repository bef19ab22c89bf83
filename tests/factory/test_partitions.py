from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geocal_core.places.catalogue import AREA_KEYS, areas_in
from geocal_dagster.partitions import AREA_PARTITIONS, ranges


def test_keys_are_the_488_areas_each_state_followed_by_its_districts() -> None:
    keys = list(AREA_PARTITIONS.get_partition_keys())
    assert len(keys) == len(set(keys)) == 488
    assert keys[:3] == ["US", "AL", "AL-01"]
    assert keys[-3:] == ["WY", "WY-01", "NYC"]
    owners = [key.split("-")[0] for key in keys[1:-1]]
    assert [state for i, state in enumerate(owners) if i == 0 or owners[i - 1] != state] == sorted(
        set(owners), key=owners.index
    )
    assert len(set(owners)) == 51
    assert not [key for key in keys if "," in key or "..." in key], "Dagster's range syntax and UI use these"


def test_a_state_and_its_districts_are_one_range() -> None:
    keys = [key for key in AREA_KEYS if key == "CA" or key.startswith("CA-")]
    assert len(keys) == 53
    assert list(ranges(keys)) == [("CA", "CA-52")]


def test_the_three_states_of_the_tiny_profile_are_four_ranges() -> None:
    keys = [area.key for area in areas_in(("DE", "NY", "WY"))]
    assert list(ranges(keys)) == [("US", "US"), ("DE", "DE-01"), ("NY", "NY-26"), ("WY", "NYC")]


@given(st.sets(st.sampled_from(AREA_KEYS)))
def test_ranges_hold_exactly_the_keys_and_none_touches_the_next(keys: set[str]) -> None:
    found = [(AREA_KEYS.index(first), AREA_KEYS.index(last)) for first, last in ranges(keys)]
    assert {AREA_KEYS[i] for first, last in found for i in range(first, last + 1)} == keys
    assert all(last + 1 < following for (_, last), (following, _) in pairwise(found))
