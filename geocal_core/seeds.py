"""Named random streams.

Every random number of geocal comes from here, so that the same seed gives the same bytes whatever the order or the number
of workers. Two kinds: a numpy generator for a named purpose, and counter-based uniforms that are a pure function of a name
and of integer keys (a take-up draw depends on its variable, household and clone alone).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(name: str, seed: int = 0) -> int:
    """64-bit key of a named stream: the first eight bytes of the sha256 of ``name:seed``."""
    return int.from_bytes(hashlib.sha256(f"{name}:{seed}".encode()).digest()[:8], "little")


def generator(name: str, seed: int = 0) -> np.random.Generator:
    """A numpy generator of its own for the purpose ``name`` under ``seed``."""
    return np.random.Generator(np.random.PCG64(stream_key(name, seed)))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014, Fast Splittable Pseudorandom Number Generators)."""
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def absorbed(state: NDArray[np.uint64], key: NDArray[np.integer]) -> NDArray[np.uint64]:
    """State of a counter-based stream after one more integer key; state and key broadcast against each other.

    The state before any key is ``stream_key(name, seed)`` as uint64. So draws that share their first keys can share the work.
    """
    if key.dtype.kind not in "iu":
        raise TypeError(f"keys of a stream are integers, not {key.dtype}")
    with np.errstate(over="ignore"):
        return _mix((state ^ key.astype(np.uint64)) + _GOLDEN)


def unit_interval(state: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The upper 53 bits of each state as a number in [0, 1)."""
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform(name: str, *keys: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), each a pure function of the stream's name, the seed and its integer keys.

    Parameters
    ----------
    name : str
        Name of the stream, for example a take-up variable.
    *keys : array_like of integers
        At least one; they broadcast against each other.
    seed : int
        Seed of the whole run.

    Returns
    -------
    ndarray of float64
        53 random bits each, in the broadcast shape of the keys.
    """
    if not keys:
        raise TypeError("uniform() needs at least one key")
    state = np.array(stream_key(name, seed), dtype=np.uint64)
    for key in np.broadcast_arrays(*[np.asarray(k) for k in keys]):
        state = absorbed(state, key)
    return unit_interval(state)
