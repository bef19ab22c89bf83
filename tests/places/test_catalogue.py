"""The catalogue: 488 areas in the agreed order."""

from __future__ import annotations

import pytest

from geocal_core.errors import ConfigError
from geocal_core.places.catalogue import AREA_KEYS, AREAS, area, area_keys_matching, areas_in
from geocal_core.places.states import DISTRICTS, STATES, state_of_code, state_of_fips


def test_there_are_488_areas_and_436_districts() -> None:
    levels = [one.level for one in AREAS]
    assert {level: levels.count(level) for level in set(levels)} == {"national": 1, "state": 51, "district": 435, "city": 1}
    assert len(set(AREA_KEYS)) == 488
    assert len(set(DISTRICTS)) == 436
    assert sum(state.seats for state in STATES) == 435


def test_each_state_is_followed_by_its_districts() -> None:
    assert AREA_KEYS[:4] == ("US", "AL", "AL-01", "AL-02")
    assert AREA_KEYS[9:11] == ("AK", "AK-01")
    assert AREA_KEYS[-3:] == ("WY", "WY-01", "NYC")
    start = AREA_KEYS.index("CA")
    assert AREA_KEYS[start : start + 53] == ("CA", *(f"CA-{n:02d}" for n in range(1, 53)))
    assert AREA_KEYS[AREA_KEYS.index("DC") + 1] == "FL"


def test_no_key_breaks_a_partition_range() -> None:
    assert not any("," in key or "..." in key or "/" in key for key in AREA_KEYS)


def test_files_lie_by_level() -> None:
    assert [area(key).artifact for key in ("US", "CA", "CA-12", "NYC")] == [
        "areas/119/US.h5",
        "areas/119/states/CA.h5",
        "areas/119/districts/CA-12.h5",
        "areas/119/cities/NYC.h5",
    ]


def test_patterns() -> None:
    assert area_keys_matching(("WY*", "US")) == ("US", "WY", "WY-01")
    assert len(area_keys_matching(("CA*",))) == 53
    with pytest.raises(ConfigError, match="no area matches 'QQ\\*'"):
        area_keys_matching(("QQ*",))
    with pytest.raises(ConfigError, match="no area 'CA-53'; did you mean CA-5"):
        area("CA-53")


def test_areas_in_some_states() -> None:
    assert [one.key for one in areas_in(("DE", "WY"))] == ["US", "DE", "DE-01", "WY", "WY-01"]
    assert areas_in(("NY",))[-1].key == "NYC"


def test_states() -> None:
    assert state_of_code("DC").districts == (1101,)
    assert state_of_fips(6).code == "CA"
    with pytest.raises(ConfigError):
        state_of_code("PR")
    with pytest.raises(ConfigError):
        state_of_fips(72)
