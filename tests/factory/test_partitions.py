from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

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


def keys_with(own_areas: Path) -> subprocess.CompletedProcess[str]:
    """What a code location that starts with a list of own areas takes for partitions."""
    asked = "from geocal_dagster.partitions import AREA_PARTITIONS as P; print(*P.get_partition_keys())"
    environment = {**os.environ, "GEOCAL_AREAS": str(own_areas)}
    return subprocess.run([sys.executable, "-c", asked], check=False, capture_output=True, text=True, env=environment)


def test_own_areas_are_appended_to_the_488(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "key,level,name,state,field,values,validation,source\n"
        "LOS_ANGELES,city,Los Angeles,CA,place_fips,44000,state,Census Bureau\n"
        "KINGS,county,Kings County,NY,county_fips,36047,state,Census Bureau\n"
    )
    done = keys_with(path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*AREA_KEYS, "LOS_ANGELES", "KINGS"]
    path.write_text(path.read_text().replace("place_fips", "planet"))
    broken = keys_with(path)
    assert broken.returncode != 0
    assert f"{path}, line 2: there is no field 'planet'" in broken.stderr


@given(st.sets(st.sampled_from(AREA_KEYS)))
def test_ranges_hold_exactly_the_keys_and_none_touches_the_next(keys: set[str]) -> None:
    found = [(AREA_KEYS.index(first), AREA_KEYS.index(last)) for first, last in ranges(keys)]
    assert {AREA_KEYS[i] for first, last in found for i in range(first, last + 1)} == keys
    assert all(last + 1 < following for (_, last), (following, _) in pairwise(found))
