"""Random streams: uniform, independent of each other, and functions of their keys alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from geocal_core.seeds import generator, stream_key, uniform


def splitmix(state: int) -> int:
    """The same finaliser in plain Python integers."""
    mask = (1 << 64) - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_uniform_equals_a_plain_python_version() -> None:
    state = stream_key("takes_up_snap_if_eligible", 7)
    for key in (12, 3, 0):
        state = splitmix(((state ^ key) + 0x9E3779B97F4A7C15) & ((1 << 64) - 1))
    assert uniform("takes_up_snap_if_eligible", 12, 3, 0, seed=7) == (state >> 11) * 2.0**-53


def test_draws_are_uniform_and_streams_are_independent() -> None:
    keys = np.arange(200_000)
    first, second = uniform("a", keys, 1), uniform("b", keys, 1)
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(first, uniform("a", keys, 2))[0, 1]) < 0.01


@given(hnp.arrays(np.int64, st.integers(1, 50), elements=st.integers(0, 2**62)), st.integers(0, 1000))
def test_a_draw_does_not_depend_on_its_neighbours(keys: np.ndarray, clone: int) -> None:
    together = uniform("x", keys, clone)
    alone = np.array([uniform("x", key, clone) for key in keys])
    assert ((together >= 0) & (together < 1)).all()
    assert (together == alone).all()


def test_generators_of_different_names_differ() -> None:
    assert generator("a", 1).random() == generator("a", 1).random()
    assert len({generator(n, s).random() for n in "ab" for s in (0, 1)}) == 4


def test_keys_are_integers() -> None:
    with pytest.raises(TypeError, match="integers"):
        uniform("x", np.array([0.5]))
    with pytest.raises(TypeError, match="at least one key"):
        uniform("x")
