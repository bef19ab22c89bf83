"""Quick look-ups of parameters against the engine's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geocal_core.engine.lookups import quicken
from geocal_core.engine.variables import tax_benefit_system

pytestmark = pytest.mark.engine

N = 3_000


def node(path: str) -> Any:
    from policyengine_core.parameters.vectorial_parameter_node_at_instant import VectorialParameterNodeAtInstant as Node

    quicken()
    found = tax_benefit_system().parameters("2024-06-01")
    for part in path.split("."):
        found = getattr(found, part)
    return Node.build_from_node(found)


def own(vectorial: Any, key: np.ndarray) -> Any:
    """What the engine gives where nobody has quickened it."""
    return type(vectorial).__getitem__.__wrapped__(vectorial, key)


KEYS = {
    "one state": np.full(N, "TX", dtype=object),
    "one state as text": np.full(N, "TX"),
    "states": np.resize(np.array(["TX", "CA", "NY"], dtype=object), N),
}


@pytest.mark.parametrize("name", KEYS)
def test_amounts_by_state(name: str) -> None:
    by_state = node("gov.aca.family_tier_states")
    np.testing.assert_array_equal(by_state[KEYS[name]], own(by_state, KEYS[name]))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("kind", [int, np.int16, str])
def test_amounts_by_state_and_number(name: str, kind: type) -> None:
    by_state = node("gov.aca.state_rating_area_cost")
    areas = np.resize(np.array([1, 3, 2, 1, 4]), N).astype(kind)
    quick, plain = by_state[KEYS[name]], own(by_state, KEYS[name])
    assert type(quick) is type(plain)
    np.testing.assert_array_equal(np.asarray(quick[areas]), np.asarray(own(plain, areas)))


def test_an_unknown_key_is_told_as_by_the_engine() -> None:
    by_state = node("gov.aca.family_tier_states")
    with pytest.raises(Exception, match="XX") as plain:
        own(by_state, np.full(N, "XX", dtype=object))
    with pytest.raises(type(plain.value), match="XX"):
        by_state[np.full(N, "XX", dtype=object)]


def test_short_keys_and_names_are_left_to_the_engine() -> None:
    by_state = node("gov.aca.family_tier_states")
    assert by_state[np.array(["TX", "NY"], dtype=object)].tolist() == own(by_state, np.array(["TX", "NY"])).tolist()
    assert np.asarray(by_state["TX"]).tolist() == np.asarray(by_state.TX).tolist()
