"""Schemes of take-up draws: a uniform number for each unit of copies of households, from its keys alone.

``counter`` is geocal's: a hash of (variable, seed), household, clone and ordinal of the unit in the household. ``reference`` is
that of policyengine-us-data (1.88.0), for comparison with its files: a generator of numpy for each variable, household and
clone, seeded by a hash of their text, whose first number goes to the first unit and so on. Both take arrays and give the same
number for the same keys whatever else is asked for; ``reference`` computes numpy's seeding for all copies at once, bit for bit.
What does not belong here: rates, and what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geocal_core import seeds
from geocal_core.errors import ConfigError

Integers = NDArray[np.int64]
Uniforms = NDArray[np.float64]
Words = NDArray[np.uint64]
Halves = NDArray[np.uint32]


class Scheme(Protocol):
    """Draws of the units of copies of households.

    Parameters
    ----------
    variable : str
    seed : int
    household_id, clone : ndarray of int64, shape (copies,)
        Keys of each copy.
    owner, ordinal : ndarray of int64, shape (units,)
        Position of each unit's copy, and where the unit stands among the units of its household, from 0; the units of a copy
        come in this order and none is left out.

    Returns
    -------
    ndarray of float64, shape (units,)
        In [0, 1).
    """

    def __call__(
        self, variable: str, seed: int, household_id: Integers, clone: Integers, owner: Integers, ordinal: Integers
    ) -> Uniforms: ...


def counter(variable: str, seed: int, household_id: Integers, clone: Integers, owner: Integers, ordinal: Integers) -> Uniforms:
    """``seeds.uniform(variable, household_id, clone, ordinal, seed=seed)``; household and clone are hashed once for a copy."""
    stream = np.array(seeds.stream_key(variable, seed), dtype=np.uint64)
    copies = seeds.absorbed(seeds.absorbed(stream, household_id), clone)
    return seeds.unit_interval(seeds.absorbed(copies[owner], ordinal))


def reference(
    variable: str, seed: int, household_id: Integers, clone: Integers, owner: Integers, ordinal: Integers
) -> Uniforms:
    """``numpy.random.default_rng(hash("variable:household:clone")).random(units)`` of every copy. The seed must be 0."""
    if seed != 0:
        raise ConfigError(f"the take-up scheme of the reference knows no seed, but the seed is {seed}", "set the seed to 0")
    with np.errstate(over="ignore"):
        text = _absorb_text(np.zeros(len(household_id), dtype=np.uint64), f"{variable}:")
        text = _absorb_text(_absorb_decimal(text, household_id), ":")
        generators = _Pcg64(_finished(_absorb_decimal(text, clone)))
        draws = np.empty(len(owner))
        for k in range(int(ordinal.max(initial=-1)) + 1):
            units = np.flatnonzero(ordinal == k)
            draws[units] = seeds.unit_interval(generators.next_of(owner[units]))
    return draws


SCHEMES: Mapping[str, Scheme] = MappingProxyType({"counter": counter, "reference": reference})


def scheme_of(name: str) -> Scheme:
    """The scheme of a name; ConfigError for an unknown one."""
    if name not in SCHEMES:
        raise ConfigError(f"there is no take-up scheme {name!r}", f"the schemes are {', '.join(SCHEMES)}")
    return SCHEMES[name]


def _absorb_text(state: Words, text: str) -> Words:
    for byte in text.encode():
        state = state * np.uint64(31) + np.uint64(byte)
    return state


def _absorb_decimal(state: Words, values: Integers) -> Words:
    """The hash after the decimal digits of each value."""
    if values.min(initial=0) < 0:
        raise ConfigError("household identifiers and clones are not negative")
    for place in range(len(str(values.max(initial=0))) - 1, -1, -1):
        power = 10**place
        digit = (values // power % 10 + ord("0")).astype(np.uint64)
        written = (values >= power) | (place == 0)
        state = np.where(written, state * np.uint64(31) + digit, state)
    return state


def _finished(state: Words) -> Words:
    """The seed of 63 bits that the reference makes of a text's hash."""
    state = (state ^ (state >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return (state ^ (state >> np.uint64(33))) & np.uint64((1 << 63) - 1)


class _Pcg64:
    """Many of numpy's PCG64 generators (O'Neill 2014), each as ``default_rng(seed)`` makes it, in 128 bits as two words."""

    def __init__(self, seed: Words) -> None:
        words = _seed_sequence(seed)
        self._low_step = (words[3] << np.uint64(1)) | np.uint64(1)
        self._high_step = (words[2] << np.uint64(1)) | (words[3] >> np.uint64(63))
        # The state starts at zero: its first step gives the increment, to which numpy adds the initial state before the second.
        self._low, self._high = self._low_step + words[1], self._high_step + words[0]
        self._high += self._low < words[1]
        self._advance(np.arange(len(seed)))

    def _advance(self, chosen: Integers) -> None:
        low, high = self._low[chosen], self._high[chosen]
        product, carried = _product(low, _PCG_LOW)
        carried += low * _PCG_HIGH + high * _PCG_LOW
        total = product + self._low_step[chosen]
        self._high[chosen] = carried + self._high_step[chosen] + (total < product)
        self._low[chosen] = total

    def next_of(self, chosen: Integers) -> Words:
        """The next 64 bits of the chosen generators, each of which is chosen once."""
        self._advance(chosen)
        low, high = self._low[chosen], self._high[chosen]
        mixed, turn = high ^ low, high >> np.uint64(58)
        return (mixed >> turn) | (mixed << ((np.uint64(64) - turn) & np.uint64(63)))


_PCG_HIGH, _PCG_LOW = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
_LOWER_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def _product(left: Words, right: np.uint64) -> tuple[Words, Words]:
    """Lower and upper word of a product of two words."""
    low_left, high_left = left & _LOWER_HALF, left >> _HALF
    low_right, high_right = right & _LOWER_HALF, right >> _HALF
    middle = high_left * low_right + (low_left * low_right >> _HALF)
    other = low_left * high_right + (middle & _LOWER_HALF)
    return left * right, high_left * high_right + (middle >> _HALF) + (other >> _HALF)


def _seed_sequence(seed: Words) -> list[Words]:
    """``numpy.random.SeedSequence(seed).generate_state(4, uint64)`` of every seed (O'Neill 2015)."""
    nothing = np.zeros(len(seed), dtype=np.uint32)
    entropy = [(seed & _LOWER_HALF).astype(np.uint32), (seed >> _HALF).astype(np.uint32), nothing, nothing]
    scramble = _Scrambler(0x43B0D7E5, 0x931E8875)
    pool = [scramble(word) for word in entropy]
    for source in range(4):
        for target in range(4):
            if source != target:
                mixed = pool[target] * np.uint32(0xCA01F9DD) - scramble(pool[source]) * np.uint32(0x4973F715)
                pool[target] = mixed ^ (mixed >> np.uint32(16))
    scramble = _Scrambler(0x8B51F9DD, 0x58F38DED)
    halves = [scramble(pool[i % 4]).astype(np.uint64) for i in range(8)]
    return [halves[i] | (halves[i + 1] << _HALF) for i in range(0, 8, 2)]


class _Scrambler:
    """The hash of numpy's seed sequence, whose constant changes from call to call."""

    def __init__(self, constant: int, multiplier: int) -> None:
        self._constant, self._multiplier = constant, multiplier

    def __call__(self, word: Halves) -> Halves:
        following = self._constant * self._multiplier & 0xFFFFFFFF
        scrambled = (word ^ np.uint32(self._constant)) * np.uint32(following)
        self._constant = following
        return scrambled ^ (scrambled >> np.uint32(16))
