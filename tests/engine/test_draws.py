"""Schemes of draws: equal to literal versions of them, uniform, independent, and functions of their keys alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from geocal_core import seeds
from geocal_core.engine.draws import SCHEMES, counter, reference, scheme_of
from geocal_core.engine.takeup import rates
from geocal_core.errors import ConfigError

VARIABLES = [program.variable for program in rates()]
COPIES = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 10**6), st.integers(0, 9)), min_size=1, max_size=30)


def literal(variable: str, household: int, clone: int, units: int) -> np.ndarray:
    """The reference's draws as its definition says: a hash of the text, a generator of numpy, its first numbers."""
    text = 0
    for byte in f"{variable}:{household}:{clone}".encode():
        text = (text * 31 + byte) % 2**64
    text ^= text >> 33
    text = text * 0xFF51AFD7ED558CCD % 2**64
    text ^= text >> 33
    return np.random.default_rng(text % 2**63).random(units)


def keys(copies: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    household, clone, units = (np.array(column, dtype=np.int64) for column in zip(*copies, strict=True))
    owner = np.repeat(np.arange(len(copies)), units)
    return household, clone, owner, np.concatenate([np.arange(n) for n in units]).astype(np.int64)


@settings(deadline=None)
@given(COPIES, st.sampled_from(VARIABLES))
def test_the_reference_scheme_is_numpys_generators_bit_for_bit(copies: list[tuple[int, int, int]], variable: str) -> None:
    drawn = reference(variable, 0, *keys(copies))
    assert drawn.tolist() == np.concatenate([literal(variable, *copy) for copy in copies]).tolist()


@settings(deadline=None)
@given(COPIES, st.sampled_from(VARIABLES), st.integers(0, 1000))
def test_the_counter_scheme_is_the_named_stream(copies: list[tuple[int, int, int]], variable: str, seed: int) -> None:
    household, clone, owner, ordinal = keys(copies)
    drawn = counter(variable, seed, household, clone, owner, ordinal)
    assert drawn.tolist() == seeds.uniform(variable, household[owner], clone[owner], ordinal, seed=seed).tolist()


@settings(deadline=None)
@given(st.data(), COPIES, st.sampled_from(sorted(SCHEMES)))
def test_any_copies_in_any_order_draw_the_same(data: st.DataObject, copies: list[tuple[int, int, int]], scheme: str) -> None:
    together = dict(zip(itertools.count(), _by_copy(scheme, copies), strict=False))
    order = data.draw(st.lists(st.sampled_from(range(len(copies))), min_size=1, max_size=30))
    again = _by_copy(scheme, [copies[i] for i in order])
    assert again == [together[i] for i in order]


def _by_copy(scheme: str, copies: list[tuple[int, int, int]]) -> list[list[float]]:
    drawn = SCHEMES[scheme]("takes_up_ssi_if_eligible", 0, *keys(copies))
    ends = np.cumsum([units for _, _, units in copies])
    return [part.tolist() for part in np.split(drawn, ends[:-1])]


def grid(scheme: str, variable: str, households: int, clones: int, units: int, seed: int = 0) -> np.ndarray:
    """Draws for every household, clone and unit: shape (households, clones, units)."""
    household, clone = (side.ravel() for side in np.meshgrid(np.arange(households), np.arange(clones), indexing="ij"))
    copies = households * clones
    owner, ordinal = np.repeat(np.arange(copies), units), np.tile(np.arange(units), copies)
    return SCHEMES[scheme](variable, seed, household, clone, owner, ordinal).reshape(households, clones, units)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_draws_are_uniform_along_every_key(scheme: str) -> None:
    draws = grid(scheme, "takes_up_snap_if_eligible", 200, 100, 6)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    counts = np.histogram(draws, bins=200, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    for axis in range(3):
        means = draws.mean(axis=tuple(set(range(3)) - {axis}))
        spread = np.sqrt(len(means) / 12 / draws.size)
        assert np.abs(means - 0.5).max() < 5 * spread


@pytest.mark.parametrize("scheme", SCHEMES)
def test_streams_of_variables_and_neighbouring_keys_are_independent(scheme: str) -> None:
    draws = np.stack([grid(scheme, variable, 60, 40, 3) for variable in VARIABLES])
    limit = 5 / np.sqrt(draws[0].size)
    between = np.corrcoef(draws.reshape(len(VARIABLES), -1))
    assert np.abs(between - np.eye(len(VARIABLES))).max() < limit
    for axis in (1, 2, 3):
        one, other = (draws.take(range(start, draws.shape[axis] - 1 + start), axis=axis).ravel() for start in (0, 1))
        assert abs(np.corrcoef(one, other)[0, 1]) < limit
    joint = np.histogram2d(draws[0].ravel(), draws[1].ravel(), bins=10, range=[(0, 1), (0, 1)])[0]
    assert stats.chisquare(joint.ravel()).pvalue > 1e-3


def test_seeds_give_other_draws_where_there_are_seeds() -> None:
    assert (grid("counter", "takes_up_eitc", 9, 9, 2, seed=1) != grid("counter", "takes_up_eitc", 9, 9, 2)).all()
    with pytest.raises(ConfigError, match="knows no seed"):
        grid("reference", "takes_up_eitc", 2, 2, 2, seed=1)


def test_bad_keys_and_schemes_are_refused() -> None:
    with pytest.raises(ConfigError, match="no take-up scheme 'hash'.*counter, reference"):
        scheme_of("hash")
    with pytest.raises(ConfigError, match="not negative"):
        reference("takes_up_eitc", 0, *keys([(-1, 0, 1)]))
    nothing = np.zeros(0, dtype=np.int64)
    assert all(len(scheme("takes_up_eitc", 0, nothing, nothing, nothing, nothing)) == 0 for scheme in SCHEMES.values())
